"""The socket side: werkzeug's threaded server, taught keep-alive and to lose connections.

Knows no API. werkzeug's own handler closes after every answer and writes headers and body apart, which costs a
connection, or 40 ms of delayed acknowledgement, per request; this one writes each answer once and stays.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from werkzeug.http import http_date
from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

from importer.errors import UsageProblem

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

MAX_PORT = 65_535

_POLL_S = 0.02
_FAREWELL_S = 5.0
_DRAIN_BYTES = 256 * 1024 * 1024
_DRAIN_QUIET_S = 1.0
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class ConnectionLost(ConnectionError):
    """The connection ends here: nothing, or no more than was already written, reaches the client.

    `is_reset` asks for a TCP reset instead of an orderly end.
    """

    def __init__(self, message: str = "the sandbox lost the connection", *, is_reset: bool = False) -> None:
        super().__init__(message)
        self.is_reset = is_reset


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """Where a served app is reached."""

    host: str
    port: int

    @property
    def origin(self) -> str:
        """`http://host:port`, without a path."""
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The same as `origin`."""
        return self.origin


class _Server(ThreadedWSGIServer):
    """A threaded server that knows its connections, so that stopping it really stops it."""

    daemon_threads = True

    def __init__(self, host: str, port: int, app: WSGIApplication, *, fd: int, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.is_ending = False
        self._open: set[socket.socket] = set()
        self._changed = threading.Condition()
        super().__init__(host, port, app, _Handler, fd=fd)

    def get_request(self) -> tuple[socket.socket, Any]:
        request, address = super().get_request()
        with self._changed:
            self._open.add(request)
        return request, address

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self._changed:
            self._open.discard(request)
            self._changed.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Let a bug's traceback reach the server's own stderr, but not the noise of being stopped."""
        if not self.is_ending:
            super().handle_error(request, client_address)

    def end_connections(self) -> None:
        """Hang up on everybody and wait, briefly, for the threads to notice."""
        self.is_ending = True
        with self._changed:
            for one in self._open:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            self._changed.wait_for(lambda: not self._open, timeout=_FAREWELL_S)


class _Handler(WSGIRequestHandler):
    """One connection: requests in turn, each answered by one write."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def run_wsgi(self) -> None:
        """Answer one request; a ConnectionLost of the app ends the connection as it says."""
        self.environ = self.make_environ()
        self._has_written = False
        try:
            self._answer()
        except ConnectionLost as lost:
            self._hang_up(lost)
        except ConnectionError:
            self.close_connection = True
        except BaseException:
            self._apologise()
            raise

    def _answer(self) -> None:
        head: list[bytes] = []

        def start_response(status: str, headers: list[tuple[str, str]], _exc_info: Any = None) -> Callable[..., object]:
            head.append(self._head(status, headers))
            return self.wfile.write

        chunks = self.server.app(self.environ, start_response)
        try:
            for chunk in chunks:
                self._write(b"".join((*head, chunk)))
                head.clear()
            if head:
                self._write(head[0])
        finally:
            if hasattr(chunks, "close"):
                chunks.close()
        if self.close_connection:
            self._drain()

    def _head(self, status: str, headers: list[tuple[str, str]]) -> bytes:
        if any(name == "Connection" and value == "close" for name, value in headers):
            self.close_connection = True
        elif self.close_connection:
            headers = [*headers, ("Connection", "close")]
        lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers), "", ""]
        return "\r\n".join(lines).encode("latin-1")

    def _write(self, data: bytes) -> None:
        self._has_written = True
        self.wfile.write(data)

    def _hang_up(self, lost: ConnectionLost) -> None:
        self.close_connection = True
        if lost.is_reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self.connection.close()

    def _apologise(self) -> None:
        """Tell the client of a bug here without showing it."""
        self.close_connection = True
        if not self._has_written:
            with suppress(OSError):
                self._write(self._head("500 Internal Server Error", [("Content-Length", "0"), ("Connection", "close")]))

    def _drain(self) -> None:
        """Read what is left of a refused body: closing on unread bytes would reset the answer away."""
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(_DRAIN_QUIET_S)
            left = _DRAIN_BYTES
            while left > 0 and (piece := self.rfile.read1(65536)):
                left -= len(piece)

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The Date of answers that never reach the app, on the app's clock."""
        return http_date(self.server.clock() if timestamp is None else timestamp)

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - the overridden name
        """Stay quiet: requests are told by the app's observer and kept in its log."""


@contextmanager
def serving(app: WSGIApplication, host: str, port: int, *, clock: Callable[[], float]) -> Iterator[Served]:
    """Serve an app from a background thread for the length of a with block.

    **Errors**: UsageProblem if the address cannot be had.
    """
    server = _bound(app, host, port, clock)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": _POLL_S}, daemon=True)
    thread.start()
    try:
        yield Served(host=host, port=server.port)
    finally:
        server.shutdown()
        thread.join()
        server.end_connections()


def _bound(app: WSGIApplication, host: str, port: int, clock: Callable[[], float]) -> _Server:
    """A server on a socket bound here: werkzeug would print and exit where we want an error."""
    if not 0 <= port <= MAX_PORT:
        raise UsageProblem(f"{port} is no port", hint=f"choose one from 0 to {MAX_PORT}")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, port), family=family) as listening:
            return _Server(host, port, app, fd=listening.fileno(), clock=clock)
    except OSError as error:
        raise UsageProblem(f"cannot listen on {host}:{port}: {error}", hint="choose another --port") from error
