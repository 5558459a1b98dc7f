"""At a terminal: one Ctrl-C ends a question or a wait, and what was not said yes to is not done."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from terminals import LONGEST_S, terminal
from workbench import Platform, Serve, Shop, people, start, write_list

from importer.ledger.requests import requests_folder


@pytest.fixture
def platform(serve: Serve) -> Platform:
    """A platform that behaves, and takes its time."""
    return serve(speed=0.001)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return write_list(tmp_path / "list.csv", people(6))


def test_one_ctrl_c_ends_the_question_of_a_run(shop: Shop, platform: Platform, rows: Path, tmp_path: Path) -> None:
    """Nothing was sent; the same command asks again."""
    with terminal(tmp_path, "run", rows, *shop.target) as screen:
        screen.until("Send 6 rows?")
        screen.interrupt()
        assert (screen.code(), "Stopped." in screen.shown) == (130, True), screen.shown
    assert platform.phones() == []
    assert shop.run(rows).code == 0


def test_one_ctrl_c_ends_the_question_of_a_cancellation(
    shop: Shop, platform: Platform, rows: Path, tmp_path: Path
) -> None:
    """Nothing was taken back."""
    assert shop.run(rows).code == 0
    with terminal(tmp_path, "cancel", "1", *shop.target) as screen:
        screen.until("Take 6 rows back?")
        screen.interrupt()
        assert (screen.code(), "Stopped." in screen.shown) == (130, True), screen.shown
    assert shop.importer("status", "1", "--ledger", shop.ledger).out.count("withdrawn") == 0


def test_a_cancellation_that_is_said_yes_to_is_made(shop: Shop, platform: Platform, rows: Path, tmp_path: Path) -> None:
    assert shop.run(rows).code == 0
    with terminal(tmp_path, "cancel", "1", *shop.target) as screen:
        screen.until("Take 6 rows back?")
        screen.type("y\n")
        assert (screen.code(), "6  call jobs were cancelled" in screen.shown) == (0, True), screen.shown


def test_waiting_for_an_owner_that_does_not_answer_ends_with_one_ctrl_c(shop: Shop, rows: Path, tmp_path: Path) -> None:
    """A run that asks a question heeds nobody: that is told, and the request is taken back."""
    assert shop.run(rows, "--first", "2").code == 0
    with terminal(tmp_path, "run", rows, *shop.target) as screen:
        screen.until("Send 4 rows?")
        waiting = start("cancel", "1", *shop.target, "--yes", "--json")
        until_s = time.monotonic() + LONGEST_S
        while not requests_folder(shop.ledger).exists() and time.monotonic() < until_s:
            time.sleep(0.05)
        waiting.send_signal(signal.SIGINT)
        out, err = waiting.communicate(timeout=10)
        assert (waiting.returncode, '"exit_code": 130' in out) == (130, True), err
        assert "Asking it to stop" in err
        assert not requests_folder(shop.ledger).exists()


def test_numbers_wait_for_an_owner_that_asks_something_no_longer_than_it_does(
    shop: Shop, rows: Path, tmp_path: Path
) -> None:
    """Once it has ended they are added here, and the next run heeds them."""
    with terminal(tmp_path, "run", rows, *shop.target) as screen:
        screen.until("Send 6 rows?")
        adding = start("dnc", "add", people(1)[0]["phone"], "--ledger", shop.ledger)
        assert adding.stderr is not None
        while "Asking it to add them" not in (line := adding.stderr.readline()):
            assert line
        screen.type("n\n")
        assert screen.code() == 4, screen.shown
        out, err = adding.communicate(timeout=30)
        assert (adding.returncode, "1 number added" in out) == (0, True), err
    assert shop.run(rows).json["suppressed"] == 1
