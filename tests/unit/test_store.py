"""Several state changes by one statement: all of them happened, or the run ends (law 10)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from importer.errors import LedgerProblem
from importer.ledger.store import Store

MOVE = "UPDATE things SET state = column2 FROM (VALUES $rows) WHERE things.id = column1 AND things.state = 'old'"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store with three things."""
    path = tmp_path / "things.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE things (id INTEGER PRIMARY KEY, state TEXT) STRICT")
        made = Store(connection, path)
        made.insert_each("INSERT INTO things VALUES $rows", [(each, "old") for each in (1, 2, 3)])
        yield made


def states(store: Store) -> list[tuple[int, str]]:
    return store.all("SELECT id, state FROM things ORDER BY id")


def test_each_row_gets_its_own_values(store: Store) -> None:
    with store.transaction():
        store.change_each(MOVE, [(3, "third"), (1, "first")])
    assert states(store) == [(1, "first"), (2, "old"), (3, "third")]


@pytest.mark.parametrize("moves", [[(1, "new"), (4, "new")], [(4, "new")], [(1, "new"), (1, "newer")]])
def test_a_change_of_anything_that_is_not_as_expected_undoes_them_all(
    store: Store, moves: list[tuple[int, str]]
) -> None:
    """Of something that is not there, or twice of the same: nothing is changed, and nothing more is written."""
    with pytest.raises(LedgerProblem, match=f"rows moved instead of {len(moves)}"), store.transaction():
        store.change_each(MOVE, moves)
    assert states(store) == [(1, "old"), (2, "old"), (3, "old")]
    assert store.is_broken


def test_no_changes_are_no_statement(store: Store) -> None:
    with store.transaction():
        store.change_each(MOVE, [])
        store.insert_each("INSERT INTO things VALUES $rows", [])
    assert len(states(store)) == 3
