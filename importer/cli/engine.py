"""Puts the parts of a run together for the command line: ledger, client, desk, progress, signals."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from importer.cli.console import Progress, say
from importer.cli.desk import TerminalDesk
from importer.cli.logs import start_log
from importer.errors import ImporterError
from importer.machine import StopSignals, now, this_process

if TYPE_CHECKING:
    from importer.run import Run, RunSettings


@contextlib.contextmanager
def engine(settings: RunSettings, *, is_quiet: bool, is_yes: bool) -> Iterator[Run]:
    """A run's parts, opened and closed; what stops it carries its balance as far as the ledger knows it."""
    from importer.client import CallsApi
    from importer.ledger import Ledger
    from importer.run import Run

    start_log()
    started_s = time.monotonic()
    if not is_quiet:
        say(f"Ledger: {settings.ledger}")
    sending = settings.sending
    with (
        StopSignals() as signals,
        Progress(is_quiet=is_quiet) as progress,
        Ledger(settings.ledger, this_process(_now_text()), now_ms=now().unix_ms) as ledger,
        CallsApi(
            settings.target.origin,
            settings.target.token.reveal(),
            timeout_s=sending.window.request_s,
            connections=sending.in_flight + 1,
        ) as api,
    ):
        run = Run(
            ledger=ledger,
            api=api,
            desk=TerminalDesk(progress, is_yes=is_yes, is_quiet=is_quiet),
            observer=progress,
            signals=signals,
            now=now,
        )
        try:
            yield run
        except ImporterError as problem:
            if problem.import_id is not None and not ledger.store.is_broken:
                problem.known = (ledger.view.balance(problem.import_id), started_s)
            raise


def _now_text() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
