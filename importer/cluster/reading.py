"""A list read over a cluster: each stretch by one worker, once; each shard fetches its slices of all of them.

Floor: cluster. The workers keep the slices until the shards have taken them in; of a lost worker Dask has them made
again, from the file, and the hashes tell whether that is still the same. A newcomer may question that there is a way
without slices: a shard can always read the whole list by itself, and gets the same rows; so whatever cannot be held in
stretches, or was lost too often, costs time and nothing else.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from importer import __version__, errors
from importer.cluster.records import Sealed, Trouble, judge_version
from importer.errors import ImporterError
from importer.intake.joining import Hashes, Joined, cut_files, joined, mended, uncut
from importer.intake.slicing import (
    Counted,
    Slice,
    Sorted,
    Sorter,
    TooMuchToHoldError,
    WholeList,
    slices_of,
    sorted_whole,
)
from importer.machine import forbid_core_dumps, standard_input
from importer.model import Notice, Observer
from importer.run import RunSettings
from importer.run.settings import plan_of
from importer.sources import FileCount, FileInfo, Tally, open_list, scheme_of
from importer.sources.apart import Apart
from importer.sources.stretches import Layout, Stretch, file_hashes, layout_of, read_stretch

if TYPE_CHECKING:
    from distributed import Client, Future

MIB: Final = 1 << 20
LEAST_STRETCH_BYTES: Final = 8 * MIB
MOST_STRETCH_BYTES: Final = 128 * MIB
STRETCHES_PER_WORKER: Final = 4
MOST_HELD_BYTES: Final = 1 << 30  # of one stretch: what cannot be cut and is more, every shard reads by itself
MOST_TIMES_CUT: Final = 3


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class ListJob:
    """A list to be read for so many shards."""

    sealed: Sealed
    version: str
    of: int

    def __repr__(self) -> str:
        return f"ListJob({self.of})"

    @property
    def settings(self) -> RunSettings:
        """The run it is read for."""
        return self.sealed.settings


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class ReadWhole:
    """A list that one worker read to its end, because only that worker has it."""

    files: tuple[FileInfo, ...]
    columns: tuple[str, ...]
    counts: tuple[FileCount, ...]
    stretches: tuple[Sorted, ...]


# --- on the workers ---------------------------------------------------------------------------------------------------


def _told(made: Callable[[], Any]) -> Any:
    """What is made, or what stood against it as a value: exceptions are logged with whatever they hold."""
    forbid_core_dumps()
    try:
        return made()
    except ImporterError as problem:
        return Trouble(kind=type(problem).__name__, message=problem.message, hint=problem.hint)


def cut_list(job: ListJob, stretch_bytes: int | None, workers: int) -> Layout | Trouble | None:
    """The list's stretches; None for one that is to be read whole."""
    return _told(lambda: _cut_list(job, stretch_bytes, workers))  # type: ignore[no-any-return]


def _cut_list(job: ListJob, stretch_bytes: int | None, workers: int) -> Layout | None:
    judge_version(job.version)
    settings = job.settings
    if settings.reading.query is not None or any(scheme_of(source) is not None for source in settings.sources):
        return None
    with (
        tempfile.TemporaryDirectory(prefix="importer-list-") as folder,
        open_list(settings.sources, settings.reading, stdin=standard_input(), spool_dir=Path(folder)) as row_list,
    ):
        plan_of(settings, row_list.columns)
        size_bytes = sum(info.size_bytes for info in row_list.files)
        fair_bytes = size_bytes // (STRETCHES_PER_WORKER * workers)
        fair_bytes = max(LEAST_STRETCH_BYTES, min(fair_bytes, MOST_STRETCH_BYTES))
        return layout_of(row_list, settings.reading, stretch_bytes=stretch_bytes or fair_bytes)


def sort_stretch(job: ListJob, columns: Sequence[str], stretch: Stretch) -> Sorted | Trouble:
    """One stretch, read and sorted by shards."""
    return _told(lambda: _sort_stretch(job, columns, stretch))  # type: ignore[no-any-return]


