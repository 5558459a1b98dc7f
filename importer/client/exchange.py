"""One HTTP exchange: a request goes out once, and an `Answer` or a `NoAnswer` comes back, never an exception.

Floor: client. A newcomer may question that httpx's `Client` is not used: it follows redirects, keeps cookies, reads
proxies from the environment, unpacks gzip without limit and logs the URL, which here is the credential. A transport
alone does none of that. An answer counts only when it says how long it is: one that merely stops may have been cut.
"""

from __future__ import annotations

import email.utils
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx

from importer.client.secrecy import MASK, Secret, redact
from importer.client.wire import WATCH, TooLate, Watch, WatchedTransport
from importer.model import Answer, Exchange, NoAnswer

LARGEST_ANSWER_BYTES = 16 * 1024 * 1024
LARGEST_RETRY_AFTER_S = 86_400.0
LONGEST_DETAIL = 200

_NO_BODY = frozenset({204, 304})  # RFC 9110, 15.3.5 and 15.4.5
_UNSENT_BY_TYPE: tuple[tuple[type[Exception], str], ...] = (
    (TooLate, "too-late"),
    (httpx.PoolTimeout, "pool-timeout"),
    (httpx.TimeoutException, "connect-timeout"),
)
_SENT_BY_TYPE: tuple[tuple[type[Exception], str], ...] = (
    (httpx.TimeoutException, "timeout"),
    (httpx.WriteError, "write-failed"),
    (httpx.NetworkError, "reset"),
    (OSError, "reset"),
    (httpx.ProtocolError, "undecodable"),
)
# What a transport that is not ours may say of a request none of whose bytes left.
_NEVER_LEFT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)


