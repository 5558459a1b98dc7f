"""The importer as a child process, as every scheduler starts it; judged by the platform, without any scheduler here."""

from __future__ import annotations

import datetime
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from workbench import ROOT, TOKEN, Platform, Serve, environment, number, people, write_list

from importer import errors
from importer.integrations.child import (
    VERDICTS,
    Ended,
    ImporterProcess,
    Verdict,
    child_environment,
    line_text,
    outcome_arguments,
    own_command,
    run_arguments,
    verdict_of,
)

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
Told = list[tuple[int, str]]


def arguments(origin: str, ledger: Path, path: Path, run_id: str = "tonight", **settings: Any) -> list[str]:
    return run_arguments(path, host=origin, ledger=ledger, run_id=run_id, settings=settings)


def run(words: list[str], told: Told | None = None, **more: Any) -> Ended:
    """A process from its start to its end."""
    heard: Told = [] if told is None else told
    with ImporterProcess(words, token=TOKEN, tell=lambda *each: heard.append(each), **more) as process:
        return process.wait()


# --- what its end means -----------------------------------------------------------------------------------------------


def exit_codes() -> set[int]:
    """Every exit code of `run`: as the README lists them, and as errors carry them."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## Exit codes")[1].split("\n## ")[0]
    listed = {
        int(code) for cells in re.findall(r"^\| ([\d, ]+) \|", section, re.MULTILINE) for code in cells.split(",")
    }
    kinds = [
        each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.ImporterError)
    ]
    assert {each.exit_code for each in kinds} <= listed
    return listed | {141}


def test_every_exit_code_has_a_verdict_and_no_other_has() -> None:
    """The README is the list; 141 stands below its table."""
    assert set(VERDICTS) == exit_codes()


def test_the_verdicts_are_those_the_readme_gives_schedulers() -> None:
    """Its sentence for pipelines, code by code."""
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    said = re.search(r"\*\*retry\*\* on (.*?) and when the task was killed; \*\*fail without retry\*\* on (.*?); "
                     r"\*\*succeed with a warning\*\* on (\d+); on (\d+) retry once", text)  # fmt: skip
    assert said
    numbers = [{int(each) for each in re.findall(r"\d+", words)} for words in said.groups()]
    wanted = [Verdict.RETRY, Verdict.FAIL, Verdict.WARN, Verdict.RETRY_ONCE]
    kept = {code: verdict for code, verdict in VERDICTS.items() if code not in (0, 141)}
    assert kept == {code: verdict for codes, verdict in zip(numbers, wanted, strict=True) for code in codes}


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        (-9, Verdict.RETRY),
        (-15, Verdict.RETRY),
        (137, Verdict.RETRY),
        (127, Verdict.FAIL),
        (77, Verdict.FAIL),
    ],
)
def test_a_killed_process_is_retried_and_an_unknown_code_fails(code: int, verdict: Verdict) -> None:
    """127: there is no such command; no retry mends that."""
    assert verdict_of(code) is verdict


def test_only_a_run_that_is_well_and_gave_no_row_called_nobody() -> None:
    """Bad rows, a killed process or one call job are something else."""
    said = [(0, {"accepted": 0}), (3, {"accepted": 0}), (0, {}), (0, {"accepted": 1})]
    ends = [Ended(exit_code=code, said=each) for code, each in said]
    assert [each.is_nobody_called for each in ends] == [True, False, False, False]


# --- what it is told --------------------------------------------------------------------------------------------------


def test_settings_are_options_of_the_same_name() -> None:
    """As in importer.toml: a flag, a list, a time; a value that begins with a dash stays a value."""
    settings = {
        "once_per": ["customer_id", "order"], "round": "-1", "header": False, "split_cells": True, "new_ledger": False,
        "suppress": ["a.csv", "b.csv"], "rate": 200, "region": None,
        "adopt_since": datetime.datetime(2026, 11, 23, tzinfo=datetime.UTC),
    }  # fmt: skip
    words = run_arguments(["-a.csv", Path("b.csv")], host="https://h", ledger="l.db", run_id="r", settings=settings)
    assert words == [
        "run", "--host=https://h", "--ledger=l.db", "--token-file=-", "--run-id=r", "--once-per=customer_id,order",
        "--round=-1", "--no-header", "--split-cells", "--suppress=a.csv", "--suppress=b.csv", "--rate=200",
        "--adopt-since=2026-11-23T00:00:00+00:00", "--json", "--log-format=json", "--", "-a.csv", "b.csv",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name", ["token", "token_file", "json", "ledger", "run_id", "proxy", "db", "on_finish", "storage_option"]
)
def test_what_is_said_elsewhere_or_secret_is_no_setting(name: str) -> None:
    """A list of processes is for everybody."""
    with pytest.raises(ValueError, match=name):
        run_arguments("a.csv", host="h", ledger="l", run_id="r", settings={name: "x"})


def test_the_child_gets_none_of_the_schedulers_secrets() -> None:
    """Nor another campaign's token; what a list or a proxy needs stays."""
    of_schedulers = ("AIRFLOW__CORE__FERNET_KEY", "AIRFLOW_CONN_SPRING", "__AIRFLOW_X", "PREFECT_API_KEY", "DAGSTER_X")
    worker = dict.fromkeys((*of_schedulers, "IMPORTER_TOKEN", "PATH", "IMPORTER_PROXY", "AWS_PROFILE"), "x")
    assert sorted(child_environment(worker)) == ["AWS_PROFILE", "IMPORTER_PROXY", "PATH"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b'{"event": "notice", "level": "info", "kind": "k", "message": "Going on."}\n', (20, "Going on.")),
        (b'{"event": "stopped", "level": "error", "message": "No.", "hint": "Do."}\n', (40, "No. Do.")),
        (
            b'{"event": "sending", "level": "info", "ts": "x", "read": 2000, "pending": 0}\n',
            (20, "sending: read 2,000"),
        ),
        (b'{"event": "finished", "level": "info"}\n', None),
        (b"Traceback\n", (30, "Traceback")),
        (b"[1]\n", (30, "[1]")),
        (b"\n", None),
    ],
)
def test_its_lines_become_lines_of_the_schedulers_log(line: bytes, told: tuple[int, str] | None) -> None:
    """At their own level; what is no structured line is passed on as it is."""
    assert line_text(line) == told


