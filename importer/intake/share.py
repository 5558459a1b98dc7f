"""A shard's own rows of a chunk: the others are read and judged as well, counted, and left to their own shards.

Floor: intake, pure. Rows are told apart as soon as their numbers are known, before keys and requests are made, which is
where the work is. Row numbers stay those of the whole list.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import polars as pl

from importer.intake.splitting import Split
from importer.shards import Shard, shard_column


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """What one shard keeps of a chunk. **Units**: `elsewhere_rows` belong to other shards."""

    split: Split
    elsewhere_rows: int = 0


def share(split: Split, shard: Shard | None) -> Share:
    """The rows of a shard; all of them where the list is not sharded.

    **Law** `test_every_row_belongs_to_just_one_shard`.
    """
    if shard is None:
        return Share(split=split)
    chunk, judged = split.chunk, split.judged
    place = place_of(chunk.file_no, chunk.row_nos)
    told = pl.when(judged["reason"].is_null()).then(judged["e164"]).otherwise(place)
    is_own = pl.select(shard_column(told, shard.of) == shard.number).to_series()
    is_own_bad = pl.select(shard_column(pl.lit(place_of(chunk.file_no, chunk.bad["row_no"])), shard.of) == shard.number)
    own = replace(
        chunk,
        rows=chunk.rows.filter(is_own),
        row_nos=chunk.row_nos.filter(is_own),
        bad=chunk.bad.filter(is_own_bad.to_series()),
    )
    elsewhere = chunk.rows.height + chunk.bad.height - own.rows.height - own.bad.height
    return Share(split=replace(split, chunk=own, judged=judged.filter(is_own)), elsewhere_rows=elsewhere)


def place_of(file_no: int, row_nos: pl.Series) -> pl.Series:
    """`FILE:ROW` of each, files counted from 0."""
    return f"{file_no}:" + row_nos.cast(pl.String)