def _sort_stretch(job: ListJob, columns: Sequence[str], stretch: Stretch) -> Sorted:
    judge_version(job.version)
    sorter, tally = _sorter(job, columns), Tally()
    for chunk in read_stretch(stretch, columns, job.settings.reading, Apart(), tally):
        sorter.add(chunk)
    return sorter.done(stretch.info.file_no, tally, columns)


def _sorter(job: ListJob, columns: Sequence[str]) -> Sorter:
    return Sorter(plan=plan_of(job.settings, columns), of=job.of, most_bytes=MOST_HELD_BYTES)


def sort_whole(job: ListJob) -> ReadWhole | Trouble:
    """The whole list, fetched, read and sorted by this worker."""
    return _told(lambda: _sort_whole(job))  # type: ignore[no-any-return]


def _sort_whole(job: ListJob) -> ReadWhole:
    judge_version(job.version)
    settings = job.settings
    with (
        tempfile.TemporaryDirectory(prefix="importer-list-") as folder,
        open_list(settings.sources, settings.reading, stdin=standard_input(), spool_dir=Path(folder)) as row_list,
    ):
        stretches = sorted_whole(row_list, lambda: _sorter(job, row_list.columns))
        return ReadWhole(
            files=row_list.files, columns=row_list.columns, counts=row_list.counts, stretches=tuple(stretches)
        )


def counted_of(made: Sorted | Trouble) -> Counted | Trouble:
    """What a stretch came to, without its rows."""
    return made.counted if isinstance(made, Sorted) else made


def whole_of(made: ReadWhole | Trouble) -> WholeList | Trouble:
    """What a list that one worker read came to, without its rows."""
    if isinstance(made, Trouble):
        return made
    hashes = tuple(each.counted.sha256 for each in made.stretches)
    return WholeList(files=made.files, columns=made.columns, counts=made.counts, hashes=hashes)


def hashes_of(stretches: Sequence[Stretch]) -> Hashes | Trouble:
    """The hashes of a file that was cut, and of its stretches."""
    return _told(lambda: file_hashes(stretches))  # type: ignore[no-any-return]


def slices(made: Sorted | Trouble, base: int, of: int) -> dict[int, tuple[Slice, ...]] | Trouble:
    """Every shard's slice of a stretch. A stretch that was read again, and could not be, is no slice of anything."""
    return made if isinstance(made, Trouble) else {no: (each,) for no, each in slices_of(made, base, of).items()}


def slices_of_whole(made: ReadWhole | Trouble, of: int) -> dict[int, tuple[Slice, ...]] | Trouble:
    """Every shard's slices of a list that one worker read."""
    if isinstance(made, Trouble):
        return made
    of_files = [slices_of(each, 0, of) for each in made.stretches]
    return {number: tuple(each[number] for each in of_files) for number in range(1, of + 1)}


def own(made: dict[int, tuple[Slice, ...]] | Trouble, number: int) -> tuple[Slice, ...] | Trouble:
    """One shard's."""
    return made if isinstance(made, Trouble) else made[number]


# --- at home ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Handed:
    """A list that was read: what is known of it, and each shard's slices, in list order, on the workers."""

    whole: WholeList
    slices: dict[int, list[Future[Any]]] = field(repr=False)


