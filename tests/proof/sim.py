"""Deterministic simulation: whole lives of an import, thousands a minute, each told by one seed.

A history is a few processes in bad weather, with kills, restarts, reboots, jumping clocks and days between them, then
good weather until nothing moves any more. Ledger, sender, reconciler and client are the real ones on a real file; the
sandbox is the platform and the judge. `python -m tests.proof.sim --seed N` tells one history again, `--histories N`
runs many.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import random
import shutil
import sqlite3
import sys
import tempfile
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from importer.body import items_of
from importer.client import ApiError, CallsApi
from importer.ledger import Ledger
from importer.ledger.doubt_book import DoubtBook
from importer.ledger.send_book import SendBook
from importer.ledger.upkeep import check_ledger
from importer.model import Answer
from importer.protocol import ServerClock, Window, calibrated
from importer.reconcile import Reconciler, ReconcileSettings
from importer.sandbox import Sandbox, records
from importer.sender import Adoption, Carrier, Sender, SendResult, SendSettings
from importer.settling import send_and_settle

from .mortal import NOBODY_LISTENS, ORIGIN, TOKEN, Books, MortalLedger, Prepared, in_memory, invented_rows, prepared
from .world import (
    CALM,
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    REPORT_DELAY_S,
    SAID_NO,
    START_MS,
    Gate,
    Killed,
    Napping,
    Network,
    SeededCrew,
    Weather,
    World,
    calm_after,
    stormy,
)

STORMS = 5  # processes in bad weather, at most
CALMS = 12  # and in good weather, until all is settled
TURNS = 3_000  # of the loops of one process


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """What a process is built from; a planted bug is one of them replaced."""

    sender: type[Sender] = Sender
    reconciler: type[Reconciler] = Reconciler
    books: Books = (SendBook, DoubtBook)
    quiet_s: float = 900.0
    window: Window = field(default_factory=Window)
    carrier: Callable[[CallsApi], Carrier] = lambda api: api


AS_BUILT = Parts()


@dataclass(frozen=True, kw_only=True, slots=True)
class Plot:
    """What the seed decided before anything happened."""

    seed: int
    list_kind: tuple[int, int]  # rows that share a phone with another, batch size
    poison: int
    remembers_refusals: bool
    largest_rows: int
    duplicates: str
    report_delay_s: float
    is_ledger_lost: bool

    @classmethod
    def of(cls, seed: int, dice: random.Random) -> Plot:
        is_lost = dice.random() < 0.1
        return cls(
            seed=seed,
            list_kind=(dice.choice([0, 2, 3]), dice.choice([1, 2, 3, 4])),
            poison=dice.choice([0, 0, 0, 1, 2]),
            remembers_refusals=dice.random() < 0.3,
            largest_rows=dice.choice([99, 99, 2]),
            duplicates=dice.choice(["array", "array", "array", "jobs24h"]),
            report_delay_s=dice.choice([0.0, REPORT_DELAY_S]),
            is_ledger_lost=is_lost,
        )


@dataclass(kw_only=True)
class Library:
    """The lists, each taken in once by the real intake."""

    folder: Path
    shelf: dict[tuple[int, int, bool], Prepared] = field(default_factory=dict)

    def get(self, shared: int, size: int, *, is_packed: bool) -> Prepared:
        kind = shared, size, is_packed
        if kind not in self.shelf:
            folder = self.folder / f"list-{shared}-{size}-{is_packed}"
            self.shelf[kind] = prepared(folder, invented_rows(8, shared=shared), size, is_packed=is_packed)
        return self.shelf[kind]


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """How a history went: what broke (empty when no law did), what was met on the way, and what happened."""

    plot: Plot
    broken: tuple[str, ...]
    met: Counter[str]
    happened: tuple[str, ...]


class History:
    """One life of an import."""

    def __init__(self, seed: int, library: Library, folder: Path, parts: Parts = AS_BUILT) -> None:
        self.world = World(dice=random.Random(seed))
        self.plot = Plot.of(seed, self.world.dice)
        self.parts = parts
        self.folder = folder
        self.prepared = library.get(*self.plot.list_kind, is_packed=seed % 2 == 1)
        self.ledger_path, self.platform_path = self.prepared.copied(folder)
        self.adopted_ms: int | None = None
        self.lost_ms = 0
        self.flags: list[str] = []

    def tell(self) -> Told:
        """Lives it to the end and judges it."""
        with Sandbox(
            self.platform_path,
            clock=self.world.server_s,
            duplicates=self.plot.duplicates,  # type: ignore[arg-type]  # one of the two words it knows
            report_delay_s=self.plot.report_delay_s,
        ) as sandbox:
            self._sandbox = sandbox
            self._gate = self._make_gate()
            self._storms()
            self._calms()
        broken = (*self.flags, *Judgement(self).all())
        return Told(plot=self.plot, broken=broken, met=self.world.met, happened=tuple(self.world.happened))

    def _check_ledger(self) -> None:
        """However a process ended, what it leaves behind is what `ledger check` takes for sound."""
        self.flags += [f"ledger check: {finding}" for finding in check_ledger(self.ledger_path).findings]

    def _make_gate(self) -> Gate:
        poison = self.world.dice.sample(self.prepared.phones, self.plot.poison)
        return Gate(
            poison=frozenset(poison),
            remembers_refusals=self.plot.remembers_refusals,
            largest_rows=self.plot.largest_rows,
        )

    # --- the course of it ---------------------------------------------------------------------------------------------

    def _storms(self) -> None:
        dice = self.world.dice
        for number in range(dice.randint(1, STORMS)):
            weather = stormy(dice)
            if self.plot.is_ledger_lost:
                weather = replace(weather, wall_jump=0.0, fates=self._fates_before_loss(weather))
            self._process(weather)
            self._between()
            if self.plot.is_ledger_lost and number == 0:
                self._lose_the_ledger()

    def _calms(self) -> None:
        """Good weather, until a run changes nothing any more; with a day between, so that every window closes."""
        for _ in range(CALMS):
            ending = self._process(calm_after(self.world.weather))
            if ending == "done" and self._pending() == 0:
                return
            self.world.passes(self.world.dice.choice([5 * MINUTE_MS, 25 * HOUR_MS]))
        self.flags.append(f"not settled in {CALMS} runs of good weather")

    def _between(self) -> None:
        """Between two processes: a moment, or enough for a key to be forgotten; perhaps a reboot."""
        world = self.world
        hours = world.dice.choice([0.001, 0.02, 0.5, 3.0, 20.0, 22.0, 22.9, 23.1, 23.9, 24.2, 26.0])
        world.note("later", f"{hours} h")
        world.passes(hours * HOUR_MS)
        if world.is_luck(0.2):
            world.reboots()
        if not self.plot.is_ledger_lost:
            world.jumps()

    def _lose_the_ledger(self) -> None:
        """The disk is gone; the same list is taken in elsewhere, and a person says since when it may have been sent."""
        self.world.note("ledger lost")
        self.world.wall_offset_ms = 0
        for path in self.folder.glob("ledger.db*"):
            path.unlink()
        shutil.copyfile(self.prepared.ledger, self.ledger_path)
        self.adopted_ms, self.lost_ms = START_MS - MINUTE_MS, self.world.moment().unix_ms

    def _pending(self) -> int:
        with contextlib.closing(sqlite3.connect(self.ledger_path)) as ledger:
            states = "('frozen', 'armed', 'waiting')"
            found = ledger.execute(f"SELECT count(*) FROM batches WHERE state IN {states}").fetchone()
        return int(found[0])

    # --- one process --------------------------------------------------------------------------------------------------

    def _process(self, weather: Weather) -> str:
        world = self.world
        world.weather, world.is_dead = weather, False
        world.requests_left = 1000 if weather.death == 0 and len(weather.fates) == 1 else world.dice.choice([8, 20, 40])
        world.turns_left = TURNS
        world.note("process", " ".join(f"{name}={weight:.2f}" for name, weight in weather.fates.items()))
        try:
            with (
                MortalLedger(self.ledger_path, world, self.parts.books) as ledger,
                CallsApi(
                    ORIGIN,
                    TOKEN,
                    transport=Network(world, self._sandbox.app, self._gate),
                    clock=world.monotonic_s,
                    wall_clock=lambda: world.moment().unix_ms / 1000,
                ) as api,
            ):
                ending = self._settle(ledger, api)
        except Killed:
            ending = "killed"
        except ApiError:
            ending = "unread"  # the reports, which adopting asks before it sends
        world.note("ended", ending)
        self._check_ledger()
        return ending

    def _settle(self, ledger: Ledger, api: CallsApi) -> str:
        """What a run does once its list is taken in."""
        dice, import_id = self.world.dice, self.prepared.an_import.id
        if self.adopted_ms is None:
            ledger.witness.judge()
        else:
            ledger.intake.add_facts(import_id, {"adopted_since_ms": self.adopted_ms})
        clock = self._ask_clock(ledger, api)
        ledger.witness.begin_session()
        settings = self._settings()
        reconciler, alone_ms = self._reconciler(ledger, api, clock), self.world.moment().boot_ms
        if dice.random() < 0.15:
            self._reconcile_early(ledger, reconciler)
        if (adopted := self._adopted()) is not None:
            reconciler.look_for_adopted(import_id, adopted.since)
        result, _ = send_and_settle(
            lambda: self._send(ledger, api, settings, clock, alone_ms),
            lambda: reconciler.run(import_id),
            is_reconciling=self.world.weather is CALM or dice.random() >= 0.3,
        )
        ledger.sends.finish(import_id, now_ms=self.world.moment().unix_ms)
        ledger.witness.note(self.world.moment().unix_ms)
        return result.ending

    def _reconcile_early(self, ledger: Ledger, reconciler: Reconciler) -> None:
        """What `importer reconcile` does."""
        ledger.sends.recover(self.prepared.an_import.id, now_ms=self.world.moment().unix_ms)
        reconciler.run(self.prepared.an_import.id, is_early=True)

    def _settings(self) -> SendSettings:
        dice, is_calm = self.world.dice, self.world.weather.death == 0 and len(self.world.weather.fates) == 1
        return SendSettings(
            window=self.parts.window,
            in_flight=dice.choice([1, 2, 4]),
            patience_s=1e6 if is_calm else dice.choice([60.0, 3_600.0, 200_000.0]),
            first_rows=None if is_calm or self._is_lag_and_loss() or dice.random() < 0.8 else dice.randint(1, 7),
        )

    def _fates_before_loss(self, weather: Weather) -> Mapping[str, float]:
        """All of them; but no refusal that may not come again, where its parts would not be in the reports yet."""
        kept = {kind: weight for kind, weight in weather.fates.items() if kind not in SAID_NO}
        if not self._is_lag_and_loss():
            return weather.fates
        return kept if sum(kept.values()) else {"ok": 1.0}

    def _is_lag_and_loss(self) -> bool:
        """Parts sent just before a ledger is lost, and not yet in the reports: the one thing adopting misses."""
        return self.plot.is_ledger_lost and self.plot.report_delay_s > 0

    def _ask_clock(self, ledger: Ledger, api: CallsApi) -> ServerClock | None:
        exchange = api.probe()
        if not isinstance(exchange, Answer) or exchange.server_date is None:
            return None
        moment = self.world.moment()
        date_ms = int(exchange.server_date.timestamp() * 1000)
        clock = calibrated(date_ms, int(exchange.elapsed_s * 1000), moment.boot_ms, moment.boot_id)
        return replace(clock, high_ms=max(clock.high_ms, ledger.sends.server_high_ms()))

    def _reconciler(self, ledger: Ledger, api: CallsApi, clock: ServerClock | None) -> Reconciler:
        return self.parts.reconciler(
            ledger=ledger,
            reports=api,
            settings=ReconcileSettings(quiet_s=self.parts.quiet_s),
            observer=NOBODY_LISTENS,
            now=self.world.moment,
            is_stopping=self.world.is_stopping,
            nap=Napping(self.world).rest,
            server_clock=clock,
        )

    def _send(
        self, ledger: Ledger, api: CallsApi, settings: SendSettings, clock: ServerClock | None, alone_ms: int
    ) -> SendResult:
        world = self.world
        sender = self.parts.sender(
            ledger=ledger,
            import_id=self.prepared.an_import.id,
            key_seed=self.prepared.campaign.key_seed,
            carrier=self.parts.carrier(api),
            settings=settings,
            observer=NOBODY_LISTENS,
            now=world.moment,
            is_stopping=world.is_stopping,
            server_clock=clock,
            alone_ms=alone_ms,
            adopted=self._adopted(),
            jitter=world.dice.random,
            crew=lambda size: SeededCrew(world, size),
        )
        return sender.run()

    def _adopted(self) -> Adoption | None:
        if self.adopted_ms is None:
            return None
        return Adoption.between(self.adopted_ms, self.lost_ms, self.world.moment())


# --- the judgement ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class RowFate:
    """A row as the ledger tells it at the end."""

    row_id: int
    phone: str
    payload: str
    state: str
    evidence: str | None
    job_id: str | None


class Judgement:
    """Holds a history against the laws, with the platform's own records."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._db = history.platform_path

    def all(self) -> list[str]:
        """Every law that was broken, in words; none when all is well."""
        with contextlib.closing(sqlite3.connect(self._history.ledger_path)) as ledger:
            rows = list(_row_fates(ledger))
            balance = ledger.execute("SELECT read_rows FROM imports").fetchone()[0]
            keys = _bodies_by_key(ledger)
        return [*self._platform(), *self._keys(keys), *self._rows(rows, balance)]

    def _platform(self) -> Iterator[str]:
        for each in records.duplicates(self._db):
            yield f"a row has {len(each.job_ids)} call jobs: {each.phone} {each.payload}"
        for two in records.keys_with_two_bodies(self._db):
            yield f"key {two.key[:8]} came with two bodies"
        for overlap in records.overlapping_keys(self._db):
            yield f"key {overlap.key[:8]} was in flight twice"
        for late in records.keys_used_past(self._db, DAY_MS / 1000):
            if late.was_executed_before:
                yield f"key {late.key[:8]} was used {late.age_s / 3600:.2f} h after its first use"

    def _keys(self, keys: dict[str, str]) -> Iterator[str]:
        """I4: what went over the wire under a key is what is frozen under it."""
        for request in records.requests(self._db):
            if request.key in keys and request.body_sha256 != keys[request.key]:
                yield f"key {request.key[:8]} was sent with other bytes than the ledger holds"

    def _rows(self, rows: Sequence[RowFate], read_rows: int) -> Iterator[str]:
        jobs: dict[tuple[str, str], list[str]] = defaultdict(list)
        for job in records.jobs(self._db):
            jobs[job.phone, job.payload].append(job.id)
        if not len(rows) == read_rows == len(self._history.prepared.phones):
            yield f"{len(rows)} rows of {read_rows} are left"
        for row in rows:
            yield from _row_problems(row, jobs[row.phone, row.payload])
        stray = set(jobs) - {(row.phone, row.payload) for row in rows}
        if any(jobs[each] for each in stray):
            yield f"call jobs that no row asked for: {stray}"


