"""The typed methods, each held to the contract by the sandbox over a real socket."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from importer.client import (
    ApiBusy,
    ApiDenied,
    ApiError,
    ApiRejected,
    ApiUnanswered,
    ApiUnclear,
    CallsApi,
    DateFilter,
    ExternalCheck,
    NewCallJob,
    TimeSpan,
    read_ids,
)
from importer.errors import ApiAway, ApiRefusal, ImporterError, UsageProblem
from importer.model import Answer
from importer.sandbox import Sandbox, records

from .servers import TOKEN, answering, reply, serving

START_S = datetime(2026, 11, 23, 9, 0, tzinfo=UTC).timestamp()
PHONES = [f"1650555{n:04}" for n in range(100, 110)]


class Clock:
    def __init__(self) -> None:
        self.now_s = START_S

    def __call__(self) -> float:
        return self.now_s


class World:
    """A sandbox on a socket, its clock, its file, and a client of its first campaign."""

    def __init__(self, folder: Path, stack: ExitStack, **switches: Any) -> None:
        self.clock = Clock()
        self.db = folder / "sandbox.db"
        self.sandbox = stack.enter_context(Sandbox(self.db, tokens=(TOKEN,), clock=self.clock, **switches))
        self.origin = stack.enter_context(self.sandbox.serve()).origin
        self.api = stack.enter_context(CallsApi(self.origin, TOKEN, timeout_s=30))

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.clock.now_s, UTC)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Callable[..., World]]:
    with ExitStack() as stack:
        yield lambda **switches: World(tmp_path, stack, **switches)


def jobs_of(phones: list[str]) -> list[NewCallJob]:
    return [NewCallJob(phone=phone) for phone in phones]


# --- adding numbers -------------------------------------------------------------------------------------------------


def test_add_phones_writes_every_documented_field(world: Callable[..., World]) -> None:
    """The strict sandbox takes it all, and keeps what it was told."""
    here = world()
    job = NewCallJob(
        phone=PHONES[0],
        payload={"name": "Zoë", "n": 1, "list": [1, None]},
        start=here.now(),
        finish=here.now() + timedelta(days=2),
        allowed_days=("mon", "fri"),
        allowed_time={"default": (TimeSpan(local_time_from="09:00", local_time_to="18:00"),)},
        retry_interval_minutes=30,
        max_attempts=3,
        gmt_zone="Europe/Berlin",
        dialer_priority=2,
        external_check=ExternalCheck(url="https://user:secret@check.example", max_retries=2),
    )
    (job_id,) = here.api.add_phones([job])
    (made,) = records.jobs(here.db)
    assert (made.id, made.phone) == (job_id, PHONES[0])
    assert json.loads(made.payload) == {"name": "Zoë", "n": 1, "list": [1, None]}
    assert json.loads(made.policy)["allowedTime"] == {"default": [{"localTimeFrom": "09:00", "localTimeTo": "18:00"}]}
    assert "secret" not in repr(job)


def test_the_same_key_and_content_add_once(world: Callable[..., World]) -> None:
    """The contract's promise, through the typed call and through the raw one."""
    here = world()
    jobs = jobs_of(PHONES[:3])
    first = here.api.add_phones(jobs, key="key-1")
    assert here.api.add_phones(jobs, key="key-1") == first
    raw = here.api.send_batch(json.dumps([job.as_json() for job in jobs], separators=(",", ":")).encode(), "key-1")
    assert isinstance(raw, Answer)
    assert read_ids(raw.body) == first
    assert records.count_jobs(here.db) == 3


def test_without_a_key_each_call_makes_one_of_its_own(world: Callable[..., World]) -> None:
    """Two calls are two requests."""
    here = world()
    here.api.add_phones(jobs_of(PHONES[:1]))
    here.api.add_phones(jobs_of(PHONES[:1]))
    keys = [request.key for request in records.requests(here.db)]
    assert len(set(keys)) == 2
    assert None not in keys


def test_a_failed_call_tells_the_key_under_which_it_may_be_made_again(world: Callable[..., World]) -> None:
    """The answer was lost after the commit; the same call under that key gives the first ids and no second job."""
    here = world(faults=("lose-answer:times=1",))
    with pytest.raises(ApiUnanswered) as caught:
        here.api.add_phones(jobs_of(PHONES))
    assert caught.value.is_sent
    assert isinstance(caught.value, ApiAway)
    assert len(here.api.add_phones(jobs_of(PHONES), key=caught.value.key)) == len(PHONES)
    assert records.count_jobs(here.db) == len(PHONES)


STRANGE = [
    "wrong-count",
    "wrong-count:by=1",
    "strange:as=same-id",
    "strange:as=object",
    "strange:as=deep",
    "strange:as=digits",
    "error-after-commit",
    "half-answer:part=head",
]


