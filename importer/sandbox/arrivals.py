"""A request as it arrived: read off the wire, matched to an operation, not yet judged.

Between the WSGI environment and everything else. A body is read whole, by its stated length, before anything is
decided: a request cut on its way in must never be carried out, however well its beginning parses.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING
from urllib.parse import parse_qsl

from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import Map, Rule

from importer.sandbox import replies
from importer.sandbox.faults import Struck
from importer.sandbox.replies import Refusal

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

KEY_NAME = "Idempotence-Key"
UNKNOWN = "unknown"

_CALLS = "/api/calls/campaign/<token>"
_CRM = "/api/crmCalls/campaign/<token>"
_ROUTES = (
    ("POST", f"{_CALLS}/addPhones", "addPhones"),
    ("GET", f"{_CRM}/addPhone", "addPhone"),
    ("POST", f"{_CRM}/addPhone", "addPhone"),
    ("GET", f"{_CALLS}/addPhone", "addPhone"),
    ("GET", f"{_CRM}/test/addPhone", "test/addPhone"),
    ("POST", f"{_CALLS}/callJob/cancel", "callJob/cancel"),
    ("POST", f"{_CALLS}/callJob/getReport", "callJob/getReport"),
    ("POST", f"{_CALLS}/callJob/getReportByDate", "callJob/getReportByDate"),
    ("POST", f"{_CALLS}/callJob/getUnfinished", "callJob/getUnfinished"),
    ("POST", f"{_CALLS}/callAttempt/getReport", "callAttempt/getReport"),
    ("POST", f"{_CALLS}/callAttempt/getReportByDate", "callAttempt/getReportByDate"),
    ("GET", _CALLS, "campaign"),
    ("GET", f"{_CALLS}/status", "status"),
    ("POST", f"{_CALLS}/control/pause", "control/pause"),
    ("POST", f"{_CALLS}/control/resume", "control/resume"),
    ("POST", f"{_CALLS}/control/stop", "control/stop"),
)
OPERATIONS = tuple(dict.fromkeys(operation for _, _, operation in _ROUTES))
KEYED = frozenset(
    {"addPhones", "addPhone", "test/addPhone", "callJob/cancel", "control/pause", "control/resume", "control/stop"}
)
"""The operations that take an idempotence key. **Source**: calls-api.md §1."""

_KEY_IN_QUERY = frozenset({"addPhone", "test/addPhone"})
_PIECE_BYTES = 256 * 1024
_URLS = Map([Rule(path, methods=[method], endpoint=operation) for method, path, operation in _ROUTES]).bind("sandbox")


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """What came over the wire.

    `unread` is the refusal of a body that was left on the wire: nothing else may be answered, and the connection
    ends. `stray` is that of a path or method that is no operation. `is_whole` is False for a body cut short.
    """

    operation: str
    method: str
    token: str
    query: tuple[tuple[str, str], ...]
    key: str | None
    content_type: str
    body: bytes
    is_whole: bool
    unread: Refusal | None
    stray: Refusal | None
    arrived_at_s: float
    arrived_order: int
    struck: Struck

    @property
    def body_sha256(self) -> bytes:
        """The hash of the body bytes."""
        return hashlib.sha256(self.body).digest()

    def content_sha256(self, body_sha256: bytes) -> bytes:
        """What an idempotence key stands for: method, operation, campaign token, query and body."""
        facts = json.dumps([self.method, self.operation, self.token, self.query]).encode()
        return hashlib.sha256(facts + b"\0" + body_sha256).digest()


@dataclass(frozen=True, kw_only=True, slots=True)
class Matched:
    """Where a path and method lead."""

    operation: str
    token: str = ""
    problem: Refusal | None = None


def match(environ: WSGIEnvironment) -> Matched:
    """The operation of a request, or the 404 or 405 to answer."""
    path = environ.get("PATH_INFO", "").encode("latin-1", "replace").decode("utf-8", "replace")
    method = environ["REQUEST_METHOD"]
    try:
        operation, found = _URLS.match(path, method=method)
    except MethodNotAllowed as error:
        allowed = ", ".join(sorted({*(error.valid_methods or ())} - {"HEAD"}))
        return Matched(operation=UNKNOWN, problem=_wrong_method(allowed))
    except HTTPException:
        return Matched(operation=UNKNOWN, problem=replies.plain_error(404, "not_found", "There is no such operation"))
    if method == "HEAD":
        return Matched(operation=UNKNOWN, problem=_wrong_method("GET"))
    return Matched(operation=operation, token=found["token"])


def _wrong_method(allowed: str) -> Refusal:
    headers = (("Allow", allowed),)
    return replies.plain_error(405, "method_not_allowed", "Method not allowed here", headers=headers)


@dataclass(frozen=True, kw_only=True, slots=True)
class Body:
    """The bytes of a body, or why it was left unread, or that it was cut short."""

    data: bytes = b""
    is_whole: bool = True
    problem: Refusal | None = None


def read_body(environ: WSGIEnvironment, max_bytes: int) -> Body:
    """The whole body of a request, or why there is none; a refused body stays unread and the connection ends."""
    if "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower():
        return _read_chunked(environ, max_bytes)
    stated = environ.get("CONTENT_LENGTH") or "0"
    if not (stated.isascii() and stated.isdigit()):
        return Body(problem=_refused_unread(400, "bad_request", "Content-Length is no number"))
    if len(stated) > 15 or int(stated) > max_bytes:
        return Body(problem=_too_large(max_bytes))
    data = _read_up_to(environ["wsgi.input"], int(stated))
    return Body(data=data, is_whole=len(data) == int(stated))


def _read_chunked(environ: WSGIEnvironment, max_bytes: int) -> Body:
    try:
        data = _read_up_to(environ["wsgi.input"], max_bytes + 1)
    except OSError:
        return Body(is_whole=False)
    return Body(data=data) if len(data) <= max_bytes else Body(problem=_too_large(max_bytes))


def _read_up_to(stream: IO[bytes], size_bytes: int) -> bytes:
    """Up to `size_bytes`, fewer only where the stream ends or breaks."""
    pieces: list[bytes] = []
    left = size_bytes
    try:
        while left > 0 and (piece := stream.read(min(left, _PIECE_BYTES))):
            pieces.append(piece)
            left -= len(piece)
    except ConnectionError:
        pass
    return b"".join(pieces)


def _refused_unread(status: int, error: str, message: str) -> Refusal:
    return replies.plain_error(status, error, message, headers=(("Connection", "close"),))


def _too_large(max_bytes: int) -> Refusal:
    return _refused_unread(413, "payload_too_large", f"The body is larger than {max_bytes} bytes")


def query_and_key(environ: WSGIEnvironment, operation: str) -> tuple[tuple[tuple[str, str], ...], str | None]:
    """The query without the key, and the key: addPhone may carry it as a parameter, all others as a header."""
    pairs = parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    key = environ.get(f"HTTP_{KEY_NAME.upper().replace('-', '_')}", "")
    if operation in _KEY_IN_QUERY:
        key = next((value for name, value in pairs if name == KEY_NAME), key)
        pairs = [pair for pair in pairs if pair[0] != KEY_NAME]
    return tuple(pairs), key or None
