"""How long a do-not-call list of a given size takes to load, keep, open again and look up, and in how much memory.

    python benchmarks/dnc.py                      # 10 million numbers
    python benchmarks/dnc.py --numbers 250        # 250 million: the size of a national registry
    python benchmarks/dnc.py --file               # also as `importer dnc import` reads it, from a text file

The numbers are invented: random ones of North America's plan, a few per cent of all there could be, which is about as
thin as a national registry and so as unkind to a bitmap. They arrive sorted, as registries are, in portions.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from array import array
from collections.abc import Iterator
from pathlib import Path

import polars as pl
from pyroaring import BitMap64

from importer.intake.suppress import read_suppression
from importer.ledger import Ledger, number_set
from importer.machine import this_process

FIRST, LAST = 12_000_000_000, 19_999_999_999
PORTION = 2_000_000
LOOK_UPS = 2_000_000


def portions(count: int) -> Iterator[pl.Series]:
    """About `count` random numbers, sorted, in portions: each has its own share of the plan."""
    pieces = max(1, count // PORTION)
    width = (LAST - FIRST) // pieces
    for piece in range(pieces):
        low = FIRST + piece * width
        picked = pl.select((pl.int_range(min(PORTION, count)).hash(seed=piece) % width).cast(pl.Int64) + low)
        yield picked.to_series().unique().sort()


def peak_mib() -> float:
    scale = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def told(what: str, count: int, started_s: float) -> None:
    took_s = time.perf_counter() - started_s
    print(f"{what:44} {count:>13,}  {took_s:8.2f} s  {count / took_s / 1e6:7.1f} M/s  peak {peak_mib():7,.0f} MiB")


def gather(count: int) -> BitMap64:
    numbers = BitMap64()
    for portion in portions(count):
        numbers |= number_set(array("Q", portion.to_list()))
    return numbers


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    options.add_argument("--numbers", type=float, default=10, help="millions of numbers")
    options.add_argument("--file", action="store_true", help="read them from a text file as well")
    asked = options.parse_args()
    count = int(asked.numbers * 1e6)
    print(f"{'before anything':44} {'':>13}  {'':10}  {'':11}  peak {peak_mib():7,.0f} MiB")
    with tempfile.TemporaryDirectory() as folder:
        keep_and_look_up(Path(folder), count)
        if asked.file:
            read_file(Path(folder), count)


def keep_and_look_up(folder: Path, count: int) -> None:
    started_s = time.perf_counter()
    numbers = gather(count)
    size = len(numbers)
    told("made into a set (drawing them included)", size, started_s)
    with Ledger(folder / "ledger.db", this_process(""), now_ms=0) as ledger:
        started_s = time.perf_counter()
        ledger.dnc.replace_list("registry", numbers, {}, now_ms=0)
        told("kept in the ledger", size, started_s)
    del numbers
    bytes_each = (folder / "ledger.db").stat().st_size / size
    print(
        f"{'':44} {(folder / 'ledger.db').stat().st_size / 2**20:>13,.0f}  MiB on disk, {bytes_each:.2f} bytes a number"
    )
    # Sorted within each chunk, as intake asks.
    asked = pl.select(pl.int_range(LOOK_UPS).hash(seed=10**6) % (LAST - FIRST) + FIRST).to_series()
    chunks = [asked[at : at + 100_000].sort().to_list() for at in range(0, LOOK_UPS, 100_000)]
    with Ledger(folder / "ledger.db", this_process(""), now_ms=0) as ledger:
        started_s = time.perf_counter()
        ledger.dnc.hits(chunks[0])
        told("first look-up, which loads every part", 100_000, started_s)
        started_s = time.perf_counter()
        found = sum(len(ledger.dnc.hits(chunk)) for chunk in chunks)
        told(f"looked up in chunks of 100,000 ({found:,} hits)", LOOK_UPS, started_s)


def read_file(folder: Path, count: int) -> None:
    path = folder / "registry.csv"
    with path.open("w", encoding="ascii") as file:
        file.write("phone\n")
        for portion in portions(count):
            file.write("\n".join(map(str, portion.to_list())) + "\n")
    started_s = time.perf_counter()
    found = read_suppression(str(path), region=None, column=None, spool_dir=folder)
    told("read from a file, each number checked", found.read_rows, started_s)


if __name__ == "__main__":
    main()
