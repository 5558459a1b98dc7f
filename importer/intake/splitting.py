"""Cells with several numbers taken apart, when asked: each number becomes a row of its own.

Floor: intake, pure. The rows made of one share its place in the list and its other cells, and each counts as a row
read, so the balance adds up. A cell is taken apart only if every piece of it is a number to be called; any other stays
the reject it was, because half of a cell would call half of what was meant.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import polars as pl

from importer import phones
from importer.intake.plan import Plan
from importer.sources import Chunk

_BETWEEN = re.compile(r"[;,/|&\n\r\t]+|(?=\+)|\s+(?:and|or|und|oder|et|ou|y|o|e|и|или)\s+", re.IGNORECASE)
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """A chunk after its cells were taken apart, and what phone checking says of it. **Units**: rows."""

    chunk: Chunk
    judged: pl.DataFrame
    more_rows: int = 0


def judge_and_split(chunk: Chunk, plan: Plan) -> Split:
    """Checks a chunk's numbers; with `--split-cells`, cells with several become rows, in the order of the cell."""
    judged = _judged(chunk.rows, plan)
    is_several = judged["reason"] == "two_numbers"
    apart = _taken_apart(chunk.rows, is_several.arg_true().to_list(), plan) if plan.is_splitting else {}
    return _joined(chunk, judged, apart, plan) if apart else Split(chunk=chunk, judged=judged)


def _judged(rows: pl.DataFrame, plan: Plan) -> pl.DataFrame:
    regions = rows[plan.region_column] if plan.region_column else None
    return phones.check(rows[plan.phone_column], plan.rules, regions)


def _taken_apart(rows: pl.DataFrame, places: list[int], plan: Plan) -> dict[int, list[str]]:
    """By place the numbers of each cell that is made of numbers only."""
    pieces = [(at, piece) for at in places for piece in pieces_of(rows[plan.phone_column][at])]
    if not pieces:
        return {}
    cells = pl.Series(plan.phone_column, [piece for _, piece in pieces])
    judged = _judged(rows[[at for at, _ in pieces]].with_columns(cells), plan)
    good: dict[int, list[str]] = {}
    bad = set()
    for (at, piece), reason in zip(pieces, judged["reason"], strict=True):
        good.setdefault(at, []).append(piece)
        bad |= {at} if reason is not None else set()
    return {at: numbers for at, numbers in good.items() if at not in bad and len(numbers) > 1}


def pieces_of(cell: str) -> list[str]:
    """What stands between separators; between spaces, where there are no separators."""
    pieces = [piece.strip() for piece in _BETWEEN.split(cell)]
    pieces = [piece for piece in pieces if piece]
    return pieces if len(pieces) > 1 else _SPACE.split(cell.strip())


def _joined(chunk: Chunk, judged: pl.DataFrame, apart: dict[int, list[str]], plan: Plan) -> Split:
    """The chunk with those rows in the place of each; only they are checked again."""
    order = [at for at in range(chunk.rows.height) for _ in apart.get(at, [""])]
    made = [number for at in range(chunk.rows.height) for number in apart.get(at, [None])]
    cells = pl.Series(plan.phone_column, made, dtype=pl.String)
    rows = chunk.rows[order]
    rows = rows.with_columns(cells.zip_with(cells.is_not_null(), rows[plan.phone_column]).alias(plan.phone_column))
    is_made = cells.is_not_null()
    again = _judged(rows.filter(is_made), plan)
    place = pl.concat([(~is_made).arg_true(), is_made.arg_true()]).alias("at")
    both = pl.concat([judged[order].filter(~is_made), again]).with_columns(place).sort("at").drop("at")
    return Split(
        chunk=replace(chunk, rows=rows, row_nos=chunk.row_nos[order]),
        judged=both,
        more_rows=len(order) - chunk.rows.height,
    )
