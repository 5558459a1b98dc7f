"""`importer outcomes`: what became of the calls, joined to the rows of the list."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from importer.cli.console import cut, terminal_columns
from importer.cli.funnel import NOT_SHOWN, Screen, by_status, funnel_line, funnel_lines
from importer.cli.imports import import_number
from importer.cli.options import (
    CAMPAIGN_OPTIONS,
    JSON_OPTION,
    LEDGER_OPTION,
    Duration,
    Moment,
    asked,
    import_settings,
    with_options,
)
from importer.errors import ApiAway, LedgerHeld, UsageProblem
from importer.machine import StopSignals, is_terminal

if TYPE_CHECKING:
    from importer.ledger import LedgerReader
    from importer.ledger.outcome_book import Funnel
    from importer.ledger.records import Import
    from importer.outcomes import Refreshed, RefreshSettings
    from importer.outcomes.exporting import Exported
    from importer.run import RunSettings

EPILOG = """\b
Examples:
  importer outcomes
  importer outcomes 12 --watch
  importer outcomes 12 --out results.csv
  importer outcomes 12 --attempts --out results.parquet --since 2026-11-23"""


@click.command("outcomes", short_help="Show what became of the calls, by row.", epilog=EPILOG)
@click.argument("import_id", metavar="[IMPORT]", required=False)
@click.option("--watch", is_flag=True, help="Ask again and again, until every call job has finished.")
@click.option("--interval", type=Duration(), default="30s", show_default=True, help="How often, with --watch.")
@click.option("--attempts", "with_attempts", is_flag=True, help="Bring every call attempt as well.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the rows: .csv, .parquet or .jsonl.",
)
@click.option(
    "--since", "since_ms", type=Moment(), metavar="TIME", help="Write only rows whose call job finished since then."
)
@click.option(
    "--rate",
    "poll_rate",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    show_default=True,
    metavar="REQUESTS/S",
    help="At most so many requests a second.",
)
@click.option("--offline", is_flag=True, help="Ask nobody: show what the ledger knows already.")
@with_options(CAMPAIGN_OPTIONS, LEDGER_OPTION, (JSON_OPTION,))
@click.pass_context
def command(
    context: click.Context,
    /,
    import_id: str | None,
    watch: bool,
    interval: float,
    with_attempts: bool,
    out: Path | None,
    since_ms: int | None,
    poll_rate: float,
    offline: bool,
    as_json: bool,
    **_: Any,
) -> None:
    """Ask the platform how the call jobs of an import stand, keep it in the ledger, and show or write it.

    IMPORT is its number, or what its list is called; without one, the newest. Only call jobs not known to have
    finished are asked for.
    """
    from importer.outcomes import RefreshSettings
    from importer.outcomes.exporting import judge_format

    if watch and offline:
        raise UsageProblem("--watch asks the platform, and --offline forbids it: say one of them.")
    if since_ms is not None and out is None:
        raise UsageProblem("--since says which rows are written: say where to, with --out FILE.")
    if out is not None:
        judge_format(out)
    settings = RefreshSettings(with_attempts=with_attempts, rate_requests_s=poll_rate)
    page = _Page(context, import_id, settings, is_quiet=as_json, is_offline=offline)
    with StopSignals() as signals:
        done = page.brought(signals, interval_s=interval if watch else None)
    exported = None if out is None else page.exported(out, since_ms)
    code = _exit_code(done, signals)
    if as_json:
        click.echo(json.dumps(page.as_json(done, exported, code), ensure_ascii=False))
    else:
        page.show(done, exported)
    context.exit(code)


def _exit_code(done: Refreshed | None, signals: StopSignals) -> int:
    return 0 if done is None or done.is_whole else signals.exit_code or 130


class _Page:
    """One import's outcomes at the command line: brought, written, shown."""

    def __init__(
        self,
        context: click.Context,
        import_id: str | None,
        settings: RefreshSettings,
        *,
        is_quiet: bool,
        is_offline: bool,
    ) -> None:
        options = asked(context, of_import=True)
        self._settings = settings
        self._is_quiet = is_quiet
        self._is_over = False
        self._has_asked = False
        self._screen: Screen | None = None
        self._run_settings: RunSettings | None = None
        self.ledger = options.ledger
        number = import_number(options, import_id)
        if is_offline:
            self._import = _import_of(self.ledger, number)
        else:
            line, self._run_settings = import_settings(options, number)
            self._import = line.an_import

    def brought(self, signals: StopSignals, *, interval_s: float | None) -> Refreshed | None:
        """Asks the platform, once or until all is done; None when nobody was to be asked."""
        from importer.cli.engine import nap
        from importer.outcomes import Refreshed

        settings = self._run_settings
        if settings is None:
            return None
        if interval_s is None:
            return self._refreshed(settings, signals)
        self._screen = Screen() if is_terminal(sys.stderr) and not self._is_quiet else None
        done = Refreshed()
        while True:
            with self._tolerant(interval_s):
                done = self._refreshed(settings, signals)
            if signals.received is None and not self._is_done():
                nap(signals, interval_s)
            if signals.received is not None or self._is_done():
                return replace(done, is_whole=self._is_done())

    def _is_done(self) -> bool:
        """Nothing more is to be expected: every call job has finished, or the campaign is over."""
        return self._is_over or (self._has_asked and self.funnel().is_done)

    @contextlib.contextmanager
    def _tolerant(self, interval_s: float) -> Iterator[None]:
        """While watching, a platform that is away or a ledger that is held is told, and tried again next time."""
        from importer.cli.console import say

        try:
            yield
        except (ApiAway, LedgerHeld) as problem:
            if self._screen is not None:
                self._screen.leave()
            if not self._is_quiet:
                say(f"{problem.message} Trying again in {interval_s:,.0f} seconds.")

    def _refreshed(self, settings: RunSettings, signals: StopSignals) -> Refreshed:
        """One refresh. The ledger is owned only as long as it takes, so that a run may come between two."""
        from importer.campaigns import is_over
        from importer.cli.engine import nap, own_campaign
        from importer.machine import now
        from importer.outcomes import Refresher
        from importer.run import judge_campaign

        with own_campaign(settings, signals) as (ledger, api):
            judge_campaign(ledger, settings.target, self._import)
            refresher = Refresher(
                book=ledger.outcomes,
                reports=api,
                settings=self._settings,
                now=now,
                is_stopping=lambda: signals.received is not None,
                tell=_Meter(is_quiet=self._is_quiet),
                nap=lambda wait_s: nap(signals, wait_s),
            )
            done = refresher.run(self._import.id)
            self._is_over = is_over(api)
        self._has_asked = True
        self._tell_funnel()
        return done

    def _tell_funnel(self) -> None:
        from importer.cli.console import say

        now = time.strftime("%H:%M:%S")
        if self._screen is not None:
            title = f"Import {self._import.id} at {now}: {self._import.list_name}"
            self._screen.draw(funnel_lines(self.funnel(), title))
        elif not self._is_quiet:
            say(f"{now}  {funnel_line(self.funnel())}")

    def funnel(self) -> Funnel:
        """How the call jobs stand, as the ledger knows it."""
        with self._reader() as reader:
            return reader.outcomes.funnel(self._import.id)

    def _reader(self) -> LedgerReader:
        from importer.ledger import LedgerReader

        return LedgerReader(self.ledger)

    def exported(self, path: Path, since_ms: int | None) -> Exported:
        """Writes the rows."""
        from importer.outcomes.exporting import Columns, export

        attempts, mapping = self._settings.with_attempts, self._import.mapping
        with self._reader() as reader:
            payload, policy = reader.outcomes.field_names(self._import.id)
            order = reader.outcomes.columns(self._import.id)
            columns = Columns(phone=mapping["phone_column"], payload=payload, policy=policy, order=order)
            rows = reader.outcomes.rows(self._import.id, since_ms=since_ms, with_attempts=attempts)
            return export(path, rows, columns, with_attempts=attempts)

    def as_json(self, done: Refreshed | None, exported: Exported | None, code: int) -> dict[str, Any]:
        """Everything, for programs."""
        funnel = self.funnel()
        return {
            "import": self._import.id,
            "accepted": funnel.accepted,
            "finished": funnel.finished,
            "done": self._is_over or funnel.is_done,
            "by_status": {status or "not shown yet": jobs for status, jobs in by_status(funnel)},
            "asked": done and done.asked,
            "not_shown": done and done.unshown,
            "swapped": done and done.swapped,
            "call_attempts": done and done.attempts,
            "file": exported and str(exported.path),
            "lines": exported and exported.lines,
            "exit_code": code,
            "error": None,
        }

    def show(self, done: Refreshed | None, exported: Exported | None) -> None:
        """Everything, for people."""
        from importer.cli.console import safe

        funnel = self.funnel()
        click.echo(safe(f"Import {self._import.id}: {self._import.list_name}"))
        click.echo(f"{funnel.accepted:>12,}  call jobs, {funnel.finished:,} finished")
        for status, jobs in by_status(funnel):
            click.echo(safe(f"{jobs:>12,}  {status or NOT_SHOWN}"))
        if done is not None and done.swapped:
            click.echo(f"{done.swapped:,} ids stood in another order than their rows; told apart by number.", err=True)
        if exported is not None:
            click.echo(safe(f"{exported.path}: {exported.lines:,} lines"))


def _import_of(path: Path, import_id: int | None) -> Import:
    from importer.ledger import LedgerReader

    with LedgerReader(path) as reader:
        number = import_id if import_id is not None else reader.view.newest_import_id()
        if number is None:
            raise UsageProblem(f"The ledger {path} holds no import yet.", hint="Start one: importer run LIST")
        return reader.view.import_line(number).an_import


class _Meter:
    """Tells how a long refresh goes on: on a terminal always, else every ten seconds."""

    def __init__(self, *, is_quiet: bool) -> None:
        self._is_terminal = is_terminal(sys.stderr) and not is_quiet
        self._interval_s = 0.5 if self._is_terminal else 10.0
        self._is_quiet = is_quiet
        self._last_s = time.monotonic()

    def __call__(self, done: Refreshed) -> None:
        """Takes how far it is."""
        if self._is_quiet or time.monotonic() - self._last_s < self._interval_s:
            return
        self._last_s = time.monotonic()
        text = f"Asking: {done.asked:,} call jobs asked for, {done.finished:,} of them finished"
        shown = f"\r{cut(text, terminal_columns())}\x1b[K" if self._is_terminal else text
        click.echo(shown, err=True, nl=not self._is_terminal)
