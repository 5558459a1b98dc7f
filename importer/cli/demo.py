"""`importer demo`: watch it work, on this machine only."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path

import click

from importer.cli.options import examples
from importer.errors import UsageProblem


@click.command(
    "demo",
    short_help="Watch it work on sample data: sent, killed, resumed, proved.",
    epilog=examples("importer demo", "importer demo --keep demo/"),
)
@click.option("--keep", type=click.Path(file_okay=False, path_type=Path), help="Keep ledger and sandbox here.")
@click.pass_context
def command(context: click.Context, /, keep: Path | None) -> None:
    """Send the sample list to a sandbox, kill the sender half way, run it again, and prove the result.

    Takes some seconds. Nothing leaves this machine and nobody is called.
    """
    from importer.demo import Demo

    if importlib.util.find_spec("werkzeug") is None:
        raise UsageProblem("The demo needs the sandbox.", hint='pip install "phone-list-importer[sandbox]"')
    if keep is not None and (keep / "ledger.db").exists():
        raise UsageProblem(f"{keep} already holds a demonstration.", hint="Name a new folder with --keep.")
    with tempfile.TemporaryDirectory(prefix="importer-demo-") as folder:
        if keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
        verdict = Demo((keep or Path(folder)).absolute(), click.echo).run()
    click.echo("\n5. The proof, from the sandbox's own records:")
    click.echo(f"{verdict.accepted_rows:>12,}  rows the ledger says were accepted")
    click.echo(f"{verdict.jobs:>12,}  call jobs the platform made")
    click.echo(f"{verdict.lost:>12,}  lost, {verdict.doubled:,} doubled")
    click.echo("Proved: each row once." if verdict.is_proved else "NOT proved: please report this.")
    context.exit(0 if verdict.is_proved else 1)
