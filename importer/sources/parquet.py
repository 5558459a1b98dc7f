"""Parquet: slices of the file as text columns, counted against its footer. Floor "sources".

The file is opened by us and polars gets the file object, slice by slice, so that memory stays flat whatever the row
groups are. Numbers become text here, once: integers exactly, floats in a form that keeps the damage visible
(79161234567.0), nested values as canonical JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import BinaryIO, Final

import polars as pl

from importer.errors import ListProblem
from importer.sources.bytestream import new_digest, raw_blocks
from importer.sources.dialect import check_width, column_names
from importer.sources.opening import LocalFile
from importer.sources.records import Piece, ReadOptions, Shape, Span, Tally
from importer.sources.sifting import sifted
from importer.sources.translation import polars_translated

SLICE_ROWS: Final = 100_000
NESTED: Final = (pl.List, pl.Array, pl.Struct, pl.Object)


def parquet_shape(file: LocalFile, options: ReadOptions) -> Shape:
    """Columns by the file's own schema, then those of its partition folders."""
    with file.opened() as stream, polars_translated(file.name):
        names = list(_scan(stream).collect_schema())
        rows = _footer_rows(stream)
    keys = [key for key, _ in file.partition if key not in names]
    check_width(len(names) + len(keys), options, file.name)
    if not names:
        raise ListProblem(f"{file.name} has no columns", hint="Check how the file was written.")
    return Shape(format="parquet", names=column_names([*names, *keys], file.name), rows=rows)


class ParquetReader:
    """Reads one Parquet file. **Law**: read rows are as many as the footer says."""

    def __init__(self, file: LocalFile, shape: Shape, options: ReadOptions) -> None:
        self._file = file
        self._shape = shape
        self._options = options

    def pieces(self, first_row_no: int, tally: Tally) -> Iterator[Piece]:
        """The rows from `first_row_no` on, numbered from 1; all of the file is counted into `tally`."""
        digest = new_digest()
        with self._file.opened() as stream:
            for _ in raw_blocks(stream, digest):
                pass
            with polars_translated(self._file.name):
                tally.witness_rows = _footer_rows(stream)
            skipped_rows = min(max(first_row_no - 1, 0), tally.witness_rows)
            tally.read_rows = skipped_rows
            for start in range(skipped_rows, tally.witness_rows, SLICE_ROWS):
                yield self._slice(stream, start, SLICE_ROWS, tally)
        tally.sha256 = digest.hexdigest()

    def span_pieces(self, span: Span, tally: Tally) -> Iterator[Piece]:
        """The rows of a span, numbered as in the file; its bytes are not hashed."""
        with self._file.opened() as stream:
            with polars_translated(self._file.name):
                size_rows = _footer_rows(stream)
            end = size_rows if span.end is None else min(span.end, size_rows)
            tally.witness_rows = max(end - span.start, 0)
            for start in range(span.start, end, SLICE_ROWS):
                yield self._slice(stream, start, min(SLICE_ROWS, end - start), tally)

    def _slice(self, stream: BinaryIO, start: int, size_rows: int, tally: Tally) -> Piece:
        with polars_translated(self._file.name):
            typed = _scan(stream).slice(start, size_rows).collect()
        tally.read_rows += typed.height
        row_nos = pl.int_range(start + 1, start + 1 + typed.height, dtype=pl.Int64, eager=True).alias("row_no")
        with polars_translated(self._file.name):
            texts = {name or str(index): as_text(typed[name]) for index, name in enumerate(typed.columns)}
        undecodable = {
            name: text.is_null() & typed.to_series(index).is_not_null()
            for index, (name, text) in enumerate(texts.items())
        }
        keys = {key: pl.lit(value, dtype=pl.String) for key, value in self._file.partition if key not in texts}
        rows = pl.DataFrame([text.alias(name) for name, text in texts.items()]).with_columns(**keys)
        return sifted(rows, row_nos, self._options, {name: mask for name, mask in undecodable.items() if mask.any()})


def _footer_rows(stream: BinaryIO) -> int:
    return int(_scan(stream).select(pl.len()).collect().item())


def _scan(stream: BinaryIO) -> pl.LazyFrame:
    stream.seek(0)
    return pl.scan_parquet(stream, glob=False, hive_partitioning=False)


def as_text(column: pl.Series) -> pl.Series:
    """A column as String; nulls stay nulls. Bytes that are no UTF-8 become nulls too, told apart by the caller."""
    dtype = column.dtype
    if isinstance(dtype, NESTED):
        return pl.Series(column.name, [_canonical(value) for value in column.to_list()], dtype=pl.String)
    if isinstance(dtype, pl.Binary):
        return pl.Series(column.name, map(_decoded_or_none, column.to_list()), dtype=pl.String)
    if isinstance(dtype, pl.Datetime):
        return column.dt.to_string("iso:strict")
    if isinstance(dtype, pl.Duration):
        return column.dt.to_string("iso")
    return column.cast(pl.String)


def _decoded_or_none(cell: bytes | None) -> str | None:
    try:
        return None if cell is None else cell.decode()
    except UnicodeDecodeError:
        return None


def _canonical(value: object) -> str | None:
    """Nested values as JSON with sorted keys and no spaces, so that equal values are equal text."""
    if value is None:
        return None
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
