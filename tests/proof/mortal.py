"""The parts of a process that may die: a real ledger whose every commit may be the last, and the lists it is made of.

A death is raised inside or after a transaction of the real file. What was committed stays, what was not is rolled back
by SQLite itself, as it would be after a kill.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from importer.client import CallsApi, check_token
from importer.ledger import Ledger
from importer.ledger.doubt_book import DoubtBook
from importer.ledger.intake_book import IntakeBook
from importer.ledger.packs import LEAST_ROWS
from importer.ledger.records import Campaign, Import
from importer.ledger.send_book import SendBook
from importer.ledger.store import Store
from importer.ledger.witness import Witness
from importer.machine import Owner, StopSignals
from importer.model import Event
from importer.run import CameBack, CampaignFacts, Intention, Run, RunSettings, Target
from importer.run.settings import BareDigits
from importer.sandbox import Sandbox

from .world import World

TOKEN = "8231.7056.CaNaRyb131df1"
ORIGIN = "http://localhost"
OWNER = Owner(pid=1, host="here", since="now", command="importer run")
NOBODY_LISTENS: Callable[[Event], None] = lambda event: None  # noqa: E731 - a name for what it means
Books = tuple[type[SendBook], type[DoubtBook]]


def in_memory() -> Path | None:
    """Where temporary files cost nothing, if there is such a place: what is proved here is not about the disk."""
    shared = Path("/dev/shm")  # noqa: S108 - only ever used through tempfile
    return shared if os.access(shared, os.W_OK) else None


class MortalStore(Store):
    """A store at whose every commit the process may die: before it, inside it, or just after it."""

    def __init__(self, of: Store, world: World) -> None:
        super().__init__(of.connection, of.path)
        self._world = world

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        self._world.may_die("before a commit")
        with super().transaction():
            yield
            self._world.may_die("inside a commit")
        self._world.may_die("after a commit")


class MortalLedger(Ledger):
    """A real ledger of a process that may die. `books` are the classes of its send and doubt books."""

    def __init__(self, path: Path, world: World, books: Books = (SendBook, DoubtBook)) -> None:
        super().__init__(path, OWNER, now_ms=world.moment().unix_ms)
        self.store = MortalStore(self.store, world)
        self.intake = IntakeBook(self.store)
        self.sends = books[0](self.store, self.intake)
        self.doubts = books[1](self.store, self.sends)
        self.witness = Witness(self.store)


class Declining:
    """A person who looks at everything and sends nothing."""

    def may_send(self, intention: Intention) -> bool:
        return False

    def which_call(self, came_back: CameBack) -> str | None:
        return "row"

    def which_reading(self, bare: BareDigits) -> str | None:
        return None

    def is_right_ledger(self, campaign: CampaignFacts, ledger: Path) -> bool:
        return True


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """A list taken in and frozen by the real intake, nothing of it sent; each history starts from a copy.

    **Shapes**: `phones` as sent; several rows may share one.
    """

    ledger: Path
    platform: Path
    campaign: Campaign
    an_import: Import
    phones: tuple[str, ...]

    def copied(self, folder: Path) -> tuple[Path, Path]:
        """The ledger and the platform's file, as new."""
        ledger, platform = folder / "ledger.db", folder / "platform.db"
        shutil.copyfile(self.ledger, ledger)
        shutil.copyfile(self.platform, platform)
        return ledger, platform


def invented_rows(count: int, *, shared: int) -> list[tuple[str, str]]:
    """Phone and name of so many rows; the last `shared` of them repeat phones of the first with other content."""
    rows = [(f"+120155501{place:02}", f"Person {place}") for place in range(count - shared)]
    return rows + [(phone, f"{name} again") for phone, name in rows[:shared]]


def prepared(folder: Path, rows: list[tuple[str, str]], batch_size_rows: int, *, is_packed: bool = False) -> Prepared:
    """Takes a list in with the real intake; its rows are kept in packs, or one by one."""
    folder.mkdir(parents=True)
    world = World(dice=random.Random(0))
    least = 1 if is_packed else LEAST_ROWS
    with Ledger(folder / "ledger.db", OWNER, now_ms=world.moment().unix_ms, least_packed_rows=least) as ledger:
        an_import = taken_in(ledger, folder, rows, batch_size_rows, world)
        assert ledger.view.balance(an_import.id).pending == len(rows)
        campaign = ledger.intake.campaign_by_id(an_import.campaign_id)
    return Prepared(
        ledger=folder / "ledger.db",
        platform=folder / "platform.db",
        campaign=campaign,
        an_import=an_import,
        phones=tuple(phone.removeprefix("+") for phone, _ in rows),
    )


def taken_in(
    ledger: Ledger, folder: Path, rows: list[tuple[str, str]], batch_size_rows: int, world: World, edition: int = 0
) -> Import:
    """The import of a list, or of its next edition, read to its end by the real intake; nothing is sent."""
    source = folder / "list.csv"
    source.write_text(as_csv(rows))
    os.utime(source, (edition, edition))  # an editor leaves another time behind
    with (
        Sandbox(folder / "platform.db", tokens=(TOKEN,), clock=world.server_s) as sandbox,
        CallsApi(ORIGIN, TOKEN, transport=httpx.WSGITransport(app=sandbox.app), clock=world.monotonic_s) as api,
    ):
        run = Run(
            ledger=ledger,
            api=api,
            desk=Declining(),
            observer=NOBODY_LISTENS,
            signals=StopSignals(),
            now=world.moment,
            stdin=io.BytesIO(),
        )
        report = run.run(
            RunSettings(
                sources=[str(source)],
                list_name="list",
                target=Target(origin=ORIGIN, token=check_token(TOKEN)),
                ledger=ledger.path,
                batch_size_rows=batch_size_rows,
                in_doubt="hold",
            )
        )
    found = ledger.intake.import_by_id(report.import_id)
    assert found is not None
    return found


def as_csv(rows: list[tuple[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([("phone", "name"), *rows])
    return text.getvalue()
