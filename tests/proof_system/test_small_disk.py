"""A disk with too little room, and too many starters.

A small tmpfs is mounted where this is allowed; where it is not (a container without the right to mount), files are kept
from growing by a limit of the process, which SQLite meets in the same place. Neither is skipped.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from importer.selftest.judging import judge
from importer.selftest.site import Ended, Site, ended, rows

from .yard import ROWS, yard

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither tmpfs nor limits on the size of a file"),
]
STARTERS = 8

Room = Callable[[int], None]


@contextlib.contextmanager
def tmpfs(folder: Path) -> Iterator[Room | None]:
    """The folder as a file system of its own; gives what changes its size, or None where mounting is not allowed."""
    try:
        words = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
        mounted = subprocess.run(words, capture_output=True, check=False)
    except FileNotFoundError:
        yield None
        return
    if mounted.returncode:
        yield None
        return
    try:
        yield lambda kib: _checked(["mount", "-o", f"remount,size={kib}k", str(folder)])
    finally:
        _checked(["umount", "--lazy", str(folder)])


def _checked(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True)


def run_within(site: Site, kib: int, room: Room | None) -> Ended:
    """A run that has so much room on its disk, or so much for any one file; then there is plenty again."""
    if room is None:
        limit = f'ulimit -f {kib}; exec "$0" "$@"'
        return ended(site.start(["sh", "-c", limit, *site.command]))
    room(kib)
    first = site.run()
    room(65_536)
    return first


@pytest.mark.parametrize("kib", [24, 96, 136, 192, 240])
def test_f6_a_full_disk_is_told_and_once_there_is_room_the_same_command_goes_on(tmp_path: Path, kib: int) -> None:
    """Exit 5 that names the disk or the file, never a traceback, never a wrong claim."""
    with yard(tmp_path / "yard", 1) as place:
        site = place.site()
        content = site.source.read_bytes()
        with tmpfs(site.folder) as room:
            site.source.write_bytes(content)
            first = run_within(site, kib, room)
            assert "Traceback" not in first.err
            assert first.code in {0, 5}, first
            assert first.code == 0 or "ledger" in str(first.said["error"])
            last = site.run()
            finding = judge("disk full", site, last, rows(ROWS))
            assert finding.is_well, finding
    assert first.code == 5 or kib > 200, "so little room is too little"


@pytest.mark.parametrize("seed", range(2))
def test_f19_eight_starters_leave_one_owner_and_one_job_each(tmp_path: Path, seed: int) -> None:
    """All start at once on one new ledger: some own it in turn, the others say whose it is."""
    with yard(tmp_path, 1) as place:
        site = place.site()
        starters = [site.start(site.command) for _ in range(STARTERS)]
        all_ended = [ended(each) for each in starters]
        codes = sorted(each.code for each in all_ended)
        assert set(codes) <= {0, 9}, [each.said for each in all_ended]
        assert codes[0] == 0, "one of them did the work"
        finding = judge("eight starters", site, site.run(), rows(ROWS))
        assert finding.is_well, finding
