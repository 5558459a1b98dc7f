"""One shard's run inside a task of a worker.

Floor: cluster, on the worker's side. A worker on the machine of whoever gave the job keeps the shard's ledger in that
one's folder, so the next worker simply goes on from it. Anywhere else the ledger goes home as bytes at the end, and a
worker that is lost takes it along: the next one then adopts, since its requests are the same and may have been made.
"""

from __future__ import annotations

import contextlib
import math
import secrets
import shutil
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from importer.client import hush_http_loggers
from importer.cluster.lease import Lease, LeasedApi
from importer.cluster.records import (
    LedgerCopy,
    ShardDone,
    ShardJob,
    Trouble,
    Where,
    counter_of,
    judge_version,
    note_of,
)
from importer.errors import ImporterError, LedgerHeld, ListProblem, UsageProblem
from importer.intake.slicing import Slice, SlicedList, SlicesDoNotFitError, WholeList
from importer.ledger import Ledger, LedgerReader
from importer.machine import Owner, StopSignals, forbid_core_dumps, now, this_process, write_private
from importer.model import Balance, Event, Notice, Observer, ReadingProgress, SendingProgress
from importer.run import BareDigits, CameBack, CampaignFacts, Intention, Run, RunReport, RunSettings
from importer.run.reaching import calls_api

REPORT_S = 0.5
LONGEST_WAIT_FOR_OWNER_S = 900.0
LOOK_S = 2.0
_RUNNING: dict[str, list[Lease]] = {}


def run_shard(
    job: ShardJob,
    home: LedgerCopy | None,
    whole: WholeList | None = None,
    slices: Sequence[tuple[Slice, ...] | Trouble] = (),
) -> ShardDone:
    """Runs one shard to its end; `home` is the home ledger, for a worker elsewhere. What stops it is a value.

    Where the list was read already, `whole` is what is known of it, and `slices` the shard's own rows of each stretch.
    **Crash**: as `importer run`; the job is given to another worker.
    """
    forbid_core_dumps()
    hush_http_loggers()
    try:
        judge_version(job.version)
        sliced = _sliced(job, whole, slices)
        with _place(job, home) as place:
            window = job.sealed.settings.sending.window
            longest_s = math.inf if place.is_beside else window.window_s - window.margin_s - window.request_s
            with _stoppable(job.run, Lease(longest_s, now)) as lease:
                return _in_place(job, place, lease, sliced)
    except ImporterError as problem:
        return _stopped(job, problem)


def _sliced(job: ShardJob, whole: WholeList | None, slices: Sequence[tuple[Slice, ...] | Trouble]) -> SlicedList | None:
    """The list as it was handed on; None where it was not.

    **Errors**: ListProblem when a stretch was lost, and is not the same any more: others were sent as it was before.
    """
    if whole is None:
        return None
    handed: list[Slice] = []
    for each in slices:
        if isinstance(each, Trouble):
            raise ListProblem(each.message, hint=each.hint)
        handed += each
    return SlicedList(whole, handed, job.sealed.settings.reading.chunk_rows)


def _in_place(job: ShardJob, place: _Place, lease: Lease, sliced: SlicedList | None) -> ShardDone:
    """The run; whatever stops it, its ledger goes home."""
    teller = _Teller(job)
    attempt = secrets.token_hex(8)
    adopt_since_ms = _taken_over(job, attempt, is_beside=place.is_beside)
    teller.began(is_beside=place.is_beside)
    settings = job.settings_in(place.folder, place.home, adopt_since_ms)
    try:
        with _leased(job, attempt, lease):
            done = _done(job, _run_either_way(settings, teller, lease, lambda: _judge_given_out(job, place), sliced))
    except ImporterError as problem:
        done = _stopped(job, problem)
    is_to_go = not place.is_beside and settings.ledger.exists()
    return replace(done, copy=LedgerCopy.of(settings.ledger)) if is_to_go else done


def run_at_home(job: ShardJob, folder: Path, home: Path, observer: Observer, signals: StopSignals) -> ShardDone:
    """Goes on with a shard whose ledger came home unsettled, in this very process.

    It is given to no worker elsewhere any more: should that one be lost, nobody could tell which of the ledger's later
    epochs it had sent, and adopting an older copy knows of the first only.
    """
    lease, since_ms = Lease(math.inf, now, signals), job.since_ms if job.is_begun else None
    try:
        return _done(job, _run(job.settings_in(folder, home, since_ms), observer, lease, lambda: None))
    except ImporterError as problem:
        return _stopped(job, problem)


