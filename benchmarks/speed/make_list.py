"""Writes a CSV of so many rows and five columns: python benchmarks/speed/make_list.py ROWS FILE

Numbers are invented: twenty American area codes, each number once, none of them of the exchanges kept for films.
"""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl

AREAS = (201, 202, 203, 205, 206, 207, 208, 209, 210, 212, 213, 214, 215, 216, 217, 218, 219, 220, 224, 225)
FIRST = 2_120_000
PIECE_ROWS = 1_000_000


def rows_from(first: int, count: int) -> pl.DataFrame:
    """Rows number `first` and on of every such list."""
    place = pl.int_range(first, first + count, eager=True)
    area = pl.Series(AREAS)[(place % len(AREAS)).cast(pl.Int64)].cast(pl.String)
    return pl.DataFrame({"place": place, "area": area}).select(
        phone=pl.lit("1") + pl.col("area") + (FIRST + pl.col("place") // len(AREAS)).cast(pl.String),
        customer_id="C" + pl.col("place").cast(pl.String).str.zfill(8),
        name=pl.lit("Person ") + (pl.col("place") % 1000).cast(pl.String),
        city=pl.lit("City ") + (pl.col("place") % 50).cast(pl.String),
        amount=(pl.col("place") % 997).cast(pl.String),
    )


def write_list(rows: int, path: Path, changed: int | None = None) -> None:
    """The list, piece by piece, so that memory stays small; the row at place `changed` has another name."""
    with path.open("wb") as file:
        for first in range(0, rows, PIECE_ROWS):
            piece = rows_from(first, min(PIECE_ROWS, rows - first))
            if changed is not None:
                is_it = pl.int_range(first, first + len(piece)) == changed
                piece = piece.with_columns(name=pl.when(is_it).then(pl.lit("Person X")).otherwise("name"))
            piece.write_csv(file, include_header=first == 0)


if __name__ == "__main__":
    write_list(int(sys.argv[1]), Path(sys.argv[2]))
