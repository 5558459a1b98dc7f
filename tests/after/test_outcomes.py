"""Outcomes come into the ledger bit by bit, each call job until it has finished, and meet the rows of the list."""

from __future__ import annotations

import contextlib
import csv
import json
import signal
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from terminals import terminal
from workbench import TOKEN, Platform, Said, Serve, Shop, people, sandbox_control, start, write_list

from importer import machine
from importer.cli.funnel import NOT_SHOWN, funnel_lines
from importer.client import CallsApi, Found, JobReport
from importer.errors import ApiAway
from importer.ledger import Ledger, LedgerReader
from importer.ledger.outcome_book import Funnel
from importer.machine import Owner
from importer.outcomes import Refreshed, Refresher, RefreshSettings
from importer.outcomes.exporting import Columns, export
from importer.rejects import guarded
from importer.sandbox import records

OWNER = Owner(pid=1, host="here", since="now", command="importer outcomes")
FAST = 200_000.0  # simulated seconds a second: a call is over before anybody looks


def outcomes(shop: Shop, *more: str | Path) -> Said:
    return shop.importer("outcomes", *more, *shop.target)


def ask(ledger: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(f"{ledger.as_uri()}?mode=ro", uri=True)) as connection:
        return connection.execute(sql).fetchall()


@pytest.fixture
def swift(serve: Serve) -> Platform:
    """A platform where calls are over at once."""
    return serve(speed=FAST)


@pytest.fixture
def done(swift: Platform, tmp_path: Path) -> Shop:
    """A shop whose twelve rows were all called."""
    shop = Shop(folder=tmp_path, origin=swift.origin)
    assert shop.run(write_list(tmp_path / "list.csv", people(12)), "--batch-size", "5").code == 0
    time.sleep(0.3)
    return shop


class Counted:
    """The reports, counting what is asked; a test says what goes wrong."""

    def __init__(self, api: CallsApi, *, hides: Sequence[str] = ()) -> None:
        self._api = api
        self.asked: list[tuple[str, ...]] = []
        self.hidden = set(hides)

    def job_reports(self, *, ids: Any = ()) -> Found[JobReport]:
        self.asked.append(tuple(ids))
        shown = [each for each in ids if each not in self.hidden]
        found = self._api.job_reports(ids=shown) if shown else Found(items=())
        return Found(items=found.items, unknown_ids=tuple(set(ids) & self.hidden))

    def attempt_reports(self, *, ids: Any = ()) -> Found[Any]:
        return self._api.attempt_reports(ids=ids)


def refresh(
    shop: Shop, reports: Any, *, stop_after: int | None = None, nap: Any = time.sleep, **settings: Any
) -> Refreshed:
    """One refresh of import 1 without a command line; `stop_after` so many groups a signal comes."""
    groups: list[Refreshed] = []
    with Ledger(shop.ledger, OWNER, now_ms=machine.now().unix_ms) as ledger:
        return Refresher(
            book=ledger.outcomes,
            reports=reports,
            settings=RefreshSettings(**{"rate_requests_s": None, **settings}),
            now=machine.now,
            is_stopping=lambda: stop_after is not None and len(groups) >= stop_after,
            tell=groups.append,
            nap=nap,
        ).run(1)


@pytest.fixture
def api(swift: Platform) -> Iterator[CallsApi]:
    with CallsApi(swift.origin, TOKEN) as client:
        yield client


# --- bringing -------------------------------------------------------------------------------------------------------


def test_every_call_job_gets_its_outcome(done: Shop, swift: Platform) -> None:
    """What the ledger says of each row is what the platform says of its call job."""
    said = outcomes(done, "--json")
    assert (said.code, said.json["accepted"], said.json["finished"]) == (0, 12, 12)
    assert sum(said.json["by_status"].values()) == 12
    made = {job.id: f"+{job.phone}" for job in records.jobs(swift.db)}
    kept = ask(done.ledger, "SELECT call_job_id, phone, status, attempts, created_at FROM call_outcomes")
    assert {job_id: phone for job_id, phone, *_ in kept} == made
    assert all(status and attempts and created_at for _, _, status, attempts, created_at in kept)


def test_what_has_finished_is_never_asked_again(done: Shop, api: CallsApi) -> None:
    """The second refresh has nothing to ask."""
    first, again = Counted(api), Counted(api)
    assert refresh(done, first).finished == 12
    assert (refresh(done, again).asked, again.asked) == (0, [])


