"""The same list again: whole, grown, edited between runs, or with rows whose content changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from workbench import TOKEN, Bench, Platform, Serve, changed_at, number, people, sandbox_control, write_list

from importer import machine
from importer.errors import ListProblem
from importer.run import CameBack
from importer.sandbox import records


def edited(path: Path, rows: list[dict[str, str]], times: int = 1) -> Path:
    """The list with other rows, and a time that tells so."""
    write_list(path, rows)
    changed_at(path, 10 * times)
    return path


def taken_already(platform: Platform, phone: str) -> None:
    """Adds a number behind the importer's back, so that a platform with `jobs24h` declines it."""
    url = f"{platform.origin}/api/calls/campaign/{TOKEN}/addPhones"
    with httpx.Client(trust_env=False) as http:
        assert http.post(url, json=[{"phone": phone.removeprefix("+"), "payload": {"by": "hand"}}]).status_code == 200


def test_the_same_list_twice_is_all_duplicate_and_nothing_is_sent(
    bench: Bench, platform: Platform, tmp_path: Path
) -> None:
    """The second run reads everything, finds every row held, and makes no request that adds numbers."""
    rows = people(10)
    assert bench.run(write_list(tmp_path / "a.csv", rows)).exit_code == 0
    sends = len(platform.sends())
    again = bench.run(tmp_path / "a.csv")
    assert (again.exit_code, again.balance.read, again.balance.duplicate) == (0, 10, 10)
    assert len(platform.sends()) == sends
    platform.has_each_once(number(i) for i in range(10))


def test_the_same_rows_under_another_name_and_order_are_duplicates(
    bench: Bench, platform: Platform, tmp_path: Path
) -> None:
    """Neither the file's name, nor the order of rows or columns, makes a row another row."""
    rows = people(10)
    bench.run(write_list(tmp_path / "a.csv", rows))
    other = write_list(tmp_path / "b.csv", rows[::-1], columns=["order", "name", "phone"])
    assert bench.run(other).balance.duplicate == 10
    platform.has_each_once(number(i) for i in range(10))


def test_a_grown_list_sends_only_its_new_rows(bench: Bench, platform: Platform, tmp_path: Path) -> None:
    """A finished list with rows added is a new import; known rows are duplicates, new ones are called."""
    bench.run(write_list(tmp_path / "a.csv", people(6)))
    report = bench.run(edited(tmp_path / "a.csv", people(9)))
    assert (report.import_id, report.balance.duplicate, report.balance.accepted) == (2, 6, 3)
    platform.has_each_once(number(i) for i in range(9))


def test_rows_deleted_before_they_were_sent_are_withdrawn_and_never_called(
    bench: Bench, platform: Platform, tmp_path: Path
) -> None:
    """Stop, delete rows, run again: the deleted ones are not called, whatever was armed stays, new ones are called."""
    rows = people(12)
    first = bench.run(write_list(tmp_path / "a.csv", rows), first_rows=4)
    assert (first.exit_code, first.ending, first.balance.accepted, first.balance.pending) == (0, "first", 4, 8)
    kept = [row for row in rows if row["name"] not in {"Person 2", "Person 6", "Person 7"}] + people(1, first=20)
    report = bench.run(edited(tmp_path / "a.csv", kept))
    assert report.import_id == first.import_id
    assert (report.balance.withdrawn, report.balance.accepted, report.exit_code) == (2, 11, 0)
    assert report.balance.read == 13, "twelve rows, one of them new, and one that was sent before it was deleted"
    platform.has_each_once([number(i) for i in range(12) if i not in {6, 7}] + [number(20)])


