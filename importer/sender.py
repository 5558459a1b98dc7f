"""The sender: frozen batches go out, what came of them is written down, until nothing is left to send.

Floor: sender, above ledger and client. One thread, the caller's, owns the ledger; workers only carry bytes to the
network and bring the exchange back. Each turn of the loop writes the ended sends and arms the next ones in one commit,
then hands the armed ones to the workers. While all goes well half as many again are armed ahead, so that a worker that
comes back has its next batch at once and waits for no commit; at the first trouble they are put back, since they never
left. A newcomer may look for a resume path: there is none; what an earlier run left open is put back, and the loop runs
as always (law 9).
"""

from __future__ import annotations

import heapq
import random
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue
from typing import Protocol

from pyroaring import BitMap64

from importer.body import item_texts, items_of, phones_of
from importer.errors import LedgerProblem
from importer.flight import Flight
from importer.jobids import EvenIds
from importer.ledger import Ledger
from importer.ledger.records import NewBatch, NewPart, Sendable, Settlement
from importer.ledger.rescue import record_last
from importer.ledger.send_book import PackedSendable
from importer.machine import Moment
from importer.model import Answer, Balance, Exchange, Notice, Observer, SendingProgress
from importer.protocol import (
    Accepted,
    Arming,
    Batch,
    Doubtful,
    NotExecuted,
    Outcome,
    Refused,
    ServerClock,
    State,
    Step,
    Stopped,
    Unknown,
    Window,
    age_ms,
    arm,
    calibrated,
    classify,
    expire,
    park,
    passed_ms,
    put_back,
    renew,
    settle,
)

PREFETCH_BATCHES = 64
_OVERLOADED = frozenset({"throttled", "status-503"})
LONGEST_NAP_S = 0.5
FRESH_KEY_AFTER_SENDS = 5
STUCK_AFTER_SENDS = 5
STUCK_AFTER_S = 1800.0
LARGEST_ID_DIGITS = 20  # shorter decimal ids fit 64 bits


@dataclass(frozen=True, kw_only=True, slots=True)
class Adoption:
    """A lost ledger that this one replaces: it may have sent, in this span, any batch that was not armed here."""

    since: Arming
    until: Arming

    @classmethod
    def between(cls, since_ms: int, until_ms: int, moment: Moment) -> Adoption:
        """A span by our own wall clock, as every clock would have shown it. **Units**: Unix milliseconds."""
        since, until = (
            Arming(server_low_ms=ms, boot_ms=moment.boot_ms - (moment.unix_ms - ms), boot_id=moment.boot_id)
            for ms in (since_ms, until_ms)
        )
        return cls(since=since, until=until)


class Carrier(Protocol):
    """What carries a batch to the platform; `CallsApi` does."""

    def send_batch(self, body: bytes, key: str, *, last_look: Callable[[], bool] | None = None) -> Exchange:
        """Sends these bytes under this key, once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SendSettings:
    """How a run sends. **Units**: rows, rows per second, seconds. None means no bound."""

    in_flight: int = 8
    rate_rows_s: float | None = None
    patience_s: float = 60.0
    first_rows: int | None = None
    window: Window = field(default_factory=Window)


@dataclass(frozen=True, kw_only=True, slots=True)
class SendResult:
    """Why sending ended.

    `ending` is `done` (nothing left that may be sent now), `first` (as many rows as asked for), `stopped` (a signal),
    `away` (no useful answer for the patience) or `denied` (the platform refuses everything; `detail` says why).
    """

    ending: str
    balance: Balance
    detail: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Returned:
    """A worker's result and what it says, or the failure of a worker: a bug, raised again where it is seen."""

    sendable: Sendable
    exchange: Exchange | None
    outcome: Outcome | None = None
    failure: BaseException | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Armed:
    """A batch whose arming is on disk, and what it was before."""

    sendable: Sendable
    before: Batch
    arming: Arming


class Crew(Protocol):
    """Those who carry: work begins when it is given, and its result is taken up later, in whatever order."""

    def start(self, work: Callable[[], Returned]) -> None:
        """Begins a piece of work."""

    def wait(self, longest_s: float) -> list[Returned]:
        """Everything that came back since, waiting so long for the first; empty when nothing did, or when woken."""

    def wake(self) -> None:
        """Ends a wait; safe in a signal handler."""

    def close(self) -> None:
        """Awaits all that was begun. May be called twice."""


