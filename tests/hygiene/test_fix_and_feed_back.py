"""Rejects are a list: repaired and fed back, the mended rows are sent and the others are not sent again."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import polars as pl
import pytest
from workbench import Platform, Shop, number, people, write_list

from importer.rejects import write_rejects

# What a spreadsheet would run, or what looks like a guard of ours, beside ordinary cells.
ODD = ["=1+2", "+49", "-", "@x", "'quoted", "''twice", "plain", "", 'say "hi"', "a\nb"]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_repaired_row_is_sent_and_no_other_again(shop: Shop, platform: Platform) -> None:
    """Fix one of two, feed the file back: one more call. Feed it back again, or the mended list itself: none."""
    rows = people(5)
    rows[1]["phone"], rows[3]["phone"] = "79161E+10", "12"
    source = write_list(shop.folder / "list.csv", rows)
    assert shop.run(source, "--stop-at-rejects", "100%").json["accepted"] == 3
    rejects = shop.folder / "list.rejects.csv"
    found = rows_of(rejects)
    assert [row["importer_row"] for row in found] == ["3", "5"]
    found[0]["phone"] = number(1)
    mended = write_list(shop.folder / "mended.csv", found)
    said = shop.run(mended, "--stop-at-rejects", "100%")
    assert (said.json["accepted"], said.json["rejected"]) == (1, 1)
    assert platform.payloads()[-1] == {"name": "Person 1", "order": "1001"}
    assert shop.run(mended, "--stop-at-rejects", "100%").json["duplicate"] == 1
    rows[1]["phone"] = number(1)
    write_list(source, rows)
    assert shop.run(source, "--stop-at-rejects", "100%").json["duplicate"] == 4
    platform.has_each_once(number(i) for i in (0, 1, 2, 4))


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_reading_our_own_rejects_restores_every_cell(shop: Shop, platform: Platform, suffix: str) -> None:
    """Guarded for spreadsheets or not, each cell comes back as it was: the row key is that of the whole list."""
    rows = [{"phone": "12", "cell": text, "=odd": "1"} for text in ODD]
    source = write_list(shop.folder / "list.csv", rows)
    rejects = shop.folder / f"bad.{suffix}"
    said = shop.run(source, "--rejects", rejects, "--stop-at-rejects", "100%")
    assert said.json["rejected"] == len(ODD)
    if suffix == "csv":
        mended = rows_of(rejects)
        assert all(row["cell"][:1] not in ("=", "+", "-", "@") for row in mended)
        again = write_list(shop.folder / "again.csv", [{**row, "phone": number(i)} for i, row in enumerate(mended)])
    else:
        again = shop.folder / "again.parquet"
        frame = pl.read_parquet(rejects)
        assert frame["cell"].to_list() == ODD
        frame.with_columns(pl.Series("phone", [number(i) for i in range(len(ODD))])).write_parquet(again)
    assert shop.run(again).json["accepted"] == len(ODD)
    assert [payload["cell"] for payload in platform.payloads()] == ODD
    assert all(payload == {"cell": payload["cell"], "=odd": "1"} for payload in platform.payloads())
    right = write_list(shop.folder / "right.csv", [{**row, "phone": number(i)} for i, row in enumerate(rows)])
    assert shop.run(right).json["duplicate"] == len(ODD)


def test_rejects_as_parquet_keep_nulls_and_are_never_overwritten(tmp_path: Path) -> None:
    """A cell that was not there is null again; other rejects go beside, the same ones are not written twice."""
    path = tmp_path / "bad.parquet"
    one = (0, 7, "phone", "empty", "The cell is empty.", json.dumps({"phone": None, "name": "=Ann"}))
    other = (0, 8, "phone", "empty", "The cell is empty.", json.dumps({"phone": "", "name": None}))
    names = ("phone", "name")
    assert write_rejects(path, [one], names, ["list.csv"]) == path
    assert write_rejects(path, [one], names, ["list.csv"]) == path
    assert write_rejects(path, [other], names, ["list.csv"]) == tmp_path / "bad.2.parquet"
    assert write_rejects(tmp_path / "none.parquet", [], names, ["list.csv"]) is None
    frame = pl.read_parquet(path)
    assert frame.columns[:2] == ["phone", "name"]
    assert frame.row(0) == (None, "=Ann", "list.csv", "7", "phone", "empty", "The cell is empty.", None)
    assert path.stat().st_mode & 0o077 == 0


def test_the_damage_report_says_how_to_mend_each_kind(shop: Shop) -> None:
    """Counts and first examples by reason, each with what a person can do; lengths in use where the region is known."""
    cells = ["7.9161E+10", "79161234567.0", "+1 650 555 0100 / +1 650 555 0101", "+1 650 555 01", "hello", ""]
    source = write_list(shop.folder / "list.csv", [{"phone": cell, "n": str(i)} for i, cell in enumerate(cells)])
    said = shop.importer("check", source, "--region", "DE", "--stop-at-rejects", "100%").out
    for words in (
        "Scientific notation · 1 row", "cannot be recovered", "Decimal point · 1 row", "Two numbers · 1 row",
        "Too short · 1 row", "number of US: 10 digits after", "Not a number · 1 row", "Empty · 1 row",
        "row 2    7.9161E+10",
    ):  # fmt: skip
        assert words in " ".join(said.split("\n")) or words in said
