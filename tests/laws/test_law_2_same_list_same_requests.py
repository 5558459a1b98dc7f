"""Law 2: the same list makes the same requests, so two ledgers within the day make one set of call jobs."""

from __future__ import annotations

from pathlib import Path

import pytest
from workbench import Bench, Platform, number, people, write_list


def a_list(folder: Path) -> Path:
    """Rows of which some share a number, some are repeated and some are bad: batches are cut around them."""
    rows = people(30)
    rows[7] = {**rows[6], "name": "Same number, other content"}
    rows[8] = dict(rows[6])
    rows[20] = {**rows[3], "name": "Same number, far away"}
    rows[25] = {**rows[25], "phone": "not a number"}
    return write_list(folder / "list.csv", rows)


@pytest.mark.parametrize("batch_size_rows", [1, 4, 250])
def test_law_2_same_list_same_requests(tmp_path: Path, platform: Platform, batch_size_rows: int) -> None:
    """Other chunks, other ledgers, other numbers in flight: the same keys and bodies, and one set of jobs."""
    path = a_list(tmp_path)
    asked = []
    for place, (chunk_rows, in_flight) in enumerate([(100_000, 1), (1, 4), (7, 2)]):
        bench = Bench(folder=tmp_path / str(place), origin=platform.origin)
        before = len(platform.sends())
        report = bench.run(
            path,
            batch_size_rows=batch_size_rows,
            chunk_rows=chunk_rows,
            in_flight=in_flight,
            is_new_ledger_fine=True,
        )
        assert (report.exit_code, report.balance.accepted) == (3, 28)
        asked.append({(one.key, one.body_sha256) for one in platform.sends()[before:]})
    assert asked[0] == asked[1] == asked[2]
    platform.judge()
    assert len(platform.phones()) == 28
    assert set(platform.phones()) == {number(i) for i in range(30) if i not in {7, 8, 20, 25}}


def test_law_2_strict_mode_asks_under_the_row_keys_themselves(tmp_path: Path, platform: Platform) -> None:
    """With one row a request, another order or an edited list still makes no second job."""
    rows = people(6)
    one = Bench(folder=tmp_path / "one", origin=platform.origin)
    two = Bench(folder=tmp_path / "two", origin=platform.origin)
    one.run(write_list(tmp_path / "a.csv", rows), batch_size_rows=1)
    mixed = write_list(tmp_path / "b.csv", [*people(2, first=40), *rows[::-1]])
    assert two.run(mixed, batch_size_rows=1, is_new_ledger_fine=True).balance.accepted == 8
    platform.has_each_once([*(number(i) for i in range(6)), number(40), number(41)])


@pytest.mark.parametrize("once_per", ["row", "phone", "name"])
@pytest.mark.parametrize("apart_rows", [1, 2, 3, 5])
def test_a_row_is_known_again_in_the_next_chunk(
    tmp_path: Path, platform: Platform, once_per: str, apart_rows: int
) -> None:
    """A chunk is written while the next is cut: what repeats a row of it is found all the same, as in one chunk."""
    rows = people(12)
    changed = [{**row, "amount": "other"} for row in rows]
    blocks = [rows[at : at + apart_rows] for at in range(0, 12, apart_rows)]
    again = [changed[at : at + apart_rows] for at in range(0, 12, apart_rows)]
    mixed = [row for block, other in zip(blocks, again, strict=True) for row in (*block, *block, *other)]
    path = write_list(tmp_path / "list.csv", [{"amount": "1", **row} for row in mixed])
    told, asked = [], []
    for place, chunk_rows in enumerate([100_000, apart_rows, 1]):
        bench = Bench(folder=tmp_path / str(place), origin=platform.origin)
        before = len(platform.sends())
        report = bench.run(path, once_per=once_per, chunk_rows=chunk_rows, batch_size_rows=5, is_new_ledger_fine=True)
        told.append(report.balance)
        asked.append([(one.key, one.body_sha256) for one in platform.sends()[before:]])
    assert told[0] == told[1] == told[2]
    assert asked[0] == asked[1] == asked[2]
    assert told[0].accepted == (24 if once_per == "row" else 12)
