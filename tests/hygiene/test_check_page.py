"""The page that `check` shows, and the exit code it ends with: what a person sees and what a script relies on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from workbench import Shop, people, write_list

MESSY = Path(__file__).parents[2] / "sample_data" / "messy-leads.csv"


def test_check_ends_as_a_run_without_a_terminal_would(shop: Shop) -> None:
    """Known numbers that came back changed are a question: 4, with the columns, unless somebody said which call."""
    rows = people(3)
    assert shop.run(write_list(shop.folder / "first.csv", rows)).code == 0
    changed = write_list(shop.folder / "second.csv", [{**row, "name": "other"} for row in rows])
    arguments = ("check", changed, "--ledger", shop.ledger)
    asked = shop.importer(*arguments, "--json")
    assert asked.code == 4
    assert "(changed: name)" in asked.json["error"]
    assert asked.json["questions"] == [asked.json["error"]]
    assert shop.run(changed).code == 4
    told = " ".join(shop.importer(*arguments).out.split())
    assert "Import 2 of this list is not finished, 3 rows pending. `importer run` goes on with it" in told
    shutil.copy(changed, third := shop.folder / "third.csv")
    arguments = ("check", third, "--ledger", shop.ledger, "--list", "third")
    for said in (("--once-per", "row"), ("--once-per", "phone"), ("--round", "again")):
        assert shop.importer(*arguments, *said, "--json").code == 0


def test_the_messy_sample_list_is_told_kind_by_kind(shop: Shop) -> None:
    """Every kind of damage with its count, different examples and what to do; nothing is said by colour alone."""
    said = shop.importer("check", MESSY, "--region", "US").out
    assert "\x1b" not in said
    for words in (
        "Scientific notation · 2 rows", "Two numbers · 2 rows", "use --split-cells", "Short code · 1 row",
        "6 digits: 1 · 7 digits: 1", "(only spaces)", "with another digit: 80 · with +: 43",
        "letters were read as on a keypad", "would send 108 rows in 2 requests.",
    ):  # fmt: skip
        assert words in " ".join(said.split())


@pytest.mark.parametrize("columns", [40, 80])
def test_the_page_fits_the_terminal(shop: Shop, columns: int) -> None:
    """No line is longer than the terminal, whatever the cells hold."""
    rows = [{"phone": "x" * 500, "n": "1"}, {"phone": "1\t2" * 90, "n": "2"}]
    source = write_list(shop.folder / "list.csv", rows)
    for each in (MESSY, source):
        command = [sys.executable, "-m", "importer", "check", str(each), "--region", "US"]
        environment = {**os.environ, "COLUMNS": str(columns)}
        done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", timeout=60, check=False)
        assert done.returncode in {3, 4}
        said = done.stdout.splitlines()[1:]
        assert [line for line in said if len(line) > columns] == []


def test_a_region_is_suggested_with_its_rivals_and_their_shares(shop: Shop) -> None:
    """Without --region: where the numbers would be valid and in what share, and that nothing was guessed."""
    said = shop.importer("check", MESSY)
    assert said.code == 4
    assert "94%  would be valid in US" in said.out
    assert "would be valid in JP" in said.out
    assert "are valid as they stand, country code first" in said.out
    told = json.loads(shop.importer("check", MESSY, "--json").out)
    assert told["region_suggested"] == "US"
    assert 0.5 < told["regions_fitting"]["JP"] < told["regions_fitting"]["US"] < 1
