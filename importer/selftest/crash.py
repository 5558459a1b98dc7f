"""The plan of a self-test, carried out: every crash point once, every other fault some times, and what it came to.

Floor: selftest. Histories are numbered by their seeds: a seed chooses its place in the plan and throws its dice, so
consecutive seeds walk through the whole plan wherever they begin, and one seed alone repeats one history.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from importer.errors import ImporterError
from importer.selftest.crossings import KINDS
from importer.selftest.histories import (
    BATCH_ROWS,
    CROSSING_FAULTS,
    FAULTS,
    PLATFORMS,
    ROWS,
    Fault,
    Point,
    Scene,
    power_cut,
)
from importer.selftest.judging import judge_platforms
from importer.selftest.powercut import EVERY_STATE, PowerCut
from importer.selftest.site import Platform, Site, platform, rows, write_list
from importer.selftest.table import FaultLine, Finding, tally
from importer.selftest.tracing import why_not

TELL_INTERVAL_S = 5.0
MOSTLY_WAITING = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class CrashReport:
    """What it came to. `covered` is, by kind of crash point, how many there are and how many were tried."""

    first_seed: int
    histories: int
    lines: tuple[FaultLine, ...]
    covered: Mapping[str, tuple[int, int]]
    skipped: tuple[str, ...]
    failures: tuple[Finding, ...]
    elapsed_s: float

    @property
    def lost(self) -> int:
        """Rows."""
        return sum(line.lost for line in self.lines)

    @property
    def duplicated(self) -> int:
        """Rows."""
        return sum(line.duplicated for line in self.lines)

    @property
    def is_proved(self) -> bool:
        """True when nothing was lost, doubled, or otherwise wrong."""
        return not (self.lost or self.duplicated or self.failures)


@dataclass(frozen=True, kw_only=True, slots=True)
class Slot:
    """A place in the plan."""

    fault: Fault
    point: Point | None = None


@dataclass(kw_only=True)
class CrashTest:
    """One self-test in a folder of its own. `tell` is how it speaks; `platform_options` are for tests of the test."""

    folder: Path
    seed: int
    rounds: int | None = None
    tell: Callable[[str], None]
    platform_options: Sequence[str] = ()
    _findings: list[Finding] = field(default_factory=list)

    def run(self) -> CrashReport:
        """Everything. **Errors**: ImporterError when the sandbox does not start or a run hangs."""
        started_s = time.monotonic()
        skipped = why_not()
        with ExitStack() as stack:
            counts, cut = self._rehearse(stack, is_traced=not skipped)
            plan = plan_of(counts, has_record=cut is not None)
            seeds = range(self.seed, self.seed + (self.rounds or len(plan)))
            self.tell(f"{len(seeds)} histories, {sum(counts.values())} crash points in each run, seed {self.seed}.")
            platforms = self._start_platforms(stack, seeds)
            self._carry_out(seeds, plan, counts, platforms, cut)
            wrong = judge_platforms(each.db for each in platforms.values())
        if wrong:
            self._findings.append(Finding(fault="requests of all histories", trouble=wrong))
        return self._report(seeds, plan, counts, (skipped,) if skipped else (), time.monotonic() - started_s)

    # --- before -------------------------------------------------------------------------------------------------------

    def _rehearse(self, stack: ExitStack, *, is_traced: bool) -> tuple[Mapping[str, int], PowerCut | None]:
        """An untouched run, which counts the crash points, and one that is traced for the power cuts."""
        folder = self.folder / "rehearsal"
        folder.mkdir(parents=True)
        token = "1.1.rehearsal"  # noqa: S105 - the sandbox's own, good for nothing else
        there = stack.enter_context(platform(folder / "platform.db", [token], *self.platform_options))
        site = Site(folder=folder, platform=there, token=token)
        write_list(site.source, rows(ROWS))
        whole = site.child(batch_size_rows=BATCH_ROWS)
        if whole.code:
            raise ImporterError(f"A run that nobody disturbed ended with exit code {whole.code}: {whole.said}")
        counts = {kind: int(whole.said["crossings"][kind]) for kind in KINDS}
        return counts, PowerCut.recorded(self.folder / "power") if is_traced else None

    def _start_platforms(self, stack: ExitStack, seeds: Sequence[int]) -> Mapping[str, Platform]:
        tokens = [_token(seed) for seed in seeds]
        return {
            name: stack.enter_context(
                platform(self.folder / f"{name}.db", tokens, *options, *self.platform_options, "--seed", str(seeds[0]))
            )
            for name, options in PLATFORMS.items()
        }

    # --- the histories ------------------------------------------------------------------------------------------------

    def _carry_out(
        self,
        seeds: Sequence[int],
        plan: Sequence[Slot],
        counts: Mapping[str, int],
        platforms: Mapping[str, Platform],
        cut: PowerCut | None,
    ) -> None:
        with ThreadPoolExecutor((os.cpu_count() or 2) + MOSTLY_WAITING) as pool:
            disks = [] if cut is None else [pool.submit(cut.examined, random.Random(self.seed))]  # noqa: S311 - as below
            work = disks + [
                pool.submit(self._history, seed, plan[seed % len(plan)], counts, platforms, cut)
                for seed in _long_ones_first(seeds, plan)
            ]
            try:
                self._collect(work)
            except BaseException:  # Ctrl-C too: what was not begun is not begun any more
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _collect(self, work: Sequence[Future[Finding]]) -> None:
        told_s = time.monotonic()
        for done, each in enumerate(as_completed(work), 1):
            self._findings.append(each.result())
            if time.monotonic() - told_s > TELL_INTERVAL_S:
                told_s = time.monotonic()
                self._tell_progress(done, len(work))

    def _tell_progress(self, done: int, total: int) -> None:
        lines = tally(self._findings)
        lost, duplicated = sum(each.lost for each in lines), sum(each.duplicated for each in lines)
        self.tell(f"{done} of {total} histories: lost={lost} duplicated={duplicated}")

    def _history(
        self,
        seed: int,
        slot: Slot,
        counts: Mapping[str, int],
        platforms: Mapping[str, Platform],
        cut: PowerCut | None,
    ) -> Finding:
        folder = self.folder / f"history-{seed}"
        folder.mkdir()
        dice = random.Random(seed)  # noqa: S311 - a test's dice, which a seed must repeat
        site = Site(folder=folder, platform=platforms[slot.fault.at], token=_token(seed))
        scene = Scene(site=site, dice=dice, counts=counts, point=slot.point, cut=cut)
        try:
            return replace(slot.fault.history(slot.fault.name, scene), seed=seed)
        except ImporterError as problem:
            return Finding(fault=slot.fault.name, trouble=problem.message, seed=seed)

    # --- after --------------------------------------------------------------------------------------------------------

    def _report(
        self,
        seeds: Sequence[int],
        plan: Sequence[Slot],
        counts: Mapping[str, int],
        skipped: tuple[str, ...],
        elapsed_s: float,
    ) -> CrashReport:
        tried = {point for seed in seeds if (point := plan[seed % len(plan)].point) is not None}
        order = [each.name for each in (*CROSSING_FAULTS.values(), *FAULTS)] + [EVERY_STATE]
        findings = sorted(
            self._findings, key=lambda each: order.index(each.fault) if each.fault in order else len(order)
        )
        return CrashReport(
            first_seed=self.seed,
            histories=len(seeds),
            lines=tuple(tally(findings)),
            covered={kind: (counts[kind], sum(point.kind == kind for point in tried)) for kind in KINDS},
            skipped=skipped,
            failures=tuple(each for each in findings if not each.is_well),
            elapsed_s=elapsed_s,
        )


def plan_of(counts: Mapping[str, int], *, has_record: bool) -> list[Slot]:
    """Every crash point once and every other fault its times; power cuts need the record of a run."""
    crossings = [
        Slot(fault=CROSSING_FAULTS[kind], point=Point(kind=kind, place=place))
        for kind in KINDS
        for place in range(1, counts[kind] + 1)
    ]
    possible = [fault for fault in FAULTS if has_record or fault.history is not power_cut]
    return [*(Slot(fault=fault) for fault in possible for _ in range(fault.times)), *crossings]


def _long_ones_first(seeds: Sequence[int], plan: Sequence[Slot]) -> list[int]:
    """Those that mostly wait go first, so that nobody waits for them at the end."""
    return sorted(seeds, key=lambda seed: seed % len(plan))


def _token(seed: int) -> str:
    return f"{seed % 10_000_000}.7056.selftest{seed}"
