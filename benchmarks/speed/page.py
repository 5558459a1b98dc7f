"""The figures in docs/SPEED.md, as tables made from benchmarks/results/speed.json: python benchmarks/speed/page.py

They stand between two marks in the page; what stands around them is written by hand, and so is free of figures.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "speed.json"
PAGE = ROOT / "docs" / "SPEED.md"
BEGIN, END = "<!-- figures: made by make bench -->", "<!-- end of figures -->"
Line = Mapping[str, Any]
TITLES = {
    "throughput": "A list in thousands",
    "default": "dlt as it comes",
    "latency": "A platform that takes its time",
    "again": "After a list was sent",
    "memory": "Longer lists",
    "resume": "Killed at 99 %",
    "sandbox": "The sandbox",
    "adaptive": "A hidden capacity",
}


def figures(results: Mapping[str, Any]) -> str:
    """All sections that were measured, in one order. **Shapes**: Markdown."""
    sections = results["sections"]
    return "\n\n".join(_section(name, sections[name]) for name in TITLES if name in sections)


def _section(name: str, section: Mapping[str, Any]) -> str:
    date, commit = section["date"][:16].replace("T", " "), section["commit"][:9]
    where = (
        f"{date} UTC, commit {commit}, {section['cores']} cores, load {section['load']}, Python {section['python']}."
    )
    return f"### {TITLES[name]}\n\n{where}\n\n{_table(section['lines'])}"


def _table(lines: Sequence[Line]) -> str:
    """The columns that any line has, in one order."""
    columns = [each for each in COLUMNS if any(each in line for line in lines)]
    head = [COLUMNS[each][0] for each in columns]
    rows = [[_cell(line, each) for each in columns] for line in lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---", *["---:"] * (len(head) - 1)], *rows])


def _cell(line: Line, column: str) -> str:
    return COLUMNS[column][1].format(line[column]) if column in line else ""


COLUMNS = {
    "name": ("", "{}"),
    "rows": ("rows", "{:,}"),
    "wall_s": ("wall", "{:.2f} s"),
    "rows_s": ("rows/s", "{:,.0f}"),
    "cpu_s": ("CPU", "{:.2f} s"),
    "peak_mib": ("memory", "{:.0f} MiB"),
    "wall_ratio": ("wall, importer = 1", "{:.2f}"),
    "cpu_ratio": ("CPU, importer = 1", "{:.2f}"),
    "first_request_s": ("first request after", "{:.2f} s"),
    "bytes_a_row": ("ledger, bytes a row", "{:.1f}"),
    "bytes_a_row_with_two_lists_of_duplicates": ("with two lists of duplicates besides", "{:.1f}"),
    "capacity_requests_s": ("capacity, requests a second", "{:.0f}"),
    "used": ("used of it", "{:.0%}"),
    "refused": ("refused", "{:.1%}"),
    "found_after_s": ("found after", "{:.1f} s"),
    "left_out": ("left out", "{}"),
}


def write_page() -> None:
    """Puts the figures between their marks."""
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    made = figures(json.loads(RESULTS.read_text(encoding="utf-8")))
    PAGE.write_text(f"{before}{BEGIN}\n\n{made}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    write_page()
