"""A list in shards over the workers of a Dask cluster: given out, watched, brought home and merged.

Floor: cluster, above run. Each shard is one task, and a task is an ordinary run with a ledger of its own: a worker may
go away at any moment. This process owns the home ledger meanwhile. A newcomer may look for a road of recovery: there is
none; a shard that was lost, or a scheduler, is simply run again, and the laws of a run do the rest.
"""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from importer import __version__, errors
from importer.cluster.keeping import Keep
from importer.cluster.reading import Handed, ListReader
from importer.cluster.records import LedgerCopy, Sealed, ShardDone, ShardJob, Trouble, counter_of, name_of
from importer.errors import ApiAway, ImporterError, LedgerProblem, UsageProblem
from importer.ledger import Ledger
from importer.ledger.records import Import
from importer.ledger.shards_at_home import SHARDS, open_shards_of
from importer.ledger.upkeep import copy_beside
from importer.machine import StopSignals, now
from importer.model import Balance, Notice, Observer, ReadingProgress, SendingProgress
from importer.rejects import write_rejects
from importer.run import RunReport, RunSettings, default_rejects_path
from importer.run.choosing import list_name_of
from importer.shards import MOST_SHARDS, Shard
from importer.summary import exit_code

if TYPE_CHECKING:
    from pathlib import Path

    from distributed import Client, Future

MOST_ATTEMPTS = 20
LOOK_S = 0.5
_WORST_FIRST = ("LedgerHeld", "LedgerProblem", "ListProblem", "UsageProblem", "ApiRefusal", "ApiAway")


