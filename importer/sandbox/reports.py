"""Reports: what a filter, a page and a job's course look like as JSON.

A floor below `operations`: parsed requests in, JSON-ready rows out. Rows are drawn lazily and cut to the page, so
a page costs what it skips, and courses are computed only for rows that are shown or filtered by their end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import TypeGuard

from importer.sandbox import replies, timing
from importer.sandbox.dialling import CallAttempt, Course, Dialler, JobFacts
from importer.sandbox.ids import JobIds
from importer.sandbox.store import Window

MAX_PAGE = 199
MAX_PAGE_SIZE_ROWS = 200
DEFAULT_PAGE_SIZE_ROWS = 20

Row = dict[str, object]


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """The pagination object."""

    page: int = 0
    size_rows: int = DEFAULT_PAGE_SIZE_ROWS

    def answer(self, rows: Iterable[Row]) -> Row:
        """`{items, pagination}` with this page of the rows."""
        start = self.page * self.size_rows
        items = list(islice(rows, start, start + self.size_rows))
        return {"items": items, "pagination": {"page": self.page, "pageSize": self.size_rows}}


def read_page(value: object) -> Page:
    """The page asked for.

    **Errors**: Refusal, a 400 without a type.
    """
    asked = _object(value, "pagination", frozenset({"page", "pageSize"}))
    page, size_rows = asked.get("page", 0), asked.get("pageSize", DEFAULT_PAGE_SIZE_ROWS)
    if not _is_whole(page) or not 0 <= page <= MAX_PAGE:
        raise replies.bad_request(f"page must be from 0 to {MAX_PAGE}")
    if not _is_whole(size_rows) or not 1 <= size_rows <= MAX_PAGE_SIZE_ROWS:
        raise replies.bad_request(f"pageSize must be from 1 to {MAX_PAGE_SIZE_ROWS}")
    return Page(page=page, size_rows=size_rows)


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _object(value: object, name: str, known: frozenset[str]) -> Mapping[str, object]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise replies.bad_request(f"{name} must be an object")
    if not value.keys() <= known:
        raise replies.bad_request(f"{name} has an unknown field {min(value.keys() - known)}")
    return {key: one for key, one in value.items() if one is not None}


@dataclass(frozen=True, kw_only=True, slots=True)
class Filter:
    """A by-date filter: one window over the start (createdAt or startedAt) and one over finishedAt."""

    start: Window
    finish: Window | None


def read_by_date(value: object, start_name: str) -> tuple[Filter, Page]:
    """The filter and the page of a by-date request; `start_name` is `createdAt` or `startedAt`.

    **Errors**: Refusal, a 400 without a type.
    """
    asked = _object(value, "The body", frozenset({"filter", "pagination"}))
    names = frozenset(f"{name}{end}" for name in (start_name, "finishedAt") for end in ("From", "To"))
    chosen = _object(asked.get("filter"), "filter", names)
    finish = _window(chosen, "finishedAt") if any(name.startswith("finishedAt") for name in chosen) else None
    return Filter(start=_window(chosen, start_name), finish=finish), read_page(asked.get("pagination"))


def _window(chosen: Mapping[str, object], name: str) -> Window:
    start, end = chosen.get(f"{name}From"), chosen.get(f"{name}To")
    return Window(
        from_s=float("-inf") if start is None else _time_s(start, f"{name}From"),
        to_s=float("inf") if end is None else _time_s(end, f"{name}To"),
    )


def _time_s(value: object, name: str) -> float:
    """Unix milliseconds or an RFC 3339 date-time, as whole milliseconds in seconds."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**15:
        return value / 1000
    moment = timing.read_date_time(value)
    if moment is None:
        raise replies.bad_request(f"{name} must be a date-time or Unix milliseconds")
    return round(moment.timestamp() * 1000) / 1000


def _is_within(at_s: float | None, window: Window | None) -> bool:
    if window is None:
        return True
    return at_s is not None and window.from_s <= round(at_s * 1000) / 1000 <= window.to_s


def milliseconds(at_s: float) -> object:
    """A report's time as Unix milliseconds."""
    return round(at_s * 1000)


def iso_time(at_s: float) -> object:
    """A report's time as ISO 8601."""
    return datetime.fromtimestamp(round(at_s * 1000) / 1000, UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True, kw_only=True, slots=True)
class Reporter:
    """Writes rows for one request: when it asks, how jobs go, and how times look."""

    ids: JobIds
    dialler: Dialler
    now_s: float
    stamp: Callable[[float], object]

    def job_rows(self, jobs: Iterable[JobFacts], finish: Window | None = None) -> Iterator[Row]:
        """CallJobReports of the jobs that finished within the window."""
        for job in jobs:
            course = self.course(job)
            if _is_within(course.finished_at_s, finish):
                yield self._job_row(job, course)

    def unfinished_rows(self, jobs: Iterable[JobFacts]) -> Iterator[Row]:
        """CallJobReports of the jobs without an end."""
        for job in jobs:
            course = self.course(job)
            if course.finished_at_s is None:
                yield self._job_row(job, course)

    def attempt_rows(self, jobs: Iterable[JobFacts], chosen: Filter | None = None) -> Iterator[Row]:
        """CallAttemptReports, job by job."""
        for job in jobs:
            for attempt in self.course(job).attempts:
                if chosen is None or (
                    _is_within(attempt.started_at_s, chosen.start) and _is_within(attempt.finished_at_s, chosen.finish)
                ):
                    yield self._attempt_row(job, attempt)

    def course(self, job: JobFacts) -> Course:
        """How a job stands now."""
        return self.dialler.course(job, self.now_s)

    def _job_row(self, job: JobFacts, course: Course) -> Row:
        row: Row = {
            "phone": job.phone,
            "callJobId": self.ids.of(job.sequence),
            "createdAt": self.stamp(job.created_at_s),
            "attemptsCount": len(course.attempts),
            "jobStatus": course.status,
        }
        if course.finished_at_s is not None:
            row["finishedAt"] = self.stamp(course.finished_at_s)
            row["callDuration"] = course.attempts[-1].talk_s if course.attempts else 0
            row["reportData"] = {}
        return row

    def _attempt_row(self, job: JobFacts, attempt: CallAttempt) -> Row:
        row: Row = {
            "phone": job.phone,
            "callJobId": self.ids.of(job.sequence),
            "attemptNumber": attempt.number,
            "startedAt": self.stamp(attempt.started_at_s),
        }
        if attempt.finished_at_s is None:
            return {**row, "jobStatus": "inProcess"}
        return {
            **row,
            "jobStatus": attempt.result,
            "callResult": attempt.result,
            "finishedAt": self.stamp(attempt.finished_at_s),
            "callDuration": attempt.talk_s,
            "reportData": {},
        }
