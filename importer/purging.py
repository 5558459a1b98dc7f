"""Erasing personal data that is no longer needed: by age, by import, by number, and by itself at the end of a run.

Floor: purging. Every purge is begun in the ledger, goes on in small commits, and ends with the file written anew, since
a deleted record leaves its bytes in the file. A newcomer may question the last part: SQLite wipes what it frees, but
not the copies it made while it moved records about, and only a file written anew has none of these.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from glob import escape
from pathlib import Path

from importer.errors import LedgerProblem, UsageProblem
from importer.ledger import Ledger
from importer.ledger.erasing import AGE, IMPORT, KEPT, Erasable, Purge, Scope, Traces
from importer.ledger.opening import BUSY_TIMEOUT_MS
from importer.ledger.upkeep import vacuum
from importer.machine import Moment

DEFAULT_KEEP_S = 90 * 86_400.0
LEAST_KEEP_S = 2 * 86_400.0  # longer than any key window, and than outcomes take to be asked for
TIDY_BUDGET_S = 5.0
LARGEST_TIDY_WIPE_BYTES = 256 * 1024 * 1024
_SHORT_WAIT_MS = 1_000  # for somebody who reads the ledger: the next run empties the -wal as well
EVER_MS = 2**62  # of an import that is settled all of it goes, whatever the clock says


@dataclass(frozen=True, kw_only=True, slots=True)
class Purged:
    """What a purge did. `is_whole` is False when it was stopped; a later one goes on.

    `removed` are copies of older formats that were deleted; `is_wiped` is False while free pages may hold something.
    """

    erased: Erasable | Traces
    is_whole: bool = True
    is_wiped: bool = False
    removed: tuple[Path, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Tidied:
    """What the end of a run erased. **Units**: rows; Unix milliseconds. `is_whole` is False when the time was up."""

    rows: int = 0
    before_ms: int = 0
    is_whole: bool = True
    is_wiped: bool = True
    removed: tuple[Path, ...] = ()


def scope_by_age(older_than_s: float, *, keeps_hashes: bool, now_ms: int) -> Scope:
    """Everything that was settled so long ago."""
    return Scope(cause=AGE, before_ms=now_ms - round(older_than_s * 1000), keeps_hashes=keeps_hashes)


def scope_of_import(ledger: Ledger, import_id: int, *, keeps_hashes: bool) -> Scope:
    """A whole import. **Errors**: UsageProblem while anything of it is not settled: that is needed to settle it."""
    balance = ledger.view.balance(import_id)
    an_import = ledger.intake.import_by_id(import_id)
    if an_import is None or not an_import.is_complete:
        raise UsageProblem(
            f"The list of import {import_id} was not read to its end. Nothing was erased.",
            hint="Run it again with its list, then purge again.",
        )
    if balance.pending or balance.in_doubt:
        step = f"importer send {import_id}" if balance.pending else f"importer reconcile {import_id}"
        raise UsageProblem(
            f"Import {import_id} has {balance.pending:,} rows pending and {balance.in_doubt:,} in doubt, which need "
            "their numbers to be settled. Nothing was erased.",
            hint=f"Settle it first: {step}\nOr take back what was never sent: importer cancel {import_id}",
        )
    return Scope(cause=IMPORT, before_ms=EVER_MS, import_id=import_id, keeps_hashes=keeps_hashes)


@dataclass(frozen=True, kw_only=True)
class Purger:
    """Erases over one owned ledger. `now` and `is_stopping` come from outside."""

    ledger: Ledger
    now: Callable[[], Moment]
    is_stopping: Callable[[], bool] = lambda: False

    def purge(self, scope: Scope) -> Purged:
        """Erases everything in a scope, and whatever an earlier purge left; then writes the file anew.

        **Crash**: at any moment; the next purge, or the end of the next run, goes on with it.
        """
        erased = self.ledger.erasing.look(scope)
        is_whole = self.go_on() and (erased.is_nothing or self.erase(scope))
        return self._finished(erased, is_whole=is_whole)

    def go_on(self) -> bool:
        """Ends what earlier purges began; False when it was told to stop."""
        return all(self._run(each) for each in self.ledger.erasing.open_purges())

    def erase(self, scope: Scope) -> bool:
        """Erases a scope, without writing the file anew; False when it was told to stop."""
        if self.is_stopping():
            return False
        return self._run(self.ledger.erasing.begin(scope, now_ms=self.now().unix_ms))

    def purge_number(self, phone: int, *, keeps_hashes: bool) -> Purged:
        """Erases one number wherever it is settled; the rest of those requests stays."""
        traces = self.ledger.erasing.erase_number(phone, keeps_hashes=keeps_hashes, now_ms=self.now().unix_ms)
        return self._finished(traces, is_whole=self.go_on())

    def _run(self, purge: Purge) -> bool:
        """Step by step to the end; False when it was told to stop."""
        after_id: int | None = 0
        while after_id is not None:
            if self.is_stopping():
                return False
            after_id = self.ledger.erasing.step(purge, after_id=after_id, now_ms=self.now().unix_ms)
        return True

    def _finished(self, erased: Erasable | Traces, *, is_whole: bool) -> Purged:
        self.ledger.intake.forget_numbers()
        if not is_whole:
            return Purged(erased=erased, is_whole=False)
        removed = remove_old_copies(self.ledger.path)
        return Purged(erased=erased, is_wiped=self.wipe(), removed=removed)

    def wipe(self) -> bool:
        """Writes the file anew where that is still to be done; False when a reader kept the old -wal alive.

        **Crash**: the file is the old or the new one, and the next purge does it again.
        """
        book = self.ledger.erasing
        if book.is_wiped():
            return True
        with _beside(self.ledger.path):
            vacuum(self.ledger.store)
        if not emptied_wal(self.ledger):
            return False
        book.note_wiped(now_ms=self.now().unix_ms)
        return True


@dataclass(frozen=True, kw_only=True)
class Tidier:
    """What a run does at its end: erases what its campaign need not keep any longer, for a few seconds at most."""

    ledger: Ledger
    campaign_id: int
    keep_s: float
    now: Callable[[], Moment]
    is_stopping: Callable[[], bool]
    budget_s: float = TIDY_BUDGET_S
    largest_wipe_bytes: int = LARGEST_TIDY_WIPE_BYTES

    def tidy(self) -> Tidied:
        """Erases for as long as there is time; the next run goes on.

        A batch whose outcomes were asked for lately, and whose call jobs have not all finished, waits.
        **Crash**: as a purge.
        """
        if math.isinf(self.keep_s):
            return Tidied()
        before_ms = self._known_ms() - round(self.keep_s * 1000)
        end_ms = self.now().boot_ms + round(self.budget_s * 1000)
        purger = Purger(
            ledger=self.ledger,
            now=self.now,
            is_stopping=lambda: self.is_stopping() or self.now().boot_ms >= end_ms,
        )
        rows_before = self.ledger.erasing.erased_rows()
        is_whole = purger.go_on() and all(purger.erase(scope) for scope in self._scopes(before_ms))
        self.ledger.intake.forget_numbers()
        return Tidied(
            rows=self.ledger.erasing.erased_rows() - rows_before,
            before_ms=before_ms,
            is_whole=is_whole,
            is_wiped=self.ledger.erasing.is_wiped() or (is_whole and self._can_wipe() and self._wipe(purger)),
            removed=remove_old_copies(self.ledger.path, before_ms=before_ms),
        )

    def _known_ms(self) -> int:
        """The time by our clock, but never later than the platform's clock was known to be: ours may have jumped."""
        return min(self.now().unix_ms, self.ledger.sends.server_high_ms() or self.now().unix_ms)

    def _scopes(self, before_ms: int) -> list[Scope]:
        """What is due of this campaign, import by import."""
        everything = Scope(cause=KEPT, before_ms=before_ms, asked_ms=before_ms)
        mine = {each.id for each in self.ledger.intake.imports_of(self.campaign_id)}
        due = [each for each in self.ledger.erasing.imports_in(everything) if each in mine]
        return [Scope(cause=KEPT, before_ms=before_ms, asked_ms=before_ms, import_id=each) for each in due]

    def _can_wipe(self) -> bool:
        """Whether the file is small enough to be written anew in passing, and the disk has room for it twice."""
        size_bytes = self.ledger.path.stat().st_size
        return (
            size_bytes <= self.largest_wipe_bytes and shutil.disk_usage(self.ledger.path.parent).free > 3 * size_bytes
        )

    def _wipe(self, purger: Purger) -> bool:
        run = self.ledger.store.connection.execute
        run(f"PRAGMA busy_timeout = {_SHORT_WAIT_MS}")
        try:
            return purger.wipe()
        finally:
            run(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")


def emptied_wal(ledger: Ledger) -> bool:
    """Empties the -wal; False when a reader still needs it."""
    busy, _, _ = ledger.store.one("PRAGMA wal_checkpoint(TRUNCATE)")
    return not busy


@contextmanager
def _beside(path: Path) -> Iterator[None]:
    """SQLite's own temporary files are made in the folder that was chosen for the numbers."""
    before = os.environ.get("SQLITE_TMPDIR")
    os.environ["SQLITE_TMPDIR"] = str(path.absolute().parent)
    try:
        yield
    finally:
        if before is None:
            del os.environ["SQLITE_TMPDIR"]
        else:
            os.environ["SQLITE_TMPDIR"] = before


def old_copies(path: Path) -> list[Path]:
    """Copies of a ledger in older formats, made when it was brought up to date."""
    return sorted(path.parent.glob(f"{escape(path.name)}.v*.backup"))


def remove_old_copies(path: Path, *, before_ms: int | None = None) -> tuple[Path, ...]:
    """Deletes these copies, or those made before a time: they hold everything that was erased here."""
    old = [each for each in old_copies(path) if before_ms is None or each.stat().st_mtime * 1000 < before_ms]
    for each in old:
        try:
            each.unlink()
        except OSError as problem:
            raise LedgerProblem(
                f"{each} holds erased numbers, and could not be deleted: {problem.strerror}."
            ) from problem
    return tuple(old)
