"""The layouts that JSON lines have in common, and reading whole columns of lines by them. Floor "sources".

One writer spells every line alike: the same keys in the same order with the same blanks, only the values differ. Such
a layout is learned from one line; a regular expression proves which lines have it, and then taking out the text around
the values leaves columns. What a proven line means is decided by its values alone, which stay as they are written. Any
line that fits no layout (nested values, other keys, broken) is left to the parser that goes object by object.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

MOST_LAYOUTS: Final = 16
MOST_KEYS: Final = 64  # the pattern of a wider line is no longer quick to build
TAUGHT_BY: Final = 8  # so many of the lines left over are asked for a layout
ABSENT: Final = "\x1f"  # no JSON text holds it: control characters are escaped there

# Source: RFC 8259 §6 and §7. Left out are escaped surrogates, which may be half a character.
_ESCAPE: Final = r'\\(?:["\\/bfnrt]|u(?:[0-9a-ce-fA-CE-F][0-9a-fA-F]{3}|[dD][0-7][0-9a-fA-F]{2}))'
_TEXT: Final = rf'"(?:[^"\\\x00-\x1f]|{_ESCAPE})*"'
_NUMBER: Final = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
_VALUE: Final = rf"(?:{_TEXT}|{_NUMBER}|true|false|null)"
# A key begins with no blank and no comma: so the text before a value cannot be found inside or across values.
_ENTRY: Final = re.compile(rf'([ \t]*[{{,][ \t]*"([^"\\\x00-\x1f, ][^"\\\x00-\x1f]*)"[ \t]*:[ \t]*){_VALUE}')
_END: Final = re.compile(r"[ \t]*\}[ \t]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """The keys of a line, in order, and the text around its values: one piece before each and one at the end."""

    keys: tuple[str, ...]
    pieces: tuple[str, ...]
    pattern: str


def learned(line: str) -> Layout | None:
    """The layout of a line; None for one that has none: not flat, a key twice, or no JSON object at all."""
    keys: list[str] = []
    pieces: list[str] = []
    at = 0
    while (entry := _ENTRY.match(line, at)) and len(keys) <= MOST_KEYS:
        pieces.append(entry[1])
        keys.append(entry[2])
        at = entry.end()
    pieces.append(line[at:])
    is_object = [piece.lstrip()[:1] for piece in pieces[:-1]] == ["{", *[","] * (len(keys) - 1)]
    if not (keys and is_object and _END.fullmatch(pieces[-1]) and len(set(keys)) == len(keys) <= MOST_KEYS):
        return None
    pattern = "^" + _VALUE.join(map(pl.escape_regex, pieces)) + "$"
    return Layout(keys=tuple(keys), pieces=tuple(pieces), pattern=pattern)


class Layouts:
    """The layouts met in a list so far."""

    def __init__(self) -> None:
        self._known: dict[str, Layout] = {}

    def sorted_out(self, texts: pl.Series) -> tuple[list[tuple[Layout, pl.Series]], pl.Series]:
        """The lines of each layout, as indices, and those of none. What is not known yet is learned on the way."""
        left = pl.int_range(texts.len(), dtype=pl.UInt32, eager=True)
        found: list[tuple[Layout, pl.Series]] = []
        tried: set[str] = set()
        while left.len():
            layout = self._next(texts[left[:TAUGHT_BY]], tried)
            if layout is None:
                break
            tried.add(layout.pattern)
            fits = texts[left].str.contains(layout.pattern)
            if fits.any():
                found.append((layout, left.filter(fits)))
                left = left.filter(~fits)
        return found, left

    def _next(self, texts: pl.Series, tried: set[str]) -> Layout | None:
        """A known layout not yet tried; then that of the first line here that has one."""
        for pattern, known in self._known.items():
            if pattern not in tried:
                return known
        if len(self._known) >= MOST_LAYOUTS:
            return None
        new = (layout for line in texts if (layout := learned(line)) and layout.pattern not in tried)
        layout = next(new, None)
        return layout and self._known.setdefault(layout.pattern, layout)


def columns_of(layout: Layout, texts: pl.Series) -> pl.DataFrame | None:
    """The cells of lines that have the layout, a column per key: text as meant, numbers as written, null as null.

    None if taking the text around the values out does not leave just as many cells as there should be.
    """
    first, *between, last = layout.pieces
    values = texts.str.strip_prefix(first).str.strip_suffix(last)
    data = values.str.join("\n").item().encode() if values.len() else b""
    for piece in between:
        data = data.replace(piece.encode(), ABSENT.encode())
    if data.count(ABSENT.encode()) != texts.len() * len(between):
        return None
    header = ABSENT.join(map(str, range(len(layout.keys)))).encode()
    raw = pl.read_csv(
        io.BytesIO(header + b"\n" + data + b"\n"),
        separator=ABSENT,
        quote_char=None,
        infer_schema=False,
        empty_string_is_null=False,
    )
    if raw.shape != (texts.len(), len(layout.keys)):
        return None
    raw.columns = list(layout.keys)
    return _meant(raw)


def _meant(raw: pl.DataFrame) -> pl.DataFrame:
    """What JSON values mean, as text."""
    cell = pl.all()
    cells = raw.select(pl.when(cell != "null").then(cell.str.strip_prefix('"').str.strip_suffix('"')).name.keep())
    escaped = raw.select(pl.all().str.contains("\\", literal=True).any()).row(0)
    if not any(escaped):
        return cells
    names = [name for name, has_escapes in zip(raw.columns, escaped, strict=True) if has_escapes]
    return cells.with_columns(_with_escapes_meant(raw[name], cells[name]) for name in names)


def _with_escapes_meant(raw: pl.Series, cells: pl.Series) -> pl.Series:
    escaped = raw.str.contains("\\", literal=True).arg_true()
    return cells.scatter(escaped, _unescaped(raw[escaped].to_list()))


def _unescaped(values: Sequence[str]) -> pl.Series:
    return pl.Series(json.loads("[" + ",".join(values) + "]"), dtype=pl.String)
