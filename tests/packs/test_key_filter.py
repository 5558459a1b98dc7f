"""The filter of keys: what was added is always found, what was not nearly never."""

from __future__ import annotations

import random

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from importer.keys import row_key
from importer.ledger.key_filter import KeyFilter, places, places_in_run

KEYS = st.lists(st.binary(min_size=16, max_size=16), min_size=1, max_size=50)


def column(keys: list[bytes]) -> pl.Series:
    return pl.Series("key", keys, dtype=pl.Binary)


@settings(max_examples=50, deadline=None)
@given(st.lists(KEYS, max_size=4), KEYS)
def test_every_key_that_was_added_is_found(added: list[list[bytes]], asked: list[bytes]) -> None:
    """In whatever portions they came, and whatever else is asked with them."""
    keys = KeyFilter()
    for portion in added:
        keys.add(places(column(portion)))
    known = [key for portion in added for key in portion]
    assert keys.may_hold(places(column([*known, *asked])))[: len(known)].all()


@settings(deadline=None)
@given(KEYS)
def test_keys_that_stand_in_a_run_have_the_places_they_have_in_a_column(keys: list[bytes]) -> None:
    """The packs of an opened ledger are read as runs of bytes."""
    pairs = zip(places(column(keys)), places_in_run(b"".join(keys)), strict=True)
    assert all(one.to_list() == other.to_list() for one, other in pairs)


def test_few_keys_are_taken_for_others() -> None:
    """Of real keys, with the fixed bits of a UUID, some in a million at this size."""
    made = [row_key("ab" * 32, "", f"+1650555{place:04}", {"n": str(place)}, {}) for place in range(20_000)]
    keys = KeyFilter()
    keys.add(places(column(made[:10_000])))
    assert keys.may_hold(places(column(made[10_000:]))).sum() == 0
    assert keys.may_hold(places(column(made[:10_000]))).all()


def test_one_filter_after_another() -> None:
    """A full filter is followed by another, and both are asked."""
    dice, rows = random.Random(7), 3_000
    portions = [[dice.randbytes(16) for _ in range(rows)] for _ in range(3)]
    keys = KeyFilter(most_keys=rows)
    for portion in portions:
        keys.add(places(column(portion)))
    assert keys.filters == 3
    assert all(keys.may_hold(places(column(portion))).all() for portion in portions)
