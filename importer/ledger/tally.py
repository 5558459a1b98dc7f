"""What the page of an import adds up: sums and counts over its batches, sends and evidence, never row by row.

Floor: ledger. Every question is answered by SQLite from small tables (a line per batch or send), so a million rows in
packs cost nothing here. A newcomer may question latencies as counts by millisecond: there are few different ones, and
any percentile can be told from them.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from importer.ledger.opening import translated


@dataclass(frozen=True, kw_only=True, slots=True)
class SendCount:
    """Sends of one outcome, status and duration. **Units**: `elapsed_ms` is None where no exchange was timed."""

    outcome: str | None
    status: int | None
    elapsed_ms: int | None
    sends: int


@dataclass(frozen=True, kw_only=True, slots=True)
class DoubtfulBatch:
    """A batch that only a person or the reports can settle. **Units**: Unix milliseconds."""

    batch_id: int
    rows: int
    reason: str
    sends: int
    first_sent_ms: int | None
    last_sent_ms: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class EvidenceLine:
    """What the reports once showed of a batch, and what state the batch is in now."""

    batch_id: int
    rows: int
    state: str
    asked_ms: int
    finding: str
    jobs: int


class Tally:
    """Sums of one import over one connection, which may be a reader beside a run."""

    def __init__(self, connection: sqlite3.Connection, path: Path, import_id: int) -> None:
        self._connection = connection
        self._path = path
        self._import_id = import_id

    def _all(self, sql: str, *more: Any) -> list[Any]:
        with translated(self._path, "read"):
            return self._connection.execute(sql, [self._import_id, *more]).fetchall()

    def accepted_by_second(self) -> list[tuple[int, int]]:
        """When rows were accepted: (Unix second, rows), in order. A person's word has no time of its own."""
        return self._all(
            "SELECT c.received_ms / 1000, sum(b.size_rows) FROM batches b JOIN receipts c ON c.batch_id = b.id "
            "WHERE b.import_id = ? AND b.state = 'accepted' AND c.evidence <> 'person' GROUP BY 1 ORDER BY 1"
        )

    def known_by(self) -> dict[str, int]:
        """Accepted rows by how they are known to be: `answer`, `report` or `person`."""
        return dict(
            self._all(
                "SELECT c.evidence, sum(b.size_rows) FROM batches b JOIN receipts c ON c.batch_id = b.id "
                "WHERE b.import_id = ? AND b.state = 'accepted' GROUP BY 1"
            )
        )

    def sends(self) -> list[SendCount]:
        """All sends of the import, those of batches that were split among them."""
        rows = self._all(
            "SELECT s.outcome, s.status, s.elapsed_ms, count(*) FROM batches b JOIN sends s ON s.batch_id = b.id "
            "WHERE b.import_id = ? GROUP BY 1, 2, 3"
        )
        return [SendCount(outcome=o, status=s, elapsed_ms=e, sends=n) for o, s, e, n in rows]

    def batches(self) -> dict[str, int]:
        """Batches by state."""
        return dict(self._all("SELECT state, count(*) FROM batches WHERE import_id = ? GROUP BY state"))

    def in_doubt(self, limit: int) -> list[DoubtfulBatch]:
        """Its batches in doubt, oldest first."""
        rows = self._all(
            "SELECT b.id, b.size_rows, b.reason, count(s.id), min(s.armed_ms), max(s.armed_ms) FROM batches b "
            "LEFT JOIN sends s ON s.batch_id = b.id WHERE b.import_id = ? AND b.state = 'in_doubt' "
            "GROUP BY b.id ORDER BY b.id LIMIT ?",
            limit,
        )
        return [
            DoubtfulBatch(batch_id=i, rows=r, reason=why, sends=n, first_sent_ms=first, last_sent_ms=last)
            for i, r, why, n, first, last in rows
        ]

    def evidence(self, limit: int) -> list[EvidenceLine]:
        """What the reports were asked and showed, newest first."""
        rows = self._all(
            "SELECT b.id, b.size_rows, b.state, e.asked_ms, e.finding, e.jobs FROM batches b "
            "JOIN evidence e ON e.batch_id = b.id WHERE b.import_id = ? ORDER BY e.id DESC LIMIT ?",
            limit,
        )
        return [EvidenceLine(batch_id=i, rows=r, state=s, asked_ms=ms, finding=f, jobs=j) for i, r, s, ms, f, j in rows]

    def findings(self) -> dict[str, int]:
        """How often the reports showed what."""
        return dict(
            self._all(
                "SELECT e.finding, count(*) FROM batches b JOIN evidence e ON e.batch_id = b.id "
                "WHERE b.import_id = ? GROUP BY 1"
            )
        )

    def refusals(self) -> list[tuple[str, str, int]]:
        """Why the platform declined rows: kind, what it said the first time, rows; the commonest first."""
        return self._all(
            "SELECT coalesce(json_extract(c.content, '$.type'), ''), "
            "coalesce(min(json_extract(c.content, '$.message')), ''), sum(b.size_rows) FROM batches b "
            "JOIN receipts c ON c.batch_id = b.id "
            "WHERE b.import_id = ? AND b.state = 'refused' GROUP BY 1 ORDER BY 3 DESC"
        )

    def file_names(self) -> list[tuple[str, int | None]]:
        """The files of its list, in order, and the rows read of each."""
        return self._all("SELECT name, read_rows FROM files WHERE import_id = ? ORDER BY file_no")
