"""Ids told by columns of bytes: whatever an answer is, it means what its JSON means."""

from __future__ import annotations

import json

from hypothesis import example, given
from hypothesis import strategies as st

from importer.jobids import EvenIds, read_even
from importer.ledger.seals import Stub, is_intact, sealed
from importer.model import Answer
from importer.protocol import Accepted, Unknown, classify

IDS = st.one_of(
    st.lists(st.integers(100, 999).map(str), max_size=6),
    st.lists(st.text("0aZ9é\"', \\", max_size=4), max_size=4),
    st.lists(st.text("ab1", min_size=3, max_size=3), max_size=4),
    st.lists(st.one_of(st.integers(0, 99), st.text("12", max_size=2), st.booleans(), st.none()), max_size=4),
)


def answer(body: bytes) -> Answer:
    return Answer(status=200, body=body, content_type="", server_date=None, retry_after_s=None, elapsed_s=0.0)


@given(IDS, st.integers(-1, 1), st.sampled_from([(",", ":"), (", ", ": ")]))
@example(["18446744073709551615", "18446744073709551616"], 0, (",", ":"))
@example(["01", "10"], 0, (",", ":"))
def test_ids_mean_what_their_json_means(ids: list[object], off: int, separators: tuple[str, str]) -> None:
    """As many different texts as rows are accepted, and nothing else, however they were read."""
    size = max(len(ids) + off, 0)
    outcome = classify(answer(json.dumps(ids, separators=separators).encode()), size)
    texts = [str(each) for each in ids if isinstance(each, (str, int)) and not isinstance(each, bool)]
    is_good = len(texts) == len(ids) == size == len(set(texts)) and all(texts)
    assert outcome == (Accepted(ids=tuple(texts)) if is_good else Unknown(kind="wrong-ids"))


@given(st.binary(max_size=24), st.integers(0, 4))
@example(b'["12","3"]', 2)
@example(b'["1",,"2"]', 2)
@example(b"[1234,1234]", 2)
@example(b'["1"]["2"]', 2)
@example(b'["1","2"],', 2)
@example(b'["a,b","c"]', 2)
def test_no_other_bytes_are_taken_for_ids(body: bytes, size: int) -> None:
    even = read_even(body, size)
    if even is not None:
        assert json.loads(body) == list(even)
        assert len(set(even)) == size


def test_they_are_a_sequence_as_their_tuple_is() -> None:
    even = read_even(b'["1001","1002","1003"]', 3)
    assert isinstance(even, EvenIds)
    assert even.numbers is not None
    assert even.numbers.tolist() == [1001, 1002, 1003]
    texts = ("1001", "1002", "1003")
    assert even == texts
    assert (len(even), even[0], even[-1], even[1:], hash(even)) == (3, "1001", "1003", texts[1:], hash(texts))


def test_a_receipt_says_the_same_whichever_way_its_ids_were_read() -> None:
    even = read_even(b'["a1","b2"]', 2)
    stub = Stub(batch_id=1, kind="accepted", evidence="answer", received_ms=5)
    text = sealed({"ids": even}, stub)
    assert text == sealed({"ids": ["a1", "b2"]}, stub)
    assert is_intact(text, stub)