def _row_problems(row: RowFate, job_ids: list[str]) -> Iterator[str]:
    if row.state == "accepted" and row.job_id not in job_ids:
        yield f"row {row.row_id} counts as accepted ({row.evidence}) with id {row.job_id}, and has {job_ids}"
    if row.state == "refused" and job_ids:
        yield f"row {row.row_id} counts as refused, and was called: {job_ids}"
    if row.state not in ("accepted", "refused", "in_doubt"):
        yield f"row {row.row_id} ends {row.state}"


def _row_fates(ledger: sqlite3.Connection) -> Iterator[RowFate]:
    rows = ledger.execute(
        "SELECT r.id, r.position, b.id, b.state, c.evidence, c.content FROM all_rows r "
        "LEFT JOIN batches b ON b.id = r.batch_id LEFT JOIN receipts c ON c.batch_id = b.id ORDER BY r.id"
    ).fetchall()
    items = {batch_id: items_of(body) for batch_id, body, _, _ in _bodies(ledger)}
    for row_id, position, batch_id, state, evidence, content in rows:
        item = items[batch_id][position]
        ids = json.loads(content or "{}").get("ids")
        payload = json.dumps(item.get("payload"), sort_keys=True, separators=(",", ":"))
        job_id = ids[position] if ids else None
        yield RowFate(
            row_id=row_id, phone=item["phone"], payload=payload, state=state, evidence=evidence, job_id=job_id
        )


