"""`importer send`: go on with an import, without its list."""

from __future__ import annotations

import json
from typing import Any

import click

from importer.cli.imports import import_number
from importer.cli.options import (
    CAMPAIGN_OPTIONS,
    DO_NOT_CALL_OPTIONS,
    END_OPTIONS,
    JSON_OPTION,
    KEEP_OPTION,
    LEDGER_OPTION,
    SEND_OPTIONS,
    WATCH_OPTIONS,
    asked,
    import_settings,
    with_options,
)


@click.command(
    "send", short_help="Go on sending an import.", epilog="\b\nExamples:\n  importer send\n  importer send 12"
)
@click.argument("import_id", metavar="[IMPORT]", required=False)
@with_options(
    CAMPAIGN_OPTIONS,
    DO_NOT_CALL_OPTIONS,
    LEDGER_OPTION,
    KEEP_OPTION,
    END_OPTIONS,
    SEND_OPTIONS,
    WATCH_OPTIONS,
    (JSON_OPTION,),
)
@click.pass_context
def command(context: click.Context, /, import_id: str | None, as_json: bool, **_: Any) -> None:
    """Send what is still pending of an import; the list itself is no longer needed.

    IMPORT is its number, or what its list is called; without one, the newest import.
    """
    from importer.cli.engine import engine
    from importer.cli.watch import watched
    from importer.cli.words import print_report, report_json

    options = asked(context, of_import=True)
    with watched(options, "send") as watch:
        line, settings = import_settings(options, import_number(options, import_id))
        with engine(settings, is_quiet=as_json or watch.is_quiet, is_yes=True, watch=watch) as run:
            report = run.send(line.an_import, settings)
        watch.ended(report)
    if as_json:
        click.echo(json.dumps(report_json(report, str(settings.ledger)), ensure_ascii=False))
    elif not watch.has_heartbeat:
        print_report(report, str(settings.ledger))
    context.exit(report.exit_code)
