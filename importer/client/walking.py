"""Walks what one request cannot show: all pages of a filter, all windows of a range, all known ones among many ids.

Floor: client; pure: it is given a function that asks. A newcomer may question halving by date: a filter shows 40,000
rows at most and says neither how many there are nor in which order, so a full last page is the only sign that there
may be more. Halves share their border, since nobody states whether the ends belong to a range; rows seen twice are
dropped by id, remembering one window and its neighbour only, so that a walk over millions of rows stays small.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from importer.client.records import DateFilter, Found, Page
from importer.errors import UsageProblem

PAGE_SIZE_ROWS = 200
LAST_PAGE = 199
SIFT_SIZE = 1_000
_MILLISECOND = timedelta(milliseconds=1)

T = TypeVar("T")


class WindowFull(Exception):  # a finding for `api`, which turns it into its own error
    """A filter that cannot be narrowed any more has a full last page."""


def walk_pages(ask: Callable[[int], Page[T]], identity: Callable[[T], Hashable]) -> Iterator[T]:
    """Every row of one filter, each once. **Errors**: WindowFull after the last row that paging can reach."""
    seen: set[Hashable] = set()
    for number in range(LAST_PAGE + 1):
        items = ask(number).items
        yield from _unseen(items, identity, seen)
        if len(items) < PAGE_SIZE_ROWS:
            return
    raise WindowFull


def walk_windows(
    ask: Callable[[DateFilter, int], Page[T]], identity: Callable[[T], Hashable], whole: DateFilter
) -> Iterator[T]:
    """Every row of a date range, each once, in windows small enough to be paged to their end.

    **Errors**: WindowFull when one millisecond is still too full; UsageProblem when no range has both ends.
    """
    _check_range(whole)
    before: set[Hashable] = set()
    waiting = [whole]
    while waiting:
        window = waiting.pop()
        first = ask(window, 0).items
        if len(first) == PAGE_SIZE_ROWS and len(ask(window, LAST_PAGE).items) == PAGE_SIZE_ROWS:
            waiting.extend(reversed(_halves(window)))
            continue
        here: set[Hashable] = set()
        for row in _rows_of(ask, window, first):
            if (key := identity(row)) not in here and key not in before:
                yield row
            here.add(key)
        before = here


def _rows_of(ask: Callable[[DateFilter, int], Page[T]], window: DateFilter, first: Sequence[T]) -> Iterator[T]:
    """The rows of a window whose first page is at hand."""
    items, number = first, 0
    yield from items
    while len(items) == PAGE_SIZE_ROWS and number < LAST_PAGE:
        number += 1
        items = ask(window, number).items
        yield from items


def _unseen(rows: Iterable[T], identity: Callable[[T], Hashable], seen: set[Hashable]) -> Iterator[T]:
    for row in rows:
        if (key := identity(row)) not in seen:
            seen.add(key)
            yield row


def _ends(window: DateFilter) -> tuple[str, datetime, datetime] | None:
    """The range to halve: by beginning when it has both ends, else by end."""
    for name in ("began", "finished"):
        start, end = getattr(window, f"{name}_from"), getattr(window, f"{name}_to")
        if start is not None and end is not None:
            return name, start, end
    return None


def _check_range(window: DateFilter) -> None:
    ends = _ends(window)
    if ends is None:
        raise UsageProblem("a walk by date needs both ends of a range", hint="give its from and its to")
    _, start, end = ends
    if start.tzinfo is None or end.tzinfo is None or start > end:
        raise UsageProblem("a range goes from an earlier to a later moment, both with an offset")


def _halves(window: DateFilter) -> list[DateFilter]:
    """Both halves, the earlier first; their common border is a whole millisecond, as the API counts."""
    ends = _ends(window)
    if ends is None or ends[2] - ends[1] <= _MILLISECOND:
        raise WindowFull
    name, start, end = ends
    middle = start + max(_MILLISECOND, (end - start) // 2 // _MILLISECOND * _MILLISECOND)
    return [replace(window, **{f"{name}_to": middle}), replace(window, **{f"{name}_from": middle})]


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Call jobs by id and by phone; `path` tells one part of a bisected call from another ("" is the whole)."""

    ids: tuple[str, ...] = ()
    phones: tuple[str, ...] = field(default=(), repr=False)
    path: str = ""

    def __len__(self) -> int:
        return len(self.ids) + len(self.phones)

    def as_json(self) -> dict[str, list[str]]:
        """The body of cancel and of reports by id."""
        named = {"ids": list(self.ids), "phones": list(self.phones)}
        return {name: values for name, values in named.items() if values}

    def parts(self, sizes: Sequence[int]) -> list[Selection]:
        """Cut into parts of these sizes, ids first."""
        parts, begin = [], 0
        for place, size in enumerate(sizes):
            ids = self.ids[begin : begin + size]
            rest = begin + len(ids) - len(self.ids)
            phones = self.phones[rest : rest + size - len(ids)] if len(ids) < size else ()
            parts.append(Selection(ids=ids, phones=phones, path=f"{self.path}.{place}"))
            begin += size
        return parts


class Unknown(Exception):  # an answer that `ask` gives to `sift`, never seen outside
    """The API knows at least one of these ids or phones not, and does not say which."""


@dataclass(slots=True)
class _Sieve(Generic[T]):
    """What a sifting has found so far."""

    items: dict[Hashable, T] = field(default_factory=dict)
    unknown_ids: list[str] = field(default_factory=list)
    unknown_phones: list[str] = field(default_factory=list)


def sift(
    ask: Callable[[Selection], Iterable[T]],
    identity: Callable[[T], Hashable],
    wanted: Selection,
    *,
    size: int = SIFT_SIZE,
) -> Found[T]:
    """What the API knows of the wanted, each once, and what it does not: refused parts are halved to the offenders.

    **Units**: `size` most ids and phones asked in one request. An unknown one costs about 2·log2(size) requests.
    """
    sieve: _Sieve[T] = _Sieve()
    waiting = [wanted] if len(wanted) <= size else wanted.parts(_sizes(len(wanted), size))
    waiting.reverse()
    while waiting:
        part = waiting.pop()
        try:
            sieve.items.update((identity(item), item) for item in (ask(part) if part else ()))
        except Unknown:
            if len(part) == 1:
                sieve.unknown_ids.extend(part.ids)
                sieve.unknown_phones.extend(part.phones)
            else:
                half = len(part) // 2
                waiting.extend(reversed(part.parts([half, len(part) - half])))
    return Found(
        items=tuple(sieve.items.values()),
        unknown_ids=tuple(sieve.unknown_ids),
        unknown_phones=tuple(sieve.unknown_phones),
    )


def _sizes(total: int, size: int) -> list[int]:
    return [min(size, total - begin) for begin in range(0, total, size)]


def part_key(key: str, path: str) -> str:
    """The idempotence key of one part: other content must never go under the key of the whole, nor of another part."""
    return key if not path else str(uuid.uuid5(uuid.NAMESPACE_URL, f"importer:{len(key)}:{key}{path}"))
