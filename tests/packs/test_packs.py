"""Rows of large batches are packed: whatever is asked or done, nobody can tell them from rows kept one by one."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from workbench import OWNER, TOKEN, Bench, Platform, Serve, Shop, changed_at, number, people, write_list

from importer.client import CallsApi, NewCallJob
from importer.ledger import Ledger, LedgerReader
from importer.ledger.key_index import KeyIndex
from importer.ledger.opening import migration_set
from importer.ledger.packs import LEAST_ROWS, Pack, Packer, RowRecord, unfold
from importer.ledger.salvage import salvage
from importer.ledger.upkeep import check_ledger

SIZE = LEAST_ROWS + 6


def ask(path: Path, sql: str, *values: Any) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql, values).fetchall()


def findings(path: Path) -> list[str]:
    return [f"{each.check}: {each.text}" for each in check_ledger(path).findings]


ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 10**15 - 1), st.booleans()), min_size=1, max_size=200)


@given(ROWS, st.booleans())
def test_a_pack_gives_back_the_rows_it_was_made_of(rows: list[tuple[int, int, bool]], has_identities: bool) -> None:
    """Whatever numbers, gaps between row numbers and lengths: id, place, number and keys of each row are as before."""
    row_nos = [2]
    for _, _, is_next in rows[1:]:
        row_nos.append(row_nos[-1] + (1 if is_next else 7))
    keys = [place.to_bytes(16) for place in range(len(rows))]
    identities = [bytes(reversed(key)) for key in keys] if has_identities else [None] * len(rows)
    frame = pl.DataFrame(
        {
            "file_no": [1] * len(rows),
            "row_no": row_nos,
            "phone": [phone for _, phone, _ in rows],
            "row_key": keys,
            "identity": pl.Series(identities, dtype=pl.Binary),
        }
    )
    packer = Packer(frame, import_id=3, revision=2, first_row_id=11)
    made = [row for each in packer.packs(5, range(len(rows))) for row in Pack(*each).rows()]
    assert made == [
        RowRecord(11 + at, 3, 1, row_nos[at], rows[at][1], keys[at], identities[at], 5, at, 2)
        for at in range(len(rows))
    ]
    runs = [b"".join(kind) for kind in (keys, identities) if None not in kind]
    assert [(run, row_ids.tolist()) for run, row_ids in packer.packed_keys()] == [
        (run, list(range(11, 11 + len(rows)))) for run in runs
    ]
    assert packer.packed_phones().to_list() == [phone for _, phone, _ in rows]


def test_large_batches_are_packed_and_say_the_same_as_small_ones(tmp_path: Path, serve: Serve) -> None:
    """Every view, and everything a person can ask of a row, is the same but for the batches."""
    said = []
    for size in (SIZE, 10):
        folder = tmp_path / str(size)
        folder.mkdir()
        platform = serve()
        bench = Bench(folder=folder, origin=platform.origin)
        rows = people(2 * SIZE)
        report = bench.run(write_list(tmp_path / "a.csv", rows), batch_size_rows=size, chunk_rows=33)
        assert (report.exit_code, report.balance.accepted) == (0, 2 * SIZE)
        platform.has_each_once(row["phone"] for row in rows)
        columns = "row_id, import_id, file, row_no, phone, length(row_key), state"
        views = [
            f"SELECT {columns} FROM row_states ORDER BY row_id",
            "SELECT row_no, phone FROM call_jobs ORDER BY row_id",
        ]
        with LedgerReader(bench.ledger_path) as reader:
            lives = reader.view.rows_of_phone(int(number(17)[1:]))
            assert [life.row_id for life in lives] == [18]
            assert [life.row_id for life in reader.view.row(1, 0, 19)] == [18]
            assert reader.view.rows_of_phone(1) == reader.view.row(1, 0, 999) == []
            item = reader.view.item_of(18)
            assert item is not None
            assert number(17)[1:] in item
            assert lives[0].call_job_id is not None
            assert reader.view.life_of(18) == lives[0]
        said.append([ask(bench.ledger_path, view) for view in views])
        packed = ask(bench.ledger_path, "SELECT count(*) FROM row_packs")[0][0]
        assert packed == (2 if size == SIZE else 0)
        assert findings(bench.ledger_path) == []
    assert said[0] == said[1]


def test_the_same_list_again_is_all_duplicates_and_one_new_row_is_found(
    tmp_path: Path, bench: Bench, platform: Platform
) -> None:
    """Through the filter, the order of the list, the runs and the tail: nobody is called twice, the new row is."""
    rows = people(5 * SIZE)
    assert bench.run(write_list(tmp_path / "a.csv", rows), batch_size_rows=SIZE).exit_code == 0
    with closing(sqlite3.connect(bench.ledger_path, isolation_level=None)) as connection:
        index = KeyIndex(connection, run_rows=SIZE)
        keys = pl.Series([row[0] for row in ask(bench.ledger_path, "SELECT row_key FROM all_rows ORDER BY id")])
        assert index.find(keys)["row_id"].sort().to_list() == list(range(1, 5 * SIZE + 1))
        run = index.write_run()
        assert run is not None
        index.wrote(run)
        for again in (index, KeyIndex(connection)):
            assert again.find(keys.shuffle(1))["row_id"].sort().to_list() == list(range(1, 5 * SIZE + 1))
            assert again.find(pl.Series([b"x" * 16, keys[0][:8] + b"y" * 8])).height == 0
    assert findings(bench.ledger_path) == []
    changed = [*rows[:200], {**rows[200], "name": "Somebody else"}, *rows[201:]]
    again = bench.run(write_list(tmp_path / "b.csv", changed), batch_size_rows=SIZE, once_per="row")
    assert (again.balance.duplicate, again.balance.accepted) == (5 * SIZE - 1, 1)
    assert ask(
        bench.ledger_path, "SELECT count(*) FROM skipped_rows WHERE reason = 'already' AND row_no = row_id + 1"
    ) == [(5 * SIZE - 1,)]
    once = bench.run(tmp_path / "b.csv", batch_size_rows=SIZE, once_per="phone", list_name="c")
    assert once.balance.duplicate == 5 * SIZE
    platform.judge()


EDITS = st.lists(st.tuples(st.sampled_from(["drop", "insert", "replace", "move"]), st.integers(0, 10**6)), max_size=6)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=EDITS, chunk=st.integers(1, 3 * SIZE), kind=st.sampled_from(["row_key", "identity"]))
def test_an_edited_list_finds_the_rows_that_a_look_at_each_would(
    edits: list[tuple[str, int]], chunk: int, kind: str, packed_ledger: Path
) -> None:
    """However the list was edited since and however it is cut: in its old order, near it, or by the runs."""
    held = dict(ask(packed_ledger, f"SELECT {kind}, id FROM all_rows ORDER BY id"))
    asked = list(held)
    for edit, place in edits:
        at = place % len(asked)
        taken = asked.pop(at) if edit != "insert" else b""
        if edit in ("insert", "replace"):
            asked.insert(at, hashlib.sha256(b"%d" % place).digest()[:16])
        elif edit == "move":
            asked.insert(place % 7, taken)
    with closing(sqlite3.connect(packed_ledger)) as connection:
        index = KeyIndex(connection)
        found: list[tuple[int, int, bytes]] = []
        for first in range(0, len(asked), chunk):
            part = pl.Series(kind, asked[first : first + chunk], dtype=pl.Binary)
            rows = index.find(part).select("at", "row_id", "row_key").rows()
            found += [(first + at, row_id, own) for at, row_id, own in rows]
    own_keys = dict(ask(packed_ledger, "SELECT id, row_key FROM all_rows"))
    wanted = [(at, held[key], own_keys[held[key]]) for at, key in enumerate(asked) if key in held]
    assert sorted(found) == wanted


@pytest.fixture(scope="module")
def packed_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger of packs with identities, made by hand: two imports, keys in two runs and in none."""
    path = tmp_path_factory.mktemp("packed") / "ledger.db"
    with Ledger(path, OWNER, now_ms=1):
        pass
    keys = [hashlib.sha256(b"row %d" % place).digest()[:16] for place in range(8 * SIZE)]
    identities = [hashlib.sha256(b"who %d" % place).digest()[:16] for place in range(8 * SIZE)]
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        index = KeyIndex(connection, run_rows=3 * SIZE)
        index.find(pl.Series("row_key", keys[:1], dtype=pl.Binary))
        for first in range(0, 8 * SIZE, SIZE):
            span = slice(first, first + SIZE)
            frame = pl.DataFrame(
                {
                    "file_no": [0] * SIZE,
                    "row_no": list(range(first + 2, first + 2 + SIZE)),
                    "phone": [16505550100 + place for place in range(first, first + SIZE)],
                    "row_key": pl.Series(keys[span], dtype=pl.Binary),
                    "identity": pl.Series(identities[span], dtype=pl.Binary),
                }
            )
            packer = Packer(frame, import_id=1 + first // (4 * SIZE), revision=1, first_row_id=1 + first)
            connection.executemany(packer.insert, packer.packs(1 + first // SIZE, range(SIZE)))
            for run, row_ids in packer.packed_keys():
                index.note(run, row_ids)
            index.wrote(index.write_run())
    return path


def test_a_run_that_lost_a_key_is_found(tmp_path: Path, bench: Bench) -> None:
    """A key that no look-up would find could be called again: the check names its row."""
    bench.run(write_list(tmp_path / "a.csv", people(SIZE)), batch_size_rows=SIZE)
    with closing(sqlite3.connect(bench.ledger_path, isolation_level=None)) as connection:
        index = KeyIndex(connection, run_rows=SIZE)
        index.find(pl.Series([b"x" * 16]))
        index.write_run()
        connection.execute("UPDATE key_blocks SET keys = zeroblob(8), row_ids = zeroblob(4)")
    assert "identities: row 1 does not hold its own key" in findings(bench.ledger_path)


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("UPDATE row_packs SET row_keys = randomblob(16 * size_rows)", "keys: batch 1 has a row key in row 1"),
        ("UPDATE row_packs SET phones = replace(phones, '12', '13')", "rows: batch 1 has another number in row"),
        ("DELETE FROM row_packs", f"rows: batch 1 has 0 rows in their places, not {SIZE}"),
        ("INSERT INTO rows SELECT * FROM all_rows WHERE id = 3", "identities: batch 1 is packed, and should not be"),
    ],
)
def test_a_changed_pack_is_named_and_repaired(statement: str, named: str, tmp_path: Path, bench: Bench) -> None:
    """Frozen bytes and packs must agree; a repair makes the rows again, one by one."""
    bench.run(write_list(tmp_path / "a.csv", people(SIZE)), batch_size_rows=SIZE)
    with closing(sqlite3.connect(bench.ledger_path, isolation_level=None)) as connection:
        rows = connection.execute("SELECT phone, row_key FROM all_rows ORDER BY id").fetchall()
        if "phones" in statement:
            connection.execute("UPDATE row_packs SET phones = CAST(replace(phones, '12', '13') AS BLOB)")
        else:
            connection.execute(statement)
    assert any(each.startswith(named) for each in findings(bench.ledger_path)), findings(bench.ledger_path)
    target = tmp_path / "repaired.db"
    salvage(bench.ledger_path, target, now_ms=5)
    assert findings(target) == []
    assert sorted(ask(target, "SELECT phone, row_key FROM all_rows")) == sorted(rows)


def test_a_sound_packed_ledger_is_repaired_without_loss(tmp_path: Path, bench: Bench, platform: Platform) -> None:
    """The repaired one holds every row apart, knows them all again, and calls nobody twice."""
    rows = people(2 * SIZE)
    bench.run(write_list(tmp_path / "a.csv", rows), batch_size_rows=SIZE, first_rows=SIZE)
    target = tmp_path / "repaired.db"
    salvaged = salvage(bench.ledger_path, target, now_ms=5)
    assert salvaged.is_whole, salvaged
    shutil.move(target, bench.ledger_path)
    shutil.move(f"{target}.counter", f"{bench.ledger_path}.counter")
    assert bench.run(tmp_path / "a.csv", batch_size_rows=SIZE).balance.accepted == 2 * SIZE
    platform.has_each_once(row["phone"] for row in rows)


def test_a_declined_batch_is_unfolded_and_split(tmp_path: Path, serve: Serve) -> None:
    """One row the platform knows already: the others of its batch are accepted, and it may be tried another time."""
    platform = serve(duplicates="jobs24h")
    with CallsApi(platform.origin, TOKEN) as api:
        api.add_phones([NewCallJob(phone=number(5)[1:], payload={"by": "hand"})])
    bench = Bench(folder=tmp_path, origin=platform.origin)
    rows = people(3 * SIZE)
    report = bench.run(write_list(tmp_path / "a.csv", rows), batch_size_rows=SIZE, is_new_ledger_fine=True)
    assert (report.balance.accepted, report.balance.refused) == (3 * SIZE - 1, 1)
    platform.has_each_once(row["phone"] for row in rows)
    assert ask(bench.ledger_path, "SELECT count(*), (SELECT count(*) FROM rows) FROM row_packs") == [(2, SIZE)]
    assert findings(bench.ledger_path) == []


def test_an_edited_list_keeps_packed_rows_that_were_sent(tmp_path: Path, bench: Bench, platform: Platform) -> None:
    """A row put in front moves every row: what was sent stays, what was not is cut anew, and each is called once."""
    rows = people(4 * SIZE)
    path = write_list(tmp_path / "a.csv", rows)
    bench.run(path, batch_size_rows=SIZE, first_rows=2 * SIZE)
    write_list(path, [*people(1, first=4000), *rows[:-1]])
    changed_at(path, 5)
    report = bench.run(path, batch_size_rows=SIZE)
    assert (report.balance.accepted, report.balance.withdrawn, report.balance.is_even) == (4 * SIZE, 1, True)
    platform.has_each_once([number(4000), *(row["phone"] for row in rows[:-1])])
    assert findings(bench.ledger_path) == []


def test_packed_rows_are_cancelled_by_number_by_condition_and_all(tmp_path: Path, platform: Platform) -> None:
    """Before and after they were sent; the rest of a batch goes out under a key of its own."""
    shop = Shop(folder=tmp_path, origin=platform.origin)
    rows = people(3 * SIZE)
    path = write_list(tmp_path / "a.csv", rows)
    assert shop.run(path, "--batch-size", str(SIZE), "--first", str(SIZE), "--yes").code == 0
    numbers = write_list(tmp_path / "numbers.csv", [{"phone": number(at)} for at in range(2 * SIZE - 5, 2 * SIZE + 7)])
    for choice, withdrawn, cancelled in (
        (("--phones", numbers), 12, 0),
        (("--where", "name IN ('Person 3', 'Person 99')"), 1, 1),
    ):
        said = shop.importer("cancel", "1", *choice, *shop.target, "--yes", "--json")
        assert said.code == 0, said.err
        assert (said.json["withdrawn"], said.json["cancelled"]) == (withdrawn, cancelled)
    assert shop.send().code == 0
    gone = {99, *range(2 * SIZE - 5, 2 * SIZE + 7)}
    assert sorted(platform.phones()) == sorted(row["phone"] for at, row in enumerate(rows) if at not in gone)
    assert shop.importer("cancel", "1", *shop.target, "--yes", "--json").json["cancelled"] == 3 * SIZE - 14
    assert len(ask(shop.ledger, "SELECT * FROM cancelled_rows")) == 3 * SIZE
    assert findings(shop.ledger) == []


def test_unfolding_twice_is_the_same_as_once(tmp_path: Path, bench: Bench) -> None:
    """Everything reads as before, each row holds its key, and a second time there is nothing to do."""
    bench.run(write_list(tmp_path / "a.csv", people(SIZE)), batch_size_rows=SIZE)
    before = ask(bench.ledger_path, "SELECT * FROM all_rows ORDER BY id")
    for _ in range(2):
        with closing(sqlite3.connect(bench.ledger_path)) as connection:
            unfold(connection, 1)
            connection.commit()
        assert ask(bench.ledger_path, "SELECT * FROM all_rows ORDER BY id") == before
    assert ask(bench.ledger_path, "SELECT count(*) FROM identities") == [(SIZE,)]
    assert findings(bench.ledger_path) == []


def test_a_ledger_of_format_3_with_data_goes_on(tmp_path: Path, bench: Bench, platform: Platform) -> None:
    """Half sent in the old format: it is brought up to date, a copy is kept, and each row is called once."""
    from sqlite_utils import Database

    rows = people(3 * SIZE)
    path = write_list(tmp_path / "a.csv", rows)
    bench.run(path, batch_size_rows=10, first_rows=SIZE)
    old = tmp_path / "old.db"
    with closing(sqlite3.connect(old, isolation_level=None)) as connection:
        migration_set().apply(Database(connection, execute_plugins=False), stop_before="m0004_packs")
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        connection.execute("ATTACH ? AS new", [str(bench.ledger_path)])
        for table in (name for name in tables if not name.startswith(("sqlite_", "_sqlite"))):
            names = ", ".join(row[1] for row in connection.execute(f'PRAGMA main.table_info("{table}")'))
            connection.execute(f"INSERT INTO main.{table} ({names}) SELECT {names} FROM new.{table}")
    for name in ("ledger.db", "ledger.db-wal", "ledger.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    shutil.move(old, bench.ledger_path)
    assert bench.run(path, batch_size_rows=10).balance.accepted == 3 * SIZE
    platform.has_each_once(row["phone"] for row in rows)
    more = [*rows, *people(2 * SIZE, first=4 * SIZE)]
    again = bench.run(write_list(tmp_path / "b.csv", more), batch_size_rows=SIZE)
    assert (again.balance.duplicate, again.balance.accepted) == (3 * SIZE, 2 * SIZE)
    assert (tmp_path / "ledger.db.v3.backup").exists()
    assert findings(bench.ledger_path) == []


def test_row_ids_are_never_used_twice(tmp_path: Path, bench: Bench) -> None:
    """Ids count on behind packs as they do behind rows."""
    bench.run(write_list(tmp_path / "a.csv", people(SIZE)), batch_size_rows=SIZE)
    with Ledger(bench.ledger_path, OWNER, now_ms=1) as ledger:
        assert ledger.intake.next_row_id() == SIZE + 1
        with ledger.store.transaction():
            unfold(ledger.store.connection, 1)
            ledger.store.connection.execute("DELETE FROM rows WHERE id = ?", [SIZE])
        assert ledger.intake.next_row_id() == SIZE + 1


def test_a_number_that_stands_twice_costs_only_its_own_block_the_pack(bench: Bench, platform: Platform) -> None:
    """Real lists repeat numbers with other content: the other batches are packed all the same."""
    rows = people(SIZE * 4)
    rows[SIZE + 3]["phone"] = rows[SIZE + 1]["phone"]
    report = bench.run(write_list(bench.folder / "a.csv", rows), batch_size_rows=SIZE)
    assert report.balance.accepted == len(rows)
    assert ask(bench.ledger_path, "SELECT sum(size_rows) FROM row_packs") == [(SIZE * 3,)]
    assert ask(bench.ledger_path, "SELECT size_rows FROM batches ORDER BY id") == [
        (SIZE,), (SIZE - 1,), (1,), (SIZE,), (SIZE,)
    ]  # fmt: skip
    assert findings(bench.ledger_path) == []
    platform.judge()
