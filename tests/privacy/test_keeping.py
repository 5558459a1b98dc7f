"""What was settled long ago is erased at the end of a run, a little at a time, and never while it is still needed."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from workbench import OTHER_TOKEN, OWNER, Bench, Platform, Shop, number, write_list

from importer import machine
from importer.ledger import Ledger
from importer.machine import Moment
from importer.model import Notice
from importer.purging import DEFAULT_KEEP_S, Tidied, Tidier
from privacy.test_purge import CANARY, ask, canaries, findings, traces

DAY_S = 86_400


def days_ago(days: float) -> Callable[[], Moment]:
    """This machine's clocks, with a wall clock so far behind (or ahead, for less than 0)."""

    def read() -> Moment:
        now = machine.now()
        return replace(now, unix_ms=now.unix_ms - round(days * DAY_S * 1000))

    return read


def bench_of(tmp_path: Path, platform: Platform, days: float = 0.0) -> Bench:
    return Bench(folder=tmp_path, origin=platform.origin, now=days_ago(days))


@pytest.fixture
def old(tmp_path: Path, platform: Platform) -> Path:
    """A list that was sent a hundred days ago, packed rows and single ones, with a bad one."""
    bench = bench_of(tmp_path, platform, 100)
    bench.run(write_list(tmp_path / "packed.csv", canaries(100)), batch_size_rows=100)
    rows = [*canaries(20, first=200), {"phone": "12", "name": f"{CANARY} bad", "order": "1"}]
    bench.run(write_list(tmp_path / "single.csv", rows), batch_size_rows=4)
    return bench.ledger_path


OLD = [number(place) for place in (*range(100), *range(200, 220))]


def notices(bench: Bench, kind: str) -> list[str]:
    return [event.text for event in bench.events if isinstance(event, Notice) and event.kind == kind]


def tidied(ledger: Path, **more: Any) -> Tidied:
    """The end of a run by itself."""
    with Ledger(ledger, OWNER, now_ms=0) as opened:
        settings = {"campaign_id": 1, "keep_s": DEFAULT_KEEP_S, "now": machine.now, "is_stopping": lambda: False}
        return Tidier(ledger=opened, **{**settings, **more}).tidy()


def test_a_run_erases_what_was_settled_long_ago(tmp_path: Path, platform: Platform, old: Path) -> None:
    """After 90 days, unless said; what the run itself sent stays, and the old lists again call nobody."""
    bench = bench_of(tmp_path, platform)
    new = write_list(tmp_path / "new.csv", canaries(10, first=300))
    assert bench.run(new).balance.accepted == 10
    assert notices(bench, "erased") == ["Erased numbers and payloads of 120 rows settled over 90 days ago."]
    assert traces(old, OLD, [f"{CANARY} Person 17", f"{CANARY} bad"]) == []
    assert traces(old, [number(300)])
    assert findings(old) == []
    for name in ("packed.csv", "single.csv"):
        assert bench.run(tmp_path / name).balance.accepted == 0
    platform.has_each_once([*OLD, *(number(place) for place in range(300, 310))])


def test_a_run_that_shall_keep_everything_erases_nothing(tmp_path: Path, platform: Platform, old: Path) -> None:
    """`never`; and what is younger than was said stays as well."""
    bench = bench_of(tmp_path, platform)
    for keep_s in (float("inf"), 101 * DAY_S):
        bench.run(write_list(tmp_path / f"{keep_s}.csv", canaries(2, first=300)), keep_for_s=keep_s)
    assert notices(bench, "erased") == []
    assert traces(old, [number(1), number(201)])


def test_a_clock_that_jumped_ahead_erases_nothing(tmp_path: Path, platform: Platform) -> None:
    """The platform's clock is asked before every run, and it is not as late as ours says."""
    bench = bench_of(tmp_path, platform)
    bench.run(write_list(tmp_path / "a.csv", canaries(8)))
    assert tidied(bench.ledger_path, now=days_ago(-500)).rows == 0
    assert traces(bench.ledger_path, [number(1)])


