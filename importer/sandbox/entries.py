"""What addPhones accepts: every documented field of every number, all or nothing.

A leaf of the sandbox: parsed JSON in, the plain facts the store needs out, `Refusal` at the first thing wrong. A
row with only phone and payload takes a short road, because the sandbox must not be slower than what it judges.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from importer.sandbox import replies, timing
from importer.sandbox.rules import Rules

Entry = Mapping[str, Any]

_DIGITS = re.compile(r"[0-9]{7,15}", re.ASCII)
_PLAIN = frozenset({"phone", "payload"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Accepted:
    """A checked array, column by column: one phone, ceiling of attempts and retry interval per number."""

    phones: list[str]
    max_attempts: list[int | None]
    retry_minutes: list[int | None]


def parse_json(body: bytes) -> Any:
    """The JSON value of a body: UTF-8, no NaN, bounded depth and digits.

    **Errors**: Refusal, a 400 without a type.
    """
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise replies.bad_request("The body is not valid JSON") from error


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def check_entries(value: object, rules: Rules) -> Accepted:
    """The facts of a whole array, or the Refusal of its first bad number."""
    if not isinstance(value, list):
        raise replies.bad_request("The body must be a bare JSON array")
    good_policies: set[str] = set()
    phones = [_check_entry(entry, rules, good_policies) for entry in value]
    if len(set(phones)) != len(phones):
        raise replies.phone_duplicated([phone for phone, count in Counter(phones).items() if count > 1])
    return Accepted(
        phones=phones,
        max_attempts=[entry.get("maxAttempts") for entry in value],
        retry_minutes=[entry.get("retryIntervalInMinutes") for entry in value],
    )


def _check_entry(entry: object, rules: Rules, good_policies: set[str]) -> str:
    if not isinstance(entry, dict):
        raise replies.bad_request("Each element must be an object")
    phone = entry.get("phone")
    if not (isinstance(phone, str) and _DIGITS.fullmatch(phone)):
        phone = read_phone(phone, is_plus_tolerated=rules.plus == "tolerate")
    if not isinstance(entry.get("payload", {}), dict) and entry["payload"] is not None:
        raise replies.bad_request("payload must be an object")
    if not entry.keys() <= _PLAIN:
        _check_policy(phone, entry, rules, good_policies)
    return phone


def read_phone(value: object, *, is_plus_tolerated: bool) -> str:
    """The digits of a phone: text, or a JSON number as old examples have it.

    **Errors**: Refusal `phone.bad.format`.
    """
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str):
        raise replies.phone_bad_format("" if text is None else json.dumps(text))
    bare = text.removeprefix("+") if is_plus_tolerated else text
    if _DIGITS.fullmatch(bare) is None:
        raise replies.phone_bad_format(text)
    return bare


def _check_policy(phone: str, entry: Entry, rules: Rules, good_policies: set[str]) -> None:
    """Check what is neither phone nor payload; the rows of a request mostly share it, so each form is checked once."""
    policy = {name: value for name, value in entry.items() if name not in _PLAIN}
    form = repr(policy)
    if form in good_policies:
        return
    for name, value in policy.items():
        if value is None:
            continue
        check = _CHECKS.get(name)
        if check is not None:
            check(phone, name, value)
        elif rules.unknown_fields == "refuse":
            raise replies.bad_request(f"Unknown field {name}")
    _check_order(policy)
    good_policies.add(form)


def _check_order(entry: Entry) -> None:
    start = timing.read_date_time(entry.get("startDateTime"))
    finish = timing.read_date_time(entry.get("finishDateTime"))
    if start is not None and finish is not None and start >= finish:
        raise replies.bad_request("startDateTime must be before finishDateTime")


def _check_date_time(_phone: str, name: str, value: object) -> None:
    if timing.read_date_time(value) is None:
        raise replies.bad_request(f"{name} must be an RFC 3339 date-time with an offset")


def _check_days(_phone: str, _name: str, value: object) -> None:
    if (problem := timing.days_problem(value)) is not None:
        raise replies.invalid_allowed_time(problem)


def _check_hours(_phone: str, _name: str, value: object) -> None:
    if (problem := timing.hours_problem(value)) is not None:
        raise replies.invalid_allowed_time(problem)


def _check_clock_time(_phone: str, name: str, value: object) -> None:
    if not timing.is_clock_time(value):
        raise replies.invalid_allowed_time(f"{name} must be HH:MM")


def _check_zone(phone: str, _name: str, value: object) -> None:
    if not isinstance(value, str) or not timing.is_zone(value):
        raise replies.gmt_zone_bad_format(phone, value if isinstance(value, str) else json.dumps(value))


def check_zone(phone: str, zone: str) -> None:
    """Refuse a bad gmtZone of one phone."""
    _check_zone(phone, "gmtZone", zone)


def _is_whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _whole_between(low: int, high: int) -> Callable[[str, str, object], None]:
    def check(_phone: str, name: str, value: object) -> None:
        if not _is_whole(value, low, high):
            raise replies.bad_request(f"{name} must be a whole number from {low} to {high}")

    return check


def _check_priority(_phone: str, _name: str, value: object) -> None:
    if not _is_whole(value, 1, 5):
        raise replies.invalid_priority()


def _check_external(_phone: str, _name: str, value: object) -> None:
    url = value.get("externalCheckUrl") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(url, str) or not url:
        raise replies.bad_request("externalCheck needs externalCheckUrl")
    if not _is_whole(value.get("externalCheckMaxRetries", 0), 0, 2**31 - 1):
        raise replies.bad_request("externalCheckMaxRetries must be a whole number")


_CHECKS: Mapping[str, Callable[[str, str, object], None]] = {
    "startDateTime": _check_date_time,
    "finishDateTime": _check_date_time,
    "allowedDays": _check_days,
    "allowedTime": _check_hours,
    "localTimeFrom": _check_clock_time,
    "localTimeTo": _check_clock_time,
    "retryIntervalInMinutes": _whole_between(1, 2880),
    "maxAttempts": _whole_between(1, 50),
    "gmtZone": _check_zone,
    "dialerPriority": _check_priority,
    "externalCheck": _check_external,
}


def content_of(entry: Entry) -> str:
    """What a number carries beyond its phone, as one text: equal content gives equal text."""
    return json.dumps({name: entry[name] for name in entry if name != "phone"}, sort_keys=True)


def texts(value: object, name: str) -> Sequence[str]:
    """A list of ids or phones that may be written as text or as numbers.

    **Errors**: Refusal, a 400 without a type.
    """
    if not isinstance(value, list):
        raise replies.bad_request(f"{name} must be an array")
    if not all(isinstance(one, str | int) and not isinstance(one, bool) for one in value):
        raise replies.bad_request(f"{name} must hold text")
    return [str(one) for one in value]
