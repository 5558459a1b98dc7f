"""A ledger with a little of everything, made once and copied for each test."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from workbench import TOKEN, Bench, number, people, write_list

from importer.client import CallsApi, NewCallJob
from importer.sandbox import Sandbox

ROWS = 30
DECLINED = 5  # this row is on the platform already, which declines it
BAD = {"phone": "12", "name": "Too Short", "order": "7"}


@pytest.fixture(scope="session")
def well(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed ledger: import 1 is settled (accepted, declined after a split, rejected, repeated), 2 is half sent."""
    folder = tmp_path_factory.mktemp("well")
    with (
        Sandbox(folder / "platform.db", tokens=(TOKEN,), duplicates="jobs24h") as sandbox,
        sandbox.serve() as served,
        CallsApi(served.origin, TOKEN) as api,
    ):
        api.add_phones([NewCallJob(phone=number(DECLINED)[1:], payload={"by": "hand"})])
        bench = Bench(folder=folder, origin=served.origin)
        rows = [*people(ROWS), *people(3), BAD]
        bench.run(write_list(folder / "first.csv", rows), batch_size_rows=4, is_new_ledger_fine=True)
        bench.run(write_list(folder / "second.csv", people(22, first=60)), batch_size_rows=4, first_rows=9)
    return folder / "ledger.db"


@pytest.fixture
def copied(well: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A factory of copies of that ledger, under a name."""

    def copy(name: str = "ledger.db") -> Path:
        target = tmp_path / name
        shutil.copyfile(well, target)
        shutil.copyfile(f"{well}.counter", f"{target}.counter")
        return target

    return copy
