"""Doubt's side of the ledger: which batches may or may not have been carried out, and what evidence settles them.

Floor: ledger. Evidence is only ever added. A verdict and the evidence it rests on share one transaction. Jobs whose ids
a receipt already holds are set aside before anything is judged, so one call job never settles two batches.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from importer.body import items_of, phones_of
from importer.ledger.opening import translated
from importer.ledger.packs import rows_of_batch
from importer.ledger.records import Sendable
from importer.ledger.seals import Stub, sealed
from importer.ledger.send_book import SendBook
from importer.ledger.stand_ins import is_erased
from importer.ledger.store import Store
from importer.protocol import Batch, Finding, SeenJob, State, Step


@dataclass(frozen=True, kw_only=True, slots=True)
class Doubt:
    """A batch whose fate is open, and when it may have been carried out.

    **Units**: Unix milliseconds. `from_ms` and `armed_ms` are the server's clock at the first and at the last arming,
    over all epochs; `last_ms` is ours at the end of the last send. `has_server_time` is False when a send that may have
    been carried out was armed without the server's time: then the first two are ours as well, and ours may jump.
    """

    sendable: Sendable = field(repr=False)
    phones: tuple[str, ...] = field(repr=False)
    from_ms: int
    armed_ms: int
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


_IS_ADOPTED = "json_extract(facts, '$.adopted_since_ms') IS NOT NULL"
_HAS_BYTES = "EXISTS (SELECT 1 FROM bodies d WHERE d.batch_id = b.id)"

ABSENT_FOR_GOOD = "absent for good"
# The evidence that opened the present epoch of batch b can not be overtaken, or is a person's word.
_IS_ABSENT_FOR_GOOD = (
    "EXISTS (SELECT 1 FROM evidence e WHERE e.batch_id = b.id AND e.epoch = b.epoch - 1 "
    f"AND (e.finding = 'person' OR e.detail = '{ABSENT_FOR_GOOD}'))"
)


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
        return self._doubts(f"b.import_id = ? AND {is_open} AND {_HAS_BYTES}", import_id)

    def rivals(self, doubts: Sequence[Doubt]) -> list[Doubt]:
        """Other batches that may have been carried out for a number of these: a call job may be theirs.

        Of every import of the ledger, since a number may be called in two rounds. That includes what was found absent
        while a request could still arrive, whatever is done with it now; and, where a lost ledger was replaced, what
        this one never sent.
        """
        known = {doubt.sendable.id for doubt in doubts}
        phones = {phone for doubt in doubts for phone in doubt.phones}
        is_open = "b.state IN ('armed', 'in_doubt') OR b.state = 'waiting' AND b.is_ambiguous = 1"
        may_arrive = f"b.state IN ('frozen', 'waiting') AND b.epoch > 0 AND NOT {_IS_ABSENT_FOR_GOOD}"
        is_another_s = (
            f"b.state = 'frozen' AND b.epoch = 0 AND b.import_id IN (SELECT id FROM imports WHERE {_IS_ADOPTED})"
        )
        others = self._doubts(f"({is_open} OR {may_arrive} OR {is_another_s}) AND {_HAS_BYTES}")
        return [each for each in others if each.sendable.id not in known and not phones.isdisjoint(each.phones)]

    def is_adopted(self, import_id: int) -> bool:
        """True when a lost ledger may have sent batches of this import, cut as it pleased."""
        return bool(self._store.one(f"SELECT {_IS_ADOPTED} FROM imports WHERE id = ?", [import_id])[0])

    def doubt_of(self, batch_id: int) -> Doubt | None:
        """One batch in doubt; None when it is not."""
        return next(iter(self._doubts("b.id = ? AND b.state = 'in_doubt'", batch_id)), None)

    def import_of(self, batch_id: int) -> int:
        """The import a batch belongs to."""
        return int(self._store.one("SELECT import_id FROM batches WHERE id = ?", [batch_id])[0])

    def _doubts(self, where: str, *values: int) -> list[Doubt]:
        rows = self._store.all(
            "SELECT b.id, b.reason, b.first_low_ms, min(s.server_low_ms), max(s.server_low_ms), "
            "coalesce(max(s.server_low_ms IS NULL AND coalesce(s.outcome, '') NOT LIKE 'not executed:%'), 0), "
            "coalesce(min(s.armed_ms), b.changed_ms), coalesce(max(coalesce(s.ended_ms, s.armed_ms)), b.changed_ms) "
            "FROM batches b LEFT JOIN sends s ON s.batch_id = b.id "
            f"WHERE {where} GROUP BY b.id ORDER BY b.id",
            values,
        )
        return [self._doubt(*row) for row in rows]

    def _doubt(
        self,
        batch_id: int,
        reason: str,
        epoch_low_ms: int | None,
        first_low_ms: int | None,
        last_low_ms: int | None,
        is_undated: int,
        armed_ms: int,
        last_ms: int,
    ) -> Doubt:
        has_bytes = self._store.one("SELECT 1 FROM bodies WHERE batch_id = ?", [batch_id])
        sendable = self._sends.load(batch_id) if has_bytes else self._sends.load_bare(batch_id)
        lows_ms = [each for each in (epoch_low_ms, first_low_ms, last_low_ms) if each is not None]
        has_server_time = bool(lows_ms) and not is_undated
        return Doubt(
            sendable=sendable,
            phones=tuple(phones_of(items_of(sendable.body_bytes))) if has_bytes else (),
            from_ms=min(lows_ms) if has_server_time else armed_ms,
            armed_ms=max(lows_ms) if has_server_time else last_ms,
            last_ms=last_ms,
            has_server_time=has_server_time,
            reason=reason,
        )

    def unclaimed(self, jobs: Iterable[SeenJob]) -> list[SeenJob]:
        """The jobs that no receipt of this ledger holds, be it as a batch's own or as one made too many."""
        self._see_unclaimed(jobs)
        return [
            SeenJob(id=job_id, phone=phone, created_ms=created_ms)
            for job_id, phone, created_ms in self._store.all("SELECT id, phone, created_ms FROM temp.seen")
        ]

    def _see_unclaimed(self, jobs: Iterable[SeenJob]) -> None:
        run = self._store.connection.execute
        run("CREATE TEMP TABLE IF NOT EXISTS seen (id TEXT PRIMARY KEY, phone TEXT, created_ms INTEGER) WITHOUT ROWID")
        run("DELETE FROM temp.seen")
        self._store.many(
            "INSERT OR IGNORE INTO temp.seen VALUES (?, ?, ?)", ((job.id, job.phone, job.created_ms) for job in jobs)
        )
        run(
            "DELETE FROM temp.seen WHERE id IN (SELECT i.value FROM receipts r, json_each(r.content, '$.ids') i "
            "WHERE r.kind = 'accepted' AND i.value IN (SELECT id FROM temp.seen) UNION ALL "
            "SELECT i.value FROM receipts r, json_each(r.content, '$.extra_ids') i WHERE r.kind = 'accepted')"
        )

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

    def settle_absent(self, doubt: Doubt, step: Step, question: Question, *, is_for_good: bool) -> None:
        """Nothing was made: the batch is frozen again, in its next epoch.

        `is_for_good`: nothing that was sent could still arrive when the question was asked.
        """
        with self._store.transaction():
            self._add_evidence(doubt, "none", question, 0, ABSENT_FOR_GOOD if is_for_good else "absent")
            self._sends.move(doubt.sendable.id, State.IN_DOUBT, step.batch, step.reason, question.asked_ms)

    def is_absent_for_good(self, sendable: Sendable) -> bool:
        """True when the evidence that opened a batch's present epoch can not be overtaken, or is a person's word."""
        return bool(
            self._store.one(
                "SELECT 1 FROM evidence WHERE batch_id = ? AND epoch = ? AND (finding = 'person' OR detail = ?)",
                [sendable.id, sendable.batch.epoch - 1, ABSENT_FOR_GOOD],
            )
        )

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

    def never_sent_with(self, import_id: int, jobs: Iterable[SeenJob]) -> list[int]:
        """The batches of an import that this ledger never sent, and whose numbers have unclaimed jobs among these."""
        self._see_unclaimed(jobs)
        phones = {int(row[0]) for row in self._store.all("SELECT DISTINCT phone FROM temp.seen")}
        unsent = self._store.all(
            "SELECT id FROM batches b WHERE import_id = ? AND state = 'frozen' AND epoch = 0 "
            "AND NOT EXISTS (SELECT 1 FROM sends WHERE batch_id = b.id) ORDER BY id",
            [import_id],
        )
        batches = (batch_id for (batch_id,) in (unsent if phones else ()))
        with translated(self._store.path, "read"):
            return [
                batch_id
                for batch_id in batches
                if any(row.phone in phones for row in rows_of_batch(self._store.connection, batch_id))
            ]

    def put_in_doubt(self, batch_ids: Sequence[int], step_of: Callable[[Batch], Step], *, now_ms: int) -> int:
        """Moves batches by `step_of`, all or none; gives how many."""
        with self._store.transaction():
            for batch_id in batch_ids:
                batch = self._sends.load(batch_id).batch
                step = step_of(batch)
                self._sends.move(batch_id, batch.state, step.batch, step.reason, now_ms)
        return len(batch_ids)

    def accepted_by_position(self, import_id: int, limit: int | None) -> list[tuple[int, list[str], list[str]]]:
        """Batches whose ids were matched by position: (batch, phones, ids), spread evenly over the import.

        Those of which anything was erased are left out: their numbers cannot be held against the reports any more.
        """
        rows = self._store.all(
            "SELECT b.id, r.content FROM batches b JOIN receipts r ON r.batch_id = b.id "
            "JOIN bodies d ON d.batch_id = b.id "
            "WHERE b.import_id = ? AND r.kind = 'accepted' AND r.evidence = 'answer' ORDER BY b.id",
            [import_id],
        )
        stride = 1 if limit is None else max(1, len(rows) // limit)
        found = (
            (batch_id, phones_of(items_of(self._sends.load(batch_id).body_bytes)), json.loads(content)["ids"])
            for batch_id, content in rows[::stride]
        )
        return [each for each in found if not any(is_erased(int(phone)) for phone in each[1])]

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
