"""Rows picked by a condition in SQL over the list's own columns.

Floor: ledger. The condition comes from a person, so it never meets the ledger: rows are copied, some thousands at a
time, into a database in memory that holds nothing else, and all it may do there is to compare. A newcomer may question
the copies: a view that unfolds frozen bodies would need JSON functions that a ledger's own schema may not call, and
could not know the columns.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from importer.errors import UsageProblem
from importer.ledger.outcome_book import OutcomeRow

CHUNK_ROWS = 10_000
_TEXT = re.compile(r"'(?:[^']|'')*'")
_NAME = re.compile(r'"((?:[^"]|"")*)"')
_NO_COLUMN = re.compile(r"no such column: (.+)")
OUR_COLUMNS = ("importer_file", "importer_row", "importer_state", "importer_status", "importer_attempts")


def pick(rows: Iterable[OutcomeRow], where: str, *, phone: str, fields: Sequence[str]) -> Iterator[int]:
    """The ids of the rows for which a condition holds.

    **Shapes**: columns are called as in the list (`phone` is what it calls its numbers, `fields` the others), and
    `importer_…` as in a file of outcomes; all text but row and attempts. A missing field is NULL.
    **Errors**: UsageProblem for a condition SQLite does not understand, with the columns there are.
    """
    names = _different([phone, *fields, *OUR_COLUMNS])
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as desk:
        columns = ", ".join(_quoted(name) for name in names)
        desk.execute(f"CREATE TABLE list (importer_row_id INTEGER PRIMARY KEY, {columns})")
        marks = ", ".join("?" * (len(names) + 1))
        waiting = iter(rows)
        _judge(desk, where, names)  # a slip of the pen is told before anything is read
        while piece := [_cells(row, fields) for row in islice(waiting, CHUNK_ROWS)]:
            desk.executemany(f"INSERT INTO list VALUES ({marks})", piece)
            yield from _look(desk, f"({where}\n)", names)
            desk.execute("DELETE FROM list")


def _judge(desk: sqlite3.Connection, where: str, names: Sequence[str]) -> None:
    """Takes a condition only; SQLite would read a name in double quotes that is no column as a text.

    What closes our parenthesis to say more cannot be right both within one and within two.
    """
    for name in _NAME.findall(_TEXT.sub("''", where)):
        if name.replace('""', '"').lower() not in {each.lower() for each in names}:
            raise _refused(f'there is no column "{name}", and text stands in single quotes', names, name)
    for condition in (f"({where}\n)", f"(({where}\n))"):
        _look(desk, condition, names)


def _look(desk: sqlite3.Connection, condition: str, names: Sequence[str]) -> list[int]:
    warden = _Warden()
    desk.set_authorizer(warden)
    try:
        return [row[0] for row in desk.execute(f"SELECT importer_row_id FROM list WHERE {condition}")]
    except (sqlite3.Error, sqlite3.Warning) as problem:
        if warden.has_refused:
            raise _refused("it may compare the columns of its row, and do nothing else", names) from problem
        unknown = _NO_COLUMN.fullmatch(str(problem))
        raise _refused(str(problem).rstrip("."), names, unknown[1] if unknown else "") from problem
    finally:
        desk.set_authorizer(None)


class _Warden:
    """Lets SQLite read the list and call functions: one SELECT, which is ours, and nothing else."""

    def __init__(self) -> None:
        self._selects = 0
        self.has_refused = False

    def __call__(self, action: int, *_: str | None) -> int:
        """What SQLite asks while it prepares a statement."""
        self._selects += action == sqlite3.SQLITE_SELECT
        is_fine = action in (sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION) or (
            action == sqlite3.SQLITE_SELECT and self._selects == 1
        )
        self.has_refused = self.has_refused or not is_fine
        return sqlite3.SQLITE_OK if is_fine else sqlite3.SQLITE_DENY


def _refused(why: str, names: Sequence[str], unknown: str = "") -> UsageProblem:
    near = difflib.get_close_matches(unknown, names, n=1) if unknown else []
    guess = f"Did you mean {near[0]}? " if near else ""
    return UsageProblem(
        f"--where is no condition that can be used: {why}.", hint=f"{guess}The columns are: {', '.join(names)}"
    )


def _cells(row: OutcomeRow, fields: Sequence[str]) -> list[Any]:
    item = row.item
    payload = item.get("payload") or {}
    job = row.job
    ours = (row.file, row.row_no, row.state, job and job.status, job and job.attempts)
    return [
        row.row_id,
        row.phone,
        *(_cell(payload[name] if name in payload else item.get(name)) for name in fields),
        *ours,
    ]


def _cell(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _different(names: Sequence[str]) -> list[str]:
    """The names, made different where SQLite, which reads them in any case, could not tell two apart."""
    found: list[str] = []
    for name in names:
        unlike = {each.lower() for each in found}
        number, free = 1, name
        while free.lower() in unlike:
            number += 1
            free = f"{name} ({number})"
        found.append(free)
    return found


def _quoted(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'
