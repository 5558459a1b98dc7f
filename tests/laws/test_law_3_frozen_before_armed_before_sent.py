"""Law 3: frozen before armed, armed before sent; a retry is the stored bytes under the stored key."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import zlib
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from workbench import Bench, Platform, Serve, number, people, write_list

from importer.errors import LedgerProblem


class Looking(httpx.BaseTransport):
    """Looks at the ledger, as another process would, whenever a request is about to leave."""

    def __init__(self, inner: httpx.BaseTransport, look: Callable[[httpx.Request], None]) -> None:
        self._inner = inner
        self._look = look

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/addPhones"):
            self._look(request)
        return self._inner.handle_request(request)

    def close(self) -> None:
        self._inner.close()


def test_law_3_frozen_before_armed_before_sent(tmp_path: Path, serve: Serve) -> None:
    """When a byte leaves, its batch is armed on disk with an open send, and key, bytes and hash are what was frozen."""
    platform, looked = serve("lose-answer:every=3", "status:code=503,every=4"), 0
    ledger = tmp_path / "ledger.db"

    def look(request: httpx.Request) -> None:
        nonlocal looked
        looked += 1
        with contextlib.closing(sqlite3.connect(ledger, timeout=1, isolation_level=None)) as other:
            state, packed, sha256, first, opened = other.execute(
                "SELECT b.state, d.body, d.sha256, b.first_boot_ms, (SELECT count(*) FROM sends s "
                "WHERE s.batch_id = b.id AND s.ended_ms IS NULL) FROM batches b JOIN bodies d ON d.batch_id = b.id "
                "WHERE b.request_key = ?",
                [request.headers["Idempotence-Key"]],
            ).fetchone()
            other.execute("BEGIN IMMEDIATE")  # no transaction is open while the network is used
            other.execute("ROLLBACK")
        assert (state, opened, first is not None) == ("armed", 1, True)
        assert zlib.decompress(packed) == request.read()
        assert hashlib.sha256(request.read()).digest() == sha256

    bench = Bench(
        folder=tmp_path,
        origin=platform.origin,
        transport=lambda: Looking(httpx.HTTPTransport(), look),
    )
    report = bench.run(write_list(tmp_path / "a.csv", people(20)))
    assert report.exit_code == 0
    assert looked > 5
    platform.has_each_once(number(i) for i in range(20))


def test_law_3_a_body_that_does_not_match_its_hash_is_not_sent(
    tmp_path: Path, bench: Bench, platform: Platform
) -> None:
    """A damaged ledger stops the run before the network."""
    path = write_list(tmp_path / "a.csv", people(8))
    bench.run(path, first_rows=4)
    with contextlib.closing(sqlite3.connect(bench.ledger_path)) as other:
        other.execute(
            "UPDATE bodies SET body = ? WHERE batch_id = (SELECT max(id) FROM batches)",
            [zlib.compress(b'[{"phone":"1"}]')],
        )
        other.commit()
    sends = len(platform.sends())
    with pytest.raises(LedgerProblem, match="hash"):
        bench.run(path)
    assert len(platform.sends()) == sends
