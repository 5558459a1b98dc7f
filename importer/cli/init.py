"""`importer init`: from nothing to the very command to run, in one conversation.

Floor: cli. It asks for what was not said, asks the platform whether it is right, and only then writes. A newcomer may
question that the token is judged before its file is made: a mistyped one should leave nothing behind.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from importer.cli.config import FILE_NAME
from importer.cli.options import LEDGER_OPTION, examples, files, with_options
from importer.errors import UsageProblem
from importer.machine import is_terminal, read_by_others, write_private

if TYPE_CHECKING:
    from importer.client import Secret

MOST_TRIES = 3
TIMEOUT_S = 30.0
USUAL_HOST = "https://app.jaicp.com"
LIST_SUFFIXES = (".csv", ".xlsx", ".xls", ".parquet", ".jsonl", ".tsv", ".txt", ".gz", ".zst")
COMMENT = "# Every option of `importer run` may stand here, under its name with underscores.\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """What the options said; None where a person is asked."""

    name: str | None
    host: str | None
    token_file: str | None
    token_env: str | None
    ledger: str | None
    region: str | None
    is_unchecked: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    """The token, where it is or will be. `file` is to be written when `is_new`."""

    secret: Secret[str]
    section: Mapping[str, str]
    file: Path | None = None
    is_new: bool = False


@click.command(
    "init",
    short_help="Set up a campaign: asks, checks, writes importer.toml.",
    epilog=examples(
        "importer init",
        "importer init customers.csv",
        "importer init --name spring --host https://app.jaicp.com --token-env SPRING_TOKEN --ledger calls.db",
    ),
)
@click.argument("source", metavar="[LIST]", required=False, shell_complete=files)
@click.option("--name", metavar="NAME", help="What to call the campaign here.")
@click.option("--host", metavar="URL", help="Where the campaign runs.")
@click.option("--token-file", metavar="FILE", help="A file with the token; made, for you alone, if it is not there.")
@click.option("--token-env", metavar="VAR", help="A variable with the token, instead of a file.")
@click.option("--region", metavar="CC", help="Where numbers without country code are dialled, such as US.")
@click.option("--no-check", "is_unchecked", is_flag=True, help="Do not ask the platform whether it is right.")
@with_options(LEDGER_OPTION[:1])
def command(
    source: str | None,
    name: str | None,
    host: str | None,
    token_file: str | None,
    token_env: str | None,
    region: str | None,
    ledger: str | None,
    is_unchecked: bool,
) -> None:
    """Write importer.toml for a first campaign, and end with the very command to run.

    It asks for what no option says, and asks the platform whether host and token are right before it writes anything.
    The token is kept in a file of its own that only you can read, or in a variable; never in importer.toml.
    """
    path = Path.cwd() / FILE_NAME
    if path.exists():
        raise UsageProblem(f"{path} is there already.", hint="Add a campaign to it: importer campaign add")
    if source is not None and not Path(source).exists():
        from importer.sources.opening import near_names

        raise UsageProblem(f"there is no file {source}", hint=near_names(source))
    answers = Answers(
        name=name,
        host=host,
        token_file=token_file,
        token_env=token_env,
        ledger=ledger,
        region=region,
        is_unchecked=is_unchecked,
    )
    _set_up(path, answers, source)


def _set_up(path: Path, answers: Answers, source: str | None) -> None:
    from importer.cli.campaign import prompted, usable_name

    name = usable_name(answers.name or prompted("A name for the campaign", "--name", default="spring"))
    region = _region(answers)
    origin, token = _reached(name, answers)
    ledger = answers.ledger or _said_or("Where to keep the ledger", "--ledger", default="calls.db")
    _judge_place(Path(ledger).expanduser())
    section = {"host": origin, **token.section, **({} if region is None else {"region": region})}
    if token.is_new and token.file is not None:
        write_private(token.file, token.secret.reveal().encode() + b"\n")
    _write(path, name, ledger, section)
    _tell(path, name, token, source or _only_list(path.parent))


def _can_ask() -> bool:
    return is_terminal(sys.stdin) and is_terminal(sys.stderr)


def _said_or(text: str, option: str, *, default: str) -> str:
    """What a person says; the default where nobody can be asked, because it is as good as any."""
    from importer.cli.campaign import prompted

    return prompted(text, option, default=default) if _can_ask() else default


def _region(answers: Answers) -> str | None:
    """The region as said. **Errors**: UsageProblem for one that has no numbers, before anything is asked."""
    if answers.region is None:
        return None
    from importer.phones import PhoneRules

    return PhoneRules(region=answers.region.upper()).region


# --- host and token -------------------------------------------------------------------------------------------------


def _reached(name: str, answers: Answers) -> tuple[str, Token]:
    """Host and token, known to the platform; at a terminal a wrong one may be said again.

    **Errors**: ApiRefusal or ApiAway as the platform, or nobody, answers.
    """
    from importer.cli.campaign import prompted
    from importer.cli.console import say
    from importer.errors import ApiRefusal

    origin = _origin(answers.host or prompted("Host", "--host", default=USUAL_HOST))
    tries_left = MOST_TRIES
    while True:
        token, tries_left = _token(name, answers), tries_left - 1
        try:
            if not answers.is_unchecked:
                _check(origin, token)
        except ApiRefusal as problem:
            if not (token.is_new and tries_left):
                raise
            say(f"{problem.message}. Once more:")
        else:
            return origin, token


def _origin(text: str) -> str:
    from importer.client import parse_origin

    return parse_origin(text if "://" in text else f"https://{text}")


def _token(name: str, answers: Answers) -> Token:
    """The token from where it is; else asked for, to be written into a file of its own.

    **Errors**: UsageProblem when it is nowhere and nobody can be asked.
    """
    from importer.cli.campaign import in_variable, prompted
    from importer.cli.config import token_text
    from importer.client import check_token

    if answers.token_env and answers.token_file:
        raise UsageProblem("A token comes from a file or from a variable: say one of --token-file and --token-env.")
    variable = answers.token_env
    if variable is None and answers.token_file is None and not _can_ask() and os.environ.get("IMPORTER_TOKEN"):
        variable = "IMPORTER_TOKEN"
    section = in_variable(variable) if variable else {"token_file": answers.token_file or f"{name}.token"}
    file = Path(section["token_file"]).expanduser() if "token_file" in section else None
    if file is None or file.exists():
        return Token(secret=check_token(token_text(section, None)), section=section, file=file)
    said = prompted("The campaign's API token (not shown)", "--token-file or --token-env", is_secret=True)
    return Token(secret=check_token(said), section=section, file=file, is_new=True)


def _check(origin: str, token: Token) -> None:
    from importer.cli.console import say
    from importer.client import CallsApi

    with CallsApi(origin, token.secret.reveal(), timeout_s=TIMEOUT_S) as api:
        found = api.campaign()
    say(f"There it is: {found.name or found.id} ({found.status}), project {found.project_name or '?'}.")


# --- writing --------------------------------------------------------------------------------------------------------


def _judge_place(ledger: Path) -> None:
    """Refuses a place where no ledger can live, before settings name it. **Errors**: UsageProblem."""
    from importer.doctor.ledger import examine_disk

    for finding in examine_disk(ledger):
        if finding.state == "wrong":
            raise UsageProblem(f"The ledger cannot be at {ledger}: {finding.text}.", hint=finding.hint)


def _write(path: Path, name: str, ledger: str, section: Mapping[str, str]) -> None:
    from importer.cli.campaign import add_section, quoted

    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(f"{COMMENT}ledger = {quoted(ledger)}\n")
    except OSError as problem:
        raise UsageProblem(f"{path} could not be written: {problem.strerror}.") from problem
    add_section(path, name, section)


def _only_list(folder: Path) -> str | None:
    """The one list of the folder, if there is just one that looks like it."""
    found = [each.name for each in folder.iterdir() if each.suffix.lower() in LIST_SUFFIXES and each.is_file()]
    lists = [name for name in found if ".rejects." not in name and not name.startswith(".")]
    return lists[0] if len(lists) == 1 else None


def _tell(path: Path, name: str, token: Token, source: str | None) -> None:
    """What was written, and the command to run: the last line, alone on standard output."""
    from importer.cli.console import safe, say

    say(f"{path} is written.")
    if token.is_new:
        say(f"{token.file} holds the token, readable by you alone. Keep it out of version control.")
    elif token.file is not None and (warning := read_by_others(token.file)):
        say(f"Warning: the token file {warning}")
    listed = quoted_for_shell(source or "LIST")
    say(f"Look at a list first, without sending: importer check {listed} --campaign {name}")
    say("Then:" if source else "Then, with your list:")
    click.echo(safe(f"importer run {listed} --campaign {name}"))


def quoted_for_shell(word: str) -> str:
    """The word as a shell takes it; on Windows in double quotes where it needs any."""
    import shlex

    if os.name == "nt":
        return f'"{word}"' if " " in word else word
    return shlex.quote(word)
