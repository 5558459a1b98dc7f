"""Chunks are made by several threads at once and come in their order."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from importer.intake.ahead import WORKERS, ahead


def test_what_is_made_comes_in_order_though_two_are_made_at_once() -> None:
    """The first waits until the second is being made, so both are; they come as they were."""
    both = threading.Barrier(WORKERS, timeout=10)

    def make(thing: int) -> int:
        if thing < WORKERS:
            both.wait()
        return thing * 10

    assert list(ahead(iter(range(25)), make)) == [thing * 10 for thing in range(25)]


@pytest.mark.parametrize("place", [0, 1, 5])
def test_an_error_comes_where_it_would_have_come(place: int) -> None:
    """Whether reading failed or making: what was before it is given first."""

    def reading() -> Iterator[int]:
        yield from range(place)
        raise OSError("gone")

    def make(thing: int) -> int:
        return thing // (thing - place)

    for things, kind in ((reading(), OSError), (iter(range(9)), ZeroDivisionError)):
        got: list[int] = []
        with pytest.raises(kind), closing(ahead(things, make if kind is ZeroDivisionError else int)) as chunks:
            got.extend(chunks)
        assert len(got) == place


def test_closing_ends_the_threads_and_reads_no_further() -> None:
    """A stopped intake leaves nothing behind that still reads the list."""
    read: list[int] = []

    def things() -> Iterator[int]:
        for each in range(1000):
            read.append(each)
            yield each

    before = threading.active_count()
    with closing(ahead(things(), lambda thing: thing)) as chunks:
        assert next(chunks) == 0
    assert threading.active_count() == before
    assert len(read) <= WORKERS + 2
