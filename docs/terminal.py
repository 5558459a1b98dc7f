"""Makes docs/terminal.svg, the picture of a terminal in README.md, from a real run: killed, and run again.

Not part of the product: `python docs/terminal.py`. A real sandbox, a real SIGKILL, and what the commands really said;
only the path of the folder is taken out, prompts are put in front, and counts are coloured.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from importer.sandbox import Sandbox, records

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "terminal.svg"
TOKEN = "1.2.rehearsal"  # noqa: S105 - the sandbox's own, good for nothing else
COLUMNS = 92
LONGEST_S = 120.0
THEME = TerminalTheme(
    (20, 23, 27), (231, 233, 236),
    [(152, 162, 173), (255, 138, 128), (76, 195, 138), (240, 171, 60), (130, 176, 255), (187, 157, 255),
     (126, 211, 220), (231, 233, 236)],
)  # fmt: skip
# rich's own frame asks another host for its font; this one takes what the reader has.
FRAME = """<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" role="img"
aria-label="A run is killed, run again and proved">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace;
  font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>{lines}</defs>
<rect fill="#14171b" width="100%" height="100%" rx="10"/>
<g transform="translate(26,22)"><circle cx="0" cy="0" r="6" fill="#66707b"/>
<circle cx="22" cy="0" r="6" fill="#66707b"/><circle cx="44" cy="0" r="6" fill="#66707b"/></g>
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}<g class="{unique_id}-matrix">{matrix}</g></g></svg>
"""


class Shop:
    """A folder at a sandbox, and the transcript of what was typed there."""

    def __init__(self, folder: Path, origin: str) -> None:
        self._folder = folder
        self._environment = {
            "PATH": os.environ["PATH"], "HOME": str(folder), "COLUMNS": str(COLUMNS), "IMPORTER_HOST": origin,
            "IMPORTER_TOKEN": TOKEN, "IMPORTER_LEDGER": "ledger.db", "PYTHONPATH": str(ROOT),
        }  # fmt: skip
        self.transcript = Text()

    def types(self, line: str, remark: str = "") -> subprocess.Popen[str]:
        """Starts a command as somebody would type it."""
        self.transcript.append("$ ", "bright_black").append(line, "bold").append(
            f"  {remark}".rstrip() + "\n", "bright_black"
        )
        return subprocess.Popen(  # noqa: S603 - our own command, typed here
            [sys.executable, "-m", *line.split()],
            env=self._environment,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def said(self, process: subprocess.Popen[str], *left_out: str) -> None:
        """What it said, without its progress and the lines that begin so."""
        out, _ = process.communicate(timeout=LONGEST_S)
        for line in out.replace(f"{self._folder}/", "").splitlines():
            if line.strip() and not line.startswith(left_out) and " rows settled " not in line:
                self.transcript.append_text(_coloured(line)).append("\n")

    def notes(self, text: str) -> None:
        """Something that a shell would say."""
        self.transcript.append(f"{text}\n", "red")

    def rests(self) -> None:
        """An empty line between commands."""
        self.transcript.append("\n")


def _coloured(line: str) -> Text:
    text = Text(line)
    if found := re.match(r" {3,}[\d,]+(?=  \w)", line):
        word = line[found.end() :].split(maxsplit=1)[0]
        text.stylize({"accepted": "bold green", "bad": "bold red"}.get(word, "bold"), 0, found.end())
    if line.startswith("Proved"):
        text.stylize("bold green")
    return text


@contextmanager
def sandbox(folder: Path) -> Iterator[tuple[str, Path]]:
    """A platform that takes a quarter of a second for each request and loses every fifth answer."""
    db = folder / "sandbox.db"
    faults = ("lose-answer:every=5", "delay:s=0.25")
    with Sandbox(db, tokens=(TOKEN,), faults=faults, seed=1) as platform, platform.serve() as served:
        yield served.origin, db


def main() -> None:
    """Runs it and writes the picture."""
    with tempfile.TemporaryDirectory() as name, sandbox(Path(name)) as (origin, db):
        folder = Path(name).resolve() / "calls"
        folder.mkdir()
        shutil.copy(ROOT / "sample_data" / "customers.csv", folder)
        shop = Shop(folder, origin)
        _killed(shop, db)
        shop.rests()
        shop.said(shop.types("importer run customers.csv --yes", "# the same command again"), *_DETAIL)
        shop.rests()
        shop.said(shop.types("importer prove"), "     ")
    console = Console(record=True, width=COLUMNS, file=open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123
    console.print(shop.transcript, end="")
    svg = console.export_svg(theme=THEME, code_format=FRAME)
    print(shop.transcript.plain)  # noqa: T201 - for whoever makes it, to look at
    PICTURE.write_text(svg.replace(origin, "http://127.0.0.1:8787"), encoding="utf-8")


_DETAIL = ("Ledger", "Campaign", "List", "Bad rows  ", "Columns", " " * 14, "Reading", "Takes", "Repeated", "Some rows")


def _killed(shop: Shop, db: Path) -> None:
    process = shop.types("importer run customers.csv --yes", "# and in the middle of it: kill -9")
    deadline_s = time.monotonic() + LONGEST_S
    while process.poll() is None and records.count_jobs(db) < 2000 and time.monotonic() < deadline_s:
        time.sleep(0.02)
    process.kill()
    shop.said(process, *_DETAIL)
    shop.notes("Killed")


if __name__ == "__main__":
    main()
