"""The sockets: an httpx transport in which the whole request has one deadline and every written byte is known.

Floor: client. A newcomer may question a network backend of our own: httpx's timeouts are per operation (an answer that
drips a byte a second never ends), its TCP connect gives each address of a name the full timeout, and it cannot say
whether a request left. `Watch` is the one record of a request under way; the socket code below consults it at every
step. Only name resolution cannot be interrupted; the deadline is looked at again right after it, before any byte.
"""

from __future__ import annotations

import contextlib
import math
import select
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import certifi
import httpcore
import httpx

from importer.errors import UsageProblem

CONNECT_LIMIT_S = 10.0  # connecting alone may not eat the deadline: what is left must still be enough for an answer
IDLE_LIMIT_S = 15.0  # below the keep-alive of common servers, so that a connection closed under us is rare
WATCH = "importer.watch"  # where a request carries its Watch, in httpx's extensions
LARGEST_WRITE_BYTES = 256 * 1024


class TooLate(httpx.TransportError):
    """The last look before the first byte said no; nothing was sent."""


class Watch:
    """What one request may still spend and what it has done; written by its own thread alone.

    **Units**: `deadline_s` on `clock`'s scale. `is_sent` is True from the first byte of the request that may have left
    (for TLS: from the first record handed to the library). `trouble` is the reason the sockets know better than any
    exception's type does. `look_error` is what `last_look` raised, kept to be raised again outside the libraries.
    """

    __slots__ = ("_clock", "_last_look", "deadline_s", "is_ended", "is_sent", "look_error", "received_bytes", "trouble")

    def __init__(
        self, *, deadline_s: float, clock: Callable[[], float], last_look: Callable[[], bool] | None = None
    ) -> None:
        self.deadline_s = deadline_s
        self._clock = clock
        self._last_look = last_look
        self.is_sent = False
        self.is_ended = False
        self.received_bytes = 0
        self.trouble = ""
        self.look_error: BaseException | None = None

    def left_s(self) -> float:
        """Seconds to the deadline, 0 or less when it has passed."""
        return self.deadline_s - self._clock()

    def look(self) -> None:
        """Asks for the last time whether the request may go.

        **Errors**: TooLate when it may not, or when asking failed (see `look_error`).
        """
        self.received_bytes = 0  # a proxy's answer to CONNECT was none to the request
        if self._last_look is None:
            return
        try:
            is_allowed = self._last_look()
        except BaseException as problem:  # noqa: BLE001  # raised again by `raise_look_error`, past the libraries' frames
            self.look_error = problem
            is_allowed = False
        if not is_allowed:
            raise TooLate("the last look before the first byte said no")

    def raise_look_error(self) -> None:
        """Raises what `last_look` raised, with the traceback of `last_look` alone."""
        if self.look_error is not None:
            raise self.look_error from None


class _Current(threading.local):
    """The request under way in this thread: httpcore's streams are told timeouts, not requests."""

    watch: Watch

    def __init__(self) -> None:
        self.watch = Watch(deadline_s=math.inf, clock=lambda: 0.0)


def _is_readable(sock: socket.socket) -> bool:
    """Whether an idle connection has something to say, which can only be goodbye (or something nobody asked for)."""
    if sock.fileno() < 0:
        return True
    if not hasattr(select, "poll"):
        return bool(select.select([sock], [], [], 0)[0])
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


