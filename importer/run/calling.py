"""Rows sent one at a time by the platform's addPhone, and yet like any row: frozen, armed, sent, settled.

Floor: run. The sender hands over the frozen bytes of a batch of one, which say everything; what goes over the wire is
made of them alone, so the same bytes under the same key are the same request. A newcomer may question that the choice
is kept with the import: a row begun by one operation must never be repeated by the other under its key.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from importer.body import items_of
from importer.client import CallsApi, Unreadable, read_id
from importer.errors import UsageProblem
from importer.ledger.records import Import
from importer.model import Answer, Exchange
from importer.policy import FIELDS
from importer.run.settings import VIA_LIST, VIA_PHONE
from importer.sender import Carrier

ZONE = "gmtZone"
_TAKEN = frozenset({"phone", "Idempotence-Key", *FIELDS})


def carrier_of(an_import: Import, api: CallsApi) -> Carrier:
    """How the rows of an import are sent."""
    return PhoneCarrier(api) if an_import.settings.get("via", VIA_LIST) == VIA_PHONE else api


@dataclass(frozen=True, slots=True)
class PhoneCarrier:
    """Sends a batch of one by addPhone; its answer, one id, is given as addPhones would have: a list of one."""

    api: CallsApi

    def send_batch(self, body: bytes, key: str, *, last_look: Callable[[], bool] | None = None) -> Exchange:
        """See `Carrier`."""
        (item,) = items_of(body)
        exchange = self.api.send_phone(
            item["phone"], payload=item.get("payload"), gmt_zone=item.get(ZONE), key=key, last_look=last_look
        )
        return _as_list(exchange)


def _as_list(exchange: Exchange) -> Exchange:
    if not isinstance(exchange, Answer) or exchange.status != 200:
        return exchange
    try:
        return replace(exchange, body=json.dumps([read_id(exchange.body)]).encode())
    except Unreadable:
        return exchange


def one_row(phone: str, payload: Mapping[str, str], gmt_zone: str | None) -> bytes:
    """A list of one row, as JSON lines.

    **Errors**: UsageProblem for a payload key that is a field of the platform's own: it could not be told apart.
    """
    taken = sorted(name for name in payload if name in _TAKEN or name.startswith("importer_") or not name)
    if taken:
        raise UsageProblem(f"The payload cannot have a key called {', '.join(map(repr, taken))}.")
    zone = {} if gmt_zone is None else {ZONE: gmt_zone}
    return json.dumps({"phone": phone, **payload, **zone}, ensure_ascii=False).encode() + b"\n"
