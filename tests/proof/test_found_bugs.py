"""What the model and the simulation once found, each told again in a few lines."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pyroaring import BitMap64

from importer import protocol
from importer.client import Found, JobReport
from importer.errors import LedgerProblem
from importer.ledger import Ledger
from importer.ledger.doubt_book import DoubtBook, Question
from importer.ledger.records import Sendable, Settlement
from importer.ledger.send_book import SendBook
from importer.ledger.upkeep import back_up, check_ledger
from importer.model import Answer, Exchange, NoAnswer
from importer.protocol import Arming, State
from importer.reconcile import Reconciler, ReconcileSettings
from importer.sender import Adoption, Carrier, Sender, SendSettings

from .mortal import NOBODY_LISTENS, OWNER, MortalLedger, Prepared, invented_rows, prepared, taken_in
from .planted import NoRivals, OldVerdicts
from .world import START_MS, Napping, SeededCrew, World


class Shown:
    """Reports that show these call jobs, to whoever asks for the right time."""

    def __init__(self, *jobs: tuple[str, str, int]) -> None:
        self._jobs = jobs

    def iter_job_reports_by_date(
        self, created_from: datetime | None = None, created_to: datetime | None = None
    ) -> Iterable[JobReport]:
        assert created_from is not None
        assert created_to is not None
        for job_id, phone, after_s in self._jobs:
            created_at = datetime.fromtimestamp(START_MS / 1000, UTC) + timedelta(seconds=after_s)
            if created_from <= created_at <= created_to:
                yield report(job_id, phone, created_at)

    def job_reports(self, *, ids: Iterable[str] = ()) -> Found[JobReport]:
        return Found(items=())

    def status(self) -> str:
        return "inProgress"


def report(job_id: str, phone: str, created_at: datetime) -> JobReport:
    return JobReport(
        phone=phone, call_job_id=job_id, created_at=created_at, attempts_count=0, redial_number=None, status=None,
        finished_at=None, tag_name=None, tag_payload=None, call_duration_s=None, report_data=None,
    )  # fmt: skip


@pytest.fixture
def world() -> World:
    return World(dice=random.Random(0), turns_left=10_000)


@pytest.fixture
def singles(tmp_path: Path) -> Prepared:
    """Three requests of one row; the first and the last are for one phone."""
    return prepared(tmp_path / "list", invented_rows(3, shared=1), 1)


def opened(made: Prepared, world: World) -> Ledger:
    return Ledger(made.ledger, OWNER, now_ms=world.moment().unix_ms)


def arming(world: World, *, is_dated: bool = True) -> Arming:
    moment = world.moment()
    low_ms = world.true_ms if is_dated else None
    return Arming(server_low_ms=low_ms, boot_ms=moment.boot_ms, boot_id=moment.boot_id)


def sent(ledger: Ledger, world: World, batch_id: int, reason: str = "timeout", *, is_dated: bool = True) -> Sendable:
    """Arms a batch and settles it as unknown."""
    sendable, here = ledger.sends.load(batch_id), arming(world, is_dated=is_dated)
    armed = protocol.arm(sendable.batch, here).batch
    ledger.sends.advance(armed=[(sendable, armed)], arming=here, now_ms=world.moment().unix_ms)
    step = protocol.settle(armed, protocol.Unknown(kind=reason), phones=(), jitter=0.5)
    ended = Settlement(
        sendable=sendable, after=step.batch, reason="", outcome=f"unknown: {reason}", status=None,
        server_date_ms=None, elapsed_ms=1, receipt=None,
    )  # fmt: skip
    ledger.sends.advance(settled=[ended], now_ms=world.moment().unix_ms)
    return ledger.sends.load(batch_id)


def parked(ledger: Ledger, world: World, batch_id: int) -> None:
    sendable = ledger.sends.load(batch_id)
    ledger.sends.change(sendable, protocol.park(sendable.batch, "p").batch, "p", now_ms=world.moment().unix_ms)


def reconciler(ledger: Ledger, world: World, reports: Shown) -> Reconciler:
    return Reconciler(
        ledger=ledger,
        reports=reports,
        settings=ReconcileSettings(),
        observer=NOBODY_LISTENS,
        now=world.moment,
        is_stopping=world.is_stopping,
        nap=Napping(world).rest,
    )


@pytest.mark.parametrize(("book", "ends"), [(DoubtBook, State.IN_DOUBT), (NoRivals, State.ACCEPTED)])
def test_a_call_job_that_another_open_batch_may_own_settles_none(
    singles: Prepared, world: World, book: type[DoubtBook], ends: State
) -> None:
    """One batch waits, carried out; another in doubt, not carried out, is for the same phone: the job is not its.

    A book that knows no rivals, a planted bug, would call the second accepted and so lose its row.
    """
    with MortalLedger(singles.ledger, world, (SendBook, book)) as ledger:
        sent(ledger, world, 1)
        sent(ledger, world, 3)
        parked(ledger, world, 3)
        reconciler(ledger, world, Shown(("4711", singles.phones[0], 0))).run(singles.an_import.id)
        assert ledger.sends.load(3).batch.state is ends


@pytest.mark.parametrize(("is_for_good", "ends"), [(False, State.IN_DOUBT), (True, State.ACCEPTED)])
def test_a_call_job_that_may_be_a_late_arrivals_settles_no_other_batch(
    singles: Prepared, world: World, is_for_good: bool, ends: State
) -> None:
    """One batch was found absent and waits to be sent again; its first request arrives now. The job is not the other's.

    Unless nothing of the first could arrive any more when it was found absent.
    """
    with opened(singles, world) as ledger:
        for batch_id in (1, 3):
            sent(ledger, world, batch_id)
            parked(ledger, world, batch_id)
        doubt = ledger.doubts.doubt_of(1)
        assert doubt is not None
        question = Question(asked_ms=world.moment().unix_ms, from_ms=0, to_ms=0, campaign_status="inProgress")
        step = protocol.absent(doubt.sendable.batch)
        ledger.doubts.settle_absent(doubt, step, question, is_for_good=is_for_good)
        reconciler(ledger, world, Shown(("4711", singles.phones[0], 0))).run(singles.an_import.id)
        assert ledger.sends.load(3).batch.state is ends


def test_a_send_without_the_platforms_time_is_looked_for_in_all_of_time(singles: Prepared, world: World) -> None:
    """The second send had a Date, the first, which was carried out, had none: its call job is found all the same."""
    with opened(singles, world) as ledger:
        sent(ledger, world, 2, is_dated=False)
        world.passes(20 * 3_600_000)
        sent(ledger, world, 2)
        parked(ledger, world, 2)
        done = reconciler(ledger, world, Shown(("4711", f"+{singles.phones[1]}", 0))).run(singles.an_import.id)
        assert (done.found_rows, done.absent_rows) == (1, 0)


def test_a_wall_clock_that_is_years_behind_does_not_move_the_span(singles: Prepared, world: World) -> None:
    """The platform's clock alone says when a call job can have been made."""
    world.wall_offset_ms = -400 * 86_400_000
    with opened(singles, world) as ledger:
        sent(ledger, world, 2)
        parked(ledger, world, 2)
        done = reconciler(ledger, world, Shown(("4711", singles.phones[1], 3_600))).run(singles.an_import.id)
        assert (done.found_rows, done.absent_rows) == (1, 0)


