"""Puts the parts of a run together for the command line: ledger, client, desk, progress, signals."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from importer.cli.console import Progress, say
from importer.cli.desk import TerminalDesk
from importer.cli.logs import start_log
from importer.errors import ImporterError, LedgerHeld
from importer.machine import StopSignals, now, this_process, written_by_others

if TYPE_CHECKING:
    from importer.cli.watch import Watch
    from importer.client import CallsApi
    from importer.client.tracing import Around
    from importer.ledger import Ledger, LedgerReader
    from importer.run import Run, RunSettings, Target

LONGEST_WAIT_FOR_OWNER_S = 120.0  # a request under way may take its whole timeout
SILENCE_S = 10.0
NAP_S = 0.2


@contextlib.contextmanager
def engine(
    settings: RunSettings, *, is_quiet: bool, is_yes: bool, watch: Watch | None = None, starter: int | None = None
) -> Iterator[Run]:
    """A run's parts, opened and closed; what stops it carries its balance as far as the ledger knows it.

    `watch` looks on: its observers are told what is drawn, its onlooker stands before the network.
    `starter` is a process whose end asks to drain.
    """
    from importer.ledger import Ledger
    from importer.run import Run

    start_log(settings.target.token, shows_numbers=settings.shows_numbers)
    started_s = time.monotonic()
    if not is_quiet:
        say(f"Ledger: {settings.ledger}")
    if warning := written_by_others(settings.ledger.parent):
        say(f"Warning: {warning}")
    sending = settings.sending
    with (
        StopSignals() as signals,
        signals.with_starter(starter),
        Progress(is_quiet=is_quiet) as progress,
        _home_of(settings) as home,
        Ledger(
            settings.ledger,
            this_process(_now_text()),
            now_ms=now().unix_ms,
            is_network_fine=settings.is_network_ledger_fine,
        ) as ledger,
        calls_api(
            settings.target,
            timeout_s=sending.window.request_s,
            connections=sending.in_flight + 1,
            around=None if watch is None else watch.around,
        ) as api,
    ):
        run = Run(
            ledger=ledger,
            api=api,
            desk=TerminalDesk(progress, is_yes=is_yes, is_quiet=is_quiet),
            observer=progress if watch is None else watch.beside(progress),
            signals=signals,
            now=now,
            home=home,
        )
        try:
            yield run
        except ImporterError as problem:
            if problem.import_id is not None and not ledger.store.is_broken:
                problem.known = (ledger.view.balance(problem.import_id), started_s)
            raise


@contextlib.contextmanager
def _home_of(settings: RunSettings) -> Iterator[LedgerReader | None]:
    """The home ledger of a shard, read only; none where there never was one, as --new-ledger says."""
    from importer.ledger import LedgerReader

    if settings.home is None or (settings.is_new_ledger_fine and not settings.home.exists()):
        yield None
        return
    with LedgerReader(settings.home) as reader:
        yield reader


@contextlib.contextmanager
def own_campaign(
    settings: RunSettings, signals: StopSignals, *, asks_as: str | None = None
) -> Iterator[tuple[Ledger, CallsApi]]:
    """The ledger, owned, and the client of a campaign, for what comes after the upload.

    `asks_as`: a run that has the ledger is asked to stop, in this name, and waited for until a signal comes.
    **Errors**: LedgerHeld while another process has the ledger; click.Abort when a signal ended the waiting.
    """
    start_log(settings.target.token, shows_numbers=settings.shows_numbers)
    with (
        _owned(settings) if asks_as is None else _asked_for(settings, signals, asks_as) as ledger,
        calls_api(settings.target, timeout_s=settings.sending.window.request_s, connections=2) as api,
    ):
        yield ledger, api


def _owned(settings: RunSettings) -> Ledger:
    from importer.ledger import Ledger

    is_fine = settings.is_network_ledger_fine
    return Ledger(settings.ledger, this_process(_now_text()), now_ms=now().unix_ms, is_network_fine=is_fine)


def _asked_for(settings: RunSettings, signals: StopSignals, asks_as: str) -> Ledger:
    """The ledger, after its owner was asked to stop, if it has one. **Errors**: as `own_campaign`."""
    from importer.ledger.requests import STOP, Asker

    asking = _Asking(signals)
    while True:
        try:
            return _owned(settings)
        except LedgerHeld as held:
            asking.go_on(held)
        with Asker(settings.ledger, STOP, {}, asked_by=asks_as) as asker:
            asking.heard(asker.wait(1.0))
        nap(signals, NAP_S)


class _Asking:
    """How long an owner has been asked to stop, and what a person was told of it."""

    def __init__(self, signals: StopSignals) -> None:
        self._signals = signals
        self._began_s = time.monotonic()
        self._has_answered = False
        self._told = 0

    def heard(self, answer: object) -> None:
        """Takes the owner's answer, None when none came."""
        self._has_answered = self._has_answered or answer is not None

    def go_on(self, held: LedgerHeld) -> None:
        """Says what is waited for, once. **Errors**: click.Abort after a signal; LedgerHeld after two minutes."""
        waited_s = time.monotonic() - self._began_s
        if self._signals.received is not None:
            raise click.Abort
        if waited_s > LONGEST_WAIT_FOR_OWNER_S:
            raise LedgerHeld(f"{held.message} It did not stop.", hint=held.hint) from held
        if self._told == 0:
            self._tell(f"{held.message} Asking it to stop.")
        elif self._told == 1 and waited_s > SILENCE_S and not self._has_answered:
            self._tell("It has not answered yet: perhaps somebody is being asked something in its terminal.")

    def _tell(self, text: str) -> None:
        self._told += 1
        say(text)


def nap(signals: StopSignals, wait_s: float) -> None:
    """Sleeps in short pieces, so that Ctrl-C ends it."""
    until_s = time.monotonic() + wait_s
    while signals.received is None and time.monotonic() < until_s:
        time.sleep(min(0.1, wait_s))


def calls_api(target: Target, *, timeout_s: float, connections: int, around: Around | None = None) -> CallsApi:
    """The client of a campaign, reached as the options say. **Errors**: UsageProblem for settings that cannot be."""
    from importer.run import reaching

    return reaching.calls_api(target, timeout_s=timeout_s, connections=connections, around=around)


def _now_text() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
