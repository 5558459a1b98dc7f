"""Doubt's side of the ledger: which batches may or may not have been carried out, and what evidence settles them.

Floor: ledger. Evidence is only ever added. A verdict and the evidence it rests on share one transaction. Jobs whose ids
a receipt already holds are set aside before anything is judged, so one call job never settles two batches.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from importer.body import items_of, phones_of
from importer.ledger.records import Sendable
from importer.ledger.seals import Stub, sealed
from importer.ledger.send_book import SendBook
from importer.ledger.store import Store
from importer.protocol import Finding, SeenJob, State, Step


@dataclass(frozen=True, kw_only=True, slots=True)
class Doubt:
    """A batch whose fate is open, and when it may have been carried out.

    **Units**: Unix milliseconds. `from_ms` is the server's clock at the first arming, over all epochs, as well as it is
    known; `last_ms` is ours at the end of the last send. `has_server_time` says whether `from_ms` is the server's.
    """

    sendable: Sendable = field(repr=False)
    phones: tuple[str, ...] = field(repr=False)
    from_ms: int
    last_ms: int
    has_server_time: bool
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What the platform's reports were asked, and when. **Units**: Unix milliseconds; the span is of createdAt."""

    asked_ms: int
    from_ms: int
    to_ms: int
    campaign_status: str | None


