"""Requests to whoever owns a ledger: a folder beside it, which the owner looks into whenever it may.

Floor: ledger. One process alone may write a ledger, so another that must not wait asks it: to stop, or to do something
in its place. A newcomer may question files where a socket would do: they need no port, no thread and no platform's
help, and the folder, private like the ledger, says by itself who may ask. A request lives only as long as its asker
keeps it fresh, so nobody's forgotten wish is heeded by a run of next week.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from importer.machine import make_private_folder, write_private

FRESH_S = 20.0
GLANCE_S = 0.2
STOP = "stop"

Content = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What somebody asks of the owner. `asked_by` is shown to people."""

    id: str
    kind: str
    asked_by: str
    content: Content


def requests_folder(ledger: Path) -> Path:
    """Where requests to a ledger's owner lie."""
    return ledger.with_name(f"{ledger.name}.requests")


class Asker:
    """One request from outside: made, kept fresh, its answer awaited, and always taken away again.

    Use it in a `with`. **Units**: seconds; `nap` sleeps.
    """

    def __init__(
        self, ledger: Path, kind: str, content: Content, *, asked_by: str, nap: Callable[[float], None] = time.sleep
    ) -> None:
        self._folder = requests_folder(ledger)
        self._request = Request(id=secrets.token_hex(8), kind=kind, asked_by=asked_by, content=content)
        self._nap = nap

    def __enter__(self) -> Asker:
        make_private_folder(self._folder)
        request = self._request
        facts = {"kind": request.kind, "asked_by": request.asked_by, "content": request.content}
        write_private(self._path("request"), json.dumps(facts).encode())
        return self

    def __exit__(self, *_: object) -> None:
        for kind in ("request", "answer"):
            self._path(kind).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # somebody else is asking, too
            self._folder.rmdir()

    def _path(self, kind: str) -> Path:
        return self._folder / f"{self._request.id}.{kind}"

    def answer(self) -> Content | None:
        """What the owner answered so far. Asking keeps the request fresh."""
        with contextlib.suppress(FileNotFoundError):  # taken: its answer is there or will be
            os.utime(self._path("request"))
        with contextlib.suppress(FileNotFoundError, ValueError):
            found: Content = json.loads(self._path("answer").read_bytes())
            return found
        return None

    def wait(self, longest_s: float) -> Content | None:
        """The owner's answer; None when none came in that time."""
        for _ in range(max(1, int(longest_s / GLANCE_S))):
            if (found := self.answer()) is not None:
                return found
            self._nap(GLANCE_S)
        return self.answer()


class Inbox:
    """The owner's side: looks into the folder, does what it has a handler for, and answers.

    `stop_asked_by` says who asked the owner to stop, once somebody has. **Errors**: what a handler raises goes up.
    """

    def __init__(
        self,
        ledger: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = requests_folder(ledger)
        self._clock = clock
        self._wall_clock = wall_clock
        self._next_s = 0.0
        self._handlers: dict[str, Callable[[Content], Content]] = {STOP: self._stop}
        self._asking = ""
        self.stop_asked_by: str | None = None

    def on(self, kind: str, handler: Callable[[Content], Content]) -> None:
        """Has requests of a kind done by `handler`, which gives the answer."""
        self._handlers[kind] = handler

    def heed(self) -> bool:
        """Does what was asked since, at most a few times a second; says whether the owner was asked to stop.

        Call it outside a transaction, from the thread that owns the ledger.
        """
        if self._clock() >= self._next_s:
            self._next_s = self._clock() + GLANCE_S
            for request in self._take():
                self._asking = request.asked_by
                handler = self._handlers.get(request.kind)
                self._reply(request, {"error": "unknown request"} if handler is None else handler(request.content))
        return self.stop_asked_by is not None

    def _stop(self, _: Content) -> Content:
        self.stop_asked_by = self._asking
        return {"stopping": True}

    def _take(self) -> list[Request]:
        """The fresh requests, oldest first; each is taken once. Stale ones go."""
        try:
            found = [(entry.stat().st_mtime, entry.path) for entry in os.scandir(self._folder) if _is_request(entry)]
        except FileNotFoundError:
            return []
        taken = []
        for asked_s, path in sorted(found):
            request = _read(Path(path))
            Path(path).unlink(missing_ok=True)
            if request is not None and self._wall_clock() - asked_s < FRESH_S:
                taken.append(request)
        return taken

    def _reply(self, request: Request, answer: Content) -> None:
        with contextlib.suppress(FileNotFoundError):  # nobody waits for it any more
            write_private(self._folder / f"{request.id}.answer", json.dumps(answer).encode())


def _is_request(entry: os.DirEntry[str]) -> bool:
    return entry.name.endswith(".request") and not entry.name.startswith(".") and entry.is_file(follow_symlinks=False)


def _read(path: Path) -> Request | None:
    """A request, or None for what is none."""
    try:
        facts = json.loads(path.read_bytes())
        return Request(id=path.stem, kind=str(facts["kind"]), asked_by=str(facts["asked_by"]), content=facts["content"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
