"""Every way addPhones and its kin say no: the documented types, their exact shapes, all or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from importer.sandbox import records, timing

from .calling import Caller, Clock, check, error_of, phone, rows
from .conftest import Make


@pytest.fixture
def caller(in_process: Make) -> Caller:
    return in_process()


def _interval(start: str, end: str) -> dict[str, str]:
    return {"localTimeFrom": start, "localTimeTo": end}


def test_a_phone_twice_in_one_array_is_refused_by_name(caller: Caller) -> None:
    """The first repeated phone is named, all repeated ones are listed."""
    error = error_of(caller.add(1, 2, 3, 2, 3))
    check("PhoneDuplicated", error)
    assert error["phone"] == phone(2)
    assert error["phonesDuplicates"] == [phone(2), phone(3)]


@pytest.mark.parametrize(
    "bad",
    [
        "+16505550100",
        "1650 555",
        "123456",
        "1" * 16,
        "",
        "١٢٣٤٥٦٧٨",
        "16505550100\n",
        None,
        True,
        1.5,
        [],
        -16505550100,
    ],
)
def test_a_phone_is_seven_to_fifteen_ascii_digits(caller: Caller, bad: object) -> None:
    """Anything else is phone.bad.format, naming the phone as it came where it was text."""
    error = error_of(caller.post("/addPhones", [{"phone": phone(1)}, {"phone": bad}]))
    check("PhoneBadFormat", error)
    assert error["phone"] == bad or not isinstance(bad, str)


def test_a_missing_phone_is_a_bad_format(caller: Caller) -> None:
    """There is no type for a missing field, so it is the phone's format."""
    check("PhoneBadFormat", error_of(caller.post("/addPhones", [{"payload": {}}])))


def test_a_plus_is_tolerated_on_request(in_process: Make) -> None:
    """With the switch, a plus is dropped before phones are compared."""
    caller = in_process(plus="tolerate")
    assert caller.post("/addPhones", [{"phone": "+16505550100"}]).status_code == 200
    assert caller.reported()[0]["phone"] == "16505550100"
    both = [{"phone": "+16505550101"}, {"phone": "16505550101"}]
    assert error_of(caller.post("/addPhones", both))["type"] == "phone.duplicated"


@pytest.mark.parametrize(
    ("definition", "fields"),
    [
        ("InvalidAllowedTime", {"allowedDays": []}),
        ("InvalidAllowedTime", {"allowedDays": ["mon"] * 8}),
        ("InvalidAllowedTime", {"allowedDays": ["Mon"]}),
        ("InvalidAllowedTime", {"allowedDays": "mon"}),
        ("InvalidAllowedTime", {"allowedDays": [{}]}),
        ("InvalidAllowedTime", {"allowedTime": []}),
        ("InvalidAllowedTime", {"allowedTime": {"weekend": [_interval("09:00", "10:00")]}}),
        ("InvalidAllowedTime", {"allowedTime": {"mon": []}}),
        ("InvalidAllowedTime", {"allowedTime": {"mon": [_interval("9:00", "10:00")]}}),
        ("InvalidAllowedTime", {"allowedTime": {"mon": [_interval("10:00", "10:00")]}}),
        ("InvalidAllowedTime", {"allowedTime": {"mon": [_interval("10:00", "24:00")]}}),
        ("InvalidAllowedTime", {"allowedTime": {"mon": [{"localTimeFrom": "10:00"}]}}),
        ("InvalidAllowedTime", {"allowedTime": {"mon": [_interval("09:00", "11:00"), _interval("10:59", "12:00")]}}),
        ("InvalidAllowedTime", {"localTimeFrom": "25:00"}),
        ("InvalidAllowedTime", {"localTimeTo": 900}),
        ("InvalidDialerPriority", {"dialerPriority": 0}),
        ("InvalidDialerPriority", {"dialerPriority": 6}),
        ("InvalidDialerPriority", {"dialerPriority": "1"}),
        ("InvalidDialerPriority", {"dialerPriority": True}),
        ("PhoneGmtZoneBadFormat", {"gmtZone": "Mars/Olympus"}),
        ("PhoneGmtZoneBadFormat", {"gmtZone": "+18:01"}),
        ("PhoneGmtZoneBadFormat", {"gmtZone": 3}),
    ],
)
def test_documented_refusals_have_their_exact_shape(caller: Caller, definition: str, fields: dict[str, Any]) -> None:
    """Each documented type comes with its documented fields and no other."""
    check(definition, error_of(caller.add(1, **fields)))


