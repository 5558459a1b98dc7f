"""Which import a command is about: its number, or what its list is called, of which the newest is meant.

Floor: cli. A newcomer may question that a part of a path is enough: a list is called by its whole path unless somebody
named it, and nobody types that twice. What could mean two lists is refused.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING

from importer.errors import UsageProblem

if TYPE_CHECKING:
    from importer.cli.options import Asked


def import_number(options: Asked, said: str | None) -> int | None:
    """The import's number; None when nobody said one.

    **Errors**: UsageProblem for a list that no import was of, with the nearest; LedgerProblem when there is no ledger.
    """
    from importer.ledger import LedgerReader

    if said is None or said.isdecimal():
        return None if said is None else int(said)
    with LedgerReader(options.ledger) as reader:
        newest = reader.campaigns.newest_by_list()
    found = _meant(said, list(newest))
    if len(found) == 1:
        return newest[found[0]]
    if found:
        raise UsageProblem(f"{said!r} may be several lists: {', '.join(found)}.", hint="Say more of its path.")
    near = difflib.get_close_matches(said, [*newest, *(Path(name).name for name in newest)], n=1)
    raise UsageProblem(
        f"No import in {options.ledger} is of a list called {said!r}.",
        hint=f"Did you mean {near[0]!r}?" if near else "`importer status` lists them.",
    )


def _meant(said: str, names: list[str]) -> list[str]:
    """The lists that may be meant: of that very name, of that path from here, or ending so."""
    for is_meant in (
        lambda name: name == said,
        lambda name: name == str(Path(said).absolute()),
        lambda name: Path(name).parts[-len(Path(said).parts) :] == Path(said).parts,
    ):
        if found := [name for name in names if is_meant(name)]:
            return found
    return []
