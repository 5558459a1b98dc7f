"""What faults do to an answer: pure from a reply and the faults that struck to another reply.

Beside `faults`, which only chooses. Which byte leaves, and when, is `app`'s and the handler's business.
"""

from __future__ import annotations

import json
from http import HTTPStatus

from werkzeug.http import http_date

from importer.sandbox import replies
from importer.sandbox.faults import Fault, Struck
from importer.sandbox.replies import Reply

_STATUSES = frozenset(int(status) for status in HTTPStatus)
_BODILESS = frozenset({204, 304})
"""A body after these would be read as the next answer. **Source**: RFC 9112 §6.3."""
_REPLACING = frozenset({"status", "html", "error-after-commit", "too-large"})


def blocker(struck: Struck) -> Fault | None:
    """The first fault that keeps the operation from being carried out."""
    return next((fault for fault in struck.at("before") if fault.name != "delay"), None)


def loss(struck: Struck) -> Fault | None:
    """The fault that leaves the client without any answer; nothing is lost that another fault answered first."""
    first = blocker(struck)
    return first if first is not None and first.name == "drop" else struck.named("lose-answer")


def replacement(fault: Fault, now_s: float) -> Reply:
    """The answer a fault gives in place of the service's."""
    if fault.name == "html":
        return _html(fault.code)
    phrase = HTTPStatus(fault.code).phrase if fault.code in _STATUSES else "Unknown"
    facts = {"type": fault.type, "message": phrase} if fault.type else {"error": phrase, "status": fault.code}
    body = b"" if fault.code in _BODILESS else replies.json_reply(facts).body
    return Reply(status=fault.code, body=body, headers=_retry_after(fault, now_s))


def _html(code: int) -> Reply:
    title = f"{code} {HTTPStatus(code).phrase if code in _STATUSES else 'Unknown'}"
    page = f"<html>\r\n<head><title>{title}</title></head>\r\n<body><h1>{title}</h1></body>\r\n</html>\r\n"
    return Reply(status=code, body=page.encode(), content_type="text/html")


def _retry_after(fault: Fault, now_s: float) -> tuple[tuple[str, str], ...]:
    if fault.retry_after_date_s is not None:
        return (("Retry-After", http_date(now_s + fault.retry_after_date_s)),)
    return (("Retry-After", fault.retry_after),) if fault.retry_after else ()


def replaced(reply: Reply, struck: Struck, now_s: float) -> Reply:
    """The reply after the faults that answer in the service's place; these a key may remember."""
    fault = next((one for one in struck.at("after") if one.name in _REPLACING), None)
    return reply if fault is None else replacement(fault, now_s)


def garbled(reply: Reply, struck: Struck) -> Reply:
    """The reply with its body spoilt on the way; what a key remembers stays whole."""
    if reply.status != HTTPStatus.OK or not reply.body:
        return reply
    body = reply.body
    if (fault := struck.named("wrong-count")) is not None:
        body = _miscounted(body, fault.by)
    if (fault := struck.named("strange")) is not None:
        body = _strange(body, fault.strange)
    return Reply(status=reply.status, body=body, content_type=reply.content_type, headers=reply.headers)


def _miscounted(body: bytes, by: int) -> bytes:
    value = json.loads(body)
    if not isinstance(value, list):
        return body
    extra = [f"9{number:015d}" for number in range(by)]
    return replies.json_reply(value[: len(value) + min(by, 0)] + extra).body


def _strange(body: bytes, kind: str) -> bytes:
    if kind == "same-id":
        value = json.loads(body)
        return replies.json_reply(value[:1] * len(value)).body if isinstance(value, list) else body
    return {
        "empty": b"",
        "cut": body[: len(body) // 2],
        "object": b'{"result":' + body + b"}",
        "deep": b"[" * 100_000 + b"]" * 100_000,
        "digits": b"[" + b"9" * 5_000 + b"]",
    }[kind]
