"""A disk with too little room, and too many starters."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from .starters import eight_starters, on_a_small_disk
from .yard import yard

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither tmpfs nor limits on the size of a file"),
]


@pytest.mark.parametrize("kib", [24, 96, 192])
def test_f6_a_full_disk_is_told_and_once_there_is_room_the_same_command_goes_on(tmp_path: Path, kib: int) -> None:
    """Exit 5 that names the ledger, never a traceback, never a wrong claim."""
    with yard(tmp_path, 1) as place:
        finding = on_a_small_disk(place.site(), kib)
    assert finding.is_well, finding


def test_f19_eight_starters_leave_one_owner_and_one_job_each(tmp_path: Path) -> None:
    """Some own the ledger in turn, the others say whose it is."""
    with yard(tmp_path, 1) as place:
        finding = eight_starters(place.site())
    assert finding.is_well, finding
