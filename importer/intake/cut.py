"""Cutting rows into batches (laws 2 and 8): a function of the rows, their order and the batch size, and nothing else.

Floor: intake, pure. Rows are taken in blocks of the batch size. Within a block, the first row of every phone makes one
batch, the second row of every phone the next, and so on: a phone stands once in a request, by a rule that needs to
look no further than the block. A batch heavier than the byte cap is cut where the cap is passed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import polars as pl

from importer.ledger.records import NewBatch

BODY_CAP_BYTES = 256 * 1024
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """Batches, and the rows of each in the order of its request. **Shapes**: as many of both."""

    batches: list[NewBatch]
    members: list[Sequence[int]]


def cut(good: pl.DataFrame, batch_size_rows: int, seed: str) -> Cut:
    """Cuts rows (`phone`, `row_key`, `item`; list order) into batches.

    **Law** `test_law_2_same_list_same_requests`, `test_law_8_one_row_per_phone_per_request`.
    """
    keys, items = good["row_key"].to_list(), _Items(good["item"])
    members = [part for group in _groups(good["phone"], batch_size_rows) for part in items.under_cap(group)]
    batches = [NewBatch.of_body(seed, _taken(keys, part), items.body(part)) for part in members]
    return Cut(batches=batches, members=members)


def _taken(values: list[_T], rows: Sequence[int]) -> list[_T]:
    return values[rows.start : rows.stop] if isinstance(rows, range) else [values[row] for row in rows]


class _Items:
    """Request items as one text with commas between: the bytes of a batch of neighbours are a piece of it."""

    def __init__(self, items: pl.Series) -> None:
        self._text = str(items.str.join(",").item() or "").encode()
        self._ends = (items.str.len_bytes().cast(pl.Int64) + 1).cum_sum().to_list()  # each behind its comma

    def body(self, rows: Sequence[int]) -> bytes:
        """The array of these rows' items: what `body.batch_body` makes of them."""
        return b"[" + b",".join(self._text[begin : end - 1] for begin, end in self._spans(rows)) + b"]"

    def under_cap(self, group: Sequence[int]) -> list[Sequence[int]]:
        """The group, cut wherever one more row would pass the cap; a row heavier than the cap goes alone."""
        sizes_bytes = [end - begin for begin, end in self._spans(group)]  # an item with its comma, or the last bracket
        if sum(sizes_bytes) + 1 <= BODY_CAP_BYTES:
            return [group]
        ends = []
        size_bytes = 2
        for place, (begin, end) in enumerate(self._spans_of_each(group)):
            if size_bytes > 2 and size_bytes + end - begin > BODY_CAP_BYTES:
                ends.append(place)
                size_bytes = 2
            size_bytes += end - begin
        return [group[first:end] for first, end in pairwise([0, *ends, len(group)])]

    def _spans(self, rows: Sequence[int]) -> list[tuple[int, int]]:
        """Where these rows stand in the text: neighbours as one."""
        if isinstance(rows, range):
            return [(self._begin(rows[0]), self._ends[rows[-1]])]
        return self._spans_of_each(rows)

    def _spans_of_each(self, rows: Sequence[int]) -> list[tuple[int, int]]:
        return [(self._begin(row), self._ends[row]) for row in rows]

    def _begin(self, row: int) -> int:
        return self._ends[row - 1] if row else 0


def _groups(phone: pl.Series, batch_size_rows: int) -> list[Sequence[int]]:
    """Row indices of each batch before the byte cap; a range wherever no number repeats within the block."""
    blocks = [range(at, min(at + batch_size_rows, phone.len())) for at in range(0, phone.len(), batch_size_rows)]
    if phone.n_unique() == phone.len():
        return list(blocks)
    apart = _apart(phone, batch_size_rows)
    return [group for number, block in enumerate(blocks) for group in apart.get(number, [block])]


def _apart(phone: pl.Series, batch_size_rows: int) -> dict[int, list[Sequence[int]]]:
    """The blocks in which a number repeats: the first row of every number, the second of every number, and so on."""
    frame = pl.DataFrame({"phone": phone}).with_row_index("row").with_columns(block=pl.col("row") // batch_size_rows)
    repeating = frame.filter(pl.struct("block", "phone").is_duplicated())["block"].unique()
    grouped = (
        frame.filter(pl.col("block").is_in(repeating.implode()))
        .with_columns(nth=pl.int_range(pl.len()).over("block", "phone"))
        .sort("block", "nth", "row")
        .group_by("block", "nth", maintain_order=True)
        .agg("row")
    )
    found: dict[int, list[Sequence[int]]] = {}
    for block, rows in zip(grouped["block"].to_list(), grouped["row"].to_list(), strict=True):
        found.setdefault(block, []).append(rows)
    return found
