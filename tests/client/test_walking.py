"""Walking finds every row once, however many, and tells the known from the unknown (40,000 rows, not.found)."""

from __future__ import annotations

import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from importer.client import DateFilter, Page
from importer.client.walking import (
    LAST_PAGE,
    PAGE_SIZE_ROWS,
    Selection,
    Unknown,
    WindowFull,
    part_key,
    sift,
    walk_pages,
    walk_windows,
)
from importer.errors import UsageProblem

START = datetime(2026, 1, 25, tzinfo=UTC)
MOST_ROWS = (LAST_PAGE + 1) * PAGE_SIZE_ROWS

Row = tuple[str, datetime]


class Reports:
    """Rows with moments, shown as the API shows them: by filter, in an order of its own, 200 pages of 200."""

    def __init__(self, moments: Iterable[datetime], *, is_end_included: bool) -> None:
        self.rows: list[Row] = [(f"id-{n}", moment) for n, moment in enumerate(moments)]
        random.Random(1).shuffle(self.rows)
        self._is_end_included = is_end_included
        self._window: DateFilter | None = None
        self._found: list[Row] = []
        self.requests = 0

    def ask(self, window: DateFilter, number: int) -> Page[Row]:
        self.requests += 1
        assert 0 <= number <= LAST_PAGE
        if window != self._window:
            self._window, self._found = window, [row for row in self.rows if self._is_within(row[1], window)]
        shown = self._found[number * PAGE_SIZE_ROWS : (number + 1) * PAGE_SIZE_ROWS]
        return Page(items=tuple(shown), page=number, page_size=PAGE_SIZE_ROWS)

    def _is_within(self, moment: datetime, window: DateFilter) -> bool:
        start, end = window.began_from, window.began_to
        assert start is not None
        assert end is not None
        return start <= moment and (moment <= end if self._is_end_included else moment < end)


def walked(reports: Reports, start: datetime, end: datetime) -> list[str]:
    whole = DateFilter(began_from=start, began_to=end)
    return [row[0] for row in walk_windows(reports.ask, lambda row: row[0], whole)]


@given(
    st.lists(st.integers(0, 5_000), max_size=900),
    st.booleans(),
)
def test_a_small_range_is_walked_whole_and_each_row_once(offsets_ms: list[int], is_end_included: bool) -> None:
    """Fewer rows than a filter shows: no halving, and nothing missed at the page borders."""
    reports = Reports((START + timedelta(milliseconds=ms) for ms in offsets_ms), is_end_included=is_end_included)
    ids = walked(reports, START, START + timedelta(milliseconds=5_001))
    assert sorted(ids) == sorted(row[0] for row in reports.rows)


