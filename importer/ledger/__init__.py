"""The ledger: one SQLite file that remembers every row, batch, send and receipt.

Floor: ledger. One read-write connection, in one thread of one process, guarded by a lock file held for life (law 10);
readers open the file read-only. Only this package imports sqlite_utils.
"""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from importer.errors import LedgerHeld
from importer.ledger.campaign_book import CampaignBook, KnownCampaign
from importer.ledger.cancel_book import CancelBook
from importer.ledger.dnc_book import DncBook, DncList, LastLook
from importer.ledger.doubt_book import Doubt, DoubtBook
from importer.ledger.erasing import EraseBook
from importer.ledger.intake_book import IntakeBook
from importer.ledger.numberset import count_by_calling_code, number_set
from importer.ledger.opening import open_reader, open_writer, translated
from importer.ledger.outcome_book import OutcomeBook
from importer.ledger.packs import LEAST_ROWS
from importer.ledger.records import Campaign, Held, Import
from importer.ledger.requests import Content, Inbox
from importer.ledger.schema import judge_schema
from importer.ledger.send_book import SendBook
from importer.ledger.store import Store
from importer.ledger.view import View
from importer.ledger.witness import Witness
from importer.machine import MOUNTS, Owner, OwnerLock, make_private_folder

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "CampaignBook",
    "CancelBook",
    "DncBook",
    "DncList",
    "Doubt",
    "DoubtBook",
    "EarlierBook",
    "EraseBook",
    "IntakeBook",
    "KnownCampaign",
    "LastLook",
    "Ledger",
    "LedgerReader",
    "OutcomeBook",
    "Scratch",
    "SendBook",
    "View",
    "count_by_calling_code",
    "number_set",
]


class Ledger:
    """The ledger, owned: `intake` and `sends` write, `view` reads.

    **Errors**: LedgerHeld when another process owns it, naming whose; LedgerProblem when the file cannot be used.
    """

    keeps_bodies = True

    def __init__(
        self,
        path: Path,
        owner: Owner,
        *,
        now_ms: int,
        is_network_fine: bool = False,
        mounts: Path = MOUNTS,
        least_packed_rows: int = LEAST_ROWS,
    ) -> None:
        self.path = path
        self._least_packed_rows = least_packed_rows
        self._is_network_fine = is_network_fine
        self._mounts = mounts
        self.requests = Inbox(path)
        self.requests.on("dnc-add", self._add_suppressed)
        with translated(path, "opened"):
            make_private_folder(path.parent)
            self._lock = OwnerLock(path)
            holder = self._lock.acquire(owner)
        if holder is not None:
            raise LedgerHeld(
                f"The ledger {path} is in use by {holder}.",
                hint="Wait for it, or stop it with Ctrl-C in its terminal; then run the same command again.",
            )
        try:
            self._open()
        except BaseException:
            self._lock.release()
            raise
        try:
            self._introduce(now_ms)
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        """The connection and all the books over it."""
        self._connection = open_writer(self.path, is_network_fine=self._is_network_fine, mounts=self._mounts)
        try:
            judge_schema(self._connection, self.path)
        except BaseException:
            self._connection.close()
            raise
        self.store = Store(self._connection, self.path)
        self.intake = IntakeBook(self.store, least_packed_rows=self._least_packed_rows, keeps_bodies=self.keeps_bodies)
        self.sends = SendBook(self.store, self.intake)
        self.doubts = DoubtBook(self.store, self.sends)
        self.dnc = DncBook(self.store)
        self.campaigns = CampaignBook(self.store)
        self.outcomes = OutcomeBook(self.store)
        self.cancellations = CancelBook(self.store, self.intake, self.sends)
        self.last_look = LastLook(self.store, self.intake, self.sends, self.dnc)
        self.erasing = EraseBook(self.store)
        self.view = View(self._connection, self.path)
        self.witness = Witness(self.store)

    def identity(self) -> str:
        """The ledger's own id, which no other has."""
        return str(self.store.one("SELECT ledger_id FROM ledger_info")[0])

    def reopen(self) -> None:
        """Closes a connection that failed and opens the file anew, the lock kept: to write down what came back.

        **Errors**: LedgerProblem when it cannot be opened, or is not there any more.
        """
        self.store.judge_place()
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()
        self._open()

    def _add_suppressed(self, asked: Content) -> Content:
        """Adds numbers to a do-not-call list in place of somebody who may not write now."""
        added = self.dnc.add(str(asked["list"]), number_set(asked["numbers"]), now_ms=int(asked["now_ms"]))
        return {"added": added}

    def _introduce(self, now_ms: int) -> None:
        """Gives a new file its own id."""
        if self.store.one("SELECT 1 FROM ledger_info") is None:
            with self.store.transaction():
                self.store.insert("ledger_info", id=1, ledger_id=secrets.token_hex(16), created_ms=now_ms)

    def close(self) -> None:
        """Closes the file and gives the lock up."""
        try:
            with translated(self.path, "closed"):
                self._connection.close()
        finally:
            self._lock.release()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Scratch(Ledger):
    """The ledger of a dry check: nothing of it is sent, and nothing outlives the command.

    So it waits for no disk, and keeps the requests' keys and hashes without their bytes.
    """

    keeps_bodies = False

    def _open(self) -> None:
        super()._open()
        with translated(self.path, "opened"):
            self._connection.execute("PRAGMA synchronous = 0")


