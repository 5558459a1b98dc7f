"""The bounded model: every order of events within the bounds, explored to the end, breaks no invariant."""

from __future__ import annotations

import pytest

from .model import AS_BUILT, DOUBTED, FRESH, Bounds, World, explore


@pytest.mark.parametrize(
    ("bounds", "start", "least_states"),
    [
        pytest.param(Bounds(sends=2, crashes=1), FRESH, 20_000, id="two sends, one crash"),
        pytest.param(Bounds(sends=3, crashes=0), FRESH, 400_000, id="three sends, no crash"),
        pytest.param(Bounds(sends=2, crashes=1), DOUBTED, 8_000, id="in doubt with a key that is known"),
    ],
)
def test_every_order_of_events_keeps_the_invariants(bounds: Bounds, start: World, least_states: int) -> None:
    """I2 to I8 hold in every state that can be reached; there are as many as the model is meant to have."""
    explored = explore(AS_BUILT, bounds, start)
    assert (explored.broken, explored.path) == ("", ())
    assert explored.states > least_states
