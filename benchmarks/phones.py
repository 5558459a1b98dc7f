"""How fast numbers are checked, and how many times faster than by `phonenumbers` row by row (`--help` for options).

Floor: benchmarks. Both sides run in this process on the same lists; the row-by-row side gets a sample, once as it
comes and once with its pattern cache on. `phones_peers.py` compares with JavaScript libraries too.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import phonenumbers
import polars as pl

sys.path.insert(0, str(Path(__file__).parents[1]))

from importer.phones import METADATA_VERSION, PhoneRules, check, summarise

_REPEATS = 3
# Ways to write a number; a is the area code, in use or not.
MESSY_RU = (
    "8 ({a}) {b}-{c}-{d}",
    "8{a}{b}{c}{d}",
    "+7 {a} {b} {c} {d}",
    "7{a}{b}{c}{d}",
    "{a} {b}-{c}{d}",
    " 8-{a}-{b}-{c}-{d} ",
)
MESSY_US = (
    "({a}) {b}-{c}{d}",
    "{a}-{b}-{c}{d}",
    "{a}.{b}.{c}{d}",
    "1 {a} {b} {c}{d}",
    "+1 ({a}) {b}-{c}{d}",
    "{a}{b}{c}{d} ext. 12",
)


def main() -> None:
    options = _options()
    chance = random.Random(options.seed)
    lists = (
        List("clean E.164, one country", clean_numbers(chance, options.rows), None),
        List("clean E.164, seven countries", _world(chance, options.rows), None),
        List("messy national, Russia", messy_numbers(chance, options.rows, MESSY_RU), "RU"),
        List("messy national, United States", messy_numbers(chance, options.rows, MESSY_US), "US"),
    )
    print(
        f"phonenumbers {METADATA_VERSION}, {options.rows:,} rows, {pl.thread_pool_size()} threads, best of {_REPEATS}"
    )
    plain = [_row_by_row_speed(one, options.sample_rows) for one in lists]
    phonenumbers.enable_pattern_cache()  # cannot be switched off again, so it comes second
    cached = [_row_by_row_speed(one, options.sample_rows) for one in lists]
    print(
        f"{'rows/s':32}{'check':>12}{'row by row':>12}{'ratio':>7}{'cached':>10}{'ratio':>7}{'fallback':>10}{'kept':>8}"
    )
    for one, slow, less_slow in zip(lists, plain, cached, strict=True):
        _print_row(one, slow, less_slow)


class List(NamedTuple):
    """A column and where it is from."""

    name: str
    cells: pl.Series
    region: str | None


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--sample-rows", type=int, default=20_000, help="rows given to the slow side")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def _row_by_row_speed(one: List, sample_rows: int) -> float:
    sample = one.cells.head(sample_rows).to_list()
    return len(sample) / _best_s(lambda: [checked_alone(cell, one.region) for cell in sample])


def _print_row(one: List, slow: float, less_slow: float) -> None:
    rules = PhoneRules(region=one.region)
    ours = len(one.cells) / _best_s(lambda: check(one.cells, rules))
    counted = summarise(check(one.cells, rules))
    print(
        f"{one.name:32}{ours:>12,.0f}{slow:>12,.0f}{ours / slow:>6.0f}×{less_slow:>10,.0f}{ours / less_slow:>6.0f}×"
        f"{counted.fallback_share:>10.3%}{counted.accepted_rows / counted.rows:>8.1%}"
    )


def _best_s(run: Callable[[], object]) -> float:
    taken = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        run()
        taken.append(time.perf_counter() - started)
    return min(taken)


def checked_alone(cell: str, region: str | None) -> str | None:
    """What a script would do: parse, judge, format, and ask for region and type."""
    try:
        number = phonenumbers.parse(cell, region)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(number):
        return None
    phonenumbers.region_code_for_number(number)
    phonenumbers.number_type(number)
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def clean_numbers(chance: random.Random, rows: int) -> pl.Series:
    areas = ("212", "305", "415", "617", "650")
    return pl.Series([f"+1{chance.choice(areas)}{chance.randint(2_000_000, 9_999_999)}" for _ in range(rows)])


def _world(chance: random.Random, rows: int) -> pl.Series:
    starts = ("+1650555", "+7916000", "+44770090", "+49151000", "+3361200", "+91987000", "+551198000")
    return pl.Series([f"{chance.choice(starts)}{chance.randint(0, 9999):04d}" for _ in range(rows)])


def messy_numbers(chance: random.Random, rows: int, ways: tuple[str, ...]) -> pl.Series:
    areas = (900, 999) if ways == MESSY_RU else (201, 989)

    def cell() -> str:
        digits = str(chance.randint(2_000_000, 9_999_999))
        parts = {"a": chance.randint(*areas), "b": digits[:3], "c": digits[3:5], "d": digits[5:]}
        return chance.choice(ways).format(**parts)

    return pl.Series([cell() for _ in range(rows)])


if __name__ == "__main__":
    main()
