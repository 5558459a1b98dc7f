"""`importer ledger check|backup|vacuum`: a sound ledger passes, a changed one is named, a copy is whole."""

from __future__ import annotations

import sqlite3
import stat
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from workbench import OWNER, Bench, Platform, Shop, number, people, write_list

from importer.errors import LedgerProblem, UsageProblem
from importer.ledger import Ledger
from importer.ledger.upkeep import back_up, check_ledger, vacuum

Copy = Callable[..., Path]


def changed(path: Path, *statements: str) -> Path:
    """The ledger after somebody wrote to it behind our back."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)
    return path


def findings(path: Path) -> list[str]:
    return [f"{each.check}: {each.text}" for each in check_ledger(path).findings]


def test_a_ledger_that_only_importer_wrote_has_no_findings(copied: Copy) -> None:
    """After intake, splits, refusals, an interrupted list and receipts everything agrees."""
    health = check_ledger(copied())
    assert health.findings == ()
    assert all(check.things for check in health.checks if check.name not in ("references", "erasures"))


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("UPDATE imports SET read_rows = read_rows + 1 WHERE id = 1", "balances: the rows of import 1 do not add up"),
        ("DELETE FROM rejects", "balances: import 1 counts 1 rejects, and has 0"),
        ("DELETE FROM skips", "balances: import 1 counts 3 duplicate and suppressed rows, and has 0"),
        ("UPDATE batches SET request_key = request_key || 'x' WHERE id = 2", "keys: batch 2 has a request key"),
        ("UPDATE batches SET generation = 7 WHERE id = 2", "keys: batch 2 has a request key"),
        ("UPDATE campaigns SET key_seed = replace(key_seed, 'a', 'b')", "keys: batch 1 has a row key"),
        ("UPDATE imports SET round = 'other' WHERE id = 1", "keys: batch 1 has a row key"),
        ("UPDATE rows SET row_key = zeroblob(16) WHERE id = 3", "keys: batch 1 has a row key in row 3"),
        ("UPDATE rows SET phone = phone + 1 WHERE id = 3", "rows: batch 1 has another number in row 3"),
        ("UPDATE rows SET position = 9 WHERE id = 3", "rows: batch 1 has 4 rows in their places"),
        ("DELETE FROM rows WHERE id = 3", "rows: batch 1 has 3 rows in their places, not 4"),
        ("DELETE FROM identities WHERE row_id = 3", "identities: row 3 does not hold its own key"),
        ("UPDATE identities SET row_id = 99999 WHERE row_id = 3", "identities: a key is held for row 99999"),
        ("UPDATE bodies SET sha256 = zeroblob(32) WHERE batch_id = 1", "bodies: batch 1 has frozen bytes"),
        ("DELETE FROM bodies WHERE batch_id = (SELECT id FROM batches WHERE state = 'frozen')", "is not settled"),
        ("DELETE FROM receipts WHERE batch_id = 1", "receipts: batch 1 is accepted, and has no receipt"),
        (
            "UPDATE receipts SET content = '{}' WHERE batch_id = 1",
            "receipts: batch 1 has a receipt that does not match its seal",
        ),
        ("UPDATE receipts SET evidence = 'person' WHERE batch_id = 1", "does not match its seal"),
        ("UPDATE batches SET state = 'in_doubt' WHERE id = 1", "batch 1 is in_doubt, and has a receipt"),
        ("UPDATE sends SET ended_ms = NULL WHERE batch_id = 1", "sends: batch 1 has an open send, and is not armed"),
        ("UPDATE batches SET state = 'armed' WHERE id = 1", "sends: batch 1 is armed, and has not one open send"),
        ("DELETE FROM sends WHERE batch_id = 1", "sends: batch 1 has an answer to no send"),
        ("INSERT INTO bodies VALUES (99999, zeroblob(32), x'00')", "references: bodies row 99999 points at batches"),
        ("CREATE TRIGGER t AFTER INSERT ON sends BEGIN SELECT 1; END", "schema: trigger 't' is not one of ours"),
        ("CREATE VIEW v AS SELECT 1", "schema: view 'v' is not one of ours"),
        ("CREATE TABLE t (x)", "schema: table 't' is not one of ours"),
        ("DROP INDEX rows_by_phone", "schema: index 'rows_by_phone' is missing or was changed"),
    ],
)
def test_whatever_cannot_be_so_is_named(statement: str, named: str, copied: Copy) -> None:
    """One change behind our back, one finding that says where."""
    assert named in "\n".join(findings(changed(copied(), statement)))


def test_a_call_job_id_that_stands_for_two_rows_is_named(copied: Copy) -> None:
    """Also when the receipt was sealed anew by somebody who knows how."""
    path = copied()
    changed(path, "UPDATE receipts SET content = (SELECT content FROM receipts WHERE batch_id = 1) WHERE batch_id = 3")
    assert "hold the same call job id" in "\n".join(findings(path))


def test_check_says_all_of_it_with_exit_5_and_in_json(shop: Shop, copied: Copy) -> None:
    """For people and for programs; a healthy ledger gives 0."""
    path = copied()
    said = shop.importer("ledger", "check", "--ledger", path)
    assert (said.code, "is well" in said.out) == (0, True)
    changed(path, "DELETE FROM rows WHERE id = 3", "DELETE FROM rejects")
    said = shop.importer("ledger", "check", "--ledger", path)
    assert (said.code, said.out.count("WRONG")) == (5, 3)
    told = shop.importer("ledger", "check", "--ledger", path, "--json")
    assert (told.code, told.json["exit_code"]) == (5, 5)
    assert {each["check"] for each in told.json["checks"] if each["findings"]} == {"balances", "rows", "identities"}


def test_no_finding_names_a_number_or_a_cell(copied: Copy) -> None:
    """Findings may be logged and sent around."""
    path = changed(copied(), "UPDATE rows SET phone = phone + 1", "UPDATE rows SET row_key = randomblob(16)")
    said = "\n".join(findings(path))
    assert said
    assert not any(number(i)[1:] in said or str(int(number(i)[1:]) + 1) in said for i in range(90))


def test_a_ledger_beside_a_running_owner_is_checked_and_copied(copied: Copy, tmp_path: Path) -> None:
    """Neither waits for the other, and the copy is of one moment: not a row of what was not committed."""
    path, target = copied(), tmp_path / "copy.db"
    with Ledger(path, OWNER, now_ms=1) as ledger:
        with ledger.store.transaction():
            ledger.store.connection.execute("UPDATE imports SET list_name = 'committed'")
        ledger.store.connection.execute("BEGIN IMMEDIATE")
        ledger.store.connection.execute("UPDATE imports SET list_name = 'not committed'")
        assert check_ledger(path).findings == ()
        back_up(path, target)
        ledger.store.connection.execute("ROLLBACK")
    with closing(sqlite3.connect(target)) as copy:
        assert copy.execute("SELECT DISTINCT list_name FROM imports").fetchall() == [("committed",)]
        assert copy.execute("PRAGMA journal_mode").fetchone() == ("delete",)


def test_a_backup_taken_while_a_run_sends_is_sound(bench: Bench, platform: Platform, tmp_path: Path) -> None:
    """Whatever moment it hits, the copy adds up; the run does not notice."""
    path = write_list(tmp_path / "a.csv", people(200))
    copies: list[Path] = []
    is_over = threading.Event()

    def keep_copying() -> None:
        while not is_over.is_set() and len(copies) < 20:
            if (bench.ledger_path).exists() and bench.ledger_path.stat().st_size:
                target = tmp_path / f"copy-{len(copies)}.db"
                try:
                    back_up(bench.ledger_path, target)
                except LedgerProblem:  # the schema was not there yet
                    continue
                copies.append(target)

    copier = threading.Thread(target=keep_copying)
    copier.start()
    assert bench.run(path, batch_size_rows=4).exit_code == 0
    is_over.set()
    copier.join()
    assert copies
    assert all(check_ledger(copy).findings == () for copy in copies)
    platform.has_each_once(number(i) for i in range(200))


def test_a_backup_replaces_nothing_and_is_private(copied: Copy, tmp_path: Path) -> None:
    """A file that is there stays, even a broken link; the copy is readable by its owner alone."""
    target = tmp_path / "copy.db"
    back_up(copied(), target)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    before = target.read_bytes()
    with pytest.raises(UsageProblem, match="already there"):
        back_up(tmp_path / "ledger.db", target)
    (tmp_path / "link.db").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageProblem, match="already there"):
        back_up(tmp_path / "ledger.db", tmp_path / "link.db")
    assert target.read_bytes() == before
    assert [each.name for each in tmp_path.glob(".*")] == []


def test_a_backup_of_a_damaged_ledger_is_refused_and_leaves_nothing(copied: Copy, tmp_path: Path) -> None:
    """The last good backup must not be replaced by a copy of the damage, in good faith."""
    path = changed(copied(), "UPDATE bodies SET sha256 = zeroblob(32) WHERE batch_id = 1")
    with pytest.raises(LedgerProblem, match="damaged"):
        back_up(path, tmp_path / "copy.db")
    assert sorted(each.name for each in tmp_path.iterdir() if "copy" in each.name) == []


def test_a_backup_where_there_is_no_folder_is_a_clear_error(shop: Shop, copied: Copy, tmp_path: Path) -> None:
    """Exit 5, and no traceback."""
    said = shop.importer("ledger", "backup", tmp_path / "no" / "folder" / "x.db", "--ledger", copied())
    assert said.code == 5
    assert "could not be written" in said.err


def test_vacuum_needs_the_lock_and_gives_space_back(shop: Shop, copied: Copy) -> None:
    """Exit 9 beside an owner; alone it makes the file smaller, and everything is still there."""
    path = copied()
    with Ledger(path, OWNER, now_ms=1):
        assert shop.importer("ledger", "vacuum", "--ledger", path).code == 9
    changed(path, "CREATE TABLE big (x)", "INSERT INTO big VALUES (zeroblob(3000000))", "DROP TABLE big")
    said = shop.importer("ledger", "vacuum", "--ledger", path, "--json")
    assert said.code == 0
    assert said.json["after_bytes"] < 1_000_000 < said.json["before_bytes"]
    assert check_ledger(path).findings == ()


def test_vacuum_in_process_keeps_the_ledger_usable(copied: Copy) -> None:
    """The owner goes on with the same connection."""
    with Ledger(copied(), OWNER, now_ms=1) as ledger:
        assert vacuum(ledger.store).after_bytes > 0
        assert ledger.sends.recover(2, now_ms=5) == 0
    assert check_ledger(ledger.path).findings == ()


@pytest.mark.parametrize("verb", ["check", "vacuum", "repair", "backup"])
def test_no_upkeep_makes_a_ledger_where_there_is_none(verb: str, shop: Shop, tmp_path: Path) -> None:
    """A misspelt path is an error, not a new ledger."""
    arguments = [tmp_path / "copy.db"] if verb == "backup" else []
    said = shop.importer("ledger", verb, *arguments, "--ledger", tmp_path / "misspelt.db")
    assert said.code == 5
    assert "no ledger" in said.err
    assert not (tmp_path / "misspelt.db").exists()
