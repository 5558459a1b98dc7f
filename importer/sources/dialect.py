"""Delimiter, quote and header of a text list, found from its first lines. Floor "sources".

Every candidate delimiter is tried with the real record scanner; the one that gives the most records of one width,
header included, wins. The standard library's sniffer guesses from letter frequencies instead and is often wrong.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from importer.errors import ListProblem, UsageProblem
from importer.sources.guard import unguarded_names
from importer.sources.records import ReadOptions
from importer.sources.scanner import Grammar, RecordScanner, split_record

DELIMITERS: Final = (",", ";", "\t", "|")
SAMPLE_BYTES: Final = 256 * 1_024
STEADY_SHARE: Final = 0.9  # of the records that must have one width for a delimiter to be believed
PHONE: Final = re.compile(r"'?(?:tel:)?\s*[+(]?\d[\d\s().\-/]{5,22}")
DATE: Final = re.compile(r"\d{4}-\d\d-\d\d|\d\d?[./]\d\d?[./]\d{4}")
PHONE_DIGITS: Final = range(7, 16)  # Source: E.164 allows 15 digits; shorter than 7 is no subscriber's full number
CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\udc80-\udcff]")  # bytes that are no UTF-8 included
JUNK_SHARE: Final = 0.02


@dataclass(frozen=True, kw_only=True, slots=True)
class Dialect:
    """How a text list is laid out. `header_row_no` is 0 without a header; `names` are made up then."""

    grammar: Grammar
    names: tuple[str, ...]
    header_row_no: int


def find_dialect(block: bytes, options: ReadOptions, name: str) -> Dialect:
    """The dialect of the list that begins with `block` (UTF-8).

    **Errors**: ListProblem if this is no text, has no records at all, or its header is unusable.
    """
    _check_text(block[:SAMPLE_BYTES], name)
    sample = _sample(block, options)
    grammar = _grammar(sample, options)
    records = _scanned(block, grammar, options)
    if not records.height:
        raise ListProblem(
            f"{name} holds nothing but blank lines", hint="A list with nobody in it still has a header line."
        )
    return _with_header(records, grammar, options, name)


def _check_text(head: bytes, name: str) -> None:
    text = head.decode("utf-8", "surrogateescape")
    junk = len(CONTROL.findall(text))
    if junk > 3 and junk > len(text) * JUNK_SHARE * (10 if "\0" not in text else 1):
        raise ListProblem(
            f"{name} is not a text list: it looks like binary data",
            hint="Readable are CSV, JSON lines, Parquet, XLSX and XLS. If this is text, name its --encoding.",
        )


def _sample(block: bytes, options: ReadOptions) -> bytes:
    """The first lines, whole, unless one record alone is longer than that."""
    head = block[: max(SAMPLE_BYTES, 0)]
    cut = max(head.rfind(b"\n"), head.rfind(b"\r")) + 1
    return head[:cut] if cut and len(block) > len(head) else block[: 2 * options.max_cell_bytes]


def _scanned(block: bytes, grammar: Grammar, options: ReadOptions) -> pl.DataFrame:
    scanner = RecordScanner(grammar, max_record_bytes=options.max_cell_bytes)
    return pl.concat(list(scanner.scan_all(iter([block]))))


def _grammar(sample: bytes, options: ReadOptions) -> Grammar:
    quote = '"' if options.quote is None else options.quote
    candidates = DELIMITERS if options.delimiter is None else (options.delimiter,)
    grammars = [Grammar(delimiter=delimiter, quote=quote) for delimiter in candidates]
    best = max(grammars, key=lambda grammar: _fitness(_scanned(sample, grammar, options), grammar))
    if options.quote is None and quote.encode() not in sample and _is_single_quoted(sample, best, options):
        return Grammar(delimiter=best.delimiter, quote="'")
    return best


def _fitness(records: pl.DataFrame, grammar: Grammar) -> tuple[bool, float, int, int]:
    """How well a delimiter fits: is the header as wide as the steady width, how steady is that, does it lay phone
    numbers bare, and how wide is it.
    """  # noqa: D205 - one thought
    sound = records.filter(pl.col("flaw").is_null())
    if not sound.height:
        return (False, 0.0, 0, 0)
    width = usual_width(sound)
    share = sound.select((pl.col("fields") == width).mean()).item()
    is_table = width > 1 and sound["fields"][0] == width and share >= STEADY_SHARE
    cells = [cell for text in sound["text"].head(2).to_list() for cell in split_record(text, grammar)]
    return (is_table, share if width > 1 else 0.0, sum(map(looks_like_phone, cells)), width)


def usual_width(sound: pl.DataFrame) -> int:
    """The commonest field count; the larger of equals."""
    counts = sound.group_by("fields").len().sort(["len", "fields"], descending=True)
    return int(counts["fields"][0])


def _is_single_quoted(sample: bytes, grammar: Grammar, options: ReadOptions) -> bool:
    """Whether apostrophes only ever quote whole cells, and do so in most records."""
    records = _scanned(sample, Grammar(delimiter=grammar.delimiter, quote="'"), options)
    quoting = records.select((pl.col("text").str.contains("'", literal=True) & pl.col("flaw").is_null()).mean()).item()
    is_clean = not records.select((pl.col("flaw").is_not_null() | pl.col("is_odd")).any()).item()
    return bool(is_clean and (quoting or 0.0) > STEADY_SHARE)


def _with_header(records: pl.DataFrame, grammar: Grammar, options: ReadOptions, name: str) -> Dialect:
    first = records.row(0, named=True)
    cells = split_record(first["text"], grammar) if first["flaw"] is None else []
    has_header = not any(map(looks_like_phone, cells)) if options.has_header is None else options.has_header
    if not has_header:
        sound = records.filter(pl.col("flaw").is_null())
        width = usual_width(sound) if sound.height else 1
        check_width(width, options, name)
        return Dialect(grammar=grammar, names=tuple(map(str, range(width))), header_row_no=0)
    if first["flaw"] is not None:
        raise ListProblem(
            f"the header of {name} (row {first['row_no']}) cannot be read: {first['flaw'].replace('_', ' ')}",
            hint="Repair the first line, or name --encoding, --delimiter or --quote.",
        )
    check_width(len(cells), options, name)
    return Dialect(grammar=grammar, names=unguarded_names(column_names(cells, name)), header_row_no=first["row_no"])


def looks_like_phone(cell: str) -> bool:
    """Whether a cell of a first row is somebody's number rather than a heading."""
    text = cell.strip()
    digits = sum(character.isdigit() for character in text)
    return digits in PHONE_DIGITS and bool(PHONE.fullmatch(text)) and not DATE.fullmatch(text)