def test_rows_perhaps_sent_are_not_withdrawn_however_the_list_was_edited(serve: Serve, tmp_path: Path) -> None:
    """A batch without an answer may have been carried out: it stays as it is, and is asked for under its own key."""
    platform = serve("lose-answer:times=1", "status:code=503,after=1,when=0s..3s")
    bench, rows = Bench(folder=tmp_path, origin=platform.origin), people(8)
    first = bench.run(write_list(tmp_path / "a.csv", rows), patience_s=8.0, first_rows=4)
    assert (first.exit_code, first.balance.pending, len(platform.phones())) == (7, 8, 4)
    report = bench.run(edited(tmp_path / "a.csv", rows[2:6]), patience_s=600.0)
    assert (report.exit_code, report.balance.accepted, report.balance.withdrawn) == (0, 6, 2)
    platform.has_each_once(number(i) for i in range(6))


def test_a_cell_corrected_before_it_was_sent_is_called_as_corrected(
    bench: Bench, platform: Platform, tmp_path: Path
) -> None:
    """The old content is withdrawn; only the new one reaches the platform."""
    rows = people(8)
    bench.run(write_list(tmp_path / "a.csv", rows), first_rows=4)
    rows[6]["name"] = "Corrected"
    report = bench.run(edited(tmp_path / "a.csv", rows))
    assert (report.balance.accepted, report.balance.withdrawn) == (8, 1)
    platform.has_each_once(number(i) for i in range(8))
    assert [one["name"] for one in platform.payloads() if one["order"] == "1006"] == ["Corrected"]


def test_a_withdrawn_row_that_is_put_back_is_counted_and_called_once(
    bench: Bench, platform: Platform, tmp_path: Path
) -> None:
    """Deleted, then put back before anything of it was sent: it is in one state, and it is called."""
    rows, path = people(8), tmp_path / "a.csv"
    bench.run(write_list(path, rows), first_rows=1)
    assert bench.run(edited(path, rows[:6]), first_rows=1).balance.withdrawn == 2
    report = bench.run(edited(path, rows, times=2))
    assert (report.balance.read, report.balance.accepted, report.balance.withdrawn) == (8, 8, 0)
    platform.has_each_once(number(i) for i in range(8))


def test_a_row_withdrawn_here_may_be_called_by_another_list_and_then_only_by_it(
    bench: Bench, platform: Platform, tmp_path: Path
) -> None:
    """The withdrawn row's key passes to the list that called it, and stays there however often the first is edited."""
    rows, first = people(8), tmp_path / "a.csv"
    bench.run(write_list(first, rows), first_rows=1)
    bench.run(edited(first, rows[:6]), first_rows=1)
    assert bench.run(write_list(tmp_path / "b.csv", rows[6:])).balance.accepted == 2
    bench.run(edited(first, rows[:5], times=2), first_rows=1)
    report = bench.run(edited(first, rows, times=3))
    assert (report.balance.read, report.balance.duplicate, report.balance.accepted) == (8, 2, 6)
    assert bench.run(write_list(tmp_path / "c.csv", rows[6:])).balance.duplicate == 2
    platform.has_each_once(number(i) for i in range(8))


def test_a_number_withdrawn_here_is_free_for_another_list_per_phone(
    bench: Bench, platform: Platform, tmp_path: Path
) -> None:
    """Under --once-per phone a withdrawn row does not stand for its number, even while its import is unfinished."""
    rows, first = people(8), tmp_path / "a.csv"
    bench.run(write_list(first, rows), first_rows=1, once_per="phone")
    bench.run(edited(first, rows[:6]), first_rows=1, once_per="phone")
    report = bench.run(write_list(tmp_path / "b.csv", rows[6:]), once_per="phone")
    assert report.balance.accepted == 2
    platform.judge()


