"""The thirteen operations, over a real socket, each answer checked against the contract."""

from __future__ import annotations

from itertools import pairwise

import pytest

from .calling import TOKEN, Caller, Clock, check, error_of, phone, rows
from .conftest import Make


@pytest.fixture
def caller(over_socket: Make) -> Caller:
    return over_socket(seed=7)


def test_add_phones_answers_one_id_per_phone_in_order(caller: Caller) -> None:
    """Ids come back in the order of the phones, as reports confirm."""
    job_ids = caller.added(3, 1, 2, payload={"name": "A"})
    check("AddPhonesAnswer", job_ids)
    reported = {row["callJobId"]: row["phone"] for row in caller.reported()}
    assert [reported[job_id] for job_id in job_ids] == [phone(3), phone(1), phone(2)]


def test_ids_are_opaque(caller: Caller) -> None:
    """Neighbouring jobs have no neighbouring ids, and no constant step between them."""
    numbers = [int(job_id) for job_id in caller.added(*range(50))]
    steps = {later - earlier for earlier, later in pairwise(numbers)}
    assert len(steps) == 49
    assert min(abs(step) for step in steps) > 1000


def test_add_phones_takes_every_documented_field(caller: Caller) -> None:
    """An entry with all fields is one the contract and the server both accept."""
    entry = {
        "phone": phone(1),
        "payload": {"name": "Ä", "nested": {"deep": [1, None]}},
        "startDateTime": "2027-02-01T09:00:00+03:00",
        "finishDateTime": "2027-02-02T09:00:00Z",
        "allowedDays": ["mon", "sun"],
        "allowedTime": {
            "default": [
                {"localTimeFrom": "09:00", "localTimeTo": "12:00"},
                {"localTimeFrom": "12:00", "localTimeTo": "18:00"},
            ],
            "sat": [{"localTimeFrom": "10:00", "localTimeTo": "11:00"}],
        },
        "localTimeFrom": "08:00",
        "localTimeTo": "20:00",
        "retryIntervalInMinutes": 2880,
        "maxAttempts": 50,
        "gmtZone": "Europe/Berlin",
        "dialerPriority": 5,
        "externalCheck": {"externalCheckUrl": "https://check.example/x", "externalCheckMaxRetries": 3},
    }
    check("AddPhonesRequest", [entry])
    assert caller.post("/addPhones", [entry]).status_code == 200


def test_an_empty_array_adds_nothing(caller: Caller) -> None:
    """No phones, no ids, no error."""
    assert caller.added() == []


def test_a_phone_may_be_a_json_number(caller: Caller) -> None:
    """Old examples send numbers; the report has digits."""
    assert caller.post("/addPhones", [{"phone": 16505550100}]).status_code == 200
    assert caller.reported()[0]["phone"] == "16505550100"


@pytest.mark.parametrize(
    ("api", "tail"), [("crmCalls", "/addPhone"), ("crmCalls", "/test/addPhone"), ("calls", "/addPhone")]
)
def test_add_phone_by_get_answers_one_id(caller: Caller, api: str, tail: str) -> None:
    """Every way to add one phone by GET answers one id, a string."""
    answer = caller.get(tail, api=api, phone="+16505550100", gmtZone="+03:00", name="A")
    assert answer.status_code == 200
    check("AddPhoneAnswer", answer.json())
    assert caller.reported()[0]["callJobId"] == answer.json()


def test_add_phone_by_post_takes_a_form_or_a_query(caller: Caller) -> None:
    """Form fields and query parameters mean the same."""
    path = caller.path("/addPhone", api="crmCalls")
    assert caller.http.post(path, data={"phone": phone(1), "name": "A"}).status_code == 200
    assert caller.http.post(path, params={"phone": phone(2), "name": "A"}).status_code == 200
    assert error_of(caller.http.post(path, params={"phone": phone(1), "name": "A"}))["type"] == "phone.duplicated"


