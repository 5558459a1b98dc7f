"""A transport that may be watched without being seen through: what an onlooker is shown has no secret in it.

Floor: client. A newcomer may question the two layers: an instrumentation wraps a transport and reads the request that
passes, URL and headers, and here the URL is the credential. So it is given a stand-in, and the real request, which it
never touches, goes on beneath it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import httpx

from importer.client.secrecy import MASK, redact

Around = Callable[[httpx.BaseTransport], httpx.BaseTransport]
REAL = "importer.real"  # where a stand-in carries the real request, in httpx's extensions


class _Front(httpx.BaseTransport):
    """Shows the onlooker a stand-in for each request."""

    def __init__(
        self, onlooker: httpx.BaseTransport, inside: Callable[[], contextlib.AbstractContextManager[None]]
    ) -> None:
        self._onlooker = onlooker
        self._inside = inside

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """The answer to the real request."""
        with self._inside():
            return self._onlooker.handle_request(stand_in(request))

    def close(self) -> None:
        """Closes what is beneath."""
        self._onlooker.close()


class _Back(httpx.BaseTransport):
    """Sends the real request."""

    def __init__(self, transport: httpx.BaseTransport) -> None:
        self._transport = transport

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """The answer, as it came."""
        return self._transport.handle_request(request.extensions[REAL])

    def close(self) -> None:
        """Closes every connection."""
        self._transport.close()


def stand_in(request: httpx.Request) -> httpx.Request:
    """A request with the method, the host and the operation of another, and nothing else of it."""
    url = request.url
    path = redact(url.path) if "campaign/" in url.path else f"/{MASK}"
    shown = httpx.URL(scheme=url.scheme, host=url.host, port=url.port, path=path)
    return httpx.Request(request.method, shown, extensions={REAL: request})


def seen_through(
    transport: httpx.BaseTransport,
    onlooker: Around,
    inside: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
) -> httpx.BaseTransport:
    """A transport with an onlooker between; `inside` is entered around each request, in its own thread."""
    return _Front(onlooker(_Back(transport)), inside)
