"""Lists that are the answer to a query: real SQLite and DuckDB files, read as text, never written to."""

from __future__ import annotations

import io
import os
import sqlite3
import subprocess
import sys
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from importer.errors import ListProblem
from importer.run.choosing import list_name_of
from importer.sources import Position, Query, ReadOptions, RowList, open_list, query_name
from importer.sources.query import as_texts

from .lists import walked

SECRET = "c4naryS3cret"


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """A SQLite file whose columns hold what they like."""
    path = tmp_path / "people 100%.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE people (id INTEGER PRIMARY KEY, phone INTEGER, name TEXT, size REAL)")
        rows = [(n, 16505550100 + n, None if n % 2 else f"Ann {n}", n / 2) for n in range(100)]
        connection.executemany("INSERT INTO people VALUES (?, ?, ?, ?)", rows)
    connection.close()
    return path


def asked(path: Path, sql: str, spool_dir: Path, scheme: str = "sqlite", **options: Any) -> RowList:
    query = Query(sql=sql, db=f"{scheme}:///{path}")
    return open_list([], ReadOptions(query=query, **options), stdin=io.BytesIO(), spool_dir=spool_dir)


def test_an_answer_is_a_list_of_text(people: Path, tmp_path: Path) -> None:
    """Integers exactly, floats with their point, NULL as null; numbered from 1, counted twice, gone when closed."""
    spool_dir = tmp_path / "spool"
    with asked(people, "SELECT phone, name, size FROM people ORDER BY id", spool_dir) as rows:
        reading = walked(rows)
        assert reading.rows[:2] == [("16505550100", "Ann 0", "0.0"), ("16505550101", None, "0.5")]
        assert reading.row_nos == list(range(1, 101))
        assert (reading.read_rows, reading.witness_rows) == (100, 100)
        assert (rows.files[0].format, rows.files[0].is_spooled) == ("sql", True)
        assert walked(rows, Position(file_no=0, row_no=99)).rows == reading.rows[98:]
    assert not list(spool_dir.iterdir())


def test_the_same_answer_is_the_same_list(people: Path, tmp_path: Path) -> None:
    """A query is asked anew every time; its content says whether the list was edited."""
    shas = []
    for change in ("", "UPDATE people SET name = 'Bob' WHERE id = 5"):
        with sqlite3.connect(people) as connection:
            connection.execute(change)
        connection.close()
        for _ in range(2):
            with asked(people, "SELECT * FROM people ORDER BY id", tmp_path) as rows:
                shas.append(walked(rows).sha256)
    assert shas[0] == shas[1] != shas[2] == shas[3]


def test_a_long_answer_passes_in_parts(people: Path, tmp_path: Path) -> None:
    """In the order of the answer, whatever the parts are."""
    sql = "SELECT a.id * 1000 + b.id * 10 + c.id AS n FROM people a, people b, people c WHERE c.id < 10 ORDER BY 1"
    with asked(people, sql, tmp_path) as rows:
        assert [int(row[0] or "") for row in walked(rows).rows] == list(range(100_000))


def test_nobody_in_the_answer_is_a_list_of_nobody(people: Path, tmp_path: Path) -> None:
    """Like a file with a header alone."""
    with asked(people, "SELECT phone FROM people WHERE id < 0 ORDER BY id", tmp_path) as rows:
        assert (rows.columns, walked(rows).rows) == (("phone",), [])


def test_a_duckdb_file_is_asked_the_same_way(tmp_path: Path) -> None:
    """Through its own driver for SQLAlchemy."""
    path = tmp_path / "people.duckdb"
    with duckdb.connect(str(path)) as connection:
        made = "SELECT 16505550100 + range AS phone, 1.10::DECIMAL(9, 2) AS d FROM range(3)"
        connection.execute(f"CREATE TABLE people AS {made}")
    with asked(path, "SELECT phone, d FROM people ORDER BY phone", tmp_path / "spool", "duckdb") as rows:
        assert walked(rows).rows == [(f"1650555010{n}", "1.10") for n in range(3)]


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("DELETE FROM people", "readonly database"),
        ("SELECT phone FROM nobody", "no such table"),
        ("SELECT 1 AS a, 2 AS a", "more than one column"),
        ("SELECT 16505550123 nothing here", 'near "nothing"'),
        ("SELECT x'ff00fe' AS phone", "bytes that are no text in rows 1 to 1"),
        ("SELECT phone, 'x' FROM people, (SELECT 1 UNION SELECT 2) ORDER BY 1", "gave more than"),
        ("", "gives no rows"),
    ],
)
def test_what_is_no_answer_is_a_list_problem(people: Path, tmp_path: Path, sql: str, words: str) -> None:
    """Nothing is written to the database, and nothing stays behind."""
    before = people.read_bytes()
    with pytest.raises(ListProblem, match=words) as caught:
        asked(people, sql, tmp_path / "spool", max_spool_bytes=1)
    assert caught.value.__cause__ is None
    assert people.read_bytes() == before
    assert not list((tmp_path / "spool").iterdir())