@dataclass(kw_only=True, slots=True)
class Cluster:
    """A run over a cluster: the home ledger, owned, and who looks on.

    `boot_id` is by which workers know that they are on this machine; `stretch_bytes` is about how much of the list a
    worker reads at a time, None for what suits the workers.
    """

    home: Ledger
    observer: Observer
    signals: StopSignals
    boot_id: str = field(default_factory=lambda: now().boot_id)
    stretch_bytes: int | None = None
    _run: str = field(default_factory=lambda: secrets.token_hex(6))

    def run(self, settings: RunSettings, client: Client, shards: int) -> RunReport:
        """Runs the shards of a list that are not settled yet, and merges them.

        **Errors**: what stopped a shard, after everything that came home was merged; ApiAway when the cluster was lost.
        **Crash**: at any moment; run it again.
        """
        from importer.cluster.worker import topic_of

        started_s = time.monotonic()
        settings = replace(settings, list_name=list_name_of(settings.sources, settings.list_name))
        keep = Keep(self.home, boot_id=self.boot_id)
        everyone = [Shard(number=each, of=shards) for each in range(1, shards + 1)]
        for shard in everyone:
            self._merge_what_is_kept(keep, shard)
        wanted = self._open(everyone, settings)
        watch = _Watch(self.observer, keep, len(wanted))
        client.subscribe_topic(topic_of(self._run), watch.heard)
        with _as_lost():
            done = self._all_done(client, keep, wanted, settings)
        client.unsubscribe_topic(topic_of(self._run))
        return self._report(settings, done, started_s)

    def _merge_what_is_kept(self, keep: Keep, shard: Shard) -> None:
        """Merges what an earlier run left; a ledger that only its owner can read again is read by the next worker."""
        try:
            if keep.begun_since_ms(shard) is None:
                keep.merge(shard)
        except LedgerProblem as problem:
            self.observer(Notice(kind="not-merged-yet", text=f"Shard {shard} is not merged yet: {problem.message}"))

    def _open(self, everyone: Sequence[Shard], settings: RunSettings) -> list[Shard]:
        """The shards still to be run: those that are open of an import begun before, else all."""
        begun = self._begun_import(settings, len(everyone))
        open_shards = open_shards_of(begun) if begun else []
        return [shard for shard in everyone if not open_shards or shard.number in open_shards]

    def _begun_import(self, settings: RunSettings, of: int) -> Import | None:
        """The newest import of this list and round that came of so many shards."""
        names = (settings.list_name, settings.round_name or "")
        found = [
            an_import
            for campaign in self.home.campaigns.all()
            for an_import in self.home.intake.imports_of(campaign.id)
            if (an_import.list_name, an_import.round) == names and an_import.settings.get(SHARDS, {}).get("of") == of
        ]
        return found[-1] if found else None

    # --- giving out, taking in --------------------------------------------------------------------------------------

    def _all_done(self, client: Client, keep: Keep, wanted: Sequence[Shard], settings: RunSettings) -> list[ShardDone]:
        is_apart = self._has_workers_elsewhere(client, keep)
        copy = client.submit(_as_it_is, self._home_copy(keep), pure=False) if is_apart else None
        begun = [shard for shard in wanted if is_apart and keep.ledger(shard).exists()]
        to_give = [shard for shard in wanted if shard not in begun]
        handed = self._read(client, keep, to_give, settings)
        jobs = [self._job(keep, shard, settings) for shard in to_give]
        futures = {self._given_out(client, job, copy, handed, 0): (job, 0) for job in jobs}
        done = [self._gone_on_with(keep, shard, settings) for shard in begun]
        is_told = False
        while futures:
            if self.signals.received is not None:
                self._ask_to_stop(client, is_told=is_told)
                is_told = True
            for future in self._ended(client, futures):
                job, attempt = futures.pop(future)
                ended = self._taken_in(future, job, attempt)
                if ended is None:
                    again = self._given_out(client, job, copy, _unless_lost(handed, job), attempt + 1)
                    futures[again] = (job, attempt + 1)
                    continue
                if handed is not None:
                    handed.slices.pop(job.shard.number, None)  # its workers may forget them
                keep.came_home(job.shard, ended.copy, is_run=ended.trouble is None)
                keep.merge(job.shard)
                done.append(ended)
        return done

    def _read(self, client: Client, keep: Keep, shards: Sequence[Shard], settings: RunSettings) -> Handed | None:
        """Has the list read for the shards that have not taken it in yet. None where each reads it by itself."""
        names = settings.list_name or "", settings.round_name or ""
        to_read = [shard for shard in shards if not keep.is_taken_in(shard, *names)]
        if not to_read or self.signals.received is not None:
            return None
        reader = ListReader(
            client=client,
            name=f"importer-{self._run}",
            observer=self.observer,
            ended=lambda futures: self._ended(client, futures),
            is_stopping=lambda: self.signals.received is not None,
            stretch_bytes=self.stretch_bytes,
        )
        return reader.read(settings, to_read[0].of, [shard.number for shard in to_read])

    def _gone_on_with(self, keep: Keep, shard: Shard, settings: RunSettings) -> ShardDone:
        """A shard whose ledger is here already, where workers are elsewhere: run here."""
        from importer.cluster.worker import run_at_home

        self.observer(Notice(kind="at-home", text=f"Shard {shard} was begun before: it goes on on this machine."))
        job = self._job(keep, shard, settings)
        ended = run_at_home(job, keep.folder, self.home.path, lambda _: None, self.signals)
        keep.came_home(shard, None, is_run=ended.trouble is None)
        keep.merge(shard)
        return ended

    def _job(self, keep: Keep, shard: Shard, settings: RunSettings) -> ShardJob:
        begun_ms = keep.begun_since_ms(shard)
        since_ms = begun_ms or now().unix_ms
        keep.give_out(shard, since_ms)
        return ShardJob(
            run=self._run,
            shard=shard,
            sealed=Sealed(settings),
            where=keep.where(),
            version=__version__,
            since_ms=since_ms,
            is_begun=begun_ms is not None,
        )

    @staticmethod
    def _has_workers_elsewhere(client: Client, keep: Keep) -> bool:
        """Whether any worker is on another machine than this process."""
        from importer.cluster.worker import is_beside

        told = client.run(is_beside, keep.where()).values()
        return not told or not all(told)  # those that have not joined yet may be anywhere

    def _home_copy(self, keep: Keep) -> LedgerCopy:
        path = keep.folder / "home.db"
        path.unlink(missing_ok=True)
        copy_beside(self.home.path, path)
        try:
            return LedgerCopy.of(path, counter_of(self.home.path))
        finally:
            path.unlink(missing_ok=True)

    def _given_out(
        self, client: Client, job: ShardJob, home: Future[LedgerCopy] | None, handed: Handed | None, attempt: int
    ) -> Future[ShardDone]:
        from importer.cluster.worker import run_shard

        key = f"importer-{self._run}-{name_of(job.shard)}-{attempt}"
        slices = None if handed is None else handed.slices.get(job.shard.number)
        if handed is None or slices is None:
            return client.submit(run_shard, job, home, key=key, pure=False)
        return client.submit(run_shard, job, home, handed.whole, slices, key=key, pure=False)

    def _ended(self, client: Client, futures: Collection[Future[Any]]) -> list[Future[Any]]:
        """Those that ended, after half a second at most. **Errors**: ApiAway when the scheduler is gone."""
        from distributed import wait

        with suppress(TimeoutError):
            wait(list(futures), timeout=LOOK_S, return_when="FIRST_COMPLETED")
        if client.status != "running":
            raise _lost()
        return [future for future in futures if future.done()]

    def _taken_in(self, future: Future[ShardDone], job: ShardJob, attempt: int) -> ShardDone | None:
        """How a shard ended; None when its workers were lost, and it is to be given out again."""
        from distributed import KilledWorker

        problem = future.exception()
        if isinstance(problem, KilledWorker) and attempt < MOST_ATTEMPTS:
            text = f"Shard {job.shard} lost its worker several times, and is given out again."
            self.observer(Notice(kind="worker-lost", text=text))
            return None
        if isinstance(problem, KilledWorker):
            raise ApiAway(
                f"Shard {job.shard} lost every worker it was given to.", hint="Look at the workers; then run again."
            )
        return future.result()

    def _ask_to_stop(self, client: Client, *, is_told: bool) -> None:
        """Asks every shard, again and again: those that waited for a worker begin after the first time."""
        from importer.cluster.worker import stop_shards

        if not is_told:
            self.observer(Notice(kind="stopping", text="Stopping: the shards end the requests under way."))
        client.run(stop_shards, self._run, on_error="ignore")

    # --- the end ----------------------------------------------------------------------------------------------------

    def _report(self, settings: RunSettings, done: Sequence[ShardDone], started_s: float) -> RunReport:
        begun = next((found for found in [self._of_done(settings, done)] if found), None)
        trouble = [each for each in done if each.trouble is not None]
        if trouble:
            raise _worst(trouble)
        if begun is None:
            raise ApiAway("No shard came to an end.", hint="Run the same command again.")
        view = self.home.view
        balance = view.balance(begun.id)
        ending = next((each.ending for each in done if each.ending in ("denied", "stopped", "away", "first")), "done")
        will_settle = any(each.exit_code == 7 for each in done)
        return RunReport(
            exit_code=exit_code(
                balance, ending, settings.checks.allowance, self.signals.exit_code, will_time_settle=will_settle
            ),
            ending=ending,
            import_id=begun.id,
            list_name=begun.list_name,
            round_name=begun.round,
            balance=balance,
            rejects_path=self._write_rejects(begun, settings),
            reject_counts=tuple(view.reject_counts(begun.id)),
            refusals=tuple((file, row_no, str(said.get("type", ""))) for file, row_no, said in view.refusals(begun.id)),
            detail=next((each.detail for each in done if each.detail), ""),
            other_pending=(),
            elapsed_s=time.monotonic() - started_s,
            is_resumed=False,
            facts=dict(begun.facts.get("numbers", {})),
        )

    def _of_done(self, settings: RunSettings, done: Sequence[ShardDone]) -> Import | None:
        return self._begun_import(settings, done[0].shard.of) if done else None

    def _write_rejects(self, an_import: Import, settings: RunSettings) -> Path | None:
        path = settings.rejects_path or default_rejects_path(settings.sources[0], self.home.path)
        files = self.home.intake.files(an_import.id)
        names = [str(facts["name"]) for facts in files]
        return write_rejects(path, self.home.intake.rejects(an_import.id), tuple(files[0]["columns"]), names)


