"""One rich ledger and its page, made once and only read."""

from __future__ import annotations

from pathlib import Path

import pytest

from importer.report import Facts, gather
from importer.report.page import render

from .ledgers import rich_ledger


@pytest.fixture(scope="session")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ledger."""
    return rich_ledger(tmp_path_factory.mktemp("rich"))


@pytest.fixture(scope="session")
def facts(ledger: Path) -> Facts:
    """What is known of its one import."""
    return gather(ledger, 1)


@pytest.fixture(scope="session")
def page(facts: Facts) -> str:
    """Its page."""
    return render(facts)
