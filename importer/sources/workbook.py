"""XLSX and XLS: one worksheet as text columns, by fastexcel. Floor "sources".

Every cell is asked for as text. A numeric cell of up to 15 digits comes out exactly (79161234567, not 7.9E+10);
longer ones were already damaged by the spreadsheet, which keeps 15. An empty cell, and a cell showing an error such
as #DIV/0!, is null. A worksheet has a million rows at most, so it is held whole, and guarded by size before that.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from typing import Final

import polars as pl

from importer.errors import ListProblem
from importer.sources.bytestream import RATIO_FREE_BYTES, Digest, new_digest, raw_blocks
from importer.sources.delimited import disagreement
from importer.sources.dialect import check_width, column_names, looks_like_phone
from importer.sources.guard import GUARD_SIGN, unguarded, unguarded_names
from importer.sources.opening import LocalFile
from importer.sources.records import Piece, ReadOptions, Shape, Tally
from importer.sources.sifting import sifted
from importer.sources.translation import polars_translated

SLICE_ROWS: Final = 100_000
ZIP_MAGIC: Final = b"PK\x03\x04"
BOMB_FACTOR: Final = 4  # XML text is several times the size of the cells in it


def workbook_shape(file: LocalFile, kind: str, options: ReadOptions) -> Shape:
    """Worksheet and columns; a column with neither heading nor cells is a trace of formatting and is left out."""
    sheet, cells = _loaded(file, options, new_digest())
    filled = cells.filter(~_is_blank())
    if not filled.height:
        raise ListProblem(
            f"worksheet {sheet!r} of {file.name} is empty", hint="Name the worksheet that holds the list with --sheet."
        )
    first = filled.row(0)
    seems_data = any(looks_like_phone(cell or "") for cell in first)
    has_header = not seems_data if options.has_header is None else options.has_header
    headings = list(first) if has_header else [None] * cells.width
    names = unguarded_names(column_names(headings, file.name))
    kept = [not _is_unused(cells[:, index], headings[index]) for index in range(cells.width)]
    check_width(sum(kept), options, file.name)
    return Shape(
        format=kind,
        names=tuple(name for name, is_kept in zip(names, kept, strict=True) if is_kept),
        has_header=has_header,
        sheet=sheet,
        kept=tuple(kept),
    )


def _is_unused(cells: pl.Series, heading: str | None) -> bool:
    return not heading and bool((cells.fill_null("") == "").all())


def _is_blank() -> pl.Expr:
    return pl.all_horizontal(pl.all().fill_null("") == "")


class WorkbookReader:
    """Reads one worksheet. **Law**: header, rows and blank rows together are as many as the sheet is high.

    The height comes from the same engine as the cells, so this witness is weaker than those of the other formats.
    """

    def __init__(self, file: LocalFile, shape: Shape, options: ReadOptions) -> None:
        self._file = file
        self._shape = shape
        self._options = options

    def pieces(self, first_row_no: int, tally: Tally) -> Iterator[Piece]:
        """The rows from `first_row_no` on; the whole sheet is counted into `tally`."""
        digest = new_digest()
        _, cells = _loaded(self._file, self._options, digest)
        row_no = pl.int_range(1, cells.height + 1, dtype=pl.Int64, eager=True)
        filled = ~cells.select(_is_blank()).to_series()
        data = filled & (row_no != row_no.filter(filled)[0]) if self._shape.has_header else filled
        tally.sha256 = digest.hexdigest()
        tally.witness_rows = int(data.sum())
        wanted = data & (row_no >= first_row_no)
        tally.read_rows = tally.witness_rows - int(wanted.sum())
        rows, row_nos = self._named(cells.filter(wanted)), row_no.filter(wanted).alias("row_no")
        for start in range(0, rows.height, SLICE_ROWS):
            piece = sifted(rows.slice(start, SLICE_ROWS), row_nos.slice(start, SLICE_ROWS), self._options)
            tally.read_rows += piece.rows.height + piece.bad.height
            yield piece

    def _named(self, cells: pl.DataFrame) -> pl.DataFrame:
        kept = [column for column, is_kept in zip(cells.columns, self._shape.kept, strict=True) if is_kept]
        rows = cells.select(kept)
        rows.columns = list(self._shape.names)
        return unguarded(rows) if GUARD_SIGN in rows.columns else rows


def _loaded(file: LocalFile, options: ReadOptions, digest: Digest) -> tuple[str, pl.DataFrame]:
    """The worksheet's name and all its rows, blank ones included, as text."""
    import fastexcel  # only spreadsheets pay for it

    if file.stamp.size_bytes > options.max_workbook_bytes:
        raise ListProblem(f"{file.name} is larger than {options.max_workbook_bytes} bytes", hint="Save it as CSV.")
    with file.opened() as stream:
        content = b"".join(raw_blocks(stream, digest))
    _check_bomb(content, file, options)
    try:
        book = fastexcel.read_excel(content)
        sheet = _sheet_name(book.sheet_names, options.sheet, file.name)
        loaded = book.load_sheet(sheet, header_row=None, skip_rows=0, dtypes="string")
        with polars_translated(file.name):
            cells = loaded.to_polars()
    except fastexcel.FastExcelError as cause:
        raise ListProblem(
            f"{file.name} cannot be read as a workbook: {str(cause).splitlines()[0]}",
            hint="If it asks for a password, save a copy without one; otherwise save it anew, or as CSV.",
        ) from cause
    if cells.height != loaded.total_height:
        raise disagreement(file.name, counted=loaded.total_height, parsed=cells.height)
    return sheet, cells


def _sheet_name(names: Sequence[str], wanted: str | None, name: str) -> str:
    if wanted is None and names:
        return names[0]
    if wanted is not None and wanted in names:
        return wanted
    raise ListProblem(
        f"{name} has no worksheet {wanted!r}" if wanted else f"{name} has no worksheets",
        hint="Its worksheets: " + ", ".join(map(repr, names)) + ".",
    )


def _check_bomb(content: bytes, file: LocalFile, options: ReadOptions) -> None:
    """Refuse a zipped workbook that says it unpacks to absurd sizes."""
    if not content.startswith(ZIP_MAGIC):
        return
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            unpacked_bytes = sum(entry.file_size for entry in archive.infolist())
    except zipfile.BadZipFile as cause:
        raise ListProblem(f"{file.name} is a damaged workbook", hint="Save it anew, or fetch it again.") from cause
    is_dense = unpacked_bytes > RATIO_FREE_BYTES and unpacked_bytes > options.max_ratio * len(content)
    if is_dense or unpacked_bytes > BOMB_FACTOR * options.max_workbook_bytes:
        raise ListProblem(
            f"{file.name} unpacks to {unpacked_bytes} bytes, which looks like a decompression bomb",
            hint="If the workbook is honest, save the list as CSV.",
        )
