"""`importer cancel`: take rows back, as far as they can be."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from importer.cli.imports import import_number
from importer.cli.options import (
    CAMPAIGN_OPTIONS,
    JSON_OPTION,
    LEDGER_OPTION,
    asked,
    import_settings,
    run_settings,
    with_options,
)
from importer.errors import UsageProblem
from importer.machine import StopSignals, is_terminal

if TYPE_CHECKING:
    from importer.cancelling import Choice, Undone
    from importer.cli.options import Asked
    from importer.ledger import Ledger
    from importer.ledger.cancel_book import Standing
    from importer.ledger.records import Campaign
    from importer.run import RunSettings

EPILOG = """\b
Examples:
  importer cancel 12
  importer cancel 12 --where "city = 'Springfield' AND importer_row BETWEEN 500 AND 900"
  importer cancel --phones wrong-numbers.csv"""

STANDING_WORDS = {
    "unsent": "were never sent: they will be withdrawn",
    "waiting": "have a call job that was not dialled yet: it will be cancelled",
    "dialled": "were dialled already, and would be again: no more will be",
    "asked": "were asked to be cancelled, and the answer never came: it is asked again",
    "over": "were called, and that is over: nothing can undo it",
    "unsettled": "were sent, and the answer is not known yet: `importer send`, then cancel again",
    "in_doubt": "are in doubt: `importer reconcile`, then cancel again",
    "nameless": "count as called by a person's word: their call jobs are not known",
    "refused": "were declined by the platform anyway",
    "withdrawn": "were withdrawn when their list was edited",
    "back": "were taken back before",
}


@click.command("cancel", short_help="Take rows back: stop calls that were not made yet.", epilog=EPILOG)
@click.argument("import_id", metavar="[IMPORT]", required=False)
@click.option("--phones", metavar="FILE", help="Only rows of the numbers in this list.")
@click.option("--phone-column", metavar="C", help="Its column with the numbers. Else one called like a phone.")
@click.option("--region", metavar="CC", help="Where its numbers without country code are dialled.")
@click.option("--where", metavar="SQL", help="Only rows for which this condition over their columns holds.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@with_options(CAMPAIGN_OPTIONS, LEDGER_OPTION, (JSON_OPTION,))
@click.pass_context
def command(
    context: click.Context,
    /,
    import_id: str | None,
    phones: str | None,
    where: str | None,
    yes: bool,
    as_json: bool,
    **_: Any,
) -> None:
    """Withdraw rows that were never sent, and cancel the call jobs of the others.

    It says first what it would do, and asks. Name an import by its number or its list; with --phones or --where alone,
    every import of the campaign is looked at. A run that is sending is asked to stop, and waited for. Conversations
    that go on are not cut off.
    """
    from importer.cancelling import Canceller
    from importer.cli.engine import nap, own_campaign
    from importer.machine import now

    if import_id is None and phones is None and where is None:
        raise UsageProblem("Say what to take back: an import by its number or its list, --phones FILE or --where SQL.")
    options = asked(context, of_import=True)
    number = import_number(options, import_id)
    settings = _settings(options, number)
    with StopSignals() as signals, own_campaign(settings, signals, asks_as="importer cancel") as (ledger, api):
        campaign, choice = _choice(ledger, settings, number, phones, where)
        canceller = Canceller(
            ledger=ledger,
            platform=api,
            campaign=campaign,
            now=now,
            is_stopping=lambda: signals.received is not None,
            nap=lambda wait_s: nap(signals, wait_s),
        )
        standing = canceller.look(choice)
        if not as_json:
            _show_standing(standing, choice)
        _ask(standing, is_yes=yes, as_json=as_json)
        undone = canceller.undo()
        code = _exit_code(undone, signals)
    if as_json:
        click.echo(json.dumps(_as_json(undone, standing, code)))
    else:
        _show_undone(undone, standing)
    context.exit(code)


def _settings(options: Asked, import_id: int | None) -> RunSettings:
    if import_id is None:
        return run_settings(options, [])
    return import_settings(options, import_id)[1]


def _choice(
    ledger: Ledger, settings: RunSettings, import_id: int | None, phones: str | None, where: str | None
) -> tuple[Campaign, Choice]:
    """The campaign, and the rows that are meant. **Errors**: UsageProblem when the token is another campaign's."""
    from importer.cancelling import Choice, read_numbers
    from importer.cli.console import say
    from importer.run import known_campaign

    campaign = known_campaign(ledger, settings.target, import_id)
    numbers = None
    if phones is not None:
        numbers = read_numbers(
            phones, region=settings.rules.region, column=settings.phone_column, spool_dir=settings.ledger.parent
        )
        if numbers.unreadable_rows:
            say(f"{numbers.unreadable_rows:,} rows of {Path(phones).name} are no numbers; they are left aside.")
    imports = ledger.intake.imports_of(campaign.id) if import_id is None else [ledger.intake.import_by_id(import_id)]
    complete = [each for each in imports if each is not None and (each.is_complete or import_id is not None)]
    return campaign, Choice(imports=tuple(complete), phones=None if numbers is None else numbers.phones, where=where)


