"""`importer redial`: dial again what ended without success, in a round of its own."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from importer.cli.imports import import_number
from importer.cli.options import (
    CAMPAIGN_OPTIONS,
    JSON_OPTION,
    LEDGER_OPTION,
    SEND_OPTIONS,
    YES_OPTION,
    asked,
    import_settings,
    with_options,
)

if TYPE_CHECKING:
    from importer.ledger.records import Import
    from importer.run import RunReport, RunSettings
    from importer.run.redialling import RedialList

EPILOG = """\b
Examples:
  importer redial 12 --outcome noAnswer
  importer redial 12 --outcome noAnswer,technicalError --round second-try

\b
Outcomes, as `importer outcomes` shows them:
  noAnswer, longCallWithNoResult, longCallWithResult, notDone, technicalError,
  nonexistentNumber, cancelledByUser, unknown"""


@click.command("redial", short_help="Dial again what ended without success.", epilog=EPILOG)
@click.argument("import_id", metavar="IMPORT")
@click.option(
    "--outcome", "said", required=True, metavar="STATUS,…", help="How the call jobs ended that are dialled again."
)
@click.option("--round", "round_name", metavar="NAME", help="What to call the new round. Else redial-IMPORT-1, -2, …")
@click.option("--offline", is_flag=True, help="Go by the outcomes the ledger knows, without asking for newer ones.")
@with_options(CAMPAIGN_OPTIONS, LEDGER_OPTION, SEND_OPTIONS, (JSON_OPTION, YES_OPTION))
@click.pass_context
def command(
    context: click.Context,
    /,
    import_id: str,
    said: str,
    round_name: str | None,
    offline: bool,
    as_json: bool,
    yes: bool,
    **_: Any,
) -> None:
    """Make a new import of the rows of an old one whose call jobs ended with these outcomes, and send it.

    Only call jobs that have finished count. The new import knows which one it was made from. The same command again
    goes on with an unfinished redial; once that is finished, it makes the next one.
    """
    from importer.cli.console import say
    from importer.run.redialling import judge_round

    options = asked(context, of_import=True)
    line, settings = import_settings(options, import_number(options, import_id))
    judge_round(round_name, line.an_import)
    if not offline:
        _refresh(settings, line.an_import)
    with tempfile.TemporaryDirectory(prefix=".redial-", dir=settings.ledger.parent) as folder:
        made, settings = _prepared(settings, line.an_import, said, round_name, Path(folder))
        if made.erased_rows:
            say(f"{made.erased_rows:,} rows ended so as well, and were erased since: their numbers are not known.")
        report = _sent(made, settings, is_quiet=as_json, is_yes=yes) if made.rows else None
    _show(report, line.an_import, str(settings.ledger), as_json=as_json)
    context.exit(0 if report is None else report.exit_code)


def _refresh(settings: RunSettings, parent: Import) -> None:
    """Brings the old import's outcomes up to date. **Errors**: click.Abort after a signal."""
    from importer.cli.engine import nap, own_campaign
    from importer.machine import StopSignals, now
    from importer.outcomes import Refresher, RefreshSettings
    from importer.run import judge_campaign

    with StopSignals() as signals, own_campaign(settings, signals) as (ledger, api):
        judge_campaign(ledger, settings.target, parent)
        refresher = Refresher(
            book=ledger.outcomes,
            reports=api,
            settings=RefreshSettings(),
            now=now,
            is_stopping=lambda: signals.received is not None,
            nap=lambda wait_s: nap(signals, wait_s),
        )
        if not refresher.run(parent.id).is_whole:
            raise click.Abort


def _prepared(
    settings: RunSettings, parent: Import, said: str, round_name: str | None, folder: Path
) -> tuple[RedialList, RunSettings]:
    """The list of rows to dial again, and the settings of a run with it."""
    from importer.ledger import LedgerReader
    from importer.phones import PhoneRules
    from importer.run.redialling import judge_outcomes, round_for, write_list
    from importer.sources import ReadOptions

    with LedgerReader(settings.ledger) as reader:
        seen = [status for status, _, _ in reader.outcomes.funnel(parent.id).by_status if status is not None]
        outcomes = judge_outcomes(said, seen)
        made = write_list(reader.outcomes, parent.id, outcomes, folder / "rows.jsonl")
        imports = [each.an_import for each in reader.view.imports(limit=-1)]
    mapping = parent.mapping
    rules = PhoneRules(
        accept=mapping.get("accept", "valid"), types=frozenset(mapping.get("types", settings.rules.types))
    )
    return made, replace(
        settings,
        sources=["-"],
        list_name=f"redial of import {parent.id}",
        round_name=round_name or round_for(parent, imports, outcomes),
        once_per="row",
        mapping=made.mapping,
        phone_column=None,
        region_column=None,
        rules=rules,
        reading=ReadOptions(format="jsonl"),
        batch_size_rows=parent.batch_size_rows,
        via=parent.settings.get("via", settings.via),
        parent={"import": parent.id, "outcomes": list(outcomes)},
    )


def _sent(made: RedialList, settings: RunSettings, *, is_quiet: bool, is_yes: bool) -> RunReport:
    from importer.cli.engine import engine

    with engine(settings, is_quiet=is_quiet, is_yes=is_yes) as run, made.path.open("rb") as rows:
        return replace(run, stdin=rows).run(settings)


def _show(report: RunReport | None, parent: Import, ledger: str, *, as_json: bool) -> None:
    from importer.cli.words import balance_json, print_report, report_json

    if report is None and as_json:
        said = {"import": None, **balance_json(None), "elapsed_s": None, "exit_code": 0, "error": None}
        click.echo(json.dumps({**said, "parent": parent.id}))
    elif report is None:
        click.echo(f"No call job of import {parent.id} has finished so: there is nothing to dial again.")
    elif as_json:
        click.echo(json.dumps({**report_json(report, ledger), "parent": parent.id}, ensure_ascii=False))
    else:
        print_report(report, ledger)
