"""The oracle: numbers read one row at a time by `phonenumbers` itself.

Floor: phones, pure. The compiled reading must give what this gives, row for row; differential tests hold it to that,
and the rows it cannot decide are decided here. A newcomer may wonder about the plus put before bare digits: the
library alone rejects them without a region, while a calling platform's own upload reads them country code first.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import phonenumbers
import polars as pl
from phonenumbers import CountryCodeSource, NumberParseException, PhoneNumber, ValidationResult

from importer.phones.columns import NO_REGION, READING, UNKNOWN_REGION
from importer.phones.homes import Homes
from importer.phones.judge import check_with
from importer.phones.rules import TYPES, PhoneRules

_START = re.compile(r"[+\uFF0B\d]")
_PLUS = "+\uff0b"
_BARE_SOURCES = {CountryCodeSource.FROM_DEFAULT_COUNTRY, CountryCodeSource.FROM_NUMBER_WITHOUT_PLUS_SIGN}

_PARSE_FAULTS = {
    NumberParseException.NOT_A_NUMBER: "not_viable",
    NumberParseException.INVALID_COUNTRY_CODE: "no_country_code",
    NumberParseException.TOO_SHORT_AFTER_IDD: "too_short",
    NumberParseException.TOO_SHORT_NSN: "too_short",
    NumberParseException.TOO_LONG: "too_long",
}
_LENGTH_FAULTS = {
    ValidationResult.IS_POSSIBLE: "invalid_for_region",
    ValidationResult.IS_POSSIBLE_LOCAL_ONLY: "no_area_code",
    ValidationResult.INVALID_COUNTRY_CODE: "no_country_code",
    ValidationResult.TOO_SHORT: "too_short",
    ValidationResult.INVALID_LENGTH: "wrong_length",
    ValidationResult.TOO_LONG: "too_long",
}
_POSSIBLE = {"invalid_for_region", "no_area_code"}


class Reading(NamedTuple):
    """One number as read; the fields are the columns of `columns.READING`, in order."""

    parsed_e164: str | None = None
    verdict: str = "invalid"
    region: str | None = None
    type: str = "unknown"
    fault: str | None = None
    is_bare: bool = False
    plus_e164: str | None = None
    plus_region: str | None = None
    plus_type: str | None = None
    is_fallback: bool = False


def check(numbers: pl.Series, rules: PhoneRules, regions: pl.Series | None = None) -> pl.DataFrame:
    """The same frame as `importer.phones.check`, decided row by row."""
    return check_with(read_homes, numbers, rules, regions)


def read_homes(cells: pl.Series, homes: Homes) -> pl.DataFrame:
    """Readings of cells dialled in several regions."""
    groups = list(homes.groups(len(cells)))
    if not groups:
        return pl.DataFrame(schema=READING)
    parts = [read(cells.gather(rows), region).with_columns(rows.alias("row")) for region, rows in groups]
    return pl.concat(parts).sort("row").drop("row")


def read(cells: pl.Series, region: str) -> pl.DataFrame:
    """Readings of the cells, one Python call each. **Shapes**: `columns.READING`, a row per cell."""
    rows = [read_cell(cell, region) for cell in cells.to_list()]
    return pl.DataFrame(rows, schema=READING, orient="row")


def read_cell(cell: str, region: str) -> Reading:
    """One cell read as `phonenumbers` reads it; bare digits country code first if there is no region."""
    start = _START.search(cell)
    digits_at = start.start() if start and start[0] not in _PLUS else None
    try:
        number = _parse(cell, region, digits_at)
    except NumberParseException as problem:
        return Reading(fault=_parse_fault(problem, region, digits_at))
    reading = _judge(number)
    if region == NO_REGION or digits_at is None or number.country_code_source not in _BARE_SOURCES:
        return reading
    return _with_other_reading(reading, cell[digits_at:])


def _parse(cell: str, region: str, digits_at: int | None) -> PhoneNumber:
    try:
        return phonenumbers.parse(cell, region or None, keep_raw_input=True)
    except NumberParseException as problem:
        is_only_plus_missing = problem.error_type == NumberParseException.INVALID_COUNTRY_CODE
        if region != NO_REGION or digits_at is None or not is_only_plus_missing:
            raise
        return phonenumbers.parse("+" + cell[digits_at:], None, keep_raw_input=True)


def _parse_fault(problem: NumberParseException, region: str, digits_at: int | None) -> str:
    fault = _PARSE_FAULTS[problem.error_type]
    is_region_to_blame = fault == "no_country_code" and region == UNKNOWN_REGION and digits_at is not None
    return "unknown_region" if is_region_to_blame else fault


def _judge(number: PhoneNumber) -> Reading:
    region = phonenumbers.region_code_for_number(number)
    kind = TYPES[phonenumbers.number_type(number)] if phonenumbers.is_valid_number(number) else "unknown"
    fault = None
    if not phonenumbers.is_valid_number(number):
        fault = _LENGTH_FAULTS[phonenumbers.is_possible_number_with_reason(number)]
    verdict = "valid" if fault is None else "possible" if fault in _POSSIBLE else "invalid"
    return Reading(parsed_e164=_e164(number), verdict=verdict, region=region, type=kind, fault=fault)


def _e164(number: PhoneNumber) -> str:
    number.raw_input = None  # else a number that is all zeros would be formatted as it was typed
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _with_other_reading(reading: Reading, bare: str) -> Reading:
    reading = reading._replace(is_bare=True)
    other = read_cell("+" + bare, NO_REGION)
    if other.verdict != "valid":
        return reading
    return reading._replace(plus_e164=other.parsed_e164, plus_region=other.region, plus_type=other.type)
