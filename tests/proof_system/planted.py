"""A child of the self-test whose ledger is not kept as the product keeps it: `planted.py PRAGMA=VALUE '{...}'`.

`synchronous=NORMAL` and `synchronous=OFF` are bugs planted on purpose; the tests of power cuts must find them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from importer.ledger import Ledger
from importer.machine import Owner
from importer.selftest.child import main


def with_pragma(pragma: str) -> Callable[[Path, Owner, int], Ledger]:
    """Opens ledgers as always and then changes one setting of SQLite."""

    def opened(path: Path, owner: Owner, now_ms: int) -> Ledger:
        ledger = Ledger(path, owner, now_ms=now_ms)
        ledger.store.connection.execute(f"PRAGMA {pragma}").fetchone()
        return ledger

    return opened


if __name__ == "__main__":
    main(sys.argv[2], with_pragma(sys.argv[1]))