class _Stream(httpcore.NetworkStream):
    """One connection; `carries_request` is False while its bytes are still a proxy's (CONNECT), not the API's.

    httpcore's pool decides in one thread that a connection is idle and closes it a moment later, while another thread
    may have begun to use it: rare, and each time a request whose fate is unknown. So a connection knows its user:
    closing by others waits until it is left, and one that was closed sends its next user to another connection.
    """

    def __init__(self, sock: socket.socket, current: _Current, *, carries_request: bool) -> None:
        self._sock = sock
        self._current = current
        self._carries_request = carries_request
        self._is_tls = isinstance(sock, ssl.SSLSocket)
        self._lock = threading.Lock()
        self._user: int | None = None
        self._is_retired = False

    def _enter(self) -> None:
        """Takes the connection. **Errors**: httpcore.ConnectionNotAvailable, on which the pool gives another."""
        with self._lock:
            if self._is_retired:
                raise httpcore.ConnectionNotAvailable
            self._user = threading.get_ident()

    def leave(self) -> None:
        """Gives the connection back, to be called before httpcore learns that it is idle."""
        with self._lock:
            self._user = None
            if self._is_retired:
                self._sock.close()

    def _is_over(self) -> bool:
        """Whether the server hung up while nobody used the connection; then nobody will."""
        with self._lock:
            if self._user is None and _is_readable(self._sock):
                self._is_retired = True
            return self._is_retired

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """At most `max_bytes`, or b"" at the end. **Errors**: httpcore.ReadTimeout, httpcore.ReadError."""
        watch = self._current.watch
        self._sock.settimeout(_allowance_s(watch, timeout, httpcore.ReadTimeout))
        try:
            received = self._sock.recv(max_bytes)
        except TimeoutError:
            raise httpcore.ReadTimeout("no answer in time") from None
        except OSError as problem:
            raise httpcore.ReadError(_said(problem)) from None
        watch.received_bytes += len(received)
        watch.is_ended = not received
        return received

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """All of it. **Errors**: TooLate before the first byte; httpcore.WriteTimeout, httpcore.WriteError."""
        if not buffer:
            return
        watch = self._current.watch
        if not watch.is_sent:
            self._enter()
            if self._carries_request:
                watch.look()
        rest = memoryview(buffer)
        while rest:
            rest = rest[self._send(rest[:LARGEST_WRITE_BYTES], watch, timeout) :]

    def _send(self, piece: memoryview, watch: Watch, timeout: float | None) -> int:
        self._sock.settimeout(_allowance_s(watch, timeout, httpcore.WriteTimeout))
        # TLS may put part of a record on the wire before it fails, so there the doubt begins before the call.
        watch.is_sent = watch.is_sent or (self._carries_request and self._is_tls)
        try:
            sent_bytes = self._sock.send(piece)
        except TimeoutError:
            raise httpcore.WriteTimeout("the request could not be written in time") from None
        except OSError as problem:
            # httpcore goes on to read: a server that refuses early may have answered before it closed.
            watch.trouble = "write-failed" if watch.is_sent else "refused"
            raise httpcore.WriteError(_said(problem)) from None
        watch.is_sent = watch.is_sent or (self._carries_request and sent_bytes > 0)
        return sent_bytes

    def close(self) -> None:
        """Closes the socket, at once or when its user leaves it; closing twice is fine."""
        with self._lock:
            self._is_retired = True
            if self._user in {None, threading.get_ident()}:
                self._sock.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """This connection inside TLS. **Errors**: httpcore.ConnectTimeout, httpcore.ConnectError, the socket closed."""
        try:
            self._sock.settimeout(_allowance_s(self._current.watch, timeout, httpcore.ConnectTimeout, CONNECT_LIMIT_S))
            secured = ssl_context.wrap_socket(self._sock, server_hostname=server_hostname)
        except BaseException as problem:  # noqa: BLE001  # whatever it is, it goes on, once the socket is closed
            self.close()
            raise self._handshake_failure(problem) from None
        return _Stream(secured, self._current, carries_request=True)

    def _handshake_failure(self, problem: BaseException) -> BaseException:
        """What a failed handshake is to httpcore; what is no error of the network (Ctrl-C) stays itself."""
        if isinstance(problem, TimeoutError):
            return httpcore.ConnectTimeout("the TLS handshake took too long")
        if isinstance(problem, OSError):
            self._current.watch.trouble = "tls"
            return httpcore.ConnectError(_said(problem))
        return problem

    def get_extra_info(self, info: str) -> Any:
        """What httpcore's pool asks for: whether TLS is on, and whether an idle connection became readable."""
        if info == "is_readable":
            return self._is_over()
        return self._sock if info == "ssl_object" and self._is_tls else None


