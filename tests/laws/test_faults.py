"""Faults over a real socket: whatever the platform does, each row ends as one job, or stays where it can be settled."""

from __future__ import annotations

from pathlib import Path

import pytest
from workbench import Bench, Serve, number, people, write_list

from importer.protocol import Window
from importer.sandbox import records

# Each with how it is written in the sandbox; every one ends, and every row is called once.
SETTLED = {
    "answer lost after commit": ["lose-answer:every=2"],
    "answer lost, by reset": ["lose-answer:every=3,how=rst"],
    "dropped before commit": ["drop:every=2"],
    "half the answer's body": ["half-answer:every=2"],
    "half the answer's head": ["half-answer:every=2,part=head"],
    "500 after commit": ["error-after-commit:every=2"],
    "503 without Retry-After": ["status:code=503,every=2"],
    "503 with Retry-After": ["status:code=503,retry-after=1,every=3"],
    "429 without Retry-After": ["status:code=429,every=2"],
    "429 with Retry-After": ["status:code=429,retry-after=2,every=3"],
    "429 with a date": ["status:code=429,retry-after-date=2,times=1"],
    "429 with a negative Retry-After": ["status:code=429,retry-after=-5,every=3"],
    "a proxy's page instead": ["html:every=2"],
    "a proxy's page after commit": ["html:every=2,at=after"],
    "a 200 without ids": ["strange:as=empty,every=2"],
    "a 200 that is cut": ["strange:as=cut,every=2"],
    "a 200 that is an object": ["strange:as=object,every=2"],
    "a 200 of absurd depth": ["strange:as=deep,every=2"],
    "a 200 of absurd digits": ["strange:as=digits,every=2"],
    "a 200 with one id for all": ["strange:as=same-id,every=2"],
    "an id too few": ["wrong-count:every=2"],
    "an id too many": ["wrong-count:by=1,every=2"],
    "a redirect": ["status:code=307,every=2"],
    "a conflict": ["status:code=409,every=2"],
    "an answer without a Date": ["no-date"],
    "413 above a size": ["too-large:bytes=200"],
    "everything in turn": ["lose-answer:every=3", "drop:every=4", "status:code=503,every=5", "half-answer:every=7"],
}


@pytest.mark.parametrize("name", SETTLED)
def test_whatever_goes_wrong_each_row_is_called_once(serve: Serve, tmp_path: Path, name: str) -> None:
    """The same run goes on until it is settled: same bytes, same key."""
    platform = serve(*SETTLED[name])
    bench = Bench(folder=tmp_path, origin=platform.origin)
    report = bench.run(write_list(tmp_path / "a.csv", people(16)), in_flight=2, patience_s=600.0)
    assert (report.exit_code, report.balance.accepted) == (0, 16), report
    platform.has_each_once(number(i) for i in range(16))


@pytest.mark.parametrize("name", ["answer lost after commit", "500 after commit", "413 above a size"])
def test_the_strict_mode_survives_the_same(serve: Serve, tmp_path: Path, name: str) -> None:
    """One row a request: each fails, and is repeated, alone."""
    platform = serve(*SETTLED[name])
    bench = Bench(folder=tmp_path, origin=platform.origin)
    report = bench.run(write_list(tmp_path / "a.csv", people(8)), batch_size_rows=1, in_flight=3)
    assert (report.exit_code, report.balance.accepted) == (0, 8)
    platform.has_each_once(number(i) for i in range(8))


def test_a_row_too_large_for_the_platform_is_declined_alone(serve: Serve, tmp_path: Path) -> None:
    """413 on a request of many rows splits it; on a request of one row it is that row's answer."""
    platform = serve("too-large:bytes=400")
    bench = Bench(folder=tmp_path, origin=platform.origin)
    rows = people(8)
    rows[5]["name"] = "x" * 500
    report = bench.run(write_list(tmp_path / "a.csv", rows))
    assert (report.exit_code, report.balance.accepted, report.balance.refused) == (3, 7, 1)
    assert [refusal[1:] for refusal in report.refusals] == [(7, "too-large")]
    platform.has_each_once(number(i) for i in range(8) if i != 5)


