"""The ledger as a file that others open: its schema, its views, its checks, its settings."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlite_utils import Database
from workbench import OWNER, ROOT, Bench, number, people, write_list

from importer.ledger import Ledger
from importer.ledger.opening import migration_set


@contextlib.contextmanager
def plain(path: Path) -> Iterator[sqlite3.Connection]:
    """The file in the plain sqlite3 of anybody's Python."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        yield connection


@pytest.fixture
def sent(bench: Bench, tmp_path: Path) -> Path:
    """A ledger with accepted, pending, rejected, repeated and already known rows."""
    rows = [*people(10), people(1)[0], {"phone": "bad", "name": "x", "order": "1"}]
    bench.run(write_list(tmp_path / "a.csv", rows), first_rows=6)
    bench.run(write_list(tmp_path / "b.csv", people(3, first=1)))
    return bench.ledger_path


def test_the_views_answer_in_plain_sqlite3(sent: Path) -> None:
    """What became of each row, which calls there are, how each import stands, what was skipped: one SELECT each."""
    with plain(sent) as ledger:
        jobs = ledger.execute("SELECT * FROM call_jobs ORDER BY row_id").fetchall()
        assert [job["phone"] for job in jobs] == [number(i) for i in range(6)]
        assert all(job["call_job_id"] and job["accepted_at"] for job in jobs)
        states = ledger.execute("SELECT state, count(*) AS n FROM row_states GROUP BY state").fetchall()
        assert {row["state"]: row["n"] for row in states} == {"accepted": 6, "pending": 4}
        row = ledger.execute("SELECT * FROM row_states WHERE import_id = 1 AND row_no = 4").fetchone()
        assert (row["phone"], row["state"], len(row["row_key"])) == (number(2), "accepted", 32)
        skipped = [tuple(row)[:4] for row in ledger.execute("SELECT * FROM skipped_rows ORDER BY import_id, row_no")]
        assert skipped == [(1, "repeated", 0, 12), *((2, "already", 0, row_no) for row_no in (2, 3, 4))]


def test_every_row_read_is_in_exactly_one_state(sent: Path) -> None:
    """The summary proves the sum for every import."""
    with plain(sent) as ledger:
        for row in ledger.execute("SELECT * FROM import_summary"):
            parts = ("accepted", "rejected", "duplicate", "suppressed", "withdrawn", "refused", "in_doubt", "pending")
            assert row["read"] == sum(row[part] for part in parts)


def test_sqlite_utils_migrates_a_file_to_the_same_schema(tmp_path: Path, sent: Path) -> None:
    """`sqlite-utils migrate ledger.db migrations/` makes what importer makes; importer then uses it as it is."""
    made = tmp_path / "made.db"
    tool = Path(sys.executable).with_name("sqlite-utils")
    subprocess.run([tool, "migrate", made, ROOT / "migrations"], check=True, capture_output=True, timeout=60)

    def schema(path: Path) -> list[tuple[str, ...]]:
        with plain(path) as ledger:
            rows = ledger.execute("SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY 2")
            return [tuple(row) for row in rows]

    assert schema(made) == schema(sent)
    Ledger(made, OWNER, now_ms=0).close()


def test_every_step_of_the_schema_is_applied_once(sent: Path) -> None:
    """Nothing is pending in a ledger that was opened, and the version is in the file."""
    with plain(sent) as ledger:
        assert not migration_set().pending(Database(ledger))
        assert ledger.execute("PRAGMA application_id").fetchone()[0] == 0x504C4931
        assert ledger.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        assert ledger.execute("PRAGMA foreign_key_check").fetchall() == []


def test_the_owners_connection_is_set_for_power_loss(tmp_path: Path) -> None:
    """WAL, every commit synced, foreign keys on, no schema may call what it likes; each setting is read back."""
    with contextlib.closing(Ledger(tmp_path / "ledger.db", OWNER, now_ms=0)) as ledger:
        wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "trusted_schema": 0, "cell_size_check": 1}
        run = ledger.store.connection.execute
        assert {name: run(f"PRAGMA {name}").fetchone()[0] for name in wanted} == wanted


IMPOSSIBLE = [
    "UPDATE batches SET state = 'sent'",
    "UPDATE batches SET state = 'armed', sends = 0 WHERE state = 'frozen'",
    "UPDATE batches SET is_ambiguous = 1 WHERE state = 'frozen'",
    "UPDATE batches SET size_rows = 0",
    "UPDATE batches SET request_key = (SELECT min(request_key) FROM batches)",
    "UPDATE bodies SET sha256 = x'00'",
    "UPDATE rows SET row_key = x'00'",
    "UPDATE rows SET phone = 'twelve'",
    "UPDATE imports SET source_state = 'half'",
    "UPDATE imports SET batch_size_rows = 0",
    "UPDATE skips SET reason = 'lost'",
    "UPDATE receipts SET evidence = 'hearsay'",
    "UPDATE campaigns SET key_seed = 'short'",
    "INSERT INTO identities SELECT identity, row_id FROM identities",
    "INSERT INTO ledger_info (id, ledger_id, created_ms) VALUES (2, 'x', 0)",
]


@pytest.mark.parametrize("statement", IMPOSSIBLE)
def test_the_schema_refuses_what_cannot_be(sent: Path, tmp_path: Path, statement: str) -> None:
    """The file's own checks stand behind ours."""
    copy = shutil.copy(sent, tmp_path / "copy.db")
    with plain(Path(copy)) as ledger, pytest.raises(sqlite3.IntegrityError):
        ledger.execute(statement)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    places=st.lists(st.tuples(st.integers(0, 6), st.sampled_from("ab"), st.booleans()), max_size=25),
    chunk_rows=st.integers(1, 9),
    batch_size_rows=st.integers(1, 6),
)
def test_any_list_is_accounted_for_to_the_row(
    tmp_path_factory: pytest.TempPathFactory,
    bench: Bench,
    places: list[tuple[int, str, bool]],
    chunk_rows: int,
    batch_size_rows: int,
) -> None:
    """Repeats, shared numbers and bad rows in any mix: as many rows of each kind as a plain count gives."""
    folder = tmp_path_factory.mktemp("any")
    rows = [{"phone": number(place) if is_good else "bad", "name": name} for place, name, is_good in places]
    path = write_list(folder / "a.csv", rows, columns=["phone", "name"])
    mine = Bench(folder=folder, origin=bench.origin)
    checks = mine.settings([path]).checks.__class__(stop_at_rejects_share=1.0)
    report = mine.run(
        path, chunk_rows=chunk_rows, batch_size_rows=batch_size_rows, checks=checks, is_new_ledger_fine=True
    )
    good = [(place, name) for place, name, is_good in places if is_good]
    balance = report.balance
    assert balance.is_even
    assert (balance.read, balance.rejected) == (len(places), len(places) - len(good))
    assert (balance.accepted, balance.duplicate) == (len(set(good)), len(good) - len(set(good)))