# --- real processes ---------------------------------------------------------------------------------------------------


def test_a_run_is_told_in_counts_and_the_token_is_nowhere(platform: Platform, tmp_path: Path) -> None:
    """Neither numbers nor cells nor the token in what is kept, logged or seen in a list of processes."""
    told: Told = []
    path = write_list(tmp_path / "a.csv", [*people(8), {"phone": "n/a", "name": "Nobody", "order": "1"}])
    words = arguments(platform.origin, tmp_path / "l.db", path, allow_rejects=1)
    ended = run(words, told)
    kept = ended.summary()
    assert (ended.verdict, kept["read"], kept["accepted"], kept["rejected"]) == (Verdict.SUCCEED, 9, 8, 1)
    assert kept["rejects_by_reason"] == {"not_a_number": 1}
    seen = repr((kept, told, words, ended.sentence()))
    assert [secret for secret in (TOKEN, "5550100", "Person 1", "Nobody") if secret in seen] == []
    platform.has_each_once(number(i) for i in range(8))
    asked = run(outcome_arguments(kept["import"], host=platform.origin, ledger=tmp_path / "l.db"))
    assert (asked.exit_code, asked.said["accepted"], asked.said["done"]) == (0, 8, False)


def test_the_same_run_again_is_told_of_the_import_it_made(platform: Platform, tmp_path: Path) -> None:
    """A task that died after the run and before its own end."""
    path = write_list(tmp_path / "a.csv", people(8))
    words = arguments(platform.origin, tmp_path / "l.db", path)
    first, again = run(words).summary(), run(words).summary()
    assert {name for name in first if first[name] != again[name]} == {"elapsed_s", "resumed"}


def test_an_error_is_a_verdict_with_words(tmp_path: Path) -> None:
    """A list that is not there: exit 4, said in the log, with the next step."""
    told: Told = []
    ended = run(arguments("http://127.0.0.1:9", tmp_path / "l.db", tmp_path / "none.csv"), told)
    assert (ended.exit_code, ended.verdict) == (4, Verdict.FAIL)
    assert "none.csv" in ended.sentence()
    assert any(level == 40 for level, _ in told)


def test_a_process_that_ends_before_it_reads_the_token_is_no_accident() -> None:
    """An option it does not know."""
    ended = run(["run", "--no-such-option"])
    assert (ended.exit_code, ended.verdict) == (2, Verdict.FAIL)


@pytest.fixture
def slow(serve: Serve, tmp_path: Path) -> tuple[Platform, list[str]]:
    """A platform that takes its time, and a run of sixty rows at it."""
    platform = serve("delay:s=0.2,at=after")
    path = write_list(tmp_path / "a.csv", people(60))
    return platform, arguments(platform.origin, tmp_path / "l.db", path, batch_size=2, in_flight=2)


@posix
def test_a_signal_handler_may_ask_it_to_drain(slow: tuple[Platform, list[str]]) -> None:
    """As Airflow's on_kill does, in the middle of the wait; what was under way is settled, the rest follows later."""
    platform, words = slow
    with ImporterProcess(words, token=TOKEN, tell=lambda *_: None) as process:
        before = signal.signal(signal.SIGALRM, lambda *_: process.ask_to_stop())
        try:
            _until(lambda: len(platform.phones()) >= 4)
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            ended = process.wait()
        finally:
            signal.signal(signal.SIGALRM, before)
    assert (ended.exit_code, ended.said["ending"], ended.verdict) == (143, "stopped", Verdict.RETRY)
    assert 0 < ended.said["accepted"] == len(platform.phones()) < 60
    assert run(words).said["accepted"] == 60
    platform.has_each_once(number(i) for i in range(60))