@contextmanager
def _as_lost() -> Iterator[None]:
    """Turns what Dask says of a scheduler that is gone into one error."""
    from distributed import CancelledError
    from distributed.client import FutureCancelledError, FuturesCancelledError
    from distributed.comm.core import CommClosedError

    try:
        yield
    except (CancelledError, FutureCancelledError, FuturesCancelledError, CommClosedError) as problem:
        raise _lost() from problem


def _lost() -> ApiAway:
    return ApiAway(
        "The scheduler was lost. What came home is merged.",
        hint="Run the same command again: shards that were settled are not run again.",
    )


def _unless_lost(handed: Handed | None, job: ShardJob) -> Handed | None:
    """The slices, unless those of this shard were lost as often as Dask bears: then it reads the list itself."""
    slices = [] if handed is None else handed.slices.get(job.shard.number, [])
    return None if any(each.status == "error" for each in slices) else handed


def _as_it_is(copy: LedgerCopy) -> LedgerCopy:
    """A task of its own for what many tasks need: whichever worker is lost, it can be had again."""
    return copy


def _worst(stopped: Sequence[ShardDone]) -> ImporterError:
    """The one error to tell of: what stopped most is what a person must look at first."""
    by_kind: dict[str, tuple[ShardDone, Trouble]] = {
        each.trouble.kind: (each, each.trouble) for each in reversed(stopped) if each.trouble is not None
    }
    kind = next((name for name in _WORST_FIRST if name in by_kind), next(iter(by_kind)))
    first, trouble = by_kind[kind]
    made: Callable[..., ImporterError] = getattr(errors, kind, ImporterError)
    others = f" ({len(stopped)} shards were stopped)" if len(stopped) > 1 else ""
    return made(f"Shard {first.shard}: {trouble.message}{others}", hint=trouble.hint)


