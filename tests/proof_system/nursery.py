"""Runs of `importer` without its start: one process imports everything once, and forks for each run.

The start is nine tenths of the system calls of a small run and none of those that matter, and strace must stop at each.
A run that is to be traced waits until strace holds it. It is the real command line in a real process, killed for real;
what it lacks is only the end of the interpreter.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from importer.selftest.site import Ended, Site, environment

READY = (
    "polars",
    "httpx",
    "sqlite_utils",
    "importer.cli.run",
    "importer.cli.engine",
    "importer.cli.words",
    "importer.run",
)
LONGEST_S = 120.0
IDLE_THREADS = {"jemalloc_bg_thd", "polars-ooc-clea"}  # start with the import of polars, and wait there


class Nursery:
    """The parent of many runs; one run at a time, so each thread of a test has one of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(PYTHONUNBUFFERED="1"),
            start_new_session=True,
        )

    def __enter__(self) -> Nursery:
        assert self._heard() == "ready"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=LONGEST_S)

    def run(self, site: Site, *more: str, strace: Sequence[str] = ()) -> Ended:
        """`importer run` at a site; with `strace`, under it and with these options."""
        words = {
            "arguments": [*site.command[3:], *more],
            "folder": str(site.folder),
            "variables": {
                "IMPORTER_HOST": site.platform.origin,
                "IMPORTER_TOKEN": site.token,
                "IMPORTER_LEDGER": str(site.ledger),
            },
        }
        self._say(json.dumps(words))
        pid = int(self._heard())
        tracer = self._traced(pid, strace) if strace else None
        self._say("go")
        code = int(self._heard())
        if tracer is not None:
            tracer.communicate(timeout=LONGEST_S)
        out, err = ((self._folder / name).read_text(encoding="utf-8") for name in ("out", "err"))
        said = json.loads(out) if out.startswith("{") else {}
        return Ended(code=code, said=said, err=err)

    def _traced(self, pid: int, options: Sequence[str]) -> subprocess.Popen[str]:
        tracer = subprocess.Popen(["strace", "-f", "-p", str(pid), *options], stderr=subprocess.PIPE, text=True)
        assert tracer.stderr is not None
        line = tracer.stderr.readline()
        assert "attached" in line, line
        return tracer

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _heard(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def raise_children(folder: Path) -> None:
    """The process: forks for each line it is told."""
    for name in READY:
        importlib.import_module(name)
    assert _threads() <= IDLE_THREADS, "a process whose threads are at work must not fork"
    sys.stdout.write("ready\n")
    for line in sys.stdin:
        start, go = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(go)
            _live(json.loads(line), folder, start)
        os.close(start)
        sys.stdout.write(f"{pid}\n")
        sys.stdin.readline()
        os.write(go, b"!")
        os.close(go)
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")


def _threads() -> set[str]:
    return {path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")} - {
        Path("/proc/self/comm").read_text().strip()
    }


def _live(words: Mapping[str, Any], folder: Path, start: int) -> None:
    """A child, from its birth to its exit."""
    from importer.cli import main

    for number, name in ((1, "out"), (2, "err")):
        file = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(file, number)
        os.close(file)
    os.chdir(words["folder"])
    os.environ.update(words["variables"])
    code = 70
    try:
        os.read(start, 1)
        main(list(words["arguments"]))
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    raise_children(Path(sys.argv[1]))
