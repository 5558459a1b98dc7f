"""Power cuts: one run is recorded call by call, and its disk rebuilt as a cut at any call could have left it.

Floor: selftest. Two things are asked of every state: that the ledger in it is whole, and that whatever request had left
by then is armed in it (law 3); a state in which it is not would send blindly a day later. Of some states more: the
platform is brought to where it was, the same command is said again, and the judge looks. A newcomer may question that
a file's name counts as lost until its folder was synced: POSIX promises no more.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import random
import re
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from importer.errors import ImporterError
from importer.selftest.disk import Disk, Image, lay_out
from importer.selftest.judging import judge
from importer.selftest.site import Site, ended, platform, rows, write_list
from importer.selftest.table import Finding
from importer.selftest.tracing import Event, events, traced

TOKEN = "1.7056.power"  # noqa: S105 - the sandbox's own, good for nothing else
LIST_NAME = "power"
EVERY_STATE = "power cut at every call: the disk it leaves"
_KEY = re.compile(rb"\r\nidempotence-key: *([^\r]+)", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """A request for numbers, as it stood on the wire."""

    path: str
    key: str
    body: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """A moment of the record: the disk, the keys that were on the wire, the requests that had left whole."""

    number: int
    images: Mapping[str, Image] = field(repr=False)
    keys: frozenset[str]
    requests: tuple[Request, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """What a rebuilt ledger holds. `wrong` says what is the matter with the file itself."""

    armed: frozenset[str] = frozenset()
    accepted: int = 0
    wrong: str = ""


class Wire:
    """What was said on each connection: the keys that began, and the requests that are whole."""

    def __init__(self) -> None:
        self._said: dict[str, bytes] = {}
        self.keys: frozenset[str] = frozenset()
        self.requests: tuple[Request, ...] = ()

    def hear(self, event: Event) -> None:
        """Takes some bytes of a connection."""
        said = self._said.get(event.path, b"") + event.data
        while said:
            head, end, rest = said.partition(b"\r\n\r\n")
            key, length = _KEY.search(head), int((_LENGTH.search(head) or [b"", b"0"])[1])
            self.keys |= {key[1].decode()} if key else frozenset()
            if not end or len(rest) < length:
                break
            if key:
                path = head.split(b" ", 2)[1].decode()
                self.requests += (Request(path=path, key=key[1].decode(), body=rest[:length]),)
            said = rest[length:]
        self._said[event.path] = said


@dataclass(frozen=True, kw_only=True)
class PowerCut:
    """A record of one run, to be cut anywhere.

    The host is part of a campaign's identity, so every platform after the recorded one has its port, in `turn`.
    """

    folder: Path
    record: Sequence[Event] = field(repr=False)
    row_count: int
    port: int
    turn: threading.Lock = field(default_factory=threading.Lock)

    @staticmethod
    def recorded(folder: Path, *, row_count: int = 7, command: Callable[[Site], list[str]] | None = None) -> PowerCut:
        """Records a run; `command` is another than `importer run`. **Errors**: ImporterError when it ends badly."""
        folder.mkdir(parents=True)
        with platform(folder / "platform.db", [TOKEN]) as there:
            site = Site(folder=folder / "work", platform=there, token=TOKEN, options=_options())
            site.folder.mkdir()
            write_list(site.source, rows(row_count))
            record = folder / "record"
            last = ended(site.start(traced((command or _run)(site), record)))
        if last.code:
            raise ImporterError(f"The run to be recorded ended with exit code {last.code}: {last.said or last.err}")
        port = urlsplit(there.origin).port or 0
        return PowerCut(folder=folder, record=events(record, site.folder), row_count=row_count, port=port)

    def moments(self, dice: random.Random, *, draws: int) -> Iterator[Moment]:
        """The moment after each call."""
        disk, wire = Disk(), Wire()
        for number, event in enumerate(self.record):
            if event.kind == "send":
                wire.hear(event)
            else:
                disk.apply(event)
            images = disk.images(dice, draws=draws)
            yield Moment(number=number, images=images, keys=wire.keys, requests=wire.requests)

    def examined(self, dice: random.Random, *, draws: int = 2) -> Finding:
        """Every state of every moment, held against what had been sent; ends at the first that is wrong."""
        seen: dict[bytes, Held] = {}
        states = 0
        with tempfile.TemporaryDirectory(prefix="power-", dir=_quick_folder()) as scratch:
            for moment in self.moments(dice, draws=draws):
                for way, image in moment.images.items():
                    states += 1
                    held = self._held(image, Path(scratch), seen)
                    wrong = held.wrong or _missing(moment, held)
                    if wrong:
                        where = f"after call {moment.number} ({way})"
                        return Finding(fault=EVERY_STATE, runs=states, trouble=f"{where}: {wrong}")
        return Finding(fault=EVERY_STATE, runs=states)

    def _held(self, image: Image, scratch: Path, seen: dict[bytes, Held]) -> Held:
        """What a state's ledger holds; states that are alike are looked at once."""
        digest = hashlib.sha256()
        for path, content in image.items():
            digest.update(f"{path} {len(content)} ".encode() + content)
        if digest.digest() not in seen:
            place = scratch / "state"
            shutil.rmtree(place, ignore_errors=True)
            lay_out(image, self.folder / "work", place)
            seen[digest.digest()] = held_by(place / "ledger.db")
        return seen[digest.digest()]

    def history(self, fault: str, folder: Path, dice: random.Random) -> Finding:
        """One state, the platform as it was, and the same command again."""
        moment = self._some_moment(dice)
        way = dice.choice(sorted(moment.images))
        is_under_way = self.record[moment.number].kind == "send"  # else its answer may be in the ledger
        sent = moment.requests[:-1] if is_under_way and dice.random() < 0.5 else moment.requests
        with self.turn, platform(folder / "platform.db", [TOKEN], port=self.port) as there:
            for request in sent:
                _say_again(there.origin, request)
            site = Site(folder=folder / "work", platform=there, token=TOKEN, options=_options())
            site.folder.mkdir()
            lay_out(moment.images[way], self.folder / "work", site.folder)
            shutil.copy2(self.folder / "work" / "list.csv", site.source)
            finding = judge(fault, site, site.run(), rows(self.row_count))
        return finding if finding.is_well else _at(finding, f"after call {moment.number} ({way})")

    def _some_moment(self, dice: random.Random) -> Moment:
        wanted = dice.randrange(len(self.record))
        return next(each for each in self.moments(dice, draws=1) if each.number == wanted)