def test_only_the_unfinished_are_asked_again(serve: Serve, tmp_path: Path) -> None:
    """Of a paused campaign every job stays open, and every refresh asks for it."""
    platform = serve(speed=1.0)
    shop = Shop(folder=tmp_path, origin=platform.origin)
    shop.run(write_list(tmp_path / "list.csv", people(6)))
    with CallsApi(platform.origin, TOKEN) as client:
        first, again = Counted(client), Counted(client)
        assert (refresh(shop, first).asked, len(first.asked)) == (6, 2)  # of a young batch, one id goes ahead
        assert (refresh(shop, again).asked, len(again.asked)) == (6, 1)


def test_an_interrupted_refresh_goes_on_where_it_was(done: Shop, api: CallsApi) -> None:
    """A signal between two groups ends it; the next one asks only for the others."""
    first, then = Counted(api), Counted(api)
    cut = refresh(done, first, stop_after=1, ids_per_request=5)
    assert (cut.is_whole, cut.told) == (False, 5)
    rest = refresh(done, then, ids_per_request=5)
    assert (rest.is_whole, rest.told) == (True, 7)
    known = {each for ids in first.asked for each in ids}
    assert not known & {each for ids in then.asked for each in ids}


def test_a_job_that_no_report_shows_is_asked_for_rarely(done: Shop, api: CallsApi) -> None:
    """It stays open, costs nothing for an hour, and the others of its batch are known."""
    (hidden,) = ask(done.ledger, "SELECT call_job_id FROM call_jobs ORDER BY row_id LIMIT 1 OFFSET 3")
    refreshed = refresh(done, Counted(api, hides=hidden))
    assert (refreshed.told, refreshed.unshown) == (11, 1)
    again = Counted(api, hides=hidden)
    assert refresh(done, again).told == 0
    assert hidden[0] not in {each for ids in again.asked for each in ids}
    assert outcomes(done, "--offline", "--json").json["by_status"]["not shown yet"] == 1


def test_a_young_batch_not_shown_yet_costs_one_question(done: Shop, api: CallsApi) -> None:
    """While reports lag behind, one id is asked for, not all of them one by one."""
    hides = [row[0] for row in ask(done.ledger, "SELECT call_job_id FROM call_jobs")]
    reports = Counted(api, hides=hides)
    assert (refresh(done, reports).unshown, len(reports.asked)) == (12, 1)
    assert refresh(done, Counted(api)).told == 12


def test_ids_in_another_order_are_told_apart_by_number(serve: Serve, tmp_path: Path) -> None:
    """A platform that answers ids in any order makes no row's outcome another's."""
    platform = serve("shuffle-ids", speed=FAST)
    shop = Shop(folder=tmp_path, origin=platform.origin)
    shop.run(write_list(tmp_path / "list.csv", people(8)), "--batch-size", "8")
    time.sleep(0.2)
    assert outcomes(shop, "--json").json["swapped"] > 0
    made = {job.id: f"+{job.phone}" for job in records.jobs(platform.db)}
    assert dict(ask(shop.ledger, "SELECT call_job_id, phone FROM call_outcomes")) == made


def test_attempts_are_brought_when_asked_for(done: Shop, swift: Platform) -> None:
    """Also for call jobs that had finished before; each attempt once."""
    assert outcomes(done).code == 0
    assert ask(done.ledger, "SELECT count(*) FROM call_attempts") == [(0,)]
    brought = outcomes(done, "--attempts", "--json").json["call_attempts"]
    assert ask(done.ledger, "SELECT count(*), sum(attempts) FROM job_outcomes")[0] == (12, brought)
    assert ask(done.ledger, "SELECT count(*) FROM attempt_log WHERE call_result IS NOT NULL") == [(brought,)]
    assert outcomes(done, "--attempts", "--json").json["asked"] == 0


@pytest.mark.parametrize(
    "fault",
    ["status:code=429,retry-after=0,op=callJob/getReport,times=1", "status:code=413,op=callJob/getReport,times=1"],
)
def test_a_busy_or_narrow_platform_is_asked_again(serve: Serve, tmp_path: Path, fault: str) -> None:
    """Told to wait, it waits; told that the request is too large, it makes it smaller."""
    platform = serve(fault, speed=FAST)
    shop = Shop(folder=tmp_path, origin=platform.origin)
    shop.run(write_list(tmp_path / "list.csv", people(4)))
    assert outcomes(shop, "--json").json["by_status"].get("not shown yet", 0) == 0