def _show_standing(standing: Standing, choice: Choice) -> None:
    from importer.cli.console import safe

    rows = asdict(standing)
    click.echo(safe(f"{sum(rows.values()):,} rows of {_named(choice)} are meant:"))
    for name, words in STANDING_WORDS.items():
        if rows[name]:
            click.echo(f"{rows[name]:>12,}  {words}")


def _named(choice: Choice) -> str:
    """The imports that are looked at, in words."""
    if len(choice.imports) != 1:
        return f"{len(choice.imports):,} imports"
    (only,) = choice.imports
    return f"import {only.id} ({only.list_name}" + (f", round {only.round})" if only.round else ")")


def _ask(standing: Standing, *, is_yes: bool, as_json: bool) -> None:
    from importer.cli.console import interruptible

    if is_yes or not standing.can_be_undone:
        return
    if as_json or not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
        raise UsageProblem(
            "Without a terminal nobody can be asked. Nothing was done.", hint="Say --yes if you mean it."
        )
    with interruptible():
        click.confirm(f"Take {standing.can_be_undone:,} rows back?", default=False, abort=True, err=True)


def _exit_code(undone: Undone, signals: StopSignals) -> int:
    if not undone.is_whole:
        return signals.exit_code or 130
    if undone.after.unsettled or undone.after.asked:
        return 7
    if undone.after.in_doubt:
        return 8
    return 3 if undone.still_open else 0


def _as_json(undone: Undone, before: Standing, code: int) -> dict[str, Any]:
    return {
        "before": asdict(before),
        "withdrawn": undone.withdrawn,
        "cancelled": undone.cancelled,
        "not_cancelled": undone.not_cancelled,
        "unknown": undone.unknown,
        "after": asdict(undone.after),
        "exit_code": code,
        "error": None,
    }


def _show_undone(undone: Undone, before: Standing) -> None:
    after = undone.after
    said = [
        (undone.withdrawn, "rows were withdrawn: they were never sent"),
        (undone.cancelled, "call jobs were cancelled"),
        (after.over - before.over, "were called meanwhile, before they could be cancelled"),
        (undone.still_open, "could not be undone: the platform did not cancel them"),
        (undone.unknown, "of them the platform does not know"),
        (after.unsettled, "were sent, and the answer is not known yet: `importer send`, then cancel again"),
        (after.in_doubt, "are in doubt: `importer reconcile`, then cancel again"),
        (after.nameless, "have call jobs nobody knows"),
    ]
    has_done = undone.withdrawn or undone.cancelled
    click.echo("Done:" if has_done else "Nothing was there to take back.")
    for number, text in said:
        if number > 0:
            click.echo(f"{number:>12,}  {text}")
    if has_done:
        click.echo("Running the same list again in the same round calls none of these rows.", err=True)
