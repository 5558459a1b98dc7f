"""Whether the file at the ledger's path is still the file that is open.

Floor: ledger. A file that was deleted or replaced stays readable and writable to whoever has it open: everything would
go on well, and nothing of it would be found afterwards. So the names are looked at before each commit; two calls of
stat cost a few microseconds, the commit's fsync a thousand times that. The -wal is looked at too, since until a
checkpoint everything new lies there alone.
"""

from __future__ import annotations

from pathlib import Path

from importer.errors import LedgerProblem
from importer.machine import sync_file

_Identity = tuple[int, int]


class Place:
    """The ledger's file and its -wal as they were when it was opened. **Errors**: LedgerProblem from `judge`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._wal = path.with_name(f"{path.name}-wal")
        self._file_id = _identity(path)
        self._wal_id: _Identity | None = None

    def judge(self) -> None:
        """Refuses to go on when another file, or none, is where ours was. Called inside a transaction.

        The first time it also makes the -wal's name durable. **Errors**: OSError when that fails.
        """
        if self._file_id is None or _identity(self._path) != self._file_id:
            raise _gone(self._path)
        wal_id = _identity(self._wal)
        if self._wal_id is not None and wal_id != self._wal_id:
            raise _gone(self._wal)
        if self._wal_id is None and wal_id is not None:
            sync_file(self._path.parent)  # SQLite does so too, and lets an error of it pass
        self._wal_id = wal_id


def _identity(path: Path) -> _Identity | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _gone(path: Path) -> LedgerProblem:
    return LedgerProblem(
        f"{path} was deleted or replaced while it was in use, so nothing more was sent.",
        hint="Put the file back, or the newest backup, and run the same command again. If it is lost, say since when\n"
        "sends may have been made: --adopt-since TIME.",
    )
