"""The site is built without a warning and asks no other host for anything; its start page may be typed as it stands."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from workbench import ROOT, TOKEN, Platform, environment

START = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make site` builds it, in a folder of the test's own."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_asks_no_other_host(site: Path) -> None:
    """No page and no style loads anything from elsewhere; what is searched lies beside the pages."""
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert re.findall(r'<(?:script|link|img|iframe)[^>]+(?:src|href)="(?:https?:)?//', text) == [], page
    for style in site.rglob("*.css"):
        assert re.findall(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", style.read_text(encoding="utf-8")) == [], style
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    assert any("once-per" in each["text"] for each in index["docs"])


def test_every_page_of_the_repository_is_on_the_site(site: Path) -> None:
    """With as many blocks of code as it has in the repository, so none was swallowed by another reader of Markdown."""
    for source in sorted((ROOT / "docs").glob("*.md")):
        page = site / ("index.html" if source.stem == "index" else f"{source.stem}/index.html")
        fences = len(re.findall(r"^```\w|\n\n    \S", source.read_text(encoding="utf-8"), re.MULTILINE))
        assert page.read_text(encoding="utf-8").count("<pre") == fences, source.name


def test_the_start_page_may_be_typed_as_it_stands(platform: Platform, tmp_path: Path) -> None:
    """All three quickstarts, in an empty folder; only the address of the sandbox is another."""
    bin_ = tmp_path / "bin" / "importer"
    bin_.parent.mkdir()
    bin_.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m importer "$@"\n')
    bin_.chmod(0o755)
    folder = tmp_path / "empty"
    folder.mkdir()
    (list_,) = re.findall(r"^```csv\n(.*?)^```", START, re.DOTALL | re.MULTILINE)
    (folder / "customers.csv").write_text(list_)
    typed = "".join(re.findall(r"^```sh\n(.*?)^```", START, re.DOTALL | re.MULTILINE)).splitlines()
    assert typed[0] == "importer sandbox --token 1.2.rehearsal"
    script = "\n".join(typed[1:]).replace("http://127.0.0.1:8787", platform.origin).replace("1.2.rehearsal", TOKEN)
    done = subprocess.run(
        ["sh", "-c", script],
        cwd=folder,
        env={**(settings := environment()), "PATH": f"{bin_.parent}:{settings['PATH']}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = re.sub(r" · [\d.]+ s$", "", done.stdout + done.stderr, flags=re.MULTILINE)
    for shown in re.findall(r"^```text\n(.*?)^```", START, re.DOTALL | re.MULTILINE):
        assert all(line in said for line in shown.splitlines()), said
    result = json.loads((folder / "result.json").read_text())
    assert (result["read"], result["accepted"], result["exit_code"]) == (5, 3, 0)
    once = ["+12065550100", "+12065550101", "+12065550102"]
    assert sorted(platform.phones()) == sorted(once * 3)  # today, tonight, and the pipeline's round
