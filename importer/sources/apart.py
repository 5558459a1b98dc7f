"""Binary lists are read by a process of their own, whose death is a bad list and no more. Floor "sources".

Parquet and workbooks are taken apart by native code that meets the list's bytes as they are; where that aborts, no
handler helps. So it does so in a child, which sends back columns as Arrow and counts as JSON; the run that holds the
ledger tells which file it was, and ends in order. Text lists stay here: their parser meets only records that a scanner
proved whole, and they are what must be fast. One child serves a whole list, and is there only if it is needed.
"""

from __future__ import annotations

import contextlib
import io
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any, Final, Protocol

import polars as pl

from importer.errors import ImporterError, ListProblem, UsageProblem
from importer.sources.formats import Reader, binary_kind_of, open_reader
from importer.sources.opening import LocalFile
from importer.sources.records import Piece, ReadOptions, Shape, Span, Tally
from importer.sources.wire import SHAPED, TALLIED, TOLD, packed_file, packed_options, read_frame, shape_of

CHILD: Final = (sys.executable, "-P", "-m", "importer.sources.child")
PROBLEMS: Final[dict[str, type[ImporterError]]] = {"ListProblem": ListProblem, "UsageProblem": UsageProblem}
END_S: Final = 10.0  # how long a child that closed its end may take to be gone

Asked = int | Sequence[int | None] | None  # a first row number, a span, or the shape alone


class Opener(Protocol):
    """Who opens the files of a list."""

    def open(self, file: LocalFile, options: ReadOptions) -> tuple[Shape, Reader]:
        """The file's shape and a reader for it."""
        ...

    def close(self) -> None:
        """Nothing more will be read."""
        ...


class Here:
    """Everything is read by this process."""

    def open(self, file: LocalFile, options: ReadOptions) -> tuple[Shape, Reader]:
        """The file's shape and a reader for it."""
        return open_reader(file, options)

    def close(self) -> None:
        """There is nothing to end."""


class Apart:
    """Binary files are read by a child, text files here. `command` starts the child."""

    def __init__(self, command: Sequence[str] = CHILD) -> None:
        self._command = command
        self._child: subprocess.Popen[bytes] | None = None

    def open(self, file: LocalFile, options: ReadOptions) -> tuple[Shape, Reader]:
        """The file's shape and a reader for it. **Errors**: ListProblem also when the child does not survive it."""
        if binary_kind_of(file, options) is None:
            return open_reader(file, options)
        ((_, shape),) = self._ask(file, options, None, lambda: "while it was opened")
        return shape_of(json.loads(shape)), ApartReader(file, options, self._ask)

    def close(self) -> None:
        """End the child, whatever it does."""
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        with contextlib.suppress(BrokenPipeError), child:  # a request that it never took
            pass

    def _ask(
        self, file: LocalFile, options: ReadOptions, asked: Asked, where: Callable[[], str]
    ) -> Iterator[tuple[bytes, bytes]]:
        """The child's answers to a request, up to the last.

        An answer not listened to until its end, or never given, ends the child; the next request starts another.
        """
        child = self._started()
        request = {"file": packed_file(file), "options": packed_options(options), "asked": asked}
        try:
            with contextlib.suppress(BrokenPipeError):  # what became of it is told by what it answers: nothing
                _open(child.stdin).write(json.dumps(request).encode() + b"\n")
                _open(child.stdin).flush()
            while frame := read_frame(_open(child.stdout)):
                if frame[0] == TOLD:
                    raise _told(json.loads(frame[1]))
                yield frame
                if frame[0] in (SHAPED, TALLIED):
                    return
            raise self._died(file.name, child, where())
        except GeneratorExit:
            self.close()
            raise

    def _started(self) -> subprocess.Popen[bytes]:
        """The child. A session of its own, because Ctrl-C is for the run to hear."""
        if self._child is None:
            self._child = subprocess.Popen(  # noqa: S603 - our own interpreter and module; names pass by its input
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        return self._child

    def _died(self, name: str, child: subprocess.Popen[bytes], where: str) -> ListProblem:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(END_S)
        code = child.returncode
        how = f"by {signal.Signals(-code).name}" if code and code < 0 else f"with exit code {code}"
        self.close()
        return ListProblem(
            f"{name} ended the process that read it, {how}, {where}",
            hint="Nothing was sent from it, and the ledger is unharmed. Save the list anew, or as CSV, and try that.",
        )


class ApartReader:
    """Reads one file through the child."""

    def __init__(
        self, file: LocalFile, options: ReadOptions, ask: Callable[..., Iterator[tuple[bytes, bytes]]]
    ) -> None:
        self._file = file
        self._options = options
        self._ask = ask

    def pieces(self, first_row_no: int, tally: Tally) -> Iterator[Piece]:
        """The rows from `first_row_no` on; all of the file is counted into `tally`."""
        return self._pieces(first_row_no, tally)

    def span_pieces(self, span: Span, tally: Tally) -> Iterator[Piece]:
        """The rows of a span, of a format that can be read so."""
        return self._pieces([span.start, span.end], tally)

    def _pieces(self, asked: Asked, tally: Tally) -> Iterator[Piece]:
        last_row_no = 0
        frames: list[bytes] = []

        def where() -> str:
            return f"after row {last_row_no}" if last_row_no else "before its first row"

        for kind, content in self._ask(self._file, self._options, asked, where):
            if kind == TALLIED:
                _count(json.loads(content), tally)
                continue
            frames.append(content)
            if len(frames) == 3:
                piece = Piece(rows=_frame(frames[0]), row_nos=_frame(frames[1])["row_no"], bad=_frame(frames[2]))
                frames.clear()
                if piece.row_nos.len():
                    last_row_no = int(piece.row_nos[-1])
                yield piece


def _frame(content: bytes) -> pl.DataFrame:
    return pl.read_ipc_stream(io.BytesIO(content))


def _count(counted: dict[str, Any], tally: Tally) -> None:
    tally.read_rows = int(counted["read_rows"])
    tally.witness_rows = int(counted["witness_rows"])
    tally.sha256 = str(counted["sha256"])


def _told(problem: dict[str, str]) -> ImporterError:
    return PROBLEMS[problem["kind"]](problem["message"], hint=problem["hint"])


def _open(pipe: IO[bytes] | None) -> IO[bytes]:
    """The pipe, which was asked for and so is there."""
    if pipe is None:
        raise RuntimeError("the reading child was started without pipes")
    return pipe
