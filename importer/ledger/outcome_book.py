"""Outcomes' side of the ledger: which call jobs to ask for, what was told of them, and both joined to the rows.

Floor: ledger. Everything is asked and written by whole batches, and each commit moves the checkpoint, so an interrupted
refresh goes on with what was asked longest ago. A newcomer may question that a report is matched to its row by number
before its id: ids stand in the order of an answer that is not documented, the number is in the report itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from importer.body import items_of
from importer.ledger.deflate import unpacked
from importer.ledger.opening import as_record, translated
from importer.ledger.packs import RowRecord, rows_of_batch
from importer.ledger.stand_ins import shown
from importer.ledger.store import Store
from importer.ledger.taken_back import taken_back

UNSEEN_REST_MS = 3_600_000  # a job no report shows is asked for again after an hour: each one costs many requests


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenJob:
    """A call job to ask for."""

    row_id: int
    phone: int = field(repr=False)
    call_job_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenBatch:
    """The call jobs of one batch to ask for. `is_seen`: some report of it came before. **Units**: Unix milliseconds."""

    batch_id: int
    accepted_ms: int
    is_seen: bool
    jobs: tuple[OpenJob, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class JobLine:
    """What the platform told of one call job, ready to be written; only the first two where no report shows it."""

    row_id: int
    call_job_id: str
    status: str | None = None
    is_finished: bool = False
    attempts: int | None = None
    call_duration_s: float | None = None
    redial_number: int | None = None
    created_ms: int | None = None
    finished_ms: int | None = None
    tag_name: str | None = None
    tag_payload: str | None = field(default=None, repr=False)
    report_data: str | None = field(default=None, repr=False)
    are_attempts_known: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptLine:
    """What the platform told of one call attempt."""

    row_id: int
    attempt_number: int
    job_status: str | None
    call_result: str | None
    call_duration_s: float | None
    redial_number: int | None
    started_ms: int | None
    finished_ms: int | None
    tag_name: str | None
    tag_payload: str | None = field(repr=False)
    report_data: str | None = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Funnel:
    """How the call jobs of an import stand. **Shapes**: `by_status` is (status, is_finished, call jobs).

    `attempts` and `talked_s` are summed over all call jobs that reports showed.

    `accepted` leaves out rows that a person said were called: nobody knows their call jobs.
    """

    accepted: int
    seen: int
    finished: int
    by_status: tuple[tuple[str | None, bool, int], ...]
    attempts: int = 0
    talked_s: float = 0.0

    @property
    def is_done(self) -> bool:
        """True when every call job is known to have finished."""
        return self.finished == self.accepted

    def of(self, status: str) -> int:
        """Call jobs with a status."""
        return sum(jobs for name, _, jobs in self.by_status if name == status)


@dataclass(frozen=True, kw_only=True, slots=True)
class OutcomeRow:
    """A row of the list with what became of it. `item` is what was, or will be, sent for it; `reason` its batch's.

    `item` is empty once its number and payload were erased.
    """

    row_id: int
    file: str
    row_no: int
    state: str
    reason: str
    item: dict[str, Any] = field(repr=False)
    call_job_id: str | None
    job: JobLine | None
    attempts: tuple[AttemptLine, ...] = ()

    @property
    def phone(self) -> str | None:
        """The row's number with its plus; None once it was erased."""
        return f"+{self.item['phone']}" if self.item else None


_JOB_COLUMNS = tuple(JobLine.__dataclass_fields__)
_ATTEMPT_COLUMNS = tuple(AttemptLine.__dataclass_fields__)


def _upsert(table: str, columns: Sequence[str], key: Sequence[str], more: Sequence[str] = ()) -> str:
    names = [*columns, *more]
    changes = ", ".join(f"{name} = excluded.{name}" for name in names if name not in key)
    marks = ", ".join("?" * len(names))
    insert = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})"
    return f"{insert} ON CONFLICT ({', '.join(key)}) DO UPDATE SET {changes}"


