"""`importer explain`: the whole life of a number, or of a row of a list."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from importer.cli.options import LEDGER_OPTION, asked, with_options

if TYPE_CHECKING:
    from importer.ledger import LedgerReader
    from importer.ledger.view import RowLife, View

EPILOG = """\b
Examples:
  importer explain +16505550100
  importer explain row 48123
  importer explain row 48123 --import 12 --file 2"""


@click.command("explain", short_help="Show the whole life of a number or a row.", epilog=EPILOG)
@click.argument("what", nargs=-1, required=True, metavar="PHONE|row N")
@click.option("--import", "import_id", type=int, metavar="IMPORT", help="The import of the row. Else the newest.")
@click.option(
    "--file", "file_place", type=click.IntRange(1), default=1, show_default=True, help="Which file of the list."
)
@with_options(LEDGER_OPTION)
@click.pass_context
def command(context: click.Context, /, what: tuple[str, ...], import_id: int | None, file_place: int, **_: Any) -> None:
    """Show everything the ledger knows of a number, or of a row of a list: its batch, every send, its call job."""
    from importer.ledger import LedgerReader

    with LedgerReader(asked(context).ledger) as reader:
        view = reader.view
        found = re.fullmatch(r"(?:row\s*)?(\d+)", " ".join(what).replace(",", "").lower())
        if found and (what[0].lower().startswith("row") or len(found[1]) < 7):
            number = import_id if import_id is not None else view.newest_import_id()
            shown = _explain_row(view, number or 0, file_place - 1, int(found[1]))
        else:
            shown = _explain_phone(reader, "".join(what))
    context.exit(0 if shown else 4)


def _explain_phone(reader: LedgerReader, text: str) -> bool:
    from importer.cli.console import safe

    digits = re.sub(r"\D", "", text)
    phone = int(digits) if 0 < len(digits) <= 18 else 0
    lives, forbidding = reader.view.rows_of_phone(phone), reader.dnc.names_with(phone)
    if not (lives or forbidding):
        click.echo(safe(f"The ledger holds no row for {text}. Write it with its country code."), err=True)
    for name in forbidding:
        click.echo(safe(f"+{phone}: is on the do-not-call list {name!r}"))
    for life in lives:
        _show(life if life.erased_ms is None else replace(life, phone=f"+{phone}"))
    return bool(lives or forbidding)


def _explain_row(view: View, import_id: int, file_no: int, row_no: int) -> bool:
    from importer.cli.console import safe

    lives = view.row(import_id, file_no, row_no)
    for life in lives:
        _show(life)
    rejects = view.reject_at(import_id, file_no, row_no)
    for reason, explanation in rejects:
        click.echo(safe(f"Row {row_no:,} of import {import_id}: bad row ({reason.replace('_', ' ')}). {explanation}"))
    skips = view.skip_at(import_id, file_no, row_no)
    for reason, row_id in skips:
        click.echo(safe(f"Row {row_no:,} of import {import_id}: {_SKIPS[reason]}."))
        first = view.life_of(row_id)
        if first is not None:
            _show(first)
    if not (lives or rejects or skips):
        click.echo(f"Import {import_id} has no row {row_no:,} in that file.", err=True)
    return bool(lives or rejects or skips)


_SKIPS = {
    "repeated": "stands in the list more than once; the first one counts",
    "already": "was already here, from an earlier import",
    "changed": "is known with other content, and was not sent",
    "recent": "was called too lately, for --not-if-called-within",
    "suppressed": "is on a do-not-call list",
}


def _show(life: RowLife) -> None:
    from importer.cli.console import safe
    from importer.cli.words import day

    lines = [
        f"{life.phone}: row {life.row_no:,} of {life.file} (import {life.import_id})",
        f"  state        {life.state}" + (f" - {life.reason}" if life.reason else ""),
        f"  row key      {life.row_key}",
    ]
    if life.erased_ms is not None:
        lines.append(f"  erased       {day(life.erased_ms)}: number and payload")
    if life.batch_id is not None:
        lines.append(f"  batch        {life.batch_id}, {life.size_rows:,} rows, request key {life.request_key}")
    for send in life.sends:
        outcome = send.outcome or "open"
        status = f", status {send.status}" if send.status else ""
        lines.append(f"  sent         {day(send.armed_ms)} - {outcome}{status}")
    if life.call_job_id is not None:
        lines.append(f"  call job     {life.call_job_id}, accepted {day(life.settled_ms)}")
    for line in lines:
        click.echo(safe(line))
