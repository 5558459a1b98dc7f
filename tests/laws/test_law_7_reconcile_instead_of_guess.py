"""Law 7: what a batch in doubt became is read in the platform's reports, never guessed."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
from hypothesis import given
from hypothesis import strategies as st
from workbench import TOKEN, Bench, Platform, Serve, hurried, number, people, write_list

from importer.protocol import SeenJob, Window, find
from importer.sandbox import records

# Both clocks run twenty times as fast: the window closes after 2 s, the verdict falls 2 s and 0.7 s later.
SHORT: dict[str, Any] = {
    "window": Window(window_s=60.0, margin_s=10.0, request_s=10.0),
    "patience_s": 600.0,
    "quiet_s": 40.0,
}


def doubtful(serve: Serve, tmp_path: Path, fault: str) -> tuple[Platform, Bench]:
    """A platform with a fault and a bench, whose clocks run alike."""
    now = hurried(20)
    platform = serve(fault, clock=lambda: now().unix_ms / 1000)
    return platform, Bench(folder=tmp_path, origin=platform.origin, now=now)


def evidence(bench: Bench) -> list[tuple[str, int]]:
    with closing(sqlite3.connect(bench.ledger_path)) as ledger:
        return ledger.execute("SELECT finding, jobs FROM evidence ORDER BY id").fetchall()


def rows_with_ids(bench: Bench) -> dict[str, str]:
    with closing(sqlite3.connect(bench.ledger_path)) as ledger:
        return dict(ledger.execute("SELECT phone, call_job_id FROM call_jobs"))


def test_law_7_reconcile_instead_of_guess_found(serve: Serve, tmp_path: Path) -> None:
    """Every answer is lost until the window closes: the reports show the jobs, which are accepted with their ids."""
    platform, bench = doubtful(serve, tmp_path, "lose-answer")
    report = bench.run(write_list(tmp_path / "a.csv", people(3)), **SHORT)
    assert (report.exit_code, report.balance.accepted, report.balance.in_doubt) == (0, 3, 0)
    assert rows_with_ids(bench) == {f"+{job.phone}": job.id for job in records.jobs(platform.db)}
    assert evidence(bench) == [("all", 3)]
    platform.has_each_once(number(place) for place in range(3))


def test_law_7_reconcile_instead_of_guess_absent(serve: Serve, tmp_path: Path) -> None:
    """Nothing arrives until the window closes: absent twice after the quiet period, the same bytes go again."""
    platform, bench = doubtful(serve, tmp_path, "drop:when=0s..60s")
    report = bench.run(write_list(tmp_path / "a.csv", people(3)), **SHORT)
    assert (report.exit_code, report.balance.accepted, report.balance.in_doubt) == (0, 3, 0)
    assert [finding for finding, _ in evidence(bench)] == ["none", "none", "none"]
    assert len({(one.key, one.body_sha256) for one in platform.sends()}) == 1, "the same bytes, the same key"
    platform.has_each_once(number(place) for place in range(3))


def test_law_7_reconcile_instead_of_guess_weak_evidence_stays(serve: Serve, tmp_path: Path) -> None:
    """A job of one of the numbers, made by somebody else, proves nothing: the rows stay, for a person to decide."""
    platform, bench = doubtful(serve, tmp_path, "drop:when=0s..60s")
    elsewhere = threading.Timer(1.5, add_by_hand, [platform, number(1)])
    elsewhere.start()
    report = bench.run(write_list(tmp_path / "a.csv", people(3)), **SHORT)
    elsewhere.join()
    assert (report.exit_code, report.balance.accepted, report.balance.in_doubt) == (8, 0, 3)
    with closing(sqlite3.connect(bench.ledger_path)) as ledger:
        (reason,) = ledger.execute("SELECT reason FROM batches").fetchone()
    assert reason.startswith("a person must decide")
    assert records.count_jobs(platform.db) == 1


def test_law_7_an_answer_with_the_ids_of_other_rows_is_looked_up(serve: Serve, tmp_path: Path) -> None:
    """A platform that answers one request with the ids of another: its reports tell which jobs are whose."""
    now = hurried(20)
    platform = serve(clock=lambda: now().unix_ms / 1000)
    bench = Bench(folder=tmp_path, origin=platform.origin, now=now, transport=MixedUp)
    report = bench.run(write_list(tmp_path / "a.csv", people(8)), **SHORT)
    assert (report.exit_code, report.balance.accepted) == (0, 8)
    assert rows_with_ids(bench) == {f"+{job.phone}": job.id for job in records.jobs(platform.db)}
    assert ("all", 4) in evidence(bench)
    platform.has_each_once(number(place) for place in range(8))


class MixedUp(httpx.BaseTransport):
    """Gives every answer about added numbers the ids of the first."""

    def __init__(self) -> None:
        self._inner = httpx.HTTPTransport()
        self._first: bytes | None = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = self._inner.handle_request(request)
        if not request.url.path.endswith("/addPhones"):
            return response
        body = response.read()
        self._first = self._first or body
        return httpx.Response(200, headers={"Content-Type": "application/json"}, content=self._first)

    def close(self) -> None:
        self._inner.close()


def add_by_hand(platform: Platform, phone: str) -> None:
    """Another tool adds a number to the campaign."""
    url = f"{platform.origin}/api/crmCalls/campaign/{TOKEN}/addPhone"
    with httpx.Client(trust_env=False) as http:
        assert http.post(url, data={"phone": phone.removeprefix("+")}).status_code == 200


PHONES = [str(16505550100 + place) for place in range(4)]
JOBS = st.lists(
    st.builds(
        SeenJob,
        id=st.uuids().map(str),
        phone=st.sampled_from([*PHONES, "16505550199"]),
        created_ms=st.integers(1, 3),
    ),
    max_size=12,
    unique_by=lambda job: job.id,
)


@given(jobs=JOBS)
def test_law_7_only_one_whole_moment_proves_a_batch(jobs: list[SeenJob]) -> None:
    """`all` means one moment with just one job for each row, `none` no job of any row; all else proves nothing."""
    finding = find(PHONES, jobs)
    mine = [job for job in jobs if job.phone in PHONES]
    whole = [
        moment
        for moment in {job.created_ms for job in mine}
        if sorted(job.phone for job in mine if job.created_ms == moment) == sorted(PHONES)
    ]
    expected = {0: "some" if mine else "none", 1: "all"}.get(len(whole), "several")
    assert finding.kind == expected
    if whole:
        by_id = {job.id: job for job in mine}
        assert [by_id[id_].phone for id_ in finding.ids] == PHONES
        assert {by_id[id_].created_ms for id_ in finding.ids} == {min(whole)}
