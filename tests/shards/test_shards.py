"""One list in shards: every row belongs to just one, each knows its own, and merged they are the whole import."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from workbench import OWNER, TOKEN, Platform, Said, Serve, Shop, number, people, write_list

from importer.errors import ImporterError
from importer.integrations.child import ImporterProcess, run_arguments
from importer.ledger import Ledger, LedgerReader
from importer.ledger.merging import merge_ledgers
from importer.ledger.upkeep import check_ledger
from importer.machine import now
from importer.protocol import Arming, arm, put_back
from importer.shards import Shard, parse_shard, shard_column, shard_number

GOLDEN = {
    ("+16500000000", 4): 3,
    ("+12015550100", 64): 61,
    ("+442079460000", 7): 4,
    ("0:17", 4): 4,
    ("2:1048577", 1000): 455,
}


def mixed(count: int) -> list[dict[str, str]]:
    """Good rows, bad ones, copies of rows and other rows of known numbers."""
    rows = people(count)
    bad = [{"phone": cell, "name": "Nobody", "order": "0"} for cell in ("", "12", "call me", "+1555")] * 3
    other = [{**row, "name": "Another"} for row in rows[5:15]]
    return [*rows[: count // 2], *bad, *rows[3:12], *other, *rows[count // 2 :]]


def own(shop: Shop, number_of_shard: int, name: str = "shard") -> Path:
    return shop.folder / "parts" / f"{name}-{number_of_shard}.db"


def run_shard(shop: Shop, source: Path, shard: str, *more: str | Path, ledger: Path | None = None) -> Said:
    """`importer run --shard`, with the shop's ledger as home."""
    path = ledger or own(shop, int(shard.partition("/")[0]))
    path.parent.mkdir(exist_ok=True, mode=0o700)
    home: tuple[str | Path, ...] = ("--home", shop.ledger) if shop.ledger.exists() else ("--new-ledger",)
    target = ("--host", shop.origin, "--token-file", shop.token_file, "--ledger", path)
    size = () if "--batch-size" in more else ("--batch-size", "4")
    return shop.importer("run", source, "--shard", shard, *home, *more, *size, *target, "--json")


def merge(shop: Shop) -> Said:
    return shop.importer("ledger", "merge", shop.folder / "parts", "--into", shop.ledger, "--json")


def why(said: Said) -> str:
    """What the command says it stopped for."""
    return str(said.json["error"])


def balance_of(ledger: Path, import_id: int = 1) -> Any:
    with LedgerReader(ledger) as reader:
        return reader.view.balance(import_id)


def content_of(ledger: Path) -> dict[str, list[Any]]:
    """Every row of every table."""
    with sqlite3.connect(f"file:{ledger}?mode=ro", uri=True) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
        return {name: connection.execute(f"SELECT * FROM {name}").fetchall() for (name,) in tables}


# --- the recipe -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "of"), GOLDEN)
def test_the_shard_of_a_number_never_changes(text: str, of: int) -> None:
    """Golden values: two versions that disagreed would call somebody twice."""
    assert shard_number(text, of) == GOLDEN[text, of]


@given(st.lists(st.text(min_size=1, max_size=20), min_size=1), st.integers(1, 4096))
def test_the_column_equals_the_reference(texts: list[str], of: int) -> None:
    plain = [text.encode("utf-8", "replace").decode() for text in texts]
    column = pl.select(shard_column(pl.lit(pl.Series(plain)), of)).to_series().to_list()
    assert column == [shard_number(text, of) for text in plain]


def test_anybody_can_compute_a_shard() -> None:
    """As docs/SCALING.md gives the recipe."""
    digest = hashlib.sha256(b"importer.shard.1:+16500000000").hexdigest()
    assert shard_number("+16500000000", 9) == int(digest[:15], 16) % 9 + 1


