"""Random lives of an import keep the laws: a seed is a history, and a failing one is printed with what happened."""

from __future__ import annotations

from collections import Counter

from .sim import Library, histories, main, workshop
from .world import FATES

HISTORIES = 300


def test_no_history_calls_a_row_twice_or_loses_one() -> None:
    """Kills, restarts, lost answers, late requests, refusals, jumping clocks, suspended machines, forgotten keys."""
    met: Counter[str] = Counter()
    with workshop() as folder:
        for told in histories(range(HISTORIES), Library(folder=folder)):
            story = "\n".join(told.happened)
            assert not told.broken, f"python -m tests.proof.sim --seed {told.plot.seed}\n{told.broken}\n{story}"
            met.update(told.met)
    assert set(FATES) <= set(met), "every kind of trouble was met"
    assert {"killed", "suspended", "rebooted", "wall-clock", "late arrival", "ledger lost", "no report"} <= set(met)


def test_a_seed_tells_the_same_history_again() -> None:
    """Nothing but the seed decides what happens."""
    with workshop() as first, workshop() as second:
        seeds = range(20, 26)
        once, again = (list(histories(seeds, Library(folder=folder))) for folder in (first, second))
    assert [(told.plot, told.happened) for told in once] == [(told.plot, told.happened) for told in again]


def test_many_are_told_from_the_command_line() -> None:
    """The command ends well when no law was broken."""
    assert main(["--first", "7", "--histories", "3"]) == 0
