"""What typed calls take and give: one frozen record per request and answer of the Calls API.

Floor: client; data alone. A newcomer may question that statuses are plain text and most fields may be None: the API
adds values and leaves fields out, and a report must stay readable then; `extra` keeps whatever was not understood.
Phone numbers and payloads stay out of every repr.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

from importer.errors import UsageProblem

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeSpan:
    """A span of local time in which calls are allowed, each end 24-hour `HH:MM`."""

    local_time_from: str
    local_time_to: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ExternalCheck:
    """A URL the platform asks before it dials; it may hold credentials, so it is never shown."""

    url: str = field(repr=False)
    max_retries: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class NewCallJob:
    """One number to call, as addPhones takes it; what is None is left out and inherited from the campaign.

    `phone`: country code first, digits only. `payload`: any JSON object, handed to the script. `start` and `finish`:
    aware; no call before or after. `allowed_days`: of mon to sun. `allowed_time`: by day or `default`. `gmt_zone`: an
    offset or an IANA zone; None means the zone of the number. `dialer_priority`: 1, the highest, to 5.
    `max_attempts`: 1 to 50. **Units**: `retry_interval_minutes` 1 to 2880.
    """

    phone: str = field(repr=False)
    payload: Mapping[str, Any] | None = field(default=None, repr=False)
    start: datetime | None = None
    finish: datetime | None = None
    allowed_days: Sequence[str] | None = None
    allowed_time: Mapping[str, Sequence[TimeSpan]] | None = None
    retry_interval_minutes: int | None = None
    max_attempts: int | None = None
    gmt_zone: str | None = None
    dialer_priority: int | None = None
    external_check: ExternalCheck | None = None

    def as_json(self) -> dict[str, Any]:
        """The object addPhones takes. **Errors**: UsageProblem for a time without an offset."""
        fields = {
            "phone": self.phone,
            "payload": None if self.payload is None else dict(self.payload),
            "startDateTime": _maybe_moment(self.start),
            "finishDateTime": _maybe_moment(self.finish),
            "allowedDays": None if self.allowed_days is None else list(self.allowed_days),
            "allowedTime": self._allowed_time(),
            "retryIntervalInMinutes": self.retry_interval_minutes,
            "maxAttempts": self.max_attempts,
            "gmtZone": self.gmt_zone,
            "dialerPriority": self.dialer_priority,
            "externalCheck": self._external_check(),
        }
        return {name: value for name, value in fields.items() if value is not None}

    def _allowed_time(self) -> dict[str, list[dict[str, str]]] | None:
        if self.allowed_time is None:
            return None
        return {
            day: [{"localTimeFrom": span.local_time_from, "localTimeTo": span.local_time_to} for span in spans]
            for day, spans in self.allowed_time.items()
        }

    def _external_check(self) -> dict[str, Any] | None:
        check = self.external_check
        if check is None:
            return None
        retries = {} if check.max_retries is None else {"externalCheckMaxRetries": check.max_retries}
        return {"externalCheckUrl": check.url, **retries}


def moment_text(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds. **Errors**: UsageProblem for a time without an offset."""
    if moment.tzinfo is None:
        raise UsageProblem("a time without an offset means another moment on another machine", hint="make it aware")
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _maybe_moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment_text(moment)


@dataclass(frozen=True, kw_only=True, slots=True)
class DateFilter:
    """Which reports by date: `began` is `createdAt` of a job and `startedAt` of an attempt; None leaves an end open."""

    began_from: datetime | None = None
    began_to: datetime | None = None
    finished_from: datetime | None = None
    finished_to: datetime | None = None

    def as_json(self, began: str) -> dict[str, str]:
        """The filter object; a `to` is rounded up to the millisecond, since rounding down would leave rows out."""
        ends = {
            f"{began}From": self.began_from,
            f"{began}To": _up_to_millisecond(self.began_to),
            "finishedAtFrom": self.finished_from,
            "finishedAtTo": _up_to_millisecond(self.finished_to),
        }
        return {name: moment_text(moment) for name, moment in ends.items() if moment is not None}


def _up_to_millisecond(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment + timedelta(microseconds=-moment.microsecond % 1000)


@dataclass(frozen=True, kw_only=True, slots=True)
class JobReport:
    """How a call job stands. **Units**: `call_duration_s` seconds; times aware UTC, None when not told."""

    phone: str = field(repr=False)
    call_job_id: str
    created_at: datetime | None
    attempts_count: int | None
    redial_number: int | None
    status: str | None
    finished_at: datetime | None
    tag_name: str | None
    tag_payload: Any = field(repr=False)
    call_duration_s: float | None
    report_data: Any = field(repr=False)
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def is_finished(self) -> bool:
        """Whether it has an end at all, even one we could not read."""
        return self.finished_at is not None or "finishedAt" in self.extra


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptReport:
    """One dial of a call job. **Units**: `call_duration_s` seconds; times aware UTC, None when not told."""

    phone: str = field(repr=False)
    call_job_id: str
    attempt_number: int
    redial_number: int | None
    job_status: str | None
    call_result: str | None
    call_duration_s: float | None
    started_at: datetime | None
    finished_at: datetime | None
    tag_name: str | None
    tag_payload: Any = field(repr=False)
    report_data: Any = field(repr=False)
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Page(Generic[T_co]):
    """One page of reports; there is no total, so a page shorter than `page_size` is the last."""

    items: tuple[T_co, ...]
    page: int
    page_size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ShortReport:
    """A campaign's counts. **Units**: `used_talking_time_s` and `used_asr_s` seconds."""

    total_numbers: int | None
    processed_numbers: int | None
    used_talking_time_s: float | None
    used_asr_s: float | None
    in_process_calls: int | None
    retry_calls: int | None
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Campaign:
    """A campaign as the API shows it; `status` in the documented spelling, or as sent when nobody documented it."""

    id: str | None
    name: str | None
    project_name: str | None
    created_at: datetime | None
    bot_id: str | None
    status: str
    short_report: ShortReport | None
    start_time: datetime | None
    end_time: datetime | None
    max_simultaneous_calls: int | None
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Found(Generic[T_co]):
    """The answers about those ids and phones the API knows, and those it does not."""

    items: tuple[T_co, ...]
    unknown_ids: tuple[str, ...] = ()
    unknown_phones: tuple[str, ...] = field(default=(), repr=False)
