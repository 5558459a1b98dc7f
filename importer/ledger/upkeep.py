"""A ledger's upkeep: checked, copied beside a running owner, made small again.

Floor: ledger. Checking and copying read a snapshot and disturb nobody; only `vacuum` needs to own the ledger. A copy is
made by SQLite itself, never by copying the file: half of a ledger may lie in its -wal. A newcomer may question that a
copy is refused where a file already is: what it would replace may be the only good one.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from importer.errors import LedgerProblem, UsageProblem
from importer.ledger.audit import Audit, Checked, Finding
from importer.ledger.opening import open_reader, translated
from importer.ledger.store import Store
from importer.machine import private_umask, sync_file


@dataclass(frozen=True, kw_only=True, slots=True)
class Health:
    """What a check found."""

    checks: tuple[Checked, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Everything found; none when the ledger is well."""
        return tuple(each for check in self.checks for each in check.findings)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shrunk:
    """A vacuum's effect. **Units**: bytes of the ledger and its -wal."""

    before_bytes: int
    after_bytes: int


@contextlib.contextmanager
def snapshot(path: Path) -> Iterator[sqlite3.Connection]:
    """A reader that sees one moment of the ledger, whatever its owner does meanwhile. **Errors**: LedgerProblem."""
    connection = open_reader(path)
    try:
        with translated(path, "read"):
            connection.execute("BEGIN")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        yield connection
    finally:
        connection.close()


def check_ledger(path: Path) -> Health:
    """Everything that can be found out about a ledger without the network.

    **Errors**: LedgerProblem when there is no ledger of this version; damage is no error but a finding.
    """
    with snapshot(path) as connection:
        return Health(checks=tuple(Audit(connection, path).whole()))


def back_up(path: Path, target: Path) -> Health:
    """Copies the ledger as it is at one moment into one private file, and checks the copy.

    **Crash**: `target` is there whole or not at all. **Errors**: UsageProblem when `target` is there already;
    LedgerProblem when the ledger cannot be read, or the copy is not sound (it is then removed).
    """
    if os.path.lexists(target):
        raise UsageProblem(f"{target} is already there.", hint="Name a new file: a backup never replaces anything.")
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with private_umask(), snapshot(path) as source, translated(unfinished, "written"):
            _copy(source, unfinished)
        health = check_ledger(unfinished)
        _refuse_unsound(path, health)
        sync_file(unfinished)
        unfinished.rename(target)
        sync_file(target.parent)
    except OSError as problem:
        raise LedgerProblem(f"The backup {target} could not be written: {problem.strerror}.") from problem
    finally:
        for name in (unfinished.name, f"{unfinished.name}-wal", f"{unfinished.name}-shm"):
            unfinished.with_name(name).unlink(missing_ok=True)
    return health


def copy_beside(path: Path, target: Path) -> None:
    """Copies the ledger as it is at one moment, unchecked: to be read by somebody else and thrown away."""
    with private_umask(), snapshot(path) as source, translated(target, "written"):
        _copy(source, target)


def _copy(source: sqlite3.Connection, target: Path) -> None:
    """All pages in one step: the snapshot holds meanwhile, and a writer goes on in its -wal."""
    with contextlib.closing(sqlite3.connect(target, isolation_level=None)) as copy:
        source.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE").fetchone()  # one file, to be carried elsewhere


def _refuse_unsound(path: Path, health: Health) -> None:
    if health.findings:
        raise LedgerProblem(
            f"The ledger {path} is damaged, so there is no use in a copy of it: {health.findings[0].text}.",
            hint="`importer ledger check` shows all; `importer ledger repair` saves what can be saved.",
        )


def vacuum(store: Store) -> Shrunk:
    """Writes the owned ledger anew without its free pages, and empties its -wal.

    **Crash**: the ledger is the old or the new one. **Errors**: LedgerProblem, mostly for a full disk.
    """
    before = _size_bytes(store.path)
    with translated(store.path, "made smaller"):
        store.connection.execute("PRAGMA temp_store = 1")  # in a file: a copy in memory could be too large
        store.connection.execute("VACUUM")
        store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return Shrunk(before_bytes=before, after_bytes=_size_bytes(store.path))


def _size_bytes(path: Path) -> int:
    files = (path, path.with_name(f"{path.name}-wal"))
    return sum(each.stat().st_size for each in files if each.exists())
