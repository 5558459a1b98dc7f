"""Too little room on a disk, and too many starters: what the tests and the long torture share.

A small tmpfs is mounted where this is allowed; where it is not (a container without the right to mount), files are kept
from growing by a limit of the process, which SQLite meets in the same place.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from importer.selftest.judging import judge
from importer.selftest.site import Ended, Site, ended, rows
from importer.selftest.table import Finding

from .yard import ROWS

STARTERS = 8
PLENTY_KIB = 65_536
Room = Callable[[int], None]


@contextlib.contextmanager
def tmpfs(folder: Path) -> Iterator[Room | None]:
    """The folder as a file system of its own; gives what changes its size, or None where mounting is not allowed."""
    if not _is_done(["mount", "-t", "tmpfs", "-o", f"size={PLENTY_KIB}k", "tmpfs", str(folder)]):
        yield None
        return
    try:
        yield lambda kib: _remount(folder, kib)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _is_done(words: list[str]) -> bool:
    try:
        return subprocess.run(words, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def _remount(folder: Path, kib: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={kib}k", str(folder)], check=True)


def run_within(site: Site, kib: int, room: Room | None) -> Ended:
    """A run that has so much room on its disk, or so much for any one file; then there is plenty again."""
    if room is None:
        return ended(site.start(["bash", "-c", f'ulimit -f {kib}; exec "$0" "$@"', *site.command]))
    room(kib)
    first = site.run()
    room(PLENTY_KIB)
    return first


def on_a_small_disk(site: Site, kib: int) -> Finding:
    """Exit 5 that names the ledger, never a traceback; once there is room the same command goes on."""
    fault = "a disk with too little room"
    content = site.source.read_bytes()
    with tmpfs(site.folder) as room:
        site.source.write_bytes(content)
        first = run_within(site, kib, room)
        last = site.run()
        finding = judge(fault, site, last, rows(ROWS))
    is_told = first.code == 0 or (first.code == 5 and "ledger" in str(first.said.get("error")))
    if "Traceback" in first.err or not is_told:
        return Finding(fault=fault, trouble=f"{kib} KiB: exit code {first.code}: {first.err.strip()[-200:]}")
    return finding


def eight_starters(site: Site) -> Finding:
    """All start at once on one new ledger: some own it in turn, the others say whose it is."""
    fault = "eight starters at once"
    starters = [site.start(site.command) for _ in range(STARTERS)]
    codes = sorted(ended(each).code for each in starters)
    finding = judge(fault, site, site.run(), rows(ROWS))
    if finding.is_well and (set(codes) - {0, 9} or 0 not in codes):
        return Finding(fault=fault, trouble=f"the starters ended with {codes}")
    return finding
