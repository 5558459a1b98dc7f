"""The ledger: one SQLite file that remembers every row, batch, send and receipt.

Floor: ledger. One read-write connection, in one thread of one process, guarded by a lock file held for life (law 10);
readers open the file read-only. Only this package imports sqlite_utils.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from types import TracebackType

from importer.errors import LedgerHeld
from importer.ledger.intake_book import IntakeBook
from importer.ledger.opening import open_reader, open_writer, translated
from importer.ledger.send_book import SendBook
from importer.ledger.store import Store
from importer.ledger.view import View
from importer.machine import Owner, OwnerLock, make_private_folder

__all__ = ["IntakeBook", "Ledger", "LedgerReader", "SendBook", "View"]


class Ledger:
    """The ledger, owned: `intake` and `sends` write, `view` reads.

    **Errors**: LedgerHeld when another process owns it, naming whose; LedgerProblem when the file cannot be used.
    """

    def __init__(self, path: Path, owner: Owner, *, now_ms: int) -> None:
        self.path = path
        make_private_folder(path.parent)
        self._lock = OwnerLock(path)
        holder = self._lock.acquire(owner)
        if holder is not None:
            raise LedgerHeld(
                f"The ledger {path} is in use by {holder}.",
                hint="Wait for it, or stop it with Ctrl-C in its terminal; then run the same command again.",
            )
        try:
            self._connection = open_writer(path)
            self.store = Store(self._connection, path)
            self._introduce(now_ms)
        except BaseException:
            self._lock.release()
            raise
        self.intake = IntakeBook(self.store)
        self.sends = SendBook(self.store, self.intake)
        self.view = View(self._connection, path)

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


class LedgerReader:
    """The ledger, read beside whoever owns it."""

    def __init__(self, path: Path) -> None:
        self._connection = open_reader(path)
        self.view = View(self._connection, path)

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()

    def __enter__(self) -> LedgerReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
