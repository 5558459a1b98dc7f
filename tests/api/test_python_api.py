"""The Python API: the engine's promises hold for programs and frames as they do for people and files."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from workbench import ROOT, TOKEN, Platform, Serve, Shop, command, environment, number, people, write_list

import importer
from importer import Ledger, Notice, ReadingProgress, SendingProgress, StopSignals, check_list, run_import
from importer.api import CheckOptions, Frame, RunOptions
from importer.cli import cli
from importer.errors import ImporterError, LedgerHeld, ListProblem, UsageProblem
from importer.machine import Owner, OwnerLock
from importer.model import Event

PUBLIC = [
    "Balance", "CallsApi", "CheckResult", "ImportResult", "ImporterError", "Ledger", "Notice", "ReadingProgress",
    "SendingProgress", "StopSignals", "__version__", "check_list", "run_import",
]  # fmt: skip
WATCHED = ("log-format", "heartbeat", "on-finish", "metrics-file", "metrics-port", "metrics-address", "traces")
MAKERS: dict[str, Callable[[Any], Frame]] = {"polars": pl.DataFrame, "pandas": pd.DataFrame, "pyarrow": pa.table}


def columns(count: int) -> dict[str, list[Any]]:
    """Numbers, whole numbers and text, a null among each but the numbers."""
    rows = people(count)
    return {
        "phone": [row["phone"] for row in rows],
        "name": [row["name"] for row in rows[:-1]] + [None],
        "size": list(range(2**62, 2**62 + count)),
    }


@pytest.fixture
def go(tmp_path: Path, platform: Platform) -> Callable[..., importer.ImportResult]:
    """`run_import` with this platform and ledger."""

    def run(source: Any, **more: Any) -> importer.ImportResult:
        wanted = {"host": platform.origin, "token": TOKEN, "ledger": tmp_path / "ledger.db", "batch_size": 4, **more}
        return run_import(source, **wanted)

    return run


# --- the surface -----------------------------------------------------------------------------------------------------


def test_the_public_names_are_these_and_each_is_there() -> None:
    """A name more or less is a decision, taken here too."""
    assert sorted(importer.__all__) == sorted(PUBLIC)
    assert [name for name in PUBLIC if getattr(importer, name, None) is None] == []
    assert set(PUBLIC) <= set(dir(importer))
    with pytest.raises(AttributeError, match="has no attribute 'run_imports'"):
        getattr(importer, "run_imports")  # noqa: B009 - the type checker would see it


def test_importing_the_package_stays_light() -> None:
    """Neither polars nor httpx is loaded before something is asked for."""
    code = "import sys, importer; print([m for m in ('polars', 'httpx', 'click', 'importer.api') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_setting_of_the_command_has_its_argument() -> None:
    """What `importer run` can be told, a program can tell; units end names."""
    run = cli.get_command(None, "run")  # type: ignore[arg-type]  # no context is needed to load it
    assert run is not None
    only_there = {"campaign", "host", "token_file", "ledger", "yes", "json", "rehearse", "show_numbers"}
    only_there |= {each.removeprefix("--").replace("-", "_") for each in WATCHED}  # an observer does all of it
    only_there |= {"run_id", "stop_with"}  # for what starts the command as a process
    only_there |= {"sql", "db"}  # a program reads a query into a frame
    only_there |= {"shard", "home", "engine", "scheduler", "shards"}  # machines start the command
    shown = {each.opts[0] for each in run.params if not getattr(each, "hidden", True)}
    told = {word.removeprefix("--").replace("-", "_") for word in shown} - only_there
    same = {"list": "list_name", "round": "round_name", "rate": "rate_rows_s"}
    same |= {name: f"{name}_s" for name in ("timeout", "patience", "not_if_called_within", "keep_for")}
    given = {same.get(name, name) for name in told}
    assert sorted(given - set(RunOptions.__annotations__)) == []


def test_every_argument_is_documented() -> None:
    """The page has each of them."""
    page = (ROOT / "docs" / "PYTHON.md").read_text(encoding="utf-8")
    assert [name for name in RunOptions.__annotations__ if f"`{name}`" not in page] == []
    assert set(CheckOptions.__annotations__) < set(RunOptions.__annotations__)


def test_the_examples_of_the_page_run(tmp_path: Path, platform: Platform) -> None:
    """All of them, in their order, as one script in an empty folder."""
    page = (ROOT / "docs" / "PYTHON.md").read_text(encoding="utf-8")
    script = "\n".join(re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE))
    empty = tmp_path / "empty"
    empty.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment(IMPORTER_HOST=platform.origin, IMPORTER_TOKEN=TOKEN),
        cwd=empty,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "2 rows were there already" not in done.stdout
    assert "3 rows were there already" in done.stdout
    assert "2 of 4 rows accepted" in done.stdout


# --- frames ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("maker", MAKERS)
def test_law_1_a_frame_has_the_keys_of_the_same_parquet_file(
    maker: str, go: Callable[..., importer.ImportResult], tmp_path: Path, platform: Platform
) -> None:
    """The frame first, its Parquet file after it: every row is the same row, to the key."""
    made = MAKERS[maker](columns(9))
    assert go(made).balance.accepted == 9
    pl.DataFrame(columns(9)).write_parquet(tmp_path / "same.parquet")
    assert go(tmp_path / "same.parquet").balance.duplicate == 9
    platform.has_each_once(number(i) for i in range(9))
    assert sorted(each["size"] for each in platform.payloads()) == [str(2**62 + i) for i in range(9)]


def test_law_2_two_ledgers_make_one_set_of_call_jobs_of_a_frame(
    go: Callable[..., importer.ImportResult], tmp_path: Path, platform: Platform
) -> None:
    """The second ledger knows nothing of the first, and the platform answers its keys with the old ids."""
    go(pl.DataFrame(columns(9)))
    again = go(pd.DataFrame(columns(9)), ledger=tmp_path / "other.db", new_ledger=True)
    assert again.balance.accepted == 9
    platform.has_each_once(number(i) for i in range(9))


def test_a_frame_is_known_again_by_its_content() -> None:
    """Three libraries and two widths of integers make one list; a changed cell makes another."""
    wide, narrow = columns(5), {**columns(5), "size": list(range(5))}
    names = {check_list(make(wide)).list_name for make in MAKERS.values()}
    assert len(names) == 1
    small = pl.DataFrame(narrow)
    assert check_list(small).list_name == check_list(small.with_columns(pl.col("size").cast(pl.Int8))).list_name
    assert check_list(small).list_name not in names


def test_an_unfinished_frame_goes_on_and_an_edited_one_loses_its_rows(
    go: Callable[..., importer.ImportResult], platform: Platform
) -> None:
    """`first` leaves rows pending; the same frame goes on with them, one with rows taken out withdraws them."""
    frame = pl.DataFrame(columns(12))
    began = go(frame, list_name="nightly", first=4)
    assert (began.ending, began.balance.accepted, began.balance.pending) == ("first", 4, 8)
    edited = go(frame.head(10), list_name="nightly")
    assert (edited.import_id, edited.is_resumed) == (began.import_id, True)
    assert (edited.balance.accepted, edited.balance.read) == (10, 12)
    platform.has_each_once(number(i) for i in range(10))


def test_phones_never_go_through_floats() -> None:
    """Floats show their damage and are rejected, as those of a Parquet file are; whole numbers are exact."""
    floats = check_list(pl.DataFrame({"phone": [12015550100.0, 1.2e25]}))
    assert (floats.balance.rejected, set(floats.rejects_by_reason)) == (2, {"decimal_point", "scientific_notation"})
    with_gap = check_list(pd.DataFrame({"phone": [12015550100, None]}))
    assert with_gap.rejects_by_reason == {"decimal_point": 1, "empty": 1}
    assert check_list(pd.DataFrame({"phone": pd.array([12015550100, None], dtype="Int64")})).balance.pending == 1
    assert check_list(pl.DataFrame({"phone": [12015550100, 12015550101]})).balance.pending == 2


def test_law_11_no_cell_of_a_frame_is_lost_in_silence() -> None:
    """Bytes that are no text make a reject; every row is counted."""
    looked = check_list(pl.DataFrame({"phone": [number(0), number(1)], "note": [b"fine", b"\xff\xfe"]}))
    assert (looked.balance.read, looked.balance.rejected, looked.balance.pending) == (2, 1, 1)


def test_the_index_of_a_pandas_frame_counts_where_it_has_a_name() -> None:
    """A filtered frame's leftover index is no column; a named one is."""
    frame = pd.DataFrame(columns(6))
    assert check_list(frame[frame["size"] > 2**62 + 1]).payload_columns == ("name", "size")
    assert check_list(frame.set_index("name")).payload_columns == ("size", "name")


