"""Reconciliation: evidence instead of guesses for batches that may or may not have been carried out (law 7).

Floor: beside the sender, above ledger and client. The platform's own reports are asked: at once, as what is there needs
no waiting; then twice after a quiet period, a third of it apart, for what is not. A newcomer may question the waiting:
how soon a new job shows in the reports is documented nowhere, and the period starts with this process, since a send of
an earlier one may still be on its way.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from importer.client import ApiError, Found, JobReport
from importer.ledger import Doubt, Ledger
from importer.ledger.doubt_book import Question
from importer.machine import Moment
from importer.model import Notice, Observer
from importer.protocol import Arming, Finding, SeenJob, ServerClock, State, absent, find, found, park, passed_ms

SKEW_S = 900.0  # how far the Date of the answers may be from the clock that stamps the call jobs
ALL_TIME_MS = (0, 4_102_444_800_000)  # 1970 to 2100: where only our own clock is known, which may have been anywhere
SAMPLE_BATCHES = 20
TRIES = 3
NAP_S = 0.5

PERSON = "a person must decide: "


class Reports(Protocol):
    """The platform's reports; `CallsApi` gives them."""

    def iter_job_reports_by_date(
        self, created_from: datetime | None = None, created_to: datetime | None = None
    ) -> Iterable[JobReport]:
        """Every call job created in the span."""

    def job_reports(self, *, ids: Iterable[str] = ()) -> Found[JobReport]:
        """The reports of these jobs."""

    def status(self) -> str:
        """The campaign's status."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReconcileSettings:
    """**Units**: seconds.

    `delay_s` is how late a request may still be carried out after it was sent; `window_s` how long after its first
    arming a batch can have been sent again.
    """

    quiet_s: float = 900.0
    delay_s: float = 3600.0
    window_s: float = 86_400.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Reconciled:
    """What reconciliation settled. **Units**: rows; `unreadable` says why the reports could not be read, if so.

    `absent_rows` are of the last `run` alone: whether there is something to send again. The others are totals.
    """

    found_rows: int = 0
    absent_rows: int = 0
    undecided_rows: int = 0
    extra_ids: tuple[str, ...] = ()
    unreadable: str = ""
    is_stopped: bool = False


class Reconciler:
    """Settles an import's batches in doubt. Made for one process: a quiet period begins with each `run`."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        reports: Reports,
        settings: ReconcileSettings,
        observer: Observer,
        now: Callable[[], Moment],
        is_stopping: Callable[[], bool],
        nap: Callable[[float], None] = time.sleep,
        server_clock: ServerClock | None = None,
    ) -> None:
        self._ledger = ledger
        self._reports = reports
        self._settings = settings
        self._observer = observer
        self._now = now
        self._is_stopping = is_stopping
        self._nap = nap
        self._clock = server_clock
        self._alone_ms = now().boot_ms
        self._begun_ms = 0
        self._found_rows = 0
        self._absent_rows = 0
        self._extra_ids: tuple[str, ...] = ()

    def run(self, import_id: int, *, is_early: bool = False) -> Reconciled:
        """Asks, waits, asks twice more, and settles what the answers prove.

        **Crash**: every step is repeatable; the quiet period starts again with the next process.
        **Law** `test_law_7_reconcile_instead_of_guess`.
        """
        self._begun_ms, self._absent_rows = self._now().boot_ms, 0
        try:
            self._ask(import_id, is_early=is_early)
            left = self._ledger.doubts.doubts(import_id, is_early=False)
            if left:
                self._judge_after_quiet(import_id, left)
        except ApiError as problem:
            return self._result(import_id, unreadable=problem.message)
        return self._result(import_id, is_stopped=self._is_stopping())

    def _result(self, import_id: int, *, unreadable: str = "", is_stopped: bool = False) -> Reconciled:
        left = self._ledger.doubts.doubts(import_id, is_early=False)
        return Reconciled(
            found_rows=self._found_rows,
            absent_rows=self._absent_rows,
            undecided_rows=sum(doubt.sendable.batch.size_rows for doubt in left),
            extra_ids=self._extra_ids,
            unreadable=unreadable,
            is_stopped=is_stopped,
        )

    def look_for_adopted(self, import_id: int, since: Arming) -> int:
        """Puts batches in doubt that a lost ledger seems to have sent under other keys or in part; gives how many.

        Asked before anything is sent. A batch whose numbers have no call job yet goes under its own key, which the
        platform remembers if it was sent whole; one whose numbers have jobs is first explained by the reports.
        **Errors**: ApiError when the reports cannot be read: nothing may be sent then.
        """
        from_ms = (since.server_low_ms or 0) - int(SKEW_S * 1000)
        question = Question(
            asked_ms=self._now().unix_ms, from_ms=from_ms, to_ms=ALL_TIME_MS[1], campaign_status=self._reports.status()
        )
        batch_ids = self._ledger.doubts.never_sent_with(import_id, self._read(question, None))
        return self._ledger.doubts.put_in_doubt(
            batch_ids, lambda batch: park(batch, "a lost ledger seems to have sent it"), now_ms=question.asked_ms
        )

    # --- waiting ------------------------------------------------------------------------------------------------------

    def _judge_after_quiet(self, import_id: int, left: Sequence[Doubt]) -> None:
        """The two questions that may prove absence.

        The period is counted from the beginning of this run, by the boot clock: every send had ended by then, and a
        wall clock that was set forwards meanwhile must not shorten it.
        """
        moment = self._now()
        quiet_ms = int(self._settings.quiet_s * 1000)
        first_ms = self._begun_ms + quiet_ms
        second_ms = first_ms + quiet_ms // 3
        self._tell_verdict(left, moment, second_ms)
        if not self._rest_until(first_ms):
            return
        first = self._ask(import_id, is_early=False)
        if not first or not self._rest_until(second_ms):
            return
        self._ask(
            import_id, is_early=False, absent_before=frozenset(id_ for id_, kind in first.items() if kind == "none")
        )

    def _tell_verdict(self, left: Sequence[Doubt], moment: Moment, second_ms: int) -> None:
        rows = sum(doubt.sendable.batch.size_rows for doubt in left)
        at_s = (moment.unix_ms + second_ms - moment.boot_ms) / 1000
        clock = time.strftime("%H:%M:%S", time.localtime(at_s))
        text = f"{rows:,} rows are in doubt: each was called at most once. The reports will have told which by {clock}."
        self._observer(Notice(kind="in-doubt", text=text))

    def _rest_until(self, boot_ms: int) -> bool:
        """Naps until then; False when told to stop."""
        while not self._is_stopping():
            left_s = (boot_ms - self._now().boot_ms) / 1000
            if left_s <= 0:
                return True
            self._nap(min(NAP_S, left_s))
        return False

    # --- asking -------------------------------------------------------------------------------------------------------

    def _ask(self, import_id: int, *, is_early: bool, absent_before: frozenset[int] | None = None) -> dict[int, str]:
        """Asks the reports once and settles what they prove; gives each batch's finding.

        `absent_before` are the batches the question before found absent: found absent again, they are.
        """
        doubts = self._ledger.doubts.doubts(import_id, is_early=is_early)
        if not doubts:
            return {}
        question, rivals = self._question(doubts), self._ledger.doubts.rivals(doubts)
        phones = {phone for each in (*doubts, *rivals) for phone in each.phones}
        jobs = self._ledger.doubts.unclaimed(self._read(question, phones))
        is_adopted = self._ledger.doubts.is_adopted(import_id)
        findings = self._settle_found(doubts, rivals, jobs, question, is_adopted=is_adopted)
        for doubt in doubts:
            finding = findings.get(doubt.sendable.id)
            if finding is not None:
                self._weigh(doubt, finding, question, absent_before)
        return {batch_id: finding.kind for batch_id, finding in findings.items()}

    def _question(self, doubts: Sequence[Doubt]) -> Question:
        """One span of createdAt over all batches, by the server's clock; all of time where that was not known."""
        from_ms, to_ms = ALL_TIME_MS
        if all(doubt.has_server_time for doubt in doubts):
            spare_ms = int((self._settings.delay_s + SKEW_S) * 1000)
            window_ms = int(self._settings.window_s * 1000)
            from_ms = min(doubt.from_ms for doubt in doubts) - int(SKEW_S * 1000)
            to_ms = max(max(doubt.armed_ms + window_ms, doubt.last_ms) for doubt in doubts) + spare_ms
        return Question(
            asked_ms=self._now().unix_ms, from_ms=from_ms, to_ms=to_ms, campaign_status=self._reports.status()
        )

    def _read(self, question: Question, phones: set[str] | None) -> list[SeenJob]:
        """The jobs of these phones (None: of all) in the span, each as the ledger spells it."""
        span = [datetime.fromtimestamp(ms / 1000, UTC) for ms in (question.from_ms, question.to_ms)]
        for attempt in range(1, TRIES + 1):
            try:
                seen = (
                    SeenJob(id=job.call_job_id, phone=_digits(job.phone), created_ms=_unix_ms(job.created_at))
                    for job in self._reports.iter_job_reports_by_date(*span)
                    if job.created_at is not None
                )
                return [job for job in seen if phones is None or job.phone in phones]
            except ApiError:
                if attempt == TRIES or self._is_stopping():
                    raise
                self._nap(NAP_S * 2**attempt)
        return []

    def _settle_found(
        self,
        doubts: Sequence[Doubt],
        rivals: Sequence[Doubt],
        jobs: list[SeenJob],
        question: Question,
        *,
        is_adopted: bool,
    ) -> dict[int, Finding]:
        """Accepts every batch that the jobs show whole, until no more can be; gives the findings of the others.

        A batch settled takes its jobs away from others that share a phone; jobs that would fit two batches fit none.
        Rivals have their say in that, and are settled in their own time. A lost ledger may have cut its batches
        elsewhere: what it left is only matched where no other open batch has a number of it.
        """
        open_doubts = {doubt.sendable.id: doubt for doubt in (*doubts, *rivals)}
        mine = {doubt.sendable.id for doubt in doubts}
        while True:
            findings = {batch_id: find(doubt.phones, jobs) for batch_id, doubt in open_doubts.items()}
            sure = _undisputed(findings)
            if is_adopted:
                sure = _alone(sure, open_doubts)
            if not sure:
                return findings
            for batch_id in sure:
                doubt = open_doubts.pop(batch_id)
                if batch_id in mine:
                    self._accept(doubt, findings[batch_id], question)
            taken = {id_ for batch_id in sure for id_ in (*findings[batch_id].ids, *findings[batch_id].extra_ids)}
            jobs = [job for job in jobs if job.id not in taken]

    def _accept(self, doubt: Doubt, finding: Finding, question: Question) -> None:
        self._ledger.doubts.settle_found(doubt, found(doubt.sendable.batch), finding, question)
        self._found_rows += doubt.sendable.batch.size_rows
        self._extra_ids += finding.extra_ids
        if finding.extra_ids:
            text = f"Batch {doubt.sendable.id}: the platform made {len(finding.extra_ids):,} more call jobs for it."
            self._observer(Notice(kind="made-twice", text=f"{text} `importer reconcile --cancel-extra` cancels them."))

    def _weigh(self, doubt: Doubt, finding: Finding, question: Question, absent_before: frozenset[int] | None) -> None:
        """What a batch that was not found whole is to do."""
        batch_id, book = doubt.sendable.id, self._ledger.doubts
        is_absent = finding.kind == "none" and absent_before is not None and batch_id in absent_before
        if is_absent and doubt.sendable.batch.state is State.IN_DOUBT:
            step, is_for_good = absent(doubt.sendable.batch), self._is_past(doubt)
            book.settle_absent(doubt, step, question, is_for_good=is_for_good)
            self._absent_rows += doubt.sendable.batch.size_rows
            return
        kind = "some" if finding.kind in ("all", "several") else finding.kind
        book.add_evidence(doubt, kind, question, jobs=finding.jobs)
        if absent_before is not None:
            seen = f"{finding.jobs:,} call jobs of its numbers are there, not one for each"
            why = "another batch has the same numbers" if finding.kind in ("all", "several") else seen
            book.leave(doubt, PERSON + why, now_ms=question.asked_ms)

    def _is_past(self, doubt: Doubt) -> bool:
        """True when nothing that was sent of a batch can arrive any more."""
        moment = self._now()
        last = self._ledger.sends.last_maybe(doubt.sendable, is_of_now=True)
        passed = (
            moment.boot_ms - self._alone_ms
            if last is None
            else passed_ms(last, self._clock, self._alone_ms, moment.boot_ms, moment.boot_id)
        )
        return passed > self._settings.delay_s * 1000

    # --- confirming ---------------------------------------------------------------------------------------------------

    def confirm_ids(self, import_id: int, *, is_every: bool) -> tuple[int, int]:
        """Confirms that ids belong to the phones they were matched with by position; repairs a match that was shuffled.

        Looks at a sample of batches, and at all as soon as one is wrong. Gives batches confirmed and batches repaired.
        **Errors**: ApiError when the reports cannot be read.
        """
        confirmed = repaired = 0
        for batch_id, phones, ids in self._ledger.doubts.accepted_by_position(
            import_id, None if is_every else SAMPLE_BATCHES
        ):
            by_phone = {job.phone: job.call_job_id for job in self._reports.job_reports(ids=ids).items}
            right = [by_phone.get(phone) for phone in phones]
            if right == ids:
                confirmed += 1
            elif set(right) == set(ids):
                self._ledger.doubts.match_anew(batch_id, ids=[each or "" for each in right], now_ms=self._now().unix_ms)
                repaired += 1
        if repaired and not is_every:
            more = self.confirm_ids(import_id, is_every=True)
            return confirmed + more[0], repaired + more[1]
        return confirmed, repaired


