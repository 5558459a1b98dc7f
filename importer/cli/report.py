"""`importer report`: an import as a page, written to a file or shown while it is going on."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from importer.cli.imports import import_number
from importer.cli.options import LEDGER_OPTION, asked, examples, with_options
from importer.errors import LedgerProblem, UsageProblem
from importer.machine import StopSignals

if TYPE_CHECKING:
    from importer.cli.options import Asked

OURS = b'content="importer report"'  # stands near the beginning of every page of ours


@click.command(
    "report",
    short_help="Show an import as a page: balance, rejects, sends, calls.",
    epilog=examples(
        "importer report --html report.html", "importer report 12 --html -  >report.html", "importer report --live"
    ),
)
@click.argument("import_id", metavar="[IMPORT]", required=False)
@click.option("--html", "html", metavar="FILE", help="Write the page into this file; - is standard output.")
@click.option("--live", "is_live", is_flag=True, help="Show it in a browser on this machine, and keep it up to date.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Where, with --live. Else a free port.")
@with_options(LEDGER_OPTION)
@click.pass_context
def command(
    context: click.Context, /, import_id: str | None, html: str | None, is_live: bool, port: int, **_: Any
) -> None:
    """Show everything that is known of an import on one page, for people to read, print and send around.

    IMPORT is its number, or what its list is called; without one, the newest. The page loads nothing and holds no phone
    number. The ledger is only read, and a run may be going on meanwhile.
    """
    if (html is not None) == is_live:
        raise UsageProblem("Say where the page goes: --html FILE, or --live for a browser on this machine.")
    if port and not is_live:
        raise UsageProblem("--port is where --live listens: say both, or neither.")
    options = asked(context, of_import=True)
    number = _number(options, import_id)
    with _needed():
        if html is None:
            _serve(options, number, port)
        else:
            _write(html, _page(options, number).encode())


def _number(options: Asked, said: str | None) -> int:
    """The import that is meant. **Errors**: LedgerProblem when the ledger has none."""
    from importer.ledger import LedgerReader

    number = import_number(options, said)
    if number is None:
        with LedgerReader(options.ledger) as reader:
            number = reader.view.newest_import_id()
    if number is None:
        raise LedgerProblem(f"There is no import in {options.ledger} yet.", hint="`importer run LIST` begins one.")
    return number


@contextlib.contextmanager
def _needed() -> Iterator[None]:
    """Turns a library that is missing into the line that installs it. **Errors**: UsageProblem."""
    try:
        yield
    except ModuleNotFoundError as problem:
        raise UsageProblem(
            f"The page needs {problem.name}, which is not installed.", hint='pip install "phone-list-importer[report]"'
        ) from problem


def _page(options: Asked, number: int) -> str:
    from importer.report import gather
    from importer.report.page import render

    return render(gather(options.ledger, number))


def _serve(options: Asked, number: int, port: int) -> None:
    """Until Ctrl-C or SIGTERM, which is how it is meant to end. The address alone goes to standard output."""
    from importer.cli.console import say
    from importer.report import gather
    from importer.report.live import LivePage

    ledger, stop = options.ledger, threading.Event()
    with StopSignals() as signals:
        signals.when_received(stop.set)
        with LivePage(lambda: gather(ledger, number), port=port) as live:
            click.echo(live.address)
            sys.stdout.flush()
            say(f"Import {number}, live, for one browser on this machine: the address opens once. Ctrl-C ends it.")
            while not stop.wait(1.0):
                pass
    say("Ended.")


def _write(target: str, page: bytes) -> None:
    from importer.cli.console import say
    from importer.machine import write_private

    if target == "-":
        click.echo(page, nl=False)
        return
    path = Path(target)
    _judge(path)
    try:
        write_private(path, page)
    except OSError as problem:
        raise UsageProblem(f"{path} could not be written: {problem.strerror or problem}.") from problem
    say(f"Written: {path} ({len(page) / 1000:,.0f} kB). Open it in a browser.")


def _judge(path: Path) -> None:
    """Lets an earlier page be replaced, and nothing else. **Errors**: UsageProblem."""
    if path.is_dir():
        raise UsageProblem(f"{path} is a folder.", hint=f"Name a file: --html {path / 'report.html'}")
    if path.exists() and OURS not in path.read_bytes()[:2000]:
        raise UsageProblem(
            f"{path} is there already and is no page of `importer report`: it is left as it is.",
            hint="Name another file.",
        )
