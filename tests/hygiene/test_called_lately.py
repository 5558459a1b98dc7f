"""Numbers called lately are left alone across imports, rounds and campaigns; each duplicate names what it repeats."""

from __future__ import annotations

import re

from workbench import OTHER_TOKEN, Bench, Platform, Shop, number, people, write_list

from importer.run import HoldBack

WEEK_S = 7 * 86_400.0
LATELY = HoldBack(not_if_called_within_s=WEEK_S)


def test_a_number_called_lately_is_not_called_in_another_round(shop: Shop, platform: Platform) -> None:
    """Another list, another round, other content: the phone was accepted within the week, so it waits."""
    shop.run(write_list(shop.folder / "a.csv", people(3)))
    rows = [{"phone": number(i), "name": "someone else"} for i in range(5)]
    source = write_list(shop.folder / "b.csv", rows)
    said = shop.run(source, "--round", "tonight", "--not-if-called-within", "7d")
    assert said.code == 0
    assert (said.json["accepted"], said.json["duplicate"]) == (2, 3)
    platform.has_each_once(number(i) for i in range(5))


def test_a_number_called_lately_is_not_called_by_another_campaign(bench: Bench, platform: Platform) -> None:
    """The ledger is one, so campaigns know of each other's calls."""
    source = write_list(bench.folder / "a.csv", people(3))
    bench.run(source)
    bench.token = OTHER_TOKEN
    report = bench.run(source, hold_back=LATELY)
    assert (report.balance.accepted, report.balance.duplicate) == (0, 3)
    assert len(platform.phones()) == 3
    assert bench.run(source).balance.accepted == 3


def test_a_number_called_long_ago_may_be_called_again(bench: Bench, platform: Platform) -> None:
    """Only calls within the time count; the time runs from when the platform accepted."""
    source = write_list(bench.folder / "a.csv", people(3))
    bench.run(source)
    with bench.open_ledger(bench.ledger_path) as ledger, ledger.store.transaction():
        ledger.store.connection.execute("UPDATE receipts SET received_ms = received_ms - 8 * 86400000")
    report = bench.run(source, round_name="next", hold_back=LATELY)
    assert report.balance.accepted == 3
    assert len(platform.phones()) == 6


def test_declined_and_pending_rows_do_not_count_as_called(bench: Bench, platform: Platform) -> None:
    """What the platform never accepted holds nobody back."""
    bench.desk.says_send = False
    source = write_list(bench.folder / "a.csv", people(3))
    bench.run(source)
    bench.desk.says_send = True
    report = bench.run(source, round_name="next", hold_back=LATELY)
    assert report.balance.accepted == 3
    platform.judge()


def test_changing_the_time_reopens_an_unfinished_import(bench: Bench, platform: Platform) -> None:
    """It decides which rows come out of a list, so a list begun under another time is read anew."""
    bench.run(write_list(bench.folder / "a.csv", people(2)))
    source = write_list(bench.folder / "b.csv", [{"phone": number(i), "name": "x"} for i in range(4)])
    bench.desk.says_send = False
    first = bench.run(source, round_name="r")
    assert first.balance.pending == 4
    bench.desk.says_send = True
    report = bench.run(source, round_name="r", hold_back=LATELY)
    assert (report.import_id, report.balance.accepted) == (first.import_id, 2)
    assert (report.balance.duplicate, report.balance.withdrawn) == (2, 0)
    platform.has_each_once(number(i) for i in range(4))


def test_each_duplicate_names_the_row_it_repeats_and_when_that_was_called(shop: Shop) -> None:
    """`explain row` and `check` say which row stands for it, in this list or an earlier one, and when it was called."""
    first = write_list(shop.folder / "first.csv", people(2))
    assert shop.run(first).code == 0
    rows = [*people(3), people(3)[2], {"phone": number(1), "name": "other", "order": "9"}]
    second = write_list(shop.folder / "second.csv", rows)
    options = ("--not-if-called-within", "1h")
    ledger = ("--ledger", shop.ledger)
    checked = shop.importer("check", second, *options, *ledger).out
    assert re.search(r"Already · 2 rows\n  row 2    as row 2, accepted 2[^,]+, of ", checked)
    assert re.search(r"Recent · 1 row\n  row 6    as row 3, accepted 2[^,]+, of ", checked)
    assert "Repeated · 1 row\n  row 5    as row 4\n" in checked
    assert shop.run(second, *options).json["accepted"] == 1
    recent = shop.importer("explain", "row", "6", *ledger).out
    assert "was called too lately" in recent
    assert f"{number(1)}: row 3 of" in recent
    assert "accepted 2" in recent
    repeated = shop.importer("explain", "row", "5", *ledger).out
    assert "stands in the list more than once" in repeated
    assert f"{number(2)}: row 4 of" in repeated


def test_a_repeated_row_names_its_first_whatever_the_chunks(bench: Bench) -> None:
    """Also across chunks, and where the first waits for a batch to fill, and after a batch was cut."""
    rows = [people(9)[i] for i in (0, 1, 2, 1, 3, 4, 0, 5, 6, 6, 2)]
    source = write_list(bench.folder / "list.csv", rows)
    import_id = bench.run(source, chunk_rows=2).import_id
    with bench.open_ledger(bench.ledger_path) as ledger:
        view = ledger.view
        for row_no, first_row_no in ((5, 3), (8, 2), (11, 10), (12, 4)):
            [(reason, row_id)] = view.skip_at(import_id, 0, row_no)
            life = view.life_of(row_id)
            assert life is not None
            assert (reason, life.row_no, life.phone) == ("repeated", first_row_no, rows[row_no - 2]["phone"])