@pytest.mark.parametrize(
    "fields",
    [
        {"payload": []},
        {"payload": "text"},
        {"startDateTime": "2027-01-01T00:00:00"},
        {"startDateTime": "2027-02-30T00:00:00Z"},
        {"finishDateTime": 1_800_000_000_000},
        {"startDateTime": "2027-01-02T00:00:00Z", "finishDateTime": "2027-01-02T01:00:00+01:00"},
        {"retryIntervalInMinutes": 0},
        {"retryIntervalInMinutes": 2881},
        {"maxAttempts": 51},
        {"maxAttempts": 1.0},
        {"externalCheck": {}},
        {"externalCheck": {"externalCheckUrl": ""}},
        {"externalCheck": {"externalCheckUrl": "https://check.example", "externalCheckMaxRetries": "2"}},
        {"priority": 1},
    ],
)
def test_what_the_documentation_gives_no_type_is_a_plain_400(caller: Caller, fields: dict[str, Any]) -> None:
    """A client must live with an error of another shape."""
    error = error_of(caller.add(1, **fields))
    check("ControlError", error)
    assert error["error"] == "bad_request"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[{}",
        b"null",
        b'{"phone":"16505550100"}',
        b'["16505550100"]',
        b"\xff\xfe[\x00]\x00",
        b'\xef\xbb\xbf[{"phone":"16505550100"}]',
        b'[{"phone":"16505550100","payload":{"x":NaN}}]',
        b"[" * 200_000,
        b'[{"phone":' + b"9" * 5_000 + b"}]",
    ],
)
def test_a_body_that_is_no_array_of_objects_is_a_plain_400(caller: Caller, raw: bytes) -> None:
    """Broken, deep, huge or other JSON is answered, never a traceback."""
    assert error_of(caller.post("/addPhones", raw=raw))["error"] == "bad_request"


def test_a_body_of_another_type_is_415(caller: Caller) -> None:
    """A form where JSON is due is not guessed at."""
    answer = caller.http.post(caller.path("/addPhones"), data={"phone": phone(1)})
    assert error_of(answer, 415)["error"] == "unsupported_media_type"


def test_unknown_fields_may_be_ignored(in_process: Make) -> None:
    """By default a misspelt field is refused, because a judge must see it; a switch ignores it."""
    assert in_process(unknown_fields="ignore").add(1, maxAttempt=3).status_code == 200


@pytest.mark.parametrize(
    "last", [{"phone": "bad"}, {"phone": phone(0)}, {"phone": phone(9), "dialerPriority": 9}, "text"]
)
def test_a_refused_array_adds_no_phone_at_all(caller: Caller, db: Path, last: object) -> None:
    """A 400 means none of the request's phones was added."""
    assert caller.post("/addPhones", [*rows(*range(5)), last]).status_code == 400
    assert caller.reported() == []
    assert records.count_jobs(db) == 0


@pytest.mark.parametrize(
    ("good", "bad"), [({"maxAttempts": 1}, {"maxAttempts": True}), ({"gmtZone": "Z"}, {"gmtZone": "z"})]
)
def test_every_row_is_checked_however_alike(caller: Caller, good: dict[str, Any], bad: dict[str, Any]) -> None:
    """A row that nearly repeats a good one is not taken for it."""
    assert caller.post("/addPhones", [{"phone": phone(1), **good}, {"phone": phone(2), **good}]).status_code == 200
    assert caller.post("/addPhones", [{"phone": phone(1), **good}, {"phone": phone(2), **bad}]).status_code == 400


