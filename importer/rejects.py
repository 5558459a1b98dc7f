"""The rejects file: every row that was not used, with its reason, ready to be repaired and fed back.

Floor: beside intake. Original columns come first and untouched; ours follow under names that begin with `importer_`,
which the reader drops again. A newcomer may question the apostrophes: a spreadsheet runs a cell that begins with = + -
or @ as a formula, so such cells get one in front, and reading our own file back takes exactly one away.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from importer.machine import write_private

OUR_COLUMNS = ("importer_file", "importer_row", "importer_column", "importer_reason", "importer_explanation")
_RAW = "importer_raw"
# A cell that a spreadsheet may run: a formula's first sign, full-width too, behind whatever spreadsheets strip; and the
# apostrophe itself, so that taking one away is exact. Written so that Python and polars read it alike.
_STRIPPED = r"[\x00-\x20\x85\u00a0\u2000-\u200f\u2028-\u202f\u2060\u3000\ufeff]*"
RISKY_CELL = rf"^(?:'|[\t\r\n]|{_STRIPPED}[=+\-@\uff1d\uff0b\uff0d\uff20])"
_RISKY = re.compile(RISKY_CELL)

Reject = tuple[int, int, str | None, str, str, str]


def write_rejects(
    path: Path, rejects: Iterable[Reject], columns: Sequence[str], file_names: Sequence[str]
) -> Path | None:
    """Writes the rejects, 0600, and says where; None when there are none.

    A path that ends in `.parquet` makes a Parquet file, whose cells need no guard; any other a CSV. An existing file
    with other content is never overwritten: the next free name `….2.csv` is taken instead.
    **Shapes**: `rejects` as the ledger gives them, in list order; `columns` are the list's.
    """
    content, rows = (_as_parquet if path.suffix.lower() == ".parquet" else _as_csv)(rejects, columns, file_names)
    if not rows:
        return None
    target = _free_name(path, content)
    if not target.exists():
        write_private(target, content)
    return target


def _as_csv(rejects: Iterable[Reject], columns: Sequence[str], file_names: Sequence[str]) -> tuple[bytes, int]:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([guarded(name) for name in (*columns, *OUR_COLUMNS, _RAW)])
    rows = 0
    for line in _lines(rejects, columns, file_names):
        writer.writerow([guarded(cell or "") for cell in line])
        rows += 1
    return text.getvalue().encode(), rows


def _as_parquet(rejects: Iterable[Reject], columns: Sequence[str], file_names: Sequence[str]) -> tuple[bytes, int]:
    """All columns text; a cell that was not there is null, as it was in the list."""
    import polars as pl

    lines = list(_lines(rejects, columns, file_names))
    schema = dict.fromkeys((*columns, *OUR_COLUMNS, _RAW), pl.String)
    content = io.BytesIO()
    pl.DataFrame(lines, schema=schema, orient="row").write_parquet(content)
    return content.getvalue(), len(lines)


def _lines(rejects: Iterable[Reject], columns: Sequence[str], file_names: Sequence[str]) -> Iterator[list[str | None]]:
    """The original cells, then what we say about them, then the raw row where it could not be cut into cells."""
    for file_no, row_no, column, reason, explanation, cells in rejects:
        original = json.loads(cells)
        kept = [original.get(name) for name in columns]
        yield [*kept, file_names[file_no], str(row_no), column, reason, explanation, original.get(_RAW)]


def guarded(cell: str) -> str:
    """A cell that no spreadsheet will run."""
    return f"'{cell}" if _RISKY.match(cell) else cell


def _free_name(path: Path, content: bytes) -> Path:
    """The path, or the next one that is free or already holds just this."""
    number, target = 1, path
    while target.exists() and target.read_bytes() != content:
        number += 1
        target = path.with_name(f"{path.stem}.{number}{path.suffix}")
    return target
