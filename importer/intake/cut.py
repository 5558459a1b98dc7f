"""Cutting rows into batches (laws 2 and 8): a function of the rows, their order and the batch size, and nothing else.

Floor: intake, pure. Rows are taken in blocks of the batch size. Within a block, the first row of every phone makes one
batch, the second row of every phone the next, and so on: a phone stands once in a request, by a rule that needs to
look no further than the block. A batch heavier than the byte cap is cut where the cap is passed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from importer.ledger.records import NewBatch

BODY_CAP_BYTES = 256 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """Batches, and for each row which batch it is in and where. **Shapes**: as many of both as rows."""

    batches: list[NewBatch]
    batch_nos: list[int]
    positions: list[int]


def cut(good: pl.DataFrame, batch_size_rows: int, seed: str) -> Cut:
    """Cuts rows (`phone`, `row_key`, `item`; list order) into batches.

    **Law** `test_law_2_same_list_same_requests`, `test_law_8_one_row_per_phone_per_request`.
    """
    groups = _groups(good["phone"], batch_size_rows)
    keys, items = good["row_key"].to_list(), good["item"].to_list()
    batches: list[NewBatch] = []
    batch_nos, positions = [0] * good.height, [0] * good.height
    for group in groups:
        for part in _under_cap(group, items):
            for position, row in enumerate(part):
                batch_nos[row], positions[row] = len(batches), position
            batches.append(NewBatch.made_of(seed, [keys[row] for row in part], [items[row] for row in part]))
    return Cut(batches=batches, batch_nos=batch_nos, positions=positions)


def _groups(phone: pl.Series, batch_size_rows: int) -> list[Sequence[int]]:
    """Row indices of each batch before the byte cap."""
    if phone.n_unique() == phone.len():
        return [range(i, min(i + batch_size_rows, phone.len())) for i in range(0, phone.len(), batch_size_rows)]
    frame = pl.DataFrame({"phone": phone}).with_row_index("row")
    numbered = frame.with_columns(block=pl.col("row") // batch_size_rows).with_columns(
        nth=pl.int_range(pl.len()).over("block", "phone")
    )
    grouped = numbered.sort("block", "nth", "row").group_by("block", "nth", maintain_order=True).agg("row")
    return list(grouped["row"].to_list())


def _under_cap(group: Sequence[int], items: Sequence[str]) -> list[Sequence[int]]:
    """The group, cut wherever one more row would pass the cap; a row heavier than the cap goes alone."""
    if sum(len(items[row]) for row in group) * 4 <= BODY_CAP_BYTES:
        return [group]
    parts: list[list[int]] = [[]]
    size_bytes = 2
    for row in group:
        item_bytes = len(items[row].encode()) + 1
        if parts[-1] and size_bytes + item_bytes > BODY_CAP_BYTES:
            parts.append([])
            size_bytes = 2
        parts[-1].append(row)
        size_bytes += item_bytes
    return list(parts)
