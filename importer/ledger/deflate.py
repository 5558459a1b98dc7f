"""Frozen bodies, packed: the format of zlib (RFC 1950), made and read several times as fast where isal is installed.

Floor: ledger, pure. The format is the same whoever made it, so a ledger may go from a machine with isal to one without.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import cache, partial
from typing import cast

LEVEL = 1
# How each begins at level 1 (RFC 1950, 2.2): zlib says "fastest", isal "fast".
HEADS = (b"\x78\x01", b"\x78\x5e")


def packed(content: bytes) -> bytes:
    """The bytes in less room."""
    return _makers()[0](content)


def unpacked(content: bytes) -> bytes:
    """What `packed` was given. **Errors**: ValueError for anything else."""
    _, unpack, problem = _makers()
    try:
        return unpack(content)
    except problem as cause:
        raise ValueError("not a whole packed text") from cause


@cache
def _makers() -> tuple[Callable[[bytes], bytes], Callable[[bytes], bytes], type[Exception]]:
    """How to pack and to unpack, and the error of bytes that cannot be."""
    try:
        from isal import isal_zlib
    except ImportError:  # not made for this kind of machine
        return partial(zlib.compress, level=LEVEL), zlib.decompress, zlib.error
    problem = cast("type[Exception]", isal_zlib.error)
    return partial(isal_zlib.compress, level=LEVEL), isal_zlib.decompress, problem