def test_add_phone_refuses_a_repetition_within_a_day(caller: Caller, clock: Clock) -> None:
    """Same phone, same payload, no key: refused for 24 hours; another payload is another call."""
    assert caller.get("/addPhone", api="crmCalls", phone=phone(1), name="A").status_code == 200
    error = error_of(caller.get("/addPhone", api="crmCalls", phone=phone(1), name="A"))
    check("PhoneDuplicated", error)
    assert caller.get("/addPhone", api="crmCalls", phone=phone(1), name="B").status_code == 200
    clock.now_s += 86_399
    assert caller.get("/addPhone", api="crmCalls", phone=phone(1), name="A").status_code == 400
    clock.now_s += 2
    assert caller.get("/addPhone", api="crmCalls", phone=phone(1), name="A").status_code == 200


def test_add_phone_with_the_same_key_answers_the_first_id(caller: Caller) -> None:
    """A key turns the duplicate into the first answer, in the query or the header; another key adds again."""
    query = {"phone": phone(1), "Idempotence-Key": "k1"}
    first = caller.get("/addPhone", api="crmCalls", **query)
    assert caller.get("/addPhone", api="crmCalls", **query).content == first.content
    by_header = caller.http.get(
        caller.path("/addPhone", api="crmCalls"), params={"phone": phone(1)}, headers={"Idempotence-Key": "k1"}
    )
    assert by_header.content == first.content
    other = caller.get("/addPhone", api="crmCalls", **query | {"Idempotence-Key": "k2"})
    assert other.status_code == 200
    assert other.content != first.content
    assert len(caller.reported()) == 2


