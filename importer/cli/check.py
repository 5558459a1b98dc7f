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
    files,
    hold_back,
    list_mapping,
    phone_rules,
    read_options,
    sources_of,
    target_of,
    with_options,
)
from importer.errors import UsageProblem

if TYPE_CHECKING:
    from importer.errors import ListProblem
    from importer.run.checking import CheckReport, CheckSettings

EPILOG = """\b
Examples:
  importer check customers.csv
  importer check customers.xlsx --region DE --phone-column Telefon"""


@click.command("check", short_help="Everything `run` does with a list, without sending.", epilog=EPILOG)
@click.argument("sources", nargs=-1, metavar="[SOURCE...]", shell_complete=files)
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
    from importer.cli.check_page import show
    from importer.cli.console import Progress
    from importer.cli.logs import start_log
    from importer.machine import now, standard_input
    from importer.run.checking import check_list, stop_of

    start_log()
    options = asked(context)
    settings = _settings(options, tuple(sources_of(sources, options.values)))
    with Progress(is_quiet=as_json) as progress:
        report = check_list(settings, observer=progress, now=now, stdin=standard_input())
    problem = stop_of(report, _checks(options))
    covered = 0 if options.values["allow_rejects"].covers(report.balance) else 3
    code = covered if problem is None else problem.exit_code
    if as_json:
        click.echo(json.dumps(_as_json(report, code, problem), ensure_ascii=False))
    else:
        show(report, problem)
    context.exit(code)


def _settings(options: Asked, sources: tuple[str, ...]) -> CheckSettings:
    from importer.run.checking import CheckSettings

    values = options.values
    return CheckSettings(
        sources=sources,
        list_name=values["list_name"],
        round_name=values["round_name"],
        once_per=values["once_per"],
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
        "regions_fitting": _fitting(report),
        "styles": report.shape.styles,
        "questions": [question.message for question in report.questions],
    }


def _fitting(report: CheckReport) -> dict[str, float]:
    """Where the numbers without country code would be valid, the likeliest region first, with their share."""
    if report.suggestion is None:
        return {}
    found = report.suggestion
    return {found.region: found.share} | {rival.region: rival.share for rival in found.rivals}