def test_what_is_no_list_is_told_without_its_cells() -> None:
    """Mixed columns, doubled names, no columns, and things that are no table."""
    mixed = pd.DataFrame({"phone": ["+12015550100", 12015550101]})
    doubled = pa.Table.from_arrays([pa.array(["1"]), pa.array(["2"])], names=["phone", "phone"])
    for source in (mixed, doubled, pl.DataFrame(), pl.LazyFrame({"phone": ["1"]}), 7, []):
        with pytest.raises(UsageProblem) as problem:
            check_list(source)  # type: ignore[arg-type]
        assert "2015550" not in problem.value.message
        assert problem.value.hint


# --- runs ------------------------------------------------------------------------------------------------------------


def test_a_run_tells_an_observer_what_the_command_line_draws_and_prints_nothing(
    go: Callable[..., importer.ImportResult], capfd: pytest.CaptureFixture[str]
) -> None:
    """Reading, then sending whose balance never goes back and ends at the result's."""
    seen: list[Event] = []
    result = go(pl.DataFrame(columns(12)), observer=seen.append)
    settled = [event.balance.settled for event in seen if isinstance(event, SendingProgress)]
    assert isinstance(seen[0], ReadingProgress)
    assert settled == sorted(settled)
    last = seen[-1]
    assert isinstance(last, SendingProgress)
    assert last.balance == result.balance
    assert capfd.readouterr() == ("", "")


