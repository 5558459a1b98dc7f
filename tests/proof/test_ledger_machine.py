"""The ledger's books, driven by Hypothesis: whatever is asked of them in whatever order, the laws hold after each step.

A real ledger in a real file; the protocol's own functions decide each step. The file is closed and opened again at any
moment, the list is edited, and steps that come too late (the batch has moved on) must change nothing.
"""

from __future__ import annotations

import hashlib
import random
import shutil
import tempfile
import zlib
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from importer import protocol
from importer.body import item_texts, items_of, phones_of
from importer.errors import LedgerProblem
from importer.ledger import Ledger
from importer.ledger.doubt_book import Doubt, Question
from importer.ledger.records import NewBatch, NewPart, Sendable, Settlement
from importer.protocol import (
    Accepted,
    Arming,
    Batch,
    Doubtful,
    Finding,
    NotExecuted,
    Outcome,
    Refused,
    State,
    Step,
    Stopped,
    Unknown,
)

from .mortal import OWNER, Prepared, in_memory, invented_rows, prepared, taken_in
from .world import World

ROWS = invented_rows(8, shared=2)
SIZE = 3
LIVE = "('frozen', 'armed', 'waiting', 'accepted', 'in_doubt', 'refused')"
OUTCOMES: dict[str, Outcome] = {
    "accepted": Accepted(ids=()),  # its ids are made where it is used: no two jobs share one
    "named": Refused(kind="phone.bad.format", message="", phone="named"),
    "nobody named": Refused(kind="too-large", message=""),
    "throttled": NotExecuted(kind="throttled", retry_after_s=3.0),
    "stopped": Stopped(kind="invalid.token", message=""),
    "strange": Doubtful(kind="bad_request", message=""),
    "timeout": Unknown(kind="timeout"),
    "5xx": Unknown(kind="status-503"),
}

batch_ids = st.integers(1, 12)


@cache
def the_list() -> Prepared:
    """The list, taken in once for all examples; its folder goes with the process."""
    folder = tempfile.TemporaryDirectory(prefix="importer-proof-", dir=in_memory())
    _KEPT.append(folder)
    return prepared(Path(folder.name) / "list", ROWS, SIZE)


_KEPT: list[tempfile.TemporaryDirectory[str]] = []


