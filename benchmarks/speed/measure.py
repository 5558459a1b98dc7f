"""What a command costs, and the platforms it is run against: processes of their own on free ports.

Peers live in environments of their own (benchmarks/.peers) at the versions in contenders.py; `importer` in one with its
own requirements alone (benchmarks/.own), because what else is about makes a Python start slower.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
OWN = HERE.parent / ".own"
TOKEN = "1.2.BenchmarksOnlyToken"


class Missing(Exception):
    """What a contender needs is not on this machine and could not be installed."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a process cost. **Units**: seconds, MiB; `began_s` by the monotonic clock, which all processes share."""

    wall_s: float
    cpu_s: float
    peak_mib: float
    began_s: float = 0.0

    def figures(self, rows: int = 0) -> dict[str, float]:
        """What is kept of it; the speed where so many rows were all it was about."""
        kept = {name: round(value, 3) for name, value in asdict(self).items() if name != "began_s"}
        return kept | ({"rows_s": round(rows / self.wall_s)} if rows else {})


@dataclass(frozen=True, kw_only=True)
class Field:
    """What every contender gets: the list, the platform, how many requests at once of how many rows."""

    folder: Path
    rows: Path
    origin: str
    in_flight: int = 8
    batch_rows: int = 1000

    @property
    def url(self) -> str:
        return f"{self.origin}/api/calls/campaign/{TOKEN}/addPhones"

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger.db"


# --- commands ---------------------------------------------------------------------------------------------------------


def environment(**more: str) -> dict[str, str]:
    """What a measured process may know of this one's environment."""
    kept = ("PATH", "HOME", "LANG", "TMPDIR", "SYSTEMROOT")
    return {name: os.environ[name] for name in kept if name in os.environ} | more


def cost_of(command: Sequence[str], **more: str) -> Cost:
    """Runs a command to its end. **Errors**: RuntimeError with its last words when it fails."""
    with tempfile.TemporaryDirectory() as name, tempfile.TemporaryFile() as said:
        kept = Path(name) / "cost.json"
        launcher = [sys.executable, "-I", "-S", str(HERE / "launch.py"), str(kept), *command]
        subprocess.run(
            launcher, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=environment(**more), cwd=name, check=True
        )
        found = json.loads(kept.read_text())
        if found.pop("code"):
            said.seek(0)
            raise RuntimeError(f"{command}: {said.read()[-2000:].decode(errors='replace')}")
    return Cost(**found)


def installed(folder: Path, packages: Sequence[str]) -> Path:
    """The Python of an environment, made when it is not there. **Errors**: Missing."""
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        print(f"  installing {', '.join(packages)}", file=sys.stderr)
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(folder)],
            [str(python), "-m", "pip", "install", "--quiet", *packages],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                print(done.stderr, file=sys.stderr)
                raise Missing(f"{', '.join(packages)} could not be installed")
        (folder / "ready").touch()
    return python


def command_of(*arguments: str) -> list[str]:
    """Any command of `importer`: the code of this checkout."""
    return [str(installed(OWN, (f"{ROOT}[sandbox]",))), "-m", "importer", *arguments]


def settings() -> dict[str, str]:
    """The variables it runs with."""
    return {"IMPORTER_TOKEN": TOKEN, "PYTHONPATH": str(ROOT)}


def importer(*arguments: str) -> Cost:
    """Any command of `importer`, measured."""
    return cost_of(command_of(*arguments), **settings())


def run_of(field: Field, rows: Path | None = None) -> list[str]:
    """The command `importer run` for a field."""
    return command_of(
        "run", str(rows or field.rows), "--host", field.origin, "--ledger", str(field.ledger), "--batch-size",
        str(field.batch_rows), "--in-flight", str(field.in_flight), "--new-ledger", "--yes", "--once-per", "row",
    )  # fmt: skip


def run(field: Field, rows: Path | None = None) -> Cost:
    """`importer run`, the whole command, into the ledger as it is."""
    return cost_of(run_of(field, rows), **settings())


def run_afresh(field: Field) -> Cost:
    """The same with a new ledger."""
    forget_ledger(field)
    return run(field)


def forget_ledger(field: Field) -> None:
    """Removes the ledger with its companions."""
    for path in field.folder.glob(f"{field.ledger.name}*"):
        path.unlink()


def ledger_bytes(field: Field) -> int:
    """What the ledger takes on disk."""
    return sum(path.stat().st_size for path in field.folder.glob(f"{field.ledger.name}*"))


# --- platforms --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def receiver(latency_s: float = 0.0, slots: int = 0) -> Iterator[str]:
    """A receiver on a free port; its origin."""
    command = [sys.executable, str(HERE / "receiver.py"), str(latency_s), str(slots)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


@contextlib.contextmanager
def sandbox(folder: Path) -> Iterator[str]:
    """`importer sandbox` on a free port, durable in a file; its origin."""
    command = command_of("sandbox", "--port", "0", "--token", TOKEN, "--db", str(folder / "s.db"))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment(**settings())) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[3]
        finally:
            process.terminate()


@contextlib.contextmanager
def running(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """`importer` in the background; killed at the end if it is still there."""
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, env=environment(**settings())) as process:
        try:
            yield process
        finally:
            process.kill()


def ask(origin: str, what: str) -> float:
    """A number from the receiver: see receiver.py."""
    with urllib.request.urlopen(f"{origin}/{what}", timeout=10) as answer:
        return float(answer.read())


def told(origin: str) -> dict[str, list[float]]:
    """When the receiver took a request, and when it refused one."""
    with urllib.request.urlopen(f"{origin}/told", timeout=10) as answer:
        found: dict[str, list[float]] = json.load(answer)
    return found


def wait_for(is_so: Callable[[], bool], longest_s: float, process: subprocess.Popen[bytes]) -> None:
    """Asks again and again. **Errors**: RuntimeError when it does not come true, or the process ended before."""
    until_s = time.monotonic() + longest_s
    while not is_so():
        if process.poll() is not None:
            raise RuntimeError(f"the run ended early with {process.returncode}")
        if time.monotonic() > until_s:
            raise RuntimeError(f"not after {longest_s:.0f} s")
        time.sleep(0.02)


# --- several of them --------------------------------------------------------------------------------------------------


def median(costs: Sequence[Cost]) -> Cost:
    """The median of each figure."""
    return Cost(**{name: statistics.median(asdict(each)[name] for each in costs) for name in asdict(costs[0])})


def ratio(ours: Sequence[Cost], theirs: Sequence[Cost], name: str) -> float:
    """How many times as much the other took: the median over the rounds that both ran in."""
    return statistics.median(asdict(b)[name] / asdict(a)[name] for a, b in zip(ours, theirs, strict=False))