@given(st.integers(0, 10**6), st.integers(1, 100))
def test_the_parts_of_a_bound_add_up_to_it(total: int, of: int) -> None:
    assert sum(Shard(number=each, of=of).part(total) for each in range(1, of + 1)) == total


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "1/0", "a/b", "-1/4", "1/5000", ""])
def test_what_is_no_shard_is_refused(shop: Shop, text: str) -> None:
    said = run_shard(shop, write_list(shop.folder / "list.csv", people(1)), text, ledger=own(shop, 1))
    assert said.code == 2


def test_a_shard_is_read_as_it_is_written() -> None:
    assert parse_shard(" 2/4 ") == Shard(number=2, of=4)
    assert str(parse_shard("12/64")) == "12/64"


# --- one import in shards -------------------------------------------------------------------------------------------


def in_shards(shop: Shop, source: Path, of: int, *more: str) -> list[Said]:
    return [run_shard(shop, source, f"{each}/{of}", *more) for each in range(1, of + 1)]


def whole_balance(shop: Shop, serve: Serve, source: Path, *more: str) -> Any:
    """How the list ends when it is imported whole, by a shop of its own at a platform of its own."""
    folder = shop.folder / "whole"
    folder.mkdir(mode=0o700)
    alone = Shop(folder=folder, origin=serve().origin)
    alone.run(source, *more, "--batch-size", "4")
    return balance_of(alone.ledger)


@pytest.mark.parametrize("of", [1, 2, 5])
def test_every_row_belongs_to_just_one_shard(shop: Shop, platform: Platform, serve: Serve, of: int) -> None:
    """The merged balance is that of the list imported whole, and every row got just its call."""
    source = write_list(shop.folder / "list.csv", mixed(60))
    said = in_shards(shop, source, of, "--once-per", "row", "--stop-at-rejects", "100%")
    assert {each.code for each in said} <= {0, 3}
    assert merge(shop).code == 0
    assert balance_of(shop.ledger) == whole_balance(
        shop, serve, source, "--once-per", "row", "--stop-at-rejects", "100%"
    )
    platform.judge()
    assert len(platform.phones()) == balance_of(shop.ledger).accepted


@pytest.mark.parametrize("batch_size", ["1", "3", "100"])
def test_the_merged_ledger_is_well_and_tells_of_every_row(shop: Shop, batch_size: str) -> None:
    """Kept row by row or in packs."""
    source = write_list(shop.folder / "list.csv", mixed(400))
    in_shards(shop, source, 3, "--batch-size", batch_size)
    merge(shop)
    assert check_ledger(shop.ledger).findings == ()
    told = shop.importer("explain", number(7), "--ledger", shop.ledger)
    assert (told.code, "accepted" in told.out) == (0, True)
    with LedgerReader(shop.ledger) as reader:
        (line,) = reader.view.imports()
    assert (line.an_import.list_name, line.an_import.source_state) == (str(source), "complete")
    assert line.an_import.finished_ms is not None


def test_merging_twice_changes_nothing(shop: Shop) -> None:
    source = write_list(shop.folder / "list.csv", mixed(40))
    in_shards(shop, source, 2)
    merge(shop)
    before = content_of(shop.ledger)
    again = merge(shop).json["merged"]
    assert [each["how"] for each in again] == ["unchanged", "unchanged"]
    assert content_of(shop.ledger) == before


def test_what_moved_since_is_merged_again(shop: Shop) -> None:
    """A shard merged while most of it waits, then sent, is brought up to date in its own place."""
    source = write_list(shop.folder / "list.csv", mixed(60))
    run_shard(shop, source, "1/2", "--first", "9")
    run_shard(shop, source, "2/2")
    merge(shop)
    first = balance_of(shop.ledger)
    assert first.pending > 0
    assert first.is_even
    for words in (["send"], ["reconcile"], ["cancel", "1", "--yes"]):  # it is its shard's to go on with
        said = shop.importer(*words, *shop.target, "--json")
        assert (said.code, "its shards' to go on with" in why(said)) == (4, True), said
    run_shard(shop, source, "1/2")
    assert [each["how"] for each in merge(shop).json["merged"]] == ["updated", "unchanged"]
    then = balance_of(shop.ledger)
    assert (then.pending, then.accepted) == (0, first.accepted + first.pending)
    assert check_ledger(shop.ledger).findings == ()