def _bodies(ledger: sqlite3.Connection) -> Iterator[tuple[int, bytes, str, str]]:
    for batch_id, packed, key in ledger.execute(
        "SELECT b.id, d.body, b.request_key FROM batches b JOIN bodies d ON d.batch_id = b.id"
    ):
        body = zlib.decompress(packed)
        yield batch_id, body, key, hashlib.sha256(body).hexdigest()


def _bodies_by_key(ledger: sqlite3.Connection) -> dict[str, str]:
    return {key: sha256 for _, _, key, sha256 in _bodies(ledger)}


# --- many -------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def workshop() -> Iterator[Path]:
    """A folder for histories."""
    with tempfile.TemporaryDirectory(prefix="importer-proof-", dir=in_memory()) as folder:
        yield Path(folder)


def tell(seed: int, library: Library, parts: Parts = AS_BUILT) -> Told:
    """One history, and its files gone afterwards."""
    folder = library.folder / f"history-{seed}"
    folder.mkdir()
    try:
        return History(seed, library, folder, parts).tell()
    except BaseException as problem:
        problem.add_note(f"in the history of seed {seed}")
        raise
    finally:
        shutil.rmtree(folder)


def histories(seeds: Sequence[int], library: Library, parts: Parts = AS_BUILT) -> Iterator[Told]:
    """Histories, one after another."""
    for seed in seeds:
        yield tell(seed, library, parts)