def stop_shards(run: str) -> int:
    """Asks the shards of a run that this worker has to drain; says how many."""
    asked = _RUNNING.get(run, [])
    for signals in asked:
        signals.ask_to_stop()
    return len(asked)


def is_beside(where: Where) -> bool:
    """Whether this worker is on the machine of whoever gives the jobs, and sees the folder."""
    beacon = Path(where.folder) / "beacon"
    is_here = now().boot_id == where.boot_id and beacon.exists()
    return is_here and beacon.read_text(encoding="ascii") == where.beacon


@contextlib.contextmanager
def _stoppable(run: str, lease: Lease) -> Iterator[Lease]:
    _RUNNING.setdefault(run, []).append(lease)
    try:
        yield lease
    finally:
        _RUNNING[run].remove(lease)


# --- where it works -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class _Place:
    """Where a shard's ledger and the home ledger are for this worker."""

    folder: Path
    home: Path
    is_beside: bool


@contextlib.contextmanager
def _place(job: ShardJob, home: LedgerCopy | None) -> Iterator[_Place]:
    """The folder at home, where that is on this machine; else one of this worker's own, with copies of both ledgers."""
    where = job.where
    if is_beside(where):
        yield _Place(folder=Path(where.folder), home=Path(where.home), is_beside=True)
        return
    if home is None:
        raise UsageProblem(
            "A worker joined that cannot see the home ledger, and none was sent along.",
            hint="Run the same command again: it sends a copy when there is such a worker.",
        )
    folder = Path(tempfile.mkdtemp(prefix="importer-shard-"))
    try:
        _put(home, folder / "home.db")
        yield _Place(folder=folder, home=folder / "home.db", is_beside=False)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _put(copy: LedgerCopy, path: Path) -> None:
    write_private(path, zlib.decompress(copy.ledger))
    if copy.counter is not None:
        write_private(counter_of(path), copy.counter)


def _judge_given_out(job: ShardJob, place: _Place) -> None:
    """Begins no new ledger for a shard that another worker, thought lost, has brought to its end meanwhile."""
    if place.is_beside and not note_of(place.folder, job.shard).exists():
        raise UsageProblem(f"Shard {job.shard} came home from another worker.")


def _taken_over(job: ShardJob, attempt: str, *, is_beside: bool) -> int | None:
    """Makes this attempt the one that counts.

    Gives since when an earlier worker may have sent what no ledger here knows of; None when there was none such. The
    scheduler remembers where the shard was begun; a worker that is lost cannot tell any more.
    """
    from distributed import get_client

    client = get_client()
    begun: Any = client.get_metadata(_place_of(job), default=None)
    was_beside = begun is None or begun["is_beside"]
    said = {"is_beside": is_beside and was_beside, "attempt": attempt}
    client.set_metadata(_place_of(job), said)
    is_known = begun is None or (is_beside and was_beside)
    return job.since_ms if job.is_begun or not is_known else None


def _place_of(job: ShardJob) -> list[str]:
    """Where the scheduler remembers a shard."""
    return ["importer", job.run, str(job.shard)]


