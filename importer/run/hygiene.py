"""What holds rows back in a run: do-not-call lists of this run and of the ledger, and calls made lately. Floor: run.

A run's own lists are read before anything else, so that one which cannot be read stops it while nothing has happened.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pyroaring import BitMap64

from importer.intake import Hygiene
from importer.intake.suppress import Suppression, read_suppression
from importer.model import Notice, Observer
from importer.run.settings import HoldBack


def read_suppressions(hold_back: HoldBack, region: str | None, spool_dir: Path, observer: Observer) -> BitMap64:
    """The numbers of all the lists named with --suppress.

    **Errors**: ListProblem when one cannot be honoured; nothing was sent then.
    """
    numbers = BitMap64()
    for name in hold_back.suppress:
        found = read_suppression(name, region=region, column=hold_back.suppress_column, spool_dir=spool_dir)
        numbers |= found.numbers
        tell_doubts(found, observer)
    return numbers


def tell_doubts(found: Suppression, observer: Observer) -> None:
    """Says what a person should look at in a do-not-call list that was read."""
    if not found.numbers:
        observer(Notice(kind="suppress-empty", text=f"The do-not-call list {found.name} holds no numbers."))
    elif found.unreadable_rows:
        text = f"{found.unreadable_rows:,} rows of the do-not-call list {found.name} are no numbers: not honoured."
        observer(Notice(kind="suppress-unreadable", text=text))


def hygiene_of(
    within_s: float | None,
    *,
    has_no_lists: Callable[[], bool],
    hits: Callable[[Sequence[int]], set[int]],
    recently_accepted: Callable[[Sequence[int], int], dict[int, int]],
    now_ms: int,
) -> Hygiene:
    """The two questions intake asks about every row that would be sent. **Units**: `within_s` before `now_ms`."""
    if within_s is None:
        return Hygiene(is_idle=has_no_lists, suppressed=hits)
    since_ms = now_ms - round(within_s * 1000)
    return Hygiene(is_idle=lambda: False, suppressed=hits, recent=lambda phones: recently_accepted(phones, since_ms))
