"""The same file checked by us, by python `phonenumbers` and by the two JavaScript libraries, in one run.

    python benchmarks/phones_peers.py                     # makes the file, installs the peers, prints the table
    python benchmarks/phones_peers.py --rows 20000 --keep FOLDER

Floor: benchmarks. Every side parses, validates, asks for type and region, and writes E.164, and is timed without the
reading of the file; then every row's E.164 is compared. The JavaScript libraries are installed into a temporary folder
(npm and node are needed), at the versions below; their metadata may be another release than that of `phonenumbers`.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import polars as pl

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "phones"))

import phone_strings
from phones import MESSY_RU, MESSY_US, checked_alone, clean_numbers, messy_numbers

from importer.phones import METADATA_VERSION, PhoneRules, check

PEERS = {"libphonenumber-js": "1.13.16", "google-libphonenumber": "3.2.47"}
REPEATS = 2
SHOWN_DIFFERENCES = 3


class Result(NamedTuple):
    """How one side did on one list: rows/s, and E.164 per row, empty for a number that is not valid."""

    rows_s: float
    e164: list[str]


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    options.add_argument("--rows", type=int, default=200_000, help="rows of each of the four lists")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--keep", type=Path, help="a folder for the file and the peers, instead of a temporary one")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        install(folder)
        path = folder / "phones.tsv"
        write_file(path, asked.rows, random.Random(asked.seed))
        sides = {"importer.phones": ours(path), "phonenumbers": row_by_row(path)}
        sides |= {name: javascript(name, path, folder) for name in PEERS}
        print_versions(asked.rows)
        print_table(sides, read_lists(path))


def install(folder: Path) -> None:
    wanted = [f"{name}@{version}" for name, version in PEERS.items()]
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder)]
    subprocess.run([*command, *wanted], check=True, timeout=300)


def write_file(path: Path, rows: int, chance: random.Random) -> None:
    """Four lists in one file of tab-separated columns: list, region, cell. No cell holds a tab or a line end."""
    world = [phone_strings.formatted(chance) for _ in range(rows)]
    cells = [phone_strings.with_other_digits(text, chance) for text, _ in world]
    parts = [
        pl.DataFrame({"list": "clean E.164", "region": "", "cell": clean_numbers(chance, rows)}),
        pl.DataFrame({"list": "messy, Russia", "region": "RU", "cell": messy_numbers(chance, rows, MESSY_RU)}),
        pl.DataFrame({"list": "messy, United States", "region": "US", "cell": messy_numbers(chance, rows, MESSY_US)}),
        pl.DataFrame({"list": "written in 245 regions", "region": [region for _, region in world], "cell": cells}),
    ]
    pl.concat(parts).write_csv(path, separator="\t", include_header=False, quote_style="never")


def read_lists(path: Path) -> dict[str, pl.DataFrame]:
    columns = ["list", "region", "cell"]
    table = pl.read_csv(
        path, separator="\t", has_header=False, new_columns=columns, quote_char=None, infer_schema=False
    ).with_columns(pl.col("region").fill_null(""))
    return {name: part for (name,), part in table.group_by("list", maintain_order=True)}


def ours(path: Path) -> dict[str, Result]:
    return {name: _ours(part) for name, part in read_lists(path).items()}


def _ours(part: pl.DataFrame) -> Result:
    regions = part["region"].unique()
    rules = PhoneRules(region=regions[0] or None) if len(regions) == 1 else PhoneRules()
    own_regions = part["region"] if len(regions) > 1 else None
    checked, seconds = timed(lambda: check(part["cell"], rules, own_regions))
    valid = checked.select(pl.when(pl.col("verdict") == "valid").then("parsed_e164").otherwise(pl.lit("")))
    return Result(len(part) / seconds, valid.to_series().to_list())


def row_by_row(path: Path) -> dict[str, Result]:
    results = {}
    for name, part in read_lists(path).items():
        pairs = list(zip(part["cell"].to_list(), part["region"].to_list(), strict=True))
        numbers, seconds = timed(
            lambda pairs=pairs: [checked_alone(cell, region or None) or "" for cell, region in pairs]
        )
        results[name] = Result(len(part) / seconds, numbers)
    return results


def timed(run: Callable[[], object]) -> tuple[object, float]:
    best, result = float("inf"), None
    for _ in range(REPEATS):
        started = time.perf_counter()
        result = run()
        best = min(best, time.perf_counter() - started)
    return result, best


SCRIPTS = {
    "libphonenumber-js": """
        const { parsePhoneNumberFromString: parse } = require('libphonenumber-js/max')
        const read = (cell, region) => {
            const n = parse(cell, region)
            if (!n || !n.isValid()) return ''
            n.getType(); n.country; return n.number
        }
    """,
    "google-libphonenumber": """
        const util = require('google-libphonenumber').PhoneNumberUtil.getInstance()
        const read = (cell, region) => { try {
            const n = util.parse(cell, region)
            if (!util.isValidNumber(n)) return ''
            util.getNumberType(n); util.getRegionCodeForNumber(n); return util.format(n, 0)
        } catch { return '' } }
    """,
}
LOOP = f"""
    const lines = require('fs').readFileSync(process.argv[1], 'utf8').split('\\n').filter(Boolean)
    const lists = {{}}
    for (const [list, region, cell] of lines.map(line => line.split('\\t')))
        (lists[list] ??= []).push([cell, region || undefined])
    const results = {{}}
    for (const [list, pairs] of Object.entries(lists)) {{
        let best = Infinity, e164
        for (let i = 0; i < {REPEATS}; i++) {{
            const start = performance.now()
            e164 = pairs.map(([cell, region]) => read(cell, region))
            best = Math.min(best, performance.now() - start)
        }}
        results[list] = [pairs.length / best * 1000, e164]
    }}
    console.log(JSON.stringify(results))
