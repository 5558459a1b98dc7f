"""Whether the ledger may hold a key: a blocked Bloom filter, asked and filled by whole columns.

Floor: ledger. Nearly every key of a new list is one that the ledger does not hold, and this says so in 4 bytes a key
and two looks into memory. Keys are already evenly spread, so nothing is hashed: the first half of a key names two
blocks of 64 bits, the second the bits in them. A newcomer may question filters of growing size, one behind another: a
small list needs little memory, and no filter is ever made anew.
**Source**: Putze, Sanders and Singler, Cache-, Hash- and Space-Efficient Bloom Filters (2007).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from importer.keyruns import Words

    Flags = npt.NDArray[np.bool_]

BITS = 4  # in each of the two blocks; a full filter takes one key in some 30,000 for one it holds
BLOCKS = 2
KEYS_PER_BLOCK = 2
FIRST_BLOCKS_BITS, MOST_BLOCKS_BITS = 18, 23  # half a million keys in 2 MiB, 16 million in 64 MiB


class KeyFilter:
    """Keys that were added. It may take another for one of them, never one of them for another.

    **Shapes**: keys as `keyruns.words_of` gives them.
    """

    def __init__(self, *, first_blocks_bits: int = FIRST_BLOCKS_BITS) -> None:
        self._filters: list[_Filter] = []
        self._next_bits = first_blocks_bits

    @property
    def filters(self) -> int:
        """How many there are, one after another."""
        return len(self._filters)

    def add(self, keys: Words) -> None:
        """Adds keys."""
        if not self._filters or self._filters[-1].room <= 0:
            self._filters.append(_Filter(self._next_bits))
            self._next_bits = min(self._next_bits + 1, MOST_BLOCKS_BITS)
        self._filters[-1].add(keys)

    def may_hold(self, keys: Words) -> Flags:
        """For each key whether it may be there."""
        import numpy as np

        found = np.zeros(len(keys), dtype=np.bool_)
        for each in self._filters:
            found |= each.may_hold(keys)
        return found


class _Filter:
    """One filter of a fixed size; `room` is how many more keys it should take."""

    def __init__(self, blocks_bits: int) -> None:
        import numpy as np

        self._shift = np.uint64(64 - blocks_bits)
        self._blocks = np.zeros(1 << blocks_bits, dtype=np.uint64)
        self.room = KEYS_PER_BLOCK << blocks_bits

    def add(self, keys: Words) -> None:
        """Sets the keys' bits; of several keys of one block one is written at a time."""
        self.room -= len(keys)
        for number in range(BLOCKS):
            places, bits = self._places(keys, number), _bits(keys, number)
            while len(places):
                self._blocks[places] |= bits
                is_unset = self._blocks[places] & bits != bits
                places, bits = places[is_unset], bits[is_unset]

    def may_hold(self, keys: Words) -> Flags:
        """Whether all of a key's bits are set."""
        import numpy as np

        found = np.ones(len(keys), dtype=np.bool_)
        for number in range(BLOCKS):
            bits = _bits(keys, number)
            found &= self._blocks[self._places(keys, number)] & bits == bits
        return found

    def _places(self, keys: Words, number: int) -> npt.NDArray[np.int64]:
        """By the first 46 bits of a key: its version stands behind them."""
        import numpy as np

        return (keys[:, 0] << np.uint64(MOST_BLOCKS_BITS * number) >> self._shift).astype(np.int64)


def _bits(keys: Words, number: int) -> Words:
    """By the last 48 bits of a key: its variant stands before them."""
    import numpy as np

    made = np.zeros(len(keys), dtype=np.uint64)
    for at in range(BITS * number, BITS * (number + 1)):
        made |= np.uint64(1) << (keys[:, 1] >> np.uint64(6 * at) & np.uint64(63))
    return made
