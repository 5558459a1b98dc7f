"""`importer purge`: erase numbers, payloads and frozen requests that are no longer needed."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from importer.cli.imports import import_number
from importer.cli.options import JSON_OPTION, LEDGER_OPTION, Duration, asked, examples, with_options
from importer.errors import LedgerProblem, UsageProblem
from importer.machine import StopSignals, is_terminal

if TYPE_CHECKING:
    from importer.cli.options import Asked
    from importer.ledger import Ledger
    from importer.ledger.erasing import Erasable, Scope, Traces
    from importer.purging import Purged

MOST_NAMED = 20


@click.command(
    "purge",
    short_help="Erase numbers and payloads that are no longer needed.",
    epilog=examples(
        "importer purge --older-than 90d --dry-run",
        "importer purge --import 12",
        "importer purge --phone +16505550100",
    ),
)
@click.option("--older-than", type=Duration(), help="Everything that was settled so long ago.")
@click.option("--phone", metavar="PHONE", help="One number, wherever it is settled. With its country code.")
@click.option("--import", "import_id", metavar="IMPORT", help="A whole import, by its number or its list.")
@click.option(
    "--keep-hashes/--drop-hashes",
    default=True,
    show_default=True,
    help="Whether erased numbers are still known again, so that nobody is called twice.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be erased.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@with_options(LEDGER_OPTION, (JSON_OPTION,))
@click.pass_context
def command(
    context: click.Context,
    /,
    older_than: float | None,
    phone: str | None,
    import_id: str | None,
    keep_hashes: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **_: Any,
) -> None:
    """Erase numbers, payloads, frozen requests and the cells of bad rows from the ledger, its -wal and its free pages.

    Counts, keys, call job ids and times stay, and so does a keyed hash of each number: the same list run again calls
    nobody twice. Rows that are pending or in doubt are never erased. It says first what it would do, and asks.
    """
    from importer.purging import Purger

    if sum(each is not None for each in (older_than, phone, import_id)) != 1:
        raise UsageProblem("Say what to erase: one of --older-than, --phone and --import.")
    options = asked(context)
    number = _phone_number(phone) if phone is not None else None
    which = import_number(options, import_id)
    with StopSignals() as signals, _owned(options) as ledger:
        purger = Purger(ledger=ledger, now=_now, is_stopping=lambda: signals.received is not None)
        scope = None if number is not None else _scope(ledger, older_than, which, keeps_hashes=keep_hashes)
        if scope is None:
            meant: Erasable | Traces = ledger.erasing.traces_of(number or 0, keeps_hashes=keep_hashes)
        else:
            meant = ledger.erasing.look(scope)
        files = _files(ledger, scope)
        if not as_json:
            _show_meant(meant, scope, files, keeps_hashes=keep_hashes)
        if dry_run:
            done, code = None, 0
        else:
            _ask(meant, is_yes=yes, as_json=as_json)
            done = purger.purge(scope) if scope else purger.purge_number(number or 0, keeps_hashes=keep_hashes)
            code = _exit_code(done, signals)
    if as_json:
        click.echo(json.dumps(_as_json(meant, done, files, options.ledger, code), ensure_ascii=False))
    elif done is not None:
        _show_done(done)
    context.exit(code)


def _phone_number(text: str) -> int:
    digits = re.sub(r"[\s().\-]", "", text).removeprefix("+")
    if not (digits.isascii() and digits.isdecimal() and 7 <= len(digits) <= 15):
        raise UsageProblem("--phone is not a number with its country code, such as +16505550100.")
    return int(digits)


def _owned(options: Asked) -> Ledger:
    from importer.ledger import Ledger
    from importer.machine import this_process

    if not options.ledger.exists():
        raise LedgerProblem(f"There is no ledger at {options.ledger}.", hint="Name one with --ledger.")
    since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    is_fine = options.is_network_ledger_fine
    return Ledger(options.ledger, this_process(since), now_ms=_now().unix_ms, is_network_fine=is_fine)


def _now() -> Any:
    from importer.machine import now

    return now()


def _scope(ledger: Ledger, older_than_s: float | None, import_id: int | None, *, keeps_hashes: bool) -> Scope:
    from importer.purging import scope_by_age, scope_of_import

    if older_than_s is not None:
        return scope_by_age(older_than_s, keeps_hashes=keeps_hashes, now_ms=_now().unix_ms)
    return scope_of_import(ledger, import_id or 0, keeps_hashes=keeps_hashes)


def _files(ledger: Ledger, scope: Scope | None) -> list[Path]:
    """Files beside that hold the same numbers: they are their owner's, so they are named and left alone."""
    found: dict[Path, None] = {}
    for import_id in ledger.erasing.imports_in(scope) if scope else ():
        lists = [str(facts["path"]) for facts in ledger.intake.files(import_id) if not facts.get("is_spooled")]
        beside = map(Path, (*lists, *ledger.view.written_files(import_id)))
        found.update(dict.fromkeys(path for path in beside if path.is_file()))
    return list(found)


