"""`importer dnc`: the do-not-call lists kept in the ledger, honoured by every run."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from importer.cli.options import JSON_OPTION, LEDGER_OPTION, asked, examples, with_options
from importer.errors import LedgerHeld, UsageProblem

if TYPE_CHECKING:
    import polars as pl
    from pyroaring import BitMap64

    from importer.ledger import DncList, Ledger

BY_HAND = "by hand"
ROUND_S = 3.0  # then it is looked whether the owner has ended
ROUNDS = 20
SILENT_ROUNDS = 3

REGION_OPTION = click.option("--region", metavar="CC", help="Where numbers without country code are dialled.")
EPILOG = """\b
Examples:
  importer dnc add +16505550100
  importer dnc import registry.csv.gz --name registry
  importer dnc remove +16505550100
  importer dnc stats"""


@click.group("dnc", short_help="Keep do-not-call lists in the ledger.", epilog=EPILOG)
def command() -> None:
    """Keep the numbers nobody may call. Every run leaves them out, and looks again before it first sends a row.

    What was already sent is not taken back. A run that cannot read a list sends nothing.
    """


@command.command(
    "add",
    short_help="Add numbers.",
    epilog=examples("importer dnc add +16505550100 +16505550101", "importer dnc add +16505550100 --name complaints"),
)
@click.argument("numbers", nargs=-1, required=True, metavar="NUMBER...")
@click.option("--name", default=BY_HAND, show_default=True, help="The list to add them to.")
@with_options((REGION_OPTION,), LEDGER_OPTION, (JSON_OPTION,))
@click.pass_context
def add(
    context: click.Context, /, numbers: tuple[str, ...], name: str, region: str | None, as_json: bool, **_: Any
) -> None:
    """Add numbers to a list in the ledger. A number that cannot be understood adds none of them.

    A run that is sending does it in its own ledger, and heeds it from then on.
    """
    found = _understood(numbers, region)
    added = _added(context, name, found)
    _tell(
        as_json,
        f"{_numbers(added)} added to {name!r}"
        + (f"; {len(found) - added:,} were there." if added < len(found) else "."),
        {"list": name, "added": added},
    )


@command.command(
    "remove",
    short_help="Take numbers, or a whole list, off.",
    epilog=examples("importer dnc remove +16505550100"),
)
@click.argument("numbers", nargs=-1, metavar="[NUMBER]...")
@click.option("--name", help="Forget this list with all its numbers, instead.")
@with_options((REGION_OPTION,), LEDGER_OPTION, (JSON_OPTION,))
@click.pass_context
def remove(
    context: click.Context, /, numbers: tuple[str, ...], name: str | None, region: str | None, as_json: bool, **_: Any
) -> None:
    """Take numbers off every list kept in the ledger; or forget one list.

    A list that is imported again brings its numbers back.
    """
    if bool(numbers) == (name is not None):
        raise UsageProblem("Say which numbers to take off, or --name LIST to forget a whole list.")
    found = _understood(numbers, region) if numbers else None
    with _own_ledger(context) as (ledger, now_ms):
        removed = _removed(ledger, found, name, now_ms)
    told = ", ".join(f"{count:,} from {each!r}" for each, count in removed.items()) or "None of them was on a list."
    _tell(as_json, f"Removed: {told}" if removed else told, {"removed": removed})


def _removed(ledger: Ledger, numbers: BitMap64 | None, name: str | None, now_ms: int) -> dict[str, int]:
    if numbers is not None:
        return ledger.dnc.remove(numbers, now_ms=now_ms)
    sizes = {each.name: each.numbers for each in ledger.dnc.lists()}
    if name is None or not ledger.dnc.drop_list(name):
        known = ", ".join(sizes) or "none"
        raise UsageProblem(f"There is no do-not-call list {name!r} in the ledger.", hint=f"It keeps: {known}.")
    return {name: sizes[name]}


@command.command(
    "import",
    short_help="Keep a file's numbers.",
    epilog=examples("importer dnc import do-not-call.csv"),
)
@click.argument("file")
@click.option(
    "--name", metavar="NAME", help="What to call the list; one of that name is replaced.  [default: the file's]"
)
@click.option("--column", metavar="C", help="The column with the numbers. Else one called like a phone.")
@with_options((REGION_OPTION,), LEDGER_OPTION, (JSON_OPTION,))
@click.pass_context
def import_file(
    context: click.Context,
    /,
    file: str,
    name: str | None,
    column: str | None,
    region: str | None,
    as_json: bool,
    **_: Any,
) -> None:
    """Keep the numbers of a file (CSV, Parquet, text, workbook; packed or not) as a list in the ledger.

    A list of the same name is replaced, all at once. A file that cannot be read to its end, or over 1 % of which is no
    number, changes nothing.
    """
    from importer.cli.console import Progress
    from importer.intake.suppress import read_suppression
    from importer.run.hygiene import tell_doubts

    name = name or Path(file).name
    with _own_ledger(context) as (ledger, now_ms):
        found = read_suppression(file, region=_region(region), column=column, spool_dir=ledger.path.parent)
        tell_doubts(found, Progress(is_quiet=as_json))
        kept = ledger.dnc.replace_list(name, found.numbers, found.facts, now_ms=now_ms)
    _tell(
        as_json,
        f"{_numbers(kept.numbers)} kept as {name!r}, from {found.read_rows:,} rows.",
        {"list": name, "numbers": kept.numbers, **found.facts},
    )


@command.command(
    "list",
    short_help="Show the lists, or the numbers of one.",
    epilog=examples("importer dnc list", "importer dnc list --json"),
)
@click.argument("name", required=False)
@with_options(LEDGER_OPTION, (JSON_OPTION,))
@click.pass_context
def show_lists(context: click.Context, /, name: str | None, as_json: bool, **_: Any) -> None:
    """Show the do-not-call lists of the ledger. With the NAME of one, print its numbers, one a line."""
    from importer.ledger import LedgerReader

    with LedgerReader(asked(context).ledger) as reader:
        lists = reader.dnc.lists()
        if name is None:
            _show_lists(lists, as_json=as_json)
            return
        found = next((each for each in lists if each.name == name), None)
        if found is None:
            known = ", ".join(each.name for each in lists) or "none"
            raise UsageProblem(f"There is no do-not-call list {name!r} in the ledger.", hint=f"It keeps: {known}.")
        numbers = (f"+{number}" for part in reader.dnc.parts(found.id) for number in part)
        if as_json:
            click.echo(json.dumps({"list": name, "numbers": list(numbers)}))
        else:
            for number in numbers:
                click.echo(number)


def _show_lists(lists: list[DncList], *, as_json: bool) -> None:
    from importer.cli.console import safe
    from importer.cli.words import day

    if as_json:
        found = [{"list": each.name, "numbers": each.numbers, **each.facts} for each in lists]
        click.echo(json.dumps({"lists": found}, ensure_ascii=False))
        return
    if not lists:
        click.echo("No do-not-call list yet. Add numbers: importer dnc add NUMBER")
        return
    click.echo(f"{'numbers':>14}  {'changed':16}  list")
    for each in lists:
        click.echo(safe(f"{each.numbers:>14,}  {day(each.changed_ms):16}  {each.name}"))


@command.command(
    "stats",
    short_help="Count the numbers by country code.",
    epilog=examples("importer dnc stats"),
)
@with_options(LEDGER_OPTION, (JSON_OPTION,))
@click.pass_context
def stats(context: click.Context, /, as_json: bool, **_: Any) -> None:
    """Count the numbers nobody may call, each once, by country code."""
    from importer.ledger import LedgerReader, count_by_calling_code
    from importer.phones.plans import CALLING_CODES

    with LedgerReader(asked(context).ledger) as reader:
        lists, numbers = reader.dnc.lists(), reader.dnc.all_numbers()
    by_code = count_by_calling_code(numbers, CALLING_CODES)
    if as_json:
        counted = {f"+{code}": count for code, count in by_code.items()}
        click.echo(json.dumps({"lists": len(lists), "numbers": len(numbers), "by_country_code": counted}))
        return
    click.echo(f"{len(numbers):>14,}  numbers on {len(lists)} lists")
    for code, count in sorted(by_code.items(), key=lambda pair: -pair[1]):
        click.echo(f"{count:>14,}  +{code}")


def _understood(numbers: tuple[str, ...], region: str | None) -> BitMap64:
    """The numbers typed, both where digits are numbers both ways. **Errors**: UsageProblem for one that is none."""
    import polars as pl

    from importer.ledger import number_set
    from importer.phones import TYPES, PhoneRules, check, explain

    rules = PhoneRules(region=_region(region), accept="possible", types=frozenset(TYPES))
    checked = check(pl.Series(numbers), rules)
    for text, reason in zip(numbers, checked["reason"], strict=True):
        if reason is not None:
            raise UsageProblem(f"{text!r} is no number: {explain(reason, text)}", hint="Nothing was changed.")
    others = check(pl.Series(numbers), replace(rules, bare="international"))
    _tell_readings(numbers, checked, others, region)
    both = pl.concat([checked["e164"], others["e164"]]).unique()
    return number_set(both.str.strip_prefix("+").cast(pl.Int64).to_list())


def _tell_readings(numbers: tuple[str, ...], checked: pl.DataFrame, others: pl.DataFrame, region: str | None) -> None:
    """Says how numbers without a plus were read: `(202) 555-0171` is a number in Egypt to who names no region."""
    from importer.cli.console import say

    rows = zip(numbers, checked["e164"], checked["region"], others["e164"], strict=True)
    for text, number, home, other in rows:
        if number != other:
            say(f"{text!r} is a number both ways: {number} and {other}. Both are meant.")
        elif region is None and "+" not in text and "\uff0b" not in text:
            where = f", in {home}" if home else ""
            say(f"{text!r} was read country code first: {number}{where}. Say --region if it is dialled inside one.")


def _numbers(count: int) -> str:
    return f"{count:,} {'number' if count == 1 else 'numbers'}"


def _region(region: str | None) -> str | None:
    return region.upper() if region else None


@contextlib.contextmanager
def _own_ledger(context: click.Context) -> Iterator[tuple[Ledger, int]]:
    """The ledger, owned while a list changes, and the time."""
    from importer.ledger import Ledger
    from importer.machine import now, this_process

    now_ms = now().unix_ms
    since = datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    options = asked(context)
    is_fine = options.is_network_ledger_fine
    with Ledger(options.ledger, this_process(since), now_ms=now_ms, is_network_fine=is_fine) as ledger:
        yield ledger, now_ms


def _added(context: click.Context, name: str, numbers: BitMap64) -> int:
    """Adds them, or has whoever owns the ledger add them, whichever can be had first.

    **Errors**: LedgerHeld when the owner neither answers nor ends.
    """
    from importer.cli.console import say

    for round_no in range(ROUNDS):
        try:
            with _own_ledger(context) as (ledger, now_ms):
                return ledger.dnc.add(name, numbers, now_ms=now_ms)
        except LedgerHeld as problem:
            held = problem
        if round_no == 0:
            say(f"{held.message} Asking it to add them.")
        elif round_no == SILENT_ROUNDS:
            say("It has not answered yet: perhaps somebody is being asked something in its terminal.")
        added = _added_by_owner(context, name, numbers)
        if added is not None:
            return added
    raise held


def _added_by_owner(context: click.Context, name: str, numbers: BitMap64) -> int | None:
    """Asks whoever owns the ledger, and waits a while; None when it does not answer."""
    from importer.ledger.requests import Asker
    from importer.machine import now

    content = {"list": name, "numbers": list(numbers), "now_ms": now().unix_ms}
    with Asker(asked(context).ledger, "dnc-add", content, asked_by="importer dnc add") as asker:
        answer = asker.wait(ROUND_S)
    return int(answer["added"]) if answer is not None and "added" in answer else None


def _tell(as_json: bool, text: str, facts: dict[str, Any]) -> None:
    from importer.cli.console import safe

    click.echo(json.dumps(facts, ensure_ascii=False) if as_json else safe(text))
