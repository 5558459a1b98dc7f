"""The self-test that users run: it covers what it says, repeats what a seed says, and finds what is planted."""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from pathlib import Path

import pytest
from workbench import Said, command

from importer.selftest import CrashReport, CrashTest, Finding, markdown, tally
from importer.selftest.crash import plan_of
from importer.selftest.crossings import AFTER_COMMIT, BEFORE_COMMIT, BEFORE_REQUEST, KINDS, Crossings
from importer.selftest.histories import FAULTS
from importer.selftest.powercut import EVERY_STATE

pytestmark = pytest.mark.slow
SLEEPERS = 3  # the first places of the plan wait for a key to be forgotten; the long torture has them


def crash(*arguments: str) -> Said:
    return command("selftest", "crash", *arguments, "--json")


def quiet(folder: Path, seed: int, rounds: int, *options: str) -> CrashReport:
    """A self-test in this process, at a platform with these options besides its own."""
    return CrashTest(folder=folder, seed=seed, rounds=rounds, tell=lambda _: None, platform_options=options).run()


def test_selftest_crash_loses_nothing_and_says_what_it_covered(tmp_path: Path) -> None:
    """A stretch of the plan with every kind of fault but the slow one."""
    report = quiet(tmp_path, SLEEPERS, 22)
    assert (report.failures, report.skipped) == ((), ())
    assert (report.lost, report.duplicated, report.is_proved) == (0, 0, True)
    assert sum(line.runs for line in report.lines if line.fault != EVERY_STATE) == 22
    assert report.covered[BEFORE_COMMIT][0] >= 12


def test_selftest_says_what_it_left_out_where_nothing_can_be_traced() -> None:
    """Without strace there is no record to cut; the rest is done all the same."""
    words = ("--seed", str(SLEEPERS + 6), "--rounds", "1", "--json")
    said = command("selftest", "crash", *words, PATH=str(Path(sys.executable).parent))
    assert said.code == 0
    assert ["strace" in line for line in said.json["left_out"]] == [True]
    assert all("power" not in line["fault"] for line in said.json["faults"])


def test_planted_a_platform_that_forgets_its_keys_is_found_out_and_the_seed_repeats_it(tmp_path: Path) -> None:
    """What the promise rests on is taken away: some row is called twice, and its seed alone shows it again."""
    planted = ("--fault", "forget-keys", "--fault", "lose-answer:every=2")
    report = quiet(tmp_path / "some", SLEEPERS + 4, 2, *planted)
    assert report.duplicated
    assert not report.is_proved
    seed = next(failure.seed for failure in report.failures if failure.duplicated and failure.seed is not None)
    assert quiet(tmp_path / "one", seed, 1, *planted).duplicated


def test_a_plan_has_every_crash_point_once_and_every_fault() -> None:
    """Consecutive seeds walk through it wherever they begin."""
    plan = plan_of(dict.fromkeys(KINDS, 7), has_record=True)
    tried = Counter(slot.point for slot in plan if slot.point is not None)
    assert set(tried.values()) == {1}
    assert len(tried) == 7 * len(KINDS)
    assert {slot.fault.name for slot in plan} >= {fault.name for fault in FAULTS}
    without = plan_of(dict.fromkeys(KINDS, 7), has_record=False)
    assert not any("power" in slot.fault.name for slot in without)
    begun = random.Random(1).randrange(10**6)
    assert {seed % len(plan) for seed in range(begun, begun + len(plan))} == set(range(len(plan)))


def test_crossings_die_at_the_one_that_was_chosen() -> None:
    """After a commit is the next thing that happens, whatever it is."""
    deaths: list[int] = []
    crossings = Crossings(dies=(AFTER_COMMIT, 2), end=lambda: deaths.append(crossings.counts[BEFORE_REQUEST]))
    for sql in ("BEGIN IMMEDIATE", "COMMIT", "SELECT 1", "BEGIN IMMEDIATE", "COMMIT"):
        crossings.watch_statement(sql)
    assert deaths == []
    crossings.cross(BEFORE_REQUEST)
    assert deaths == [0], "the commit was over before the request began"
    assert (crossings.counts[BEFORE_COMMIT], crossings.counts[AFTER_COMMIT]) == (2, 2)


def test_the_table_adds_up_by_fault() -> None:
    """Runs, lost and duplicated; the order is that of the first meeting."""
    lines = tally([Finding(fault="b", lost=1), Finding(fault="a", runs=3), Finding(fault="b", duplicated=2)])
    assert markdown(lines).splitlines()[2:] == ["| b | 2 | 1 | 2 |", "| a | 3 | 0 | 0 |"]


def test_the_json_of_a_self_test_is_one_object() -> None:
    """Also when an option is wrong."""
    said = crash("--rounds", "0")
    assert said.code == 2
    assert json.loads(said.out)["exit_code"] == 2
