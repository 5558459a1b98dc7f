"""`importer reconcile`: what became of rows in doubt, by the platform's own reports."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from importer.cli.imports import import_number
from importer.cli.options import (
    CAMPAIGN_OPTIONS,
    JSON_OPTION,
    LEDGER_OPTION,
    SEND_OPTIONS,
    asked,
    import_settings,
    with_options,
)

if TYPE_CHECKING:
    from importer.run import ReconcileReport

EPILOG = """\b
Examples:
  importer reconcile
  importer reconcile 12 --all"""


@click.command("reconcile", short_help="Settle rows in doubt by the platform's own reports.", epilog=EPILOG)
@click.argument("import_id", metavar="[IMPORT]", required=False)
@click.option("--all", "is_every", is_flag=True, help="Confirm the id of every row, not of a sample.")
@click.option("--cancel-extra", is_flag=True, help="Cancel call jobs that the platform made twice.")
@with_options(CAMPAIGN_OPTIONS, LEDGER_OPTION, SEND_OPTIONS, (JSON_OPTION,))
@click.pass_context
def command(
    context: click.Context,
    /,
    import_id: str | None,
    is_every: bool,
    cancel_extra: bool,
    as_json: bool,
    **_: Any,
) -> None:
    """Ask the platform's reports what became of rows in doubt, and confirm that call job ids belong to their numbers.

    Rows found are accepted. Rows absent twice after the quiet period may be sent again, by the next run. Nothing is
    sent now.
    """
    from importer.cli.engine import engine

    options = asked(context, of_import=True)
    line, settings = import_settings(options, import_number(options, import_id))
    with engine(settings, is_quiet=as_json, is_yes=True) as run:
        report = run.reconcile(line.an_import, settings, is_every=is_every)
        cancelled = run.api.cancel(ids=report.done.extra_ids).items if cancel_extra and report.done.extra_ids else ()
    code = _exit_code(report)
    if as_json:
        click.echo(json.dumps(_as_json(report, line.an_import.id, len(cancelled), code)))
    else:
        _show(report, line.an_import.id, len(cancelled))
    context.exit(code)


def _exit_code(report: ReconcileReport) -> int:
    if report.done.is_stopped:
        return 130
    if report.done.unreadable or report.balance.pending:
        return 7
    return 8 if report.balance.in_doubt else 0


def _as_json(report: ReconcileReport, import_id: int, cancelled: int, code: int) -> dict[str, Any]:
    from importer.cli.words import balance_json

    done = report.done
    return {
        "import": import_id,
        **balance_json(report.balance),
        "elapsed_s": None,
        "exit_code": code,
        "error": done.unreadable or None,
        "found": done.found_rows,
        "absent": done.absent_rows,
        "undecided": done.undecided_rows,
        "made_twice": len(done.extra_ids),
        "cancelled": cancelled,
        "confirmed_batches": report.confirmed_batches,
        "repaired_batches": report.repaired_batches,
    }


def _show(report: ReconcileReport, import_id: int, cancelled: int) -> None:
    from importer.cli.console import safe
    from importer.cli.words import balance_lines

    done = report.done
    click.echo(f"Import {import_id}:")
    for line in balance_lines(report.balance):
        click.echo(line)
    said = [
        (done.found_rows, "rows were found in the reports, and are accepted"),
        (done.absent_rows, "rows are absent from the reports; the next run sends them, same bytes, same key"),
        (len(done.extra_ids), "call jobs were made twice by the platform"),
        (cancelled, "of them were cancelled"),
        (report.confirmed_batches, "requests had their ids confirmed against the reports"),
        (report.repaired_batches, "requests had ids in another order than their rows: repaired"),
    ]
    for number, text in said:
        if number:
            click.echo(f"{number:>12,}  {text}")
    click.echo(safe(_last_line(report, import_id)), err=True)


def _last_line(report: ReconcileReport, import_id: int) -> str:
    done = report.done
    if done.unreadable:
        return f"The reports could not be read: {done.unreadable} Run it again later."
    if done.undecided_rows:
        return (
            f"{done.undecided_rows:,} rows stay in doubt; each was called at most once. "
            f"`importer resolve` shows why and takes your decision."
        )
    return f"`importer send {import_id}` sends the rest." if report.balance.pending else "Nothing is in doubt."
