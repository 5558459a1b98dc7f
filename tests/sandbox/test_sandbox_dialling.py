"""Calls that happen by themselves: laws of the simulated course of a job."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from importer.sandbox.dialling import Course, Dialler, JobFacts

from .calling import Clock
from .conftest import Make

FINAL = {
    "longCallWithResult",
    "longCallWithNoResult",
    "noAnswer",
    "nonexistentNumber",
    "notDone",
    "technicalError",
    "cancelledByUser",
}
OPEN = {"planned", "inProcess", "onRetry"}

jobs = st.builds(
    JobFacts,
    sequence=st.integers(1, 10**6),
    phone=st.just("16505550100"),
    created_at_s=st.just(1000.0),
    wait_s=st.floats(0, 500),
    max_attempts=st.none() | st.integers(1, 50),
    retry_minutes=st.none() | st.integers(1, 2880),
    cancelled_at_s=st.none() | st.floats(1000, 20_000),
)
spans = st.lists(st.floats(900, 20_000), max_size=6).map(
    lambda ends: list(zip(sorted(ends)[::2], sorted(ends)[1::2], strict=False))
)
diallers = st.builds(
    Dialler,
    seed=st.integers(0, 5),
    speed=st.sampled_from([1.0, 60.0, 600.0]),
    holds=spans,
    stopped_at_s=st.none() | st.floats(1000, 20_000),
)
moments = st.floats(1000, 10**7)


@given(dialler=diallers, job=jobs, now_s=moments)
def test_a_course_is_consistent(dialler: Dialler, job: JobFacts, now_s: float) -> None:
    """Attempts are numbered, in order, apart, within the ceiling; a final status and an end come together."""
    course = dialler.course(job, now_s)
    assert [attempt.number for attempt in course.attempts] == list(range(1, len(course.attempts) + 1))
    assert len(course.attempts) <= (job.max_attempts or 3)
    end_s = job.created_at_s
    for attempt in course.attempts:
        assert end_s <= attempt.started_at_s <= now_s
        end_s = math.inf if attempt.finished_at_s is None else attempt.finished_at_s
    assert (course.status in FINAL) == (course.finished_at_s is not None)
    assert course.status in FINAL | OPEN
    assert course.finished_at_s is None or course.finished_at_s <= now_s


@given(dialler=diallers, job=jobs, earlier_s=moments, later_s=moments)
def test_the_past_does_not_change(dialler: Dialler, job: JobFacts, earlier_s: float, later_s: float) -> None:
    """What was finished stays as it was; a job that ended has ended for ever."""
    earlier_s, later_s = sorted((earlier_s, later_s))
    before, after = dialler.course(job, earlier_s), dialler.course(job, later_s)
    done = [attempt for attempt in before.attempts if attempt.finished_at_s is not None]
    assert list(after.attempts[: len(done)]) == done
    if before.finished_at_s is not None:
        assert after == before


@given(dialler=diallers, job=jobs)
def test_no_attempt_starts_while_dialling_is_held(dialler: Dialler, job: JobFacts) -> None:
    """Not in a pause, not after the stop, not after the cancel; a conversation that runs goes on."""
    ends = [at for at in (dialler.stopped_at_s, job.cancelled_at_s) if at is not None]
    for attempt in dialler.course(job, 10**7).attempts:
        assert not any(start < attempt.started_at_s < end for start, end in dialler.holds)
        assert all(attempt.started_at_s <= end for end in ends)


@given(dialler=diallers, job=jobs)
def test_every_job_ends(dialler: Dialler, job: JobFacts) -> None:
    """Given long enough, unless the campaign stays paused."""
    course: Course = dialler.course(job, 10**9)
    assert course.finished_at_s is not None


def test_outcomes_are_varied_and_plausible(in_process: Make, clock: Clock) -> None:
    """Of two hundred jobs most are talked to, some never answer, and several kinds of end occur."""
    caller = in_process(seed=3)
    caller.added(*range(200))
    clock.now_s += 2 * 86_400
    ends = Counter(row["jobStatus"] for row in caller.reported(pageSize=200))
    assert 60 < ends["longCallWithResult"] < 140
    assert len(ends) >= 4
    report = caller.get().json()["shortReport"]
    assert (report["processedNumbers"], report["inProcessCalls"], report["retryCalls"]) == (200, 0, 0)
    assert report["usedTalkingTime"] > 0


def test_a_large_campaign_that_is_done_says_so(in_process: Make, clock: Clock) -> None:
    """Its counts are scaled up from a sample, which must not lose the last few: somebody waits for them."""
    caller = in_process(lines=100_000)
    body = [{"phone": f"1650{i:07}"} for i in range(10_003)]
    assert caller.post("/addPhones", body).status_code == 200
    clock.now_s += 30 * 86_400
    assert caller.get().json()["shortReport"]["processedNumbers"] == 10_003


@pytest.mark.parametrize(("lines", "low", "high"), [(1, 0, 4), (100, 15, 100)])
def test_no_more_calls_at_once_than_lines_roughly(
    in_process: Make, clock: Clock, lines: int, low: int, high: int
) -> None:
    """A campaign with one line works through its numbers one after another."""
    caller = in_process(lines=lines)
    caller.added(*range(100))
    clock.now_s += 30
    attempts = caller.post("/callAttempt/getReportByDate", {"pagination": {"pageSize": 200}}).json()["items"]
    assert low <= len(attempts) <= high


def test_speed_makes_time_run(in_process: Make, clock: Clock) -> None:
    """At 600, ten minutes pass in a second."""
    caller = in_process(speed=600.0)
    caller.added(*range(20))
    clock.now_s += 10
    assert all("finishedAt" in row for row in caller.reported())


def test_a_paused_campaign_does_not_dial(in_process: Make, clock: Clock) -> None:
    """Nothing starts in the pause, and everything does after it."""
    caller = in_process()
    caller.post("/control/pause")
    caller.added(*range(10))
    clock.now_s += 86_400
    assert {row["jobStatus"] for row in caller.reported()} == {"planned"}
    caller.post("/control/resume")
    clock.now_s += 86_400
    assert all("finishedAt" in row for row in caller.reported())


def test_a_stopped_campaign_leaves_its_jobs_not_done(in_process: Make, clock: Clock) -> None:
    """Jobs that had not ended when the campaign stopped are notDone, at that moment."""
    caller = in_process()
    caller.added(*range(10))
    caller.post("/control/stop")
    clock.now_s += 3600
    assert {(row["jobStatus"], row["finishedAt"]) for row in caller.reported()} == {("notDone", 1_800_000_000_000)}


def test_a_cancelled_job_is_not_dialled_again(in_process: Make, clock: Clock) -> None:
    """It ends as cancelledByUser, and the attempts it had stay in the report."""
    caller = in_process()
    job_ids = caller.added(*range(30))
    clock.now_s += 120
    cancelled = caller.post("/callJob/cancel", {"ids": job_ids}).json()
    clock.now_s += 86_400
    rows = {row["callJobId"]: row for row in caller.reported(pageSize=200)}
    assert cancelled
    assert {rows[job_id]["jobStatus"] for job_id in cancelled} <= FINAL
    assert "cancelledByUser" in {rows[job_id]["jobStatus"] for job_id in cancelled}
    assert caller.post("/callJob/cancel", {"ids": job_ids}).json() == []


def test_unfinished_is_the_complement_of_finished(in_process: Make, clock: Clock) -> None:
    """Operations 7 and 8 agree at every moment."""
    caller = in_process()
    caller.added(*range(60))
    for _ in range(5):
        clock.now_s += 60
        everything = caller.reported(pageSize=200)
        unfinished = caller.post("/callJob/getUnfinished", {"pageSize": 200}).json()["items"]
        assert unfinished == [row for row in everything if "finishedAt" not in row]