def test_a_declined_row_stays_declined_while_its_import_lasts(serve: Serve, tmp_path: Path) -> None:
    """Editing the rest of a list neither sends a declined row again nor counts it twice; a later import tries it."""
    platform = serve(duplicates="jobs24h")
    bench = Bench(folder=tmp_path, origin=platform.origin)
    taken_already(platform, number(0))
    rows, path = people(8), tmp_path / "a.csv"
    first = bench.run(write_list(path, rows), first_rows=5, batch_size_rows=1, is_new_ledger_fine=True)
    assert (first.balance.refused, first.balance.accepted) == (1, 4)
    sends = len(platform.sends())
    report = bench.run(edited(path, rows[:7]), first_rows=1)
    assert (report.balance.read, report.balance.refused, report.balance.withdrawn) == (8, 1, 1)
    assert len(platform.sends()) == sends + 1
    assert bench.run(path).exit_code == 3
    later = bench.run(path)
    assert (later.import_id, later.balance.refused, later.balance.duplicate) == (first.import_id + 1, 1, 6)


def test_an_unfinished_import_goes_on_under_its_own_round(bench: Bench, platform: Platform, tmp_path: Path) -> None:
    """An unchanged list resumes the import it belongs to, even when the command now names no round."""
    path = write_list(tmp_path / "a.csv", people(8))
    first = bench.run(path, round_name="monday", first_rows=4)
    report = bench.run(path)
    assert (report.import_id, report.round_name, report.is_resumed) == (first.import_id, "monday", True)
    assert report.balance.accepted == 8
    platform.has_each_once(number(i) for i in range(8))


def test_another_round_calls_everybody_once_more(bench: Bench, platform: Platform, tmp_path: Path) -> None:
    """A round is an occasion: the same rows are other rows in it, and duplicates only within it."""
    path = write_list(tmp_path / "a.csv", people(3))
    assert bench.run(path, round_name="one").balance.accepted == 3
    assert bench.run(path, round_name="two").balance.accepted == 3
    assert bench.run(path, round_name="two").balance.duplicate == 3
    assert sorted(platform.phones()) == sorted([number(i) for i in range(3)] * 2)


def test_first_n_rows_then_the_rest(bench: Bench, platform: Platform, tmp_path: Path) -> None:
    """--first N sends N rows, to the row, and counts as success; without it the rest goes."""
    path = write_list(tmp_path / "a.csv", people(10))
    for accepted in (3, 6, 9):
        report = bench.run(path, first_rows=3)
        assert (report.exit_code, report.ending, report.balance.accepted) == (0, "first", accepted)
    assert bench.run(path).balance.accepted == 10
    platform.has_each_once(number(i) for i in range(10))


def test_a_pending_import_of_another_list_is_named_and_not_sent(
    bench: Bench, platform: Platform, tmp_path: Path
) -> None:
    """A run sends its own import only."""
    bench.run(write_list(tmp_path / "a.csv", people(8)), first_rows=4)
    report = bench.run(write_list(tmp_path / "b.csv", people(2, first=50)))
    assert report.balance.accepted == 2
    assert [event for event in bench.events if getattr(event, "kind", "") == "others"]
    assert len(platform.phones()) == 6
    assert bench.send(1).balance.accepted == 8


def test_another_batch_size_touches_only_rows_never_frozen(bench: Bench, platform: Platform, tmp_path: Path) -> None:
    """An import keeps the size it began with; nothing frozen is cut anew."""
    path = write_list(tmp_path / "a.csv", people(12))
    bench.run(path, first_rows=4)
    assert bench.run(path, batch_size_rows=7).balance.accepted == 12
    assert len(platform.sends()) == 3
    platform.has_each_once(number(i) for i in range(12))


# --- which call is the same call ------------------------------------------------------------------------------------


def changed_names(rows: list[dict[str, str]], *places: int) -> list[dict[str, str]]:
    return [{**row, "name": "Changed"} if i in places else row for i, row in enumerate(rows)]


