"""The schema a ledger must have, made by the migrations themselves, and how a file differs from it.

Floor: ledger. A file may come from anywhere: a trigger nobody of us wrote would run inside our transactions, and a
table without its CHECKs would take what must not be. A newcomer may question that a stranger's view or table is let
pass when a ledger is opened: people keep their own reports beside ours; `ledger check` names them.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

from importer.errors import LedgerProblem
from importer.ledger.opening import migration_set, translated

Objects = Mapping[tuple[str, str], str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """An object that is not as the migrations make it. `is_ours`: it is missing or changed, else a stranger's."""

    kind: str
    name: str
    is_ours: bool

    @property
    def is_dangerous(self) -> bool:
        """True for what may change how we write: ours that is not as it was, and any stranger's trigger."""
        return self.is_ours or self.kind == "trigger"

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r} {'is missing or was changed' if self.is_ours else 'is not one of ours'}"


@cache
def expected_objects() -> Objects:
    """Each object the migrations make, with its SQL."""
    from sqlite_utils import Database

    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migration_set().apply(Database(connection, execute_plugins=False))
        return MappingProxyType(_objects(connection))


def expected_tables() -> dict[str, tuple[str, ...]]:
    """Each of our tables with its columns."""
    from sqlite_utils import Database

    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migration_set().apply(Database(connection, execute_plugins=False))
        names = [name for kind, name in _objects(connection) if kind == "table"]
        return {name: columns_of(connection, name) for name in names}


def columns_of(connection: sqlite3.Connection, table: str) -> tuple[str, ...]:
    """The columns of a table; none when there is no such table."""
    return tuple(row[1] for row in connection.execute(f'PRAGMA table_info("{table}")'))


def _objects(connection: sqlite3.Connection) -> dict[tuple[str, str], str]:
    rows = connection.execute(
        "SELECT type, name, coalesce(sql, '') FROM sqlite_master WHERE name NOT GLOB 'sqlite_*' "
        "AND name NOT GLOB '_sqlite_migrations*'"
    )
    return {(kind, name): sql for kind, name, sql in rows}


def differences(connection: sqlite3.Connection) -> list[Difference]:
    """How a file's schema differs from ours. **Errors**: sqlite3.Error when its schema cannot be read."""
    expected, found = expected_objects(), _objects(connection)
    ours = [key for key, sql in expected.items() if found.get(key) != sql]
    strangers = [key for key in found if key not in expected]
    return [
        *(Difference(kind=kind, name=name, is_ours=True) for kind, name in ours),
        *(Difference(kind=kind, name=name, is_ours=False) for kind, name in strangers),
    ]


def judge_schema(connection: sqlite3.Connection, path: Path) -> None:
    """Refuses a ledger in which something would write beside us, or lets through what must not be.

    **Errors**: LedgerProblem naming the first such object.
    """
    with translated(path, "read"):
        dangers = [each for each in differences(connection) if each.is_dangerous]
    if dangers:
        raise LedgerProblem(
            f"The ledger {path} is not as importer makes it: {dangers[0]}.",
            hint="Nothing was sent. `importer ledger check` shows all; `importer ledger repair` makes a clean one.",
        )
