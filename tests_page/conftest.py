"""A real Chromium, and the page of a rich ledger to show in it. A browser that is missing fails these tests."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright
from report.ledgers import rich_ledger

from importer.report import gather
from importer.report.page import render

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "chrome")
SWITCHES = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
LOOKS = [(scheme, width) for scheme in ("light", "dark") for width in (1280, 360)]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The browser of this machine, with a user folder of its own."""
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM)), None)
    if path is None:
        pytest.exit("The page is tested in Chromium: apt-get install chromium, or name one in CHROMIUM.", returncode=1)
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as home:
        browser = playwright.chromium.launch(
            executable_path=path, args=list(SWITCHES), env={"PATH": os.defpath, "HOME": home}
        )
        yield browser
        browser.close()


@dataclass(kw_only=True)
class Shown:
    """A page in the browser, and everything it said or asked for."""

    page: Page
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    @classmethod
    def on(cls, page: Page) -> Shown:
        """Begins to listen."""
        shown = cls(page=page)
        page.on("console", lambda message: shown.said.append(_said(message)))
        page.on("pageerror", lambda error: shown.said.append(str(error)))
        page.on("dialog", lambda dialog: shown.said.append(dialog.message))
        page.on("request", lambda request: shown.asked.append(request.url))
        return shown

    def broken_rules(self) -> list[str]:
        """What axe finds wrong, each with the first place."""
        found = Axe().run(self.page).response["violations"]
        return [f"{each['id']}: {each['help']} at {each['nodes'][0]['html'][:200]}" for each in found]


def _said(message: ConsoleMessage) -> str:
    return f"{message.type}: {message.text}"


@pytest.fixture(scope="session")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger with something of everything."""
    return rich_ledger(tmp_path_factory.mktemp("rich"))


@pytest.fixture(scope="session")
def file(ledger: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of its import as a file; gives its address."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render(gather(ledger, 1)), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(params=LOOKS, ids=lambda look: f"{look[0]}-{look[1]}")
def look(request: pytest.FixtureRequest, chromium: Browser) -> Iterator[Shown]:
    """An empty page in one of the looks: light or dark, wide or narrow."""
    scheme, width = request.param
    page = chromium.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    yield Shown.on(page)
    page.close()


@pytest.fixture
def wide(chromium: Browser) -> Iterator[Shown]:
    """An empty page on a desk."""
    page = chromium.new_page(viewport={"width": 1280, "height": 800})
    yield Shown.on(page)
    page.close()
