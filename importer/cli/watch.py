"""What `run` and `send` are watched by: structured lines, metrics, traces, and word at the end.

Floor: cli. Everything is opened before the run and closed after it; the engine knows of none of it. What goes wrong
while watching is said and changes neither the run nor its exit code.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from importer.cli.console import VOICE, LogLines, Progress, log_line, say
from importer.cli.options import Asked
from importer.errors import ImporterError
from importer.model import Balance, Event, Observer

if TYPE_CHECKING:
    from importer.client.tracing import Around
    from importer.run import RunReport
    from importer.watching.metrics import Metrics
    from importer.watching.tracing import Trace


class Watch:
    """Who looks on at one run, and is told how it ended."""

    def __init__(self, options: Asked, *, metrics: Metrics | None, trace: Trace | None) -> None:
        self._values = options.values
        self._metrics, self._trace = metrics, trace
        self._started_s = time.monotonic()
        self._is_told = False
        self.around: Around | None = None if trace is None else trace.around

    @property
    def is_quiet(self) -> bool:
        """True where nothing is drawn or asked: lines for machines, or one line for a mail."""
        return VOICE.is_json or bool(self._values.get("heartbeat"))

    @property
    def has_heartbeat(self) -> bool:
        """True where one line stands for the report."""
        return bool(self._values.get("heartbeat"))

    def beside(self, progress: Progress) -> Observer:
        """What the engine tells of: drawn, or written as lines, and counted."""
        shown: Observer = LogLines() if VOICE.is_json else progress
        metrics = self._metrics
        if metrics is None:
            return shown

        def both(event: Event) -> None:
            shown(event)
            metrics(event)

        return both

    def ended(self, report: RunReport) -> None:
        """The run came to its report."""
        self._finish(
            report.exit_code,
            report.balance,
            import_id=report.import_id,
            error=report.detail or None,
            list_name=report.list_name,
            round_name=report.round_name or None,
            rejects=dict(report.reject_counts),
        )

    def stopped(self, code: int, problem: ImporterError | None, message: str) -> None:
        """Something stopped the run before its report."""
        known: Any = getattr(problem, "known", None)
        balance = known[0] if known else None
        self._finish(code, balance, import_id=None if problem is None else problem.import_id, error=message)

    def _finish(
        self, code: int, balance: Balance | None, *, import_id: int | None, error: str | None, **more: Any
    ) -> None:
        from importer.watching.finishing import summary_of

        if self._is_told:
            return
        self._is_told = True
        elapsed_s = time.monotonic() - self._started_s
        summary = summary_of(code, balance, import_id=import_id, error=error, elapsed_s=elapsed_s, **more)
        if self._metrics is not None:
            self._metrics.finish(code, balance, import_id=import_id, rejects=summary["rejects_by_reason"])
        if self._trace is not None:
            self._trace.finish(code, balance, import_id=import_id)
        if VOICE.is_json:
            log_line("finished", level="info" if code in (0, 3) else "warning", **summary)
        if self.has_heartbeat:
            click.echo(heartbeat(summary), err=bool(self._values.get("as_json")))
        self._tell(summary)

    def _tell(self, summary: dict[str, Any]) -> None:
        from importer.watching.finishing import tell

        hook = self._values.get("on_finish")
        if hook and (trouble := tell(str(hook), summary)):
            say(f"Warning: --on-finish: {trouble}. The run itself is not touched by that.")


def heartbeat(summary: dict[str, Any]) -> str:
    """A run in one line, for the mail that cron sends."""
    from importer.cli.console import safe

    code = summary["exit_code"]
    words = {0: "ok", 3: "ok, with bad rows", 7: "to be run again", 8: "needs a person", 130: "stopped", 143: "stopped"}
    parts = [f"importer {words.get(code, 'FAILED')} (exit {code})"]
    if summary["import"] is not None:
        parts.append(f"import {summary['import']}")
    if summary["round"]:
        parts.append(f"round {summary['round']}")
    counted = [name for name in Balance.__dataclass_fields__ if summary[name]]
    parts += [f"{summary[name]:,} {name.replace('_', ' ')}" for name in counted]
    parts += [f"{summary['elapsed_s']:,.1f} s", *([summary["error"]] if summary["error"] else [])]
    return safe(" · ".join(parts)).replace("\n", " ")


@contextlib.contextmanager
def watched(options: Asked, what: str) -> Iterator[Watch]:
    """Everything that was asked for, opened before the run and closed after it, however it ends.

    **Errors**: UsageProblem for an extra that is missing, or a file or port that cannot be had; nothing was done then.
    """
    values = options.values
    VOICE.is_json = values.get("log_format") == "json"
    with contextlib.ExitStack() as stack:
        metrics = _metrics(options, stack)
        watch = Watch(options, metrics=metrics, trace=_trace(what, stack) if values.get("traces") else None)
        try:
            yield watch
        except ImporterError as problem:
            watch.stopped(problem.exit_code, problem, problem.message)
            raise
        except click.Abort:
            watch.stopped(130, None, "Stopped.")
            raise
        except click.exceptions.Exit:
            raise
        except Exception as problem:
            watch.stopped(1, None, f"A bug stopped the run ({type(problem).__name__}).")
            raise


def _metrics(options: Asked, stack: contextlib.ExitStack) -> Metrics | None:
    file, port = options.values.get("metrics_file"), options.values.get("metrics_port")
    if not file and port is None:
        return None
    from importer.watching.metrics import Metrics

    metrics = Metrics(campaign=options.campaign_name or "", file=Path(file) if file else None, tell=_warn)
    stack.callback(metrics.close)
    if port is not None:
        say(f"Metrics: {metrics.serve(port, options.values.get('metrics_address') or '127.0.0.1')}")
    return metrics


def _warn(text: str) -> None:
    say(f"Warning: {text}")


def _trace(what: str, stack: contextlib.ExitStack) -> Trace:
    from importer.watching.tracing import traced

    return stack.enter_context(traced(f"importer {what}", tell=_warn))
