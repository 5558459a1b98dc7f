"""Fixtures for the tests of the laws: a platform on a real socket, and the ways to run against it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from workbench import OTHER_TOKEN, TOKEN, Bench, Platform, Serve, Shop

from importer.sandbox import Sandbox


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """A factory: faults and switches in, a platform on a socket out."""
    with ExitStack() as stack:

        def make(*faults: str, **switches: Any) -> Platform:
            db = tmp_path / f"platform-{len(list(tmp_path.glob('platform-*.db')))}.db"
            sandbox = stack.enter_context(Sandbox(db, tokens=(TOKEN, OTHER_TOKEN), faults=faults, **switches))
            return Platform(sandbox=sandbox, db=db, origin=stack.enter_context(sandbox.serve()).origin)

        yield make


@pytest.fixture
def platform(serve: Serve) -> Platform:
    """A platform that behaves."""
    return serve()


@pytest.fixture
def bench(tmp_path: Path, platform: Platform) -> Bench:
    """The engine at a platform that behaves."""
    return Bench(folder=tmp_path, origin=platform.origin)


@pytest.fixture
def shop(tmp_path: Path, platform: Platform) -> Shop:
    """The command line at a platform that behaves."""
    return Shop(folder=tmp_path, origin=platform.origin)
