"""A ledger with something of everything that the page can show, made by a real run against a real platform."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from workbench import TOKEN, Bench, Platform, Shop, number, people

from importer.sandbox import Sandbox

ROUND = "<b>night</b> 2026-11-23"
LIST = "<img src=x onerror=alert(1)> & +1 201 555 0100.csv"
BAD_CELLS = (
    "650.555.01", "(201) 555-01", "6.50555E+10", "16505550100.0", "12025550111/12025550112", "call Maria Ivanova",
    "n/a", "+7 (495) 12", "<script>alert(1)</script>", "",
)  # fmt: skip
# Seven batches are accepted and two refused, row by row. The tenth's answer is lost, when no other batch is left that a
# repeat could be overtaken by, and its repeat meets a refusal, which proves nothing: in doubt (law 5).
FAULTS = (
    "status:code=400,type=phone.bad.format,after=7,times=2",
    "lose-answer:after=9,times=1",
    "status:code=400,type=phone.bad.format,after=10",
    "delay:s=0.02",
)


def rich_ledger(folder: Path) -> Path:
    """Forty rows and more: accepted, refused, in doubt, rejected, repeated; and some outcomes of calls."""
    with ExitStack() as stack:
        db = folder / "platform.db"
        sandbox = stack.enter_context(Sandbox(db, tokens=(TOKEN,), faults=FAULTS, speed=100_000.0))
        platform = Platform(sandbox=sandbox, db=db, origin=stack.enter_context(sandbox.serve()).origin)
        bench = Bench(folder=folder, origin=platform.origin)
        bench.run(write_rich_list(folder), in_doubt="hold", round_name=ROUND)
        shop = Shop(folder=folder, origin=platform.origin)
        said = shop.importer("outcomes", "1", *shop.target)
        assert said.code == 0, said.err
        return bench.ledger_path


def write_rich_list(folder: Path) -> Path:
    """A list whose very name is an attack and a number."""
    path = folder / LIST
    good = [f"{row['phone']},{row['name']}" for row in people(40)]
    bad = [f'"{cell}",Somebody {place}' for place, cell in enumerate(BAD_CELLS)]
    path.write_text("\n".join(["phone,name", *good[:20], *bad, *good[20:], good[3], good[7], ""]), encoding="utf-8")
    return path


def phones() -> list[str]:
    """Every number of the list, digits only."""
    return [number(place).lstrip("+") for place in range(40)] + ["16505550100", "12025550111", "12025550112"]