@pytest.mark.parametrize("fault", STRANGE)
def test_an_answer_that_proves_nothing_is_unclear(world: Callable[..., World], fault: str) -> None:
    """The numbers may have been added: never a success, never a refusal."""
    here = world(faults=(fault,))
    with pytest.raises(ApiAway) as caught:
        here.api.add_phones(jobs_of(PHONES[:3]))
    assert isinstance(caught.value, ApiUnclear | ApiUnanswered)
    assert "under the same key" in caught.value.hint


def test_a_question_that_got_no_answer_may_simply_be_asked_again(world: Callable[..., World]) -> None:
    """It has no key, and changes nothing."""
    here = world(faults=("lose-answer:op=any",))
    with pytest.raises(ApiUnanswered) as caught:
        here.api.campaign()
    assert (caught.value.key, "ask again" in caught.value.hint) == (None, True)


@pytest.mark.parametrize("method", ["add_phone", "add_phone_by_query", "test_add_phone"])
def test_one_number_is_added_with_its_payload(world: Callable[..., World], method: str) -> None:
    """By form, by query and for trying; every sign of the payload arrives as it was."""
    here = world()
    payload = {"a b": "ä&=+%/?#", "empty": "", "plus": "1+1"}
    add = getattr(here.api, method)
    job_id = add(PHONES[0], payload=payload, gmt_zone="+03:00", key="key 1+&")
    assert add(PHONES[0], payload=payload, gmt_zone="+03:00", key="key 1+&") == job_id
    (made,) = records.jobs(here.db)
    assert (made.id, made.phone, json.loads(made.payload)) == (job_id, PHONES[0], payload)
    assert {request.key for request in records.requests(here.db)} == {"key 1+&"}


def test_a_plus_before_a_number_arrives_as_a_plus() -> None:
    """`%2B`, since a bare plus is a space in a query."""
    with serving(answering(reply(b'"a1"'))) as server, CallsApi(server.origin, TOKEN) as api:
        api.add_phone_by_query("+16505550100", payload={"a b": "c"}, key="k")
        api.add_phone("+16505550100", payload={"a b": "c"}, key="k")
        target, form = server.requests[0].split()[1], server.requests[1].partition(b"\r\n\r\n")[2]
    assert target.endswith(b"/addPhone?phone=%2B16505550100&a%20b=c&Idempotence-Key=k")
    assert form == b"phone=%2B16505550100&a%20b=c"


@pytest.mark.parametrize("name", ["phone", "gmtZone", "Idempotence-Key"])
def test_a_payload_key_that_means_something_else_is_refused(name: str) -> None:
    """Silently it would change the number, the zone or the key."""
    with CallsApi("https://api.example", TOKEN) as api, pytest.raises(UsageProblem):
        api.add_phone(PHONES[0], payload={name: "x"})


@pytest.mark.parametrize("value", [float("nan"), "\ud800", object()])
def test_a_payload_that_json_does_not_have_is_refused_before_sending(value: object) -> None:
    """NaN, half characters and objects."""
    with CallsApi("https://api.example", TOKEN) as api, pytest.raises(UsageProblem):
        api.add_phones([NewCallJob(phone=PHONES[0], payload={"x": value})])


def test_a_time_without_an_offset_is_refused() -> None:
    """It would mean another moment on another machine."""
    with pytest.raises(UsageProblem):
        NewCallJob(phone=PHONES[0], start=datetime(2026, 11, 23)).as_json()  # noqa: DTZ001  # what is refused here


# --- refusals -------------------------------------------------------------------------------------------------------


def test_typed_refusals_carry_what_the_api_said(world: Callable[..., World]) -> None:
    """Type, number and state as fields; nothing was added."""
    here = world()
    with pytest.raises(ApiRejected) as twice:
        here.api.add_phones(jobs_of([PHONES[0], PHONES[1], PHONES[0]]))
    assert (twice.value.type, twice.value.phone, twice.value.status) == ("phone.duplicated", PHONES[0], 400)
    assert twice.value.refusal.phones_duplicates == (PHONES[0],)
    with pytest.raises(ApiRejected) as bad:
        here.api.add_phones(jobs_of(["not a number"]))
    assert bad.value.type == "phone.bad.format"
    with pytest.raises(ApiRejected) as zone:
        here.api.add_phones([NewCallJob(phone=PHONES[0], gmt_zone="Mars/Base")])
    assert (zone.value.type, zone.value.refusal.gmt_zone) == ("phone.gmtZone.bad.format", "Mars/Base")
    assert isinstance(twice.value, ApiRefusal)
    assert records.count_jobs(here.db) == 0


