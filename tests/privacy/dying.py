"""Purges a ledger in a process of its own, which kills itself at its n-th crossing of BEGIN, COMMIT or VACUUM.

Run as a script: the ledger's path, and how many crossings it lives through; each counts before and after.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from pathlib import Path
from typing import Any

from importer import machine
from importer.ledger import Ledger
from importer.purging import Purger, scope_by_age


class Dying:
    """A connection at which the process ends."""

    def __init__(self, connection: sqlite3.Connection, crossings: int) -> None:
        self._connection = connection
        self._left = crossings

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        """As a connection."""
        is_crossing = sql.startswith(("BEGIN", "COMMIT", "VACUUM"))
        self._cross(is_crossing)
        made = self._connection.execute(sql, *values)
        self._cross(is_crossing)
        return made

    def _cross(self, is_crossing: bool) -> None:
        if is_crossing and self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self._left -= is_crossing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def purge(path: Path, crossings: int) -> None:
    """Everything, however young."""
    now_ms = machine.now().unix_ms
    with Ledger(path, machine.this_process("now"), now_ms=now_ms) as ledger:
        ledger.store.connection = Dying(ledger.store.connection, crossings)  # type: ignore[assignment]
        Purger(ledger=ledger, now=machine.now).purge(scope_by_age(0.0, keeps_hashes=True, now_ms=now_ms + 1000))


if __name__ == "__main__":
    purge(Path(sys.argv[1]), int(sys.argv[2]))
