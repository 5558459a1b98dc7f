"""Call job ids: opaque, unique, not consecutive, and computed rather than stored.

A leaf of the sandbox. An id is the decimal form of a seeded one-to-one mixing of the job's sequence number, so
that no index of a million random ids has to be kept to find a job by its id. Ids stay below 2^50: clients that
read JSON numbers as doubles see them unchanged.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

_BITS = 50
_HALF = _BITS // 2
_MASK = (1 << _BITS) - 1
_ID = re.compile(r"[1-9][0-9]{0,15}", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class JobIds:
    """One file's mapping between sequence numbers (1, 2, 3 ...) and ids."""

    first_factor: int
    second_factor: int
    offset: int

    @classmethod
    def seeded(cls, seed: int) -> JobIds:
        """The mapping of a seed; the same seed gives the same ids for ever."""
        digest = hashlib.blake2b(b"job ids %d" % seed, digest_size=24).digest()
        words = [int.from_bytes(digest[at : at + 8], "big") & _MASK for at in (0, 8, 16)]
        return cls(first_factor=words[0] | 1, second_factor=words[1] | 1, offset=words[2])

    def of_range(self, first: int, size_rows: int) -> list[str]:
        """The ids of `size_rows` sequence numbers from `first` on, in their order."""
        one, two, offset = self.first_factor, self.second_factor, self.offset
        mixed = [(at * one + offset) & _MASK for at in range(first, first + size_rows)]
        return [str((low := (x ^ (x >> _HALF)) * two & _MASK) ^ (low >> _HALF)) for x in mixed]

    def of(self, sequence: int) -> str:
        """The id of one sequence number."""
        return self.of_range(sequence, 1)[0]

    def sequence(self, job_id: str) -> int | None:
        """The sequence number an id stands for, or None for text that is no id."""
        if _ID.fullmatch(job_id) is None or (mixed := int(job_id)) > _MASK:
            return None
        low = (mixed ^ (mixed >> _HALF)) * pow(self.second_factor, -1, 1 << _BITS) & _MASK
        high = low ^ (low >> _HALF)
        return (high - self.offset) * pow(self.first_factor, -1, 1 << _BITS) & _MASK
