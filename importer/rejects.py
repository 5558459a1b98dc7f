"""The rejects file: every row that was not used, with its reason, ready to be repaired and fed back.

Floor: beside intake. Original columns come first and untouched; ours follow under names that begin with `importer_`,
which the reader drops again. A newcomer may question the apostrophes: a spreadsheet runs a cell that begins with = + -
or @ as a formula, so such cells get one in front, and reading our own file back takes exactly one away.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from importer.machine import write_private

OUR_COLUMNS = ("importer_file", "importer_row", "importer_column", "importer_reason", "importer_explanation")
_RAW = "importer_raw"
_GUARDED = ("=", "+", "-", "@", "\t", "\r", "'")

Reject = tuple[int, int, str | None, str, str, str]


def write_rejects(
    path: Path, rejects: Iterable[Reject], columns: Sequence[str], file_names: Sequence[str]
) -> Path | None:
    """Writes the rejects, 0600, and says where; None when there are none.

    An existing file with other content is never overwritten: the next free name `….2.csv` is taken instead.
    **Shapes**: `rejects` as the ledger gives them, in list order; `columns` are the list's.
    """
    content, rows = _as_csv(rejects, columns, file_names)
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
    for file_no, row_no, column, reason, explanation, cells in rejects:
        original = json.loads(cells)
        kept = [guarded(str(original.get(name) or "")) for name in columns]
        ours = [file_names[file_no], str(row_no), column or "", reason, explanation, str(original.get(_RAW) or "")]
        writer.writerow([*kept, *map(guarded, ours)])
        rows += 1
    return text.getvalue().encode(), rows


def guarded(cell: str) -> str:
    """A cell that no spreadsheet will run."""
    return f"'{cell}" if cell.startswith(_GUARDED) else cell


def _free_name(path: Path, content: bytes) -> Path:
    """The path, or the next one that is free or already holds just this."""
    number, target = 1, path
    while target.exists() and target.read_bytes() != content:
        number += 1
        target = path.with_name(f"{path.stem}.{number}{path.suffix}")
    return target
