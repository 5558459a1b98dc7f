"""Reads what the API answers, tolerantly: text or number, milliseconds or ISO, either spelling, fields nobody listed.

Floor: client; pure: bytes in, records out. A newcomer may question so much tolerance: the documents and the live
service already disagree on times and spellings, and a report that cannot be read is a row whose fate stays unknown.
What identifies a row (its job id, its phone) is never guessed: without it the answer is `Unreadable`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn, TypeVar

from importer.client.failures import Refusal
from importer.client.records import AttemptReport, Campaign, JobReport, Page, ShortReport
from importer.client.secrecy import Secret, redact

LONGEST_MESSAGE = 300
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

T = TypeVar("T")


class Unreadable(ValueError):
    """The body is not what the API documents, however kindly read. The message quotes nothing of it."""


def read_json(body: bytes) -> Any:
    """The body's JSON value. **Errors**: Unreadable for anything else, however deep or long its numbers."""
    try:
        value = json.loads(body.decode("utf-8-sig"), parse_constant=_no_constant)
        return _whole_characters(value) if _SURROGATE.search(body) else value
    except (ValueError, RecursionError):  # a number of more than 4,300 digits is a ValueError too
        pass
    raise Unreadable("the body is not JSON that can be read")


def _whole_characters(value: Any) -> Any:
    """The value with half characters, which no file or database takes, as `?`."""
    return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def read_ids(body: bytes) -> tuple[str, ...]:
    """The call job ids of an answer to addPhones or cancel, in its order. **Errors**: Unreadable."""
    value = read_json(body)
    if not isinstance(value, list):
        raise Unreadable("the body is not a list of ids")
    return tuple(_id(each) for each in value)


def read_id(body: bytes) -> str:
    """The one call job id of an answer to addPhone: JSON text, a number, a list of one, or bare text."""
    try:
        value = read_json(body)
    except Unreadable:
        return _bare_word(body)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return _id(value)


def read_status(body: bytes) -> str:
    """The campaign status, as JSON text or bare; see `campaign_status` for the spelling."""
    try:
        value = read_json(body)
    except Unreadable:
        value = _bare_word(body)
    if not isinstance(value, str):
        raise Unreadable("the body is not a status")
    return campaign_status(value)


def _bare_word(body: bytes) -> str:
    word = body.strip()
    if 0 < len(word) <= 100 and word.isascii() and all(chr(b).isalnum() or chr(b) in "-_." for b in word):
        return word.decode("ascii")
    raise Unreadable("the body is neither JSON nor one plain word")


def campaign_status(text: str) -> str:
    """The documented spelling: `inProcess`, which a help page has, is `inProgress`; unseen values stay as they are."""
    return "inProgress" if text == "inProcess" else text


def job_status(text: str) -> str:
    """The documented spelling: `canceled`, which a help page has, is `cancelledByUser`; unseen values stay."""
    return "cancelledByUser" if text in {"canceled", "cancelled"} else text


def read_refusal(body: bytes, *secrets: Secret[str]) -> Refusal:
    """What an error body says; never fails: what is not JSON becomes the message, cut and masked."""
    try:
        value = read_json(body)
    except Unreadable:
        value = None
    if not isinstance(value, dict):
        return Refusal(type="", message=_shown(body.decode("utf-8", "replace"), secrets))
    duplicates = value.get("phonesDuplicates")
    return Refusal(
        type=_shown(_text(value.get("type")) or _text(value.get("error")) or "", secrets),
        message=_shown(_text(value.get("message")) or "", secrets),
        phone=_text(value.get("phone")),
        gmt_zone=_text(value.get("gmtZone")),
        state=_text(value.get("state")),
        phones_duplicates=tuple(filter(None, map(_text, duplicates))) if isinstance(duplicates, list) else (),
    )


def _shown(text: str, secrets: tuple[Secret[str], ...]) -> str:
    """A server's words, fit for a message: one line, bounded, numbers and tokens masked."""
    words = " ".join(text[: 10 * LONGEST_MESSAGE].split())
    return redact("".join(c if c.isprintable() else "?" for c in words), *secrets)[:LONGEST_MESSAGE]


def read_jobs(body: bytes) -> tuple[JobReport, ...]:
    """The answer to callJob/getReport. **Errors**: Unreadable."""
    return _rows(read_json(body), _job)


def read_attempts(body: bytes) -> tuple[AttemptReport, ...]:
    """The answer to callAttempt/getReport. **Errors**: Unreadable."""
    return _rows(read_json(body), _attempt)


def read_job_page(body: bytes, page: int, page_size: int) -> Page[JobReport]:
    """One page of call jobs; a bare list is taken for the items. **Errors**: Unreadable."""
    return _page(body, _job, page, page_size)


def read_attempt_page(body: bytes, page: int, page_size: int) -> Page[AttemptReport]:
    """One page of call attempts. **Errors**: Unreadable."""
    return _page(body, _attempt, page, page_size)


def _page(body: bytes, read: Callable[[_Fields], T], page: int, page_size: int) -> Page[T]:
    value = read_json(body)
    items = value.get("items") if isinstance(value, dict) else value
    said = value.get("pagination") if isinstance(value, dict) else None
    told = _Fields(said if isinstance(said, dict) else {})
    return Page(
        items=_rows(items, read),
        page=_or(told.number("page"), page),
        page_size=_or(told.number("pageSize"), page_size),
    )