@pytest.mark.parametrize(
    ("db", "words"),
    [
        ("sqlite:////no/such/file.db", "there is no file"),
        ("sqlite://", "no database file"),
        ("sqlite:///:memory:", "no database file"),
        (f"postgresql://ann:{SECRET}@127.0.0.1:1/crm", "did not answer"),
        (f"nosuch://ann:{SECRET}@127.0.0.1/crm", "driver"),
        (f"oracle://ann:{SECRET}@127.0.0.1/crm", "driver"),
        (f"ann:{SECRET}@127.0.0.1/crm", "no address of a database"),
        (f"postgresql://ann:{SECRET}@[x/crm", "cannot be read"),
    ],
)
def test_a_database_that_cannot_be_reached_is_a_list_problem(tmp_path: Path, db: str, words: str) -> None:
    """Its password is in no message."""
    options = ReadOptions(query=Query(sql="SELECT 1", db=db))
    with pytest.raises(ListProblem, match=words) as caught:
        open_list([], options, stdin=io.BytesIO(), spool_dir=tmp_path)
    assert SECRET not in caught.value.message + caught.value.hint + repr(options)
    assert not list(tmp_path.iterdir())


def test_a_query_has_a_name_without_secrets() -> None:
    """The same question has the same name however it is laid out; another one has another, and the ledger keeps it."""
    db = f"postgresql://ann:{SECRET}@db.example/crm?sslmode=require"
    names = [query_name(Query(sql=sql, db=db)) for sql in ("SELECT 1", " SELECT\n1 ", "SELECT 2")]
    assert names[0] == names[1] != names[2]
    assert names[0].startswith("postgresql://db.example/crm?…")
    assert list_name_of(names[:1], None) == names[0]


CELLS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.decimals(allow_nan=False, places=3),
    st.dates(), st.text(st.characters(exclude_categories=["Cs"])), st.uuids(), st.lists(st.integers(), max_size=2),
)  # fmt: skip


@given(st.lists(st.tuples(CELLS, st.integers()), min_size=1, max_size=20))
def test_values_of_every_type_are_written_exactly(rows: list[tuple[Any, int]]) -> None:
    """Numbers come back from their text as they were; NULL alone is null."""
    texts = as_texts(["a", "n"], rows, "list", 0)
    assert [int(text) for text in texts["n"]] == [row[1] for row in rows]
    for text, (cell, _) in zip(texts["a"], rows, strict=True):
        assert (text is None) == (cell is None)
        if isinstance(cell, (float, Decimal)):
            assert type(cell)(text) == cell


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (79161234567, "79161234567"),
        (79161234567.0, "79161234567.0"),
        (Decimal("7.9161234567E+10"), "79161234567"),
        (b"16505550100", "16505550100"),
        (memoryview(b"1"), "1"),
        (datetime(2026, 11, 23, 9, 30, tzinfo=UTC), "2026-11-23T09:30:00+00:00"),
        (date(2026, 11, 23), "2026-11-23"),
        (time(9, 30), "09:30:00"),
        (True, "true"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ({"b": 1, "a": [None, "я"]}, '{"a":[null,"я"],"b":1}'),
    ],
)
def test_a_value_is_written_as_people_write_it(value: object, text: str) -> None:
    """Damage stays in sight: a float phone number keeps its point."""
    assert as_texts(["a"], [(value,), (None,)], "list", 0)["a"].to_list() == [text, None]


def importer(*words: str, blocked: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.modules.update(dict.fromkeys({blocked.split()!r})); from importer.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        check=False, env={**os.environ, **variables}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_the_command_line_asks_a_database(people: Path, tmp_path: Path) -> None:
    """The address may stand in a variable; a query without an order is warned about."""
    place = {"IMPORTER_DB": f"sqlite:///{people}", "IMPORTER_LEDGER": str(tmp_path / "ledger.db")}
    done = importer("check", "--sql", "SELECT phone FROM people", **place)
    assert (done.returncode, "100  rows read" in done.stdout) == (0, True)
    assert "without ORDER BY" in done.stderr
    ordered = importer("map", "--sql", "SELECT phone, name FROM people ORDER BY id", **place)
    assert (ordered.returncode, ordered.stderr, "phone" in ordered.stdout) == (0, "", True)
    for words in (["check"], ["check", "a.csv", "--sql", "SELECT 1"]):
        assert importer(*words, **place).returncode == 2
    assert importer("check", "--sql", "SELECT 1", IMPORTER_LEDGER=place["IMPORTER_LEDGER"]).returncode == 2


def test_the_missing_extra_of_queries_is_named(people: Path, tmp_path: Path) -> None:
    """With the words that install it."""
    words = ["check", "--sql", "SELECT 1 ORDER BY 1", "--db", f"sqlite:///{people}"]
    missing = importer(*words, blocked="sqlalchemy", IMPORTER_LEDGER=str(tmp_path / "ledger.db"))
    assert missing.returncode == 4
    assert 'pip install "phone-list-importer[sql]"' in missing.stderr
