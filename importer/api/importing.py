"""`run_import` and `check_list`: the two verbs, put together for a program.

Floor: api. What the command line does with a terminal is done here with arguments: nobody is asked, so a list about
which a person would have to be asked stops with an error that names the argument which answers it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from typing import BinaryIO, Unpack, cast

from importer.api.frames import Handed, Source, handed_over
from importer.api.options import (
    CheckOptions,
    RunOptions,
    check_settings,
    checks,
    judged,
    run_settings,
    target_of,
)
from importer.api.results import CheckResult, ImportResult
from importer.errors import UsageProblem
from importer.ledger import Ledger
from importer.machine import (
    Owner,
    StopSignals,
    make_private_folder,
    now,
    standard_input,
    this_process,
    written_by_others,
)
from importer.model import Event, Notice, Observer
from importer.run import BareDigits, CameBack, CampaignFacts, Intention, Run, RunSettings
from importer.run.checking import check_list as checked
from importer.run.checking import stop_of
from importer.run.reaching import calls_api


def _unobserved(event: Event) -> None:
    """Nobody watches."""


def run_import(
    source: Source,
    *,
    host: str,
    token: str,
    ledger: str | PathLike[str],
    observer: Observer = _unobserved,
    confirm: Callable[[Intention], bool] | None = None,
    stop: StopSignals | None = None,
    **options: Unpack[RunOptions],
) -> ImportResult:
    """Takes a list in, checks every row and sends the good ones; call it again after anything that stopped it.

    `source` is a path, several paths, or a frame. `observer` is told of progress, in this thread. `confirm` is shown
    what is about to happen, once, and False sends nothing. `stop` drains and ends the run when it received a signal.
    **Errors**: ImporterError for whatever stops the run before its report; it has `exit_code`, `message` and `hint`.
    **Crash**: at any moment; the same call goes on from what the ledger holds.
    """
    options = cast("RunOptions", judged(options, RunOptions.__annotations__))
    path = Path(ledger)
    target = target_of(host, token, options)
    make_private_folder(path.parent)
    if warning := written_by_others(path.parent):
        observer(Notice(kind="ledger-folder", text=warning))
    with handed_over(source, path.parent) as handed:
        settings = run_settings(handed, target, path, options)
        with contextlib.ExitStack() as stack:
            run = _engine(stack, settings, handed, observer, _Desk(confirm), stop or StopSignals())
            return ImportResult.of(run.run(settings), path)


def check_list(
    source: Source,
    *,
    host: str | None = None,
    token: str | None = None,
    ledger: str | PathLike[str] | None = None,
    observer: Observer = _unobserved,
    **options: Unpack[CheckOptions],
) -> CheckResult:
    """Reads a list to its end and says what a run would do with it. Sends nothing, keeps nothing, needs no network.

    With `ledger` it counts who was called already; with several campaigns in it, `host` and `token` say which.
    **Errors**: ImporterError when the list, or the ledger, cannot be read.
    """
    options = cast("CheckOptions", judged(options, CheckOptions.__annotations__))
    if (host is None) != (token is None):
        raise UsageProblem("host and token go together: they say which campaign of the ledger is meant.")
    target = None if host is None or token is None else target_of(host, token, options)
    with handed_over(source, None) as handed:
        settings = check_settings(handed, target, None if ledger is None else Path(ledger), options)
        report = checked(settings, observer=observer, now=now, stdin=_stdin(handed))
    wanted = checks(options)
    problem = stop_of(report, wanted)
    if problem is not None:
        return CheckResult.of(report, exit_code=problem.exit_code, problem=problem.message)
    return CheckResult.of(report, exit_code=0 if wanted.allowance.covers(report.balance) else 3, problem=None)


def _engine(
    stack: contextlib.ExitStack,
    settings: RunSettings,
    handed: Handed,
    observer: Observer,
    desk: _Desk,
    signals: StopSignals,
) -> Run:
    """A run's parts, open for as long as the stack is."""
    ledger = stack.enter_context(Ledger(settings.ledger, _owner(), now_ms=now().unix_ms))
    sending = settings.sending
    api = calls_api(settings.target, timeout_s=sending.window.request_s, connections=sending.in_flight + 1)
    return Run(
        ledger=ledger,
        api=stack.enter_context(api),
        desk=desk,
        observer=observer,
        signals=signals,
        now=now,
        stdin=_stdin(handed),
    )


def _stdin(handed: Handed) -> BinaryIO:
    return standard_input() if handed.stream is None else cast("BinaryIO", handed.stream)


def _owner() -> Owner:
    """This process, by what it does and not by its arguments, which are a stranger's."""
    return replace(this_process(datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")), command="run_import")


@dataclass(frozen=True, slots=True)
class _Desk:
    """Nobody at a desk: every question but the last is answered by arguments, or not at all."""

    confirm: Callable[[Intention], bool] | None

    def may_send(self, intention: Intention) -> bool:
        """As the caller says; without a word, yes."""
        return self.confirm is None or self.confirm(intention)

    def which_call(self, came_back: CameBack) -> str | None:  # noqa: ARG002 - `once_per` and `round_name` answer it
        """Nobody says."""
        return None

    def which_reading(self, bare: BareDigits) -> str | None:  # noqa: ARG002 - `bare` answers it
        """Nobody says."""
        return None

    def is_right_ledger(self, campaign: CampaignFacts, ledger: Path) -> bool:  # noqa: ARG002 - `new_ledger` does
        """Nobody says."""
        return False