class Threads:
    """A crew of threads."""

    def __init__(self, size: int) -> None:
        self._workers = ThreadPoolExecutor(size, thread_name_prefix="send")
        self._returned: SimpleQueue[Returned | None] = SimpleQueue()

    def start(self, work: Callable[[], Returned]) -> None:
        """See Crew."""
        self._workers.submit(lambda: self._returned.put(work()))

    def wait(self, longest_s: float) -> list[Returned]:
        """See Crew."""
        found: list[Returned] = []
        wait_s = longest_s
        while True:
            try:
                each = self._returned.get(timeout=wait_s) if wait_s else self._returned.get_nowait()
            except Empty:
                return found
            if each is not None:
                found.append(each)
            wait_s = 0.0

    def wake(self) -> None:
        """See Crew; a SimpleQueue may be put to from a signal handler."""
        self._returned.put(None)

    def close(self) -> None:
        """See Crew."""
        self._workers.shutdown(wait=True)


class Sender:
    """Sends one import. Made for one run; `run` does everything.

    `now` reads the machine's clocks, `jitter` gives 0…1, `is_stopping` is asked each turn, `crew` makes the workers.
    `alone_ms` is since when this process alone sends from this ledger, by the boot clock (None: since now).
    `adopted` is the lost ledger that may have sent the very batches this one has not armed yet: their keys are as old.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        import_id: int,
        key_seed: str,
        carrier: Carrier,
        settings: SendSettings,
        observer: Observer,
        now: Callable[[], Moment],
        is_stopping: Callable[[], bool],
        server_clock: ServerClock | None = None,
        alone_ms: int | None = None,
        adopted: Adoption | None = None,
        jitter: Callable[[], float] = random.random,
        crew: Callable[[int], Crew] = Threads,
    ) -> None:
        self._ledger = ledger
        self._import_id = import_id
        self._key_seed = key_seed
        self._carrier = carrier
        self._settings = settings
        self._observer = observer
        self._now = now
        self._is_stopping = is_stopping
        self._clock = server_clock
        self._alone_ms = now().boot_ms if alone_ms is None else alone_ms
        self._adopted = adopted
        self._jitter = jitter
        self._crew = crew(settings.in_flight)
        self._in_flight: dict[int, Sendable] = {}
        self._flight = Flight(settings.in_flight)
        self._tickets: dict[int, int] = {}
        self._waiting: list[tuple[float, int]] = []
        self._ahead: deque[_Armed] = deque()  # not handed out yet
        self._ready = _Ready()
        self._last_frozen_id = 0
        self._is_drained = False  # the ledger was asked for more frozen batches and had none
        self._claimed_ids: set[int] = set()
        self._unwritten: list[Settlement] = []  # known, and not yet known to be in the ledger
        self._seen_ids = _SeenIds()
        self._held: dict[int, int] = {}  # batches kept back, and their rows
        self._left_rows = settings.first_rows
        self._pace = _Pace(settings.rate_rows_s)
        self._is_proven = False  # the first request goes alone; so does the first after trouble
        self._quiet_since_s: float | None = None
        self._paused_until_s = 0.0
        self._denied = ""
        self._retries = 0
        self._balance = Balance()

    def wake(self) -> None:
        """Ends the loop's nap; safe in a signal handler."""
        self._crew.wake()

    def run(self) -> SendResult:
        """Sends until done, stopped, denied, or out of patience. In-flight requests are always awaited.

        **Errors**: LedgerProblem when the ledger fails: nothing more is sent. What came back is written down once more,
        on a fresh connection; where that fails too, it counts as unknown.
        **Crash**: whatever was armed counts as sent; the next run puts it back.
        """
        sends = self._ledger.sends
        sends.recover(self._import_id, now_ms=self._now().unix_ms)
        self._waiting = [(0.0, batch_id) for batch_id, _ in sends.waiting(self._import_id)]
        heapq.heapify(self._waiting)
        self._balance = self._ledger.view.balance(self._import_id)
        try:
            ending = self._loop()
        except LedgerProblem:
            self._crew.close()
            record_last(self._ledger, self._last_settled, now_ms=self._now().unix_ms)
            raise
        finally:
            self._crew.close()
            self._ready.close()
        self._tell_held()
        sends.finish(self._import_id, now_ms=self._now().unix_ms)
        return SendResult(ending=ending, balance=self._balance, detail=self._denied or self._why_away(ending))

    def _why_away(self, ending: str) -> str:
        patience_s = self._settings.patience_s
        return f"The platform gave no useful answer for {patience_s:,.3g} s." if ending == "away" else ""

    def _loop(self) -> str:
        ending = ""
        returned: list[Returned] = []
        while True:
            ending = ending or self._why_end()
            self._turn(returned, may_arm=not ending)
            if not self._in_flight:
                if ending:
                    return ending
                if not self._waiting and not self._ready and (self._is_drained or self._left_rows == 0):
                    return "first" if self._left_rows is not None and self._balance.pending else "done"
            returned = self._collect()

    def _why_end(self) -> str:
        if self._denied:
            return "denied"
        if self._is_stopping():
            return "stopped"
        quiet_s = 0.0 if self._quiet_since_s is None else self._time_s() - self._quiet_since_s
        return "away" if quiet_s > self._settings.patience_s else ""

    def _time_s(self) -> float:
        return self._now().boot_ms / 1000

    # --- one turn -----------------------------------------------------------------------------------------------------

    def _turn(self, returned: Sequence[Returned], *, may_arm: bool) -> None:
        """Writes what came back, arms what may go next, in one commit; then hands the armed ones out."""
        settled: list[Settlement] = []
        self._unwritten = settled
        settled.extend(map(self._settled, returned))
        unsent: list[_Armed] = []
        if not may_arm or not self._may_be_ahead():
            unsent.extend(self._ahead)
            self._ahead.clear()
        self._hand_out()
        moment = self._now()
        claimed = self._claim() if may_arm and not self._denied else []
        arming = self._arming(moment)
        armed = [(each, arm(each.batch, arming, self._key_since(each)).batch) for each in claimed]
        if settled or unsent or armed:
            high_ms = self._clock.bounds_ms(moment.boot_ms)[1] if self._clock else 0
            self._ledger.sends.advance(
                settled=settled,
                put_back=[(each.sendable, put_back(each.sendable.batch, each.before)) for each in unsent],
                armed=armed,
                server_high_ms=high_ms,
                arming=arming,
                now_ms=moment.unix_ms,
            )
            self._ledger.witness.note(moment.unix_ms, is_due=False)
        self._unwritten = []
        for known in settled:
            self._count(known)
        for each in unsent:
            self._line_up(each.sendable.id, each.before)
        self._ahead.extend(
            _Armed(sendable=replace(each, batch=batch), before=each.batch, arming=arming) for each, batch in armed
        )
        self._hand_out()
        if settled:
            self._report()

    def _hand_out(self) -> None:
        """Gives the workers what is armed, as many as may be under way."""
        while self._ahead and self._has_slot():
            armed = self._ahead.popleft()
            self._dispatch(armed.sendable, armed.arming)

    def _may_be_ahead(self) -> bool:
        """True while nothing speaks against sending what is armed as soon as there is a slot.

        Not while rows are counted one by one, and not for a lost ledger's batches, which are older than they look here.
        """
        is_calm = self._is_proven and not self._denied and self._time_s() >= self._paused_until_s
        is_counted = self._settings.rate_rows_s is not None or self._left_rows is not None
        return is_calm and not is_counted and self._adopted is None

    def _collect(self) -> list[Returned]:
        """Waits for something to happen, then takes all that has."""
        found = self._crew.wait(self._nap_s())
        for each in found:
            if each.failure is not None:
                raise each.failure
        return found

    def _last_settled(self) -> list[Settlement]:
        """What is known and not written when the ledger has failed."""
        returned = [each for each in self._crew.wait(0.0) if each.exchange is not None]
        return [*self._unwritten, *map(self._settled, returned)]

    def _nap_s(self) -> float:
        """Until the next batch is due, the pace allows one, or half a second has passed."""
        now_s = self._time_s()
        due_s = [self._pace.next_s, self._paused_until_s] if self._has_slot() else []
        if self._waiting and self._has_slot():
            due_s.append(self._waiting[0][0])
        later = [each - now_s for each in due_s if each > now_s]
        return min([LONGEST_NAP_S, *later])

    def _arming(self, moment: Moment) -> Arming:
        low_ms = self._clock.bounds_ms(moment.boot_ms)[0] if self._clock else None
        return Arming(server_low_ms=low_ms, boot_ms=moment.boot_ms, boot_id=moment.boot_id)

    def _key_since(self, sendable: Sendable) -> Arming | None:
        """Since when the platform may know the key of a batch that is in a later epoch."""
        if not sendable.batch.epoch:
            return None
        return self._adopted.since if self._adopted else self._ledger.sends.key_since(sendable)

    # --- claiming -----------------------------------------------------------------------------------------------------

    def _has_slot(self) -> bool:
        return len(self._in_flight) < self._slots()

    def _slots(self) -> int:
        """How many requests may be under way: what the platform bears, once it answered at all."""
        return self._flight.allowed if self._is_proven else 1

    def _claim(self) -> list[Sendable]:
        """The batches to arm now. None while the pace or the platform asks to wait: arming starts the key's clock."""
        claimed: list[Sendable] = []
        self._claimed_ids = set()
        ahead = self._slots() // 2 if self._may_be_ahead() else 0
        slots = self._slots() + ahead - len(self._in_flight) - len(self._ahead)
        while len(claimed) < slots:
            now_s = self._time_s()
            if now_s < max(self._pace.next_s, self._paused_until_s):
                break
            sendable = self._next(now_s)
            if sendable is None:
                break
            self._pace.took(sendable.batch.size_rows, now_s)
            claimed.append(sendable)
            self._claimed_ids.add(sendable.id)
        return claimed

    def _next(self, now_s: float) -> Sendable | None:
        """A waiting batch that is due, else the next frozen one."""
        while self._waiting and self._waiting[0][0] <= now_s:
            sendable = self._ledger.sends.load(heapq.heappop(self._waiting)[1])
            if not self._is_in_window(sendable.batch):
                self._expire(sendable)
            elif self._is_refusal_remembered(sendable):
                self._renew(sendable)
            else:
                return sendable
        return self._next_frozen()

    def _next_frozen(self) -> Sendable | None:
        """The next frozen batch that may go, in the order of the list."""
        while (sendable := self._fetched()) is not None:
            rows = sendable.batch.size_rows
            if self._is_suppressed(sendable):
                continue
            if not self._is_in_window(sendable.batch):
                self._doubt(sendable, park(sendable.batch, "a lost ledger may have sent it"))
            elif self._is_stale(sendable):
                self._doubt(sendable, park(sendable.batch, "it was found absent too early to be relied on by now"))
            elif self._left_rows is None:
                return sendable
            elif rows <= self._left_rows:
                self._left_rows -= rows
                return sendable
            elif self._may_cut(sendable):
                return self._first_part(sendable, self._left_rows)
            # else: it may have been sent before, so its parts must not get keys of their own; --first leaves it out
        return None

    def _is_suppressed(self, sendable: Sendable) -> bool:
        """Keeps a batch back whose numbers came onto a do-not-call list since intake; says whether it did.

        They are taken out where nothing of the batch can have been sent. Where it may have been, all of it waits: in
        doubt when a lost ledger may have sent it, else as it is, until no earlier send can be on its way any more.
        """
        hits = self._ledger.last_look.hits(sendable)
        if not hits:
            return False
        if self._may_cut(sendable):
            self._suppress(sendable, hits)
        elif sendable.batch.is_ambiguous:
            self._doubt(sendable, park(sendable.batch, "numbers of it may not be called, and it may have been sent"))
        else:
            self._held[sendable.id] = sendable.batch.size_rows
        return True

    def _suppress(self, sendable: Sendable, hits: Sequence[int]) -> None:
        now_ms, balance = self._now().unix_ms, self._balance
        self._ledger.last_look.withdraw_rows(sendable, hits, key_seed=self._key_seed, now_ms=now_ms)
        self._balance = replace(balance, pending=balance.pending - len(hits), suppressed=balance.suppressed + len(hits))
        self._refetch()

    def _tell_held(self) -> None:
        if self._held:
            rows = sum(self._held.values())
            text = f"{rows:,} rows wait, because numbers among them came onto a do-not-call list meanwhile."
            self._observer(Notice(kind="held-back", text=f"{text} Run again in an hour: then they can be taken apart."))

    def _fetched(self) -> Sendable | None:
        """The next frozen batch, whether it may go or not."""
        if self._left_rows == 0:
            self._ready.clear()
            return None
        if len(self._ready) < PREFETCH_BATCHES // 2 and not (self._ready and self._is_drained):
            fetched = self._ledger.sends.frozen_packed(self._import_id, self._last_frozen_id, PREFETCH_BATCHES)
            self._is_drained = not fetched
            fresh = [each for each in fetched if each.id not in self._claimed_ids]
            self._ready.add(fresh)
            if fresh:
                self._last_frozen_id = fresh[-1].id
        return self._as_adopted(self._ready.next()) if self._ready else None

    def _as_adopted(self, sendable: Sendable) -> Sendable:
        """A batch that a lost ledger may have sent: ambiguous, and as old as that ledger's first send may be."""
        batch = sendable.batch
        if self._adopted is None or batch.epoch or batch.first_armed is not None:
            return sendable
        return replace(sendable, batch=replace(batch, first_armed=self._adopted.since, is_ambiguous=True))

    def _may_cut(self, sendable: Sendable) -> bool:
        """True of a frozen batch of which nothing can exist or come to exist: its parts may get keys of their own."""
        batch = sendable.batch
        return batch.first_armed is None and not batch.is_ambiguous and self._is_past(sendable)

    def _is_past(self, sendable: Sendable) -> bool:
        """True when nothing that was sent in an earlier epoch can still be on its way to the platform.

        Found absent only means that it had not arrived. The same key may go again all the same; other keys may not.
        """
        last = self._last_maybe(sendable)
        if last is None:
            return True
        moment, window = self._now(), self._settings.window
        passed = passed_ms(last, self._clock, self._alone_ms, moment.boot_ms, moment.boot_id)
        return passed > (window.margin_s + window.request_s) * 1000

    def _is_stale(self, sendable: Sendable) -> bool:
        """True when a batch was found absent while an earlier send could still arrive, and its key is forgotten by now.

        Had it arrived since, the platform would take the same key for a new one.
        """
        last = self._last_maybe(sendable)
        if last is None or self._ledger.doubts.is_absent_for_good(sendable):
            return False
        moment = self._now()
        age = age_ms(last, self._clock, moment.boot_ms, moment.boot_id)
        return age is None or not self._settings.window.is_open(age)

    def _last_maybe(self, sendable: Sendable) -> Arming | None:
        """The newest send of an earlier epoch that may have been carried out."""
        if not sendable.batch.epoch:
            return None
        return self._ledger.sends.last_maybe(sendable) or (self._adopted.until if self._adopted else None)

    def _first_part(self, sendable: Sendable, rows: int) -> Sendable:
        """Cuts the first `rows` rows off a batch that was never armed, for --first."""
        everything = range(sendable.batch.size_rows)
        parts = self._parts(sendable, (tuple(everything[:rows]), tuple(everything[rows:])))
        self._ledger.sends.cut(sendable, parts, "cut for --first", now_ms=self._now().unix_ms)
        self._left_rows = 0
        self._refetch()
        part_id = self._ledger.sends.first_part_id(sendable.id)
        return self._ledger.sends.load(part_id)

    def _is_in_window(self, batch: Batch) -> bool:
        """True while the batch's key is surely remembered (law 6)."""
        if batch.first_armed is None:
            return True
        moment = self._now()
        age = age_ms(batch.first_armed, self._clock, moment.boot_ms, moment.boot_id)
        return age is not None and self._settings.window.is_open(age)

    def _expire(self, sendable: Sendable) -> None:
        """The key's window closed on a waiting batch: in doubt, or as new if it was never carried out."""
        step = expire(sendable.batch)
        if step.batch.state is State.IN_DOUBT:
            self._doubt(sendable, step)
            return
        self._ledger.sends.change(sendable, step.batch, step.reason, now_ms=self._now().unix_ms)
        self._refetch()

    def _doubt(self, sendable: Sendable, step: Step) -> None:
        self._ledger.sends.change(sendable, step.batch, step.reason, now_ms=self._now().unix_ms)
        rows, balance = sendable.batch.size_rows, self._balance
        self._balance = replace(balance, pending=balance.pending - rows, in_doubt=balance.in_doubt + rows)

    def _is_refusal_remembered(self, sendable: Sendable) -> bool:
        """True where the server may replay a refusal under this key and nothing can exist under it.

        A batch met by "stopped" in an earlier run, or by 429 time after time, though never by anything unknown.
        """
        if sendable.batch.is_ambiguous or not self._is_past(sendable):
            return False
        outcomes = [outcome for _, outcome in self._ledger.sends.outcomes(sendable, FRESH_KEY_AFTER_SENDS)]
        is_stopped = bool(outcomes) and outcomes[0].startswith("stopped")
        return is_stopped or outcomes == ["not executed: throttled"] * FRESH_KEY_AFTER_SENDS

    def _renew(self, sendable: Sendable) -> None:
        step = renew(sendable.batch)
        self._ledger.sends.renew(sendable, step.batch, self._key_seed, step.reason, now_ms=self._now().unix_ms)
        self._refetch()

    def _refetch(self) -> None:
        """Forgets the prefetched batches: the frozen ones changed. They are asked for again in order."""
        self._ready.clear()
        self._last_frozen_id = 0
        self._is_drained = False

    def _dispatch(self, sendable: Sendable, arming: Arming) -> None:
        self._in_flight[sendable.id] = sendable
        self._tickets[sendable.id] = self._flight.begin()
        if self._quiet_since_s is None:
            self._quiet_since_s = self._time_s()
        if sendable.batch.sends > 1:
            self._retries += 1
        clock = self._clock if sendable.batch.is_ambiguous else None
        self._crew.start(lambda: self._carry(sendable, arming, clock))

    def _carry(self, sendable: Sendable, arming: Arming, clock: ServerClock | None) -> Returned:
        """In a worker: the exchange, with one last look at the time directly before the first byte.

        The key's age counts from its first arming where an earlier send may have been carried out, else from this one:
        how long ago that was this machine's own clock tells, however much a jump has left uncertain of the platform's.
        Nothing leaves long after its arming, for what is on its way is judged by when it was armed.
        """
        window, batch = self._settings.window, sendable.batch
        since = (batch.first_armed or arming) if batch.is_ambiguous else arming

        def last_look() -> bool:
            moment = self._now()
            age = age_ms(since, clock, moment.boot_ms, moment.boot_id)
            waited_ms = moment.boot_ms - arming.boot_ms
            return age is not None and window.is_open(age) and waited_ms <= window.request_s * 1000

        try:
            exchange = self._carrier.send_batch(sendable.body_bytes, sendable.request_key, last_look=last_look)
            return Returned(sendable=sendable, exchange=exchange, outcome=classify(exchange, batch.size_rows))
        except BaseException as failure:  # noqa: BLE001 - carried to the loop and raised there
            return Returned(sendable=sendable, exchange=None, failure=failure)

    # --- settling -----------------------------------------------------------------------------------------------------

    def _settled(self, returned: Returned) -> Settlement:
        sendable, exchange, said = returned.sendable, returned.exchange, returned.outcome
        assert exchange is not None and said is not None  # noqa: PT018, S101 - a failure was raised when it was collected
        del self._in_flight[sendable.id]
        batch, outcome = sendable.batch, self._unseen(said)
        phones: tuple[str, ...] = ()
        if isinstance(outcome, Refused):
            phones = tuple(phones_of(items_of(sendable.body_bytes)))
            batch = replace(batch, is_ambiguous=batch.is_ambiguous or not self._is_past(sendable))
        step = settle(batch, outcome, phones=phones, jitter=self._jitter())
        self._learn(exchange, outcome, step)
        is_overload = isinstance(outcome, (NotExecuted, Unknown)) and outcome.kind in _OVERLOADED
        self._flight.end(self._tickets.pop(sendable.id), exchange.elapsed_s, is_overload=is_overload)
        if self._is_stuck(sendable, outcome):
            step = park(step.batch, f"the platform keeps answering {_name(outcome)}")
        date = exchange.server_date if isinstance(exchange, Answer) else None
        return Settlement(
            sendable=sendable,
            after=step.batch,
            reason=step.reason,
            outcome=_name(outcome),
            status=exchange.status if isinstance(exchange, Answer) else None,
            server_date_ms=None if date is None else int(date.timestamp() * 1000),
            elapsed_ms=int(exchange.elapsed_s * 1000),
            receipt=_receipt(outcome) if step.batch.state in (State.ACCEPTED, State.REFUSED) else None,
            parts=self._parts(sendable, step.parts),
        )

    def _unseen(self, outcome: Outcome) -> Outcome:
        """An answer with ids of other rows proves nothing: the platform mixed requests up. Its reports must tell."""
        if isinstance(outcome, Accepted) and not self._seen_ids.are_new(outcome.ids):
            return Doubtful(kind="ids-of-other-rows", message="the answer names call jobs of other rows")
        return outcome

    def _is_stuck(self, sendable: Sendable, outcome: Outcome) -> bool:
        """True when one 5xx has come back again and again for half an hour: a replay, which no repeat can end."""
        if not isinstance(outcome, Unknown) or not outcome.kind.startswith("status-5"):
            return False
        before = self._ledger.sends.outcomes(sendable, STUCK_AFTER_SENDS - 1)
        is_same = [name for _, name in before] == [_name(outcome)] * (STUCK_AFTER_SENDS - 1)
        return is_same and self._now().unix_ms - before[-1][0] >= STUCK_AFTER_S * 1000

    def _learn(self, exchange: Exchange, outcome: Outcome, step: Step) -> None:
        """What an outcome says about the platform as a whole."""
        now_s = self._time_s()
        if isinstance(exchange, Answer) and exchange.server_date is not None:
            self._calibrate(exchange)
        if isinstance(outcome, (Accepted, Refused, Doubtful)):
            self._is_proven = True
            self._quiet_since_s = now_s if self._in_flight else None
            return
        self._is_proven = False
        if isinstance(outcome, Stopped):
            self._denied = outcome.message or outcome.kind
        if isinstance(outcome, (NotExecuted, Unknown)) and outcome.retry_after_s is not None:
            self._paused_until_s = max(self._paused_until_s, now_s + step.batch.wait_s)

    def _calibrate(self, answer: Answer) -> None:
        if answer.server_date is None:
            return
        moment = self._now()
        fresh = calibrated(
            int(answer.server_date.timestamp() * 1000), int(answer.elapsed_s * 1000), moment.boot_ms, moment.boot_id
        )
        latest_ms = self._clock.bounds_ms(moment.boot_ms)[1] if self._clock else 0
        self._clock = replace(fresh, high_ms=max(fresh.high_ms, latest_ms))  # time never runs backwards

    def _parts(self, sendable: Sendable, parts: Sequence[Sequence[int]]) -> tuple[NewPart, ...]:
        if not parts:
            return ()
        keys, items = self._ledger.sends.row_keys(sendable.id), item_texts(sendable.body_bytes)
        return tuple(
            NewPart(
                batch=NewBatch.made_of(self._key_seed, [keys[i] for i in part], [items[i] for i in part]),
                positions=tuple(part),
            )
            for part in parts
        )

    def _count(self, each: Settlement) -> None:
        """Keeps the running balance and puts waiting batches back in line."""
        rows, state = each.after.size_rows, each.after.state
        if state in (State.WAITING, State.SPLIT):
            self._line_up(each.sendable.id, each.after)
        else:
            changed = {str(state): getattr(self._balance, str(state)) + rows}
            self._balance = replace(self._balance, pending=self._balance.pending - rows, **changed)

    def _line_up(self, batch_id: int, batch: Batch) -> None:
        """Has a batch, or its parts, sent when it is due: those that wait are kept here, others asked of the ledger."""
        if batch.state is State.WAITING:
            heapq.heappush(self._waiting, (self._time_s() + batch.wait_s, batch_id))
        else:
            self._refetch()

    def _report(self) -> None:
        self._observer(SendingProgress(balance=self._balance, in_flight=len(self._in_flight), retries=self._retries))