class _Watch:
    """Adds up what the shards tell, for one progress line. Runs in a thread of the client's."""

    def __init__(self, observer: Observer, keep: Keep, shards: int) -> None:
        self._observer = observer
        self._keep = keep
        self._shards = shards
        self._balances: dict[int, Balance] = {}
        self._reading: dict[int, Sequence[int]] = {}
        self._retries: dict[int, int] = {}
        self._in_flight: dict[int, int] = {}

    def heard(self, event: tuple[float, dict[str, Any]]) -> None:
        """Takes what a shard told."""
        said = event[1]
        number = int(said["shard"])
        if "notice" in said:
            self._observer(Notice(kind=said["notice"], text=f"Shard {number}: {said['text']}"))
        elif said.get("began") == "beside":
            self._keep.began_beside(Shard(number=number, of=self._shards))
        elif "reading" in said:
            self._reading[number] = said["reading"]
            read, rejected, duplicate = (sum(each) for each in zip(*self._reading.values(), strict=True))
            self._observer(
                ReadingProgress(read_rows=read, rejected_rows=rejected, duplicate_rows=duplicate, read_share=None)
            )
        elif "balance" in said:
            self._sent(number, said)

    def _sent(self, number: int, said: dict[str, Any]) -> None:
        names = tuple(Balance.__dataclass_fields__)
        balance = Balance(**dict(zip(names, said["balance"], strict=True)))
        before = self._balances.get(number)
        if before is not None and balance.settled < before.settled:
            return  # a shard that was begun again catches up first
        self._balances[number] = balance
        self._retries[number], self._in_flight[number] = said["retries"], said["in_flight"]
        whole = Balance(**{name: sum(getattr(each, name) for each in self._balances.values()) for name in names})
        self._observer(
            SendingProgress(balance=whole, in_flight=sum(self._in_flight.values()), retries=sum(self._retries.values()))
        )


@contextmanager
def joined(scheduler: str | None, shards: int | None) -> Iterator[tuple[Client, int]]:
    """A client of the cluster and how many shards to make: as many as it has workers, unless said.

    Without an address a cluster of processes on this machine is made for as long as this lasts.
    **Errors**: UsageProblem when the extra is missing, or nobody answers at the address.
    """
    try:
        from distributed import Client, LocalCluster
    except ImportError as problem:
        hint = 'pip install "phone-list-importer[dask]"'
        raise UsageProblem("--engine dask needs an extra.", hint=hint) from problem
    with ExitStack() as stack:
        if scheduler is None:
            spilled = stack.enter_context(tempfile.TemporaryDirectory(prefix="importer-workers-"))  # nobody else's
            scheduler = stack.enter_context(
                LocalCluster(
                    n_workers=shards or 2,
                    threads_per_worker=1,
                    processes=True,
                    dashboard_address=None,
                    local_directory=spilled,
                )
            ).scheduler_address
        try:
            client = stack.enter_context(Client(scheduler, timeout=10))
        except (OSError, TimeoutError) as problem:
            raise UsageProblem(
                f"No scheduler answers at {scheduler}.",
                hint="Start one with `dask scheduler`, or leave --scheduler out.",
            ) from problem
        yield client, min(shards or max(1, len(client.scheduler_info()["workers"])), MOST_SHARDS)
