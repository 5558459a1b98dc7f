"""What `importer run` offers to a program that starts it: a token on a pipe, a run's name, an end with its starter."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from workbench import TOKEN, Platform, Serve, Shop, command, environment, number, people, start, write_list

from importer.machine import StopSignals

LIMIT_S = 60.0
posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX processes")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_list(tmp_path / "tonight.csv", people(8))


# --- a token on standard input --------------------------------------------------------------------------------------


def test_a_token_may_come_on_standard_input(platform: Platform, tmp_path: Path, path: Path) -> None:
    """Then it is in no variable, no file and no list of processes."""
    target = ("--host", platform.origin, "--token-file", "-", "--ledger", tmp_path / "l.db")
    said = command("run", path, *target, "--json", stdin=TOKEN.encode() + b"\n")
    assert (said.code, said.json["accepted"]) == (0, 8)
    assert TOKEN not in said.out + said.err
    asked = command("outcomes", *target, "--json", stdin=TOKEN.encode())
    assert (asked.code, asked.json["accepted"], asked.json["done"]) == (0, 8, False)


@pytest.mark.parametrize(
    ("stdin", "says"),
    [(b"", "Standard input is empty"), (b"\xff\xfe", "Standard input cannot be read"), (b" \n", "is empty")],
)
def test_what_is_no_token_on_standard_input_is_told(tmp_path: Path, path: Path, stdin: bytes, says: str) -> None:
    """Exit 2, and nothing was done."""
    where = ("--host", "http://127.0.0.1:9", "--ledger", tmp_path / "l.db")
    said = command("run", path, *where, "--token-file", "-", "--json", stdin=stdin)
    assert said.code == 2
    assert says in said.err
    assert not (tmp_path / "l.db").exists()


def test_list_and_token_cannot_both_be_on_standard_input(tmp_path: Path) -> None:
    """Whichever came first would be taken for the other."""
    where = ("--host", "http://127.0.0.1:9", "--ledger", tmp_path / "l.db")
    said = command("run", "-", *where, "--token-file", "-", stdin=TOKEN.encode())
    assert said.code == 2
    assert "cannot both be on standard input" in said.err


# --- a run's name ----------------------------------------------------------------------------------------------------


def test_a_run_of_the_same_name_reports_what_it_did(shop: Shop, platform: Platform, path: Path) -> None:
    """A scheduler that lost the first answer gets the same one again, and not an import of nothing but duplicates."""
    first = shop.run(path, "--run-id", "night 1").json
    again = shop.run(path, "--run-id", "night 1")
    assert "finished import 1 before" in again.err
    same = ("import", "read", "accepted", "duplicate", "exit_code", "ending", "round", "rejects_by_reason")
    assert [again.json[each] for each in same] == [first[each] for each in same]
    assert (again.json["accepted"], again.json["resumed"]) == (8, True)
    platform.has_each_once(number(i) for i in range(8))


@pytest.mark.parametrize("changed", [("--run-id", "night 2"), (), ("--run-id", "night 1", "--round", "other")])
def test_any_other_run_is_an_import_of_its_own(shop: Shop, path: Path, changed: tuple[str, ...]) -> None:
    """Another name, none, or another round: as ever."""
    shop.run(path, "--run-id", "night 1")
    assert shop.run(path, *changed).json["import"] == 2


def test_a_run_of_the_same_name_takes_an_edited_list_in(shop: Shop, platform: Platform, path: Path) -> None:
    """The name stands for a run, not for its list: new rows are called."""
    shop.run(path, "--run-id", "night 1")
    write_list(path, people(9))
    again = shop.run(path, "--run-id", "night 1").json
    assert (again["import"], again["accepted"], again["duplicate"]) == (2, 1, 8)
    platform.has_each_once(number(i) for i in range(9))


def test_an_import_that_two_runs_worked_on_is_reported_to_both(shop: Shop, path: Path) -> None:
    """The second went on with what the first left; whichever asks again is told."""
    assert shop.run(path, "--run-id", "night 1", "--first", "3").json["accepted"] == 3
    assert shop.run(path, "--run-id", "night 2").json["accepted"] == 8
    again = [shop.run(path, "--run-id", f"night {each}").json for each in (1, 2)]
    assert [(each["import"], each["accepted"]) for each in again] == [(1, 8), (1, 8)]


# --- an end with its starter ------------------------------------------------------------------------------------------

STARTS = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-m", "importer", *sys.argv[2:], "--stop-with", str(os.getpid())],
                         stdin=subprocess.DEVNULL, start_new_session=True)
open(sys.argv[1], "w").write(str(child.pid))
time.sleep(60)
"""


@posix
def test_a_run_drains_when_its_starter_was_killed(serve: Serve, shop: Shop, tmp_path: Path) -> None:
    """SIGKILL reaches the starter alone; what it started stops as at SIGTERM, and the same command goes on."""
    platform = serve("delay:s=0.2,at=after")
    path, pid_file = write_list(tmp_path / "list.csv", people(60)), tmp_path / "pid"
    slow = ("--batch-size", "2", "--in-flight", "2", "--json")
    target = ("--host", platform.origin, "--token-file", str(shop.token_file), "--ledger", str(shop.ledger))
    words = ["run", str(path), *target, *slow]
    with (tmp_path / "out.json").open("w") as out:
        starter = subprocess.Popen([sys.executable, "-c", STARTS, pid_file, *words], stdout=out, env=environment())
        try:
            _until(lambda: len(platform.phones()) >= 4)
        finally:
            starter.kill()
            starter.wait(timeout=LIMIT_S)
    _until(lambda: not _is_alive(int(pid_file.read_text())))
    report = json.loads((tmp_path / "out.json").read_text())
    assert (report["exit_code"], report["ending"]) == (143, "stopped")
    assert 0 < report["accepted"] < 60
    again = command(*words)
    assert (again.code, again.json["accepted"]) == (0, 60)
    platform.has_each_once(number(i) for i in range(60))


@posix
def test_a_run_whose_starter_is_gone_already_stops_too(serve: Serve, tmp_path: Path, shop: Shop) -> None:
    """It may have died before the run could look."""
    platform, gone = serve("delay:s=0.2"), subprocess.Popen([sys.executable, "-c", ""])
    gone.wait(timeout=LIMIT_S)
    path = write_list(tmp_path / "list.csv", people(60))
    target = ("--host", platform.origin, "--token-file", str(shop.token_file), "--ledger", str(shop.ledger))
    process = start(
        "run", path, *target, "--batch-size", "1", "--in-flight", "1", "--json", "--stop-with", str(gone.pid)
    )
    out, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == json.loads(out)["exit_code"] == 143


@posix
def test_the_end_of_the_starter_is_no_second_signal() -> None:
    """A second signal would stop at once; who was asked to drain already goes on draining."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait(timeout=LIMIT_S)
    with StopSignals() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        with signals.with_starter(gone.pid):
            time.sleep(1.2)
    assert signals.received == signal.SIGTERM


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _until(is_so: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + LIMIT_S
    while not is_so():
        assert time.monotonic() < deadline_s, "waited too long"
        time.sleep(0.02)


def test_a_run_that_is_started_by_hand_needs_none_of_it() -> None:
    """No thread looks for a starter that nobody named."""
    with StopSignals() as signals, signals.with_starter(None):
        assert signals.received is None
