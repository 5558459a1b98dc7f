"""Rows picked by a condition in SQL over the list's own columns.

Floor: ledger. The condition comes from a person, so it never meets the ledger: rows are copied, some thousands at a
time, into a database in memory that holds nothing else. A newcomer may question the copies: a view that unfolds frozen
bodies would need JSON functions that a ledger's own schema may not call, and could not know the columns.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from importer.errors import UsageProblem
from importer.ledger.outcome_book import OutcomeRow

CHUNK_ROWS = 10_000
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
        _look(desk, where, names)  # a slip of the pen is told before anything is read
        while piece := [_cells(row, fields) for row in islice(waiting, CHUNK_ROWS)]:
            desk.executemany(f"INSERT INTO list VALUES ({marks})", piece)
            yield from _look(desk, where, names)
            desk.execute("DELETE FROM list")


def _look(desk: sqlite3.Connection, where: str, names: Sequence[str]) -> list[int]:
    try:
        return [row[0] for row in desk.execute(f"SELECT importer_row_id FROM list WHERE ({where}\n)")]
    except (sqlite3.Error, sqlite3.Warning) as problem:
        raise UsageProblem(
            f"--where is no condition SQLite understands: {problem}.",
            hint=f"Write it over these columns: {', '.join(names)}",
        ) from problem


def _cells(row: OutcomeRow, fields: Sequence[str]) -> list[Any]:
    item = row.item
    payload = item.get("payload") or {}
    job = row.job
    ours = (row.file, row.row_no, row.state, job and job.status, job and job.attempts)
    return [
        row.row_id,
        f"+{item['phone']}",
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