def _allowance_s(
    watch: Watch, timeout_s: float | None, too_late: type[Exception], limit_s: float = math.inf
) -> float | None:
    """Seconds one socket operation may take; None is without limit, and 0 never comes back (it means non-blocking)."""
    allowed_s = min(watch.left_s(), limit_s, math.inf if timeout_s is None else timeout_s)
    if allowed_s <= 0:
        raise too_late("the request's deadline has passed")
    return None if allowed_s == math.inf else allowed_s


def _said(problem: OSError) -> str:
    """What an error of the system says, without the address or file names it may hold."""
    return getattr(problem, "verify_message", "") or problem.strerror or type(problem).__name__


class _Backend(httpcore.NetworkBackend):
    """Opens connections; with `is_tls_expected`, a request's own bytes flow only once TLS has started."""

    def __init__(self, current: _Current, *, is_tls_expected: bool) -> None:
        self._current = current
        self._is_tls_expected = is_tls_expected

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,  # noqa: ARG002  # httpcore's interface; we never bind
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002  # likewise
    ) -> httpcore.NetworkStream:
        """A connection to the first address that answers; all addresses share one limit.

        **Errors**: httpcore.ConnectTimeout, httpcore.ConnectError.
        """
        watch = self._current.watch
        stop_left_s = watch.left_s() - CONNECT_LIMIT_S  # where the deadline will stand when connecting took too long
        failure: OSError | None = None
        for family, kind, protocol, _, address in self._resolve(host, port):
            limit_s = CONNECT_LIMIT_S if stop_left_s == math.inf else watch.left_s() - stop_left_s
            try:
                allowed_s = _allowance_s(watch, timeout, TimeoutError, limit_s)
                sock = _connected(socket.socket(family, kind, protocol), address, allowed_s)
            except OSError as problem:
                failure = problem
            else:
                return _Stream(sock, self._current, carries_request=not self._is_tls_expected)
        raise self._connect_failure(failure)

    def _connect_failure(self, failure: OSError | None) -> Exception:
        """What the last address's failure is to httpcore."""
        if isinstance(failure, TimeoutError):
            self._current.watch.trouble = "connect-timeout"
            return httpcore.ConnectTimeout("connecting took too long")
        self._current.watch.trouble = "refused"
        return httpcore.ConnectError("the name has no address" if failure is None else _said(failure))

    def _resolve(self, host: str, port: int) -> list[Any]:
        try:
            return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as problem:
            self._current.watch.trouble = "dns"
            words = _said(problem) if isinstance(problem, OSError) else "not a host name"
        raise httpcore.ConnectError(words)


