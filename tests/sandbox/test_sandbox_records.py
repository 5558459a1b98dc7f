"""The judge: what it reads back is what happened, and each judgement finds a planted violation."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from importer.errors import UsageProblem
from importer.sandbox import ConnectionLost, Sandbox, records

from .calling import OTHER_TOKEN, START_S, TOKEN, Caller, Clock, phone
from .conftest import Make


def _judgements(db: Path) -> dict[str, int]:
    return {
        "duplicates": len(records.duplicates(db)),
        "two bodies": len(records.keys_with_two_bodies(db)),
        "overlaps": len(records.overlapping_keys(db)),
        "late": len(records.keys_used_past(db, 86_400)),
    }


CLEAN = {"duplicates": 0, "two bodies": 0, "overlaps": 0, "late": 0}


def test_jobs_are_read_back_as_they_were_added(in_process: Make, db: Path) -> None:
    """Phone, content in canonical form, campaign, time, key, request, and whether cancelled."""
    caller = in_process()
    first, second = caller.added(1, 2, key="k1", payload={"b": 1, "a": "ä"}, maxAttempts=2, gmtZone="Z")
    caller.post("/callJob/cancel", {"ids": [second]})
    job, cancelled = records.jobs(db)
    assert (job.id, job.phone, job.campaign, job.request_key, job.request_number) == (first, phone(1), TOKEN, "k1", 1)
    assert job.payload == '{"a":"\\u00e4","b":1}'
    assert job.policy == '{"gmtZone":"Z","maxAttempts":2}'
    assert job.created_at == datetime.fromtimestamp(START_S, UTC)
    assert (job.is_cancelled, cancelled.is_cancelled) == (False, True)
    assert records.count_jobs(db) == 2


def test_every_request_is_in_the_log(in_process: Make, db: Path, clock: Clock) -> None:
    """Good, bad, unknown and replayed ones, with what was answered, in order."""
    caller = in_process(faults=("delay:s=2",))
    caller.add(1, key="k1")
    caller.add(1, key="k1")
    caller.post("/addPhones", [{"phone": "bad"}])
    Caller(http=caller.http, token="1.2.none").get("/status")
    caller.http.get("/nowhere")
    log = records.requests(db)
    assert [(one.operation, one.status) for one in log] == [
        ("addPhones", 200), ("addPhones", 200), ("addPhones", 400), ("status", 404), ("unknown", 404)
    ]  # fmt: skip
    assert [(one.was_executed, one.was_replayed) for one in log[:3]] == [(True, False), (False, True), (False, False)]
    assert [one.campaign for one in log] == [TOKEN, TOKEN, TOKEN, None, None]
    assert log[0].body_sha256 == log[1].body_sha256 != log[2].body_sha256
    assert (log[0].committed_at - log[0].arrived_at).total_seconds() == 2
    assert all(one.finished_order is not None and one.arrived_order < one.finished_order for one in log)
    assert _judgements(db) == CLEAN


def test_addphone_content_is_read_back_too(in_process: Make, db: Path) -> None:
    """A number added by GET has its query as payload."""
    caller = in_process()
    caller.get("/addPhone", api="crmCalls", phone="+16505550100", gmtZone="+03:00", name="A")
    job = records.jobs(db)[0]
    assert (job.phone, job.payload, job.policy) == ("16505550100", '{"name":"A"}', '{"gmtZone":"+03:00"}')


def test_a_duplicate_is_found_whatever_the_order_of_its_keys(in_process: Make, db: Path) -> None:
    """Same campaign, phone, payload and policy in two requests: one group with both ids."""
    caller = in_process()
    one = caller.added(1, 5, key="k1", payload={"a": 1, "b": 2}, maxAttempts=3)[0]
    two = caller.added(1, 6, key="k2", maxAttempts=3, payload={"b": 2, "a": 1})[0]
    (found,) = records.duplicates(db)
    assert (found.campaign, found.phone, found.job_ids) == (TOKEN, phone(1), (one, two))
    assert _judgements(db) == CLEAN | {"duplicates": 1}


def test_what_differs_in_campaign_payload_or_policy_is_no_duplicate(in_process: Make, db: Path) -> None:
    """The same phone may be called for several reasons."""
    caller = in_process()
    several: tuple[dict[str, Any], ...] = (
        {}, {"payload": {}}, {"payload": {"a": "1"}}, {"payload": {"a": 1}}, {"maxAttempts": 2}
    )  # fmt: skip
    for fields in several:
        caller.added(1, **fields)
    Caller(http=caller.http, token=OTHER_TOKEN).added(1)
    assert records.count_jobs(db) == 6
    assert _judgements(db) == CLEAN


def test_a_cancelled_duplicate_is_still_one(in_process: Make, db: Path) -> None:
    """Cancelling hides nothing from the judge."""
    caller = in_process()
    first = caller.added(1)
    caller.post("/callJob/cancel", {"ids": first})
    caller.added(1)
    assert _judgements(db) == CLEAN | {"duplicates": 1}


@pytest.mark.parametrize("same_key", ["refuse", "replay"])
def test_a_key_with_two_bodies_is_found_even_if_nothing_came_of_it(in_process: Make, db: Path, same_key: str) -> None:
    """The mistake is the sending, not the answer."""
    caller = in_process(same_key=same_key)
    caller.add(1, key="k1")
    caller.add(2, key="k1")
    caller.add(3, key="k2")
    (found,) = records.keys_with_two_bodies(db)
    assert (found.key, len(found.content_sha256s), found.request_numbers) == ("k1", 2, (1, 2))
    assert _judgements(db) == CLEAN | {"two bodies": 1}


def test_a_dropped_request_counts_for_two_bodies(in_process: Make, db: Path) -> None:
    """Bytes that were sent were sent, whatever the server did with them."""
    caller = in_process(faults=("drop:times=1",))
    with pytest.raises(ConnectionLost):
        caller.add(1, key="k1")
    caller.add(2, key="k1")
    assert _judgements(db) == CLEAN | {"two bodies": 1}


def test_a_key_in_flight_twice_is_found(db: Path) -> None:
    """Two requests of one key, the second arriving while the first waits: a pair, whatever the clock says."""
    arrived, released = threading.Event(), threading.Event()

    def wait(_: float) -> None:
        arrived.set()
        assert released.wait(timeout=10)

    with Sandbox(db, tokens=(TOKEN,), clock=Clock(), sleep=wait, faults=("delay:times=1",)) as sandbox:
        transport = httpx.WSGITransport(app=sandbox.app)
        caller = Caller(http=httpx.Client(transport=transport, base_url="http://sandbox"))
        slow = threading.Thread(target=caller.add, args=(1,), kwargs={"key": "k1"})
        slow.start()
        assert arrived.wait(timeout=10)
        caller.add(1, key="k1")
        caller.add(2, key="k2")
        released.set()
        slow.join(timeout=10)
    (found,) = records.overlapping_keys(db)
    assert (found.key, {found.first_number, found.second_number}) == ("k1", {1, 3})
    assert _judgements(db) == CLEAN | {"overlaps": 1}


def test_one_after_the_other_is_no_overlap(in_process: Make, db: Path) -> None:
    """Retries that follow a lost, half or late answer do not overlap, though the clock stands still."""
    caller = in_process(faults=("lose-answer:times=1", "half-answer:after=1,times=1", "status:after=2,times=1"))
    for _ in range(2):
        with pytest.raises(ConnectionLost):
            caller.add(1, key="k1")
    assert [caller.add(1, key="k1").status_code for _ in range(3)] == [503, 200, 200]
    assert _judgements(db) == CLEAN


def test_a_key_used_past_its_day_is_found(in_process: Make, db: Path, clock: Clock) -> None:
    """Counted from the first use; whether it could make a duplicate is said."""
    caller = in_process(faults=("drop:times=1",))
    with pytest.raises(ConnectionLost):
        caller.add(2, key="never carried out")
    caller.add(1, key="k1")
    clock.now_s += 86_399
    caller.add(1, key="k1")
    assert _judgements(db) == CLEAN
    clock.now_s += 1
    caller.add(1, key="k1")
    caller.add(2, key="never carried out")
    late = {found.key: found for found in records.keys_used_past(db, 86_400)}
    assert (late["k1"].age_s, late["k1"].was_executed_before) == (86_400, True)
    assert not late["never carried out"].was_executed_before
    assert records.keys_used_past(db, 90_000) == []


def test_another_process_reads_while_the_sandbox_writes(in_process: Make, db: Path) -> None:
    """Records need the file and nothing else, not even a server that has stopped."""
    caller = in_process()
    caller.added(*range(100))
    code = "import sys, pathlib, importer.sandbox.records as r; print(r.count_jobs(pathlib.Path(sys.argv[1])))"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-W", "error", "-c", code, str(db)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, timeout=60)
    assert said.stdout.strip() == "100"


def test_reading_changes_nothing(in_process: Make, db: Path) -> None:
    """A judge's connection cannot write."""
    in_process().added(1)
    before = records.requests(db)
    _judgements(db)
    assert records.requests(db) == before


