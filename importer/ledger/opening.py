"""Opening a ledger file: who may, with which settings, and what is refused without touching it.

Floor: ledger. The settings are chosen for power loss, not for speed: WAL with synchronous=FULL lost no acknowledged
commit in any simulated state, NORMAL lost hundreds. A newcomer may wonder why the file is never opened with plain
`open()`: closing such a handle drops SQLite's own locks on it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sqlite3
import stat
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from importer.errors import LedgerProblem
from importer.machine import (
    MOUNTS,
    PRIVATE_FILE_MODE,
    is_of_another_user,
    make_private_folder,
    network_file_system,
    private_umask,
)

if TYPE_CHECKING:
    from sqlite_utils import Migrations

APPLICATION_ID = 0x504C4931
SCHEMA_VERSION = 5
BUSY_TIMEOUT_MS = 60_000
CACHE_KIB = 65_536
_STEPS = "*_sqlite_migrations*"  # where the steps taken are noted: made before the first of them is taken

_WRITER_SETTINGS: dict[str, str | int] = {
    "journal_mode": "wal",
    "synchronous": 2,
    "foreign_keys": 1,
    "trusted_schema": 0,
    "cell_size_check": 1,
    "busy_timeout": BUSY_TIMEOUT_MS,
    "cache_size": -CACHE_KIB,
    "secure_delete": 1,
    "temp_store": 2,
}


@contextlib.contextmanager
def translated(path: Path, doing: str) -> Iterator[None]:
    """Turns errors of SQLite and of the file system into one that names the file and the next step."""
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as problem:  # a damaged name breaks SQLite's own message, too
        raise LedgerProblem(f"The ledger {path} could not be {doing}: {problem}.", hint=_hint(problem)) from problem
    except OSError as problem:
        said = problem.strerror or type(problem).__name__
        hint = "Check the path and its permissions, or name another file with --ledger."
        raise LedgerProblem(f"The ledger {path} could not be {doing}: {said}.", hint=hint) from problem


@contextlib.contextmanager
def as_record(what: str) -> Iterator[None]:
    """Turns the failure to make a record of what is stored into one that says the ledger is damaged."""
    try:
        yield
    except (ValueError, TypeError, KeyError) as problem:
        raise LedgerProblem(
            f"The ledger holds {what} that cannot be read: it is damaged.",
            hint="Nothing more was sent. `importer ledger check` shows what is wrong.",
        ) from problem


def _hint(problem: Exception) -> str:
    code = getattr(problem, "sqlite_errorname", "") or ""
    hints = {
        "SQLITE_FULL": "The disk is full. Free some space and run the same command again; nothing is lost.",
        "SQLITE_NOTADB": "This file is not a ledger. Name another with --ledger.",
        "SQLITE_CORRUPT": "The file is damaged. Keep it: `importer ledger repair` saves what can be saved.",
        "SQLITE_READONLY": "The file or its folder cannot be written. Check its permissions.",
        "SQLITE_CANTOPEN": "The file or its folder cannot be opened. Check the path and its permissions.",
        "SQLITE_BUSY": "Another program holds the file. Close it and run the same command again.",
    }
    return next((hint for name, hint in hints.items() if code.startswith(name)), "Nothing more was sent.")


def open_writer(path: Path, *, is_network_fine: bool = False, mounts: Path = MOUNTS) -> sqlite3.Connection:
    """The one read-write connection, migrated to this version; makes the file when there is none.

    `is_network_fine`: somebody takes the blame for locks that may not hold; `mounts` is the table of mounts.

    **Errors**: LedgerProblem for a file that is not a ledger, is newer than this version, damaged, a link, or lies on a
    network file system; nothing was changed then.
    """
    make_private_folder(path.parent)
    _judge_place(path, mounts, is_network_fine=is_network_fine)
    is_new = not path.exists() or path.stat().st_size == 0 or _judge_header(path, is_owner=True) == 0
    with private_umask(), translated(path, "opened"):
        connection = sqlite3.connect(_uri(path, "rwc"), uri=True, isolation_level=None)
        path.chmod(PRIVATE_FILE_MODE)  # copied here by hand, perhaps; its -wal will have the same mode
    try:
        with translated(path, "opened"):
            _apply_settings(connection, _WRITER_SETTINGS)
        with private_umask(), translated(path, "brought up to date"):
            _migrate(connection, path, is_new=is_new)
    except BaseException:
        connection.close()
        raise
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that can only read, beside a running owner or alone.

    **Errors**: LedgerProblem when there is no such file, or it is not a ledger of this version.
    """
    if not path.exists():
        raise LedgerProblem(f"There is no ledger at {path}.", hint="Name one with --ledger; `importer run` starts one.")
    version = _judge_header(path)
    if version < SCHEMA_VERSION:
        raise LedgerProblem(
            f"The ledger {path} has an older format ({version}).",
            hint="`importer send` brings it up to date, and keeps a copy of the old one.",
        )
    with translated(path, "opened"):
        connection = sqlite3.connect(_uri(path, "ro"), uri=True, isolation_level=None)
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        connection.execute("PRAGMA trusted_schema = 0")
        connection.execute("PRAGMA cell_size_check = 1")
    return connection


