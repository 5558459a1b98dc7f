"""Which rejected cells are worth reading again with a 0 in front, as a spreadsheet may have taken one away.

Floor: phones, pure. A newcomer may ask why not all: trying costs as much as the first reading, and in many countries
few numbers or none can begin with 0. The metadata says what such numbers begin with; the answer errs towards yes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import cache

import phonenumbers
import polars as pl

from importer.phones.columns import all_false
from importer.phones.patterns import beginnings, parse
from importer.phones.plans import CALLING_CODES, metadata_of

_LOOKED_AT_DIGITS = 3
_GAP = r"[\x00-/:-@\[-`{-\x7F]*"
# May stand for a digit: a letter on the keypad, or a digit of another script.
_PERHAPS = r"A-Za-z\x80-\x{10FFFF}"


def may_be_valid_with_zero(cells: pl.Series, region: str) -> pl.Series:
    """False where no 0 in front can make a bare number valid. **Shapes**: strings in, as many Booleans out."""
    followers = _after_zero(region)
    return cells.str.contains(_pattern(followers)) if followers else all_false(len(cells))


@cache
def _after_zero(region: str) -> frozenset[str]:
    """The next digits, two at most, after a 0 at the beginning of whatever leads to a valid number."""
    texts = {text for source in _sources(region) for text in beginnings(parse(source), _LOOKED_AT_DIGITS)}
    return frozenset(text[1:] for text in texts if text.startswith("0"))


def _sources(region: str) -> Iterator[str]:
    """What a number dialled in the region can begin with: the way abroad, the way at home, the number itself."""
    code = phonenumbers.country_code_for_region(region)
    if not code:
        return
    home = metadata_of(code, region)
    general = (metadata_of(code, each).general_desc for each in CALLING_CODES[code])
    yield from filter(None, (home.international_prefix, home.national_prefix_for_parsing))
    yield from filter(None, (desc.national_number_pattern for desc in general if desc is not None))


def _pattern(followers: frozenset[str]) -> str:
    """Cells whose first digits are among the followers, or perhaps are."""
    if "" in followers:
        return ""
    seconds = defaultdict(set)
    for text in followers:
        seconds[text[0]].add(text[1:])
    options = [first + _second(after) for first, after in sorted(seconds.items())]
    return rf"^[^0-9]*(?:[\x80-\x{{10FFFF}}]|{'|'.join(options)})"


def _second(digits: set[str]) -> str:
    return "" if "" in digits else f"{_GAP}[{''.join(sorted(digits))}{_PERHAPS}]"
