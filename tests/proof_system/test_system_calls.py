"""Killed at its system calls, or let down by them: the same command again leaves each row with one call job.

A small run is counted once; then it meets its fault at every call that syncs, renames, removes or talks to the network,
and at every ninth write. The long torture takes every write, and restarts that are killed as well.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from importer.selftest.table import Finding

from .nursery import Nursery
from .yard import CALLS, NETWORK, SYNCS, At, calls_of, failed, killed, over, points, yard

pytestmark = pytest.mark.slow
EVERY_NINTH, EVERY_TWENTIETH, EVERY_THIRD = 9, 20, 3


def well(findings: list[Finding]) -> int:
    """How many runs met their fault, when nothing came of any."""
    assert [each for each in findings if not each.is_well] == []
    return sum(each.runs for each in findings)


def test_f1_killed_at_its_system_calls_each_row_has_one_job(tmp_path: Path) -> None:
    """SIGKILL when a call is entered; then the same command, another batch size or an edited list, in turn."""
    with yard(tmp_path, 400) as place:
        with Nursery(tmp_path / "counting") as nursery:
            counts = calls_of(nursery, place.site())
        assert counts["pwrite64"] > 200
        assert counts["fdatasync"] > 20
        assert counts["sendto"] >= 6
        assert counts["rename"] >= 3, "the counter and the owner are renamed into place"
        chosen = points(counts, [call for call in CALLS if call != "pwrite64"])
        chosen += points(counts, ["pwrite64"], of_each=EVERY_NINTH)

        def kill(nursery: Nursery, point: tuple[int, At]) -> Finding:
            return killed("killed", nursery, place.site(), point[1], again=point[0])

        assert well(over(tmp_path, list(enumerate(chosen)), kill)) >= len(chosen) - len(NETWORK)


def test_f6_a_write_that_finds_the_disk_full_sends_nothing_more(tmp_path: Path) -> None:
    """From one write on there is no space; the run ends with 5, no request begins, and the next run has space."""
    with yard(tmp_path, 100) as place:
        with Nursery(tmp_path / "counting") as nursery:
            chosen = points(calls_of(nursery, place.site(), ["pwrite64"]), ["pwrite64"], of_each=EVERY_TWENTIETH)

        def fill(nursery: Nursery, at: At) -> Finding:
            return failed("disk full", nursery, place.site(), at, "ENOSPC", for_ever=True)

        assert well(over(tmp_path, chosen, fill)) > 10


def test_f7_a_sync_that_fails_sends_nothing_more(tmp_path: Path) -> None:
    """Every third sync fails once: what it should have made durable is unknown from then on, so the run ends there."""
    with yard(tmp_path, 100) as place:
        with Nursery(tmp_path / "counting") as nursery:
            chosen = points(calls_of(nursery, place.site(), SYNCS), SYNCS, of_each=EVERY_THIRD)

        def fail(nursery: Nursery, at: At) -> Finding:
            return failed("sync fails", nursery, place.site(), at, "EIO", for_ever=False)

        assert well(over(tmp_path, chosen, fail)) > 8
