"""Whether the ledger may hold a key: a Bloom filter of four compressed bitmaps, asked and filled by whole columns.

Floor: ledger. Nearly every key of a new list is one that the ledger does not hold, and this says so in some 4 bytes a
key. Keys are already evenly spread, so a filter's four places are the four words of the key and nothing is hashed. A
newcomer may question 27 bits of 32: bitmaps this dense are joined many times faster than sparse ones, and a filter
that is full is followed by another.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from importer.keys import KEY_BYTES

if TYPE_CHECKING:
    import polars as pl
    from pyroaring import BitMap

PLACE_BITS = 27
MOST_KEYS = 1 << 24  # then an eighth of a bitmap is set, and one key in 5,000 is taken for one it holds
_SPARE_BITS = 32 - PLACE_BITS


class Places(NamedTuple):
    """Where keys stand in the four bitmaps (UInt32): the fixed bits of a UUID are in none of them."""

    first: pl.Series
    second: pl.Series
    third: pl.Series
    fourth: pl.Series


def places(keys: pl.Series) -> Places:
    """The places of a Binary column of keys."""
    import polars as pl

    def word(at: int) -> pl.Expr:
        return pl.col("key").bin.slice(at, 4).bin.reinterpret(dtype=pl.UInt32, endianness="big")

    words = keys.to_frame("key").select(word(at).alias(str(at)) for at in range(0, KEY_BYTES, 4))
    return _places(words.get_columns())


def places_in_run(run: bytes) -> Places:
    """The places of keys that stand one after another, without making each key first."""
    import polars as pl

    words = array("I", run)
    if sys.byteorder == "little":
        words.byteswap()
    each = KEY_BYTES // words.itemsize
    return _places([pl.Series(words[at::each], dtype=pl.UInt32) for at in range(each)])


def _places(words: Sequence[pl.Series]) -> Places:
    """The second word has the version in its bits 12 to 15, the third the variant in its highest two."""
    a, b, c, d = words
    most = 1 << PLACE_BITS
    return Places(
        first=a // (1 << _SPARE_BITS),
        second=d // (1 << _SPARE_BITS),
        third=c % most,
        fourth=b // (1 << 16) * (1 << 11) + b % (1 << 11),
    )


class KeyFilter:
    """Keys that were added. It may take another for one of them, never one of them for another."""

    def __init__(self, *, most_keys: int = MOST_KEYS) -> None:
        self._filters: list[list[BitMap]] = []
        self._most_keys = most_keys
        self._room = 0

    @property
    def filters(self) -> int:
        """How many there are, one after another."""
        return len(self._filters)

    def add(self, added: Places) -> None:
        """Adds keys."""
        from pyroaring import BitMap

        if self._room <= 0:
            self._filters.append([BitMap() for _ in added])
            self._room = self._most_keys
        for bitmap, new in zip(self._filters[-1], added, strict=True):
            bitmap.update(_bitmap_of(new))
        self._room -= len(added.first)

    def may_hold(self, asked: Places) -> pl.Series:
        """For each key whether it may be there."""
        import polars as pl

        found = pl.repeat(value=False, n=len(asked.first), eager=True)
        for bitmaps in self._filters:
            found |= _may_hold(bitmaps, asked)
        return found


def _may_hold(bitmaps: Sequence[BitMap], asked: Places) -> pl.Series:
    """Only keys that one bitmap holds are held against the next."""
    import polars as pl

    frame = pl.DataFrame(list(asked), schema=list(Places._fields)).with_row_index("at")
    for name, bitmap in zip(Places._fields, bitmaps, strict=True):
        shared = array("I", bitmap & _bitmap_of(frame[name]))
        frame = frame.filter(pl.col(name).is_in(pl.Series(shared, dtype=pl.UInt32).implode()))
    return pl.int_range(len(asked.first), eager=True, dtype=pl.UInt32).is_in(frame["at"].implode())


def _bitmap_of(places_: pl.Series) -> BitMap:
    from pyroaring import BitMap

    return BitMap(array("I", places_.sort().to_list()))
