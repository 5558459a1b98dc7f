"""JSON lines: one object per line, its keys the columns. Floor "sources".

Opening reads the whole file once for its keys, since a key may first appear in the last line. Numbers stay the text
that is written (79161234567.0 shows its damage, 7.9e10 too); nested values become canonical JSON. This format is
read object by object: polars' own reader infers types, and that is what must not happen to a phone number.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

import polars as pl

from importer.errors import ListProblem
from importer.sources.bytestream import Digest, new_digest, text_blocks
from importer.sources.dialect import check_width, column_names
from importer.sources.opening import LocalFile
from importer.sources.records import BAD_SCHEMA, Piece, ReadOptions, Shape, Tally, shown
from importer.sources.sifting import sifted

EXPLANATIONS: Final = {
    "bad_json": "the line is not one JSON object",
    "duplicate_key": "the object has the same key twice",
    "undecodable": "the line has bytes that are not {encoding}",
    "oversized": "the line is longer than {max_bytes} bytes",
}


class NumberText(str):
    """A JSON number as written; tells `1` from `"1"` inside nested values."""

    __slots__ = ()


class DuplicateKeyError(ValueError):
    """An object with the same key twice: nobody can know which value was meant."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise DuplicateKeyError
    return made


DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=NumberText, parse_float=NumberText, parse_constant=NumberText
)


def parsed_line(line: bytes, max_line_bytes: int) -> dict[str, str | None] | str:
    """The cells of one line, or the reason why it has none."""
    if len(line) > max_line_bytes:
        return "oversized"
    try:
        return _cells(line)
    except UnicodeDecodeError:
        return "undecodable"
    except DuplicateKeyError:
        return "duplicate_key"
    except (ValueError, RecursionError):  # no JSON, no object, half a character, or nested too deep
        return "bad_json"


def _cells(line: bytes) -> dict[str, str | None]:
    value = DECODER.decode(line.decode())
    if not isinstance(value, dict):
        raise ValueError("no object")  # noqa: TRY004 - one kind of error for every line that is no object
    cells = {key: _cell(item) for key, item in value.items()}
    if b"\\u" in line:  # an escape may make half a character, which no UTF-8 can hold
        "".join([*cells, *filter(None, cells.values())]).encode()
    return cells


def _cell(value: object) -> str | None:
    if value is None:
        return None
    return str(value) if isinstance(value, str) else _canonical(value)


def _canonical(value: object) -> str:
    """JSON with sorted keys, no spaces, and numbers as written."""
    if isinstance(value, NumberText):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{_canonical(key)}:{_canonical(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_canonical, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def json_lines_shape(file: LocalFile, compression: str | None, encoding: str, options: ReadOptions) -> Shape:
    """Columns: all keys of all lines, in the order of their first appearance."""
    shape = Shape(format="jsonl", names=(), compression=compression, encoding=encoding)
    names: dict[str, None] = {}
    is_blank = True
    for lines in _lines(file, shape, options, new_digest()):
        for _, line in lines:
            is_blank = False
            cells = parsed_line(line, options.max_cell_bytes)
            if isinstance(cells, dict):
                names.update(dict.fromkeys(cells))
        check_width(len(names), options, file.name)
    if not names:
        what = "holds nothing but blank lines" if is_blank else "has no line that is a JSON object"
        raise ListProblem(f"{file.name} {what}", hint="Write one object per line, for example with: jq -c '.[]' FILE")
    return Shape(format="jsonl", names=column_names(list(names), file.name), compression=compression, encoding=encoding)


def _lines(file: LocalFile, shape: Shape, options: ReadOptions, digest: Digest) -> Iterator[list[tuple[int, bytes]]]:
    """Per block, the lines that are not blank, with their row numbers."""
    first = 1
    with file.opened() as stream:
        for block in text_blocks(
            stream,
            digest,
            compression=shape.compression,
            encoding=shape.encoding or "utf-8",
            options=options,
            name=file.name,
        ):
            lines = block.splitlines()
            yield [(row_no, line) for row_no, line in enumerate(lines, first) if line.strip()]
            first += len(lines)


class JsonLinesReader:
    """Reads one file of JSON lines. **Law**: good and bad rows are as many as there are lines that are not blank."""

    def __init__(self, file: LocalFile, shape: Shape, options: ReadOptions) -> None:
        self._file = file
        self._shape = shape
        self._options = options

    def pieces(self, first_row_no: int, tally: Tally) -> Iterator[Piece]:
        """The rows from `first_row_no` on; all of the file is counted into `tally`."""
        digest = new_digest()
        for lines in _lines(self._file, self._shape, self._options, digest):
            wanted = [(row_no, line) for row_no, line in lines if row_no >= first_row_no]
            piece = self._piece(wanted)
            tally.witness_rows += len(lines)
            tally.read_rows += len(lines) - len(wanted) + piece.rows.height + piece.bad.height
            yield piece
        tally.sha256 = digest.hexdigest()

    def _piece(self, lines: Sequence[tuple[int, bytes]]) -> Piece:
        parsed = [(row_no, line, parsed_line(line, self._options.max_cell_bytes)) for row_no, line in lines]
        good = [(row_no, cells) for row_no, _, cells in parsed if isinstance(cells, dict)]
        flawed = [(row_no, line, reason) for row_no, line, reason in parsed if isinstance(reason, str)]
        columns = {
            name: pl.Series(name, [cells.get(name) for _, cells in good], dtype=pl.String) for name in self._shape.names
        }
        row_nos = pl.Series("row_no", [row_no for row_no, _ in good], dtype=pl.Int64)
        piece = sifted(pl.DataFrame(columns), row_nos, self._options)
        if not flawed:
            return piece
        bad = pl.concat([piece.bad, self._bad(flawed)]).sort("row_no")
        return Piece(rows=piece.rows, row_nos=piece.row_nos, bad=bad)

    def _bad(self, flawed: Sequence[tuple[int, bytes, str]]) -> pl.DataFrame:
        told = {
            reason: text.format(encoding=self._shape.encoding, max_bytes=self._options.max_cell_bytes)
            for reason, text in EXPLANATIONS.items()
        }
        rows = [
            (row_no, None, reason, told[reason], shown(line.decode("utf-8", "backslashreplace")))
            for row_no, line, reason in flawed
        ]
        return pl.DataFrame(rows, schema=BAD_SCHEMA, orient="row")
