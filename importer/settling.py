"""Sending and reconciling by turns, until nothing moves any more: what a run does once its list is taken in.

Floor: above sender and reconcile, which do not know each other. A newcomer may question the bound: a platform that
refuses or repeats an error for rows whose reports say "never made" would otherwise keep a run going for a day.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from importer.reconcile import Reconciled
from importer.sender import SendResult

MOST_ROUNDS = 4
AGAIN = "The reports say that rows were not taken, and sending them again does not succeed. Run again later."


def send_and_settle(
    send: Callable[[], SendResult], reconcile: Callable[[], Reconciled], *, is_reconciling: bool
) -> tuple[SendResult, Reconciled | None]:
    """Sends; then reconciles what is in doubt, and sends what proved absent, by turns.

    After `MOST_ROUNDS` turns the result's ending is `away`: what is left waits for another run.
    """
    result, done = send(), None
    for _ in range(MOST_ROUNDS):
        if not is_reconciling or result.ending not in ("done", "first") or not result.balance.in_doubt:
            return result, done
        done = reconcile()
        if done.is_stopped or done.unreadable or not done.absent_rows:
            return result, done
        result = send()
    is_over = result.ending not in ("done", "first") or not result.balance.in_doubt
    return (result if is_over else replace(result, ending="away", detail=AGAIN)), done
