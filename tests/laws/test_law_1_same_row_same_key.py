"""Law 1: the same row has the same key, whatever the file, the process or the ledger it comes through."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

from workbench import Bench, Platform, Shop, command, people, write_list


def row_keys(ledger: Path) -> dict[int, str]:
    """Phone to row key, as plain sqlite3 shows it."""
    with contextlib.closing(sqlite3.connect(f"{ledger.as_uri()}?mode=ro", uri=True)) as reader:
        return dict(reader.execute("SELECT phone, hex(row_key) FROM rows"))


def test_law_1_same_row_same_key(tmp_path: Path, platform: Platform) -> None:
    """Another ledger, file name, row order, column order, spelling of the number, chunk size: the same keys."""
    rows = people(9)
    one = Bench(folder=tmp_path / "one", origin=platform.origin)
    two = Bench(folder=tmp_path / "two", origin=platform.origin)
    one.run(write_list(tmp_path / "a.csv", rows))
    spelled = [{**row, "phone": f"{row['phone'][:2]} ({row['phone'][2:5]}) {row['phone'][5:]}"} for row in rows[::-1]]
    path = write_list(tmp_path / "b.csv", spelled, columns=["order", "phone", "name"])
    two.run(path, batch_size_rows=2, chunk_rows=4, is_new_ledger_fine=True)
    assert row_keys(one.ledger_path) == row_keys(two.ledger_path)


def test_law_1_no_setting_of_the_process_is_in_a_key(tmp_path: Path, platform: Platform) -> None:
    """Another hash seed, time zone, locale and working directory: the same keys."""
    path = write_list(tmp_path / "a.csv", [{**row, "startDateTime": "2026-11-23T09:00:00+03:00"} for row in people(3)])
    found = []
    processes: list[dict[str, Any]] = [
        {"PYTHONHASHSEED": "1", "TZ": "UTC"},
        {"PYTHONHASHSEED": "2", "TZ": "Asia/Tokyo", "LC_ALL": "C"},
    ]
    for place, more in enumerate(processes):
        folder = tmp_path / str(place)
        folder.mkdir()
        shop = Shop(folder=folder, origin=platform.origin)
        assert command("run", path, *shop.target, "--new-ledger", "--json", cwd=folder, **more).code == 0
        found.append(row_keys(shop.ledger))
    assert found[0] == found[1]
    assert len(found[0]) == 3
