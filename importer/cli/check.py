"""`importer check`: what `run` would do with a list, and what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from importer.cli.options import (
    CAMPAIGN_OPTIONS,
    DO_NOT_CALL_OPTIONS,
    END_OPTIONS,
    JSON_OPTION,
    LEDGER_OPTION,
    LIST_OPTIONS,
    QUERY_OPTIONS,
    RUN_ONLY_OPTIONS,
    SEND_OPTIONS,
    Asked,
    asked,
    hold_back,
    list_mapping,
    phone_rules,
    read_options,
    sources_of,
    target_of,
    with_options,
)
from importer.errors import ListProblem, UsageProblem

if TYPE_CHECKING:
    from importer.run.checking import CheckReport, CheckSettings

EPILOG = """\b
Examples:
  importer check customers.csv
  importer check customers.xlsx --region DE --phone-column Telefon"""


@click.command("check", short_help="Everything `run` does with a list, without sending.", epilog=EPILOG)
@click.argument("sources", nargs=-1, metavar="[SOURCE...]")
@with_options(
    LIST_OPTIONS,
    QUERY_OPTIONS,
    DO_NOT_CALL_OPTIONS,
    LEDGER_OPTION,
    CAMPAIGN_OPTIONS,
    RUN_ONLY_OPTIONS,
    END_OPTIONS,
    SEND_OPTIONS,
    (JSON_OPTION,),
)
@click.pass_context
def command(context: click.Context, /, sources: tuple[str, ...], as_json: bool, **_: Any) -> None:
    """Read a list to its end, check every row, and say what `run` would do. Nothing is sent and nothing is kept.

    If there is a ledger it is read, to count who was called already. Takes the options of `run`.
    """
    from importer.cli.console import Progress, say
    from importer.cli.logs import start_log
    from importer.machine import now, standard_input
    from importer.run.checking import check_list
    from importer.run.judging import judge_balance

    start_log()
    options = asked(context)
    settings = _settings(options, tuple(sources_of(sources, options.values)))
    with Progress(is_quiet=as_json) as progress:
        report = check_list(settings, observer=progress, now=now, stdin=standard_input())
    code, problem = 0 if options.values["allow_rejects"].covers(report.balance) else 3, None
    try:
        judge_balance(report.balance, _checks(options))
    except ListProblem as refused:
        code, problem = refused.exit_code, refused
    if as_json:
        click.echo(json.dumps(_as_json(report, code, problem), ensure_ascii=False))
    else:
        _show(report)
        if problem is not None:
            say(problem.message)
    context.exit(code)


def _settings(options: Asked, sources: tuple[str, ...]) -> CheckSettings:
    from importer.run.checking import CheckSettings

    values = options.values
    return CheckSettings(
        sources=sources,
        list_name=values["list_name"],
        round_name=values["round_name"],
        once_per=values["once_per"] or "row",
        phone_column=values["phone_column"],
        region_column=values["region_column"],
        mapping=list_mapping(values),
        is_splitting=values["split_cells"],
        hold_back=hold_back(values),
        rules=phone_rules(values),
        reading=read_options(values),
        batch_size_rows=values["batch_size"],
        rate_rows_s=values["rate"],
        ledger=_known_ledger(options),
        target=_known_target(options),
    )


def _known_ledger(options: Asked) -> Path | None:
    """The ledger, where one can be told; check needs none."""
    try:
        return options.ledger
    except UsageProblem:
        return None


def _known_target(options: Asked) -> Any:
    """The campaign, where one is configured; check needs none."""
    try:
        return target_of(options)
    except UsageProblem:
        return None


def _checks(options: Asked) -> Any:
    from importer.run import Checks

    values = options.values
    return Checks(
        stop_at_rejects_share=values["stop_at_rejects"],
        expect_rows=values["expect_rows"],
        max_calls=values["max_calls"],
        allowance=values["allow_rejects"],
    )


def _as_json(report: CheckReport, code: int, problem: ListProblem | None) -> dict[str, Any]:
    from importer.cli.words import balance_json

    return {
        "import": None,
        **balance_json(report.balance),
        "elapsed_s": round(report.elapsed_s, 3),
        "exit_code": code,
        "error": problem.message if problem else None,
        "list": report.list_name,
        "requests": report.requests,
        "phone_column": report.phone_column,
        "payload_columns": list(report.payload_columns),
        "policy_columns": list(report.policy_columns),
        "rejects_by_reason": dict(report.reject_counts),
        "skips_by_reason": report.skips,
        "came_back": report.came_back_rows,
        "facts": report.facts,
        "region_suggested": report.suggestion.region if report.suggestion else None,
    }


def _show(report: CheckReport) -> None:
    from importer.cli.console import safe

    lines = [f"{name}: {said}, {rows:,} rows" for name, said, rows in report.files]
    lines += [
        f"Phone column: {report.phone_column}",
        f"The script gets: {', '.join(report.payload_columns) or 'nothing'}",
    ]
    if report.policy_columns:
        lines.append(f"Call policy: {', '.join(report.policy_columns)}")
    for line in [*lines, "", *_balance(report), *_reasons(report), *_numbers(report), "", *_what_run_would_do(report)]:
        click.echo(safe(line))


def _balance(report: CheckReport) -> list[str]:
    balance, skips = report.balance, report.skips
    lines = [f"{balance.read:>12,}  rows read", f"{balance.pending:>12,}  would be called"]
    named = {
        "repeated": "stand in the list more than once",
        "already": "were here before, and would not be called again",
        "changed": "are known with other content, and would not be called",
        "recent": "were called too lately",
        "suppressed": "on a do-not-call list",
    }
    lines += [f"{skips[reason]:>12,}  {said}" for reason, said in named.items() if skips.get(reason)]
    if balance.rejected:
        lines.append(f"{balance.rejected:>12,}  cannot be used")
    return lines + _repeats(report)


def _repeats(report: CheckReport) -> list[str]:
    """The first duplicates, each with the row it repeats and when that was called."""
    from importer.cli.words import day

    lines = []
    for each in report.repeats:
        if each.earlier_row_no is not None:
            when = "" if each.earlier_ms is None else f", accepted {day(each.earlier_ms)}"
            of = f"row {each.earlier_row_no:,} of {each.earlier_list}"
            lines.append(f"    {each.file} row {each.row_no:,}: {each.reason}, as {of}{when}")
    return lines


def _reasons(report: CheckReport) -> list[str]:
    """The damage report: how many of each reason, the first of them, and how each can be mended."""
    lines: list[str] = []
    for reason, rows in report.reject_counts:
        lines += ["", f"{reason.replace('_', ' ').capitalize()}: {rows:,}"]
        for each in report.examples.get(reason, []):
            cell = _cell(each.cells, each.column)
            lines.append(f"    {each.file} row {each.row_no:,}: {cell}")
        first = next(iter(report.examples.get(reason, [])), None)
        if first is not None:
            lines.append(f"    {first.explanation}")
    return lines


def _cell(cells: str, column: str | None) -> str:
    found = json.loads(cells)
    text = found.get(column) if column in found else found.get("importer_raw")
    shown = "" if text is None else str(text)
    return (shown[:60] + "…") if len(shown) > 60 else (shown or "(empty)")


def _numbers(report: CheckReport) -> list[str]:
    regions = sorted(report.facts["regions"].items(), key=lambda pair: -pair[1])
    types = sorted(report.facts["types"].items(), key=lambda pair: -pair[1])
    lines = [""] if regions else []
    if regions:
        lines.append("Countries: " + _most(regions))
    if types:
        lines.append("Types: " + _most([(name.replace("_", " "), rows) for name, rows in types]))
    split = report.facts["numbers"].get("split_off", 0)
    if split:
        lines.append(f"Note: {split:,} rows were made of cells with several numbers, beside those the list has")
    for warning, rows in report.facts["warnings"].items():
        lines.append(f"Note: {rows:,} rows: {warning.replace('_', ' ')}")
    return lines


def _most(pairs: list[tuple[str, int]]) -> str:
    shown = ", ".join(f"{name} {rows:,}" for name, rows in pairs[:6])
    rest = sum(rows for _, rows in pairs[6:])
    return shown + (f", others {rest:,}" if rest else "")


def _what_run_would_do(report: CheckReport) -> list[str]:
    lines = [f"`importer run` would send {report.balance.pending:,} rows in {report.requests:,} requests."]
    if report.sending_s is not None:
        minutes = report.sending_s / 60
        lines.append(f"At --rate that takes about {minutes:,.0f} min." if minutes >= 2 else "At --rate: under 2 min.")
    if report.suggestion is not None:
        found = report.suggestion
        lines.append(
            f"{found.share:.0%} of the numbers would be valid in {found.region}: say --region {found.region} if so."
        )
    if report.came_back_rows:
        lines.append(
            f"{report.came_back_rows:,} of them are for numbers this campaign already has, with other content: "
            "`run` needs --once-per or --round."
        )
    if report.doubtful_bare_rows:
        lines.append(
            f"{report.doubtful_bare_rows:,} numbers without + could be meant both ways: `run` needs --bare "
            "international or --bare national."
        )
    if report.is_ledger_known and not report.is_campaign_known:
        lines.append("Who was called already is not counted: the ledger does not know this campaign.")
    lines.append(f"Checked in {report.elapsed_s:,.1f} s. Nothing was sent.")
    return lines
