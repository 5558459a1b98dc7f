"""The switches of the sandbox: one for each thing the vendor's documentation leaves open.

A leaf of the sandbox: a record and its defaults. The defaults are the documented behaviour, and where there is
none, the reading that is strictest with a client; a test turns a switch to see the client survive the other one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

DAY_S = 86_400.0

SameKey = Literal["refuse", "replay", "execute"]
Remember = Literal["ok", "refusals", "all"]
Duplicates = Literal["array", "jobs24h"]
Plus = Literal["refuse", "tolerate"]
UnknownFields = Literal["refuse", "ignore"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """How this server reads the contract.

    `same_key` is what a key with other content gets; `remember` which answers a key replays: only successes,
    refusals (definite 4xx) too, or 5xx as well. `duplicates` is where addPhones looks for a phone twice: in the
    array, or also among the campaign's jobs of the last 24 h. `report_delay_s` is how long a job stays out of
    the reports. `speed` is simulated seconds per second; `lines` how many calls go on at once, roughly.
    """

    key_ttl_s: float = DAY_S
    same_key: SameKey = "refuse"
    remember: Remember = "ok"
    duplicates: Duplicates = "array"
    plus: Plus = "refuse"
    unknown_fields: UnknownFields = "refuse"
    report_delay_s: float = 0.0
    speed: float = 1.0
    lines: int = 50
    max_body_bytes: int = 64 * 1024 * 1024
