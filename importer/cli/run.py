"""`importer run`: a list into a campaign, each row once."""

from __future__ import annotations

import json
import math
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from importer.cli.options import (
    CAMPAIGN_OPTIONS,
    DO_NOT_CALL_OPTIONS,
    END_OPTIONS,
    JSON_OPTION,
    KEEP_OPTION,
    LEDGER_OPTION,
    LIST_OPTIONS,
    QUERY_OPTIONS,
    RUN_ONLY_OPTIONS,
    SEND_OPTIONS,
    SHARD_OPTIONS,
    STARTER_OPTIONS,
    WATCH_OPTIONS,
    YES_OPTION,
    asked,
    files,
    run_settings,
    sources_of,
    target_of,
    with_options,
)
from importer.errors import UsageProblem

if TYPE_CHECKING:
    from importer.cli.options import Asked
    from importer.run import Target

EPILOG = """\b
Examples:
  importer run customers.csv --campaign spring
  importer run tonight.csv --once-per phone --round 2026-11-23
  importer run all-customers.parquet --once-per customer_id
  importer run *.csv --region US --first 10
  importer run customers.csv --campaign spring --rehearse
  importer run s3://lists/customers.parquet --list customers
  importer run --sql "select phone, name from people order by id" --db postgresql://crm@db.example/crm
  importer run customers.csv --shard 2/4 --home calls.db --ledger shard-2.db
  importer run tonight.csv --heartbeat --on-finish https://hooks.example.com/calls
  zcat list.csv.gz | importer run - --list nightly --json"""


@click.command("run", short_help="Take a list in, check it, and send it.", epilog=EPILOG)
@click.argument("sources", nargs=-1, metavar="[SOURCE...]", shell_complete=files)
@click.option("--rehearse", is_flag=True, help="Send to a sandbox on this machine instead, in a copy of the ledger.")
@with_options(
    CAMPAIGN_OPTIONS,
    LIST_OPTIONS,
    QUERY_OPTIONS,
    DO_NOT_CALL_OPTIONS,
    LEDGER_OPTION,
    SHARD_OPTIONS,
    RUN_ONLY_OPTIONS,
    END_OPTIONS,
    KEEP_OPTION,
    SEND_OPTIONS,
    STARTER_OPTIONS,
    WATCH_OPTIONS,
    (JSON_OPTION, YES_OPTION),
)
@click.pass_context
def command(
    context: click.Context, /, sources: tuple[str, ...], rehearse: bool, as_json: bool, yes: bool, **_: Any
) -> None:
    """Take a list in, check every row, and send the good ones to a campaign.

    SOURCE is a CSV, Parquet or spreadsheet file, several of them, a pattern, an address such as s3://lists/a.csv, or -
    for standard input; --sql takes a query instead. Run the same command again after anything that stopped it: it goes
    on where it was, and nobody is called twice.
    """
    from importer.cli.cluster import is_wanted, run_on_cluster
    from importer.cli.engine import engine
    from importer.cli.watch import watched
    from importer.cli.words import print_report, report_json

    options = asked(context)
    sources = tuple(sources_of(sources, options.values))
    if rehearse and (options.values.get("shard") is not None or is_wanted(options)):
        raise UsageProblem("--rehearse is of the whole list: leave --shard and --engine out.")
    if rehearse:
        context.exit(_rehearse(options, sources, as_json=as_json))
    with watched(options, "run") as watch:
        settings = run_settings(options, sources)
        is_quiet, starter = as_json or watch.is_quiet, options.values.get("stop_with")
        if is_wanted(options):
            report = run_on_cluster(options, settings, watch, is_quiet=is_quiet, is_yes=yes)
        else:
            with engine(settings, is_quiet=is_quiet, is_yes=yes, watch=watch, starter=starter) as run:
                report = run.run(settings)
        watch.ended(report)
    if as_json:
        click.echo(json.dumps(report_json(report, str(settings.ledger)), ensure_ascii=False))
    elif not watch.has_heartbeat:
        print_report(report, str(settings.ledger))
    context.exit(report.exit_code)


def _rehearse(options: Asked, sources: tuple[str, ...], *, as_json: bool) -> int:
    """The whole run against a sandbox, in a copy of the ledger; nothing of it stays but the rejects file."""
    from importer.cli.console import say
    from importer.cli.engine import engine
    from importer.cli.words import print_report, report_json
    from importer.rehearsal import staged

    real = _real(options)
    with tempfile.TemporaryDirectory(prefix="importer-rehearsal-") as folder, staged(Path(folder), *real) as stage:
        values = {"host": stage.origin, "token_file": stage.token_file, "ledger": stage.ledger, "proxy": None}
        asked_for = replace(options, values={**options.values, **values})
        settings = replace(
            run_settings(asked_for, sources), in_doubt="hold", is_new_ledger_fine=True, keep_for_s=math.inf
        )
        if not as_json:
            say("A rehearsal: everything goes to a sandbox on this machine. Nobody is called.")
        with engine(settings, is_quiet=as_json, is_yes=True) as run:
            report = run.run(settings)
        jobs, doubled = stage.judge()
    if as_json:
        said = {**report_json(report, ""), "ledger": None, "rehearsal": True, "call_jobs": jobs, "doubled": doubled}
        click.echo(json.dumps(said, ensure_ascii=False))
    else:
        print_report(report, "a copy that is gone by now")
        click.echo(f"The sandbox made {jobs:,} call jobs, {doubled:,} of them double. Nobody was called.")
    return report.exit_code


def _real(options: Asked) -> tuple[Path | None, Target | None]:
    """The real ledger and campaign, to know who was called already; neither is needed for a rehearsal."""
    try:
        return options.ledger, target_of(options)
    except UsageProblem:
        return None, None
