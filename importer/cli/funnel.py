"""How the call jobs of an import stand, for people: one line, or a picture that is drawn anew in its place.

Floor: cli. From those not dialled yet to those that ended, in an order that does not change while somebody looks on.
A newcomer may question the plain signs: they are there on every terminal, and can be read out.
"""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

import click

from importer.cli.console import safe

if TYPE_CHECKING:
    from importer.ledger.outcome_book import Funnel

BAR_SIGNS = 30
NOT_SHOWN = "not shown in the reports yet"
_STAGES = (
    None, "planned", "inProcess", "onRetry", "longCallWithResult", "longCallWithNoResult", "noAnswer",
    "nonexistentNumber", "notDone", "technicalError", "cancelledByUser", "unknown",
)  # fmt: skip


def by_status(funnel: Funnel) -> list[tuple[str | None, int]]:
    """Call jobs by status, from the beginning of a call job's life to its end; never asked for counts as not shown."""
    found: dict[str | None, int] = {}
    for status, _, jobs in funnel.by_status:
        found[status] = found.get(status, 0) + jobs
    never = funnel.accepted - sum(found.values())
    if never > 0:
        found[None] = found.get(None, 0) + never
    return sorted(found.items(), key=lambda pair: (_stage(pair[0]), -pair[1]))


def _stage(status: str | None) -> int:
    return _STAGES.index(status) if status in _STAGES else len(_STAGES)


def funnel_line(funnel: Funnel) -> str:
    """The funnel in one line."""
    parts = [f"{status or 'not shown yet'} {jobs:,}" for status, jobs in by_status(funnel)]
    return " · ".join([f"{funnel.finished:,} of {funnel.accepted:,} finished ({_share(funnel)})", *parts])


def _share(funnel: Funnel) -> str:
    """Never 100 % before it is so."""
    return f"{100 * funnel.finished // funnel.accepted if funnel.accepted else 100}%"


def funnel_lines(funnel: Funnel, title: str) -> list[str]:
    """The funnel as a picture: a bar for what has finished, and one for each status."""
    return [
        title,
        _bar_line(funnel.finished, funnel.accepted, f"of {funnel.accepted:,} finished ({_share(funnel)})"),
        *(_bar_line(jobs, funnel.accepted, status or NOT_SHOWN) for status, jobs in by_status(funnel)),
    ]


def _bar_line(jobs: int, of_jobs: int, words: str) -> str:
    signs = -(-BAR_SIGNS * jobs // of_jobs) if of_jobs else 0  # rounded up: one of a million is to be seen
    return f"{jobs:>12,}  [{'#' * signs:-<{BAR_SIGNS}}]  {words}"


class Screen:
    """Draws a picture over the one before, on a terminal; lines said in between stay above it."""

    def __init__(self) -> None:
        self._drawn = 0

    def draw(self, lines: list[str]) -> None:
        """Shows these lines, cut to the terminal's width: a line that wraps could not be drawn over."""
        width = shutil.get_terminal_size().columns - 1
        up = f"\r\x1b[{self._drawn}A\x1b[J" if self._drawn else ""
        click.echo(up + "\n".join(safe(line)[:width] for line in lines), err=True)
        sys.stderr.flush()
        self._drawn = len(lines)

    def leave(self) -> None:
        """Lets what is drawn stand: something else is about to be said."""
        self._drawn = 0
