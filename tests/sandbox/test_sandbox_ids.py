"""Job ids and durations, the two small leaves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from importer.sandbox.durations import parse_duration_s
from importer.sandbox.ids import JobIds

seeds = st.integers(0, 1000)
sequences = st.integers(0, 2**50 - 1)


@given(seed=seeds, sequence=sequences)
def test_an_id_leads_back_to_its_job(seed: int, sequence: int) -> None:
    """Ids and sequence numbers are one to one, in decimal digits a double can hold."""
    ids = JobIds.seeded(seed)
    job_id = ids.of(sequence)
    assert ids.sequence(job_id) == sequence or job_id == "0"
    assert int(job_id) < 2**50


@given(seed=seeds, first=sequences, size_rows=st.integers(0, 50))
def test_a_range_is_its_members(seed: int, first: int, size_rows: int) -> None:
    """Many at once are the same as one by one, and all differ."""
    ids = JobIds.seeded(seed)
    found = ids.of_range(first, size_rows)
    assert found == [ids.of(first + at) for at in range(size_rows)]
    assert len(set(found)) == size_rows


@given(text=st.text(max_size=20))
def test_other_text_is_no_id(text: str) -> None:
    """Whatever is read as an id is written the same way again."""
    ids = JobIds.seeded(0)
    sequence = ids.sequence(text)
    assert sequence is None or ids.of(sequence) == text


@pytest.mark.parametrize(
    ("text", "seconds"), [("250ms", 0.25), ("2s", 2), ("1.5m", 90), ("24h", 86_400), ("1d", 86_400), (" 0s ", 0)]
)
def test_a_duration_is_a_number_with_a_unit(text: str, seconds: float) -> None:
    """Milliseconds to days."""
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "24", "s", "-1s", "1w", "1h30m", "1e3s", "١s", "1 s"])
def test_a_duration_without_a_unit_is_refused(text: str) -> None:
    """Nothing is guessed, and the message names the units."""
    with pytest.raises(ValueError, match="ms, s, m, h or d"):
        parse_duration_s(text)
