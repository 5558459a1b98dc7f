"""The tests of the tests: every planted bug is found, by the model or by the simulation."""

from __future__ import annotations

import pytest

from importer.errors import LedgerProblem

from . import model, planted
from .sim import AS_BUILT, Library, Parts, tell, workshop

# The smallest bounds within which the model finds each; the rest are found with three sends and no crash.
_WITHIN = {
    "a crash is not ambiguous": (model.Bounds(sends=2, crashes=1), model.FRESH),
    "reconciled without a quiet period": (model.Bounds(sends=2, crashes=1), model.FRESH),
    "quiet period from the arming": (model.Bounds(sends=2, crashes=1), model.FRESH),
    "a new day for an old key": (model.Bounds(sends=2, crashes=0), model.DOUBTED),
    "a wall clock that jumps": (model.Bounds(sends=2, crashes=0), model.FRESH),
}
_OTHERWISE = (model.Bounds(sends=3, crashes=0), model.FRESH)
SEEDS = 1200
_FROM = {"other keys at once": 12_500}  # rare: one history in some thousands shows it


@pytest.mark.parametrize("name", model.PLANTED)
def test_the_model_finds_every_planted_mistake_of_the_protocol(name: str) -> None:
    """Each leads to a state in which an invariant is broken, by a shortest path."""
    bounds, start = _WITHIN.get(name, _OTHERWISE)
    explored = model.explore(model.PLANTED[name], bounds, start)
    assert explored.broken
    assert explored.path


@pytest.mark.parametrize("name", planted.PLANTED)
def test_the_simulation_finds_every_planted_bug(name: str) -> None:
    """Some seed among the first thousand or so shows what is wrong; the same seed breaks nothing as built."""
    with workshop() as folder:
        library = Library(folder=folder)
        seeds = range(_FROM.get(name, 0), _FROM.get(name, 0) + SEEDS)
        seed = next((seed for seed in seeds if is_broken(seed, library, planted.PLANTED[name])), None)
        assert seed is not None, f"{name}: not found in {SEEDS} histories"
        assert not is_broken(seed, library, AS_BUILT)


def is_broken(seed: int, library: Library, parts: Parts) -> bool:
    """Whether a history breaks a law, or the engine notices by itself that something is wrong with it."""
    try:
        return bool(tell(seed, library, parts).broken)
    except (LedgerProblem, KeyError):
        return True