def test_what_a_shard_took_back_is_taken_back_at_home(shop: Shop) -> None:
    """Sends armed ahead and merged, then put back, go; their ids stand for other sends by then, of other batches."""
    source = write_list(shop.folder / "list.csv", people(40))
    for shard in ("1/2", "2/2"):
        run_shard(shop, source, shard, "--first", "4")
    parts = [own(shop, 1), own(shop, 2)]

    def armed_in(part: Path, batch_ids: Sequence[int]) -> None:
        with Ledger(part, OWNER, now_ms=1) as ledger:
            here = Arming(server_low_ms=None, boot_ms=now().boot_ms, boot_id=now().boot_id)
            batches = [ledger.sends.load(batch_id) for batch_id in batch_ids]
            armed = [(each, arm(each.batch, here).batch) for each in batches]
            ledger.sends.advance(armed=armed, arming=here, now_ms=now().unix_ms)

    with Ledger(parts[0], OWNER, now_ms=1) as ledger:
        frozen = [row[0] for row in ledger.store.all("SELECT id FROM batches WHERE state = 'frozen' ORDER BY id")]
    armed_in(parts[0], frozen[:2])
    assert merge(shop).code == 0
    with Ledger(parts[0], OWNER, now_ms=1) as ledger:
        as_it_was = ledger.sends.load(frozen[2]).batch
        armed = [ledger.sends.load(each) for each in frozen[:2]]
        ledger.sends.advance(put_back=[(each, put_back(each.batch, as_it_was)) for each in armed], now_ms=now().unix_ms)
    assert merge(shop).code == 0
    assert open_sends(shop.ledger) == 0
    armed_in(parts[0], frozen[2:4])
    assert merge(shop).code == 0
    assert open_sends(shop.ledger) == 2
    assert check_ledger(shop.ledger).findings == ()
    for part, shard in zip(parts, ("1/2", "2/2"), strict=True):
        assert run_shard(shop, source, shard, ledger=part).code == 0
    assert merge(shop).code == 0
    assert balance_of(shop.ledger).accepted == 40
    assert check_ledger(shop.ledger).findings == ()


def open_sends(ledger: Path) -> int:
    with sqlite3.connect(f"file:{ledger}?mode=ro", uri=True) as connection:
        return int(connection.execute("SELECT count(*) FROM sends WHERE ended_ms IS NULL").fetchone()[0])


def test_a_merge_that_dies_and_is_made_again_gives_the_same(shop: Shop, tmp_path: Path) -> None:
    """Killed after any of its writes, a merge leaves a shard home whole or not at all."""
    source = write_list(shop.folder / "list.csv", mixed(40))
    in_shards(shop, source, 2)
    paths = [own(shop, 1), own(shop, 2)]
    for deadly in range(1, 120, 8):
        home = tmp_path / f"home-{deadly}.db"
        with Ledger(home, OWNER, now_ms=0) as ledger:
            died = merged_until(ledger, paths, deadly)
        with Ledger(home, OWNER, now_ms=0) as ledger:
            merge_ledgers(ledger, paths)
        assert without_ids(content_of(home)) == without_ids(merged_at_once(tmp_path, paths))
        if not died:
            break
    else:
        pytest.fail("the merge never got to its end")


def merged_until(ledger: Ledger, paths: list[Path], deadly: int) -> bool:
    """Merges until that many statements have been made; says whether it died."""
    count = itertools.count(1)
    ledger.store.connection.set_progress_handler(None, 0)

    def trace(statement: str) -> None:
        if statement.startswith(("INSERT", "DELETE", "UPDATE")) and next(count) == deadly:
            ledger.store.connection.set_progress_handler(lambda: 1, 1)  # whatever comes is interrupted

    ledger.store.connection.set_trace_callback(trace)
    try:
        merge_ledgers(ledger, paths)
    except (ImporterError, sqlite3.OperationalError):
        return True
    finally:
        ledger.store.connection.set_progress_handler(None, 0)
        ledger.store.connection.set_trace_callback(None)
    return False


