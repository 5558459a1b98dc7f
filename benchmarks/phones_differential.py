"""Compares the compiled reading with `phonenumbers` on millions of strings: `python benchmarks/phones_differential.py`.

Floor: benchmarks. Strings are made from the seed, in pieces for one region each, or with a region for each row. Every
column of a reading is compared, so verdict, E.164, region, type and fault. Prints mismatches grouped by region and
columns; exit 1 if there is any.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import phonenumbers
import polars as pl

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "phones"))

import phone_strings

from importer.phones import METADATA_VERSION, compiled, reference
from importer.phones.columns import NO_REGION, UNKNOWN_REGION
from importer.phones.homes import Homes, homes_of

MIXED = "mixed"  # a region of its own for each row
_PIECE_ROWS = 5_000
_SHOWN_PER_GROUP = 3


@dataclass(kw_only=True)
class Outcome:
    """What one piece showed."""

    rows: int = 0
    fallback_rows: int = 0
    compiled_s: float = 0.0
    reference_s: float = 0.0
    mismatches: Counter[tuple[str, str]] = field(default_factory=Counter)
    shown: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def add(self, other: Outcome) -> None:
        self.rows += other.rows
        self.fallback_rows += other.fallback_rows
        self.compiled_s += other.compiled_s
        self.reference_s += other.reference_s
        self.mismatches += other.mismatches
        for group, lines in other.shown.items():
            self.shown[group] = (self.shown.get(group, []) + lines)[:_SHOWN_PER_GROUP]


def main() -> int:
    options = _options()
    started = time.perf_counter()
    total = Outcome()
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        for outcome in pool.map(check_piece, _pieces(options.count, options.seed)):
            total.add(outcome)
            if total.rows % 500_000 < _PIECE_ROWS:
                print(f"{total.rows:>12,} rows, {total.mismatches.total()} mismatches", file=sys.stderr, flush=True)
    _print(total, options, time.perf_counter() - started)
    return 1 if total.mismatches else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000_000, help="how many strings (default: 10 million)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2, help="processes (default: 2)")
    return parser.parse_args()


def _pieces(count: int, seed: int) -> Iterator[tuple[int, str, int]]:
    """A seed, a region and a number of rows for each piece: every region in turn, a third as often none or any."""
    chance = random.Random(seed)
    regions: list[str] = []
    for start in range(0, count, _PIECE_ROWS):
        if not regions:
            others = [NO_REGION, MIXED] * (len(phone_strings.REGIONS) // 6) + [UNKNOWN_REGION] * 3
            regions = chance.sample([*phone_strings.REGIONS, *others], k=len(phone_strings.REGIONS) + len(others))
        yield chance.getrandbits(48), regions.pop(), min(_PIECE_ROWS, count - start)


def check_piece(piece: tuple[int, str, int]) -> Outcome:
    """Reads one piece both ways."""
    phonenumbers.enable_pattern_cache()
    seed, region, count = piece
    cells, homes = _cells_and_homes(random.Random(seed), region, count)
    at_start = time.perf_counter()
    ours = compiled.read_homes(cells, homes)
    between = time.perf_counter()
    theirs = reference.read_homes(cells, homes)
    outcome = Outcome(
        rows=count,
        fallback_rows=len(ours.filter(pl.col("is_fallback"))),
        compiled_s=between - at_start,
        reference_s=time.perf_counter() - between,
    )
    ours, theirs = ours.drop("is_fallback"), theirs.drop("is_fallback")
    if not ours.equals(theirs):
        _compare(cells, region, ours, theirs, outcome)
    return outcome


def _cells_and_homes(chance: random.Random, region: str, count: int) -> tuple[pl.Series, Homes]:
    if region != MIXED:
        return pl.Series("cell", list(phone_strings.cells(chance, region, count))), Homes(region=region)
    regions = chance.choices([*phone_strings.REGIONS, NO_REGION, UNKNOWN_REGION], k=count)
    cells = [phone_strings.cell(chance, each) for each in regions]
    return pl.Series("cell", cells), homes_of(pl.Series(regions), None)


def _compare(cells: pl.Series, region: str, ours: pl.DataFrame, theirs: pl.DataFrame, outcome: Outcome) -> None:
    for cell, our, their in zip(cells, ours.rows(), theirs.rows(), strict=True):
        if our != their:
            columns = [name for name, one, other in zip(ours.columns, our, their, strict=True) if one != other]
            group = (region or "(none)", ",".join(columns))
            outcome.mismatches[group] += 1
            outcome.shown.setdefault(group, []).append(f"{cell!r}\n      ours   {our}\n      theirs {their}")


def _print(total: Outcome, options: argparse.Namespace, elapsed_s: float) -> None:
    print(f"phonenumbers {METADATA_VERSION}, seed {options.seed}, {total.rows:,} strings in {elapsed_s:.0f} s")
    print(f"mismatches: {total.mismatches.total():,}")
    print(f"left to phonenumbers: {total.fallback_rows / total.rows:.2%} (these strings are far worse than a list)")
    print(f"time in compiled reading {total.compiled_s:.0f} s, in phonenumbers {total.reference_s:.0f} s")
    for group, count in total.mismatches.most_common():
        print(f"  {count:,} × region {group[0]}, columns {group[1]}")
        for line in total.shown.get(group, []):
            print(f"    {line}")


if __name__ == "__main__":
    sys.exit(main())