def test_a_second_run_of_a_reconciler_counts_anew_what_is_absent(singles: Prepared, world: World) -> None:
    """Or a run would send and reconcile for ever, because something was absent once."""
    shown = Shown(("4711", singles.phones[0], 0), ("4712", singles.phones[0], 60))
    with opened(singles, world) as ledger:
        for batch_id in (1, 2, 3):
            sent(ledger, world, batch_id)
            parked(ledger, world, batch_id)
        asking = reconciler(ledger, world, shown)
        assert asking.run(singles.an_import.id).absent_rows == 1
        again = asking.run(singles.an_import.id)
        assert (again.absent_rows, again.undecided_rows) == (0, 2)


def test_many_batches_of_a_lost_ledger_are_put_in_doubt_one_after_another(tmp_path: Path, world: World) -> None:
    """However many there are: no stack grows with them."""
    rows = [
        (f"+1{area}55501{place:02}", "") for area in range(201, 220) for place in range(100) if area not in (204, 211)
    ]
    made = prepared(tmp_path / "list", rows, 1)
    with opened(made, world) as ledger:
        old = Arming(server_low_ms=START_MS - 10 * 86_400_000, boot_ms=-10 * 86_400_000, boot_id="boot-0")
        result = sender(ledger, made, world, adopted=Adoption(since=old, until=old)).run()
        assert (result.ending, result.balance.in_doubt) == ("done", len(rows))


