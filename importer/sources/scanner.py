"""The record scanner: where records end, how many fields each has, and which are damaged. Floor "sources".

It is the independent witness of a text list: it shares no code with the CSV parser that makes the columns. It works
on columns of physical lines with regular expressions, never row by row. The decision a newcomer would question:
after a damaged quote only the physical line is given up and scanning starts again at the next one, so one stray
quote costs one row, where a CSV parser would swallow or fail the rest of the file.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import polars as pl

from importer.sources.records import where

MAX_RECORD_LINES: Final = 1_000  # a quoted cell with more line ends than this is an unclosed quote

MAX_PATTERN_FIELDS: Final = 64  # a pattern that repeats a field more often is no longer quick to build

CLOSED, OPEN, BROKEN = 0, 1, 2  # what a line does to the state it is met in
_FIRST_LETTER: Final = 65
# One letter per line: 3 * (what it does at a record's start) + (what it does inside quotes), from A on.
_OPENS: Final = re.compile(rb"[DEF]")
_STAYS_NO_MORE: Final = re.compile(rb"[^BEH]")
_CLOSES: Final = b"ADG"

ABSENT: Final = b"\x1f"  # the unit separator, as good as never in a list: lets polars split lines as one column

RECORD_SCHEMA: Final = {
    "row_no": pl.Int64(),
    "text": pl.String(),
    "flaw": pl.String(),
    "fields": pl.UInt32(),
    "is_odd": pl.Boolean(),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Grammar:
    """The two characters that make records of text; `quote` "" means that nothing is quoted.

    A field that starts with the quote character ends at the next lone one, which must stand before a delimiter or
    the record's end; two in a row are one. In a field that starts otherwise the character is plain text.
    """

    delimiter: str
    quote: str

    @property
    def _inside(self) -> str:
        quote = re.escape(self.quote)
        return f"(?:[^{quote}]|{quote}{quote})*"

    @property
    def _quoted(self) -> str:
        return f"{re.escape(self.quote)}{self._inside}{re.escape(self.quote)}"

    @property
    def _field(self) -> str:
        quote, delimiter = re.escape(self.quote), re.escape(self.delimiter)
        return f"(?:{self._quoted}|[^{quote}{delimiter}][^{delimiter}]*|)"

    @property
    def plain_record(self) -> str:
        """Matches a record in which quote characters only quote."""
        return f"^{self._plain_field}(?:{re.escape(self.delimiter)}{self._plain_field})*$"

    def plain_record_of(self, width: int) -> str:
        """Matches such a record of exactly `width` fields."""
        return f"^{self._plain_field}(?:{re.escape(self.delimiter)}{self._plain_field}){{{width - 1}}}$"

    @property
    def _plain_field(self) -> str:
        return f"(?:{self._quoted}|[^{re.escape(self.quote)}{re.escape(self.delimiter)}\r\n]*)"

    @property
    def closed(self) -> str:
        """Matches a line that is a whole record."""
        return f"^{self._field}(?:{re.escape(self.delimiter)}{self._field})*$"

    @property
    def opens(self) -> str:
        """Matches a line that starts a record and ends inside a quoted field."""
        return f"^(?:{self._field}{re.escape(self.delimiter)})*{re.escape(self.quote)}{self._inside}$"

    @property
    def closes(self) -> str:
        """Matches a line that starts inside a quoted field and ends a record."""
        return f"^{self._inside}{re.escape(self.quote)}(?:{re.escape(self.delimiter)}{self._field})*$"

    @property
    def stays(self) -> str:
        """Matches a line that starts and ends inside quoted fields."""
        quote, delimiter = re.escape(self.quote), re.escape(self.delimiter)
        return f"^{self._inside}(?:{quote}(?:{delimiter}{self._field})*{delimiter}{quote}{self._inside})?$"

    @property
    def separator(self) -> str:
        """Matches a delimiter with the quoted field after it, or a quoted field at the start."""
        return f"^{self._quoted}|{re.escape(self.delimiter)}(?:{self._quoted})?"

    @property
    def cell(self) -> re.Pattern[str]:
        """Matches one field of a whole record, from the record's start or from a delimiter."""
        quote, delimiter = re.escape(self.quote), re.escape(self.delimiter)
        if not self.quote:
            return re.compile(f"(?P<bare>[^{delimiter}]*)(?P<end>{delimiter}|\\Z)")
        inside = f"[^{quote}]*(?:{quote}{quote}[^{quote}]*)*"
        return re.compile(f"(?:{quote}(?P<quoted>{inside}){quote}|(?P<bare>[^{delimiter}]*))(?P<end>{delimiter}|\\Z)")


