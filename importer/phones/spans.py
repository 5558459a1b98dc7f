"""Numbering patterns turned into spans: where, among the numbers of one length, the answer changes.

Floor: phones, pure Python, run once per calling code. A numbering pattern fixes the first digits and leaves the rest
free, so over the numbers of one length its answer is constant on long spans; the whole world is some 45,000 of them.
A newcomer may ask why the regular expressions are not simply run: one binary search over spans answers validity,
region and type of a number at once, where the patterns would have to be tried type by type and region by region.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from importer.phones.patterns import ANY_DIGIT, Choice, Digit, End, Node, Repeat, Sequence, parse

Label = TypeVar("Label", bound=Hashable)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pattern:
    """A pattern, and the mark it leaves on numbers it matches whole, or on those that begin with a match.

    A beginning has at least one digit: a pattern that can match nothing says nothing about a number.
    """

    mark: Hashable
    source: str
    is_beginning: bool = False


class Span(NamedTuple, Generic[Label]):
    """Numbers of one length from `start` up to the next span's start, all with one label."""

    start: int
    label: Label


class Automaton(Generic[Label]):
    """All patterns of a calling code as one machine that reads a number digit by digit.

    States are sets of places inside the patterns, made when first reached. `label` turns the marks on a number and
    its length into the answer.
    """

    def __init__(self, patterns: Iterable[Pattern], label: Callable[[frozenset[Hashable], int], Label]) -> None:
        self._label = label
        self._free: list[list[int]] = []  # places reached from a place without reading
        self._read: list[tuple[int, int] | None] = []  # the digits a place reads and where they lead
        self._marks: dict[int, Hashable] = {}
        self._closures: dict[int, frozenset[int]] = {}
        self._steps: dict[frozenset[int], list[frozenset[int]]] = {}
        self._walked: dict[tuple[frozenset[int], int, int], tuple[Span[Label], ...]] = {}
        self._start = frozenset[int]().union(*(self._add(pattern) for pattern in patterns))

    def spans(self, length: int) -> tuple[Span[Label], ...]:
        """The spans that together hold every number of `length` digits, in order, neighbours differing."""
        return self._walk(self._start, length, length)

    def _add(self, pattern: Pattern) -> frozenset[int]:
        start = self._place()
        end = self._build(parse(pattern.source), start, pattern.mark)
        self._marks[end] = pattern.mark
        if not pattern.is_beginning:
            return self._closure(start)
        unread = self._closure(start) - {end}
        loop = self._place(after=end)
        self._read[loop] = (ANY_DIGIT, end)
        self._closures.clear()
        return unread

    def _place(self, *, after: int | None = None) -> int:
        self._free.append([])
        self._read.append(None)
        place = len(self._free) - 1
        if after is not None:
            self._free[after].append(place)
        return place

    def _build(self, node: Node, start: int, mark: Hashable) -> int:
        """Adds the places of a node after `start`; gives the place where it ends."""
        match node:
            case Digit(members):
                reader, end = self._place(after=start), self._place()
                self._read[reader] = (members, end)
                return end
            case Sequence(parts):
                for part in parts:
                    start = self._build(part, start, mark)
                return start
            case Choice(options):
                end = self._place()
                for option in options:
                    self._free[self._build(option, start, mark)].append(end)
                return end
            case Repeat(part, least, most):
                return self._repeat(part, least, most, start, mark)
            case End():
                self._marks[self._place(after=start)] = mark
                return self._place()  # nothing leads on from the end of a number

    def _repeat(self, part: Node, least: int, most: int, start: int, mark: Hashable) -> int:
        for _ in range(least):
            start = self._build(part, start, mark)
        end = self._place(after=start)
        for _ in range(most - least):
            start = self._build(part, start, mark)
            self._free[start].append(end)
        return end

    def _closure(self, place: int) -> frozenset[int]:
        """Places that matter (they read or mark) among those reached from here without reading."""
        if place not in self._closures:
            reached, open_places = {place}, [place]
            while open_places:
                new = set(self._free[open_places.pop()]) - reached
                reached |= new
                open_places.extend(new)
            self._closures[place] = frozenset(at for at in reached if self._read[at] or at in self._marks)
        return self._closures[place]

    def _step(self, state: frozenset[int]) -> list[frozenset[int]]:
        """The states after each of the ten digits."""
        if state not in self._steps:
            after: list[set[int]] = [set() for _ in range(10)]
            for members, end in filter(None, (self._read[place] for place in state)):
                reached = self._closure(end)
                for digit in range(10):
                    if members >> digit & 1:
                        after[digit] |= reached
            self._steps[state] = [frozenset(places) for places in after]
        return self._steps[state]

    def _walk(self, state: frozenset[int], left: int, length: int) -> tuple[Span[Label], ...]:
        """The spans of all numbers that lead on from `state` with `left` more digits."""
        key = (state, left, length)
        if key not in self._walked:
            self._walked[key] = self._spread(state, left, length) if left else (self._leaf(state, length),)
        return self._walked[key]

    def _leaf(self, state: frozenset[int], length: int) -> Span[Label]:
        marks = frozenset(self._marks[place] for place in state if place in self._marks)
        return Span(0, self._label(marks, length))

    def _spread(self, state: frozenset[int], left: int, length: int) -> tuple[Span[Label], ...]:
        width = 10 ** (left - 1)
        found: list[Span[Label]] = []
        for digit, after in enumerate(self._step(state)):
            for start, label in self._walk(after, left - 1, length):
                if not found or found[-1].label != label:
                    found.append(Span(digit * width + start, label))
        return tuple(found)
