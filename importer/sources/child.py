"""The process that reads binary lists for a run: `python -m importer.sources.child`. Floor "sources".

It has no ledger, no network and no secret, so it may die of what it reads. It ends when nobody asks any more.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any, BinaryIO

from importer.errors import ListProblem, UsageProblem
from importer.sources.formats import Reader, SpanReader, open_reader
from importer.sources.records import Piece, ReadOptions, Shape, Span, Tally
from importer.sources.wire import SHAPED, TALLIED, TOLD, file_of, write_frame, write_piece


def serve(requests: BinaryIO, answers: BinaryIO, *, before_piece: Callable[[Piece], None] = lambda _: None) -> None:
    """Answer requests until there are no more. `before_piece` sees each piece before it is sent."""
    opened: dict[str, tuple[Shape, Reader]] = {}
    for line in requests:
        request = json.loads(line)
        try:
            known = json.dumps([request["file"], request["options"]])
            if known not in opened:
                opened[known] = open_reader(file_of(request["file"]), ReadOptions(**request["options"]))
            _answer(*opened[known], request["asked"], answers, before_piece)
        except (ListProblem, UsageProblem) as problem:
            write_frame(answers, TOLD, _json(kind=type(problem).__name__, message=problem.message, hint=problem.hint))


def _answer(
    shape: Shape, reader: Reader, asked: int | list[Any] | None, answers: BinaryIO, before_piece: Callable[[Piece], Any]
) -> None:
    if asked is None:
        write_frame(answers, SHAPED, _json(**asdict(shape)))
        return
    tally = Tally()
    for piece in _pieces(reader, asked, tally):
        before_piece(piece)
        write_piece(answers, piece)
    write_frame(answers, TALLIED, _json(**asdict(tally)))


def _pieces(reader: Reader, asked: int | list[Any], tally: Tally) -> Iterator[Piece]:
    """The rows from a row number on, or those of a span."""
    if isinstance(asked, int):
        return reader.pieces(asked, tally)
    if not isinstance(reader, SpanReader):
        raise UsageProblem("A file of this format is not read in spans.")
    return reader.span_pieces(Span(start=asked[0], end=asked[1]), tally)


def _json(**facts: object) -> bytes:
    return json.dumps(facts).encode()


def main() -> None:
    """Serve whoever started this process."""
    serve(sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main()
