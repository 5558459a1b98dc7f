"""What is told about a checked list."""

import random

import polars as pl
import pytest

from importer.phones import (
    REASONS,
    PhoneRules,
    check,
    explain,
    first_rejects,
    styles,
    suggest_region,
    summarise,
)


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_has_a_sentence(reason):
    """With a full stop, and nothing left to fill in."""
    for region in (None, "US", "DE", "XX"):
        sentence = explain(reason, "+1 650", region)
        assert sentence.endswith(".")
        assert "{" not in sentence


def test_a_length_is_explained_by_the_lengths_in_use():
    """The cliff is shown: how many digits there are, and how many there should be."""
    assert "(9 in all)" in explain("too_short", "650 555 010", "US")
    assert "US: 10 digits after the country code +1" in explain("too_short", "650 555 010", "US")


def test_a_summary_counts_every_row():
    """Accepted rows and reasons add up."""
    cells = pl.Series(["+16505550100", "7.9161E+10", "", "+1 150 555 0100", "+16502530000 ext 5", "4684650400"])
    summary = summarise(check(cells, PhoneRules(region="DE")))
    assert summary.rows == 6
    assert summary.accepted_rows + sum(summary.reasons.values()) == summary.rows
    assert summary.reasons == {"empty": 1, "invalid_for_region": 1, "scientific_notation": 1}
    assert summary.warnings == {"extension_dropped": 1, "test_range": 1}
    assert (summary.possible_rows, summary.ambiguous_bare_rows, summary.fallback_share) == (1, 1, 0.0)
    assert summary.regions == {"US": 2, "DE": 1}
    assert summarise(check(pl.Series([], dtype=pl.String), PhoneRules())).fallback_share == 0.0


def test_first_rejects_name_row_and_cell():
    """A few of each reason, in the order of the list."""
    cells = pl.Series(["", "abc", "+16505550100", "", "", "def"])
    rows = first_rejects(check(cells, PhoneRules()), cells, count=2).rows()
    assert rows == [("empty", 0, ""), ("empty", 3, ""), ("not_a_number", 1, "abc"), ("not_a_number", 5, "def")]


def test_styles_tell_mixed_lists():
    """By what the numbers begin with."""
    cells = pl.Series(["+1 650", "(0049) 30", "030 1", "16505550100", " tel: 7", "none", None])
    assert styles(cells) == {"digit": 2, "double_zero": 1, "none": 1, "plus": 1, "zero": 1}


def test_a_region_is_suggested_for_numbers_without_country_code():
    """By validity, by grouping, and by what the region would have refused."""
    chance = random.Random(1)
    russian = pl.Series([f"8912{chance.randint(0, 9999999):07d}" for _ in range(300)])
    american = pl.Series([f"(650) {chance.randint(200, 999)}-{chance.randint(0, 9999):04d}" for _ in range(300)])
    for cells, region in ((russian, "RU"), (american, "US")):
        suggestion = suggest_region(cells)
        assert suggestion is not None
        assert (suggestion.region, suggestion.share, suggestion.plus_share) == (region, 1.0, 0.0)
        assert suggestion.sampled_rows == 300
        assert all(rival.region != region for rival in suggestion.rivals)


def test_rivals_are_named_with_their_shares_and_a_close_one_is_said_to_be_close():
    """Nine digits after a 0 are numbers in many countries: only a person knows which one is meant."""
    chance = random.Random(2)
    german = pl.Series([f"030{chance.randint(1000000, 9999999)}" for _ in range(300)])
    suggestion = suggest_region(german)
    assert suggestion is not None
    assert not suggestion.is_clear
    assert suggestion.share == 1.0
    assert any(rival.is_close for rival in suggestion.rivals)
    assert all(rival.share >= 0.5 for rival in suggestion.rivals)


@pytest.mark.parametrize("cells", [[], ["+16505550100"], ["16502530000", "79123456789"], ["abc", "1234567" * 4]])
def test_no_region_is_suggested_without_need_or_evidence(cells):
    """Numbers with a plus or a country code need none, and nonsense has none."""
    assert suggest_region(pl.Series(cells, dtype=pl.String)) is None