def test_known_numbers_with_other_content_send_nothing_without_an_answer(
    bench: Bench, platform: Platform, tmp_path: Path
) -> None:
    """Nobody said what the same call is, and nobody is there to ask: nothing is sent, by `run` again neither."""
    bench.run(write_list(tmp_path / "a.csv", people(4)))
    path = write_list(tmp_path / "b.csv", changed_names(people(6), 1, 2))
    for _ in range(2):
        with pytest.raises(ListProblem) as stopped:
            bench.run(path)
        assert "name" in stopped.value.message
        for line in ("--once-per phone", "--round NAME", "--once-per row"):
            assert line in stopped.value.hint
    assert bench.desk.shown[-1] == CameBack(rows=2, changed_fields=("name",))
    platform.has_each_once(number(i) for i in range(4))


def test_the_answer_phone_leaves_known_numbers_alone(bench: Bench, platform: Platform, tmp_path: Path) -> None:
    """Known numbers are reported as changed and counted once; new ones are called."""
    bench.run(write_list(tmp_path / "a.csv", people(4)))
    bench.desk.says_which = "phone"
    report = bench.run(write_list(tmp_path / "b.csv", changed_names(people(6), 1, 2)))
    assert (report.balance.read, report.balance.duplicate, report.balance.accepted) == (6, 4, 2)
    assert report.balance.withdrawn == 0
    platform.has_each_once(number(i) for i in range(6))


def test_the_answer_row_calls_changed_rows_again_and_is_remembered(
    bench: Bench, platform: Platform, tmp_path: Path
) -> None:
    """The answer stands for the import: going on with it asks nothing."""
    bench.run(write_list(tmp_path / "a.csv", people(4)))
    path = write_list(tmp_path / "b.csv", changed_names(people(6), 1, 2))
    bench.desk.says_which = "row"
    assert bench.run(path, first_rows=1).balance.accepted == 1
    bench.desk.says_which = None
    assert bench.run(path).balance.accepted == 4
    assert len(platform.phones()) == 8


def test_once_per_phone_calls_a_number_once_whatever_else_changed(
    bench: Bench, platform: Platform, tmp_path: Path
) -> None:
    """Within a list and between lists the number alone decides; changed rows are told apart from repeated ones."""
    rows = [*people(3), *changed_names(people(3), 0), *people(1)]
    report = bench.run(write_list(tmp_path / "a.csv", rows), once_per="phone")
    assert (report.balance.accepted, report.balance.duplicate) == (3, 4)
    again = bench.run(write_list(tmp_path / "b.csv", changed_names(people(5), 0, 1)), once_per="phone")
    assert (again.balance.accepted, again.balance.duplicate) == (2, 3)
    platform.has_each_once(number(i) for i in range(5))


def test_once_per_a_column_calls_each_of_its_values_once(bench: Bench, platform: Platform, tmp_path: Path) -> None:
    """A cumulative list by customer: new customers are called, changed ones are reported and left alone."""
    rows = people(4)
    bench.run(write_list(tmp_path / "a.csv", rows), once_per="order")
    grown = [{**rows[1], "phone": number(77)}, *rows, *people(2, first=10)]
    report = bench.run(write_list(tmp_path / "b.csv", grown), once_per="order")
    assert (report.balance.read, report.balance.duplicate, report.balance.accepted) == (7, 5, 2)
    platform.has_each_once([*(number(i) for i in range(4)), number(10), number(11)])


def test_once_per_the_phone_column_goes_by_the_number_not_by_its_spelling(
    bench: Bench, platform: Platform, tmp_path: Path
) -> None:
    """Two spellings of one number are one identity, as they are one row."""
    rows = [
        {"id": "1", "tel": "+12015550100"},
        {"id": "1", "tel": "+1 201 555 0100"},
        {"id": "2", "tel": "12015550101"},
    ]
    report = bench.run(write_list(tmp_path / "a.csv", rows), once_per="tel")
    assert (report.balance.accepted, report.balance.duplicate) == (2, 1)
    platform.has_each_once(["+12015550100", "+12015550101"])


