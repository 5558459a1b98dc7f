"""The one read-write connection and its transactions.

Floor: ledger. Every change happens inside `transaction()`: BEGIN IMMEDIATE, then all or nothing. After an error of the
file or the disk nothing more may be written through this object, because what reached the disk is then unknown:
close it, open the ledger anew, and recover (law 10).
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from importer.errors import LedgerProblem
from importer.ledger.opening import translated
from importer.ledger.place import Place


class Store:
    """A writer's connection. Used from the thread that made it only."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.connection = connection
        self.path = path
        self.is_broken = False
        self._place = Place(path)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it or none; durable when it returns.

        **Errors**: LedgerProblem, after which the store refuses to work.
        """
        if self.is_broken:
            raise LedgerProblem(
                f"The ledger {self.path} failed earlier in this run.", hint="Run the same command again."
            )
        with translated(self.path, "written"):
            try:
                self.connection.execute("BEGIN IMMEDIATE")
                yield
                self.judge_place()
                self.connection.execute("COMMIT")
            except BaseException as problem:
                self.is_broken = self.is_broken or isinstance(problem, sqlite3.Error)
                with contextlib.suppress(sqlite3.Error):
                    self.connection.execute("ROLLBACK")
                raise

    def judge_place(self) -> None:
        """Lets a commit only into the file that a later run will find. **Errors**: LedgerProblem."""
        try:
            self._place.judge()
        except (LedgerProblem, OSError):
            self.is_broken = True
            raise

    def all(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        """Every row of a query."""
        with translated(self.path, "read"):
            return self.connection.execute(sql, values).fetchall()

    def one(self, sql: str, values: Sequence[Any] = ()) -> Any:
        """The first row of a query, or None."""
        with translated(self.path, "read"):
            return self.connection.execute(sql, values).fetchone()

    def insert(self, table: str, **values: Any) -> int:
        """Inserts one row of a small table and gives its id; names come from code, never from a user."""
        columns, marks = ", ".join(values), ", ".join("?" * len(values))
        made = self.connection.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", list(values.values()))
        return int(made.lastrowid or 0)

    def many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Runs one statement for many rows."""
        self.connection.executemany(sql, rows)

    def change_one(self, sql: str, values: Sequence[Any]) -> None:
        """A state change that names the state it expects; exactly one row must move (law 10).

        **Errors**: LedgerProblem when none did: somebody else changed the ledger, or there is a bug.
        """
        self._judge_moved(self.connection.execute(sql, values).rowcount, 1)

    def change_each(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """The same for several rows at once, none of them twice: in the statement they stand for `$rows`.

        One statement for all, because each gives up the interpreter, and waits for its turn afterwards.
        **Shapes**: as many values for each row, called `column1`, `column2`, … in the statement.
        """
        if rows:
            self._judge_moved(self._in_one(sql, rows), len(rows))

    def insert_each(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Inserts several rows by one statement, in which they stand for `$rows`."""
        if rows:
            self._in_one(sql, rows)

    def _in_one(self, sql: str, rows: Sequence[Sequence[Any]]) -> int:
        marks = ", ".join([f"({', '.join('?' * len(rows[0]))})"] * len(rows))
        return self.connection.execute(sql.replace("$rows", marks), [value for row in rows for value in row]).rowcount

    def _judge_moved(self, moved: int, expected: int) -> None:
        if moved != expected:
            self.is_broken = True
            raise LedgerProblem(
                f"The ledger {self.path} is not in the state this run left it in "
                f"({moved} rows moved instead of {expected}).",
                hint="Something else wrote to it. Nothing more was sent; run the same command again.",
            )
