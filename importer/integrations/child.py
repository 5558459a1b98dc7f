"""The importer as the child process of a scheduler's task: what it is told, how it is ended, what its end means.

Floor: integrations. Only the standard library is imported, so this also loads where the importer itself is installed
in another environment (`command=`). A newcomer may ask why not `run_import` in the task's own process: a signal to that
process belongs to its scheduler, a crash in a native library would take the scheduler's word for what happened with it,
and memory that a large list took would stay with the worker. The token goes down a pipe, and nowhere else.
"""

from __future__ import annotations

import contextlib
import enum
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import IO, Any

DRAIN_S = 20.0
LONGEST_JSON_BYTES = 4_000_000
_LOOK_S = 0.1
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_TAKEN = frozenset(
    {
        "host",
        "ledger",
        "token",
        "token_file",
        "run_id",
        "stop_with",
        "json",
        "log_format",
        "heartbeat",
        "yes",
        "rehearse",
    }
)
_SECRET = frozenset({"proxy", "db", "storage_option", "on_finish"})
_REPEATED = frozenset({"suppress"})
_BALANCE = (
    "read", "accepted", "rejected", "duplicate", "suppressed", "withdrawn", "refused", "in_doubt", "pending",
)  # fmt: skip
_TOLD = (
    "import", *_BALANCE, "exit_code", "ending", "error", "list", "round", "resumed", "ledger", "rejects_file",
    "rejects_by_reason", "elapsed_s",
)  # fmt: skip


class Verdict(enum.StrEnum):
    """What a scheduler does about the end of a run."""

    SUCCEED = "succeed"
    WARN = "succeed, with a warning"
    RETRY = "retry"
    RETRY_ONCE = "retry once"
    FAIL = "fail at once"


# Every exit code, as docs/PIPELINES.md shows it. 141: whoever read the output went away, and that is the task.
VERDICTS: Mapping[int, Verdict] = {
    0: Verdict.SUCCEED,
    1: Verdict.RETRY_ONCE,
    2: Verdict.FAIL,
    3: Verdict.WARN,
    4: Verdict.FAIL,
    5: Verdict.FAIL,
    6: Verdict.FAIL,
    7: Verdict.RETRY,
    8: Verdict.FAIL,
    9: Verdict.RETRY,
    130: Verdict.RETRY,
    141: Verdict.RETRY,
    143: Verdict.RETRY,
}


def verdict_of(exit_code: int) -> Verdict:
    """What to do about an exit code. A killed process (-9, or 137 from a shell) is retried; an unknown code fails."""
    is_killed = exit_code < 0 or 128 < exit_code < 128 + 65
    return VERDICTS.get(exit_code, Verdict.RETRY if is_killed else Verdict.FAIL)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """How a process of the importer ended; `said` is the JSON of its standard output, empty where it was killed."""

    exit_code: int
    said: Mapping[str, Any]

    @property
    def verdict(self) -> Verdict:
        """What to do about it."""
        return verdict_of(self.exit_code)

    @property
    def is_nobody_called(self) -> bool:
        """True when all is well and the platform was given no row: there is nothing that could come of it."""
        return self.exit_code == 0 and self.said.get("accepted") == 0

    def summary(self) -> dict[str, Any]:
        """What may be kept and shown anywhere: counts, names and paths, no number, no cell of a list, no token."""
        return {**{name: self.said.get(name) for name in _TOLD}, "exit_code": self.exit_code}

    def sentence(self) -> str:
        """The end in a line."""
        counted = [f"{self.said[name]:,} {name.replace('_', ' ')}" for name in _BALANCE if self.said.get(name)]
        error = self.said.get("error") or ("" if self.said else "it was ended before it could say why")
        number = f"import {self.said['import']}" if self.said.get("import") else "no import"
        parts = [
            f"importer: exit code {self.exit_code} ({self.verdict})",
            number,
            *counted,
            *([error] if error else []),
        ]
        return " · ".join(parts)


def run_arguments(
    lists: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    host: str,
    ledger: str | os.PathLike[str],
    run_id: str,
    settings: Mapping[str, Any],
) -> list[str]:
    """What follows `importer` to run a list. `settings` are those of importer.toml, by the same names; None is unsaid.

    **Errors**: ValueError for a setting that has a place of its own, or that may hold a secret: a list of processes
    shows it, and so does a rendered template.
    """
    sources = [lists] if isinstance(lists, (str, os.PathLike)) else list(lists)
    said = [each for name, value in settings.items() for each in _as_typed(name, value)]
    where = [f"--host={host}", f"--ledger={os.fspath(ledger)}", "--token-file=-", f"--run-id={run_id}"]
    return ["run", *where, *said, "--json", "--log-format=json", "--", *(os.fspath(each) for each in sources)]


def outcome_arguments(
    import_id: str | int, *, host: str, ledger: str | os.PathLike[str], more: Sequence[str] = ()
) -> list[str]:
    """What follows `importer` to ask what became of the calls of an import."""
    where = [f"--host={host}", f"--ledger={os.fspath(ledger)}", "--token-file=-"]
    return ["outcomes", *where, *more, "--json", "--", str(import_id)]


def _as_typed(name: str, value: Any) -> list[str]:
    """A setting as options."""
    judge_setting(name)
    word = f"--{name.replace('_', '-')}"
    if value is None or (value is False and name != "header"):
        return []
    if isinstance(value, bool):
        return [word if value else "--no-header"]
    if isinstance(value, (list, tuple)):
        return [f"{word}={each}" for each in value] if name in _REPEATED else [f"{word}={','.join(map(str, value))}"]
    return [f"{word}={value.isoformat() if hasattr(value, 'isoformat') else value}"]


