"""Every fault: what the client sees of it, in process and on the wire, and what was done behind it."""

from __future__ import annotations

import http.client
import json
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from importer.errors import UsageProblem
from importer.sandbox import FAULT_NAMES, ConnectionLost, faults, parse_fault, records
from importer.sandbox.arrivals import OPERATIONS

from .calling import TOKEN, Caller, Clock, error_of, phone, rows
from .conftest import Make

LOST = (ConnectionLost, httpx.RemoteProtocolError, httpx.ReadError)


@pytest.mark.parametrize("how", ["fin", "rst"])
def test_a_lost_answer_leaves_the_job_and_the_key_brings_it_back(anywhere: Make, db: Path, how: str) -> None:
    """The operation is committed, nothing is heard, and the same key gives the ids."""
    caller = anywhere(faults=(f"lose-answer:times=1,how={how}",))
    with pytest.raises(LOST):
        caller.add(1, key="k1")
    assert records.count_jobs(db) == 1
    assert caller.added(1, key="k1") == [job.id for job in records.jobs(db)]
    lost, replayed = records.requests(db)
    assert (lost.was_executed, lost.fault, lost.status) == (True, "lose-answer", None)
    assert (replayed.was_replayed, replayed.fault, replayed.status) == (True, "", 200)
    assert lost.finished_order is not None


@pytest.mark.parametrize("how", ["fin", "rst"])
def test_a_dropped_request_does_nothing(anywhere: Make, db: Path, how: str) -> None:
    """The connection ends before anything was done, and the key is as good as new."""
    caller = anywhere(faults=(f"drop:times=1,how={how}",))
    with pytest.raises(LOST):
        caller.add(1, key="k1")
    assert records.count_jobs(db) == 0
    caller.added(1, key="k1")
    assert [request.was_executed for request in records.requests(db)] == [False, True]


@pytest.mark.parametrize("part", ["body", "head"])
def test_half_an_answer_is_no_answer(anywhere: Make, db: Path, part: str) -> None:
    """A cut body or a cut head: the job is there, the client must not believe what it read."""
    caller = anywhere(faults=(f"half-answer:times=1,part={part}",))
    with pytest.raises(LOST):
        caller.add(1, 2, key="k1")
    assert records.count_jobs(db) == 2
    assert len(caller.added(1, 2, key="k1")) == 2


def test_half_an_answer_is_really_half_on_the_wire(over_socket: Make) -> None:
    """The length is announced in full, half of it comes, then the connection ends."""
    caller = over_socket(faults=("half-answer",))
    connection = http.client.HTTPConnection(str(caller.http.base_url.host), caller.http.base_url.port, timeout=10)
    connection.request("POST", caller.path("/addPhones"), json.dumps(rows(1, 2)))
    with pytest.raises(http.client.IncompleteRead) as cut:
        connection.getresponse().read()
    connection.close()
    assert cut.value.expected is not None
    assert abs(len(cut.value.partial) - cut.value.expected) <= 1


def test_an_error_after_the_commit_hides_a_success(anywhere: Make, db: Path) -> None:
    """A 500 that proves nothing: the job exists, and the key knows it."""
    caller = anywhere(faults=("error-after-commit:status=500,times=1",))
    assert caller.add(1, key="k1").status_code == 500
    assert records.count_jobs(db) == 1
    assert caller.added(1, key="k1") == [job.id for job in records.jobs(db)]


def test_replay_errors_repeats_a_stored_500_all_day(in_process: Make, clock: Clock, db: Path) -> None:
    """A server that stores its 500 under the key answers it for a day, job or no job."""
    caller = in_process(faults=("error-after-commit:times=1", "replay-errors"))
    for _ in range(3):
        assert caller.add(1, key="k1").status_code == 500
        clock.now_s += 3600
    assert records.count_jobs(db) == 1
    assert caller.add(1, key="k2").status_code == 200


def test_replay_errors_repeats_a_500_that_did_nothing(in_process: Make, db: Path) -> None:
    """A stored 503 from before the operation is repeated too; a 429 never is."""
    caller = in_process(faults=("status:code=503,times=1", "status:code=429,after=2,times=1", "replay-errors"))
    assert [caller.add(1, key="k1").status_code for _ in range(2)] == [503, 503]
    assert records.count_jobs(db) == 0
    assert [caller.add(1, key="k2").status_code for _ in range(2)] == [429, 200]