def first_broken(seeds: Sequence[int], parts: Parts = AS_BUILT) -> Told | None:
    """The first history that breaks a law, or None."""
    with workshop() as folder:
        library = Library(folder=folder)
        return next((told for told in histories(seeds, library, parts) if told.broken), None)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs histories; prints the seed of the first that breaks a law."""
    parser = argparse.ArgumentParser(prog="python -m tests.proof.sim", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seed", type=int, help="tell this one history")
    parser.add_argument("--first", type=int, default=0, help="the first seed of many")
    parser.add_argument("--histories", type=int, default=1000, help="how many")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after so long")
    said = parser.parse_args(arguments)
    seeds = [said.seed] if said.seed is not None else range(said.first, said.first + said.histories)
    began_s, met, done = time.monotonic(), Counter[str](), 0
    with workshop() as folder:
        library = Library(folder=folder)
        for told in histories(seeds, library):
            done += 1
            met.update(told.met)
            if said.seed is not None or told.broken:
                _show(told)
            if told.broken:
                return 1
            if time.monotonic() - began_s > said.minutes * 60:
                break
    elapsed_s = time.monotonic() - began_s
    kinds = ", ".join(f"{name} {times:,}" for name, times in met.most_common())
    print(f"{done:,} histories, none broke a law; {done / elapsed_s * 60:,.0f} a minute. Met: {kinds}")  # noqa: T201
    return 0


def _show(told: Told) -> None:
    at = datetime.fromtimestamp(START_MS / 1000, UTC)
    lines = [f"seed {told.plot.seed}: {told.plot}", f"from {at:%Y-%m-%d %H:%M} UTC", *told.happened]
    lines += [f"BROKEN: {each}" for each in told.broken]
    print("\n".join(lines), file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
