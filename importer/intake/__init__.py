"""Intake: a list is read to its end, judged, keyed, cut into batches and frozen, before anything of it is sent.

Floor: intake, above sources and ledger. Each chunk is committed with its checkpoint, so a crash continues from there;
rows too few to fill a batch are kept in the ledger, so batches never depend on where a chunk ended (law 2).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import polars as pl

from importer.intake.ahead import ahead
from importer.intake.cut import Cut, Items, cut
from importer.intake.mapping import ListMapping, read_mapping
from importer.intake.plan import Plan, find_column, likely_phone_column, make_plan
from importer.intake.prepare import GOOD_SCHEMA, Prepared, prepare
from importer.intake.sift import Hygiene, Sifted, marks_of, sift
from importer.intake.slicing import SlicedList
from importer.ledger import IntakeBook
from importer.ledger.packs import PackRuns
from importer.ledger.records import Campaign, Import, IntakeChunk, Leftover
from importer.model import Observer, ReadingProgress
from importer.phones import METADATA_VERSION
from importer.shards import Shard
from importer.sources import Chunk, Position, RowList

__all__ = [
    "Hygiene",
    "Intake",
    "IntakeStopped",
    "ListMapping",
    "Plan",
    "find_column",
    "likely_phone_column",
    "make_plan",
    "read_mapping",
]


CUTTERS = 3  # one that cuts, two that pack
NEW_CHUNK_ROWS = 40_000  # at most, of a list that is likely new: each row then has its request with it


class IntakeStopped(Exception):
    """A signal ended intake between two chunks; the checkpoint stands, nothing was sent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Intake:
    """One list on its way into the ledger.

    `books` is where a row may already be; the first is the one written to. `is_stopping` is asked between chunks.
    `shard` is the part of the list to take; None is all of it.
    """

    row_list: RowList
    plan: Plan
    campaign: Campaign
    books: Sequence[IntakeBook]
    observer: Observer
    now_ms: Callable[[], int]
    is_stopping: Callable[[], bool]
    hygiene: Hygiene = field(default_factory=Hygiene)
    shard: Shard | None = None

    def take_in(self, an_import: Import) -> Import:
        """Reads the list from the import's checkpoint to its end and closes the source.

        **Crash**: every chunk is wholly in the ledger or not at all; run again to go on from the last.
        **Errors**: ListProblem when the list cannot be read to its end or its two counts differ; IntakeStopped.
        **Law** `test_law_11_nothing_is_sent_from_a_list_not_read_to_its_end`.
        """
        sliced = self.row_list if isinstance(self.row_list, SlicedList) else None
        if sliced is not None:
            sliced.judge_fit(self.plan, self.shard)
        book = self.books[0]
        start = Position(file_no=an_import.next_file_no, row_no=an_import.next_row_no)
        has_earlier = any(book.has_earlier_rows(an_import) for book in self.books)
        is_large = not book.keeps_bodies or has_earlier
        most_rows = None if is_large else _whole_batches(NEW_CHUNK_ROWS, an_import.batch_size_rows)
        prepared = partial(self._prepared, an_import=an_import, is_likely_new=book.keeps_bodies and not has_earlier)
        with (
            ThreadPoolExecutor(CUTTERS, thread_name_prefix="cut") as cutters,
            closing(ahead(self.row_list.chunks(start, most_rows=most_rows), prepared)) as chunks,
        ):
            run = _Running(self, an_import, cutters, has_earlier=has_earlier)
            for file_no, chunk in chunks:
                if self.is_stopping():
                    run.write()
                    raise IntakeStopped
                run.add(file_no, chunk)
            run.flush()
        if sliced is not None:
            sliced.judge_elsewhere(run.elsewhere_rows)
        return book.complete_source(
            an_import,
            counts=[(each.file_no, each.read_rows, each.witness_rows, each.sha256) for each in self.row_list.counts],
            more_rows=run.more_rows - run.elsewhere_rows,
            now_ms=self.now_ms(),
        )

    def _prepared(self, chunk: Chunk, an_import: Import, *, is_likely_new: bool) -> tuple[int, Prepared]:
        """A chunk, judged and keyed, with the number of its file."""
        made = prepare(
            chunk,
            self.plan,
            seed=self.campaign.key_seed,
            round_name=an_import.round,
            shard=self.shard,
            is_likely_new=is_likely_new,
        )
        return chunk.file_no, made


