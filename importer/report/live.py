"""The page of a running import, served to one browser on this machine.

Floor: report. Loopback alone, GET alone, and only under this server's own name, so that no page of the web can reach it
by a name it made up. The address that is printed holds a secret which works once: the first visit turns it into a
cookie of that browser, so an address left in a log or a history opens nothing. A newcomer may question the standard
library's server: there is one page for one person, and no route, form or upload that a framework would help with.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from types import TracebackType

from importer.errors import ImporterError, UsageProblem
from importer.report.facts import Facts
from importer.report.page import Live, policy, render

HOST = "127.0.0.1"
EVERY_MS = 2_000
_RESTING_MS = 10_000  # nothing is pending: only outcomes and a person's word still change anything
_LONGEST_MS = 15_000
_SHARE = 10  # at most one part in so many of the time goes into making pages
_OPEN = "/open/"
_SLOWEST_CLIENT_S = 10.0

_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Door:
    """Who may come in: whoever brings the secret of the address first, and then whoever has the cookie made for it."""

    def __init__(self) -> None:
        self.secret = secrets.token_urlsafe(32)
        self._cookie = secrets.token_urlsafe(32)
        self._lock = threading.Lock()
        self._is_used = False

    def admit(self, secret: str) -> str | None:
        """The cookie for the first who brings the secret; None for everybody else."""
        if not secrets.compare_digest(secret.encode(), self.secret.encode()):
            return None
        with self._lock:
            is_first, self._is_used = not self._is_used, True
        return self._cookie if is_first else None

    def knows(self, cookie: str) -> bool:
        """Whether this cookie was made here."""
        return secrets.compare_digest(cookie.encode(), self._cookie.encode())


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What goes back. **Shapes**: `headers` beside those that every answer has."""

    status: HTTPStatus
    body: str
    headers: dict[str, str] = field(default_factory=dict)


class LivePage:
    """A server for one import; use it in a `with`. `facts` gathers them anew, from a reader of its own each time.

    **Errors**: UsageProblem when the port cannot be had.
    """

    def __init__(self, facts: Callable[[], Facts], *, port: int = 0) -> None:
        self._facts = facts
        self._making = threading.Lock()
        self._taken_ms: float | None = None  # to make the last page; the first, which starts the drawing, is left out
        self.door = Door()
        try:
            self._server = _Server((HOST, port), self)
        except OSError as problem:
            raise UsageProblem(
                f"Port {port} of this machine cannot be had: {problem.strerror}.", hint="Say another with --port."
            ) from problem
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    @property
    def address(self) -> str:
        """What opens it, once."""
        return f"http://{HOST}:{self.port}{_OPEN}{self.door.secret}"

    @property
    def cookie_name(self) -> str:
        """Cookies of one host are sent to all of its ports."""
        return f"importer-report-{self.port}"

    def __enter__(self) -> LivePage:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, path: str, hosts: list[str], cookies: str) -> Answer:
        """The answer to a GET."""
        if hosts not in ([f"{HOST}:{self.port}"], [f"localhost:{self.port}"]):
            return _refused("This server answers under its own name alone.")
        is_known = self.door.knows(_cookie(cookies, self.cookie_name))
        if path.startswith(_OPEN):
            return self._opened(path.removeprefix(_OPEN), is_known=is_known)
        if not is_known:
            return _refused("Open the address that `importer report --live` printed. It works once, in one browser.")
        return self._page() if path == "/" else Answer(status=HTTPStatus.NOT_FOUND, body="There is one page here: /")

    def _opened(self, secret: str, *, is_known: bool) -> Answer:
        cookie = self.door.admit(secret)
        if cookie is None and not is_known:
            return _refused("This address was used already, or is wrong. `importer report --live` prints a new one.")
        headers = {"Location": "/"}
        if cookie is not None:
            headers["Set-Cookie"] = f"{self.cookie_name}={cookie}; HttpOnly; SameSite=Strict; Path=/"
        return Answer(status=HTTPStatus.SEE_OTHER, body="", headers=headers)

    def _page(self) -> Answer:
        nonce = secrets.token_urlsafe(16)
        with self._making:
            begun_s = time.monotonic()
            try:
                facts = self._facts()
            except ImporterError as problem:
                return Answer(status=HTTPStatus.SERVICE_UNAVAILABLE, body=f"{problem.message} {problem.hint}")
            live = Live(nonce=nonce, every_ms=_pause_ms(facts, self._taken_ms or 0.0))
            page = render(facts, live)
            self._taken_ms = 0.0 if self._taken_ms is None else (time.monotonic() - begun_s) * 1000
        allowed = f"{policy(live)}; frame-ancestors 'none'"
        headers = {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": allowed}
        return Answer(status=HTTPStatus.OK, body=page, headers=headers)


def _pause_ms(facts: Facts, taken_ms: float) -> int:
    """How long the browser waits before it asks again: longer for a ledger that takes long to be added up."""
    resting_ms = EVERY_MS if facts.state in ("reading", "sending") else _RESTING_MS
    return round(max(resting_ms, min(taken_ms * _SHARE, _LONGEST_MS)))


def _cookie(text: str, name: str) -> str:
    try:
        found = SimpleCookie(text).get(name)
    except CookieError:
        return ""
    return "" if found is None else found.value


def _refused(why: str) -> Answer:
    return Answer(status=HTTPStatus.FORBIDDEN, body=why)


class _Server(ThreadingHTTPServer):
    """Threads that do not outlive the command."""

    daemon_threads = True
    allow_reuse_address = os.name != "nt"  # there it would let another program take the same port

    def __init__(self, address: tuple[str, int], live: LivePage) -> None:
        self.live = live
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Without asking anybody what this machine is called, as the library would."""
        TCPServer.server_bind(self)


class _Handler(BaseHTTPRequestHandler):
    """One request; what it says of itself and writes to the terminal is nothing."""

    server: _Server
    timeout = _SLOWEST_CLIENT_S
    server_version, sys_version = "importer", ""

    def do_GET(self) -> None:
        """The page, or why not."""
        hosts, cookies = self.headers.get_all("Host") or [], self.headers.get("Cookie", "")
        self._send(self.server.live.answer(self.path, hosts, cookies))

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Every other method is refused as such; the library would call it not implemented."""
        del explain
        if code == HTTPStatus.NOT_IMPLEMENTED:
            refused = Answer(status=HTTPStatus.METHOD_NOT_ALLOWED, body="GET only", headers={"Allow": "GET"})
            self._send(refused)
        else:
            self._send(Answer(status=HTTPStatus(code), body=message or ""))

    def _send(self, answer: Answer) -> None:
        content = answer.body.encode()
        self.send_response(answer.status)
        headers = {"Content-Type": "text/plain; charset=utf-8", **_HEADERS, **answer.headers}
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing: an address in a log would hold the secret."""
