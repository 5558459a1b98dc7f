"""Frames as lists: what a program holds in memory, handed over as if it had been a file.

Floor: api. A frame is anything that gives its columns by the Arrow PyCapsule interface: polars, pyarrow, pandas and
others. Its cells become text by the very rules of the Parquet reader, then it is a list on standard input: spooled,
counted twice and known again by its content. A newcomer may question the text: so the same content is
the same list, whichever library and width of integers it came in, and a float shows its damage as it does in a file.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import IO, Any, Protocol, runtime_checkable

import polars as pl

from importer.client import redact
from importer.errors import UsageProblem
from importer.sources.parquet import as_text

STDIN = "-"
NAME_DIGITS = 16
_SLICE_ROWS = 250_000
_BLOCK_BYTES = 1 << 20


@runtime_checkable
class Frame(Protocol):
    """A table in memory. **Source**: the Arrow PyCapsule interface, `__arrow_c_stream__`."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The columns, as Arrow has them."""


Source = str | PathLike[str] | Frame | Sequence[str | PathLike[str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Handed:
    """A list ready for the engine. `stream` is what it reads as standard input; None where the names are files.

    `format` and `list_name` are None where the caller's own words hold.
    """

    names: tuple[str, ...]
    stream: IO[bytes] | None = None
    format: str | None = None
    list_name: str | None = None


@contextlib.contextmanager
def handed_over(source: Source, folder: Path | None) -> Iterator[Handed]:
    """The source as the engine takes it; a frame lies in a nameless file in `folder` meanwhile.

    **Errors**: UsageProblem for a frame that cannot be a list; what it repeats of cells is masked.
    """
    if isinstance(source, (str, PathLike)):
        yield Handed(names=(fspath(source),))
    elif not isinstance(source, Frame):
        yield Handed(names=_paths(source))
    else:
        with tempfile.TemporaryFile(dir=folder, prefix="frame-") as stream:
            texts = text_frame(source)
            fingerprint = _written(texts, stream)
            yield Handed(names=(STDIN,), stream=stream, format="parquet", list_name=f"frame {fingerprint}")


def _paths(source: object) -> tuple[str, ...]:
    if isinstance(source, Sequence) and source and all(isinstance(each, (str, PathLike)) for each in source):
        return tuple(fspath(each) for each in source)
    raise UsageProblem(
        f"A list cannot be made of {type(source).__name__}.",
        hint="Give a path, several paths, or a polars, pandas or pyarrow table (a lazy frame: collect it first).",
    )


def text_frame(frame: Frame) -> pl.DataFrame:
    """The frame with every cell as text, exactly as the Parquet reader would give it; bytes are left to that reader.

    **Errors**: UsageProblem for columns that are no Arrow columns, or none at all.
    """
    try:
        typed = frame if isinstance(frame, pl.DataFrame) else pl.DataFrame(_arrow(frame))
    except (pl.exceptions.PolarsError, ImportError, ValueError, TypeError, NotImplementedError) as problem:
        said = redact(" ".join(map(str, problem.args)))[:300]
        raise UsageProblem(
            f"The frame cannot be read as a list: {said}",
            hint="Each column needs one name of its own and values of one kind; frame[c].astype('string') makes text.",
        ) from None
    if not typed.width:
        raise UsageProblem("The frame has no columns.", hint="A list has at least one: the numbers.")
    return typed.select(
        column if column.dtype == pl.Binary else as_text(column).alias(column.name) for column in typed.get_columns()
    )


def _arrow(frame: Frame) -> Any:
    """What polars may be given. The index of a pandas frame counts as a column where it has a name, else it is none."""
    if type(frame).__module__.partition(".")[0] != "pandas":
        return frame
    index: Any = getattr(frame, "index", None)
    is_named = any(name is not None for name in getattr(index, "names", ()))
    return importlib.import_module("pyarrow").Table.from_pandas(frame, preserve_index=is_named)


def _written(texts: pl.DataFrame, stream: IO[bytes]) -> str:
    """Writes the list and gives its fingerprint: the same cells under the same names give the same one."""
    texts.rechunk().write_parquet(stream, compression="zstd", compression_level=1, row_group_size=_SLICE_ROWS)
    stream.seek(0)
    digest = hashlib.sha256()
    while block := stream.read(_BLOCK_BYTES):
        digest.update(block)
    stream.seek(0)
    return digest.hexdigest()[:NAME_DIGITS]