@dataclass(frozen=True, kw_only=True, slots=True)
class _Begun:
    """A chunk that is being cut: `chunk` makes it of its batches and their members; `marks` of these."""

    cutting: Future[Cut]
    chunk: Callable[..., IntakeChunk]
    marks: dict[str, pl.Series]


class _Running:
    """Intake between its first chunk and its last: the leftovers, the facts and the next free row id.

    One chunk is cut while the one before is written, so what was begun last is not in the ledger yet. A row that may
    repeat one of its rows would not be found there: then it is written first.
    """

    def __init__(self, intake: Intake, an_import: Import, cutters: ThreadPoolExecutor, *, has_earlier: bool) -> None:
        self._cutters = cutters
        self._intake = intake
        self._import = an_import
        self._leftover = _frame_of(intake.books[0].leftovers(an_import))
        self._place = (an_import.next_file_no, an_import.next_row_no)
        self._facts = _Facts(an_import.facts)
        self._has_earlier = has_earlier
        self._next_row_id = max(intake.books[0].next_row_id(), int(an_import.facts.get("next_row_id", 0)))
        self._read_rows = an_import.read_rows
        self._rejected_rows = 0
        self._duplicate_rows = 0
        self._begun: _Begun | None = None

    def add(self, file_no: int, prepared: Prepared) -> None:
        """Sifts a prepared chunk and freezes what fills whole blocks; commits the chunk before with its checkpoint."""
        intake = self._intake
        if self._has_earlier or self._may_repeat(prepared.good):
            self.write()
        sifted = sift(
            pl.concat([self._leftover, prepared.good]),
            self._leftover.height,
            intake.plan,
            self._import,
            intake.books,
            intake.hygiene,
            next_row_id=self._next_row_id,
            has_earlier=self._has_earlier,
        )
        self._facts.add(prepared, sifted)
        self._place = (file_no, prepared.last_row_no + 1)
        size = self._import.batch_size_rows
        whole_rows = sifted.fresh.height // size * size
        items = prepared.items
        if items is not None and sifted.fresh.height == self._leftover.height + prepared.good.height:
            items = items.after(self._leftover["item"].to_list())
        else:
            items = None  # some rows were taken out
        self._begin(sifted.fresh.head(whole_rows), sifted.fresh.slice(whole_rows), prepared, sifted, items)
        self._report(prepared, sifted)

    @property
    def more_rows(self) -> int:
        """How many rows were made of cells with several numbers, over the whole list."""
        return self._facts.count("split_off")

    @property
    def elsewhere_rows(self) -> int:
        """How many rows of the whole list belong to other shards."""
        return self._facts.count("elsewhere")

    def flush(self) -> None:
        """Freezes what is left over at the end of the list, and commits what was begun."""
        if self._leftover.height:
            self._begin(self._leftover, self._leftover.clear())
        self.write()

    def write(self) -> None:
        """Commits the chunk that was begun last, if it is not in the ledger yet."""
        if self._begun is None:
            return
        begun, self._begun = self._begun, None
        pieces = begun.cutting.result()
        chunk = begun.chunk(members=pieces.members, batches=pieces.batches)
        self._intake.books[0].commit_chunk(self._import, chunk, now_ms=self._intake.now_ms())

    def _may_repeat(self, good: pl.DataFrame) -> bool:
        """Whether some row may be the same as one of the chunk that was begun last."""
        if self._begun is None:
            return False
        marks, others = marks_of(good, self._intake.plan), self._begun.marks
        return any(marks[name].is_in(others[name].implode()).any() for name in others)

    def _begin(
        self,
        enough: pl.DataFrame,
        left: pl.DataFrame,
        prepared: Prepared | None = None,
        sifted: Sifted | None = None,
        items: Items | None = None,
    ) -> None:
        cutting = self._cutters.submit(
            cut,
            enough,
            self._import.batch_size_rows,
            self._intake.campaign.key_seed,
            items=items,
            keeps_bodies=self._intake.books[0].keeps_bodies,
            spread=self._cutters.map,
        )
        is_large = self._import.batch_size_rows >= self._intake.books[0].least_packed_rows
        runs = PackRuns(enough) if enough.height and is_large else None  # made while the batches are
        leftovers = [Leftover(**row) for row in left.iter_rows(named=True)]
        chunk = partial(
            IntakeChunk,
            first_row_id=self._next_row_id,
            rows=enough,
            runs=runs,
            leftovers=leftovers,
            rejects=prepared.rejects if prepared else (),
            skips=sifted.skips if sifted else {},
            returning_row_ids=sifted.returning_row_ids if sifted else (),
            kept=sifted.kept if sifted else (),
            read_rows=prepared.read_rows if prepared else 0,
            next_file_no=self._place[0],
            next_row_no=self._place[1],
            facts={**self._facts.as_dict(), "next_row_id": self._next_row_id + enough.height},
        )
        self._next_row_id += enough.height
        self._leftover = left
        self.write()  # the one before, while this one is cut
        self._begun = _Begun(cutting=cutting, chunk=chunk, marks=marks_of(enough, self._intake.plan))

    def _report(self, prepared: Prepared, sifted: Sifted) -> None:
        self._read_rows += prepared.read_rows
        self._rejected_rows += len(prepared.rejects)
        self._duplicate_rows += sum(frame.height for frame in sifted.skips.values())
        self._intake.observer(
            ReadingProgress(
                read_rows=self._read_rows,
                rejected_rows=self._rejected_rows,
                duplicate_rows=self._duplicate_rows,
                read_share=None,
            )
        )