def test_an_unknown_token_is_denied(world: Callable[..., World]) -> None:
    """Every operation would be."""
    here = world()
    with CallsApi(here.origin, "1.2.unknown99") as stranger:
        asked: list[Callable[[], object]] = [
            stranger.status,
            stranger.campaign,
            stranger.pause,
            stranger.unfinished_jobs,
            lambda: stranger.add_phones(jobs_of(PHONES)),
            lambda: stranger.add_phone(PHONES[0]),
            lambda: stranger.cancel(phones=PHONES),
        ]
        for ask in asked:
            with pytest.raises(ApiDenied) as caught:
                ask()
            assert (caught.value.type, caught.value.exit_code) == ("invalid.token", 6)


def test_a_stopped_campaign_denies_new_numbers(world: Callable[..., World]) -> None:
    """And says in which state it is."""
    here = world()
    here.api.stop()
    with pytest.raises(ApiDenied) as caught:
        here.api.add_phones(jobs_of(PHONES))
    assert (caught.value.type, caught.value.state) == ("invalid.call.task.state", "FINISHED")


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("status:code=429,retry-after=7", ApiBusy),
        ("status:code=503", ApiUnclear),
        ("status:code=302", ApiUnclear),
        ("status:code=408", ApiUnclear),
        ("status:code=401", ApiDenied),
        ("status:code=403", ApiDenied),
        ("html:code=502", ApiUnclear),
        ("html:code=400", ApiUnclear),
        ("html:code=404", ApiRejected),
        ("too-large:bytes=10", ApiRejected),
        ("drop", ApiUnanswered),
        ("drop:how=rst", ApiUnanswered),
    ],
)
def test_what_is_no_documented_answer_is_never_taken_for_one(
    world: Callable[..., World], fault: str, kind: type[ApiError]
) -> None:
    """The short list of definite statuses refuses; the rest proves nothing."""
    here = world(faults=(fault,))
    with pytest.raises(ImporterError) as caught:
        here.api.add_phones(jobs_of(PHONES))
    assert type(caught.value) is kind
    assert isinstance(caught.value, ApiError)
    assert caught.value.key
    if isinstance(caught.value, ApiBusy):
        assert caught.value.retry_after_s == 7.0


# --- call jobs ------------------------------------------------------------------------------------------------------


def test_reports_by_id_and_phone_come_once_and_name_the_unknown(world: Callable[..., World]) -> None:
    """One unknown spoils a request, and not the call."""
    here = world()
    ids = here.api.add_phones(jobs_of(PHONES))
    found = here.api.job_reports(ids=[*ids[:4], "999999"], phones=[*PHONES[2:6], "16505559999"])
    assert {report.call_job_id: report.phone for report in found.items} == dict(zip(ids[:6], PHONES, strict=False))
    assert len(found.items) == 6
    assert (found.unknown_ids, found.unknown_phones) == (("999999",), ("16505559999",))
    assert {report.created_at for report in found.items} == {here.now()}


def test_asking_for_nothing_asks_nothing(world: Callable[..., World]) -> None:
    """No ids and no phones: no request."""
    here = world()
    assert here.api.job_reports().items == ()
    assert here.api.cancel().items == ()
    assert records.requests(here.db) == []


def test_cancel_cancels_the_known_under_keys_of_their_own(world: Callable[..., World]) -> None:
    """Parts never share a key, and the same call under the same key is answered alike, with nothing done twice."""
    here = world()
    ids = here.api.add_phones(jobs_of(PHONES))
    here.api.pause()
    wanted = [*ids[:5], "31337"]
    first = here.api.cancel(ids=wanted, key="cancel-1")
    again = here.api.cancel(ids=wanted, key="cancel-1")
    assert sorted(first.items) == sorted(ids[:5])
    assert first == again
    assert first.unknown_ids == ("31337",)
    assert records.keys_with_two_bodies(here.db) == []
    assert here.api.cancel(ids=ids[:5]).items == ()
    statuses = {report.call_job_id: report.status for report in here.api.job_reports(ids=ids).items}
    assert {statuses[job_id] for job_id in ids[:5]} == {"cancelledByUser"}
    assert "cancelledByUser" not in {statuses[job_id] for job_id in ids[5:]}


@pytest.mark.parametrize("faults", [(), ("iso-times",), ("newest-first",)])
def test_a_range_of_jobs_is_walked_over_its_pages(world: Callable[..., World], faults: tuple[str, ...]) -> None:
    """More than two pages, times in either spelling, in either order."""
    here = world(faults=faults)
    phones = [f"1650556{n:04}" for n in range(450)]
    ids: list[str] = []
    for begin in range(0, 450, 150):
        ids.extend(here.api.add_phones(jobs_of(phones[begin : begin + 150])))
        here.clock.now_s += 60
    walked = list(here.api.iter_job_reports_by_date(here.now() - timedelta(minutes=10), here.now()))
    assert {report.call_job_id for report in walked} == set(ids)
    assert len(walked) == 450
    page = here.api.job_reports_by_date(DateFilter(began_to=here.now() - timedelta(minutes=3)), page_size=7)
    assert (len(page.items), page.page_size) == (7, 7)
    assert {report.created_at for report in walked} == {here.now() - timedelta(minutes=n) for n in (1, 2, 3)}


