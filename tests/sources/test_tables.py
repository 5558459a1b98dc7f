"""Parquet, workbooks and JSON lines: everything text, numbers exact, damage visible, counts kept."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from importer.errors import ListProblem

from .lists import opened, read, read_file, workbook


def test_parquet_values_become_text_that_hides_nothing(tmp_path: Path) -> None:
    """Integers exactly, floats with their damage, dates in ISO, nested values as canonical JSON, nulls as nulls."""
    path = tmp_path / "list.parquet"
    pl.DataFrame(
        {
            "phone": [79161234567, None],
            "float": [79161234567.0, 7.9e20],
            "yes": [True, False],
            "day": [date(2026, 1, 2), None],
            "at": [datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), None],
            "sum": [Decimal("1.50"), None],
            "tags": [["b", "a"], []],
            "more": [{"z": 1, "a": "я"}, {"z": None, "a": None}],
            "nothing": [None, None],
            "kind": pl.Series(["x", "y"], dtype=pl.Categorical),
        }
    ).write_parquet(path)
    reading = read_file(path)
    assert reading.rows[0] == (
        *("79161234567", "79161234567.0", "true", "2026-01-02", "2026-01-02T03:04:05.000000+00:00"),
        *("1.50", '["b","a"]', '{"a":"я","z":1}', None, "x"),
    )
    assert reading.rows[1] == (None, "7.9e+20", "false", None, None, None, "[]", '{"a":null,"z":null}', None, "y")
    assert reading.row_nos == [1, 2]


def test_impossible_parquet_cells_are_bad_rows(tmp_path: Path) -> None:
    """They are told apart by column."""
    path = tmp_path / "list.parquet"
    pl.DataFrame({"phone": ["1", "2", "3", "4"], "raw": [b"ok", b"\xff", b"a\0b", b"x" * 50]}).write_parquet(path)
    reading = read_file(path, max_cell_bytes=20)
    assert reading.rows == [("1", "ok")]
    assert reading.bad == [(2, "raw", "undecodable"), (3, "raw", "nul"), (4, "raw", "oversized")]


def test_a_damaged_parquet_is_refused_or_read_in_full(tmp_path: Path) -> None:
    """Two hundred files with flipped bits or a cut tail: a clear error, or as many rows as the footer says."""
    path = tmp_path / "list.parquet"
    pl.DataFrame({"phone": range(3_000), "name": [f"name {at}" for at in range(3_000)]}).write_parquet(path)
    sound = path.read_bytes()
    choose = random.Random(11)
    for _ in range(200):
        data = bytearray(sound)
        if choose.random() < 0.3:
            del data[choose.randrange(4, len(data)) :]
        else:
            data[choose.randrange(4, len(data))] ^= 1 << choose.randrange(8)
        try:
            reading = read(path, bytes(data))
        except ListProblem:
            continue
        assert len(reading.rows) + len(reading.bad) == reading.witness_rows


def test_workbook_cells_become_text(tmp_path: Path) -> None:
    """Numbers of up to fifteen digits are exact, not scientific; empty cells are null; blanks are kept in texts."""
    path = workbook(
        tmp_path / "list.xlsx",
        {
            "People": [
                ["phone", "name", None, "sum"],
                [79161234567, " Ann ", None, 0.1],
                ["+79161234567", "=1+1", True, 123456789012345],
                [None, None, None, None],
                ["007", "", 5, -5],
            ]
        },
    )
    reading = read_file(path)
    assert reading.columns == ("phone", "name", "2", "sum")
    assert reading.rows == [
        ("79161234567", " Ann ", None, "0.1"),
        ("+79161234567", "=1+1", "true", "123456789012345"),
        ("007", "", "5", "-5"),
    ]
    assert reading.row_nos == [2, 3, 5]


@pytest.mark.parametrize("number", [16505550100, 441234567890, 999999999999999, 100000000000000, 70000000000])
def test_long_numbers_in_workbooks_are_exact(tmp_path: Path, number: int) -> None:
    """Fifteen digits is what a spreadsheet keeps, and all that a phone number may have."""
    assert read_file(workbook(tmp_path / "a.xlsx", {"S": [["phone"], [number]]})).rows == [(str(number),)]


def test_workbook_row_numbers_are_those_of_the_sheet(tmp_path: Path) -> None:
    """A list that starts in row 4 keeps its row numbers."""
    path = workbook(tmp_path / "list.xlsx", {"S": [["phone"], ["16505550100"]]}, first_row=4)
    assert read_file(path).row_nos == [5]


def test_a_worksheet_is_chosen_by_name(tmp_path: Path) -> None:
    """The first one by default; a wrong name is answered with the right ones."""
    path = workbook(tmp_path / "list.xlsx", {"One": [["phone"], ["1"]], "Two": [["phone"], ["2"]], "Empty": []})
    assert read_file(path).rows == [("1",)]
    assert read_file(path, sheet="Two").rows == [("2",)]
    with pytest.raises(ListProblem, match="no worksheet 'Three'") as caught:
        opened(path, sheet="Three")
    assert "'One', 'Two'" in caught.value.hint
    with pytest.raises(ListProblem, match="is empty"):
        opened(path, sheet="Empty")


def test_columns_without_heading_or_cells_are_formatting(tmp_path: Path) -> None:
    """A styled but empty column is not data; one with cells is, under its index."""
    path = workbook(tmp_path / "list.xlsx", {"S": [["phone", "", "name", ""], ["1", "", "a", "b"]]})
    assert read_file(path).columns == ("phone", "name", "3")


def test_a_damaged_workbook_is_refused(tmp_path: Path) -> None:
    """Cut at a hundred places, it is never read in part."""
    sound = workbook(tmp_path / "list.xlsx", {"S": [["phone"], ["16505550100"]]}).read_bytes()
    for size_bytes in range(4, len(sound), max(1, len(sound) // 100)):
        with pytest.raises(ListProblem):
            read(tmp_path / "list.xlsx", sound[:size_bytes])


def test_an_old_workbook_reads_like_a_new_one() -> None:
    """An XLS from a spreadsheet of the nineties: `people.xls` beside this file."""
    reading = read_file(Path(__file__).with_name("people.xls"))
    assert reading.columns == ("phone", "name", "sum")
    assert reading.rows == [
        ("16505550100", "Жанна", "0.5"),
        ("+447700900123", None, "true"),
        ("447700900124", "=x", "-5"),
    ]
    assert reading.row_nos == [2, 3, 5]


def test_an_old_workbook_that_is_none_is_refused(tmp_path: Path) -> None:
    """Its first bytes promise what the rest does not hold."""
    with pytest.raises(ListProblem, match="cannot be read as a workbook"):
        read(tmp_path / "list.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 2_000)


def test_json_lines_keep_numbers_as_written(tmp_path: Path) -> None:
    """Keys may appear late, values may be nested, and null is null."""
    data = (
        b'{"phone":79161234567,"n":{"b":[1,"1"],"a":null}}\n\n'
        b'{"phone":7.9e10,"late":true}\n'
        b'{"phone":79161234567.0,"late":null}\n'
    )
    reading = read(tmp_path / "list.jsonl", data)
    assert reading.columns == ("phone", "n", "late")
    assert reading.rows == [
        ("79161234567", '{"a":null,"b":[1,"1"]}', None),
        ("7.9e10", None, "true"),
        ("79161234567.0", None, None),
    ]
    assert reading.row_nos == [1, 3, 4]


def test_json_lines_that_are_no_objects_are_bad_rows(tmp_path: Path) -> None:
    """Arrays, halves, repeated keys, broken bytes, half characters, deep nests: each costs its line."""
    lines = [
        b'{"phone":"1"}',
        b"[1]",
        b'{"phone":',
        b'{"a":1,"a":2}',
        b'{"phone":"\xff"}',
        b'{"phone":"\\ud800"}',
        b'{"phone":"\\u0000"}',
        b"[" * 100_000,
        b'{"phone":"' + b"x" * 200_000 + b'"}',
        b'{"phone":"2"}',
    ]
    reading = read(tmp_path / "list.ndjson", b"\n".join(lines), max_cell_bytes=150_000, encoding="utf-8")
    assert [row[0] for row in reading.rows] == ["1", "2"]
    assert list(reading.reasons.values()) == [
        "bad_json",
        "bad_json",
        "duplicate_key",
        "undecodable",
        "bad_json",
        "nul",
        "bad_json",
        "oversized",
    ]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.lists(
        st.sampled_from([b"{", b"}", b'"a":', b"1", b"\n", b"\r", b'"x"', b",", b'{"a":1}\n', b"\xff", b"\\u00", b" "]),
        max_size=30,
    )
)
def test_no_line_of_json_lines_is_lost(tmp_path: Path, data: list[bytes]) -> None:
    """Good and bad rows are as many as lines that are not blank."""
    whole = b'{"first":1}\n' + b"".join(data)
    reading = read(tmp_path / "list.jsonl", whole, encoding="utf-8")
    assert len(reading.rows) + len(reading.bad) == reading.witness_rows
    assert reading.witness_rows == sum(1 for line in whole.splitlines() if line.strip())


def test_a_json_document_is_told_how_to_become_lines(tmp_path: Path) -> None:
    """An array in a .json file is no list of lines."""
    with pytest.raises(ListProblem, match="not JSON lines"):
        read(tmp_path / "list.json", b'[{"phone": "1"}]')
