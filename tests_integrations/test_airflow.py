"""Airflow for real: the example's DAG run, and a scheduler whose task processes are killed at work."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from platforms import (
    ROOT,
    TOKEN,
    Platform,
    command_line,
    daemon,
    files_with,
    importer_process,
    is_gone,
    parent_of,
    platform,
    until,
    write_list,
)

import importer
from importer.integrations.airflow import ImporterRunOperator, judge
from importer.integrations.child import VERDICTS, Ended, Verdict
from importer.ledger import LedgerReader

AIRFLOW = str(Path(sys.executable).with_name("airflow"))


@dataclass(frozen=True, kw_only=True)
class Site:
    """An Airflow of its own in a folder: settings, DAGs, database, logs; lists and ledger beside it."""

    folder: Path
    port: int

    @property
    def db(self) -> Path:
        return self.folder / "home" / "airflow.db"

    @property
    def ledger(self) -> Path:
        return self.folder / "calls" / "calls.db"

    def settings(self, at: Platform) -> dict[str, str]:
        """Everything on this machine alone, one worker of each kind."""
        connection = {"conn_type": "http", "host": "http://127.0.0.1", "port": at.port, "password": TOKEN}
        here = f"http://127.0.0.1:{self.port}"
        return {
            "AIRFLOW_HOME": str(self.folder / "home"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.folder / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": "2",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{here}/execution/",
            "AIRFLOW__API__BASE_URL": here,
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self.port),
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API_AUTH__JWT_SECRET": "no secret, and long enough for whatever signs with it: "
            + "0123456789" * 4,
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            "AIRFLOW_CONN_SPRING": json.dumps(connection),
        }

    def airflow(self, at: Platform, *words: str) -> str:
        """A command of Airflow, to its end."""
        done = subprocess.run(
            [AIRFLOW, *words],
            env={**os.environ, **self.settings(at)},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
        return done.stdout + done.stderr

    def asked(self, query: str) -> list[tuple[object, ...]]:
        with contextlib.closing(sqlite3.connect(f"file:{self.db}?mode=ro", uri=True, timeout=20)) as db:
            return db.execute(query).fetchall()

    def tasks(self) -> dict[str, tuple[str, int]]:
        """State and try of each task of the DAG run."""
        found = self.asked("SELECT task_id, state, try_number FROM task_instance")
        return {str(task): (str(state), int(str(number))) for task, state, number in found}

    def kept_of(self, task_id: str) -> dict[str, object]:
        """What XCom has of a task."""
        ((value,),) = self.asked(f"SELECT value FROM xcom WHERE key = 'return_value' AND task_id = '{task_id}'")
        found = json.loads(str(value))
        return json.loads(found) if isinstance(found, str) else found

    def has_dag(self, name: str, text: str) -> None:
        """A DAG file, with this folder for the container's paths and a second for the minutes of waiting."""
        text = text.replace('"/lists/', f'"{self.folder}/lists/').replace('"/calls/', f'"{self.folder}/calls/')
        text = text.replace("timedelta(minutes=10).total_seconds()", "1").replace(
            "timedelta(minutes=5)", "timedelta(seconds=1)"
        )
        (self.folder / "dags" / name).write_text(text, encoding="utf-8")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    for name in ("home", "dags", "lists", "calls"):
        (tmp_path / name).mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        return Site(folder=tmp_path, port=free.getsockname()[1])


def example() -> str:
    return (ROOT / "examples" / "airflow" / "nightly_calls.py").read_text(encoding="utf-8")


# --- what an end means ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [*VERDICTS, -9, -15, 137, 99])
@pytest.mark.parametrize("is_first", [True, False])
def test_every_exit_code_becomes_what_airflow_understands(code: int, is_first: bool) -> None:
    """AirflowFailException is never retried, any other AirflowException is."""
    ended = Ended(exit_code=code, said={})
    try:
        judge(ended, is_first=is_first)
        raised = None
    except AirflowException as problem:
        raised = type(problem)
    expected = {
        Verdict.SUCCEED: None,
        Verdict.WARN: None,
        Verdict.RETRY: AirflowException,
        Verdict.RETRY_ONCE: AirflowException if is_first else AirflowFailException,
        Verdict.FAIL: AirflowFailException,
    }
    assert raised is expected[ended.verdict]


@pytest.mark.parametrize(
    ("code", "accepted", "is_skipping", "skips"),
    [(0, 0, True, True), (0, 1, True, False), (0, 0, False, False), (3, 0, True, False)],
)
def test_a_run_that_called_nobody_is_skipped(code: int, accepted: int, is_skipping: bool, skips: bool) -> None:
    """What comes after it has nothing to do; bad rows are another matter."""
    operator = ImporterRunOperator(task_id="run", lists="a.csv", ledger="l.db", skip_if_nobody_called=is_skipping)
    ended = Ended(exit_code=code, said={"accepted": accepted, "read": 1})
    with pytest.raises(AirflowSkipException) if skips else contextlib.nullcontext():
        operator.judged(ended, is_first=True)


def test_a_secret_or_a_twice_said_setting_is_refused_when_the_dag_is_read() -> None:
    """Templates are rendered into the database, and a list of processes is for everybody."""
    for name in ("token", "proxy", "db", "host", "on_finish"):
        with pytest.raises(ValueError, match=name):
            ImporterRunOperator(task_id="run", lists="a.csv", ledger="l.db", settings={name: "x"})


def test_the_product_stands_beside_airflow_without_conflict() -> None:
    """Installed from its wheel, into one environment with Airflow and all it needs."""
    assert Path(importer.__file__).is_relative_to(sys.prefix)
    done = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


