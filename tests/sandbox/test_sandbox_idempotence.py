"""Idempotence keys: what they promise, for how long, and the switches for what nobody documents."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from importer.sandbox import Sandbox, records

from .calling import OTHER_TOKEN, TOKEN, Caller, Clock, error_of, phone
from .conftest import Make

DAY_S = 86_400


def test_same_key_and_content_give_the_same_bytes_and_no_second_job(anywhere: Make, db: Path) -> None:
    """The promise itself."""
    caller = anywhere()
    answers = [caller.add(1, 2, key="k1") for _ in range(3)]
    assert len({answer.content for answer in answers}) == 1
    assert records.count_jobs(db) == 2
    assert [request.was_replayed for request in records.requests(db)] == [False, True, True]


def test_without_a_key_or_with_another_a_request_is_another(anywhere: Make, db: Path) -> None:
    """No key, an empty key and different keys all add again."""
    caller = anywhere()
    for key in (None, None, "", "", "k1", "k2"):
        caller.added(1, key=key)
    assert records.count_jobs(db) == 6


@pytest.mark.parametrize("status", [200, 400])
def test_a_key_belongs_to_the_account(in_process: Make, db: Path, status: int) -> None:
    """In another campaign the same key is the same key: other content, not a free one."""
    caller = in_process(same_key="replay" if status == 200 else "refuse")
    first = caller.add(1, key="k1")
    second = Caller(http=caller.http, token=OTHER_TOKEN).add(1, key="k1")
    assert second.status_code == status
    assert (second.content == first.content) == (status == 200)
    assert records.count_jobs(db) == 1


def test_a_key_expires_a_day_after_its_first_use(in_process: Make, clock: Clock, db: Path) -> None:
    """Later uses do not prolong it; one second before the day is over it still holds."""
    caller = in_process()
    first = caller.added(1, key="k1")
    for age_s in (3600, DAY_S // 2, DAY_S - 1):
        clock.now_s += age_s - (clock.now_s - 1_800_000_000)
        assert caller.added(1, key="k1") == first
    clock.now_s += 1
    assert caller.added(1, key="k1") != first
    assert records.count_jobs(db) == 2


def test_a_new_life_starts_with_the_use_after_the_old_one(in_process: Make, clock: Clock) -> None:
    """After 25 hours a second job is made, and its answer is replayed for another day."""
    caller = in_process()
    caller.added(1, key="k1")
    clock.now_s += 25 * 3600
    second = caller.added(1, key="k1")
    clock.now_s += 23 * 3600
    assert caller.added(1, key="k1") == second


def test_the_life_of_keys_can_be_set(in_process: Make, clock: Clock) -> None:
    """A rehearsal of expiry need not take a day."""
    caller = in_process(key_ttl_s=2.0)
    first = caller.added(1, key="k1")
    clock.now_s += 2.0
    assert caller.added(1, key="k1") != first


@pytest.mark.parametrize(("same_key", "jobs"), [("refuse", 1), ("replay", 1), ("execute", 2)])
def test_the_same_key_with_other_content_is_a_switch(in_process: Make, db: Path, same_key: str, jobs: int) -> None:
    """Refused by name, answered with the first answer, or carried out: nobody documents which."""
    caller = in_process(same_key=same_key)
    first = caller.add(1, key="k1")
    second = caller.add(2, key="k1")
    assert records.count_jobs(db) == jobs
    if same_key == "refuse":
        assert error_of(second)["type"] == "idempotence.key.reused"
    else:
        assert (second.content == first.content) == (same_key == "replay")
    assert [found.key for found in records.keys_with_two_bodies(db)] == ["k1"]


def test_content_is_the_bytes_of_the_body(in_process: Make) -> None:
    """A space more is other content, whatever the JSON means."""
    caller = in_process()
    body = b'[{"phone":"16505550100"}]'
    assert caller.post("/addPhones", raw=body, key="k1").status_code == 200
    assert error_of(caller.post("/addPhones", raw=body + b" ", key="k1"))["type"] == "idempotence.key.reused"


def test_content_includes_the_operation(in_process: Make) -> None:
    """A key used to add is not free for a stop."""
    caller = in_process()
    caller.added(1, key="k1")
    assert error_of(caller.post("/control/stop", key="k1"))["type"] == "idempotence.key.reused"


@pytest.mark.parametrize(("remember", "status"), [("ok", 200), ("refusals", 400), ("all", 400)])
def test_whether_refusals_are_remembered_is_a_switch(
    in_process: Make, clock: Clock, remember: str, status: int
) -> None:
    """By default a refused request may be mended in time; otherwise its key repeats the refusal."""
    caller = in_process(remember=remember, duplicates="jobs24h", key_ttl_s=10 * DAY_S)
    caller.added(1)
    assert caller.add(1, key="k1").status_code == 400
    clock.now_s += DAY_S + 1
    assert caller.add(1, key="k1").status_code == status


def test_an_unremembered_refusal_still_starts_the_key(in_process: Make, clock: Clock) -> None:
    """The day counts from the first use, even one that was refused: the strictest reading."""
    caller = in_process()
    assert caller.post("/addPhones", [{"phone": "bad"}], key="k1").status_code == 400
    clock.now_s += DAY_S - 10
    first = caller.added(1, key="k1")
    clock.now_s += 20
    assert caller.added(1, key="k1") != first


def test_operations_that_only_read_ignore_the_key(in_process: Make) -> None:
    """A report is never a stale one."""
    caller = in_process()
    caller.added(1)
    body = {"pagination": {"pageSize": 200}}
    first = caller.post("/callJob/getReportByDate", body, key="k1")
    caller.added(2)
    assert len(caller.post("/callJob/getReportByDate", body, key="k1").json()["items"]) == 2
    assert len(first.json()["items"]) == 1


def test_one_key_at_once_from_many_connections_makes_one_job(over_socket: Make, db: Path) -> None:
    """Concurrent uses are serialised: one is carried out, the others get its answer."""
    caller = over_socket()
    gate = threading.Barrier(6)

    def send(_: int) -> bytes:
        with httpx.Client(base_url=caller.http.base_url, trust_env=False) as http:
            gate.wait(timeout=10)
            return Caller(http=http).add(*range(50), key="k1").content

    with ThreadPoolExecutor(6) as pool:
        answers = set(pool.map(send, range(6)))
    assert len(answers) == 1
    assert records.count_jobs(db) == 50
    assert sum(request.was_executed for request in records.requests(db)) == 1


def test_everything_survives_a_restart(db: Path, clock: Clock) -> None:
    """Campaigns, jobs, keys, pauses and the seed are in the file, not in the process."""
    with Sandbox(db, tokens=(TOKEN,), clock=clock, seed=5) as sandbox:
        caller = _in_process(sandbox)
        first = caller.add(1, 2, key="k1")
        caller.post("/control/pause")
        before = caller.reported()
    with Sandbox(db, clock=clock) as sandbox:
        caller = _in_process(sandbox)
        assert sandbox.tokens == (TOKEN,)
        assert caller.get("/status").json() == "paused"
        assert caller.reported() == before
        assert caller.add(1, 2, key="k1").content == first.content
        assert caller.added(3)[0] not in first.json()
    assert records.overlapping_keys(db) == []


def _in_process(sandbox: Sandbox) -> Caller:
    return Caller(http=httpx.Client(transport=httpx.WSGITransport(app=sandbox.app), base_url="http://sandbox"))


_SERVER = """
import sys, time
from pathlib import Path
from importer.sandbox import Sandbox
with Sandbox(Path(sys.argv[1]), tokens=("{token}",)).serve() as served:
    print(served.url, flush=True)
    time.sleep(60)
"""


@pytest.mark.slow
def test_an_answered_job_survives_the_death_of_the_server(tmp_path: Path) -> None:
    """Killed without warning, a server started again on the file gives the first answer."""
    db = tmp_path / "sandbox.db"
    answers = []
    for _ in range(2):
        command = [sys.executable, "-W", "error", "-c", _SERVER.format(token=TOKEN), str(db)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=_environment()) as process:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            with httpx.Client(base_url=url, trust_env=False) as http:
                answers.append(Caller(http=http).add(1, 2, key="k1").content)
            process.send_signal(signal.SIGKILL)
            process.wait(timeout=10)
    assert answers[0] == answers[1]
    assert records.count_jobs(db) == 2
    assert [job.phone for job in records.jobs(db)] == [phone(1), phone(2)]


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