def split_record(text: str, grammar: Grammar) -> list[str]:
    """The cells of one whole record: for headers, and for records with quote characters that do not quote."""
    cells: list[str] = []
    at, is_more = 0, True
    while is_more and (match := grammar.cell.match(text, at)):
        bare = match["bare"]
        cells.append(match["quoted"].replace(grammar.quote * 2, grammar.quote) if bare is None else bare)
        at, is_more = match.end(), bool(match["end"])
    return cells


class RecordScanner:
    """Scans blocks of lines in order.

    **Shapes**: a frame of `RECORD_SCHEMA` per block: row_no; the record's text without its line end; flaw (null, or
    `undecodable`, `nul`, `oversized`, `bad_quote`); its field count; and is_odd, for a quote character that does not
    quote. Blank lines are left out, but have taken a row number.
    `width`, the field count to expect, only makes it faster.
    **Law**: the records are the same however the bytes are cut into blocks.
    """

    def __init__(self, grammar: Grammar, *, max_record_bytes: int, width: int = 1) -> None:
        self._grammar = grammar
        self._width = width if width <= MAX_PATTERN_FIELDS else 1
        self._max_record_bytes = max_record_bytes
        self._carried = b""
        self._next_row_no = 1

    def scan_all(self, blocks: Iterator[bytes]) -> Iterator[pl.DataFrame]:
        """The records of all blocks; every block but the last ends with a line end."""
        for block in blocks:
            yield self._scan(block, is_last=False)
        if self._carried:
            yield self._scan(b"", is_last=True)

    def scan_some(self, blocks: Iterator[bytes]) -> Iterator[pl.DataFrame]:
        """The records that are decided by these blocks; every block ends with a line end, and others may follow."""
        for block in blocks:
            yield self._scan(block, is_last=False)

    @property
    def is_open(self) -> bool:
        """Whether what was scanned so far ends inside a record. If not, a new scanner may go on."""
        return bool(self._carried)

    @property
    def last_row_no(self) -> int:
        """The last row number taken so far, by a blank line too."""
        return self._next_row_no - 1

    def _scan(self, block: bytes, *, is_last: bool) -> pl.DataFrame:
        data, self._carried = self._carried + block, b""
        is_quoting = bool(self._grammar.quote) and self._grammar.quote.encode() in data
        lines = self._checked(lines_of(data, is_quoting=is_quoting), has_nul=b"\0" in data)
        records = self._judged(lines, is_quoting=is_quoting)
        if (records["state"] == OPEN).any():
            records = self._joined(records, data.splitlines(keepends=True), is_last=is_last)
        return self._numbered(records).select(*RECORD_SCHEMA)

    def _checked(self, lines: pl.DataFrame, *, has_nul: bool) -> pl.DataFrame:
        """The lines with the flaws that show before any grammar is looked at."""
        text, flaw = pl.col("text"), pl.col("flaw")
        if has_nul:
            is_nul = flaw.is_null() & text.str.contains("\0", literal=True)
            lines = lines.with_columns(flaw=pl.when(is_nul).then(pl.lit("nul")).otherwise(flaw))
        is_long = lines["text"].str.len_bytes() > self._max_record_bytes
        if not is_long.any():
            return lines
        return lines.with_columns(flaw=pl.when(is_long).then(pl.lit("oversized")).otherwise(flaw))

    def _judged(self, lines: pl.DataFrame, *, is_quoting: bool) -> pl.DataFrame:
        """What each line does at the start of a record: state, is_odd and fields (meaningless where flawed).

        Three sieves, the cheapest first: lines without quotes are whole records; then those of the usual shape.
        """
        fields = pl.col("text").str.count_matches(self._grammar.delimiter, literal=True) + 1
        lines = lines.with_columns(
            state=pl.when(pl.col("flaw").is_null()).then(CLOSED).otherwise(BROKEN).cast(pl.UInt8),
            is_odd=pl.lit(value=False),
            fields=fields.cast(pl.UInt32),
        )
        quoting = self._quoting(lines) if is_quoting else None
        if quoting is None or not quoting.len():
            return lines
        is_usual = lines["text"][quoting].str.contains(self._grammar.plain_record_of(self._width))
        lines = lines.with_columns(fields=lines["fields"].scatter(quoting.filter(is_usual), self._width))
        return lines if is_usual.all() else self._doubted(lines, quoting.filter(~is_usual))

    def _doubted(self, lines: pl.DataFrame, unusual: pl.Series) -> pl.DataFrame:
        """The verdict on lines with quotes that are not of the usual shape; the loose patterns come last."""
        texts = lines["text"][unusual]
        lines = lines.with_columns(fields=lines["fields"].scatter(unusual, self._fields(texts)))
        doubtful = unusual.filter(~texts.str.contains(self._grammar.plain_record))
        if not doubtful.len():
            return lines
        state = lines[doubtful].select(_verdict(self._grammar.closed, self._grammar.opens)).to_series()
        return lines.with_columns(
            state=lines["state"].scatter(doubtful, state),
            is_odd=lines["is_odd"].scatter(doubtful, state == CLOSED),
            flaw=_scattered(lines["flaw"], doubtful.filter(state != CLOSED), "bad_quote"),
        )

    def _quoting(self, lines: pl.DataFrame) -> pl.Series:
        """The indices of the sound lines that have a quote character."""
        has_quote = pl.col("flaw").is_null() & pl.col("text").str.contains(self._grammar.quote, literal=True)
        return lines.select(has_quote.arg_true()).to_series()

    def _fields(self, texts: pl.Series) -> pl.Series:
        """Field counts of whole records that have quotes."""
        leading = texts.str.starts_with(self._grammar.quote).cast(pl.UInt32)
        return texts.str.count_matches(self._grammar.separator) + 1 - leading

    def _joined(self, lines: pl.DataFrame, raw: list[bytes], *, is_last: bool) -> pl.DataFrame:
        """The lines with those of one record put together; lines whose record may go on are carried over instead."""
        spans, end = self._spans(lines, raw, is_last=is_last)
        self._carried = b"".join(raw[end:])
        if not spans:
            return lines[:end]
        starts = pl.Series([start for start, _ in spans], dtype=pl.UInt32)
        rest = pl.Series([line for start, stop in spans for line in range(start + 1, stop)], dtype=pl.UInt32)
        texts = pl.Series([_content(raw[start:stop]) for start, stop in spans], dtype=pl.String)
        joined = lines.with_columns(
            text=lines["text"].scatter(starts, texts),
            flaw=_scattered(lines["flaw"], starts, None),
            fields=lines["fields"].scatter(starts, self._fields(texts)),
            is_odd=lines["is_odd"].scatter(starts, ~texts.str.contains(self._grammar.plain_record)),
            is_first=pl.repeat(value=True, n=lines.height, eager=True).scatter(rest, values=False),
        )
        return joined[:end].filter("is_first")

    def _spans(self, lines: pl.DataFrame, raw: list[bytes], *, is_last: bool) -> tuple[list[tuple[int, int]], int]:
        """The line spans of records of more than one line, and where the lines to carry over begin.

        Linear even when every line opens a quote that never closes: where the quoting stops is looked for once.
        """
        letters = bytes((lines["state"] * 3 + self._inside(lines) + _FIRST_LETTER).to_list())
        spans: list[tuple[int, int]] = []
        at = last = 0
        while opening := _OPENS.search(letters, at):
            start = opening.start()
            if last <= start:
                stop = _STAYS_NO_MORE.search(letters, start + 1)
                last = stop.start() if stop else lines.height
            at = start + 1
            is_cut = last == lines.height
            may_end = not is_last if is_cut else letters[last] in _CLOSES
            if not may_end or last - start > MAX_RECORD_LINES + 1 or not self._fits(raw[start : last + 1]):
                continue
            if is_cut:
                return spans, start
            at = last + 1
            spans.append((start, at))
        return spans, lines.height

    def _inside(self, lines: pl.DataFrame) -> pl.Series:
        """What each line does inside a quoted field; a line that is no text at all breaks the record."""
        is_text = pl.col("flaw").is_null() | (pl.col("flaw") == "bad_quote")
        return lines.select(
            pl.when(is_text).then(_verdict(self._grammar.closes, self._grammar.stays)).otherwise(BROKEN).cast(pl.UInt8)
        ).to_series()

    def _fits(self, raw: list[bytes]) -> bool:
        return sum(map(len, raw)) <= self._max_record_bytes

    def _numbered(self, records: pl.DataFrame) -> pl.DataFrame:
        """The records with row numbers, and without blank lines."""
        first = self._next_row_no
        self._next_row_no += records.height
        numbered = records.with_columns(row_no=pl.int_range(first, first + records.height, dtype=pl.Int64))
        return where(numbered, (numbered["text"].str.len_bytes() > 0) | numbered["flaw"].is_not_null())