def test_a_platform_that_is_away_is_asked_a_few_times(serve: Serve, tmp_path: Path) -> None:
    """Then it is exit 7, and what was told before stays."""
    platform = serve("status:code=503,op=callJob/getReport", speed=FAST)
    shop = Shop(folder=tmp_path, origin=platform.origin)
    shop.run(write_list(tmp_path / "list.csv", people(4)))
    naps: list[float] = []
    with CallsApi(platform.origin, TOKEN) as client, pytest.raises(ApiAway) as raised:
        refresh(shop, Counted(client), nap=naps.append)
    assert (raised.value.exit_code, naps) == (7, [1.0, 2.0, 4.0])


def test_the_rate_is_kept(done: Shop, api: CallsApi) -> None:
    """At ten requests a second, four of them take three tenths of a second."""
    began_s = time.monotonic()
    refresh(done, Counted(api), ids_per_request=5, rate_requests_s=10.0)
    assert time.monotonic() - began_s > 0.25


def test_while_a_run_holds_the_ledger_it_says_whose_it_is(done: Shop) -> None:
    """Outcomes are written into the ledger, so its owner comes first; what is known can be looked at meanwhile."""
    with Ledger(done.ledger, OWNER, now_ms=machine.now().unix_ms):
        said = outcomes(done)
        assert (said.code, "importer outcomes" in said.err) == (9, True)
        assert outcomes(done, "--offline").code == 0


def test_a_token_of_another_campaign_is_refused(done: Shop) -> None:
    """Its reports would be of other calls."""
    done.token_file.write_text("8232.7056.CaNaRyb131df2")
    said = outcomes(done)
    assert (said.code, "another campaign" in said.err) == (2, True)


# --- which import ---------------------------------------------------------------------------------------------------


@pytest.fixture
def several(shop: Shop, tmp_path: Path) -> Iterator[Shop]:
    """Imports of three lists, two of which have a file of one name; typed where the files are."""
    for place, (folder, more) in enumerate((("one", ()), ("one", ("--list", "nightly")), ("two", ()))):
        (tmp_path / folder).mkdir(exist_ok=True)
        rows = write_list(tmp_path / folder / "a.csv", people(2, first=10 * place))
        assert shop.run(rows, *more).code == 0
    with contextlib.chdir(tmp_path):
        yield shop


# --- watching -------------------------------------------------------------------------------------------------------


def test_watching_ends_when_every_call_job_has_finished(serve: Serve, tmp_path: Path) -> None:
    """It tells a line each time, and owns the ledger only while it asks."""
    platform = serve(speed=3000.0)
    shop = Shop(folder=tmp_path, origin=platform.origin)
    shop.run(write_list(tmp_path / "list.csv", people(5)))
    said = outcomes(shop, "--watch", "--interval", "200ms")
    assert (said.code, "5 of 5 finished (100%)" in said.err) == (0, True)


def test_a_watch_ends_when_the_campaign_is_over(platform: Platform, shop: Shop, tmp_path: Path) -> None:
    """A campaign that was stopped makes no more calls, whatever its call jobs say."""
    shop.run(write_list(tmp_path / "list.csv", people(3)))
    sandbox_control(platform, "stop")
    said = outcomes(shop, "--watch", "--interval", "100ms", "--json")
    assert (said.code, said.json["by_status"]) == (0, {"notDone": 3})


def test_a_watch_may_begin_while_a_run_has_the_ledger(serve: Serve, tmp_path: Path) -> None:
    """It says so and tries again; without --watch that is exit code 9."""
    platform = serve(speed=3000.0)
    shop = Shop(folder=tmp_path, origin=platform.origin)
    shop.run(write_list(tmp_path / "list.csv", people(3)))
    owner = Owner(pid=1, host="here", since="now", command="importer run")
    with Ledger(shop.ledger, owner, now_ms=machine.now().unix_ms):
        watching = start("outcomes", "--watch", "--interval", "200ms", *shop.target)
        assert watching.stderr is not None
        while "Trying again" not in (line := watching.stderr.readline()):
            assert line
    _, err = watching.communicate(timeout=30)
    assert (watching.returncode, "3 of 3 finished (100%)" in err) == (0, True), err


