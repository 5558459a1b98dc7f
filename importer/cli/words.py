"""Results in words for people and in JSON for programs.

Floor: cli. In text for people, rejected reads *bad number* or *bad row*, and refused *declined by the platform*.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from importer.cli.console import safe, say
from importer.errors import ImporterError
from importer.model import Balance

if TYPE_CHECKING:
    from importer.run import Intention, RunReport

_BALANCE_FIELDS = (
    "read", "accepted", "rejected", "duplicate", "suppressed", "withdrawn", "refused", "in_doubt", "pending",
)  # fmt: skip

NEXT_STEPS = {
    3: "Some rows were not used: see above, repair them and run the list again.",
    6: "The platform refuses this campaign: check that it is not stopped and that the token is its own.",
    7: "Nothing is lost. Run the same command again later to go on.",
    8: "Some rows may or may not have been called; nothing is sent again blindly. `importer resolve` shows them.",
    130: "Stopped. Run the same command again to go on.",
    143: "Stopped. Run the same command again to go on.",
}


def balance_json(balance: Balance | None) -> dict[str, int | None]:
    """The balance under its stable names; nulls when there is none."""
    return {name: None if balance is None else getattr(balance, name) for name in _BALANCE_FIELDS}


def report_json(report: RunReport, ledger: str) -> dict[str, Any]:
    """A run's report for programs."""
    return {
        "import": report.import_id,
        **balance_json(report.balance),
        "elapsed_s": round(report.elapsed_s, 3),
        "exit_code": report.exit_code,
        "error": _masked(report.detail) or None,
        "ending": report.ending,
        "list": report.list_name,
        "round": report.round_name or None,
        "resumed": report.is_resumed,
        "ledger": ledger,
        "rejects_file": None if report.rejects_path is None else str(report.rejects_path),
        "rejects_by_reason": dict(report.reject_counts),
        "facts": report.facts,
    }


def _masked(detail: str) -> str:
    """What the platform said, without the token or whole numbers it may repeat."""
    from importer.client import redact

    return redact(detail)


def error_json(code: int, message: str, problem: ImporterError | None, arguments: Sequence[str]) -> dict[str, Any]:
    """What `--json` says when a run stopped before its report, with the balance as far as it is known."""
    known: Any = getattr(problem, "known", None)
    balance = known[0] if known else None
    started_s = known[1] if known else None
    return {
        "import": None if problem is None else problem.import_id,
        **balance_json(balance),
        "elapsed_s": None if started_s is None else round(time.monotonic() - started_s, 3),
        "exit_code": code,
        "error": message,
        "command": next((word for word in arguments if not word.startswith("-")), None),
    }


def day(moment_ms: int | None) -> str:
    """A date and time in the terminal's own zone."""
    return "?" if moment_ms is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(moment_ms / 1000))


def balance_lines(balance: Balance) -> list[str]:
    """The closing balance, zeros left out, the sum proved."""
    words = {
        "accepted": "accepted by the platform",
        "rejected": "bad number or bad row",
        "duplicate": "already in the list, or already accepted",
        "suppressed": "on a do-not-call list",
        "withdrawn": "withdrawn before it was sent",
        "refused": "declined by the platform",
        "in_doubt": "in doubt",
        "pending": "pending",
    }
    lines = [f"{balance.read:>12,}  rows read"]
    for name, said in words.items():
        rows = getattr(balance, name)
        if rows or name == "accepted":
            lines.append(f"{rows:>12,}  {said}")
    return lines


