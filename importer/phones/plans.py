"""What the metadata of one region or calling code says about reading a number, ready for polars.

Floor: phones, pure. A plan is made on first use and kept for the life of the process; there are some 250. A newcomer
may wonder why national prefixes are stripped by regular expressions when everything else is a table: the rules
rewrite the number (Argentina's `0 … 15` becomes `9 …`), which no table of spans can do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

import phonenumbers
import polars as pl
from phonenumbers import PhoneMetadata, PhoneNumberDesc
from phonenumbers.phonenumberutil import COUNTRY_CODE_TO_REGION_CODE

from importer.phones.columns import placed
from importer.phones.patterns import lengths, parse, rust

CALLING_CODES: dict[int, tuple[str, ...]] = dict(sorted(COUNTRY_CODE_TO_REGION_CODE.items()))


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A numbering plan. Patterns are anchored and in Rust's syntax.

    `is_general` matches any national number the plan could hold. `prefix` matches what may be dialled before it
    inside the country; where its last group takes part, the number is rewritten to `rewrite`; where it always has the
    same number of digits and nothing is rewritten, `prefix_digits` is that number, else 0. **Units**: lengths are
    digits of the national number.
    """

    code: int
    code_text: str
    international_prefix: str | None
    prefix: str | None
    prefix_groups: int
    prefix_digits: int
    rewrite: str | None
    is_general: str
    lengths: tuple[int, ...]
    local_lengths: tuple[int, ...]

    @property
    def longest(self) -> int:
        """The most digits a number of the plan can have."""
        return self.lengths[-1]

    def keeps_stripped(self, length: int) -> bool:
        """Whether a number that stripping leaves with this length is taken as stripped."""
        return length not in self.local_lengths and (length in self.lengths or length > self.longest)

    def without_prefix(self, nationals: pl.Series) -> pl.Series:
        """The numbers less the prefix dialled inside the country, where taking it off makes no good number bad."""
        if self.prefix is None:
            return nationals
        rows = nationals.str.contains(self.prefix).arg_true()
        if not len(rows):
            return nationals
        given = nationals.gather(rows)
        bare = self._stripped(given)
        is_worse = given.str.contains(self.is_general) & ~bare.str.contains(self.is_general)
        return placed(nationals, rows, bare.zip_with(~is_worse, given))

    def without_prefix_if_long_enough(self, nationals: pl.Series) -> pl.Series:
        """As `without_prefix`, but only where what is left has a length that a whole number can have."""
        bare = self.without_prefix(nationals)
        lengths = bare.str.len_bytes()
        is_kept = ~lengths.is_in(self.local_lengths) & (lengths.is_in(self.lengths) | (lengths > self.longest))
        return bare.zip_with(is_kept, nationals)

    def _stripped(self, nationals: pl.Series) -> pl.Series:
        prefix = self.prefix or ""
        bare = nationals.str.replace(prefix, "")
        if self.rewrite is None:
            return bare
        is_rewritten = nationals.str.extract(prefix, self.prefix_groups).is_not_null()
        return nationals.str.replace(prefix, self.rewrite).zip_with(is_rewritten, bare)


@cache
def region_plan(region: str) -> Plan:
    """The plan of a region such as `US`."""
    return _plan(phonenumbers.country_code_for_region(region), region)


@cache
def code_plan(code: int) -> Plan:
    """The plan that speaks for a calling code: that of its main region."""
    return _plan(code, CALLING_CODES[code][0])


def metadata_of(code: int, region: str) -> PhoneMetadata:
    """The metadata of a region, or of a calling code that belongs to none."""
    metadata = PhoneMetadata.metadata_for_region_or_calling_code(code, region)
    if metadata is None:
        raise LookupError(f"no metadata for +{code} {region}")
    return metadata


def _plan(code: int, region: str) -> Plan:
    metadata = metadata_of(code, region)
    prefix = metadata.national_prefix_for_parsing
    rewrite = metadata.national_prefix_transform_rule
    general = metadata.general_desc or PhoneNumberDesc()
    return Plan(
        code=code,
        code_text=str(code),
        international_prefix=_beginning(metadata.international_prefix),
        prefix=_beginning(prefix),
        prefix_groups=re.compile(prefix).groups if prefix else 0,
        prefix_digits=_only_length(prefix) if prefix and not rewrite else 0,
        rewrite=re.sub(r"\\(\d)", r"${\1}", rewrite) if rewrite else None,
        is_general=f"^(?:{rust(general.national_number_pattern or '')})$",
        lengths=tuple(general.possible_length),
        local_lengths=tuple(general.possible_length_local_only),
    )


def _only_length(source: str) -> int:
    used = lengths(parse(source))
    return max(used) if len(used) == 1 else 0


def _beginning(source: str | None) -> str | None:
    return f"^(?:{rust(source)})" if source else None
