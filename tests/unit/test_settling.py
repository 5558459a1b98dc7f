"""Sending and reconciling by turns comes to an end, whatever the platform does."""

from __future__ import annotations

from importer.model import Balance
from importer.reconcile import Reconciled
from importer.sender import SendResult
from importer.settling import MOST_ROUNDS, send_and_settle

DOUBTED = SendResult(ending="done", balance=Balance(read=4, in_doubt=4))
SETTLED = SendResult(ending="done", balance=Balance(read=4, accepted=4))


def test_rows_that_are_absent_and_refused_for_ever_do_not_keep_a_run_alive() -> None:
    """After a bounded number of turns the run says that it could not finish; another one goes on."""
    turns: list[str] = []

    def send() -> SendResult:
        turns.append("send")
        return DOUBTED

    def reconcile() -> Reconciled:
        turns.append("reconcile")
        return Reconciled(absent_rows=4)

    result, done = send_and_settle(send, reconcile, is_reconciling=True)
    assert (result.ending, result.balance, done) == ("away", DOUBTED.balance, Reconciled(absent_rows=4))
    assert turns == ["send", *["reconcile", "send"] * MOST_ROUNDS]


def test_what_is_settled_in_the_last_turn_is_well() -> None:
    """The bound is on turns, not on success."""
    results = iter([*[DOUBTED] * MOST_ROUNDS, SETTLED])
    result, _ = send_and_settle(lambda: next(results), lambda: Reconciled(absent_rows=4), is_reconciling=True)
    assert result == SETTLED


def test_nothing_is_asked_when_reconciling_is_put_off() -> None:
    """`--in-doubt hold`."""
    result, done = send_and_settle(lambda: DOUBTED, lambda: Reconciled(absent_rows=4), is_reconciling=False)
    assert (result, done) == (DOUBTED, None)
