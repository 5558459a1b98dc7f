"""A real process whose n-th write or sync is made to fail by strace: the kernel's own answers, at every layer below.

IMPORTER_TORTURE=1 walks through every call; a plain run takes a sample. Without strace (macOS, Windows, a container
that forbids tracing) there is nothing to inject with; where CI is set, that is a failure.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from workbench import Bench, Platform, Shop, environment, number, people, write_list

from importer.ledger.upkeep import check_ledger
from importer.sandbox import records

ROWS = 20
BATCHES_LEFT = 3
_CALLS = "pwrite64,fdatasync,fsync"
_INJECTED = "(INJECTED)"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """The n-th call of this name gives this error."""

    call: str
    error: str
    at: int


SAMPLE = [
    *(Fault(call="fdatasync", error="EIO", at=at) for at in (2, 5, 9)),
    *(Fault(call="fsync", error="EIO", at=at) for at in (1, 5)),
    *(Fault(call="pwrite64", error="ENOSPC", at=at) for at in (20, 70, 95)),
    *(Fault(call="pwrite64", error="EIO", at=at) for at in (55, 85)),
]
EVERYTHING = [
    Fault(call=call, error=error, at=at)
    for call, error, last in (
        ("fdatasync", "EIO", 16), ("fsync", "EIO", 12), ("pwrite64", "ENOSPC", 130), ("pwrite64", "EIO", 130),
        ("pwrite64", "EDQUOT", 130),
    )
    for at in range(1, last)
]  # fmt: skip
FAULTS = EVERYTHING if os.environ.get("IMPORTER_TORTURE") else SAMPLE


def can_trace() -> bool:
    strace = shutil.which("strace")
    if strace is None:
        return False
    done = subprocess.run([strace, "-f", "-o", os.devnull, "true"], capture_output=True, timeout=30, check=False)
    return done.returncode == 0


@pytest.fixture(scope="module")
def tracer() -> str:
    """strace, where it works."""
    if not can_trace():
        if os.environ.get("CI"):
            pytest.fail("CI must be able to run strace: see .ci/run")
        pytest.skip("strace is not there or may not trace: apt-get install strace")
    return str(shutil.which("strace"))


@pytest.fixture
def half_sent(bench: Bench) -> Path:
    """A folder with a ledger that has eight of its twenty rows sent."""
    bench.run(write_list(bench.folder / "a.csv", people(ROWS)), first_rows=8)
    return bench.folder


def copied(half_sent: Path, place: int) -> Path:
    folder = half_sent / f"fault-{place}"
    folder.mkdir()
    for name in ("ledger.db", "ledger.db.counter"):
        shutil.copyfile(half_sent / name, folder / name)
    return folder


def sent_under(tracer: str, folder: Path, shop: Shop, fault: Fault | None) -> tuple[int, str, str]:
    """`importer send` with the fault: its exit code, what it said, and the trace."""
    injected = ["-e", f"inject={fault.call}:error={fault.error}:when={fault.at}"] if fault else []
    trace = folder / "trace"
    done = subprocess.run(
        [
            tracer, "-f", "-y", "-o", str(trace), "-e", f"trace={_CALLS},sendto", *injected,
            sys.executable, "-m", "importer", "send", "--host", shop.origin, "--token-file", str(shop.token_file),
            "--ledger", str(folder / "ledger.db"), "--in-flight", "1",
        ],
        env=environment(), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return done.returncode, done.stderr, trace.read_text(errors="replace")


def test_a_failing_write_or_sync_stops_before_sending_and_the_next_run_goes_on(
    tracer: str, half_sent: Path, shop: Shop, platform: Platform
) -> None:
    """After the kernel's error no request begins, the exit code is 5 unless all was sent, and nothing is lost."""
    assert shop.token_file.exists()
    folders = [copied(half_sent, place) for place in range(len(FAULTS))]

    with ThreadPoolExecutor(2) as pool:
        wrong = list(
            pool.map(lambda place: wrong_with(tracer, folders[place], shop, FAULTS[place]), range(len(FAULTS)))
        )
    assert [each for each in wrong if each] == []
    for folder in folders:
        _finish(folder, shop.origin)
    assert records.duplicates(platform.db) == [], (
        "two copies may send one key at once, and still nobody is called twice"
    )
    assert sorted(platform.phones()) == sorted(number(i) for i in range(ROWS))


def wrong_with(tracer: str, folder: Path, shop: Shop, fault: Fault) -> str:
    """What a run with this fault did that it must not; "" when it behaved."""
    code, said, trace = sent_under(tracer, folder, shop, fault)
    before, struck, after = trace.partition(_INJECTED)
    problems = ["a traceback"] if "Traceback" in said or "bug" in said else []
    if code == 0 and not struck:
        return ""
    if fault.call == "fdatasync" and f"<{folder}>" in before.rpartition("\n")[2]:
        # SQLite syncs the folder and lets an error of it pass; we synced it before, and that error does not.
        return "" if f"<{folder}>) " in before and code == 0 else f"{fault}: {code}: {said}"
    posts = re.findall(r'sendto\([^,]*, "POST', after)
    problems += [f"{len(posts)} requests after the fault"] if posts else []
    problems += [f"exit code {code}"] if code not in {0, 5} else []
    problems += ["well in spite of the fault"] if code == 0 and before.count('"POST') < BATCHES_LEFT else []
    return f"{fault}: {problems}: {said}" if problems else ""


def _finish(folder: Path, origin: str) -> None:
    bench = Bench(folder=folder, origin=origin)
    assert bench.send(1).balance.accepted == ROWS
    assert check_ledger(bench.ledger_path).findings == ()