def test_what_may_have_been_sent_is_never_cut_for_first(tmp_path: Path, world: World) -> None:
    """Parts have keys of their own: a batch that a lost ledger may have sent is left for a run without --first."""
    made = prepared(tmp_path / "list", invented_rows(8, shared=0), 4)
    with opened(made, world) as ledger:
        young = Arming(server_low_ms=START_MS - 60_000, boot_ms=0, boot_id="boot-9")
        result = sender(ledger, made, world, adopted=Adoption(since=young, until=young), first_rows=2).run()
        assert (result.ending, result.balance.pending) == ("first", 8)
        assert [batch.batch.size_rows for batch in ledger.sends.frozen(made.an_import.id, 0, 9)] == [4, 4]


def sender(
    ledger: Ledger,
    made: Prepared,
    world: World,
    *,
    adopted: Adoption | None = None,
    first_rows: int | None = None,
    carrier: Carrier | None = None,
    clock: protocol.ServerClock | None = None,
    kind: type[Sender] = Sender,
    is_stopping: Callable[[], bool] | None = None,
) -> Sender:
    moment = world.moment()
    return kind(
        ledger=ledger,
        import_id=made.an_import.id,
        key_seed=made.campaign.key_seed,
        carrier=carrier or Nobody(),
        settings=SendSettings(first_rows=first_rows),
        observer=NOBODY_LISTENS,
        now=world.moment,
        is_stopping=is_stopping or world.is_stopping,
        server_clock=clock or protocol.calibrated(world.true_ms, 0, moment.boot_ms, moment.boot_id),
        adopted=adopted,
        crew=lambda size: SeededCrew(world, size),
    )


@pytest.mark.parametrize(("kind", "in_doubt"), [(Sender, 1), (OldVerdicts, 0)])
def test_a_verdict_too_old_to_trust_is_asked_for_again(
    singles: Prepared, world: World, kind: type[Sender], in_doubt: int
) -> None:
    """Found absent while its request could still arrive, and left lying until its key was forgotten.

    A sender that trusts the old verdict, a planted bug too rare for the simulation, sends it: a late arrival since then
    would be called twice.
    """
    with opened(singles, world) as ledger:
        sent(ledger, world, 1)
        parked(ledger, world, 1)
        doubt = ledger.doubts.doubt_of(1)
        assert doubt is not None
        question = Question(asked_ms=world.moment().unix_ms, from_ms=0, to_ms=0, campaign_status="inProgress")
        ledger.doubts.settle_absent(doubt, protocol.absent(doubt.sendable.batch), question, is_for_good=False)
        world.passes(30 * 3_600_000)
        result = sender(ledger, singles, world, carrier=Willing(world), kind=kind).run()
        assert (result.balance.in_doubt, result.balance.accepted) == (in_doubt, 3 - in_doubt)


class Sleepy:
    """A carrier before whose first requests the machine sleeps, once each."""

    def __init__(self, world: World, willing: Carrier, nights: int) -> None:
        self._world = world
        self._willing = willing
        self._nights = nights

    def send_batch(self, body: bytes, key: str, *, last_look: Callable[[], bool]) -> Exchange:
        if self._nights:
            self._nights -= 1
            self._world.passes(20 * 3_600_000)
        return self._willing.send_batch(body, key, last_look=last_look)


def test_nothing_leaves_long_after_it_was_armed(singles: Prepared, world: World) -> None:
    """The machine slept for 20 hours between an arming and its send: the key was good for three hours more.

    Later epochs judge by the arming whether a send can still be on its way, so that request must not leave: it is armed
    anew. One that left was found absent and cut, and its late arrival called a row that counted as refused.
    """
    with opened(singles, world) as ledger:
        willing = Willing(world)
        slept = sender(ledger, singles, world, carrier=Sleepy(world, willing, 1)).run()
        assert (slept.ending, willing.keys) == ("away", [])
        result = sender(ledger, singles, world, carrier=willing).run()
        assert (result.ending, result.balance.accepted) == ("done", 3)
        read = ledger.store.connection.execute
        assert read("SELECT count(*) FROM sends WHERE outcome = 'not executed: too-late'").fetchone() == (1,)
        waited = "SELECT max(ended_ms - armed_ms) FROM sends WHERE outcome = 'accepted'"
        assert read(waited).fetchone()[0] < 90_000


class Stopping:
    """A carrier after whose n-th request the run is asked to stop."""

    def __init__(self, willing: Carrier, after: int) -> None:
        self._willing = willing
        self._left = after

    def is_stopping(self) -> bool:
        return self._left <= 0

    def send_batch(self, body: bytes, key: str, *, last_look: Callable[[], bool]) -> Exchange:
        self._left -= 1
        return self._willing.send_batch(body, key, last_look=last_look)


