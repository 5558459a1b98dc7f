"""Stand-ins: what an erased number is still known by, so that nobody is called again because he was forgotten.

Floor: ledger. A stand-in is a keyed hash in the shape of a number, so every look-up, index and view that knows numbers
finds it as well; 19 digits tell it from one. A newcomer may question that the seed stands in the ledger, beside what it
guards: so do the seeds of the row keys, and a ledger put back from a copy without it would call people again. Whoever
has the whole file can therefore try numbers; `docs/PRIVACY.md` says so.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from array import array
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from importer.keys import STAND_INS_FROM, stand_in, stand_in_column

if TYPE_CHECKING:
    import polars as pl

_FEW = 8  # up to so many are made one by one, without polars


def is_erased(phone: int) -> bool:
    """Whether a row's number is a stand-in: the number itself was erased."""
    return phone >= STAND_INS_FROM


def shown(phone: int) -> str | None:
    """A row's number with its plus; None once it was erased."""
    return None if is_erased(phone) else f"+{phone}"


class StandIns:
    """The stand-ins of one ledger, over any connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def with_numbers(self, phones: Iterable[int]) -> dict[int, int]:
        """What rows of these numbers may be known by: the numbers themselves and their stand-ins, each with its number.

        Only the numbers while nothing was ever erased.
        """
        asked = list(phones)
        known = dict(zip(asked, asked, strict=True))
        seed = self.seed()
        if seed is None:
            return known
        if len(asked) <= _FEW:
            return known | {stand_in(seed, phone): phone for phone in asked}
        import polars as pl

        made = stand_in_column(seed, pl.Series("phone", asked, dtype=pl.Int64))
        return known | dict(zip(made, asked, strict=True))

    def seed(self) -> str | None:
        """The secret stand-ins are made under; None before anything was erased."""
        found = self._connection.execute("SELECT number_seed FROM ledger_info").fetchone()
        return None if found is None else found[0]

    def ensure_seed(self) -> None:
        """Makes the secret once, for ever. Called inside a transaction."""
        self._connection.execute(
            "UPDATE ledger_info SET number_seed = ? WHERE number_seed IS NULL", [secrets.token_hex(32)]
        )

    def made_of(self, phones: Sequence[int], *, keeps_hashes: bool) -> list[int]:
        """The stand-ins of numbers that are being erased; random ones where not even a hash is kept.

        What is a stand-in already stays as it is, unless it is to become a random one.
        """
        import polars as pl

        seed = self.seed()
        numbers = pl.Series("phone", phones, dtype=pl.Int64)
        if not keeps_hashes or seed is None:
            return _random(len(phones)).to_list()
        made = stand_in_column(seed, numbers)
        return made.zip_with(numbers < STAND_INS_FROM, numbers).to_list()


def _random(count: int) -> pl.Series:
    """Stand-ins of nobody: 60 random bits each."""
    import polars as pl

    drawn = pl.Series("phone", array("Q", os.urandom(8 * count)), dtype=pl.UInt64)
    return (drawn // 16).cast(pl.Int64) + STAND_INS_FROM
