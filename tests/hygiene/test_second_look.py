"""A do-not-call list is looked at again directly before a batch is first armed."""

from __future__ import annotations

from workbench import Bench, Platform, number, people, write_list

from importer import machine
from importer.ledger import Ledger
from importer.ledger.numberset import number_set
from importer.machine import Owner

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
