"""Answers are read tolerantly, and what cannot be read says so instead of crashing (S12, S26)."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from importer.client import Unreadable, read_ids, read_refusal
from importer.client.exchange import http_date, retry_after_s
from importer.client.reading import (
    read_attempt_page,
    read_attempts,
    read_campaign,
    read_id,
    read_job_page,
    read_jobs,
    read_json,
    read_status,
    read_time,
)

MOMENT = datetime(2026, 1, 25, 12, 0, 0, 123000, tzinfo=UTC)
MS = 1769342400123

READERS: list[Any] = [
    read_json,
    read_ids,
    read_id,
    read_status,
    read_jobs,
    read_attempts,
    read_campaign,
    lambda body: read_job_page(body, 0, 200),
    lambda body: read_attempt_page(body, 0, 200),
]


def job(**fields: Any) -> dict[str, Any]:
    return {"phone": "16505550100", "callJobId": "a1", "createdAt": MS, "attemptsCount": 0, **fields}


def body(value: Any) -> bytes:
    return json.dumps(value).encode()


HOSTILE = {
    "deep": b"[" * 200_000,
    "deep objects": b'{"items":' * 100_000,
    "a number of 5,000 digits": b"[" + b"9" * 5000 + b"]",
    "a huge exponent": b'[1e999, {"a": 1e999}]',
    "not a number": b"[NaN, Infinity]",
    "half characters": b'["\\ud800", {"phone": "\\udfff", "callJobId": "\\ud83d"}]',
    "not UTF-8": b'["\xff\xfe"]',
    "nothing": b"",
    "a page of HTML": b"<html><body>502</body></html>",
    "cut JSON": b'["a","b',
    "two values": b'["a"]["b"]',
    "null": b"null",
    "a lone brace": b"{",
}


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("read", READERS)
def test_hostile_bodies_are_read_or_called_unreadable_and_never_crash(read: Any, what: str) -> None:
    """Deep, long, half and foreign: at worst `Unreadable`, which counts as ambiguous."""
    with contextlib.suppress(Unreadable):
        read(HOSTILE[what])
    read_refusal(HOSTILE[what])


NAMES = st.sampled_from(["items", "phone", "callJobId", "type", "status", "attemptNumber", "createdAt", "message"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner), max_leaves=8)


@given(st.binary(max_size=200) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_any_body_is_read_or_called_unreadable(raw: bytes) -> None:
    """There is no third way."""
    for read in READERS:
        with contextlib.suppress(Unreadable):
            read(raw)
    refusal = read_refusal(raw)
    assert len(refusal.message) <= 300
    assert refusal.message.isprintable()


# --- ids ------------------------------------------------------------------------------------------------------------


def test_ids_are_text_whatever_they_came_as() -> None:
    """Text or number, in the answer's order, never changed."""
    assert read_ids(b'["a", 12, "007", 99999999999999999999]') == ("a", "12", "007", "99999999999999999999")


@pytest.mark.parametrize("raw", [b"{}", b'"a"', b"[null]", b"[true]", b"[1.5]", b'[""]', b'[["a"]]', b'[{"id":"a"}]'])
def test_ids_that_are_no_ids_make_the_answer_unreadable(raw: bytes) -> None:
    """A guess here would settle a row wrongly."""
    with pytest.raises(Unreadable):
        read_ids(raw)


@pytest.mark.parametrize("raw", [b'"a1"', b'["a1"]', b"a1\n", b'\xef\xbb\xbf"a1"'])
def test_one_id_may_come_as_text_list_or_bare_word(raw: bytes) -> None:
    """One id, whichever way it is written."""
    assert read_id(raw) == "a1"


# --- reports --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "written",
    [MS, float(MS), str(MS), "2026-01-25T12:00:00.123Z", "2026-01-25T13:00:00.123+01:00", "2026-01-25T12:00:00.123"],
)
def test_times_are_read_as_milliseconds_or_iso(written: Any) -> None:
    """The documents say one, the service sends the other."""
    assert read_time(written) == MOMENT


