"""The time zone of a number, from the tables that `phonenumbers` ships, at column speed.

Floor: intake, pure. Only numbers whose region has one zone get one; a country with several, or whose islands count as
several, gets none, because a wrong guess calls people at night.
**Source**: `phonenumbers.timezone.time_zones_for_number`, which a test holds this against.
"""

from __future__ import annotations

from functools import cache
from zoneinfo import available_timezones

import polars as pl
from phonenumbers.phonenumberutil import COUNTRY_CODE_TO_REGION_CODE, PhoneNumberType, is_number_type_geographical
from phonenumbers.tzdata import TIMEZONE_DATA, TIMEZONE_LONGEST_PREFIX

_SEVERAL = ""  # a prefix with several zones: shorter prefixes must not answer for it


def zone_of(e164: pl.Series, types: pl.Series) -> pl.Series:
    """The one zone of each number, as an IANA name; null where there are several, none, or no number.

    **Shapes**: `e164` String with its plus, `types` as `phones.check` gives them; as many rows.
    """
    digits = e164.str.strip_prefix("+").alias("digits")
    code = _longest(digits, {str(code): str(code) for code in COUNTRY_CODE_TO_REGION_CODE}, 3)
    frame = pl.DataFrame({"digits": digits, "code": code, "type": types.cast(pl.String)})
    is_local = (pl.col("type").is_in(["fixed_line", "fixed_line_or_mobile"])) | (
        (pl.col("type") == "mobile") & pl.col("code").is_in(_geographical_mobile_codes())
    )
    is_known = pl.col("type") != "unknown"
    asked = frame.select(pl.when(is_known & is_local).then("digits").when(is_known).then("code")).to_series()
    found = _longest(asked, _zones_by_prefix(), TIMEZONE_LONGEST_PREFIX)
    return pl.select(pl.when(found != _SEVERAL).then(found).alias("zone")).to_series()


def _longest(digits: pl.Series, by_prefix: dict[str, str], longest: int) -> pl.Series:
    """What the longest prefix of each text gives; null when none is known."""
    tries = []
    for length in range(longest, 0, -1):
        known = {prefix: value for prefix, value in by_prefix.items() if len(prefix) == length}
        if known:
            start = pl.col("digits").str.slice(0, length)
            tries.append(start.replace_strict(known, default=None, return_dtype=pl.String))
    return digits.alias("digits").to_frame().select(pl.coalesce(tries)).to_series()


@cache
def _zones_by_prefix() -> dict[str, str]:
    usable = available_timezones()
    return {
        prefix: zones[0] if len(zones) == 1 and zones[0] in usable else _SEVERAL
        for prefix, zones in TIMEZONE_DATA.items()
    }


@cache
def _geographical_mobile_codes() -> list[str]:
    return [
        str(code) for code in COUNTRY_CODE_TO_REGION_CODE if is_number_type_geographical(PhoneNumberType.MOBILE, code)
    ]
