"""The picture of a terminal in README: made from a real run, small, and of nobody's number."""

from __future__ import annotations

import html
import re
from pathlib import Path

from workbench import ROOT

from importer.cli import COMMANDS

PICTURE = Path(ROOT / "docs" / "terminal.svg")


def lines() -> list[str]:
    """What stands in it, line by line from the top."""
    rows: dict[float, list[tuple[float, str]]] = {}
    for place, said in re.findall(r"<text ([^>]*)>([^<]*)</text>", PICTURE.read_text(encoding="utf-8")):
        x, y = (float(re.search(rf'\b{name}="([\d.]+)"', place)[1]) for name in "xy")
        rows.setdefault(y, []).append((x, html.unescape(said).replace("\u00a0", " ")))
    return ["".join(said for _, said in sorted(row)) for _, row in sorted(rows.items())]


def test_the_picture_shows_commands_that_are_there_and_a_proof() -> None:
    """Killed, run again, proved: and the balance in it is even."""
    typed = [found[1] for line in lines() if (found := re.match(r"\$ importer (\w+)", line.strip()))]
    assert typed == ["run", "run", "prove"]
    assert set(typed) <= set(COMMANDS)
    shown = "\n".join(lines())
    counts = re.findall(r"^ +([\d,]+)  (?:rows read|accepted|bad|already)", shown, re.MULTILINE)
    read, accepted, bad, repeated = (int(found.replace(",", "")) for found in counts)
    assert read == accepted + bad + repeated
    assert f"{accepted:,} of {accepted:,} call job ids confirmed" in shown
    assert shown.rstrip().split("\n")[-1].startswith("Proved.")


def test_the_picture_is_small_and_loads_nothing() -> None:
    """No font or style of another host, no number, no path of the machine it was made on."""
    text = PICTURE.read_text(encoding="utf-8")
    assert len(text) < 40_000
    assert set(re.findall(r"https?://[^\s\"'<)]+", text)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"\d{7,}|/tmp/|/home/", "\n".join(lines()))
    assert "![A terminal: importer run is killed" in (ROOT / "README.md").read_text(encoding="utf-8")
