"""Cutting rows into batches (laws 2 and 8): a function of the rows, their order and the batch size, and nothing else.

Floor: intake, pure. Rows are taken in blocks of the batch size. Within a block, the first row of every phone makes one
batch, the second row of every phone the next, and so on: a phone stands once in a request, by a rule that needs to
look no further than the block. A batch heavier than the byte cap is cut where the cap is passed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from importer.keys import as_uuid
from importer.ledger.records import NewBatch

Places = npt.NDArray[np.int64]
Spread = Callable[[Callable[[Sequence[int]], NewBatch], Iterable[Sequence[int]]], Iterable[NewBatch]]
BODY_CAP_BYTES = 256 * 1024
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """Batches, and the rows of each in the order of its request. **Shapes**: as many of both."""

    batches: list[NewBatch]
    members: list[Sequence[int]]


def cut(
    good: pl.DataFrame,
    batch_size_rows: int,
    seed: str,
    *,
    items: Items | None = None,
    keeps_bodies: bool = True,
    spread: Spread = map,
) -> Cut:
    """Cuts rows (`phone`, `row_key`, `item`; list order) into batches, their bodies packed for the ledger.

    One that keeps no bodies gets none, nor what follows from them: its batches only say which rows they have. `items`
    are those of the rows, where they were put together already; others may follow them. `spread` maps as `map` does,
    perhaps over threads: most of what is done for a batch is outside of the interpreter.
    **Law** `test_law_2_same_list_same_requests`, `test_law_8_one_row_per_phone_per_request`.
    """
    if not keeps_bodies:
        return _counted(good, batch_size_rows)
    keys, together = good["row_key"].to_list(), items or Items.of(good["item"])
    members = [part for group in _groups(good["phone"], batch_size_rows) for part in together.under_cap(group)]

    def frozen(part: Sequence[int]) -> NewBatch:
        return NewBatch.of_body(seed, _taken(keys, part), together.body(part), is_packed=True)

    return Cut(batches=list(spread(frozen, members)), members=members)


def _counted(good: pl.DataFrame, batch_size_rows: int) -> Cut:
    """The same batches without their bodies, each known by its first row."""
    sizes = Items.sizes_of(good["item"])
    members = [part for group in _groups(good["phone"], batch_size_rows) for part in sizes.under_cap(group)]
    firsts = good["row_key"].gather([part[0] for part in members]).to_list()
    batches = [NewBatch.counted(as_uuid(key), len(part)) for key, part in zip(firsts, members, strict=True)]
    return Cut(batches=batches, members=members)


def _taken(values: list[_T], rows: Sequence[int]) -> list[_T]:
    return values[rows.start : rows.stop] if isinstance(rows, range) else [values[row] for row in rows]


class Items:
    """Request items as one text with commas between: the bytes of a batch of neighbours are a piece of it.

    **Shapes**: `ends[i]` is where item i ends, behind its comma; the last comma is not there.
    """

    def __init__(self, text: bytes, ends: Places) -> None:
        self._text = text
        self._ends = ends

    @classmethod
    def of(cls, items: pl.Series) -> Items:
        """A column of items."""
        text = bytes(items.str.join(",").cast(pl.Binary).item() or b"")
        return cls(text, _ends(items))

    @classmethod
    def sizes_of(cls, items: pl.Series) -> Items:
        """Only how long each is: enough to say which rows make a batch."""
        return cls(b"", _ends(items))

    def after(self, few: Sequence[str]) -> Items:
        """These behind a few others."""
        if not few:
            return self
        texts = [each.encode() for each in few]
        ends = np.cumsum([len(each) + 1 for each in texts])
        text = b",".join([*texts, self._text] if len(self._ends) else texts)
        return Items(text, np.concatenate([ends, self._ends + ends[-1]]))

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
            return [(self._begin(rows[0]), int(self._ends[rows[-1]]))]
        return self._spans_of_each(rows)

    def _spans_of_each(self, rows: Sequence[int]) -> list[tuple[int, int]]:
        return [(self._begin(row), int(self._ends[row])) for row in rows]

    def _begin(self, row: int) -> int:
        return int(self._ends[row - 1]) if row else 0


def _ends(items: pl.Series) -> Places:
    return (items.str.len_bytes().cast(pl.Int64) + 1).cum_sum().to_numpy()


def _groups(phone: pl.Series, batch_size_rows: int) -> list[Sequence[int]]:
    """Row indices of each batch before the byte cap; a range wherever no number repeats within the block."""
    blocks = [range(at, min(at + batch_size_rows, phone.len())) for at in range(0, phone.len(), batch_size_rows)]
    if not _has_repeats(phone.to_numpy(), batch_size_rows):
        return list(blocks)
    apart = _apart(phone, batch_size_rows)
    return [group for number, block in enumerate(blocks) for group in apart.get(number, [block])]


def _has_repeats(phones: Places, size_rows: int) -> bool:
    """Whether a number stands twice in any block. Not by polars: its threads have enough to do meanwhile."""
    whole = len(phones) // size_rows * size_rows
    blocks = [np.sort(phones[:whole].reshape(-1, size_rows)), np.sort(phones[whole:].reshape(1, -1))]
    return any(bool((each[:, 1:] == each[:, :-1]).any()) for each in blocks)


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
