"""The records every floor shares: what an HTTP exchange gave, how a batch stands, what an observer is told.

Everything is frozen and keyword-only; nothing here does anything. A record that crosses a module border lives
here, so that the floors above need not know each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A complete HTTP answer: the status line, the headers and the whole body were read.

    **Units**: `elapsed_s` seconds on the monotonic clock; `server_date` is the Date header as aware UTC;
    `retry_after_s` is the Retry-After header in seconds (a date is turned into a distance, negatives into 0).
    """

    status: int
    body: bytes = field(repr=False)
    content_type: str
    server_date: datetime | None
    retry_after_s: float | None
    elapsed_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class NoAnswer:
    """No complete answer was had. `is_sent` says whether any byte of the request may have left.

    `reason` is one of: `dns`, `refused`, `tls`, `connect-timeout`, `pool-timeout`, `too-late` (the last look
    before the socket write said no) - all of these with `is_sent` False - and `write-failed`, `reset`,
    `closed`, `timeout`, `cut`, `too-large`, `undecodable`, with `is_sent` True.
    """

    reason: str
    detail: str
    is_sent: bool
    elapsed_s: float


Exchange = Answer | NoAnswer


@dataclass(frozen=True, kw_only=True, slots=True)
class Balance:
    """Where every row of an import is: `read` equals the sum of the others, or the ledger is wrong."""

    read: int = 0
    accepted: int = 0
    rejected: int = 0
    duplicate: int = 0
    suppressed: int = 0
    withdrawn: int = 0
    refused: int = 0
    in_doubt: int = 0
    pending: int = 0

    @property
    def settled(self) -> int:
        """Rows that no further run can change by itself."""
        return self.read - self.in_doubt - self.pending

    @property
    def is_even(self) -> bool:
        """True when the sum proves itself."""
        parts = (self.accepted, self.rejected, self.duplicate, self.suppressed, self.withdrawn)
        return self.read == sum(parts) + self.refused + self.in_doubt + self.pending


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadingProgress:
    """Intake took in another chunk. **Units**: rows; `total_rows` is None while nobody can know it."""

    read_rows: int
    rejected_rows: int
    duplicate_rows: int
    read_share: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class SendingProgress:
    """A send was settled. Counts of settled facts: they never go back."""

    balance: Balance
    in_flight: int
    retries: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Notice:
    """Something a person may want to know: `kind` is stable, `text` is a sentence without numbers of people."""

    kind: str
    text: str


Event = ReadingProgress | SendingProgress | Notice
Observer = Callable[[Event], None]
