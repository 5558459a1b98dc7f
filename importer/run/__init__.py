"""One run, from a list to its closing balance; and `send`, the same without the list.

Floor: run, under the command line. It reads like a table of contents: look at the campaign, choose the import, take the
list in, judge it, ask once, send, report. Questions go to the `Desk`, progress to the observer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from importer import keys
from importer.client import ApiDenied, ApiError, CallsApi
from importer.errors import ImporterError, LedgerProblem, ListProblem, UsageProblem
from importer.intake import Intake, IntakeStopped, Plan, make_plan
from importer.ledger import Ledger, LedgerReader
from importer.ledger.records import Campaign, Import
from importer.ledger.shards_at_home import judge_own_shards
from importer.machine import Moment, StopSignals, standard_input
from importer.model import Answer, Balance, Notice, Observer
from importer.protocol import ServerClock, calibrated
from importer.purging import Tidier
from importer.reconcile import Reconciled, Reconciler, ReconcileSettings
from importer.rejects import write_rejects
from importer.run import sharding
from importer.run.calling import carrier_of
from importer.run.choosing import Choice, Wanted, choose_import, list_name_of
from importer.run.fitting import fit_of
from importer.run.hygiene import hygiene_of, read_suppressions
from importer.run.judging import (
    PASSED,
    judge_answered,
    judge_balance,
    judge_bare,
    judge_came_back,
    judge_new_ledger,
)
from importer.run.settings import (
    DEFAULT_BATCH_ROWS,
    VIA_LIST,
    BareDigits,
    CameBack,
    CampaignFacts,
    Checks,
    Desk,
    HoldBack,
    Intention,
    RunReport,
    RunSettings,
    Target,
    plan_of,
)
from importer.sender import Adoption, Sender, SendResult, SendSettings
from importer.settling import send_and_settle
from importer.shards import Shard
from importer.sources import RowList, open_list
from importer.summary import exit_code

__all__ = [
    "DEFAULT_BATCH_ROWS",
    "BareDigits",
    "CameBack",
    "CampaignFacts",
    "Checks",
    "Desk",
    "HoldBack",
    "Intention",
    "ReconcileReport",
    "Run",
    "RunReport",
    "RunSettings",
    "Target",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReconcileReport:
    """What reconciling without sending came to."""

    done: Reconciled
    confirmed_batches: int
    repaired_batches: int
    balance: Balance


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """The parts a run is made of, injected. `signals` says whether to stop; `now` reads the clocks.

    `home` is the ledger that knows the earlier imports, where this run's own is that of a shard. `row_list` is the
    list, where others have read it for this run.
    """

    ledger: Ledger
    api: CallsApi
    desk: Desk
    observer: Observer
    signals: StopSignals
    now: Callable[[], Moment]
    stdin: BinaryIO = field(default_factory=standard_input)
    home: LedgerReader | None = None
    row_list: RowList | None = None

    def run(self, settings: RunSettings) -> RunReport:
        """Takes the list in and sends it.

        **Errors**: ListProblem when the list or a check says no; ApiRefusal when the token is unknown.
        **Crash**: at any moment; the same command goes on from what the ledger holds.
        """
        judge_window(settings.sending)
        sharding.judge_home(settings, self.home)
        settings = sharding.part_of_settings(settings, settings.shard)
        started_ms = self.now().boot_ms
        self._honour_do_not_call(settings, settings.rules.region)
        with self._list(settings) as row_list:
            judge_adoption(self.ledger, settings, self.home, now_ms=self.now().unix_ms)
            campaign, facts, clock = self.meet(settings)
            choice = self._choose(settings, campaign, row_list)
            with naming(choice.an_import):
                try:
                    choice = self._taken_in(settings, campaign, row_list, choice)
                except IntakeStopped:
                    return self._report(choice, self._stopped(choice), settings, started_ms, None)
                columns, names = row_list.columns, [info.name for info in row_list.files]
                rejects_path = self._write_rejects(choice.an_import, settings, columns, names)
        with naming(choice.an_import):
            result, done = self._judged_and_sent(choice, campaign, facts, clock, settings, rejects_path)
            return self._report(choice, result, settings, started_ms, rejects_path, done)

    def _judged_and_sent(
        self,
        choice: Choice,
        campaign: Campaign,
        facts: CampaignFacts,
        clock: ServerClock | None,
        settings: RunSettings,
        rejects_path: Path | None,
    ) -> tuple[SendResult, Reconciled | None]:
        balance = self.ledger.view.balance(choice.an_import.id)
        self._judge(choice.an_import, balance, settings, rejects_path)
        self._name_others(campaign, choice.an_import)
        if balance.pending and not self.desk.may_send(self._intention(choice, facts, settings, balance, rejects_path)):
            return SendResult(ending="declined", balance=balance), None
        return self._settle(choice.an_import, campaign, settings, clock)

    def _judge(self, an_import: Import, balance: Balance, settings: RunSettings, rejects_path: Path | None) -> None:
        """Makes the safety checks and notes whether the list passed them, whose run it was, and where bad rows went."""
        book = self.ledger.intake
        try:
            elsewhere_rows = int(an_import.facts.get("numbers", {}).get("elsewhere", 0))
            judge_balance(balance, settings.checks, elsewhere_rows=elsewhere_rows)
        except ListProblem:
            book.add_facts(an_import.id, {PASSED: False})
            raise
        named: dict[str, Any] = {} if settings.run_id is None else {"run_ids": {settings.run_id: True}}
        if rejects_path is not None:
            named["rejects_file"] = str(rejects_path.absolute())
        book.add_facts(an_import.id, {PASSED: True, **named})

    def send(self, an_import: Import, settings: RunSettings) -> RunReport:
        """Sends what is pending of an import whose list was read to its end; the list itself is not needed.

        **Errors**: UsageProblem when the list was not read to its end, or the token is another campaign's.
        """
        judge_window(settings.sending)
        judge_own_shards(an_import, is_adopting=settings.adopt_since_ms is not None)
        settings = sharding.part_of_settings(settings, sharding.shard_of(an_import))
        started_ms = self.now().boot_ms
        self._honour_do_not_call(settings, an_import.mapping.get("region"))
        judge_adoption(self.ledger, settings, now_ms=self.now().unix_ms)
        campaign, _, clock = self.meet(settings, must_be=an_import.campaign_id)
        if not an_import.is_complete:
            raise UsageProblem(
                f"The list of import {an_import.id} was not read to its end, so nothing of it may be sent.",
                hint=f"Run it again with its list: importer run {an_import.list_name}",
            )
        plan = make_plan([an_import.mapping["phone_column"]], phone_column=None, once_per="row", rules=settings.rules)
        choice = Choice(an_import=an_import, plan=plan, how="continued")
        with naming(an_import):
            judge_answered(self.ledger, an_import)
            result, done = self._settle(an_import, campaign, settings, clock)
            return self._report(choice, result, settings, started_ms, None, done)

    def reconcile(self, an_import: Import, settings: RunSettings, *, is_every: bool) -> ReconcileReport:
        """Settles what is in doubt, without sending; what proves absent is frozen again for the next run.

        Batches that keep coming back unknown are looked up as well, and ids are confirmed against the reports.
        **Errors**: ApiError when the reports cannot be read for the confirmation; ListProblem while shards of it
        are open.
        """
        judge_own_shards(an_import, is_adopting=False)
        _, _, clock = self.meet(settings, must_be=an_import.campaign_id)
        with naming(an_import):
            sends = self.ledger.sends
            sends.recover(an_import.id, now_ms=self.now().unix_ms)
            reconciler = self._reconciler(settings, clock)
            done = reconciler.run(an_import.id, is_early=True)
            confirmed, repaired = (0, 0) if done.unreadable else reconciler.confirm_ids(an_import.id, is_every=is_every)
            sends.finish(an_import.id, now_ms=self.now().unix_ms)
            return ReconcileReport(
                done=done,
                confirmed_batches=confirmed,
                repaired_batches=repaired,
                balance=self.ledger.view.balance(an_import.id),
            )

    # --- the campaign -------------------------------------------------------------------------------------------------

    def meet(
        self, settings: RunSettings, must_be: int | None = None
    ) -> tuple[Campaign, CampaignFacts, ServerClock | None]:
        """The campaign as ledger and platform know it, and the platform's clock; a new one is kept in the ledger."""
        seed = keys.campaign_seed(settings.target.token.reveal(), self.api.origin)
        fingerprint = keys.campaign_fingerprint(seed)
        known = self.ledger.intake.campaign(fingerprint)
        if must_be is not None and (known is None or known.id != must_be):
            raise UsageProblem(
                "The token belongs to another campaign than this import.",
                hint="Name the import's own campaign with --campaign, or its token.",
            )
        facts = self._ask_campaign()
        clock = self._ask_clock()
        if known is None:
            at_home = sharding.home_campaign(self.home, fingerprint)
            is_told = settings.is_new_ledger_fine or settings.adopt_since_ms is not None
            judge_new_ledger(self.ledger, facts, self.desk, is_fine=is_told or at_home is not None)
            known = self.ledger.intake.add_campaign(
                name=facts.name or settings.target.name or "campaign",
                origin=self.api.origin,
                fingerprint=fingerprint,
                key_seed=seed if at_home is None else at_home.key_seed,
                now_ms=self.now().unix_ms,
            )
        self.ledger.campaigns.note(known.id, facts.platform_id)
        return known, facts, clock

    def _ask_campaign(self) -> CampaignFacts:
        """Reads the campaign; only an unknown token ends the run, all else is a warning."""
        try:
            campaign = self.api.campaign()
        except ApiDenied:
            raise
        except ApiError as problem:
            self.observer(Notice(kind="campaign-unread", text=f"The campaign could not be read: {problem.message}"))
            return CampaignFacts()
        total = campaign.short_report.total_numbers if campaign.short_report else None
        return CampaignFacts(name=campaign.name, status=campaign.status, total_numbers=total, platform_id=campaign.id)

    def _ask_clock(self) -> ServerClock | None:
        """Calibrates the platform's clock by the Date of a harmless GET (law 6)."""
        exchange = self.api.probe()
        if not isinstance(exchange, Answer) or exchange.server_date is None:
            return None
        moment = self.now()
        date_ms = int(exchange.server_date.timestamp() * 1000)
        clock = calibrated(date_ms, int(exchange.elapsed_s * 1000), moment.boot_ms, moment.boot_id)
        return replace(clock, high_ms=max(clock.high_ms, self.ledger.sends.server_high_ms()))

    # --- the list -----------------------------------------------------------------------------------------------------

    def _list(self, settings: RunSettings) -> RowList:
        if self.row_list is not None:
            return self.row_list
        return open_list(settings.sources, settings.reading, stdin=self.stdin, spool_dir=self.ledger.path.parent)

    def _choose(self, settings: RunSettings, campaign: Campaign, row_list: RowList) -> Choice:
        wanted = Wanted(
            list_name=list_name_of(settings.sources, settings.list_name),
            round_name=settings.round_name or "",
            plan=plan_of(settings, row_list.columns),
            is_once_per_said=settings.once_per is not None,
            settings=_kept_settings(settings),
            batch_size_rows=settings.batch_size_rows,
            run_id=settings.run_id,
        )
        self._judge_shards(campaign, wanted, settings)
        choice = choose_import(self.ledger.intake, campaign, row_list, wanted, now_ms=self.now().unix_ms)
        self._tell_choice(choice, wanted)
        if settings.parent is not None:
            self.ledger.intake.add_facts(choice.an_import.id, {"parent": dict(settings.parent)})
            choice = replace(choice, an_import=self.ledger.intake.import_by_id(choice.an_import.id) or choice.an_import)
        return choice

    def _judge_shards(self, campaign: Campaign, wanted: Wanted, settings: RunSettings) -> None:
        """Holds the shard against what this ledger, and the home ledger, know of the round."""
        shard = settings.shard
        sharding.judge_plan(wanted.plan, shard)
        names = wanted.round_name, wanted.list_name
        sharding.judge_shards(self.ledger.intake.imports_of(campaign.id), *names, shard, of=str(self.ledger.path))
        at_home = sharding.home_campaign(self.home, campaign.fingerprint)
        if self.home is not None and at_home is not None:
            sharding.judge_shards(self.home.imports_of(at_home.id), *names, shard, of=str(settings.home))

    def _tell_choice(self, choice: Choice, wanted: Wanted) -> None:
        an_import = choice.an_import
        texts = {
            "continued": f"Import {an_import.id} was not finished: going on with it.",
            "reopened": f"The list changed since import {an_import.id} was begun: what was never sent is read anew.",
            "finished": f"This run finished import {an_import.id} before: this is its report, and nothing is sent.",
        }
        if choice.how in texts:
            self.observer(Notice(kind=choice.how, text=texts[choice.how]))
        if an_import.round != wanted.round_name:
            self.observer(Notice(kind="round", text=f"It goes on under its own round, {an_import.round or 'none'}."))
        if an_import.batch_size_rows != wanted.batch_size_rows:
            size = f"Its batches keep their size of {an_import.batch_size_rows:,} rows."
            self.observer(Notice(kind="batch-size", text=size))

    def _honour_do_not_call(self, settings: RunSettings, region: str | None) -> None:
        """Reads the run's own do-not-call lists; before anything else, because one that cannot be read stops it."""
        self.ledger.dnc.also(read_suppressions(settings.hold_back, region, self.ledger.path.parent, self.observer))
        sharding.take_do_not_call(self.ledger, self.home, settings.shard)

    def _taken_in(self, settings: RunSettings, campaign: Campaign, row_list: RowList, choice: Choice) -> Choice:
        """Intake, and once more when a person's answer changed how numbers are read or what the same call is."""
        choice = replace(choice, an_import=self._intake(campaign, row_list, choice.plan, choice.an_import))
        bare = judge_bare(choice.an_import, choice.plan, self.desk)
        if bare == "international":
            rules = replace(choice.plan.rules, bare=bare)
            choice = self._again_under(replace(choice.plan, rules=rules), campaign, row_list, choice)
        elif bare is not None:
            self.ledger.intake.add_facts(choice.an_import.id, {"said_bare": bare})
        is_said = settings.once_per is not None or settings.round_name is not None
        said = choice.plan.once_per if is_said else judge_came_back(self.ledger, choice.an_import, self.desk, self.home)
        if said == "phone" and not is_said:
            return self._again_under(replace(choice.plan, once_per="phone"), campaign, row_list, choice)
        if said is not None:
            self.ledger.intake.add_facts(choice.an_import.id, {"said_once_per": said})
        return choice

    def _again_under(self, plan: Plan, campaign: Campaign, row_list: RowList, choice: Choice) -> Choice:
        """Takes the list in anew under another plan."""
        book = self.ledger.intake
        files = [
            {name: value for name, value in facts.items() if name not in ("sha256", "read_rows", "witness_rows")}
            for facts in book.files(choice.an_import.id)
        ]
        reopened = book.begin_revision(
            choice.an_import, mapping=plan.as_mapping(), settings=choice.an_import.settings, files=files
        )
        taken = self._intake(campaign, row_list, plan, reopened)
        return Choice(an_import=taken, plan=plan, how=choice.how)

    def _intake(self, campaign: Campaign, row_list: RowList, plan: Plan, an_import: Import) -> Import:
        if an_import.is_complete:
            return an_import
        intake = Intake(
            row_list=row_list,
            plan=plan,
            campaign=campaign,
            books=sharding.books_of(
                self.ledger.intake, sharding.home_book(self.home, self.ledger, campaign.fingerprint)
            ),
            observer=self.observer,
            now_ms=lambda: self.now().unix_ms,
            is_stopping=self._is_stopping,
            hygiene=hygiene_of(
                plan.not_if_called_within_s,
                has_no_lists=self.ledger.dnc.is_empty,
                hits=self.ledger.dnc.hits,
                recently_accepted=sharding.recently_accepted(self.ledger, self.home),
                now_ms=self.now().unix_ms,
            ),
            shard=sharding.shard_of(an_import),
        )
        return intake.take_in(an_import)

    def _write_rejects(
        self, an_import: Import, settings: RunSettings, columns: tuple[str, ...], names: list[str]
    ) -> Path | None:
        path = settings.rejects_path or default_rejects_path(
            settings.sources[0], self.ledger.path, sharding.shard_of(an_import)
        )
        try:
            return write_rejects(path, self.ledger.intake.rejects(an_import.id), columns, names)
        except OSError as problem:
            if settings.rejects_path is not None:
                raise UsageProblem(f"The rejects could not be written to {path}: {problem.strerror}.") from problem
            beside = self.ledger.path.with_name(f"import-{an_import.id}.rejects.csv")
            return write_rejects(beside, self.ledger.intake.rejects(an_import.id), columns, names)

    # --- sending ------------------------------------------------------------------------------------------------------

    def _is_stopping(self) -> bool:
        return self.signals.received is not None or self._is_asked_to_stop()

    def _is_asked_to_stop(self) -> bool:
        """Heeds what other processes ask of the ledger's owner."""
        was_asked = self.ledger.requests.stop_asked_by is not None
        if self.ledger.requests.heed() and not was_asked:
            text = f"Stopping, as asked by {self.ledger.requests.stop_asked_by}."
            self.observer(Notice(kind="asked-to-stop", text=text))
        return self.ledger.requests.stop_asked_by is not None

    def _stopped(self, choice: Choice) -> SendResult:
        return SendResult(ending="stopped", balance=self.ledger.view.balance(choice.an_import.id))

    def _name_others(self, campaign: Campaign, an_import: Import) -> None:
        for number, name, rows in self.ledger.view.other_pending(campaign.id, an_import.id):
            text = f"Import {number} ({name}) still has {rows:,} rows pending; `importer send {number}` sends them."
            self.observer(Notice(kind="others", text=text))

    def _settle(
        self, an_import: Import, campaign: Campaign, settings: RunSettings, clock: ServerClock | None
    ) -> tuple[SendResult, Reconciled | None]:
        """Sends; then reconciles what is in doubt, and sends what proved absent, until nothing moves any more."""
        self.ledger.witness.begin_session()
        reconciler, adopted = self._reconciler(settings, clock), self._adopted(an_import, settings)
        alone_ms = self.now().boot_ms
        if adopted is not None:
            reconciler.look_for_adopted(an_import.id, adopted.since)
        result, done = send_and_settle(
            lambda: self._send(an_import, campaign, settings.sending, clock, alone_ms, adopted),
            lambda: reconciler.run(an_import.id),
            is_reconciling=settings.in_doubt == "reconcile",
        )
        self.ledger.sends.finish(an_import.id, now_ms=self.now().unix_ms)
        self.ledger.witness.note(self.now().unix_ms)
        self._tidy(campaign, settings)
        return result, done

    def _tidy(self, campaign: Campaign, settings: RunSettings) -> None:
        """Erases what need not be kept any longer. What was sent is settled; the next run tries again what failed."""
        if self._is_stopping():
            return
        tidier = Tidier(
            ledger=self.ledger,
            campaign_id=campaign.id,
            keep_s=settings.keep_for_s,
            now=self.now,
            is_stopping=self._is_stopping,
        )
        try:
            done = tidier.tidy()
        except LedgerProblem as problem:
            self.observer(Notice(kind="not-erased", text=f"Old rows could not be erased: {problem.message}"))
            return
        if done.rows:
            days = settings.keep_for_s / 86_400
            rest = "" if done.is_whole else "; the next run goes on with the rest"
            text = f"Erased numbers and payloads of {done.rows:,} rows settled over {days:g} days ago{rest}."
            self.observer(Notice(kind="erased", text=text))

    def _adopted(self, an_import: Import, settings: RunSettings) -> Adoption | None:
        """Since when and until when a lost ledger may have sent this import's batches, by every clock there is."""
        since_ms = settings.adopt_since_ms or an_import.facts.get("adopted_since_ms")
        if since_ms is None:
            return None
        moment = self.now()
        until_ms = an_import.facts.get("adopted_ms", moment.unix_ms)
        self.ledger.intake.add_facts(an_import.id, {"adopted_since_ms": since_ms, "adopted_ms": until_ms})
        return Adoption.between(int(since_ms), int(until_ms), moment)

    def _reconciler(self, settings: RunSettings, clock: ServerClock | None) -> Reconciler:
        return Reconciler(
            ledger=self.ledger,
            reports=self.api,
            settings=ReconcileSettings(
                quiet_s=settings.quiet_s,
                delay_s=settings.sending.window.margin_s,
                window_s=settings.sending.window.window_s,
            ),
            observer=self.observer,
            now=self.now,
            is_stopping=self._is_stopping,
            server_clock=clock,
        )

    def _send(
        self,
        an_import: Import,
        campaign: Campaign,
        sending: SendSettings,
        clock: ServerClock | None,
        alone_ms: int,
        adopted: Adoption | None,
    ) -> SendResult:
        sender = Sender(
            ledger=self.ledger,
            import_id=an_import.id,
            key_seed=campaign.key_seed,
            carrier=carrier_of(an_import, self.api),
            settings=sending,
            observer=self.observer,
            now=self.now,
            is_stopping=self._is_stopping,
            server_clock=clock,
            alone_ms=alone_ms,
            adopted=adopted,
        )
        self.signals.when_received(sender.wake)
        return sender.run()

    def _intention(
        self,
        choice: Choice,
        facts: CampaignFacts,
        settings: RunSettings,
        balance: Balance,
        rejects_path: Path | None,
    ) -> Intention:
        an_import, view = choice.an_import, self.ledger.view
        skips = view.skip_counts(an_import.id)
        first = settings.sending.first_rows
        to_send_rows = balance.pending if first is None else min(first, balance.pending)
        return Intention(
            import_id=an_import.id,
            list_name=an_import.list_name,
            ledger=self.ledger.path,
            round_name=an_import.round,
            campaign=facts,
            origin=self.api.origin,
            balance=balance,
            payload_columns=choice.plan.payload,
            phone_column=choice.plan.phone_column,
            requests=-(-to_send_rows // an_import.batch_size_rows),
            repeated_rows=skips.get("repeated", 0),
            already_rows=skips.get("already", 0),
            changed_rows=skips.get("changed", 0),
            recent_rows=skips.get("recent", 0),
            suppressed_rows=balance.suppressed,
            earlier_ms=view.earlier_days(an_import.id),
            reject_counts=tuple(view.reject_counts(an_import.id)),
            rejects_path=rejects_path,
            to_send_rows=to_send_rows,
            is_resumed=choice.how != "begun",
            fit=fit_of(self.ledger, an_import, settings.sending, to_send_rows, now_ms=self.now().unix_ms),
        )

    def _report(
        self,
        choice: Choice,
        result: SendResult,
        settings: RunSettings,
        started_ms: int,
        rejects_path: Path | None,
        done: Reconciled | None = None,
    ) -> RunReport:
        an_import, view = choice.an_import, self.ledger.view
        balance = view.balance(an_import.id)
        if an_import.is_complete and not balance.is_even:
            raise LedgerProblem(
                f"The rows of import {an_import.id} do not add up: {balance}.",
                hint="Please report this; keep the ledger.",
            )
        code = exit_code(
            balance,
            "stopped" if done is not None and done.is_stopped else result.ending,
            settings.checks.allowance,
            self.signals.exit_code,
            will_time_settle=done is not None and bool(done.unreadable),
        )
        return RunReport(
            exit_code=4 if result.ending == "declined" else code,
            ending=result.ending,
            import_id=an_import.id,
            list_name=an_import.list_name,
            round_name=an_import.round,
            balance=balance,
            rejects_path=rejects_path,
            reject_counts=tuple(view.reject_counts(an_import.id)),
            refusals=tuple(
                (file, row_no, str(said.get("type", ""))) for file, row_no, said in view.refusals(an_import.id)
            ),
            detail=result.detail,
            other_pending=(),
            elapsed_s=(self.now().boot_ms - started_ms) / 1000,
            is_resumed=choice.how != "begun",
            reconciled=done,
            facts=dict(an_import.facts.get("numbers", {})),
        )


def _kept_settings(settings: RunSettings) -> dict[str, Any]:
    """What an import remembers of how it is sent."""
    kept: dict[str, Any] = {"batch_size_rows": settings.batch_size_rows, "in_flight": settings.sending.in_flight}
    if settings.shard is not None:
        kept[sharding.SHARD] = {"number": settings.shard.number, "of": settings.shard.of}
    return kept if settings.via == VIA_LIST else {**kept, "via": settings.via}


def judge_campaign(ledger: Ledger, target: Target, an_import: Import) -> Campaign:
    """The campaign of an import, as its token shows. **Errors**: UsageProblem when the token is another campaign's."""
    return known_campaign(ledger, target, an_import.id)


def known_campaign(ledger: Ledger, target: Target, import_id: int | None) -> Campaign:
    """The campaign that a token is for; that of an import, where one is named.

    **Errors**: UsageProblem when the ledger does not know it, or it is another.
    """
    known = ledger.intake.campaign(keys.campaign_fingerprint(keys.campaign_seed(target.token.reveal(), target.origin)))
    an_import = None if import_id is None else ledger.intake.import_by_id(import_id)
    if known is None or (an_import is not None and known.id != an_import.campaign_id):
        what = "this ledger's" if an_import is None else "this import's"
        raise UsageProblem(
            f"The token is not {what}: it belongs to another campaign.",
            hint="Name the right campaign with --campaign. If its token was renewed: importer campaign renew",
        )
    return known


@contextlib.contextmanager
def naming(an_import: Import) -> Iterator[None]:
    """Tells whatever stops the run which import was at work, so that its balance can be shown."""
    try:
        yield
    except ImporterError as problem:
        problem.import_id = an_import.id
        raise


def judge_adoption(ledger: Ledger, settings: RunSettings, home: LedgerReader | None = None, *, now_ms: int) -> None:
    """Looks for time travel before anything else; `--adopt-since` is the person's word that it is known.

    **Errors**: LedgerProblem for a ledger that was restored, copied or swapped, and for an older copy that cannot be
    adopted any more; ListProblem where adopting cannot do, because only the earlier ledger knows who was called on
    earlier nights.
    """
    if settings.adopt_since_ms is None:
        ledger.witness.judge()
        return
    if settings.once_per is not None and settings.round_name is None and home is None:
        raise ListProblem(
            "--once-per without --round needs the ledger of the earlier nights, which --adopt-since does without.",
            hint="Put the newest ledger back, or name the occasion with --round.",
        )
    if not settings.sending.window.is_open(now_ms - settings.adopt_since_ms):
        _judge_older_copy(ledger)


def _judge_older_copy(ledger: Ledger) -> None:
    """Refuses a copy with requests under way that a newer ledger went on with: when it did, nothing here can tell."""
    begun = ledger.sends.begun()
    if not begun:
        return
    try:
        ledger.witness.judge()
    except LedgerProblem as problem:
        raise LedgerProblem(
            f"This older copy of the ledger holds {begun:,} requests that were begun and not settled. What the newer "
            "one did with them since, their keys cannot tell any more. Nothing was sent.",
            hint="Put the newest one back. If there is none, adopt with an empty ledger: another name with --ledger,\n"
            "and as --adopt-since the time of this list's first request. Every row is looked up before it is sent.",
        ) from problem


def judge_window(sending: SendSettings) -> None:
    """Refuses a key window that no request could end within. **Errors**: UsageProblem."""
    if not sending.window.is_open(0):
        raise UsageProblem(
            "No request could end within the key window: --key-window less --key-margin must exceed --timeout."
        )


def default_rejects_path(source: str, ledger: Path, shard: Shard | None = None) -> Path:
    """`LIST.rejects.csv` beside the list, `LIST.2-of-4.rejects.csv` for a shard; beside the ledger without a file."""
    path = Path(source)
    part = "" if shard is None else f".{shard.number}-of-{shard.of}"
    if source == "-" or not path.is_file():
        return ledger.with_name(f"list{part}.rejects.csv")
    return path.with_name(f"{path.stem}{part}.rejects.csv")
