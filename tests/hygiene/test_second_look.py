"""A do-not-call list is looked at again directly before a batch is first armed."""

from __future__ import annotations

from pathlib import Path

from workbench import Bench, Platform, Serve, hurried, number, people, write_list

from importer import machine
from importer.ledger import Ledger
from importer.ledger.numberset import number_set
from importer.machine import Owner
from importer.model import Notice
from importer.protocol import Window

OWNER = Owner(pid=1, host="here", since="now", command="importer dnc")


def test_a_number_that_came_onto_the_list_after_intake_is_not_called(bench: Bench, platform: Platform) -> None:
    """Taken in, partly sent, then one number is put on the list: it is suppressed, the others go, the sum is even."""
    source = write_list(bench.folder / "a.csv", people(10))
    bench.run(source, first_rows=4)
    with Ledger(bench.ledger_path, OWNER, now_ms=machine.now().unix_ms) as ledger:
        ledger.dnc.add("own", number_set([int(number(6).removeprefix("+"))]), now_ms=machine.now().unix_ms)
    report = bench.send(1)
    balance = report.balance
    assert (report.exit_code, balance.accepted, balance.suppressed, balance.pending) == (0, 9, 1, 0)
    assert balance.is_even
    platform.has_each_once(number(place) for place in range(10) if place != 6)


def test_a_batch_that_may_still_arrive_waits_whole_when_a_number_of_it_is_put_on_the_list(
    serve: Serve, tmp_path: Path
) -> None:
    """Found absent, but not for long: with other keys its rows might be called twice. An hour later it is cut."""
    now = hurried(20)
    platform = serve("drop:when=0s..60s", clock=lambda: now().unix_ms / 1000)
    bench = Bench(folder=tmp_path, origin=platform.origin, now=now)
    window = Window(window_s=60.0, margin_s=10.0, request_s=10.0)
    bench.run(write_list(tmp_path / "a.csv", people(4)), window=window, patience_s=600.0, in_doubt="hold")
    with Ledger(bench.ledger_path, OWNER, now_ms=machine.now().unix_ms) as ledger:
        ledger.dnc.add("own", number_set([int(number(2).removeprefix("+"))]), now_ms=machine.now().unix_ms)
    far = Window(window_s=90_000.0, margin_s=60_000.0, request_s=10.0)  # nothing of this test is so long ago
    waits = bench.send(1, window=far, quiet_s=40.0)
    assert (waits.exit_code, waits.balance.pending) == (7, 4)
    assert "do-not-call" in next(each.text for each in bench.events if isinstance(each, Notice) and "wait" in each.text)
    done = bench.send(1, window=window, quiet_s=40.0)
    assert (done.exit_code, done.balance.accepted, done.balance.suppressed) == (0, 3, 1)
    platform.has_each_once(number(place) for place in (0, 1, 3))