class _Ready:
    """The next batches, in order. Those of a long list are unpacked, and held against their hashes, in a thread.

    Unpacking is outside of the interpreter's lock, and the loop has enough to do; a short list is not worth a thread.
    """

    def __init__(self) -> None:
        self._waiting: deque[PackedSendable | Future[Sendable]] = deque()
        self._thread: ThreadPoolExecutor | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, fetched: Sequence[PackedSendable]) -> None:
        """Adds batches behind the others."""
        if len(fetched) == PREFETCH_BATCHES:
            self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="unpack")
        thread = self._thread
        self._waiting.extend(fetched if thread is None else (thread.submit(each.unpacked) for each in fetched))

    def next(self) -> Sendable:
        """The next batch. **Errors**: LedgerProblem: its bytes do not match their hash."""
        each = self._waiting.popleft()
        return each.unpacked() if isinstance(each, PackedSendable) else each.result()

    def clear(self) -> None:
        """Forgets them; those that were not begun to be unpacked need not be."""
        for each in self._waiting:
            if isinstance(each, Future):
                each.cancel()
        self._waiting.clear()

    def close(self) -> None:
        """Ends the thread."""
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)


class _SeenIds:
    """The call job ids that the answers of this run gave to rows: an id stands for one row.

    Numbers are kept in a bitmap, which costs next to nothing for ids handed out in turn. Of other ids the first of each
    answer is kept: it finds an answer given twice, in a few bytes a batch. `importer prove` compares all of a ledger.
    """

    def __init__(self) -> None:
        self._numbers = BitMap64()
        self._texts: set[str] = set()

    def are_new(self, ids: Sequence[str]) -> bool:
        """True, and noted, when no answer gave one of these ids before."""
        numbers = BitMap64(_numbers_among(ids))
        if not self._numbers.isdisjoint(numbers) or ids[0] in self._texts:
            return False
        self._numbers |= numbers
        if len(numbers) < len(ids):
            self._texts.add(ids[0])
        return True