def test_a_result_says_what_the_command_says(shop: Shop, tmp_path: Path, platform: Platform) -> None:
    """One list to two platforms' worth of facts: the record and `--json` agree."""
    path = write_list(tmp_path / "a.csv", [*people(6), people(1)[0], {**people(1)[0], "phone": "n/a"}])
    looked, told = check_list(path), shop.importer("check", path, "--json").json
    assert looked.rejects_by_reason == told["rejects_by_reason"]
    assert (looked.exit_code, looked.requests, looked.balance.pending) == (3, told["requests"], told["pending"])
    result = run_import(path, host=platform.origin, token=TOKEN, ledger=shop.ledger)
    again = shop.run(path).json
    assert (result.balance.accepted, again["duplicate"], result.exit_code) == (6, 7, again["exit_code"])
    assert result.rejects_path is not None
    assert result.rejects_path.exists()
    assert not result.is_well


def test_a_drained_run_goes_on_with_the_next_call(go: Callable[..., importer.ImportResult], platform: Platform) -> None:
    """The signal comes after the first batch; the call after it settles the rest under the same import."""
    stop = StopSignals()

    def interrupt(event: Event) -> None:
        if isinstance(event, SendingProgress):
            stop.received = 15

    frame = pl.DataFrame(columns(20))
    stopped = go(frame, observer=interrupt, stop=stop, in_flight=1)
    assert (stopped.ending, stopped.exit_code, stopped.is_to_be_repeated) == ("stopped", 143, True)
    assert 0 < stopped.balance.pending < 20
    done = go(frame)
    assert (done.import_id, done.is_resumed, done.is_well) == (stopped.import_id, True, True)
    platform.has_each_once(number(i) for i in range(20))


def test_an_observer_that_fails_loses_nothing(go: Callable[..., importer.ImportResult], platform: Platform) -> None:
    """It ends the run like a kill; the next call puts back what was open."""

    def fail(event: Event) -> None:
        if isinstance(event, SendingProgress):
            raise ZeroDivisionError

    frame = pl.DataFrame(columns(20))
    with pytest.raises(ZeroDivisionError):
        go(frame, observer=fail)
    assert go(frame).balance.accepted == 20
    platform.has_each_once(number(i) for i in range(20))


KILLED = """
import sys
import polars as pl
from importer import run_import
frame = pl.read_csv(sys.argv[1], infer_schema=False)
run_import(frame, host=sys.argv[2], token=sys.argv[3], ledger=sys.argv[4], batch_size=2, in_flight=1)
"""


