"""A ledger goes into Parquet files that show one moment of it, and answer what SQL over the ledger answers."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest
from workbench import Serve, Shop, people, write_list

from importer import machine
from importer.ledger import Ledger
from importer.machine import Owner
from importer.outcomes.warehouse import QUERIES

FILES = {*QUERIES, "rows"}


@pytest.fixture
def lived(serve: Serve, tmp_path: Path) -> Shop:
    """A ledger that has something to say in every table."""
    platform = serve(speed=200_000.0)
    shop = Shop(folder=tmp_path, origin=platform.origin)
    rows = people(12)
    shop.run(write_list(tmp_path / "list.csv", [*rows, rows[0], {**rows[1], "phone": "n/a"}]), "--first", "8")
    shop.importer("cancel", "1", "--where", "importer_row = 12", *shop.target, "--yes")
    time.sleep(0.2)
    shop.importer("outcomes", "--attempts", *shop.target)
    return shop


def test_every_table_has_a_file(lived: Shop, tmp_path: Path) -> None:
    """With as many rows as the ledger, times as times, and none of its secrets."""
    out = tmp_path / "warehouse"
    said = lived.importer("ledger", "export", out, "--ledger", lived.ledger, "--json")
    assert said.code == 0, said.err
    assert {path.stem for path in out.iterdir()} == FILES
    frames = {name: pl.read_parquet(out / f"{name}.parquet") for name in FILES}
    rows = said.json["files"]
    assert all(frame.height == rows[f"{name}.parquet"] > 0 for name, frame in frames.items())
    assert (frames["rows"].height, frames["call_outcomes"].height, frames["cancellations"].height) == (12, 8, 1)
    assert frames["imports"].row(0, named=True)["withdrawn"] == 1
    assert frames["call_outcomes"].schema["created_at"] == pl.Datetime("ms", "UTC")
    joined = frames["rows"].join(frames["call_outcomes"], on="row_id")
    assert (joined["call_job_id"] == joined["call_job_id_right"]).all()
    with closing(sqlite3.connect(lived.ledger)) as ledger:
        (seed,) = ledger.execute("SELECT key_seed FROM campaigns").fetchone()
    assert not any(seed.encode() in path.read_bytes() for path in out.iterdir())
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in out.iterdir())


def test_it_works_beside_an_owner_and_again(lived: Shop, tmp_path: Path) -> None:
    """Nobody is disturbed; a second export replaces the first."""
    owner = Owner(pid=1, host="here", since="now", command="importer run")
    for _ in range(2):
        with Ledger(lived.ledger, owner, now_ms=machine.now().unix_ms):
            assert lived.importer("ledger", "export", tmp_path / "w", "--ledger", lived.ledger).code == 0
    assert {path.stem for path in (tmp_path / "w").iterdir()} == FILES


def test_an_empty_ledger_gives_empty_files(tmp_path: Path, shop: Shop) -> None:
    """With their columns, so that what reads them need not ask."""
    with Ledger(shop.ledger, Owner(pid=1, host="h", since="s", command="c"), now_ms=1):
        pass
    assert shop.importer("ledger", "export", tmp_path / "w", "--ledger", shop.ledger).code == 0
    frames = [pl.read_parquet(path) for path in (tmp_path / "w").iterdir()]
    assert all(frame.height == 0 and frame.width > 4 for frame in frames)


def test_the_views_answer_in_plain_sql(lived: Shop) -> None:
    """A round trip in SQL: from a row of the list to the outcome of its call, with nothing but sqlite3."""
    with closing(sqlite3.connect(f"{lived.ledger.as_uri()}?mode=ro", uri=True)) as ledger:
        ask = ledger.execute
        rows = ask("SELECT row_no, phone, status, last_result FROM call_outcomes WHERE is_finished").fetchall()
        assert rows
        assert all(None not in row for row in rows)
        assert ask("SELECT sum(call_jobs) FROM outcome_summary").fetchall() == [(8,)]
        assert ask("SELECT fate, row_no FROM cancelled_rows").fetchall() == [("withdrawn", 12)]
        assert ask("SELECT count(*) FROM attempt_log").fetchone()[0] >= len(rows)
