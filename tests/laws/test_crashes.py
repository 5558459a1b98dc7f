"""Kill it anywhere, run the same command again: no number is called twice, no row is lost.

A workload is run to its end once to count its crossings; then it is killed at each of them, and run again with the
same settings, with others, and with an edited list. The sandbox's own file says what became of every row.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from workbench import TOKEN, Bench, Platform, changed_at, number, people, write_list

from importer.ledger.packs import LEAST_ROWS
from importer.run import RunReport
from importer.sandbox import Sandbox

from .dying import Crossings, DyingLedger, DyingTransport, Killed

ROWS = people(7)
GONE = 5  # the row an edited list has no more
NEW = people(1, first=30)
FIRST_RUN: dict[str, Any] = {"batch_size_rows": 3, "chunk_rows": 4, "in_flight": 1}


@contextmanager
def in_process(folder: Path, *faults: str) -> Iterator[Platform]:
    """A platform that is called without a socket."""
    with Sandbox(folder / "platform.db", tokens=(TOKEN,), faults=faults) as sandbox:
        yield Platform(sandbox=sandbox, db=folder / "platform.db", origin="http://localhost")


def mortal(folder: Path, platform: Platform, crossings: Crossings, *, is_packed: bool) -> Bench:
    """A bench whose every run may die; its ledger keeps rows in packs, or one by one."""
    return Bench(
        folder=folder,
        origin=platform.origin,
        transport=lambda: DyingTransport(httpx.WSGITransport(app=platform.sandbox.app), crossings),
        open_ledger=lambda path: DyingLedger(path, crossings, 1 if is_packed else LEAST_ROWS),
    )


def dies(run: Callable[[], RunReport]) -> bool:
    try:
        run()
    except Killed:
        return True
    return False


def settled(report: RunReport) -> None:
    assert report.exit_code == 0, report
    assert report.balance.is_even
    assert report.balance.pending == report.balance.in_doubt == 0


def again_same(bench: Bench, path: Path) -> list[str]:
    settled(bench.run(path, **FIRST_RUN))
    return [row["phone"] for row in ROWS]


def again_other_settings(bench: Bench, path: Path) -> list[str]:
    settled(bench.run(path, batch_size_rows=2, chunk_rows=3, in_flight=3))
    return [row["phone"] for row in ROWS]


def again_edited(bench: Bench, path: Path) -> list[str]:
    rows = [row for i, row in enumerate(ROWS) if i != GONE] + NEW
    changed_at(write_list(path, rows), 5)
    settled(bench.run(path, batch_size_rows=4))
    return [row["phone"] for row in rows]


AGAIN = [again_same, again_other_settings, again_edited]


def killed_at(folder: Path, dies_at: int, again: Callable[[Bench, Path], list[str]], *, is_packed: bool) -> bool:
    """Kills a run at one crossing and goes on; gives False when the run was over before it."""
    folder.mkdir()
    path = write_list(folder / "list.csv", ROWS)
    with in_process(folder) as platform:
        crossings = Crossings(dies_at=dies_at)
        has_died = dies(lambda: mortal(folder, platform, crossings, is_packed=is_packed).run(path, **FIRST_RUN))
        wanted = again(mortal(folder, platform, Crossings(), is_packed=is_packed), path)
        platform.judge()
        called = platform.phones()
        assert len(set(called)) == len(called), "a number was called twice"
        assert set(wanted) <= set(called), "a row was lost"
        assert set(called) - set(wanted) <= {number(GONE)}, "a number was called that is in no list"
    return has_died


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("again", AGAIN)
def test_killed_at_every_crossing_no_row_is_lost_and_none_called_twice(
    tmp_path: Path, again: Callable[[Bench, Path], list[str]], is_packed: bool
) -> None:
    """Every crossing of the workload is tried, until one run completes untouched."""
    tried = 0
    while killed_at(tmp_path / str(tried + 1), tried + 1, again, is_packed=is_packed):
        tried += 1
    assert 25 < tried < 80, "the workload has the writes and requests it is meant to have"


@pytest.mark.parametrize("seed", range(12))
def test_killed_again_and_again_while_recovering_it_ends_well(tmp_path: Path, seed: int) -> None:
    """Recovery is the ordinary road, so it survives being killed as well; answers are lost on the way, too."""
    dice = random.Random(seed)
    path = write_list(tmp_path / "list.csv", ROWS)
    with in_process(tmp_path, "lose-answer:p=0.2") as platform:
        for _ in range(4):
            crossings = Crossings(dies_at=dice.randint(1, 30))
            settings = {"batch_size_rows": dice.randint(1, 4), "chunk_rows": dice.randint(1, 9), "in_flight": 2}
            dies(lambda a=crossings, b=settings: mortal(tmp_path, platform, a, is_packed=seed % 2 == 1).run(path, **b))  # type: ignore[misc]
        settled(mortal(tmp_path, platform, Crossings(), is_packed=seed % 2 == 0).run(path, **FIRST_RUN))
        platform.has_each_once(row["phone"] for row in ROWS)


@pytest.mark.parametrize("seed", range(8))
def test_killed_while_an_edited_list_is_read_anew_each_row_is_in_one_state(tmp_path: Path, seed: int) -> None:
    """Edits and kills in turn: whoever is in the last list is called once, whoever was never sent is not."""
    dice = random.Random(seed)
    path, rows = tmp_path / "list.csv", list(ROWS)
    with in_process(tmp_path) as platform:
        for times in range(4):
            rows = dice.sample(ROWS, dice.randint(2, len(ROWS)))
            changed_at(write_list(path, rows), times * 10)
            crossings = Crossings(dies_at=dice.randint(8, 40))
            dies(
                lambda a=crossings: mortal(tmp_path, platform, a, is_packed=seed % 2 == 1).run(path, batch_size_rows=2)
            )  # type: ignore[misc]
        changed_at(write_list(path, rows), 100)
        report = mortal(tmp_path, platform, Crossings(), is_packed=seed % 2 == 0).run(path)
        settled(report)
        platform.judge()
        called = platform.phones()
        assert {row["phone"] for row in rows} <= set(called)
        assert len(called) == len(set(called))
        again = mortal(tmp_path, platform, Crossings(), is_packed=seed % 2 == 0).run(path)
        assert again.balance.duplicate == len(rows)
