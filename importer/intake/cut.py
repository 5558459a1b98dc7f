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
    keys, items = good["row_key"].to_list(), good["item"].to_list()
    sizes_bytes = good["item"].str.len_bytes().to_list()
    members = [part for group in _groups(good["phone"], batch_size_rows) for part in _under_cap(group, sizes_bytes)]
    batches = [NewBatch.made_of(seed, _taken(keys, part), _taken(items, part)) for part in members]
    return Cut(batches=batches, members=members)


def _taken(values: list[_T], rows: Sequence[int]) -> list[_T]:
    return values[rows.start : rows.stop] if isinstance(rows, range) else [values[row] for row in rows]


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


def _under_cap(group: Sequence[int], sizes_bytes: list[int]) -> list[Sequence[int]]:
    """The group, cut wherever one more row would pass the cap; a row heavier than the cap goes alone.

    **Units**: `sizes_bytes` of each item alone; in a body it has a comma or a bracket besides.
    """
    mine_bytes = _taken(sizes_bytes, group)
    if sum(mine_bytes) + len(mine_bytes) + 1 <= BODY_CAP_BYTES:
        return [group]
    ends = []
    size_bytes = 2
    for place, alone_bytes in enumerate(mine_bytes):
        item_bytes = alone_bytes + 1
        if size_bytes > 2 and size_bytes + item_bytes > BODY_CAP_BYTES:
            ends.append(place)
            size_bytes = 2
        size_bytes += item_bytes
    return [group[first:end] for first, end in pairwise([0, *ends, len(group)])]
