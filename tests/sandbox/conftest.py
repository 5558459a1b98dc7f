"""Fixtures: a sandbox on a real file and a hand-moved clock, called in process or over a real socket."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from importer.sandbox import Sandbox

from .calling import OTHER_TOKEN, TOKEN, Caller, Clock

Make = Callable[..., Caller]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "sandbox.db"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def in_process(db: Path, clock: Clock, stack: ExitStack) -> Make:
    """A factory: switches in, a caller whose requests never leave the process out."""

    def make(**switches: Any) -> Caller:
        sandbox = stack.enter_context(_sandbox(db, clock, switches))
        transport = httpx.WSGITransport(app=sandbox.app)
        return Caller(http=stack.enter_context(httpx.Client(transport=transport, base_url="http://sandbox")))

    return make


@pytest.fixture
def over_socket(db: Path, clock: Clock, stack: ExitStack) -> Make:
    """A factory: switches in, a caller over a real socket out."""

    def make(**switches: Any) -> Caller:
        sandbox = stack.enter_context(_sandbox(db, clock, switches))
        served = stack.enter_context(sandbox.serve())
        return Caller(http=stack.enter_context(httpx.Client(base_url=served.url, trust_env=False, timeout=10.0)))

    return make


@pytest.fixture(params=["in_process", "over_socket"])
def anywhere(request: pytest.FixtureRequest) -> Make:
    """Both factories in turn: what holds in process holds on the wire."""
    make: Make = request.getfixturevalue(request.param)
    return make


def _sandbox(db: Path, clock: Clock, switches: dict[str, Any]) -> Sandbox:
    return Sandbox(db, **{"tokens": (TOKEN, OTHER_TOKEN), "clock": clock, "sleep": clock.sleep, **switches})
