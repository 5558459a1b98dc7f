"""`importer map`: a mapping file to begin with, written by looking at a list."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from importer.cli.options import QUERY_OPTIONS, READ_OPTIONS, asked, files, read_options, sources_of, with_options
from importer.errors import UsageProblem

EPILOG = """\b
Examples:
  importer map customers.csv > customers.toml
  importer map customers.csv --output customers.toml
  importer run customers.csv --map customers.toml"""


@click.command("map", short_help="Write a mapping file to begin with.", epilog=EPILOG)
@click.argument("sources", nargs=-1, metavar="[SOURCE...]", shell_complete=files)
@click.option("--output", metavar="FILE", help="Write it there, never over an existing file. Else to standard output.")
@with_options(READ_OPTIONS, QUERY_OPTIONS)
@click.pass_context
def command(context: click.Context, /, sources: tuple[str, ...], output: str | None, **_: Any) -> None:
    """Look at a list and write a commented mapping file: what each column becomes in the request.

    As it is written it changes nothing; edit it, then say `--map FILE` to run and check.
    """
    from importer.intake.starter import starter_text
    from importer.sources import open_list

    values = asked(context).values
    names = sources_of(sources, values)
    with (
        tempfile.TemporaryDirectory(prefix="importer-map-") as folder,
        open_list(names, read_options(values), stdin=sys.stdin.buffer, spool_dir=Path(folder)) as rows,
    ):
        text = starter_text(rows)
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        with Path(output).open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as problem:
        raise UsageProblem(f"{output} exists already.", hint="Name another file.") from problem
    except OSError as problem:
        raise UsageProblem(f"{output} could not be written: {problem.strerror}.") from problem
