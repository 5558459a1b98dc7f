"""Stretches put together: whether every cut lies between two records, which row each begins with, what the files held.

Floor: intake, pure. Nobody has read a whole file by then, so what one reading knows by itself is proved here: that no
record was cut, that each byte was read as it stands in the file, that rows are as many as were counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from importer.errors import ListProblem
from importer.intake.slicing import UNEDITED, Counted, WholeList
from importer.sources import FileCount
from importer.sources.records import WHOLE, Span
from importer.sources.rowlist import judge_bearable
from importer.sources.stretches import Layout, Stretch, changed

Hashes = tuple[str, tuple[str, ...]]  # of a file that was cut, and of its stretches where they are of bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Joined:
    """A list after all its stretches were read. `bases` are the row numbers taken before each."""

    whole: WholeList
    bases: tuple[int, ...]


def cut_files(layout: Layout) -> dict[int, list[Stretch]]:
    """The files that more than one stretch is of, each with these."""
    of_files: dict[int, list[Stretch]] = {}
    for each in layout.stretches:
        of_files.setdefault(each.info.file_no, []).append(each)
    return {file_no: stretches for file_no, stretches in of_files.items() if len(stretches) > 1}


def mended(layout: Layout, counted: Sequence[Counted]) -> Layout:
    """The layout without the cuts that lie inside a record, or before the header; the same where there are none.

    A stretch behind such a cut began in the wrong place, so what it says of its own end counts only when it is read
    again. So does what it holds.
    """
    kept: list[Stretch] = []
    for stretch, before in zip(layout.stretches, [None, *counted], strict=False):
        if (
            before is not None
            and stretch.span.start > 0
            and (before.is_open or _is_before_the_header(kept[-1], before))
        ):
            kept[-1] = replace(kept[-1], span=Span(start=kept[-1].span.start, end=stretch.span.end))
        else:
            kept.append(stretch)
    return layout if len(kept) == len(layout.stretches) else replace(layout, stretches=tuple(kept))


def _is_before_the_header(stretch: Stretch, counted: Counted) -> bool:
    return stretch.span.start == 0 and stretch.info.format == "csv" and not counted.witness_rows


def uncut(layout: Layout, file_nos: set[int]) -> Layout:
    """The layout with these files in one stretch each."""
    kept = [each for each in layout.stretches if each.info.file_no not in file_nos or each.span.start == 0]
    whole = [replace(each, span=WHOLE) if each.info.file_no in file_nos else each for each in kept]
    return replace(layout, stretches=tuple(whole))


def joined(layout: Layout, counted: Sequence[Counted], hashes: Mapping[int, Hashes]) -> Joined:
    """What the list is, now that no cut lies inside a record. `hashes` are those of the files that were cut.

    **Errors**: ListProblem for counts that disagree, for a file that is hardly a list, and where a stretch holds other
    bytes than the file.
    """
    bases: list[int] = []
    for stretch, before in zip(layout.stretches, [None, *counted], strict=False):
        goes_on = before is not None and stretch.span.start > 0 and stretch.info.format == "csv"
        bases.append(bases[-1] + before.last_row_no if goes_on and before is not None else 0)
    for file_no in cut_files(layout):
        _judge_bytes(layout, file_no, counted, hashes[file_no])
    counts = tuple(_count(layout, info.file_no, counted, hashes) for info in layout.files)
    found = zip(layout.stretches, counted, strict=True)
    return Joined(
        whole=WholeList(
            files=layout.files,
            columns=layout.columns,
            counts=counts,
            hashes=tuple(each.sha256 or counts[stretch.info.file_no].sha256 for stretch, each in found),
        ),
        bases=tuple(bases),
    )


def _judge_bytes(layout: Layout, file_no: int, counted: Sequence[Counted], hashes: Hashes) -> None:
    whole, each = hashes
    found = [one.sha256 for one in counted if one.file_no == file_no]
    is_same = found == list(each) if each else all(sha256 in (UNEDITED, whole) for sha256 in found)
    if not is_same:
        raise changed(layout.files[file_no].name)


def _count(layout: Layout, file_no: int, counted: Sequence[Counted], hashes: Mapping[int, Hashes]) -> FileCount:
    found = [each for each in counted if each.file_no == file_no]
    read, witness = sum(each.read_rows for each in found), sum(each.witness_rows for each in found)
    name = layout.files[file_no].name
    if read != witness:
        raise ListProblem(
            f"{name}: {read} rows were read, but it holds {witness}",
            hint="Nothing was sent from it. Save the list anew and try that.",
        )
    good = bad = 0
    for each in found:
        good, bad = good + each.read_rows - each.bad_rows, bad + each.bad_rows
        judge_bearable(name, good, bad)
    sha256 = hashes[file_no][0] if file_no in hashes else found[0].sha256
    return FileCount(file_no=file_no, read_rows=read, witness_rows=witness, sha256=sha256)
