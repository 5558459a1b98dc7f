"""How fast `importer` is beside others, on this machine: make bench, or python benchmarks/speed/bench.py --help.

A list is made, a receiver that only counts runs as a process of its own, and the contenders take turns, so that each
round is a pair under one load. It prints medians of wall time, CPU time and peak memory with ratios. With --save the
sections that ran replace theirs in benchmarks/results/speed.json and docs/SPEED.md. A section that fails is told, and
the others go on.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path

from contenders import PACKAGES, version_of_parallel
from measure import ROOT, Missing
from page import RESULTS, write_page
from sections import MILLION, ONLY_FULL, SECTIONS, Line, Plan


def machine() -> dict[str, object]:
    """Where this is measured."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    try:
        programs = [version_of_parallel()]
    except Missing:
        programs = []
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
        "peers": sorted({package for packages in PACKAGES.values() for package in packages}) + programs,
    }


def measured(name: str, plan: Plan) -> list[Line]:
    """A section in a folder of its own; no lines when it failed, which is told."""
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="importer-bench-") as folder:
        try:
            lines = SECTIONS[name](plan, Path(folder))
        except Exception:  # noqa: BLE001 - one section must not take the others with it
            traceback.print_exc()
            lines = []
    print(f"  {name} took {time.monotonic() - began_s:.0f} s", file=sys.stderr)
    return lines


def save(about: dict[str, object], lines: dict[str, list[Line]]) -> None:
    """Puts the sections that ran in the place of theirs; each says where and when it was measured."""
    kept = json.loads(RESULTS.read_text()).get("sections", {}) if RESULTS.exists() else {}
    sections = kept | {name: {**about, "lines": each} for name, each in lines.items()}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"sections": sections}, indent=1) + "\n")
    write_page()


def options() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, help="of the long races: a million, with --full ten")
    parser.add_argument("--rounds", type=int, default=3, help="of each race (3)")
    parser.add_argument("--curve", default="1,3,10,30", help="millions of rows of the section memory (1,3,10,30)")
    parser.add_argument("--full", action="store_true", help=f"ten million rows, and {' and '.join(ONLY_FULL)} besides")
    parser.add_argument("--only", default="", help=f"sections, with commas between: {', '.join(SECTIONS)}")
    parser.add_argument("--save", action="store_true", help=f"write {RESULTS.relative_to(ROOT)}")
    asked = parser.parse_args()
    asked.only = [name for name in asked.only.split(",") if name]
    if unknown := set(asked.only) - set(SECTIONS):
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    return asked


def main() -> None:
    """Sections, tables, and the file."""
    asked = options()
    plan = Plan(
        rows=asked.rows or (10 * MILLION if asked.full else MILLION),
        rounds=asked.rounds,
        curve=tuple(int(float(each) * MILLION) for each in asked.curve.split(",")),
    )
    about = machine()
    print(f"{about['system']}, {about['cores']} cores, load {about['load']}, Python {about['python']}")
    names = asked.only or [name for name in SECTIONS if asked.full or name not in ONLY_FULL]
    lines = {name: measured(name, plan) for name in names}
    failed = [name for name, each in lines.items() if not each]
    if asked.save:
        save(about, {name: each for name, each in lines.items() if each})
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
