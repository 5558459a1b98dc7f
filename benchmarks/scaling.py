"""How long a cluster needs for a list, and how near it comes to the end of the key window: a simulation.

    python benchmarks/scaling.py --rows 1_000_000_000 --workers 64

Time is virtual and chance is seeded: the same seed tells the same story. Shards are taken in and then sent by workers
of unequal speed that may be lost with their ledgers; all share what the platform takes. A shard whose worker was lost
is taken in again elsewhere and sends the same requests from the first on. The platform answers those it had from
memory while it knows their keys; after that the shard would have to adopt and ask the reports. Nothing is sent here.
"""

from __future__ import annotations

import argparse
import heapq
import random
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

HOUR_S = 3600.0
WINDOW_S = 24 * HOUR_S - HOUR_S - 90.0  # the key window less its margin and one request: importer.protocol.Window


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What is simulated. **Units**: seconds, rows, rows a second.

    `scan_rows_s` is how fast a worker reads rows that are mostly another shard's, `intake_rows_s` how fast it takes in
    its own. `is_split`: the list was shared out among the shards first, so that nobody reads all of it. `lost_every_s`
    is a worker's mean time to its loss, `away_s` how long until another stands in its place.
    """

    rows: int = 1_000_000_000
    workers: int = 64
    shards: int = 256
    scan_rows_s: float = 700_000.0
    intake_rows_s: float = 200_000.0
    send_rows_s: float = 20_000.0
    platform_rows_s: float = 50_000.0
    is_split: bool = True
    spread: float = 0.0
    slow_share: float = 0.0
    slowness: float = 4.0
    lost_every_s: float = float("inf")
    away_s: float = 300.0
    reconcile_s: float = 1800.0

    def least_s(self) -> float:
        """No run can be shorter: everything is read, the first wave is taken in, and everything is sent."""
        sending_s = self.rows / min(self.platform_rows_s, self.workers * self.send_rows_s)
        return self.reading_s() + self.rows / self.shards / self.intake_rows_s + sending_s

    def reading_s(self) -> float:
        return self.rows / self.scan_rows_s / (self.workers if self.is_split else 1)


@dataclass(frozen=True, kw_only=True)
class Story:
    """What came of it. `slack_s`: what was left of the key window at the latest repeat of a request."""

    elapsed_s: float
    sent_rows: float
    losses: int
    adoptions: int
    slack_s: float


@dataclass
class _Shard:
    rows: float
    since_s: float | None = None  # when anything of it was first sent
    most_sent_rows: float = 0.0


@dataclass
class _Worker:
    speed: float
    dies_s: float
    shard: _Shard | None = None
    phase: str = "idle"
    until_s: float = 0.0  # the end of reading, of intake or of asking the reports
    sent_rows: float = 0.0
    rate_rows_s: float = 0.0


@dataclass
class _Run:
    cluster: Cluster
    dice: random.Random
    now_s: float = 0.0
    sent_rows: float = 0.0
    losses: int = 0
    adoptions: int = 0
    slack_s: float = WINDOW_S
    waiting: list[_Shard] = field(default_factory=list)
    workers: list[_Worker] = field(default_factory=list)
    returning_s: list[float] = field(default_factory=list)
    open_shards: int = 0


def simulate(cluster: Cluster, seed: int) -> Story:
    """One story, from the first row read to the last one sent."""
    run = _Run(cluster, random.Random(seed))
    mean = cluster.rows / cluster.shards
    run.waiting = [_Shard(max(1.0, run.dice.gauss(mean, mean**0.5))) for _ in range(cluster.shards)]
    scale = cluster.rows / sum(shard.rows for shard in run.waiting)
    for shard in run.waiting:
        shard.rows *= scale
    run.open_shards = cluster.shards
    run.now_s = cluster.reading_s() if cluster.is_split else 0.0
    run.workers = [_hired(run) for _ in range(cluster.workers)]
    while run.open_shards:
        _assign(run)
        _share(run)
        _pass(run, min(_next_s(run)))
        _happen(run)
    return Story(
        elapsed_s=run.now_s,
        sent_rows=run.sent_rows,
        losses=run.losses,
        adoptions=run.adoptions,
        slack_s=run.slack_s,
    )


def _hired(run: _Run) -> _Worker:
    cluster = run.cluster
    speed = run.dice.lognormvariate(0.0, cluster.spread) if cluster.spread else 1.0
    if run.dice.random() < cluster.slow_share:
        speed /= cluster.slowness
    life_s = run.dice.expovariate(1.0) * cluster.lost_every_s
    return _Worker(speed=speed, dies_s=run.now_s + life_s)


def _assign(run: _Run) -> None:
    """Idle workers take shards in, those that were lost before first."""
    for worker in run.workers:
        if worker.shard is None and run.waiting:
            worker.shard = shard = run.waiting.pop(0)
            whole_s = 0.0 if run.cluster.is_split else run.cluster.rows / run.cluster.scan_rows_s
            worker.phase, worker.sent_rows = "intake", 0.0
            worker.until_s = run.now_s + (whole_s + shard.rows / run.cluster.intake_rows_s) / worker.speed


def _share(run: _Run) -> None:
    """What the platform takes is shared evenly; what one cannot use, the others may."""
    senders = [worker for worker in run.workers if worker.phase == "send"]
    left_rows_s = run.cluster.platform_rows_s
    for place, worker in enumerate(sorted(senders, key=lambda each: each.speed)):
        fair = left_rows_s / (len(senders) - place)
        worker.rate_rows_s = min(worker.speed * run.cluster.send_rows_s, fair)
        left_rows_s -= worker.rate_rows_s


def _next_s(run: _Run) -> Iterator[float]:
    """When anything may happen next."""
    for worker in run.workers:
        yield worker.dies_s
        if worker.shard is not None:
            left_s = (worker.shard.rows - worker.sent_rows) / worker.rate_rows_s if worker.phase == "send" else 0.0
            yield run.now_s + left_s if worker.phase == "send" else worker.until_s
    yield from run.returning_s[:1]


def _pass(run: _Run, until_s: float) -> None:
    """Lets time pass: senders send."""
    for worker in run.workers:
        if worker.phase == "send":
            rows = worker.rate_rows_s * (until_s - run.now_s)
            worker.sent_rows += rows
            run.sent_rows += rows
    run.now_s = until_s


def _happen(run: _Run) -> None:
    for worker in list(run.workers):
        if worker.dies_s <= run.now_s:
            _lose(run, worker)
        elif worker.shard is not None and worker.phase == "send":
            _note_repeats(run, worker, worker.shard)
            if worker.shard.rows - worker.sent_rows <= 1e-6 * worker.shard.rows:
                worker.shard, worker.phase, run.open_shards = None, "idle", run.open_shards - 1
        elif worker.shard is not None and worker.until_s <= run.now_s:
            _begin_sending(run, worker, worker.shard)
    while run.returning_s and run.returning_s[0] <= run.now_s:
        heapq.heappop(run.returning_s)
        run.workers.append(_hired(run))


def _lose(run: _Run, worker: _Worker) -> None:
    """The worker and its ledger are gone; its shard is the next to be taken in again."""
    run.losses += 1
    run.workers.remove(worker)
    heapq.heappush(run.returning_s, run.now_s + run.cluster.away_s)
    if worker.shard is not None:
        worker.shard.most_sent_rows = max(worker.shard.most_sent_rows, worker.sent_rows)
        run.waiting.insert(0, worker.shard)


def _note_repeats(run: _Run, worker: _Worker, shard: _Shard) -> None:
    """A request that is repeated is as old as the shard's first, for all that its new ledger knows."""
    if shard.since_s is not None and shard.most_sent_rows > 0 and worker.sent_rows - shard.most_sent_rows < 1e-6:
        run.slack_s = min(run.slack_s, WINDOW_S - (run.now_s - shard.since_s))


