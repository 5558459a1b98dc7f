"""Sets of phone numbers as compressed bitmaps: a quarter of a billion of them in half a gigabyte.

Floor: ledger, pure. Numbers are E.164 without the plus, as integers. A newcomer may wonder why sets are cut into parts
of 2^26 numbers when they are kept: adding one number then rewrites at most 8 MiB, and a look-up loads only the parts
that the numbers asked for lie in.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pyroaring import BitMap64

PART_BITS = 26
_PART_SIZE = 1 << PART_BITS


@dataclass(frozen=True, kw_only=True, slots=True)
class PackedPart:
    """One part of a set as it is kept. **Shapes**: `bitmap` in Roaring's portable 64-bit format."""

    part: int
    size_numbers: int
    sha256: bytes
    bitmap: bytes


def number_set(numbers: Sequence[int]) -> BitMap64:
    """A set of these numbers, made at column speed from a list or an array."""
    return BitMap64(array("Q", numbers)) if len(numbers) else BitMap64()


def parts_of(numbers: Iterable[int]) -> set[int]:
    """Which parts these numbers lie in."""
    return set(map(_PART_SIZE.__rfloordiv__, numbers))


def parts_in(numbers: BitMap64) -> Iterator[int]:
    """Which parts a set lies in, in order."""
    first = next(iter(numbers), None)
    while first is not None:
        yield first >> PART_BITS
        first = next(numbers.iter_equal_or_larger(_end_of(first >> PART_BITS)), None)


def _end_of(part: int) -> int:
    return (part + 1) << PART_BITS


def cut_up(numbers: BitMap64) -> Iterator[tuple[int, BitMap64]]:
    """The set cut into its parts, in order; only parts that hold something."""
    for part in parts_in(numbers):
        bounds = BitMap64()
        bounds.add_range(part << PART_BITS, _end_of(part))
        yield part, numbers & bounds


def packed(numbers: BitMap64) -> Iterator[PackedPart]:
    """The parts of a set as they are kept."""
    for part, some in cut_up(numbers):
        some.run_optimize()
        content = some.serialize()
        sha256 = hashlib.sha256(content).digest()
        yield PackedPart(part=part, size_numbers=len(some), sha256=sha256, bitmap=content)


def unpacked(content: bytes, sha256: bytes) -> BitMap64 | None:
    """The set that was packed; None when the bytes are not those that were."""
    if hashlib.sha256(content).digest() != sha256:
        return None
    return BitMap64.deserialize(content)


def count_by_calling_code(numbers: BitMap64, codes: Iterable[int]) -> dict[int, int]:
    """How many numbers each calling code has, codes without any left out."""
    counts = {code: sum(_count_of_length(numbers, code, digits) for digits in range(7, 16)) for code in codes}
    return {code: count for code, count in counts.items() if count}


def _count_of_length(numbers: BitMap64, code: int, digits: int) -> int:
    step = 10 ** (digits - len(str(code)))
    return int(numbers.range_cardinality(code * step, (code + 1) * step))