def test_once_per_a_policy_column_goes_by_its_meaning(bench: Bench, platform: Platform, tmp_path: Path) -> None:
    """` 3` and `3` are the same number of attempts, so the same identity."""
    rows = [{"tel": number(1), "maxAttempts": "3"}, {"tel": number(1), "maxAttempts": " 3"}]
    report = bench.run(write_list(tmp_path / "a.csv", rows), once_per="tel,maxAttempts")
    assert (report.balance.accepted, report.balance.duplicate) == (1, 1)
    platform.has_each_once([number(1)])


def test_rows_of_one_number_then_once_per_phone_count_each_row_once(
    bench: Bench, platform: Platform, tmp_path: Path
) -> None:
    """Another meaning of the same call, said before the rows were sent, leaves each row in one state."""
    rows = [*people(1), *changed_names(people(1), 0), *people(3, first=5)]
    path = write_list(tmp_path / "a.csv", rows)
    bench.run(path, first_rows=1)
    report = bench.run(path, once_per="phone")
    assert (report.balance.read, report.balance.accepted, report.balance.duplicate) == (5, 4, 1)
    platform.has_each_once([number(0), number(5), number(6), number(7)])


# --- what stops a run, and what does not ----------------------------------------------------------------------------


def test_a_number_the_platform_declines_is_parted_from_the_others(serve: Serve, tmp_path: Path) -> None:
    """A definite refusal names one number: it alone is refused, by the same run, and its batch fellows are called."""
    platform = serve(duplicates="jobs24h")
    taken_already(platform, number(2))
    bench = Bench(folder=tmp_path, origin=platform.origin)
    report = bench.run(write_list(tmp_path / "a.csv", people(4)), is_new_ledger_fine=True)
    assert (report.exit_code, report.balance.accepted, report.balance.refused) == (3, 3, 1)
    assert [place[1:] for place in report.refusals] == [(4, "phone.duplicated")]
    platform.has_each_once(number(i) for i in range(4))


def test_a_slow_rate_sends_everything_however_many_batches(bench: Bench, platform: Platform, tmp_path: Path) -> None:
    """A pause for the rate is not the end: more batches are asked for after as many as are fetched at once."""
    path = write_list(tmp_path / "a.csv", people(70))
    report = replace(bench, now=machine.now).run(path, batch_size_rows=1, rate_rows_s=40.0)
    assert (report.exit_code, report.balance.accepted) == (0, 70)
    platform.has_each_once(number(i) for i in range(70))


def test_a_paused_campaign_still_takes_numbers_and_a_stopped_one_ends_the_run(
    bench: Bench, platform: Platform, tmp_path: Path
) -> None:
    """Stopped is for good (6) with every row still pending; nothing else was sent after the answer."""
    path = write_list(tmp_path / "a.csv", people(12))
    bench.run(path, first_rows=4)
    sandbox_control(platform, "stop")
    sends = len(platform.sends())
    report = bench.run(path, in_flight=4)
    assert (report.exit_code, report.ending, report.balance.pending) == (6, "denied", 8)
    assert len(platform.sends()) == sends + 1
    assert records.count_jobs(platform.db) == 4


def test_a_list_of_a_header_alone_is_well(bench: Bench, tmp_path: Path) -> None:
    """No rows are no failure."""
    (tmp_path / "a.csv").write_text("phone,name\n")
    report = bench.run(tmp_path / "a.csv")
    assert (report.exit_code, report.balance.read) == (0, 0)


def test_columns_may_be_called_as_ours_are(bench: Bench, platform: Platform, tmp_path: Path) -> None:
    """A list's own `row_no`, `item` or `row_key` is payload like any other."""
    names = ("row_no", "file_no", "item", "row_key", "identity", "at", "e164", "phone_reason", "problem", "value")
    rows = [{"phone": number(i), **{name: f"{name} {i}" for name in names}} for i in range(3)]
    assert bench.run(write_list(tmp_path / "a.csv", rows)).exit_code == 0
    assert platform.payloads() == [{name: f"{name} {i}" for name in names} for i in range(3)]
