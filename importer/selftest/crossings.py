"""The moments at which a child may die, and what it is told: shared by parent and child.

Floor: selftest. A newcomer may wonder how every commit is seen without a wrapper: SQLite itself tells each statement
before it runs it, on every connection the process opens (an audit hook meets them), so the commits of migrations count
too. What is "after a commit" is the next thing the process does, a statement or a request: nothing can lie between.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

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
