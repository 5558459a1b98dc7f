"""The last words of a run whose ledger failed: what came back meanwhile is written down on a fresh connection, once.

Floor: ledger. After an I/O error nothing is armed any more, but requests that were under way still come back with an
answer. Writing it down now saves a repeat later; failing to is no harm, since an open send counts as unknown (law 4).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from importer.errors import LedgerProblem
from importer.ledger.records import Settlement

if TYPE_CHECKING:
    from importer.ledger import Ledger


def record_last(ledger: Ledger, settled: Callable[[], Sequence[Settlement]], *, now_ms: int) -> int:
    """Reopens a ledger that failed and settles what can be settled; gives how many batches were.

    `settled` is asked once the ledger is open again, since judging an answer may need to read it.
    A commit that gave an error may be in the file all the same, so batches that stand settled there are left alone.
    **Crash**: before it the batches are armed and count as unknown. **Errors**: none: 0 when the ledger fails again.
    """
    try:
        ledger.reopen()
        armed = {row[0] for row in ledger.store.all("SELECT id FROM batches WHERE state = 'armed'")}
        still_open = [each for each in settled() if each.sendable.id in armed]
        if still_open:
            ledger.sends.advance(settled=still_open, now_ms=now_ms)
    except LedgerProblem:
        return 0
    return len(still_open)
