"""How a run ended, as the shell is told: the exit code, by one fixed order of precedence.

Floor: summary. If several codes apply: 1, signals, 2, 9, 5, 4, 6, 7, 8, 3, 0 - in that order.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from importer.model import Balance

WELL = 0
NOT_ALL_GOOD = 3
DENIED = 6
RUN_AGAIN = 7
PERSON_DECIDES = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Allowance:
    """How many rejects are no failure: a number of rows, or a share of the rows read."""

    rows: int = 0
    share: float | None = None

    def covers(self, balance: Balance) -> bool:
        """True when the rejects of a balance are within it."""
        limit = self.rows if self.share is None else self.share * balance.read
        return balance.rejected <= limit


def parse_allowance(text: str) -> Allowance:
    """`25` or `1%`. **Errors**: ValueError for anything else."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(%?)\s*", text)
    if not found or (not found[2] and "." in found[1]):
        raise ValueError(f"{text!r} is neither a number of rows nor a percentage such as 1%")
    return Allowance(share=float(found[1]) / 100) if found[2] else Allowance(rows=int(found[1]))


def exit_code(
    balance: Balance, ending: str, allowance: Allowance, signal_code: int | None, *, will_time_settle: bool = False
) -> int:
    """The code of a run that reached its end.

    **Shapes**: `ending` as the sender gives it; a run that was asked for `--first` rows and sent them has done well.
    `will_time_settle`: the rows in doubt could not be judged yet, and a later run can.
    """
    if ending in ("stopped", "denied"):
        return DENIED if ending == "denied" else signal_code or 130
    if ending == "away" or (balance.pending and ending != "first"):
        return RUN_AGAIN
    if balance.in_doubt:
        return RUN_AGAIN if will_time_settle else PERSON_DECIDES
    return NOT_ALL_GOOD if balance.refused or not allowance.covers(balance) else WELL
