"""Law 13: a restored, copied or swapped ledger is noticed before anything is sent."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from workbench import Bench, Platform, Serve, hurried, number, people, write_list

from importer.errors import LedgerProblem, ListProblem
from importer.protocol import Window


def copy_of(ledger: Path, target: Path) -> None:
    """A copy of a closed ledger, without the counter beside it."""
    shutil.copyfile(ledger, target)


def begun(bench: Bench, tmp_path: Path) -> Path:
    """A ledger that has sent one list; its copy is taken before it sends another."""
    bench.run(write_list(tmp_path / "first.csv", people(3)))
    copy_of(bench.ledger_path, tmp_path / "copy.db")
    bench.run(write_list(tmp_path / "second.csv", people(3, first=3)))
    return tmp_path / "copy.db"


def test_law_13_time_travel_is_noticed_restored(bench: Bench, platform: Platform, tmp_path: Path) -> None:
    """A ledger put back from a copy has forgotten a run: nothing is sent, and the message says what to do."""
    copy = begun(bench, tmp_path)
    jobs = len(platform.phones())
    copy_of(copy, bench.ledger_path)
    with pytest.raises(LedgerProblem, match="restored from an older copy") as stopped:
        bench.run(tmp_path / "second.csv")
    assert "--adopt-since" in stopped.value.hint
    assert len(platform.phones()) == jobs


def test_law_13_time_travel_is_noticed_copied(bench: Bench, platform: Platform, tmp_path: Path) -> None:
    """A copy in another folder has no counter, though it has sent: nothing is sent."""
    copy = begun(bench, tmp_path)
    (tmp_path / "elsewhere").mkdir()
    other = Bench(folder=tmp_path / "elsewhere", origin=bench.origin)
    copy_of(copy, other.ledger_path)
    with pytest.raises(LedgerProblem, match="copied or restored"):
        other.run(tmp_path / "second.csv")
    assert len(platform.phones()) == 6


def test_law_13_time_travel_is_noticed_swapped(bench: Bench, platform: Platform, tmp_path: Path) -> None:
    """Another ledger in the place of this one is told by its id."""
    begun(bench, tmp_path)
    (tmp_path / "elsewhere").mkdir()
    other = Bench(folder=tmp_path / "elsewhere", origin=bench.origin)
    other.run(write_list(tmp_path / "third.csv", people(1, first=9)), is_new_ledger_fine=True)
    copy_of(other.ledger_path, bench.ledger_path)
    with pytest.raises(LedgerProblem, match="another file was put in its place"):
        bench.run(tmp_path / "second.csv")


def test_law_13_a_lost_ledger_is_adopted_within_the_window(bench: Bench, platform: Platform, tmp_path: Path) -> None:
    """The same list under a new ledger makes the same requests (law 2): the platform answers from memory."""
    since_ms = bench.now().unix_ms - 5_000
    source = write_list(tmp_path / "a.csv", people(6))
    bench.run(source)
    bench.ledger_path.unlink()
    report = bench.run(source, adopt_since_ms=since_ms)
    assert (report.exit_code, report.balance.accepted) == (0, 6)
    platform.has_each_once(number(place) for place in range(6))


def test_law_13_a_lost_ledger_may_have_cut_its_batches_elsewhere(serve: Serve, tmp_path: Path) -> None:
    """Call jobs that would make a whole batch here may be a part of another one there: a person decides."""
    now = hurried(20)
    platform = serve(clock=lambda: now().unix_ms / 1000)
    bench = Bench(folder=tmp_path, origin=platform.origin, now=now)
    since_ms = bench.now().unix_ms - 5_000
    twice = [{**row, "name": f"{row['name']} again"} for row in people(2)]
    source = write_list(tmp_path / "a.csv", [*people(4), *twice])
    bench.run(source, first_rows=2)
    bench.ledger_path.unlink()
    report = bench.run(source, adopt_since_ms=since_ms, quiet_s=20.0)
    assert (report.exit_code, report.balance.accepted, report.balance.in_doubt) == (8, 0, 6)
    platform.has_each_once(number(place) for place in range(2))


def test_law_13_a_lost_ledger_is_looked_up_after_the_window(serve: Serve, tmp_path: Path) -> None:
    """Too old for its keys: every batch counts as in doubt since then; half was sent, and only the rest goes out."""
    now = hurried(20)
    platform = serve(key_ttl_s=0.01, clock=lambda: now().unix_ms / 1000)
    bench = Bench(folder=tmp_path, origin=platform.origin, now=now)
    since_ms = bench.now().unix_ms - 120_000
    source = write_list(tmp_path / "a.csv", people(8))
    bench.run(source, first_rows=4)
    bench.ledger_path.unlink()
    window = Window(window_s=60.0, margin_s=10.0, request_s=10.0)
    report = bench.run(source, adopt_since_ms=since_ms, window=window, quiet_s=20.0)
    assert (report.exit_code, report.balance.accepted) == (0, 8)
    platform.has_each_once(number(place) for place in range(8))


def test_law_13_rules_that_need_earlier_nights_refuse_without_their_ledger(bench: Bench, tmp_path: Path) -> None:
    """--once-per for ever, without the ledger that knows who was called: nothing is sent."""
    source = write_list(tmp_path / "a.csv", people(2))
    with pytest.raises(ListProblem, match="earlier nights"):
        bench.run(source, adopt_since_ms=bench.now().unix_ms, once_per="phone")


@pytest.mark.parametrize("is_late", [True, False])
def test_law_13_an_older_copy_with_requests_under_way_is_adopted_within_the_window_only(
    serve: Serve, tmp_path: Path, is_late: bool
) -> None:
    """What the newer ledger did with them shows in their keys, while these are known; an empty ledger looks all up."""
    now = hurried(20)
    platform = serve("status:code=503,op=addPhones,times=2", clock=lambda: now().unix_ms / 1000)
    bench = Bench(folder=tmp_path, origin=platform.origin, now=now)
    since_ms = bench.now().unix_ms - (120_000 if is_late else 5_000)
    source = write_list(tmp_path / "a.csv", people(4))
    window = Window(window_s=60.0 if is_late else 86_400.0, margin_s=10.0, request_s=10.0)
    assert bench.run(source, patience_s=0.0, window=window).balance.pending == 4
    copy_of(bench.ledger_path, tmp_path / "copy.db")
    assert bench.run(source, window=window, quiet_s=20.0).balance.accepted == 4
    copy_of(tmp_path / "copy.db", bench.ledger_path)
    if is_late:
        with pytest.raises(LedgerProblem, match="older copy"):
            bench.run(source, adopt_since_ms=since_ms, window=window, quiet_s=20.0)
        bench.ledger_path.unlink()
    report = bench.run(source, adopt_since_ms=since_ms, window=window, quiet_s=20.0)
    assert (report.exit_code, report.balance.accepted) == (0, 4)
    platform.has_each_once(number(place) for place in range(4))