def test_replay_errors_repeats_refusals(in_process: Make) -> None:
    """A definite 4xx is remembered as well."""
    caller = in_process(faults=("replay-errors",), duplicates="jobs24h")
    assert error_of(caller.post("/addPhones", [{"phone": "bad"}], key="k1"))["type"] == "phone.bad.format"
    assert error_of(caller.add(1, key="k1"))["type"] == "idempotence.key.reused"


@pytest.mark.parametrize(("retry_after"), ["", "2", "-5", "1000000000", "soon"])
def test_a_status_comes_with_or_without_retry_after(anywhere: Make, db: Path, retry_after: str) -> None:
    """429 and 503 in front of the service: nothing is done; Retry-After is sent as written."""
    option = f",retry-after={retry_after}" if retry_after else ""
    caller = anywhere(faults=(f"status:code=429,times=1{option}",))
    answer = caller.add(1, key="k1")
    assert (answer.status_code, answer.headers.get("Retry-After", "")) == (429, retry_after)
    assert records.count_jobs(db) == 0
    assert caller.add(1, key="k1").status_code == 200


def test_retry_after_may_be_a_date(in_process: Make, clock: Clock) -> None:
    """The date is so far from the sandbox's own clock, in either direction."""
    caller = in_process(faults=("status:retry-after-date=90,times=1", "status:retry-after-date=-90,after=1"))
    for distance_s in (90, -90):
        answer = caller.add(1)
        assert answer.status_code == 503
        assert parsedate_to_datetime(answer.headers["Retry-After"]).timestamp() == clock.now_s + distance_s


@pytest.mark.parametrize("code", [204, 302, 304, 418, 599])
def test_any_status_keeps_the_connection_in_step(over_socket: Make, code: int) -> None:
    """Even those without a body, or without a name."""
    caller = over_socket(faults=(f"status:code={code},times=1",))
    assert caller.add(1).status_code == code
    assert caller.add(1).status_code == 200


def test_a_status_may_imitate_a_typed_refusal(in_process: Make) -> None:
    """A 4xx from a layer in front of the idempotence keys, as after a lost answer."""
    caller = in_process(faults=("status:code=404,type=invalid.token,after=1",))
    caller.added(1, key="k1")
    assert error_of(caller.add(1, key="k1"), 404)["type"] == "invalid.token"


@pytest.mark.parametrize(("option", "jobs"), [("", 0), (",at=after", 1)])
def test_an_html_page_comes_before_or_after(anywhere: Make, db: Path, option: str, jobs: int) -> None:
    """A proxy's page instead of JSON, with or without the job behind it."""
    caller = anywhere(faults=(f"html:code=504{option}",))
    answer = caller.add(1)
    assert (answer.status_code, answer.headers["Content-Type"]) == (504, "text/html")
    assert answer.text.startswith("<html>")
    assert records.count_jobs(db) == jobs


def test_a_body_above_the_size_is_413(anywhere: Make, db: Path) -> None:
    """Small requests pass and are not counted; a large one is refused and did nothing."""
    caller = anywhere(faults=("too-large:bytes=100,times=1",))
    caller.added(1)
    assert caller.add(*range(20)).status_code == 413
    assert records.count_jobs(db) == 1
    assert caller.add(*range(20)).status_code == 200


@pytest.mark.parametrize(("by", "count"), [("-1", 2), ("-3", 0), ("2", 5)])
def test_a_wrong_count_is_only_on_the_wire(in_process: Make, by: str, count: int) -> None:
    """The answer has too few ids or too many; the key still knows the right ones."""
    caller = in_process(faults=(f"wrong-count:by={by},times=1",))
    assert len(caller.add(1, 2, 3, key="k1").json()) == count
    assert len(caller.added(1, 2, 3, key="k1")) == 3


@pytest.mark.parametrize("kind", ["empty", "cut", "object", "deep", "digits", "same-id"])
def test_a_strange_body_is_a_200_that_is_no_list_of_ids(anywhere: Make, db: Path, kind: str) -> None:
    """Each odd body comes with a 200, and the jobs exist."""
    caller = anywhere(faults=(f"strange:as={kind},times=1",))
    answer = caller.add(1, 2, key="k1")
    assert answer.status_code == 200
    right = caller.added(1, 2, key="k1")
    assert answer.content != json.dumps(right).encode()
    assert answer.text == {"same-id": json.dumps([right[0]] * 2, separators=(",", ":"))}.get(kind, answer.text)
    assert records.count_jobs(db) == 2


