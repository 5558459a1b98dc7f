"""The region a list without plus signs seems to come from.

Floor: phones, pure. A region is suggested and never used: ten digits can be valid in a dozen countries, and choosing
wrongly would call strangers. Two things tell regions apart that all find a list valid: whether the numbers are grouped
as that region groups them, and whether it would have refused random digits written the same way. After that the larger
country comes first.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import phonenumbers
import polars as pl

from importer.phones.cells import read_cells
from importer.phones.columns import NO_REGION
from importer.phones.compiled import read
from importer.phones.plans import CALLING_CODES, Plan, region_plan

_SAMPLE_ROWS = 500
_FEWEST_DIGITS = 7  # shorter cells are valid somewhere whatever they are
_LEAST_SHARE = 0.5
_RIVAL_SHARE = 0.9
_RIVAL_SURPRISE = 0.02
_ENOUGH_SURPRISE = 5.0  # beyond it more surprise only means a smaller country
_MOST_RIVALS = 5
_ALIKE_SHARE = 0.5
# When nothing else tells them apart: where most people are. By population, as the United Nations count it.
_LARGEST = (
    *("IN", "CN", "US", "ID", "PK", "NG", "BR", "BD", "RU", "ET", "MX", "JP", "EG", "PH", "CD", "VN", "IR", "TR"),
    *("DE", "TZ", "TH", "GB", "FR", "ZA", "IT", "KE", "MM", "CO", "KR", "ES", "AR", "DZ", "UA", "PL", "CA", "SA"),
    *("AU", "KZ", "NL", "RO"),
)
_FORMATTED_ROWS = 40


@dataclass(frozen=True, kw_only=True, slots=True)
class Rival:
    """Another region that many of the numbers are valid in. `is_close`: it explains the list about as well."""

    region: str
    share: float
    is_close: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Suggestion:
    """A region under which most bare numbers of a list are valid.

    `rivals` are the other regions in which half of them or more are, the likeliest first; with a close one a person has
    to know. **Units**: shares are fractions of the `sampled_rows` different numbers that are valid: in a region, and
    when read country code first (`plus_share`).
    """

    region: str
    share: float
    rivals: tuple[Rival, ...]
    plus_share: float
    sampled_rows: int

    @property
    def is_clear(self) -> bool:
        """True if no other region explains the list about as well."""
        return not any(rival.is_close for rival in self.rivals)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Candidate:
    region: str
    share: float
    alike_share: float  # of the numbers that are grouped at all, those grouped as this region groups them
    surprise: float  # how many times more of the list is valid than of random digits written the same way


def suggest_region(numbers: pl.Series) -> Suggestion | None:
    """The region most bare numbers seem to be dialled in; None if no region explains half of them.

    It speaks for calling codes, by their main region: a list for Canada is suggested `US`, which reads it the same.
    """
    sample = _bare_sample(numbers)
    candidates = _candidates(sample) if len(sample) else []
    plus_share = _valid_share(sample, NO_REGION)
    if not candidates or candidates[0].share <= plus_share:
        return None
    best, *others = candidates
    return Suggestion(
        region=best.region,
        share=best.share,
        rivals=tuple(_rival(other, best) for other in others[:_MOST_RIVALS]),
        plus_share=plus_share,
        sampled_rows=len(sample),
    )


def _rival(other: _Candidate, best: _Candidate) -> Rival:
    is_close = (
        other.share >= _RIVAL_SHARE * best.share
        and other.alike_share >= _RIVAL_SHARE * best.alike_share
        and other.surprise >= _RIVAL_SURPRISE * best.surprise
    )
    return Rival(region=other.region, share=other.share, is_close=is_close)


def _bare_sample(numbers: pl.Series) -> pl.Series:
    cells = numbers.cast(pl.String).drop_nulls().unique(maintain_order=True)
    cells = cells.filter(cells.str.contains(r"^[^+\uFF0B]*$") & (cells.str.count_matches("[0-9]") >= _FEWEST_DIGITS))
    return cells.gather_every(max(1, len(cells) // _SAMPLE_ROWS)).head(_SAMPLE_ROWS).alias("cell")


def _candidates(sample: pl.Series) -> list[_Candidate]:
    """Regions that explain at least half of the sample, the most telling first, then those that explain it less."""
    digits = read_cells(sample)["digits"]
    control = _with_random_digits(sample)
    found = [
        _candidate(sample, control, region) for region in _main_regions() if _could_be(digits, region_plan(region))
    ]
    most = max((candidate.share for candidate in found), default=0.0)
    enough = [candidate for candidate in found if candidate.share >= _LEAST_SHARE]
    return sorted(enough, key=lambda candidate: (candidate.share < _RIVAL_SHARE * most, *_order(candidate)))


def _order(candidate: _Candidate) -> tuple[bool, float, int, float, str]:
    is_alike = candidate.alike_share >= _ALIKE_SHARE
    surprise = min(candidate.surprise, _ENOUGH_SURPRISE)
    return not is_alike, -surprise, _size_rank(candidate.region), -candidate.share, candidate.region


def _size_rank(region: str) -> int:
    return _LARGEST.index(region) if region in _LARGEST else len(_LARGEST)


def _candidate(sample: pl.Series, control: pl.Series, region: str) -> _Candidate:
    share = _valid_share(sample, region)
    return _Candidate(
        region=region,
        share=share,
        alike_share=_alike_share(sample, region) if share >= _LEAST_SHARE else 0.0,
        surprise=share / (_valid_share(control, region) + 1 / _SAMPLE_ROWS),
    )


def _alike_share(sample: pl.Series, region: str) -> float:
    grouped = sample.filter(sample.str.contains("[0-9][^0-9]+[0-9]")).head(_FORMATTED_ROWS).to_list()
    alike = sum(_national_format(cell, region) == cell.strip() for cell in grouped)
    return alike / len(grouped) if grouped else 0.0


def _national_format(cell: str, region: str) -> str | None:
    try:
        number = phonenumbers.parse(cell, region)
    except phonenumbers.NumberParseException:
        return None  # such a cell is grouped like no number of the region
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.NATIONAL)


def _with_random_digits(sample: pl.Series) -> pl.Series:
    chance = random.Random(len(sample))  # noqa: S311 - a control sample, and the same list must get the same answer
    changed = ["".join(chance.choice("0123456789") if c.isdigit() else c for c in cell) for cell in sample]
    return pl.Series("cell", changed, dtype=pl.String)


def _main_regions() -> list[str]:
    return [regions[0] for regions in CALLING_CODES.values() if regions[0] != "001"]


def _could_be(digits: pl.Series, plan: Plan) -> bool:
    """Whether enough of the digits fit the plan's general pattern to be worth a closer look."""
    fits = plan.without_prefix(digits).str.contains(plan.is_general) | digits.str.starts_with(plan.code_text)
    return len(fits.arg_true()) >= _LEAST_SHARE * len(digits)


def _valid_share(cells: pl.Series, region: str) -> float:
    return read(cells, region)["fault"].null_count() / len(cells) if len(cells) else 0.0