def test_what_is_not_settled_is_kept_for_as_long_as_it_takes(tmp_path: Path, platform: Platform) -> None:
    """Pending rows of an old list stay as they are and are sent; those that were accepted are erased."""
    bench = bench_of(tmp_path, platform, 100)
    path = write_list(tmp_path / "a.csv", canaries(12))
    bench.run(path, first_rows=4)
    assert tidied(bench.ledger_path).rows == 4
    assert traces(bench.ledger_path, [number(i) for i in range(4)], []) == []
    assert bench.run(path, keep_for_s=float("inf")).balance.accepted == 12
    platform.has_each_once(number(i) for i in range(12))


def test_open_call_jobs_that_somebody_asks_for_wait(tmp_path: Path, old: Path, platform: Platform) -> None:
    """Outcomes were asked for lately and some are open: the batch waits until nobody asks any more."""
    with contextlib.closing(sqlite3.connect(old)) as connection:
        now_ms = machine.now().unix_ms
        connection.execute("INSERT INTO outcome_progress SELECT id, import_id, 1, 0, ? FROM batches", [now_ms])
        connection.commit()
    assert tidied(old).rows == 0
    with contextlib.closing(sqlite3.connect(old)) as connection:
        connection.execute("UPDATE outcome_progress SET open_rows = 0 WHERE batch_id = 1")
        connection.execute("UPDATE outcome_progress SET asked_ms = ? WHERE batch_id > 1", [now_ms - 91 * DAY_S * 1000])
        connection.commit()
    assert tidied(old).rows == 120


def test_the_time_for_it_is_bounded_and_the_next_run_goes_on(old: Path) -> None:
    """With no time at all nothing is erased; with a little, some; in the end, everything."""
    said = tidied(old, budget_s=0.0)
    assert (said.rows, said.is_whole) == (0, False)
    started, ticks = machine.now(), iter(range(1_000_000))
    done = [tidied(old, budget_s=0.003, now=lambda: replace(started, boot_ms=next(ticks))).is_whole for _ in range(12)]
    assert (done[0], done[-1]) == (False, True)
    assert traces(old, OLD) == []


def test_a_file_too_large_to_write_anew_in_passing_is_left_to_a_purge(old: Path, shop: Shop) -> None:
    """The rows are erased; free pages are wiped by the next `importer purge`."""
    said = tidied(old, largest_wipe_bytes=1000)
    assert (said.rows, said.is_wiped) == (120, False)
    assert shop.importer("purge", "--older-than", "90d", "--ledger", old, "--yes").code == 0
    assert ask(old, "SELECT count(*) FROM purges WHERE wiped_ms IS NULL") == [(0,)]
    assert traces(old, OLD) == []


def test_the_rows_of_another_campaign_are_its_own_to_erase(tmp_path: Path, platform: Platform, old: Path) -> None:
    """Campaigns of one ledger may keep their rows for different times."""
    other = Bench(folder=tmp_path, origin=platform.origin, token=OTHER_TOKEN, now=days_ago(0))
    other.run(write_list(tmp_path / "other.csv", canaries(4, first=300)), is_new_ledger_fine=True)
    assert notices(other, "erased") == []
    assert traces(old, [number(1)])


def test_what_cannot_be_erased_now_does_not_undo_a_run(tmp_path: Path, platform: Platform, old: Path) -> None:
    """An old copy that cannot be deleted is told; what was sent is settled all the same."""
    copy = old.with_name("ledger.db.v4.backup")
    copy.mkdir()
    (copy / "file").touch()
    bench = bench_of(tmp_path, platform)
    stat = copy.stat()
    os.utime(copy, (stat.st_atime, stat.st_mtime - 100 * DAY_S))
    assert bench.run(write_list(tmp_path / "new.csv", canaries(4, first=300))).exit_code == 0
    assert "could not be deleted" in notices(bench, "not-erased")[0]


def test_how_long_is_said_by_option_and_by_file(shop: Shop, tmp_path: Path) -> None:
    """Two days at least, or never."""
    path = write_list(tmp_path / "a.csv", canaries(2))
    assert shop.run(path, "--yes", "--keep-for", "1d").code == 2
    assert shop.run(path, "--yes", "--keep-for", "never").code == 0
    assert shop.run(path, "--yes", "--keep-for", "30d").code == 0
