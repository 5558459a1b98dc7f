"""Records of text lists: the fast scanner against a slow one, against Python's csv module, and against the cuts."""

from __future__ import annotations

import csv
import io
import itertools
import time
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from importer.errors import ListProblem
from importer.sources.bytestream import line_blocks
from importer.sources.scanner import Grammar, RecordScanner, split_record

from . import slowly
from .lists import read, read_file

AWKWARD = st.sampled_from(
    ['"', '""', ",", ";", "\n", "\r", "\r\n", "\t", "'", " ", "1", "ab", "я", "\ufeff", "\x1f", "\u2028", "|"]
)
DAMAGED = st.one_of(AWKWARD.map(str.encode), st.sampled_from([b"\xff", b"\0", b"\xd0", b'",', b',"', b"x" * 40]))
TEXTS = st.lists(AWKWARD, max_size=40).map("".join)
LISTS = st.lists(DAMAGED, max_size=60).map(b"".join)
GRAMMARS = st.builds(Grammar, delimiter=st.sampled_from([",", ";", "\t", "|"]), quote=st.sampled_from(['"', "'", ""]))
ROOMY = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def scanned(blocks: list[bytes], grammar: Grammar, max_bytes: int = 1 << 20, width: int = 1) -> pl.DataFrame:
    frames = list(RecordScanner(grammar, max_record_bytes=max_bytes, width=width).scan_all(iter(blocks)))
    return pl.concat(frames) if frames else pl.DataFrame()


def line_ends(data: bytes) -> list[int]:
    ends = [0]
    for line in data.splitlines(keepends=True):
        ends.append(ends[-1] + len(line))
    return ends


@ROOMY
@given(data=LISTS, grammar=GRAMMARS, max_bytes=st.sampled_from([30, 1 << 20]), width=st.sampled_from([1, 2, 3, 900]))
@example(data=b'a,"b\n"c,d\ne,f\n', grammar=Grammar(delimiter=",", quote='"'), max_bytes=1 << 20, width=2)
@example(data=b'"a\r\nb",c\r\n5" x,"y"\r', grammar=Grammar(delimiter=",", quote='"'), max_bytes=1 << 20, width=2)
def test_fast_scanner_finds_the_records_that_the_grammar_defines(
    data: bytes, grammar: Grammar, max_bytes: int, width: int
) -> None:
    """Row numbers, flaws, field counts and cells equal those of a reader that goes character by character."""
    slow = list(slowly.records(data, grammar.delimiter, grammar.quote, max_bytes))
    fast = scanned([data], grammar, max_bytes, width).rows(named=True) if data else []
    assert [row["row_no"] for row in fast] == [row_no for row_no, _ in slow]
    for row, (_, outcome) in zip(fast, slow, strict=True):
        if isinstance(outcome, str):
            assert row["flaw"] == outcome
        else:
            assert (row["flaw"], row["fields"]) == (None, len(outcome))
            assert split_record(row["text"], grammar) == outcome


@ROOMY
@given(data=LISTS.filter(bool), grammar=GRAMMARS, cuts=st.sets(st.integers(0, 60), max_size=6))
def test_records_are_the_same_however_the_bytes_are_cut_into_blocks(
    data: bytes, grammar: Grammar, cuts: set[int]
) -> None:
    """A record that spans blocks is carried over; row numbers go on."""
    ends = line_ends(data)
    places = sorted({0, len(data), *(ends[min(cut, len(ends) - 1)] for cut in cuts)})
    blocks = [data[start:end] for start, end in itertools.pairwise(places)]
    assert scanned(blocks, grammar).equals(scanned([data], grammar))


@ROOMY
@given(data=LISTS.filter(bool), step=st.integers(1, 50), max_bytes=st.integers(1, 40))
def test_overlong_lines_are_oversized_however_they_arrive(data: bytes, step: int, max_bytes: int) -> None:
    """The block cutter drops the middle of an endless line, and no record changes by that."""
    grammar = Grammar(delimiter=",", quote='"')
    pieces = [data[at : at + step] for at in range(0, len(data), step)]
    blocks = list(line_blocks(iter(pieces), max_line_bytes=max_bytes, block_bytes=8))
    cut, whole = scanned(blocks, grammar, max_bytes), scanned([data], grammar, max_bytes)
    assert cut.select("row_no", "flaw").equals(whole.select("row_no", "flaw"))
    sound = pl.col("flaw").is_null()
    assert cut.filter(sound).equals(whole.filter(sound))


