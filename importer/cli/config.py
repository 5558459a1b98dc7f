"""Where settings come from: options, then variables, then `importer.toml`, then defaults.

Floor: cli. The file is looked for in the working directory, then in the user's configuration folder. It never holds a
token, only where one is to be found. Every option of `run` may stand in it: at the top for all campaigns, or under
`[campaign.NAME]` for one.
"""

from __future__ import annotations

import difflib
import os
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from importer.errors import UsageProblem
from importer.machine import is_terminal, read_by_others, standard_input

FILE_NAME = "importer.toml"
_TOKEN = frozenset({"token_env", "token_file"})
_WHERE = _TOKEN | {"host"}
LONGEST_TOKEN_BYTES = 65_536
ON_STANDARD_INPUT = "-"

TRY_SANDBOX = """Name a campaign in importer.toml, or set IMPORTER_HOST and IMPORTER_TOKEN:
  export IMPORTER_HOST=https://app.jaicp.com
  read -rs IMPORTER_TOKEN && export IMPORTER_TOKEN      # the campaign's API token, not shown while you type
To try it without one: `importer demo`, or `importer sandbox` in another terminal and the host and token it prints."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Configuration:
    """What the file says: options for every campaign, and each campaign's own."""

    path: Path | None
    common: Mapping[str, Any]
    campaigns: Mapping[str, Mapping[str, Any]]

    def campaign(self, name: str | None) -> tuple[str | None, Mapping[str, Any]]:
        """The campaign of that name; the only one there is when nobody named one.

        **Errors**: UsageProblem for an unknown name, or when several could be meant.
        """
        if name is None:
            if self.is_undecided:
                raise self.several("Say which with --campaign.")
            only = dict(self.campaigns) if "IMPORTER_TOKEN" not in os.environ else {}
            found, own = next(iter(only.items()), (None, {}))
            return found, self._with_common(own)
        if name not in self.campaigns:
            near = difflib.get_close_matches(name, self.campaigns, n=1)
            known = ", ".join(sorted(self.campaigns)) or "none"
            where = self.path or FILE_NAME
            raise UsageProblem(
                f"There is no campaign {name!r} in {where}.",
                hint=f"Did you mean {near[0]!r}?" if near else f"It names: {known}.",
            )
        return name, self._with_common(self.campaigns[name])

    @property
    def is_undecided(self) -> bool:
        """True when several campaigns are there, so that one must be named where it matters which."""
        return len(self.campaigns) > 1 and "IMPORTER_TOKEN" not in os.environ

    def several(self, hint: str) -> UsageProblem:
        """What is wrong where it matters which campaign is meant, and nobody named one."""
        return UsageProblem(f"{self.path} names several campaigns: {', '.join(sorted(self.campaigns))}.", hint=hint)

    def whichever(self) -> Mapping[str, Any]:
        """What holds whichever of several campaigns is meant: what the top says, and what all of them say alike."""
        first, *others = self.campaigns.values()
        alike = {name: value for name, value in first.items() if all(each.get(name) == value for each in others)}
        return self._with_common(alike)

    def all_campaigns(self) -> dict[str, Mapping[str, Any]]:
        """Every campaign of the file, with what the top says for all."""
        return {name: self._with_common(own) for name, own in self.campaigns.items()}

    def _with_common(self, own: Mapping[str, Any]) -> dict[str, Any]:
        """A campaign's own settings over what the file says for all of where they are.

        One that says where its token is says it alone: a token of the top must not be taken for a campaign's own.
        """
        says_token = any(name in own for name in _TOKEN)
        names = _WHERE - _TOKEN if says_token else _WHERE
        return {**{name: self.common[name] for name in names if name in self.common}, **own}


def read_configuration(known_options: Iterable[str]) -> Configuration:
    """The nearest importer.toml, or an empty configuration.

    **Errors**: UsageProblem for a file that is no TOML, or a setting nobody knows, with the nearest that is known.
    """
    path = next((place for place in _places() if _is_there(place)), None)
    if path is None:
        return Configuration(path=None, common={}, campaigns={})
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as problem:
        raise UsageProblem(f"{path} could not be read: {problem}.") from problem
    campaigns = found.pop("campaign", {})
    names = {*known_options, *_WHERE}
    for section, settings in [("", found), *((f"campaign.{name}", each) for name, each in campaigns.items())]:
        _judge_names(path, section, settings, names)
    return Configuration(path=path, common=found, campaigns=campaigns)


