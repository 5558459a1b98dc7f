"""What is written in a cell, brought down to digits: junk, punctuation, extensions, letters and other scripts' digits.

Floor: phones, pure. Three lanes, cheapest first: digits with at most a plus; digits with ASCII punctuation; and the
rest, which walks through every step `phonenumbers` takes before it looks at a number. A newcomer may wonder about
the alphabet: outside it Python and Rust disagree on what a letter is, so such cells are left to `phonenumbers`.
"""

from __future__ import annotations

import re
from functools import lru_cache

import polars as pl

from importer.phones.columns import all_false, placed, same
from importer.phones.world import LONGEST_DIGITS

# Cells this long are rejected unread, as `phonenumbers` does above 250; the plus we may add needs one more.
_LONGEST_CELL = 249

_CLEAN = rf"^\+?[0-9]{{3,{LONGEST_DIGITS}}}$"
# Junk (no digit, plus or parameter), plus signs, three digits or more among brackets and dashes, junk without letters.
_PLAIN = r"^[\x00-*,\-./:<-\x7F]*\+*(?:[ ()./\-\[\]*]*[0-9]){3,}[\x00-\x22\x24-*,\-./:-@\[-`{-\x7F]*$"
# Taking these away is faster than keeping what a regular expression finds.
_ASCII_BUT_DIGITS = [chr(code) for code in range(0x80) if not chr(code).isdigit()]

_OTHER_DIGITS = {chr(zero + digit): str(digit) for zero in (0x0660, 0x06F0, 0xFF10) for digit in range(10)}
_KEYPAD = {
    letter: str(digit)
    for digit, letters in enumerate(("ABC", "DEF", "GHI", "JKL", "MNO", "PQRS", "TUV", "WXYZ"), start=2)
    for upper in letters
    for letter in (upper, upper.lower())
}

_PLUS = r"+\uFF0B"
# The characters libphonenumber takes for punctuation inside a number; `x` is one of them.
_PUNCTUATION = (
    r"\-x\u2010-\u2015\u2212\u30FC\uFF0D-\uFF0F \u00A0\u00AD\u200B\u2060\u3000()"
    r"\uFF08\uFF09\uFF3B\uFF3D.\[\]/~\u2053\u223C\uFF5E"
)
_SPACES = r"[ \u00A0\t,]*"
_AFTER_LABEL = r"[:.\uFF0E]?[ \u00A0\t,\-]*"
_LONG_LABEL = r"(?:e?xt(?:ensi(?:o\u0301?|\u00F3))?n?|\uFF45?\uFF58\uFF54\uFF4E?|\u0434\u043E\u0431|anexo)"
_SHORT_LABEL = r"(?:[x\uFF58#\uFF03~\uFF5E]|int|\uFF49\uFF4E\uFF54)"
# The ways to write an extension; the vaguer the label, the fewer digits it may have.
_EXTENSION = "|".join(
    (
        r";ext=[0-9]{1,20}",
        rf"{_SPACES}{_LONG_LABEL}{_AFTER_LABEL}[0-9]{{1,20}}#?",
        rf"{_SPACES}{_SHORT_LABEL}{_AFTER_LABEL}[0-9]{{1,9}}#?",
        r"[\- ]+[0-9]{1,6}#",
        rf"[ \u00A0\t]*(?:,{{2}}|;){_AFTER_LABEL}[0-9]{{1,15}}#?",
        rf"[ \u00A0\t]*,+{_AFTER_LABEL}[0-9]{{1,9}}#?",
    )
)
_VIABLE = (
    rf"(?i)^(?:[0-9]{{2}}|[{_PLUS}]*(?:[{_PUNCTUATION}*]*[0-9]){{3,}}[{_PUNCTUATION}*A-Za-z0-9]*(?:{_EXTENSION})?)$"
)
_ENDING = rf"(?i)(?:{_EXTENSION})$"
_SECOND_NUMBER = r"(?s)[\\/] *x.*$"
_PARAMETER = ";(?:phone-context|isub)="

# (digits, has a plus, is viable, is left to `phonenumbers`); digits are "" where nothing viable was found.
Texts = pl.DataFrame


def read_cells(cells: pl.Series) -> Texts:
    """The digits of each cell. **Shapes**: strings in; `digits`, `has_plus`, `is_viable`, `is_undecided` out."""
    odd = odd_rows(cells)
    if not len(odd):
        return _clean(cells)
    if len(odd) == len(cells):
        return _not_clean(cells)
    return _overlaid(_clean(cells), odd, _not_clean(cells.gather(odd)))


def odd_rows(cells: pl.Series) -> pl.Series:
    """Where more or less is written than digits with at most a plus in front of them."""
    return (~cells.str.contains(_CLEAN)).arg_true()


