"""What a person is told about a checked list: a sentence for every reject, first examples, counts for the whole.

Floor: phones, pure. A newcomer may wonder why sentences stand here and not in the command line: the reject file
carries them too, and a reason without its remedy would only be half of one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import phonenumbers
import polars as pl

from importer.phones.columns import VERDICT

_SENTENCES = {
    "empty": "The cell is empty. Fill in a number, or delete the row.",
    "scientific_notation": (
        "A spreadsheet rounded this number and the lost digits cannot be recovered. "
        "Export again from where the list came from, with the column formatted as text."
    ),
    "decimal_point": "The number ends like a decimal fraction. Delete the ending, or export the column as text.",
    "two_numbers": "The cell holds more than one number. Put each on a row of its own, or use --split-cells.",
    "not_a_number": "There is no phone number here. Write it in digits, with + and the country code in front.",
    "letters": "There are letters among the digits. Remove them, and move notes to another column.",
    "invisible_characters": "There are characters among the digits that cannot be seen. Type the number again.",
    "too_short": "The number has too few digits{have}. A digit or the area code is missing.{lengths}",
    "too_long": "The number has too many digits{have}. Look for a doubled digit or a second number.{lengths}",
    "wrong_length": "No number of this country has this many digits{have}.{lengths}",
    "short_code": "This is a short code. It works inside its country only, so it cannot be called from here.",
    "no_area_code": "The area code is missing{have}. Write the whole number, with the country code.",
    "no_country_code": (
        "No country code begins like this. Write + and the country code, "
        "or name the country these numbers are dialled in with --region."
    ),
    "unknown_region": "The row's region is not a country we know. Write two letters, such as US or DE.",
    "lost_plus": "It is no number of this region, but is one with the country code in front. Write the + again.",
    "lost_leading_zero": "The number is valid with a 0 in front, which a spreadsheet may have removed. Write it again.",
    "invalid_for_region": (
        "The number is possible but not valid: the length is right, but no number of this country begins like this. "
        "Check the digits and the country, or let such numbers pass with --accept possible."
    ),
    "type_not_wanted": "It is a valid number of a type that is left out, such as premium rate. Say --types to keep it.",
}


def explain(reason: str, cell: str, region: str | None = None) -> str:
    """One or two sentences on what is wrong with a cell and how a person can mend it.

    `region` lets a length be compared with the lengths in use there. **Errors**: KeyError for a word that is no reason.
    """
    count = sum(character.isdigit() for character in cell)
    lengths = _lengths_in_use(region) if region in phonenumbers.SUPPORTED_REGIONS else ""
    return _SENTENCES[reason].format(have=f" ({count} in all)", lengths=lengths)


def _lengths_in_use(region: str | None) -> str:
    metadata = phonenumbers.PhoneMetadata.metadata_for_region(region or "", None)
    if metadata is None or metadata.general_desc is None:
        return ""
    used = [str(length) for length in metadata.general_desc.possible_length]
    return (
        f" It was read as a number of {region}: {_either(used)} digits after the country code +{metadata.country_code}."
    )


def _either(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """A checked list in numbers.

    **Units**: everything is a count of rows, but `fallback_share`, a fraction of all rows. `own_code_bare_rows` of the
    `ambiguous_bare_rows` begin with the region's own country code when read country code first.
    """

    rows: int
    accepted_rows: int
    possible_rows: int
    fallback_rows: int
    ambiguous_bare_rows: int
    own_code_bare_rows: int
    reasons: dict[str, int] = field(default_factory=dict)
    warnings: dict[str, int] = field(default_factory=dict)
    regions: dict[str, int] = field(default_factory=dict)
    types: dict[str, int] = field(default_factory=dict)

    @property
    def fallback_share(self) -> float:
        """The part of all rows that `phonenumbers` had to decide."""
        return self.fallback_rows / self.rows if self.rows else 0.0


def summarise(checked: pl.DataFrame) -> Summary:
    """Counts a checked frame. Frames of several chunks may be put together first."""
    accepted = checked.filter(pl.col("reason").is_null())
    return Summary(
        rows=len(checked),
        accepted_rows=len(accepted),
        possible_rows=len(checked.filter(pl.col("verdict") == pl.lit("possible", dtype=VERDICT))),
        fallback_rows=len(checked.filter(pl.col("is_fallback"))),
        ambiguous_bare_rows=len(checked.filter(pl.col("is_ambiguous_bare"))),
        own_code_bare_rows=len(checked.filter(pl.col("is_own_code_bare"))),
        reasons=_counts(checked["reason"]),
        warnings=_counts(checked["warning"]),
        regions=_counts(accepted["region"]),
        types=_counts(accepted["type"]),
    )


def _counts(words: pl.Series) -> dict[str, int]:
    counted = (
        words.drop_nulls()
        .cast(pl.String)
        .alias("word")
        .value_counts()
        .sort(["count", "word"], descending=[True, False])
    )
    return dict(counted.rows())


def first_rejects(checked: pl.DataFrame, numbers: pl.Series, count: int = 3) -> pl.DataFrame:
    """The first `count` rejected cells of each reason. **Shapes**: `reason`, `row` (counted from 0), `cell`."""
    return (
        pl.DataFrame({"reason": checked["reason"], "cell": numbers})
        .with_row_index("row")
        .filter(pl.col("reason").is_not_null())
        .group_by("reason", maintain_order=True)
        .head(count)
        .select("reason", "row", "cell")
    )


def styles(numbers: pl.Series) -> dict[str, int]:
    """How the numbers of a column begin; several large counts mean that lists of different origin were mixed."""
    start = numbers.cast(pl.String).drop_nulls().str.extract(r"^[^0-9+]*(\+|00|0|[1-9])")
    style = start.fill_null("none").replace(_STYLES | {str(digit): "digit" for digit in range(1, 10)})
    return _counts(style)


_STYLES = {"+": "plus", "00": "double_zero", "0": "zero"}