def test_at_a_terminal_the_funnel_is_drawn_in_its_place(platform: Platform, shop: Shop, tmp_path: Path) -> None:
    """A bar for each status, from not dialled yet to ended; Ctrl-C ends it."""
    shop.run(write_list(tmp_path / "list.csv", people(3)))
    with terminal(tmp_path, "outcomes", "--watch", "--interval", "100ms", *shop.target) as screen:
        screen.until("\x1b[3A\x1b[J")
        screen.interrupt()
        assert screen.code() == 130
    assert "of 3 finished (0%)" in screen.shown
    assert f"3  [{'#' * 30}]  " in screen.shown


def test_statuses_stand_in_the_order_of_a_call_s_life() -> None:
    """And a bar is seen for one of a million, but no share is rounded up to all."""
    by_status = (("noAnswer", True, 999_998), ("strange", True, 1), ("planned", False, 1))
    funnel = Funnel(accepted=1_000_001, seen=1_000_000, finished=999_999, by_status=by_status)
    lines = funnel_lines(funnel, "title")
    assert [line.split("]  ")[-1] for line in lines[1:]] == [
        "of 1,000,001 finished (99%)", NOT_SHOWN, "planned", "noAnswer", "strange",
    ]  # fmt: skip
    assert lines[3].count("#") == 1


@pytest.mark.parametrize(
    ("typed", "import_id"),
    [("1", 1), ("a.csv", 3), ("one/a.csv", 1), ("two/a.csv", 3), ("nightly", 2), ("./one/a.csv", 1)],
)
def test_an_import_may_be_named_by_its_list(several: Shop, typed: str, import_id: int) -> None:
    """By its name, its path or the end of its path; the newest of that list is meant."""
    said = outcomes(several, typed, "--json")
    if typed == "a.csv":
        assert (said.code, "may be several lists" in said.err) == (2, True)
    else:
        assert (said.code, said.json["import"]) == (0, import_id)


@pytest.mark.parametrize("command", ["outcomes", "send", "cancel", "redial", "reconcile", "prove"])
def test_a_list_that_no_import_was_of_is_told_with_the_nearest(several: Shop, command: str) -> None:
    more = ("--outcome", "noAnswer") if command == "redial" else ()
    said = several.importer(command, "nightley", *more, *several.target)
    assert (said.code, "Did you mean 'nightly'?" in said.err) == (2, True), said.err
    assert several.importer("status", "nightley", "--ledger", several.ledger).code == 2


def test_since_without_a_file_is_told(done: Shop) -> None:
    assert outcomes(done, "--since", "2026-11-23").code == 2


def test_a_wait_longer_than_anybody_s_patience_is_exit_7(serve: Serve, tmp_path: Path) -> None:
    """Told to come back in an hour, it does not sit there for an hour."""
    platform = serve("status:code=429,retry-after=3600,op=callJob/getReport", speed=FAST)
    shop = Shop(folder=tmp_path, origin=platform.origin)
    shop.run(write_list(tmp_path / "list.csv", people(2)))
    assert outcomes(shop, "--json").json["exit_code"] == 7


def test_ctrl_c_ends_a_watch(platform: Platform, shop: Shop, tmp_path: Path) -> None:
    """The exit code is the signal's, and the ledger is free again."""
    shop.run(write_list(tmp_path / "list.csv", people(3)))
    watching = start("outcomes", "--watch", "--interval", "100ms", *shop.target)
    assert watching.stderr is not None
    while "finished" not in (line := watching.stderr.readline()):  # by then it heeds signals
        assert line
    watching.send_signal(signal.SIGINT)
    watching.communicate(timeout=20)
    assert watching.returncode == 130
    assert outcomes(shop).code == 0


# --- writing --------------------------------------------------------------------------------------------------------

ODD = [
    {"phone": people(1)[0]["phone"], "name": "=1+1", "empty": "", "status": 'a "b",\nc', "maxAttempts": "3"},
    {"phone": people(2)[1]["phone"], "name": "Zoë", "empty": "", "status": "'quoted", "maxAttempts": ""},
]


@pytest.fixture
def odd(swift: Platform, tmp_path: Path) -> Shop:
    """A shop whose list has cells that a careless file would spoil."""
    shop = Shop(folder=tmp_path, origin=swift.origin)
    assert shop.run(write_list(tmp_path / "odd.csv", ODD)).code == 0
    time.sleep(0.2)
    return shop


