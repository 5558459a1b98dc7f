"""What check makes of cells: golden examples for every trap, and the rules of a run."""

import polars as pl
import pytest

from importer.errors import UsageProblem
from importer.phones import DEFAULT_TYPES, REASONS, TYPES, PhoneRules, check, types_from


def one(cell: str | None, **rules: object) -> dict[str, object]:
    """The checked row of a single cell."""
    return check(pl.Series([cell], dtype=pl.String), PhoneRules(**rules)).row(0, named=True)


@pytest.mark.parametrize(
    ("cell", "region", "e164"),
    [
        ("00 44 20 7946 0123", "DE", "+442079460123"),
        ("011 44 20 7946 0123", "US", "+442079460123"),
        ("8~10 44 20 7946 0123", "RU", "+442079460123"),
        ("0011 44 20 7946 0123", "AU", "+442079460123"),
        ("011 15-2345-6789", "AR", "+5491123456789"),
        ("+54 9 11 2345 6789", None, "+5491123456789"),
        ("+54 0 11 15 2345 6789", None, "+5491123456789"),
        ("0 15 11 91234-5678", "BR", "+5511912345678"),
        ("+55 (0) 11 91234-5678", None, "+5511912345678"),
        ("+44 (0) 20 7946 0123", None, "+442079460123"),
        ("02 1234 5678", "IT", "+390212345678"),
        ("+39 02 1234 5678", None, "+390212345678"),
        ("312 345 6789", "IT", "+393123456789"),
        ("(650) 555-0100", "US", "+16505550100"),
        ("1 650 555 0100", "CA", "+16505550100"),
        ("268 460 1234", "AG", "+12684601234"),
        ("460 1234", "AG", "+12684601234"),
        ("+800 1234 5678", None, "+80012345678"),
        ("+870 301 234 567", None, "+870301234567"),
        ("+1-650-555-0100 ext. 12", None, "+16505550100"),
        ("+7 912 345-67-89 доб. 12", None, "+79123456789"),
        ("1-800-FLOWERS", "US", "+18003569377"),
        ("＋１６５０５５５０１００", None, "+16505550100"),
        ("+١٦٥٠٥٥٥٠١٠٠", None, "+16505550100"),
        ("tel:+1-650-555-0100", None, "+16505550100"),
        ("tel:650-555-0100;phone-context=+1", None, "+16505550100"),
        ("+1.650/555-0100", None, "+16505550100"),
        ('"+1 (650) 555—0100".', None, "+16505550100"),
        ("8 (912) 345-67-89", "RU", "+79123456789"),
        ("8 912 345 67 89", "KZ", "+79123456789"),
        ("9123456789", "RU", "+79123456789"),
        ("0049 (0)3641/123456", "US", None),
        ("+49 (0)3641/123456", None, "+493641123456"),
        ("16505550100", None, "+16505550100"),
        ("7 912 345 67 89", None, "+79123456789"),
    ],
)
def test_a_number_as_people_write_it_is_read(cell, region, e164):
    """One example for each way that a naive reading goes wrong."""
    assert one(cell, region=region)["e164"] == e164


@pytest.mark.parametrize(
    ("cell", "region", "expected"),
    [
        ("+79123456789", None, "RU"),
        ("+77012345678", None, "KZ"),
        ("+12684601234", None, "AG"),
        ("+14165550100", None, "CA"),
        ("+441481256789", None, "GG"),
        ("+390669812345", None, "VA"),
        ("+80012345678", None, "001"),
    ],
)
def test_a_shared_calling_code_is_told_apart_by_the_digits_behind_it(cell, region, expected):
    """Regions are those of `region_code_for_number`."""
    assert one(cell, region=region)["region"] == expected


@pytest.mark.parametrize(
    ("cell", "region", "reason"),
    [
        (None, None, "empty"),
        (" \t", None, "empty"),
        ("7.9161E+10", None, "scientific_notation"),
        ("7,9161e+10", "RU", "scientific_notation"),
        ("79161234567.0", None, "decimal_point"),
        ("16505550100,00", None, "decimal_point"),
        ("+16505550100, +16505550101", None, "two_numbers"),
        ("+16505550100; 6505550101", "US", "two_numbers"),
        ("(650) 555-0100 / (650) 555-0101", None, "two_numbers"),
        ("+16505550100 / +16505550101", None, "two_numbers"),
        ("+1 650 555 0100\n+1 650 555 0101", None, "two_numbers"),
        ("16505550100 16505550101", None, "two_numbers"),
        ("n/a", None, "not_a_number"),
        ("---", None, "not_a_number"),
        ("12ab3", None, "letters"),
        ("+1 650 \u202a555\u202c 0100", None, "invisible_characters"),
        ("+1 650 555 01", None, "too_short"),
        ("+1 650 555 0100 12", None, "too_long"),
        ("+7 912 345 67 89 01", None, "wrong_length"),
        ("555 0100", "US", "no_area_code"),
        ("112", "DE", "short_code"),
        ("89123456789", None, "no_country_code"),
        ("+999 1234567", None, "no_country_code"),
        ("16505550100", "RU", "lost_plus"),
        ("212345678", "IT", "lost_leading_zero"),
        ("+1 150 555 0100", None, "invalid_for_region"),
        ("+1 900 234 5678", None, "type_not_wanted"),
    ],
)
def test_a_rejected_cell_is_told_why(cell, region, reason):
    """The reason names what a person can mend."""
    row = one(cell, region=region)
    assert (row["e164"], row["reason"]) == (None, reason)
    assert reason in REASONS


