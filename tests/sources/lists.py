"""Lists for these tests: written to real files, read back whole."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from importer.sources import Position, ReadOptions, RowList, open_list
from importer.sources.apart import Here


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A list read to its end."""

    rows: list[tuple[str | None, ...]]
    row_nos: list[int]
    bad: list[tuple[int, str | None, str]]
    read_rows: int
    witness_rows: int
    sha256: str
    columns: tuple[str, ...]

    @property
    def reasons(self) -> dict[int, str]:
        return {row_no: reason for row_no, _, reason in self.bad}


def opened(path: Path | str, *names: str, stdin: bytes = b"", **options: Any) -> RowList:
    spool_dir = Path(path).parent / "spool"
    return open_list(
        [str(path), *names], ReadOptions(**options), stdin=io.BytesIO(stdin), spool_dir=spool_dir, opener=Here()
    )


def walked(rows: RowList, start: Position | None = None) -> Reading:
    chunks = list(rows.chunks(start))
    assert all(chunk.rows.columns == list(rows.columns) for chunk in chunks)
    assert all(chunk.rows.height == len(chunk.row_nos) for chunk in chunks)
    return Reading(
        rows=[row for chunk in chunks for row in chunk.rows.rows()],
        row_nos=[row_no for chunk in chunks for row_no in chunk.row_nos.to_list()],
        bad=[row[:3] for chunk in chunks for row in chunk.bad.rows()],
        read_rows=sum(count.read_rows for count in rows.counts),
        witness_rows=sum(count.witness_rows for count in rows.counts),
        sha256=rows.counts[0].sha256,
        columns=rows.columns,
    )


def read(path: Path, data: bytes, **options: Any) -> Reading:
    path.write_bytes(data)
    return read_file(path, **options)


def read_file(path: Path, **options: Any) -> Reading:
    with opened(path, **options) as rows:
        return walked(rows)


def workbook(path: Path, sheets: dict[str, list[list[object]]], *, first_row: int = 1) -> Path:
    """A minimal XLSX: str becomes an inline string, a number a numeric cell, a bool a boolean, None no cell."""
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    relations = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    kinds = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    numbers = range(1, len(sheets) + 1)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as book:
        overrides = "".join(
            f'<Override PartName="/xl/worksheets/sheet{n}.xml" ContentType="{kinds}.worksheet+xml"/>' for n in numbers
        )
        book.writestr(
            "[Content_Types].xml",
            f'<Types xmlns="{package}/content-types"><Default Extension="rels" '
            f'ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml" '
            f'ContentType="application/xml"/><Override PartName="/xl/workbook.xml" '
            f'ContentType="{kinds}.sheet.main+xml"/>{overrides}</Types>',
        )
        book.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1" '
            f'Type="{relations}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        )
        named = "".join(
            f'<sheet name="{escape(name)}" sheetId="{n}" r:id="r{n}"/>' for n, name in zip(numbers, sheets, strict=True)
        )
        book.writestr(
            "xl/workbook.xml", f'<workbook xmlns="{main}" xmlns:r="{relations}"><sheets>{named}</sheets></workbook>'
        )
        targets = "".join(
            f'<Relationship Id="r{n}" Type="{relations}/worksheet" Target="worksheets/sheet{n}.xml"/>' for n in numbers
        )
        book.writestr(
            "xl/_rels/workbook.xml.rels", f'<Relationships xmlns="{package}/relationships">{targets}</Relationships>'
        )
        for n, rows in zip(numbers, sheets.values(), strict=True):
            lines = "".join(_row(number, row) for number, row in enumerate(rows, first_row))
            book.writestr(
                f"xl/worksheets/sheet{n}.xml", f'<worksheet xmlns="{main}"><sheetData>{lines}</sheetData></worksheet>'
            )
    return path


def _row(number: int, cells: list[object]) -> str:
    made = "".join(_cell(f"{chr(ord('A') + at)}{number}", cell) for at, cell in enumerate(cells) if cell is not None)
    return f'<row r="{number}">{made}</row>'


def _cell(place: str, cell: object) -> str:
    if isinstance(cell, bool):
        return f'<c r="{place}" t="b"><v>{int(cell)}</v></c>'
    if isinstance(cell, str):
        return f'<c r="{place}" t="inlineStr"><is><t xml:space="preserve">{escape(cell)}</t></is></c>'
    return f'<c r="{place}"><v>{cell!r}</v></c>'
