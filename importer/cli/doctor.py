"""`importer doctor`: is all well, and if not, what to do."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from importer.cli.config import TRY_SANDBOX
from importer.cli.options import (
    CAMPAIGN_OPTIONS,
    JSON_OPTION,
    LEDGER_OPTION,
    Asked,
    Keeping,
    asked,
    file_configuration,
    target_of,
    with_options,
)
from importer.errors import UsageProblem

if TYPE_CHECKING:
    from importer.doctor.findings import Finding

EPILOG = """\b
Examples:
  importer doctor
  importer doctor --campaign spring
  importer doctor --offline --json"""

TIMEOUT_S = 20.0


@click.command("doctor", short_help="Look whether all is well.", epilog=EPILOG)
@with_options(
    (click.option("--offline", is_flag=True, help="Ask no platform: neither host, clock nor token."),),
    CAMPAIGN_OPTIONS,
    LEDGER_OPTION,
    (JSON_OPTION,),
)
@click.pass_context
def command(context: click.Context, /, offline: bool, as_json: bool, **_: Any) -> None:
    """Look at versions, ledger, disk, host, clock and token, and say what to do about what is not well.

    It changes nothing, takes no lock and may be asked while a run is going on. Without --campaign it looks at every
    campaign of importer.toml. Exit 0 when nothing is wrong, warnings or not.
    """
    from importer.doctor.findings import verdict
    from importer.doctor.installation import examine_installation

    each = _each(context)
    found = [*examine_installation(), *_ledger_findings(each)]
    if not offline:
        found += _campaign_findings(each)
    code = verdict(found)
    if as_json:
        click.echo(json.dumps(_as_json(found, code), ensure_ascii=False))
    else:
        _show(found, code)
    context.exit(code)


def _each(context: click.Context) -> list[Asked]:
    """The options under each campaign of the file, or under the one that options and variables name."""
    names = list(file_configuration().campaigns)
    if context.params.get("campaign") or context.params.get("host") or "IMPORTER_TOKEN" in os.environ or not names:
        return [asked(context)]
    return [asked(context, campaign_name=name) for name in names]


def _ledger_findings(each: Sequence[Asked]) -> list[Finding]:
    """Of every ledger that is named, once."""
    from importer.doctor.findings import Finding
    from importer.doctor.ledger import examine_disk, examine_ledger
    from importer.machine import now

    kept: dict[Path, list[float]] = {}
    try:
        for options in each:
            kept.setdefault(options.ledger, []).append(_keep_for_s(options))
    except UsageProblem as problem:
        return [Finding(what="ledger", state="note", text=problem.message, hint=problem.hint)]
    return [
        one
        for path, keep_for_s in kept.items()
        for one in (*examine_ledger(path, now_ms=now().unix_ms, keep_for_s=keep_for_s), *examine_disk(path))
    ]


def _keep_for_s(options: Asked) -> float:
    """How long a campaign's rows are kept, as a run of it would find it in the file."""
    from importer.purging import DEFAULT_KEEP_S

    said = options.campaign.get("keep_for", options.configuration.common.get("keep_for"))
    try:
        return DEFAULT_KEEP_S if said is None else Keeping().convert(said, None, None)
    except click.BadParameter as problem:
        raise UsageProblem(f"{options.configuration.path}: keep_for: {problem.format_message()}") from None


def _campaign_findings(each: Sequence[Asked]) -> list[Finding]:
    from importer.doctor.findings import Finding

    found: list[Finding] = []
    for options in each:
        try:
            found += _examined(options)
        except UsageProblem as problem:
            is_nothing = not options.campaign and problem.hint == TRY_SANDBOX
            found.append(
                Finding(
                    what="campaign",
                    state="note" if is_nothing else "wrong",
                    text=f"{options.campaign_name}: {problem.message}" if options.campaign_name else problem.message,
                    hint="Set one up: importer init" if is_nothing else problem.hint,
                    exit_code=0 if is_nothing else problem.exit_code,
                )
            )
    return found


def _examined(options: Asked) -> list[Finding]:
    from importer.cli.engine import calls_api
    from importer.doctor.campaign import examine_campaign

    target = target_of(options)
    with calls_api(target, timeout_s=TIMEOUT_S, connections=1) as api:
        return examine_campaign(options.campaign_name or "", api, unix_s=time.time())


def _as_json(found: Sequence[Finding], code: int) -> dict[str, Any]:
    wrong = [each.text for each in found if each.state == "wrong"]
    return {
        "exit_code": code,
        "error": wrong[0] if wrong else None,
        "checks": [
            {
                "what": each.what,
                "state": each.state,
                "text": each.text,
                "hint": each.hint or None,
                "facts": dict(each.facts),
            }
            for each in found
        ],
    }


def _show(found: Sequence[Finding], code: int) -> None:
    from importer.cli.console import safe

    for each in found:
        click.echo(safe(f"{each.state:<8}  {each.what}: {each.text}"))
        for line in each.hint.splitlines():
            click.echo(safe(f"          -> {line}"))
    warned = sum(each.state == "warning" for each in found)
    wrong = sum(each.state == "wrong" for each in found)
    said = f"{wrong} wrong, {warned} to look at" if wrong or warned else "All is well."
    click.echo(said if not code else f"{said} (exit code {code})")