@pytest.mark.parametrize("is_end_included", [True, False])
@pytest.mark.parametrize("count", [MOST_ROWS - 1, MOST_ROWS, MOST_ROWS + 1, 90_000])
def test_more_rows_than_a_filter_shows_are_found_by_halving(count: int, is_end_included: bool) -> None:
    """Around the limit and beyond it, whether or not the ends belong to a range."""
    step = timedelta(milliseconds=1)
    reports = Reports((START + step * (n // 3) for n in range(count)), is_end_included=is_end_included)
    ids = walked(reports, START, START + step * (count // 3 + 1))
    assert len(ids) == count == len(set(ids))
    assert reports.requests < count / PAGE_SIZE_ROWS * 2 + 50


def test_a_crowded_corner_of_a_long_range_is_found() -> None:
    """A year with one busy second: the halves follow the crowd."""
    busy = START + timedelta(days=200)
    moments = [busy + timedelta(milliseconds=n % 1000) for n in range(50_000)] + [START, START + timedelta(days=365)]
    reports = Reports(moments, is_end_included=True)
    ids = walked(reports, START, START + timedelta(days=365))
    assert len(ids) == 50_002 == len(set(ids))


def test_one_millisecond_that_is_too_full_is_said_and_not_cut() -> None:
    """Rows that no filter can show are an error, never a silence."""
    reports = Reports([START] * (MOST_ROWS + 1), is_end_included=True)
    with pytest.raises(WindowFull):
        walked(reports, START, START + timedelta(days=1))


def test_pages_without_dates_end_with_an_error_when_they_are_full() -> None:
    """What paging can reach comes first."""
    rows = list(range(MOST_ROWS))

    def ask(number: int) -> Page[int]:
        shown = rows[number * PAGE_SIZE_ROWS : (number + 1) * PAGE_SIZE_ROWS]
        return Page(items=tuple(shown), page=number, page_size=PAGE_SIZE_ROWS)

    seen: list[int] = []
    with pytest.raises(WindowFull):
        seen.extend(walk_pages(ask, lambda row: row))
    rows.pop()
    assert list(walk_pages(ask, lambda row: row)) == rows


def test_rows_that_shift_between_pages_are_given_once() -> None:
    """A row seen on two pages, since the order may change between two requests, is one row."""
    pages = [tuple(range(200)), tuple(range(150, 350)), (349, 350)]
    asked = list(walk_pages(lambda n: Page(items=pages[n], page=n, page_size=200), lambda row: row))
    assert asked == list(range(351))


@pytest.mark.parametrize(
    "whole",
    [
        DateFilter(),
        DateFilter(began_from=START),
        DateFilter(finished_to=START),
        DateFilter(began_from=START, finished_to=START),
        DateFilter(began_from=START, began_to=START - timedelta(seconds=1)),
        DateFilter(began_from=START.replace(tzinfo=None), began_to=START.replace(tzinfo=None)),
    ],
)
def test_a_walk_needs_a_range_it_can_halve(whole: DateFilter) -> None:
    """Both ends of one range, aware, the earlier first; else a usage problem before anything is asked."""
    with pytest.raises(UsageProblem):
        list(walk_windows(lambda _window, _page: pytest.fail("asked"), lambda row: row, whole))


def test_ends_are_halved_where_beginnings_are_open() -> None:
    """A walk by finishing time."""
    asked: list[DateFilter] = []

    def ask(window: DateFilter, number: int) -> Page[int]:
        asked.append(window)
        is_whole = window.finished_from == START and window.finished_to == START + timedelta(hours=1)
        return Page(items=tuple(range(200)) if is_whole else (), page=number, page_size=200)

    whole = DateFilter(finished_from=START, finished_to=START + timedelta(hours=1))
    assert list(walk_windows(ask, lambda row: row, whole)) == []
    assert [(w.finished_from, w.finished_to) for w in asked[2:]] == [
        (START, START + timedelta(minutes=30)),
        (START + timedelta(minutes=30), START + timedelta(hours=1)),
    ]


def test_the_end_of_a_range_is_written_no_earlier_than_asked() -> None:
    """Microseconds the API cannot take widen the range, never narrow it."""
    odd = START + timedelta(microseconds=1_500)
    assert DateFilter(began_from=odd, began_to=odd).as_json("createdAt") == {
        "createdAtFrom": "2026-01-25T00:00:00.001Z",
        "createdAtTo": "2026-01-25T00:00:00.002Z",
    }


# --- sifting --------------------------------------------------------------------------------------------------------


class Known:
    """Answers like the API: everything about the known, or `not found` without saying which."""

    def __init__(self, known: set[str]) -> None:
        self._known = known
        self.asked: list[Selection] = []

    def ask(self, part: Selection) -> list[str]:
        self.asked.append(part)
        wanted = [*part.ids, *part.phones]
        if not self._known.issuperset(wanted):
            raise Unknown
        return wanted


NAMES = st.lists(st.integers(0, 99).map(str), unique=True, max_size=60)


@given(NAMES, NAMES, st.sets(st.integers(0, 99).map(str)), st.integers(1, 70))
def test_sifting_tells_exactly_the_known_from_the_unknown(
    ids: list[str], phones: list[str], known: set[str], size: int
) -> None:
    """Whatever is asked and whatever is known; no request larger than the size, no part asked under two paths."""
    api = Known({f"i{n}" for n in known} | {f"p{n}" for n in known})
    wanted = Selection(ids=tuple(f"i{n}" for n in ids), phones=tuple(f"p{n}" for n in phones))
    found = sift(api.ask, str, wanted, size=size)
    assert list(found.items) == [n for n in (*wanted.ids, *wanted.phones) if n[1:] in known]
    assert found.unknown_ids == tuple(n for n in wanted.ids if n[1:] not in known)
    assert found.unknown_phones == tuple(n for n in wanted.phones if n[1:] not in known)
    assert all(0 < len(part) <= size for part in api.asked)
    assert len({part.path for part in api.asked}) == len(api.asked)


def test_one_unknown_among_a_thousand_costs_few_requests() -> None:
    """Two per halving, not one per id."""
    api = Known({str(n) for n in range(1000)} - {"617"})
    found = sift(api.ask, str, Selection(ids=tuple(str(n) for n in range(1000))))
    assert (len(found.items), found.unknown_ids) == (999, ("617",))
    assert len(api.asked) <= 21


def test_each_part_has_its_own_key_and_the_same_one_next_time() -> None:
    """Other content under the key of the whole could be answered with the whole's answer."""
    paths = ["", ".0", ".1", ".0.0", ".0.1", ".1.0", ".10"]
    keys = [part_key("key-1", path) for path in paths]
    assert keys[0] == "key-1"
    assert len(set(keys)) == len(keys)
    assert keys == [part_key("key-1", path) for path in paths]
    assert not set(keys) & {part_key("key-2", path) for path in paths}
    assert part_key("a.0", ".1") != part_key("a", ".0.1")
