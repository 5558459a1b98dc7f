"""From readings to decisions: damage first, then the reading, then the rules of the run.

Floor: phones, pure. The reader is an argument, so that the compiled reading and the row-by-row oracle are judged by
the same words. A newcomer may wonder why damaged cells are read at all (as empty ones): it keeps rows in their place,
which is cheaper than taking them out and putting them back.
"""

from __future__ import annotations

from collections.abc import Callable

import phonenumbers
import polars as pl

from importer.phones.cells import odd_rows
from importer.phones.columns import CHECKED, REASON, placed, same
from importer.phones.damage import damage_of, sharper_faults, warnings_of
from importer.phones.homes import Homes, homes_of
from importer.phones.leadingzero import may_be_valid_with_zero
from importer.phones.rules import PhoneRules
from importer.phones.shortcodes import is_short_code

Reader = Callable[[pl.Series, Homes], pl.DataFrame]

# E.164 allows fifteen digits; seven is the shortest number anybody is called at from abroad.
_ANY_DIGITS = r"^\+[0-9]{7,15}$"


def check_with(read: Reader, numbers: pl.Series, rules: PhoneRules, regions: pl.Series | None = None) -> pl.DataFrame:
    """Judges every cell with the given reader. **Shapes**: `columns.CHECKED`, a row per cell, in order."""
    cells = numbers.cast(pl.String).fill_null("").alias("cell")
    homes = homes_of(regions, rules.region)
    odd = odd_rows(cells)
    damage = damage_of(cells, odd)
    if damage.null_count() < len(damage):
        cells = pl.select(pl.when(damage.is_null()).then(cells).otherwise(pl.lit(""))).to_series().alias("cell")
    reading = read(cells, homes).with_columns(cells, damage.alias("damage"))
    reading = _choose_bare(reading, rules, homes)
    return _sharpen(read, _apply_rules(reading, rules), homes, odd)


def _choose_bare(reading: pl.DataFrame, rules: PhoneRules, homes: Homes) -> pl.DataFrame:
    own_code = homes.each(lambda region: f"+{phonenumbers.country_code_for_region(region)}")
    is_both = (pl.col("verdict") == "valid") & (pl.col("plus_e164") != pl.col("parsed_e164"))
    reading = reading.with_columns(
        is_both.fill_null(value=False).alias("is_ambiguous_bare"),
        (is_both & pl.col("plus_e164").str.starts_with(own_code)).fill_null(value=False).alias("is_own_code_bare"),
    )
    if rules.bare != "international":
        return reading
    swapped = {"parsed_e164": "plus_e164", "region": "plus_region", "type": "plus_type"}
    return reading.with_columns(
        pl.when(pl.col("is_ambiguous_bare")).then(pl.col(new)).otherwise(pl.col(old)).alias(old)
        for old, new in swapped.items()
    )


def _apply_rules(reading: pl.DataFrame, rules: PhoneRules) -> pl.DataFrame:
    if rules.accept == "any-digits":
        reading = reading.with_columns(_any_digits().alias("parsed_e164"))
    is_enough = {
        "valid": pl.col("fault").is_null(),
        "possible": pl.col("fault").is_null() | (pl.col("fault") == "invalid_for_region"),
        "any-digits": pl.col("parsed_e164").str.contains(_ANY_DIGITS).fill_null(value=False),
    }[rules.accept]
    is_wanted = pl.col("type").is_in(rules.wanted_types)
    return reading.with_columns(
        (is_enough & pl.col("damage").is_null()).alias("is_readable"),
        pl.when(is_enough & ~is_wanted).then(pl.lit("type_not_wanted")).cast(REASON).alias("reason"),
    )


def _any_digits() -> pl.Expr:
    digits = "+" + pl.col("cell").str.replace_all("[^0-9]", "")
    return pl.coalesce("parsed_e164", pl.when(digits.str.contains(_ANY_DIGITS)).then(digits))


def _sharpen(read: Reader, reading: pl.DataFrame, homes: Homes, odd: pl.Series) -> pl.DataFrame:
    is_rejected = reading["reason"].is_null() & ~reading["is_readable"]
    rows = is_rejected.arg_true()
    reasons = (
        placed(reading["reason"], rows, _reasons(read, reading[rows], homes.gather(rows)))
        if len(rows)
        else reading["reason"]
    )
    checked = reading.with_columns(
        reasons.alias("reason"), pl.when(reasons.is_null()).then(pl.col("parsed_e164")).alias("e164")
    )
    return checked.with_columns(warnings_of(checked["cell"], checked["e164"], odd)).select(*CHECKED)


def _reasons(read: Reader, rejected: pl.DataFrame, homes: Homes) -> pl.Series:
    """The most telling reason for each rejected row: damage, else what would have made it a number, else its fault."""
    reasons = sharper_faults(rejected["cell"], rejected["fault"])
    is_lost_plus = rejected["is_bare"] & rejected["plus_e164"].is_not_null()
    reasons = _marked(reasons, is_lost_plus.arg_true(), "lost_plus")
    others = (rejected["is_bare"] & ~is_lost_plus & (reasons != "two_numbers")).arg_true()
    for region, at in homes.gather(others).groups(len(others)):
        rows = others.gather(at)
        reasons = _marked(reasons, rows.filter(is_short_code(rejected["cell"].gather(rows), region)), "short_code")
    reasons = _marked(reasons, _valid_with_zero(read, rejected["cell"], homes, others), "lost_leading_zero")
    return rejected["damage"].zip_with(rejected["damage"].is_not_null(), reasons)


def _marked(reasons: pl.Series, rows: pl.Series, reason: str) -> pl.Series:
    return placed(reasons, rows, same(reason, len(rows), REASON))


def _valid_with_zero(read: Reader, cells: pl.Series, homes: Homes, rows: pl.Series) -> pl.Series:
    """Those of the rows whose cells are valid numbers with a 0 in front."""
    groups = homes.gather(rows).groups(len(rows))
    tried = [rows.gather(at).filter(may_be_valid_with_zero(cells.gather(rows.gather(at)), home)) for home, at in groups]
    rows = pl.concat(tried) if tried else rows
    if not len(rows):
        return rows
    with_zero = cells.gather(rows).str.replace(r"^[^\p{Nd}]*", "0")
    return rows.filter(read(with_zero, homes.gather(rows))["verdict"] == "valid")
