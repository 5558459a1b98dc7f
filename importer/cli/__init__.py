"""The command line: parse, build, call one engine function, print, exit code.

Floor: cli, the top. Commands are loaded by name when they are asked for, and everything heavy inside them, because
`importer --help` and shell completion must answer at once. Nothing below prints, asks, or exits.
"""

from __future__ import annotations

import difflib
import importlib
import io
import json
import os
import shutil
import sys
from collections.abc import Iterable
from typing import Any

import click

from importer import __version__
from importer.errors import ApiAway, ImporterError

NARROWEST_FOR_CLICK = 52

COMMANDS = {
    "init": "Set up a campaign: asks, checks, writes importer.toml.",
    "run": "Take a list in, check it, and send it. Run it again to go on.",
    "check": "Everything `run` does with a list, without sending.",
    "send": "Go on sending an import whose list was read.",
    "status": "Show imports and where their rows are.",
    "reconcile": "Settle rows in doubt by the platform's own reports.",
    "resolve": "Decide about rows that the reports could not settle.",
    "report": "Show an import as a page: balance, rejects, sends, calls.",
    "explain": "Show the whole life of a number or a row.",
    "outcomes": "Show what became of the calls, by row.",
    "call": "Have one number called.",
    "redial": "Dial again what ended without success.",
    "cancel": "Take rows back: stop calls that were not made yet.",
    "campaign": "Look at a campaign, pause, resume or stop it.",
    "dnc": "Keep do-not-call lists in the ledger.",
    "map": "Write a mapping file to begin with.",
    "prove": "Prove an import by its ledger and the platform.",
    "ledger": "Check, back up, repair or shrink the ledger.",
    "purge": "Erase numbers and payloads that are no longer needed.",
    "doctor": "Look whether all is well: ledger, disk, host, token.",
    "sandbox": "Serve a pretend Calls API to rehearse against.",
    "demo": "Watch it work on sample data: sent, killed, resumed, proved.",
    "completion": "Print the completion script of a shell.",
    "selftest": "Try the promise out on this machine.",
}

EPILOG = """\b
Examples:
  importer demo
  importer init
  importer check customers.csv --region US
  importer run customers.csv --campaign spring
  importer status

Exit codes: 0 settled well, 2 usage, 3 some rows rejected or declined, 4 the list,
5 the ledger, 6 the platform said no, 7 run again later, 8 a person must decide,
9 another run holds the ledger, 130/143 stopped. Set IMPORTER_LOG=debug for a log."""


class HelpLines(click.HelpFormatter):
    """Help that a narrow terminal shows unbroken: there, what an option means stands below it."""

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """As click does, with a first column that leaves room for the second."""
        super().write_dl(rows, 2 if self.width < NARROWEST_FOR_CLICK else col_max, col_spacing)


class HelpContext(click.Context):
    """A context whose help is written so."""

    formatter_class = HelpLines


class LazyGroup(click.Group):
    """Commands whose modules are imported only when they run or show their own help."""

    context_class = HelpContext

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands, in the order people meet them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Loads a command; None when there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = importlib.import_module(f"importer.cli.{cmd_name}").command
        for each in (found, *(found.commands.values() if isinstance(found, click.Group) else ())):
            each.context_class = HelpContext
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with the nearest name when there is none of this one."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            guess = f" Did you mean {near[0]!r}?" if near else " `importer --help` lists them."
            raise click.UsageError(f"There is no command {args[0]!r}.{guess}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _say_version(context: click.Context, _option: click.Parameter, is_asked: bool) -> None:
    """Shows our version, then what else decides how a list is judged and kept."""
    if not is_asked or context.resilient_parsing:
        return
    from importer.doctor.installation import versions

    click.echo(f"importer, version {__version__}")
    said = {**versions(), "phonenumbers": f"{versions()['phonenumbers']} (number metadata)"}
    click.echo(", ".join(f"{name} {number}" for name, number in said.items() if name != "importer"))
    context.exit(0)


@click.group(
    cls=LazyGroup,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_say_version,
    help="Show the versions and exit.",
)
def cli() -> None:
    """Send a list of phone numbers to an outbound call campaign, each row once.

    Kill it anywhere, run the same command again: no number is called twice and no row is lost, as long as the
    platform remembers a request's key (one day).
    """


# Heeded by the libraries when they are first loaded: polars gives memory back at once, numpy starts no idle threads.
_THRIFT = {"_RJEM_MALLOC_CONF": "dirty_decay_ms:100,muzzy_decay_ms:0", "OPENBLAS_NUM_THREADS": "1"}


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and exits. On every path `--json` leaves exactly one JSON object on standard output."""
    from importer.cli.console import VOICE

    for name, value in _THRIFT.items():
        os.environ.setdefault(name, value)
    arguments = sys.argv[1:] if arguments is None else arguments
    VOICE.is_json = False
    try:
        code = cli.main(arguments, prog_name="importer", standalone_mode=False, **_narrow())
    except click.exceptions.Exit as ended:
        code = ended.exit_code
    except click.Abort:
        code = _told(arguments, 130, "Stopped.", "Run the same command again to go on.")
    except click.ClickException as problem:
        _show(problem)
        code = _told_json(arguments, problem.exit_code, problem.format_message())
    except ImporterError as problem:
        code = _told(arguments, problem.exit_code, problem.message, _hint(problem), problem)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    except Exception as problem:  # noqa: BLE001 - the outermost place: a bug is told, never shown as a traceback
        code = _told_bug(arguments, problem)
    sys.exit(code if isinstance(code, int) else 0)


def _narrow() -> dict[str, Any]:
    """The width of help on a terminal that is narrower than click would believe."""
    columns = shutil.get_terminal_size().columns
    return {"terminal_width": max(columns - 2, 20)} if columns < NARROWEST_FOR_CLICK else {}


def _show(problem: click.ClickException) -> None:
    """As click shows it, but for what a terminal would obey: it repeats what was typed, pasted, or a file's name."""
    from importer.cli.console import safe

    said = io.StringIO()
    problem.show(said)
    click.echo(safe(said.getvalue(), keep_lines=True), err=True, nl=False)


def _hint(problem: ImporterError) -> str:
    """The next step at a command line, where nobody sees keys: the same command takes care of them."""
    is_keyed = isinstance(problem, ApiAway) and getattr(problem, "key", None) is not None
    return "Nothing is lost: run the same command again later." if is_keyed else problem.hint


def _told(arguments: list[str], code: int, message: str, hint: str, problem: ImporterError | None = None) -> int:
    from importer.cli.console import VOICE, log_line, safe

    if VOICE.is_json:
        log_line("stopped", level="error", message=message, hint=hint or None, exit_code=code)
        return _told_json(arguments, code, message, problem)
    click.echo(f"{safe(message)}" + (f"\n{safe(hint, keep_lines=True)}" if hint else ""), err=True)
    return _told_json(arguments, code, message, problem)


def _told_bug(arguments: list[str], problem: Exception) -> int:
    from importer.cli.console import safe
    from importer.cli.logs import log_bug

    message = (
        f"A bug in importer stopped the run ({type(problem).__name__}). Nothing is lost: run the same command again."
    )
    click.echo(safe(message), err=True)
    click.echo("IMPORTER_LOG=debug shows where. Please report it.", err=True)
    log_bug(problem)
    return _told_json(arguments, 1, message)


def _told_json(arguments: list[str], code: int, message: str, problem: ImporterError | None = None) -> int:
    if "--json" in arguments:
        from importer.cli.words import error_json

        click.echo(json.dumps(error_json(code, message, problem, arguments), ensure_ascii=False))
    return code