"""


def javascript(name: str, path: Path, folder: Path) -> dict[str, Result]:
    command = ["node", "-e", SCRIPTS[name] + LOOP, str(path.resolve())]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=900)
    return {one: Result(*result) for one, result in json.loads(done.stdout).items()}


def print_versions(rows: int) -> None:
    node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    peers = ", ".join(f"{name} {version}" for name, version in PEERS.items())
    print(f"phonenumbers {METADATA_VERSION} on Python {platform.python_version()}, {peers} on node {node}")
    print(f"{rows:,} rows a list, best of {REPEATS}, {pl.thread_pool_size()} threads for ours and one for the others")


def print_table(sides: dict[str, dict[str, Result]], lists: dict[str, pl.DataFrame]) -> None:
    """A line for each side of each list, then the first rows that a side judges otherwise."""
    print(f"{'':28}{'':24}{'rows/s':>12}{'ours is':>12}{'otherwise judged':>18}")
    shown = []
    for one, part in lists.items():
        our = sides["importer.phones"][one]
        valid = sum(map(bool, our.e164))
        print(f"{one:28}{'importer.phones':24}{our.rows_s:>12,.0f}{'':12}{f'{valid:,} valid':>18}")
        for name in list(sides)[1:]:
            speed, theirs = sides[name][one]
            rows = [row for row, e164 in enumerate(our.e164) if e164 != theirs[row]]
            print(f"{'':28}{name:24}{speed:>12,.0f}{f'{our.rows_s / speed:,.1f} times':>12}{len(rows):>18,}")
            shown += [difference(name, part, row, our.e164[row], theirs[row]) for row in rows[:SHOWN_DIFFERENCES]]
    print("\n".join(shown))


def difference(name: str, part: pl.DataFrame, row: int, our: str, their: str) -> str:
    place = part["region"][row] or "no region"
    return f"{name}: {part['cell'][row]!r} in {place}: ours {our or 'not valid'}, theirs {their or 'not valid'}"


if __name__ == "__main__":
    main()
