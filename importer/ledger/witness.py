"""The counter kept outside the ledger, by which time travel is noticed (law 13).

Floor: ledger. A ledger restored from a copy has forgotten sends that were made; nothing inside it can tell. So the runs
that sent, and roughly how many requests, are counted in a small file beside it as well (`IMPORTER_STATE_DIR` moves it).
A newcomer may wonder at the order: the ledger first, the counter after, so that a crash between leaves the counter
behind, which proves nothing, and never ahead, which proves a restored copy.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from importer.errors import LedgerProblem
from importer.ledger.store import Store
from importer.machine import make_private_folder, write_private

NOTE_INTERVAL_MS = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Counter:
    """What the file holds: whose it is, the runs that were about to send, the requests armed (at least)."""

    ledger_id: str
    sessions: int
    armings: int


class Witness:
    """One ledger's counter."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._noted_ms = 0

    def judge(self) -> None:
        """Holds the ledger against its counter, before anything is sent.

        **Errors**: LedgerProblem for a ledger that was restored, copied or swapped.
        **Law** `test_law_13_time_travel_is_noticed`.
        """
        here, kept = self._here(), self._kept(self._path())
        if kept is None:
            if here.armings:  # a run killed before it wrote its first counter has armed nothing
                raise self._problem("has sent before, but its counter is not here: it was copied or restored")
        elif kept.ledger_id != here.ledger_id:
            raise self._problem("is not the one that was here: another file was put in its place")
        elif here.sessions < kept.sessions or here.armings < kept.armings:
            behind = f"it remembers {here.armings:,} requests, and {kept.armings:,} were made"
            raise self._problem(f"was restored from an older copy ({behind})")

    def _problem(self, what: str) -> LedgerProblem:
        return LedgerProblem(
            f"The ledger {self._store.path} {what}. Nothing was sent.",
            hint="Put the newest one back (if you moved it, with its .counter file). If there is none, say since when\n"
            "sends may have been made: --adopt-since TIME. They are then looked up before anything is sent.",
        )

    def begin_session(self) -> None:
        """Notes that a run is about to send: in the ledger, then outside."""
        with self._store.transaction():
            self._store.connection.execute("UPDATE ledger_info SET sessions = sessions + 1")
        self.note(0)

    def note(self, now_ms: int, *, is_due: bool = True) -> None:
        """Brings the counter up to date; unless `is_due`, at most once a second."""
        if not is_due and now_ms - self._noted_ms < NOTE_INTERVAL_MS:
            return
        self._noted_ms = now_ms
        path = self._path()
        make_private_folder(path.parent)
        try:
            write_private(path, json.dumps(asdict(self._here())).encode())
        except OSError as problem:
            raise LedgerProblem(
                f"The counter {path} could not be written: {problem.strerror}.", hint="Nothing more was sent."
            ) from problem

    def _here(self) -> Counter:
        ledger_id, sessions, armings = self._store.one("SELECT ledger_id, sessions, armings FROM ledger_info")
        return Counter(ledger_id=ledger_id, sessions=sessions, armings=armings)

    def _path(self) -> Path:
        folder = os.environ.get("IMPORTER_STATE_DIR")
        if folder:
            return Path(folder) / f"{self._here().ledger_id}.counter"
        return self._store.path.with_name(self._store.path.name + ".counter")

    @staticmethod
    def _kept(path: Path) -> Counter | None:
        try:
            facts = json.loads(path.read_bytes())
            return Counter(
                ledger_id=str(facts["ledger_id"]), sessions=int(facts["sessions"]), armings=int(facts["armings"])
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as problem:
            raise LedgerProblem(f"The counter {path} cannot be read.", hint="Nothing was sent.") from problem