class EarlierBook(IntakeBook):
    """Another ledger's rows, read only: whatever it holds for the campaign was there before."""

    def __init__(self, store: Store, campaign: Campaign, without: frozenset[int]) -> None:
        super().__init__(store)
        self._campaign = campaign
        self._without = without

    def held_apart(self, keys: pl.Series) -> list[Held]:
        """As IntakeBook; imports and rows get negative numbers, since they are none of the asking ledger's."""
        return [_foreign(each) for each in super().held_apart(keys) if each.import_id not in self._without]

    def held_in_packs(self, keys: pl.Series) -> pl.DataFrame:
        """As IntakeBook, with negative numbers."""
        found = super().held_in_packs(keys)
        if self._without:
            found = found.filter(~found["import_id"].is_in(list(self._without)))
        return found.with_columns(row_id=-found["row_id"], import_id=-found["import_id"])

    def held_phones(self, campaign_id: int, round_name: str, phones: Sequence[int]) -> list[tuple[int, Held]]:
        """As IntakeBook, for this book's own campaign."""
        del campaign_id
        found = super().held_phones(self._campaign.id, round_name, phones)
        return [(phone, _foreign(each)) for phone, each in found if each.import_id not in self._without]

    def has_earlier_rows(self, an_import: Import) -> bool:
        """True if the campaign was sent anything in this round."""
        sql = "SELECT 1 FROM imports WHERE campaign_id = ? AND round = ? LIMIT 1"
        return bool(self._store.one(sql, [self._campaign.id, an_import.round]))


def _foreign(held: Held) -> Held:
    return replace(held, import_id=-held.import_id, row_id=-held.row_id, is_thawed=False)


class LedgerReader:
    """The ledger, read beside whoever owns it."""

    def __init__(self, path: Path) -> None:
        self._connection = open_reader(path)
        self._store = Store(self._connection, path)
        self.view = View(self._connection, path)
        self.dnc = DncBook(self._store)
        self.campaigns = CampaignBook(self._store)
        self.outcomes = OutcomeBook(self._store)
        self.erasing = EraseBook(self._store)
        self.witness = Witness(self._store)

    def only_campaign(self, fingerprint: bytes | None) -> Campaign | None:
        """The campaign of that fingerprint; without one, the only campaign there is."""
        book = IntakeBook(self._store)
        if fingerprint is not None:
            return book.campaign(fingerprint)
        rows = self._store.all("SELECT fingerprint FROM campaigns LIMIT 2")
        return book.campaign(rows[0][0]) if len(rows) == 1 else None

    def recently_accepted(self, phones: Sequence[int], since_ms: int) -> dict[int, int]:
        """As IntakeBook; rows get negative numbers, since they are none of the asking ledger's."""
        found = IntakeBook(self._store).recently_accepted(phones, since_ms)
        return {phone: -row_id for phone, row_id in found.items()}

    def imports_of(self, campaign_id: int) -> list[Import]:
        """Every import of a campaign, oldest first."""
        return IntakeBook(self._store).imports_of(campaign_id)

    def earlier_book(self, campaign: Campaign, *, without: frozenset[int] = frozenset()) -> EarlierBook:
        """The rows of a campaign, to be asked by an intake that writes elsewhere; `without` are imports left out."""
        return EarlierBook(self._store, campaign, without)

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()

    def __enter__(self) -> LedgerReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
