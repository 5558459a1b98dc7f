"""Will it fit: when sending would end, and what that means for keys and for the rows' own calling windows.

Floor: run. An estimate for a person, from `--rate` or from how the platform answered the last requests; nothing is
decided by it. A newcomer may question that bodies are read again: the windows stand in what was frozen, and nowhere
else, since a mapping may have made them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from importer.body import items_of
from importer.ledger import Ledger
from importer.ledger.records import Import
from importer.run.settings import Fit, LastTime
from importer.sender import SendSettings

_FINISH = "finishDateTime"


def fit_of(ledger: Ledger, an_import: Import, sending: SendSettings, to_send_rows: int, *, now_ms: int) -> Fit:
    """How the rows still to be sent would fit, begun now."""
    measured = ledger.view.measured_rows_s(sending.in_flight)
    rates = [rate for rate in (sending.rate_rows_s, measured) if rate]
    rate_rows_s = min(rates, default=None)
    expected_s = to_send_rows / rate_rows_s if rate_rows_s else None
    window = sending.window
    return Fit(
        rate_rows_s=rate_rows_s,
        is_measured=measured is not None and rate_rows_s == measured,
        expected_s=expected_s,
        is_beyond_key_window=expected_s is not None and expected_s > window.window_s - window.margin_s,
        late_rows=_late_rows(ledger, an_import, rate_rows_s, to_send_rows, now_ms),
        last=_last_time(ledger, an_import),
    )


def _late_rows(ledger: Ledger, an_import: Import, rate_rows_s: float | None, to_send_rows: int, now_ms: int) -> int:
    """Rows whose own window will have closed before it is their turn to be sent."""
    if _FINISH not in json.dumps(an_import.mapping):
        return 0
    late = 0
    for place, item in enumerate(_pending_items(ledger, an_import.id)):
        if place >= to_send_rows:
            break
        turn_ms = now_ms + (place / rate_rows_s * 1000 if rate_rows_s else 0)
        late += _FINISH in item and datetime.fromisoformat(item[_FINISH]).timestamp() * 1000 < turn_ms
    return late


def _pending_items(ledger: Ledger, import_id: int) -> Iterator[dict[str, Any]]:
    after_id = 0
    while batches := ledger.sends.frozen(import_id, after_id, 64):
        for sendable in batches:
            yield from items_of(sendable.body_bytes)
        after_id = batches[-1].id


def _last_time(ledger: Ledger, an_import: Import) -> LastTime | None:
    found = ledger.view.import_before(an_import)
    if found is None:
        return None
    import_id, started_ms, read_rows, accepted_rows = found
    return LastTime(import_id=import_id, started_ms=started_ms, read_rows=read_rows, accepted_rows=accepted_rows)
