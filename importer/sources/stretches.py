"""A list cut into stretches that several processes read apart, each only its own. Floor "sources".

Text is cut where a line ends, Parquet by rows; what is packed, or of many rows to a page, is a stretch as a whole. A
newcomer may question that no count of quotes decides where a record may be cut: a stray quote would mislead it. A cut
is chosen by what stands around it and believed only once the scanner, coming from before, reached it between records.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import polars as pl

from importer.errors import ListProblem
from importer.sources.apart import Opener
from importer.sources.bytestream import UTF8_NAMES, from_the_middle, new_digest, raw_blocks
from importer.sources.encodings import LEGACY
from importer.sources.formats import SpanReader
from importer.sources.guard import is_own
from importer.sources.opening import LocalFile, Stamp, content_sha256, translated
from importer.sources.records import WHOLE, Chunk, FileInfo, ReadOptions, Shape, Span, Tally
from importer.sources.rowlist import RowList, aligned
from importer.sources.scanner import Grammar, RecordScanner

# One byte of these that looks like a line feed is one, and no text depends on what stands before it.
CUTTABLE: Final = (*UTF8_NAMES, *(codecs.lookup(name).name for name in LEGACY))
PARQUET_PACKING: Final = 4  # a byte of it is about so many of text
WINDOW_BYTES: Final = 256 * 1024
TRIED_LINES: Final = 64
TELLING_LINES: Final = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Stretch:
    """A file of a list, or a span of it, to be read by itself; `file` is as it was on the machine that cut it."""

    file: LocalFile
    info: FileInfo
    span: Span = WHOLE


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """A list as it was opened, and the stretches it falls into, in its order."""

    files: tuple[FileInfo, ...]
    columns: tuple[str, ...]
    stretches: tuple[Stretch, ...]


def layout_of(row_list: RowList, options: ReadOptions, *, stretch_bytes: int) -> Layout | None:
    """Cuts a list into stretches of about so many bytes. None for private copies, which only this process has."""
    if any(info.is_spooled for info in row_list.files):
        return None
    stretches = [
        Stretch(file=file, info=info, span=span)
        for file, info, shape in row_list.opened
        for span in _spans(file, info, shape, options, stretch_bytes)
    ]
    return Layout(files=row_list.files, columns=row_list.columns, stretches=tuple(stretches))


def _spans(file: LocalFile, info: FileInfo, shape: Shape, options: ReadOptions, stretch_bytes: int) -> list[Span]:
    is_parquet = info.format == "parquet"
    pieces = -(-info.size_bytes * (PARQUET_PACKING if is_parquet else 1) // stretch_bytes)
    if is_parquet:
        cuts = [shape.rows * piece // pieces for piece in range(1, pieces)]
    elif info.format == "csv" and info.compression is None and info.encoding in CUTTABLE:
        targets = [info.size_bytes * piece // pieces for piece in range(1, pieces)]
        cuts = list(_likely_cuts(file, info, len(shape.names), options, targets))
    else:
        cuts = []
    distinct = sorted({cut for cut in cuts if cut > 0})
    return [Span(start=start, end=end) for start, end in zip([0, *distinct], [*distinct, None], strict=True)]


def _likely_cuts(
    file: LocalFile, info: FileInfo, width: int, options: ReadOptions, targets: Sequence[int]
) -> Iterator[int]:
    """Behind each target the first place where a record seems to begin."""
    grammar = Grammar(delimiter=info.delimiter or "", quote=info.quote or "")
    with file.opened() as stream:
        for target in targets:
            stream.seek(target)
            window = stream.read(WINDOW_BYTES)
            at = _likely_start(window, grammar, width, info.encoding or "utf-8", options)
            if at and target + at < info.size_bytes:
                yield target + at


def _likely_start(window: bytes, grammar: Grammar, width: int, encoding: str, options: ReadOptions) -> int:
    """Where the first line begins from which on whole records of the list's width stand; else the first line; else 0.

    A wrong guess costs a second reading, and nothing else.
    """
    lines = window[: window.rfind(b"\n") + 1].split(b"\n")[:-1]
    at, starts = 0, []
    for line in lines:
        at += len(line) + 1
        starts.append(at)
    for place, start in enumerate(starts[:TRIED_LINES], start=1):
        following = lines[place : place + TELLING_LINES]
        if following and _are_records(b"\n".join(following) + b"\n", grammar, width, encoding, options):
            return start
    return starts[0] if starts else 0


def _are_records(data: bytes, grammar: Grammar, width: int, encoding: str, options: ReadOptions) -> bool:
    scanner = RecordScanner(grammar, max_record_bytes=options.max_cell_bytes, width=width)
    records = pl.concat(list(scanner.scan_some(from_the_middle(iter([data]), encoding))))
    is_sound = records.select((pl.col("flaw").is_null() & (pl.col("fields") == width)).all()).item()
    return bool(records.height and is_sound and not scanner.is_open)


# --- reading one ------------------------------------------------------------------------------------------------------


def read_stretch(
    stretch: Stretch, columns: Sequence[str], options: ReadOptions, opener: Opener, tally: Tally
) -> Iterator[Chunk]:
    """The rows of a stretch; all but those of Parquet are numbered from where it begins.

    **Shapes**: chunks of the list's `columns`; `tally` counts the stretch alone, and has the hash of its bytes. A span
    of Parquet has that of its whole file, and none where the file is the very one that was cut.
    **Errors**: ListProblem, also for a file that is not the one that was cut.
    """
    file = _here(stretch)
    try:
        shape, reader = opener.open(file, _as_it_was_cut(stretch.info, options))
        if tuple(name for name in shape.names if not is_own(name)) != stretch.info.columns:
            raise changed(file.name)
        is_whole = stretch.span == WHOLE
        if not is_whole and not isinstance(reader, SpanReader):
            raise changed(file.name)
        pieces = reader.span_pieces(stretch.span, tally) if not is_whole else reader.pieces(0, tally)  # type: ignore[attr-defined]
        for piece in pieces:
            yield Chunk(
                file_no=stretch.info.file_no,
                rows=aligned(piece.rows, columns),
                row_nos=piece.row_nos,
                bad=piece.bad,
            )
    finally:
        opener.close()
    if not is_whole and shape.format == "parquet" and not file.stamp.is_same_content(stretch.file.stamp):
        tally.sha256 = content_sha256(file.path)


def _here(stretch: Stretch) -> LocalFile:
    """The file on this machine. **Errors**: ListProblem if it is missing, or not as long as the one that was cut."""
    with translated(stretch.file.name):
        stamp = Stamp.of(stretch.file.path.stat())
    if stamp.size_bytes != stretch.file.stamp.size_bytes:
        raise changed(stretch.file.name)
    return replace(stretch.file, stamp=stamp)


def _as_it_was_cut(info: FileInfo, options: ReadOptions) -> ReadOptions:
    """The options, with what was found out about the file said."""
    if info.format != "csv":
        return replace(options, format=info.format, sheet=info.sheet)
    return replace(
        options,
        format="csv",
        encoding=info.encoding,
        delimiter=info.delimiter,
        quote=info.quote,
        has_header=info.has_header,
    )


def file_hashes(stretches: Sequence[Stretch]) -> tuple[str, tuple[str, ...]]:
    """The SHA-256 of a file that was cut, and of each of its stretches, where they are of bytes."""
    first = _here(stretches[0])
    if stretches[0].info.format == "parquet":
        return content_sha256(first.path), ()
    whole, each = new_digest(), []
    with first.opened() as stream:
        for stretch in stretches:
            digest = new_digest()
            for block in raw_blocks(stream, digest, stretch.span):
                whole.update(block)
            each.append(digest.hexdigest())
    return whole.hexdigest(), tuple(each)


def changed(name: str) -> ListProblem:
    """The error for a file that is not the one that was cut."""
    return ListProblem(
        f"{name} is not the same for everybody who reads it, or it changed while it was being read",
        hint="Nothing was sent from it. Wait until whoever writes it has finished, see that every worker has the same "
        "content,\nthen run the same command.",
    )
