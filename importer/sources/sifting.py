"""Rows with cells that no list may have, put aside as bad rows. Floor "sources".

For formats whose records are whole by construction (Parquet, workbooks, JSON lines) this is what is left to check:
cells that are too long, that hold a NUL, or whose bytes are no text. In text lists the record scanner sees them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import polars as pl

from importer.sources.records import BAD_SCHEMA, RAW_CHARS, Piece, ReadOptions, empty_bad

EXPLANATIONS: Final = {
    "oversized": "the cell is longer than {max_bytes} bytes",
    "nul": "the cell has a NUL character, which no text has",
    "undecodable": "the cell has bytes that are not UTF-8 text",
}


def sifted(
    rows: pl.DataFrame, row_nos: pl.Series, options: ReadOptions, undecodable: Mapping[str, pl.Series] | None = None
) -> Piece:
    """The rows, with those that have an impossible cell moved to `bad` under the first such column.

    **Shapes**: `undecodable` maps a column to a Boolean per row.
    """
    verdicts = rows.select(_verdict(column, options) for column in rows.columns)
    for column, mask in (undecodable or {}).items():
        verdicts = verdicts.with_columns(
            pl.when(mask).then(pl.lit("undecodable")).otherwise(pl.col(column)).alias(column)
        )
    is_bad = verdicts.select(pl.any_horizontal(pl.all().is_not_null())).to_series()
    if not is_bad.any():
        return Piece(rows=rows, row_nos=row_nos, bad=empty_bad())
    bad = _told(rows.filter(is_bad), row_nos.filter(is_bad), verdicts.filter(is_bad), options)
    return Piece(rows=rows.filter(~is_bad), row_nos=row_nos.filter(~is_bad), bad=bad)


def _verdict(column: str, options: ReadOptions) -> pl.Expr:
    cell = pl.col(column)
    verdict = pl.when(cell.str.len_bytes() > options.max_cell_bytes).then(pl.lit("oversized"))
    return verdict.when(cell.str.contains("\0", literal=True)).then(pl.lit("nul")).otherwise(None).alias(column)


def _told(rows: pl.DataFrame, row_nos: pl.Series, verdicts: pl.DataFrame, options: ReadOptions) -> pl.DataFrame:
    told = {reason: text.format(max_bytes=options.max_cell_bytes) for reason, text in EXPLANATIONS.items()}
    where = [pl.when(pl.col(column).is_not_null()).then(pl.lit(column)) for column in verdicts.columns]
    reason = pl.coalesce(pl.all())
    raw = rows.select(raw=pl.struct(pl.all().str.head(RAW_CHARS)).struct.json_encode().str.head(RAW_CHARS)).to_series()
    return verdicts.select(
        row_no=row_nos,
        column=pl.coalesce(where),
        reason=reason,
        explanation=reason.replace_strict(told, return_dtype=pl.String),
        raw=raw,
    ).cast(BAD_SCHEMA)