def test_csv_has_the_list_s_own_columns_and_ours(odd: Shop, tmp_path: Path) -> None:
    """Cells are guarded for spreadsheets; the file is private; reading it as a list gives the same rows again."""
    out = tmp_path / "out.csv"
    assert outcomes(odd, "--out", out).code == 0
    with out.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:6] == [*ODD[0], "importer_file"]
    assert [row["name"] for row in rows] == ["'=1+1", "Zoë"]
    assert [row["status"] for row in rows] == [guarded(each["status"]) for each in ODD]
    assert [(row["importer_row"], row["importer_state"]) for row in rows] == [("2", "accepted"), ("3", "accepted")]
    assert all(row["importer_job_id"] and row["importer_status"] and row["importer_created_at"] for row in rows)
    assert out.stat().st_mode & 0o777 == 0o600
    again = odd.run(out).json
    assert (again["duplicate"], again["accepted"]) == (2, 0)


def test_parquet_and_json_lines_hold_every_value_as_it_is(odd: Shop, tmp_path: Path) -> None:
    """An empty cell stays empty, an absent field absent, a time a time."""
    parquet, lines = tmp_path / "out.parquet", tmp_path / "out.jsonl"
    assert outcomes(odd, "--out", parquet).code == outcomes(odd, "--out", lines, "--attempts").code == 0
    frame = pl.read_parquet(parquet)
    assert frame["name"].to_list() == ["=1+1", "Zoë"]
    assert (frame["empty"].to_list(), frame["maxAttempts"].to_list()) == (["", ""], ["3", None])
    assert frame.schema["importer_created_at"] == pl.Datetime("ms", "UTC")
    objects = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
    assert objects[0]["sent"]["payload"] == {"name": "=1+1", "empty": "", "status": 'a "b",\nc'}
    assert [each["attempts"] for each in objects] == [len(each["call_attempts"]) for each in objects]


def test_with_attempts_there_is_a_line_for_each(odd: Shop, tmp_path: Path) -> None:
    """And each line repeats its row."""
    outcomes(odd, "--attempts", "--out", tmp_path / "out.parquet")
    frame = pl.read_parquet(tmp_path / "out.parquet")
    assert frame.height == sum(frame.unique("importer_job_id")["importer_attempts"])
    assert frame["importer_attempt_result"].null_count() == 0


def test_since_leaves_out_what_finished_before(done: Shop, tmp_path: Path) -> None:
    """A moment in the past leaves all, one in the future none."""
    for since, lines in (("2020-01-01", 12), ("2100-01-01", 0)):
        assert outcomes(done, "--since", since, "--out", tmp_path / "out.csv", "--json").json["lines"] == lines


def test_rows_not_sent_yet_are_written_too(shop: Shop, tmp_path: Path) -> None:
    """With their state, and nothing of a call."""
    shop.run(write_list(tmp_path / "list.csv", people(6)), "--first", "2")
    outcomes(shop, "--out", tmp_path / "out.parquet")
    frame = pl.read_parquet(tmp_path / "out.parquet").sort("importer_row")
    assert frame["importer_state"].to_list() == ["accepted"] * 2 + ["pending"] * 4
    assert frame["importer_job_id"].null_count() == 4


def test_an_unknown_format_is_refused_before_anybody_is_asked(done: Shop, tmp_path: Path) -> None:
    """Also where the platform is away."""
    assert outcomes(done, "--out", tmp_path / "out.docx").code == 2


def test_a_large_import_is_written_in_pieces(done: Shop, tmp_path: Path) -> None:
    """A file of several pieces holds every row once, whatever its format."""
    with LedgerReader(done.ledger) as reader:
        rows = list(reader.outcomes.rows(1)) * 4000
        payload, policy = reader.outcomes.field_names(1)
    columns = Columns(phone="phone", payload=payload, policy=policy)
    for name in ("big.csv", "big.parquet", "big.jsonl"):
        assert export(tmp_path / name, iter(rows), columns, with_attempts=False).lines == 48_000
    assert pl.read_parquet(tmp_path / "big.parquet").height == 48_000
    assert pl.read_csv(tmp_path / "big.csv", infer_schema=False).height == 48_000


def test_times_are_utc(done: Shop) -> None:
    """What the platform says in milliseconds stands in the views as UTC."""
    outcomes(done)
    (created,) = ask(done.ledger, "SELECT max(created_at) FROM call_outcomes")[0]
    seen = datetime.fromisoformat(created).replace(tzinfo=UTC)
    assert abs((datetime.now(UTC) - seen).total_seconds()) < 60