@dataclass(kw_only=True, slots=True)
class ListReader:
    """Has a list read by a cluster's workers.

    `ended` waits a while, and gives the futures that ended; `is_stopping` is asked meanwhile. Stretches are of
    `stretch_bytes`, or as is good for so many workers.
    """

    client: Client
    name: str
    observer: Observer
    ended: Callable[[Sequence[Future[Any]]], Sequence[Future[Any]]]
    is_stopping: Callable[[], bool]
    stretch_bytes: int | None = None
    _given: int = 0

    def read(self, settings: RunSettings, of: int, numbers: Sequence[int]) -> Handed | None:
        """Each stretch is read once, by whichever worker is free. None where each shard is to read the list itself.

        **Errors**: ListProblem, UsageProblem, as a run has.
        """
        job = ListJob(sealed=Sealed(settings), version=__version__, of=of)
        try:
            layout = self._one(cut_list, job, self.stretch_bytes, len(self.client.nthreads()) or 1)
            handed = self._whole(job, numbers) if layout is None else self._stretches(job, layout, numbers)
        except _WithoutSlices as reason:
            if not self.is_stopping():
                self.observer(Notice(kind="read-by-each", text=f"Every shard reads the list by itself: {reason}."))
            return None
        rows = sum(count.read_rows for count in handed.whole.counts)
        stretches = len(handed.whole.hashes)
        text = f"The list was read once: {rows:,} rows, {stretches:,} {'stretch' if stretches == 1 else 'stretches'}."
        self.observer(Notice(kind="read-once", text=text))
        return handed

    def _whole(self, job: ListJob, numbers: Sequence[int]) -> Handed:
        made = self._given_out(sort_whole, job)
        whole: WholeList = self._one(whole_of, made)
        cut = self._given_out(slices_of_whole, made, job.of)
        return Handed(whole=whole, slices={number: [self._given_out(own, cut, number)] for number in numbers})

    def _stretches(self, job: ListJob, layout: Layout, numbers: Sequence[int]) -> Handed:
        layout, made, counted = self._proved(job, layout)
        done = self._joined(layout, counted)
        cut = [self._given_out(slices, made[each], base, job.of) for each, base in _beside(layout, done)]
        return Handed(
            whole=done.whole,
            slices={number: [self._given_out(own, each, number) for each in cut] for number in numbers},
        )

    def _proved(self, job: ListJob, layout: Layout) -> tuple[Layout, dict[Stretch, Future[Any]], list[Counted]]:
        """The stretches, read, after cuts that lay inside of records were given up."""
        made: dict[Stretch, Future[Any]] = {}
        for time in range(MOST_TIMES_CUT + 1):
            for each in layout.stretches:
                made[each] = made.get(each) or self._given_out(sort_stretch, job, layout.columns, each)
            counted = self._all([self._given_out(counted_of, made[each]) for each in layout.stretches])
            better = mended(layout, counted)
            if better is layout:
                break
            layout = better if time < MOST_TIMES_CUT - 1 else uncut(layout, _wrongly_cut(layout, better))
            made = {each: made[each] for each in layout.stretches if each in made}
        else:
            raise _WithoutSlices("no place was found to cut it")
        return layout, made, counted

    def _joined(self, layout: Layout, counted: Sequence[Counted]) -> Joined:
        files = cut_files(layout)
        hashes = self._all([self._given_out(hashes_of, stretches) for stretches in files.values()])
        return joined(layout, counted, dict(zip(files, hashes, strict=True)))

    # --- tasks ------------------------------------------------------------------------------------------------------

    def _given_out(self, task: Callable[..., Any], *arguments: Any) -> Future[Any]:
        self._given += 1
        return self.client.submit(task, *arguments, key=f"{self.name}-list-{task.__name__}-{self._given}", pure=False)

    def _one(self, task: Callable[..., Any], *arguments: Any) -> Any:
        return self._all([self._given_out(task, *arguments)])[0]

    def _all(self, futures: Sequence[Future[Any]]) -> list[Any]:
        """What they gave. **Errors**: what stood against one, if it was no loss of workers."""
        from distributed import KilledWorker

        waiting = list(futures)
        while waiting:
            if self.is_stopping():
                raise _WithoutSlices("the run is to stop")
            for future in self.ended(waiting):
                waiting.remove(future)
                if isinstance(future.exception(), KilledWorker):
                    raise _WithoutSlices("several workers were lost while reading it")
                _judge(future.result())
        return [future.result() for future in futures]


class _WithoutSlices(Exception):
    """Each shard is to read the list itself."""


def _judge(said: Any) -> None:
    if not isinstance(said, Trouble):
        return
    if said.kind == TooMuchToHoldError.__name__:
        raise _WithoutSlices("it cannot be cut, and is too large for one worker to hold")
    made: Callable[..., ImporterError] = getattr(errors, said.kind, ImporterError)
    raise made(said.message, hint=said.hint)


def _wrongly_cut(layout: Layout, better: Layout) -> set[int]:
    """The files that were not cut well."""
    return {each.info.file_no for each in set(layout.stretches) - set(better.stretches)}


def _beside(layout: Layout, done: Joined) -> list[tuple[Stretch, int]]:
    return list(zip(layout.stretches, done.bases, strict=True))