def _numbers_among(ids: Sequence[str]) -> array[int]:
    """Those of the ids that are numbers."""
    if isinstance(ids, EvenIds) and ids.numbers is not None:
        return array("Q", ids.numbers.tobytes())
    is_plain = "".join(ids).isdecimal() and max(map(len, ids)) < LARGEST_ID_DIGITS
    return array("Q", map(int, ids if is_plain else filter(_is_number, ids)))


def _is_number(call_job_id: str) -> bool:
    return call_job_id.isdecimal() and len(call_job_id) < LARGEST_ID_DIGITS


class _Pace:
    """At most so many rows a second, without bursts: the next send waits until the last one is paid for."""

    def __init__(self, rate_rows_s: float | None) -> None:
        self._rate_rows_s = rate_rows_s
        self.next_s = 0.0

    def took(self, rows: int, now_s: float) -> None:
        """Notes a send of `rows` rows."""
        if self._rate_rows_s:
            self.next_s = max(self.next_s, now_s) + rows / self._rate_rows_s


def _name(outcome: Outcome) -> str:
    """An outcome as the ledger notes it, such as `unknown: timeout`."""
    names: dict[type, str] = {
        Accepted: "accepted", Refused: "refused", NotExecuted: "not executed",
        Stopped: "stopped", Doubtful: "doubtful", Unknown: "unknown",
    }  # fmt: skip
    kind = "" if isinstance(outcome, Accepted) else f": {outcome.kind}"
    return names[type(outcome)] + kind


def _receipt(outcome: Outcome) -> dict[str, object]:
    if isinstance(outcome, Accepted):
        return {"ids": outcome.ids if isinstance(outcome.ids, EvenIds) else list(outcome.ids)}
    if isinstance(outcome, Refused):
        return {"type": outcome.kind, "message": outcome.message}
    return {}
