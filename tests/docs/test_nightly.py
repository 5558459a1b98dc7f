"""docs/NIGHTLY.md, typed as it stands: its lists, its commands, and the lines it shows for night one and night two."""

from __future__ import annotations

import datetime
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from workbench import ROOT, TOKEN, Platform, environment

PAGE = (ROOT / "docs" / "NIGHTLY.md").read_text(encoding="utf-8")
HOST = "https://app.jaicp.com"


def blocks(heading: str, language: str) -> list[str]:
    """The fenced blocks of a language under a heading."""
    text = re.split(rf"^## {re.escape(heading)}$", PAGE, flags=re.MULTILINE)[1] if heading else PAGE
    under = re.split(r"^## ", text, flags=re.MULTILINE)[0]
    return re.findall(rf"^```{language}\n(.*?)^```", under, re.DOTALL | re.MULTILINE)


def commands(heading: str) -> list[str]:
    return "".join(blocks(heading, "sh")).splitlines()


def shown(heading: str) -> list[str]:
    return "".join(blocks(heading, "text")).splitlines()


@dataclass(frozen=True, kw_only=True)
class Night:
    """The folder of the page: its configuration, a token, and `importer` on the path."""

    folder: Path

    def types(self, line: str) -> subprocess.CompletedProcess[str]:
        settings = environment()
        settings["PATH"] = f"{self.folder / 'bin'}:{settings['PATH']}"
        return subprocess.run(
            ["sh", "-c", line],
            cwd=self.folder,
            env=settings,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    def says(self, line: str) -> str:
        """The one line of the run, without the seconds it took."""
        done = self.types(line)
        return re.sub(r" · [\d.]+ s$", "", (done.stdout + done.stderr).strip())

    def has(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")


@pytest.fixture
def night(platform: Platform, tmp_path: Path) -> Night:
    folder = tmp_path / "calls"
    (folder / "bin").mkdir(parents=True)
    made = Night(folder=folder)
    made.has("bin/importer", f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m importer "$@"\n')
    (folder / "bin" / "importer").chmod(0o755)
    made.has("importer.toml", blocks("", "toml")[0].replace(HOST, platform.origin))
    made.has("spring.token", TOKEN)
    (folder / "spring.token").chmod(0o600)
    return made


def two_nights(night: Night, heading: str, name: str) -> list[str]:
    """What the page's commands say, the first list on night one, the second on night two."""
    lists, lines = blocks(heading, "csv"), commands(heading)
    said = []
    for each, text in enumerate(lists):
        night.has(name, text)
        said.append(night.says(lines[min(each, len(lines) - 1)]))
    return said


@pytest.mark.parametrize(
    ("heading", "name", "calls"),
    [
        ("A list that grows", "customers.csv", ["100", "101", "102", "103"]),
        ("Tonight's calls", "tonight.csv", ["100", "101", "101", "102"]),
        ("Call again when something changed", "debts.csv", ["100", "100", "101", "102"]),
    ],
)
def test_each_kind_of_list_has_the_balances_shown(
    heading: str, name: str, calls: list[str], night: Night, platform: Platform
) -> None:
    """Night one and night two, as the page shows them; the platform's records say who was called."""
    assert two_nights(night, heading, name) == shown(heading)
    assert sorted(phone[-3:] for phone in platform.phones()) == calls


def test_nobody_is_called_twice_in_a_week(night: Night, platform: Platform) -> None:
    """The third night leaves both alone."""
    two_nights(night, "Tonight's calls", "tonight.csv")
    (line,) = commands("Nobody twice in a week")
    assert [night.says(line)] == shown("Nobody twice in a week")
    assert len(platform.phones()) == 4


def test_a_round_is_the_same_from_noon_to_noon(night: Night) -> None:
    """The page's own command, asked at other hours: the evening and a retry past midnight are one night."""
    (line,) = (each for each in commands("A round that stays itself past midnight") if each.startswith("date"))
    hours = ("2026-11-23 18:30", "2026-11-24 01:30", "2026-11-24 12:30")
    asked = [night.types(line.replace("12 hours", f"{hour} 12 hours")).stdout.strip() for hour in hours]
    assert asked == ["2026-11-23", "2026-11-23", "2026-11-24"]


def test_some_bad_rows_are_no_failure(night: Night) -> None:
    """Two in a hundred: too many for 1 %, not for 2 %."""
    shutil.copy(ROOT / "sample_data" / "customers.csv", night.folder)
    assert [night.types(line).returncode for line in commands("Some bad rows are no failure")] == [3, 0]


def test_cron_runs_the_script_under_a_lock(night: Night, platform: Platform) -> None:
    """The crontab's own command calls tonight's list; while somebody has the lock it ends with 9 and calls nobody."""
    night.has("tonight.csv", blocks("Tonight's calls", "csv")[0])
    night.has(
        "nightly.sh", next(each for each in blocks("A round that stays itself past midnight", "sh") if "#!" in each)
    )
    (night.folder / "nightly.sh").chmod(0o755)
    line = re.search(r"1-5  (.+)", blocks("Started by cron, with a lock", "crontab")[0])
    assert line is not None
    typed = line[1].replace("/srv/calls", shlex.quote(str(night.folder)))
    assert night.types(f"flock nightly.lock sh -c {shlex.quote(typed)}").returncode == 9
    assert platform.phones() == []
    assert [night.types(typed).returncode for _ in range(2)] == [0, 0]
    platform.has_each_once(["+12025550100", "+12025550101"])


def test_the_disk_is_gone(night: Night, platform: Platform) -> None:
    """Without a word nothing is sent; with it nobody is called again."""
    night.has("tonight.csv", blocks("Tonight's calls", "csv")[0])
    first = commands("Tonight's calls")[0]
    assert night.types(first).returncode == 0
    for path in night.folder.glob("calls.db*"):
        path.unlink() if path.is_file() else shutil.rmtree(path)
    assert night.types(first).returncode == 4
    since = (datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)).isoformat(timespec="seconds")
    (line,) = commands("The disk is gone")
    assert [night.says(line.replace("2026-11-23T18:00:00+00:00", since))] == shown("The disk is gone")
    platform.has_each_once(["+12025550100", "+12025550101"])
