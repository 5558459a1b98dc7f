"""Who races: `importer`, and what others would do the same with, each in its best form that its users would write.

A peer is a script `peer_*.py` beside this file, in an environment of its own with the packages below and nothing else.
One that cannot be installed is named as missing, and the others race all the same.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

from measure import HERE, Cost, Field, Missing, ask, cost_of, installed, run_afresh

PEERS = HERE.parent / ".peers"
HTTPX, POLARS = "httpx==0.28.1", "polars==2.1.0"
PACKAGES = {
    "dlt": ("dlt[parquet]==1.31.0", HTTPX, POLARS),
    "plain": (HTTPX, POLARS),
    "huey": ("huey==3.5.4", HTTPX, POLARS),
    "persist-queue": ("persist-queue==1.1.0", HTTPX, POLARS),
    "dbos": ("dbos==3.4.0", HTTPX, POLARS),
}
Contender = Callable[[Field], Cost]
TOO_SLOW = 2.0  # times as long as importer: run once, not in every round


def peer(environment: str, script: str, *more: str) -> Contender:
    """A contender that is a script."""

    def run(field: Field) -> Cost:
        python = installed(PEERS / environment, PACKAGES[environment])
        shape = [str(field.rows), field.url, str(field.in_flight), str(field.batch_rows)]
        return cost_of([str(python), str(HERE / script), *shape, *more])

    return run


def parallel_and_curl(field: Field) -> Cost:
    """GNU parallel starts curls: both are programs of the system."""
    version_of_parallel()
    return peer("plain", "peer_parallel.py")(field)


def version_of_parallel() -> str:
    """**Errors**: Missing, also when another program has the name."""
    for name in ("parallel", "curl"):
        if shutil.which(name) is None:
            raise Missing(f"{name} is not installed")
    said = [
        subprocess.run([name, "--version"], capture_output=True, text=True, check=False).stdout
        for name in ("parallel", "curl")
    ]
    if not said[0].startswith("GNU parallel"):
        raise Missing("the program called parallel is not GNU parallel")
    return f"{said[0].splitlines()[0]}, {' '.join(said[1].split()[:2])}"


OURS = "importer"
DLT_PARQUET = peer("dlt", "peer_dlt.py", "parquet")
SCRIPT = peer("plain", "peer_script.py")
FLOOR = peer("plain", "peer_floor.py")
THROUGHPUT: dict[str, Contender] = {
    OURS: run_afresh,
    "dlt 1.31, Parquet": DLT_PARQUET,
    "csv + httpx script": SCRIPT,
    "floor: polars + httpx": FLOOR,
}
LATENCY: dict[str, Contender] = {
    OURS: run_afresh,
    "csv + httpx script": SCRIPT,
    "huey 3.5, SQLite": peer("huey", "peer_huey.py"),
    "persist-queue 1.1": peer("persist-queue", "peer_persist_queue.py"),
    "GNU parallel + curl": parallel_and_curl,
    "dlt 1.31, Parquet": DLT_PARQUET,
    "DBOS 3.4, SQLite": peer("dbos", "peer_dbos.py"),
}
DEFAULT: dict[str, Contender] = {OURS: run_afresh, "dlt 1.31, default": peer("dlt", "peer_dlt.py", "default")}


@dataclass(frozen=True, kw_only=True)
class Race:
    """What each contender cost in each round it ran in, and why some are not there."""

    costs: dict[str, list[Cost]]
    missing: dict[str, str]


def race(contenders: dict[str, Contender], field: Field, rows: int, rounds: int) -> Race:
    """Rounds in which each contender runs once; each must deliver every row, or its run does not count."""
    found = Race(costs={name: [] for name in contenders}, missing={})
    for number in range(rounds):
        for name, contender in contenders.items():
            if _is_out(found, name, number):
                continue
            try:
                last = _delivered(contender, field, rows)
            except (Missing, RuntimeError) as failure:
                if name == OURS:
                    raise
                found.missing[name] = str(failure).strip().splitlines()[-1][-200:]
                print(f"  {name:<24} does not count: {found.missing[name]}", file=sys.stderr)
            else:
                found.costs[name].append(last)
                print(f"  {name:<24} {last.wall_s:7.2f} s  {last.cpu_s:7.2f} s CPU", file=sys.stderr)
    costs = {name: each for name, each in found.costs.items() if each}
    return Race(costs=costs, missing={name: why for name, why in found.missing.items() if name not in costs})


def _is_out(found: Race, name: str, number: int) -> bool:
    """Whether a contender runs in the first rounds alone: it takes long, or never came through."""
    if not number or name == OURS:
        return False
    costs = found.costs[name]
    return costs[0].wall_s > TOO_SLOW * found.costs[OURS][0].wall_s if costs else name in found.missing


def _delivered(contender: Contender, field: Field, rows: int) -> Cost:
    before = ask(field.origin, "counted")
    cost = contender(field)
    arrived = int(ask(field.origin, "counted") - before)
    if arrived != rows:
        raise RuntimeError(f"delivered {arrived:,} of {rows:,} rows")
    return cost
