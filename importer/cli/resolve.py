"""`importer resolve`: a person decides about batches that the reports could not settle."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from importer.cli.options import LEDGER_OPTION, asked, with_options
from importer.errors import UsageProblem

if TYPE_CHECKING:
    from importer.ledger import Ledger

EPILOG = """\b
Examples:
  importer resolve                        what is in doubt, and why
  importer resolve 17 --as called         they were called: count them as accepted
  importer resolve 17 --as not-called     they were not: the next run sends them
  importer resolve 17 --as given-up       do not call them"""


@click.command("resolve", short_help="Decide about rows that the reports could not settle.", epilog=EPILOG)
@click.argument("batch_ids", metavar="[BATCH]...", nargs=-1, type=int)
@click.option("--as", "decision", type=click.Choice(["called", "not-called", "given-up"]), help="What you know.")
@with_options(LEDGER_OPTION)
@click.pass_context
def command(context: click.Context, /, batch_ids: tuple[int, ...], decision: str | None, **_: Any) -> None:
    """Show the batches in doubt with their evidence, or say what you know of some.

    `--as not-called` sends them again: if you are wrong, people are called twice.
    """
    from importer.ledger import Ledger, LedgerReader
    from importer.machine import now, this_process

    options = asked(context, of_import=True)
    path = options.ledger
    if not batch_ids or decision is None:
        if batch_ids or decision:
            raise UsageProblem("Name batches and --as what you know of them.", hint="`importer resolve` lists them.")
        with LedgerReader(path) as reader:
            _show(reader.view.in_doubt())
        return
    since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    is_fine = options.is_network_ledger_fine
    with Ledger(path, this_process(since), now_ms=now().unix_ms, is_network_fine=is_fine) as ledger:
        for batch_id in batch_ids:
            rows = _decide(ledger, batch_id, decision, now().unix_ms)
            click.echo(f"Batch {batch_id}: {rows:,} rows {_DONE[decision]}.")


_DONE = {
    "called": "count as accepted, by your word",
    "not-called": "will be sent by the next run, by your word",
    "given-up": "will not be called",
}


def _decide(ledger: Ledger, batch_id: int, decision: str, now_ms: int) -> int:
    from importer.ledger.shards_at_home import judge_own_shards
    from importer.protocol import absent, found, give_up

    doubt = ledger.doubts.doubt_of(batch_id)
    if doubt is None:
        raise UsageProblem(f"Batch {batch_id} is not in doubt.", hint="`importer resolve` lists those that are.")
    if decision == "not-called" and not doubt.sendable.body_bytes:
        raise UsageProblem(
            f"What batch {batch_id} would send was lost, so it cannot be sent again.",
            hint="Say --as given-up, and run its list again: its rows are then sent anew.",
        )
    an_import = ledger.intake.import_by_id(ledger.doubts.import_of(batch_id))
    if an_import is not None:
        judge_own_shards(an_import, is_adopting=False)
    batch = doubt.sendable.batch
    step = {
        "called": lambda: found(batch, "called, by a person's word"),
        "not-called": lambda: absent(batch, "not called, by a person's word"),
        "given-up": lambda: give_up(batch),
    }[decision]()
    ledger.doubts.decide(doubt, step, now_ms=now_ms)
    ledger.sends.finish(ledger.doubts.import_of(batch_id), now_ms=now_ms)
    return batch.size_rows


def _show(lines: list[tuple[int, int, int, str, list[tuple[int, str, int]]]]) -> None:
    from importer.cli.console import safe
    from importer.cli.words import day

    if not lines:
        click.echo("Nothing is in doubt.")
    for batch_id, import_id, rows, reason, evidence in lines:
        click.echo(safe(f"Batch {batch_id} of import {import_id}: {rows:,} rows - {reason}"))
        for asked_ms, finding, jobs in evidence:
            click.echo(safe(f"    {day(asked_ms)}  reports asked: {_FOUND[finding]} ({jobs:,} call jobs)"))


_FOUND = {
    "all": "one call job for each row",
    "several": "made more than once",
    "none": "none of its numbers",
    "some": "call jobs that do not fit the batch",
    "unreadable": "could not be read",
    "person": "a person decided",
}