def _undisputed(findings: dict[int, Finding]) -> list[int]:
    """Batches that the jobs show whole beyond dispute.

    First those with one moment only that no other such batch needs: a batch with several moments yields to them, since
    it has another. Only when there are none left, those the platform seems to have made more than once.
    """
    single = {batch_id: finding for batch_id, finding in findings.items() if finding.kind == "all"}
    whole = single | {batch_id: finding for batch_id, finding in findings.items() if finding.kind == "several"}
    return _unshared(single) or _unshared(whole)


def _unshared(whole: dict[int, Finding]) -> list[int]:
    """Those of the batches whose jobs no other of them claims."""
    claims = Counter(id_ for finding in whole.values() for id_ in (*finding.ids, *finding.extra_ids))
    return [
        batch_id
        for batch_id, finding in whole.items()
        if all(claims[id_] == 1 for id_ in (*finding.ids, *finding.extra_ids))
    ]


def _alone(batch_ids: Sequence[int], open_doubts: dict[int, Doubt]) -> list[int]:
    """Those of the batches none of whose numbers stands in another open batch."""
    times = Counter(phone for doubt in open_doubts.values() for phone in doubt.phones)
    return [each for each in batch_ids if all(times[phone] == 1 for phone in open_doubts[each].phones)]


def _digits(phone: str) -> str:
    """A number as the ledger spells it, whatever signs the reports put into it."""
    return phone if phone.isdecimal() else "".join(sign for sign in phone if sign.isdecimal())


def _unix_ms(moment: datetime | None) -> int:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return 0 if moment is None else (moment - epoch) // timedelta(milliseconds=1)
