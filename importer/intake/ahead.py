"""Making the next things while one is used: chunks are read, judged and keyed while the one before is written down.

Floor: intake. Reading goes in order in one thread; what is made of a chunk depends on that chunk alone, so two are made
at once, and are taken up in order. The threads work on values of their own and never see the ledger, which stays with
the thread that owns it. A newcomer may question threads under the interpreter's lock: reading, judging and keying
happen in columns, outside of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar, cast

WORKERS = 2
_T = TypeVar("_T")
_R = TypeVar("_R")
_END = object()


def ahead(things: Iterator[_T], make: Callable[[_T], _R]) -> Generator[_R, None, None]:
    """What is made of the things, in their order, the next ones being made while one is used.

    **Errors**: those of `things` and of `make`, where they would have come. Close it to end the threads.
    """
    reader = ThreadPoolExecutor(1, thread_name_prefix="read")
    makers = ThreadPoolExecutor(WORKERS, thread_name_prefix="make")

    def begun() -> Future[object]:
        return makers.submit(_made, reader.submit(next, things, _END), cast("Callable[[object], object]", make))

    try:
        waiting = deque(begun() for _ in range(WORKERS))
        while (made := waiting.popleft().result()) is not _END:
            waiting.append(begun())
            yield cast("_R", made)
    finally:
        reader.shutdown(cancel_futures=True)
        makers.shutdown(cancel_futures=True)


def _made(read: Future[object], make: Callable[[object], object]) -> object:
    thing = read.result()
    return _END if thing is _END else make(thing)
