"""Columns of text as recipes of text want them: the fast way where a whole chunk is plain, which nearly all are.

Floor: pure, beside keys and body, which make one text of a row's fields each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

TEXT = "s"  # the type letter of a payload field that is text


def texts_of(payload: dict[str, pl.Expr], typed: Sequence[tuple[str, str, pl.Expr]]) -> dict[str, pl.Expr]:
    """All fields by name, where each is text and no name stands there twice; otherwise none."""
    texts = payload | {name: value for name, tag, value in typed if tag == TEXT}
    return texts if len(texts) == len(payload) + len(typed) else {}


def framed(cells: Sequence[pl.Series]) -> tuple[pl.DataFrame, list[pl.Expr]]:
    """Columns as a frame, one that is a literal at full height, and their expressions in order."""
    import polars as pl

    height = max(map(len, cells))
    columns = [cell if len(cell) == height else cell.new_from_index(0, height) for cell in cells]
    names = [str(place) for place in range(len(cells))]
    return pl.DataFrame(columns, schema=names), [pl.col(name) for name in names]
