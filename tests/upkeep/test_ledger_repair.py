"""`importer ledger repair`: whatever page is damaged, nobody is called twice and nothing disappears unsaid."""

from __future__ import annotations

import hashlib
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from workbench import OWNER, Bench, Platform, Shop, number, people, write_list

from importer.errors import LedgerProblem, UsageProblem
from importer.ledger import Ledger, LedgerReader
from importer.ledger.salvage import Salvaged, salvage
from importer.ledger.upkeep import check_ledger

Copy = Callable[..., Path]

PAGE_BYTES = 4096
SETTLED_ROWS, PENDING_ROWS = 30, 13


def pages_of(path: Path, name: str) -> list[int]:
    """The pages a table or index lies in."""
    with closing(sqlite3.connect(path)) as connection:
        try:
            rows = connection.execute("SELECT pageno FROM dbstat WHERE name = ?", [name]).fetchall()
        except sqlite3.OperationalError:  # a build without dbstat: the root page is enough
            rows = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", [name]).fetchall()
    return [row[0] for row in rows]


def ruined(path: Path, pages: list[int], seed: int = 1) -> Path:
    """The file with these pages overwritten by noise."""
    noise = random.Random(seed)
    data = bytearray(path.read_bytes())
    for page in pages:
        data[(page - 1) * PAGE_BYTES : page * PAGE_BYTES] = noise.randbytes(PAGE_BYTES)
    path.write_bytes(data)
    return path


def repaired(path: Path) -> tuple[Path, Salvaged]:
    before = hashlib.sha256(path.read_bytes()).digest()
    target = path.with_name("repaired.db")
    salvaged = salvage(path, target, now_ms=5)
    assert hashlib.sha256(path.read_bytes()).digest() == before, "the damaged file is never written"
    return target, salvaged


def states(path: Path) -> dict[str, int]:
    """Rows by state over all imports, and whether each sum is even."""
    with LedgerReader(path) as reader:
        lines = reader.view.imports()
    assert all(line.balance.is_even for line in lines), [line.balance for line in lines]
    names = ("accepted", "refused", "in_doubt", "pending", "rejected", "duplicate")
    return {name: sum(getattr(line.balance, name) for line in lines) for name in names}


def test_a_sound_ledger_is_repaired_to_the_same_ledger(copied: Copy) -> None:
    """Every record of every table is in the new one, and nothing is said to be lost."""
    path = copied()
    target, salvaged = repaired(path)
    assert salvaged.is_whole
    dumps = []
    for file in (path, target):
        with closing(sqlite3.connect(file)) as connection:
            names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            tables = sorted(name for name in names if not name.startswith(("sqlite_", "_sqlite")))
            dumps.append({name: sorted(connection.execute(f"SELECT * FROM {name}"), key=repr) for name in tables})
    assert dumps[0] == dumps[1]


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("identities", {"accepted": 38, "refused": 1, "pending": 13, "in_doubt": 0}),
        ("rows_by_phone", {"accepted": 38, "refused": 1, "pending": 13, "in_doubt": 0}),
        ("batches", {"accepted": 38, "refused": 1, "pending": 0, "in_doubt": 13}),
        ("bodies", {"accepted": 38, "refused": 1, "pending": 0, "in_doubt": 13}),
        ("rows", {"accepted": 38, "refused": 1, "pending": 0, "in_doubt": 13}),
        ("receipts", {"accepted": 38, "refused": 1, "pending": 13, "in_doubt": 0}),
        ("sends", {"accepted": 38, "refused": 1, "pending": 13, "in_doubt": 0}),
        ("rejects", {"accepted": 38, "refused": 1, "pending": 13, "in_doubt": 0}),
        ("skips", {"accepted": 38, "refused": 1, "pending": 13, "in_doubt": 0}),
        ("files", {"accepted": 38, "refused": 1, "pending": 13, "in_doubt": 0}),
        ("ledger_info", {"accepted": 38, "refused": 1, "pending": 0, "in_doubt": 13}),
    ],
)
def test_a_lost_table_leaves_a_sound_ledger_with_even_sums(table: str, expected: dict[str, int], copied: Copy) -> None:
    """Settled rows stay settled, unsettled ones whose record, bytes or rows are gone are in doubt, keys are held."""
    path = ruined(copied(), pages_of(copied("probe.db"), table))
    target, salvaged = repaired(path)
    assert not salvaged.is_whole or table in {"identities", "rows_by_phone"}
    assert salvaged.health.findings == ()
    found = states(target)
    assert {name: found[name] for name in expected} == expected
    assert (found["rejected"], found["duplicate"]) == (1, 3)
    with closing(sqlite3.connect(target)) as connection:
        held = connection.execute("SELECT count(*) FROM identities").fetchone()[0]
    assert held == 51, "each live row holds its key, so that no list can call it again"


