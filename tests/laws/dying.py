"""A run that dies at a chosen moment: before or after any write of the ledger, before or after any request.

A death is a BaseException that nothing in the product may catch for good; once dead, whatever is still tried dies too,
as it would in a process that was killed. What was committed stays, what was not is gone.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from workbench import OWNER

from importer.ledger import DoubtBook, IntakeBook, Ledger, SendBook
from importer.ledger.packs import LEAST_ROWS
from importer.ledger.store import Store


class Killed(BaseException):
    """The process ends here."""


@dataclass(kw_only=True)
class Crossings:
    """Counts the moments at which a process may die, and lets it die at the n-th (0: never)."""

    dies_at: int = 0
    count: int = 0
    is_dead: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def cross(self) -> None:
        with self._lock:
            self.count += 1
            self.is_dead = self.is_dead or self.count == self.dies_at
            if self.is_dead:
                raise Killed


class DyingStore(Store):
    """A connection whose every transaction is two crossings: before it begins, and once it is durable."""

    def __init__(self, connection: sqlite3.Connection, path: Path, crossings: Crossings) -> None:
        super().__init__(connection, path)
        self._crossings = crossings

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        self._crossings.cross()
        with super().transaction():
            yield
        self._crossings.cross()


class DyingLedger(Ledger):
    """A real ledger in a real file, of a process that may die. Batches of `least_packed_rows` rows are packed."""

    def __init__(self, path: Path, crossings: Crossings, least_packed_rows: int = LEAST_ROWS) -> None:
        super().__init__(path, OWNER, now_ms=1_700_000_000_000)
        self.store = DyingStore(self.store.connection, path, crossings)
        self.intake = IntakeBook(self.store, least_packed_rows=least_packed_rows)
        self.sends = SendBook(self.store, self.intake)
        self.doubts = DoubtBook(self.store, self.sends)


class DyingTransport(httpx.BaseTransport):
    """The network of a process that may die before a request leaves, or before its answer is read.

    `only` narrows the crossings to requests whose path ends so.
    """

    def __init__(self, inner: httpx.BaseTransport, crossings: Crossings, only: str = "") -> None:
        self._inner = inner
        self._crossings = crossings
        self._only = only

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith(self._only):
            return self._inner.handle_request(request)
        self._crossings.cross()
        response = self._inner.handle_request(request)
        self._crossings.cross()
        return response

    def close(self) -> None:
        self._inner.close()
