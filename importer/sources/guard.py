"""Undoing the spreadsheet guard of our own rejects files. Floor "sources".

A CSV that we write puts one apostrophe before a cell that starts with = + - @ TAB CR or an apostrophe, so that no
spreadsheet runs it as a formula. Since an apostrophe is itself guarded, taking exactly one off is exact. It is done
only where the column `importer_reason` shows that the file is ours; in any other list an apostrophe is data.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import polars as pl

OWN_PREFIX: Final = "importer_"
GUARD_SIGN: Final = "importer_reason"


def unguarded(rows: pl.DataFrame) -> pl.DataFrame:
    """The cells as they were before they were guarded."""
    return rows.with_columns(pl.all().str.strip_prefix("'"))


def unguarded_names(names: Sequence[str]) -> tuple[str, ...]:
    """Column names as they were before they were guarded, in a file of ours; the names themselves in any other."""
    return tuple(name.removeprefix("'") for name in names) if GUARD_SIGN in names else tuple(names)


def is_own(column: str) -> bool:
    """Whether a column is one that our rejects file added: dropped on reading, so that keys do not change."""
    return column.startswith(OWN_PREFIX)
