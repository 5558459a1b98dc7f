"""A real cluster for tests: a scheduler and workers, each a process of its own, whose logs are kept."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from workbench import environment

STARTING_S = 60.0


def awaited(what: Callable[[], Any], within_s: float = STARTING_S) -> Any:
    """What a question gives, once it gives something."""
    until_s = time.monotonic() + within_s
    while time.monotonic() < until_s:
        if found := what():
            return found
        time.sleep(0.05)
    raise AssertionError(f"nothing came of {what} within {within_s} s")


@dataclass(kw_only=True)
class Farm:
    """A scheduler with its workers. `prefix`: words before a worker's command, such as a network namespace's.

    `logs_all`: everything that Dask can say goes into the logs.
    """

    folder: Path
    prefix: tuple[str, ...] = ()
    logs_all: bool = False
    host: str = "127.0.0.1"
    worker_host: str = "127.0.0.1"
    scheduler: subprocess.Popen[bytes] | None = None
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    address: str = ""
    pages: str = ""
    started: int = 0

    def start(self, workers: int) -> None:
        """A scheduler, and so many workers that it knows of."""
        file = self.folder / f"scheduler-{self.started}.json"
        self.scheduler = self._process(
            "scheduler", "--host", self.host, "--port", "0", "--dashboard-address", f"{self.host}:0",
            "--scheduler-file", str(file),
        )  # fmt: skip
        said = awaited(lambda: file.exists() and file.stat().st_size and json.loads(file.read_text()))
        self.address, port = said["address"], said["services"]["dashboard"]
        self.pages = f"http://{self.host}:{port}"
        for _ in range(workers):
            self.add_worker()
        awaited(lambda: self._known_workers() >= workers)

    def _known_workers(self) -> int:
        try:
            return int(httpx.get(f"{self.pages}/json/counts.json", trust_env=False, timeout=5).json()["workers"])
        except httpx.HTTPError:
            return 0

    def add_worker(self) -> subprocess.Popen[bytes]:
        """One worker more, with a task at a time."""
        made = self._process(
            "worker", self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", self.worker_host,
            "--local-directory", str(self.folder), "--death-timeout", "60",
        )  # fmt: skip
        self.workers.append(made)
        return made

    def _process(self, kind: str, *words: str) -> subprocess.Popen[bytes]:
        self.started += 1
        more = {"DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "6s"}
        more |= {"DASK_LOGGING__DISTRIBUTED": "debug"} if self.logs_all else {}
        more |= {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "5s", "HOME": str(self.folder)}
        prefix = self.prefix if kind == "worker" else ()
        with (self.folder / f"{kind}-{self.started}.log").open("wb") as log:
            return subprocess.Popen(
                [
                    *prefix,
                    sys.executable,
                    "-m",
                    f"distributed.cli.dask_{kind}",
                    *words,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(**more),
                cwd=self.folder,
            )

    def kill(self, process: subprocess.Popen[bytes], number: int = signal.SIGKILL) -> None:
        """Sends a signal; after SIGKILL nothing of the process is left."""
        process.send_signal(number)
        if number == signal.SIGKILL:
            process.wait()
            self.workers = [each for each in self.workers if each is not process]

    def logs(self) -> str:
        """Everything that scheduler and workers wrote."""
        return "".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("*.log")))

    def shown(self) -> str:
        """What the scheduler's pages show."""
        paths = ("json/counts.json", "json/identity.json", "info/main/workers.html", "info/logs.html", "metrics")
        found = [httpx.get(f"{self.pages}/{path}", trust_env=False, timeout=10) for path in paths]
        return "".join(each.text for each in found)

    def stop(self) -> None:
        """Ends everything."""
        for process in [*self.workers, *([self.scheduler] if self.scheduler else [])]:
            process.kill()
            process.wait()
        self.workers, self.scheduler = [], None


@contextmanager
def farm(folder: Path, **more: Any) -> Iterator[Farm]:
    """A farm that is gone afterwards."""
    folder.mkdir(mode=0o700, exist_ok=True)
    made = Farm(folder=folder, **more)
    try:
        yield made
    finally:
        made.stop()