def _ask(meant: Erasable | Traces, *, is_yes: bool, as_json: bool) -> None:
    from importer.cli.console import interruptible

    if is_yes or _is_nothing(meant):
        return
    if as_json or not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
        raise UsageProblem(
            "Without a terminal nobody can be asked. Nothing was erased.", hint="Say --yes if you mean it."
        )
    with interruptible():
        click.confirm("Erase it? It cannot be brought back", default=False, abort=True, err=True)


def _is_nothing(meant: Erasable | Traces) -> bool:
    from importer.ledger.erasing import Traces

    return not (meant.row_ids or meant.reject_ids) if isinstance(meant, Traces) else meant.is_nothing


def _counts(meant: Erasable | Traces) -> dict[str, int]:
    """What is meant, in numbers; the ids of rows say nothing to anybody."""
    from importer.ledger.erasing import Traces

    if isinstance(meant, Traces):
        ids = {"rows": len(meant.row_ids), "rejects": len(meant.reject_ids)}
        return {**ids, "pending": meant.pending, "in_doubt": meant.in_doubt}
    return asdict(meant)


_MEANT = {
    "rows": "rows: their numbers, payloads and what reports told besides status and times",
    "requests": "frozen requests, with every byte that was sent",
    "rejects": "bad rows: their cells",
    "withdrawn": "withdrawn rows: their numbers",
}
_STAYS = {
    "pending": "rows are pending and stay: `importer send`, then purge again",
    "in_doubt": "rows are in doubt and stay: `importer reconcile`, then purge again",
    "unread_lists": "imports whose list was not read to its end stay",
}


def _show_meant(meant: Erasable | Traces, scope: Scope | None, files: list[Path], *, keeps_hashes: bool) -> None:
    from importer.cli.console import safe, say
    from importer.cli.words import day

    counts = _counts(meant)
    if _is_nothing(meant):
        click.echo("Nothing is there to erase.")
    else:
        since = f", settled before {day(scope.before_ms)}" if scope and scope.import_id is None else ""
        click.echo(f"To be erased{since}:")
    for words in (_MEANT, _STAYS):
        for name, text in words.items():
            if counts.get(name):
                click.echo(f"{counts[name]:>12,}  {text}")
    if not _is_nothing(meant) and not keeps_hashes:
        say("Without hashes, --not-if-called-within and --once-per phone do not know these numbers any more.")
    for path in files[:MOST_NAMED]:
        say(safe(f"Left alone, since it is yours: {path}"))


def _exit_code(done: Purged, signals: StopSignals) -> int:
    from importer.ledger.erasing import Traces

    if not done.is_whole:
        return signals.exit_code or 130
    if isinstance(done.erased, Traces) and done.erased.in_doubt:
        return 8
    if isinstance(done.erased, Traces) and done.erased.pending:
        return 7
    return 0 if done.is_wiped else 7


def _show_done(done: Purged) -> None:
    from importer.cli.console import safe, say

    if not done.is_whole:
        say("Stopped. What was erased is; the same command goes on with the rest.")
        return
    if not _is_nothing(done.erased):
        click.echo("Erased.")
    for path in done.removed:
        click.echo(safe(f"Deleted: {path}, a copy of the ledger in an older format"))
    if not done.is_wiped:
        say("Somebody is reading the ledger, so the old bytes are still in its -wal: run the same command again.")
    elif not _is_nothing(done.erased):
        say("Snapshots, backups and files you exported yourself are yours to erase: see docs/PRIVACY.md.")


def _as_json(
    meant: Erasable | Traces, done: Purged | None, files: list[Path], ledger: Path, code: int
) -> dict[str, Any]:
    return {
        "ledger": str(ledger),
        "meant": _counts(meant),
        "erased": done is not None and done.is_whole,
        "wiped": done is not None and done.is_wiped,
        "removed": [str(path) for path in done.removed] if done else [],
        "left_alone": [str(path) for path in files],
        "exit_code": code,
        "error": None,
    }