def _uri(path: Path, mode: str) -> str:
    return f"{path.absolute().as_uri()}?mode={mode}"


def _judge_place(path: Path, mounts: Path, *, is_network_fine: bool) -> None:
    """Refuses what a ledger cannot live in. The rest of the world must not be able to swap the file."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise LedgerProblem(f"{path} is not an ordinary file.", hint="Name a plain file with --ledger.")
    if is_of_another_user(path):
        raise LedgerProblem(
            f"{path} belongs to another user, who could change it.",
            hint="Run as its owner, or take a copy of your own.",
        )
    mode = path.parent.stat().st_mode
    if os.name == "posix" and mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        raise LedgerProblem(f"Anyone may write into {path.parent}.", hint="Keep the ledger in a folder of your own.")
    network = None if is_network_fine else network_file_system(path.parent, mounts)
    if network:
        raise LedgerProblem(
            f"{path.parent} lies on a network file system ({network}), where SQLite's locks cannot be trusted.",
            hint="Keep the ledger on a local disk. --unsafe-network-ledger uses it all the same: then two runs at\n"
            "once may call people twice, and the file may be damaged.",
        )


def _judge_header(path: Path, *, is_owner: bool = False) -> int:
    """The schema version in the file, read without changing anything.

    What a killed process left in a journal cannot be rolled back through a connection that only reads; the owner of the
    ledger lets SQLite do so.
    """
    with translated(path, "read"):
        try:
            application, version, is_blank = _read_header(path, "ro")
        except sqlite3.OperationalError as problem:
            if not is_owner or not problem.sqlite_errorname.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN")):
                raise
            application, version, is_blank = _read_header(path, "rw")
    if is_blank and application == 0 == version:
        return 0  # made, and killed before its first step
    if application != APPLICATION_ID:
        raise LedgerProblem(f"{path} is a database, but not a ledger.", hint="Name another file with --ledger.")
    if version > SCHEMA_VERSION:
        raise LedgerProblem(
            f"{path} was written by a newer importer (format {version}, this one knows {SCHEMA_VERSION}).",
            hint="Update importer: pip install --upgrade phone-list-importer",
        )
    return version


def _read_header(path: Path, mode: str) -> tuple[int, int, bool]:
    with contextlib.closing(sqlite3.connect(_uri(path, mode), uri=True)) as probe:
        application = int(probe.execute("PRAGMA application_id").fetchone()[0])
        version = int(probe.execute("PRAGMA user_version").fetchone()[0])
        tables = probe.execute("SELECT count(*) FROM sqlite_master WHERE name NOT GLOB ?", [_STEPS]).fetchone()[0]
    return application, version, not tables


def _apply_settings(connection: sqlite3.Connection, settings: dict[str, str | int]) -> None:
    """Sets each pragma and reads it back: builds differ in what they silently ignore."""
    for name, value in settings.items():
        connection.execute(f"PRAGMA {name} = {value}").fetchone()
        got = connection.execute(f"PRAGMA {name}").fetchone()[0]
        if got != value:
            raise sqlite3.OperationalError(f"SQLite would not set {name} to {value} (it says {got})")


def _migrate(connection: sqlite3.Connection, path: Path, *, is_new: bool) -> None:
    from sqlite_utils import Database

    database = Database(connection, execute_plugins=False)
    migrations = migration_set()
    if not migrations.pending(database):
        return
    if not is_new:
        _back_up(connection, path)
    connection.execute(
        "BEGIN IMMEDIATE"
    )  # one transaction around the steps, each of which makes a savepoint of its own
    try:
        migrations.apply(database)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _back_up(connection: sqlite3.Connection, path: Path) -> None:
    """Copies an older ledger beside itself before it is migrated, by SQLite's own online copy."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    target = path.with_name(f"{path.name}.v{version}.backup")
    with contextlib.closing(sqlite3.connect(target)) as copy:
        connection.backup(copy)


@cache
def migration_set() -> Migrations:
    """The schema's steps, from the wheel's own copy or, in a checkout, from the top-level folder."""
    package = Path(__file__).resolve().parent.parent
    places = (package / "_migrations" / "migrations.py", package.parent / "migrations" / "migrations.py")
    file = next((place for place in places if place.is_file()), None)
    spec = file and importlib.util.spec_from_file_location("importer_ledger_migrations", file)
    if not spec or not spec.loader:
        raise LedgerProblem("This installation lacks its migrations.", hint="Install phone-list-importer again.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Migrations = module.migrate
    return found
