"""Bringing outcomes into the ledger: call jobs not known to have finished are asked for, the longest unasked first.

Floor: outcomes. Asked by id, a thousand at once: paging by date could show no more than 40,000 of them, and would bring
what is known already. A newcomer may question the probe: a job that no report shows yet costs a score of requests to
find out, so of a young batch never seen one id is asked for before all of them are.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol, TypeVar

from importer.client import ApiBusy, ApiRejected, ApiUnanswered, AttemptReport, Found, JobReport
from importer.errors import ApiAway
from importer.ledger import OutcomeBook
from importer.ledger.outcome_book import AttemptLine, JobLine, OpenBatch, OpenJob
from importer.machine import Moment

IDS_PER_REQUEST = 1_000
BATCHES_AT_ONCE = 1_000
YOUNG_MS = 3_600_000
TRIES = 4
FIRST_NAP_S = 1.0
LONGEST_NAP_S = 120.0
_TOO_LARGE = 413
_REQUESTS_PER_UNKNOWN = 20

T = TypeVar("T")


class Reports(Protocol):
    """The platform's reports by id; `CallsApi` gives them."""

    def job_reports(self, *, ids: Iterable[str] = ()) -> Found[JobReport]:
        """How these call jobs stand."""

    def attempt_reports(self, *, ids: Iterable[str] = ()) -> Found[AttemptReport]:
        """Every call attempt of these call jobs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RefreshSettings:
    """How to ask. **Units**: requests per second (None: no bound), ids per request."""

    with_attempts: bool = False
    rate_requests_s: float | None = 5.0
    ids_per_request: int = IDS_PER_REQUEST


@dataclass(frozen=True, kw_only=True, slots=True)
class Refreshed:
    """What a refresh brought. `unshown` call jobs no report showed; `swapped` had ids in another order than rows.

    `is_whole`: everything that may have changed was asked for; else a signal ended it, and the next goes on.
    """

    asked: int = 0
    told: int = 0
    finished: int = 0
    attempts: int = 0
    unshown: int = 0
    swapped: int = 0
    is_whole: bool = True


class Refresher:
    """Brings one import's outcomes up to date. The ledger must be owned while it runs."""

    def __init__(
        self,
        *,
        book: OutcomeBook,
        reports: Reports,
        settings: RefreshSettings,
        now: Callable[[], Moment],
        is_stopping: Callable[[], bool],
        tell: Callable[[Refreshed], None] = lambda _: None,
        nap: Callable[[float], None] = time.sleep,
    ) -> None:
        self._book = book
        self._reports = reports
        self._settings = settings
        self._now = now
        self._is_stopping = is_stopping
        self._tell = tell
        self._nap = nap
        self._size = settings.ids_per_request
        self._next_s = 0.0
        self._done = Refreshed()

    def run(self, import_id: int) -> Refreshed:
        """Asks once for everything that may have changed.

        **Crash**: what was told is kept group by group; the next refresh begins with what was not asked for.
        **Errors**: ApiError when the platform does not answer; what came before is kept.
        """
        began_ms = self._now().unix_ms
        self._book.begin(import_id)
        for group in self._groups(import_id, began_ms):
            if self._is_stopping():
                return replace(self._done, is_whole=False)
            self._bring(group, began_ms)
            self._tell(self._done)
        return self._done

    def run_batches(self, batch_ids: Sequence[int]) -> Refreshed:
        """As `run`, for these accepted batches alone."""
        began_ms = self._now().unix_ms
        for import_id in self._book.imports_of(batch_ids):
            self._book.begin(import_id)
        for group in self._filled(batch_ids, began_ms):
            if self._is_stopping():
                return replace(self._done, is_whole=False)
            self._bring(group, began_ms)
        return self._done

    def _groups(self, import_id: int, before_ms: int) -> Iterator[list[OpenBatch]]:
        attempts = self._settings.with_attempts
        while due := self._book.due(import_id, before_ms, BATCHES_AT_ONCE, with_attempts=attempts):
            yield from self._filled(due, before_ms)

    def _filled(self, batch_ids: Sequence[int], before_ms: int) -> Iterator[list[OpenBatch]]:
        """Batches in groups that fill a request."""
        group: list[OpenBatch] = []
        for batch_id in batch_ids:
            attempts = self._settings.with_attempts
            group.append(self._book.open_batch(batch_id, now_ms=before_ms, with_attempts=attempts))
            if sum(len(batch.jobs) for batch in group) >= self._size:
                yield group
                group = []
        if group:
            yield group

    def _bring(self, group: Sequence[OpenBatch], began_ms: int) -> None:
        """Asks for a group and writes what came, in one commit."""
        shown = self._shown(group)
        ids = [job.call_job_id for batch in shown for job in batch.jobs]
        reports = {report.call_job_id: report for report in self._asked(self._reports.job_reports, ids)}
        found = [pair for batch in shown for pair in self._matched(batch, reports)]
        attempts = self._attempts_of([job.call_job_id for job, report in found if self._wants_attempts(report)])
        lines = [_job_line(job, report, attempts.get(job.call_job_id, ())) for job, report in found]
        attempt_lines = [line for job, _ in found for line in _attempt_lines(job, attempts.get(job.call_job_id, ()))]
        asked_ms = max(self._now().unix_ms, began_ms)  # a clock set back must not make this go round for ever
        self._book.keep([batch.batch_id for batch in group], lines, attempt_lines, asked_ms=asked_ms)
        told = sum(line.status is not None for line in lines)
        self._done = replace(
            self._done,
            asked=self._done.asked + len(ids),
            told=self._done.told + told,
            finished=self._done.finished + sum(line.is_finished for line in lines),
            attempts=self._done.attempts + len(attempt_lines),
            unshown=self._done.unshown + sum(len(batch.jobs) for batch in group) - told,
        )

    def _shown(self, group: Sequence[OpenBatch]) -> list[OpenBatch]:
        """The batches to ask for now: of young ones never seen only if the newest shows in the reports already."""
        young_ms = self._now().unix_ms - YOUNG_MS
        unseen = [batch for batch in group if batch.jobs and not batch.is_seen and batch.accepted_ms > young_ms]
        if not unseen:
            return list(group)
        newest = max(unseen, key=lambda batch: batch.accepted_ms)
        if self._asked(self._reports.job_reports, [newest.jobs[0].call_job_id]):
            return list(group)
        return [batch for batch in group if batch not in unseen]

    def _matched(
        self, batch: OpenBatch, reports: Mapping[str, JobReport]
    ) -> Iterator[tuple[OpenJob, JobReport | None]]:
        """Each job with its report: the one for its number, where an id turns out to be another row's."""
        mine = [reports[job.call_job_id] for job in batch.jobs if job.call_job_id in reports]
        by_phone = {_digits(report.phone): report for report in mine}
        for job in batch.jobs:
            report = reports.get(job.call_job_id)
            if report is not None and _digits(report.phone) != str(job.phone):
                other = by_phone.get(str(job.phone))
                if other is not None:
                    self._done = replace(self._done, swapped=self._done.swapped + 1)
                    yield replace(job, call_job_id=other.call_job_id), other
                    continue
            yield job, report

    def _wants_attempts(self, report: JobReport | None) -> bool:
        return self._settings.with_attempts and report is not None and bool(report.attempts_count)

    def _attempts_of(self, ids: Sequence[str]) -> dict[str, list[AttemptReport]]:
        found: dict[str, list[AttemptReport]] = {}
        for report in self._asked(self._reports.attempt_reports, ids):
            found.setdefault(report.call_job_id, []).append(report)
        return found

    # --- the network --------------------------------------------------------------------------------------------------

    def _asked(self, ask: Callable[..., Found[T]], ids: Sequence[str]) -> list[T]:
        """The reports of these ids; requests that prove too large are made smaller."""
        items: list[T] = []
        place = 0
        while place < len(ids):
            part = ids[place : place + self._size]
            try:
                found = self._repeated(ask, part)
            except (ApiRejected, ApiUnanswered) as problem:
                if not _is_too_large(problem) or self._size == 1:
                    raise
                self._size = max(1, len(part) // 2)
                continue
            items.extend(found.items)
            place += len(part)
        return items

    def _repeated(self, ask: Callable[..., Found[T]], ids: Sequence[str]) -> Found[T]:
        """Asks at the agreed rate; asks again a few times while the platform is away."""
        for tried in range(TRIES):
            self._pace()
            try:
                found = ask(ids=ids)
            except ApiAway as problem:
                wait_s = wait_before(problem, tried)
                if tried + 1 == TRIES or wait_s is None or self._is_stopping() or _is_too_large(problem):
                    raise
                self._nap(wait_s)
            else:
                self._owe(len(found.unknown_ids) * _REQUESTS_PER_UNKNOWN)
                return found
        raise AssertionError("the last try returns or raises")  # pragma: no cover

    def _pace(self) -> None:
        wait_s = self._next_s - self._time_s()
        if wait_s > 0:
            self._nap(wait_s)
        self._next_s = max(self._next_s, self._time_s())
        self._owe(1)

    def _owe(self, requests: int) -> None:
        if self._settings.rate_requests_s:
            self._next_s += requests / self._settings.rate_requests_s

    def _time_s(self) -> float:
        return self._now().boot_ms / 1000


def _is_too_large(problem: Exception) -> bool:
    if isinstance(problem, ApiRejected):
        return problem.status == _TOO_LARGE
    return isinstance(problem, ApiUnanswered) and problem.reason == "too-large"


def wait_before(problem: ApiAway, tried: int) -> float | None:
    """Seconds to wait before asking again; None when the platform wants more than a person would wait for."""
    if isinstance(problem, ApiBusy) and problem.retry_after_s is not None:
        return problem.retry_after_s if problem.retry_after_s <= LONGEST_NAP_S else None
    return FIRST_NAP_S * float(2**tried)


# --- from reports to lines ------------------------------------------------------------------------------------------


def _digits(phone: str) -> str:
    return re.sub(r"\D", "", phone)


def _job_line(job: OpenJob, report: JobReport | None, attempts: Sequence[AttemptReport]) -> JobLine:
    if report is None:
        return JobLine(row_id=job.row_id, call_job_id=job.call_job_id)
    return JobLine(
        row_id=job.row_id,
        call_job_id=report.call_job_id,
        status=report.status or "unknown",
        is_finished=report.is_finished,
        attempts=report.attempts_count,
        call_duration_s=report.call_duration_s,
        redial_number=report.redial_number,
        created_ms=_ms(report.created_at),
        finished_ms=_ms(report.finished_at),
        tag_name=report.tag_name,
        tag_payload=_json(report.tag_payload),
        report_data=_json(report.report_data),
        are_attempts_known=report.is_finished and len(attempts) >= (report.attempts_count or 0),
    )


def _attempt_lines(job: OpenJob, reports: Iterable[AttemptReport]) -> Iterator[AttemptLine]:
    for report in reports:
        yield AttemptLine(
            row_id=job.row_id,
            attempt_number=report.attempt_number,
            job_status=report.job_status,
            call_result=report.call_result,
            call_duration_s=report.call_duration_s,
            redial_number=report.redial_number,
            started_ms=_ms(report.started_at),
            finished_ms=_ms(report.finished_at),
            tag_name=report.tag_name,
            tag_payload=_json(report.tag_payload),
            report_data=_json(report.report_data),
        )


def _ms(moment: datetime | None) -> int | None:
    return None if moment is None else round(moment.timestamp() * 1000)


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
