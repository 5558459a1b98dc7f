"""What the disk tests share: a network that does something at its n-th request, and judgements after a fault."""

from __future__ import annotations

import threading
from collections.abc import Callable

import httpx
import pytest
from workbench import Bench, Platform, number


class EventfulTransport(httpx.BaseTransport):
    """A real network; before the n-th request that adds numbers something happens on this machine."""

    def __init__(self, at: int, event: Callable[[], None]) -> None:
        self._inner = httpx.HTTPTransport(retries=0, trust_env=False)
        self._at = at
        self._event = event
        self._lock = threading.Lock()
        self.count = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        with self._lock:
            if request.url.path.endswith("/addPhones"):
                self.count += 1
                if self.count == self._at:
                    self._event()
        return self._inner.handle_request(request)

    def close(self) -> None:
        self._inner.close()


@pytest.fixture
def ends_well(bench: Bench, platform: Platform) -> Callable[[int], None]:
    """A judgement: the same command again settles every row, once."""

    def judge(rows: int) -> None:
        report = bench.run(bench.folder / "a.csv")
        assert report.balance.accepted == rows
        platform.has_each_once(number(i) for i in range(rows))

    return judge
