"""What passes between a run and the child that reads for it: requests a line, answers in frames. Floor "sources".

A frame is one letter, its length and its content. A piece is three frames of Arrow (rows, row numbers, bad rows). Only
JSON and Arrow pass, nothing that could be run.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import IO, Any, BinaryIO, Final

import polars as pl

from importer.sources.opening import LocalFile, Stamp
from importer.sources.records import Piece, ReadOptions, Shape

SHAPED: Final = b"S"
COLUMNS: Final = b"C"
TALLIED: Final = b"T"
TOLD: Final = b"E"
LENGTH_BYTES: Final = 8
KEPT_HERE: Final = ("storage_options", "query")  # nothing that reading a file needs, and perhaps secret


def write_frame(stream: BinaryIO, kind: bytes, content: bytes) -> None:
    """Send a frame at once."""
    stream.write(kind + len(content).to_bytes(LENGTH_BYTES, "big"))
    stream.write(content)
    stream.flush()


def read_frame(stream: IO[bytes]) -> tuple[bytes, bytes] | None:
    """The next frame; None when the other side ended, be it in the middle of one."""
    head = stream.read(1 + LENGTH_BYTES)
    if len(head) <= LENGTH_BYTES:
        return None
    size_bytes = int.from_bytes(head[1:], "big")
    content = stream.read(size_bytes)
    return (head[:1], content) if len(content) == size_bytes else None


def write_piece(stream: BinaryIO, piece: Piece) -> None:
    """Send a run of rows."""
    for frame in (piece.rows, piece.row_nos.alias("row_no").to_frame(), piece.bad):
        write_frame(stream, COLUMNS, _arrow(frame))


def _arrow(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_ipc_stream(buffer)
    return buffer.getvalue()


def packed_file(file: LocalFile) -> dict[str, Any]:
    """What a child needs to open a file."""
    return {"name": file.name, "path": str(file.path), "stamp": asdict(file.stamp), "partition": list(file.partition)}


def file_of(packed: Mapping[str, Any]) -> LocalFile:
    """The file that was packed."""
    return LocalFile(
        name=packed["name"],
        path=Path(packed["path"]),
        stamp=Stamp(**packed["stamp"]),
        is_spooled=False,
        partition=tuple((key, value) for key, value in packed["partition"]),
    )


def packed_options(options: ReadOptions) -> dict[str, Any]:
    """What a child needs to know of how to read."""
    return {each.name: getattr(options, each.name) for each in fields(options) if each.name not in KEPT_HERE}


def shape_of(packed: Mapping[str, Any]) -> Shape:
    """The shape that was packed."""
    return Shape(**{**packed, "names": tuple(packed["names"]), "kept": tuple(packed["kept"])})