@contextlib.contextmanager
def _leased(job: ShardJob, attempt: str, lease: Lease) -> Iterator[None]:
    """Asks the scheduler every few seconds whether this attempt still is the one that counts."""
    from distributed import CancelledError, get_client

    client, is_over = get_client(), threading.Event()

    def is_current() -> bool | None:
        try:
            said: Any = client.get_metadata(_place_of(job), default=None)
        except (OSError, TimeoutError, RuntimeError, CancelledError):
            return None
        return said is not None and said["attempt"] == attempt

    def renew() -> None:
        while not is_over.wait(LOOK_S):
            lease.renew(is_current)

    watcher = threading.Thread(target=renew, name="lease", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        is_over.set()


# --- the run --------------------------------------------------------------------------------------------------------


def _run_either_way(
    settings: RunSettings,
    observer: Observer,
    lease: Lease,
    judge_given_out: Callable[[], None],
    sliced: SlicedList | None,
) -> RunReport:
    """The run by the slices; by the whole list where its ledger goes on under another plan than they were cut for."""
    try:
        return _run(settings, observer, lease, judge_given_out, sliced)
    except SlicesDoNotFitError:
        return _run(settings, observer, lease, judge_given_out)


def _run(
    settings: RunSettings,
    observer: Observer,
    lease: Lease,
    judge_given_out: Callable[[], None],
    sliced: SlicedList | None = None,
) -> RunReport:
    sending = settings.sending
    with (
        LedgerReader(settings.home) if settings.home else contextlib.nullcontext() as home,
        _owned(settings, lease, judge_given_out) as ledger,
        calls_api(
            settings.target,
            timeout_s=sending.window.request_s,
            connections=sending.in_flight + 1,
            made_by=partial(LeasedApi, lease),
        ) as api,
    ):
        run = Run(
            ledger=ledger,
            api=api,
            desk=_Nobody(),
            observer=observer,
            signals=lease,
            now=now,
            home=home,
            row_list=sliced,
        )
        return run.run(settings)


def _owned(settings: RunSettings, signals: StopSignals, judge_given_out: Callable[[], None]) -> Ledger:
    """The shard's ledger; a worker that was thought lost may still have it, and is waited for.

    **Errors**: LedgerHeld after a quarter of an hour, or when asked to stop; UsageProblem once that one was done.
    """
    until_s = time.monotonic() + LONGEST_WAIT_FOR_OWNER_S
    while True:
        judge_given_out()
        try:
            return Ledger(settings.ledger, _owner(), now_ms=now().unix_ms)
        except LedgerHeld:
            if signals.received is not None or time.monotonic() > until_s:
                raise
        time.sleep(0.5)


def _owner() -> Owner:
    return this_process(datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"))


def _done(job: ShardJob, report: RunReport) -> ShardDone:
    return ShardDone(
        shard=job.shard,
        exit_code=report.exit_code,
        ending=report.ending,
        detail=report.detail,
        balance=report.balance,
        trouble=None,
        copy=None,
    )


def _stopped(job: ShardJob, problem: ImporterError) -> ShardDone:
    trouble = Trouble(kind=type(problem).__name__, message=problem.message, hint=problem.hint)
    return ShardDone(
        shard=job.shard,
        exit_code=problem.exit_code,
        ending="failed",
        detail="",
        balance=None,
        trouble=trouble,
        copy=None,
    )


@dataclass(slots=True)
class _Teller:
    """Tells whoever gave the job how it goes: counts, and what a person may want to know."""

    job: ShardJob
    _last_s: float = field(default=0.0)

    def __call__(self, event: Event) -> None:
        """An observer of the engine; progress is told twice a second."""
        match event:
            case Notice(kind=kind, text=text):
                self._tell(notice=kind, text=text)
            case ReadingProgress():
                if self._is_due():
                    self._tell(reading=[event.read_rows, event.rejected_rows, event.duplicate_rows])
            case SendingProgress(balance=balance):
                if self._is_due() or balance.pending == 0:
                    counts = [getattr(balance, name) for name in Balance.__dataclass_fields__]
                    self._tell(balance=counts, in_flight=event.in_flight, retries=event.retries)

    def began(self, *, is_beside: bool) -> None:
        """The shard's ledger is at home, or with this worker."""
        self._tell(began="beside" if is_beside else "elsewhere")

    def _is_due(self) -> bool:
        now_s = time.monotonic()
        if now_s - self._last_s < REPORT_S:
            return False
        self._last_s = now_s
        return True

    def _tell(self, **said: Any) -> None:
        from distributed import get_worker

        get_worker().log_event(topic_of(self.job.run), {"shard": self.job.shard.number, **said})


def topic_of(run: str) -> str:
    """Where the shards of a run tell how they go."""
    return f"importer-{run}"


class _Nobody:
    """Nobody at a desk: whoever gave the job was asked."""

    def may_send(self, intention: Intention) -> bool:  # noqa: ARG002 - asked before
        """Yes."""
        return True

    def which_call(self, came_back: CameBack) -> str | None:  # noqa: ARG002 - options answer it
        """Nobody says."""
        return None

    def which_reading(self, bare: BareDigits) -> str | None:  # noqa: ARG002 - options answer it
        """Nobody says."""
        return None

    def is_right_ledger(self, campaign: CampaignFacts, ledger: Path) -> bool:  # noqa: ARG002 - an option answers it
        """Nobody says."""
        return False