class DoubtBook:
    """What reconciliation reads and writes."""

    def __init__(self, store: Store, sends: SendBook) -> None:
        self._store = store
        self._sends = sends

    def doubts(self, import_id: int, *, is_early: bool) -> list[Doubt]:
        """Batches in doubt, oldest first; `is_early` adds those that wait ambiguous.

        Those whose bytes were lost are left out: nobody could send them again, so a person decides.
        """
        states = "('in_doubt', 'waiting')" if is_early else "('in_doubt')"
        is_open = f"b.state IN {states} AND b.is_ambiguous + (b.state = 'in_doubt') > 0"
        has_bytes = "EXISTS (SELECT 1 FROM bodies d WHERE d.batch_id = b.id)"
        return self._doubts(f"b.import_id = ? AND {is_open} AND {has_bytes}", import_id)

    def doubt_of(self, batch_id: int) -> Doubt | None:
        """One batch in doubt; None when it is not."""
        return next(iter(self._doubts("b.id = ? AND b.state = 'in_doubt'", batch_id)), None)

    def import_of(self, batch_id: int) -> int:
        """The import a batch belongs to."""
        return int(self._store.one("SELECT import_id FROM batches WHERE id = ?", [batch_id])[0])

    def _doubts(self, where: str, value: int) -> list[Doubt]:
        rows = self._store.all(
            "SELECT b.id, b.reason, min(s.server_low_ms), "
            "coalesce(min(s.armed_ms), b.changed_ms), coalesce(max(coalesce(s.ended_ms, s.armed_ms)), b.changed_ms), "
            "b.first_low_ms FROM batches b LEFT JOIN sends s ON s.batch_id = b.id "
            f"WHERE {where} GROUP BY b.id ORDER BY b.id",
            [value],
        )
        return [self._doubt(*row) for row in rows]

    def _doubt(
        self, batch_id: int, reason: str, low_ms: int | None, armed_ms: int, last_ms: int, epoch_low_ms: int | None
    ) -> Doubt:
        has_bytes = self._store.one("SELECT 1 FROM bodies WHERE batch_id = ?", [batch_id])
        sendable = self._sends.load(batch_id) if has_bytes else self._sends.load_bare(batch_id)
        server_ms = low_ms if low_ms is not None else epoch_low_ms
        return Doubt(
            sendable=sendable,
            phones=tuple(phones_of(items_of(sendable.body_bytes))) if has_bytes else (),
            from_ms=armed_ms if server_ms is None else server_ms,
            last_ms=last_ms,
            has_server_time=server_ms is not None,
            reason=reason,
        )

    def unclaimed(self, jobs: Iterable[SeenJob]) -> list[SeenJob]:
        """The jobs that no receipt of this ledger holds."""
        run = self._store.connection.execute
        run("CREATE TEMP TABLE IF NOT EXISTS seen (id TEXT PRIMARY KEY, phone TEXT, created_ms INTEGER) WITHOUT ROWID")
        run("DELETE FROM temp.seen")
        self._store.many(
            "INSERT OR IGNORE INTO temp.seen VALUES (?, ?, ?)", ((job.id, job.phone, job.created_ms) for job in jobs)
        )
        run(
            "DELETE FROM temp.seen WHERE id IN (SELECT i.value FROM receipts r, json_each(r.content, '$.ids') i "
            "WHERE r.kind = 'accepted' AND i.value IN (SELECT id FROM temp.seen))"
        )
        return [
            SeenJob(id=job_id, phone=phone, created_ms=created_ms)
            for job_id, phone, created_ms in self._store.all("SELECT id, phone, created_ms FROM temp.seen")
        ]

    def add_evidence(self, doubt: Doubt, finding: str, question: Question, *, jobs: int, detail: str = "") -> None:
        """Writes down what was seen, whatever it proves."""
        with self._store.transaction():
            self._add_evidence(doubt, finding, question, jobs, detail)

    def _add_evidence(self, doubt: Doubt, finding: str, question: Question, jobs: int, detail: str) -> None:
        self._store.insert(
            "evidence",
            batch_id=doubt.sendable.id,
            epoch=doubt.sendable.batch.epoch,
            asked_ms=question.asked_ms,
            from_ms=question.from_ms,
            to_ms=question.to_ms,
            finding=finding,
            jobs=jobs,
            campaign_status=question.campaign_status,
            detail=detail,
        )

    def settle_found(self, doubt: Doubt, step: Step, finding: Finding, question: Question) -> None:
        """The batch was carried out: accepted, with the ids the reports show, matched by phone."""
        extra = f"{len(finding.extra_ids)} more jobs" if finding.extra_ids else ""
        receipt: dict[str, Any] = {"ids": list(finding.ids)}
        if finding.extra_ids:
            receipt["extra_ids"] = list(finding.extra_ids)
        with self._store.transaction():
            self._add_evidence(doubt, finding.kind, question, finding.jobs, extra)
            self._sends.move(doubt.sendable.id, doubt.sendable.batch.state, step.batch, step.reason, question.asked_ms)
            self._add_receipt(doubt.sendable.id, "accepted", "report", receipt, question.asked_ms)

    def settle_absent(self, doubt: Doubt, step: Step, question: Question) -> None:
        """Nothing was made: the batch is frozen again, in its next epoch."""
        with self._store.transaction():
            self._add_evidence(doubt, "none", question, 0, "absent")
            self._sends.move(doubt.sendable.id, State.IN_DOUBT, step.batch, step.reason, question.asked_ms)

    def leave(self, doubt: Doubt, reason: str, *, now_ms: int) -> None:
        """Notes why a batch stays in doubt and what a person must decide."""
        batch = doubt.sendable.batch
        if batch.state is State.IN_DOUBT:
            with self._store.transaction():
                self._sends.move(doubt.sendable.id, State.IN_DOUBT, batch, reason, now_ms)

    def decide(self, doubt: Doubt, step: Step, *, now_ms: int) -> None:
        """A person's word: accepted without ids, refused, or frozen to be sent again."""
        state, batch_id = step.batch.state, doubt.sendable.id
        with self._store.transaction():
            question = Question(asked_ms=now_ms, from_ms=doubt.from_ms, to_ms=now_ms, campaign_status=None)
            self._add_evidence(doubt, "person", question, 0, step.reason)
            self._sends.move(batch_id, State.IN_DOUBT, step.batch, step.reason, now_ms)
            if state is State.ACCEPTED:
                ids = {"ids": [None] * step.batch.size_rows}
                self._add_receipt(batch_id, "accepted", "person", ids, now_ms)
            if state is State.REFUSED:
                self._add_receipt(batch_id, "refused", "person", {"type": "given up by a person"}, now_ms)
                self._sends.release_identities(batch_id)

    def _add_receipt(self, batch_id: int, kind: str, evidence: str, content: dict[str, Any], now_ms: int) -> None:
        self._store.insert(
            "receipts",
            batch_id=batch_id,
            kind=kind,
            evidence=evidence,
            received_ms=now_ms,
            content=sealed(content, Stub(batch_id=batch_id, kind=kind, evidence=evidence, received_ms=now_ms)),
        )

    def put_in_doubt(self, import_id: int, step_of: Any, *, now_ms: int) -> int:
        """Moves every frozen or waiting batch of an import by `step_of` (law 13, adoption); gives how many."""
        rows = self._store.all(
            "SELECT id FROM batches WHERE import_id = ? AND state IN ('frozen', 'waiting')", [import_id]
        )
        with self._store.transaction():
            for (batch_id,) in rows:
                batch = self._sends.load(batch_id).batch
                step: Step = step_of(batch)
                self._sends.move(batch_id, batch.state, step.batch, step.reason, now_ms)
        return len(rows)

    def accepted_by_position(self, import_id: int, limit: int | None) -> list[tuple[int, list[str], list[str]]]:
        """Batches whose ids were matched by position: (batch, phones, ids), spread evenly over the import."""
        rows = self._store.all(
            "SELECT b.id, r.content FROM batches b JOIN receipts r ON r.batch_id = b.id "
            "JOIN bodies d ON d.batch_id = b.id "
            "WHERE b.import_id = ? AND r.kind = 'accepted' AND r.evidence = 'answer' ORDER BY b.id",
            [import_id],
        )
        stride = 1 if limit is None else max(1, len(rows) // limit)
        return [
            (batch_id, phones_of(items_of(self._sends.load(batch_id).body_bytes)), json.loads(content)["ids"])
            for batch_id, content in rows[::stride]
        ]

    def match_anew(self, batch_id: int, ids: Sequence[str], *, now_ms: int) -> None:
        """Repairs a receipt whose ids stood in another order than the rows: the reports say which is whose."""
        stub = Stub(batch_id=batch_id, kind="accepted", evidence="report", received_ms=now_ms)
        content = sealed({"ids": list(ids)}, stub)
        with self._store.transaction():
            self._store.change_one(
                "UPDATE receipts SET content = ?, evidence = 'report', received_ms = ? "
                "WHERE batch_id = ? AND evidence = 'answer'",
                [content, now_ms, batch_id],
            )
