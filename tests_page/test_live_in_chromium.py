"""The page of a running import in a real browser: it follows the run, and leaves alone what its reader is doing."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Shown
from playwright.sync_api import expect
from workbench import TOKEN, Platform, Shop, people, start, write_list

from importer.report import gather
from importer.report.live import LivePage
from importer.sandbox import Sandbox


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Platform]:
    """A platform that takes its time."""
    db = tmp_path / "platform.db"
    with Sandbox(db, tokens=(TOKEN,), faults=("delay:s=0.1",)) as sandbox, sandbox.serve() as served:
        yield Platform(sandbox=sandbox, db=db, origin=served.origin)


@pytest.fixture
def shop(slow: Platform, tmp_path: Path) -> Shop:
    """A ledger whose import has 30 rows settled and 170 pending."""
    shop = Shop(folder=tmp_path, origin=slow.origin)
    path = write_list(tmp_path / "people.csv", people(200))
    said = shop.run(path, "--batch-size", "10", "--first", "30", "--in-flight", "1")
    assert (said.json["accepted"], said.json["pending"]) == (30, 170)
    return shop


@pytest.fixture
def live(shop: Shop) -> Iterator[LivePage]:
    """Its page."""
    with LivePage(lambda: gather(shop.ledger, 1)) as page:
        yield page


def run(shop: Shop) -> subprocess.Popen[str]:
    """The rest of the import, in a process of its own."""
    return start("send", "1", *shop.target, "--json", "--in-flight", "1")


@pytest.mark.parametrize("look", [("light", 1280), ("dark", 360)], indirect=True, ids=["desk", "telephone"])
def test_it_follows_a_run_and_breaks_no_rule(look: Shown, shop: Shop, live: LivePage) -> None:
    """From the first visit to the last row: quiet, within the rules, and right at the end."""
    look.page.goto(live.address)
    expect(look.page).to_have_url(f"http://127.0.0.1:{live.port}/")
    expect(look.page.locator("#verdict-title")).to_have_text("Not finished")
    assert look.broken_rules() == []
    process = run(shop)
    expect(look.page.locator("#verdict-title")).to_have_text("Finished", timeout=60_000)
    assert process.wait(30) == 0
    process.communicate(timeout=10)
    expect(look.page.locator("#verdict .sentence")).to_have_text("200 rows: all accounted for. 200 accepted.")
    expect(look.page.locator("#live-said")).to_contain_text("Finished. 200 rows")
    assert look.broken_rules() == []
    assert look.page.evaluate("document.documentElement.scrollWidth") <= look.page.viewport_size["width"]
    assert {address for address in look.asked if not address.startswith("data:")} == {
        live.address, f"http://127.0.0.1:{live.port}/",
    }  # fmt: skip
    assert look.said == []


def test_what_somebody_opened_focused_or_selected_stays(wide: Shown, shop: Shop, live: LivePage) -> None:
    """Parts are swapped beneath the reader: the open table stays open, the focus where it was, the page does not jump."""
    page = wide.page
    page.goto(live.address)
    page.locator("#outcomes-open").focus()
    page.keyboard.press("Enter")
    page.evaluate("window.scrollBy(0, 40)")
    before = page.locator("#outcomes-open").bounding_box()
    page.evaluate("document.getElementById('head').dataset.mine = 'old'")
    process = run(shop)
    expect(page.locator("#outcomes tbody tr td").first).to_have_text("20", timeout=60_000)
    process.communicate(timeout=30)
    assert page.evaluate("document.getElementById('head').dataset.mine") is None, "the head was swapped"
    assert page.locator("#outcomes table").is_visible()
    assert page.evaluate("document.activeElement.id") == "outcomes-open"
    after = page.locator("#outcomes-open").bounding_box()
    assert before is not None
    assert after is not None
    assert 0 < after["y"] < 800
    assert wide.said == []


def test_an_ended_server_is_said_and_the_numbers_stay(wide: Shown, shop: Shop) -> None:
    """Seen and heard; what was known stays on the page."""
    with LivePage(lambda: gather(shop.ledger, 1)) as live:
        wide.page.goto(live.address)
        expect(wide.page.locator("#live-now")).to_contain_text("Live: asked again every 2 s")
    expect(wide.page.locator("#live-now")).to_contain_text("No longer live", timeout=30_000)
    expect(wide.page.locator("#live-said")).to_contain_text("No longer live")
    expect(wide.page.locator("#verdict .sentence")).to_contain_text("30 accepted and 170 still to be sent")
    assert wide.broken_rules() == []


@pytest.mark.parametrize("look", [("light", 1280)], indirect=True, ids=["desk"])
def test_the_address_is_of_no_use_to_another_browser(wide: Shown, look: Shown, live: LivePage) -> None:
    """Each page of this test has cookies of its own."""
    wide.page.goto(live.address)
    expect(wide.page.locator("h1")).to_have_text("people.csv")
    answer = look.page.goto(live.address)
    assert answer is not None
    assert answer.status == 403
    assert "people.csv" not in look.page.content()
    assert wide.page.evaluate("document.cookie") == ""
