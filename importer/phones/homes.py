"""Where the numbers of a column are dialled: all of them in one region, or each row's in a region of its own.

Floor: phones, pure. A newcomer may wonder why a column is not simply cut by region before anything is done: with two
hundred regions in a list every step would be taken two hundred times, so only what differs by region is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import phonenumbers
import polars as pl

from importer.phones.columns import NO_REGION, REGIONS, UNKNOWN_REGION

_HOME = pl.Enum((NO_REGION, UNKNOWN_REGION, *REGIONS))


@dataclass(frozen=True, kw_only=True, slots=True)
class Homes:
    """The region of every row: that of its row in `column`, else `region` for all. Neither holds anything unknown."""

    region: str = NO_REGION
    column: pl.Series | None = None

    def gather(self, rows: pl.Series) -> Homes:
        """Those of some rows."""
        return self if self.column is None else Homes(column=self.column.gather(rows))

    def groups(self, count: int) -> Iterator[tuple[str, pl.Series]]:
        """Every region with its rows, in order. **Shapes**: `count` is that of all rows."""
        if self.column is None:
            if count:
                yield self.region, pl.int_range(count, dtype=pl.UInt32, eager=True)
            return
        grouped = pl.DataFrame({"home": self.column}).with_row_index("row").group_by("home").agg("row")
        yield from zip(grouped["home"], grouped["row"], strict=True)

    def each(self, give: Callable[[str], str]) -> pl.Expr:
        """A word that depends on the region, for every row."""
        if self.column is None:
            return pl.lit(give(self.region))
        words = {home: give(home) for home in self.column.unique()}
        return pl.lit(self.column.replace_strict(words, return_dtype=pl.String))


def homes_of(named: pl.Series | None, default: str | None) -> Homes:
    """Homes from what a list says: a name for every row, in any case; an empty one is the default."""
    if named is None:
        return Homes(region=default or NO_REGION)
    name = pl.col("name").str.strip_chars().str.to_uppercase()
    home = (
        pl.when(name == "")
        .then(pl.lit(default or NO_REGION))
        .when(name.is_in(sorted(phonenumbers.SUPPORTED_REGIONS)))
        .then(name)
        .otherwise(pl.lit(UNKNOWN_REGION))
    )
    names = pl.DataFrame({"name": named.cast(pl.String).fill_null("")})
    return Homes(column=names.select(home.cast(_HOME)).to_series())