# --- real runs --------------------------------------------------------------------------------------------------------


def test_the_examples_dag_run_calls_each_row_once_and_brings_the_outcomes(site: Site) -> None:
    """`airflow dags test` with the very file of the documentation."""
    write_list(site.folder / "lists" / "tonight.csv", 200, bad=1)
    site.has_dag("nightly_calls.py", example())
    with platform(site.folder) as at:
        site.airflow(at, "db", "migrate")
        said = site.airflow(at, "dags", "test", "nightly_calls", "2026-11-23")
        at.has_each_once(200)
    assert {task: state for task, (state, _) in site.tasks().items()} == {"run": "success", "outcomes": "success"}
    run, outcomes = site.kept_of("run"), site.kept_of("outcomes")
    told = [run[each] for each in ("read", "accepted", "rejected", "exit_code", "rejects_by_reason")]
    assert told == [201, 200, 1, 0, {"not_a_number": 1}]
    assert [outcomes[each] for each in ("accepted", "finished")] == [200, 200]
    assert Path(str(outcomes["file"])).stat().st_size > 0
    assert TOKEN not in said
    assert files_with(site.folder / "home", TOKEN) == []
    assert files_with(site.folder / "home", "5550100") == []


KILLED = """
import pendulum
from datetime import timedelta
from airflow.sdk import dag
from importer.integrations.airflow import ImporterRunOperator

HERE = "{{ dag_run.run_after.astimezone(dag.timezone) | ds }}"
PATIENT = {"retries": 9, "retry_delay": timedelta(seconds=8)}  # Airflow itself mixes up tries that follow at once

@dag(schedule=None, start_date=pendulum.datetime(2026, 11, 1, tz="Pacific/Kiritimati"), default_args=PATIENT)
def killed():
    ImporterRunOperator(
        task_id="run", conn_id="spring", lists="/lists/tonight.csv", ledger="/calls/calls.db", round_name=HERE,
        once_per="phone", settings={"batch_size": 2, "in_flight": 2},
    )

killed()
"""


@contextlib.contextmanager
def scheduler(site: Site, at: Platform) -> Iterator[None]:
    """API server, DAG processor and scheduler with its LocalExecutor, all on this machine."""
    settings = site.settings(at)
    with contextlib.ExitStack() as running:
        for name in ("api-server", "dag-processor", "scheduler"):
            running.enter_context(daemon([AIRFLOW, name], site.folder / "home" / f"{name}.log", **settings))
        yield


def test_a_killed_task_leaves_a_ledger_that_the_retry_continues(site: Site) -> None:
    """A real scheduler. The task process is ended with SIGTERM, its next try with SIGKILL; a third one finishes."""
    write_list(site.folder / "lists" / "tonight.csv", 300)
    site.has_dag("killed.py", KILLED)
    seen: list[str] = []

    def at_work(more: int) -> int:
        """The importer's process, once it has sent so many rows more."""
        until(lambda: at.jobs() >= more and importer_process(site.ledger), look_s=0.05)
        pid = importer_process(site.ledger)
        assert pid is not None
        seen.append(command_line(pid))
        return pid

    with platform(site.folder, "delay:s=0.3,at=after") as at:
        site.airflow(at, "db", "migrate")
        with scheduler(site, at):
            until(lambda: site.asked("SELECT 1 FROM dag WHERE dag_id = 'killed'"), look_s=1)
            site.airflow(at, "dags", "unpause", "killed", "--yes")
            site.airflow(at, "dags", "trigger", "killed", "--run-id", "tonight")
            child = at_work(10)
            os.kill(parent_of(child), signal.SIGTERM)  # what Airflow does to a task; it calls on_kill
            until(lambda: is_gone(child), limit_s=25)
            drained = at.jobs()
            child = at_work(drained + 10)
            os.kill(parent_of(child), signal.SIGKILL)  # what a kernel out of memory does
            until(lambda: is_gone(child), limit_s=25)
            assert at.jobs() < 300
            until(lambda: site.tasks()["run"][0] == "success", look_s=0.5)
        at.has_each_once(300)
    kept = site.kept_of("run")
    assert (kept["import"], kept["accepted"], kept["duplicate"], kept["resumed"]) == (1, 300, 0, True)
    ((night,),) = site.asked("SELECT run_after FROM dag_run")
    there = datetime.datetime.fromisoformat(str(night)).replace(tzinfo=datetime.UTC) + datetime.timedelta(hours=14)
    assert kept["round"] == there.date().isoformat()
    assert site.tasks()["run"][1] >= 3
    assert len(seen) == 2
    assert not any(TOKEN in each for each in seen)
    assert files_with(site.folder / "home", TOKEN) == []


def test_the_examples_mapped_tasks_are_shards_of_one_import(site: Site) -> None:
    """`airflow dags test` with shards.py: four mapped tasks, then the merge; the home ledger has the whole list."""
    write_list(site.folder / "lists" / "customers.csv", 120, bad=3)
    site.has_dag("shards.py", (ROOT / "examples" / "airflow" / "shards.py").read_text(encoding="utf-8"))
    with platform(site.folder) as at:
        site.airflow(at, "db", "migrate")
        said = site.airflow(at, "dags", "test", "shards", "2026-11-23")
        at.has_each_once(120)
    assert {task: state for task, (state, _) in site.tasks().items()} == {"part": "success", "merge": "success"}
    assert site.asked("SELECT count(*) FROM task_instance WHERE task_id = 'part'") == [(4,)]
    with LedgerReader(site.ledger) as reader:
        balance = reader.view.balance(1)
    assert (balance.read, balance.accepted, balance.rejected) == (123, 120, 3)
    assert TOKEN not in said
