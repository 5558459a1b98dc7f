"""`importer selftest`: the promise tried out on this machine."""

from __future__ import annotations

import importlib.util
import json
import secrets
import signal
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from importer.cli.options import JSON_OPTION, examples
from importer.errors import UsageProblem

if TYPE_CHECKING:
    from importer.selftest import CrashReport


@click.group("selftest", short_help="Try the promise out on this machine.", epilog=examples("importer selftest crash"))
def command() -> None:
    """Try the promise out on this machine. Nothing leaves it and nobody is called."""


@command.command(
    "crash",
    short_help="Kill it everywhere, cut the power, lose the ledger; then count.",
    epilog=examples("importer selftest crash", "importer selftest crash --rounds 500 --seed 7"),
)
@click.option("--rounds", type=click.IntRange(min=1), metavar="N", help="Histories.  [default: the whole plan once]")
@click.option("--seed", type=click.IntRange(min=0), metavar="S", help="Where to begin. One seed repeats one history.")
@click.option("--keep", type=click.Path(file_okay=False, path_type=Path), help="Keep ledgers and lists here.")
@JSON_OPTION
@click.pass_context
def crash(context: click.Context, /, rounds: int | None, seed: int | None, keep: Path | None, *, as_json: bool) -> None:
    """Kill runs everywhere, cut the power, lose the ledger, let two run at once; then count what came of it.

    Real processes, against a sandbox whose own records are the judge. Takes about a minute. Ends with 0 when no row
    was lost and none called twice, and with 1 otherwise; then --seed S --rounds 1 repeats the history that went wrong.
    """
    from importer.selftest import CrashTest

    if importlib.util.find_spec("werkzeug") is None:
        raise UsageProblem("The self-test needs the sandbox.", hint='pip install "phone-list-importer[sandbox]"')
    if keep is not None and keep.exists() and any(keep.iterdir()):
        raise UsageProblem(f"{keep} is not empty.", hint="Name a new folder with --keep.")
    signal.signal(signal.SIGTERM, _leave)  # so that the sandboxes are ended, as Ctrl-C does by itself
    first_seed = secrets.randbelow(1_000_000) if seed is None else seed
    with tempfile.TemporaryDirectory(prefix="importer-selftest-") as folder:
        place = (keep or Path(folder)).resolve()
        report = CrashTest(folder=place, seed=first_seed, rounds=rounds, tell=_say_progress).run()
    if as_json:
        click.echo(json.dumps(_as_json(report), ensure_ascii=False))
    else:
        _print(report)
    context.exit(0 if report.is_proved else 1)


def _leave(number: int, _: object) -> None:
    sys.exit(128 + number)


def _say_progress(line: str) -> None:
    click.echo(line, err=True)


def _print(report: CrashReport) -> None:
    from importer.selftest import markdown

    click.echo(markdown(report.lines))
    click.echo()
    for kind, (total, tried) in report.covered.items():
        click.echo(f"Crash points {kind}: {tried} of {total}")
    for each in report.skipped:
        click.echo(f"Left out: {each}")
    for failure in report.failures:
        click.echo(f"WRONG: {failure.fault}: lost={failure.lost} duplicated={failure.duplicated} {failure.trouble}")
        if failure.seed is not None:
            click.echo(f"  repeat it: importer selftest crash --rounds 1 --seed {failure.seed}")
    click.echo(
        f"lost={report.lost} duplicated={report.duplicated}  ({report.histories} histories, seed {report.first_seed}, "
        f"{report.elapsed_s:.0f} s)"
    )


def _as_json(report: CrashReport) -> dict[str, Any]:
    return {
        "lost": report.lost,
        "duplicated": report.duplicated,
        "histories": report.histories,
        "seed": report.first_seed,
        "faults": [asdict(line) for line in report.lines],
        "crash_points": {kind: {"total": total, "tried": tried} for kind, (total, tried) in report.covered.items()},
        "left_out": list(report.skipped),
        "failures": [asdict(each) for each in report.failures],
        "elapsed_s": round(report.elapsed_s, 1),
        "exit_code": 0 if report.is_proved else 1,
    }