def _is_there(place: Path) -> bool:
    """Whether there is a file. **Errors**: UsageProblem where nobody lets us look: settings must not get lost."""
    try:
        return place.is_file()
    except OSError as problem:
        raise UsageProblem(
            f"{place} cannot be looked for: {problem.strerror}.",
            hint="Run with the HOME of the user who runs it (sudo -H), or let that user read the folder.",
        ) from None


def _judge_names(path: Path, section: str, settings: object, names: set[str]) -> None:
    where = f"{path}{f' [{section}]' if section else ''}"
    if not isinstance(settings, dict):
        raise UsageProblem(f"{where}: a table of settings is needed here.")
    for name in settings:
        if name == "token":
            raise UsageProblem(
                f"{where} holds a token in the clear.",
                hint="Put it into a file of its own (token_file) or a variable (token_env), and take it out here.",
            )
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            raise UsageProblem(f"{where}: {name!r} is no setting." + (f" Did you mean {near[0]!r}?" if near else ""))


def _places() -> list[Path]:
    from platformdirs import user_config_path

    return [Path.cwd() / FILE_NAME, user_config_path("importer") / FILE_NAME]


def ledger_path(said: str | None, configuration: Configuration, campaign: Mapping[str, Any]) -> Path:
    """The ledger: by option or IMPORTER_LEDGER, by configuration, else, on a terminal, in the user's data folder.

    **Errors**: UsageProblem without a terminal and without a name, because cron's HOME is another one.
    """
    configured = campaign.get("ledger") or configuration.common.get("ledger")
    if said:
        return Path(said)
    if configured:
        return Path(str(configured)).expanduser()
    if is_terminal(sys.stdin) or is_terminal(sys.stderr):
        from platformdirs import user_data_path

        return user_data_path("importer") / "ledger.db"
    raise UsageProblem(
        "Without a terminal the ledger must be named, or tonight's run might not find last night's.",
        hint='Say --ledger FILE, set IMPORTER_LEDGER, or write `ledger = "FILE"` into importer.toml.',
    )


def origin_text(campaign: Mapping[str, Any], said: str | None) -> str:
    """The host as given. **Errors**: UsageProblem when nobody named one."""
    host = said or campaign.get("host") or os.environ.get("IMPORTER_HOST")
    if not host:
        raise UsageProblem("No campaign is configured yet.", hint=TRY_SANDBOX)
    text = str(host)
    return text if "://" in text else f"https://{text}"


def token_text(campaign: Mapping[str, Any], token_file: str | None) -> str:
    """The campaign's token, from a file or a variable; never from an option.

    **Errors**: UsageProblem naming the place where none was found.
    """
    if token_file == ON_STANDARD_INPUT:
        return _judged_token(standard_input().read(LONGEST_TOKEN_BYTES), "standard input")
    file = token_file or campaign.get("token_file")
    if file:
        return _token_in_file(Path(str(file)).expanduser())
    variable = str(campaign.get("token_env") or "IMPORTER_TOKEN")
    token = os.environ.get(variable, "").strip()
    if not token:
        raise UsageProblem(f"There is no campaign token: {variable} is not set.", hint=TRY_SANDBOX)
    return token


def _token_in_file(path: Path) -> str:
    from importer.cli.console import say

    if warning := read_by_others(path):
        say(f"Warning: the token file {warning}")
    try:
        found = path.read_bytes()
    except OSError as problem:
        raise UsageProblem(f"The token file {path} cannot be read.", hint=str(problem)) from None
    return _judged_token(found, f"the token file {path}")


def _judged_token(found: bytes, where: str) -> str:
    try:
        token = found.decode("utf-8").strip()
    except UnicodeDecodeError as problem:
        raise UsageProblem(f"{where[0].upper()}{where[1:]} cannot be read.", hint=problem.reason) from None
    if not token:
        raise UsageProblem(f"{where[0].upper()}{where[1:]} is empty.")
    return token
