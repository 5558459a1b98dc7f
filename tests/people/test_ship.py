"""What is shipped works where nothing of this checkout is: wheel, sdist, container recipe, systemd units."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from workbench import ROOT, TOKEN, Platform, environment, number, people, write_list

DEPLOY = ROOT / "deploy"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_wheel_and_sdist_install_and_work_in_clean_environments() -> None:
    """The very script of `make ship`: built, looked into, installed twice, tried out, the demo with its kill."""
    done = subprocess.run(
        [ROOT / ".ci" / "ship"],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().endswith("both work")


def test_the_nightly_script_works_as_systemd_starts_it(platform: Platform, tmp_path: Path) -> None:
    """With a credential in a folder of its own, no terminal, a small environment; a second time nobody is called."""
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "token").write_text(TOKEN)
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "importer"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m importer "$@"\n')
    program.chmod(0o755)
    settings = environment(
        CREDENTIALS_DIRECTORY=str(tmp_path / "credentials"),
        IMPORTER_HOST=platform.origin,
        IMPORTER_LEDGER=str(tmp_path / "calls.db"),
    )
    settings["PATH"] = f"{tmp_path / 'bin'}:{settings['PATH']}"
    path = write_list(tmp_path / "tonight.csv", people(5))
    for _ in range(2):
        done = subprocess.run(
            ["sh", DEPLOY / "nightly.sh", path, "2026-11-23"],
            env=settings,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    platform.has_each_once(number(i) for i in range(5))


def test_the_units_are_what_the_guide_says() -> None:
    """Parsed as systemd parses them: private, drained, and started by its own timer."""
    service, timer = (_unit(name) for name in ("importer-nightly.service", "importer-nightly.timer"))
    told = service["Service"]
    assert told["Type"] == "oneshot"
    assert told["LoadCredential"].startswith("token:/")
    assert told["SuccessExitStatus"] == "3"
    assert int(told["TimeoutStopSec"]) > 90
    assert told["UMask"] == "0077"
    assert timer["Timer"]["Persistent"] == "yes"


def test_systemd_itself_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    """Where systemd is installed, its own verdict; elsewhere the units' every section and key is a known one."""
    for name in ("importer-nightly.service", "importer-nightly.timer"):
        text = (DEPLOY / "systemd" / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(text.replace("/usr/local/libexec/importer-nightly", "/bin/true"))
        sections = set(re.findall(r"^\[(\w+)\]$", text, re.MULTILINE))
        assert sections <= {"Unit", "Service", "Timer", "Install"}
    verifier = shutil.which("systemd-analyze") or "true"
    done = subprocess.run(
        [verifier, "verify", *sorted(map(str, tmp_path.glob("*")))], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def _unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's keys have capitals
    parser.read(DEPLOY / "systemd" / name, encoding="utf-8")
    return parser


def test_the_container_recipe_takes_what_is_there_and_runs_as_nobody_special() -> None:
    """Every file it copies is in the checkout and let through by the ignore file; the extras it asks for exist."""
    recipe = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    copied = [word for line in re.findall(r"^COPY (?!--from)(.+)$", recipe, re.MULTILINE) for word in line.split()[:-1]]
    assert copied
    assert [word for word in copied if not (ROOT / word).exists() or f"!{word}" not in ignored] == []
    extras = re.search(r'"\.\[([\w,]+)\]"', recipe)
    assert extras is not None
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert [name for name in extras[1].split(",") if not re.search(rf"^{name} = \[", project, re.MULTILINE)] == []
    assert re.search(r"^USER \d+$", recipe, re.MULTILINE)
    assert "STOPSIGNAL SIGTERM" in recipe


def test_a_newcomer_needs_two_commands() -> None:
    """The page names them, and the Makefile has them."""
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    commands = re.findall(r"^(make [a-z-]+)", re.findall(r"```sh\n(.*?)```", page, re.DOTALL)[0], re.MULTILINE)
    assert commands == ["make setup", "make check"]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert {each.removeprefix("make ") for each in re.findall(r"make [a-z-]+", page)} <= targets
