"""How fast `importer` is beside others, on this machine: make bench, or python benchmarks/speed/bench.py --help.

A list is made, a receiver that only counts runs as a process of its own, and the contenders take turns, so that each
round is a pair under one load. Peers live in an environment of their own (benchmarks/.peers) at the versions below;
`importer` in one with its own requirements alone (benchmarks/.own).
It prints medians of wall time, CPU time and peak memory with ratios, and writes benchmarks/results/speed.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from make_list import rows_from, write_list

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PEERS = HERE.parent / ".peers"
OWN = HERE.parent / ".own"
PEER_PACKAGES = ("dlt[parquet]==1.31.0", "httpx==0.28.1", "polars==2.1.0")
TOKEN = "1.2.BenchmarksOnlyToken"
RESULTS = HERE.parent / "results" / "speed.json"


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a process cost. **Units**: seconds, MiB."""

    wall_s: float
    cpu_s: float
    peak_mib: float


def cost_of(command: list[str], **more: str) -> Cost:
    """Runs a command to its end. **Errors**: RuntimeError with its last words when it fails."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    with tempfile.TemporaryFile() as said:
        began = time.monotonic()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=kept | more, cwd=tempfile.gettempdir()
        )
        _, status, used = os.wait4(process.pid, 0)
        wall_s = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise RuntimeError(f"{command}: {said.read()[-2000:].decode()}")
    return Cost(wall_s=wall_s, cpu_s=used.ru_utime + used.ru_stime, peak_mib=used.ru_maxrss / 1024)


@contextlib.contextmanager
def receiver(latency_s: float = 0.0) -> Iterator[str]:
    """A receiver on a free port; its origin."""
    command = [sys.executable, str(HERE / "receiver.py"), str(latency_s)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


@contextlib.contextmanager
def sandbox(folder: Path) -> Iterator[str]:
    """`importer sandbox` on a free port, durable in a file; its origin."""
    command = [str(own()), "-m", "importer", "sandbox", "--port", "0", "--token", TOKEN, "--db", str(folder / "s.db")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[3]
        finally:
            process.terminate()


def counted(origin: str) -> int:
    """How many rows the receiver has had."""
    with urllib.request.urlopen(f"{origin}/counted", timeout=10) as answer:
        return int(answer.read())


def peers() -> Path:
    """The peers' Python, installed when it is not."""
    return installed(PEERS, PEER_PACKAGES)


def own() -> Path:
    """A Python with what `importer` needs and nothing else: what else is about makes it start slower."""
    return installed(OWN, (f"{ROOT}[sandbox]",))


def installed(environment: Path, packages: Sequence[str]) -> Path:
    """The Python of an environment, made when it is not there."""
    python = environment / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *packages], check=True)
    return python


@dataclass(frozen=True, kw_only=True)
class Field:
    """What every contender gets: the list, the platform, how many requests at once of how many rows."""

    folder: Path
    rows: Path
    origin: str
    in_flight: int
    batch_rows: int

    @property
    def url(self) -> str:
        return f"{self.origin}/api/calls/campaign/{TOKEN}/addPhones"


def ours(field: Field, ledger: str = "ledger.db", *, fresh: bool = True, rows: Path | None = None) -> Cost:
    """`importer run`, the whole command."""
    path = field.folder / ledger
    if fresh:
        for ending in ("", "-wal", "-shm", ".lock", ".counter"):
            path.with_name(path.name + ending).unlink(missing_ok=True)
    return importer(
        "run", str(rows or field.rows), "--host", field.origin, "--ledger", str(path), "--batch-size",
        str(field.batch_rows), "--in-flight", str(field.in_flight), "--new-ledger", "--yes", "--once-per", "row",
    )  # fmt: skip


def importer(*arguments: str) -> Cost:
    """Any command of `importer`: the code of this checkout."""
    return cost_of([str(own()), "-m", "importer", *arguments], IMPORTER_TOKEN=TOKEN, PYTHONPATH=str(ROOT))


def peer(script: str, *more: str) -> Callable[[Field], Cost]:
    """A contender in the peers' environment."""

    def run(field: Field) -> Cost:
        shape = [str(field.rows), field.url, str(field.in_flight), str(field.batch_rows), *more]
        settings = {"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR"}
        return cost_of([str(peers()), str(HERE / script), *shape], LOAD__WORKERS=str(field.in_flight), **settings)

    return run


CONTENDERS: dict[str, Callable[[Field], Cost]] = {
    "importer": ours,
    "dlt 1.31, Parquet": peer("peer_dlt.py", "parquet"),
    "csv + httpx script": peer("peer_script.py"),
    "floor: polars + httpx": peer("peer_floor.py"),
}
ONLY_FULL = {"dlt 1.31, default": peer("peer_dlt.py", "default")}


def race(contenders: dict[str, Callable[[Field], Cost]], field: Field, rows: int, pairs: int) -> dict[str, list[Cost]]:
    """Rounds in which each contender runs once; each must have delivered every row."""
    found: dict[str, list[Cost]] = {name: [] for name in contenders}
    for _ in range(pairs):
        for name, run in contenders.items():
            before = counted(field.origin)
            found[name].append(run(field))
            arrived = counted(field.origin) - before
            if arrived != rows:
                raise RuntimeError(f"{name} delivered {arrived:,} of {rows:,} rows")
            last = found[name][-1]
            print(f"  {name:<24} {last.wall_s:7.2f} s  {last.cpu_s:7.2f} s CPU", file=sys.stderr)
    return found


