"""Making the next things while one is used: a chunk is read, judged and keyed while the one before it is written down.

Floor: intake. One thread, in order, one step ahead; it works on values of its own and never sees the ledger, which
stays with the thread that owns it. A newcomer may question a thread under the interpreter's lock: reading, judging and
keying happen in columns, outside of it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, cast

_T = TypeVar("_T")
_END = object()


def ahead(things: Iterator[_T]) -> Generator[_T, None, None]:
    """The same things in the same order, the next one being made while one is used.

    **Errors**: those of `things`, where they would have come. Close it to end the thread.
    """
    worker = ThreadPoolExecutor(1, thread_name_prefix="ahead")
    try:
        making = worker.submit(next, things, _END)
        while (made := making.result()) is not _END:
            making = worker.submit(next, things, _END)
            yield cast("_T", made)
    finally:
        worker.shutdown(cancel_futures=True)
