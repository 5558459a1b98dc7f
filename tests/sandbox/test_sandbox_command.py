"""The command: its ready line, its end, its warnings, and a help text that hides nothing."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import httpx
import pytest
from click.testing import CliRunner

from importer.cli.sandbox import command
from importer.errors import UsageProblem
from importer.sandbox import FAULT_NAMES, Sandbox, records

from .calling import Caller

READY = re.compile(r"sandbox ready at (http://127\.0\.0\.1:[0-9]+)  campaign token: (\S+)\n")
ANYWHERE = "0.0.0.0"  # noqa: S104 - the address the warning is about
MAIN = "from importer.cli.sandbox import command; command()"
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}


@contextmanager
def _started(*options: str) -> Iterator[subprocess.Popen[str]]:
    line = [sys.executable, "-W", "error", "-c", MAIN, *options]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        try:
            yield process
        finally:
            process.kill()


def _ready(process: subprocess.Popen[str]) -> tuple[str, str]:
    assert process.stdout is not None
    found = READY.fullmatch(process.stdout.readline())
    assert found is not None
    return found[1], found[2]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_when_it_is_ready_and_ends_when_told(tmp_path: Path, number: signal.Signals) -> None:
    """One line on stdout, quiet while it serves, exit 0 on a signal even with a connection open."""
    db = tmp_path / "sandbox.db"
    with _started("--port", "0", "--db", str(db), "--key-ttl", "2h") as process:
        url, token = _ready(process)
        with httpx.Client(base_url=url, trust_env=False) as http:
            assert Caller(http=http, token=token).add(1, key="k1").status_code == 200
            process.send_signal(number)
            out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "", "")
    assert [path.name for path in tmp_path.iterdir()] == ["sandbox.db"]
    assert records.count_jobs(db) == 1


@pytest.mark.slow
def test_options_reach_the_server(tmp_path: Path) -> None:
    """Tokens, faults and verbosity do what they say."""
    options = ("--token", "1.2.a", "--fault", "status:code=429,retry-after=7,times=1", "--verbose", "--seed", "9")
    with _started("--port", "0", "--db", str(tmp_path / "sandbox.db"), *options) as process:
        url, token = _ready(process)
        with httpx.Client(base_url=url, trust_env=False) as http:
            answers = [Caller(http=http, token=token).add(1) for _ in range(2)]
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=20)
    assert (token, [answer.status_code for answer in answers]) == ("1.2.a", [429, 200])
    assert answers[0].headers["Retry-After"] == "7"
    assert err.splitlines() == ["POST addPhones 429 status", "POST addPhones 200"]


@pytest.mark.slow
def test_a_host_others_can_reach_is_warned_about(tmp_path: Path) -> None:
    """Written out, 0.0.0.0 is served, with a warning on stderr."""
    with _started("--port", "0", "--db", str(tmp_path / "sandbox.db"), "--host", ANYWHERE) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("sandbox ready at http://0.0.0.0:")
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=20)
    assert err.startswith("warning: 0.0.0.0 can be reached from other machines")


def test_help_explains_every_fault_and_every_option() -> None:
    """The text is written by hand; it must not fall behind."""
    said = CliRunner().invoke(command, ["--help"]).output
    assert [name for name in FAULT_NAMES if f"  {name} " not in said] == []
    assert [param.opts[0] for param in command.params if param.opts[0] not in said] == []


def test_every_switch_of_the_server_is_an_option() -> None:
    """What the command hands on is what Sandbox takes, with the same defaults where both have one."""
    names = {param.name for param in command.params} - {"host", "port", "db", "verbose", "key_ttl", "report_delay"}
    code = Sandbox.__init__.__code__
    assert names <= set(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])
    defaults = Sandbox.__init__.__kwdefaults__ or {}
    for param in command.params:
        if isinstance(param.type, click.Choice):
            assert param.default == defaults[param.name or ""]


@pytest.mark.parametrize(
    "options",
    [("--key-ttl", "24"), ("--report-delay", "soon"), ("--speed", "0"), ("--port", "70000"), ("--same-key", "maybe")],
)
def test_a_bad_option_is_exit_code_2(options: tuple[str, ...]) -> None:
    """Nothing is started."""
    said = CliRunner().invoke(command, options)
    assert said.exit_code == 2
    assert options[0] in said.output


@pytest.mark.parametrize("fault", ["loose-answer", "drop:op=addphones"])
def test_a_bad_fault_is_a_usage_problem(tmp_path: Path, fault: str) -> None:
    """The message repeats the specification; no file is made."""
    said = CliRunner().invoke(command, ["--port", "0", "--db", str(tmp_path / "x.db"), "--fault", fault])
    assert isinstance(said.exception, UsageProblem)
    assert fault in said.exception.message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_command_loads_no_server_before_it_is_run() -> None:
    """Help must be quick, and work without the extra."""
    heavy = "'werkzeug', 'httpx', 'polars', 'sqlite3'"
    code = f"import sys, importer.cli.sandbox; print([name for name in ({heavy}) if name in sys.modules])"
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT, check=True, timeout=60
    )
    assert said.stdout.strip() == "[]"
