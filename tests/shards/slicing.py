"""A list handed on in slices, as a cluster does it, in this process."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from importer.intake import Plan
from importer.intake.joining import cut_files, joined, mended
from importer.intake.slicing import Slice, SlicedList, Sorted, Sorter, WholeList, slices_of
from importer.sources import ReadOptions, RowList, Tally, open_list
from importer.sources.apart import Here
from importer.sources.stretches import Layout, Stretch, file_hashes, layout_of, read_stretch

MUCH_BYTES = 1 << 30


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A list after it was read in stretches."""

    whole: WholeList
    stretches: tuple[Stretch, ...]
    slices: list[dict[int, Slice]]
    readings: int

    def of(self, number: int, chunk_rows: int = 65_536) -> SlicedList:
        """One shard's list."""
        return SlicedList(self.whole, [each[number] for each in self.slices], chunk_rows)


def opened(paths: list[Path], options: ReadOptions) -> RowList:
    """The list as it is read whole."""
    return open_list(
        [str(path) for path in paths], options, stdin=io.BytesIO(), spool_dir=paths[0].parent, opener=Here()
    )


def sorted_stretch(stretch: Stretch, layout: Layout, options: ReadOptions, plan: Plan, of: int) -> Sorted:
    sorter, tally = Sorter(plan=plan, of=of, most_bytes=MUCH_BYTES), Tally()
    for chunk in read_stretch(stretch, layout.columns, options, Here(), tally):
        sorter.add(chunk)
    return sorter.done(stretch.info.file_no, tally, layout.columns)


def cut_up(
    paths: list[Path],
    options: ReadOptions,
    plan_for: Callable[[tuple[str, ...]], Plan],
    *,
    of: int,
    stretch_bytes: int,
    meanwhile: Callable[[], None] = lambda: None,
) -> Cut:
    """Every stretch read once, and again where a cut proved wrong. `meanwhile` is called after the first reading."""
    with opened(paths, options) as row_list:
        layout = layout_of(row_list, options, stretch_bytes=stretch_bytes)
    assert layout is not None
    plan = plan_for(layout.columns)
    known: dict[Stretch, Sorted] = {}
    while True:
        for each in layout.stretches:
            known[each] = known.get(each) or sorted_stretch(each, layout, options, plan, of)
        counted = [known[each].counted for each in layout.stretches]
        better = mended(layout, counted)
        if better is layout:
            break
        layout = better
    meanwhile()
    hashes = {file_no: file_hashes(stretches) for file_no, stretches in cut_files(layout).items()}
    done = joined(layout, counted, hashes)
    return Cut(
        whole=done.whole,
        stretches=layout.stretches,
        slices=[slices_of(known[each], base, of) for each, base in zip(layout.stretches, done.bases, strict=True)],
        readings=len(known),
    )