def test_duplicates_may_be_judged_against_the_jobs_of_a_day(in_process: Make, clock: Clock) -> None:
    """With jobs24h a phone of the last day is refused, whichever operation added it; without, it is not."""
    caller = in_process(duplicates="jobs24h")
    caller.added(1, 2)
    error = error_of(caller.add(3, 2))
    check("PhoneDuplicated", error)
    assert error["phone"] == phone(2)
    assert Caller(http=caller.http, token="8231.7057.2c242ef2").add(2).status_code == 200
    clock.now_s += 86_401
    assert caller.add(2).status_code == 200


def test_by_default_duplicates_are_judged_within_the_array(caller: Caller) -> None:
    """The same phone may come again in another request."""
    assert caller.added(1) != caller.added(1)


@pytest.mark.parametrize("tail", ["/callJob/cancel", "/callJob/getReport", "/callAttempt/getReport"])
def test_an_unknown_id_or_phone_is_not_named(caller: Caller, tail: str) -> None:
    """One unknown spoils the request and stays unnamed, so a client has to bisect."""
    known = caller.added(1)[0]
    for unknown in ("1234567", "x", "0", str(2**50), "9" * 30):
        error = error_of(caller.post(tail, {"ids": [known, unknown]}))
        check("IdNotFound", error)
        assert unknown not in error["message"] or len(unknown) == 1
    check("PhoneNotFound", error_of(caller.post(tail, {"phones": [phone(1), phone(2)]})))
    assert caller.reported()[0]["jobStatus"] != "cancelledByUser"


@pytest.mark.parametrize(
    "body", [{}, [], {"ids": "1"}, {"ids": [1.5]}, {"phones": [True]}, {"id": ["1"]}, {"ids": None}]
)
def test_a_choice_of_jobs_must_be_arrays_of_text(caller: Caller, body: object) -> None:
    """Neither ids nor phones, or of another kind: a plain 400."""
    assert error_of(caller.post("/callJob/getReport", body))["error"] == "bad_request"


GOOD_ZONES = [
    "",
    "Z",
    "UTC",
    "GMT",
    "UT",
    "+3",
    "-03",
    "+0330",
    "+03:30",
    "-17:59:59",
    "+18:00",
    "UTC+3",
    "GMT-0330",
    "UT+03:00",
    "Europe/Berlin",
    "Asia/Kolkata",
]
BAD_ZONES = [
    "+",
    "3",
    "+3:30",
    "+033",
    "+03:3",
    "+03:60",
    "+0330:00",
    "+19",
    "+18:00:01",
    "UTC+",
    "UTCZ",
    "utc",
    "europe/berlin",
    "+03:30 ",
    "../etc/passwd",
    "/Europe/Berlin",
]


@pytest.mark.parametrize("zone", GOOD_ZONES)
def test_a_zone_is_an_offset_or_an_id(zone: str) -> None:
    """The five forms of an offset, a prefix, or a zone of the IANA list."""
    assert timing.is_zone(zone)


@pytest.mark.parametrize("zone", BAD_ZONES)
def test_other_text_is_no_zone(zone: str) -> None:
    """Nothing beside them."""
    assert not timing.is_zone(zone)


@given(seconds=st.integers(-19 * 3600, 19 * 3600))
def test_an_offset_reaches_eighteen_hours_each_way(seconds: int) -> None:
    """Written in full, an offset is a zone exactly within 18 hours."""
    sign, size = ("-" if seconds < 0 else "+"), abs(seconds)
    text = f"{sign}{size // 3600:02d}:{size // 60 % 60:02d}:{size % 60:02d}"
    assert timing.is_zone(text) == (size <= 18 * 3600)