def _begin_sending(run: _Run, worker: _Worker, shard: _Shard) -> None:
    """After intake, or after the reports were asked where the keys may be forgotten before all are repeated."""
    if shard.since_s is None:
        shard.since_s = run.now_s
    elif worker.phase == "intake" and shard.most_sent_rows:
        senders = 1 + sum(each.phase == "send" for each in run.workers)
        rate = min(worker.speed * run.cluster.send_rows_s, run.cluster.platform_rows_s / senders)
        if run.now_s + shard.most_sent_rows / rate - shard.since_s > WINDOW_S:
            run.adoptions += 1
            worker.phase, worker.until_s = "reconcile", run.now_s + run.cluster.reconcile_s
            worker.sent_rows, shard.most_sent_rows = shard.most_sent_rows, 0.0
            return
    if worker.phase == "intake":
        worker.sent_rows = 0.0
    worker.phase = "send"


SCENARIOS = {
    "all well": Cluster(),
    "the list not split: every shard reads all of it": Cluster(is_split=False, shards=64),
    "64 shards": Cluster(shards=64, spread=0.3, slow_share=0.05),
    "256 shards, unequal workers": Cluster(spread=0.3, slow_share=0.05),
    "1,024 shards, unequal workers": Cluster(shards=1024, spread=0.3, slow_share=0.05),
    "256 shards, unequal workers, each lost once a day": Cluster(spread=0.3, slow_share=0.05, lost_every_s=24 * HOUR_S),
    "256 shards, unequal workers, each lost every 3 hours": Cluster(
        spread=0.3, slow_share=0.05, lost_every_s=3 * HOUR_S
    ),
    "64 shards, unequal workers, each lost every 3 hours": Cluster(
        shards=64, spread=0.3, slow_share=0.05, lost_every_s=3 * HOUR_S
    ),
    "a platform that takes 12,000 rows/s, 256 shards, lost once a day": Cluster(
        platform_rows_s=12_000.0, spread=0.3, slow_share=0.05, lost_every_s=24 * HOUR_S
    ),
    "a platform that takes 12,000 rows/s, 64 shards, lost once a day": Cluster(
        platform_rows_s=12_000.0, shards=64, spread=0.3, slow_share=0.05, lost_every_s=24 * HOUR_S
    ),
}


def told(name: str, cluster: Cluster, stories: list[Story]) -> str:
    """A line of the table."""
    hours = sorted(story.elapsed_s / HOUR_S for story in stories)
    again = statistics.mean(story.sent_rows for story in stories) / cluster.rows - 1
    again = max(again, 0.0)  # rounding
    slack = min(story.slack_s for story in stories) / HOUR_S
    return (
        f"| {name} | {cluster.least_s() / HOUR_S:.1f} | {statistics.median(hours):.1f} | {hours[-1]:.1f} | "
        f"{statistics.mean(story.losses for story in stories):.0f} | {again:.1%} | "
        f"{'' if slack * HOUR_S >= WINDOW_S else f'{slack:.1f}'} | {sum(story.adoptions for story in stories)} |"
    )


def main() -> None:
    """The table of all scenarios, with as many stories each as asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000_000)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--stories", type=int, default=20)
    options = parser.parse_args()
    print("| | least, h | median, h | longest, h | losses | sent again | least slack, h | adopted |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for name, cluster in SCENARIOS.items():
        asked = replace(cluster, rows=options.rows, workers=options.workers)
        print(told(name, asked, [simulate(asked, seed) for seed in range(options.stories)]), flush=True)


if __name__ == "__main__":
    main()
