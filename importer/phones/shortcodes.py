"""Short codes: numbers such as 112 that work inside one country only.

Floor: phones, pure. libphonenumber keeps them in tables of their own and calls them merely too short; a person who
sees "short code" knows at once that no digit was lost.
"""

from __future__ import annotations

from functools import cache

import polars as pl
from phonenumbers import PhoneMetadata

from importer.phones.columns import all_false, placed
from importer.phones.patterns import rust

_LONGEST_DIGITS = 6
_TOO_LONG = f"(?:[0-9][^0-9]*){{{_LONGEST_DIGITS + 1}}}"


def is_short_code(cells: pl.Series, region: str) -> pl.Series:
    """Whether each cell's digits are a short code of the region. **Shapes**: strings in, as many Booleans out."""
    pattern = _pattern(region)
    if pattern is None:
        return all_false(len(cells))
    short = (~cells.str.contains(_TOO_LONG)).arg_true()
    digits = cells.gather(short).str.replace_all("[^0-9]", "")
    return placed(all_false(len(cells)), short, digits.str.contains(pattern))


@cache
def _pattern(region: str) -> str | None:
    metadata = PhoneMetadata.short_metadata_for_region(region)
    if metadata is None or metadata.short_code is None or not metadata.short_code.national_number_pattern:
        return None
    return f"^(?:{rust(metadata.short_code.national_number_pattern)})$"