@pytest.mark.parametrize(("phase", "is_seen"), [("before", True), ("after", False)])
def test_a_delay_comes_before_or_after_the_commit(
    in_process: Make, clock: Clock, db: Path, phase: str, is_seen: bool
) -> None:
    """A request that waits is carried out late, or was carried out before its answer was late."""
    caller = in_process(faults=(f"delay:s=500ms,at={phase}",))
    start_s = clock.now_s
    caller.added(1)
    assert clock.now_s == start_s + 0.5
    assert (records.jobs(db)[0].created_at.timestamp() == start_s + 0.5) == is_seen


def test_a_slow_body_drips(anywhere: Make, clock: Clock) -> None:
    """The body comes whole, a few bytes at a time, with a pause between."""
    caller = anywhere(faults=("slow-body:bytes=4,gap=1s",))
    start_s = clock.now_s
    length = len(caller.add(1, 2, 3).content)
    assert clock.now_s - start_s == (length - 1) // 4


def test_forgotten_keys_make_duplicates(in_process: Make, clock: Clock, db: Path) -> None:
    """A server that breaks its word: the judge sees the duplicate."""
    caller = in_process(faults=("forget-keys:age=60s",))
    first = caller.added(1, key="k1")
    assert caller.added(1, key="k1") == first
    clock.now_s += 60
    assert caller.added(1, key="k1") != first
    assert [len(found.job_ids) for found in records.duplicates(db)] == [2]


def test_shuffled_ids_are_the_right_ones_in_another_order(in_process: Make) -> None:
    """Order is undocumented; the replay repeats the same order, the report tells which is which."""
    caller = in_process(faults=("shuffle-ids",))
    answered = caller.added(*range(30), key="k1")
    by_phone = [row["callJobId"] for row in caller.reported(pageSize=200)]
    assert answered != by_phone
    assert set(answered) == set(by_phone)
    assert caller.added(*range(30), key="k1") == answered


def test_iso_times_are_the_same_moments(in_process: Make) -> None:
    """The switch changes how a time is written, not which it is."""
    caller = in_process(faults=("iso-times:after=1",))
    caller.added(1)
    assert caller.reported()[0]["createdAt"] == "2027-01-15T08:00:00.000+00:00"


def test_milliseconds_are_the_default(in_process: Make) -> None:
    """Reports carry Unix milliseconds, as seen in the wild."""
    caller = in_process()
    caller.added(1)
    assert caller.reported()[0]["createdAt"] == 1_800_000_000_000


def test_the_status_may_be_in_process(in_process: Make) -> None:
    """The help page's word instead of the specification's."""
    caller = in_process(faults=("in-process",))
    caller.added(1)
    assert caller.get("/status").json() == caller.get().json()["status"] == "inProcess"


def test_the_date_follows_the_clock_or_is_wrong_or_missing(anywhere: Make, clock: Clock) -> None:
    """Date is the sandbox's own time unless a fault says otherwise."""
    caller = anywhere(faults=("wrong-date:s=-7200,after=1,times=1", "no-date:after=2"))
    answers = [caller.get("/status") for _ in range(3)]
    seen = [parsedate_to_datetime(answer.headers["Date"]).timestamp() for answer in answers[:2]]
    assert seen == [clock.now_s, clock.now_s - 7200]
    assert "Date" not in answers[2].headers


# Selection


def test_every_after_and_times_count_requests(in_process: Make) -> None:
    """after=2,every=3,times=2 strikes the fifth and the eighth."""
    caller = in_process(faults=("status:after=2,every=3,times=2",))
    assert [caller.add(1).status_code for _ in range(14)] == [200] * 4 + [503] + [200] * 2 + [503] + [200] * 6


def test_faults_hurt_add_phones_unless_told_otherwise(in_process: Make) -> None:
    """Other operations neither suffer nor count."""
    caller = in_process(faults=("status:times=1", "html:op=status+campaign,times=2"))
    assert caller.get("/status").status_code == 502
    assert caller.get().status_code == 502
    assert caller.get().status_code == 200
    assert caller.add(1).status_code == 503