@pytest.mark.parametrize("seed", range(12))
def test_whatever_pages_are_ruined_no_row_disappears_unsaid(seed: int, copied: Copy) -> None:
    """Random pages: the new ledger is sound and every row is in some state, or nothing could be saved."""
    path = copied()
    last = path.stat().st_size // PAGE_BYTES
    pages = random.Random(seed).sample(range(2, last + 1), 3)
    hopeless = {page for name in ("campaigns", "sqlite_schema") for page in pages_of(path, name)}
    ruined(path, pages, seed)
    if hopeless & set(pages):
        with pytest.raises(LedgerProblem, match="can be saved"):
            repaired(path)
        return
    target, salvaged = repaired(path)
    assert salvaged.health.findings == ()
    found = states(target)
    if not any("record of import" in note for note in salvaged.notes):
        assert found["accepted"] + found["refused"] + found["pending"] + found["in_doubt"] == 52
    assert found["pending"] in {0, 13} or salvaged.doubted


def test_a_row_lost_is_made_again_from_its_frozen_bytes(copied: Copy) -> None:
    """Its number and key come back; only its place in the list does not."""
    path = copied()
    with closing(sqlite3.connect(path)) as connection, connection:
        kept = connection.execute("SELECT phone, row_key, batch_id, position FROM rows WHERE id = 3").fetchone()
        connection.execute("DELETE FROM rows WHERE id = 3")
    target, salvaged = repaired(path)
    assert (salvaged.remade_rows, salvaged.lost_rows) == (1, 0)
    with closing(sqlite3.connect(target)) as connection:
        again = connection.execute(
            "SELECT phone, row_key, batch_id, position FROM rows WHERE batch_id = ? AND position = ?", kept[2:]
        ).fetchone()
    assert again == kept


def test_bytes_lost_are_never_replaced_and_never_sent(bench: Bench, platform: Platform, copied: Copy) -> None:
    """A pending batch whose bytes are damaged is in doubt; a run sends the others and leaves it to a person."""
    path = bench.ledger_path
    bench.run(write_list(bench.folder / "a.csv", people(20)), first_rows=4)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE bodies SET body = zeroblob(9) WHERE batch_id = 4")
    target, salvaged = repaired(path)
    assert [(each.batch_id, each.size_rows) for each in salvaged.doubted] == [(4, 4)]
    target.replace(path)
    report = bench.run(bench.folder / "a.csv", quiet_s=0.0)
    assert (report.exit_code, report.balance.accepted, report.balance.in_doubt) == (8, 16, 4)
    platform.has_each_once(number(i) for i in range(20) if not 12 <= i < 16)
    shop = Shop(folder=bench.folder, origin=bench.origin)
    said = shop.importer("resolve", "4", "--as", "not-called", "--ledger", path)
    assert (said.code, "lost" in said.err) == (2, True)
    assert shop.importer("resolve", "4", "--as", "given-up", "--ledger", path).code == 0
    assert bench.run(bench.folder / "a.csv").balance.accepted == 4, (
        "the list names them again, with their right content"
    )
    platform.has_each_once(number(i) for i in range(20))


def test_ids_lost_are_shown_as_lost_and_their_rows_stay_accepted(copied: Copy) -> None:
    """An accepted row is never put in doubt by a repair: it would be called again one day."""
    path = copied()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE receipts SET content = replace(content, '\"ids\"', '\"idz\"') WHERE batch_id = 1")
    target, salvaged = repaired(path)
    assert (salvaged.lost_ids, salvaged.doubted, salvaged.health.findings) == (4, [], ())
    assert states(target)["accepted"] == 38


