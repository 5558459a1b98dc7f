"""A cell with several numbers becomes a row for each, when asked and when every piece is a number; it all adds up."""

from __future__ import annotations

import pytest
from workbench import Bench, Platform, Shop, number, people, write_list

from importer.intake.splitting import pieces_of

A, B, C = number(1), number(2), number(3)


@pytest.mark.parametrize(
    ("cell", "pieces"),
    [
        ("+1 650 555 0100; +1 650 555 0101", ["+1 650 555 0100", "+1 650 555 0101"]),
        ("16505550100/16505550101|16505550102", ["16505550100", "16505550101", "16505550102"]),
        ("+16505550100+16505550101", ["+16505550100", "+16505550101"]),
        ("(650) 555-0100 or (650) 555-0101", ["(650) 555-0100", "(650) 555-0101"]),
        ("16505550100 16505550101", ["16505550100", "16505550101"]),
        ("16505550100\n16505550101\n", ["16505550100", "16505550101"]),
        ("16505550100", ["16505550100"]),
    ],
)
def test_a_cell_is_cut_at_its_separators(cell: str, pieces: list[str]) -> None:
    """At spaces only where there is nothing else."""
    assert pieces_of(cell) == pieces


def test_each_number_of_a_cell_is_called_once(shop: Shop, platform: Platform) -> None:
    """Two rows at one place with the other cells of it; each counts as read; the same list again calls nobody."""
    rows = people(6)
    rows[1]["phone"] = f"{A}; {C}"  # the second number stands in the list as well, but with other content
    rows[4]["phone"] = f"{number(4)} / {number(4)}"  # twice the same
    source = write_list(shop.folder / "list.csv", rows)
    plain = shop.importer("check", source, "--json", "--stop-at-rejects", "100%").json
    assert plain["rejects_by_reason"] == {"two_numbers": 2}
    said = shop.run(source, "--split-cells")
    assert (said.code, said.json["read"], said.json["accepted"], said.json["duplicate"]) == (0, 8, 7, 1)
    assert said.json["facts"]["split_off"] == 2
    assert sorted(platform.phones()) == sorted([*(number(i) for i in range(6)), C])
    assert {tuple(each.items()) for each in platform.payloads() if each["order"] == "1001"} == {
        (("name", "Person 1"), ("order", "1001"))
    }
    platform.judge()
    again = shop.run(source, "--split-cells")
    assert (again.json["read"], again.json["duplicate"]) == (8, 8)
    explained = shop.importer("explain", "row", "3", "--import", "1", "--ledger", shop.ledger).out
    assert A in explained
    assert C in explained


def test_a_cell_with_a_piece_that_is_no_number_stays_a_reject(shop: Shop, platform: Platform) -> None:
    """Half of a cell would call half of what was meant."""
    rows = [{"phone": f"{A}, 1234567890123456"}, {"phone": f"{B}; {C}; 12"}, {"phone": number(9)}]
    source = write_list(shop.folder / "list.csv", rows)
    said = shop.run(source, "--split-cells", "--stop-at-rejects", "100%")
    assert said.json["rejects_by_reason"] == {"two_numbers": 2}
    assert said.json["read"] == 3
    platform.has_each_once([number(9)])


def test_splitting_does_not_depend_on_chunks(bench: Bench, platform: Platform) -> None:
    """Two ledgers, other chunks: the same rows in the same batches, so one set of call jobs."""
    rows = people(9)
    for i in (0, 3, 8):
        rows[i]["phone"] = f"{number(20 + i)}; {number(30 + i)}"
    source = write_list(bench.folder / "list.csv", rows)
    report = bench.run(source, is_splitting=True, chunk_rows=2)
    assert (report.balance.read, report.balance.accepted) == (12, 12)
    bodies = sorted(each.body_sha256 for each in platform.sends())
    (bench.folder / "second").mkdir()
    second = Bench(folder=bench.folder / "second", origin=bench.origin)
    second.run(source, is_splitting=True, chunk_rows=100, is_new_ledger_fine=True)
    assert {each.body_sha256 for each in platform.sends()} == set(bodies)
    assert len(platform.phones()) == 12


def test_saying_it_reopens_an_unfinished_import(bench: Bench, platform: Platform) -> None:
    """It decides which rows come out of a list."""
    rows = people(3)
    rows[1]["phone"] = f"{A}; {B}"
    source = write_list(bench.folder / "list.csv", [*rows[:2], {**rows[2], "phone": C}])
    bench.desk.says_send = False
    first = bench.run(source, checks=_lenient())
    assert first.balance.rejected == 1
    bench.desk.says_send = True
    report = bench.run(source, is_splitting=True)
    assert (report.import_id, report.balance.read, report.balance.accepted) == (first.import_id, 4, 4)
    platform.has_each_once([number(0), A, B, C])


def _lenient() -> object:
    from importer.run import Checks

    return Checks(stop_at_rejects_share=1.0)