def _clean(cells: pl.Series) -> Texts:
    has_plus = cells.str.starts_with("+")
    return _texts(cells.str.strip_prefix("+") if has_plus.any() else cells, has_plus)


def _not_clean(cells: pl.Series) -> Texts:
    is_plain = cells.str.contains(_PLAIN) & (cells.str.len_bytes() <= _LONGEST_CELL)
    digits = cells.str.replace_many(_ASCII_BUT_DIGITS, [""])
    texts = _texts(digits, cells.str.contains("+", literal=True))
    rest = (~(is_plain & (digits.str.len_bytes() <= LONGEST_DIGITS))).arg_true()
    return _overlaid(texts, rest, _any(cells.gather(rest))) if len(rest) else texts


def _texts(digits: pl.Series, has_plus: pl.Series) -> Texts:
    count = len(digits)
    is_viable = same(value=True, count=count, dtype=pl.Boolean)
    return pl.DataFrame(
        {"digits": digits, "has_plus": has_plus, "is_viable": is_viable, "is_undecided": all_false(count)}
    )


def _overlaid(texts: Texts, rows: pl.Series, other: Texts) -> Texts:
    return texts.with_columns(placed(texts[name], rows, other[name]) for name in texts.columns)


def _any(cells: pl.Series) -> Texts:
    """The long way, for cells of any content."""
    is_known = cells.str.contains(_alphabet()) & ~cells.str.contains(_PARAMETER)
    is_foreign = cells.str.contains(r"[\u0660-\u0669\u06F0-\u06F9\uFF10-\uFF19]")
    text = cells.str.replace_many(_OTHER_DIGITS) if is_foreign.any() else cells
    text = _possible_number(text)
    is_viable = text.str.contains(_VIABLE)
    number = _without_extension(text)
    is_worded = number.str.count_matches("[A-Za-z]") >= _LETTERS_OF_A_WORD
    digits = _keypad_digits(number, is_worded).str.replace_all("[^0-9]+", "")
    is_read = is_known & (cells.str.len_chars() <= _LONGEST_CELL) & ~(is_foreign & is_worded)
    # Two digits before an extension: what is a number then depends on whether a plus will be put in front.
    is_read &= ~((number != text) & number.str.contains("^[0-9]{2}$"))
    is_short_enough = digits.str.len_bytes() <= LONGEST_DIGITS
    return pl.DataFrame(
        {
            "digits": digits.zip_with(is_viable & is_short_enough, same("", len(cells), pl.String)),
            "has_plus": number.str.contains(f"^[{_PLUS}]"),
            "is_viable": is_viable,
            "is_undecided": ~is_read | (is_viable & ~is_short_enough),
        }
    )


# Fewer letters than these are taken for typing errors, not for a word on the keypad.
_LETTERS_OF_A_WORD = 3


def _possible_number(text: pl.Series) -> pl.Series:
    """From the first plus or digit up to the junk at the end or a second extension."""
    text = text.str.replace(f"^[^{_PLUS}0-9]+", "").str.replace(_junk_at_end(), "")
    return text.str.replace(_SECOND_NUMBER, "")


def _without_extension(text: pl.Series) -> pl.Series:
    number = text.str.replace(_ENDING, "")
    return number.zip_with((number != text) & number.str.contains(_VIABLE), text)


def _keypad_digits(number: pl.Series, is_worded: pl.Series) -> pl.Series:
    rows = is_worded.arg_true()
    return placed(number, rows, number.gather(rows).str.replace_many(_KEYPAD))


def _known_characters() -> list[str]:
    """Characters that Python and Rust judge alike, or whose nature is looked up here and written into a pattern."""
    ranges = (
        (0x00, 0x7F),
        (0xA0, 0xFF),
        (0x0301, 0x0301),
        (0x0400, 0x045F),
        (0x0660, 0x0669),
        (0x06F0, 0x06F9),
        (0x2000, 0x206F),
        (0x2116, 0x2116),
        (0x2212, 0x2212),
        (0x223C, 0x223C),
        (0x260E, 0x260F),
        (0x3000, 0x3000),
        (0x30FC, 0x30FC),
        (0xFE0F, 0xFE0F),
        (0xFEFF, 0xFEFF),
        (0xFF01, 0xFF5E),
        (0x1F4DE, 0x1F4F2),
    )
    return [chr(code) for first, last in ranges for code in range(first, last + 1)]


@lru_cache(maxsize=1)
def _alphabet() -> str:
    return f"^{_character_class(_known_characters())}*$"


@lru_cache(maxsize=1)
def _junk_at_end() -> str:
    is_junk = re.compile(r"_|[^#\w]").fullmatch
    return f"{_character_class([character for character in _known_characters() if is_junk(character)])}+$"


def _character_class(characters: list[str]) -> str:
    return "[" + "".join(rf"\u{{{ord(character):X}}}" for character in characters) + "]"
