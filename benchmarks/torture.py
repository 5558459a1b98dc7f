"""Tortures the product for some minutes and prints what came of it: fault × runs × lost × duplicated.

    python benchmarks/torture.py --minutes 30 --seed 1

Two threads of work, one for each of two cores: the simulation and the model of the protocol, which need no disk; and
everything with real processes: SIGKILL and errors at every system call, power cuts rebuilt from a record, full disks,
eight starters, and whole self-tests. Each part has a share of the time and goes through its list again and again with
other seeds until that is over. Linux only: strace makes the faults.
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from proof_system.nursery import Nursery  # noqa: E402 - the tests are no package of an installation
from proof_system.starters import eight_starters, on_a_small_disk  # noqa: E402
from proof_system.yard import CALLS, SYNCS, At, calls_of, failed, killed, killed_twice, over, points, yard  # noqa: E402

from importer.selftest import CrashTest, Finding, markdown, tally  # noqa: E402
from importer.selftest.powercut import PowerCut  # noqa: E402

PIECE = 24
SITES = 1200
ERRORS = ("ENOSPC", "EIO", "EDQUOT")
POWER_DRAWS = 6
SMALL_DISKS_KIB = (24, 48, 96, 136, 192, 224, 240)
KILLED = "SIGKILL at a system call"
SIMULATED = "simulated histories: kills, lost answers, jumping clocks, days between"
MODELLED = "states of the protocol's model, explored to the end"


@dataclass(kw_only=True)
class Torture:
    """Where it happens, for how long, and what was found."""

    folder: Path
    seed: int
    dice: random.Random
    findings: list[Finding] = field(default_factory=list)
    totals: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, found: Iterable[Finding], ends_s: float) -> None:
        """Keeps what is found until the time is over."""
        for each in found:
            with self.lock:
                self.findings.append(each)
            if not each.is_well:
                say(f"WRONG {each}")
            if time.monotonic() > ends_s:
                return


Part = Callable[[Torture, Path], Iterator[Finding]]


def say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


# --- real processes ---------------------------------------------------------------------------------------------------


def pieces(folder: Path, work: Sequence[At], at: Callable[[Nursery, At], Finding]) -> Iterator[Finding]:
    """The work in pieces, so that the clock is looked at in between."""
    for place in range(0, len(work), PIECE):
        yield from over(folder / f"piece-{place}", work[place : place + PIECE], at)


def every_call(folder: Path, calls: Sequence[str] = CALLS) -> list[At]:
    """Every system call of a small run that matters."""
    with yard(folder / "counting", 1) as place, Nursery(folder / "counter") as nursery:
        return points(calls_of(nursery, place.site(), calls), calls)


def kills(torture: Torture, folder: Path) -> Iterator[Finding]:
    """SIGKILL at every call, and the ways to run again in turn."""
    work = every_call(folder)
    torture.dice.shuffle(work)
    torture.totals[KILLED] = 3 * len(work)
    for turn in range(3):
        again = {at: turn + place for place, at in enumerate(work)}
        with yard(folder / f"turn-{turn}", SITES) as place:
            yield from pieces(
                place.folder,
                work,
                lambda nursery, at, again=again, place=place: killed(  # type: ignore[misc]  # bound now
                    KILLED, nursery, place.site(), at, again[at]
                ),
            )


def double_kills(torture: Torture, folder: Path) -> Iterator[Finding]:
    """SIGKILL at a call, and at a call of the run that recovers."""
    work = every_call(folder)
    while True:
        chosen = [torture.dice.choice(work) for _ in range(200)]
        then = {at: torture.dice.choice(work) for at in work}
        with yard(Path(tempfile.mkdtemp(dir=folder)), SITES) as place:
            yield from pieces(
                place.folder,
                chosen,
                lambda nursery, at, then=then, place=place: killed_twice(  # type: ignore[misc]  # bound now
                    "SIGKILL at a system call, and again while recovering", nursery, place.site(), at, then[at]
                ),
            )


def errors(torture: Torture, folder: Path) -> Iterator[Finding]:
    """Every write and every sync fails, once and for ever, with each error in turn."""
    syncs, writes = every_call(folder, SYNCS), every_call(folder / "writes", ["pwrite64"])
    plans = [(syncs, "EIO", False), (writes, "ENOSPC", True), (writes, "EIO", False), (syncs, "EIO", True)]
    plans += [(writes, "ENOSPC", False), (writes, "EDQUOT", True), (writes, "EIO", True)]
    for number, (work, error, for_ever) in enumerate(plans):
        name = f"{error} at a {'sync' if work is syncs else 'write'}, {'from then on' if for_ever else 'once'}"
        torture.totals[name] = len(work)
        torture.dice.shuffle(work)
        with yard(folder / f"plan-{number}", SITES) as place:
            yield from pieces(
                place.folder,
                work,
                lambda nursery, at, name=name, error=error, for_ever=for_ever, place=place: failed(  # type: ignore[misc]
                    name, nursery, place.site(), at, error, for_ever=for_ever
                ),
            )


def power_cuts(torture: Torture, folder: Path) -> Iterator[Finding]:
    """Every disk a cut may leave; and of some of them the same command again."""
    cut = PowerCut.recorded(folder / "cut")
    while True:
        yield cut.examined(torture.dice, draws=POWER_DRAWS)
        for _ in range(10):
            yield cut.history(
                "power cut, then the same command again", Path(tempfile.mkdtemp(dir=folder)), torture.dice
            )


def self_tests(torture: Torture, folder: Path) -> Iterator[Finding]:
    """`importer selftest crash` with the next seeds; its lines, without those that other parts have."""
    seed = torture.seed
    while True:
        report = CrashTest(folder=folder / f"seed-{seed}", seed=seed, rounds=40, tell=say).run()
        seed += report.histories
        yield from report.failures
        for line in report.lines:
            if "every call" not in line.fault:
                yield Finding(fault=line.fault, runs=line.runs - sum(e.fault == line.fault for e in report.failures))


def crowds(_: Torture, folder: Path) -> Iterator[Finding]:
    """Small disks and eight starters."""
    while True:
        for kib in SMALL_DISKS_KIB:
            with yard(Path(tempfile.mkdtemp(dir=folder)), 1) as place:
                yield on_a_small_disk(place.site(), kib)
        for _again in range(3):
            with yard(Path(tempfile.mkdtemp(dir=folder)), 1) as place:
                yield eight_starters(place.site())


PROCESSES: Sequence[tuple[float, Part]] = (
    (0.28, kills),
    (0.12, double_kills),
    (0.22, errors),
    (0.12, power_cuts),
    (0.18, self_tests),
    (0.08, crowds),
)


# --- no processes -----------------------------------------------------------------------------------------------------


def script(name: str, *arguments: str) -> tuple[int, str]:
    """Runs a part that lives with the tests of the protocol."""
    words = [sys.executable, "-m", f"tests.proof.{name}", *arguments]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def counted(fault: str, code: int, said: str, pattern: str) -> Finding:
    """What such a part says it did."""
    counts = [int(each.replace(",", "")) for each in re.findall(pattern, said)]
    return Finding(fault=fault, runs=sum(counts), trouble="" if code == 0 else said.strip()[-2000:])


def thinking(torture: Torture, minutes: float) -> None:
    """The model to its end, then simulated histories until the time is over."""
    ends_s = time.monotonic() + minutes * 60
    bounds = ("--sends", "3", "--crashes", "1") if minutes < 20 else ("--sends", "4", "--crashes", "2")
    torture.add([counted(MODELLED, *script("model", *bounds), r"as built: ([\d,]+) states")], ends_s)
    left = (ends_s - time.monotonic()) / 60
    words = ("--minutes", f"{max(left, 0.2):.2f}", "--histories", str(10**9), "--first", str(torture.seed * 10**6))
    torture.add([counted(SIMULATED, *script("sim", *words), r"([\d,]+) histories")], ends_s)


# --- all of it --------------------------------------------------------------------------------------------------------


def suffer(torture: Torture, minutes: float) -> None:
    """Every part for its share of the time."""
    thinker = threading.Thread(target=thinking, args=(torture, minutes))
    thinker.start()
    for share, part in PROCESSES:
        say(f"{part.__name__}: {share * minutes:.1f} min")
        folder = torture.folder / part.__name__
        folder.mkdir(parents=True)
        ends_s = time.monotonic() + share * minutes * 60
        torture.add(part(torture, folder), ends_s)
    thinker.join()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    asked = parser.parse_args()
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        torture = Torture(folder=Path(folder), seed=asked.seed, dice=random.Random(asked.seed))
        suffer(torture, asked.minutes)
    lines = tally(torture.findings)
    print(markdown(lines) + "\n")
    for line in lines:
        if line.fault in torture.totals:
            print(f"{line.fault}: {line.runs} of {torture.totals[line.fault]} points")
    wrong = [each for each in torture.findings if not each.is_well]
    for each in wrong:
        print(f"WRONG {replace(each, runs=1)}")
    print(f"\nseed {asked.seed}, {(time.monotonic() - started_s) / 60:.0f} minutes")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
