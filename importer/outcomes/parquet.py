"""A Parquet file written piece by piece, from frames that only this thread can make.

Floor: outcomes. A newcomer may question the second thread: polars pulls from a source on a thread of its own, and a
ledger's connection may be used by the thread that made it alone. So polars waits there, and the frames are made here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import Full, Queue

import polars as pl
from polars.io.plugins import register_io_source

FRAMES_AHEAD = 2
_GLANCE_S = 0.2


def sink_parquet(path: Path, frames: Iterable[pl.DataFrame], schema: pl.Schema) -> int:
    """Writes frames of one schema as they come, few of them in memory; gives the rows written.

    **Errors**: whatever making a frame raises, and OSError or polars' own for the file.
    """
    ready: Queue[pl.DataFrame | None] = Queue(FRAMES_AHEAD)

    def source(
        with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        del with_columns, predicate, n_rows, batch_size  # everything is written, in our own pieces
        while (frame := ready.get()) is not None:
            yield frame

    rows = 0
    with ThreadPoolExecutor(1, thread_name_prefix="parquet") as worker:
        lazy = register_io_source(source, schema=dict(schema))
        sunk = worker.submit(lambda: lazy.sink_parquet(path, engine="streaming"))
        try:
            for frame in frames:
                _put(ready, frame, sunk)
                rows += frame.height
        finally:
            _put(ready, None, sunk)
        sunk.result()
    return rows


def _put(ready: Queue[pl.DataFrame | None], frame: pl.DataFrame | None, sunk: Future[None]) -> None:
    """Hands a frame over; gives up when nobody takes any more, since the file's own error says why."""
    while not sunk.done():
        with contextlib.suppress(Full):
            ready.put(frame, timeout=_GLANCE_S)
            return
