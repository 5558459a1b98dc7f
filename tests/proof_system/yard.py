"""A yard of sites for faults at system calls: one platform with a campaign for each, and what was found at each.

Every function here gives a Finding, so that the tests of a pull request and the long torture share them.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

from importer.selftest.judging import judge
from importer.selftest.site import Ended, Platform, Row, Site, edit_list, platform, rows, write_list
from importer.selftest.table import Finding

from .nursery import Nursery

ROWS = 7
BATCH = ("--batch-size", "3", "--in-flight", "1")
WRITES = ("pwrite64", "ftruncate")
SYNCS = ("fdatasync", "fsync")
NAMES = ("rename", "unlink")
NETWORK = ("connect", "sendto", "recvfrom")
CALLS = (*WRITES, *SYNCS, *NAMES, *NETWORK)
WORKERS = 2

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class At:
    """The n-th call of a kind in the thread that makes the most of them."""

    call: str
    place: int

    def __str__(self) -> str:
        return f"{self.call} {self.place}"


@dataclass(kw_only=True)
class Yard:
    """A platform and folders; `site` gives a new one each time."""

    folder: Path
    platform: Platform
    tokens: Iterator[str]
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def site(self, options: Sequence[str] = BATCH) -> Site:
        folder = self.folder / f"site-{next(self._numbers)}"
        folder.mkdir()
        site = Site(folder=folder, platform=self.platform, token=next(self.tokens), options=tuple(options))
        write_list(site.source, rows(ROWS))
        return site


@contextlib.contextmanager
def yard(folder: Path, sites: int, *options: str) -> Iterator[Yard]:
    """A yard with room for so many sites."""
    folder.mkdir(parents=True, exist_ok=True)
    tokens = [f"{place + 1}.7056.yard" for place in range(sites)]
    with platform(folder / "platform.db", tokens, *options) as there:
        yield Yard(folder=folder, platform=there, tokens=iter(tokens))


def over(folder: Path, points: Iterable[T], work: Callable[[Nursery, T], Finding]) -> list[Finding]:
    """Does the work at every point, some at once, each worker with a nursery of its own."""
    with contextlib.ExitStack() as stack:
        free: SimpleQueue[Nursery] = SimpleQueue()
        for place in range(WORKERS):
            free.put(stack.enter_context(Nursery(folder / f"nursery-{place}")))

        def at(point: T) -> Finding:
            nursery = free.get()
            try:
                return work(nursery, point)
            finally:
                free.put(nursery)

        with ThreadPoolExecutor(WORKERS) as pool:
            return list(pool.map(at, points))


# --- which calls there are --------------------------------------------------------------------------------------------


def calls_of(nursery: Nursery, site: Site, calls: Sequence[str] = CALLS) -> Mapping[str, int]:
    """How often each call is made by the thread that makes the most of them: strace counts each thread's own."""
    record = site.folder / "record"
    last = nursery.run(site, strace=["-o", str(record), "-e", f"trace={','.join(calls)}"])
    assert last.code == 0, last
    made: Counter[tuple[str, str]] = Counter(re.findall(r"^(\d+) +(\w+)\(", record.read_text(), re.MULTILINE))
    most: dict[str, int] = defaultdict(int)
    for (_, call), count in made.items():
        most[call] = max(most[call], count)
    return most


def points(counts: Mapping[str, int], calls: Sequence[str], *, of_each: int = 1, first: int = 1) -> list[At]:
    """Every call of these kinds, or every n-th."""
    return [At(call=call, place=place) for call in calls for place in range(first, counts.get(call, 0) + 1, of_each)]


# --- the faults -------------------------------------------------------------------------------------------------------


def same_again(nursery: Nursery, site: Site) -> tuple[Ended, Sequence[Row], Sequence[Row]]:
    return nursery.run(site), rows(ROWS), ()


def other_size_again(nursery: Nursery, site: Site) -> tuple[Ended, Sequence[Row], Sequence[Row]]:
    return nursery.run(site, "--batch-size", "2", "--in-flight", "3"), rows(ROWS), ()


def edited_again(nursery: Nursery, site: Site) -> tuple[Ended, Sequence[Row], Sequence[Row]]:
    """A row gone, one new, the others in another order."""
    content = [*rows(ROWS)[2:], *rows(1, first=40), *rows(1)]
    edit_list(site.source, content)
    return nursery.run(site), content, rows(1, first=1)


AGAIN = (same_again, other_size_again, edited_again)


def killed(fault: str, nursery: Nursery, site: Site, at: At, again: int) -> Finding:
    """SIGKILL at a system call; then again, in one of the ways. No run when the call was never reached."""
    first = nursery.run(site, strace=_options(at, "signal=SIGKILL"))
    if not first.is_killed:
        return Finding(fault=fault, runs=0, trouble="" if first.code == 0 else f"{at}: exit code {first.code}")
    last, wanted, gone = AGAIN[again % len(AGAIN)](nursery, site)
    return _named(judge(fault, site, last, wanted, gone=gone), at)


def killed_twice(fault: str, nursery: Nursery, site: Site, at: At, then: At) -> Finding:
    """SIGKILL at a system call, and at one of the run that recovers from it."""
    if not nursery.run(site, strace=_options(at, "signal=SIGKILL")).is_killed:
        return Finding(fault=fault, runs=0)
    nursery.run(site, strace=_options(then, "signal=SIGKILL"))
    return _named(judge(fault, site, nursery.run(site), rows(ROWS)), f"{at}, then {then}")


def failed(fault: str, nursery: Nursery, site: Site, at: At, error: str, *, for_ever: bool) -> Finding:
    """A system call fails, once or from then on; nothing is sent after it, and the next run puts it right."""
    record = site.folder / "record"
    when = f"{at.place}{'+' if for_ever else ''}"
    trace = ["-o", str(record), "-y", "-e", f"trace={at.call},sendto"]
    first = nursery.run(site, strace=[*trace, "-e", f"inject={at.call}:error={error}:when={when}"])
    problem = _of_failure(first, record.read_text())
    if problem:
        return Finding(fault=fault, trouble=f"{at} {error}: {problem}")
    return _named(judge(fault, site, nursery.run(site), rows(ROWS)), f"{at} {error}")


def _of_failure(first: Ended, record: str) -> str:
    """What is wrong with a run that met an error of the file; empty when nothing is."""
    if "Traceback" in first.err or first.code not in {0, 5}:
        return f"exit code {first.code}: {first.err.strip()[-200:]}"
    lines = record.splitlines()
    hit = next(
        (i for i, line in enumerate(lines) if "(INJECTED)" in line and re.search(r"ledger\.db(-wal)?>", line)), 0
    )
    after = sum('"POST' in line for line in lines[hit:]) if hit else 0
    return f"{after} requests began after it" if after and first.code else ""


def _options(at: At, what: str) -> list[str]:
    return ["-o", "/dev/null", "-e", f"trace={at.call}", "-e", f"inject={at.call}:{what}:when={at.place}"]


def _named(finding: Finding, at: object) -> Finding:
    if finding.is_well:
        return finding
    counts = f"lost={finding.lost} duplicated={finding.duplicated}"
    return Finding(
        fault=finding.fault,
        lost=finding.lost,
        duplicated=finding.duplicated,
        trouble=f"{at}: {counts} {finding.trouble}",
    )


def some(dice: random.Random, population: Sequence[T], count: int) -> list[T]:
    """So many of them, none twice, in their order."""
    chosen = sorted(dice.sample(range(len(population)), min(count, len(population))))
    return [population[place] for place in chosen]
