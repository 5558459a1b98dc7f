"""The page of an import as a person meets it: rendered, walked through with the keyboard, measured, printed."""

from __future__ import annotations

import re

from conftest import Shown

# Colours that are told from the paper: text 4.5 to 1 (WCAG 1.4.3), drawings 3 to 1 (1.4.11). axe looks at no drawing.
CONTRASTS = """() => {
  const shade = text => text.match(/[\\d.]+/g).slice(0, 3).map(Number).map(one => one / 255)
    .map(one => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
  const light = text => { const [r, g, b] = shade(text); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const paper = light(getComputedStyle(document.body).backgroundColor);
  const told = text => { const one = light(text); return (Math.max(one, paper) + 0.05) / (Math.min(one, paper) + 0.05); };
  const drawn = [...document.querySelectorAll("svg text, svg .role-mark path, .swatch")].filter(each => each.getClientRects().length);
  return drawn.map(each => {
    const style = getComputedStyle(each);
    const fill = each.matches(".swatch") ? style.backgroundColor : style.fill;
    return [each.matches("text") ? "text" : "mark", fill, fill === "none" ? 99 : told(fill)];
  });
}"""

FOCUS = """() => {
  const here = document.activeElement;
  const box = here.getBoundingClientRect(), style = getComputedStyle(here);
  return {
    tag: here.tagName, id: here.id, text: here.textContent.trim().slice(0, 40), open: here.parentElement?.open,
    top: box.top + scrollY, seen: box.width > 0 && box.height > 0 && box.bottom > 0 && box.top < innerHeight,
    ring: style.outlineStyle === "none" ? 0 : parseFloat(style.outlineWidth),
  };
}"""


def test_it_renders_quietly_and_breaks_no_rule(look: Shown, file: str) -> None:
    """Nothing on the console, nothing asked for but the file itself, nothing wider than the screen, no rule of axe broken."""
    look.page.goto(file)
    assert look.broken_rules() == []
    assert look.page.evaluate("document.documentElement.scrollWidth") <= look.page.viewport_size["width"]
    for summary in look.page.locator("summary").all():
        summary.click()
    assert look.broken_rules() == []
    assert look.page.evaluate("document.documentElement.scrollWidth") <= look.page.viewport_size["width"]
    assert [address for address in look.asked if not address.startswith("data:")] == [file]
    assert look.said == []


def test_drawings_are_told_from_the_paper(look: Shown, file: str) -> None:
    """Words and marks of every drawing have the contrast that text and graphics need, in light and dark."""
    look.page.goto(file)
    found = look.page.evaluate(CONTRASTS)
    assert len(found) > 40
    assert [(kind, fill) for kind, fill, ratio in found if ratio < (4.5 if kind == "text" else 3.0)] == []


def test_one_drawing_of_each_pair_is_shown_and_named(look: Shown, file: str) -> None:
    """The wide or the narrow one; its name is the title and the sentence of its figure."""
    look.page.goto(file)
    drawings = look.page.get_by_role("img").all()
    assert len(drawings) == 9
    for drawing in drawings:
        box = drawing.bounding_box()
        assert box is not None
        assert box["width"] > 0.8 * min(look.page.viewport_size["width"] - 40, 320)
    names = look.page.locator("main").aria_snapshot()
    assert re.search(r'img "How far the rows came Of 52 read, 40 were to be called and 28 were accepted\."', names)


def test_the_keyboard_reaches_everything_in_order(look: Shown, file: str) -> None:
    """From the link past the head, which works, down the page: each stop in view, in order, with a ring around it."""
    look.page.goto(file)
    page = look.page
    page.keyboard.press("Tab")
    assert page.evaluate(FOCUS)["text"] == "To the numbers"
    page.keyboard.press("Enter")
    stops = []
    for _ in range(80):
        page.keyboard.press("Tab")
        stop = page.evaluate(FOCUS)
        if stop["tag"] == "BODY":
            break
        assert stop["seen"], stop
        assert stop["ring"] >= 2, stop
        stops.append(stop)
    assert [stop["top"] for stop in stops] == sorted(stop["top"] for stop in stops)
    summaries = [stop["id"] for stop in stops if stop["tag"] == "SUMMARY"]
    assert summaries == page.evaluate("[...document.querySelectorAll('summary')].map(each => each.id)")
    assert {stop["text"] for stop in stops if stop["tag"] == "A"} == {
        "batches in doubt",
        "why",
        "why, and how to mend them",
    }


def test_the_numbers_open_with_the_keyboard(wide: Shown, file: str) -> None:
    """Enter on a summary shows its table, and Enter again hides it."""
    wide.page.goto(file)
    table = wide.page.locator("#outcomes table")
    assert not table.is_visible()
    wide.page.locator("#outcomes-open").focus()
    wide.page.keyboard.press("Enter")
    assert table.is_visible()
    wide.page.keyboard.press("Enter")
    assert not table.is_visible()


def test_light_and_dark_are_two_looks(wide: Shown, file: str) -> None:
    """The paper turns with what the reader's system says."""
    wide.page.goto(file)
    papers = []
    for scheme in ("light", "dark"):
        wide.page.emulate_media(color_scheme=scheme)
        papers.append(wide.page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert papers == ["rgb(252, 252, 250)", "rgb(20, 23, 27)"]


def test_it_prints_on_white_with_every_table(wide: Shown, file: str) -> None:
    """Also for somebody whose system is dark: white paper, tables open, nothing that only works on a screen."""
    wide.page.emulate_media(media="print", color_scheme="dark")
    wide.page.goto(file)
    assert wide.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    heights = wide.page.evaluate(
        "[...document.querySelectorAll('details table')].map(each => each.getBoundingClientRect().height)"
    )
    assert len(heights) == 8
    assert min(heights) > 20
    assert not wide.page.locator(".skip").is_visible()
    wide.page.emulate_media(media="screen")
    printed = wide.page.pdf(format="A4")
    assert printed.startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 8
    assert wide.said == []
