"""JSON lines: one object per line, its keys the columns. Floor "sources".

Opening reads the whole file once for its keys, since a key may first appear in the last line. Numbers stay the text
that is written (79161234567.0 shows its damage, 7.9e10 too); nested values become canonical JSON. Lines of one layout
are read as columns, the others object by object: polars' own reader infers types, and that must not happen to a number.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import polars as pl

from importer.errors import ListProblem
from importer.sources.bytestream import Digest, new_digest, text_blocks
from importer.sources.delimited import ahead
from importer.sources.dialect import check_width, column_names
from importer.sources.layouts import Layouts, columns_of
from importer.sources.opening import LocalFile
from importer.sources.records import BAD_SCHEMA, Piece, ReadOptions, Shape, Tally, shown
from importer.sources.scanner import lines_of
from importer.sources.sifting import sifted

EXPLANATIONS: Final = {
    "bad_json": "the line is not one JSON object",
    "duplicate_key": "the object has the same key twice",
    "undecodable": "the line has bytes that are not {encoding}",
    "oversized": "the line is longer than {max_bytes} bytes",
}


BLANKS: Final = " \t\r\n\x0b\x0c"  # what bytes.strip takes off


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
    layouts = Layouts()
    is_blank = True
    for lines, _ in ahead(_lines(file, shape, options, new_digest())):
        is_blank = is_blank and not lines.height
        for keys in _keys(lines, layouts, options):
            names.update(dict.fromkeys(keys))
        check_width(len(names), options, file.name)
    if not names:
        what = "holds nothing but blank lines" if is_blank else "has no line that is a JSON object"
        raise ListProblem(f"{file.name} {what}", hint="Write one object per line, for example with: jq -c '.[]' FILE")
    return Shape(format="jsonl", names=column_names(list(names), file.name), compression=compression, encoding=encoding)


def _keys(lines: pl.DataFrame, layouts: Layouts, options: ReadOptions) -> Iterator[Iterable[str]]:
    """The keys of the lines, those of the earliest line first; lines of one layout speak once."""
    sound = lines.filter(_is_sound(options))
    found, left = layouts.sorted_out(sound["text"])
    seen: list[tuple[int, Iterable[str]]] = [(int(indices[0]), layout.keys) for layout, indices in found]
    for index in left.to_list():
        cells = parsed_line(sound["text"][index].encode(), options.max_cell_bytes)
        if isinstance(cells, dict):
            seen.append((index, cells))
    return (keys for _, keys in sorted(seen, key=lambda each: each[0]))


def _is_sound(options: ReadOptions) -> pl.Expr:
    """Whether a line is text, and no longer than allowed."""
    return pl.col("flaw").is_null() & (pl.col("text").str.len_bytes() <= options.max_cell_bytes)


def _lines(file: LocalFile, shape: Shape, options: ReadOptions, digest: Digest) -> Iterator[tuple[pl.DataFrame, bytes]]:
    """Per block the lines that are not blank (row_no, text, flaw), and the block itself."""
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
            lines = lines_of(block, is_quoting=False)
            row_no = pl.int_range(first, first + lines.height, dtype=pl.Int64).alias("row_no")
            first += lines.height
            is_blank = pl.col("text").str.strip_chars(BLANKS) == ""
            yield lines.select(row_no, "text", "flaw").filter(~is_blank), block


class JsonLinesReader:
    """Reads one file of JSON lines. **Law**: good and bad rows are as many as there are lines that are not blank."""

    def __init__(self, file: LocalFile, shape: Shape, options: ReadOptions) -> None:
        self._file = file
        self._shape = shape
        self._options = options
        self._layouts = Layouts()

    def pieces(self, first_row_no: int, tally: Tally) -> Iterator[Piece]:
        """The rows from `first_row_no` on; all of the file is counted into `tally`."""
        digest = new_digest()
        for lines, block in ahead(_lines(self._file, self._shape, self._options, digest)):
            wanted = lines.filter(pl.col("row_no") >= first_row_no)
            piece = self._piece(wanted)
            tally.witness_rows += sum(map(bool, map(bytes.strip, block.splitlines())))
            tally.read_rows += lines.height - wanted.height + piece.rows.height + piece.bad.height
            yield piece
        tally.sha256 = digest.hexdigest()

    def _piece(self, lines: pl.DataFrame) -> Piece:
        """The lines as rows: those of a layout at once, the others one by one, all in their order."""
        is_sound = lines.select(_is_sound(self._options)).to_series()
        sound, flawed = (lines, lines[:0]) if is_sound.all() else (lines.filter(is_sound), lines.filter(~is_sound))
        found, left = self._layouts.sorted_out(sound["text"])
        parts: list[tuple[pl.DataFrame, pl.Series]] = []
        for layout, indices in found:
            cells = columns_of(layout, sound["text"][indices])
            if cells is None:
                left = left.append(indices)
            else:
                parts.append((self._aligned(cells), sound["row_no"][indices]))
        cells, row_nos, bad = self._one_by_one(pl.concat([sound[left], flawed]))
        return self._sifted([*parts, (cells, row_nos)], bad)

    def _aligned(self, cells: pl.DataFrame) -> pl.DataFrame:
        """The cells under the list's columns, null where these lines lack one."""
        present = set(cells.columns)
        return cells.select(
            name if name in present else pl.lit(None, dtype=pl.String).alias(name) for name in self._shape.names
        )

    def _one_by_one(self, lines: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series, list[tuple[int, str, str]]]:
        """The rows of lines that fit no layout, and the lines that are none: row number, text, reason."""
        parsed = [(row_no, text, flaw or self._parsed(text)) for row_no, text, flaw in lines.iter_rows()]
        good = [(row_no, cells) for row_no, _, cells in parsed if isinstance(cells, dict)]
        bad = [(row_no, text, reason) for row_no, text, reason in parsed if isinstance(reason, str)]
        columns = {
            name: pl.Series(name, [cells.get(name) for _, cells in good], dtype=pl.String) for name in self._shape.names
        }
        return pl.DataFrame(columns), pl.Series([row_no for row_no, _ in good], dtype=pl.Int64), bad

    def _parsed(self, text: str) -> dict[str, str | None] | str:
        return parsed_line(text.encode(), self._options.max_cell_bytes)

    def _sifted(self, parts: Sequence[tuple[pl.DataFrame, pl.Series]], flawed: Sequence[tuple[int, str, str]]) -> Piece:
        filled = [part for part in parts if part[0].height] or parts[:1]
        rows, row_nos = filled[0]
        if len(filled) > 1:
            row_nos = pl.concat([part[1] for part in filled])
            order = row_nos.arg_sort()
            rows, row_nos = pl.concat([part[0] for part in filled])[order], row_nos[order]
        piece = sifted(rows, row_nos.alias("row_no"), self._options)
        if not flawed:
            return piece
        bad = pl.concat([piece.bad, self._bad(flawed)]).sort("row_no")
        return Piece(rows=piece.rows, row_nos=piece.row_nos, bad=bad)

    def _bad(self, flawed: Sequence[tuple[int, str, str]]) -> pl.DataFrame:
        told = {
            reason: text.format(encoding=self._shape.encoding, max_bytes=self._options.max_cell_bytes)
            for reason, text in EXPLANATIONS.items()
        }
        rows = [(row_no, None, reason, told[reason], shown(text)) for row_no, text, reason in flawed]
        return pl.DataFrame(rows, schema=BAD_SCHEMA, orient="row")
