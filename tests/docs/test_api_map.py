"""The page that maps the Calls API: each method of the platform's page has a command and a Python call that exist."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import click
import pytest

from importer.cli import cli
from importer.client import CallsApi

PAGE = (Path(__file__).parents[2] / "docs" / "API_MAP.md").read_text(encoding="utf-8")
# As the platform's page lists them.
METHODS = (
    "POST /api/calls/campaign/{token}/addPhones",
    "GET /api/crmCalls/campaign/{token}/addPhone",
    "POST /api/crmCalls/campaign/{token}/addPhone",
    "GET /api/crmCalls/campaign/{token}/test/addPhone",
    "POST /api/calls/campaign/{token}/callJob/cancel",
    "POST /api/calls/campaign/{token}/callJob/getReport",
    "POST /api/calls/campaign/{token}/callAttempt/getReport",
    "GET /api/calls/campaign/{token}",
    "GET /api/calls/campaign/{token}/status",
    "POST /api/calls/campaign/{token}/control/pause",
    "POST /api/calls/campaign/{token}/control/resume",
    "POST /api/calls/campaign/{token}/control/stop",
)
# Those that its OpenAPI file has besides.
MORE = (
    "POST /api/calls/campaign/{token}/callJob/getReportByDate",
    "POST /api/calls/campaign/{token}/callJob/getUnfinished",
    "POST /api/calls/campaign/{token}/callAttempt/getReportByDate",
)
ROWS = {
    cells[0].strip("`"): cells[1:]
    for cells in ([cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if "|" in line)
    if cells[0].startswith("`")
}
RAW = {"send_batch", "send_phone", "probe", "close"}  # for the queue, whose outcomes are values


def quoted(cell: str) -> list[str]:
    return [name.removeprefix("CallsApi.") for name in re.findall(r"`([^`]+)`", cell)]


def command_named(words: list[str]) -> click.Command:
    """**Errors**: AssertionError for a command that is not there."""
    found: click.Command = cli
    for word in words:
        assert isinstance(found, click.Group), words
        step = found.get_command(click.Context(found), word)
        assert step is not None, words
        found = step
    return found


def test_every_method_of_the_platform_s_page_stands_in_it() -> None:
    assert set(ROWS) == {*METHODS, *MORE}


@pytest.mark.parametrize("method", [*METHODS, *MORE])
def test_a_method_has_a_python_call_that_exists(method: str) -> None:
    names = quoted(ROWS[method][1])
    assert names
    assert all(callable(getattr(CallsApi, name)) for name in names)


@pytest.mark.parametrize("method", METHODS)
def test_a_method_has_a_command_that_exists(method: str) -> None:
    """With the options that are named along with it."""
    words = [each.split() for each in quoted(ROWS[method][0])]
    commands = [
        command_named([word for word in named if not word.startswith("-")])
        for program, *named in words
        if program == "importer"
    ]
    assert commands
    options = {name for each in commands for parameter in each.params for name in parameter.opts}
    assert {word for each in words for word in each if word.startswith("-")} <= options


def test_every_typed_method_of_the_client_stands_in_it() -> None:
    offered = {name for name, _ in inspect.getmembers(CallsApi, inspect.isfunction) if not name.startswith("_")}
    assert offered - RAW == {name for cells in ROWS.values() for name in quoted(cells[1])}
