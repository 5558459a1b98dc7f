"""`importer ledger`: check it, copy it, save what can be saved of a damaged one, make it small again."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from importer.cli.options import JSON_OPTION, LEDGER_OPTION, NETWORK_LEDGER_OPTION, asked, examples, with_options
from importer.errors import LedgerHeld, LedgerProblem, UsageProblem

if TYPE_CHECKING:
    from importer.ledger.audit import Checked
    from importer.ledger.merging import MergedShard
    from importer.ledger.salvage import Salvaged

EPILOG = """\b
Examples:
  importer ledger check
  importer ledger backup /backups/ledger-monday.db
  importer ledger export warehouse/
  importer ledger merge shards/ --into calls.db
  importer ledger repair --into saved.db
  importer ledger vacuum"""

MOST_SHOWN = 20
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group("ledger", short_help="Check, back up, repair or shrink the ledger.", epilog=EPILOG)
def command() -> None:
    """Look after the ledger. `check`, `backup` and `export` work beside a running import, the others own it."""


@command.command(
    "check",
    short_help="Hold the ledger against itself.",
    epilog=examples("importer ledger check", "importer ledger check --json"),
)
@with_options(LEDGER_OPTION, (JSON_OPTION,))
@click.pass_context
def check(context: click.Context, /, as_json: bool, **_: Any) -> None:
    """Check the file, its schema, every sum, frozen request, key, receipt and send. Exit 5 when anything is wrong."""
    from importer.ledger.upkeep import check_ledger

    path = asked(context).ledger
    health = check_ledger(path)
    code = 5 if health.findings else 0
    if as_json:
        _echo_json(path, code, checks=[_check_json(each) for each in health.checks])
    else:
        _show_checks(path, health.checks)
    context.exit(code)


@command.command(
    "backup",
    short_help="Copy the ledger as it is at one moment.",
    epilog=examples("importer ledger backup /backups/ledger-monday.db"),
)
@click.argument("target", metavar="FILE", type=_FILE)
@with_options(LEDGER_OPTION, (JSON_OPTION,))
@click.pass_context
def backup(context: click.Context, /, target: Path, as_json: bool, **_: Any) -> None:
    """Copy the ledger into FILE, also beside a running import, and check the copy.

    FILE must not be there yet. A backup is for repairs: sending from an old copy is noticed and refused.
    """
    from importer.ledger.upkeep import back_up

    path = asked(context).ledger
    back_up(path, target)
    if as_json:
        _echo_json(path, 0, backup=str(target), size_bytes=target.stat().st_size)
    else:
        _say(f"{target}: {target.stat().st_size:,} bytes, checked.")


@command.command(
    "export",
    short_help="Write the ledger as Parquet files.",
    epilog=examples("importer ledger export warehouse/"),
)
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@with_options(LEDGER_OPTION, (JSON_OPTION,))
@click.pass_context
def export(context: click.Context, /, folder: Path, as_json: bool, **_: Any) -> None:
    """Write what the ledger knows into DIR as Parquet files, for a warehouse or a notebook.

    They hold numbers and payloads, and none of the ledger's secrets. Earlier files of the same names are replaced.
    """
    from importer.outcomes.warehouse import export_ledger

    path = asked(context).ledger
    stored = export_ledger(path, folder)
    if as_json:
        _echo_json(path, 0, files={each.path.name: each.rows for each in stored})
    else:
        for each in stored:
            _say(f"{each.path}: {each.rows:,} rows")


@command.command(
    "merge",
    short_help="Bring the ledgers of shards home.",
    epilog=examples(
        "importer ledger merge shards/ --into calls.db", "importer ledger merge one.db two.db --into calls.db"
    ),
)
@click.argument("parts", metavar="DIR|FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--into", metavar="FILE", type=_FILE, required=True, help="The home ledger; made where there is none.")
@with_options(NETWORK_LEDGER_OPTION, (JSON_OPTION,))
@click.pass_context
def merge(context: click.Context, /, parts: tuple[Path, ...], into: Path, as_json: bool, **_: Any) -> None:
    """Bring what shards did into the home ledger, as one import for each list.

    A DIR stands for the files in it that end in .db. Merging again changes only what moved since. A shard whose list is
    still being read is left out, since nothing of it was sent; exit 8 then.
    """
    from importer.ledger import Ledger
    from importer.ledger.merging import merge_ledgers
    from importer.machine import now, this_process

    paths = [path for path in _part_files(parts) if path.absolute() != into.absolute()]
    if not paths:
        raise UsageProblem("There is no ledger to merge.", hint="Name the shards' ledgers, or the folder with them.")
    is_fine = asked(context).is_network_ledger_fine
    with Ledger(into, this_process(_now_text()), now_ms=now().unix_ms, is_network_fine=is_fine) as home:
        merged = merge_ledgers(home, paths)
    code = 8 if any(each.how in ("unread", "later") for each in merged) else 0
    if as_json:
        _echo_json(into, code, merged=[_merged_json(each) for each in merged])
    else:
        _show_merged(merged, into)
    context.exit(code)


def _part_files(parts: tuple[Path, ...]) -> list[Path]:
    return [file for part in parts for file in (sorted(part.glob("*.db")) if part.is_dir() else [part])]


@command.command(
    "repair",
    short_help="Save what can be saved of a damaged ledger.",
    epilog=examples("importer ledger repair --into saved.db"),
)
@click.option("--into", metavar="FILE", type=_FILE, help="The new ledger.  [default: LEDGER.repaired]")
@with_options(LEDGER_OPTION, (JSON_OPTION,))
@click.pass_context
def repair(context: click.Context, /, into: Path | None, as_json: bool, **_: Any) -> None:
    """Make a new ledger of everything that can be read. The old file is left as it is.

    What was not settled and is damaged counts as in doubt, so that nobody is called twice for it. Exit 8 when
    something was lost.
    """
    from importer.ledger.salvage import salvage
    from importer.machine import OwnerLock, now, this_process

    options = asked(context)
    path = options.ledger
    if not path.exists():
        raise LedgerProblem(f"There is no ledger at {path}.", hint="Name one with --ledger.")
    target = into or path.with_name(f"{path.name}.repaired")
    lock = OwnerLock(path)
    holder = lock.acquire(this_process(_now_text()))
    if holder is not None:
        raise LedgerHeld(f"The ledger {path} is in use by {holder}.", hint="Stop it first; then repair.")
    try:
        salvaged = salvage(path, target, now_ms=now().unix_ms, is_network_fine=options.is_network_ledger_fine)
    finally:
        lock.release()
    code = 0 if salvaged.is_whole else 8
    if as_json:
        _echo_json(path, code, **_salvaged_json(salvaged, target))
    else:
        _show_salvaged(salvaged, target)
    context.exit(code)


@command.command(
    "vacuum",
    short_help="Give free space in the file back to the disk.",
    epilog=examples("importer ledger vacuum"),
)
@with_options(LEDGER_OPTION, (JSON_OPTION,))
@click.pass_context
def vacuum(context: click.Context, /, as_json: bool, **_: Any) -> None:
    """Write the ledger anew without its free pages. Needs as much free disk as the ledger is large, for a while."""
    from importer.ledger import Ledger
    from importer.ledger.upkeep import vacuum as shrink
    from importer.machine import now, this_process
    from importer.purging import emptied_wal

    options = asked(context)
    path = options.ledger
    if not path.exists():
        raise LedgerProblem(f"There is no ledger at {path}.", hint="Name one with --ledger.")
    os.environ["SQLITE_TMPDIR"] = str(path.absolute().parent)  # its numbers stay in the folder that was chosen for them
    is_fine = options.is_network_ledger_fine
    with Ledger(path, this_process(_now_text()), now_ms=now().unix_ms, is_network_fine=is_fine) as ledger:
        shrunk = shrink(ledger.store)
        if emptied_wal(ledger):
            ledger.erasing.note_wiped(now_ms=now().unix_ms)
    if as_json:
        _echo_json(path, 0, before_bytes=shrunk.before_bytes, after_bytes=shrunk.after_bytes)
    else:
        _say(f"{path}: {shrunk.before_bytes:,} bytes before, {shrunk.after_bytes:,} now.")


def _now_text() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _say(text: str, *, is_talk: bool = False) -> None:
    from importer.cli.console import safe

    click.echo(safe(text), err=is_talk)


def _echo_json(path: Path, code: int, **facts: Any) -> None:
    click.echo(json.dumps({"ledger": str(path), "exit_code": code, "error": None, **facts}, ensure_ascii=False))


def _check_json(check: Checked) -> dict[str, Any]:
    return {"check": check.name, "looked_at": check.things, "findings": [each.text for each in check.findings]}


def _show_checks(path: Path, checks: tuple[Checked, ...]) -> None:
    for check in checks:
        _say(f"{check.name:24}  {check.things:>12,}  {'ok' if not check.findings else 'WRONG'}")
        for finding in check.findings[:MOST_SHOWN]:
            _say(f"    {finding.text}")
    if any(check.findings for check in checks):
        _say(f"{path} is damaged: keep it, and do not send from it.", is_talk=True)
        _say("`importer ledger repair` saves what can be saved.", is_talk=True)
    else:
        _say(f"{path} is well.")


def _merged_json(merged: MergedShard) -> dict[str, Any]:
    facts = {"shard": merged.shard, "list": merged.list_name, "how": merged.how, "import": merged.import_id}
    return {"file": str(merged.path), **facts}


def _show_merged(merged: list[MergedShard], into: Path) -> None:
    said = {
        "new": "merged", "updated": "brought up to date", "unchanged": "nothing new",
        "unread": "not merged: its list is still being read, and nothing was sent",
        "later": "not merged yet: the import before it waits for other shards",
    }  # fmt: skip
    for each in merged:
        where = "" if each.import_id is None else f", import {each.import_id}"
        _say(f"{each.path}: shard {each.shard} of {each.list_name}{where}: {said[each.how]}.")
    _say(f"{into} is the home ledger.")


def _salvaged_json(salvaged: Salvaged, target: Path) -> dict[str, Any]:
    return {
        "repaired": str(target),
        "kept": salvaged.kept,
        "unreadable": list(salvaged.unread),
        "unusable": salvaged.refused_rows,
        "remade_rows": salvaged.remade_rows,
        "lost_rows": salvaged.lost_rows,
        "lost_ids": salvaged.lost_ids,
        "in_doubt": [
            {"batch": each.batch_id, "import": each.import_id, "rows": each.size_rows, "why": each.why}
            for each in salvaged.doubted
        ],
        "notes": salvaged.notes,
        "findings": [each.text for each in salvaged.health.findings],
    }


def _show_salvaged(salvaged: Salvaged, target: Path) -> None:
    for table, rows in salvaged.kept.items():
        _say(f"{rows:>12,}  {table} kept")
    for table in salvaged.unread:
        _say(f"{'':12}  parts of {table} could not be read")
    losses = {
        **{
            f"records of {table} made no sense, or belong to nothing": count
            for table, count in salvaged.refused_rows.items()
        },
        "rows were made again from their frozen requests": salvaged.remade_rows,
        "rows are lost": salvaged.lost_rows,
        "accepted rows lost their call job ids": salvaged.lost_ids,
    }
    for what, count in losses.items():
        if count:
            _say(f"{count:>12,}  {what}")
    for each in salvaged.doubted[:MOST_SHOWN]:
        _say(f"In doubt: batch {each.batch_id} of import {each.import_id}, {each.size_rows:,} rows: {each.why}")
    for text in [*salvaged.notes, *(finding.text for finding in salvaged.health.findings[:MOST_SHOWN])]:
        _say(f"Note: {text}")
    if salvaged.is_whole:
        _say(f"Nothing was lost. The new ledger is {target}.")
        return
    _say(f"The new ledger is {target}. Use it with --ledger from now on, and never the old one again.")
    _say("`importer reconcile` looks up what is in doubt; `importer resolve` lets you decide.", is_talk=True)