def _or(value: int | None, otherwise: int) -> int:
    return otherwise if value is None else value


def _rows(value: Any, read: Callable[[_Fields], T]) -> tuple[T, ...]:
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise Unreadable("the body is not a list of reports")
    return tuple(read(_Fields(each)) for each in value)


class _Fields:
    """One JSON object while it is read; what is left unread at the end is `extra`.

    A field whose value cannot be read counts as absent and stays in `extra`, so nothing the API said is lost.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.extra = {name: value for name, value in values.items() if value is not None}

    def _take(self, name: str, read: Callable[[Any], T | None]) -> T | None:
        found = read(self.extra.get(name))
        if found is not None:
            del self.extra[name]
        return found

    def text(self, name: str) -> str | None:
        return self._take(name, _text)

    def identity(self, name: str) -> str:
        """**Errors**: Unreadable when absent: a row without it cannot be tied to anything."""
        return _id(self.extra.pop(name, None))

    def number(self, name: str) -> int | None:
        return self._take(name, _number)

    def time(self, name: str) -> datetime | None:
        return self._take(name, read_time)

    def seconds(self, name: str) -> float | None:
        return self._take(name, _finite)

    def mapping(self, name: str) -> dict[str, Any] | None:
        return self._take(name, lambda value: value if isinstance(value, dict) else None)

    def anything(self, name: str) -> Any:
        return self.extra.pop(name, None)


def _job(fields: _Fields) -> JobReport:
    return JobReport(
        phone=fields.identity("phone"),
        call_job_id=fields.identity("callJobId"),
        created_at=fields.time("createdAt"),
        attempts_count=fields.number("attemptsCount"),
        redial_number=fields.number("redialNumber"),
        status=_spelt(fields.text("jobStatus"), job_status),
        finished_at=fields.time("finishedAt"),
        tag_name=fields.text("tagName"),
        tag_payload=fields.anything("tagPayload"),
        call_duration_s=fields.seconds("callDuration"),
        report_data=fields.anything("reportData"),
        extra=fields.extra,
    )


def _attempt(fields: _Fields) -> AttemptReport:
    number = fields.number("attemptNumber")
    if number is None:
        raise Unreadable("a call attempt has no number")
    return AttemptReport(
        phone=fields.identity("phone"),
        call_job_id=fields.identity("callJobId"),
        attempt_number=number,
        redial_number=fields.number("redialNumber"),
        job_status=_spelt(fields.text("jobStatus"), job_status),
        call_result=fields.text("callResult"),
        call_duration_s=fields.seconds("callDuration"),
        started_at=fields.time("startedAt"),
        finished_at=fields.time("finishedAt"),
        tag_name=fields.text("tagName"),
        tag_payload=fields.anything("tagPayload"),
        report_data=fields.anything("reportData"),
        extra=fields.extra,
    )


def read_campaign(body: bytes) -> Campaign:
    """The campaign object. **Errors**: Unreadable."""
    value = read_json(body)
    if not isinstance(value, dict):
        raise Unreadable("the body is not a campaign")
    fields = _Fields(value)
    status = fields.text("status")
    if status is None:
        raise Unreadable("the campaign has no status")
    report = fields.mapping("shortReport")
    return Campaign(
        id=fields.text("id"),
        name=fields.text("name"),
        project_name=fields.text("projectName"),
        created_at=fields.time("creationDate"),
        bot_id=fields.text("botId"),
        status=campaign_status(status),
        short_report=None if report is None else _short_report(_Fields(report)),
        start_time=fields.time("startTime"),
        end_time=fields.time("endTime"),
        max_simultaneous_calls=fields.number("maxSimultaneousCalls"),
        extra=fields.extra,
    )


def _short_report(fields: _Fields) -> ShortReport:
    return ShortReport(
        total_numbers=fields.number("totalNumbers"),
        processed_numbers=fields.number("processedNumbers"),
        used_talking_time_s=fields.seconds("usedTalkingTime"),
        used_asr_s=fields.seconds("usedAsrSeconds"),
        in_process_calls=fields.number("inProcessCalls"),
        retry_calls=fields.number("retryCalls"),
        extra=fields.extra,
    )


def _spelt(text: str | None, spelling: Callable[[str], str]) -> str | None:
    return None if text is None else spelling(text)


def _text(value: Any) -> str | None:
    """Text, or a whole number as text."""
    return None if isinstance(value, bool) or not isinstance(value, str | int) else str(value)


def _id(value: Any) -> str:
    text = _text(value)
    if not text:
        raise Unreadable("an id or a phone is missing")
    return text


def _finite(value: Any) -> float | None:
    """A number, or a text that is one, as a finite float."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _number(value: Any) -> int | None:
    number = _finite(value)
    return int(number) if number is not None and number.is_integer() and abs(number) < 2**53 else None


def read_time(value: Any) -> datetime | None:
    """A moment as aware UTC: Unix milliseconds (number or digits) or ISO 8601; without an offset it is UTC."""
    milliseconds = _finite(value)
    try:
        if milliseconds is not None:
            return _EPOCH + timedelta(milliseconds=milliseconds)
        if isinstance(value, str):
            moment = datetime.fromisoformat(value.strip())
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    return None