def stopped_early(ledger: Ledger, made: Prepared, world: World, willing: Willing) -> list[int]:
    """Stops a run after three requests; gives the batches that were armed ahead and put back."""
    stopping = Stopping(willing, 3)
    result = sender(ledger, made, world, carrier=stopping, is_stopping=stopping.is_stopping).run()
    back = ledger.store.all("SELECT id FROM batches WHERE reason = 'put back before it was sent'")
    assert (result.ending, bool(back)) == ("stopped", True)
    assert result.balance.accepted == len(willing.keys)
    assert result.balance.pending == 40 - len(willing.keys)
    return [batch_id for (batch_id,) in back]


@pytest.fixture(params=[False, True], ids=["apart", "packed"])
def forty(tmp_path: Path, request: pytest.FixtureRequest) -> Prepared:
    """Forty requests of one row."""
    return prepared(tmp_path / "list", invented_rows(40, shared=0), 1, is_packed=request.param)


def test_what_was_armed_ahead_is_put_back_as_it_was_when_the_run_stops(forty: Prepared, world: World) -> None:
    """It never left: the batch is as it was, no send of it is known, and the next run sends it under its key."""
    with opened(forty, world) as ledger:
        willing = Willing(world)
        untouched = "state = 'frozen' AND sends = 0 AND epoch = 0 AND first_boot_id IS NULL"
        for batch_id in stopped_early(ledger, forty, world, willing):
            assert ledger.store.one(f"SELECT {untouched} FROM batches WHERE id = ?", [batch_id]) == (1,)
            assert ledger.store.all("SELECT 1 FROM sends WHERE batch_id = ?", [batch_id]) == []
        again = sender(ledger, forty, world, carrier=willing).run()
        assert (again.ending, again.balance.accepted) == ("done", 40)
        assert len(willing.keys) == len(set(willing.keys)) == 40


class Faltering:
    """A carrier that drops every n-th request."""

    def __init__(self, willing: Willing, every: int) -> None:
        self._willing = willing
        self._every = every
        self._requests = 0

    def send_batch(self, body: bytes, key: str, *, last_look: Callable[[], bool]) -> Exchange:
        self._requests += 1
        if self._requests % self._every == 0:
            return NoAnswer(reason="refused", detail="", is_sent=False, elapsed_s=0.01)
        return self._willing.send_batch(body, key, last_look=last_look)


@pytest.mark.parametrize("every", [3, 4, 5, 7])
def test_what_waited_and_was_put_back_goes_in_the_same_run(forty: Prepared, world: World, every: int) -> None:
    """A retry that was armed ahead at the next trouble is lined up again, as new batches are."""
    with opened(forty, world) as ledger:
        for batch_id in range(1, 41):
            sent(ledger, world, batch_id)
        result = sender(ledger, forty, world, carrier=Faltering(Willing(world), every)).run()
        assert (result.ending, result.balance.accepted) == ("done", 40)


def test_a_ledger_with_batches_put_back_is_sound(forty: Prepared, world: World, tmp_path: Path) -> None:
    """`ledger check` finds nothing, so `ledger backup` makes its copy."""
    with opened(forty, world) as ledger:
        stopped_early(ledger, forty, world, Willing(world))
    assert check_ledger(forty.ledger).findings == ()
    assert back_up(forty.ledger, tmp_path / "copy.db").findings == ()


def test_a_number_of_a_batch_put_back_may_come_onto_a_do_not_call_list(forty: Prepared, world: World) -> None:
    """Its row is taken out, and the others are sent."""
    with opened(forty, world) as ledger:
        willing = Willing(world)
        back = stopped_early(ledger, forty, world, willing)
        ledger.dnc.also(BitMap64([int(forty.phones[back[0] - 1])]))
        again = sender(ledger, forty, world, carrier=willing).run()
        assert (again.ending, again.balance.accepted, again.balance.suppressed) == ("done", 39, 1)


