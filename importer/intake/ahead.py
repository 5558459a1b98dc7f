"""Making the next things while one is used: a chunk is read, judged and keyed while the one before it is written down.

Floor: intake. One thread, in order, a bounded way ahead; it works on values of its own and never sees the ledger, which
stays with the thread that owns it. A newcomer may question a thread under the interpreter's lock: reading, judging and
keying happen in columns, outside of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, cast

_T = TypeVar("_T")
_END = object()


def ahead(things: Iterator[_T], most: int = 1) -> Generator[_T, None, None]:
    """The same things in the same order, up to `most` of them made before they are asked for.

    **Errors**: those of `things`, where they would have come. Close it to end the thread.
    """
    worker = ThreadPoolExecutor(1, thread_name_prefix="ahead")
    try:
        waiting = deque(worker.submit(next, things, _END) for _ in range(most + 1))
        while (made := waiting.popleft().result()) is not _END:
            waiting.append(worker.submit(next, things, _END))
            yield cast("_T", made)
    finally:
        worker.shutdown(cancel_futures=True)
