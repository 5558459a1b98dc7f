"""Policy cells: what we let through, the platform takes; what it would not take is a bad row, with its rule."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from workbench import Bench, Platform, number, write_list

from importer import policy
from importer.sandbox.entries import check_entries
from importer.sandbox.rules import Rules

GOOD = {
    "allowedDays": [("mon,tue", '["mon","tue"]'), ("Sat; sun", '["sat","sun"]'), ('["fri"]', '["fri"]')],
    "allowedTime": [
        (
            '{"default": [{"localTimeFrom": "09:00", "localTimeTo": "18:00"}]}',
            '{"default":[{"localTimeFrom":"09:00","localTimeTo":"18:00"}]}',
        )
    ],
    "dialerPriority": [("1", "1"), (" 5 ", "5")],
    "maxAttempts": [("1", "1"), ("50", "50"), ("007", "7")],
    "retryIntervalInMinutes": [("1", "1"), ("2880", "2880")],
    "gmtZone": [("+03:00", '"+03:00"'), ("Europe/Paris", '"Europe/Paris"'), ("UTC+3", '"UTC+3"'), ("Z", '"Z"')],
    "startDateTime": [("2026-11-23T09:00:00+03:00", '"2026-11-23T09:00:00+03:00"')],
    "finishDateTime": [("2026-11-23 09:00:00Z", '"2026-11-23T09:00:00+00:00"')],
}
BAD = {
    "allowedDays": ["monday", "mon,mon", ",", "[]", "[1]", "[", "mon,xyz"],
    "allowedTime": [
        "{}", "[]", "09:00-18:00", '{"default":[]}', '{"someday":[{"localTimeFrom":"09:00","localTimeTo":"18:00"}]}',
        '{"mon":[{"localTimeFrom":"18:00","localTimeTo":"09:00"}]}',
        '{"mon":[{"localTimeFrom":"9:00","localTimeTo":"18:00"}]}',
        '{"mon":[{"localTimeFrom":"09:00","localTimeTo":"12:00"},{"localTimeFrom":"11:00","localTimeTo":"18:00"}]}',
    ],
    "dialerPriority": ["0", "6", "1.0", "high", "-1"],
    "maxAttempts": ["0", "51", "many", "1e1"],
    "retryIntervalInMinutes": ["0", "2881"],
    "gmtZone": ["+19:00", "+18:01", "+3:5", "Europe/Atlantis", "+03:60", "three"],
    "startDateTime": ["2026-11-23", "2026-11-23T09:00:00", "tomorrow", "2026-02-30T09:00:00Z",
        "2026-11-23T09:00:00+03:00:30"],
    "finishDateTime": ["1700000000"],
}  # fmt: skip


def judged(field: str, cell: str) -> tuple[str | None, str | None]:
    found = policy.check(field, pl.Series([cell], dtype=pl.String))
    return found["value"][0], found["problem"][0]


@pytest.mark.parametrize(("field", "cell", "value"), [(f, c, v) for f, pairs in GOOD.items() for c, v in pairs])
def test_a_good_cell_becomes_json(field: str, cell: str, value: str) -> None:
    """One spelling for one meaning, since it is keyed and sent."""
    assert judged(field, cell) == (value, None)


@pytest.mark.parametrize(("field", "cell"), [(f, c) for f, cells in BAD.items() for c in cells])
def test_a_bad_cell_says_which_rule_it_breaks(field: str, cell: str) -> None:
    """The field is named first, for the reject line."""
    value, problem = judged(field, cell)
    assert value is None
    assert problem is not None
    assert problem.startswith(f"{field} ")


def test_an_empty_cell_is_an_absent_field() -> None:
    """The campaign then decides; so does a cell of blanks, and a true null."""
    found = policy.check("maxAttempts", pl.Series(["", "  ", None, "3"], dtype=pl.String))
    assert found["value"].to_list() == [None, None, None, "3"]
    assert found["problem"].to_list() == [None] * 4


CELLS = {
    "allowedDays": st.text('montuewedthfrisa,; []"', max_size=14),
    "dialerPriority": st.text("0123456789 -+.", max_size=4),
    "maxAttempts": st.text("0123456789 ٣５", max_size=4),
    "retryIntervalInMinutes": st.text("0123456789 ", max_size=5),
    "gmtZone": st.text("UTCGMZ+-:0123456789 ", max_size=9) | st.sampled_from(["Europe/Paris", "utc", "EST5EDT", "GB"]),
    "startDateTime": st.datetimes(timezones=st.timezones() | st.none()).map(str)
    | st.datetimes(timezones=st.timezones()).map(lambda moment: moment.isoformat()),
}


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(sorted(CELLS)).flatmap(lambda field: st.tuples(st.just(field), CELLS[field])))
def test_whatever_we_let_through_the_platform_takes(field_and_cell: tuple[str, str]) -> None:
    """A wrong guess here would be a refusal that names nobody, and cost a bisection."""
    field, cell = field_and_cell
    value, _ = judged(field, cell)
    if value is not None:
        check_entries([{"phone": "12015550100", field: json.loads(value)}], Rules())


def test_a_finish_before_its_start_is_a_bad_row_however_the_moments_are_written(
    bench: Bench, platform: Platform, tmp_path: Path
) -> None:
    """With fractions or without, in one zone or two, equal counts as wrong; one side alone is fine."""
    rows = [
        ("2026-11-23T09:00:00+00:00", "2026-11-23T10:00:00+00:00"),
        ("2026-11-23T09:00:00.500+00:00", "2026-11-23T09:00:00.250+00:00"),
        ("2026-11-23T09:00:00+03:00", "2026-11-23T07:00:00+00:00"),
        ("2026-11-23T09:00:00+00:00", "2026-11-23T11:00:00+03:00"),
        ("2026-11-23T09:00:00+00:00", "2026-11-23T12:00:00+03:00"),
        ("2026-11-23T09:00:00+00:00", "2026-11-23T09:00:00.001+00:00"),
        ("", "2026-11-23T09:00:00+00:00"),
        ("2026-11-23T09:00:00+00:00", ""),
    ]
    listed = [
        {"phone": number(i), "startDateTime": start, "finishDateTime": finish} for i, (start, finish) in enumerate(rows)
    ]
    checks = bench.settings([]).checks.__class__(stop_at_rejects_share=1.0)
    report = bench.run(write_list(tmp_path / "a.csv", listed), checks=checks)
    assert (report.balance.rejected, report.balance.refused) == (3, 0)
    platform.has_each_once(number(i) for i in (0, 2, 5, 6, 7))
