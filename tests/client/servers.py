"""Small servers that misbehave on purpose: each connection is handed to a function that does what it likes with it."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator

TOKEN = "8231.7056.CaNaRy1b131df1"
LIMIT_S = 20.0  # no server thread outlives this, whatever a test does

Behaviour = Callable[[socket.socket, "Server"], None]


class Server:
    """A listening socket whose connections run `behave` in threads of their own; `requests` keeps what came in."""

    def __init__(self, behave: Behaviour, tls: ssl.SSLContext | None = None) -> None:
        self._behave = behave
        self._tls = tls
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(LIMIT_S)
        self.port = int(self._socket.getsockname()[1])
        self.connections = 0
        self.requests: list[bytes] = []
        self.is_over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    @property
    def origin(self) -> str:
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://{'127.0.0.1' if self._tls is None else 'localhost'}:{self.port}"

    def _start(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self.is_over.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            if self.is_over.is_set():
                connection.close()
                return
            self.connections += 1
            self._start(lambda taken=connection: self._serve(taken))  # type: ignore[misc]

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(LIMIT_S)
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            stack.callback(connection.close)
            if self._tls is not None:
                connection = stack.enter_context(self._tls.wrap_socket(connection, server_side=True))
            self._behave(connection, self)

    def close(self) -> None:
        self.is_over.set()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        self._socket.close()
        for thread in self._threads:
            thread.join(timeout=LIMIT_S)


@contextlib.contextmanager
def serving(behave: Behaviour, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    server = Server(behave, tls)
    try:
        yield server
    finally:
        server.close()


def read_request(connection: socket.socket, server: Server) -> bytes:
    """One whole request as it came, also kept in `server.requests`; b"" when the client is gone."""
    received = b""
    while b"\r\n\r\n" not in received:
        if not (more := connection.recv(65536)):
            return b""
        received += more
    head, _, body = received.partition(b"\r\n\r\n")
    lines = [line.partition(b":") for line in head.lower().split(b"\r\n")]
    length = next((int(value) for name, _, value in lines if name == b"content-length"), 0)
    while len(body) < length:
        body += connection.recv(65536)
    server.requests.append(head + b"\r\n\r\n" + body)
    return server.requests[-1]


def reply(body: bytes = b'["id-1"]', status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def answering(raw: bytes) -> Behaviour:
    """Answers every request with these bytes and keeps the connection."""

    def behave(connection: socket.socket, server: Server) -> None:
        while read_request(connection, server):
            connection.sendall(raw)

    return behave


def answering_once(raw: bytes) -> Behaviour:
    """Answers one request with these bytes, then closes."""

    def behave(connection: socket.socket, server: Server) -> None:
        read_request(connection, server)
        connection.sendall(raw)

    return behave


def dripping(raw: bytes, pause_s: float = 0.05) -> Behaviour:
    """Answers a byte at a time."""

    def behave(connection: socket.socket, server: Server) -> None:
        read_request(connection, server)
        for byte in raw:
            if server.is_over.wait(pause_s):
                return
            connection.sendall(bytes([byte]))

    return behave


def reset(connection: socket.socket) -> None:
    """Closes with RST instead of FIN."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