def test_any_strikes_everything_unknown_paths_included(in_process: Make) -> None:
    """op=any is the whole service."""
    caller = in_process(faults=("status:op=any",))
    assert {caller.get("/status").status_code, caller.add(1).status_code, caller.http.get("/x").status_code} == {503}


def test_when_bounds_a_fault_in_time(in_process: Make, clock: Clock) -> None:
    """From ten seconds after the start to a minute after it."""
    caller = in_process(faults=("status:when=10s..1m", "html:when=2m.."))
    seen = []
    for _ in range(6):
        seen.append(caller.add(1).status_code)
        clock.now_s += 25
    assert seen == [200, 503, 503, 200, 200, 502]


def test_chance_is_seeded(in_process: Make, db: Path, tmp_path: Path) -> None:
    """The same seed and order of requests give the same strikes; about the share asked for."""
    plans = [faults.FaultPlan([parse_fault("status:p=0.25")], seed=seed, started_at_s=0.0) for seed in (1, 1, 2)]
    strikes = [[bool(plan.strike("addPhones", now_s=0.0, body_bytes=0).faults) for _ in range(400)] for plan in plans]
    assert strikes[0] == strikes[1] != strikes[2]
    assert 70 < sum(strikes[0]) < 130


@given(every=st.integers(1, 9), after=st.integers(0, 9), times=st.integers(0, 9), total=st.integers(0, 60))
def test_the_number_of_strikes_is_what_the_options_say(every: int, after: int, times: int, total: int) -> None:
    """min(times, (total - after) // every), never more, never less."""
    fault = parse_fault(f"drop:every={every},after={after},times={times}")
    plan = faults.FaultPlan([fault], seed=0, started_at_s=0.0)
    struck = sum(bool(plan.strike("addPhones", now_s=0.0, body_bytes=0).faults) for _ in range(total))
    assert struck == min(times, max(0, total - after) // every)


def test_faults_work_together(in_process: Make, db: Path, clock: Clock) -> None:
    """Delays add up, the first blocking fault answers, and the log names all that struck."""
    caller = in_process(faults=("delay:s=1", "delay:s=2,at=after", "status:code=429", "drop"))
    start_s = clock.now_s
    assert caller.add(1).status_code == 429
    assert clock.now_s == start_s + 3
    assert records.requests(db)[0].fault == "delay+delay+status+drop"


@pytest.mark.parametrize("name", FAULT_NAMES)
def test_every_fault_can_be_named_alone(name: str) -> None:
    """All options have defaults."""
    assert parse_fault(name, operations=OPERATIONS).name == name


@pytest.mark.parametrize("name", FAULT_NAMES)
def test_every_fault_is_documented(name: str) -> None:
    """The module that parses faults explains each of them."""
    assert f" {name} " in (faults.__doc__ or "")


@pytest.mark.parametrize(
    "spec",
    ["", "loose-answer", "drop:often=1", "drop:every", "drop:every=0", "drop:every=x", "drop:how=slam", "drop:p=2",
     "drop:op=addphones", "drop:when=10s", "drop:when=later..", "status:code=99", "status:code=abc",
     "too-large:bytes=0", "delay:s=long", "delay:at=during", "status:retry-after=a\nb", "drop:code=500",
     "drop:times=-1"],
)  # fmt: skip
def test_a_bad_specification_is_refused_with_its_text(spec: str) -> None:
    """The message repeats what was written; nothing is guessed."""
    with pytest.raises(UsageProblem) as refused:
        parse_fault(spec, operations=OPERATIONS)
    assert repr(spec) in refused.value.message


def test_a_fault_on_a_key_in_the_query_is_one_on_that_request(in_process: Make, db: Path) -> None:
    """addPhone can lose its answer as well, and its key brings it back."""
    caller = in_process(faults=("lose-answer:op=addPhone,times=1",))
    query = {"phone": phone(1), "Idempotence-Key": "k1"}
    with pytest.raises(ConnectionLost):
        caller.get("/addPhone", api="crmCalls", **query)
    assert caller.get("/addPhone", api="crmCalls", **query).json() == records.jobs(db)[0].id
    assert Caller(http=caller.http, token=TOKEN).get("/addPhone", phone=phone(1)).status_code == 400
