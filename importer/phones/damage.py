"""Signs that a cell was damaged before we saw it, and sharper names for what is wrong with a rejected one.

Floor: phones, pure. Damage rejects first, even where a reading would succeed: `7.9161E+10` has lost its last digits
for good, and two numbers in a cell would be read as a number and its extension. A newcomer may wonder about the
slash: `0049 (0)36412/1234567` is one German number, so a slash parts numbers only where both sides are long.
"""

from __future__ import annotations

import polars as pl

from importer.phones.columns import REASON, WARNING, placed, same
from importer.phones.testranges import TEST_NUMBER

INVISIBLE = r"[\u00AD\u034F\u061C\u180E\u200B-\u200F\u202A-\u202E\u2060-\u2064\u2066-\u206F\uFE0F\uFEFF]"

_EMPTY = r"^\s*$"
_SCIENTIFIC = r"^\s*[+-]?[0-9]+(?:[.,][0-9]*)?[eE][+-]?[0-9]{1,3}\s*$"
_DECIMAL = r"^\s*\+?[0-9]{4,}[.,]0{1,2}\s*$"

# Seven or nine digits of one number, then words beside a separator, then as many digits again.
_SEVEN = r"(?:[0-9][ ().\u00A0-]{0,3}){7}"
_NINE = r"(?:[0-9][ ().\u00A0-]{0,3}){9}"
_WORDS = r"[^0-9=xX#;,/|&]{0,16}"
_TWO = rf"{_SEVEN}{_WORDS}[;,|&\n\r\t+\uFF0B]{_WORDS}{_SEVEN}|{_NINE}{_WORDS}/{_WORDS}{_NINE}"
# In a cell already rejected a space or a short word is enough, if neither run has a space inside.
_RUN = r"\+?(?:\(?[0-9][().-]{0,2}){7,}"
_TWO_RUNS = rf"{_RUN}(?:\s+|\s*/\s*|\s+\p{{L}}{{1,4}}\s+){_RUN}"

# No damage without one of these: most cells are done after this one look.
_SUSPICION = rf"{_EMPTY}|[.,]0{{1,2}}\s*$|[eE][+-]?[0-9]|[0-9][^0-9]*[/;,|&\n\r\t+\uFF0B][^0-9]*[0-9]"

# Faults that say little, so that the cell is looked at again; fewer digits than three are no number to anybody.
_VAGUE_FAULTS = ("not_viable", "too_long", "wrong_length")
_FEWEST_DIGITS = 3

_LABELLED = r"(?:e?xt(?:ensi(?:o\u0301?|\u00F3))?n?|\u0434\u043E\u0431|anexo|int|[x#~,;])"
_EXTENSION = rf"(?i)[0-9].*{_LABELLED}[^0-9]{{0,4}}[0-9]{{1,20}}#?\s*$"
_THREE_LETTERS = r"[0-9+](?:.*?[A-Za-z]){3}"
_NOTEWORTHY = rf"[0-9].*[A-Za-z#~,;\u0434\u0414]|{INVISIBLE}"


def damage_of(cells: pl.Series, odd: pl.Series) -> pl.Series:
    """The damage each cell shows, null for none. **Shapes**: strings in, as many REASON out.

    `odd` are the rows that `odd_rows` finds: no other cell shows damage.
    """
    suspects = odd.filter(cells.gather(odd).str.contains(_SUSPICION))
    found = pl.select(
        _first_of(
            {
                "empty": cells.gather(suspects).str.contains(_EMPTY),
                "scientific_notation": cells.gather(suspects).str.contains(_SCIENTIFIC),
                "decimal_point": cells.gather(suspects).str.contains(_DECIMAL),
                "two_numbers": cells.gather(suspects).str.contains(_TWO),
            }
        ).cast(REASON)
    ).to_series()
    return placed(same(None, len(cells), REASON), suspects, found).alias("damage")


def sharper_faults(cells: pl.Series, faults: pl.Series) -> pl.Series:
    """The reason a person can act on, for cells rejected with these faults. **Shapes**: strings and FAULT, REASON."""
    vague = faults.is_in(_VAGUE_FAULTS).arg_true()
    cells, given = cells.gather(vague), faults.gather(vague)
    is_unreadable = given == "not_viable"
    digits = cells.str.count_matches(r"\p{Nd}")
    found = pl.select(
        _first_of(
            {
                "two_numbers": cells.str.contains(_TWO_RUNS),
                "not_a_number": is_unreadable & (digits == 0),
                "invisible_characters": is_unreadable & cells.str.contains(INVISIBLE),
                "letters": is_unreadable & cells.str.contains(r"\p{L}"),
                "too_short": is_unreadable & (digits < _FEWEST_DIGITS),
            }
        ).cast(REASON)
    ).to_series()
    other = given.zip_with(~is_unreadable, same("not_a_number", len(given), REASON))
    return placed(faults, vague, found.zip_with(found.is_not_null(), other))


def warnings_of(cells: pl.Series, e164: pl.Series, odd: pl.Series) -> pl.Series:
    """What an accepted cell should be looked at for, null for nothing. **Shapes**: strings in, as many WARNING out.

    `e164` is null for rejected cells, which get no warning. `odd` are the rows that `odd_rows` finds: of the other
    cells only test numbers are noteworthy.
    """
    is_test = e164.str.contains(TEST_NUMBER)
    noteworthy = odd.filter(cells.gather(odd).str.contains(_NOTEWORTHY) & e164.gather(odd).is_not_null())
    rows = pl.concat([is_test.arg_true(), noteworthy]).unique().sort()
    found = pl.select(
        _first_of(
            {
                "test_range": is_test.gather(rows),
                "extension_dropped": cells.gather(rows).str.contains(_EXTENSION),
                "letters_as_digits": cells.gather(rows).str.contains(_THREE_LETTERS),
                "invisible_characters": cells.gather(rows).str.contains(INVISIBLE),
            }
        ).cast(WARNING)
    ).to_series()
    return placed(same(None, len(cells), WARNING), rows, found).alias("warning")


def _first_of(signs: dict[str, pl.Series]) -> pl.Expr:
    found = pl.lit(None, dtype=pl.String)
    for code, sign in reversed(signs.items()):
        found = pl.when(sign).then(pl.lit(code)).otherwise(found)
    return found
