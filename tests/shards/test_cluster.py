"""A list over a cluster of real processes: workers and schedulers go away, and each row is sent once."""

from __future__ import annotations

import gzip
import itertools
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from workbench import OWNER, TOKEN, Platform, Serve, Shop, command, people, start, write_list

from importer.client import check_token
from importer.cluster import Cluster, joined
from importer.errors import ApiAway, ListProblem
from importer.ledger import Ledger, LedgerReader
from importer.ledger.upkeep import check_ledger
from importer.machine import StopSignals, now
from importer.model import Event, Notice, Observer
from importer.run import HoldBack, RunReport, RunSettings, Target
from importer.sender import SendSettings
from importer.sources import Query, ReadOptions
from tests.shards.farm import Farm, awaited, farm

pytestmark = pytest.mark.slow
ROWS = 160
SLOWLY = "delay:s=0.15,at=after"


@pytest.fixture
def field(tmp_path: Path) -> Iterator[Farm]:
    """A cluster's processes; the test starts them."""
    with farm(tmp_path / "farm") as made:
        yield made


def words(shop: Shop, source: Path, *more: str) -> tuple[str | Path, ...]:
    """A run over a cluster as it is typed."""
    return ("run", source, "--engine", "dask", *more, *shop.target, "--batch-size", "4", "--in-flight", "2", "--json")


def shop_at(platform: Platform, folder: Path) -> Shop:
    return Shop(folder=folder, origin=platform.origin)


def begun(shop: Shop, field: Farm, source: Path, shards: int = 2) -> subprocess.Popen[str]:
    """A run over the field, in a process of its own."""
    return start(*words(shop, source, "--scheduler", field.address, "--shards", str(shards)))


def ended(run: subprocess.Popen[str], within_s: float = 120.0) -> tuple[int, str]:
    out, err = run.communicate(timeout=within_s)
    return run.returncode, out + err


def judged(shop: Shop, platform: Platform, source_rows: int = ROWS) -> None:
    """Each row once; the home ledger says so, and no ledger of a shard is left."""
    platform.has_each_once(row["phone"] for row in people(source_rows))
    with LedgerReader(shop.ledger) as reader:
        balance = reader.view.balance(reader.view.newest_import_id() or 0)
    assert (balance.read, balance.accepted) == (source_rows, source_rows)
    assert check_ledger(shop.ledger).findings == ()
    assert list(shop.ledger.with_name("ledger.db.shards").glob("*.db")) == []


def test_a_cluster_of_this_machine_is_made_when_none_is_named(shop: Shop, platform: Platform) -> None:
    source = write_list(shop.folder / "list.csv", people(ROWS))
    said = command(*words(shop, source, "--shards", "2"))
    assert said.code == 0, said
    assert (said.json["read"], said.json["accepted"]) == (ROWS, ROWS)
    judged(shop, platform)


def test_the_token_is_in_no_log_and_on_no_page(tmp_path: Path, serve: Serve, field: Farm) -> None:
    """Law 12 on a cluster: scheduler and workers log all they can, and their pages are read while shards run."""
    platform = serve(SLOWLY)
    shop = shop_at(platform, tmp_path)
    field.logs_all = True
    field.start(2)
    source = write_list(tmp_path / "list.csv", people(ROWS))
    run = begun(shop, field, source)
    awaited(lambda: len(platform.phones()) > 20)
    shown = field.shown()
    code, said = ended(run)
    assert code == 0, said
    secret = TOKEN.rpartition(".")[2]
    for text in (shown, field.shown(), field.logs(), said):
        assert secret not in text
        assert not [row["phone"] for row in people(ROWS) if row["phone"][1:] in text]
    assert "importer-" in field.logs()  # they do tell of the shards
    judged(shop, platform)


def test_a_killed_worker_s_shard_goes_on_with_another(tmp_path: Path, serve: Serve, field: Farm) -> None:
    platform = serve(SLOWLY)
    shop = shop_at(platform, tmp_path)
    field.start(2)
    run = begun(shop, field, write_list(tmp_path / "list.csv", people(ROWS)), shards=3)
    for at in (20, 70):
        awaited(lambda at=at: len(platform.phones()) > at)
        field.kill(field.workers[0])
        field.add_worker()
    code, said = ended(run)
    assert code == 0, said
    judged(shop, platform)


def test_after_the_loss_of_the_scheduler_the_same_command_goes_on(tmp_path: Path, serve: Serve, field: Farm) -> None:
    platform = serve(SLOWLY)
    shop = shop_at(platform, tmp_path)
    field.start(2)
    source = write_list(tmp_path / "list.csv", people(ROWS))
    run = begun(shop, field, source)
    awaited(lambda: len(platform.phones()) > 20)
    assert field.scheduler is not None
    field.kill(field.scheduler)
    code, said = ended(run)
    assert (code, "same command again" in said) == (7, True)
    field.stop()
    field.start(2)
    code, said = ended(begun(shop, field, source))
    assert code == 0, said
    judged(shop, platform)


