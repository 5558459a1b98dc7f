"""`importer run --engine dask`: the same run, its list in shards over the workers of a cluster."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from importer.cli.console import Progress, interruptible, say
from importer.cli.desk import TerminalDesk
from importer.cli.engine import calls_api
from importer.cli.logs import start_log
from importer.errors import UsageProblem
from importer.machine import StopSignals, is_terminal, now, this_process

if TYPE_CHECKING:
    from importer.cli.options import Asked
    from importer.cli.watch import Watch
    from importer.run import RunReport, RunSettings


def is_wanted(options: Asked) -> bool:
    """Whether the run is to go over a cluster. **Errors**: UsageProblem for options that do not go together."""
    values = options.values
    is_dask = values.get("engine") == "dask"
    if not is_dask and (values.get("scheduler") or values.get("shard_count")):
        raise UsageProblem("--scheduler and --shards go with --engine dask.")
    if is_dask and values.get("shard") is not None:
        raise UsageProblem("--engine dask makes the shards itself.", hint="Say how many with --shards N.")
    return is_dask


def run_on_cluster(options: Asked, settings: RunSettings, watch: Watch, *, is_quiet: bool, is_yes: bool) -> RunReport:
    """The run, from joining the cluster to the report. **Errors**: as a run; ApiAway when the cluster was lost."""
    from importer.cluster import Cluster, joined
    from importer.ledger import Ledger
    from importer.run import Run

    start_log(settings.target.token, shows_numbers=settings.shows_numbers)
    settings = _from_anywhere(settings)
    if not is_quiet:
        say(f"Ledger: {settings.ledger}")
    values = options.values
    with (
        StopSignals() as signals,
        signals.with_starter(values.get("stop_with")),
        Progress(is_quiet=is_quiet) as progress,
        Ledger(
            settings.ledger,
            this_process(""),
            now_ms=now().unix_ms,
            is_network_fine=settings.is_network_ledger_fine,
        ) as home,
        calls_api(settings.target, timeout_s=settings.sending.window.request_s, connections=1) as api,
        joined(values.get("scheduler"), values.get("shard_count")) as (client, shards),
    ):
        desk, observer = TerminalDesk(progress, is_yes=is_yes, is_quiet=is_quiet), watch.beside(progress)
        home.witness.judge()
        Run(ledger=home, api=api, desk=desk, observer=observer, signals=signals, now=now).meet(settings)
        _ask(settings, shards, is_quiet=is_quiet, is_yes=is_yes)
        return Cluster(home=home, observer=observer, signals=signals).run(settings, client, shards)


def _from_anywhere(settings: RunSettings) -> RunSettings:
    """Files under names that mean the same wherever a worker was started. **Errors**: UsageProblem for a pipe."""
    if "-" in settings.sources:
        raise UsageProblem("--engine dask cannot read standard input: several workers read the list.")
    hold_back = replace(settings.hold_back, suppress=tuple(map(_absolute, settings.hold_back.suppress)))
    return replace(settings, sources=tuple(map(_absolute, settings.sources)), hold_back=hold_back)


def _absolute(source: str) -> str:
    from importer.sources import scheme_of

    return str(Path(source).absolute()) if scheme_of(source) is None else source


def _ask(settings: RunSettings, shards: int, *, is_quiet: bool, is_yes: bool) -> None:
    """Asks a terminal once, before anything is given out. **Errors**: click.Abort."""
    if is_yes or is_quiet or not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
        return
    with interruptible():
        if not click.confirm(f"Send {', '.join(settings.sources)} in {shards} shards?", default=False, err=True):
            raise click.Abort
