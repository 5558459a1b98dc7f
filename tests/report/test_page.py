"""The page of an import: true to the ledger, harmless whatever it quotes, and nobody's number in it."""

from __future__ import annotations

import json
import re
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from html.parser import HTMLParser
from pathlib import Path

import pytest
from workbench import ROOT, TOKEN, Shop, command, environment, people, write_list

from importer.model import Balance
from importer.report import Facts, gather
from importer.report.page import render

from .ledgers import BAD_CELLS, phones

WITHOUT = """
import sys
sys.modules[{name!r}] = None
from importer.cli import main
main(sys.argv[1:])
"""


class Reader(HTMLParser):
    """A page as its elements and what can be read of it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._hidden = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._hidden += tag in ("style", "script")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("style", "script")

    def handle_data(self, data: str) -> None:
        if not self._hidden and data.strip():
            self.texts.append(data.strip())

    @property
    def tags(self) -> set[str]:
        return {tag for tag, _ in self.elements}

    def ids(self) -> list[str]:
        return [found for _, attributes in self.elements if (found := attributes.get("id"))]


def cells(page: str, heading: str) -> list[list[str]]:
    """The lines of the table in a section or figure, as text."""
    part = page[page.index(f'id="{heading}"') :]
    table = part[part.index("<table") : part.index("</table>")]
    lines = re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)
    return [[re.sub(r"<[^>]+>", "", cell).strip() for cell in re.findall(r"<t[hd].*?</t[hd]>", line)] for line in lines]


# --- what it says -----------------------------------------------------------------------------------------------------


def test_the_balance_of_the_page_is_that_of_the_ledger(page: str, facts: Facts) -> None:
    """Every state with rows in it, the sum below, and the equation that proves it."""
    balance = facts.line.balance
    assert balance == Balance(read=52, accepted=28, rejected=10, duplicate=2, refused=8, in_doubt=4)
    shown = {line[0].split(" – ")[0]: line[1] for line in cells(page, "balance")[1:]}
    assert shown == {
        "Accepted": "28", "In doubt": "4", "Not sent again": "2", "Declined": "8", "Unusable": "10", "Rows read": "52",
    }  # fmt: skip
    assert "52 = 28 + 4 + 2 + 8 + 10" in page


def test_the_first_sentence_says_what_somebody_has_to_do(page: str) -> None:
    """All accounted for, and the command for the rows in doubt, with the number of this import."""
    verdict = page[page.index('id="verdict"') : page.index('id="balance"')]
    assert "52 rows: all accounted for. 28 accepted, 4 in doubt, 2 not sent again, 8 declined" in verdict
    assert "importer reconcile 1" in verdict
    assert "importer resolve 10 --as called" in page


def test_every_figure_has_a_title_words_and_its_numbers(page: str) -> None:
    """The drawing is named by its title and its sentence; the table beside it adds up to what the sentence says."""
    reader = Reader(page)
    ids = reader.ids()
    assert len(ids) == len(set(ids)), "an id stands once"
    drawings = [attributes for tag, attributes in reader.elements if tag == "svg"]
    assert len(drawings) == 2 * 9
    for drawing in drawings:
        assert drawing["role"] == "img"
        assert set(str(drawing["aria-labelledby"]).split()) <= set(ids)
    sums = {"reasons": 10, "countries": 42, "types": 42, "outcomes": 23, "throughput": 28, "calls": 28}
    for name, number in sums.items():
        assert sum(int(line[1].replace(",", "")) for line in cells(page, name)[1:]) == number, name


def test_latency_is_of_the_sends_that_were_timed(page: str, ledger: Path) -> None:
    """The longest of the page is the longest of the ledger."""
    with closing(sqlite3.connect(ledger)) as connection:
        (longest_ms, sends) = connection.execute("SELECT max(elapsed_ms), count(elapsed_ms) FROM sends").fetchone()
    assert f"the longest {longest_ms}\u00a0ms" in page
    assert sum(int(line[1]) for line in cells(page, "latency")[1:]) == sends


def test_an_import_being_read_promises_nothing_yet(shop: Shop, tmp_path: Path, platform: object) -> None:
    """A list that was read half way has no balance to prove, and the page says so."""
    shop.run(write_list(tmp_path / "a.csv", people(5)))
    with closing(sqlite3.connect(shop.ledger)) as connection, connection:
        connection.execute("UPDATE imports SET source_state = 'open', completed_ms = NULL, finished_ms = NULL")
    page = render(gather(shop.ledger, 1))
    assert "The list is being read" in page
    assert "Balance so far" in page
    assert "all accounted for" not in page


def test_a_balance_that_is_not_even_is_said_first(shop: Shop, tmp_path: Path) -> None:
    """A ledger changed from outside is not called accounted for."""
    shop.run(write_list(tmp_path / "a.csv", people(5)))
    with closing(sqlite3.connect(shop.ledger)) as connection, connection:
        connection.execute("UPDATE imports SET read_rows = read_rows + 1")
    page = render(gather(shop.ledger, 1))
    assert "The balance is not even" in page
    assert "all accounted for" not in page
    assert "importer ledger check" in page


# --- whom it harms ----------------------------------------------------------------------------------------------------


def test_no_phone_number_can_be_read(page: str) -> None:
    """Not one of the list, of a bad cell or of a name, in any spelling; and no letters of a bad cell either."""
    texts = [re.sub(r"\D", "", text) for text in Reader(page).texts]
    for phone in phones():
        assert phone not in page
        assert [text for text in texts if phone[-7:] in text] == []
    for cell in BAD_CELLS:
        assert len(cell) < 5 or cell not in page
    assert "Ivanova" not in page
    assert "Person 1" not in page
    assert TOKEN not in page


def test_what_it_quotes_is_harmless(page: str) -> None:
    """A list called like an image, a round with markup, a cell with a script: all of it is text."""
    reader = Reader(page)
    assert not reader.tags & {"script", "img", "b", "iframe", "object", "embed", "form", "base"}
    assert "<img src=x onerror=alert(1)>" in " ".join(reader.texts)
    assert "<b>night</b> 2026-11-23" in reader.texts
    assert [name for _, attributes in reader.elements for name in attributes if name.startswith("on")] == []
    assert [attributes for _, attributes in reader.elements if "style" in attributes] == []


def test_it_loads_nothing(page: str) -> None:
    """No address to load from, and a policy of its own that forbids it."""
    reader = Reader(page)
    loads = [
        attributes[name] for _, attributes in reader.elements for name in ("src", "href", "data") if name in attributes
    ]
    assert [address for address in loads if not str(address).startswith(("#", "data:image/svg+xml,"))] == []
    assert "url(" not in re.sub(r"url\(#[\w-]+\)", "", page)
    policy = next(attributes for _, attributes in reader.elements if attributes.get("http-equiv"))["content"]
    assert str(policy).startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in str(policy)
    assert "script-src" not in str(policy)


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_file_is_private_and_an_earlier_page_is_replaced(ledger: Path, tmp_path: Path) -> None:
    """Only a page of ours is written over; anything else at that place is left as it is (2)."""
    target = tmp_path / "report.html"
    assert command("report", "1", "--html", target, "--ledger", ledger).code == 0
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert command("report", "--html", target, "--ledger", ledger).code == 0
    own = tmp_path / "list.csv"
    own.write_text("phone\n")
    said = command("report", "--html", own, "--ledger", ledger)
    assert (said.code, own.read_text()) == (2, "phone\n")
    assert "left as it is" in said.err
    assert command("report", "--html", tmp_path, "--ledger", ledger).code == 2


def test_a_dash_is_standard_output(ledger: Path) -> None:
    """The page alone, nothing said beside it."""
    said = command("report", "1", "--html", "-", "--ledger", ledger)
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("<!doctype html>")
    assert said.out.rstrip().endswith("</html>")


def test_what_is_missing_is_said_with_the_next_step(ledger: Path, tmp_path: Path) -> None:
    """No way out named, no such import, no ledger, an empty ledger."""
    assert "--html FILE" in command("report", "--ledger", ledger).err
    assert command("report", "77", "--html", "-", "--ledger", ledger).code == 5
    assert command("report", "--html", "-", "--ledger", tmp_path / "none.db").code == 5


@pytest.mark.parametrize("name", ["vl_convert", "jinja2", "markupsafe"])
def test_without_the_extra_it_names_the_line_to_type(name: str, ledger: Path) -> None:
    """Whichever library of it is missing."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(name=name), "report", "--html", "-", "--ledger", str(ledger)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert 'pip install "phone-list-importer[report]"' in done.stderr
    assert name in done.stderr


def test_the_extra_is_as_the_message_says() -> None:
    """What the page imports stands in the extra `report`."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r"^report = (\[.*\])$", project, re.MULTILINE)
    assert found is not None
    assert {name.split(">")[0] for name in json.loads(found[1])} == {"jinja2", "vl-convert-python"}


def test_the_ledger_is_only_read(ledger: Path) -> None:
    """Not a byte of it changes."""
    before = ledger.read_bytes()
    assert command("report", "--html", "-", "--ledger", ledger).code == 0
    assert ledger.read_bytes() == before