def _quick_folder() -> Path | None:
    """Where files need no disk, or None: wherever they are by default."""
    memory = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
    return memory if memory.is_dir() and os.access(memory, os.W_OK) else None


def held_by(ledger: Path) -> Held:
    """What the ledger of a rebuilt disk holds, after SQLite's own recovery; nothing when it was not yet made."""
    if not ledger.exists() or not ledger.stat().st_size:
        return Held()
    try:
        with closing(sqlite3.connect(ledger)) as connection:
            connection.execute("PRAGMA synchronous = OFF")  # this copy is looked at once
            verdict = connection.execute("PRAGMA integrity_check").fetchone()[0]
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'call_jobs'").fetchone():
                return Held(wrong="" if verdict == "ok" else verdict)
            armed = connection.execute("SELECT request_key FROM batches WHERE sends > 0 AND state <> 'frozen'")
            keys = frozenset(key for (key,) in armed)
            accepted = connection.execute("SELECT count(*) FROM call_jobs").fetchone()[0]
    except sqlite3.Error as problem:
        return Held(wrong=f"the ledger cannot be read: {problem}")
    return Held(armed=keys, accepted=accepted, wrong="" if verdict == "ok" else f"the ledger is damaged: {verdict}")


def _missing(moment: Moment, held: Held) -> str:
    forgotten = moment.keys - held.armed
    return f"{len(forgotten)} requests that had left are not armed in the ledger" if forgotten else ""


def _at(finding: Finding, where: str) -> Finding:
    return Finding(
        fault=finding.fault,
        lost=finding.lost,
        duplicated=finding.duplicated,
        trouble=f"{where}: {finding.trouble or 'see the counts'}",
    )


def _options() -> tuple[str, ...]:
    return ("--list", LIST_NAME, "--batch-size", "3", "--in-flight", "1")


def _run(site: Site) -> list[str]:
    return site.command


def _say_again(origin: str, request: Request) -> None:
    """Brings the platform to where it was: the same bytes under the same key."""
    where = urlsplit(origin)
    with closing(http.client.HTTPConnection(where.hostname or "", where.port, timeout=10.0)) as connection:
        headers = {"Idempotence-Key": request.key, "Content-Type": "application/json"}
        connection.request("POST", request.path, body=request.body, headers=headers)
        connection.getresponse().read()