@pytest.mark.slow
def test_killed_anywhere_the_same_call_with_the_same_frame_goes_on(serve: Serve, tmp_path: Path) -> None:
    """SIGKILL while it sends, twice; the third call settles the rest. No row is lost, none is called twice."""
    platform = serve("delay:s=0.1")
    path = write_list(tmp_path / "a.csv", people(40))
    words = [sys.executable, "-c", KILLED, str(path), platform.origin, TOKEN, str(tmp_path / "ledger.db")]
    for least in (3, 8):
        with subprocess.Popen(words, env=environment()) as running:
            until_s = time.monotonic() + 60
            while len(platform.sends()) < least and time.monotonic() < until_s:
                time.sleep(0.02)
            running.kill()
        assert len(platform.sends()) < 20
    assert subprocess.run(words, env=environment(), timeout=60, check=False).returncode == 0
    platform.has_each_once(number(i) for i in range(40))
    with Ledger(tmp_path / "ledger.db") as ledger:
        assert [each.import_id for each in ledger.imports()] == [1]


def test_confirm_is_shown_the_intention_and_may_say_no(
    go: Callable[..., importer.ImportResult], platform: Platform
) -> None:
    """What it sees is what the desk would show; after a no, nothing is sent."""
    shown: list[int] = []

    def say_no(intention: Any) -> bool:
        shown.append(intention.to_send_rows)
        return False

    result = go(pl.DataFrame(columns(5)), confirm=say_no)
    assert (shown, result.ending, result.exit_code, platform.sends()) == ([5], "declined", 4, [])


def test_questions_stop_a_run_and_arguments_answer_them(go: Callable[..., importer.ImportResult]) -> None:
    """Numbers that came back changed: nobody is asked, so the error names the ways to say it."""
    go(pl.DataFrame(columns(4)))
    changed = pl.DataFrame({**columns(4), "size": [1, 2, 3, 4]})
    with pytest.raises(ListProblem) as problem:
        go(changed)
    assert "once-per" in problem.value.hint
    assert problem.value.import_id == 2
    assert go(changed, once_per="phone").balance.duplicate == 4


def test_bounds_words_and_names_are_judged(go: Callable[..., importer.ImportResult], tmp_path: Path) -> None:
    """As the command line judges them, before anything is touched."""
    wrong: list[dict[str, Any]] = [
        {"batch_size": 0}, {"in_flight": 257}, {"first": 0}, {"stop_at_rejects": 20}, {"timeout_s": "90s"},
        {"in_doubt": "guess"}, {"accept": "all"}, {"types": "mobil"}, {"region": "XX"}, {"allow_rejects": "many"},
        {"host": "ftp://x"}, {"token": "a b"}, {"rate_rows_s": float("nan")}, {"map": {"phon": "x"}},
    ]  # fmt: skip
    for each in wrong:
        with pytest.raises(UsageProblem):
            go(pl.DataFrame(columns(2)), **each)
    with pytest.raises(TypeError, match="Did you mean 'region'"):
        check_list(tmp_path / "a.csv", regoin="US")  # type: ignore[call-arg]
    with pytest.raises(UsageProblem, match="together"):
        check_list(tmp_path / "a.csv", host="https://app.jaicp.com")
    assert not (tmp_path / "ledger.db").exists() or Ledger(tmp_path / "ledger.db").imports() == ()


def test_none_is_as_good_as_nothing_said(go: Callable[..., importer.ImportResult], tmp_path: Path) -> None:
    """Settings may be handed on as they come; a folder that a group may write to is a notice."""
    tmp_path.chmod(0o770)
    seen: list[Event] = []
    nothing = dict.fromkeys(RunOptions.__annotations__)
    assert go(pl.DataFrame(columns(2)), **nothing | {"batch_size": 2}, observer=seen.append).is_well
    assert [event.kind for event in seen if isinstance(event, Notice)] == ["ledger-folder"]
    with pytest.raises(TypeError):
        go(pl.DataFrame(columns(2)), regoin=None)


def test_a_held_ledger_is_told_as_the_command_tells_it(
    go: Callable[..., importer.ImportResult], tmp_path: Path
) -> None:
    """Another owner keeps it, and is named."""
    lock = OwnerLock(tmp_path / "ledger.db")
    lock.acquire(Owner(pid=1, host="here", since="now", command="importer run"))
    try:
        with pytest.raises(LedgerHeld, match="process 1 on here") as held:
            go(pl.DataFrame(columns(2)))
    finally:
        lock.release()
    assert isinstance(held.value, ImporterError)
    assert held.value.exit_code == 9


