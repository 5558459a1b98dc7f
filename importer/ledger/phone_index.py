"""Which packed rows stand for a number: a bitmap says which numbers there are at all, the packs themselves the rest.

Floor: ledger. A list is rarely asked for numbers, except the few that somebody wants to see explained; so no index of
them is kept: all packs are looked through, at some ten million rows a second. Stand-ins of erased numbers are too far
apart for a bitmap: they are kept in order, 8 bytes each.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from importer.keys import STAND_INS_FROM
from importer.ledger.packs import Pack, RowRecord, pack_of_row, packed_rows_with_phone

if TYPE_CHECKING:
    import sqlite3

    import polars as pl
    from pyroaring import BitMap64

FEW_PHONES = 8
_READ_ROWS = 250_000


class PhoneIndex:
    """The numbers of packed rows."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._known: BitMap64 | None = None
        self._stand_ins: pl.Series | None = None

    def forget(self) -> None:
        """Drops what was loaded: numbers gave way to stand-ins."""
        self._known = self._stand_ins = None

    def note(self, phones: pl.Series) -> None:
        """Adds numbers that were just committed."""
        if self._known is not None:
            self._known |= _set_of(phones)

    def find(self, phones: Sequence[int]) -> list[RowRecord]:
        """The packed rows of any of these numbers, or stand-ins."""
        if len(phones) <= FEW_PHONES:
            return [row for phone in phones for row in packed_rows_with_phone(self._connection, phone)]
        wanted = self._held(phones).to_frame()
        if not wanted.height:
            return []
        return [
            row
            for read in self._read()
            for row in self._rows(read.join(wanted, on="phone", how="semi", maintain_order="left")["row_id"])
        ]

    def _held(self, phones: Sequence[int]) -> pl.Series:
        """Those of these numbers and stand-ins that some packed row has."""
        import polars as pl

        known, stand_ins = self._loaded()
        numbers = [phone for phone in phones if phone < STAND_INS_FROM and phone in known]
        asked = pl.Series("phone", [phone for phone in phones if phone >= STAND_INS_FROM], dtype=pl.Int64)
        found = pl.Series("phone", numbers, dtype=pl.Int64)
        if not (len(asked) and len(stand_ins)):
            return found
        places = stand_ins.search_sorted(asked).clip(upper_bound=len(stand_ins) - 1)
        return found.append(asked.filter(stand_ins.gather(places) == asked))

    def _loaded(self) -> tuple[BitMap64, pl.Series]:
        """The numbers there are, and the stand-ins in order."""
        if self._known is None or self._stand_ins is None:
            import polars as pl
            from pyroaring import BitMap64

            self._known, erased = BitMap64(), [pl.Series("phone", [], dtype=pl.Int64)]
            for read in self._read():
                is_erased = read["phone"] >= STAND_INS_FROM
                self._known |= _set_of(read["phone"].filter(~is_erased))
                erased.append(read["phone"].filter(is_erased))
            self._stand_ins = pl.concat(erased).sort()
        return self._known, self._stand_ins

    def _rows(self, row_ids: pl.Series) -> Iterator[RowRecord]:
        pack: Pack | None = None
        for row_id in row_ids:
            if pack is None or not pack.holds(row_id):
                pack = pack_of_row(self._connection, row_id)
            if pack is not None:
                yield pack.row(row_id - pack.first_row_id)

    def _read(self) -> Iterator[pl.DataFrame]:
        """All packed numbers with their rows, some at a time."""
        waiting: list[tuple[int, int, int, bytes]] = []
        rows = 0
        for each in self._connection.execute(
            "SELECT first_row_id, size_rows, digits, phones FROM row_packs ORDER BY first_row_id"
        ):
            waiting.append(each)
            rows += each[1]
            if rows >= _READ_ROWS:
                yield _frame_of(waiting)
                waiting, rows = [], 0
        if waiting:
            yield _frame_of(waiting)


def _frame_of(read: Sequence[Any]) -> pl.DataFrame:
    import polars as pl

    phones = [text[at : at + digits] for _, _, digits, text in read for at in range(0, len(text), digits)]
    row_ids = [row_id for first, size, _, _ in read for row_id in range(first, first + size)]
    texts = pl.Series("phone", phones, dtype=pl.Binary).cast(pl.String)
    return pl.DataFrame({"phone": texts.cast(pl.Int64), "row_id": pl.Series(row_ids, dtype=pl.Int64)})


def _set_of(phones: pl.Series) -> BitMap64:
    from pyroaring import BitMap64

    return BitMap64(array("Q", phones.sort().to_list()))
