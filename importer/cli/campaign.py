"""`importer campaign`: look at campaigns and steer them, and tell importer.toml of a new one. Needs no ledger lock."""

from __future__ import annotations

import json
import os
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from importer.cli.config import FILE_NAME, Configuration
from importer.cli.options import (
    CAMPAIGN_OPTIONS,
    JSON_OPTION,
    LEDGER_OPTION,
    asked,
    campaign_names,
    examples,
    file_configuration,
    target_of,
    with_options,
)
from importer.errors import UsageProblem
from importer.machine import StopSignals, is_terminal, now, sync_file, this_process, write_private

if TYPE_CHECKING:
    from importer.campaigns import Patience, Steered
    from importer.cli.options import Asked
    from importer.client import CallsApi, Campaign, Secret
    from importer.ledger import KnownCampaign

EPILOG = """\b
Examples:
  importer campaign status spring
  importer campaign pause spring --wait
  importer campaign list
  importer campaign add spring --host https://app.jaicp.com --token-file spring.token"""

TIMEOUT_S = 90.0
WHERE_OPTIONS = CAMPAIGN_OPTIONS[1:]
NAME_ARGUMENT = click.argument("campaign", metavar="[NAME]", required=False, shell_complete=campaign_names)
WAIT_OPTION = click.option("--wait", "is_waiting", is_flag=True, help="Wait until it really is so.")
YES_OPTION = click.option("--yes", "-y", is_flag=True, help="Do not ask.")
_BARE_NAME = re.compile(r"[A-Za-z0-9_-]+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@click.group("campaign", short_help="Look at a campaign, pause, resume or stop it.", epilog=EPILOG)
def command() -> None:
    """Look at a campaign and steer it, also while an import is being sent. NAME is a section of importer.toml."""


@command.command(
    "status",
    short_help="Show how a campaign stands.",
    epilog=examples("importer campaign status spring", "importer campaign status spring --wait"),
)
@with_options((NAME_ARGUMENT, WAIT_OPTION), WHERE_OPTIONS, (JSON_OPTION,))
@click.pass_context
def status(context: click.Context, /, is_waiting: bool, as_json: bool, **_: Any) -> None:
    """Show a campaign's status and counts. With --wait: until it has nothing left to call."""
    from importer.campaigns import Steered, watch

    with _reached(context, is_quiet=as_json) as (api, patience):
        done = watch(api, patience) if is_waiting else Steered(campaign=api.campaign(), was_done=False, is_reached=True)
    _end(context, done, "", as_json=as_json)


@command.command(
    "pause",
    short_help="Make no new calls for now.",
    epilog=examples("importer campaign pause spring --wait"),
)
@with_options((NAME_ARGUMENT, WAIT_OPTION), WHERE_OPTIONS, (JSON_OPTION,))
@click.pass_context
def pause(context: click.Context, /, is_waiting: bool, as_json: bool, **_: Any) -> None:
    """Pause a campaign: conversations that go on are not cut off. With --wait: until the last one ended."""
    _steer(context, "pause", is_waiting=is_waiting, as_json=as_json)


@command.command(
    "resume",
    short_help="Let a paused campaign go on.",
    epilog=examples("importer campaign resume spring"),
)
@with_options((NAME_ARGUMENT, WAIT_OPTION), WHERE_OPTIONS, (JSON_OPTION,))
@click.pass_context
def resume(context: click.Context, /, is_waiting: bool, as_json: bool, **_: Any) -> None:
    """Let a paused campaign go on."""
    _steer(context, "resume", is_waiting=is_waiting, as_json=as_json)


@command.command(
    "stop",
    short_help="End a campaign for good.",
    epilog=examples("importer campaign stop spring --yes"),
)
@with_options((NAME_ARGUMENT, WAIT_OPTION, YES_OPTION), WHERE_OPTIONS, (JSON_OPTION,))
@click.pass_context
def stop(context: click.Context, /, is_waiting: bool, yes: bool, as_json: bool, **_: Any) -> None:
    """End a campaign for good: it makes no more calls and takes no more numbers. Asks first."""
    if not yes:
        name = context.params.get("campaign") or "the campaign"
        _confirm(f"Stop {name} for good? It takes no more numbers, ever.", as_json=as_json)
    _steer(context, "stop", is_waiting=is_waiting, as_json=as_json)


def _confirm(question: str, *, as_json: bool) -> None:
    if as_json or not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
        raise UsageProblem(
            "Without a terminal nobody can be asked. Nothing was done.", hint="Say --yes if you mean it."
        )
    click.confirm(question, abort=True, err=True)


def _steer(context: click.Context, verb: str, *, is_waiting: bool, as_json: bool) -> None:
    from importer.campaigns import steer

    with _reached(context, is_quiet=as_json or not is_waiting) as (api, patience):
        done = steer(api, verb, patience, is_waiting=is_waiting)
    _end(context, done, verb, as_json=as_json)


@contextmanager
def _reached(context: click.Context, *, is_quiet: bool) -> Iterator[tuple[CallsApi, Patience]]:
    """The campaign's API, and how to wait: told of changes, ended by Ctrl-C."""
    from importer.campaigns import Patience
    from importer.cli.engine import calls_api, nap
    from importer.cli.logs import start_log

    target = target_of(asked(context))
    start_log(target.token)
    with StopSignals() as signals, calls_api(target, timeout_s=TIMEOUT_S, connections=1) as api:
        yield (
            api,
            Patience(
                nap=lambda wait_s: nap(signals, wait_s),
                is_stopping=lambda: signals.received is not None,
                tell=_teller(is_quiet=is_quiet),
            ),
        )


def _teller(*, is_quiet: bool) -> Any:
    from importer.cli.console import say

    last: list[str] = []

    def tell(campaign: Campaign) -> None:
        line = " · ".join([campaign.status, *_counts(campaign)])
        if not is_quiet and last != [line]:
            last[:] = [line]
            say(line)

    return tell


def _end(context: click.Context, done: Steered, verb: str, *, as_json: bool) -> None:
    from importer.cli.console import safe

    campaign = done.campaign
    code = 0 if done.is_reached or not context.params.get("is_waiting") else 130
    if as_json:
        click.echo(json.dumps({**_as_json(campaign), "was_done": done.was_done, "exit_code": code, "error": None}))
    else:
        click.echo(safe(f"Campaign {campaign.name or campaign.id or ''}: {campaign.status}"))
        for line in _counts(campaign):
            click.echo(f"  {line}")
        if verb and not done.was_done:
            click.echo(f"It was so already: nothing was done to {verb} it.", err=True)
    context.exit(code)


def _counts(campaign: Campaign) -> list[str]:
    report = campaign.short_report
    if report is None:
        return []
    said = [
        (report.total_numbers, "numbers"),
        (report.processed_numbers, "worked through"),
        (report.in_process_calls, "conversations now"),
        (report.retry_calls, "waiting to be dialled again"),
    ]
    return [f"{number:,} {text}" for number, text in said if number is not None]


def _as_json(campaign: Campaign) -> dict[str, Any]:
    report = campaign.short_report
    counts = ("total_numbers", "processed_numbers", "used_talking_time_s", "in_process_calls", "retry_calls")
    return {
        "campaign": campaign.id,
        "name": campaign.name,
        "project": campaign.project_name,
        "status": campaign.status,
        **{name: None if report is None else getattr(report, name) for name in counts},
    }


# --- what is configured ---------------------------------------------------------------------------------------------


@command.command(
    "list",
    short_help="Show the campaigns of importer.toml and of the ledger.",
    epilog=examples("importer campaign list", "importer campaign list --json"),
)
@with_options(LEDGER_OPTION, (JSON_OPTION,))
@click.pass_context
def list_(context: click.Context, /, as_json: bool, **_: Any) -> None:
    """Show the campaigns of importer.toml, with where their token comes from, and those the ledger has met."""
    configuration = file_configuration()
    configured = [_described(name, each) for name, each in configuration.all_campaigns().items()]
    known = _known(context, configuration)
    if as_json:
        met = [{"number": k.id, "name": k.name, "host": k.origin, "imports": k.imports} for k in known]
        click.echo(json.dumps({"configured": configured, "ledger": met}, ensure_ascii=False))
    else:
        _show_list(configuration, configured, known)


def _described(name: str, campaign: Mapping[str, Any]) -> dict[str, Any]:
    file = campaign.get("token_file")
    variable = campaign.get("token_env") or "IMPORTER_TOKEN"
    is_there = Path(str(file)).expanduser().is_file() if file else bool(os.environ.get(str(variable)))
    source = f"file {file}" if file else f"variable {variable}"
    return {"name": name, "host": campaign.get("host"), "token_from": source, "is_token_there": is_there}


def _known(context: click.Context, configuration: Configuration) -> list[KnownCampaign]:
    """The ledger's campaigns; none when no ledger is named, or it is not there."""
    from importer.cli.config import ledger_path
    from importer.ledger import LedgerReader

    try:
        path = ledger_path(context.params.get("ledger"), configuration, {})
    except UsageProblem:
        return []
    if not path.exists():
        return []
    with LedgerReader(path) as reader:
        return reader.campaigns.all()


def _show_list(configuration: Configuration, configured: list[dict[str, Any]], known: list[KnownCampaign]) -> None:
    from importer.cli.console import safe
    from importer.cli.words import day

    click.echo(safe(f"{configuration.path or FILE_NAME}:"))
    for each in configured:
        token = f"token from {each['token_from']}" + ("" if each["is_token_there"] else " (not there)")
        click.echo(safe(f"  {each['name']:20}  {each['host'] or 'no host'}  {token}"))
    if not configured:
        click.echo("  no campaign. Add one: importer campaign add")
    if known:
        click.echo("The ledger:")
    for met in known:
        since = f"since {day(met.first_met_ms)}" + (f", renewed {day(met.renewed_ms)}" if met.renewed_ms else "")
        click.echo(safe(f"  {met.id:>3}  {met.name:20}  {met.origin}  {met.imports:,} imports, {since}"))


# --- a new one ------------------------------------------------------------------------------------------------------


@command.command(
    "add",
    short_help="Write a campaign into importer.toml.",
    epilog=examples(
        "importer campaign add",
        "importer campaign add spring --host https://app.jaicp.com --token-file spring.token",
        "importer campaign add autumn --host https://app.jaicp.com --token-env AUTUMN_TOKEN",
    ),
)
@click.argument("name", metavar="[NAME]", required=False)
@click.option("--host", metavar="URL", help="Where the campaign runs.")
@click.option("--token-file", metavar="FILE", help="A file with the campaign's token.")
@click.option("--token-env", metavar="VAR", help="A variable with the campaign's token.")
@click.option("--no-check", "is_unchecked", is_flag=True, help="Do not ask the platform whether it is there.")
def add(
    name: str | None,
    host: str | None,
    token_file: str | None,
    token_env: str | None,
    is_unchecked: bool,
) -> None:
    """Write a campaign into importer.toml, asking for what is not said. The token itself is never written there.

    The platform is asked first whether the campaign is there under this token.
    """
    configuration = file_configuration()
    path = configuration.path or Path.cwd() / FILE_NAME
    name = _new_name(configuration, name or prompted("Name for it", "NAME"))
    section = {"host": host or prompted("Host", "--host", default="https://app.jaicp.com")}
    source, typed = _token_source(name, token_file, token_env, folder=path.parent)
    section |= source
    if not is_unchecked:
        _check_live(section, typed)
    if typed is not None:  # not before it proved right: a wrong one would be taken for the token the next time
        write_private(Path(section["token_file"]).expanduser(), typed.reveal().encode() + b"\n")
    add_section(path, name, section)
    click.echo(f"{path}: [campaign.{name}] was added. Try it: importer campaign status {name}")


def prompted(text: str, option: str, *, default: str | None = None, is_secret: bool = False) -> str:
    """What a person says. **Errors**: UsageProblem naming the option, where nobody can be asked."""
    if not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
        raise UsageProblem(f"{option} is needed: without a terminal nobody can be asked.")
    return str(click.prompt(text, default=default, hide_input=is_secret, err=True)).strip()


def usable_name(name: str) -> str:
    """The name, if a section of importer.toml may be called so. **Errors**: UsageProblem."""
    if not _BARE_NAME.fullmatch(name):
        raise UsageProblem("A campaign's name may hold letters, digits, - and _ only.")
    return name


def _new_name(configuration: Configuration, name: str) -> str:
    usable_name(name)
    if name in configuration.campaigns:
        raise UsageProblem(f"{configuration.path} already names a campaign {name!r}.", hint="Change it there by hand.")
    return name


def _token_source(
    name: str, token_file: str | None, token_env: str | None, *, folder: Path
) -> tuple[dict[str, str], Secret[str] | None]:
    """Where the token is, as importer.toml says it, and the token that was typed where there is no such file yet."""
    if token_file and token_env:
        raise UsageProblem("A token comes from a file or from a variable: say one of --token-file and --token-env.")
    if token_env:
        return in_variable(token_env), None
    said = token_file or prompted(
        "Its token: a file (made if it is not there), or $NAME of a variable", "--token-file", default=f"{name}.token"
    )
    if said.startswith("$"):
        return in_variable(said.removeprefix("$")), None
    file = Path(said).expanduser()
    is_found_anywhere = file.is_absolute() or folder == Path.cwd()
    typed = None if file.exists() else _typed_token()
    return {"token_file": said if is_found_anywhere else str(file.absolute())}, typed


def in_variable(name: str) -> dict[str, str]:
    """A section's word for a token in a variable. **Errors**: UsageProblem for a token where a name belongs."""
    if not _VARIABLE.fullmatch(name):
        raise UsageProblem("--token-env takes the name of a variable, never a token.")
    return {"token_env": name}


def _typed_token() -> Secret[str]:
    from importer.client import check_token

    return check_token(prompted("The campaign's token (not shown)", "A token file that exists", is_secret=True))


def _check_live(section: Mapping[str, str], typed: Secret[str] | None) -> None:
    from importer.cli.config import origin_text, token_text
    from importer.cli.console import say
    from importer.client import CallsApi, check_token, parse_origin

    origin = parse_origin(origin_text(section, None))
    token = typed or check_token(token_text(section, None))
    with CallsApi(origin, token.reveal(), timeout_s=TIMEOUT_S) as api:
        found = api.campaign()
    say(f"There it is: {found.name or found.id} ({found.status}), project {found.project_name or '?'}.")


def add_section(path: Path, name: str, section: Mapping[str, str]) -> None:
    """Adds a section at the end of the file, whose text stays as it is. **Errors**: UsageProblem."""
    try:
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        lines = [f"[campaign.{name}]", *(f"{key} = {quoted(value)}" for key, value in section.items())]
        added = (
            ("\n" if before and not before.endswith("\n") else "") + ("\n" if before else "") + "\n".join(lines) + "\n"
        )
        if tomllib.loads(before + added)["campaign"][name] != dict(section):
            raise UsageProblem(f"{path} could not take a new section; add it by hand:\n{added}")
        with path.open("a", encoding="utf-8") as file:
            file.write(added)
        sync_file(path)
    except (OSError, tomllib.TOMLDecodeError) as problem:
        raise UsageProblem(f"{path} could not be written: {problem}.") from problem


def quoted(value: str) -> str:
    """A TOML basic string; JSON escapes what TOML does, and the same way."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


# --- a renewed token ------------------------------------------------------------------------------------------------


@command.command(
    "renew",
    short_help="Keep a campaign's keys under its new token.",
    epilog=examples("importer campaign renew spring", "importer campaign renew spring --from 2 --yes"),
)
@with_options(
    (
        NAME_ARGUMENT,
        click.option("--from", "number", type=int, metavar="NUMBER", help="Its number in the ledger."),
        YES_OPTION,
    ),
    WHERE_OPTIONS,
    LEDGER_OPTION,
    (JSON_OPTION,),
)
@click.pass_context
def renew(context: click.Context, /, number: int | None, yes: bool, as_json: bool, **_: Any) -> None:
    """Tell the ledger that a campaign has a new token, so that its rows keep their keys and nobody is called again.

    Put the new token where the old one was, then say this before the next run.
    """
    from importer.campaigns import NewToken, fingerprint_of, renewed
    from importer.cli.engine import calls_api
    from importer.ledger import Ledger

    options = asked(context)
    target = target_of(options)
    with calls_api(target, timeout_s=TIMEOUT_S, connections=1) as api:
        new = NewToken(
            origin=target.origin, fingerprint=fingerprint_of(target.token.reveal(), target.origin), shown=api.campaign()
        )
    with _ledger(options, Ledger) as ledger:
        found = renewed(ledger.campaigns, new, number=number)
        if found is not None:
            if not yes:
                shown = new.shown.name or new.shown.id
                text = f"Is {shown} the ledger's campaign {found.id} ({found.name}), its token renewed?"
                _confirm(text, as_json=as_json)
            ledger.campaigns.renew(found, new.fingerprint, new.shown.id, now_ms=now().unix_ms)
    _tell_renewed(found, as_json=as_json)


def _ledger(options: Asked, ledger: Any) -> Any:
    from datetime import UTC, datetime

    since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    if not options.ledger.exists():
        raise UsageProblem(f"There is no ledger at {options.ledger}, so there is nothing to renew.")
    return ledger(
        options.ledger, this_process(since), now_ms=now().unix_ms, is_network_fine=options.is_network_ledger_fine
    )


def _tell_renewed(found: KnownCampaign | None, *, as_json: bool) -> None:
    from importer.cli.console import safe

    if as_json:
        click.echo(json.dumps({"renewed": None if found is None else found.id, "exit_code": 0, "error": None}))
    elif found is None:
        click.echo("The ledger knows this token already: nothing to renew.")
    else:
        click.echo(safe(f"Campaign {found.id} ({found.name}) is known by its new token; its keys are the old ones."))