def median(costs: list[Cost]) -> Cost:
    """The median of each."""
    return Cost(**{name: statistics.median(asdict(each)[name] for each in costs) for name in asdict(costs[0])})


def ratio(ours_: list[Cost], theirs: list[Cost], name: str) -> float:
    """How many times as much the other took: the median over pairs."""
    pairs = zip(ours_, theirs, strict=True)
    return statistics.median(asdict(b)[name] / asdict(a)[name] for a, b in pairs)


def show(title: str, rows: int, found: dict[str, list[Cost]]) -> list[dict[str, object]]:
    """Prints a race; gives it as it is kept."""
    print(
        f"\n{title}\n{'':<24} {'wall':>8} {'rows/s':>10} {'CPU':>8} {'memory':>9} {'their wall':>11} {'their CPU':>10}"
    )
    lines: list[dict[str, object]] = []
    for name, costs in found.items():
        middle = median(costs)
        wall, cpu = (ratio(found["importer"], costs, column) for column in ("wall_s", "cpu_s"))
        print(
            f"{name:<24} {middle.wall_s:6.2f} s {rows / middle.wall_s:10,.0f} {middle.cpu_s:6.2f} s "
            f"{middle.peak_mib:5.0f} MiB {wall:9.2f} x {cpu:8.2f} x"
        )
        lines.append(
            {"race": title, "name": name, "rows": rows, **asdict(middle), "wall_ratio": wall, "cpu_ratio": cpu}
        )
    return lines


def again(field: Field, rows: int) -> list[dict[str, object]]:
    """What comes after a list was sent: again, again with one row changed, explained, counted, checked."""
    changed = field.folder / "changed.csv"
    changed.write_bytes(field.rows.read_bytes().replace(b"Person 7,", b"Person X,", 1))
    ledger = field.folder / "ledger.db"
    phone = str(rows_from(rows // 2, 1)["phone"][0])
    measured = {
        "the same list again": ours(field, fresh=False),
        "again, one row changed": ours(field, fresh=False, rows=changed),
        "explain a number": importer("explain", f"+{phone}", "--ledger", str(ledger)),
        "status": importer("status", "--ledger", str(ledger)),
        "check, no ledger": importer("check", str(field.rows)),
    }
    size = ledger.stat().st_size
    print(f"\nAfterwards, {rows:,} rows (ledger: {size / rows:.1f} bytes a row, with two lists of duplicates in it)")
    for name, cost in measured.items():
        speed = f"{rows / cost.wall_s:10,.0f} rows/s" if "explain" not in name and name != "status" else ""
        print(f"{name:<24} {cost.wall_s:6.2f} s {cost.cpu_s:6.2f} s CPU {cost.peak_mib:5.0f} MiB {speed}")
    return [{"race": "afterwards", "name": name, "rows": rows, **asdict(cost)} for name, cost in measured.items()]


def rehearsal(folder: Path, rows: int) -> list[dict[str, object]]:
    """How fast the sandbox takes rows, from a client that costs little: the floor."""
    few = min(rows, 500_000)
    write_list(few, folder / "rehearsal.csv")
    with sandbox(folder) as origin:
        field = Field(folder=folder, rows=folder / "rehearsal.csv", origin=origin, in_flight=8, batch_rows=1000)
        cost = CONTENDERS["floor: polars + httpx"](field)
    print(f"\nThe sandbox, every request durable: {few / cost.wall_s:,.0f} rows/s")
    return [{"race": "the sandbox, durable", "name": "the sandbox", "rows": few, **asdict(cost)}]


def machine() -> dict[str, object]:
    """Where this was measured."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
        "peers": PEER_PACKAGES,
    }


def main() -> None:
    """Races, tables, and the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--full", action="store_true", help="10 M rows and dlt's default form besides")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="importer-bench-"))
    about = machine()
    print(f"{about['system']}, {about['cores']} cores, load {about['load']:.1f}, Python {about['python']}")
    lines: list[dict[str, object]] = []
    try:
        rows = 10_000_000 if options.full else options.rows
        write_list(rows, folder / "list.csv")
        with receiver() as origin:
            field = Field(folder=folder, rows=folder / "list.csv", origin=origin, in_flight=8, batch_rows=1000)
            lines += show(f"{rows:,} rows in thousands", rows, race(CONTENDERS, field, rows, options.pairs))
            lines += again(field, rows)
            if options.full:
                lines += show("with dlt's default", rows, race({"importer": ours, **ONLY_FULL}, field, rows, 1))
        few = min(rows, 200_000)
        write_list(few, folder / "few.csv")
        with receiver(0.02) as origin:
            field = Field(folder=folder, rows=folder / "few.csv", origin=origin, in_flight=8, batch_rows=100)
            slow = {name: run for name, run in CONTENDERS.items() if "floor" not in name}
            title = f"{few:,} rows in hundreds, 20 ms latency, 8 in flight"
            lines += show(title, few, race(slow, field, few, options.pairs))
        lines += rehearsal(folder, rows)
    finally:
        shutil.rmtree(folder)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({**about, "results": lines}, indent=1) + "\n")


if __name__ == "__main__":
    main()
