"""What may happen to a run before the same command is said again: one function per fault.

Floor: selftest. Each takes a site and seeded dice, brings its fault about, runs to the end and lets the judge speak.
The dice decide everything that is free, so a seed repeats a history up to the scheduling of the machine.
"""

from __future__ import annotations

import contextlib
import random
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from importer.errors import ImporterError
from importer.selftest.crossings import AFTER_ANSWER, AFTER_COMMIT, BEFORE_COMMIT, BEFORE_REQUEST
from importer.selftest.judging import judge
from importer.selftest.powercut import PowerCut
from importer.selftest.site import Site, edit_list, ended, rows, write_list
from importer.selftest.table import Finding

ROWS = 7
BATCH_ROWS = 3
CALM, ROUGH, FORGETFUL = "calm", "rough", "forgetful"
KEY_LIFE_S = 10.0

# What each platform does to those who call it.
PLATFORMS: Mapping[str, tuple[str, ...]] = MappingProxyType({
    CALM: (),
    ROUGH: (
        "--fault", "lose-answer:p=0.15", "--fault", "drop:p=0.1", "--fault", "half-answer:p=0.1",
        "--fault", "error-after-commit:p=0.1", "--fault", "status:code=503,retry-after=1,p=0.1",
    ),
    FORGETFUL: ("--key-ttl", f"{KEY_LIFE_S:.0f}s"),
})  # fmt: skip
# Those who know that their keys live so short; 3 s of the rest go to the Date, which tells whole seconds.
SHORT_WINDOW = (
    "--key-window", f"{KEY_LIFE_S:.0f}s", "--key-margin", "1s", "--timeout", "1s", "--quiet-period", "1s",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """A crossing at which a run is killed."""

    kind: str
    place: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """What a fault is given: where, the dice, and crossings to choose from (`point` where it is said which)."""

    site: Site
    dice: random.Random
    counts: Mapping[str, int]
    point: Point | None = None
    cut: PowerCut | None = None

    def some_point(self, *kinds: str) -> Point:
        """A crossing of one of these kinds, by the dice."""
        kind = self.dice.choice(kinds or tuple(self.counts))
        return Point(kind=kind, place=self.dice.randint(1, self.counts[kind]))

    def killed_at(self, point: Point) -> None:
        """Runs until there."""
        write_list(self.site.source, rows(ROWS))
        self.site.child(dies=(point.kind, point.place), batch_size_rows=BATCH_ROWS)


def killed_at_a_crossing(fault: str, scene: Scene) -> Finding:
    """Killed at one commit or request; then the same command."""
    scene.killed_at(scene.point or scene.some_point())
    return judge(fault, scene.site, scene.site.run("--batch-size", str(BATCH_ROWS)), rows(ROWS))


def killed_while_recovering(fault: str, scene: Scene) -> Finding:
    """Killed, and killed again while it recovers, up to three times."""
    scene.killed_at(scene.some_point())
    for _ in range(scene.dice.randint(1, 3)):
        point = scene.some_point()
        scene.site.child(dies=(point.kind, point.place), batch_size_rows=BATCH_ROWS)
    return judge(fault, scene.site, scene.site.run(), rows(ROWS))


def killed_by_the_clock(fault: str, scene: Scene) -> Finding:
    """The real command, killed at random moments."""
    write_list(scene.site.source, rows(ROWS))
    for _ in range(scene.dice.randint(1, 3)):
        _killed_after(scene, scene.dice.uniform(0.1, 1.2))
    return judge(fault, scene.site, scene.site.run(), rows(ROWS))


def _killed_after(scene: Scene, wait_s: float) -> None:
    process = scene.site.start([*scene.site.command, "--batch-size", str(scene.dice.randint(1, 4))])
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(wait_s)
    process.kill()
    process.communicate()


def other_batch_size(fault: str, scene: Scene) -> Finding:
    """Killed; then again with another batch size."""
    scene.killed_at(scene.some_point())
    size = scene.dice.choice([1, 2, 4, 5, 250])
    return judge(fault, scene.site, scene.site.run("--batch-size", str(size)), rows(ROWS))


def edited_list(fault: str, scene: Scene) -> Finding:
    """Killed; then again with a list in which a row is gone, one is new, and the order is another."""
    scene.killed_at(scene.some_point())
    content = rows(ROWS)
    gone = content.pop(scene.dice.randrange(ROWS))
    content += rows(1, first=ROWS + 20)
    scene.dice.shuffle(content)
    edit_list(scene.site.source, content)
    return judge(fault, scene.site, scene.site.run("--batch-size", str(BATCH_ROWS)), content, gone=[gone])


def two_runners(fault: str, scene: Scene) -> Finding:
    """Two at once on one ledger, one of them perhaps killed; then the same command."""
    write_list(scene.site.source, rows(ROWS))
    runners = [scene.site.start(scene.site.command) for _ in range(2)]
    is_one_killed = scene.dice.random() < 0.5
    if is_one_killed:
        time.sleep(scene.dice.uniform(0.2, 0.8))
        runners[0].kill()
    codes = [ended(each).code for each in runners][is_one_killed:]
    finding = judge(fault, scene.site, scene.site.run(), rows(ROWS))
    strange = [code for code in codes if code not in {0, 9}]
    if strange and finding.is_well:
        return Finding(fault=fault, trouble=f"a runner ended with exit code {strange[0]}")
    return finding


def ledger_lost(fault: str, scene: Scene) -> Finding:
    """Killed, and the ledger is gone with the disk; then again, said to adopt what was sent since."""
    since = datetime.now(UTC) - timedelta(seconds=2)
    scene.killed_at(scene.some_point())
    for path in scene.site.folder.glob("ledger.db*"):
        path.unlink()
    last = scene.site.run("--batch-size", str(BATCH_ROWS), "--adopt-since", since.isoformat())
    return judge(fault, scene.site, last, rows(ROWS))


def clock_jumps(fault: str, scene: Scene) -> Finding:
    """The clocks jump within a run that is killed and within the next one; in doubt is allowed, twice is not."""
    write_list(scene.site.source, rows(ROWS))
    point = scene.some_point(BEFORE_REQUEST, AFTER_ANSWER, AFTER_COMMIT)
    scene.site.child(dies=(point.kind, point.place), batch_size_rows=BATCH_ROWS, **_jump(scene.dice))
    scene.site.child(batch_size_rows=BATCH_ROWS, **_jump(scene.dice))
    last = scene.site.run("--quiet-period", "500ms")
    return judge(fault, scene.site, last, rows(ROWS), may_doubt=True)


def _jump(dice: random.Random) -> dict[str, int]:
    """Forwards, backwards, or asleep, from one of the first readings on."""
    jump_s = dice.choice([25 * 3600, -12 * 3600, 300, -300, 23 * 3600])
    asleep_s = jump_s if jump_s > 0 and dice.random() < 0.5 else 0
    return {"jump_unix_s": jump_s, "jump_boot_s": asleep_s, "jump_at_reading": dice.randint(0, 40)}


def key_forgotten(fault: str, scene: Scene) -> Finding:
    """Killed with a request under way, and the next run comes when the platform has forgotten its key."""
    scene.killed_at(scene.some_point(AFTER_COMMIT, BEFORE_REQUEST, AFTER_ANSWER))
    time.sleep(KEY_LIFE_S + 1.0)
    last = scene.site.run("--batch-size", str(BATCH_ROWS), *SHORT_WINDOW)
    return judge(fault, scene.site, last, rows(ROWS))


def power_cut(fault: str, scene: Scene) -> Finding:
    """The power goes at some call of a recorded run; then the same command."""
    if scene.cut is None:
        raise ImporterError("No run was recorded that could be cut.")
    return scene.cut.history(fault, scene.site.folder, scene.dice)


History = Callable[[str, Scene], Finding]


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """A line of the table: what it is called, how it is brought about, at which platform, how often by default."""

    name: str
    history: History
    at: str = CALM
    times: int = 2


CROSSING_FAULTS: Mapping[str, Fault] = MappingProxyType(
    {
        kind: Fault(name=f"SIGKILL {kind}", history=killed_at_a_crossing)
        for kind in (BEFORE_COMMIT, AFTER_COMMIT, BEFORE_REQUEST, AFTER_ANSWER)
    }
)
FAULTS: tuple[Fault, ...] = (
    Fault(name="the platform forgot the key meanwhile", history=key_forgotten, at=FORGETFUL, times=3),
    Fault(name="answers lost, cut, refused, and SIGKILL at random moments", history=killed_by_the_clock, at=ROUGH),
    Fault(name="answers lost, cut, refused, and SIGKILL while recovering", history=killed_while_recovering, at=ROUGH),
    Fault(name="another batch size after a SIGKILL", history=other_batch_size),
    Fault(name="the list edited after a SIGKILL", history=edited_list),
    Fault(name="two runners on one ledger", history=two_runners),
    Fault(name="the ledger lost after a SIGKILL, adopted", history=ledger_lost),
    Fault(name="clock jumps around a SIGKILL", history=clock_jumps, times=3),
    Fault(name="power cut, then the same command again", history=power_cut, times=4),
)
