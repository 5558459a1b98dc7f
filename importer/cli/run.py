"""`importer run`: a list into a campaign, each row once."""

from __future__ import annotations

import json
from typing import Any

import click

from importer.cli.options import (
    CAMPAIGN_OPTIONS,
    DO_NOT_CALL_OPTIONS,
    END_OPTIONS,
    JSON_OPTION,
    LEDGER_OPTION,
    LIST_OPTIONS,
    RUN_ONLY_OPTIONS,
    SEND_OPTIONS,
    YES_OPTION,
    asked,
    run_settings,
    with_options,
)

EPILOG = """\b
Examples:
  importer run customers.csv --campaign spring
  importer run tonight.csv --once-per phone --round 2026-11-23
  importer run all-customers.parquet --once-per customer_id
  importer run *.csv --region US --first 10
  zcat list.csv.gz | importer run - --list nightly --json"""


@click.command("run", short_help="Take a list in, check it, and send it.", epilog=EPILOG)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@with_options(
    CAMPAIGN_OPTIONS,
    LIST_OPTIONS,
    DO_NOT_CALL_OPTIONS,
    LEDGER_OPTION,
    RUN_ONLY_OPTIONS,
    END_OPTIONS,
    SEND_OPTIONS,
    (JSON_OPTION, YES_OPTION),
)
@click.pass_context
def command(context: click.Context, /, sources: tuple[str, ...], as_json: bool, yes: bool, **_: Any) -> None:
    """Take a list in, check every row, and send the good ones to a campaign.

    SOURCE is a CSV, Parquet or spreadsheet file, several of them, a pattern, or - for standard input. Run the same
    command again after anything that stopped it: it goes on where it was, and nobody is called twice.
    """
    from importer.cli.engine import engine
    from importer.cli.words import print_report, report_json

    options = asked(context)
    settings = run_settings(options, sources)
    with engine(settings, is_quiet=as_json, is_yes=yes) as run:
        report = run.run(settings)
    if as_json:
        click.echo(json.dumps(report_json(report, str(settings.ledger)), ensure_ascii=False))
    else:
        print_report(report, str(settings.ledger))
    context.exit(report.exit_code)
