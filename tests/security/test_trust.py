"""S18, S20, S21: a ledger is trusted as far as it can be held against itself, and nothing personal lies beside it."""
# ruff: noqa: N802 - the tests are named after the security checklist

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from workbench import OWNER, Bench, Platform, Shop, command, number, people, write_list

from importer.errors import LedgerProblem
from importer.ledger import Ledger
from importer.sandbox import records

from .conftest import leaks_in


def test_S18_nothing_personal_stays_outside_the_ledger_and_the_files_one_asked_for(shop: Shop, tmp_path: Path) -> None:
    """Standard input, a check, a backup that failed: no copy of a list is left in any folder."""
    rows = write_list(tmp_path / "a.csv", people(5)).read_bytes()
    (tmp_path / "a.csv").unlink()
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    said = command("run", "-", "--list", "x", *shop.target, stdin=rows, TMPDIR=str(scratch))
    assert said.code == 0, said.err
    (tmp_path / "b.csv").write_bytes(rows)
    assert command("check", tmp_path / "b.csv", "--ledger", shop.ledger, TMPDIR=str(scratch)).code == 0
    (tmp_path / "b.csv").unlink()
    assert list(scratch.iterdir()) == []
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and leaks_in(path.read_bytes(), phones=5)]
    assert {path.name.removesuffix("-wal") for path in kept} <= {"ledger.db", "token", "platform-0.db"}
    assert tempfile.gettempdir()


# --- S20 ledgers made by others -------------------------------------------------------------------------------------

CRAFTED = {
    "a trigger": "CREATE TRIGGER t AFTER UPDATE ON batches BEGIN DELETE FROM identities; END",
    "a trigger on a view": "CREATE TRIGGER t INSTEAD OF INSERT ON call_jobs BEGIN DELETE FROM identities; END",
    "a table without its checks": "ALTER TABLE sends ADD COLUMN extra TEXT",
    "a table that is a view": "DROP TABLE leftovers; CREATE VIEW leftovers AS SELECT 1",
    "a missing index": "DROP INDEX one_live_batch_per_key",
    "another view of ours": "DROP VIEW call_jobs; CREATE VIEW call_jobs AS SELECT load_extension('x')",
    "no append-only evidence": "DROP TRIGGER evidence_stays",
    "another application": "PRAGMA application_id = 1",
    "a newer format": "PRAGMA user_version = 999",
}


@pytest.mark.parametrize("what", CRAFTED)
def test_S20_a_ledger_that_is_not_as_we_make_it_is_not_written_to(what: str, bench: Bench, platform: Platform) -> None:
    """Refused with exit 5 before anything is sent, and its strange parts never run."""
    bench.run(write_list(bench.folder / "a.csv", people(8)), first_rows=4)
    with closing(sqlite3.connect(bench.ledger_path)) as connection:
        connection.executescript(CRAFTED[what])
    sends = len(platform.sends())
    with pytest.raises(LedgerProblem) as caught:
        bench.run(bench.folder / "a.csv")
    assert caught.value.exit_code == 5
    assert len(platform.sends()) == sends


def test_S20_reports_that_people_keep_beside_ours_are_let_be(bench: Bench) -> None:
    """A table and a view of one's own do no harm; `ledger check` names them."""
    bench.run(write_list(bench.folder / "a.csv", people(2)))
    with closing(sqlite3.connect(bench.ledger_path)) as connection, connection:
        connection.execute("CREATE VIEW my_report AS SELECT count(*) FROM rows")
        connection.execute("CREATE TABLE my_notes (x)")
    assert bench.run(bench.folder / "a.csv").exit_code == 0


def test_S20_the_settings_that_guard_against_crafted_files_are_on(tmp_path: Path) -> None:
    """No function of ours or of an extension runs from a schema, cells are checked, nothing is mapped into memory."""
    with Ledger(tmp_path / "ledger.db", OWNER, now_ms=1) as ledger:
        ask = ledger.store.one
        assert (ask("PRAGMA trusted_schema")[0], ask("PRAGMA cell_size_check")[0]) == (0, 1)
        assert (ask("PRAGMA foreign_keys")[0], ask("PRAGMA synchronous")[0]) == (1, 2)
        assert not (ask("PRAGMA mmap_size") or (0,))[0]
        with pytest.raises(LedgerProblem, match=r"not authorized|no such function"):
            ask("SELECT load_extension('x')")


@pytest.mark.parametrize("content", [b"x" * 5000, b"SQLite format 3\x00" + b"\xff" * 4080, b"\x00" * 4096])
def test_S20_a_file_that_only_looks_like_a_database_is_refused(content: bytes, shop: Shop, tmp_path: Path) -> None:
    """Every command: exit 5, no traceback, and the file is left as it is."""
    shop.ledger.write_bytes(content)
    path = write_list(tmp_path / "a.csv", people(2))
    for said in (
        shop.run(path),
        shop.importer("status", "--ledger", shop.ledger),
        shop.importer("ledger", "check", "--ledger", shop.ledger),
    ):
        assert said.code == 5, said
        assert "bug" not in said.err
    assert shop.ledger.read_bytes() == content


# --- S21 rot --------------------------------------------------------------------------------------------------------

ROTTEN = {
    "the body": "UPDATE bodies SET body = zeroblob(20) WHERE batch_id = 3",
    "its hash": "UPDATE bodies SET sha256 = zeroblob(32) WHERE batch_id = 3",
}


@pytest.mark.parametrize("what", ROTTEN)
def test_S21_bytes_that_do_not_match_their_hash_are_not_sent(what: str, bench: Bench, platform: Platform) -> None:
    """The run stops before the damaged request; nobody gets what is not what was frozen."""
    bench.run(write_list(bench.folder / "a.csv", people(12)), first_rows=4)
    with closing(sqlite3.connect(bench.ledger_path)) as connection, connection:
        connection.execute(ROTTEN[what])
    with pytest.raises(LedgerProblem, match="hash"):
        bench.run(bench.folder / "a.csv")
    assert set(platform.phones()) <= {number(i) for i in range(8)}


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE batches SET request_key = lower(hex(randomblob(16))) WHERE id = 1",
        "UPDATE rows SET row_key = randomblob(16) WHERE id = 1",
        "UPDATE campaigns SET key_seed = lower(hex(randomblob(32)))",
    ],
)
def test_S21_an_unknown_batch_is_never_sent_again_under_another_key(
    change: str, bench: Bench, platform: Platform, tmp_path: Path
) -> None:
    """A key that its rows do not make any more is damage: the platform would call the same people twice."""
    lossy = Bench(folder=tmp_path, origin=platform.origin)
    lossy.run(write_list(tmp_path / "a.csv", people(4)))
    with closing(sqlite3.connect(bench.ledger_path)) as connection, connection:
        connection.execute("DELETE FROM receipts")
        connection.execute("UPDATE batches SET state = 'waiting', is_ambiguous = 1")
        connection.execute("UPDATE imports SET finished_ms = NULL")
        connection.execute(change)
    with pytest.raises(LedgerProblem, match="request key"):
        bench.send(1)
    assert records.duplicates(platform.db) == []
    assert len(platform.phones()) == 4
