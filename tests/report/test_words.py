"""What the page is computed with: masks, times, percentiles, spans; each a property."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from workbench import number

from importer.report.latency import latency
from importer.report.masking import masked, masked_cell
from importer.report.timeline import PAUSE_S, timeline
from importer.report.words import duration, milliseconds, say, share, shown

SEPARATORS = st.sampled_from(["", " ", "-", ".", ") ", " (", "/", "\u2011", "\u2013", "  ", "\u2009", "_", ","])


@given(st.integers(0, 4800), st.lists(SEPARATORS, min_size=12, max_size=12), st.text(max_size=9), st.text(max_size=9))
def test_a_number_in_any_spelling_cannot_be_read(place: int, between: list[str], before: str, after: str) -> None:
    """However it is written and whatever stands around it: seven digits of it in a row are not there."""
    digits = number(place).lstrip("+")
    text = before + "".join(sign + gap for sign, gap in zip(digits, between, strict=False)) + after
    left = re.sub(r"[^\d•]", "", masked(text))
    assert digits[-7:] not in left
    assert digits[:7] not in left


@pytest.mark.parametrize(
    "name", ["tonight-2026-11-23.csv", "20261123.csv", "2026-11-23", "part-001-of-12", "4,650 rows"]
)
def test_nights_and_counts_stay_readable(name: str) -> None:
    """Lists and rounds are named after days."""
    assert masked(name) == name


@given(st.text(max_size=60))
def test_a_bad_cell_shows_its_shape_alone(cell: str) -> None:
    """No digit and no letter of it is left, but x and E; or it is a word that stands for nothing."""
    left = masked_cell(cell)
    if left != cell.strip() and left != "(empty)":
        assert not any(sign.isnumeric() or (sign.isalpha() and sign not in "xE") for sign in left)


def test_a_shape_tells_what_is_wrong() -> None:
    assert masked_cell("4.47701E+11") == "•.•••••E+••"
    assert masked_cell("call after six") == "xxxx xxxxx xxx"
    assert masked_cell(" n/a ") == "n/a"
    assert masked_cell("  ") == "(empty)"


@given(st.integers(0, 10**7), st.integers(1, 10**7))
def test_a_share_is_never_more_than_it_is(part: int, more: int) -> None:
    """0 % and 100 % are said only where it is so."""
    said = share(part, part + more).unescape()
    assert (said == "0\u00a0%") == (part == 0)
    assert said != "100\u00a0%"
    assert share(part + more, part + more).unescape() == "100\u00a0%"


def test_lengths_of_time_in_the_unit_that_fits() -> None:
    assert [duration(span_s).replace("\u00a0", " ") for span_s in (0.5, 1, 59, 61, 3600, 90_061)] == [
        "0.5 s", "1 s", "59 s", "1 min 1 s", "1 h", "1 d 1 h",
    ]  # fmt: skip
    assert [milliseconds(ms).replace("\u00a0", " ") for ms in (0, 999, 1500, 150_000)] == [
        "0 ms", "999 ms", "1.5 s", "2 min 30 s",
    ]  # fmt: skip


def test_a_sentence_escapes_what_it_quotes() -> None:
    assert say("<code>{}</code> {}", "<script>", 1234) == "<code>&lt;script&gt;</code> 1,234"
    assert shown("1 201 555 0100") == "• ••• ••• ••00"


@given(st.dictionaries(st.integers(0, 3_000_000), st.integers(1, 10**6), min_size=1, max_size=60))
def test_percentiles_are_durations_that_were(counts: dict[int, int]) -> None:
    """The nearest rank, and no send is left out of the spans or stands in two."""
    found = latency(list(counts.items()))
    assert found is not None
    ordered = sorted(counts.items())
    below = sum(number for wait_ms, number in ordered if wait_ms < found.median_ms)
    upto = sum(number for wait_ms, number in ordered if wait_ms <= found.median_ms)
    assert below < found.sends * 0.5 <= upto
    assert found.median_ms <= found.p95_ms <= found.p99_ms <= found.longest_ms == ordered[-1][0]
    assert sum(number for _, _, number in found.spans) == found.sends
    for start_ms, below_ms, sends in found.spans:
        assert sends == sum(times for wait_ms, times in ordered if start_ms <= wait_ms < below_ms)
    assert len(found.spans) <= 50
    assert -0.5 <= found.place(found.median_ms) <= len(found.spans) - 0.5


@given(st.dictionaries(st.integers(0, 10**7), st.integers(1, 10**5), max_size=80))
def test_a_timeline_loses_no_row(counts: dict[int, int]) -> None:
    """Stretches hold all rows, spans those of what is shown, in few enough of them to be seen."""
    found = timeline(sorted(counts.items()))
    assert sum(each.rows for each in found.stretches) == sum(counts.values())
    assert len(found.spans) <= 62 or found.span_s == 86_400
    for earlier, later in zip(found.stretches, found.stretches[1:], strict=False):
        assert later.start_s - earlier.end_s > PAUSE_S
    in_spans = sum(rows for _, _, rows in found.spans)
    in_stretches = [each.rows for each in found.stretches]
    assert in_spans == (max(in_stretches) if found.is_part else sum(in_stretches))


def test_nothing_timed_is_no_latency() -> None:
    assert latency([]) is None