@ROOMY
@given(
    rows=st.lists(st.lists(TEXTS, min_size=3, max_size=3), max_size=12),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    line_end=st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_well_formed_lists_read_as_the_csv_module_reads_them(
    tmp_path: Path, rows: list[list[str]], delimiter: str, quoting: int, line_end: str
) -> None:
    """Cells come back unchanged: quotes, delimiters, line ends, blanks and marks inside them included."""
    written = io.StringIO()
    csv.writer(written, delimiter=delimiter, quoting=quoting, lineterminator=line_end).writerows(
        [["a", "b", "c"], *rows]
    )
    text = written.getvalue()
    expected = [
        tuple(row) for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True) if row
    ]
    reading = read(
        tmp_path / "list.csv",
        text.encode(),
        format="csv",
        encoding="utf-8",
        delimiter=delimiter,
        quote='"',
        has_header=True,
    )
    good = [row for row in expected[1:] if len(row) == 3]
    assert reading.rows == good
    assert reading.read_rows == reading.witness_rows == len(expected) - 1


@ROOMY
@given(data=LISTS, tail=st.binary(max_size=30), has_header=st.booleans())
def test_no_row_is_lost_whatever_the_bytes_are(tmp_path: Path, data: bytes, tail: bytes, has_header: bool) -> None:
    """Good and bad rows together are as many as the witness counts, or the list is refused as a whole."""
    try:
        reading = read(tmp_path / "list.csv", data + tail, format="csv", encoding="utf-8", has_header=has_header)
    except ListProblem:
        return
    assert len(reading.rows) + len(reading.bad) == reading.witness_rows == reading.read_rows
    assert len({*reading.row_nos, *reading.reasons}) == reading.witness_rows


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_one_bad_quote_costs_one_row(tmp_path: Path, line_end: bytes) -> None:
    """The rows after an unclosed quote are read as if it were not there."""
    lines = [b"phone,name", b'16505550100,"Ann', b"16505550101,Bob", b'16505550102,"C"x', b"16505550103,Dan", b""]
    reading = read(tmp_path / "list.csv", line_end.join(lines))
    assert reading.rows == [("16505550101", "Bob"), ("16505550103", "Dan")]
    assert reading.bad == [(2, None, "bad_quote"), (4, None, "bad_quote")]


def test_a_quote_character_inside_an_unquoted_cell_is_text(tmp_path: Path) -> None:
    """Inches stay inches, and rows keep their order around them."""
    reading = read(tmp_path / "list.csv", b'phone,size\n16505550100,a\n16505550101,24" tv\n16505550102,"b, c"\n')
    assert reading.rows == [("16505550100", "a"), ("16505550101", '24" tv'), ("16505550102", "b, c")]


def test_short_and_long_rows_are_bad_rows_with_their_number(tmp_path: Path) -> None:
    """Nothing is padded and nothing is cut off."""
    reading = read(tmp_path / "list.csv", b"phone,name\n16505550100\n16505550101,b\n16505550102,c,d\n")
    assert reading.rows == [("16505550101", "b")]
    assert reading.bad == [(2, None, "ragged"), (4, None, "ragged")]


def test_row_numbers_are_those_a_spreadsheet_shows(tmp_path: Path) -> None:
    """Blank lines take a number, and a record of several lines takes one."""
    reading = read(tmp_path / "list.csv", b'phone,name\n16505550100,a\n\n16505550101,"b\n\nc"\n16505550102,d\n')
    assert reading.row_nos == [2, 4, 5]


def test_without_a_header_the_first_row_is_row_one(tmp_path: Path) -> None:
    """Columns are then named by their index."""
    reading = read(tmp_path / "list.csv", b"16505550100;Ann\r\n16505550101;Bob\r\n")
    assert (reading.columns, reading.row_nos, reading.rows[0]) == (("0", "1"), [1, 2], ("16505550100", "Ann"))


def test_an_unclosed_quote_ends_after_a_thousand_lines(tmp_path: Path) -> None:
    """Only the line that opens it is bad, in a file far longer than a block."""
    rows = b"".join(b"%d,x\n" % (16505550100 + number) for number in range(5_000))
    reading = read(tmp_path / "list.csv", b'phone,name\n1,"open\n' + rows)
    assert reading.reasons == {2: "bad_quote"}
    assert len(reading.rows) == 5_000


def test_quotes_that_reopen_for_ever_take_linear_time() -> None:
    """Each of a million lines would go on into the next; none is ever a record."""
    started_s = time.process_time()
    scanner = RecordScanner(Grammar(delimiter=",", quote='"'), max_record_bytes=1 << 20, width=2)
    blocks = line_blocks(iter([b'"z\n' + b'x","y\n' * 1_000_000]), max_line_bytes=1 << 20)
    flaws = pl.concat([records["flaw"] for records in scanner.scan_all(blocks)])
    assert (flaws.len(), flaws.null_count()) == (1_000_001, 0)
    assert time.process_time() - started_s < 30


def test_a_hundred_megabyte_cell_is_one_bad_row(tmp_path: Path) -> None:
    """It is never held whole, and the rows around it are read."""
    path = tmp_path / "list.csv"
    with path.open("wb") as file:
        file.write(b"phone,name\n16505550100,")
        for _ in range(100):
            file.write(b"x" * (1 << 20))
        file.write(b"\n16505550101,b\n")
    reading = read_file(path)
    assert (reading.rows, reading.reasons) == ([("16505550101", "b")], {2: "oversized"})
