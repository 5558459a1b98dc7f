"""Whatever is sent, an answer of a known kind comes back and the judge's file stays in order."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from importer.sandbox import Sandbox, records

from .calling import TOKEN, Caller, Clock

POSTS = (
    "/addPhones",
    "/callJob/cancel",
    "/callJob/getReport",
    "/callJob/getReportByDate",
    "/callJob/getUnfinished",
    "/callAttempt/getReport",
    "/callAttempt/getReportByDate",
)
FIELDS = (
    "payload", "startDateTime", "finishDateTime", "allowedDays", "allowedTime", "localTimeFrom", "localTimeTo",
    "gmtZone", "maxAttempts", "retryIntervalInMinutes", "dialerPriority", "externalCheck",
)  # fmt: skip
NAMES = (
    *FIELDS, "externalCheckUrl", "externalCheckMaxRetries", "mon", "default", "ids", "phones", "phone", "filter",
    "pagination", "page", "pageSize", "createdAtFrom", "finishedAtTo", "startedAtFrom",
)  # fmt: skip

names = st.sampled_from(NAMES) | st.text(max_size=3)
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.sampled_from(
        ["16505550100", "+16505550101", "09:00", "2027-01-01T00:00:00Z", "mon", "Europe/Berlin", "\ud800"]
    )
)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=5),
    max_leaves=12,
)
entries = st.lists(
    st.fixed_dictionaries({"phone": leaves}, optional=dict.fromkeys(FIELDS, values)), min_size=1, max_size=3
)


@pytest.fixture(scope="module")
def fuzzed() -> Iterator[tuple[Caller, Path]]:
    with tempfile.TemporaryDirectory() as folder:
        db = Path(folder) / "sandbox.db"
        with (
            Sandbox(db, tokens=(TOKEN,), clock=Clock(), unknown_fields="ignore", plus="tolerate") as sandbox,
            httpx.Client(transport=httpx.WSGITransport(app=sandbox.app), base_url="http://sandbox") as http,
        ):
            yield Caller(http=http), db


def _send(caller: Caller, tail: str, body: bytes) -> tuple[int, Any]:
    answer = caller.post(tail, raw=body)
    return answer.status_code, answer.json()


@given(tail=st.sampled_from(POSTS), value=values)
def test_any_json_gets_an_answer(fuzzed: tuple[Caller, Path], tail: str, value: object) -> None:
    """200 or a JSON error object, for every operation and every JSON value."""
    status, said = _send(fuzzed[0], tail, json.dumps(value).encode())
    assert status == 200 or (status == 400 and ("type" in said) != ("error" in said))


@given(value=entries)
def test_any_number_is_accepted_or_refused_as_a_whole(fuzzed: tuple[Caller, Path], value: list[dict[str, Any]]) -> None:
    """As many jobs as ids, or none; and the judge can read what was accepted."""
    caller, db = fuzzed
    before = records.count_jobs(db)
    status, said = _send(caller, "/addPhones", json.dumps(value).encode())
    assert status in {200, 400}
    assert records.count_jobs(db) - before == (len(value) if status == 200 else 0)
    if status == 200:
        assert [job.id for job in records.jobs(db)][before:] == said
    assert isinstance(records.duplicates(db), list)


@given(tail=st.sampled_from(POSTS), body=st.binary(max_size=60))
def test_any_bytes_get_an_answer(fuzzed: tuple[Caller, Path], tail: str, body: bytes) -> None:
    """Bytes that are no JSON are a 400."""
    status, _ = _send(fuzzed[0], tail, body)
    assert status in {200, 400}


@given(
    query=st.dictionaries(
        st.sampled_from(["phone", "gmtZone", "Idempotence-Key", "x"]) | st.text(max_size=4),
        st.text(max_size=12),
        max_size=5,
    )
)
def test_any_query_gets_an_answer(fuzzed: tuple[Caller, Path], query: dict[str, str]) -> None:
    """addPhone takes whatever a query can hold."""
    encoded = {name: value.encode("utf-8", "replace") for name, value in query.items() if name.isprintable()}
    answer = fuzzed[0].http.get(fuzzed[0].path("/addPhone", api="crmCalls"), params=encoded)
    assert answer.status_code in {200, 400}
    assert isinstance(answer.json(), str if answer.status_code == 200 else dict)
