"""The person at the terminal: shows what is about to happen and asks, once. Without a terminal nobody is asked."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from importer.cli.console import Progress, interruptible, say
from importer.cli.words import intention_text
from importer.machine import is_terminal

if TYPE_CHECKING:
    from importer.run import BareDigits, CameBack, CampaignFacts, Intention


class TerminalDesk:
    """Answers a run's questions. `--yes` answers only whether to send."""

    def __init__(self, progress: Progress, *, is_yes: bool, is_quiet: bool) -> None:
        self._progress = progress
        self._is_yes = is_yes
        self._is_quiet = is_quiet
        self._can_ask = is_terminal(sys.stdin) and is_terminal(sys.stderr) and not is_quiet

    def may_send(self, intention: Intention) -> bool:
        """Shows the intention; asks a terminal, unless it said yes already."""
        self._progress.end_line()
        if not self._is_quiet:
            say(intention_text(intention))
        if self._is_yes or not self._can_ask:
            return True
        return _is_confirmed(f"Send {intention.to_send_rows:,} rows?")

    def which_call(self, came_back: CameBack) -> str | None:
        """Asks what to do with known numbers that came back changed."""
        self._progress.end_line()
        if not self._can_ask:
            return None
        say(
            f"{came_back.rows:,} rows are for numbers this campaign already has, with other content "
            f"(changed: {', '.join(came_back.changed_fields) or 'other columns'}).\n"
            "  phone   leave those numbers alone\n  row     call them again\n  stop    send nothing"
        )
        return _chosen(["phone", "row"])

    def which_reading(self, bare: BareDigits) -> str | None:
        """Asks how bare digits that are numbers both ways are meant."""
        self._progress.end_line()
        if not self._can_ask:
            return None
        region = bare.region or "their region"
        say(
            f"{bare.rows:,} of {bare.read_rows:,} numbers without + are valid in {region} as they stand, and also when "
            "their first digits are the country code.\n"
            f"  international   they begin with the country code\n  national        they are dialled so in {region}\n"
            "  stop            send nothing"
        )
        return _chosen(["international", "national"])

    def is_right_ledger(self, campaign: CampaignFacts, ledger: Path) -> bool:
        """Asks whether a ledger may meet a campaign that already has numbers."""
        self._progress.end_line()
        if not self._can_ask:
            return False
        say(f"The campaign already has {campaign.total_numbers:,} numbers, but the ledger {ledger} does not know it.")
        return _is_confirmed("Were those numbers added by other means, so that this is right?")


def _is_confirmed(question: str) -> bool:
    with interruptible():
        return click.confirm(question, default=False, err=True)


def _chosen(choices: list[str]) -> str | None:
    """One of the choices; None for `stop`, which always is one, and what is meant when nothing is said."""
    with interruptible():
        said = click.prompt("Which", type=click.Choice([*choices, "stop"]), default="stop", err=True)
    return None if said == "stop" else str(said)