def test_ctrl_c_drains_every_shard(tmp_path: Path, serve: Serve, field: Farm) -> None:
    platform = serve(SLOWLY)
    shop = shop_at(platform, tmp_path)
    field.start(2)
    source = write_list(tmp_path / "list.csv", people(ROWS))
    run = begun(shop, field, source)
    awaited(lambda: len(platform.phones()) > 20)
    run.send_signal(signal.SIGINT)
    code, said = ended(run)
    assert code == 130, said
    assert len(platform.phones()) < ROWS
    code, said = ended(begun(shop, field, source))
    assert code == 0, said
    judged(shop, platform)


# --- workers on other machines --------------------------------------------------------------------------------------


def over_other_machines(
    shop: Shop,
    field: Farm,
    source: Path,
    shards: int,
    *,
    stretch_bytes: int | None = None,
    observer: Observer = lambda _: None,
    reading: ReadOptions | None = None,
    suppress: tuple[str, ...] = (),
    **more: Any,
) -> RunReport:
    """A run whose workers take themselves to be elsewhere: ledgers travel as bytes, and a lost worker's is lost."""
    settings = RunSettings(
        sources=(str(source),),
        target=Target(origin=shop.origin, token=check_token(TOKEN)),
        ledger=shop.ledger,
        batch_size_rows=4,
        reading=reading or ReadOptions(),
        hold_back=HoldBack(suppress=suppress),
        sending=SendSettings(in_flight=2, **more),
        is_new_ledger_fine=True,
        quiet_s=1.0,
    )
    with Ledger(shop.ledger, OWNER, now_ms=now().unix_ms) as home, joined(field.address, shards) as (client, count):
        cluster = Cluster(
            home=home,
            observer=observer,
            signals=StopSignals(),
            boot_id="another machine",
            stretch_bytes=stretch_bytes,
        )
        return cluster.run(settings, client, count)


def test_ledgers_of_other_machines_come_home_as_bytes(tmp_path: Path, platform: Platform, field: Farm) -> None:
    """What was left open goes out again with its shard; last night's calls are known everywhere."""
    shop = shop_at(platform, tmp_path)
    field.start(2)
    source = write_list(tmp_path / "list.csv", people(80))
    first = over_other_machines(shop, field, source, 2, first_rows=20)
    assert (first.balance.accepted, first.balance.pending) == (20, 60)
    second = over_other_machines(shop, field, source, 2)
    assert (second.exit_code, second.balance.accepted) == (0, 80)
    judged(shop, platform, 80)
    more = over_other_machines(shop, field, write_list(tmp_path / "more.csv", people(100)), 2)
    assert (more.balance.duplicate, more.balance.accepted) == (80, 20)
    judged_calls = [row["phone"] for row in people(100)]
    platform.has_each_once(judged_calls)


def test_a_lost_ledger_s_successor_adopts(tmp_path: Path, serve: Serve, field: Farm) -> None:
    """Its worker was killed, and the ledger with it: the next adopts, and finds what had been sent."""
    platform = serve(SLOWLY)
    shop = shop_at(platform, tmp_path)
    field.start(2)
    source = write_list(tmp_path / "list.csv", people(160))

    def kill() -> None:
        awaited(lambda: len(platform.phones()) > 60)  # by then both have begun
        field.kill(field.workers[0])
        field.add_worker()

    killer = threading.Thread(target=kill)
    killer.start()
    report = over_other_machines(shop, field, source, 2)
    killer.join()
    assert report.exit_code == 0
    judged(shop, platform, 160)
    with LedgerReader(shop.ledger) as reader:
        merged = reader.view.imports()[0].an_import.settings["shards"]["merged"]
    assert [each for each in merged.values() if "adopted_since_ms" in each["facts"]]


def test_a_worker_that_could_not_begin_makes_nobody_forget_what_was_sent(
    tmp_path: Path, serve: Serve, field: Farm
) -> None:
    """Workers sent and were lost, ledgers and all; the next could not begin; the third still adopts.

    It happened: the second's coming home without a ledger was taken for the first's, and once the platform had
    forgotten the keys every row that the first had sent was called again.
    """
    platform = serve(SLOWLY)
    shop = shop_at(platform, tmp_path)
    field.start(2)
    source = write_list(tmp_path / "list.csv", people(120))

    def lose() -> None:
        awaited(lambda: len(platform.phones()) > 40)  # by then both have begun
        field.stop()

    loser = threading.Thread(target=lose)
    loser.start()
    with pytest.raises(ApiAway):
        over_other_machines(shop, field, source, 2)
    loser.join()
    field.start(2)
    with pytest.raises(ListProblem, match="do-not-call"):
        over_other_machines(shop, field, source, 2, suppress=(str(tmp_path / "do-not-call.txt"),))
    assert over_other_machines(shop, field, source, 2).exit_code == 0
    judged(shop, platform, 120)
    with LedgerReader(shop.ledger) as reader:
        merged = reader.view.imports()[0].an_import.settings["shards"]["merged"]
    assert ["adopted_since_ms" in each["facts"] for each in merged.values()] == [True, True]