def lines_of(data: bytes, *, is_quoting: bool) -> pl.DataFrame:
    """The physical lines: text (without line ends) and flaw.

    LF, CRLF and a lone CR end a line.

    Blocks in which a carriage return might be part of a quoted cell, and blocks that are not UTF-8, take slower ways.
    """
    if b"\r" not in data:
        return _split_by_polars(data)
    if is_quoting:
        return _split_by_python(data)
    return _split_by_polars(data.replace(b"\r\n", b"\n").replace(b"\r", b"\n"))


def _split_by_polars(data: bytes) -> pl.DataFrame:
    """Lines by polars' own splitter, if it finds as many as there are line feeds."""
    size_rows = data.count(b"\n") + (not data.endswith(b"\n"))
    if ABSENT in data:
        return _split_by_python(data)
    try:
        lines = pl.read_csv(
            io.BytesIO(b"text\n" + data),
            separator=ABSENT.decode(),
            quote_char=None,
            infer_schema=False,
            empty_string_is_null=False,
        )
    except pl.exceptions.ComputeError:  # not UTF-8
        return _split_by_python(data)
    return (
        lines.with_columns(flaw=pl.lit(None, dtype=pl.String)) if lines.height == size_rows else _split_by_python(data)
    )


def _split_by_python(data: bytes) -> pl.DataFrame:
    raw = data.splitlines(keepends=True)
    decoded = [_decoded_or_none(line) for line in raw]
    texts = [
        line.decode("utf-8", "backslashreplace") if text is None else text
        for line, text in zip(raw, decoded, strict=True)
    ]
    flaws = ["undecodable" if text is None else None for text in decoded]
    lines = pl.DataFrame({"text": texts, "flaw": flaws}, schema={"text": pl.String, "flaw": pl.String})
    return lines.with_columns(pl.col("text").str.strip_chars_end("\r\n"))


def _decoded_or_none(line: bytes) -> str | None:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return None


def _content(raw: list[bytes]) -> str:
    """The text of a record of several lines: line ends inside it are data, the last is not."""
    return b"".join(raw).decode().removesuffix("\n").removesuffix("\r")


def _scattered(column: pl.Series, indices: pl.Series, value: str | None) -> pl.Series:
    """The column with one value at the indices."""
    return column.scatter(indices, pl.Series([value], dtype=pl.String).new_from_index(0, indices.len()))


def _verdict(closed: str, still_open: str) -> pl.Expr:
    """CLOSED, OPEN or BROKEN by which of two patterns a line matches."""
    line = pl.col("text")
    verdict = pl.when(line.str.contains(closed)).then(CLOSED).when(line.str.contains(still_open)).then(OPEN)
    return verdict.otherwise(BROKEN).cast(pl.UInt8)
