"""Laws 4 and 5: what an exchange proves, and what a batch may do after it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from workbench import Bench, Serve, number, people, write_list

from importer import protocol
from importer.model import Answer, Exchange, NoAnswer
from importer.protocol import (
    Accepted,
    Arming,
    Batch,
    Doubtful,
    NotExecuted,
    Outcome,
    Refused,
    State,
    Stopped,
    Unknown,
    classify,
    settle,
)

ARMING = Arming(server_low_ms=0, boot_ms=0, boot_id="b")
PHONES = ("12015550100", "12015550101", "12015550102")


def answer(status: int, body: object = "", retry_after_s: float | None = None) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(
        status=status,
        body=raw,
        content_type="application/json",
        server_date=datetime(2026, 11, 23, tzinfo=UTC),
        retry_after_s=retry_after_s,
        elapsed_s=0.1,
    )


def no_answer(reason: str, *, is_sent: bool) -> NoAnswer:
    return NoAnswer(reason=reason, detail="", is_sent=is_sent, elapsed_s=0.1)


UNSENT = ["dns", "refused", "tls", "connect-timeout", "pool-timeout", "too-late"]
SENT = ["write-failed", "reset", "closed", "timeout", "cut", "too-large", "undecodable"]
STRANGE_200 = [
    b"", b"[", b'["1","2"', b"<html>", b"null", b"{}", b'"1"', b'["1","2"]', b'["1","2","3","4"]', b'["1","2","2"]',
    b'["1","2",""]', b'["1","2",null]', b'["1","2",true]', b'["1","2",["3"]]', b"[" * 100_000,
    b"[" + b"9" * 5_000 + b"]", b"\xff\xfe",
]  # fmt: skip

DEFINITE: list[tuple[Exchange, type[Outcome]]] = [
    *((no_answer(reason, is_sent=False), NotExecuted) for reason in UNSENT),
    (answer(429, retry_after_s=7.0), NotExecuted),
    (answer(200, ["1", "2", "3"]), Accepted),
    (answer(200, [1, 2, 3]), Accepted),
    (answer(400, {"type": "phone.duplicated", "phone": PHONES[1]}), Refused),
    (answer(400, {"type": "phone.bad.format", "phone": PHONES[1]}), Refused),
    (answer(400, {"type": "invalid.call.allowed.time"}), Refused),
    (answer(413, b"<html>"), Refused),
    (answer(400, {"type": "invalid.call.task.state", "state": "FINISHED"}), Stopped),
    (answer(404, {"type": "invalid.token"}), Stopped),
    (answer(401), Stopped),
    (answer(403), Stopped),
    (answer(400, {"error": "bad_request"}), Doubtful),
    (answer(400, b"<html>"), Doubtful),
    (answer(422, {"type": "phone.odd"}), Doubtful),
]
AMBIGUOUS: list[Exchange] = [
    *(no_answer(reason, is_sent=True) for reason in SENT),
    *(
        answer(status)
        for status in (201, 202, 204, 301, 302, 307, 308, 408, 409, 425, 500, 501, 502, 503, 504, 520, 599)
    ),
    *(answer(200, body) for body in STRANGE_200),
]


@pytest.mark.parametrize("exchange", AMBIGUOUS, ids=repr)
def test_law_4_a_timeout_is_unknown_not_failed(exchange: Exchange) -> None:
    """Everything not on the short list of definite outcomes is unknown: the batch waits, ambiguous, as it is."""
    outcome = classify(exchange, 3)
    assert isinstance(outcome, Unknown)
    step = settle(armed(), outcome, phones=PHONES, jitter=0.5)
    assert (step.batch.state, step.batch.is_ambiguous, step.parts) == (State.WAITING, True, ())


@pytest.mark.parametrize(("exchange", "kind"), DEFINITE, ids=repr)
def test_law_4_the_definite_outcomes_are_these(exchange: Exchange, kind: type[Outcome]) -> None:
    """And no others."""
    assert isinstance(classify(exchange, 3), kind)


@given(status=st.integers(100, 599), body=st.binary(max_size=40), size_rows=st.integers(1, 5))
def test_law_4_no_answer_at_all_breaks_the_judgement(status: int, body: bytes, size_rows: int) -> None:
    """Whatever bytes come with whatever status, there is an outcome; 5xx and 3xx are never definite."""
    outcome = classify(answer(status, body), size_rows)
    if status >= 500 or status // 100 == 3 or status in {408, 409, 425}:
        assert isinstance(outcome, Unknown)
    if isinstance(outcome, Accepted):
        assert (status, len(outcome.ids)) == (200, size_rows)


def armed(*, size_rows: int = 3, is_ambiguous: bool = False) -> Batch:
    fresh = Batch(state=State.WAITING, size_rows=size_rows, is_ambiguous=is_ambiguous)
    return protocol.arm(fresh, ARMING).batch


REFUSALS: list[Outcome] = [
    Refused(kind="phone.bad.format", message="", phone=PHONES[1]),
    Refused(kind="too-large", message=""),
    Doubtful(kind="bad_request", message=""),
]


@pytest.mark.parametrize("outcome", REFUSALS, ids=repr)
def test_law_5_a_refusal_settles_only_what_was_never_ambiguous(outcome: Outcome) -> None:
    """After any maybe, a refusal proves nothing of the earlier send: in doubt, never split, never refused."""
    for size_rows in (1, 3):
        step = settle(armed(size_rows=size_rows, is_ambiguous=True), outcome, phones=PHONES[:size_rows], jitter=0.5)
        assert (step.batch.state, step.parts) == (State.IN_DOUBT, ())


def test_law_5_a_refused_batch_falls_apart_by_a_fixed_rule() -> None:
    """The named row apart from the others; halves when nobody, or an unknown number, is named; one row is refused."""
    named = settle(armed(), REFUSALS[0], phones=PHONES, jitter=0.5)
    assert (named.batch.state, named.parts) == (State.SPLIT, ((1,), (0, 2)))
    for phone in (None, "+12015550101", "999"):
        halved = settle(armed(), Refused(kind="k", message="", phone=phone), phones=PHONES, jitter=0.5)
        assert halved.parts == ((0, 1), (2,))
    single = settle(armed(size_rows=1), REFUSALS[0], phones=PHONES[:1], jitter=0.5)
    assert (single.batch.state, single.parts) == (State.REFUSED, ())


# --- every order of outcomes ------------------------------------------------------------------------------------------

OUTCOMES: list[Outcome] = [
    Accepted(ids=("1", "2", "3")),
    Refused(kind="phone.bad.format", message="", phone=PHONES[1]),
    Refused(kind="too-large", message=""),
    NotExecuted(kind="refused"),
    NotExecuted(kind="throttled", retry_after_s=5.0),
    Stopped(kind="invalid.token", message=""),
    Doubtful(kind="bad_request", message=""),
    Unknown(kind="timeout"),
    Unknown(kind="status-503", retry_after_s=5.0),
    Unknown(kind="interrupted"),
]
MAYBE = (Unknown,)
FINAL = {State.ACCEPTED, State.REFUSED, State.SPLIT, State.IN_DOUBT}


def test_every_order_of_four_outcomes_keeps_the_laws() -> None:
    """Ten outcomes, every order up to length four: 11,110 histories of one batch, none of which breaks a law."""
    histories = [order for length in range(1, 5) for order in product(OUTCOMES, repeat=length)]
    assert len(histories) == 11_110
    for history in histories:
        judge_history(history)


def judge_history(history: tuple[Outcome, ...]) -> None:
    batch, was_maybe = Batch(state=State.FROZEN, size_rows=3), False
    for sends, outcome in enumerate(history, start=1):
        if batch.state in FINAL:
            return
        batch = protocol.arm(batch, Arming(server_low_ms=sends, boot_ms=sends, boot_id="b")).batch
        assert batch.first_armed is not None
        assert (batch.sends, batch.first_armed.boot_ms) == (sends, 1), "first arming is never taken back"
        if isinstance(outcome, Unknown) and outcome.kind == "interrupted":
            step = protocol.recover(batch)
        else:
            step = settle(batch, outcome, phones=PHONES, jitter=0.5)
        was_maybe = was_maybe or isinstance(outcome, MAYBE)
        assert step.batch.is_ambiguous == was_maybe, "ambiguity is never taken back"
        assert not (was_maybe and step.batch.state in {State.SPLIT, State.REFUSED})
        assert (step.batch.state is State.ACCEPTED) == isinstance(outcome, Accepted)
        assert bool(step.parts) == (step.batch.state is State.SPLIT)
        assert sorted(sum(step.parts, ())) == ([0, 1, 2] if step.parts else [])
        assert step.is_run_over == isinstance(outcome, Stopped)
        batch = step.batch


@given(
    st.sampled_from([one for one in OUTCOMES if isinstance(one, (NotExecuted, Unknown))]),
    st.integers(1, 40),
    st.floats(0, 1),
)
def test_waits_are_bounded_and_obey_retry_after(outcome: NotExecuted | Unknown, sends: int, jitter: float) -> None:
    """Never negative, never over an hour; never before a Retry-After; at least five seconds after a timeout."""
    wait_s = protocol.wait_s(outcome, sends, jitter)
    assert 0 <= wait_s <= 3600
    assert wait_s >= (outcome.retry_after_s or 0)
    assert outcome.kind != "timeout" or wait_s >= 5


def test_steps_that_a_state_does_not_allow_are_bugs() -> None:
    """An armed batch is not armed again; only a waiting one expires; what may have been carried out keeps its key."""
    frozen = Batch(state=State.FROZEN, size_rows=1)
    steps: list[Callable[[], object]] = [
        lambda: protocol.arm(armed(), ARMING),
        lambda: protocol.expire(frozen),
        lambda: protocol.recover(frozen),
        lambda: settle(frozen, OUTCOMES[0], phones=(), jitter=0.5),
        lambda: protocol.renew(Batch(state=State.WAITING, size_rows=1, is_ambiguous=True)),
        lambda: protocol.give_up(frozen),
        lambda: protocol.absent(frozen),
    ]
    for step in steps:
        with pytest.raises(protocol.ImpossibleStep):
            step()


# --- over a socket ----------------------------------------------------------------------------------------------------


def test_law_5_a_refusal_after_a_lost_answer_is_in_doubt_and_nothing_is_split(serve: Serve, tmp_path: Path) -> None:
    """The rows exist once, the refusal proves nothing, no new key is made: a person must decide (8)."""
    platform = serve("lose-answer:times=1", "status:code=400,type=phone.bad.format,after=1,times=1")
    bench = Bench(folder=tmp_path, origin=platform.origin)
    report = bench.run(write_list(tmp_path / "a.csv", people(4)), in_doubt="hold")
    assert (report.exit_code, report.balance.in_doubt) == (8, 4)
    assert len({one.key for one in platform.sends()}) == 1
    platform.has_each_once(number(i) for i in range(4))
    assert bench.run(tmp_path / "a.csv", in_doubt="hold").exit_code == 8
    assert len(platform.sends()) == 2
