"""How long requests took: percentiles, and a histogram whose spans grow with the durations.

Floor: report, pure. Durations come as counts by millisecond, which is exact and small. A newcomer may question spans
that grow: a slow tail is what one looks for, and equal steps would hide either it or everything else. Only where all
durations are of one size are they told apart by equal steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

_STEPS = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
_EDGES_MS = (0, 1, *(round(step * 10**power) for power in range(1, 8) for step in _STEPS))
_SAME_SIZE = 4  # the longest is at most so many times the shortest
_MOST_STEPS = 14


@dataclass(frozen=True, kw_only=True, slots=True)
class Latency:
    """Durations in figures. **Shapes**: `spans` is (from, below, sends). **Units**: milliseconds."""

    sends: int
    median_ms: int
    p95_ms: int
    p99_ms: int
    longest_ms: int
    spans: tuple[tuple[int, int, int], ...]

    def place(self, wait_ms: float) -> float:
        """Where a duration lies among the spans, in spans from the middle of the first."""
        for place, (start, below, _) in enumerate(self.spans):
            if wait_ms < below:
                return place - 0.5 + max(0.0, (wait_ms - start) / (below - start))
        return len(self.spans) - 0.5


def latency(durations: Sequence[tuple[int, int]]) -> Latency | None:
    """The figures of (milliseconds, sends) in any order; None without any."""
    ordered = sorted(durations)
    sends = sum(number for _, number in ordered)
    if not sends:
        return None
    return Latency(
        sends=sends,
        median_ms=_percentile(ordered, sends * 0.5),
        p95_ms=_percentile(ordered, sends * 0.95),
        p99_ms=_percentile(ordered, sends * 0.99),
        longest_ms=ordered[-1][0],
        spans=_spans(ordered),
    )


def _percentile(ordered: Sequence[tuple[int, int]], rank: float) -> int:
    """The nearest rank: a duration that really was."""
    seen = 0
    for wait_ms, number in ordered:
        seen += number
        if seen >= ceil(rank):
            return wait_ms
    return ordered[-1][0]


def _spans(ordered: Sequence[tuple[int, int]]) -> tuple[tuple[int, int, int], ...]:
    edges = _edges(ordered[0][0], ordered[-1][0])
    counts = [0] * (len(edges) - 1)
    place = 0
    for wait_ms, number in ordered:
        while wait_ms >= edges[place + 1]:
            place += 1
        counts[place] += number
    used = [at for at, number in enumerate(counts) if number]
    return tuple((edges[at], edges[at + 1], counts[at]) for at in range(used[0], used[-1] + 1))


def _edges(shortest_ms: int, longest_ms: int) -> tuple[int, ...]:
    """Where spans begin; the last is behind the longest duration."""
    if longest_ms > _SAME_SIZE * max(shortest_ms, 1):
        return (*(edge for edge in _EDGES_MS if edge <= longest_ms), max(longest_ms + 1, _next_edge(longest_ms)))
    spread_ms = longest_ms - shortest_ms + 1
    step_ms = next(step for step in (1, 2, 5, *_EDGES_MS[2:]) if spread_ms / step <= _MOST_STEPS - 1)
    start_ms = shortest_ms // step_ms * step_ms
    return tuple(range(start_ms, longest_ms + step_ms + 1, step_ms))


def _next_edge(longest_ms: int) -> int:
    return next((edge for edge in _EDGES_MS if edge > longest_ms), longest_ms + 1)
