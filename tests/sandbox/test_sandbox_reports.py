"""Reports: pages and their limits, windows, delay, order, and times in both forms."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from importer.sandbox.reports import Page

from .calling import START_S, Caller, Clock, check, error_of
from .conftest import Make

START_MS = int(START_S * 1000)


def _by_date(caller: Caller, **bounds: Any) -> list[str]:
    answer = caller.post("/callJob/getReportByDate", {"filter": bounds, "pagination": {"pageSize": 200}})
    assert answer.status_code == 200, answer.text
    return [row["callJobId"] for row in answer.json()["items"]]


@pytest.mark.parametrize(
    "pagination",
    [
        {"page": -1},
        {"page": 200},
        {"page": "0"},
        {"page": True},
        {"pageSize": 0},
        {"pageSize": 201},
        {"pageSize": 1.5},
        {"size": 5},
        [],
    ],
)
@pytest.mark.parametrize("tail", ["/callJob/getReportByDate", "/callAttempt/getReportByDate", "/callJob/getUnfinished"])
def test_pages_run_from_0_to_199_and_hold_1_to_200(in_process: Make, tail: str, pagination: object) -> None:
    """Anything else is refused, for each paged operation."""
    body = pagination if tail.endswith("getUnfinished") else {"pagination": pagination}
    assert error_of(in_process().post(tail, body))["error"] == "bad_request"


@pytest.mark.parametrize("pagination", [{"page": 199, "pageSize": 200}, {"page": 0, "pageSize": 1}, {}, None])
def test_the_limits_themselves_are_allowed(in_process: Make, pagination: object) -> None:
    """The last page of the largest size is a page; the defaults are page 0 of 20."""
    caller = in_process()
    caller.added(*range(25))
    answer = caller.post("/callJob/getReportByDate", {"pagination": pagination}).json()
    check("CallJobReportPage", answer)
    assert len(answer["items"]) == {199: 0, 0: 1}.get((pagination or {}).get("page", -1), 20)  # type: ignore[attr-defined]


def test_without_a_body_a_page_is_the_default_page(in_process: Make) -> None:
    """Filter and pagination are optional, and so is the object that holds them."""
    caller = in_process()
    caller.added(1)
    for tail in ("/callJob/getReportByDate", "/callJob/getUnfinished"):
        assert caller.post(tail).json()["pagination"] == {"page": 0, "pageSize": 20}


@given(size_rows=st.integers(1, 200), count=st.integers(0, 450))
def test_pages_tile_the_rows(size_rows: int, count: int) -> None:
    """Walked until a short page, pages show each row once, in order."""
    seen: list[object] = []
    for number in range(200):
        page = Page(page=number, size_rows=size_rows).answer({"n": at} for at in range(count))["items"]
        assert isinstance(page, list)
        seen += page
        if len(page) < size_rows:
            break
    assert seen == [{"n": at} for at in range(min(count, 200 * size_rows))]


def test_a_window_includes_both_its_ends(in_process: Make, clock: Clock) -> None:
    """createdAtFrom and createdAtTo are the first and last millisecond that count, in either form."""
    caller = in_process()
    job_ids = []
    for number in range(3):
        job_ids += caller.added(number)
        clock.now_s += 0.0015
    stamps = [row["createdAt"] for row in caller.reported()]
    assert len(set(stamps)) == 3
    assert _by_date(caller, createdAtFrom=stamps[1]) == job_ids[1:]
    assert _by_date(caller, createdAtTo=stamps[1]) == job_ids[:2]
    assert _by_date(caller, createdAtFrom=stamps[1], createdAtTo=stamps[1]) == job_ids[1:2]
    assert (
        _by_date(caller, createdAtFrom="2027-01-15T11:00:00.001+03:00", createdAtTo="2027-01-15T08:00:00.001Z")
        == job_ids[1:2]
    )


@pytest.mark.parametrize("bad", ["yesterday", "2027-01-15", "2027-01-15T08:00:00", 1.5, True, 10**15])
def test_a_bound_is_milliseconds_or_a_date_time(in_process: Make, bad: object) -> None:
    """Anything else is a plain 400, and so is an unknown bound."""
    caller = in_process()
    assert error_of(caller.post("/callJob/getReportByDate", {"filter": {"createdAtFrom": bad}}))
    assert error_of(caller.post("/callJob/getReportByDate", {"filter": {"startedAtFrom": START_MS}}))
    assert error_of(caller.post("/callAttempt/getReportByDate", {"filter": {"createdAtFrom": START_MS}}))


def test_rows_of_one_request_share_their_creation(in_process: Make, clock: Clock) -> None:
    """createdAt is the same for all rows of a request, and whole milliseconds."""
    caller = in_process()
    clock.now_s += 0.123456
    caller.added(*range(10))
    assert {row["createdAt"] for row in caller.reported()} == {START_MS + 123}


def test_a_report_never_shows_what_was_sent_with_the_phone(in_process: Make, clock: Clock) -> None:
    """No payload, zone, priority or key in any report."""
    caller = in_process()
    job_ids = caller.added(1, key="k1", payload={"name": "marker-7"}, gmtZone="+03:00", dialerPriority=1)
    clock.now_s += 3600
    for tail in ("/callJob/getReport", "/callAttempt/getReport"):
        text = caller.post(tail, {"ids": job_ids}).text
        assert job_ids[0] in text
        assert not [word for word in ("marker", "payload", "gmtZone", "+03", "dialerPriority", "k1") if word in text]


def test_jobs_may_show_up_late(in_process: Make, clock: Clock) -> None:
    """With a report delay a job is absent, by date and by id, until the delay is over."""
    caller = in_process(report_delay_s=30.0)
    job_ids = caller.added(1)
    clock.now_s += 29.9
    assert caller.reported() == []
    assert error_of(caller.post("/callJob/getReport", {"ids": job_ids}))["type"] == "id.not.found"
    clock.now_s += 0.1
    assert [row["callJobId"] for row in caller.reported()] == job_ids
    assert caller.post("/callJob/getReport", {"ids": job_ids}).status_code == 200


def test_newest_first_shifts_pages_while_jobs_arrive(in_process: Make, clock: Clock) -> None:
    """A row seen on page 0 shows up again on page 1: readers must de-duplicate by id."""
    caller = in_process(faults=("newest-first",))
    caller.added(*range(10))
    first = caller.reported(page=0, pageSize=5)
    clock.now_s += 1
    caller.added(11)
    second = caller.reported(page=1, pageSize=5)
    assert first[-1]["callJobId"] == second[0]["callJobId"]


def test_finished_windows_choose_by_the_end(in_process: Make, clock: Clock) -> None:
    """Only jobs that ended within the window; unfinished ones never."""
    caller = in_process()
    caller.added(*range(20))
    clock.now_s += 86_400
    ends = {row["callJobId"]: row["finishedAt"] for row in caller.reported(pageSize=200)}
    middle = sorted(ends.values())[10]
    assert set(_by_date(caller, finishedAtFrom=middle)) == {job for job, end in ends.items() if end >= middle}
    assert set(_by_date(caller, finishedAtTo=middle)) == {job for job, end in ends.items() if end <= middle}
    fresh = caller.added(50)
    assert fresh[0] not in _by_date(caller, finishedAtFrom=0)


def test_attempt_windows_choose_attempts_not_jobs(in_process: Make, clock: Clock) -> None:
    """startedAt and finishedAt are the attempt's own."""
    caller = in_process()
    caller.added(*range(20))
    clock.now_s += 86_400
    everything = caller.post("/callAttempt/getReportByDate", {"pagination": {"pageSize": 200}}).json()["items"]
    middle = sorted(row["startedAt"] for row in everything)[len(everything) // 2]
    body = {"filter": {"startedAtFrom": middle, "finishedAtTo": START_MS + 86_400_000}, "pagination": {"pageSize": 200}}
    chosen = caller.post("/callAttempt/getReportByDate", body).json()["items"]
    assert chosen == [row for row in everything if row["startedAt"] >= middle]
    assert chosen
