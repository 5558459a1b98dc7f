"""Seals on receipts: a changed byte in what the API answered is found, although an id is any text.

Floor: ledger, pure. Bodies have a hash and keys can be made again from their rows; ids come from outside and could be
told from no others. So a receipt's JSON ends in a member `seal`, made of everything the receipt says. It guards against
damage and slips of the hand, not against somebody who can make seals: that one is caught by the API's own reports.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from importer.jobids import EvenIds
from importer.keys import netstring

_WORD = b"importer.receipt.1"
_SEAL_CHARACTERS = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Stub:
    """What stands beside a receipt's content: whose it is, what it says, on which evidence, since when."""

    batch_id: int
    kind: str
    evidence: str
    received_ms: int


def sealed(content: Mapping[str, Any], stub: Stub) -> str:
    """A receipt's content as it is kept: compact JSON that ends in its seal."""
    bare = {name: value for name, value in content.items() if name != "seal"}
    text = _compact(bare)
    facts = (str(stub.batch_id), stub.kind, stub.evidence, str(stub.received_ms), text)
    message = netstring(_WORD) + b"".join(netstring(fact.encode()) for fact in facts)
    seal = _compact({"seal": hashlib.sha256(message).hexdigest()[:_SEAL_CHARACTERS]})
    return f"{text[:-1]},{seal[1:]}" if bare else seal


def is_intact(text: str, stub: Stub) -> bool:
    """Whether a kept receipt is as it was sealed. Every receipt is: one without a seal has lost it."""
    content = read_receipt(text)
    return content is not None and "seal" in content and text == sealed(content, stub)


def read_receipt(text: str) -> dict[str, Any] | None:
    """A receipt's content, its seal included; None when it is no JSON object."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _compact(content: Mapping[str, Any]) -> str:
    ids = content.get("ids")
    if isinstance(ids, EvenIds) and len(content) == 1:
        return f'{{"ids":{ids.json_text}}}'
    if isinstance(ids, list) and len(content) == 1 and _is_plain(ids):
        return '{"ids":["' + '","'.join(ids) + '"]}'
    return json.dumps(content, separators=(",", ":"))


def _is_plain(texts: list[Any]) -> bool:
    """Whether JSON has each text as it stands, which is so of nearly all ids."""
    if not texts or set(map(type, texts)) != {str}:
        return False
    together = "".join(texts)
    return together.isascii() and together.isalnum()
