"""`importer call`: one number into a campaign, in the ledger like any row."""

from __future__ import annotations

import json
from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING, Any

import click

from importer.cli.options import (
    CAMPAIGN_OPTIONS,
    JSON_OPTION,
    LEDGER_OPTION,
    YES_OPTION,
    Duration,
    asked,
    run_settings,
    with_options,
)
from importer.errors import UsageProblem

if TYPE_CHECKING:
    from importer.phones import PhoneRules
    from importer.run import Run, RunReport, RunSettings

EPILOG = """\b
Examples:
  importer call +16505550100
  importer call +16505550100 --payload name=Ada --payload order=1042
  importer call +16505550100 --test"""


class Pair(click.ParamType):  # type: ignore[type-arg]  # generic only in newer click
    """KEY=VALUE; the value may hold further equals signs."""

    name = "KEY=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Key and value."""
        if isinstance(value, tuple):
            return value
        key, equals, rest = str(value).partition("=")
        if not (key and equals):
            self.fail(f"{value!r} is not of the form KEY=VALUE", param, ctx)
        return key, rest


@click.command("call", short_help="Have one number called.", epilog=EPILOG)
@click.argument("phone", metavar="PHONE")
@click.option("--payload", "pairs", type=Pair(), multiple=True, help="What the script gets; may be repeated.")
@click.option("--gmt-zone", metavar="ZONE", help="Offset or zone of the number. Else by the number.")
@click.option("--region", metavar="CC", help="Where a number without country code is dialled.")
@click.option("--round", "round_name", metavar="NAME", help="The occasion; in each, a row is called once.")
@click.option(
    "--test", "is_test", is_flag=True, help="Try the script: whatever was called before, and not in the ledger."
)
@click.option("--new-ledger", is_flag=True, help="This ledger may meet a campaign that already has numbers.")
@click.option("--timeout", type=Duration(), default="90s", show_default=True, help="For one whole request.")
@with_options(CAMPAIGN_OPTIONS, LEDGER_OPTION, (JSON_OPTION, YES_OPTION))
@click.pass_context
def command(
    context: click.Context,
    /,
    phone: str,
    pairs: tuple[tuple[str, str], ...],
    gmt_zone: str | None,
    is_test: bool,
    as_json: bool,
    yes: bool,
    **_: Any,
) -> None:
    """Add one number to a campaign. The same number with the same payload is called once in a round.

    It is a row of the ledger like any other: killed at any moment, the same command goes on.
    """
    from importer.run.calling import one_row

    payload = _payload(pairs)
    _judge_zone(gmt_zone)
    options = asked(context)
    row = one_row(phone, payload, gmt_zone)
    if is_test:
        _try(
            run_settings(replace(options, values={**options.values, "ledger": "none"}), []),
            phone,
            payload,
            gmt_zone,
            as_json=as_json,
        )
        return
    settings = _settings(run_settings(options, ["-"]), phone, row)
    report, job_id = _called(settings, row, is_quiet=as_json, is_yes=yes)
    _show(report, job_id, str(settings.ledger), as_json=as_json)
    context.exit(report.exit_code)


def _payload(pairs: tuple[tuple[str, str], ...]) -> dict[str, str]:
    payload = dict(pairs)
    twice = next((key for place, (key, _) in enumerate(pairs) if key in dict(pairs[:place])), None)
    if twice is not None:
        raise UsageProblem(f"--payload says {twice!r} twice. Nobody was called.")
    return payload


def _judge_zone(gmt_zone: str | None) -> None:
    """**Errors**: UsageProblem for what is no zone of the platform's."""
    import polars as pl

    from importer import policy

    problem = policy.check("gmtZone", pl.Series([gmt_zone or ""]))["problem"].item()
    if problem is not None:
        raise UsageProblem(f"--gmt-zone: {problem}. Nobody was called.")


def _settings(settings: RunSettings, phone: str, row: bytes) -> RunSettings:
    """A run of one row, sent by addPhone. Its list is named by its content, so the same command finds it again."""
    from importer import keys
    from importer.run import Checks
    from importer.run.settings import VIA_PHONE
    from importer.sources import ReadOptions

    _judge_number(phone, settings.rules)
    seed = keys.campaign_seed(settings.target.token.reveal(), settings.target.origin)
    name = keys.row_key(seed, "call", row.decode(), {}, {}).hex()[:16]
    return replace(
        settings,
        list_name=f"call {name}",
        once_per="row",
        phone_column="phone",
        reading=ReadOptions(format="jsonl"),
        batch_size_rows=1,
        via=VIA_PHONE,
        checks=Checks(stop_at_rejects_share=1.0),
    )


def _judge_number(phone: str, rules: PhoneRules) -> str:
    """The number in E.164. **Errors**: UsageProblem for what is none, with the reason."""
    import polars as pl

    from importer import phones

    verdict = phones.check(pl.Series([phone]), rules).row(0, named=True)
    if verdict["reason"] is not None:
        raise UsageProblem(f"{phones.explain(verdict['reason'], phone).rstrip('.')}. Nobody was called.")
    return str(verdict["e164"])


def _called(settings: RunSettings, row: bytes, *, is_quiet: bool, is_yes: bool) -> tuple[RunReport, str | None]:
    from importer.cli.engine import engine

    with engine(settings, is_quiet=is_quiet, is_yes=is_yes) as run:
        report = replace(run, stdin=BytesIO(row)).run(settings)
        return report, _job_id(run, report)


def _job_id(run: Run, report: RunReport) -> str | None:
    """The call job of the import's only row; None when it has none."""
    return next((row.call_job_id for row in run.ledger.outcomes.rows(report.import_id)), None)


def _show(report: RunReport, job_id: str | None, ledger: str, *, as_json: bool) -> None:
    from importer.cli.words import NEXT_STEPS, report_json

    if as_json:
        click.echo(json.dumps({**report_json(report, ledger), "call_job_id": job_id}, ensure_ascii=False))
        return
    balance = report.balance
    said = {
        "accepted": f"Accepted by the platform: call job {job_id}.",
        "duplicate": "Not called: the same call is in this campaign and round already. `importer explain` shows it;"
        " --round NAME makes it another occasion.",
        "suppressed": "Not called: the number is on a do-not-call list.",
        "refused": "Declined by the platform.",
        "in_doubt": "In doubt: it may or may not have been taken.",
        "pending": "Not settled yet.",
    }
    click.echo(next((text for name, text in said.items() if getattr(balance, name)), "Nothing was called."))
    for _, _, kind in report.refusals:
        click.echo(f"It said: {kind}")
    if report.exit_code in NEXT_STEPS:
        click.echo(NEXT_STEPS[report.exit_code], err=True)


def _try(settings: RunSettings, phone: str, payload: dict[str, str], gmt_zone: str | None, *, as_json: bool) -> None:
    """Adds the number by test/addPhone, which asks nothing of what came before, and is kept nowhere."""
    from importer.cli.engine import calls_api
    from importer.cli.logs import start_log

    number = _judge_number(phone, settings.rules)
    start_log(settings.target.token)
    with calls_api(settings.target, timeout_s=settings.sending.window.request_s, connections=1) as api:
        job_id = api.test_add_phone(number.removeprefix("+"), payload=payload, gmt_zone=gmt_zone)
    if as_json:
        click.echo(json.dumps({"call_job_id": job_id, "test": True, "exit_code": 0, "error": None}))
    else:
        click.echo(f"A test call: call job {job_id}. It is not in the ledger.")
