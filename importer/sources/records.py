"""What a reading takes and gives: options, positions, file facts, chunks and counts. Floor "sources".

Row numbers are those a person sees: the first record of a file is row 1, so with a header the first data row is 2.
Records are numbered, not physical lines (a quoted cell may hold line ends), and blank lines are skipped but keep
their number, so that row 48,123 here is row 48,123 in a spreadsheet. Parquet has no header row: its first row is 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import polars as pl

MIB: Final = 1 << 20

BAD_SCHEMA: Final = pl.Schema(
    {
        "row_no": pl.Int64(),
        "column": pl.String(),
        "reason": pl.String(),
        "explanation": pl.String(),
        "raw": pl.String(),
    }
)

RAW_CHARS: Final = 4_096  # what a bad row shows of itself: enough to repair it, never a 100 MB cell


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """A question to a database, whose answer is the list. `db` is an address, perhaps with a password: never shown."""

    sql: str
    db: str = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadOptions:
    """How to read a list. None means: found out from the file.

    `quote` "" means that the list has no quoting. `max_cell_bytes` bounds one cell, and in text one whole record,
    in UTF-8; a longer one is a bad row. `max_ratio` (output bytes per packed byte, once 64 MiB are unpacked),
    `max_unpacked_bytes` and `max_workbook_bytes` are the guards against bombs; raise them for an honest giant.
    `storage_options` go to the remote store as they are; they may hold secrets and are never shown.
    With a `query` the list is its answer, whatever names are given.
    """

    format: str | None = None
    encoding: str | None = None
    delimiter: str | None = None
    quote: str | None = None
    has_header: bool | None = None
    sheet: str | None = None
    chunk_rows: int = 65_536
    max_cell_bytes: int = MIB
    max_columns: int = 2_000
    max_ratio: int = 200
    max_unpacked_bytes: int = 256 * 1024 * MIB
    max_workbook_bytes: int = 1024 * MIB
    max_spool_bytes: int = 64 * 1024 * MIB
    storage_options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    is_plain_http_fine: bool = False
    query: Query | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Position:
    """The first row still to deliver: the file's index in `RowList.files` and the row number in it."""

    file_no: int
    row_no: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """A stretch of a file. **Units**: bytes of text that is not packed, rows of Parquet; None is the file's end."""

    start: int = 0
    end: int | None = None


WHOLE: Final = Span()


@dataclass(frozen=True, kw_only=True, slots=True)
class FileInfo:
    """One file of a list: how it was asked for, how it is read, and what would show that it is unedited.

    `columns` are those delivered: columns named `importer_…` are ours and already left out.
    `encoding`, `delimiter`, `quote` are None where the format has no such thing; `quote` is "" for no quoting.
    `sheet` is the worksheet read. A spooled file (standard input, a pipe, a copy of a remote object) lives only until
    the list is closed; `version` is what the remote store said of it.
    """

    file_no: int
    name: str
    path: Path
    format: str
    compression: str | None
    encoding: str | None
    delimiter: str | None
    quote: str | None
    has_header: bool
    sheet: str | None
    columns: tuple[str, ...]
    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    is_spooled: bool
    version: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftOut:
    """Rows that a chunk stands for and does not hold, because they belong to other shards.

    `more_rows` would be made of their cells with several numbers. The chunk ends at `last_row_no`, whoever's row it is.
    """

    rows: int = 0
    more_rows: int = 0
    last_row_no: int = 0


NOTHING_LEFT_OUT: Final = LeftOut()


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """Consecutive rows of one file.

    **Shapes**: `rows` has the list's columns, all String; null only where the source has a true null, or where this
    file lacks a column that another file of the list has. `row_nos` (Int64) runs beside it. `bad` holds
    the rows that could not be read as records: row_no Int64, column, reason, explanation, raw String.
    """

    file_no: int
    rows: pl.DataFrame
    row_nos: pl.Series
    bad: pl.DataFrame
    left_out: LeftOut = NOTHING_LEFT_OUT


@dataclass(frozen=True, kw_only=True, slots=True)
class FileCount:
    """What one file held, known when it has been read to its end.

    `read_rows` is good and bad rows as parsed; `witness_rows` is the independent count (a record scanner, a Parquet
    footer); `sha256` is that of the file's own bytes, packed if it is packed. Rows before a start position count too.
    """

    file_no: int
    read_rows: int
    witness_rows: int
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A run of rows as a format reader gives them, before they are cut into chunks; columns as in the file."""

    rows: pl.DataFrame
    row_nos: pl.Series
    bad: pl.DataFrame


@dataclass(kw_only=True, slots=True)
class Tally:
    """The running count of one file, or of a span of it; complete when its reader is exhausted.

    `last_row_no` is the last row number taken, by a blank line too; `is_open` says that a span ends inside a record.
    Both are told of text alone, and in a span rows are numbered from its start.
    """

    read_rows: int = 0
    witness_rows: int = 0
    sha256: str = ""
    last_row_no: int = 0
    is_open: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """What opening a file finds out about it. `names` are all its columns, `importer_…` included.

    `kept` says, for a worksheet, which of its columns those are; `rows`, for Parquet, how many its footer tells of.
    """

    format: str
    names: tuple[str, ...]
    compression: str | None = None
    encoding: str | None = None
    delimiter: str | None = None
    quote: str | None = None
    has_header: bool = False
    sheet: str | None = None
    kept: tuple[bool, ...] = ()
    rows: int = 0


def where(frame: pl.DataFrame, is_kept: pl.Series) -> pl.DataFrame:
    """The rows where it is so. Nearly always all of them are, and copying a block costs more than to ask."""
    return frame if is_kept.all() else frame.filter(is_kept)


def empty_bad() -> pl.DataFrame:
    """No bad rows, in the right shape."""
    return pl.DataFrame(schema=BAD_SCHEMA)


def shown(raw: str) -> str:
    """The text of a bad row, cut to what a person can use."""
    return raw if len(raw) <= RAW_CHARS else raw[:RAW_CHARS] + "…"


class Stamped(Protocol):
    """Anything that remembers what a file looked like when it was read."""

    @property
    def size_bytes(self) -> int:
        """Its size."""

    @property
    def mtime_ns(self) -> int:
        """When its content last changed."""

    @property
    def ctime_ns(self) -> int:
        """When anything about it last changed."""

    @property
    def inode(self) -> int:
        """Its number in the file system."""
