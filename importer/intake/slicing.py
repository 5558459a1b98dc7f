"""A list read in stretches, each row once, and handed on as slices: what of a stretch one shard is to take in.

Floor: intake, pure. Whose a row is, is found as a shard finds it that reads the whole list; a row without a usable
number belongs by its place, so it waits until it is known how many rows stand before its stretch. A newcomer may
question that a shard judges its slice again: so what it takes in is decided in one place only, and a slice may hold
too much, never too little, which the counts prove.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl
from pyroaring import BitMap64

from importer.errors import ImporterError, ListProblem
from importer.intake.plan import Plan
from importer.intake.share import place_of
from importer.intake.splitting import judge_and_split
from importer.phones import METADATA_VERSION
from importer.shards import Shard, shard_column
from importer.sources import Chunk, FileCount, FileInfo, LeftOut, Position, RowList, Stamped, Tally
from importer.sources.apart import Here
from importer.sources.records import BAD_SCHEMA

ROW_NO, SHARD, EXTRA = "importer_row_no", "importer_shard", "importer_extra"  # beside the list's own columns


UNEDITED = ""  # instead of a hash: the very file that was cut, going by its stamp


class SlicesDoNotFitError(ImporterError):
    """Slices were made under another plan, or by a worker that knows other numbers; the list is to be read whole."""


class TooMuchToHoldError(ImporterError):
    """A stretch that cannot be cut is more than a worker should hold; every shard is to read the list itself."""


def sign_of(plan: Plan, of: int) -> str:
    """Everything that decides which of so many shards a row belongs to."""
    names = ("phone_column", "region_column", "region", "accept", "types", "bare", "split_cells")
    said = plan.as_mapping()
    return json.dumps([of, METADATA_VERSION, {name: said.get(name) for name in names}], sort_keys=True)


# --- a stretch is sorted out ------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Counted:
    """What reading a stretch came to; see Tally. **Units**: rows."""

    file_no: int
    read_rows: int
    witness_rows: int
    bad_rows: int
    sha256: str
    last_row_no: int
    is_open: bool


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Sorted:
    """A stretch by shards: the rows with a number, and apart those whose shard their place will decide.

    Row numbers are those of the stretch; `own_rows` of each shard counts rows after cells with several numbers were
    taken apart. Frames are Arrow, packed.
    """

    counted: Counted
    sign: str
    placed: dict[int, bytes]
    own_rows: dict[int, int]
    loose: bytes
    bad: bytes
    row_nos: bytes
    extra: bytes


@dataclass(kw_only=True)
class Sorter:
    """Takes the chunks of one stretch and sorts their rows. At most `most_bytes` are held."""

    plan: Plan
    of: int
    most_bytes: int
    _placed: list[pl.DataFrame] = field(default_factory=list)
    _loose: list[pl.DataFrame] = field(default_factory=list)
    _bad: list[pl.DataFrame] = field(default_factory=list)
    _owned: list[pl.DataFrame] = field(default_factory=list)
    _extra: list[pl.DataFrame] = field(default_factory=list)
    _row_nos: BitMap64 = field(default_factory=BitMap64)
    _held_bytes: int = 0

    def add(self, chunk: Chunk) -> None:
        """Sorts a chunk. **Errors**: TooMuchToHoldError."""
        self._held_bytes += int(chunk.rows.estimated_size() + chunk.bad.estimated_size())
        if self._held_bytes > self.most_bytes:
            raise TooMuchToHoldError(f"More than {self.most_bytes:,} bytes in one stretch.")
        split = judge_and_split(chunk, self.plan)
        told = split.judged.select(
            split.chunk.row_nos.alias(ROW_NO),
            pl.col("reason").is_null().alias("is_good"),
            shard_column(pl.col("e164"), self.of).alias(SHARD),
        )
        owners = told.filter("is_good").select(ROW_NO, SHARD)
        rows = chunk.rows.with_columns(chunk.row_nos.alias(ROW_NO))
        if split.more_rows:
            placed = rows.join(owners.unique(), on=ROW_NO, how="inner", maintain_order="left")
            self._extra.append(_taken_apart(owners))
            loose = rows.join(owners, on=ROW_NO, how="anti")
        else:
            both = rows.with_columns(told[SHARD])
            placed, loose = both.filter(told["is_good"]), rows.filter(~told["is_good"])
        self._owned.append(owners[SHARD].value_counts(name="rows"))
        self._placed.append(placed)
        self._loose.append(loose)
        self._bad.append(chunk.bad)
        for numbers in (chunk.row_nos, chunk.bad["row_no"]):
            _add_runs(self._row_nos, numbers)

    def done(self, file_no: int, tally: Tally, columns: Sequence[str]) -> Sorted:
        """The stretch, after its last chunk."""
        schema = dict.fromkeys(columns, pl.String()) | {ROW_NO: pl.Int64()}
        placed = _joined(self._placed, {**schema, SHARD: pl.Int64()}).sort(SHARD, maintain_order=True)
        bad = _joined(self._bad, BAD_SCHEMA)
        owned = _joined(self._owned, {SHARD: pl.Int64(), "rows": pl.UInt32()})
        self._row_nos.run_optimize()
        return Sorted(
            counted=Counted(
                file_no=file_no,
                read_rows=tally.read_rows,
                witness_rows=tally.witness_rows,
                bad_rows=bad.height,
                sha256=tally.sha256,
                last_row_no=tally.last_row_no,
                is_open=tally.is_open,
            ),
            sign=sign_of(self.plan, self.of),
            placed={number: packed(frame) for number, frame in _by_shard(placed)},
            own_rows=dict(owned.group_by(SHARD).sum().iter_rows()),
            loose=packed(_joined(self._loose, schema)),
            bad=packed(bad),
            row_nos=self._row_nos.serialize(),
            extra=packed(_joined(self._extra, {ROW_NO: pl.Int64(), EXTRA: pl.Int64()})),
        )


def sorted_whole(row_list: RowList, sorter: Callable[[], Sorter]) -> list[Sorted]:
    """A list that is read by one process only, each file of it as a stretch."""
    sorters = [sorter() for _ in row_list.files]
    for chunk in row_list.chunks():
        sorters[chunk.file_no].add(chunk)
    return [
        each.done(
            count.file_no,
            Tally(read_rows=count.read_rows, witness_rows=count.witness_rows, sha256=count.sha256),
            row_list.columns,
        )
        for each, count in zip(sorters, row_list.counts, strict=True)
    ]


def _taken_apart(owners: pl.DataFrame) -> pl.DataFrame:
    """The rows that became several, and how many more."""
    counted = owners.group_by(ROW_NO).len().filter(pl.col("len") > 1)
    return counted.select(ROW_NO, (pl.col("len").cast(pl.Int64) - 1).alias(EXTRA))


def _joined(frames: Sequence[pl.DataFrame], schema: Mapping[str, Any]) -> pl.DataFrame:
    return pl.concat(frames) if frames else pl.DataFrame(schema=schema)


def _by_shard(placed: pl.DataFrame) -> Iterator[tuple[int, pl.DataFrame]]:
    """The rows of each shard, of rows sorted by shard."""
    at = 0
    for number, rows in placed.group_by(SHARD, maintain_order=True).len().iter_rows():
        yield number, placed.slice(at, rows).drop(SHARD)
        at += rows


def _add_runs(numbers: BitMap64, more: pl.Series) -> None:
    """Adds ascending numbers, run by run."""
    if not more.len():
        return
    is_first = (more.diff() != 1).fill_null(value=True)
    firsts = more.filter(is_first).to_list()
    lasts = more.filter(is_first.shift(-1, fill_value=True)).to_list()
    for first, last in zip(firsts, lasts, strict=True):
        numbers.add_range(first, last + 1)


def packed(frame: pl.DataFrame) -> bytes:
    """A frame as bytes of its own: none of the text beside it."""
    buffer = io.BytesIO()
    frame.write_ipc_stream(buffer, compression="lz4", compat_level=pl.CompatLevel.oldest())
    return buffer.getvalue()


def unpacked(content: bytes) -> pl.DataFrame:
    """The frame that was packed."""
    return pl.read_ipc_stream(io.BytesIO(content))


# --- and handed on ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Slice:
    """What of a stretch one shard is to take in; its first row is number `base` + 1 of the file.

    `own_rows` are to come of it, whoever judges it; `row_nos` are all rows of the stretch, whoever's they are.
    """

    file_no: int
    base: int
    sha256: str
    sign: str
    own_rows: int
    placed: bytes | None
    loose: bytes
    bad: bytes
    row_nos: bytes
    extra: bytes


def slices_of(stretch: Sorted, base: int, of: int) -> dict[int, Slice]:
    """A slice for each of so many shards, now that it is known how many row numbers were taken before."""
    file_no = stretch.counted.file_no
    loose, bad = unpacked(stretch.loose), unpacked(stretch.bad)
    loose = loose.with_columns(_shard_of_place(file_no, loose[ROW_NO] + base, of))
    bad = bad.with_columns(_shard_of_place(file_no, bad["row_no"] + base, of))
    some_loose, some_bad = (dict(_by_shard(frame.sort(SHARD, maintain_order=True))) for frame in (loose, bad))
    no_loose, no_bad = loose[:0].drop(SHARD), bad[:0].drop(SHARD)
    made = {}
    for number in range(1, of + 1):
        own_loose, own_bad = some_loose.get(number, no_loose), some_bad.get(number, no_bad)
        made[number] = Slice(
            file_no=file_no,
            base=base,
            sha256=stretch.counted.sha256,
            sign=stretch.sign,
            own_rows=stretch.own_rows.get(number, 0) + own_loose.height + own_bad.height,
            placed=stretch.placed.get(number),
            loose=packed(own_loose),
            bad=packed(own_bad),
            row_nos=stretch.row_nos,
            extra=stretch.extra,
        )
    return made


def _shard_of_place(file_no: int, row_nos: pl.Series, of: int) -> pl.Series:
    return pl.select(shard_column(pl.lit(place_of(file_no, row_nos)), of)).to_series().alias(SHARD)


# --- and read as a list -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class WholeList:
    """What is known of a list after all of its stretches were read. `hashes` are those of the stretches, in order."""

    files: tuple[FileInfo, ...]
    columns: tuple[str, ...]
    counts: tuple[FileCount, ...]
    hashes: tuple[str, ...]


class SlicedList(RowList):
    """One shard's slices of a list, walked as the list is that it reads whole.

    **Law** `test_slices_are_taken_in_as_the_whole_list_is`: its rows, their numbers, and what is counted and kept.
    """

    def __init__(self, whole: WholeList, slices: Sequence[Slice], chunk_rows: int) -> None:
        super().__init__(files=(), infos=whole.files, shapes=(), readers=(), chunk_rows=chunk_rows, opener=Here())
        self.columns = whole.columns
        self._whole = whole
        self._slices = slices
        self._counts = whole.counts

    def judge_fit(self, plan: Plan, shard: Shard | None) -> None:
        """**Errors**: SlicesDoNotFitError; ListProblem where a stretch was read again, and was not the same."""
        sign = None if shard is None else sign_of(plan, shard.of)
        if any(each.sign != sign for each in self._slices):
            raise SlicesDoNotFitError("The list was cut for another plan.")
        found = [(each.sha256, expected) for each, expected in zip(self._slices, self._whole.hashes, strict=True)]
        if any(sha256 not in (expected, UNEDITED) for sha256, expected in found):
            raise ListProblem(
                "The list changed while it was being read in stretches.",
                hint="Nothing was sent from it. Wait until whoever writes it has finished, then run the same command.",
            )

    def judge_elsewhere(self, elsewhere_rows: int) -> None:
        """Holds the rows that were left to other shards against what those who read the list counted for them.

        **Errors**: ListProblem when they are not as many: nothing was sent.
        """
        all_rows = sum(len(BitMap64.deserialize(each.row_nos)) for each in self._slices)
        all_rows += sum(int(unpacked(each.extra)[EXTRA].sum()) for each in self._slices)
        own_rows = sum(each.own_rows for each in self._slices)
        if all_rows - own_rows != elsewhere_rows:
            raise ListProblem(
                f"{all_rows - elsewhere_rows:,} rows of this shard were taken in, and {own_rows:,} were found for it "
                "when the list was read.",
                hint="Nothing was sent. Run the shard by itself (--shard, without --engine), and please report this.",
            )

    def is_same_content(self, file_no: int, stamp: Stamped, sha256: str | None) -> bool:
        """Whether the file was one of this stamp, or content, when it was read."""
        info = self.files[file_no]
        names = ("inode", "size_bytes", "mtime_ns", "ctime_ns")
        is_unedited = not info.is_spooled and all(getattr(stamp, name) == getattr(info, name) for name in names)
        return is_unedited or (sha256 is not None and sha256 == self._whole.counts[file_no].sha256)

    def chunks(self, start: Position | None = None, *, most_rows: int | None = None) -> Iterator[Chunk]:
        """The shard's rows from `start` on, and how many others there are between them."""
        chunk_rows = min(self._chunk_rows, most_rows or self._chunk_rows)
        for each in self._slices:
            if start is None or each.file_no >= start.file_no:
                is_inside = start is not None and each.file_no == start.file_no
                before = start.row_no - 1 - each.base if start is not None and is_inside else 0
                yield from self._chunks_of(each, max(before, 0), chunk_rows)

    def _chunks_of(self, each: Slice, before: int, chunk_rows: int) -> Iterator[Chunk]:
        """The rows of a slice behind a row number. Each chunk reaches to its last row, the last to the stretch's."""
        everybody = BitMap64.deserialize(each.row_nos)
        if not everybody or everybody.max() <= before:
            return
        frames = [unpacked(content) for content in (each.placed, each.loose) if content is not None]
        rows = pl.concat(frames).filter(pl.col(ROW_NO) > before).sort(ROW_NO)
        bad, extra = unpacked(each.bad).filter(pl.col("row_no") > before), unpacked(each.extra)
        own = pl.concat([rows[ROW_NO], bad["row_no"]]).sort()
        ends = [*own.gather_every(chunk_rows, chunk_rows - 1).to_list()[: own.len() // chunk_rows]]
        last = everybody.max()
        for after, upto in _steps(before, [*(end for end in ends if end != own[-1]), last]):
            is_in = pl.col(ROW_NO).is_between(after, upto, closed="right")
            piece, cut = rows.filter(is_in), bad.filter(pl.col("row_no").is_between(after, upto, closed="right"))
            others = extra.filter(is_in).join(piece.select(ROW_NO), on=ROW_NO, how="anti")
            yield Chunk(
                file_no=each.file_no,
                rows=piece.drop(ROW_NO),
                row_nos=(piece[ROW_NO] + each.base).alias("row_no"),
                bad=cut.with_columns(pl.col("row_no") + each.base),
                left_out=LeftOut(
                    rows=everybody.rank(upto) - everybody.rank(after) - piece.height - cut.height,
                    more_rows=int(others[EXTRA].sum()),
                    last_row_no=upto + each.base,
                ),
            )


def _steps(before: int, ends: Iterable[int]) -> Iterator[tuple[int, int]]:
    for end in ends:
        yield before, end
        before = end
