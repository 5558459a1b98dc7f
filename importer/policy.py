"""Call policy: the API's own fields, recognised among a list's columns and held to the documented rules.

Floor: pure. A policy cell is text; what is sent is JSON. Columns of policy hold few different values, so each distinct
cell is judged once in Python and joined back to its rows. An empty cell is an absent field: the campaign decides.
**Source**: the Calls API's description of addPhones (calls api 1.10.0).
"""

from __future__ import annotations

import json
import re
import zoneinfo
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_CLOCK = re.compile(r"(?:[01]\d|2[0-3]):[0-5]\d")
_OFFSET = re.compile(r"(?:UTC|GMT|UT)?(?:Z|[+-](?:\d{1,2}|\d{4}|\d{2}:\d{2}(?::\d{2})?))?")


class PolicyProblem(ValueError):
    """A policy cell breaks the documented rule; its text says which."""


def _whole_number(lowest: int, highest: int) -> Callable[[str], str]:
    def judge(cell: str) -> str:
        text = cell.strip()
        if not re.fullmatch(r"\d{1,9}", text) or not lowest <= int(text) <= highest:
            raise PolicyProblem(f"must be a whole number from {lowest} to {highest}")
        return str(int(text))

    return judge


def _date_time(cell: str) -> str:
    try:
        moment = datetime.fromisoformat(cell.strip())
    except ValueError:
        raise PolicyProblem("must be a date and time such as 2026-11-23T09:00:00+03:00") from None
    offset = moment.utcoffset()
    if offset is None or offset % timedelta(minutes=1):  # RFC 3339, 5.6: hours and minutes only
        raise PolicyProblem("must say its offset from UTC, as in 2026-11-23T09:00:00+03:00")
    return json.dumps(moment.isoformat())


def _zone(cell: str) -> str:
    text = cell.strip()
    if not (text and _OFFSET.fullmatch(text) and _is_offset_in_range(text)) and text not in _zones():
        raise PolicyProblem("must be an offset such as +03:00, or a zone such as Europe/Paris")
    return json.dumps(text)


def _is_offset_in_range(text: str) -> bool:
    """At most 18 hours, minutes and seconds below 60."""
    digits = re.sub(r"\D", "", text)
    parts = [int(digits[i : i + 2]) for i in range(0, len(digits), 2)] or [0]
    hours, rest = parts[0], parts[1:]
    return all(part < 60 for part in rest) and (hours < 18 or (hours == 18 and not any(rest)))


@cache
def _zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


def _days(cell: str) -> str:
    names = _day_names(cell)
    if not names or any(name not in DAYS for name in names) or len(set(names)) != len(names):
        raise PolicyProblem("must name days once each out of mon tue wed thu fri sat sun, such as mon,tue,wed")
    return json.dumps(names, separators=(",", ":"))


def _day_names(cell: str) -> list[str]:
    if not cell.lstrip().startswith("["):
        return [name.lower() for name in re.split(r"[,;\s|]+", cell.strip()) if name]
    found = _json(cell)
    return [str(name) for name in found] if isinstance(found, list) else []


def _json(cell: str) -> object:
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        raise PolicyProblem("must be JSON") from None


def _allowed_time(cell: str) -> str:
    found = _json(cell)
    if not isinstance(found, dict) or not found or set(found) - {*DAYS, "default"}:
        raise PolicyProblem('must be a JSON object of days, such as {"default":[{"localTimeFrom":"09:00",…}]}')
    for day, intervals in found.items():
        _judge_intervals(day, intervals)
    return json.dumps(found, separators=(",", ":"), sort_keys=True)


def _judge_intervals(day: str, intervals: object) -> None:
    if not isinstance(intervals, list) or not intervals:
        raise PolicyProblem(f"needs at least one interval for {day}")
    spans = sorted(_span(day, interval) for interval in intervals)
    if any(later[0] < earlier[1] for earlier, later in pairwise(spans)):
        raise PolicyProblem(f"has overlapping intervals on {day}")


def _span(day: str, interval: object) -> tuple[str, str]:
    if not isinstance(interval, dict) or set(interval) != {"localTimeFrom", "localTimeTo"}:
        raise PolicyProblem(f"needs localTimeFrom and localTimeTo in each interval of {day}")
    begin, end = interval["localTimeFrom"], interval["localTimeTo"]
    clocks = isinstance(begin, str) and isinstance(end, str) and _CLOCK.fullmatch(begin) and _CLOCK.fullmatch(end)
    if not clocks or begin >= end:
        raise PolicyProblem(f"needs 24-hour times such as 09:00 before 18:00 on {day}")
    return begin, end


FIELDS: dict[str, Callable[[str], str]] = {
    "allowedDays": _days,
    "allowedTime": _allowed_time,
    "dialerPriority": _whole_number(1, 5),
    "finishDateTime": _date_time,
    "gmtZone": _zone,
    "maxAttempts": _whole_number(1, 50),
    "retryIntervalInMinutes": _whole_number(1, 2880),
    "startDateTime": _date_time,
}


def check(field: str, cells: pl.Series) -> pl.DataFrame:
    """Judges a policy column.

    **Shapes**: as many rows as `cells`; `value` String (JSON text; null where absent or wrong), `problem` String
    (null where right).
    """
    import polars as pl

    distinct = cells.unique().drop_nulls().to_list()
    judged = [(cell, *_judge(field, cell)) for cell in distinct]
    schema = {"cell": pl.String, "value": pl.String, "problem": pl.String}
    verdicts = pl.DataFrame(judged, schema=schema, orient="row")
    found = cells.alias("cell").to_frame().join(verdicts, on="cell", how="left", maintain_order="left")
    return found.select("value", "problem")


def _judge(field: str, cell: str) -> tuple[str | None, str | None]:
    if not cell.strip():
        return None, None
    try:
        return FIELDS[field](cell), None
    except PolicyProblem as problem:
        return None, f"{field} {problem}"


def order_problems(starts: pl.Series, finishes: pl.Series) -> pl.Series:
    """Says which rows finish before they start: String, null where the order is right or a side is absent."""
    import polars as pl

    def moments(column: pl.Series) -> pl.Series:
        return column.str.strip_chars('"').str.to_datetime(time_zone="UTC", strict=False)

    wrong = (moments(finishes) <= moments(starts)).fill_null(value=False)
    said = pl.lit("startDateTime must be before finishDateTime")
    return pl.select(pl.when(wrong).then(said).alias("problem")).to_series()