def test_the_file_is_its_owners_alone(in_process: Make, db: Path) -> None:
    """It holds phone numbers."""
    in_process().added(1)
    assert {stat.S_IMODE(path.stat().st_mode) for path in db.parent.iterdir()} == {0o600}


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    """Reading never makes an empty file that would judge everything well."""
    with pytest.raises(UsageProblem):
        records.count_jobs(tmp_path / "none.db")
    assert list(tmp_path.iterdir()) == []


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    """A file that is no sandbox's is refused unchanged, be it SQLite or not."""
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE t (x)")
    connection.close()
    text = tmp_path / "list.csv"
    text.write_text(json.dumps(["phone"] * 500))
    for path in (other, text, tmp_path):
        with pytest.raises(UsageProblem):
            Sandbox(path)
    assert text.read_text() == json.dumps(["phone"] * 500)


def test_another_seed_than_the_files_is_refused(db: Path) -> None:
    """The seed made the ids; changing it would lose every job."""
    Sandbox(db, seed=3).close()
    with pytest.raises(UsageProblem, match="seed 3"):
        Sandbox(db, seed=4)
    Sandbox(db).close()


@pytest.mark.parametrize("token", ["", "a/b", "a b", "ä", "a\n"])
def test_a_token_must_fit_into_a_path(db: Path, token: str) -> None:
    """A campaign nobody could reach is refused at once."""
    with pytest.raises(UsageProblem):
        Sandbox(db, tokens=(token,))