def reject_lines(counts: Iterable[tuple[str, int]]) -> list[str]:
    """Bad rows by reason."""
    return [f"{rows:>12,}  {reason.replace('_', ' ')}" for reason, rows in counts]


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def intention_text(intention: Intention) -> str:
    """What is about to happen, for a person to look at once."""
    campaign = intention.campaign
    named = f"{campaign.name or 'unnamed'} ({campaign.status})" if campaign.status else "not readable"
    lines = [
        f"Campaign      {named} at {intention.origin}",
        f"List          {intention.list_name}" + (f", round {intention.round_name}" if intention.round_name else ""),
        f"Ledger        {intention.ledger}",
        f"To call       {_counted(intention.to_send_rows, 'row')} in about {_counted(intention.requests, 'request')}",
    ]
    if intention.already_rows or intention.changed_rows:
        lines.append(f"Not again     {_not_again(intention)}")
    if intention.recent_rows:
        lines.append(
            f"Too lately    {intention.recent_rows:,} rows are for numbers called within --not-if-called-within"
        )
    if intention.suppressed_rows:
        lines.append(f"Do not call   {intention.suppressed_rows:,} rows are on a do-not-call list")
    if intention.repeated_rows:
        lines.append(f"Repeated      {intention.repeated_rows:,} rows of the list stand in it more than once")
    if intention.balance.rejected:
        reasons = ", ".join(f"{reason.replace('_', ' ')} {rows:,}" for reason, rows in intention.reject_counts[:4])
        lines.append(f"Bad rows      {intention.balance.rejected:,} ({reasons})")
        lines.append(f"              see {intention.rejects_path}")
    columns = ", ".join(intention.payload_columns[:8]) + (", …" if len(intention.payload_columns) > 8 else "")
    lines.append(f"Columns       {intention.phone_column} is the phone; the script gets: {columns or 'nothing else'}")
    return "\n".join(safe(line) for line in [*lines, *_fit_lines(intention)])


def _fit_lines(intention: Intention) -> list[str]:
    """Will it fit: when sending would end, what that crosses, and how the list differs from the last time."""
    fit, lines = intention.fit, []
    if fit.expected_s is not None and fit.rate_rows_s is not None:
        source = "as the platform answered before" if fit.is_measured else "by --rate"
        lines.append(
            f"Takes about   {span(fit.expected_s)}, until {day(round((time.time() + fit.expected_s) * 1000))} "
            f"({speed(fit.rate_rows_s)} rows/s, {source})"
        )
    if fit.is_beyond_key_window:
        lines.append("Attention     longer than the platform remembers keys: keep the ledger safe meanwhile")
    if fit.late_rows:
        lines.append(f"Attention     {fit.late_rows:,} rows must not be called any more when it is their turn")
    if fit.last is not None:
        more, new_rows = intention.balance.read - fit.last.read_rows, intention.balance.pending
        lines.append(
            f"Last time     import {fit.last.import_id}, {day(fit.last.started_ms)}: {fit.last.read_rows:,} rows read, "
            f"{fit.last.accepted_rows:,} accepted; now {more:+,} rows, {new_rows:,} to call"
        )
    return lines


def span(wait_s: float) -> str:
    """A length of time in the unit that fits it."""
    for unit, size_s in (("days", 86_400.0), ("hours", 3_600.0), ("minutes", 60.0)):
        if wait_s >= 2 * size_s:
            return f"{wait_s / size_s:,.1f} {unit}"
    return f"{wait_s:,.0f} seconds" if wait_s >= 2 else "a second"


def speed(rows_s: float) -> str:
    """Rows a second, with no more digits than anybody reads."""
    return f"{rows_s:,.0f}" if rows_s >= 10 else f"{rows_s:.2g}"


def _not_again(intention: Intention) -> str:
    first, last = intention.earlier_ms
    when = "" if first is None else f", accepted {day(first)}" + ("" if first == last else f" to {day(last)}")
    changed = f", {intention.changed_rows:,} of them with other content" if intention.changed_rows else ""
    return f"{intention.already_rows + intention.changed_rows:,} rows were here before{when}{changed}"


def print_report(report: RunReport, ledger: str) -> None:
    """The closing balance on standard output, the next step on standard error."""
    round_text = f", round {report.round_name}" if report.round_name else ""
    click.echo(safe(f"Import {report.import_id}: {report.list_name}{round_text} ({report.elapsed_s:,.1f} s)"))
    for line in balance_lines(report.balance):
        click.echo(safe(line))
    if report.rejects_path is not None:
        click.echo(safe(f"Bad rows, with reasons: {report.rejects_path}"))
    for file, row_no, kind in report.refusals[:5]:
        click.echo(safe(f"Declined: {file} row {row_no:,}: {_masked(kind)}"))
    click.echo(safe(f"Ledger: {ledger}"))
    if report.detail:
        say(_masked(report.detail))
    step = NEXT_STEPS.get(report.exit_code)
    if report.ending == "first":
        step = "The rows asked for were sent. Run the same command without --first to send the rest."
    if report.ending == "declined":
        step = "Nothing was sent. Run the same command again when you are ready."
    if step:
        say(step)
