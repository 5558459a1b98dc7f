"""How fast numbers are checked, and how many times faster than by `phonenumbers` row by row (`--help` for options).

Floor: benchmarks. Both sides run in this process on the same lists; the row-by-row side gets a sample, once as it
comes and once with its pattern cache on. `--npm FOLDER` adds the JavaScript libraries installed in that folder.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
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
_MESSY_RU = (
    "8 ({a}) {b}-{c}-{d}",
    "8{a}{b}{c}{d}",
    "+7 {a} {b} {c} {d}",
    "7{a}{b}{c}{d}",
    "{a} {b}-{c}{d}",
    " 8-{a}-{b}-{c}-{d} ",
)
_MESSY_US = (
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
        List("clean E.164, one country", _clean(chance, options.rows), None),
        List("clean E.164, seven countries", _world(chance, options.rows), None),
        List("messy national, Russia", _messy(chance, options.rows, _MESSY_RU, (900, 999)), "RU"),
        List("messy national, United States", _messy(chance, options.rows, _MESSY_US, (201, 989)), "US"),
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
        if options.npm:
            _print_javascript(one, options.npm, options.sample_rows)


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
    parser.add_argument("--npm", type=Path, help="folder with node_modules of libphonenumber-js, google-libphonenumber")
    return parser.parse_args()


def _row_by_row_speed(one: List, sample_rows: int) -> float:
    sample = one.cells.head(sample_rows).to_list()
    return len(sample) / _best_s(lambda: [_naive(cell, one.region) for cell in sample])


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


def _naive(cell: str, region: str | None) -> str | None:
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


def _clean(chance: random.Random, rows: int) -> pl.Series:
    areas = ("212", "305", "415", "617", "650")
    return pl.Series([f"+1{chance.choice(areas)}{chance.randint(2_000_000, 9_999_999)}" for _ in range(rows)])


def _world(chance: random.Random, rows: int) -> pl.Series:
    starts = ("+1650555", "+7916000", "+44770090", "+49151000", "+3361200", "+91987000", "+551198000")
    return pl.Series([f"{chance.choice(starts)}{chance.randint(0, 9999):04d}" for _ in range(rows)])


def _messy(chance: random.Random, rows: int, ways: tuple[str, ...], areas: tuple[int, int]) -> pl.Series:
    def cell() -> str:
        digits = str(chance.randint(2_000_000, 9_999_999))
        parts = {"a": chance.randint(*areas), "b": digits[:3], "c": digits[3:5], "d": digits[5:]}
        return chance.choice(ways).format(**parts)

    return pl.Series([cell() for _ in range(rows)])


_SCRIPTS = {
    "libphonenumber-js": """
        const { parsePhoneNumberFromString: parse } = require('libphonenumber-js/max')
        const read = (c, r) => { const n = parse(c, r); if (n && n.isValid()) { n.getType(); return n.number } }
    """,
    "google-libphonenumber": """
        const util = require('google-libphonenumber').PhoneNumberUtil.getInstance()
        const read = (c, r) => { try {
            const n = util.parse(c, r); if (!util.isValidNumber(n)) return
            util.getNumberType(n); util.getRegionCodeForNumber(n); return util.format(n, 0)
        } catch { } }
    """,
}
_LOOP = """
    const cells = JSON.parse(require('fs').readFileSync(0)), region = process.argv[1] || undefined
    let best = Infinity
    for (let i = 0; i < 3; i++) {
        const start = performance.now(); for (const c of cells) read(c, region)
        best = Math.min(best, performance.now() - start)
    }
    console.log(cells.length / best * 1000)
"""


def _print_javascript(one: List, folder: Path, sample_rows: int) -> None:
    sample = json.dumps(one.cells.head(sample_rows).to_list())
    for name, script in _SCRIPTS.items():
        command = ["node", "-e", script + _LOOP, one.region or ""]
        done = subprocess.run(
            command, cwd=folder, input=sample, capture_output=True, text=True, check=True, timeout=300
        )
        print(f"  {name:30}{float(done.stdout):>12,.0f}")


if __name__ == "__main__":
    main()
