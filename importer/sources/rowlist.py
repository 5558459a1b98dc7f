"""Opening a list and walking it: what each file is, the columns they share, and chunks of even size.

Floor "sources". The list is walked the same way whether from its start or from a position in the middle: a resumed
reading still reads everything before the position, so that counts and hashes always tell of whole files.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import polars as pl

from importer.errors import ListProblem, UsageProblem
from importer.sources.apart import Apart, Here, Opener
from importer.sources.dialect import check_characters
from importer.sources.formats import Reader
from importer.sources.guard import is_own
from importer.sources.opening import LocalFile, content_sha256, find_files, is_unedited
from importer.sources.query import answered
from importer.sources.records import Chunk, FileCount, FileInfo, Piece, Position, ReadOptions, Shape, Stamped, Tally
from importer.sources.remote import Connect, connected, fetched
from importer.sources.spooling import Source, remove_spools, spool_file

PAST_THE_END = sys.maxsize
MOST_BAD_ROWS = 100_000  # so many rows that cannot be read are borne,
MOST_BAD_TO_GOOD = 9  # and more of them only among good ones


class RowList:
    """An opened list. **Law**: rows and row numbers are the same whatever `chunk_rows` is and wherever one starts."""

    def __init__(
        self,
        *,
        files: Sequence[LocalFile],
        infos: Sequence[FileInfo],
        shapes: Sequence[Shape],
        readers: Sequence[Reader],
        chunk_rows: int,
        opener: Opener,
    ) -> None:
        self.files = tuple(infos)
        self.columns = tuple(dict.fromkeys(column for info in infos for column in info.columns))
        self._local = files
        self._shapes = shapes
        self._readers = readers
        self._chunk_rows = chunk_rows
        self._opener = opener
        self._counts: tuple[FileCount, ...] | None = None

    @property
    def counts(self) -> tuple[FileCount, ...]:
        """What each file held. **Errors**: RuntimeError (a bug) before `chunks` was walked to its end."""
        if self._counts is None:
            raise RuntimeError("counts are known once chunks() has been read to its end")
        return self._counts

    def chunks(self, start: Position | None = None, *, most_rows: int | None = None) -> Iterator[Chunk]:
        """The rows from `start` on, in order, in chunks of at most `chunk_rows` rows of one file, or of fewer if asked.

        **Errors**: ListProblem as soon as the list proves unreadable; what was already given must then be dropped.
        """
        self._counts = None
        counts: list[FileCount] = []
        chunk_rows = min(self._chunk_rows, most_rows or self._chunk_rows)
        for file_no, reader in enumerate(self._readers):
            tally = Tally()
            pieces = reader.pieces(_first_row_no(start, file_no), tally)
            for piece in even_pieces(_bearable(pieces, self.files[file_no].name), chunk_rows):
                rows = aligned(piece.rows, self.columns)
                yield Chunk(file_no=file_no, rows=rows, row_nos=piece.row_nos, bad=piece.bad)
            counts.append(self._agreed(file_no, tally))
        self._counts = tuple(counts)

    def _agreed(self, file_no: int, tally: Tally) -> FileCount:
        if tally.read_rows != tally.witness_rows:
            raise ListProblem(
                f"{self.files[file_no].name}: {tally.read_rows} rows were read, but it holds {tally.witness_rows}",
                hint="Nothing was sent from it. Save the list anew and try that.",
            )
        return FileCount(
            file_no=file_no, read_rows=tally.read_rows, witness_rows=tally.witness_rows, sha256=tally.sha256
        )

    @property
    def opened(self) -> tuple[tuple[LocalFile, FileInfo, Shape], ...]:
        """Each file, and what opening it found out."""
        return tuple(zip(self._local, self.files, self._shapes, strict=True))

    def is_same_content(self, file_no: int, stamp: Stamped, sha256: str | None) -> bool:
        """Whether a file is one of this stamp, else of this content, where that is known."""
        info = self.files[file_no]
        if not info.is_spooled and is_unedited(stamp, info.path):
            return True
        return sha256 is not None and sha256 == content_sha256(info.path)

    def close(self) -> None:
        """Delete the private copies, and end whoever reads for us; the list cannot be read again."""
        self._opener.close()
        remove_spools(self._local)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_list(
    names: Sequence[str],
    options: ReadOptions | None = None,
    *,
    stdin: BinaryIO,
    spool_dir: Path,
    connect: Connect = connected,
    opener: Opener | None = None,
) -> RowList:
    """The list behind the names: files, patterns, partitioned Parquet directories, pipes, addresses, "-" for `stdin`.

    Opening reads the head of each file (all of a pipe or a remote object) and settles format, encoding, delimiter,
    header and columns. `connect` gives the file system of a remote store; `opener` reads the files: unless said, a
    child reads the binary ones.
    **Errors**: ListProblem with what, where and the next step; UsageProblem for impossible options.
    """
    chosen = options or ReadOptions()
    check_options(chosen)

    def spool(name: str, stream: Source) -> LocalFile:
        return spool_file(name, stream, spool_dir=spool_dir, max_spool_bytes=chosen.max_spool_bytes)

    def fetch(address: str) -> list[LocalFile]:
        return fetched(address, chosen, spool, connect)

    if chosen.query is not None:
        answer = [answered(chosen.query, chosen, spool_dir)]  # a file of our own making: read it here
        return _read(answer, replace(chosen, format="parquet"), opener or Here())
    return _read(find_files(names, stdin=stdin, spool=spool, fetch=fetch), chosen, opener or Apart())


def _read(files: Sequence[LocalFile], options: ReadOptions, opener: Opener) -> RowList:
    """The list of these files; its private copies are removed if one of them cannot be read."""
    try:
        opened = [_opened(file, options, opener) for file in files]
        infos = [
            _info(file_no, file, shape) for file_no, (file, (shape, _)) in enumerate(zip(files, opened, strict=True))
        ]
        return RowList(
            files=files,
            infos=infos,
            shapes=[shape for shape, _ in opened],
            readers=[reader for _, reader in opened],
            chunk_rows=options.chunk_rows,
            opener=opener,
        )
    except BaseException:
        opener.close()
        remove_spools(files)
        raise


def _opened(file: LocalFile, options: ReadOptions, opener: Opener) -> tuple[Shape, Reader]:
    shape, reader = opener.open(file, options)
    return (shape if options.query is None else replace(shape, format="sql")), reader


def check_options(options: ReadOptions) -> None:
    """Raise UsageProblem for options that no list can be read with."""
    check_characters(options)
    for what in ("chunk_rows", "max_cell_bytes", "max_columns", "max_ratio", "max_unpacked_bytes", "max_spool_bytes"):
        if getattr(options, what) < 1:
            raise UsageProblem(f"{what} must be at least 1")


def _info(file_no: int, file: LocalFile, shape: Shape) -> FileInfo:
    columns = tuple(column for column in shape.names if not is_own(column))
    if not columns:
        raise ListProblem(f"{file.name} has no columns of its own", hint="Name the list itself, not a report about it.")
    return FileInfo(
        file_no=file_no,
        name=file.name,
        path=Path(os.path.realpath(file.path)),
        format=shape.format,
        compression=shape.compression,
        encoding=shape.encoding,
        delimiter=shape.delimiter,
        quote=shape.quote,
        has_header=shape.has_header,
        sheet=shape.sheet,
        columns=columns,
        size_bytes=file.stamp.size_bytes,
        mtime_ns=file.stamp.mtime_ns,
        ctime_ns=file.stamp.ctime_ns,
        inode=file.stamp.inode,
        is_spooled=file.is_spooled,
        version=file.version,
    )


def aligned(rows: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """The list's columns in the list's order; null where this file has no such column."""
    present = set(rows.columns)
    return rows.select(
        pl.col(column) if column in present else pl.lit(None, dtype=pl.String).alias(column) for column in columns
    )


def _first_row_no(start: Position | None, file_no: int) -> int:
    if start is None or file_no > start.file_no:
        return 0
    return start.row_no if file_no == start.file_no else PAST_THE_END


def _bearable(pieces: Iterator[Piece], name: str) -> Iterator[Piece]:
    """The same pieces. **Errors**: ListProblem for a file that is hardly a list, before its every line is a bad row."""
    good_rows = bad_rows = 0
    first: pl.DataFrame | None = None
    for piece in pieces:
        good_rows += piece.rows.height
        bad_rows += piece.bad.height
        first = piece.bad[:1] if first is None and piece.bad.height else first
        told = "" if first is None else f", beginning with row {first['row_no'][0]}: {first['explanation'][0]}"
        judge_bearable(name, good_rows, bad_rows, told)
        yield piece


def judge_bearable(name: str, good_rows: int, bad_rows: int, told: str = "") -> None:
    """**Errors**: ListProblem for a file with so many rows that cannot be read, among so few that can."""
    if bad_rows > MOST_BAD_ROWS and bad_rows > MOST_BAD_TO_GOOD * good_rows:
        raise ListProblem(
            f"{name} is hardly a list: {bad_rows} of its first {good_rows + bad_rows} rows cannot be read{told}",
            hint="Nothing was sent from it. Name the right --delimiter, --quote or --encoding, or repair that row.",
        )


def even_pieces(pieces: Iterator[Piece], chunk_rows: int) -> Iterator[Piece]:
    """The same rows, cut into pieces of `chunk_rows` records (good and bad together); the last may be shorter."""
    pending: list[Piece] = []
    for piece in pieces:
        pending.append(piece)
        if sum(map(_size_rows, pending)) < chunk_rows:
            continue
        whole = _merged(pending)
        while _size_rows(whole) >= chunk_rows:
            head, whole = _cut(whole, chunk_rows)
            yield head
        pending = [whole]
    if any(map(_size_rows, pending)):
        yield _merged(pending)


def _size_rows(piece: Piece) -> int:
    return piece.rows.height + piece.bad.height


def _merged(pieces: Sequence[Piece]) -> Piece:
    if len(pieces) == 1:
        return pieces[0]
    return Piece(
        rows=pl.concat([piece.rows for piece in pieces]),
        row_nos=pl.concat([piece.row_nos for piece in pieces]),
        bad=pl.concat([piece.bad for piece in pieces]),
    )


def _cut(piece: Piece, size_rows: int) -> tuple[Piece, Piece]:
    """The first `size_rows` records and the rest, by row number."""
    good = size_rows
    if piece.bad.height:
        last_row_no = pl.concat([piece.row_nos, piece.bad["row_no"]]).sort()[size_rows - 1]
        good = int((piece.row_nos <= last_row_no).sum())
    bad = size_rows - good
    head = Piece(rows=piece.rows[:good], row_nos=piece.row_nos[:good], bad=piece.bad[:bad])
    return head, Piece(rows=piece.rows[good:], row_nos=piece.row_nos[good:], bad=piece.bad[bad:])