def _connected(sock: socket.socket, address: Any, timeout_s: float | None) -> socket.socket:
    """The socket, connected; closed when it could not be."""
    try:
        sock.settimeout(timeout_s)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """TLS 1.2 or newer with certificate and name checked, trusting `ca_file` alone, else the certifi bundle.

    Not `ssl.create_default_context`: that one obeys SSL_CERT_FILE and writes session keys to SSLKEYLOGFILE.
    **Errors**: UsageProblem when the file cannot be read as certificates.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(cafile=str(ca_file or certifi.where()))
    except OSError as problem:
        raise UsageProblem(
            f"the CA file {ca_file} cannot be used: {_said(problem)}", hint="it must hold certificates in PEM form"
        ) from None
    return context


_FOREIGN = {
    getattr(httpcore, name): getattr(httpx, name)
    for name in (
        "ConnectError",
        "ConnectTimeout",
        "LocalProtocolError",
        "PoolTimeout",
        "ProxyError",
        "ReadError",
        "ReadTimeout",
        "RemoteProtocolError",
        "UnsupportedProtocol",
        "WriteError",
        "WriteTimeout",
    )
}


@contextlib.contextmanager
def _as_httpx() -> Iterator[None]:
    """Errors of httpcore as the errors that any httpx transport raises."""
    try:
        yield
    except tuple(_FOREIGN) as problem:
        said, kind = str(problem), _FOREIGN[type(problem)]
    else:
        return
    raise kind(said)


class _Lines:
    """As many connections as may be open, each in a pool of its own that one request at a time uses.

    One pool of them all asks every idle connection, before and after each request and under one lock, whether the
    server hung up. The line used last is used first, so that the others may grow old.
    """

    def __init__(self, make: Callable[[], httpcore.ConnectionPool], size: int) -> None:
        self._make = make
        self._free: deque[httpcore.ConnectionPool] = deque()
        self._made: list[httpcore.ConnectionPool] = []
        self._room = threading.BoundedSemaphore(size)

    def take(self, wait_s: float | None) -> httpcore.ConnectionPool:
        """A line nobody uses; to be given back. **Errors**: httpcore.PoolTimeout when none was free in time."""
        if not self._room.acquire(timeout=wait_s):
            raise httpcore.PoolTimeout("no connection was free in time")
        with contextlib.suppress(IndexError):
            return self._free.pop()
        made = self._make()
        self._made.append(made)
        return made

    def give_back(self, line: httpcore.ConnectionPool) -> None:
        """Ends a use."""
        self._free.append(line)
        self._room.release()

    def close(self) -> None:
        """Closes every connection."""
        for line in self._made:
            line.close()


class _Body(httpx.SyncByteStream):
    """The answer's bytes as they come, under the same watch. `end` is called once, when it is closed."""

    def __init__(self, answered: httpcore.Response, watch: Watch, current: _Current, end: Callable[[], None]) -> None:
        self._end: Callable[[], None] | None = end
        self._stream: Any = answered.stream
        self._connection = answered.extensions["network_stream"]
        self._watch = watch
        self._current = current

    def __iter__(self) -> Iterator[bytes]:
        self._current.watch = self._watch
        with _as_httpx():
            yield from self._stream

    def close(self) -> None:
        """Gives the connection back, or closes it when the answer was not read to its end."""
        if isinstance(self._connection, _Stream):
            self._connection.leave()
        try:
            self._stream.close()
        finally:
            end, self._end = self._end, None
            if end is not None:
                end()


class WatchedTransport(httpx.BaseTransport):
    """An httpx transport to one origin whose every socket step obeys the request's Watch.

    Safe for threads: a line has one user at a time, and each thread its own current watch. Nothing is ever sent twice:
    the pools are told no retries, and only retry connecting anyway.
    """

    def __init__(
        self, *, is_tls: bool, connections: int, ca_file: Path | None = None, proxy: httpcore.Proxy | None = None
    ) -> None:
        self._current = _Current()
        make = partial(
            httpcore.ConnectionPool,
            ssl_context=tls_context(ca_file) if is_tls else None,
            proxy=proxy,
            max_connections=1,
            keepalive_expiry=IDLE_LIMIT_S,
            retries=0,
            network_backend=_Backend(self._current, is_tls_expected=is_tls),
        )
        self._lines = _Lines(make, connections)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """The answer's head, its body still to be read. **Errors**: httpx.TransportError and its kinds."""
        watch: Watch = request.extensions.get(WATCH) or Watch(deadline_s=math.inf, clock=lambda: 0.0)
        self._current.watch = watch
        url = request.url
        asked = httpcore.Request(
            method=request.method.encode("ascii"),
            url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=request.headers.raw,
            content=request.stream,
            extensions={"timeout": {"pool": _pool_wait_s(watch)}},
        )
        with _as_httpx():
            line = self._lines.take(_pool_wait_s(watch))
            try:
                answered = line.handle_request(asked)
            except BaseException:
                self._lines.give_back(line)
                raise
        return httpx.Response(
            status_code=answered.status,
            headers=answered.headers,
            stream=_Body(answered, watch, self._current, lambda: self._lines.give_back(line)),
            extensions={WATCH: watch},
        )

    def close(self) -> None:
        """Closes every connection."""
        self._lines.close()


def _pool_wait_s(watch: Watch) -> float | None:
    left_s = watch.left_s()
    return None if left_s == math.inf else max(0.0, left_s)
