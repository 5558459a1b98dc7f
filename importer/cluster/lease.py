"""How long a worker may go on without hearing that its shard is still its own.

Floor: cluster, on the worker's side. A worker that was frozen or cut off may be replaced; its successor sends the same
requests under the same keys. That is harmless while the platform remembers these keys, and only then: so a worker sends
nothing more once the key window has passed since it last heard that it had no successor. A newcomer may question that
this is looked at again directly before the first byte: a process may be frozen anywhere.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from importer.client import CallsApi
from importer.machine import Moment, StopSignals
from importer.model import Exchange


class Lease(StopSignals):
    """Also ends a run: when a successor is known, or when nothing was heard for too long. `also` may end it, too."""

    def __init__(self, longest_s: float, now: Callable[[], Moment], also: StopSignals | None = None) -> None:
        self._said: int | None = None
        self._also = also
        self._now = now
        self._longest_ms = longest_s * 1000
        self._heard_ms = now().boot_ms
        self._has_successor = False
        super().__init__()

    @property
    def received(self) -> int | None:
        """As if SIGTERM had come, once the lease is over; asked each time, because time passes."""
        said = self._said or (None if self._also is None else self._also.received)
        return said if self.is_good() else said or int(signal.SIGTERM)

    @received.setter
    def received(self, number: int | None) -> None:
        self._said = number

    def is_good(self) -> bool:
        """Whether a request may still leave: by a clock that goes on while the process stands still."""
        return not self._has_successor and self._now().boot_ms - self._heard_ms < self._longest_ms

    def renew(self, is_current: Callable[[], bool | None]) -> None:
        """Asks whether this worker still has the shard; None is no answer. What counts is when it was asked."""
        asked_ms = self._now().boot_ms
        said = is_current()
        if said is None:
            return
        self._has_successor = self._has_successor or not said
        if said and self.is_good():
            self._heard_ms = asked_ms


class LeasedApi(CallsApi):
    """A client that looks at the lease once more before the first byte of a batch."""

    def __init__(self, lease: Lease, origin: str, token: str, **more: Any) -> None:
        super().__init__(origin, token, **more)
        self._lease = lease

    def send_batch(self, body: bytes, key: str, *, last_look: Callable[[], bool] | None = None) -> Exchange:
        """See CallsApi."""
        return super().send_batch(
            body, key, last_look=lambda: self._lease.is_good() and (last_look is None or last_look())
        )
