"""The filter of keys: what was added is always found, what was not nearly never."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from importer.keyruns import column_of, run_of, words_of
from importer.keys import row_key
from importer.ledger.key_filter import KeyFilter

if TYPE_CHECKING:
    from importer.keyruns import Words

KEYS = st.lists(st.binary(min_size=16, max_size=16), min_size=1, max_size=50)


def words(keys: list[bytes]) -> Words:
    return words_of(b"".join(keys))


@settings(max_examples=50, deadline=None)
@given(st.lists(KEYS, max_size=4), KEYS)
def test_every_key_that_was_added_is_found(added: list[list[bytes]], asked: list[bytes]) -> None:
    """In whatever portions they came, and whatever else is asked with them."""
    keys = KeyFilter(first_blocks_bits=4)
    for portion in added:
        keys.add(words(portion))
    known = [key for portion in added for key in portion]
    assert keys.may_hold(words([*known, *asked]))[: len(known)].all()


@settings(deadline=None)
@given(st.lists(st.binary(min_size=16, max_size=16), max_size=50))
def test_a_column_of_keys_is_a_run_and_a_run_is_a_column(keys: list[bytes]) -> None:
    """The packs of an opened ledger are read as runs of bytes; none at all are a column too."""
    column = pl.Series("key", keys, dtype=pl.Binary)
    assert run_of(column) == b"".join(keys)
    assert column_of(b"".join(keys)).to_list() == keys
    assert [tuple(map(int, pair)) for pair in words(keys)] == [
        (int.from_bytes(key[:8]), int.from_bytes(key[8:])) for key in keys
    ]


def test_keys_of_one_block_do_not_lose_each_other() -> None:
    """All keys of a portion may fall into one block, and are written at once."""
    dice = random.Random(3)
    made = [bytes(8) + dice.randbytes(8) for _ in range(200)]
    keys = KeyFilter()
    keys.add(words(made))
    assert keys.may_hold(words(made)).all()


def test_few_keys_are_taken_for_others() -> None:
    """Of real keys, with the fixed bits of a UUID: next to none in an empty filter, one in a thousand in a full one."""
    made = [row_key("ab" * 32, "", f"+1650555{place:04}", {"n": str(place)}, {}) for place in range(20_000)]
    known, others = words(made[:10_000]), words(made[10_000:])
    roomy, full = KeyFilter(), KeyFilter(first_blocks_bits=12)  # the full one has room for 8,192
    for keys in (roomy, full):
        keys.add(known)
        assert keys.may_hold(known).all()
    assert roomy.may_hold(others).sum() == 0
    assert full.filters == 1
    assert full.may_hold(others).sum() < 40


def test_one_filter_after_another() -> None:
    """A full filter is followed by a larger one, and all are asked."""
    dice, rows = random.Random(7), 600
    portions = [[dice.randbytes(16) for _ in range(rows)] for _ in range(9)]
    keys = KeyFilter(first_blocks_bits=8)
    for portion in portions:
        keys.add(words(portion))
    assert keys.filters == 4
    assert all(keys.may_hold(words(portion)).all() for portion in portions)
