"""`importer status`: imports and where their rows are. Reads beside a running import."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from importer.cli.imports import import_number
from importer.cli.options import JSON_OPTION, LEDGER_OPTION, asked, with_options

if TYPE_CHECKING:
    from importer.ledger.view import ImportLine, View


@click.command(
    "status",
    short_help="Show imports and where their rows are.",
    epilog="\b\nExamples:\n  importer status\n  importer status 12 --json",
)
@click.argument("import_id", metavar="[IMPORT]", required=False)
@with_options(LEDGER_OPTION, (JSON_OPTION,))
@click.pass_context
def command(context: click.Context, /, import_id: str | None, as_json: bool, **_: Any) -> None:
    """Show where the rows of an import are; without a number, the newest imports.

    Nothing is changed, and a run may be going on meanwhile.
    """
    from importer.cli.words import balance_json
    from importer.ledger import LedgerReader

    options = asked(context)
    ledger, number = options.ledger, import_number(options, import_id)
    with LedgerReader(ledger) as reader:
        lines = reader.view.imports() if number is None else [reader.view.import_line(number)]
        if as_json:
            found = [_as_json(line, balance_json(line.balance)) for line in lines]
            click.echo(json.dumps({"ledger": str(ledger), "imports": found}, ensure_ascii=False))
        elif number is None:
            _show_list(lines, str(ledger))
        else:
            _show_one(reader.view, lines[0], str(ledger))


def _as_json(line: ImportLine, balance: dict[str, int | None]) -> dict[str, Any]:
    an_import = line.an_import
    return {
        "import": an_import.id,
        "campaign": line.campaign,
        "list": an_import.list_name,
        "round": an_import.round or None,
        "state": state_of(line),
        **balance,
    }


def state_of(line: ImportLine) -> str:
    """One word for an import."""
    if line.an_import.finished_ms is not None:
        return "finished"
    if not line.an_import.is_complete:
        return "reading"
    return "in doubt" if line.balance.in_doubt and not line.balance.pending else "unfinished"


def _show_list(lines: list[ImportLine], ledger: str) -> None:
    from importer.cli.console import safe
    from importer.cli.words import day

    click.echo(safe(f"Ledger: {ledger}"))
    if not lines:
        click.echo("No import yet. Start one: importer run LIST")
        return
    click.echo(f"{'import':>6}  {'begun':16}  {'state':10}  {'read':>10}  {'accepted':>10}  {'pending':>10}  list")
    for line in lines:
        balance = line.balance
        click.echo(
            safe(
                f"{line.an_import.id:>6}  {day(line.an_import.started_ms):16}  {state_of(line):10}  "
                f"{balance.read:>10,}  {balance.accepted:>10,}  {balance.pending + balance.in_doubt:>10,}  "
                f"{line.an_import.list_name}"
            )
        )


def _show_one(view: View, line: ImportLine, ledger: str) -> None:
    from importer.cli.console import safe
    from importer.cli.words import balance_lines, day, reject_lines

    an_import = line.an_import
    head = [
        f"Import {an_import.id}: {an_import.list_name}",
        f"Campaign {line.campaign} at {line.origin}" + (f", round {an_import.round}" if an_import.round else ""),
        f"Begun {day(an_import.started_ms)}, {state_of(line)}"
        + (f" {day(an_import.finished_ms)}" if an_import.finished_ms else ""),
        f"Ledger: {ledger}",
    ]
    for text in [*head, *balance_lines(line.balance)]:
        click.echo(safe(text))
    erased, requests, erased_ms = view.erased(an_import.id)
    if erased:
        click.echo(f"Numbers and payloads of {erased:,} of {requests:,} requests were erased, last {day(erased_ms)}.")
    rejects = view.reject_counts(an_import.id)
    if rejects:
        click.echo("Bad rows by reason:")
        for text in reject_lines(rejects):
            click.echo(safe(text))
    if line.balance.pending:
        click.echo(f"`importer send {an_import.id}` sends what is pending.", err=True)