def column_names(cells: Sequence[str | None], name: str) -> tuple[str, ...]:
    """Column names from header cells; an empty one becomes its 0-based index, as in the vendor's own upload.

    **Errors**: ListProblem naming the headers that occur twice.
    """
    names = tuple(cell or str(index) for index, cell in enumerate(cells))
    twice = sorted({column for column in names if names.count(column) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise ListProblem(
            f"{name} has more than one column called {', '.join(map(repr, twice))}",
            hint="Rename the columns in the header line, so that each name occurs once.",
        )
    return names


def check_width(width: int, options: ReadOptions, name: str) -> None:
    """Raise if the list is absurdly wide."""
    if width > options.max_columns:
        raise ListProblem(
            f"{name} has {width} columns; at most {options.max_columns} are read",
            hint="Keep the columns that the call needs, or name the right --delimiter.",
        )


def check_characters(options: ReadOptions) -> None:
    """Raise UsageProblem if delimiter or quote are not single ASCII characters that can be told apart from text."""
    for what, value in (("delimiter", options.delimiter), ("quote", options.quote)):
        is_none = value is None or (what == "quote" and value == "")
        if not is_none and (
            len(value or "") != 1 or not value or not value.isascii() or value.isalnum() or value in "\r\n\0"
        ):
            raise UsageProblem(f"the {what} must be one ASCII character, no letter or digit: {value!r}")
    if options.delimiter is not None and options.delimiter == options.quote:
        raise UsageProblem("delimiter and quote are the same character")