def test_a_list_may_be_edited_after_batches_were_put_back(forty: Prepared, world: World) -> None:
    """What was never sent is thawed (law 13): the row that was deleted from the list is called no more."""
    with opened(forty, world) as ledger:
        willing = Willing(world)
        back = stopped_early(ledger, forty, world, willing)
        rows = [row for at, row in enumerate(invented_rows(40, shared=0), 1) if at != back[0]]
        edited = taken_in(ledger, forty.ledger.parent, rows, 1, world, edition=5)
        assert (edited.id, edited.revision) == (forty.an_import.id, 2)
        again = sender(ledger, forty, world, carrier=willing).run()
        assert (again.ending, again.balance.accepted, again.balance.withdrawn) == ("done", 39, 1)


def test_rows_of_batches_put_back_can_be_withdrawn(forty: Prepared, world: World) -> None:
    """`cancel` finds that nothing of them was ever sent."""
    with opened(forty, world) as ledger:
        back = stopped_early(ledger, forty, world, Willing(world))
        phones = [int(forty.phones[batch_id - 1]) for batch_id in back]
        assert ledger.cancellations.choose([forty.an_import.id], phones=phones, row_ids=None) == len(back)
        withdrawn = ledger.cancellations.withdraw(key_seed=forty.campaign.key_seed, now_ms=world.moment().unix_ms)
        assert withdrawn == len(back)


def test_two_open_sends_of_one_batch_do_not_stand_for_those_of_two(singles: Prepared, world: World) -> None:
    """Law 10 holds for each batch of a turn, not for their sum."""
    with opened(singles, world) as ledger:
        here, now_ms = arming(world), world.moment().unix_ms
        sendables = [ledger.sends.load(batch_id) for batch_id in (1, 2)]
        armed = [(each, protocol.arm(each.batch, here).batch) for each in sendables]
        ledger.sends.advance(armed=armed, arming=here, now_ms=now_ms)
        with ledger.store.transaction():
            ledger.store.connection.execute("UPDATE sends SET batch_id = 1")
        timeout = protocol.Unknown(kind="timeout")
        ended = [
            Settlement(
                sendable=each, after=protocol.settle(after, timeout, phones=(), jitter=0).batch,
                reason="", outcome="unknown: timeout", status=None, server_date_ms=None, elapsed_ms=1, receipt=None,
            )
            for each, after in armed
        ]  # fmt: skip
        with pytest.raises(LedgerProblem, match="0 rows moved instead of 2"):
            ledger.sends.advance(settled=ended, now_ms=now_ms)


class Nobody:
    """A carrier that must not be asked."""

    def send_batch(self, body: bytes, key: str, *, last_look: object = None) -> Exchange:
        raise AssertionError("something was sent")


def test_a_run_killed_before_its_first_counter_is_no_time_travel(singles: Prepared, world: World) -> None:
    """The ledger says that a run began, no counter lies beside it, and nothing was ever armed."""
    with opened(singles, world) as ledger:
        with ledger.store.transaction():
            ledger.store.connection.execute("UPDATE ledger_info SET sessions = sessions + 1")
        ledger.witness.judge()


class Willing:
    """A carrier that has every request carried out, if it may go."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.keys: list[str] = []

    def send_batch(self, body: bytes, key: str, *, last_look: Callable[[], bool]) -> Exchange:
        if not last_look():
            return NoAnswer(reason="too-late", detail="", is_sent=False, elapsed_s=0.0)
        self.keys.append(key)
        date = datetime.fromtimestamp(self._world.true_ms / 1000, UTC)
        ids = json.dumps([f"{len(self.keys)}-{place}" for place in range(body.count(b'"phone"'))]).encode()
        return Answer(
            status=200, body=ids, content_type="application/json", server_date=date, retry_after_s=None, elapsed_s=0.01
        )


def test_a_clock_that_jumped_a_day_ahead_stops_no_batch_that_was_never_sent(singles: Prepared, world: World) -> None:
    """The machine's clock jumped, the platform's did not: how late it can be there is unknown by a day from then on.

    What was never sent goes out all the same: its key is as old as its arming. What may have been carried out waits for
    the reports. A sender that doubted both armed new batches for a minute, again and again, and gave up.
    """
    with opened(singles, world) as ledger:
        sent(ledger, world, 1)
        here = world.moment()
        clock = protocol.calibrated(world.true_ms, 10, here.boot_ms, here.boot_id)
        uncertain = replace(clock, high_ms=clock.high_ms + 25 * 3_600_000)
        willing = Willing(world)
        result = sender(ledger, singles, world, carrier=willing, clock=uncertain).run()
        assert (result.ending, result.balance.accepted, result.balance.in_doubt) == ("done", 2, 1)
        assert len(willing.keys) == 2
        assert ledger.sends.load(1).batch.state is State.IN_DOUBT