@posix
def test_what_leaves_the_block_leaves_no_process(slow: tuple[Platform, list[str]], tmp_path: Path) -> None:
    """A timeout or an interrupt of the scheduler, raised in the middle of the wait."""
    platform, words = slow

    class TimedOut(BaseException): ...

    def interrupts() -> None:
        with ImporterProcess(words, token=TOKEN, tell=lambda *_: None):
            _until(lambda: len(platform.phones()) >= 4)
            raise TimedOut

    with pytest.raises(TimedOut):
        interrupts()
    assert not (tmp_path / "l.db.owner").exists(), "the run ended by itself, drained"
    assert run(words).said["accepted"] == 60
    platform.has_each_once(number(i) for i in range(60))


@posix
def test_a_child_that_does_not_drain_in_time_is_killed(tmp_path: Path) -> None:
    """Whatever it waits for; a killed run is what the next one goes on with."""
    stubborn, ready = tmp_path / "stubborn.py", tmp_path / "ready"
    deaf = "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    stubborn.write_text(f"{deaf}; open({str(ready)!r}, 'w'); time.sleep(60)")
    command = [sys.executable, str(stubborn)]
    with ImporterProcess(["run"], token=TOKEN, tell=lambda *_: None, command=command, drain_s=1.0) as process:
        _until(ready.exists)
        began_s = time.monotonic()
        process.ask_to_stop()
        ended = process.wait()
    assert (ended.exit_code, ended.verdict) == (-signal.SIGKILL, Verdict.RETRY)
    assert time.monotonic() - began_s < 20


STARTER = """
import sys
from importer.integrations.child import ImporterProcess
with ImporterProcess(sys.argv[2:], token=sys.argv[1], tell=print) as process:
    process.wait()
"""


@posix
def test_a_task_killed_with_sigkill_leaves_a_run_that_drains_and_a_retry_that_goes_on(
    slow: tuple[Platform, list[str]], tmp_path: Path
) -> None:
    """The whole group of the task is killed; the run is in a group of its own, drains, and frees the ledger."""
    platform, words = slow
    task = subprocess.Popen([sys.executable, "-c", STARTER, TOKEN, *words], env=environment(), start_new_session=True)
    _until(lambda: len(platform.phones()) >= 4)
    os.killpg(task.pid, signal.SIGKILL)
    task.wait(timeout=30)
    _until(lambda: not (tmp_path / "l.db.owner").exists())
    assert len(platform.phones()) < 60
    assert run(words).said["accepted"] == 60
    platform.has_each_once(number(i) for i in range(60))


@posix
def test_a_pod_that_lost_its_volume_twice_adopts_since_the_dag_runs_own_time(serve: Serve, tmp_path: Path) -> None:
    """Every try has a new ledger and the same time to adopt since; each looks up what those before it sent."""
    platform = serve("delay:s=0.2,at=after")
    path, since = write_list(tmp_path / "a.csv", people(40)), datetime.datetime.now(datetime.UTC)
    for pod in ("one", "two", "three"):
        (tmp_path / pod).mkdir()
        more = {"round": "tonight", "adopt_since": since, "batch_size": 2, "in_flight": 2}
        words = arguments(platform.origin, tmp_path / pod / "l.db", path, **more)
        with ImporterProcess(words, token=TOKEN, tell=lambda *_: None) as process:
            if pod != "three":
                least = len(platform.phones()) + 6
                _until(lambda least=least: len(platform.phones()) >= least)
                process.ask_to_stop()
            ended = process.wait()
    assert (ended.exit_code, ended.said["accepted"]) == (0, 40)
    platform.has_each_once(number(i) for i in range(40))


def test_another_environments_importer_may_be_named(platform: Platform, tmp_path: Path) -> None:
    """Where the scheduler's environment cannot have the importer's libraries."""
    path = write_list(tmp_path / "a.csv", people(2))
    ended = run(arguments(platform.origin, tmp_path / "l.db", path), command=own_command(), cwd=tmp_path)
    assert ended.exit_code == 0
    with pytest.raises(FileNotFoundError):
        run(["run"], command=[str(tmp_path / "no-such-importer")])


def test_the_operators_module_needs_nothing_but_the_standard_library() -> None:
    """So it loads beside a scheduler without polars, click and the rest."""
    code = (
        "import sys, importer.integrations.child; print([m for m in ('polars', 'httpx', 'click') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def _until(is_so: Any) -> None:
    deadline_s = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline_s, "waited too long"
        time.sleep(0.02)


def test_a_summary_of_a_killed_run_still_has_its_code() -> None:
    """Everything else is unknown."""
    found: Mapping[str, Any] = Ended(exit_code=-9, said={}).summary()
    assert found["exit_code"] == -9
    assert {value for name, value in found.items() if name != "exit_code"} == {None}
