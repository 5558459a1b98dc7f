"""The compiled reading gives what `phonenumbers` gives, row for row."""

import random

import phone_strings
import phonenumbers
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from importer.phones import PhoneRules, check, compiled, reference
from importer.phones.columns import NO_REGION, READING, UNKNOWN_REGION
from importer.phones.homes import homes_of
from importer.phones.leadingzero import may_be_valid_with_zero

REGIONS = [NO_REGION, UNKNOWN_REGION, *phone_strings.REGIONS]
FORMATS = [
    phonenumbers.PhoneNumberFormat.E164,
    phonenumbers.PhoneNumberFormat.INTERNATIONAL,
    phonenumbers.PhoneNumberFormat.NATIONAL,
    phonenumbers.PhoneNumberFormat.RFC3966,
]


def assert_exact(cells: list[str], region: str) -> None:
    """Both readings of the cells are the same frame, but for the note on who made it."""
    column = pl.Series("cell", cells, dtype=pl.String)
    ours, theirs = compiled.read(column, region), reference.read(column, region)
    assert dict(ours.schema) == dict(theirs.schema) == READING
    ours, theirs = ours.drop("is_fallback"), theirs.drop("is_fallback")
    differing = [
        (cell, our, their) for cell, our, their in zip(cells, ours.rows(), theirs.rows(), strict=True) if our != their
    ]
    assert not differing, (region, differing[:5])


@given(seed=st.integers(0, 2**48), region=st.sampled_from(REGIONS))
@settings(max_examples=30, deadline=None)
def test_readings_of_mutated_and_random_strings_are_those_of_phonenumbers(seed, region):
    """Five hundred strings of all kinds, read as dialled in any region or in none."""
    assert_exact(list(phone_strings.cells(random.Random(seed), region, 500)), region)


@given(seed=st.integers(0, 2**48))
@settings(max_examples=15, deadline=None)
def test_readings_of_rows_with_regions_of_their_own_are_those_of_phonenumbers(seed):
    """What a row says does not depend on the regions of the rows around it."""
    chance = random.Random(seed)
    regions = chance.choices([*chance.sample(phone_strings.REGIONS, 12), NO_REGION, UNKNOWN_REGION], k=400)
    cells = pl.Series("cell", [phone_strings.cell(chance, region) for region in regions])
    homes = homes_of(pl.Series(regions), None)
    ours, theirs = compiled.read_homes(cells, homes), reference.read_homes(cells, homes)
    assert ours.drop("is_fallback").equals(theirs.drop("is_fallback"))
    alone = [reference.read_cell(cell, region) for cell, region in zip(cells, regions, strict=True)]
    assert theirs.rows() == [tuple(reading) for reading in alone]


@given(
    cells=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), min_size=1, max_size=20),
    region=st.sampled_from(REGIONS),
)
@settings(max_examples=60, deadline=None)
def test_readings_of_any_text_are_those_of_phonenumbers(cells, region):
    """Text of any script, with no phone number in mind."""
    assert_exact(cells, region)


@given(
    cells=st.lists(
        st.text("0123456789+ -()x.,;#~/*ext\u00a0\u0665\uff15\uff0b\n", max_size=24), min_size=1, max_size=40
    ),
    region=st.sampled_from(REGIONS),
)
@settings(max_examples=60, deadline=None)
def test_readings_of_phone_like_text_are_those_of_phonenumbers(cells, region):
    """Text made of what numbers and extensions are made of, in any order."""
    assert_exact(cells, region)


@pytest.mark.parametrize("form", FORMATS)
def test_every_example_number_of_every_region_and_type_is_read_exactly(form):
    """As libphonenumber formats them, read as dialled at home and without any region."""
    by_region: dict[str, list[str]] = {}
    for region, number in phone_strings.examples():
        text = phonenumbers.format_number(number, form)
        by_region.setdefault(region, []).append(text)
        by_region.setdefault(NO_REGION, []).append(text)
    for region, cells in by_region.items():
        assert_exact(cells, NO_REGION if region == "001" else region)


@pytest.mark.parametrize("accept", ["valid", "possible", "any-digits"])
def test_a_whole_check_is_the_same_by_tables_and_row_by_row(accept):
    """Damage, rules, reasons and warnings included, with a region of its own for each row."""
    chance = random.Random(20)
    regions = [chance.choice(["", None, "XX", "us", *phone_strings.REGIONS[::60]]) for _ in range(1500)]
    cells = [phone_strings.cell(chance, chance.choice(phone_strings.REGIONS)) for _ in regions]
    numbers, own = pl.Series(cells), pl.Series(regions, dtype=pl.String)
    rules = PhoneRules(region="RU", accept=accept, bare="international")
    ours, theirs = check(numbers, rules, own), reference.check(numbers, rules, own)
    assert ours.drop("is_fallback").equals(theirs.drop("is_fallback"))
    assert not theirs["is_fallback"].any()


@given(seed=st.integers(0, 2**48), region=st.sampled_from(phone_strings.REGIONS))
@settings(max_examples=30, deadline=None)
def test_no_cell_that_a_leading_zero_would_mend_is_left_untried(seed, region):
    """What cannot begin with 0 is not read again; whatever `phonenumbers` finds valid with a 0 must be."""
    cells = pl.Series("cell", list(phone_strings.cells(random.Random(seed), region, 200)))
    cells = cells.filter(cells.str.contains(r"^[^+\uFF0B]*[0-9][^+\uFF0B]*$"))
    cells = pl.concat([cells, cells.str.replace("0", "")])
    left_out = cells.filter(~may_be_valid_with_zero(cells, region))
    with_zero = left_out.str.replace(r"^[^\p{Nd}]*", "0")
    assert "valid" not in reference.read(with_zero, region)["verdict"].to_list()


def test_a_lost_leading_zero_is_found_where_numbers_begin_with_zero():
    """Italian fixed lines do; North American numbers can only have lost the way abroad."""
    cells = pl.Series(["2 1234 5678", "11 44 20 7946 0123"])
    assert may_be_valid_with_zero(cells, "IT").to_list() == [True, True]
    assert may_be_valid_with_zero(cells, "US").to_list() == [False, True]
    assert may_be_valid_with_zero(cells, "RU").to_list() == [False, False]


def test_a_long_column_is_checked_as_its_rows_are():
    """Pieces and threads change neither order nor content."""
    chance = random.Random(5)
    few = [phone_strings.cell(chance, "DE") for _ in range(500)]
    many = pl.Series(few * 300)
    rules = PhoneRules(region="DE")
    short = check(pl.Series(few), rules)
    assert check(many, rules).equals(pl.concat([short] * 300))


def test_the_fallback_decides_only_what_the_tables_cannot():
    """Digits of a script outside the alphabet and RFC 3966 parameters are left to `phonenumbers`, and noted."""
    cells = pl.Series(["+16505550100", "+१६५०५५५०१००", "tel:6505550100;phone-context=+1", "+1 650 555 0100 ext. 7"])
    checked = check(cells, PhoneRules())
    assert checked["e164"].to_list() == ["+16505550100"] * 4
    assert checked["is_fallback"].to_list() == [False, True, True, False]
