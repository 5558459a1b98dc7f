"""The time fields of a number: zones, days, hours, dates.

A leaf of the sandbox: values in, a sentence about what is wrong out, or None. It is written from the contract's
table alone and shares nothing with the importer's own policy checks, because it judges them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from itertools import pairwise
from zoneinfo import available_timezones

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MAX_OFFSET_S = 18 * 3600

_OFFSET = re.compile(r"([+-])([0-9]{1,2})(?::?([0-9]{2})(?::([0-9]{2}))?)?", re.ASCII)
_COMPACT_SECONDS = re.compile(r"[+-][0-9]{4}:", re.ASCII)
_CLOCK_TIME = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]", re.ASCII)
_DATE_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})", re.ASCII
)


@cache
def _zone_ids() -> frozenset[str]:
    return frozenset(available_timezones())


def is_zone(text: str) -> bool:
    """Whether a gmtZone is empty, an offset within 18 hours (optional UTC/GMT/UT before it), or a zone id."""
    if text in {"", "Z", "UTC", "GMT", "UT"}:
        return True
    bare = re.sub(r"^(?:UTC|GMT|UT)(?=[+-])", "", text)
    return _is_offset(bare) if bare[:1] in {"+", "-"} else text in _zone_ids()


def _is_offset(text: str) -> bool:
    r"""`±h ±hh ±hhmm ±hh:mm ±hh:mm:ss`: the five documented forms and no other."""
    found = _OFFSET.fullmatch(text)
    if found is None or _COMPACT_SECONDS.match(text):
        return False
    hours, minutes, seconds = (int(part or 0) for part in found.groups()[1:])
    if len(found[2]) == 1 and found[3] is not None:
        return False
    return minutes < 60 and seconds < 60 and hours * 3600 + minutes * 60 + seconds <= MAX_OFFSET_S


def is_clock_time(value: object) -> bool:
    """Whether a value is 24-hour `HH:MM`."""
    return isinstance(value, str) and _CLOCK_TIME.fullmatch(value) is not None


def read_date_time(value: object) -> datetime | None:
    """An RFC 3339 date-time with its offset, or None for anything else."""
    if not isinstance(value, str) or _DATE_TIME.fullmatch(value) is None:
        return None
    try:
        return datetime.fromisoformat(value.upper())
    except ValueError:
        return None


def days_problem(value: object) -> str | None:
    """What is wrong with allowedDays."""
    if not isinstance(value, list) or not 1 <= len(value) <= len(DAYS):
        return "allowedDays must be an array of 1 to 7 days"
    return None if all(day in DAYS for day in value) else "allowedDays has an unknown day"


def hours_problem(value: object) -> str | None:
    """What is wrong with allowedTime."""
    if not isinstance(value, dict):
        return "allowedTime must be an object"
    for day, intervals in value.items():
        if day not in DAYS and day != "default":
            return f"allowedTime has an unknown day {day}"
        if (problem := _intervals_problem(intervals)) is not None:
            return f"allowedTime for {day}: {problem}"
    return None


def _intervals_problem(intervals: object) -> str | None:
    if not isinstance(intervals, list) or not intervals:
        return "at least one interval is needed"
    if not all(_is_interval(one) for one in intervals):
        return "an interval needs localTimeFrom before localTimeTo, both HH:MM"
    ordered = sorted((one["localTimeFrom"], one["localTimeTo"]) for one in intervals)
    return "intervals overlap" if any(later[0] < earlier[1] for earlier, later in pairwise(ordered)) else None


def _is_interval(one: object) -> bool:
    if not isinstance(one, Mapping) or set(one) != {"localTimeFrom", "localTimeTo"}:
        return False
    start, end = one["localTimeFrom"], one["localTimeTo"]
    return is_clock_time(start) and is_clock_time(end) and start < end
