"""What the server answers: the reply record, and every error shape of the Calls API in one place.

A leaf of the sandbox: builds bytes, decides nothing. The documented errors carry `type`; the control
operations and everything the documentation is silent about (a field out of its range, broken JSON) carry
`error` instead, because a client must live with both.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

JSON = "application/json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """One answer: status, body, and the headers beyond the usual ones."""

    status: int = 200
    body: bytes = b""
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


class Refusal(Exception):
    """A definite no, raised where it is found and answered as `reply`; nothing was changed."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


def json_reply(value: object, *, status: int = 200) -> Reply:
    """A reply whose body is the compact JSON of a value."""
    return Reply(status=status, body=json.dumps(value, separators=(",", ":")).encode())


def ids_reply(job_ids: Sequence[str]) -> Reply:
    """The array of call job ids; written by hand because ids are digits and there are many."""
    return Reply(body=b'["' + '","'.join(job_ids).encode() + b'"]' if job_ids else b"[]")


def _typed(status: int, kind: str, message: str, **facts: object) -> Refusal:
    return Refusal(json_reply({"type": kind, **facts, "message": message}, status=status))


def invalid_token() -> Refusal:
    """404: no campaign has this token."""
    return _typed(404, "invalid.token", "Invalid campaign token")


def phone_duplicated(phones: Sequence[str]) -> Refusal:
    """400: the first of `phones` is named, all are listed."""
    message = f"Phone {phones[0]} is duplicated"
    return _typed(400, "phone.duplicated", message, phone=phones[0], phonesDuplicates=list(phones))


def phone_bad_format(phone: str) -> Refusal:
    """400: one phone is named, whatever else is wrong."""
    return _typed(400, "phone.bad.format", f"Phone {phone!r} has a bad format", phone=phone)


def gmt_zone_bad_format(phone: str, zone: str) -> Refusal:
    """400: the zone of one phone is neither an offset nor a zone id."""
    return _typed(400, "phone.gmtZone.bad.format", "gmtZone has a bad format", phone=phone, gmtZone=zone)


def invalid_task_state(state: str) -> Refusal:
    """400: the campaign takes no more numbers."""
    return _typed(400, "invalid.call.task.state", f"The call task is in state {state}", state=state)


def invalid_allowed_time(message: str) -> Refusal:
    """400: days or times; names no phone."""
    return _typed(400, "invalid.call.allowed.time", message)


def invalid_priority() -> Refusal:
    """400: dialerPriority; names no phone."""
    return _typed(400, "invalid.dialer_priority", "dialerPriority must be a whole number from 1 to 5")


def not_found(what: str) -> Refusal:
    """400 for an unknown `id` or `phone`; the offender is not named, as documented."""
    return _typed(400, f"{what}.not.found", f"A {what} of the request was not found")


def key_reused() -> Refusal:
    """400: the idempotence key was first used with other content (undocumented; the strict reading)."""
    return _typed(400, "idempotence.key.reused", "The Idempotence-Key was already used with other content")


def plain_error(status: int, error: str, message: str, *, headers: tuple[tuple[str, str], ...] = ()) -> Refusal:
    """The shape without a `type`: `{error, message}`."""
    body = json.dumps({"error": error, "message": message}, separators=(",", ":")).encode()
    return Refusal(Reply(status=status, body=body, headers=headers))


def bad_request(message: str) -> Refusal:
    """400 for what the documentation gives no type."""
    return plain_error(400, "bad_request", message)


def control_error(error: str, message: str, args: Sequence[str]) -> Refusal:
    """400 of the control operations: `{error, message, args}`."""
    return Refusal(json_reply({"error": error, "message": message, "args": list(args)}, status=400))
