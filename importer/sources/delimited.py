"""CSV and its kin: polars makes the columns, the record scanner watches. Floor "sources".

Blocks of lines are scanned first; only records proven whole and of the right width go to polars' parser, the rest
are bad rows. So the parser never sees what it would pad, truncate or choke on, and its row count is checked against
the scanner's block by block.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import polars as pl

from importer.errors import ListProblem
from importer.sources.bytestream import new_digest, text_blocks
from importer.sources.dialect import Dialect
from importer.sources.guard import GUARD_SIGN, unguarded
from importer.sources.opening import LocalFile
from importer.sources.records import RAW_CHARS, WHOLE, Piece, ReadOptions, Shape, Span, Tally, where
from importer.sources.scanner import RecordScanner, split_record
from importer.sources.translation import polars_translated

Item = TypeVar("Item")

EXPLANATIONS: Final = {
    "undecodable": "the row has bytes that are not {encoding}; save the list as UTF-8 or name its encoding",
    "nul": "the row has a NUL character, which no text has",
    "oversized": "the row is longer than {max_bytes} bytes",
    "bad_quote": "a quoted cell is not closed, or text follows its closing quote",
}


class DelimitedReader:
    """Reads one text list. **Law**: read rows, good and bad, are as many as the scanner counts."""

    def __init__(self, file: LocalFile, shape: Shape, dialect: Dialect, options: ReadOptions) -> None:
        self._file = file
        self._shape = shape
        self._dialect = dialect
        self._options = options
        self._width = len(dialect.names)
        self._is_guarded = GUARD_SIGN in dialect.names

    def pieces(self, first_row_no: int, tally: Tally) -> Iterator[Piece]:
        """The rows from `first_row_no` on; all of the file is counted into `tally`."""
        return self._pieces(WHOLE, self._dialect.header_row_no, first_row_no, tally)

    def span_pieces(self, span: Span, tally: Tally) -> Iterator[Piece]:
        """The rows of a span that begins where a line does, numbered from there.

        **Law**: with a span that is not open at its end, and one that begins there, as if both were read as one.
        """
        return self._pieces(span, self._dialect.header_row_no if span.start == 0 else 0, 0, tally)

    def _pieces(self, span: Span, header_row_no: int, first_row_no: int, tally: Tally) -> Iterator[Piece]:
        digest = new_digest()
        scanner = RecordScanner(self._dialect.grammar, max_record_bytes=self._options.max_cell_bytes, width=self._width)
        with self._file.opened() as file:
            blocks = text_blocks(
                file,
                digest,
                compression=self._shape.compression,
                encoding=self._shape.encoding or "utf-8",
                options=self._options,
                name=self._file.name,
                span=span,
            )
            for records in ahead(scanner.scan_all(blocks) if span.end is None else scanner.scan_some(blocks)):
                data = where(records, records["row_no"] != header_row_no)
                tally.witness_rows += data.height
                yield from self._piece(data, first_row_no, tally)
        tally.sha256 = digest.hexdigest()
        tally.last_row_no, tally.is_open = scanner.last_row_no, scanner.is_open

    def _piece(self, records: pl.DataFrame, first_row_no: int, tally: Tally) -> Iterator[Piece]:
        """The wanted records as columns. Those before `first_row_no` were parsed by an earlier run: only counted."""
        wanted = where(records, records["row_no"] >= first_row_no)
        tally.read_rows += records.height - wanted.height
        if not wanted.height:
            return
        is_good = wanted["flaw"].is_null() & (wanted["fields"] == self._width)
        good = where(wanted, is_good)
        rows = self._parsed(good)
        bad = self._bad(wanted.filter(~is_good))
        tally.read_rows += rows.height + bad.height
        yield Piece(rows=unguarded(rows) if self._is_guarded else rows, row_nos=good["row_no"], bad=bad)

    def _parsed(self, good: pl.DataFrame) -> pl.DataFrame:
        """The cells of proven records, in their order."""
        if not good["is_odd"].any():
            return self._by_polars(good["text"])
        odd, plain = good.filter("is_odd"), good.filter(~pl.col("is_odd"))
        both = pl.concat([self._by_polars(plain["text"]), self._cell_by_cell(odd["text"])])
        order = pl.concat([plain["row_no"], odd["row_no"]]).arg_sort()
        return both[order]

    def _by_polars(self, texts: pl.Series) -> pl.DataFrame:
        """Records whose quotes only quote. A header line of ours in front keeps polars from reading anything into
        the first bytes (a byte order mark, leading blanks) of what is the middle of a file.
        """  # noqa: D205 - one thought
        grammar = self._dialect.grammar
        header = grammar.delimiter.join(map(str, range(self._width)))
        body = [bytes(texts.str.join("\n").cast(pl.Binary).item()), b""] if texts.len() else [b""]
        data = b"\n".join([header.encode(), *body])
        with polars_translated(self._file.name):
            rows = pl.read_csv(
                io.BytesIO(data),
                separator=grammar.delimiter,
                quote_char=grammar.quote or None,
                infer_schema=False,
                empty_string_is_null=False,
            )
        if rows.shape != (texts.len(), self._width):
            raise disagreement(self._file.name, counted=texts.len(), parsed=rows.height)
        rows.columns = list(self._dialect.names)
        return rows

    def _cell_by_cell(self, texts: pl.Series) -> pl.DataFrame:
        """The few records with quote characters that do not quote, such as 24" in an unquoted cell."""
        cells = [split_record(text, self._dialect.grammar) for text in texts.to_list()]
        schema = dict.fromkeys(self._dialect.names, pl.String())
        return pl.DataFrame(cells, schema=schema, orient="row")

    def _bad(self, records: pl.DataFrame) -> pl.DataFrame:
        told = {
            flaw: text.format(encoding=self._shape.encoding, max_bytes=self._options.max_cell_bytes)
            for flaw, text in EXPLANATIONS.items()
        }
        ragged = pl.format("the row has {} cells where the header has {}", pl.col("fields"), pl.lit(self._width))
        long = pl.col("text").str.len_chars() > RAW_CHARS
        return records.select(
            "row_no",
            column=pl.lit(None, dtype=pl.String),
            reason=pl.col("flaw").fill_null("ragged"),
            explanation=pl.col("flaw").replace_strict(told, return_dtype=pl.String, default=None).fill_null(ragged),
            raw=pl.when(long).then(pl.col("text").str.head(RAW_CHARS) + "…").otherwise("text"),
        )


def ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items, the next one being made in a thread while this one is used. One thread, one item ahead."""
    with ThreadPoolExecutor(1, thread_name_prefix="list-scanner") as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item


def disagreement(name: str, *, counted: int, parsed: int) -> ListProblem:
    """The error for two counts that differ: the reader itself is not to be trusted with this file."""
    return ListProblem(
        f"{name} was read in two ways that disagree: {counted} rows counted, {parsed} rows parsed",
        hint="Nothing was sent from it. Save the list anew from a spreadsheet, and please report the file's shape.",
    )