def judge_setting(name: str) -> None:
    """Refuses a setting that must not stand here. **Errors**: ValueError."""
    if name in _TAKEN:
        raise ValueError(
            f"{name!r} is no setting here: it is said by the operator itself, or has an argument of its own."
        )
    if name in _SECRET:
        raise ValueError(f"{name!r} may hold a secret: put it into importer.toml or its variable, on the worker.")


class ImporterProcess:
    """A process of the importer. Use it in a `with`: whatever ends the block while it runs asks it to drain.

    `command` starts the importer, this environment's own unless said; `tell` gets a level (as `logging` has them) and a
    line of what the process says, in the thread that waits. **Crash**: if the process that made this one is killed, the
    child looks for it in vain and drains (`--stop-with`); what is left over is what the next run goes on with.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        token: str,
        tell: Callable[[int, str], None],
        command: Sequence[str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        drain_s: float = DRAIN_S,
    ) -> None:
        self._tell = tell
        self._drain_s = drain_s
        self._kill_at_s: float | None = None
        self._lines: SimpleQueue[bytes] = SimpleQueue()
        self._out = bytearray()
        verb, *rest = arguments
        starter = ["--stop-with", str(os.getpid())] if verb == "run" and os.name != "nt" else []
        self._popen = subprocess.Popen(  # noqa: S603 - a list, never a shell
            [*(command or own_command()), verb, *starter, *rest],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=child_environment(os.environ),
            cwd=None if cwd is None else Path(cwd),
            start_new_session=True,  # a signal to the task's group would be a second one, which drains nothing
        )
        self._readers = [
            threading.Thread(target=self._read_out, args=(self._popen.stdout,), daemon=True),
            threading.Thread(target=self._read_lines, args=(self._popen.stderr,), daemon=True),
        ]
        for each in self._readers:
            each.start()
        self._hand_over(token)

    def __enter__(self) -> ImporterProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ask_to_stop()
        self._await_end()

    def wait(self) -> Ended:
        """Tells what the process says until it ends, by itself or because it was asked to stop."""
        self._await_end()
        return Ended(exit_code=self._popen.returncode, said=_json_of(bytes(self._out)))

    def ask_to_stop(self) -> None:
        """Asks the process to drain, once; whoever waits ends it for good when it has not in time.

        Safe in a signal handler: it waits for nothing.
        """
        if self._kill_at_s is None and self._popen.poll() is None:
            self._kill_at_s = time.monotonic() + self._drain_s
            self._popen.send_signal(signal.SIGTERM)

    def _await_end(self) -> None:
        while self._popen.poll() is None:
            self._pass_on(_LOOK_S)
            if self._kill_at_s is not None and time.monotonic() > self._kill_at_s:
                self._popen.kill()
        for each in self._readers:
            each.join(timeout=5.0)
        self._pass_on(0.0)

    def _pass_on(self, wait_s: float) -> None:
        """Tells the lines that came, waiting so long for the first."""
        with contextlib.suppress(Empty):
            while True:
                told = line_text(self._lines.get(timeout=wait_s) if wait_s else self._lines.get_nowait())
                if told is not None:
                    self._tell(*told)
                wait_s = 0.0

    def _hand_over(self, token: str) -> None:
        """The token, down the pipe; a process that is gone already says why by its end."""
        assert self._popen.stdin is not None  # noqa: S101 - it was asked for
        with contextlib.suppress(OSError), self._popen.stdin as pipe:
            pipe.write(token.encode())

    def _read_out(self, pipe: IO[bytes]) -> None:
        for block in iter(lambda: pipe.read(65_536), b""):
            self._out += block[: LONGEST_JSON_BYTES - len(self._out)]
        pipe.close()

    def _read_lines(self, pipe: IO[bytes]) -> None:
        for line in pipe:
            self._lines.put(line)
        pipe.close()


def own_command() -> list[str]:
    """The importer of this environment. `-P` keeps a file of the working folder from standing in for it."""
    return [sys.executable, "-P", "-m", "importer"]


def child_environment(of_worker: Mapping[str, str]) -> dict[str, str]:
    """The worker's variables without the scheduler's own, which hold its secrets, and without another token."""
    schedulers = ("AIRFLOW", "DAGSTER", "PREFECT")
    return {
        name: value
        for name, value in of_worker.items()
        if not name.lstrip("_").startswith(schedulers) and name != "IMPORTER_TOKEN"
    }


def line_text(line: bytes) -> tuple[int, str] | None:
    """A line of standard error as a level and words; None for what the summary says anyway."""
    text = line.decode("utf-8", "replace").rstrip()
    try:
        said = json.loads(text)
    except ValueError:
        return (30, text) if text else None
    if not isinstance(said, dict) or "event" not in said:
        return 30, text
    if said["event"] == "finished":
        return None
    level = _LEVELS.get(str(said.get("level")), 20)
    if said["event"] in ("reading", "sending"):
        return level, f"{said['event']}: " + ", ".join(
            f"{k} {v:,}" for k, v in said.items() if isinstance(v, int) and v
        )
    return level, " ".join(str(said[name]) for name in ("message", "hint") if said.get(name))


def _json_of(out: bytes) -> Mapping[str, Any]:
    """The JSON object of a standard output; empty where there is none."""
    try:
        found = json.loads(out)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
