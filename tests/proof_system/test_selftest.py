"""The self-test that users run: it covers what it says, repeats what a seed says, and finds what is planted."""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from pathlib import Path

import pytest
from workbench import Said, command

from importer.selftest import CrashTest, Finding, markdown, tally
from importer.selftest.crash import plan_of
from importer.selftest.crossings import AFTER_COMMIT, BEFORE_COMMIT, BEFORE_REQUEST, KINDS, Crossings
from importer.selftest.histories import FAULTS

pytestmark = pytest.mark.slow
SLEEPERS = 4  # the first places of the plan wait for a key to be forgotten; the long torture has them


def crash(*arguments: str) -> Said:
    return command("selftest", "crash", *arguments, "--json")


def test_selftest_crash_loses_nothing_and_says_what_it_covered() -> None:
    """A stretch of the plan with each kind of fault but the slow one."""
    said = crash("--seed", str(SLEEPERS), "--rounds", "26")
    assert (said.code, said.json["failures"]) == (0, [])
    assert (said.json["lost"], said.json["duplicated"], said.json["left_out"]) == (0, 0, [])
    assert sum(line["runs"] for line in said.json["faults"] if "every call" not in line["fault"]) == 26
    assert said.json["crash_points"][BEFORE_COMMIT]["total"] >= 12


def test_selftest_says_what_it_left_out_where_nothing_can_be_traced() -> None:
    """Without strace there is no record to cut; the rest is done all the same."""
    words = ("--seed", str(SLEEPERS + 9), "--rounds", "1", "--json")
    said = command("selftest", "crash", *words, PATH=str(Path(sys.executable).parent))
    assert said.code == 0
    assert ["strace" in line for line in said.json["left_out"]] == [True]
    assert all("power" not in line["fault"] for line in said.json["faults"])


def test_planted_a_platform_that_forgets_its_keys_is_found_out_and_the_seed_repeats_it(tmp_path: Path) -> None:
    """What the promise rests on is taken away: the count is not nothing, and the exit would be 1."""
    reports = []
    for place in ("once", "again"):
        test = CrashTest(
            folder=tmp_path / place,
            seed=4,
            rounds=3,
            tell=lambda _: None,
            platform_options=("--fault", "forget-keys", "--fault", "lose-answer:every=2"),
        )
        reports.append(test.run())
    assert all(report.duplicated and not report.is_proved for report in reports)
    assert all(failure.seed in {4, 5, 6} for report in reports for failure in report.failures if failure.duplicated)


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