def test_what_was_under_way_may_have_been_carried_out(bench: Bench, copied: Copy) -> None:
    """An armed batch of a crashed run is ambiguous in the new ledger, as it would be for the next run."""
    path = copied()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE batches SET state = 'armed', sends = 1 WHERE id = (SELECT max(id) FROM batches)")
        connection.execute(
            "INSERT INTO sends (batch_id, epoch, armed_ms, boot_ms, boot_id) SELECT max(id), 0, 1, 1, 'x' FROM batches"
        )
    target, _ = repaired(path)
    with closing(sqlite3.connect(target)) as connection:
        rows = connection.execute(
            "SELECT state, is_ambiguous FROM batches WHERE id = (SELECT max(id) FROM batches)"
        ).fetchall()
    assert rows == [("waiting", 1)]


def test_a_clean_ledger_is_made_of_one_with_strangers_in_its_schema(copied: Copy) -> None:
    """A trigger nobody of us wrote makes a ledger unusable; a repair leaves it behind."""
    path = copied()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TRIGGER evil AFTER UPDATE ON batches BEGIN DELETE FROM identities; END")
    with pytest.raises(LedgerProblem, match="evil"):
        Ledger(path, OWNER, now_ms=1)
    target, _ = repaired(path)
    Ledger(target, OWNER, now_ms=1).close()
    assert check_ledger(target).findings == ()


def test_a_repaired_ledger_goes_on_where_the_old_one_was(bench: Bench, platform: Platform) -> None:
    """A damaged index loses nothing: the new ledger is recognised as the newest and sends the rest."""
    bench.run(write_list(bench.folder / "a.csv", people(20)), first_rows=8)
    ruined(bench.ledger_path, pages_of(bench.ledger_path, "rows_by_phone"))
    target, salvaged = repaired(bench.ledger_path)
    assert salvaged.notes == []
    target.replace(bench.ledger_path)
    assert bench.run(bench.folder / "a.csv").balance.accepted == 20
    platform.has_each_once(number(i) for i in range(20))


def test_a_repaired_ledger_that_may_be_an_old_one_is_not_sent_from(copied: Copy, bench: Bench) -> None:
    """Requests were made that the damaged file does not remember: adopting says since when."""
    path = copied()
    counter = path.with_name("ledger.db.counter")
    counter.write_text(counter.read_text().replace('"armings": ', '"armings": 9'))
    target, salvaged = repaired(path)
    assert "--adopt-since" in salvaged.notes[0]
    assert not target.with_name("repaired.db.counter").exists()


def test_repair_replaces_nothing_and_needs_the_lock(shop: Shop, copied: Copy, tmp_path: Path) -> None:
    """Exit 2 where a file is, exit 9 beside an owner, exit 8 when something was lost, 0 when nothing was."""
    path = copied()
    with pytest.raises(UsageProblem, match="already there"):
        salvage(path, path, now_ms=1)
    with Ledger(path, OWNER, now_ms=1):
        assert shop.importer("ledger", "repair", "--ledger", path).code == 9
    said = shop.importer("ledger", "repair", "--ledger", path)
    assert (said.code, "Nothing was lost" in said.out) == (0, True)
    assert shop.importer("ledger", "repair", "--ledger", path).code == 2
    lossy = ruined(copied("lossy.db"), pages_of(copied("probe.db"), "receipts"))
    told = shop.importer("ledger", "repair", "--into", tmp_path / "into.db", "--ledger", lossy, "--json")
    assert (told.code, told.json["exit_code"], told.json["lost_ids"]) == (8, 8, 38)


@pytest.mark.parametrize("content", [b"", b"not a database at all", bytes(8192)])
def test_nothing_can_be_saved_of_what_is_no_ledger(content: bytes, shop: Shop, tmp_path: Path) -> None:
    """Said with exit 5; no new ledger appears."""
    path = tmp_path / "broken.db"
    path.write_bytes(content)
    said = shop.importer("ledger", "repair", "--ledger", path)
    assert (said.code, "can be saved" in said.err) == (5, True)
    assert not (tmp_path / "broken.db.repaired").exists()
