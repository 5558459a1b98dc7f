"""Throughput: seconds in which rows were accepted, gathered into spans that a chart of a hand's width can show.

Floor: report, pure. An import may have been sent in several stretches with hours between them; a chart over all of it
would show mostly nothing. So a pause of five minutes ends a stretch, and the chart shows the one with the most rows
when the pauses are longer than all stretches together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

PAUSE_S = 300
MOST_SPANS = 60
_SIZES_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 43_200, 86_400)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stretch:
    """A time without a long pause. **Units**: Unix seconds, the end exclusive."""

    start_s: int
    end_s: int
    rows: int

    @property
    def rows_s(self) -> float:
        """Rows a second."""
        return self.rows / (self.end_s - self.start_s)


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeline:
    """What the chart shows. **Shapes**: `spans` is (start, end, rows) in Unix seconds, without empty ones."""

    stretches: tuple[Stretch, ...]
    spans: tuple[tuple[int, int, int], ...]
    span_s: int
    is_part: bool

    @property
    def sending_s(self) -> int:
        """Seconds in which rows were being accepted, pauses left out."""
        return sum(each.end_s - each.start_s for each in self.stretches)


def timeline(seconds: Sequence[tuple[int, int]]) -> Timeline:
    """The timeline of (Unix second, rows), which stand in order."""
    stretches = _stretches(seconds)
    if not stretches:
        return Timeline(stretches=(), spans=(), span_s=1, is_part=False)
    start_s, end_s = stretches[0].start_s, stretches[-1].end_s
    is_part = end_s - start_s > 2 * sum(each.end_s - each.start_s for each in stretches)
    if is_part:
        largest = max(stretches, key=lambda each: each.rows)
        start_s, end_s = largest.start_s, largest.end_s
    span_s = next((size for size in _SIZES_S if (end_s - start_s) / size <= MOST_SPANS), _SIZES_S[-1])
    shown = [(second, rows) for second, rows in seconds if start_s <= second < end_s]
    return Timeline(stretches=tuple(stretches), spans=_spans(shown, span_s), span_s=span_s, is_part=is_part)


def _stretches(seconds: Sequence[tuple[int, int]]) -> list[Stretch]:
    found: list[Stretch] = []
    for second, rows in seconds:
        if found and second - found[-1].end_s <= PAUSE_S:
            found[-1] = Stretch(start_s=found[-1].start_s, end_s=second + 1, rows=found[-1].rows + rows)
        else:
            found.append(Stretch(start_s=second, end_s=second + 1, rows=rows))
    return found


def _spans(seconds: Sequence[tuple[int, int]], span_s: int) -> tuple[tuple[int, int, int], ...]:
    sums: dict[int, int] = {}
    for second, rows in seconds:
        start_s = second // span_s * span_s
        sums[start_s] = sums.get(start_s, 0) + rows
    return tuple((start_s, start_s + span_s, rows) for start_s, rows in sorted(sums.items()))
