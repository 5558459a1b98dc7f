"""Which format a file has, by its first bytes before its name, and the reader for it. Floor "sources"."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath
from typing import Final, Protocol, runtime_checkable

from importer.errors import ListProblem, UsageProblem
from importer.sources.bytestream import check_encoding, compression_of, new_digest, raw_blocks, text_blocks, unpacked
from importer.sources.delimited import DelimitedReader
from importer.sources.dialect import find_dialect
from importer.sources.encodings import detect_encoding
from importer.sources.jsonlines import JsonLinesReader, json_lines_shape, parsed_line
from importer.sources.opening import LocalFile
from importer.sources.parquet import ParquetReader, parquet_shape
from importer.sources.records import Piece, ReadOptions, Shape, Span, Tally
from importer.sources.workbook import WorkbookReader, workbook_shape

FORMATS: Final = ("csv", "jsonl", "parquet", "xlsx", "xls")
BINARY_MAGIC: Final = {
    b"PAR1": "parquet",
    b"PK\x03\x04": "xlsx",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "xls",
}
JSON_LINES_SUFFIXES: Final = (".jsonl", ".ndjson")
PACKED_SUFFIXES: Final = (".gz", ".zst")
HEAD_BYTES: Final = 16
SNIFF_BYTES: Final = 65_536


class Reader(Protocol):
    """What every format gives."""

    def pieces(self, first_row_no: int, tally: Tally) -> Iterator[Piece]:
        """The rows from `first_row_no` on; the whole file is counted into `tally`."""
        ...


@runtime_checkable
class SpanReader(Protocol):
    """What formats give whose files can be read in spans."""

    def span_pieces(self, span: Span, tally: Tally) -> Iterator[Piece]:
        """The rows of a span; the span alone is counted into `tally`."""
        ...


def binary_kind_of(file: LocalFile, options: ReadOptions) -> str | None:
    """The binary format a file has, or is said to have; None for text."""
    kind = options.format or _binary_kind(_head(file))
    return kind if kind in BINARY_MAGIC.values() else None


def _head(file: LocalFile) -> bytes:
    with file.opened() as stream:
        return stream.read(HEAD_BYTES)


def open_reader(file: LocalFile, options: ReadOptions) -> tuple[Shape, Reader]:
    """The file's shape and a reader for it. **Errors**: ListProblem if it is nothing that can be read."""
    if options.format is not None and options.format not in FORMATS:
        raise UsageProblem(f"no list format is called {options.format!r}", hint="Formats: " + ", ".join(FORMATS) + ".")
    head = _head(file)
    kind = options.format or _binary_kind(head)
    if kind == "parquet":
        shape = parquet_shape(file, options)
        return shape, ParquetReader(file, shape, options)
    if kind in {"xlsx", "xls"}:
        shape = workbook_shape(file, kind, options)
        return shape, WorkbookReader(file, shape, options)
    return _open_text(file, head, kind, options)


def _binary_kind(head: bytes) -> str | None:
    """The binary format that begins so; None for everything that may be text, packed or not."""
    return next((kind for magic, kind in BINARY_MAGIC.items() if head.startswith(magic)), None)


def _open_text(file: LocalFile, head: bytes, kind: str | None, options: ReadOptions) -> tuple[Shape, Reader]:
    compression = compression_of(head, file.name)
    encoding = check_encoding(options.encoding) if options.encoding else _encoding_of(file, compression, options)
    with file.opened() as stream:
        blocks = text_blocks(
            stream, new_digest(), compression=compression, encoding=encoding, options=options, name=file.name
        )
        block = next(blocks, b"")
    _check_unpacked(block, file)
    if (kind or _text_kind(file, block)) == "jsonl":
        shape = json_lines_shape(file, compression, encoding, options)
        return shape, JsonLinesReader(file, shape, options)
    dialect = find_dialect(block, options, file.name)
    shape = Shape(
        format="csv",
        names=dialect.names,
        compression=compression,
        encoding=encoding,
        delimiter=dialect.grammar.delimiter,
        quote=dialect.grammar.quote,
        has_header=dialect.header_row_no > 0,
    )
    return shape, DelimitedReader(file, shape, dialect, options)


def _check_unpacked(block: bytes, file: LocalFile) -> None:
    if not block:
        raise ListProblem(f"{file.name} is empty", hint="A list with nobody in it still has a header line.")
    if (kind := _binary_kind(block)) is not None:
        raise ListProblem(f"{file.name} holds a packed {kind} file", hint="Unpack it first.")


def _text_kind(file: LocalFile, block: bytes) -> str:
    """`jsonl` by name or by a first line that is a JSON object; else `csv`.

    **Errors**: ListProblem for a JSON document that is not made of lines.
    """
    named = PurePath(file.name.partition("?")[0]) if file.is_spooled else file.path
    suffixes = [suffix for suffix in named.suffixes if suffix.lower() not in PACKED_SUFFIXES]
    if suffixes and suffixes[-1].lower() in JSON_LINES_SUFFIXES:
        return "jsonl"
    first = block.lstrip()[:SNIFF_BYTES].splitlines()[:1] or [b""]
    if isinstance(parsed_line(first[0], SNIFF_BYTES), dict):
        return "jsonl"
    if suffixes and suffixes[-1].lower() == ".json":
        raise ListProblem(
            f"{file.name} is one JSON document, not JSON lines",
            hint="Write one object per line, for example with: jq -c '.[]' FILE",
        )
    return "csv"


def _encoding_of(file: LocalFile, compression: str | None, options: ReadOptions) -> str:
    with file.opened() as stream:
        return detect_encoding(unpacked(raw_blocks(stream, new_digest()), compression, options, file.name))