# --- reading is divided, too ------------------------------------------------------------------------------------------


def notices(events: list[Event], kind: str) -> list[str]:
    return [event.text for event in events if isinstance(event, Notice) and event.kind == kind]


def test_no_worker_reads_the_whole_list(tmp_path: Path, platform: Platform, field: Farm) -> None:
    """Each stretch is read once, and each shard gets its rows of all of them; the next night finds every row known."""
    shop = shop_at(platform, tmp_path)
    field.start(2)
    source = write_list(tmp_path / "list.csv", people(200))
    events: list[Event] = []
    report = over_other_machines(shop, field, source, 3, stretch_bytes=1_000, observer=events.append)
    assert (report.exit_code, report.balance.accepted) == (0, 200)
    pieces = -(-source.stat().st_size // 1_000)
    assert notices(events, "read-once") == [f"The list was read once: 200 rows, {pieces} stretches."]
    judged(shop, platform, 200)
    again = over_other_machines(shop, field, source, 3, stretch_bytes=1_700)
    assert (again.balance.duplicate, again.balance.accepted) == (200, 0)


def test_a_list_that_cannot_be_cut_is_read_by_one_worker(tmp_path: Path, platform: Platform, field: Farm) -> None:
    """A packed file is one stretch; the answer to a query is asked for once, and not by every shard."""
    shop = shop_at(platform, tmp_path)
    field.start(2)
    source = tmp_path / "list.csv.gz"
    source.write_bytes(gzip.compress(write_list(tmp_path / "list.csv", people(40)).read_bytes()))
    events: list[Event] = []
    report = over_other_machines(shop, field, source, 3, stretch_bytes=100, observer=events.append)
    assert (report.exit_code, report.balance.accepted) == (0, 40)
    with sqlite3.connect(tmp_path / "people.db") as connection:
        connection.execute("CREATE TABLE people (phone TEXT, name TEXT)")
        connection.executemany("INSERT INTO people VALUES (:phone, :name)", people(60)[40:])
    connection.close()
    query = Query(sql="SELECT phone, name FROM people ORDER BY phone", db=f"sqlite:///{tmp_path / 'people.db'}")
    options = ReadOptions(query=query)
    asked = over_other_machines(shop, field, tmp_path / "people", 3, observer=events.append, reading=options)
    assert (asked.exit_code, asked.balance.accepted) == (0, 20)
    assert notices(events, "read-once") == [f"The list was read once: {rows} rows, 1 stretch." for rows in (40, 20)]
    platform.has_each_once(row["phone"] for row in people(60))


def test_a_worker_that_is_lost_takes_its_slices_along_and_they_are_made_again(
    tmp_path: Path, serve: Serve, field: Farm
) -> None:
    """Shards wait for a worker while theirs lie with others; these are killed one after the other."""
    platform = serve(SLOWLY)
    shop = shop_at(platform, tmp_path)
    field.start(2)
    source = write_list(tmp_path / "list.csv", people(160))

    def kill() -> None:
        for at in (30, 80):
            awaited(lambda at=at: len(platform.phones()) > at)
            field.kill(field.workers[0])
            field.add_worker()

    killer = threading.Thread(target=kill)
    killer.start()
    events: list[Event] = []
    report = over_other_machines(shop, field, source, 4, stretch_bytes=1_000, observer=events.append)
    killer.join()
    assert (report.exit_code, notices(events, "read-by-each")) == (0, [])
    judged(shop, platform, 160)


def test_a_list_that_changes_while_it_is_read_sends_nothing(tmp_path: Path, platform: Platform, field: Farm) -> None:
    """It is written anew all the time, as many bytes as before: whatever notices, nobody is called."""
    shop = shop_at(platform, tmp_path)
    field.start(1)
    source = write_list(tmp_path / "list.csv", people(4_000))
    text = source.read_bytes()
    is_over = threading.Event()

    def edit() -> None:
        for name in itertools.cycle((b"Ada", b"Eve")):
            source.write_bytes(text.replace(b"Person", name + b"son"))
            if is_over.wait(0.02):
                return

    editor = threading.Thread(target=edit)
    editor.start()
    try:
        with pytest.raises(ListProblem):
            over_other_machines(shop, field, source, 2, stretch_bytes=5_000)
    finally:
        is_over.set()
        editor.join()
    assert platform.phones() == []


def test_ctrl_c_is_heard_by_shards_that_had_no_worker_yet(tmp_path: Path, serve: Serve, field: Farm) -> None:
    platform = serve(SLOWLY)
    shop = shop_at(platform, tmp_path)
    field.start(1)
    source = write_list(tmp_path / "list.csv", people(ROWS))
    run = begun(shop, field, source, shards=4)
    awaited(lambda: len(platform.phones()) > 4)
    run.send_signal(signal.SIGINT)
    code, said = ended(run)
    assert code == 130, said
    assert len(platform.phones()) < ROWS // 2
