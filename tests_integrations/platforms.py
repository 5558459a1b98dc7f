"""What the tests of all schedulers share: a pretend platform as a process, lists, and the judgement from its records.

Run with the product installed from its wheel beside the scheduler: `make test-integrations`.
"""

from __future__ import annotations

import contextlib
import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from importer.sandbox import records

ROOT = Path(__file__).resolve().parent.parent
TOKEN = "8231.7056.CaNaRyb131df1"
LIMIT_S = 120.0


def number(place: int) -> str:
    """An invented number: 555-0100 to 555-0199 of an American area."""
    return f"+1{201 + place // 100}55501{place % 100:02}"


def write_list(path: Path, count: int, bad: int = 0) -> Path:
    """A list of so many good rows, and so many bad ones."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["phone", "name"])
        writer.writerows([number(place), f"Person {place}"] for place in range(count))
        writer.writerows(["n/a", f"Nobody {place}"] for place in range(bad))
    return path


@dataclass(frozen=True, kw_only=True)
class Platform:
    """`importer sandbox` as a process; its file is the judge."""

    db: Path
    origin: str

    @property
    def port(self) -> int:
        return int(self.origin.rsplit(":", 1)[1])

    def jobs(self) -> int:
        return records.count_jobs(self.db)

    def has_each_once(self, count: int) -> None:
        """Every row of the list has just one call job, and nothing else has any."""
        assert records.duplicates(self.db) == []
        assert records.keys_with_two_bodies(self.db) == []
        assert sorted(f"+{job.phone}" for job in records.jobs(self.db)) == sorted(number(i) for i in range(count))


@contextlib.contextmanager
def platform(folder: Path, *faults: str) -> Iterator[Platform]:
    """A platform whose calls take next to no time."""
    db = folder / "platform.db"
    chosen = [word for fault in faults for word in ("--fault", fault)]
    words = ["sandbox", "--port", "0", "--db", str(db), "--token", TOKEN, "--speed", "3600", "--lines", "500", *chosen]
    process = subprocess.Popen([sys.executable, "-P", "-m", "importer", *words], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield Platform(db=db, origin=process.stdout.readline().split()[3])
    finally:
        process.terminate()
        process.communicate(timeout=LIMIT_S)


def until(is_so: Callable[[], object], limit_s: float = LIMIT_S, look_s: float = 0.1) -> None:
    """Waits for something another process brings about."""
    deadline_s = time.monotonic() + limit_s
    while not is_so():
        assert time.monotonic() < deadline_s, "waited too long"
        time.sleep(look_s)


@contextlib.contextmanager
def daemon(words: list[str], log: Path, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server of a scheduler with all it starts, ended afterwards; it may take some seconds to end by itself."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env={**os.environ, **more}, start_new_session=True
        )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=20)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=20)


def importer_process(ledger: Path) -> int | None:
    """The process that runs the ledger's import now."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and f"--ledger={ledger}" in command_line(int(folder.name)):
            return int(folder.name)
    return None


def command_line(pid: int) -> str:
    """The arguments of a process, as anybody sees them; empty where it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        return ""


def parent_of(pid: int) -> int:
    """The process that started it."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("PPid:")))


def is_gone(pid: int) -> bool:
    """True when there is no such process, or only its exit status is left."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return True


def files_with(folder: Path, secret: str) -> list[str]:
    """The files below a folder in which a secret stands."""
    files = [each for each in folder.rglob("*") if each.is_file()]
    return [str(each) for each in files if secret.encode() in each.read_bytes()]