class _Unusable(httpx.TransportError):
    """An answer came and cannot be taken for one; `reason` is a `NoAnswer` reason."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class _MaskedRequest(httpx.Request):
    """A request that does not show its URL when a traceback prints the variables around it."""

    def __repr__(self) -> str:
        return f"<Request({self.method}, {redact(self.url.path)})>"


@dataclass(frozen=True, kw_only=True, slots=True)
class Asking:
    """One request, ready to go: where, with what, under which key. **Units**: `body` exactly as it is sent."""

    method: str
    url: Secret[httpx.URL]
    headers: tuple[tuple[str, str], ...]
    body: bytes | None = None

    def request(self, watch: Watch) -> httpx.Request:
        """As httpx has it, carrying its watch."""
        return _MaskedRequest(
            self.method, self.url.reveal(), headers=list(self.headers), content=self.body, extensions={WATCH: watch}
        )


class Exchanger:
    """Makes exchanges over one transport, within one deadline each. Safe for threads as far as the transport is.

    **Units**: `timeout_s` for the whole exchange, from waiting for a connection to the last byte of the answer.
    `is_ours`: beneath the transport are our own sockets, which keep the request's watch; asked of it unless said.
    """

    def __init__(
        self,
        transport: httpx.BaseTransport,
        *,
        timeout_s: float,
        token: Secret[str],
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        is_ours: bool | None = None,
    ) -> None:
        self._transport = transport
        self._timeout_s = timeout_s
        self._token = token
        self._clock = clock
        self._wall_clock = wall_clock
        self._is_ours = isinstance(transport, WatchedTransport) if is_ours is None else is_ours

    def exchange(self, asking: Asking, last_look: Callable[[], bool] | None = None) -> Exchange:
        """Sends once and reads the answer whole. **Errors**: only what `last_look` itself raises."""
        began_s = self._clock()
        watch = Watch(deadline_s=began_s + self._timeout_s, clock=self._clock, last_look=last_look)
        try:
            outcome = self._attempted(asking, watch, began_s)
        except BaseException as problem:  # noqa: BLE001  # raised again at once, only without its frames
            # Ctrl-C, or a fault of ours: the libraries' frames hold the token in their variables, so they go.
            raise problem.with_traceback(None) from None
        watch.raise_look_error()
        return outcome

    def _attempted(self, asking: Asking, watch: Watch, began_s: float) -> Exchange:
        try:
            if not self._is_ours:
                _enter_foreign(watch)
            answer = self._read(self._transport.handle_request(asking.request(watch)), watch, began_s)
        except (httpx.TransportError, OSError) as problem:
            if not self._is_ours and isinstance(problem, _NEVER_LEFT):
                watch.is_sent = False
            return self._no_answer(problem, watch, began_s)
        return answer

    def _read(self, response: httpx.Response, watch: Watch, began_s: float) -> Answer:
        try:
            _check_head(response, watch, is_ours=self._is_ours)
            body = _whole_body(response, watch)
        finally:
            response.close()
        if response.status_code != 200:
            # An error page may repeat the URL. Whatever is kept or shown of it, the token never comes back in.
            body = body.replace(self._token.reveal().encode(), MASK.encode())
        head = response.headers
        server_date = http_date(head.get("date", ""))
        return Answer(
            status=response.status_code,
            body=body,
            content_type=head.get("content-type", ""),
            server_date=server_date,
            retry_after_s=retry_after_s(head.get("retry-after"), server_date, self._wall_clock),
            elapsed_s=self._clock() - began_s,
        )

    def _no_answer(self, problem: Exception, watch: Watch, began_s: float) -> NoAnswer:
        said = redact(f"{type(problem).__name__}: {problem}"[: 2 * LONGEST_DETAIL], self._token)
        return NoAnswer(
            reason=_reason(problem, watch),
            detail="".join(c if c.isprintable() else "?" for c in said)[:LONGEST_DETAIL],
            is_sent=watch.is_sent,
            elapsed_s=self._clock() - began_s,
        )


def _enter_foreign(watch: Watch) -> None:
    """A transport that is not ours cannot say when the first byte leaves: we look now, and then assume it left."""
    watch.look()
    watch.is_sent = True


def _reason(problem: Exception, watch: Watch) -> str:
    """The `NoAnswer` reason; its group (sent or not) always agrees with `watch.is_sent`."""
    if not watch.is_sent:
        return watch.trouble or _by_type(problem, _UNSENT_BY_TYPE, "refused")
    if isinstance(problem, _Unusable):
        return problem.reason
    if isinstance(problem, httpx.RemoteProtocolError) and watch.is_ended:
        return watch.trouble or ("cut" if watch.received_bytes else "closed")
    return watch.trouble or _by_type(problem, _SENT_BY_TYPE, "undecodable")


def _by_type(problem: Exception, table: tuple[tuple[type[Exception], str], ...], otherwise: str) -> str:
    return next((reason for kind, reason in table if isinstance(problem, kind)), otherwise)


def _check_head(response: httpx.Response, watch: Watch, *, is_ours: bool) -> None:
    """Refuses an answer that is not to this request, that says no length, that is too long, or that is packed."""
    if is_ours and not (watch.is_sent and watch.received_bytes):
        raise _Unusable("undecodable", "the answer was there before the request")
    head = response.headers
    declared = head.get("content-length", "")
    if not (declared or "transfer-encoding" in head or response.status_code in _NO_BODY):
        raise _Unusable("cut", "the answer does not say how long it is, so its end cannot be told from a cut")
    if declared.isdecimal() and (len(declared) > 18 or int(declared) > LARGEST_ANSWER_BYTES):
        raise _Unusable("too-large", f"the answer is longer than {LARGEST_ANSWER_BYTES} bytes")
    if head.get("content-encoding", "identity").strip().lower() not in {"", "identity"}:
        raise _Unusable("undecodable", "the answer is compressed although we asked for it plain")


def _whole_body(response: httpx.Response, watch: Watch) -> bytes:
    pieces: list[bytes] = []
    size_bytes = 0
    stream = response.stream
    assert isinstance(stream, httpx.SyncByteStream)  # noqa: S101  # a synchronous transport gives no other
    for piece in stream:
        pieces.append(piece)
        size_bytes += len(piece)
        if size_bytes > LARGEST_ANSWER_BYTES:
            raise _Unusable("too-large", f"the answer is longer than {LARGEST_ANSWER_BYTES} bytes")
        if watch.left_s() <= 0:
            raise httpx.ReadTimeout("the request's deadline has passed")
    declared = response.headers.get("content-length", "")
    if declared.isdecimal() and response.status_code not in _NO_BODY and int(declared) != size_bytes:
        raise _Unusable("cut", f"{size_bytes} bytes came of {declared}")
    return b"".join(pieces)


def http_date(text: str) -> datetime | None:
    """An HTTP date as aware UTC, or None when it is none. **Source**: RFC 9110, 5.6.7."""
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        return None


def retry_after_s(text: str | None, server_date: datetime | None, wall_clock: Callable[[], float]) -> float | None:
    """The Retry-After header in seconds, 0 to one day, or None when there is none to read.

    A date is measured from the answer's own Date where it has one: the difference of two readings of one clock.
    **Source**: RFC 9110, 10.2.3.
    """
    if text is None:
        return None
    wait_s = _seconds(text.strip())
    if wait_s is None and (until := http_date(text)):
        since = server_date.timestamp() if server_date else wall_clock()
        wait_s = until.timestamp() - since
    return None if wait_s is None else min(max(wait_s, 0.0), LARGEST_RETRY_AFTER_S)


def _seconds(text: str) -> float | None:
    try:
        wait_s = float(text)
    except ValueError:
        return None
    return None if math.isnan(wait_s) else wait_s
