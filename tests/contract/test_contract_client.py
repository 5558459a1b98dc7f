"""Client and sandbox, each held to the contract page by schemas, and not to one another.

Every exchange over a real socket passes a transport that validates the request against what the page says may be sent
and the answer against what it says comes back. Schemas are in calls_api.schema.json, written from the page alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qsl

import httpx
import jsonschema
import pytest
from workbench import TOKEN

import importer
from importer.client import ApiDenied, ApiRejected, CallsApi, DateFilter, ExternalCheck, NewCallJob, TimeSpan
from importer.sandbox import Sandbox

CONTRACT = json.loads(Path(__file__).with_name("calls_api.schema.json").read_text(encoding="utf-8"))
START_S = datetime(2026, 11, 23, 9, 0, tzinfo=UTC).timestamp()
PHONES = [f"1650555{n:04}" for n in range(100, 110)]

# The thirteen operations of the page: method, path after the token, schema of the request, schema of the answer.
OPERATIONS = {
    ("POST", "calls", "/addPhones"): ("AddPhonesRequest", "AddPhonesAnswer"),
    ("GET", "crmCalls", "/addPhone"): (None, "AddPhoneAnswer"),
    ("POST", "crmCalls", "/addPhone"): (None, "AddPhoneAnswer"),
    ("GET", "crmCalls", "/test/addPhone"): (None, "AddPhoneAnswer"),
    ("POST", "calls", "/callJob/cancel"): ("JobsRequest", "CancelAnswer"),
    ("POST", "calls", "/callJob/getReport"): ("JobsRequest", "CallJobReports"),
    ("POST", "calls", "/callJob/getReportByDate"): ("JobReportByDateRequest", "CallJobReportPage"),
    ("POST", "calls", "/callJob/getUnfinished"): ("Pagination", "CallJobReportPage"),
    ("POST", "calls", "/callAttempt/getReport"): ("JobsRequest", "CallAttemptReports"),
    ("POST", "calls", "/callAttempt/getReportByDate"): ("AttemptReportByDateRequest", "CallAttemptReportPage"),
    ("GET", "calls", ""): (None, "Campaign"),
    ("GET", "calls", "/status"): (None, "CampaignStatus"),
    ("POST", "calls", "/control/pause"): (None, None),
    ("POST", "calls", "/control/resume"): (None, None),
    ("POST", "calls", "/control/stop"): (None, None),
}
KEYED = {"/addPhones", "/addPhone", "/test/addPhone", "/callJob/cancel"}
ONLY_404 = {"/callJob/getReportByDate", "/callJob/getUnfinished", "/callAttempt/getReportByDate", "", "/status"}
ERRORS = {
    "phone.duplicated": "PhoneDuplicated",
    "phone.bad.format": "PhoneBadFormat",
    "invalid.call.task.state": "InvalidTaskState",
    "invalid.call.allowed.time": "InvalidAllowedTime",
    "invalid.dialer_priority": "InvalidDialerPriority",
    "phone.gmtZone.bad.format": "PhoneGmtZoneBadFormat",
    "id.not.found": "IdNotFound",
    "phone.not.found": "PhoneNotFound",
    "invalid.token": "InvalidToken",
}


def hold(name: str, value: object) -> None:
    """Fails unless the value is what the contract calls by this name."""
    jsonschema.Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": CONTRACT["$defs"]}).validate(value)


@dataclass(kw_only=True)
class Notary(httpx.BaseTransport):
    """Passes every exchange on, and validates both of its sides."""

    inner: httpx.HTTPTransport = field(default_factory=httpx.HTTPTransport)
    seen: set[tuple[str, str, str]] = field(default_factory=set)
    asked: set[tuple[str, str, str]] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    is_asking_wrongly: bool = False  # a test of refusals sends what the page forbids

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        operation = self._judge_request(request)
        self.asked.add(operation)
        answer = self.inner.handle_request(request)
        body = answer.read()
        self._judge_answer(operation, answer.status_code, body)
        return httpx.Response(answer.status_code, headers=answer.headers, content=body)

    def close(self) -> None:
        self.inner.close()

    def _judge_request(self, request: httpx.Request) -> tuple[str, str, str]:
        _, _, family, _, _, *rest = request.url.path.split("/")
        operation = (request.method, family, "".join(f"/{part}" for part in rest))
        schema, _ = OPERATIONS[operation]
        if schema is not None and not self.is_asking_wrongly:
            assert request.headers["content-type"] == "application/json"
            hold(schema, json.loads(request.read()))
        fields = (
            dict(parse_qsl((request.read() or request.url.query).decode(), strict_parsing=True))
            if family == ("crmCalls")
            else {}
        )
        if family == "crmCalls":
            hold("CallRequest", {"phone": fields["phone"].removeprefix("+")})  # this method takes a plus
        if operation[2] in KEYED or operation[2].startswith("/control"):
            assert request.headers.get("idempotence-key") or fields.get("Idempotence-Key")
        return operation

    def _judge_answer(self, operation: tuple[str, str, str], status: int, body: bytes) -> None:
        if status == 200:
            schema = OPERATIONS[operation][1]
            assert schema is not None or body == b""
            if schema is not None:
                hold(schema, json.loads(body))
            self.seen.add(operation)
            return
        assert status == 404 or (status == 400 and operation[2] not in ONLY_404)
        value = json.loads(body)
        hold(ERRORS[value["type"]] if "type" in value else "ControlError", value)
        self.refused.add(value.get("type", "control"))


@dataclass(kw_only=True)
class World:
    """A sandbox with a clock that a test moves, and a client whose exchanges are all validated."""

    api: CallsApi
    notary: Notary
    clock: list[float]

    def pass_s(self, wait_s: float) -> None:
        self.clock[0] += wait_s

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.clock[0], UTC)


@pytest.fixture(params=[(), ("iso-times", "in-process")], ids=["milliseconds", "iso"])
def world(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[World]:
    clock, notary = [START_S], Notary()
    with (
        Sandbox(tmp_path / "sandbox.db", tokens=(TOKEN,), clock=lambda: clock[0], faults=request.param) as sandbox,
        sandbox.serve() as served,
        CallsApi(served.origin, TOKEN, transport=notary) as api,
    ):
        yield World(api=api, notary=notary, clock=clock)


def test_every_operation_is_as_the_page_has_it(world: World) -> None:
    """All thirteen, each way: what the client asks and what the sandbox answers both validate."""
    api = world.api
    ids = api.add_phones([_full_job(world.now(), PHONES[0]), *(NewCallJob(phone=phone) for phone in PHONES[1:4])])
    ids += (api.add_phone(PHONES[4], payload={"name": "Zoë"}, gmt_zone="+01:00"),)
    ids += (api.add_phone_by_query(f"+{PHONES[5]}", payload={"name": "a b"}),)
    ids += (api.test_add_phone(PHONES[5], payload={"name": "a b"}),)
    world.pass_s(600)
    now = world.now()
    assert {each.call_job_id for each in api.job_reports(ids=ids).items} == set(ids)
    assert api.attempt_reports(ids=ids[1:3], phones=[PHONES[4]]).items
    assert len(list(api.iter_job_reports_by_date(now - timedelta(hours=1), now))) == len(ids)
    assert list(api.iter_attempt_reports_by_date(now - timedelta(hours=1), now))
    assert api.job_reports_by_date(DateFilter(finished_from=now - timedelta(hours=1), finished_to=now)).items
    unfinished = [job.call_job_id for job in api.iter_unfinished_jobs()]
    assert set(api.cancel(ids=ids).items) == set(unfinished)
    assert api.campaign().status == api.status() == "inProgress"
    api.pause()
    api.resume()
    api.stop()
    assert world.notary.seen == set(OPERATIONS)


def test_every_refusal_is_as_the_page_has_it(world: World) -> None:
    """What the client makes of a refusal came in a body the page allows."""
    api = world.api
    job = NewCallJob(phone=PHONES[0])
    (job_id,) = api.add_phones([job])
    wrong = [
        [job, job],
        [NewCallJob(phone="12")],
        [NewCallJob(phone=PHONES[1], gmt_zone="Mars/Olympus")],
        [NewCallJob(phone=PHONES[1], dialer_priority=9)],
        [NewCallJob(phone=PHONES[1], allowed_time={"mon": [TimeSpan(local_time_from="18:00", local_time_to="9:00")]})],
    ]
    world.notary.is_asking_wrongly = True
    for jobs in wrong:
        with pytest.raises(ApiRejected):
            api.add_phones(jobs)
    assert api.job_reports(ids=[job_id, "999999"]).unknown_ids == ("999999",)
    assert api.cancel(phones=["16505559999"]).unknown_phones == ("16505559999",)
    with pytest.raises(ApiRejected):
        api.resume()
    api.stop()
    with pytest.raises(ApiDenied):
        api.add_phones([NewCallJob(phone=PHONES[2])])
    assert world.notary.refused == {*ERRORS, "control"} - {"invalid.token"}


def test_an_unknown_token_is_refused_by_every_operation_as_the_page_has_it(world: World) -> None:
    """404 `invalid.token`, whatever was asked."""
    notary = Notary()
    with CallsApi(world.api.origin, "1.2.nobodysToken", transport=notary) as api:
        for ask in (
            lambda: api.add_phones([NewCallJob(phone=PHONES[0])]),
            lambda: api.add_phone(PHONES[0]),
            lambda: api.add_phone_by_query(PHONES[0]),
            lambda: api.test_add_phone(PHONES[0]),
            lambda: api.cancel(ids=["1"]),
            lambda: api.job_reports(ids=["1"]),
            lambda: api.job_reports_by_date(DateFilter()),
            api.unfinished_jobs,
            lambda: api.attempt_reports(ids=["1"]),
            lambda: api.attempt_reports_by_date(DateFilter()),
            api.campaign,
            api.status,
            api.pause,
            api.resume,
            api.stop,
        ):
            with pytest.raises(ApiDenied):
                ask()
    assert (notary.refused, notary.asked) == ({"invalid.token"}, set(OPERATIONS))


def test_the_client_is_offered_by_the_package_itself() -> None:
    """`from importer import CallsApi` is the client, and nothing else is made up."""
    assert importer.CallsApi is CallsApi
    with pytest.raises(AttributeError):
        importer.NoSuchThing  # noqa: B018  # that is the point


def _full_job(now: datetime, phone: str) -> NewCallJob:
    return NewCallJob(
        phone=phone,
        payload={"name": "Zoë", "n": 1, "list": [1, None]},
        start=now,
        finish=now + timedelta(days=2),
        allowed_days=["mon", "sun"],
        allowed_time={"default": [TimeSpan(local_time_from="09:00", local_time_to="18:00")]},
        retry_interval_minutes=5,
        max_attempts=3,
        gmt_zone="Europe/Paris",
        dialer_priority=1,
        external_check=ExternalCheck(url="https://example.com/check", max_retries=2),
    )
