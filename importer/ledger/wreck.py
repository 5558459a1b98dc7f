"""A damaged ledger, read as far as it can be read: around every page that cannot.

Floor: ledger; the file is opened read-only and never written. A newcomer may question the halving: SQLite gives an
error for the whole query that touches a damaged page, so ranges of ids that fail are cut until what is left of them is
the damage itself.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from importer.errors import LedgerProblem
from importer.ledger.schema import columns_of

CHUNK_ROWS = 10_000
MOST_FAILURES = 20_000  # single ids of one table that may fail before the rest of it is given up
_WIDEST_SPAN = 10**10  # a largest id beyond this is damage itself
_TAIL_ROWS = 1_000

Rows = list[tuple[Any, ...]]


@dataclass(slots=True)
class Wreck:
    """A connection to what is left. `unread` counts, for each table, ids (or ends of a table) that gave an error."""

    connection: sqlite3.Connection
    unread: dict[str, int] = field(default_factory=dict)

    def chunks(self, table: str, columns: Sequence[str], *, most_id: int = 0) -> Iterator[Rows]:
        """What can be read of a table, in the columns asked for; a column the file lacks comes as None.

        **Shapes**: lists of at most CHUNK_ROWS rows. `most_id` is an id known from elsewhere to have been given.
        """
        there = self._columns(table)
        if not there:
            return
        wanted = ", ".join(f'"{name}"' if name in there else "NULL" for name in columns)
        if self._has_ids(table):
            yield from self._by_id(table, wanted, most_id)
        else:
            yield self._from_both_ends(table, wanted, there)

    def _columns(self, table: str) -> tuple[str, ...]:
        try:
            return columns_of(self.connection, table)
        except sqlite3.Error:
            self._note(table)
            return ()

    def _has_ids(self, table: str) -> bool:
        try:
            self.connection.execute(f'SELECT rowid FROM "{table}" LIMIT 0')
        except sqlite3.OperationalError:
            return False
        except sqlite3.Error:
            return True
        return True

    def _note(self, table: str) -> None:
        self.unread[table] = self.unread.get(table, 0) + 1

    def _by_id(self, table: str, wanted: str, most_id: int) -> Iterator[Rows]:
        first, last = self._end(table, "min"), self._end(table, "max")
        if last is None or last - (first or 0) > _WIDEST_SPAN:
            last = max(most_id, self._last_before_damage(table)) + _TAIL_ROWS
        if first is None or first > last:
            first = 0
        for start in range(first, last + 1, CHUNK_ROWS):
            yield list(self._between(table, wanted, start, min(start + CHUNK_ROWS - 1, last)))

    def _end(self, table: str, which: str) -> int | None:
        """The smallest or largest id; None when it cannot be read. An empty table ends before it begins."""
        try:
            found = self.connection.execute(f'SELECT {which}(rowid) FROM "{table}"').fetchone()[0]
        except sqlite3.Error:
            self._note(table)
            return None
        return int(found) if found is not None else (0 if which == "min" else -1)

    def _last_before_damage(self, table: str) -> int:
        last = 0
        with contextlib.suppress(sqlite3.Error):
            for row in self.connection.execute(f'SELECT rowid FROM "{table}" ORDER BY rowid'):
                last = row[0]
        return last

    def _between(self, table: str, wanted: str, first: int, last: int) -> Iterator[tuple[Any, ...]]:
        """The rows of a range of ids; a range that fails is halved, down to single ids."""
        waiting = [(first, last)]
        while waiting:
            low, high = waiting.pop()
            try:
                yield from self.connection.execute(
                    f'SELECT {wanted} FROM "{table}" WHERE rowid BETWEEN ? AND ?', [low, high]
                ).fetchall()
            except sqlite3.Error:
                if low == high or self.unread.get(table, 0) >= MOST_FAILURES:
                    self._note(table)
                else:
                    middle = (low + high) // 2
                    waiting += [(middle + 1, high), (low, middle)]

    def _from_both_ends(self, table: str, wanted: str, there: Sequence[str]) -> Rows:
        """A table without ids, forwards to the first damage and backwards to the last."""
        forwards, is_whole = self._until_damage(f'SELECT {wanted} FROM "{table}"')
        if is_whole:
            return forwards
        self._note(table)
        order = ", ".join(f'"{name}" DESC' for name in there[:2])
        backwards, _ = self._until_damage(f'SELECT {wanted} FROM "{table}" ORDER BY {order}')
        return list(dict.fromkeys([*forwards, *reversed(backwards)]))

    def _until_damage(self, sql: str) -> tuple[Rows, bool]:
        rows: Rows = []
        try:
            rows.extend(self.connection.execute(sql))
        except sqlite3.Error:
            return rows, False
        return rows, True


@contextlib.contextmanager
def opened_wreck(path: Path) -> Iterator[Wreck]:
    """A damaged ledger, open for reading. **Errors**: LedgerProblem when not even its list of tables can be read."""
    if not path.is_file():
        raise LedgerProblem(f"There is no ledger at {path}.", hint="Name one with --ledger.")
    uri = f"{path.absolute().as_uri()}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
        try:
            for pragma in ("trusted_schema = 0", "cell_size_check = 1", "writable_schema = 1", "busy_timeout = 60000"):
                connection.execute(f"PRAGMA {pragma}")
            tables = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'batches'").fetchone()[0]
        except sqlite3.Error as problem:
            raise _hopeless(path, str(problem)) from problem
        if not tables:
            raise _hopeless(path, "it has no table of batches")
        yield Wreck(connection=connection)


def _hopeless(path: Path, why: str) -> LedgerProblem:
    return LedgerProblem(
        f"Nothing of {path} can be saved: {why}.",
        hint="Put a backup in its place, or begin a new ledger with --adopt-since and the time of the first import.",
    )
