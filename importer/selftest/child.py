"""A run that ends itself with SIGKILL at a chosen crossing: `python -m importer.selftest.child '{...}'`.

Floor: selftest. It puts the engine of `importer run` together as the command line does, with a network and a clock of
its own. A newcomer may wonder how every commit is seen without a wrapper: SQLite itself tells each statement before it
runs it, on every connection the process opens (an audit hook meets them), so the commits of migrations count too.
What is "after a commit" is the next thing the process does, a statement or a request: nothing can lie between.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import sys
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx

from importer import machine
from importer.client import CallsApi, check_token, parse_origin
from importer.client.wire import WatchedTransport
from importer.errors import ImporterError
from importer.ledger import Ledger
from importer.machine import Moment, Owner, StopSignals
from importer.model import Event
from importer.protocol import Window
from importer.run import CameBack, CampaignFacts, Intention, Run, RunSettings, Target
from importer.sender import SendSettings

BEFORE_COMMIT, AFTER_COMMIT = "just before a ledger commit", "just after a ledger commit"
BEFORE_REQUEST, AFTER_ANSWER = "just before a request leaves", "just after its answer came"
KINDS = (BEFORE_COMMIT, AFTER_COMMIT, BEFORE_REQUEST, AFTER_ANSWER)


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What a child is to do. `dies` names a kind of crossing and which of them; the clock jumps at its n-th reading.

    **Units**: rows, seconds. `jump_boot_s` moves the clock that counts from boot, as a suspended machine's does.
    """

    source: str
    ledger: str
    host: str
    token: str
    batch_size_rows: int = 3
    dies: tuple[str, int] | None = None
    jump_unix_s: int = 0
    jump_boot_s: int = 0
    jump_at_reading: int = 0
    quiet_s: float = 0.5
    adopt_since_ms: int | None = None

    @staticmethod
    def read(text: str) -> Asked:
        """The words of a command line, as `written` by the parent."""
        facts = json.loads(text)
        dies = facts.pop("dies")
        return Asked(**facts, dies=None if dies is None else (dies[0], dies[1]))


@dataclass(kw_only=True)
class Crossings:
    """Counts the moments at which a process may die, by kind, and ends it at the chosen one."""

    dies: tuple[str, int] | None = None
    end: Callable[[], None]
    counts: Counter[str] = field(default_factory=Counter)
    _has_committed: bool = False
    _announced: list[sqlite3.Connection] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def cross(self, kind: str) -> None:
        """Something is about to happen: a commit that went before it is over."""
        with self._lock:
            if self._has_committed:
                self._has_committed = False
                self._count(AFTER_COMMIT)
            self._count(kind)
            self._has_committed = kind == BEFORE_COMMIT

    def _count(self, kind: str) -> None:
        self.counts[kind] += 1
        if (kind, self.counts[kind]) == self.dies:
            self.end()

    def watch_statement(self, sql: str) -> None:
        """Told by SQLite of each statement before it runs."""
        self.cross(BEFORE_COMMIT if sql.lstrip().upper().startswith(("COMMIT", "END")) else "statement")

    def watch_connections(self, event: str, arguments: tuple[Any, ...]) -> None:
        """An audit hook: each new connection of SQLite tells its statements.

        A connection is announced before it is ready for that, so it is asked at the next event; migrations, which hold
        the first commits, are loaded by then.
        """
        if event == "sqlite3.connect/handle":
            self._announced.append(arguments[0])
        elif self._announced and event != "sqlite3.connect":
            with contextlib.suppress(sqlite3.ProgrammingError):
                while self._announced:
                    self._announced[-1].set_trace_callback(self.watch_statement)
                    self._announced.pop()


class MortalTransport(httpx.BaseTransport):
    """The network of a process that may die around any request."""

    def __init__(self, inner: httpx.BaseTransport, crossings: Crossings) -> None:
        self._inner = inner
        self._crossings = crossings

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """The answer of the real network."""
        self._crossings.cross(BEFORE_REQUEST)
        response = self._inner.handle_request(request)
        self._crossings.cross(AFTER_ANSWER)
        return response

    def close(self) -> None:
        """Closes the real network."""
        self._inner.close()


class JumpingClock:
    """This machine's clocks until the n-th reading, and from then on off by so much."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._readings = 0

    def __call__(self) -> Moment:
        """A reading."""
        self._readings += 1
        moment = machine.now()
        if self._readings <= self._asked.jump_at_reading:
            return moment
        return replace(
            moment,
            unix_ms=moment.unix_ms + self._asked.jump_unix_s * 1000,
            boot_ms=moment.boot_ms + self._asked.jump_boot_s * 1000,
        )


class Nobody:
    """A desk with nobody at it, and everything agreed beforehand."""

    def may_send(self, intention: Intention) -> bool:
        """Yes."""
        del intention
        return True

    def which_call(self, came_back: CameBack) -> str | None:
        """Nobody says."""
        del came_back
        return None

    def which_reading(self, *_: object) -> None:
        """Nobody says."""

    def is_right_ledger(self, campaign: CampaignFacts, ledger: Path) -> bool:
        """Nobody says."""
        del campaign, ledger
        return False


def die() -> None:
    """Ends this process as `kill -9` does; Windows has no signals, and ends a process the same way by any."""
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))


def settings_of(asked: Asked) -> RunSettings:
    """What `importer run` would be asked for."""
    return RunSettings(
        sources=[asked.source],
        target=Target(origin=parse_origin(asked.host), token=check_token(asked.token)),
        ledger=Path(asked.ledger),
        batch_size_rows=asked.batch_size_rows,
        sending=SendSettings(in_flight=1, patience_s=20.0, window=Window(request_s=10.0)),
        is_new_ledger_fine=True,
        quiet_s=asked.quiet_s,
        adopt_since_ms=asked.adopt_since_ms,
    )


def run_child(asked: Asked, crossings: Crossings, open_ledger: Callable[[Path, Owner, int], Ledger]) -> int:
    """Runs it to its end or to its death; gives the exit code."""
    settings, now = settings_of(asked), JumpingClock(asked)
    network = MortalTransport(WatchedTransport(is_tls=False, connections=2), crossings)
    with ExitStack() as stack:
        signals = stack.enter_context(StopSignals())
        ledger = stack.enter_context(open_ledger(settings.ledger, machine.this_process("now"), now().unix_ms))
        api = stack.enter_context(CallsApi(asked.host, asked.token, timeout_s=10.0, connections=2, transport=network))
        run = Run(ledger=ledger, api=api, desk=Nobody(), observer=_unheard, signals=signals, now=now)
        return run.run(settings).exit_code


def opened(path: Path, owner: Owner, now_ms: int) -> Ledger:
    """The ledger, as the product opens it."""
    return Ledger(path, owner, now_ms=now_ms)


def _unheard(event: Event) -> None:
    """Nobody watches a child."""
    del event


def main(text: str, open_ledger: Callable[[Path, Owner, int], Ledger] = opened) -> None:
    """The process: prints how many crossings of each kind there were, and exits as the run did."""
    asked = Asked.read(text)
    crossings = Crossings(dies=asked.dies, end=die)
    sys.addaudithook(crossings.watch_connections)
    said, code = "", 0
    try:
        code = run_child(asked, crossings, open_ledger)
    except ImporterError as problem:
        said, code = problem.message, problem.exit_code
    sys.stdout.write(json.dumps({"crossings": dict(crossings.counts), "error": said, "exit_code": code}) + "\n")
    sys.exit(code)


if __name__ == "__main__":
    main(sys.argv[1])
