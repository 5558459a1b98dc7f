"""A run that dies at a chosen moment: before or after any write of the ledger, before or after any request.

A death is a BaseException that nothing in the product may catch for good; once dead, whatever is still tried dies too,
as it would in a process that was killed. What was committed stays, what was not is gone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from workbench import OWNER

from importer.ledger import Ledger

WRITES = frozenset(
    {
        "add_campaign", "begin_import", "begin_revision", "refresh_files", "add_facts", "commit_chunk",
        "complete_source", "recover", "advance", "change", "cut", "renew", "finish",
    }
)  # fmt: skip


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

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def crossed(*arguments: Any, **named: Any) -> Any:
            self.cross()
            result = call(*arguments, **named)
            self.cross()
            return result

        return crossed


class WatchedBook:
    """A book of the ledger whose writes are crossings."""

    def __init__(self, book: object, crossings: Crossings) -> None:
        self._book = book
        self._crossings = crossings

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._book, name)
        return self._crossings.around(found) if name in WRITES else found


class DyingLedger(Ledger):
    """A real ledger in a real file, of a process that may die."""

    def __init__(self, path: Path, crossings: Crossings) -> None:
        super().__init__(path, OWNER, now_ms=1_700_000_000_000)
        self.intake = WatchedBook(self.intake, crossings)  # type: ignore[assignment]  # it stands in for the book
        self.sends = WatchedBook(self.sends, crossings)  # type: ignore[assignment]


class DyingTransport(httpx.BaseTransport):
    """The network of a process that may die before a request leaves, or before its answer is read."""

    def __init__(self, inner: httpx.BaseTransport, crossings: Crossings) -> None:
        self._inner = inner
        self._crossings = crossings

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self._crossings.cross()
        response = self._inner.handle_request(request)
        self._crossings.cross()
        return response

    def close(self) -> None:
        self._inner.close()