def test_the_test_method_skips_the_duplicate_rule(caller: Caller) -> None:
    """test/addPhone adds the same number as often as asked."""
    answers = [caller.get("/test/addPhone", api="crmCalls", phone=phone(1)) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert len({answer.json() for answer in answers}) == 3


def test_cancel_answers_the_ids_it_really_cancelled(caller: Caller) -> None:
    """By id or phone, text or number, each job once; a second time nothing is left to cancel."""
    first, second, third = caller.added(1, 2, 3)
    again = caller.added(3)[0]
    answer = caller.post("/callJob/cancel", {"ids": [int(first)], "phones": [phone(3), int(phone(3))]})
    check("CancelAnswer", answer.json())
    assert set(answer.json()) == {first, third, again}
    assert caller.post("/callJob/cancel", {"ids": [first]}).json() == []
    assert {row["callJobId"]: row["jobStatus"] for row in caller.reported()}[second] == "planned"


def test_reports_by_id_and_phone(caller: Caller, clock: Clock) -> None:
    """Operations 6 and 9 answer arrays; a phone with several jobs gives several rows."""
    job_ids = caller.added(1, 2) + caller.added(1)
    clock.now_s += 30
    jobs = caller.post("/callJob/getReport", {"ids": job_ids[:2], "phones": [phone(1)]})
    check("CallJobReports", jobs.json())
    assert [row["callJobId"] for row in jobs.json()] == job_ids
    attempts = caller.post("/callAttempt/getReport", {"ids": job_ids})
    check("CallAttemptReports", attempts.json())
    assert {row["callJobId"] for row in attempts.json()} == set(job_ids)


def test_paged_reports(caller: Caller, clock: Clock) -> None:
    """Operations 7, 8 and 10 answer items and the page they are."""
    job_ids = caller.added(*range(5))
    clock.now_s += 30
    jobs = caller.post("/callJob/getReportByDate", {"filter": {}, "pagination": {"page": 1, "pageSize": 3}})
    check("CallJobReportPage", jobs.json())
    assert [row["callJobId"] for row in jobs.json()["items"]] == job_ids[3:]
    assert jobs.json()["pagination"] == {"page": 1, "pageSize": 3}
    attempts = caller.post("/callAttempt/getReportByDate", {"pagination": {}})
    check("CallAttemptReportPage", attempts.json())
    assert attempts.json()["items"]
    unfinished = caller.post("/callJob/getUnfinished", {"page": 0, "pageSize": 200})
    check("CallJobReportPage", unfinished.json())
    assert all("finishedAt" not in row for row in unfinished.json()["items"])


def test_the_campaign_and_its_status(caller: Caller) -> None:
    """A new campaign is `new`, one with numbers `inProgress`; the object counts them."""
    check("CampaignStatus", caller.get("/status").json())
    assert caller.get("/status").json() == "new"
    caller.added(1, 2)
    assert caller.get("/status").json() == "inProgress"
    check("Campaign", caller.get().json())
    assert caller.get().json()["shortReport"]["totalNumbers"] == 2


def test_pause_resume_and_stop(caller: Caller) -> None:
    """Controls answer an empty 200, or the other error shape when the campaign is not in the state for it."""
    for action, status in (("pause", "paused"), ("resume", "new"), ("pause", "paused"), ("stop", "finished")):
        answer = caller.post(f"/control/{action}")
        assert (answer.status_code, answer.content) == (200, b"")
        assert caller.get("/status").json() == status
    for action in ("pause", "resume", "stop"):
        check("ControlError", error_of(caller.post(f"/control/{action}")))


def test_a_paused_campaign_takes_numbers_and_a_stopped_one_does_not(caller: Caller) -> None:
    """Stopping is for ever: addPhones answers the state."""
    caller.post("/control/pause")
    assert caller.add(1).status_code == 200
    caller.post("/control/stop")
    for answer in (caller.add(2), caller.get("/addPhone", api="crmCalls", phone=phone(2))):
        error = error_of(answer)
        check("InvalidTaskState", error)
        assert error["state"] == "FINISHED"


def test_control_takes_a_key(caller: Caller) -> None:
    """The same stop with the same key is not a second stop."""
    assert [caller.post("/control/stop", key="s1").status_code for _ in range(2)] == [200, 200]
    assert caller.post("/control/stop", key="s2").status_code == 400


@pytest.mark.parametrize(
    ("method", "tail"),
    [
        ("POST", "/addPhones"),
        ("GET", "/addPhone"),
        ("POST", "/callJob/cancel"),
        ("POST", "/callJob/getReport"),
        ("POST", "/callJob/getReportByDate"),
        ("POST", "/callJob/getUnfinished"),
        ("POST", "/callAttempt/getReport"),
        ("POST", "/callAttempt/getReportByDate"),
        ("GET", ""),
        ("GET", "/status"),
        ("POST", "/control/pause"),
        ("POST", "/control/resume"),
        ("POST", "/control/stop"),
    ],
)
def test_an_unknown_token_is_404_everywhere(caller: Caller, method: str, tail: str) -> None:
    """No operation says anything about a campaign that is not there, and none echoes the token."""
    stranger = Caller(http=caller.http, token="1.2.nobody")
    answer = caller.http.request(method, stranger.path(tail))
    check("InvalidToken", error_of(answer, 404))
    assert "nobody" not in answer.text


@pytest.mark.parametrize("path", ["/", "/api/calls/campaign", f"/api/calls/campaign/{TOKEN}/nothing", "/api//calls"])
def test_an_unknown_path_is_404(caller: Caller, path: str) -> None:
    """A path that is no operation is a plain JSON 404, never a redirect."""
    assert error_of(caller.http.get(path), 404)["error"] == "not_found"


def test_a_wrong_method_is_405_with_allow(caller: Caller) -> None:
    """The answer says which methods are allowed."""
    answer = caller.http.put(caller.path("/addPhones"), json=rows(1))
    assert error_of(answer, 405)["error"] == "method_not_allowed"
    assert answer.headers["Allow"] == "POST"
    assert caller.reported() == []


def test_head_is_no_method_of_the_api(caller: Caller) -> None:
    """HEAD on a GET operation carries nothing out, has no body, and the connection goes on."""
    for path in (caller.path("/status"), caller.path("/addPhone") + f"?phone={phone(1)}"):
        answer = caller.http.head(path)
        assert (answer.status_code, answer.content, answer.headers["Allow"]) == (405, b"", "GET")
    assert caller.get("/status").json() == "new"


def test_campaigns_do_not_see_each_other(caller: Caller) -> None:
    """Reports, cancels and counts stay inside the campaign of the token."""
    job_id = caller.added(1)[0]
    other = Caller(http=caller.http, token="8231.7057.2c242ef2")
    assert other.reported() == []
    assert error_of(other.post("/callJob/cancel", {"ids": [job_id]}))["type"] == "id.not.found"
    assert error_of(other.post("/callJob/getReport", {"phones": [phone(1)]}))["type"] == "phone.not.found"
