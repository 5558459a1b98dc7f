"""Keys by the column: as one run of bytes, as a polars column, as numbers, without a Python object for each key.

Floor: pure, beside keys. polars makes keys and compares them, packs hold them one after another, filters want them as
numbers; all three are the same bytes in the same order. A newcomer may question numpy: through it the bytes change
hands at the speed of memory, and polars alone would give a Python object for each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import polars as pl

    Words = npt.NDArray[np.uint64]

KEY_BYTES = 16


def run_of(keys: pl.Series) -> bytes:
    """Keys one after another. **Shapes**: Binary, each of 16 bytes, none of them null."""
    import polars as pl

    if not keys.len():
        return b""
    return keys.bin.reinterpret(dtype=pl.Array(pl.UInt64, 2), endianness="little").to_numpy().astype("<u8").tobytes()


def column_of(run: bytes) -> pl.Series:
    """The Binary column that `run_of` made a run of."""
    import numpy as np
    import polars as pl

    rows = pl.Series(np.frombuffer(run, np.uint8).reshape(-1, KEY_BYTES), dtype=pl.Array(pl.UInt8, KEY_BYTES))
    return rows.cast(pl.List(pl.UInt8)).cast(pl.Binary)


def words_of(run: bytes) -> Words:
    """Each key's two halves as big-endian numbers. **Shapes**: (keys, 2)."""
    import numpy as np

    return np.frombuffer(run, ">u8").astype(np.uint64).reshape(-1, 2)
