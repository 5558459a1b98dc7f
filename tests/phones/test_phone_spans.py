"""Numbering patterns become spans that say the same as the patterns."""

import bisect
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from importer.phones.patterns import beginnings, lengths, parse, rust
from importer.phones.plans import CALLING_CODES, metadata_of
from importer.phones.spans import Automaton, Pattern

DIGIT = st.sampled_from(["0", "7", r"\d", "[2-58]", "[13579]", "[0-4]"])


def _larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda options: f"(?:{'|'.join(options)})"),
        inner.map(lambda part: f"(?:{part})?"),
        inner.map(lambda part: f"({part})" + "{1,2}"),
    )


PATTERN = st.recursive(DIGIT, _larger, max_leaves=6)


@given(whole=PATTERN, beginning=PATTERN, number=st.text("0123456789", min_size=1, max_size=6))
@settings(max_examples=300, deadline=None)
def test_marks_of_a_number_are_the_patterns_it_matches(whole, beginning, number):
    """Whole patterns match from end to end, beginnings at the start with at least one digit."""
    patterns = [Pattern(mark="whole", source=whole), Pattern(mark="start", source=beginning, is_beginning=True)]
    spans = Automaton(patterns, lambda marks, _length: marks).spans(len(number))
    found = spans[bisect.bisect_right([span.start for span in spans], int(number)) - 1].label
    expected = {"whole"} if re.fullmatch(whole, number) else set()
    if any(re.fullmatch(beginning, number[:end]) for end in range(1, len(number) + 1)):
        expected |= {"start"}
    assert found == expected


@given(data=st.data(), source=PATTERN, digits=st.integers(1, 3))
@settings(max_examples=200, deadline=None)
def test_lengths_and_beginnings_hold_every_match(data, source, digits):
    """Whatever a pattern matches has one of its lengths and one of its beginnings."""
    number = data.draw(st.from_regex(rust(source), fullmatch=True))
    assert len(number) in lengths(parse(source))
    assert number[:digits] in beginnings(parse(source), digits)


def test_lengths_and_beginnings_hold_nothing_else():
    """They are as narrow as the pattern."""
    assert lengths(parse("0(?:1[2-4]|5)?")) == {1, 2, 3}
    assert beginnings(parse("0(?:1[2-4]|5)?7"), 2) == {"01", "05", "07"}
    assert beginnings(parse("9$|0"), 3) == {"9", "0"}


def test_neighbouring_spans_differ():
    """A span ends only where the answer changes."""
    spans = Automaton([Pattern(mark=1, source=r"[2-4]\d{3}|50\d\d")], lambda marks, _length: bool(marks)).spans(4)
    assert [tuple(span) for span in spans] == [(0, False), (2000, True), (5100, False)]


@pytest.mark.parametrize("source", ["[^1]", "1*", "1+", "(?=1)", r"\D", "a", "(1", "1)", "?", "."])
def test_a_pattern_outside_the_grammar_is_refused(source):
    """New metadata with new syntax must stop us, not mislead us."""
    with pytest.raises(ValueError, match="numbering pattern"):
        parse(source)


def test_every_pattern_of_the_metadata_is_inside_the_grammar():
    """Prefixes included, for every region and calling code."""
    for code, regions in CALLING_CODES.items():
        for region in regions:
            metadata = metadata_of(code, region)
            prefixes = (metadata.international_prefix, metadata.national_prefix_for_parsing, metadata.leading_digits)
            for source in filter(None, prefixes):
                assert r"\d" not in rust(source)


def test_calling_codes_begin_no_other_and_never_with_0():
    """What the one table of integers rests on."""
    texts = [str(code) for code in CALLING_CODES]
    assert not [(one, two) for one in texts for two in texts if one != two and two.startswith(one)]
    assert all(text[0] != "0" for text in texts)