@pytest.mark.parametrize("cell", ["0049 (0)36412/1234567", "+1 650 555 0100,,12345", "tel:+1-650-555-0100;ext=1234567"])
def test_one_number_is_not_taken_for_two(cell):
    """A slash inside a German number and an extension behind commas stay what they are."""
    assert one(cell, region="US")["reason"] != "two_numbers"


@pytest.mark.parametrize(
    ("cell", "warning"),
    [
        ("+1 650 555 0100", "test_range"),
        ("+44 20 7946 0123", "test_range"),
        ("+16502530000 ext 5", "extension_dropped"),
        ("+1 800 FLOWERS", "letters_as_digits"),
        ("\u202a+16502530000\u202c", "invisible_characters"),
        ("tel:+16502530000", None),
        ("+16502530000", None),
    ],
)
def test_an_accepted_cell_worth_a_look_is_warned_about(cell, warning):
    """Warnings never reject."""
    row = one(cell)
    assert (row["reason"], row["warning"]) == (None, warning)


def test_a_rejected_cell_has_no_warning():
    """The reason says enough."""
    assert one("+1 150 555 0100 ext 5")["warning"] is None


def test_possible_numbers_are_kept_only_when_asked_for():
    """The right length is enough for `possible`, but an area code must be there."""
    assert one("+1 150 555 0100", accept="possible")["e164"] == "+11505550100"
    assert one("+1 150 555 0100", accept="possible")["verdict"] == "possible"
    assert one("555 0100", region="US", accept="possible")["reason"] == "no_area_code"


def test_any_digits_keeps_what_looks_like_a_number_but_never_damage():
    """Seven to fifteen digits, by the best reading there is."""
    assert one("89123456789", accept="any-digits")["e164"] == "+89123456789"
    assert one("8 912 345-67-89", region="RU", accept="any-digits")["e164"] == "+79123456789"
    assert one("12345", accept="any-digits")["e164"] is None
    assert one("7.9161E+10", accept="any-digits")["reason"] == "scientific_notation"


def test_types_not_wanted_are_left_out():
    """Premium rate by default; a number that may be either is kept if one of the two is wanted."""
    assert one("+1 900 234 5678", types=frozenset(TYPES))["e164"] == "+19002345678"
    assert one("+1 650 555 0100", types=frozenset({"mobile"}))["e164"] == "+16505550100"
    assert one("+49 30 23125000", types=frozenset({"mobile"}))["reason"] == "type_not_wanted"
    assert "premium_rate" not in DEFAULT_TYPES
    assert types_from("all") == frozenset(TYPES)
    assert types_from("mobile, fixed-line") == {"mobile", "fixed_line"}


AMBIGUOUS = "4684650400"  # German if dialled in Germany; country code first, a Swedish number kept for films


def test_bare_digits_valid_both_ways_are_counted_and_read_as_told():
    """Without a word, as libphonenumber reads them; with a plus there is nothing to tell."""
    row = one(AMBIGUOUS, region="DE")
    assert (row["e164"], row["is_ambiguous_bare"], row["is_own_code_bare"]) == ("+494684650400", True, False)
    assert one(AMBIGUOUS, region="DE", bare="national")["e164"] == "+494684650400"
    assert one(AMBIGUOUS, region="DE", bare="international")["e164"] == "+4684650400"
    assert one(AMBIGUOUS, region="DE", bare="international")["region"] == "SE"
    assert not one("+49" + AMBIGUOUS, region="DE")["is_ambiguous_bare"]


def test_ambiguous_digits_that_begin_with_the_regions_own_code_are_marked():
    """They are the sign that a national list was written country code first."""
    row = one("3906123456", region="IT")
    assert (row["e164"], row["is_ambiguous_bare"], row["is_own_code_bare"]) == ("+393906123456", True, True)
    assert one("3906123456", region="IT", bare="international")["e164"] == "+3906123456"


def test_bare_digits_valid_one_way_only_are_read_that_way_or_not_at_all():
    """To read them country code first without being sure would call strangers."""
    for bare in (None, "national", "international"):
        assert one("393123456789", region="IT", bare=bare)["e164"] == "+393123456789"
        assert one("16505550100", region="RU", bare=bare)["reason"] == "lost_plus"


def test_each_row_may_have_a_region_of_its_own():
    """Lower case will do, an empty one is the rules', and one nobody knows cannot read bare digits."""
    cells = pl.Series(["8 912 345 67 89", "(650) 555-0100", "650 555 0100", "650 555 0100", "+16505550100"])
    regions = pl.Series(["ru", " US ", None, "Narnia", "Narnia"])
    checked = check(cells, PhoneRules(region="US"), regions)
    assert checked["e164"].to_list() == ["+79123456789", "+16505550100", "+16505550100", None, "+16505550100"]
    assert checked["reason"].to_list() == [None, None, None, "unknown_region", None]


def test_the_given_column_stays_as_it_is():
    """No step writes into what it was given."""
    cells = pl.Series("phone", ["112", "8 912 345 67 89", "1-800-FLOWERS", "+0 650", None])
    before = cells.to_list()
    check(cells, PhoneRules(region="CA", accept="any-digits"))
    assert cells.to_list() == before


def test_an_empty_column_gives_an_empty_frame():
    """With all its columns."""
    none = pl.Series([], dtype=pl.String)
    assert check(none, PhoneRules()).columns == check(none, PhoneRules(), none).columns
    assert not len(check(none, PhoneRules(region="US")))


@pytest.mark.parametrize(
    "wrong", [{"region": "XX"}, {"accept": "all"}, {"bare": "plus"}, {"types": frozenset({"fax"})}]
)
def test_rules_nobody_knows_are_refused(wrong):
    """As a usage problem, with the words that would do."""
    with pytest.raises(UsageProblem) as problem:
        PhoneRules(**wrong)
    assert problem.value.hint
