"""Reading do-not-call lists: any list this program can read, its numbers understood as those of a list to call.

Floor: intake. It fails closed: a list that cannot be read whole, or too much of which is no number, stops the run,
since nobody can say who must not be called. For the same reason bare digits that are valid both ways are taken both
ways, a number that is merely possible counts, and a first line taken for a header is looked at as well.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl
from pyroaring import BitMap64

from importer import phones
from importer.errors import ListProblem, UsageProblem
from importer.intake.plan import find_column, is_phone_name, likely_phone_column
from importer.ledger import number_set
from importer.phones import TYPES, PhoneRules
from importer.sources import RowList, open_list

MOST_UNREADABLE_SHARE = 0.01
_FLUSH_NUMBERS = 1 << 21


@dataclass(frozen=True, kw_only=True, slots=True)
class Suppression:
    """A do-not-call list that was read. `name` is its path as given; empty rows count as read, not as unreadable."""

    name: str
    numbers: BitMap64
    read_rows: int
    unreadable_rows: int

    @property
    def facts(self) -> dict[str, Any]:
        """As the ledger keeps it beside the numbers."""
        return {"source": self.name, "read_rows": self.read_rows, "unreadable_rows": self.unreadable_rows}


def read_suppression(name: str, *, region: str | None, column: str | None, spool_dir: Path) -> Suppression:
    """One do-not-call list, a file of any format, read to its end.

    **Errors**: ListProblem (exit 4) when it cannot be read to its end, its number column cannot be told, or over 1 % of
    its rows are no numbers. UsageProblem for standard input, which is the list's own.
    """
    if name == "-":
        raise UsageProblem("A do-not-call list cannot come from standard input.", hint="Name a file.")
    with open_list([name], stdin=BytesIO(), spool_dir=spool_dir) as row_list:
        return _read(name, row_list, _number_column(name, row_list.columns, column), region)


def _number_column(name: str, columns: Sequence[str], said: str | None) -> str:
    if said is not None:
        return find_column(columns, said, "--suppress-column")
    found = likely_phone_column(columns)
    if len(columns) > 1 and not is_phone_name(found):
        raise ListProblem(
            f"Which column of the do-not-call list {name} holds the numbers cannot be told. Nothing was sent.",
            hint=f"Name it with --suppress-column. The columns are: {', '.join(columns[:12])}",
        )
    return found


def _read(name: str, row_list: RowList, column: str, region: str | None) -> Suppression:
    gathered = _Gathered(region)
    gathered.look_at_header(column)
    for chunk in row_list.chunks():
        gathered.add(chunk.rows[column], bad_rows=chunk.bad.height)
    found = Suppression(
        name=name,
        numbers=gathered.numbers(),
        read_rows=gathered.read_rows,
        unreadable_rows=gathered.unreadable_rows,
    )
    if found.unreadable_rows > MOST_UNREADABLE_SHARE * found.read_rows:
        raise ListProblem(
            f"{found.unreadable_rows:,} of {found.read_rows:,} rows of the do-not-call list {name} are no numbers, "
            "so it cannot be honoured. Nothing was sent.",
            hint="Say --region if its numbers lack the country code, --suppress-column if another column holds them.",
        )
    return found


class _Gathered:
    """Numbers on their way into a set: gathered until there are many, since many at once are quicker to add."""

    def __init__(self, region: str | None) -> None:
        self._national = PhoneRules(region=region, accept="possible", types=frozenset(TYPES), bare="national")
        self._international = replace(self._national, accept="any-digits", bare="international")
        self._waiting = array("Q")
        self._numbers = BitMap64()
        self.read_rows = 0
        self.unreadable_rows = 0

    def look_at_header(self, column: str) -> None:
        """A list without a header has its first number taken for a name: it counts as a number too."""
        self._take(phones.check(pl.Series([column]), self._national)["e164"])

    def add(self, cells: pl.Series, *, bad_rows: int) -> None:
        """Reads a chunk's cells; `bad_rows` of it could not even be read as rows."""
        checked = phones.check(cells, self._national)
        unread = checked["reason"].is_not_null() & (checked["reason"] != "empty")
        self.read_rows += len(cells) + bad_rows
        self.unreadable_rows += int(unread.sum()) + bad_rows
        self._take(checked["e164"])
        doubtful = cells.filter(unread | checked["is_ambiguous_bare"])
        if len(doubtful):
            self._take(phones.check(doubtful, self._international)["e164"])

    def _take(self, e164: pl.Series) -> None:
        numbers = e164.drop_nulls().str.strip_prefix("+").cast(pl.Int64)
        self._waiting.extend(numbers.to_list())
        if len(self._waiting) >= _FLUSH_NUMBERS:
            self._flush()

    def _flush(self) -> None:
        self._numbers |= number_set(self._waiting)
        self._waiting = array("Q")

    def numbers(self) -> BitMap64:
        """All of them."""
        self._flush()
        return self._numbers
