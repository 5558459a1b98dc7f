"""The demonstration: real processes, a real socket, a real kill, and the sandbox's own records as the judge.

Floor: demo, under the command line. It starts a sandbox that loses answers on purpose, sends the sample list, kills the
sender with SIGKILL half way, runs the same command again, and then asks the sandbox - which shares no code with the
sender - whether any row was lost or doubled. Nothing of it leaves this machine.
"""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from importer.errors import ImporterError, UsageProblem

TOKEN = "1.2.demoDEMO"  # noqa: S105 - the sandbox's own, good for nothing else
FAULTS = ("lose-answer:every=5", "delay:s=0.25")
CSV, PARQUET = "customers.csv", "more-customers.parquet"
LONGEST_START_S = 30.0
LONGEST_RUN_S = 120.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What the sandbox's records say. **Units**: rows and jobs."""

    accepted_rows: int
    jobs: int
    doubled: int
    lost: int

    @property
    def is_proved(self) -> bool:
        """True when every accepted row has exactly one call job, and there is no other."""
        return self.accepted_rows == self.jobs and not self.doubled and not self.lost


class Demo:
    """One demonstration in a folder of its own; `tell` is how it speaks."""

    def __init__(self, folder: Path, tell: Callable[[str], None]) -> None:
        self._folder = folder
        self._tell = tell
        self._ledger = folder / "ledger.db"
        self._sandbox_db = folder / "sandbox.db"
        self._origin = ""

    def run(self) -> Verdict:
        """Runs it whole. **Errors**: ImporterError when a step did not go as it must."""
        samples = sample_folder()
        self._tell(f"Everything happens in {self._folder} and on this machine's loopback. Nobody is called.\n")
        sandbox = self._start_sandbox()
        try:
            self._send_and_kill(samples / CSV)
            self._send_again(samples / CSV)
            self._send_more(samples / PARQUET)
        finally:
            sandbox.terminate()
            sandbox.wait(LONGEST_START_S)
        return self._judge()

    def _start_sandbox(self) -> subprocess.Popen[str]:
        command = ["sandbox", "--port", "0", "--db", str(self._sandbox_db), "--token", TOKEN, "--seed", "1"]
        process = self._start([*command, *(word for fault in FAULTS for word in ("--fault", fault))], is_piped=True)
        line = process.stdout.readline() if process.stdout else ""
        found = re.search(r"http://\S+", line)
        if not found:
            raise ImporterError(
                "The sandbox did not start.", hint='Install it: pip install "phone-list-importer[sandbox]"'
            )
        self._origin = found[0]
        self._tell(f"1. A sandbox plays the platform at {self._origin}. It acts, and loses every fifth answer.\n")
        return process

    def _send_and_kill(self, sample: Path) -> None:
        self._tell(f"2. importer run {sample.name} - and in the middle of it: kill -9\n")
        process = self._start(["run", str(sample), "--rejects", str(self._rejects)])
        half = self._half_of(sample)
        deadline_s = time.monotonic() + LONGEST_RUN_S
        while process.poll() is None and self._jobs() < half and time.monotonic() < deadline_s:
            time.sleep(0.02)
        process.kill()
        process.wait()
        self._tell(f"\n   Killed. The platform has {self._jobs():,} call jobs by now. What the ledger knows:\n")
        self._call(["status", "1"], fine=(0,))

    def _send_again(self, sample: Path) -> None:
        self._tell(f"\n3. The same command again: importer run {sample.name}\n")
        self._call(["run", str(sample), "--rejects", str(self._rejects)], fine=(0, 3))

    def _send_more(self, sample: Path) -> None:
        self._tell(f"\n4. A second list, Parquet this time: importer run {sample.name}\n")
        self._call(["run", str(sample)], fine=(0,))

    @property
    def _rejects(self) -> Path:
        return self._folder / "customers.rejects.csv"

    def _half_of(self, sample: Path) -> int:
        with sample.open("rb") as file:
            return sum(1 for _ in file) // 2

    def _jobs(self) -> int:
        from importer.sandbox import records

        return records.count_jobs(self._sandbox_db)

    def _call(self, arguments: list[str], *, fine: tuple[int, ...]) -> None:
        code = self._start(arguments).wait(LONGEST_RUN_S)
        if code not in fine:
            raise ImporterError(f"`importer {arguments[0]}` ended with exit code {code}.")

    def _start(self, arguments: list[str], *, is_piped: bool = False) -> subprocess.Popen[str]:
        environment = {
            **os.environ,
            "IMPORTER_HOST": self._origin,
            "IMPORTER_TOKEN": TOKEN,
            "IMPORTER_LEDGER": str(self._ledger),
        }
        return subprocess.Popen(  # noqa: S603 - our own command, arguments made here
            [sys.executable, "-m", "importer", *arguments],
            env=environment,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if is_piped else None,
            text=True,
        )

    def _judge(self) -> Verdict:
        """Holds the ledger's call job ids against the sandbox's own file."""
        from importer.sandbox import records

        with closing(sqlite3.connect(f"{self._ledger.as_uri()}?mode=ro", uri=True)) as ledger:
            claimed = {job_id: phone for phone, job_id in ledger.execute("SELECT phone, call_job_id FROM call_jobs")}
        made = {job.id: f"+{job.phone}" for job in records.jobs(self._sandbox_db)}
        return Verdict(
            accepted_rows=len(claimed),
            jobs=len(made),
            doubled=len(records.duplicates(self._sandbox_db)),
            lost=sum(made.get(job_id) != phone for job_id, phone in claimed.items()),
        )


def sample_folder() -> Path:
    """The sample lists: the wheel's own copy or, in a checkout, the top-level folder."""
    package = Path(__file__).resolve().parent
    for place in (package / "_sample_data", package.parent / "sample_data"):
        if (place / CSV).is_file():
            return place
    raise UsageProblem("This installation lacks its sample data.", hint="Install phone-list-importer again.")