def _whole_batches(rows: int, batch_size_rows: int) -> int:
    """So many rows, or a few less: a chunk of good rows then leaves none over, which are dear to keep."""
    return rows // batch_size_rows * batch_size_rows or rows


def _frame_of(leftovers: Sequence[Leftover]) -> pl.DataFrame:
    columns = {name: [getattr(row, name) for row in leftovers] for name in GOOD_SCHEMA}
    return pl.DataFrame(columns, schema=GOOD_SCHEMA)


class _Facts:
    """What intake learns about a list besides its rows; kept with the checkpoint, so a resumed intake counts on."""

    def __init__(self, before: dict[str, Any]) -> None:
        self._counts = {name: Counter(before.get(name, {})) for name in ("regions", "types", "warnings", "numbers")}
        self._came_back: list[list[Any]] = list(before.get("came_back", []))
        self._before = before

    def add(self, prepared: Prepared, sifted: Sifted) -> None:
        """Counts a chunk."""
        for name, counts in prepared.told.items():
            self._counts[name].update(counts)
        self._counts["numbers"].update(came_back=sifted.came_back_rows, split_off=prepared.more_rows)
        if prepared.elsewhere_rows:
            self._counts["numbers"]["elsewhere"] += prepared.elsewhere_rows
        room = 200 - len(self._came_back)
        self._came_back += [list(pair) for pair in sifted.came_back[: max(room, 0)]]

    def count(self, name: str) -> int:
        """One of the numbers counted so far."""
        return self._counts["numbers"][name]

    def as_dict(self) -> dict[str, Any]:
        """As the ledger keeps it."""
        counts = {name: dict(counter) for name, counter in self._counts.items()}
        return {**self._before, **counts, "came_back": list(self._came_back), "phonenumbers": METADATA_VERSION}
