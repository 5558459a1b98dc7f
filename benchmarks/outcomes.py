"""How long it takes to bring the outcomes of many call jobs into a ledger and to write them out, in how much memory.

The ledger is made by plain SQL, the reports by this process, so what is measured is ours: no network, no platform.

    python benchmarks/outcomes.py --rows 1000000
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import resource
import sqlite3
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from importer import machine
from importer.client import AttemptReport, Found, JobReport
from importer.ledger import Ledger, LedgerReader
from importer.machine import Owner
from importer.outcomes import Refresher, RefreshSettings
from importer.outcomes.exporting import Columns, export

BATCH_ROWS = 250
MOMENT = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
OWNER = Owner(pid=1, host="here", since="now", command="benchmark")


class Reports:
    """Every call job has finished; every third was not answered. Its id is its number behind a letter."""

    def __init__(self) -> None:
        self.requests = 0

    def job_reports(self, *, ids: Iterable[str] = ()) -> Found[JobReport]:
        self.requests += 1
        return Found(items=tuple(map(report, ids)))

    def attempt_reports(self, *, ids: Iterable[str] = ()) -> Found[AttemptReport]:
        raise NotImplementedError


def report(job_id: str) -> JobReport:
    phone = job_id[1:]
    return JobReport(
        phone=phone,
        call_job_id=job_id,
        created_at=MOMENT,
        attempts_count=1,
        redial_number=None,
        status="noAnswer" if int(phone) % 3 == 0 else "longCallWithResult",
        finished_at=MOMENT,
        tag_name=None,
        tag_payload=None,
        call_duration_s=12.0,
        report_data={"answer": "yes"},
    )


def make_ledger(path: Path, rows: int) -> None:
    """One import of so many accepted rows, five columns each."""
    with Ledger(path, OWNER, now_ms=0) as ledger:
        campaign = ledger.intake.add_campaign(
            name="benchmark", origin="https://example.com", fingerprint=b"x", key_seed="0" * 64, now_ms=0
        )
        files = [{"file_no": 0, "name": "list.csv"}]
        ledger.intake.begin_import(
            campaign_id=campaign.id, round_name="", list_name="list.csv", mapping={"phone_column": "phone"},
            settings={}, batch_size_rows=BATCH_ROWS, files=files, now_ms=0,
        )  # fmt: skip
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO rows VALUES (?, 1, 0, ?, ?, ?, NULL, ?, ?, 1)", row_lines(rows))
        for batch_id, first in enumerate(range(1, rows + 1, BATCH_ROWS), 1):
            add_batch(connection, batch_id, first, min(first + BATCH_ROWS, rows + 1))
        connection.execute("UPDATE imports SET source_state = 'complete', first_row_id = 1, read_rows = ?", [rows])
        connection.execute("COMMIT")


def row_lines(rows: int) -> Iterator[tuple[object, ...]]:
    for row_id in range(1, rows + 1):
        batch, position = divmod(row_id - 1, BATCH_ROWS)
        yield row_id, row_id + 1, 16_500_000_000 + row_id, row_id.to_bytes(16, "big"), batch + 1, position


def add_batch(connection: sqlite3.Connection, batch_id: int, first: int, end: int) -> None:
    items = [
        {"phone": str(16_500_000_000 + i), "payload": {"name": f"Person {i}", "order": str(i), "city": "Springfield"}}
        for i in range(first, end)
    ]
    body = json.dumps(items, separators=(",", ":")).encode()
    ids = json.dumps({"ids": [f"j{item['phone']}" for item in items]})
    connection.execute(
        "INSERT INTO batches (id, import_id, state, size_rows, first_row_id, last_row_id, request_key, sends, "
        "changed_ms) VALUES (?, 1, 'accepted', ?, ?, ?, ?, 1, 0)",
        [batch_id, len(items), first, end - 1, f"key-{batch_id}"],
    )
    connection.execute(
        "INSERT INTO bodies VALUES (?, ?, ?)", [batch_id, hashlib.sha256(body).digest(), zlib.compress(body, 1)]
    )
    connection.execute("INSERT INTO receipts VALUES (?, 'accepted', 'answer', 0, ?)", [batch_id, ids])


def timed(what: str, rows: int, began_s: float) -> None:
    took_s = time.monotonic() - began_s
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{what:32} {took_s:8.1f} s  {rows / took_s:12,.0f} rows/s  peak {peak_mb:,.0f} MB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        path, reports = Path(folder) / "ledger.db", Reports()
        began_s = time.monotonic()
        make_ledger(path, rows)
        timed("ledger made", rows, began_s)
        for what in ("first refresh", "second refresh"):
            began_s = time.monotonic()
            with Ledger(path, OWNER, now_ms=0) as ledger:
                done = Refresher(
                    book=ledger.outcomes,
                    reports=reports,
                    settings=RefreshSettings(rate_requests_s=None),
                    now=machine.now,
                    is_stopping=lambda: False,
                ).run(1)
            timed(f"{what}, {done.asked:,} asked", rows, began_s)
        for name in ("out.parquet", "out.csv", "out.jsonl"):
            began_s = time.monotonic()
            with LedgerReader(path) as reader:
                payload, policy = reader.outcomes.field_names(1)
                columns = Columns(phone="phone", payload=payload, policy=policy)
                export(Path(folder) / name, reader.outcomes.rows(1), columns, with_attempts=False)
            timed(name, rows, began_s)


if __name__ == "__main__":
    main()