def test_calls_that_happened_are_told_by_attempts_and_ends(world: Callable[..., World]) -> None:
    """Two simulated days later everything has an outcome, and nothing is unfinished."""
    here = world()
    ids = here.api.add_phones(jobs_of(PHONES))
    began = here.now()
    assert {report.call_job_id for report in here.api.iter_unfinished_jobs()} == set(ids)
    here.clock.now_s += 14 * 86_400
    assert list(here.api.iter_unfinished_jobs()) == []
    by_id = here.api.attempt_reports(ids=ids)
    by_date = list(here.api.iter_attempt_reports_by_date(began, here.now()))
    by_end = list(here.api.iter_job_reports_by_date(finished_from=began, finished_to=here.now()))
    identities = {(report.call_job_id, report.attempt_number) for report in by_id.items}
    assert identities == {(report.call_job_id, report.attempt_number) for report in by_date}
    assert {job_id for job_id, _ in identities} <= set(ids)
    assert {report.call_job_id for report in by_end} == set(ids)
    assert all(report.is_finished and report.attempts_count for report in by_end)
    assert len(here.api.attempt_reports_by_date(DateFilter(began_from=began), page_size=3).items) == 3


def test_pages_outside_the_documented_limits_are_not_asked_for() -> None:
    """Page 0 to 199, of 1 to 200 rows."""
    with CallsApi("https://api.example", TOKEN) as api:
        for page, size in ((-1, 20), (200, 20), (0, 0), (0, 201)):
            with pytest.raises(UsageProblem):
                api.unfinished_jobs(page=page, page_size=size)


# --- the campaign ---------------------------------------------------------------------------------------------------


def test_the_campaign_is_read_and_steered(world: Callable[..., World]) -> None:
    """New, in progress, paused, again in progress, finished; each control call under a key."""
    here = world(faults=("in-process",))
    assert here.api.status() == "new"
    here.api.add_phones(jobs_of(PHONES))
    assert here.api.status() == "inProgress"
    here.api.pause(key="pause-1")
    here.api.pause(key="pause-1")
    assert here.api.status() == "paused"
    here.api.resume()
    campaign = here.api.campaign()
    assert (campaign.status, campaign.created_at) == ("inProgress", datetime.fromtimestamp(START_S, UTC))
    assert campaign.short_report is not None
    assert campaign.short_report.total_numbers == len(PHONES)
    here.api.stop()
    assert here.api.status() == "finished"
    keyed = [request for request in records.requests(here.db) if request.operation.startswith("control/")]
    assert all(request.key for request in keyed)


def test_a_control_error_of_the_other_shape_is_read(world: Callable[..., World]) -> None:
    """`{error, message, args}`."""
    here = world()
    with pytest.raises(ApiRejected) as caught:
        here.api.resume()
    assert (caught.value.type, caught.value.status) == ("campaign.illegal.state", 400)


def test_the_probe_tells_the_servers_clock(world: Callable[..., World]) -> None:
    """A day on, the Date is a day on."""
    here = world()
    here.clock.now_s += 86_400
    answer = here.api.probe()
    assert isinstance(answer, Answer)
    assert answer.server_date == here.now()


def test_a_client_works_over_an_app_in_process(world: Callable[..., World]) -> None:
    """The same methods, without a socket."""
    here = world(faults=("lose-answer:every=2",))
    with CallsApi("http://localhost", TOKEN, transport=httpx.WSGITransport(app=here.sandbox.app)) as api:
        assert len(api.add_phones(jobs_of(PHONES), key="k")) == len(PHONES)
        with pytest.raises(ApiUnanswered) as caught:
            api.add_phones(jobs_of(PHONES), key="k")
        assert (caught.value.reason, caught.value.is_sent) == ("reset", True)
        assert api.status() == "inProgress"


def test_a_client_is_made_of_settings_that_can_be_right() -> None:
    """Deadlines and connections are positive."""
    for settings in ({"timeout_s": 0}, {"timeout_s": -1}, {"timeout_s": float("inf")}, {"timeout_s": float("nan")}):
        with pytest.raises(UsageProblem):
            CallsApi("https://api.example", TOKEN, **settings)
    with pytest.raises(UsageProblem):
        CallsApi("https://api.example", TOKEN, connections=0)


def test_an_empty_body_is_sent_with_its_length() -> None:
    """A POST without content still says that it has none."""
    with serving(answering(reply(b""))) as server, CallsApi(server.origin, TOKEN) as api:
        api.stop()
        assert b"content-length: 0" in server.requests[0].lower()