def merged_at_once(folder: Path, paths: list[Path]) -> dict[str, list[Any]]:
    path = folder / "at-once.db"
    if not path.exists():
        with Ledger(path, OWNER, now_ms=0) as ledger:
            merge_ledgers(ledger, paths)
    return content_of(path)


def without_ids(content: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """All but what every new ledger has of its own."""
    return {name: rows for name, rows in content.items() if name not in ("ledger_info", "_sqlite_migrations")}


# --- night after night ----------------------------------------------------------------------------------------------


def test_tonight_knows_last_night(shop: Shop, platform: Platform) -> None:
    """The home ledger tells new shard ledgers who was called, whatever number of shards last night had."""
    source = write_list(shop.folder / "list.csv", people(60))
    in_shards(shop, source, 3)
    merge(shop)
    more = write_list(shop.folder / "more.csv", people(80))
    for each in (1, 2):
        said = run_shard(shop, more, f"{each}/2", ledger=own(shop, each, "second"))
        assert said.code == 0, said.err
    platform.has_each_once(row["phone"] for row in people(80))
    merge(shop)
    assert balance_of(shop.ledger, 2).duplicate == 60
    assert check_ledger(shop.ledger).findings == ()
    told = shop.importer("explain", "row", "2", "--import", "2", "--ledger", shop.ledger)
    assert "accepted" in told.out


def test_the_same_ledgers_serve_every_night(shop: Shop, platform: Platform) -> None:
    source = shop.folder / "list.csv"
    for count in (30, 50):
        in_shards(shop, write_list(source, people(count)), 2, "--once-per", "phone")
        merge(shop)
    platform.has_each_once(row["phone"] for row in people(50))
    assert [balance_of(shop.ledger, each).accepted for each in (1, 2)] == [30, 20]
    assert check_ledger(shop.ledger).findings == ()


def test_the_home_do_not_call_lists_hold_in_every_shard(shop: Shop, platform: Platform) -> None:
    """Also those that came later, for a shard that goes on."""
    source = write_list(shop.folder / "list.csv", people(40))
    assert shop.importer("dnc", "add", number(3), "--ledger", shop.ledger).code == 0
    for each in (1, 2):
        run_shard(shop, source, f"{each}/2", "--new-ledger", "--first", "4")
    shop.importer("dnc", "add", *map(number, range(20, 40)), "--ledger", shop.ledger)
    for each in (1, 2):
        run_shard(shop, source, f"{each}/2", "--new-ledger")
    called = set(platform.phones())
    assert number(3) not in called
    assert called >= {number(each) for each in range(20) if each != 3}
    assert len(called & {number(each) for each in range(20, 40)}) <= 4  # what was sent before they were added


def test_who_was_called_lately_is_known_from_home(shop: Shop, platform: Platform) -> None:
    shop.run(write_list(shop.folder / "list.csv", people(20)))
    other = write_list(shop.folder / "other.csv", [{**row, "name": "New"} for row in people(30)])
    said = [run_shard(shop, other, f"{k}/2", "--once-per", "row", "--not-if-called-within", "1d") for k in (1, 2)]
    assert [each.code for each in said] == [0, 0], said
    assert sum(each.json["duplicate"] for each in said) == 20
    assert len(platform.phones()) == 30


# --- what is refused ------------------------------------------------------------------------------------------------


def test_no_home_ledger_no_run(shop: Shop, platform: Platform) -> None:
    source = write_list(shop.folder / "list.csv", people(9))
    said = shop.run(source, "--shard", "1/2")
    assert (said.code, "--home" in why(said)) == (2, True)
    missing = shop.run(source, "--shard", "1/2", "--home", shop.folder / "nowhere.db")
    assert missing.code == 5
    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    assert shop.run(source, "--shard", "1/2", "--adopt-since", since, "--quiet-period", "1s").code == 0
    assert platform.phones()


def test_another_number_of_shards_in_one_round_is_refused(shop: Shop, platform: Platform) -> None:
    """With its own ledger, and as far as the home ledger knows; in another round it may be."""
    source = write_list(shop.folder / "list.csv", people(40))
    run_shard(shop, source, "1/2", "--round", "one")
    before = platform.phones()
    refused = run_shard(shop, source, "1/3", "--round", "one")
    assert (refused.code, "1/2" in why(refused)) == (4, True)
    merge(shop)
    fresh = own(shop, 1, "fresh")
    at_home = run_shard(shop, source, "1/3", "--round", "one", ledger=fresh)
    assert (at_home.code, "2 shards" in why(at_home)) == (4, True)
    whole = shop.run(source, "--round", "one")
    assert (whole.code, "2 shards" in why(whole)) == (4, True)
    assert platform.phones() == before
    assert run_shard(shop, source, "1/3", "--round", "two", ledger=fresh).code == 0


def test_an_identity_that_crosses_shards_is_refused(shop: Shop, platform: Platform) -> None:
    source = write_list(shop.folder / "list.csv", people(9))
    said = run_shard(shop, source, "1/2", "--once-per", "order")
    assert (said.code, "--once-per" in why(said)) == (2, True)
    assert run_shard(shop, source, "1/2", "--once-per", "order,phone").code == 0
    assert set(platform.phones()) < {row["phone"] for row in people(9)}


def test_a_list_imported_whole_is_not_merged(shop: Shop) -> None:
    (shop.folder / "parts").mkdir(mode=0o700)
    whole = own(shop, 1)
    target = ("--host", shop.origin, "--token-file", shop.token_file, "--ledger", whole)
    shop.importer("run", write_list(shop.folder / "list.csv", people(9)), *target)
    said = merge(shop)
    assert (said.code, "whole list" in why(said)) == (5, True)


def test_two_ledgers_of_one_shard_are_not_both_merged(shop: Shop) -> None:
    source = write_list(shop.folder / "list.csv", people(30))
    run_shard(shop, source, "1/2", "--first", "4", ledger=own(shop, 1, "a"))
    run_shard(shop, source, "1/2", "--first", "4", ledger=own(shop, 1, "b"))
    said = merge(shop)
    assert (said.code, "another ledger" in why(said)) == (5, True)


def test_bounds_are_divided_and_rows_are_counted_whole(shop: Shop, platform: Platform) -> None:
    """--first and --max-calls are the import's; --expect-rows is about the list."""
    source = write_list(shop.folder / "list.csv", people(60))
    for each in (1, 2, 3):
        assert run_shard(shop, source, f"{each}/3", "--first", "10", "--expect-rows", "60..60").code == 0
    assert len(platform.phones()) == 10
    said = run_shard(shop, source, "1/3", "--max-calls", "15", ledger=own(shop, 1, "other"))
    assert (said.code, "more than --max-calls 5" in why(said)) == (4, True)


def test_a_copy_of_the_home_ledger_is_noticed(shop: Shop) -> None:
    """Law 13 holds for the ledger that is only read, too."""
    source = write_list(shop.folder / "list.csv", people(20))
    shop.run(source)
    copy = shop.folder / "copy.db"
    assert shop.importer("ledger", "backup", copy, "--ledger", shop.ledger).code == 0
    said = run_shard(shop, source, "1/2", "--home", copy)
    assert (said.code, "copied or restored" in why(said)) == (5, True)


def test_a_shard_whose_list_is_still_being_read_is_left_out(shop: Shop) -> None:
    source = write_list(shop.folder / "list.csv", people(20))
    run_shard(shop, source, "1/2")
    with sqlite3.connect(own(shop, 1)) as ledger:  # as a stop between two chunks leaves it
        ledger.execute("UPDATE batches SET state = 'frozen', sends = 0, is_ambiguous = 0")
        ledger.execute("UPDATE imports SET source_state = 'open', completed_ms = NULL, finished_ms = NULL")
    said = merge(shop)
    assert (said.code, said.json["merged"][0]["how"]) == (8, "unread")
    assert shop.importer("status", "--ledger", shop.ledger, "--json").code == 0


def test_what_was_merged_can_be_proved_and_asked_about(shop: Shop) -> None:
    source = write_list(shop.folder / "list.csv", people(60))
    in_shards(shop, source, 3)
    merge(shop)
    assert shop.importer("prove", *shop.target, "--json").code == 0
    asked = shop.importer("outcomes", *shop.target, "--out", shop.folder / "out.jsonl", "--json")
    assert asked.code in (0, 8), asked
    assert len((shop.folder / "out.jsonl").read_text().splitlines()) == 60


def test_nothing_erased_comes_back(shop: Shop) -> None:
    """Merging again after a purge changes nothing, and a ledger that was purged by itself is refused."""
    source = write_list(shop.folder / "list.csv", people(30))
    in_shards(shop, source, 2)
    merge(shop)
    assert shop.importer("purge", "--import", "1", "--ledger", shop.ledger, "--yes").code == 0
    before = content_of(shop.ledger)
    assert merge(shop).code == 0
    assert content_of(shop.ledger) == before
    part = own(shop, 1)
    assert shop.importer("purge", "--import", "1", "--ledger", part, "--yes").code == 0
    fresh = shop.importer("ledger", "merge", part, "--into", shop.folder / "fresh.db", "--json")
    assert (fresh.code, "was purged" in why(fresh)) == (5, True)


def test_a_scheduler_s_mapped_tasks_run_shards(shop: Shop, platform: Platform) -> None:
    """As Airflow's mapped tasks and Dagster's partitions start them: a child process each, told of its shard."""
    source = write_list(shop.folder / "list.csv", people(30))
    (shop.folder / "parts").mkdir(mode=0o700)
    ends = []
    for each in (1, 2, 1):  # the first is retried: it says what it did
        told = {"shard": f"{each}/2", "home": shop.ledger, "new_ledger": True, "round": "one"}
        arguments = run_arguments(source, host=shop.origin, ledger=own(shop, each), run_id=str(each), settings=told)
        with ImporterProcess(arguments, token=TOKEN, tell=lambda *_: None) as process:
            ends.append(process.wait())
    assert [each.exit_code for each in ends] == [0, 0, 0]
    assert ends[0].said["accepted"] == ends[2].said["accepted"]
    merge(shop)
    platform.has_each_once(row["phone"] for row in people(30))
    assert balance_of(shop.ledger).accepted == 30


def test_a_ledger_whose_maker_was_killed_at_once_holds_nothing(shop: Shop) -> None:
    """Between the file and its first step: it is no older format, and no reason to stop."""
    source = write_list(shop.folder / "list.csv", people(9))
    in_shards(shop, source, 2)
    own(shop, 3).touch(mode=0o600)
    with contextlib.closing(sqlite3.connect(own(shop, 4))) as ledger:
        ledger.execute("PRAGMA journal_mode = wal")
    said = merge(shop)
    assert (said.code, len(said.json["merged"])) == (0, 2)


def test_a_shard_that_was_run_twice_waits_for_the_others(shop: Shop, platform: Platform) -> None:
    """Its second import, all duplicates, comes home once the first is whole."""
    source = write_list(shop.folder / "list.csv", people(30))
    for each in (1, 1, 2):
        run_shard(shop, source, f"{each}/2")
    first = shop.importer("ledger", "merge", own(shop, 1), "--into", shop.ledger, "--json")
    assert (first.code, [each["how"] for each in first.json["merged"]]) == (8, ["new", "later"])
    assert [each["how"] for each in merge(shop).json["merged"]] == ["unchanged", "new", "new"]
    platform.has_each_once(row["phone"] for row in people(30))
    assert balance_of(shop.ledger).accepted == 30
