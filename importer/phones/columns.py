"""The columns that phone checking passes on: their names, types and empty forms in one place.

Floor: phones, pure. Words with few values are polars Enums, four bytes or fewer a row and compared as numbers; they
compare equal to strings in expressions. A reading is what a number says; a checked frame is what we make of it.
"""

from __future__ import annotations

import phonenumbers
import polars as pl

from importer.phones.rules import REASONS, TYPES, VERDICTS, WARNINGS

NO_REGION = ""  # no default region: bare digits are read country code first
UNKNOWN_REGION = "ZZ"  # a region was named that nobody knows: only numbers with a plus can be read

REGIONS = (*sorted(phonenumbers.SUPPORTED_REGIONS), "001")
# What stopped a reading. One word more than the reasons: `not_viable` is replaced before anybody sees it, and with
# one Enum for both a fault becomes a reason without a cast.
FAULTS = (*REASONS, "not_viable")

VERDICT = pl.Enum(VERDICTS)
REGION = pl.Enum(REGIONS)
TYPE = pl.Enum(TYPES)
FAULT = REASON = pl.Enum(FAULTS)
WARNING = pl.Enum(WARNINGS)

# One row per cell. `fault` is null exactly when the verdict is valid. `plus_*` is the other reading of bare digits,
# country code first, and null unless that reading is valid.
READING: dict[str, pl.DataType] = {
    "parsed_e164": pl.String(),
    "verdict": VERDICT,
    "region": REGION,
    "type": TYPE,
    "fault": FAULT,
    "is_bare": pl.Boolean(),
    "plus_e164": pl.String(),
    "plus_region": REGION,
    "plus_type": TYPE,
    "is_fallback": pl.Boolean(),
}

CHECKED: dict[str, pl.DataType] = {
    "e164": pl.String(),
    "parsed_e164": pl.String(),
    "verdict": VERDICT,
    "region": REGION,
    "type": TYPE,
    "reason": REASON,
    "warning": WARNING,
    "is_ambiguous_bare": pl.Boolean(),
    "is_own_code_bare": pl.Boolean(),
    "is_fallback": pl.Boolean(),
}


def same(value: int | str | None, count: int, dtype: pl.DataType | type[pl.DataType]) -> pl.Series:
    """A column of one value."""
    return pl.Series([value], dtype=dtype).new_from_index(0, count)


def all_false(count: int) -> pl.Series:
    """A column of False."""
    return same(value=False, count=count, dtype=pl.Boolean)


def placed(column: pl.Series, rows: pl.Series, values: pl.Series) -> pl.Series:
    """The column with other values in some rows; a new one, where polars' own `scatter` changes what it is given."""
    return column.clone().scatter(rows, values) if len(rows) else column