class LedgerBooks(RuleBasedStateMachine):
    """Every verb of the send book and the doubt book, and edits of the list between them."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="importer-proof-", dir=in_memory()))
        self.world = World(dice=random.Random(0))
        self.ids = 0
        self.edition = 0
        self.bodies: dict[str, str] = {}  # by key, for ever
        self.ambiguous: set[tuple[int, int]] = set()  # batch and epoch
        self.armed_first: dict[tuple[int, int], tuple[Any, ...]] = {}
        self.ended: dict[int, tuple[Any, ...]] = {}
        self.evidence_rows = 0

    @initialize()
    def begin(self) -> None:
        self.start = the_list()
        self.start.copied(self.folder)
        self.import_id, self.seed = self.start.an_import.id, self.start.campaign.key_seed
        self.open()

    def open(self) -> None:
        self.ledger = Ledger(self.folder / "ledger.db", OWNER, now_ms=self.now_ms)
        self.ledger.witness.begin_session()

    def teardown(self) -> None:
        self.ledger.close()
        shutil.rmtree(self.folder)

    @property
    def now_ms(self) -> int:
        return self.world.moment().unix_ms

    def all(self, sql: str, *values: Any) -> list[Any]:
        return self.ledger.store.all(sql, values)

    def in_state(self, batch_id: int, *states: State) -> Sendable | None:
        """That batch, or the one after it in such a state, if there is any."""
        marks = ", ".join(f"'{state}'" for state in states)
        rows = self.all(f"SELECT id FROM batches WHERE state IN ({marks}) ORDER BY id < ?, id LIMIT 1", batch_id)
        return self.ledger.sends.load(rows[0][0]) if rows else None

    def arming(self) -> Arming:
        moment = self.world.moment()
        return Arming(server_low_ms=self.world.true_ms - 1000, boot_ms=moment.boot_ms, boot_id=moment.boot_id)

    # --- sending ------------------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([1, 600, 90_000]))
    def time_passes(self, seconds: int) -> None:
        self.world.passes(seconds * 1000)

    @rule(first=batch_ids, count=st.integers(1, 3))
    def arm(self, first: int, count: int) -> None:
        waiting = {
            each.id: each for i in range(count) if (each := self.in_state(first + i, State.FROZEN, State.WAITING))
        }
        armed = [(each, self.armed(each)) for each in waiting.values()]
        self.ledger.sends.advance(armed=armed, arming=self.arming(), now_ms=self.now_ms)

    def armed(self, sendable: Sendable) -> Batch:
        key_since = self.ledger.sends.key_since(sendable) if sendable.batch.epoch else None
        return protocol.arm(sendable.batch, self.arming(), key_since).batch

    @rule(first=batch_ids, what=st.sampled_from(sorted(OUTCOMES)), place=st.integers(0, SIZE - 1))
    def settle(self, first: int, what: str, place: int) -> None:
        sendable = self.in_state(first, State.ARMED)
        if sendable is not None:
            self.ledger.sends.advance(settled=[self.settlement(sendable, what, place)], now_ms=self.now_ms)

    @rule(first=batch_ids, other=batch_ids, what=st.sampled_from(sorted(OUTCOMES)))
    def settle_and_arm_in_one_commit(self, first: int, other: int, what: str) -> None:
        ended, next_one = self.in_state(first, State.ARMED), self.in_state(other, State.FROZEN, State.WAITING)
        if ended is not None and next_one is not None:
            armed = [(next_one, self.armed(next_one))]
            settled = [self.settlement(ended, what, 0)]
            self.ledger.sends.advance(settled=settled, armed=armed, arming=self.arming(), now_ms=self.now_ms)

    def settlement(self, sendable: Sendable, what: str, place: int) -> Settlement:
        phones = tuple(phones_of(items_of(sendable.body_bytes)))
        outcome = OUTCOMES[what]
        if what == "named":
            outcome = Refused(kind="phone.bad.format", message="", phone=phones[place % len(phones)])
        step = protocol.settle(sendable.batch, outcome, phones=phones, jitter=0.5)
        receipts: dict[State, dict[str, Any]] = {
            State.ACCEPTED: {"ids": self.new_ids(len(phones))},
            State.REFUSED: {"type": "k", "message": ""},
        }
        return Settlement(
            sendable=sendable,
            after=step.batch,
            reason=step.reason,
            outcome=what,
            status=200,
            server_date_ms=None,
            elapsed_ms=5,
            receipt=receipts.get(step.batch.state),
            parts=self.parts(sendable, step.parts),
        )

    def new_ids(self, count: int) -> list[str]:
        self.ids += count
        return [f"id-{number}" for number in range(self.ids - count, self.ids)]

    def parts(self, sendable: Sendable, parts: Sequence[Sequence[int]]) -> tuple[NewPart, ...]:
        keys, items = self.ledger.sends.row_keys(sendable.id), item_texts(sendable.body_bytes)
        return tuple(
            NewPart(
                batch=NewBatch.made_of(self.seed, [keys[i] for i in part], [items[i] for i in part]),
                positions=tuple(part),
            )
            for part in parts
        )

    @rule(first=batch_ids, rows=st.integers(1, SIZE - 1))
    def cut_what_was_never_armed(self, first: int, rows: int) -> None:
        sendable = self.in_state(first, State.FROZEN)
        if sendable is not None and sendable.batch.epoch == 0 and sendable.batch.size_rows > rows:
            everything = range(sendable.batch.size_rows)
            parts = self.parts(sendable, (everything[:rows], everything[rows:]))
            self.ledger.sends.cut(sendable, parts, "cut", now_ms=self.now_ms)

    @rule(first=batch_ids, how=st.sampled_from(["expire", "renew", "park"]))
    def move_a_waiting_batch(self, first: int, how: str) -> None:
        sendable = self.in_state(first, State.WAITING)
        if sendable is None:
            return
        if how == "renew" and not sendable.batch.is_ambiguous:
            after = protocol.renew(sendable.batch).batch
            self.ledger.sends.renew(sendable, after, self.seed, "", now_ms=self.now_ms)
        elif how != "renew":
            expired = how == "expire"
            step = protocol.expire(sendable.batch) if expired else protocol.park(sendable.batch, "parked")
            self.ledger.sends.change(sendable, step.batch, how, now_ms=self.now_ms)

    # --- dying, coming back, being late -------------------------------------------------------------------------------

    @rule()
    def close_open_and_recover(self) -> None:
        self.ledger.close()
        self.open()
        self.ledger.sends.recover(self.import_id, now_ms=self.now_ms)
        assert not self.all("SELECT 1 FROM sends WHERE ended_ms IS NULL")

    @rule(first=batch_ids)
    def a_step_that_comes_too_late_changes_nothing(self, first: int) -> None:
        """Somebody else moved the batch meanwhile: the change names the state it expects, and stops everything."""
        sendable = self.in_state(first, State.FROZEN, State.WAITING)
        if sendable is None:
            return
        self.ledger.sends.advance(armed=[(sendable, self.armed(sendable))], arming=self.arming(), now_ms=self.now_ms)
        before = self.all("SELECT * FROM batches ORDER BY id")
        with pytest.raises(LedgerProblem):
            self.ledger.sends.change(sendable, protocol.park(sendable.batch, "late").batch, "late", now_ms=self.now_ms)
        assert self.all("SELECT * FROM batches ORDER BY id") == before
        self.ledger.close()
        self.open()

    # --- doubt --------------------------------------------------------------------------------------------------------

    @rule(
        first=batch_ids,
        verdict=st.sampled_from(["found", "several", "absent", "absent for good", "some", "called", "given up", "not"]),
    )
    def settle_a_doubt(self, first: int, verdict: str) -> None:
        sendable = self.in_state(first, State.IN_DOUBT)
        if sendable is None:
            return
        doubt = self.ledger.doubts.doubt_of(sendable.id)
        assert doubt is not None
        self.judge(doubt, verdict)

    def judge(self, doubt: Doubt, verdict: str) -> None:
        book, batch, rows = self.ledger.doubts, doubt.sendable.batch, doubt.sendable.batch.size_rows
        question = Question(asked_ms=self.now_ms, from_ms=0, to_ms=1, campaign_status=None)
        if verdict in ("found", "several"):
            extra = tuple(self.new_ids(rows)) if verdict == "several" else ()
            finding = Finding(kind="all", ids=tuple(self.new_ids(rows)), extra_ids=extra, jobs=rows)
            book.settle_found(doubt, protocol.found(batch), finding, question)
        elif verdict in ("absent", "absent for good"):
            book.settle_absent(doubt, protocol.absent(batch), question, is_for_good=verdict == "absent for good")
        elif verdict == "some":
            book.add_evidence(doubt, "some", question, jobs=1)
            book.leave(doubt, "a person must decide", now_ms=self.now_ms)
        else:
            words: dict[str, Step] = {
                "called": protocol.found(batch, "called"),
                "given up": protocol.give_up(batch),
                "not": protocol.absent(batch, "not called"),
            }
            book.decide(doubt, words[verdict], now_ms=self.now_ms)

    # --- the list is edited -------------------------------------------------------------------------------------------

    @precondition(lambda self: self.edition < 2 and not self.is_finished())
    @rule(kept=st.sets(st.integers(0, len(ROWS) - 1), min_size=1))
    def edit_the_list(self, kept: set[int]) -> None:
        """Rows never armed are thawed and taken in anew or withdrawn; armed ones stay as they are."""
        self.edition += 1
        rows = [row for place, row in enumerate(ROWS) if place in kept]
        stay = self.all(
            "SELECT r.id, r.batch_id FROM rows r JOIN batches b ON b.id = r.batch_id WHERE b.state <> 'frozen'"
        )
        an_import = taken_in(self.ledger, self.folder, rows, SIZE, self.world, self.edition)
        assert an_import.id == self.import_id
        assert set(stay) <= set(self.all("SELECT id, batch_id FROM rows"))

    def is_finished(self) -> bool:
        return self.ledger.sends.finish(self.import_id, now_ms=self.now_ms)

    # --- what must hold after every step ------------------------------------------------------------------------------

    @invariant()
    def the_balance_is_even(self) -> None:
        balance = self.ledger.view.balance(self.import_id)
        assert balance.is_even, balance

    @invariant()
    def each_row_is_in_one_live_batch(self) -> None:
        """Membership is told once, by the row; every live batch has just the rows it says, in places of their own."""
        members = Counter(row[0] for row in self.all("SELECT batch_id FROM rows WHERE batch_id IS NOT NULL"))
        live = dict(self.all(f"SELECT id, size_rows FROM batches WHERE state IN {LIVE}"))
        assert members == live
        places = self.all("SELECT batch_id, position FROM rows WHERE batch_id IS NOT NULL")
        assert sorted(places) == sorted((batch, place) for batch, size in live.items() for place in range(size))

    @invariant()
    def a_key_has_one_body_for_ever(self) -> None:
        """I4, for whatever was ever armed; and the body is that of the rows, in their order."""
        rows = self.all(
            "SELECT b.id, b.state, b.request_key, d.body, d.sha256 FROM batches b JOIN bodies d ON d.batch_id = b.id"
        )
        for batch_id, state, key, packed, sha256 in rows:
            body = zlib.decompress(packed)
            assert hashlib.sha256(body).digest() == sha256
            assert self.bodies.setdefault(key, sha256.hex()) == sha256.hex()
            if state != "split":
                phones = self.all("SELECT phone FROM rows WHERE batch_id = ? ORDER BY position", batch_id)
                assert phones_of(items_of(body)) == [str(phone) for (phone,) in phones]

    @invariant()
    def a_batch_has_an_open_send_when_it_is_armed_and_else_none(self) -> None:
        armed = [row[0] for row in self.all("SELECT id FROM batches WHERE state = 'armed' ORDER BY id")]
        assert armed == [row[0] for row in self.all("SELECT batch_id FROM sends WHERE ended_ms IS NULL ORDER BY 1")]

    @invariant()
    def doubt_and_first_arming_are_never_taken_back_within_an_epoch(self) -> None:
        rows = self.all("SELECT id, epoch, is_ambiguous, first_low_ms, first_boot_ms, first_boot_id FROM batches")
        for batch_id, epoch, is_ambiguous, *first in rows:
            assert is_ambiguous or (batch_id, epoch) not in self.ambiguous
            if is_ambiguous:
                self.ambiguous.add((batch_id, epoch))
            if first[2] is not None:
                assert self.armed_first.setdefault((batch_id, epoch), tuple(first)) == tuple(first)

    @invariant()
    def an_end_is_an_end_and_has_its_receipt(self) -> None:
        """I7 as far as it is local: what is settled stays so, and says on which evidence."""
        rows = self.all(
            "SELECT b.id, b.state, b.request_key, c.kind, c.evidence, c.content FROM batches b "
            "LEFT JOIN receipts c ON c.batch_id = b.id WHERE b.state IN ('accepted', 'refused', 'split')"
        )
        for batch_id, *end in rows:
            assert end[2] == (end[0] if end[0] != "split" else None)
            assert self.ended.setdefault(batch_id, tuple(end)) == tuple(end)
        assert set(self.ended) == {row[0] for row in rows}

    @invariant()
    def evidence_is_only_added(self) -> None:
        rows = self.all("SELECT count(*) FROM evidence")[0][0]
        assert rows >= self.evidence_rows
        self.evidence_rows = rows


LedgerBooks.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestLedgerBooks = LedgerBooks.TestCase
