"""How many requests are under way: a platform of hidden capacity is used up, and not overrun."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from importer.flight import Flight

Capacity = Callable[[float], int]


@dataclass
class Told:
    """What a simulated platform saw: when it took a request, and when it refused one. **Units**: seconds."""

    taken: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    waits: list[tuple[float, float]] = field(default_factory=list)

    def rate(self, from_s: float, to_s: float) -> float:
        """Requests carried out a second."""
        return sum(from_s <= at < to_s for at in self.taken) / (to_s - from_s)


def against_slots(
    capacity: Capacity, *, latency_s: float, until_s: float, most: int, seed: int = 1, odd: tuple[float, float] = (0, 1)
) -> Told:
    """A platform with so many slots, each for some `latency_s`; it refuses at once what finds none free.

    `odd` is the share of answers that take so many times as long, for no reason of load.
    """
    noise, flight, told = random.Random(seed), Flight(most), Told()
    ending: list[tuple[float, int, bool, float]] = []
    now_s, busy = 0.0, 0
    while now_s < until_s:
        while len(ending) < flight.allowed:
            is_refused = busy >= capacity(now_s)
            (told.refused if is_refused else told.taken).append(now_s)
            busy += not is_refused
            usual_s = latency_s * (odd[1] if odd[0] and noise.random() < odd[0] else noise.uniform(0.8, 1.2))
            took_s = 0.005 if is_refused else usual_s
            heapq.heappush(ending, (now_s + took_s, flight.begin(), is_refused, took_s))
        now_s, ticket, is_refused, took_s = heapq.heappop(ending)
        busy -= not is_refused
        flight.end(ticket, took_s, is_overload=is_refused)
    return told


def against_queue(rate: Capacity, *, latency_s: float, until_s: float, most: int) -> Told:
    """A platform that takes everything, carries out `rate` a second one after another, and answers when it has."""
    flight, told = Flight(most), Told()
    ending: list[tuple[float, int, float]] = []
    now_s = free_s = 0.0
    while now_s < until_s:
        while len(ending) < flight.allowed:
            free_s = max(free_s, now_s) + 1 / rate(now_s)
            done_s = free_s + latency_s
            told.taken.append(free_s)
            told.waits.append((now_s, done_s - now_s))
            heapq.heappush(ending, (done_s, flight.begin(), done_s - now_s))
        now_s, ticket, took_s = heapq.heappop(ending)
        flight.end(ticket, took_s, is_overload=False)
    return told


@pytest.mark.parametrize("slots", [1, 3, 8, 20, 60])
@pytest.mark.parametrize("latency_s", [0.02, 0.2])
def test_the_number_in_flight_finds_a_hidden_capacity(slots: int, latency_s: float) -> None:
    """After ten seconds nine tenths of it are used, and few requests are refused."""
    told = against_slots(lambda _: slots, latency_s=latency_s, until_s=40, most=128)
    assert told.rate(10, 40) >= 0.9 * min(slots, 128) / latency_s
    assert len(told.refused) <= 0.12 * len(told.taken)


@pytest.mark.parametrize("latency_s", [0.02, 0.2, 0.5])
@pytest.mark.parametrize(("before", "after"), [(6, 3), (3, 6), (40, 20), (20, 40), (100, 50), (50, 100)])
def test_it_follows_a_capacity_that_halves_or_doubles_within_ten_seconds(
    before: int, after: int, latency_s: float
) -> None:
    """Nine tenths of the new capacity are used over two of the ten seconds after the change, and from then on."""
    told = against_slots(lambda now_s: before if now_s < 30 else after, latency_s=latency_s, until_s=60, most=128)
    assert told.rate(20, 30) >= 0.9 * before / latency_s
    assert max(told.rate(30 + each / 4, 32 + each / 4) for each in range(33)) >= 0.9 * after / latency_s
    assert told.rate(40, 60) >= 0.9 * after / latency_s
    assert sum(30 <= at < 40 for at in told.refused) <= 0.15 * sum(30 <= at < 40 for at in told.taken)


@pytest.mark.parametrize("slots", [60, 100])
def test_many_slots_of_a_second_each_are_found_within_ten_rounds(slots: int) -> None:
    """What was refused first is come back to by halves, not by one a round."""
    told = against_slots(lambda _: slots, latency_s=1.0, until_s=40, most=128)
    assert told.rate(10, 40) >= 0.9 * slots


@pytest.mark.parametrize(("share", "times"), [(0.02, 4), (0.001, 0.05), (0.02, 0.05), (0.1, 0.05)])
@pytest.mark.parametrize("latency_s", [0.1, 0.4])
@pytest.mark.parametrize(("before", "after"), [(20, 10), (50, 100), (100, 50)])
def test_a_few_answers_unlike_the_others_say_nothing(
    before: int, after: int, latency_s: float, share: float, times: float
) -> None:
    """Slow ones are no sign of load; quick ones, such as refusals of a bad row, are not what all others could be."""
    told = against_slots(
        lambda now_s: before if now_s < 25 else after, latency_s=latency_s, until_s=45, most=128, odd=(share, times)
    )
    slot_s = latency_s * (1 - share + share * times)
    assert told.rate(15, 25) >= 0.9 * before / slot_s
    assert told.rate(35, 45) >= 0.9 * after / slot_s
    assert len(told.refused) <= 0.05 * len(told.taken)


def test_many_quick_answers_at_the_beginning_are_unlearnt() -> None:
    """After an interrupted run the platform may know forty requests already; what is new takes twenty times as long."""
    flight = Flight(64)
    for _ in range(40):
        flight.end(flight.begin(), 0.02, is_overload=False)
    for _ in range(80):
        tickets = [flight.begin() for _ in range(flight.allowed)]
        for ticket in tickets:
            flight.end(ticket, 0.4, is_overload=False)
    assert flight.allowed == 64


@pytest.mark.parametrize(("before", "after"), [(100, 100), (100, 50), (50, 100)])
def test_a_platform_that_queues_is_kept_busy_and_not_drowned(before: int, after: int) -> None:
    """Its whole rate is used, though it refuses nothing, and answers do not take ever longer."""
    told = against_queue(lambda now_s: before if now_s < 30 else after, latency_s=0.2, until_s=60, most=256)
    assert told.rate(10, 30) >= 0.9 * before
    assert told.rate(40, 60) >= 0.9 * after
    assert max(took_s for at, took_s in told.waits if at > 45) < 2.0


def test_a_platform_that_is_down_is_asked_by_one_request_at_a_time() -> None:
    """Nothing comes through: within a few rounds one is left."""
    flight = Flight(64)
    for _ in range(100):
        flight.end(flight.begin(), 0.1, is_overload=False)
    assert flight.allowed == 64
    for _ in range(8):
        for ticket in [flight.begin() for _ in range(flight.allowed)]:
            flight.end(ticket, 0.1, is_overload=True)
    assert flight.allowed == 1


@given(st.integers(1, 20), st.lists(st.tuples(st.floats(0, 100), st.booleans()), max_size=80))
def test_it_is_never_below_one_or_above_what_was_allowed(most: int, outcomes: list[tuple[float, bool]]) -> None:
    """Whatever comes back."""
    flight = Flight(most)
    for elapsed_s, is_overload in outcomes:
        flight.end(flight.begin(), elapsed_s, is_overload=is_overload)
        assert 1 <= flight.allowed <= most
