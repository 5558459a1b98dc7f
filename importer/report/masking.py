"""Text made fit for a page that may be mailed around: no phone number in it can be read, whoever wrote it.

Floor: report, pure. A newcomer may question that this is stricter than the log's redaction: a cell is written as
people write numbers, with spaces, dots and brackets, so what looks like a number is told by counting digits, whatever
stands between them. Dates are let through, since lists and rounds are named after nights.
"""

from __future__ import annotations

import re

BLOT = "•"
LEAST_DIGITS = 7  # a shorter run of digits is nobody's number
_SHOWN_DIGITS = 2
_LONGEST = 300

_DATE = r"(?<!\d)(?:19|20)\d\d-[01]\d-[0-3]\d(?!\d)|(?<!\d)20[2-4]\d[01]\d[0-3]\d(?!\d)"
_BETWEEN = r"(?:[\s()./+\-_\u2000-\u200f\u2010-\u2015\u2212]|,(?!\s))*"
_NUMBER = rf"\d(?:{_BETWEEN}\d){{{LEAST_DIGITS - 1},}}"
_DATE_OR_NUMBER = re.compile(rf"(?P<date>{_DATE})|(?P<number>{_NUMBER})")
_PLACEHOLDERS = {"n/a", "na", "none", "null", "nan", "nil", "test", "unknown", "#n/a", "#ref!", "#value!", "no", "tbd"}
_SCIENTIFIC = re.compile(r"[+-]?\d+(?:[.,]\d+)?[eE][+-]?\d+")


def masked(text: str) -> str:
    """The text with every run of seven digits or more blotted out but for its last two, dates aside."""
    return _DATE_OR_NUMBER.sub(lambda found: found[0] if found["date"] else _blotted(found[0]), text[:_LONGEST])


def masked_cell(cell: str) -> str:
    """The shape of a cell: digits and letters blotted out, what stands between them kept.

    Nobody's name can be read either, since a column of numbers may hold anything. What only stands for nothing is kept.
    """
    shown = cell.strip()[:40]
    if not shown:
        return "(empty)"
    if shown.casefold() in _PLACEHOLDERS:
        return shown
    shape = "".join(_shape(sign) for sign in shown)
    return shape.replace("x", "E", 1) if _SCIENTIFIC.fullmatch(shown) else shape


def _shape(sign: str) -> str:
    if sign.isnumeric():
        return BLOT
    return "x" if sign.isalpha() else sign


def _blotted(number: str) -> str:
    digits = sum(sign.isnumeric() for sign in number)
    hidden = iter(range(digits - _SHOWN_DIGITS))
    return "".join(BLOT if sign.isnumeric() and next(hidden, None) is not None else sign for sign in number)
