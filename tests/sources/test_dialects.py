"""Delimiter, quote, header and column names: found, overridden, refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from importer.errors import ListProblem, UsageProblem
from importer.sources.dialect import looks_like_phone

from .lists import opened, read

ROWS = [["phone", "name", "sum"], ["16505550100", "Ann, Dr.", "1,5"], ["16505550101", "Bob; Jr.", "2,5"]]


def written(delimiter: str) -> bytes:
    cells = [[f'"{cell}"' if delimiter in cell else cell for cell in row] for row in ROWS]
    return "".join(delimiter.join(row) + "\r\n" for row in cells).encode()


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(tmp_path: Path, delimiter: str) -> None:
    """Decimal commas, and commas and semicolons in names, do not mislead."""
    path = tmp_path / "list.csv"
    assert read(path, written(delimiter)).rows == [tuple(row) for row in ROWS[1:]]
    with opened(path) as rows:
        assert (rows.files[0].delimiter, rows.files[0].quote, rows.files[0].has_header) == (delimiter, '"', True)


@pytest.mark.parametrize(
    ("data", "delimiter"),
    [
        (b"phone\n16505550100\n", ","),
        (b"name;phone;city\na,b;16505550100;c,d\n", ";"),
        (b"phone;price\n16505550100;1,5\n16505550101;2,5\n", ";"),
        (b"16505550100;1,5\n16505550101;2,5\n", ";"),
        (b'phone|note\n16505550100|"a|b"\n', "|"),
    ],
)
def test_the_delimiter_is_found_in_short_lists(tmp_path: Path, data: bytes, delimiter: str) -> None:
    """Two lines are enough where they agree."""
    path = tmp_path / "list.csv"
    path.write_bytes(data)
    with opened(path) as rows:
        assert rows.files[0].delimiter == delimiter


def test_apostrophes_that_quote_every_row_are_quotes(tmp_path: Path) -> None:
    """And those of O'Brien, or of a guarded cell, are not."""
    quoted = read(tmp_path / "a.csv", b"'phone','name'\n'16505550100','Ann, Dr.'\n")
    assert quoted.rows == [("16505550100", "Ann, Dr.")]
    plain = read(tmp_path / "b.csv", b"phone,name\n'16505550100,O'Brien\n")
    assert plain.rows == [("'16505550100", "O'Brien")]


def test_options_override_what_is_found(tmp_path: Path) -> None:
    """Delimiter, quote and header can each be named; quote "" means that nothing is quoted."""
    data = b'16505550100;"a\n16505550101;b"\n'
    reading = read(tmp_path / "list.csv", data, delimiter=";", quote="", has_header=False)
    assert reading.rows == [("16505550100", '"a'), ("16505550101", 'b"')]
    headed = read(tmp_path / "list.csv", data, delimiter=";", quote="", has_header=True)
    assert headed.columns == ("16505550100", '"a')


IMPOSSIBLE = [
    {"delimiter": ""},
    {"delimiter": "ab"},
    {"delimiter": "1"},
    {"delimiter": "\n"},
    {"quote": "é"},
    {"delimiter": '"', "quote": '"'},
    {"chunk_rows": 0},
]


@pytest.mark.parametrize("options", IMPOSSIBLE)
def test_impossible_options_are_usage_problems(tmp_path: Path, options: dict[str, object]) -> None:
    """Before any file is touched."""
    with pytest.raises(UsageProblem):
        opened(tmp_path / "absent.csv", **options)


def test_an_empty_header_becomes_its_index(tmp_path: Path) -> None:
    """As in the vendor's own upload."""
    assert read(tmp_path / "list.csv", b"phone,,name,\n16505550100,a,b,c\n").columns == ("phone", "1", "name", "3")


@pytest.mark.parametrize("header", [b"phone,name,name", b"phone,1,x,", b"a,a"])
def test_duplicate_headers_are_named(tmp_path: Path, header: bytes) -> None:
    """An index made up for an empty header counts too."""
    data = header + b"\n" + b",".join([b"1"] * (header.count(b",") + 1)) + b"\n"
    if header == b"phone,1,x,":
        assert read(tmp_path / "list.csv", data).columns == ("phone", "1", "x", "3")
        return
    with pytest.raises(ListProblem, match=r"more than one column called '(name|a)'"):
        read(tmp_path / "list.csv", data)


def test_columns_of_our_own_are_dropped_and_guarded_cells_restored(tmp_path: Path) -> None:
    """One apostrophe comes off every cell of a rejects file, and of no other file."""
    ours = (
        b"phone,note,importer_file,importer_row,importer_reason\n"
        b"'+16505550100,'=1+1,a.csv,2,x\n"
        b"16505550101,''quoted',a.csv,3,x\n"
    )
    reading = read(tmp_path / "ours.csv", ours)
    assert reading.columns == ("phone", "note")
    assert reading.rows == [("+16505550100", "=1+1"), ("16505550101", "'quoted'")]
    other = read(tmp_path / "other.csv", b"phone,note,importer_x\n'+16505550100,'=1+1,z\n")
    assert other.rows == [("'+16505550100", "'=1+1")]


@pytest.mark.parametrize(
    "cell", ["16505550100", "+1 650 555-0100", "8 (650) 555-01-00", "'+16505550100", "tel:+16505550100"]
)
def test_a_number_is_no_heading(cell: str) -> None:
    """Whatever way it is written."""
    assert looks_like_phone(cell)


@pytest.mark.parametrize(
    "cell", ["phone", "", "2026-11-23", "23.11.2026", "123", "7.9E+10", "phone 1", "12345678901234567"]
)
def test_a_heading_is_no_number(cell: str) -> None:
    """Dates and short codes may well be headings."""
    assert not looks_like_phone(cell)


def test_a_header_without_rows_is_a_list_of_nobody(tmp_path: Path) -> None:
    """That is fine; zero bytes, or blank lines alone, are not."""
    assert read(tmp_path / "list.csv", b"phone,name\n").witness_rows == 0
    for nothing in (b"", b"\n\n", b"\xef\xbb\xbf", b"\r\n"):
        with pytest.raises(ListProblem, match=r"is empty|blank lines"):
            read(tmp_path / "list.csv", nothing)


@pytest.mark.parametrize(
    "junk",
    [
        b"%PDF-1.7\n\x00\x01\x02\x03\x04\x05\x06\xff\xfe" * 20,
        bytes(range(256)) * 40,
        b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR\x01\x02\xf0" * 90,
        b"\0" * 5_000,
    ],
)
def test_binary_junk_is_refused(tmp_path: Path, junk: bytes) -> None:
    """With a word on what can be read."""
    with pytest.raises(ListProblem, match=r"binary|cannot be read|not a text list"):
        read(tmp_path / "list.csv", junk)


def test_absurdly_wide_lists_are_refused_fast(tmp_path: Path) -> None:
    """A hundred thousand columns are no phone list; two thousand are read."""
    with pytest.raises(ListProblem, match="100000 columns"):
        read(tmp_path / "list.csv", b",".join(b"c%d" % at for at in range(100_000)) + b"\n")
    wide = (
        b",".join(b"c%d" % at for at in range(2_000))
        + b"\n"
        + b",".join([b"x"] * 2_000)
        + b"\n"
        + b'"'
        + b'","'.join([b"x"] * 2_000)
        + b'"\n'
    )
    assert len(read(tmp_path / "list.csv", wide).rows) == 2
