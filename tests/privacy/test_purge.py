"""Erasing: after a purge no byte of the ledger's files tells a number or a cell, and nobody is called twice for it."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database
from workbench import OWNER, TOKEN, Bench, Platform, Serve, Shop, environment, number, people, write_list

from importer import machine
from importer.client import CallsApi, NewCallJob
from importer.keys import STAND_INS_FROM, stand_in, stand_in_column
from importer.ledger import EraseBook, Ledger, LedgerReader
from importer.ledger.opening import migration_set
from importer.ledger.upkeep import check_ledger
from importer.purging import Purger, scope_of_import
from privacy.scanning import files_of, forms_of, found_in

CANARY = "CanaryCell"
DYING = Path(__file__).with_name("dying.py")
PACKED, APART = 150, 30  # rows of a packed batch, and of batches kept row by row
DECLINED = 5
BAD = {"phone": "(650) 555-01", "name": f"{CANARY} bad", "order": "7"}


def ask(ledger: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(f"{ledger.as_uri()}?mode=ro", uri=True)) as connection:
        return connection.execute(sql).fetchall()


def findings(ledger: Path) -> list[str]:
    return [each.text for each in check_ledger(ledger).findings]


def canaries(count: int, first: int = 0) -> list[dict[str, str]]:
    return [{**row, "name": f"{CANARY} {row['name']}"} for row in people(count, first)]


def traces(ledger: Path, phones: Sequence[str], words: Sequence[str] = (CANARY,)) -> list[tuple[str, bytes]]:
    """Everything about these numbers and words that some file of the ledger still tells."""
    wanted = [form for phone in phones for form in forms_of(phone)] + [word.encode() for word in words]
    return [(path.name, each) for path in files_of(ledger) for each in found_in(path, wanted)]


@pytest.fixture
def declining(serve: Serve) -> Platform:
    """A platform that declines one of the numbers, and names it."""
    platform = serve(duplicates="jobs24h")
    with CallsApi(platform.origin, TOKEN) as api:
        api.add_phones([NewCallJob(phone=number(DECLINED)[1:], payload={"by": "hand"})])
    return platform


@pytest.fixture
def lists(tmp_path: Path) -> tuple[Path, Path]:
    """A list for packs, with a bad row and a repeated one, and one whose rows are kept one by one."""
    large = [*canaries(PACKED), *canaries(1), BAD]
    return write_list(tmp_path / "a.csv", large), write_list(tmp_path / "b.csv", canaries(APART, first=200))


@pytest.fixture
def settled(tmp_path: Path, declining: Platform, lists: tuple[Path, Path]) -> Shop:
    """Two finished imports: accepted, declined, rejected and repeated rows, packed and not."""
    bench = Bench(folder=tmp_path, origin=declining.origin, now=machine.now)
    bench.run(lists[0], batch_size_rows=PACKED // 2, is_new_ledger_fine=True)
    bench.run(lists[1], batch_size_rows=4)
    shop = Shop(folder=tmp_path, origin=declining.origin)
    assert traces(shop.ledger, [number(1), number(201)])
    return shop


def purge(shop: Shop, *more: str) -> Any:
    return shop.importer("purge", *more, "--ledger", shop.ledger, "--yes", "--json")


def all_phones() -> list[str]:
    return [row["phone"] for row in (*people(PACKED), *people(APART, first=200))]


def test_an_erased_number_is_known_again_by_its_stand_in_alone() -> None:
    """One by one or as a column; the recipe is pinned, since ledgers hold what it made."""
    import polars as pl

    seed = "5e" * 32
    phones = [16505550100, 999_999_999_999_999, 1]
    made = [stand_in(seed, phone) for phone in phones]
    assert stand_in_column(seed, pl.Series(phones, dtype=pl.Int64)).to_list() == made
    assert all(STAND_INS_FROM <= each < 2**63 and len(str(each)) == 19 for each in made)
    assert stand_in("5f" * 32, phones[0]) != made[0] == 1_315_353_885_066_077_655


def test_no_byte_of_the_files_tells_an_erased_number(settled: Shop) -> None:
    """Ledger, -wal, -shm: no number in any form, no cell, no refusal that names one; and the sums are as they were."""
    before = settled.importer("status", "--ledger", settled.ledger, "--json").json
    said = purge(settled, "--older-than", "0s")
    assert said.code == 0, said.err
    assert said.json["meant"]["rows"] == PACKED + APART
    assert traces(settled.ledger, all_phones()) == []
    after = settled.importer("status", "--ledger", settled.ledger, "--json").json
    assert after == before
    assert findings(settled.ledger) == []


@pytest.mark.parametrize("more", [(), ("--drop-hashes",)])
def test_the_same_lists_again_after_the_purge_call_nobody(
    settled: Shop, lists: tuple[Path, Path], declining: Platform, more: tuple[str, ...]
) -> None:
    """Row keys stay whatever is asked for: every row is known to be the same."""
    called = sorted(declining.phones())
    assert purge(settled, "--older-than", "0s", *more).code == 0
    for path in lists:
        said = settled.run(path, "--yes")
        assert said.json["accepted"] == 0
    assert sorted(declining.phones()) == called
    declining.judge()


def test_a_purge_of_many_commits_erases_all_of_it(settled: Shop) -> None:
    """A batch a commit, in the order of the batches; each is erased once."""
    with Ledger(settled.ledger, OWNER, now_ms=0) as ledger:
        ledger.erasing = EraseBook(ledger.store, rows_per_commit=1)
        done = Purger(ledger=ledger, now=machine.now).purge(scope_of_import(ledger, 1, keeps_hashes=True))
        assert (done.is_whole, done.is_wiped, ledger.erasing.erased_rows()) == (True, True, PACKED)
    assert traces(settled.ledger, [row["phone"] for row in people(PACKED)], []) == []
    assert findings(settled.ledger) == []


def test_numbers_are_still_known_where_only_a_number_tells(settled: Shop, declining: Platform) -> None:
    """`--once-per phone` and `--not-if-called-within`, with other cells than before; packed rows and single ones."""
    assert purge(settled, "--older-than", "0s").code == 0
    rows = [{**row, "name": "Somebody Else"} for row in (*people(20), *people(10, first=200))]
    called = len(declining.phones())
    path = write_list(settled.folder / "c.csv", rows)
    said = settled.run(path, "--yes", "--once-per", "phone")
    assert (said.json["accepted"], said.json["duplicate"]) == (0, len(rows) - 1)  # the declined one is tried again
    recent = settled.run(path, "--yes", "--round", "other", "--not-if-called-within", "1d")
    assert (recent.json["accepted"], recent.json["duplicate"]) == (0, len(rows) - 1)
    assert len(declining.phones()) == called


def test_an_erased_number_can_be_put_on_the_do_not_call_list(settled: Shop, declining: Platform) -> None:
    """Kept lists hold numbers, not hashes: they hold back whoever they name, erased or not."""
    assert settled.importer("dnc", "add", number(1), "--ledger", settled.ledger).code == 0
    assert purge(settled, "--phone", number(1)).code == 0
    called = len(declining.phones())
    said = settled.run(write_list(settled.folder / "d.csv", [{"phone": number(1), "name": "New", "order": "1"}]),
                       "--yes", "--round", "other")  # fmt: skip
    assert said.json["suppressed"] == 1
    assert len(declining.phones()) == called


def test_without_hashes_nothing_leads_from_a_number_to_its_rows(settled: Shop) -> None:
    """Random stand-ins: the number finds nothing, and no two are alike."""
    assert purge(settled, "--import", "1", "--drop-hashes").code == 0
    assert settled.importer("explain", number(1), "--ledger", settled.ledger).code == 4
    made = ask(settled.ledger, "SELECT phone FROM all_rows WHERE import_id = 1")
    assert len(set(made)) == PACKED
    seed = ask(settled.ledger, "SELECT number_seed FROM ledger_info")[0][0]
    assert not {stand_in(seed, int(phone[1:])) for phone in all_phones()} & {row[0] for row in made}


def test_hashes_that_were_kept_can_be_dropped_later(settled: Shop) -> None:
    """A second purge of the same import, without hashes."""
    assert purge(settled, "--import", "1").code == 0
    assert settled.importer("explain", number(1), "--ledger", settled.ledger).code == 0
    assert purge(settled, "--import", "1", "--drop-hashes").code == 0
    assert settled.importer("explain", number(1), "--ledger", settled.ledger).code == 4


def test_one_person_is_forgotten_and_the_others_are_not(settled: Shop) -> None:
    """By --phone one number and its payload go, from packs, frozen bodies and bad rows; the rest is still proved."""
    for place in (1, 201, DECLINED):
        assert purge(settled, "--phone", number(place)).code == 0
        assert traces(settled.ledger, [number(place)], [f'Person {place}"']) == []
    assert traces(settled.ledger, [number(2)])
    assert findings(settled.ledger) == []
    shown = settled.importer("explain", number(1), "--ledger", settled.ledger)
    assert shown.code == 0
    assert "erased" in shown.out
    assert "number and payload" in shown.out
    assert settled.importer("prove", "1", *settled.target).code == 0
    assert settled.importer("reconcile", "1", "--all", *settled.target).code == 0


def test_a_bad_row_that_may_be_the_number_goes_too(tmp_path: Path, bench: Bench, shop: Shop) -> None:
    """Cells are searched by their digits, however the number was written."""
    rows = [*people(4), {"phone": "6505550100 ?? ask twice", "name": f"{CANARY} x", "order": "1"}]
    bench.run(write_list(tmp_path / "a.csv", rows))
    assert ask(shop.ledger, "SELECT count(*) FROM rejects") == [(1,)]
    said = purge(shop, "--phone", "+1 650 555-0100")
    assert (said.code, said.json["meant"]["rejects"]) == (0, 1)
    assert traces(shop.ledger, []) == []


def test_what_is_not_settled_is_never_erased(tmp_path: Path, shop: Shop, platform: Platform) -> None:
    """An import with pending rows is refused, with the next step; by age they are left out, by number as well."""
    path = write_list(tmp_path / "a.csv", canaries(10))
    bench = Bench(folder=tmp_path, origin=platform.origin, now=machine.now)
    bench.run(path, first_rows=4)
    refused = purge(shop, "--import", "1")
    assert refused.code == 2
    assert "importer send 1" in refused.err
    said = purge(shop, "--older-than", "0s")
    assert (said.json["meant"]["rows"], said.json["meant"]["pending"]) == (4, 6)
    assert purge(shop, "--phone", number(7)).code == 7
    assert bench.run(path).balance.accepted == 10
    platform.has_each_once(number(i) for i in range(10))
    assert purge(shop, "--import", "1").code == 0
    assert traces(shop.ledger, [number(i) for i in range(10)]) == []


def test_a_run_that_owns_the_ledger_is_not_disturbed(settled: Shop) -> None:
    """A purge needs the ledger for itself."""
    with Ledger(settled.ledger, OWNER, now_ms=0):
        assert purge(settled, "--older-than", "0s").code == 9


def test_a_dry_run_changes_nothing(settled: Shop) -> None:
    """It says what would be erased, and which files beside hold the same."""
    before = settled.ledger.read_bytes()
    said = settled.importer("purge", "--import", "1", "--dry-run", "--json", "--ledger", settled.ledger)
    assert (said.code, said.json["erased"], said.json["meant"]["rejects"]) == (0, False, 1)
    named = [Path(each).name for each in said.json["left_alone"]]
    assert named == ["a.csv", "a.rejects.csv"]
    assert settled.ledger.read_bytes() == before


def test_nobody_is_asked_without_a_terminal(settled: Shop) -> None:
    """Without --yes nothing is erased; without a scope neither."""
    said = settled.importer("purge", "--import", "1", "--ledger", settled.ledger)
    assert (said.code, "Nothing was erased" in said.err) == (2, True)
    assert settled.importer("purge", "--ledger", settled.ledger).code == 2
    assert settled.importer("purge", "--phone", "none", "--ledger", settled.ledger).code == 2
    assert traces(settled.ledger, [number(1)])


def test_copies_of_older_formats_are_deleted(settled: Shop) -> None:
    """They were made by importer itself, and hold everything."""
    copy = settled.ledger.with_name("ledger.db.v4.backup")
    copy.write_bytes(number(1).encode())
    assert purge(settled, "--import", "1").json["removed"] == [str(copy)]
    assert not copy.exists()


def test_proof_says_what_cannot_be_proved_again(settled: Shop) -> None:
    """An erased import is not contradicted: its sums, receipts and call job ids are proved, its bytes are not."""
    assert purge(settled, "--import", "2").code == 0
    out = settled.folder / "proof.json"
    said = settled.importer("prove", "2", "--out", out, *settled.target)
    assert said.code == 0, said.out + said.err
    assert "cannot be held against their keys again" in said.out
    erased = json.loads(out.read_text())["erased"]
    assert (erased["requests"], erased["single_rows"]) == (8, 0)
    assert erased["last_at"]


def test_everything_else_still_answers(settled: Shop, tmp_path: Path) -> None:
    """explain, outcomes, export, cancel, ledger export, backup and repair over erased rows."""
    assert purge(settled, "--older-than", "0s").code == 0
    ledger = ("--ledger", settled.ledger)
    shown = settled.importer("explain", "row", "2", "--import", "1", *ledger)
    assert shown.out.startswith("erased: row 2")
    lines = tmp_path / "lines.jsonl"
    assert settled.importer("outcomes", "2", "--out", lines, *settled.target).code in (0, 7)
    first = json.loads(lines.read_text().splitlines()[0])
    assert (first["phone"], first["sent"]) == (None, {})
    assert first["reason"].startswith("erased on ")
    assert settled.importer("cancel", "2", "--where", "importer_row > 5", "--yes", *settled.target).code in (0, 3)
    assert settled.importer("reconcile", "1", "--all", *settled.target).code in (0, 3)
    assert settled.importer("ledger", "check", *ledger).code == 0
    assert settled.importer("ledger", "export", tmp_path / "warehouse", *ledger).code == 0
    assert settled.importer("ledger", "backup", tmp_path / "copy.db", *ledger).code == 0
    assert settled.importer("ledger", "repair", "--into", tmp_path / "saved.db", *ledger).code == 0
    assert settled.importer("ledger", "vacuum", *ledger).code == 0
    for name in ("copy.db", "saved.db"):
        assert traces(tmp_path / name, all_phones()) == []


def test_reports_that_come_later_leave_erased_rows_bare(settled: Shop) -> None:
    """Status and times are brought up to date; what the script told of a person is not kept again."""
    assert purge(settled, "--import", "2").code == 0
    assert settled.importer("outcomes", "2", *settled.target).code in (0, 7)
    told = ask(
        settled.ledger, "SELECT count(*), count(status), count(tag_payload), count(report_data) FROM job_outcomes"
    )
    assert told[0][0] == APART
    assert told[0][2:] == (0, 0)


def test_a_purge_that_is_killed_at_any_commit_is_ended_by_the_next(settled: Shop, tmp_path: Path) -> None:
    """A real process, killed before and after every commit: the ledger is well, and a later purge ends it."""
    for crossing in range(40):
        path = tmp_path / f"killed-{crossing}" / "ledger.db"
        path.parent.mkdir()
        for name in ("ledger.db", "ledger.db.counter"):
            shutil.copyfile(tmp_path / name, path.with_name(name))
        died = subprocess.run(
            [sys.executable, DYING, path, str(crossing)], env=environment(), timeout=60, check=False
        ).returncode
        assert died in (0, -9)
        assert findings(path) == []
        assert settled.importer("purge", "--older-than", "0s", "--ledger", path, "--yes", "--json").code == 0
        assert ask(path, "SELECT count(*) FROM purges WHERE wiped_ms IS NULL") == [(0,)]
        assert traces(path, [number(1), number(DECLINED), number(201)]) == []
        if died == 0:
            return
    raise AssertionError("the purge never came to its end")


def test_rows_taken_back_are_erased_and_stay_taken_back(tmp_path: Path, shop: Shop, platform: Platform) -> None:
    """Withdrawn rows have no batch of their own; their numbers go as well, with or without hashes."""
    path = write_list(tmp_path / "a.csv", canaries(12))
    assert shop.run(path, "--yes", "--batch-size", "4", "--first", "4").code == 0
    assert shop.importer("cancel", "1", "--where", "importer_row > 5", "--yes", *shop.target).code == 0
    assert shop.send("1").code == 0
    assert purge(shop, "--import", "1").code == 0
    assert traces(shop.ledger, [number(i) for i in range(12)]) == []
    hashed = ask(shop.ledger, "SELECT phone FROM rows WHERE batch_id IS NULL ORDER BY id")
    shown = shop.importer("explain", number(9), "--ledger", shop.ledger).out
    assert ("withdrawn" in shown, "erased" in shown) == (True, True)
    assert shop.run(path, "--yes").json["accepted"] == 0
    assert purge(shop, "--import", "1", "--drop-hashes").code == 0
    assert not set(hashed) & set(ask(shop.ledger, "SELECT phone FROM rows WHERE batch_id IS NULL"))
    assert shop.importer("explain", number(9), "--ledger", shop.ledger).code == 4
    platform.has_each_once(number(i) for i in range(4))


def test_an_old_ledger_is_brought_up_to_date_and_purged(settled: Shop, tmp_path: Path) -> None:
    """Format 4, full of numbers: its copy in the old format goes with the purge that follows."""
    old = tmp_path / "old" / "ledger.db"
    old.parent.mkdir()
    with closing(sqlite3.connect(old, isolation_level=None)) as connection:
        migration_set().apply(Database(connection, execute_plugins=False), stop_before="m0005_erasures")
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        connection.execute("ATTACH ? AS new", [str(settled.ledger)])
        for table in (name for name in tables if not name.startswith(("sqlite_", "_sqlite"))):
            names = ", ".join(row[1] for row in connection.execute(f'PRAGMA main.table_info("{table}")'))
            connection.execute(f"INSERT INTO main.{table} ({names}) SELECT {names} FROM new.{table}")
    shutil.copyfile(f"{settled.ledger}.counter", f"{old}.counter")
    said = settled.importer("purge", "--older-than", "0s", "--ledger", old, "--yes", "--json")
    assert (said.code, said.json["removed"]) == (0, [f"{old}.v4.backup"])
    assert traces(old, all_phones()) == []
    assert findings(old) == []
    with LedgerReader(old) as reader:
        assert all(line.balance.is_even for line in reader.view.imports())