def test_the_first_request_goes_alone_and_the_others_when_it_is_answered(serve: Serve, tmp_path: Path) -> None:
    """A platform in trouble meets one request, not as many as may be in flight."""
    platform = serve("delay:s=0.3,times=1")
    bench = Bench(folder=tmp_path, origin=platform.origin)
    assert bench.run(write_list(tmp_path / "a.csv", people(40)), in_flight=8).exit_code == 0
    first, *others = sorted(platform.sends(), key=lambda one: one.arrived_order)
    assert first.finished_order is not None
    assert all(one.arrived_order > first.finished_order for one in others)


def test_an_answer_slower_than_the_timeout_is_unknown_and_asked_for_again(serve: Serve, tmp_path: Path) -> None:
    """The whole request has one deadline; the repeat gets the first answer."""
    platform = serve("delay:s=1.5,at=after,times=1")
    bench = Bench(folder=tmp_path, origin=platform.origin)
    report = bench.run(write_list(tmp_path / "a.csv", people(4)), window=Window(request_s=0.5), patience_s=600.0)
    assert (report.exit_code, report.balance.accepted) == (0, 4)
    assert [one.was_replayed for one in platform.sends()] == [False, True]
    assert records.duplicates(platform.db) == []
    assert records.keys_with_two_bodies(platform.db) == []


def test_a_body_that_drips_is_cut_off_at_the_deadline(serve: Serve, tmp_path: Path) -> None:
    """Byte by byte is no way around the deadline."""
    platform = serve("slow-body:bytes=1,gap=200ms,times=1")
    bench = Bench(folder=tmp_path, origin=platform.origin)
    report = bench.run(write_list(tmp_path / "a.csv", people(4)), window=Window(request_s=0.6), patience_s=600.0)
    assert (report.exit_code, report.balance.accepted) == (0, 4)
    assert [one.was_replayed for one in platform.sends()] == [False, True]


def test_patience_ends_a_run_that_gets_no_useful_answer_and_nothing_is_lost(serve: Serve, tmp_path: Path) -> None:
    """Exit 7 with rows pending; when the platform has recovered, the same command settles them."""
    platform = serve("status:code=503,when=0s..2s")
    bench = Bench(folder=tmp_path, origin=platform.origin)
    path = write_list(tmp_path / "a.csv", people(8))
    report = bench.run(path, patience_s=10.0)
    assert (report.exit_code, report.ending, report.balance.pending) == (7, "away", 8)
    while bench.run(path, patience_s=20.0).exit_code == 7:
        pass
    platform.has_each_once(number(i) for i in range(8))


def test_a_platform_that_knows_the_numbers_already_declines_each_by_name(serve: Serve, tmp_path: Path) -> None:
    """Two lists of one number in a day, on a platform that looks at its jobs: the second is declined."""
    platform = serve(duplicates="jobs24h")
    bench = Bench(folder=tmp_path, origin=platform.origin)
    assert bench.run(write_list(tmp_path / "a.csv", people(3))).exit_code == 0
    again = [{**row, "name": "Again"} for row in people(3)]
    report = bench.run(write_list(tmp_path / "b.csv", [*again, *people(5, first=10)]), once_per="row")
    assert (report.exit_code, report.balance.accepted, report.balance.refused) == (3, 5, 3)
    assert {kind for _, _, kind in report.refusals} == {"phone.duplicated"}
    platform.judge()


def test_progress_counts_settled_facts_and_never_goes_back(serve: Serve, tmp_path: Path) -> None:
    """Whatever is retried, what a person sees only grows, and every balance on the way is even."""
    platform = serve("lose-answer:every=2", "status:code=503,every=3")
    bench = Bench(folder=tmp_path, origin=platform.origin)
    bench.run(write_list(tmp_path / "a.csv", people(24)), in_flight=3, patience_s=600.0)
    seen = [event.balance for event in bench.events if hasattr(event, "balance")]
    assert all(balance.is_even for balance in seen)
    assert [balance.settled for balance in seen] == sorted(balance.settled for balance in seen)
    assert seen[-1].accepted == 24