@pytest.mark.parametrize("written", [None, True, [], {}, "", "soon", 1e30, -1e30, float("inf"), "2026-13-01T00:00:00Z"])
def test_times_that_are_none_are_none(written: Any) -> None:
    """An unreadable time never stops a report from being read."""
    assert read_time(written) is None


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(9000, 1, 1)))  # noqa: DTZ001  # made aware below
def test_a_moment_survives_both_spellings(naive: datetime) -> None:
    """To the millisecond."""
    moment = naive.replace(tzinfo=UTC, microsecond=naive.microsecond // 1000 * 1000)
    milliseconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    assert read_time(milliseconds) == read_time(moment.isoformat()) == moment


def test_a_job_report_is_read_with_everything_it_says() -> None:
    """Every documented field, and those nobody listed in `extra`."""
    (report,) = read_jobs(
        body(
            [
                job(
                    redialNumber=2,
                    jobStatus="longCallWithResult",
                    finishedAt=MS,
                    tagName="yes",
                    tagPayload={"a": 1},
                    callDuration=12.5,
                    reportData=[1],
                    newField="x",
                )
            ]
        )
    )
    assert (report.phone, report.call_job_id, report.created_at, report.attempts_count) == (
        "16505550100",
        "a1",
        MOMENT,
        0,
    )
    assert (report.redial_number, report.status, report.finished_at) == (2, "longCallWithResult", MOMENT)
    assert (report.tag_name, report.tag_payload, report.call_duration_s, report.report_data) == (
        "yes",
        {"a": 1},
        12.5,
        [1],
    )
    assert report.extra == {"newField": "x"}
    assert report.is_finished
    assert "16505550100" not in repr(report)


def test_a_report_with_the_least_is_read() -> None:
    """Only what ties it to a row is required; numbers may come as numbers."""
    (report,) = read_jobs(b'[{"phone": 16505550100, "callJobId": 7, "finishedAt": null}]')
    assert (report.phone, report.call_job_id, report.created_at, report.extra) == ("16505550100", "7", None, {})
    assert not report.is_finished


def test_a_field_that_cannot_be_read_is_kept_as_it_came() -> None:
    """Nothing the API said is lost; an end we cannot read is still an end."""
    (report,) = read_jobs(body([job(attemptsCount="many", finishedAt="yesterday", callDuration=[])]))
    assert (report.attempts_count, report.finished_at, report.call_duration_s) == (None, None, None)
    assert report.extra == {"attemptsCount": "many", "finishedAt": "yesterday", "callDuration": []}
    assert report.is_finished


@pytest.mark.parametrize("without", ["phone", "callJobId"])
def test_a_report_that_belongs_to_nobody_is_unreadable(without: str) -> None:
    """Without phone or id it can be tied to no row."""
    with pytest.raises(Unreadable):
        read_jobs(body([{name: value for name, value in job().items() if name != without}]))


@pytest.mark.parametrize(
    ("sent", "read"),
    [("canceled", "cancelledByUser"), ("inProcess", "inProcess"), ("somethingNew", "somethingNew"), ("", "")],
)
def test_job_statuses_have_one_spelling_and_unseen_ones_stay(sent: str, read: str) -> None:
    """`canceled` is documented too; what nobody documented is kept."""
    assert read_jobs(body([job(jobStatus=sent)]))[0].status == read


def test_attempt_reports_are_read() -> None:
    """The number of the attempt is what tells two of one job apart."""
    row = {"phone": "16505550100", "callJobId": "a1", "attemptNumber": "2", "startedAt": MS, "callResult": "busy"}
    (report,) = read_attempts(body([row]))
    assert (report.attempt_number, report.started_at, report.call_result) == (2, MOMENT, "busy")
    with pytest.raises(Unreadable):
        read_attempts(body([{"phone": "16505550100", "callJobId": "a1"}]))


def test_a_page_may_come_with_its_numbers_or_as_a_bare_list() -> None:
    """Items and pagination as documented, or the items alone."""
    told = read_job_page(body({"items": [job()], "pagination": {"page": 3, "pageSize": 50}}), 3, 200)
    assert (len(told.items), told.page, told.page_size) == (1, 3, 50)
    bare = read_job_page(body([job()]), 4, 200)
    assert (len(bare.items), bare.page, bare.page_size) == (1, 4, 200)


@pytest.mark.parametrize(
    ("raw", "status"), [(b'"inProcess"', "inProgress"), (b"paused", "paused"), (b'"brandNew"', "brandNew")]
)
def test_campaign_statuses_have_one_spelling_and_unseen_ones_stay(raw: bytes, status: str) -> None:
    """The help page's `inProcess` is the contract's `inProgress`."""
    assert read_status(raw) == status


def test_a_campaign_is_read() -> None:
    """With its counts, and whatever else it says."""
    value = {
        "id": 5,
        "name": "n",
        "status": "inProcess",
        "creationDate": MS,
        "shortReport": {"totalNumbers": 3, "x": 1},
    }
    campaign = read_campaign(body({**value, "startTime": "2026-01-25T12:00:00.123Z", "colour": "red"}))
    assert (campaign.id, campaign.status, campaign.created_at, campaign.start_time) == (
        "5",
        "inProgress",
        MOMENT,
        MOMENT,
    )
    assert campaign.short_report is not None
    assert (campaign.short_report.total_numbers, campaign.short_report.extra) == (3, {"x": 1})
    assert campaign.extra == {"colour": "red"}


# --- refusals and headers -------------------------------------------------------------------------------------------


def test_a_refusal_is_read_by_type_then_error_then_text() -> None:
    """Both documented shapes, and the page of a proxy."""
    typed = read_refusal(b'{"type":"phone.duplicated","phone":16505550100,"message":"m","phonesDuplicates":["1",2]}')
    assert (typed.type, typed.phone, typed.message, typed.phones_duplicates) == (
        "phone.duplicated",
        "16505550100",
        "m",
        ("1", "2"),
    )
    control = read_refusal(b'{"error":"campaign.finished","message":"over","args":[]}')
    assert (control.type, control.message) == ("campaign.finished", "over")
    raw = read_refusal(b"<h1>Bad\r\nGateway \x1b[31m</h1> +16505550100")
    assert (raw.type, raw.message) == ("", "<h1>Bad Gateway ?[31m</h1> +1650***0100")


@pytest.mark.parametrize(
    ("text", "wait_s"),
    [
        (None, None),
        ("2", 2.0),
        (" 1.5 ", 1.5),
        ("0", 0.0),
        ("-7", 0.0),
        ("1000000000", 86_400.0),
        ("9" * 5000, 86_400.0),
        ("inf", 86_400.0),
        ("nan", None),
        ("soon", None),
        ("", None),
        ("Mon, 23 Nov 2026 09:02:00 GMT", 120.0),
        ("Mon, 23 Nov 2026 08:00:00 GMT", 0.0),
        ("Mon, 23 Nov 2099 08:00:00 GMT", 86_400.0),
        ("Mon, 99 Nov 2026 08:00:00 GMT", None),
    ],
)
def test_retry_after_is_read_kindly_and_bounded(text: str | None, wait_s: float | None) -> None:
    """Seconds or a date, never negative, never more than a day."""
    date = http_date("Mon, 23 Nov 2026 09:00:00 GMT")
    assert retry_after_s(text, date, lambda: 0.0) == wait_s


def test_a_retry_date_without_a_server_date_is_measured_by_our_own_clock() -> None:
    """The only other clock there is."""
    now = datetime(2026, 11, 23, 9, 0, tzinfo=UTC).timestamp()
    assert retry_after_s("Mon, 23 Nov 2026 09:01:00 GMT", None, lambda: now) == 60.0


@given(st.text(max_size=60))
def test_any_date_header_is_an_aware_moment_or_none(text: str) -> None:
    """A strange clock is no clock."""
    moment = http_date(text)
    assert moment is None or moment.utcoffset() == timedelta(0)
