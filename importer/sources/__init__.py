"""Reading lists: files, globs, directories and standard input in; text columns, row numbers and bad rows out.

Floor "sources": it knows polars and nothing of phones, ledgers or the API. Every cell is text, as the list has it;
nothing is inferred, trimmed or dropped. A row that cannot be read as a record comes back as a bad row with its
number and reason, and every file is counted twice, by two pieces of code that share nothing but the bytes.
"""

from importer.sources.addresses import scheme_of, shown_name
from importer.sources.opening import content_sha256, is_unedited
from importer.sources.query import query_name
from importer.sources.records import (
    Chunk,
    FileCount,
    FileInfo,
    LeftOut,
    Position,
    Query,
    ReadOptions,
    Stamped,
    Tally,
)
from importer.sources.rowlist import RowList, open_list

__all__ = [
    "Chunk",
    "FileCount",
    "FileInfo",
    "LeftOut",
    "Position",
    "Query",
    "ReadOptions",
    "RowList",
    "Stamped",
    "Tally",
    "content_sha256",
    "is_unedited",
    "open_list",
    "query_name",
    "scheme_of",
    "shown_name",
]