class OutcomeBook:
    """What is known of call jobs, and what to ask next."""

    def __init__(self, store: Store) -> None:
        self._store = store

    # --- asking -------------------------------------------------------------------------------------------------------

    def begin(self, import_id: int) -> None:
        """Takes up the accepted batches that were not there the last time; a person's word has no ids to ask for."""
        with self._store.transaction():
            self._store.connection.execute(
                "INSERT INTO outcome_progress SELECT b.id, b.import_id, b.size_rows, 0, 0 FROM batches b "
                "JOIN receipts c ON c.batch_id = b.id AND c.kind = 'accepted' AND c.evidence <> 'person' "
                "WHERE b.import_id = ? AND b.state = 'accepted' "
                "AND NOT EXISTS (SELECT 1 FROM outcome_progress p WHERE p.batch_id = b.id)",
                [import_id],
            )

    def imports_of(self, batch_ids: Sequence[int]) -> list[int]:
        """The imports that these batches are of."""
        found = {self._store.one("SELECT import_id FROM batches WHERE id = ?", [each])[0] for each in batch_ids}
        return sorted(found)

    def due(self, import_id: int, before_ms: int, limit: int, *, with_attempts: bool) -> list[int]:
        """The batches to ask for that were not asked since then, the longest unasked first."""
        rows = self._store.all(
            "SELECT batch_id FROM outcome_progress WHERE import_id = ? AND asked_ms < ? "
            "AND (open_rows > 0 OR (? AND open_attempt_rows > 0)) ORDER BY asked_ms, batch_id LIMIT ?",
            [import_id, before_ms, with_attempts, limit],
        )
        return [row[0] for row in rows]

    def open_batch(self, batch_id: int, *, now_ms: int, with_attempts: bool) -> OpenBatch:
        """The call jobs of a batch that may have changed, and those whose attempts are wanted and not all known.

        A batch accepted by a person's word has none: nobody knows their ids.
        """
        content, accepted_ms = self._store.one(
            "SELECT content, received_ms FROM receipts WHERE batch_id = ?", [batch_id]
        )
        ids = json.loads(content)["ids"]
        known = self._by_row(
            "SELECT o.row_id, o.call_job_id, o.is_finished, o.status, o.asked_ms, "
            "coalesce(o.attempts, 0) > 0 AND o.are_attempts_known = 0 FROM job_outcomes o",
            batch_id,
        )
        unknown = (None, 0, None, None, 0)
        rows = [(row.id, row.phone, row.position or 0, *known.get(row.id, unknown)) for row in self._rows_of(batch_id)]
        jobs = [
            OpenJob(row_id=row_id, phone=phone, call_job_id=known_id or ids[position])
            for row_id, phone, position, known_id, is_finished, status, asked_ms, needs_attempts in rows
            if (known_id or ids[position]) is not None
            and (
                (with_attempts and needs_attempts)
                or (not is_finished and (asked_ms is None or status is not None or asked_ms < now_ms - UNSEEN_REST_MS))
            )
        ]
        return OpenBatch(
            batch_id=batch_id,
            accepted_ms=accepted_ms,
            is_seen=any(row[5] is not None for row in rows),
            jobs=tuple(jobs),
        )

    def name_jobs(self, batch_ids: Sequence[int]) -> None:
        """Knows the call job of every row of these accepted batches by its receipt, where no report showed it yet."""
        with self._store.transaction():
            for batch_id in batch_ids:
                (content,) = self._store.one("SELECT content FROM receipts WHERE batch_id = ?", [batch_id])
                rows = [(row.id, row.position or 0) for row in self._rows_of(batch_id)]
                ids = json.loads(content)["ids"]
                self._store.many(
                    "INSERT OR IGNORE INTO job_outcomes (row_id, call_job_id, is_finished, asked_ms) "
                    "VALUES (?, ?, 0, 0)",
                    [(row_id, ids[position]) for row_id, position in rows if ids[position] is not None],
                )

    def keep(
        self,
        batch_ids: Sequence[int],
        jobs: Iterable[JobLine],
        attempts: Iterable[AttemptLine],
        *,
        asked_ms: int,
    ) -> None:
        """Writes what was told of these batches, and that they were asked for.

        **Crash**: before the commit they count as not asked; after it all of it is known.
        """
        job_sql = _upsert("job_outcomes", _JOB_COLUMNS, ["row_id"], ["asked_ms"])
        attempt_sql = _upsert("call_attempts", _ATTEMPT_COLUMNS, ["row_id", "attempt_number"])
        with self._store.transaction():
            self._store.many(job_sql, ((*_values(job, _JOB_COLUMNS), asked_ms) for job in jobs))
            self._store.many(attempt_sql, (_values(each, _ATTEMPT_COLUMNS) for each in attempts))
            self._store.many(
                "UPDATE outcome_progress SET asked_ms = ?, open_rows = ?, open_attempt_rows = ? WHERE batch_id = ?",
                [(asked_ms, *self._open_rows(batch_id), batch_id) for batch_id in batch_ids],
            )
            self._keep_erased(batch_ids)

    def _keep_erased(self, batch_ids: Sequence[int]) -> None:
        """What reports tell of people stays away from rows that were erased."""
        for batch_id in batch_ids:
            erased = [(row.id,) for row in self._rows_of(batch_id) if shown(row.phone) is None]
            for table in ("job_outcomes", "call_attempts"):
                self._store.many(
                    f"UPDATE {table} SET tag_payload = NULL, report_data = NULL, redial_number = NULL WHERE row_id = ?",
                    erased,
                )

    def _open_rows(self, batch_id: int) -> tuple[int, int]:
        """How many call jobs of a batch are not known to have finished, and to how many attempts are missing."""
        rows = self._rows_of(batch_id)
        known = self._by_row(
            "SELECT o.row_id, o.is_finished, coalesce(o.attempts, 0) > 0 AND o.are_attempts_known = 0 "
            "FROM job_outcomes o",
            batch_id,
        )
        told = [known[row.id] for row in rows if row.id in known]
        return len(rows) - sum(finished for finished, _ in told), sum(missing for _, missing in told)

    def _rows_of(self, batch_id: int) -> list[RowRecord]:
        with translated(self._store.path, "read"):
            return rows_of_batch(self._store.connection, batch_id)

    def _by_row(self, select: str, batch_id: int) -> dict[int, Any]:
        """What a query by `o.row_id` says of each row in the span of a batch, which may hold others too."""
        found = self._store.all(
            f"{select} WHERE o.row_id BETWEEN (SELECT first_row_id FROM batches WHERE id = ?1) "
            "AND (SELECT last_row_id FROM batches WHERE id = ?1)",
            [batch_id],
        )
        return {row[0]: row[1:] for row in found}

    # --- looking ------------------------------------------------------------------------------------------------------

    def funnel(self, import_id: int) -> Funnel:
        """How the call jobs of an import stand, as far as it was asked."""
        accepted = self._store.one(
            "SELECT coalesce(sum(b.size_rows), 0) FROM batches b JOIN receipts c ON c.batch_id = b.id "
            "WHERE b.import_id = ? AND b.state = 'accepted' AND c.evidence <> 'person'",
            [import_id],
        )[0]
        rows = self._store.all(
            "SELECT o.status, o.is_finished, count(*), total(o.attempts), total(o.call_duration_s) "
            "FROM job_outcomes o WHERE o.row_id >= "
            "(SELECT first_row_id FROM imports WHERE id = ?1) AND (EXISTS (SELECT 1 FROM rows r "
            "WHERE r.id = o.row_id AND r.import_id = ?1) OR EXISTS (SELECT 1 FROM row_packs p WHERE p.first_row_id = "
            "(SELECT max(q.first_row_id) FROM row_packs q WHERE q.first_row_id <= o.row_id) "
            "AND o.row_id < p.first_row_id + p.size_rows AND p.import_id = ?1)) GROUP BY 1, 2 ORDER BY 3 DESC",
            [import_id],
        )
        return Funnel(
            accepted=accepted,
            seen=sum(jobs for status, _, jobs, *_ in rows if status is not None),
            finished=sum(jobs for _, is_finished, jobs, *_ in rows if is_finished),
            by_status=tuple((status, bool(is_finished), jobs) for status, is_finished, jobs, *_ in rows),
            attempts=round(sum(attempts for *_, attempts, _ in rows)),
            talked_s=sum(talked_s for *_, talked_s in rows),
        )

    def field_names(self, import_id: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The payload keys and the policy fields of an import's rows, each in the order of the list's columns."""
        payload: dict[str, None] = {}
        policy: dict[str, None] = {}
        bodies = self._store.connection.execute(
            "SELECT d.body FROM batches b JOIN bodies d ON d.batch_id = b.id "
            "WHERE b.import_id = ? AND b.parent_id IS NULL ORDER BY b.id",
            [import_id],
        )
        for (packed,) in bodies:
            for item in items_of(unpacked(packed)):
                payload.update(dict.fromkeys(item.get("payload") or ()))
                policy.update(dict.fromkeys(item.keys() - {"phone", "payload"}))
        places = {name: place for place, name in enumerate(self.columns(import_id))}
        return (
            tuple(sorted(payload, key=lambda name: places.get(name, len(places)))),
            tuple(sorted(policy, key=lambda name: (places.get(name, len(places)), name))),
        )

    def columns(self, import_id: int) -> tuple[str, ...]:
        """What the columns of an import's files are called, as they stand in them, each once."""
        rows = self._store.all("SELECT facts FROM files WHERE import_id = ? ORDER BY file_no", [import_id])
        with as_record("the facts of a file"):
            return tuple(dict.fromkeys(name for (facts,) in rows for name in json.loads(facts)["columns"]))

    def rows(self, import_id: int, *, since_ms: int | None = None, with_attempts: bool = False) -> Iterator[OutcomeRow]:
        """Each row of an import that was enqueued, with what became of it, batch after batch; the withdrawn come last.

        With `since_ms` only those whose call job finished since then.
        """
        batches = self._store.connection.execute(
            "SELECT b.id, b.state, b.reason, d.body, c.content, e.erased_ms FROM batches b "
            "LEFT JOIN bodies d ON d.batch_id = b.id LEFT JOIN erased_batches e ON e.batch_id = b.id "
            "LEFT JOIN receipts c ON c.batch_id = b.id AND c.kind = 'accepted' "
            "WHERE b.import_id = ? AND b.state <> 'split' ORDER BY b.id",
            [import_id],
        )
        single = dict(self._store.all("SELECT row_id, erased_ms FROM erased_rows"))
        for batch_id, state, reason, packed, content, erased_ms in batches:
            items = items_of(unpacked(packed)) if packed else None
            ids = json.loads(content)["ids"] if content else None
            attempts = self._attempts(batch_id) if with_attempts else {}
            for position, row_id, phone, file, row_no, *job in self._members(batch_id):
                line = JobLine(**_job_fields(job)) if job[0] is not None else None
                if since_ms is not None and (line is None or (line.finished_ms or 0) < since_ms):
                    continue
                yield OutcomeRow(
                    row_id=row_id,
                    file=file,
                    row_no=row_no,
                    state=state if state in ("accepted", "refused", "in_doubt") else "pending",
                    reason=reason if shown(phone) else reason or _erased_on(single.get(row_id, erased_ms)),
                    item=items[position] if items and shown(phone) else _bare_item(phone),
                    call_job_id=line.call_job_id if line else ids and ids[position],
                    job=line,
                    attempts=tuple(attempts.get(row_id, ())),
                )
        if since_ms is None:
            yield from self._withdrawn(import_id)

    def _withdrawn(self, import_id: int) -> Iterator[OutcomeRow]:
        for row in taken_back(self._store, import_id):
            yield OutcomeRow(
                row_id=row.row_id, file=row.file, row_no=row.row_no, state="withdrawn",
                reason="", item=row.item if shown(row.phone) else {}, call_job_id=None, job=None,
            )  # fmt: skip

    def _members(self, batch_id: int) -> list[Any]:
        columns = ", ".join(f"o.{name}" for name in _JOB_COLUMNS)
        jobs = self._by_row(f"SELECT o.row_id, {columns} FROM job_outcomes o", batch_id)
        names = dict(
            self._store.all(
                "SELECT f.file_no, f.name FROM batches b JOIN files f ON f.import_id = b.import_id WHERE b.id = ?",
                [batch_id],
            )
        )
        none = (None,) * len(_JOB_COLUMNS)
        return [
            (row.position, row.id, row.phone, names.get(row.file_no, ""), row.row_no, *jobs.get(row.id, none))
            for row in self._rows_of(batch_id)
        ]

    def _attempts(self, batch_id: int) -> dict[int, list[AttemptLine]]:
        columns = ", ".join(f"a.{name}" for name in _ATTEMPT_COLUMNS)
        rows = self._store.all(
            f"SELECT {columns} FROM batches b JOIN call_attempts a ON a.row_id BETWEEN b.first_row_id "
            "AND b.last_row_id WHERE b.id = ? ORDER BY a.row_id, a.attempt_number",
            [batch_id],
        )
        found: dict[int, list[AttemptLine]] = {}
        for row in rows:
            found.setdefault(row[0], []).append(AttemptLine(**dict(zip(_ATTEMPT_COLUMNS, row, strict=True))))
        return found


def _bare_item(phone: int) -> dict[str, Any]:
    """What is left of a row whose frozen bytes are not there any more."""
    return {"phone": str(phone)} if shown(phone) else {}


def _erased_on(erased_ms: int | None) -> str:
    return f"erased on {datetime.fromtimestamp((erased_ms or 0) / 1000, UTC):%Y-%m-%d}"


def _values(line: JobLine | AttemptLine, columns: Sequence[str]) -> list[Any]:
    return [getattr(line, name) for name in columns]


def _job_fields(values: Sequence[Any]) -> dict[str, Any]:
    fields = dict(zip(_JOB_COLUMNS, values, strict=True))
    return {name: bool(value) if name.startswith(("is_", "are_")) else value for name, value in fields.items()}
