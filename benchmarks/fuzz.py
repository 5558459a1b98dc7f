"""Broken lists of every kind, made at random and read: `make fuzz MINUTES=5 SEED=1`.

Every list, however broken, is either refused with a ListProblem or read with every row accounted for: good and bad
rows are as many as both counts say, each has its own number, and small chunks, a start in the middle, or reading it in
stretches change nothing.
It may take neither long nor much memory. A list that breaks this is kept in the folder `fuzz-failures`, and the exit
code is 1. The same SEED makes the same lists, however far one gets with them.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl

from importer.errors import ListProblem
from importer.intake.joining import cut_files, joined, mended
from importer.intake.slicing import Counted
from importer.sources import Position, ReadOptions, RowList, Tally, open_list
from importer.sources.apart import Apart
from importer.sources.stretches import Layout, Stretch, file_hashes, layout_of, read_stretch

TOKENS = (
    b'"', b'""', b"'", b",", b";", b"\t", b"|", b"\n", b"\r", b"\r\n", b"\0", b"\x1f", b"\xff", b"\xef\xbb\xbf",
    b"{", b"}", b"[", b"]", b":", b"null", b"\\", b"\\ud800", b"\\u0000", b"NaN", b"1e400", b"=1+1",
    b"importer_reason", b"PAR1", b"PK\x03\x04",
)  # fmt: skip
OPTIONS = ReadOptions(max_cell_bytes=4_096)
CASE_S = 60.0
MEMORY_KIB = 2 << 20
FAILURES = Path("fuzz-failures")


def text_rows(chance: random.Random) -> list[list[str]]:
    words = ["Ann", "Öl & Co", 'say "hi"', "two\nlines", "", "a,b", "Анна", "'x", "16505550100", '24" screen']
    width = chance.randint(1, 6)
    names = ["phone", *(f"column {number}" for number in range(1, width))]
    rows = (
        [f"1650555{chance.randrange(10_000):04}", *chance.choices(words, k=width - 1)]
        for _ in range(chance.randint(0, 60))
    )
    return [names, *rows]


def csv_list(chance: random.Random) -> bytes:
    delimiter, end = chance.choice(",;\t|"), chance.choice(["\n", "\r\n", "\r"])

    def cell(text: str) -> str:
        return '"' + text.replace('"', '""') + '"' if any(c in text for c in f'{delimiter}"\n') else text

    text = "".join(delimiter.join(map(cell, row)) + end for row in text_rows(chance))
    return text.encode(chance.choice(["utf-8", "utf-8-sig", "cp1251", "utf-16"]), "replace")


def json_list(chance: random.Random) -> bytes:
    names, *rows = text_rows(chance)
    values = (
        dict(zip(names, row, strict=True)) | {"n": chance.choice([1, None, 1.5, [1], {"a": "b"}])} for row in rows
    )
    return "".join(json.dumps(value, ensure_ascii=chance.random() < 0.5) + "\n" for value in values).encode()


def parquet_list(chance: random.Random) -> bytes:
    count, content = chance.randint(0, 200), io.BytesIO()
    columns: dict[str, object] = {"phone": [16505550000 + number for number in range(count)]}
    if chance.random() < 0.5:
        columns["nested"] = [{"a": [number]} for number in range(count)]
    packing = chance.choice(["zstd", "snappy", "uncompressed"])
    pl.DataFrame(columns).write_parquet(content, row_group_size=50, compression=packing)
    return content.getvalue()


def packed_list(chance: random.Random) -> bytes:
    return gzip.compress(csv_list(chance), mtime=0)


MAKERS: dict[str, Callable[[random.Random], bytes]] = {
    "csv": csv_list, "jsonl": json_list, "parquet": parquet_list, "csv.gz": packed_list,
}  # fmt: skip


def broken(data: bytes, chance: random.Random) -> bytes:
    """The bytes with a few accidents: flipped, cut, put in, taken out, doubled."""
    made = bytearray(data)
    for _ in range(chance.choice([0, 1, 1, 2, 5])):
        at, to = sorted(chance.randint(0, len(made)) for _ in range(2))
        to = min(to, at + chance.choice([1, 10, 1_000]))
        match chance.randrange(5):
            case 0 if at < len(made):
                made[at] ^= 1 << chance.randrange(8)
            case 1:
                made[at:at] = chance.choice(TOKENS) * chance.choice([1, 1, 1, 2, 2_000])
            case 2:
                del made[at:to]
            case 3:
                made[at:at] = made[at:to]
            case _ if chance.random() < 0.3:
                del made[at:]
    return bytes(made)


def opened(path: Path, chunk_rows: int) -> RowList:
    return open_list([str(path)], replace(OPTIONS, chunk_rows=chunk_rows), stdin=io.BytesIO(), spool_dir=path.parent)


def rows_of(rows: RowList, start: Position | None = None) -> list[tuple[int, object]]:
    """Every row with its number: its cells, or why it is bad."""
    found: list[tuple[int, object]] = []
    for chunk in rows.chunks(start):
        assert chunk.rows.height == chunk.row_nos.len(), "rows and their numbers differ"
        found += zip(chunk.row_nos.to_list(), chunk.rows.rows(), strict=True)
        found += [(bad[0], bad[1:]) for bad in chunk.bad.rows()]
    return sorted(found, key=lambda row: row[0])


def rows_in_stretches(path: Path, stretch_bytes: int) -> list[tuple[int, object]]:
    """Every row as it is read in stretches, those that were cut wrongly again; with its number in the whole list."""
    with opened(path, 50_000) as rows:
        layout = layout_of(rows, OPTIONS, stretch_bytes=stretch_bytes)
    assert layout is not None, "a file is read in place"
    while True:
        read = [_stretch(each, layout) for each in layout.stretches]
        better = mended(layout, [counted for _, counted in read])
        if better is layout:
            break
        layout = better
    hashes = {file_no: file_hashes(stretches) for file_no, stretches in cut_files(layout).items()}
    done = joined(layout, [counted for _, counted in read], hashes)
    with opened(path, 50_000) as rows:
        rows_of(rows)
        assert rows.counts == done.whole.counts, "the counts of stretches are others"
    found = zip(read, done.bases, strict=True)
    return [(row_no + base, cells) for (stretch, _), base in found for row_no, cells in stretch]


def _stretch(stretch: Stretch, layout: Layout) -> tuple[list[tuple[int, object]], Counted]:
    tally, found, bad_rows = Tally(), list[tuple[int, object]](), 0
    for chunk in read_stretch(stretch, layout.columns, OPTIONS, Apart(), tally):
        found += zip(chunk.row_nos.to_list(), chunk.rows.rows(), strict=True)
        found += [(bad[0], bad[1:]) for bad in chunk.bad.rows()]
        bad_rows += chunk.bad.height
    counted = Counted(
        file_no=0,
        read_rows=tally.read_rows,
        witness_rows=tally.witness_rows,
        bad_rows=bad_rows,
        sha256=tally.sha256,
        last_row_no=tally.last_row_no,
        is_open=tally.is_open,
    )
    return sorted(found, key=lambda row: row[0]), counted


def judged(path: Path, chance: random.Random) -> str:
    """How the list ended. **Errors**: AssertionError, and whatever else should never be raised."""
    try:
        with opened(path, 50_000) as rows:
            whole = rows_of(rows)
            count = rows.counts[0]
            form = rows.files[0].format
    except ListProblem:
        return "refused"
    numbers = [number for number, _ in whole]
    assert len(set(numbers)) == len(numbers), "two rows have one number"
    assert len(whole) == count.read_rows == count.witness_rows, "the counts do not agree"
    with opened(path, chance.choice([1, 2, 7])) as rows:
        assert rows_of(rows) == whole, "small chunks give other rows"
        start = chance.choice(numbers) if numbers else 1
        tail = rows_of(rows, Position(file_no=0, row_no=start))
        assert tail == [row for row in whole if row[0] >= start], "from the middle the rows are others"
    size_bytes = path.stat().st_size
    stretch_bytes = chance.choice([size_bytes // 2 + 1, size_bytes // 5 + 1, size_bytes // 9 + 1])
    assert rows_in_stretches(path, stretch_bytes) == whole, "in stretches the rows are others"
    return f"read as {form}"


def tried(number: int, seed: int, folder: Path) -> tuple[str, str | None]:
    """One list: its kind and how it ended, and what is wrong if something is."""
    chance = random.Random(f"{seed} {number}")
    kind = chance.choice(list(MAKERS))
    path = folder / f"list.{kind}"
    path.write_bytes(broken(MAKERS[kind](chance), chance))
    began_s = time.monotonic()
    try:
        ending, wrong = judged(path, chance), None
    except Exception as problem:  # noqa: BLE001 - the point of it all: nothing of the kind may come
        ending, wrong = "failed", f"{type(problem).__name__}: {problem}"
    took_s = time.monotonic() - began_s
    if took_s > CASE_S:
        ending, wrong = "failed", f"took {took_s:.0f} s"
    if wrong:
        FAILURES.mkdir(exist_ok=True)
        (FAILURES / f"{seed}-{number}.{kind}").write_bytes(path.read_bytes())
    return f"{kind}: {ending}", wrong


def main() -> int:
    asked = argparse.ArgumentParser(description="Read broken lists of every kind.")
    asked.add_argument("--minutes", type=float, default=5.0)
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--most", type=int, default=1_000_000, help="At most so many lists.")
    said = asked.parse_args()
    until_s, endings, failures = time.monotonic() + said.minutes * 60, Counter[str](), 0
    with tempfile.TemporaryDirectory(prefix="importer-fuzz-") as folder:
        for number in range(said.most):
            if time.monotonic() > until_s:
                break
            ending, wrong = tried(number, said.seed, Path(folder))
            endings[ending] += 1
            if wrong:
                failures += 1
                print(f"seed {said.seed}, list {number}: {wrong}")
    for ending, count in sorted(endings.items()):
        print(f"{count:8,}  {ending}")
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{endings.total():8,}  lists of seed {said.seed}, {failures} failed; peak memory {peak_kib >> 10:,} MiB")
    return 1 if failures or peak_kib > MEMORY_KIB else 0


if __name__ == "__main__":
    sys.exit(main())