def test_the_token_is_in_no_error(go: Callable[..., importer.ImportResult]) -> None:
    """An unknown one is refused by the platform, and not repeated."""
    with pytest.raises(ImporterError) as problem:
        go(pl.DataFrame(columns(2)), token="9999.1.NoSuchToken")
    assert problem.value.exit_code == 6
    assert "NoSuchToken" not in repr(problem.value) + problem.value.hint


# --- the window ------------------------------------------------------------------------------------------------------


def test_the_window_shows_every_row_with_its_call_job(
    go: Callable[..., importer.ImportResult], tmp_path: Path, platform: Platform
) -> None:
    """Frames add up to the balance; ids are those of the platform."""
    listed = {**columns(9), "phone": [*(number(i) for i in range(8)), "n/a"]}
    frame = pl.concat([pl.DataFrame(listed), pl.DataFrame(listed).head(1)])
    result = go(frame, stop_at_rejects=1)
    with Ledger(tmp_path / "ledger.db") as ledger:
        rows, balance = ledger.rows(), ledger.balance()
        assert balance == result.balance
        counts = (rows.height, ledger.rejects().height, ledger.skipped().height)
        assert counts == (balance.accepted, balance.rejected, balance.duplicate) == (8, 1, 1)
        assert rows["row_no"].to_list() == list(range(1, 9))
        assert rows["call_job_id"].n_unique() == 8
        assert sorted(rows["phone"]) == sorted(platform.phones())
        assert json.loads(ledger.rejects()["cells"][0])["phone"] == "n/a"
        assert ledger.skipped().row(0) == ("repeated", 1, 10, rows["row_id"][0])
        assert ledger.outcomes().height == 0
        (summary,) = ledger.imports()
        assert (summary.balance, summary.state) == (balance, "finished")
        assert ledger.explain("+1 (201) 555-0100").rows[0].call_job_id == rows["call_job_id"][0]
        assert ledger.explain_row(9).rejected[0][0] == "not_a_number"
        assert ledger.explain_row(10).skipped[0][0] == "repeated"
        assert ledger.explain("+12015550199") == importer.api.Explanation()


def test_the_window_has_outcomes_once_they_were_asked_for(go: Callable[..., importer.ImportResult], shop: Shop) -> None:
    """`importer outcomes` fetches; the window shows, with true types."""
    go(pl.DataFrame(columns(5)), ledger=shop.ledger)
    assert shop.importer("outcomes", *shop.target).code in {0, 3}
    with Ledger(shop.ledger) as ledger:
        outcomes = ledger.outcomes()
    assert outcomes.height == 5
    assert outcomes.schema["is_finished"] == pl.Boolean
    assert outcomes.schema["created_at"] == pl.Datetime("us", "UTC")


def test_the_window_never_writes_and_names_what_is_missing(tmp_path: Path) -> None:
    """No ledger is made by looking."""
    with pytest.raises(ImporterError, match="There is no ledger"):
        Ledger(tmp_path / "none.db")
    assert list(tmp_path.glob("none*")) == []


def test_command_line_and_python_take_turns_with_one_ledger(
    go: Callable[..., importer.ImportResult], tmp_path: Path, platform: Platform
) -> None:
    """A frame begun from Python is finished by `importer send`, in a process of its own."""
    began = go(pl.DataFrame(columns(12)), list_name="shared", first=4)
    done = command(
        "send",
        "--json",
        IMPORTER_HOST=platform.origin,
        IMPORTER_TOKEN=TOKEN,
        IMPORTER_LEDGER=str(tmp_path / "ledger.db"),
    )
    assert (done.code, done.json["import"], done.json["accepted"]) == (0, began.import_id, 12)
    platform.has_each_once(number(i) for i in range(12))


def test_notices_reach_the_observer(go: Callable[..., importer.ImportResult], tmp_path: Path) -> None:
    """What a person would be told in words, with a stable kind."""
    (tmp_path / "nobody.csv").write_text("phone\n", encoding="utf-8")
    seen: list[Event] = []
    go(pl.DataFrame(columns(2)), suppress=tmp_path / "nobody.csv", observer=seen.append)
    assert [event.kind for event in seen if isinstance(event, Notice)] == ["suppress-empty"]
