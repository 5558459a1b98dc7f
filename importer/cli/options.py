"""Options shared by commands, and how they become settings.

Floor: cli. An option that was not typed may stand in importer.toml under its own name with underscores; the table
`RUN_OPTIONS` is the one list of them, so the file and the command line cannot drift apart.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from importer.cli.config import Configuration, ledger_path, origin_text, read_configuration, token_text
from importer.errors import UsageProblem
from importer.machine import duration_s, forbid_core_dumps

if TYPE_CHECKING:
    from importer.intake import ListMapping
    from importer.ledger.view import ImportLine
    from importer.run import HoldBack, RunSettings, Target

F = TypeVar("F", bound=Callable[..., Any])


class Duration(click.ParamType):  # type: ignore[type-arg]  # generic only in newer click
    """A number with ms, s, m, h or d, as seconds."""

    name = "DURATION"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds."""
        try:
            return value if isinstance(value, float) else duration_s(str(value))
        except ValueError as problem:
            self.fail(str(problem), param, ctx)


class Percent(click.ParamType):  # type: ignore[type-arg]  # generic only in newer click
    """A share such as 20%."""

    name = "P%"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """A share from 0 to 1."""
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%?\s*", str(value))
        if not found or float(found[1]) > 100:
            self.fail(f"{value!r} is not a percentage such as 20%", param, ctx)
        return float(found[1]) / 100


class Bounds(click.ParamType):  # type: ignore[type-arg]  # generic only in newer click
    """MIN..MAX, either side may be left out."""

    name = "MIN..MAX"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int | None]:
        """Least and most rows."""
        found = re.fullmatch(r"(\d*)\.\.(\d*)|(\d+)", str(value).strip().replace(",", ""))
        if not found:
            self.fail(f"{value!r} is not of the form MIN..MAX", param, ctx)
        if found[3]:
            return int(found[3]), int(found[3])
        return int(found[1] or 0), int(found[2]) if found[2] else None


class Moment(click.ParamType):  # type: ignore[type-arg]  # generic only in newer click
    """A point in time such as 2026-11-23T01:00:00+00:00; without an offset, this machine's own."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Unix milliseconds."""
        if isinstance(value, datetime):
            return int(value.timestamp() * 1000)
        try:
            return value if isinstance(value, int) else int(datetime.fromisoformat(str(value)).timestamp() * 1000)
        except ValueError:
            self.fail(f"{value!r} is not a time such as 2026-11-23T01:00:00+00:00", param, ctx)


class Allowed(click.ParamType):  # type: ignore[type-arg]  # generic only in newer click
    """A number of rejects, or a percentage of the rows."""

    name = "N|P%"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """An Allowance."""
        from importer.summary import Allowance, parse_allowance

        if isinstance(value, Allowance):
            return value
        try:
            return parse_allowance(str(value))
        except ValueError as problem:
            self.fail(str(problem), param, ctx)


class Keeping(Duration):
    """How long settled rows keep their numbers: a duration of two days or more, or `never` to erase nothing."""

    name = "DURATION|never"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds; infinite for `never`."""
        from importer.purging import LEAST_KEEP_S

        found = math.inf if str(value) == "never" else super().convert(value, param, ctx)
        if found < LEAST_KEEP_S:
            self.fail("it must be 2d or more: reconciling and outcomes need numbers until then", param, ctx)
        return found


_DURATION, _POSITIVE = Duration(), click.IntRange(min=1)


def files(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[Any]:
    """For the Tab key: let the shell complete file names."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


def campaign_names(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """For the Tab key: the campaigns of importer.toml; none where it cannot be read."""
    try:
        names = file_configuration().campaigns
    except UsageProblem:
        return []
    return [name for name in names if name.startswith(incomplete)]


# How a list is read.
READ_OPTIONS: Sequence[Callable[[F], F]] = (
    click.option("--format", "list_format", metavar="F", help="csv, parquet, xlsx, xls, jsonl. Else by the file."),
    click.option("--encoding", metavar="E", help="Such as cp1251. Else found out."),
    click.option("--delimiter", metavar="D", help="Between cells. Else found out."),
    click.option("--quote", metavar="Q", help="Around cells. Else found out."),
    click.option("--header/--no-header", "has_header", default=None, help="Whether the first row names the columns."),
    click.option("--sheet", metavar="NAME", help="The sheet of a workbook. Else the first."),
    click.option("--storage-option", multiple=True, metavar="KEY=VALUE", help="For the store of a remote list, such as endpoint_url=…; may be said again."),
)  # fmt: skip

# A list that is the answer to a query. Not settings of importer.toml: a list is named where it is run.
QUERY_OPTIONS: Sequence[Callable[[F], F]] = (
    click.option("--sql", metavar="QUERY", help="Instead of SOURCE: the rows of a query, best with ORDER BY."),
    click.option("--db", metavar="URL", envvar="IMPORTER_DB", help="Its database, such as postgresql://user@host/crm or sqlite:///people.db.  [env: IMPORTER_DB]"),
)  # fmt: skip

# One part of a list. Not settings of importer.toml: each machine says its own.
SHARD_OPTIONS: Sequence[Callable[[F], F]] = (
    click.option("--shard", metavar="K/N", help="Take only the rows whose number belongs to part K of N; --ledger is that part's own."),
    click.option("--engine", type=click.Choice(["local", "dask"]), default="local", show_default=True, help="dask: the list in shards over the workers of a cluster."),
    click.option("--scheduler", metavar="ADDRESS", help="With --engine dask: its scheduler, such as tcp://10.0.0.5:8786. Else processes here."),
    click.option("--shards", "shard_count", type=click.IntRange(1, 4096), metavar="N", help="With --engine dask: how many parts.  [default: one for each worker]"),
    click.option("--home", shell_complete=files, metavar="FILE", help="With --shard: the ledger that knows all earlier imports; it is only read."),
)  # fmt: skip

# What decides which rows come out of a list.
LIST_OPTIONS: Sequence[Callable[[F], F]] = (
    click.option("--map", shell_complete=files, metavar="FILE", help="What becomes of each column. `importer map LIST` writes one to begin with."),
    click.option("--phone-column", metavar="C", help="The column with the numbers. Else one called like a phone."),
    click.option("--region", metavar="CC", help="Where numbers without country code are dialled, such as US."),
    click.option("--region-column", metavar="C", help="The column that says so row by row; --region where it is empty."),
    click.option("--split-cells", is_flag=True, help="A cell with several numbers becomes a row for each."),
    click.option("--bare", type=click.Choice(["international", "national"]), help="How bare digits valid both ways are read with --region."),
    click.option("--accept", type=click.Choice(["valid", "possible", "any-digits"]), default="valid", show_default=True, help="The least a number must be."),
    click.option("--types", metavar="T,…", help="Number types to keep, such as mobile,fixed_line; or all. Premium rate is left out."),
    click.option("--once-per", metavar="row|phone|C,…", help="Which call is the same call.  [default: row]"),
    click.option("--not-if-called-within", type=_DURATION, help="Leave numbers alone that were accepted so lately, in any campaign."),
    click.option("--round", "round_name", metavar="NAME", help="The occasion: everybody may be called once in it. Else the campaign, for ever."),
    click.option("--list", "list_name", metavar="NAME", help="What to call the list. Else its path."),
    *READ_OPTIONS,
)  # fmt: skip

# Whom nobody may call, whatever the list says. The lists kept in the ledger (`importer dnc`) are honoured without any.
DO_NOT_CALL_OPTIONS: Sequence[Callable[[F], F]] = (
    click.option("--suppress", shell_complete=files, multiple=True, metavar="FILE", help="A do-not-call list in any format; may be said again."),
    click.option("--suppress-column", metavar="C", help="Its column with the numbers. Else one called like a phone."),
)  # fmt: skip

# How the platform is reached, where the usual way does not do.
NETWORK_OPTIONS: Sequence[Callable[[F], F]] = (
    click.option("--ca-file", shell_complete=files, metavar="FILE", help="Certificates (PEM) to trust instead of the usual authorities."),
    click.option("--proxy", metavar="URL", envvar="IMPORTER_PROXY", help="Reach https hosts through http://proxy:port.  [env: IMPORTER_PROXY]"),
    click.option("--insecure-http", is_flag=True, help="Allow http:// to another machine: token and numbers go in the clear."),
)  # fmt: skip

CAMPAIGN_OPTIONS: Sequence[Callable[[F], F]] = (
    click.option("--campaign", shell_complete=campaign_names, metavar="NAME", help="A campaign of importer.toml."),
    click.option("--host", metavar="URL", help="Where the campaign runs.  [env: IMPORTER_HOST]"),
    click.option(
        "--token-file",
        shell_complete=files,
        metavar="FILE",
        help="A file with the campaign's token, - for standard input. Else IMPORTER_TOKEN.",
    ),
    *NETWORK_OPTIONS,
)

NETWORK_LEDGER_OPTION: Sequence[Callable[[F], F]] = (
    click.option("--unsafe-network-ledger", is_flag=True, hidden=True, envvar="IMPORTER_UNSAFE_NETWORK_LEDGER", help="Use a ledger on a network file system."),
)  # fmt: skip

LEDGER_OPTION: Sequence[Callable[[F], F]] = (
    click.option("--ledger", shell_complete=files, metavar="FILE", envvar="IMPORTER_LEDGER", help="The ledger.  [env: IMPORTER_LEDGER]"),
    *NETWORK_LEDGER_OPTION,
)  # fmt: skip

SEND_OPTIONS: Sequence[Callable[[F], F]] = (
    click.option("--in-flight", type=click.IntRange(1, 256), default=8, show_default=True, help="The most requests under way at once; fewer where the platform is slow or refuses."),
    click.option("--rate", type=click.FloatRange(min=0, min_open=True), metavar="ROWS/S", help="At most so many rows a second."),
    click.option("--timeout", type=_DURATION, default="90s", show_default=True, help="For one whole request."),
    click.option("--patience", type=_DURATION, default="60s", show_default=True, help="No useful answer for so long: stop, exit 7."),
    click.option("--first", type=_POSITIVE, metavar="N", help="Send N rows; the rest stays pending."),
    click.option("--in-doubt", type=click.Choice(["reconcile", "hold"]), default="reconcile", show_default=True, help="What to do about rows that may have been taken: look them up, or leave them."),
    click.option("--adopt-since", type=Moment(), metavar="TIME", help="The ledger was lost or restored: sends may have been made since then."),
    click.option("--show-numbers", is_flag=True, help="Do not mask phone numbers in the log (IMPORTER_LOG)."),
    click.option("--quiet-period", type=_DURATION, default="15m", hidden=True, help="How long a batch in doubt rests before it is judged."),
    click.option("--key-window", type=_DURATION, default="24h", hidden=True, help="How long the platform remembers a key."),
    click.option("--key-margin", type=_DURATION, default="60m", hidden=True, help="How much of it is not used."),
)  # fmt: skip

RUN_ONLY_OPTIONS: Sequence[Callable[[F], F]] = (
    click.option("--batch-size", type=click.IntRange(1, 100_000), default=250, show_default=True, help="Rows per request. 1 is the strict mode."),
    click.option("--new-ledger", is_flag=True, help="This ledger may meet a campaign that already has numbers."),
    click.option("--rejects", shell_complete=files, metavar="FILE", help="Where bad rows go.  [default: LIST.rejects.csv]"),
    click.option("--stop-at-rejects", type=Percent(), default="20%", show_default=True, help="Above this share of bad rows nothing is sent."),
    click.option("--expect-rows", type=Bounds(), help="Outside these bounds nothing is sent."),
    click.option("--max-calls", type=click.IntRange(min=0), metavar="N", help="If more rows than this would be called, nothing is sent."),
)  # fmt: skip

# How a run stands with what started it: said by schedulers, each time anew, so not in importer.toml.
STARTER_OPTIONS: Sequence[Callable[[F], F]] = (
    click.option("--run-id", metavar="ID", help="The scheduler's name of this run: repeated after it finished, it reports the same import."),
    click.option("--stop-with", type=click.IntRange(min=1), metavar="PID", help="Drain and stop when this process is gone."),
)  # fmt: skip

# How long what was settled keeps its numbers and payloads.
KEEP_OPTION: Sequence[Callable[[F], F]] = (
    click.option("--keep-for", type=Keeping(), default="90d", show_default=True, help="Then numbers and payloads of settled rows are erased, at the end of a run."),
)  # fmt: skip

# What counts as a failure at the end.
END_OPTIONS: Sequence[Callable[[F], F]] = (
    click.option("--allow-rejects", type=Allowed(), default="0", show_default=True, help="So many bad rows are no failure (exit 0)."),
)  # fmt: skip

# Who looks on, and who is told at the end.
WATCH_OPTIONS: Sequence[Callable[[F], F]] = (
    click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Talk and progress as words, or as one JSON object a line."),
    click.option("--heartbeat", is_flag=True, help="One line at the end instead of talk and report, made for cron's mail."),
    click.option("--on-finish", metavar="COMMAND|URL", help="Tell it how the run ended: JSON on its standard input, or by POST."),
    click.option("--metrics-file", shell_complete=files, metavar="FILE", help="Keep counts for Prometheus in this file (textfile collector)."),
    click.option("--metrics-port", type=click.IntRange(0, 65535), metavar="PORT", help="Serve them while the run lasts; 0 takes a free port."),
    click.option("--metrics-address", metavar="ADDRESS", default="127.0.0.1", show_default=True, help="Where to serve them."),
    click.option("--traces", is_flag=True, help="Export OpenTelemetry traces; OTEL_… variables say where to."),
)  # fmt: skip

JSON_OPTION = click.option(
    "--json", "as_json", is_flag=True, help="One JSON object on standard output, whatever happens."
)
YES_OPTION = click.option("--yes", "-y", is_flag=True, help="Do not ask before sending.")


def examples(*lines: str) -> str:
    """What `--help` ends with: command lines as they may be typed."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def with_options(*groups: Sequence[Callable[[F], F]]) -> Callable[[F], F]:
    """A decorator that adds groups of options in their order."""

    def decorate(function: F) -> F:
        for group in reversed(groups):
            for option in reversed(group):
                function = option(function)
        return function

    return decorate


def _names(groups: Sequence[Sequence[Callable[[Any], Any]]]) -> dict[str, click.Parameter]:
    """Each option of the groups by its name in importer.toml: as typed, with underscores."""

    def nothing() -> None:
        """Only to hang options on."""

    for group in groups:
        for option in group:
            nothing = option(nothing)
    made: list[click.Parameter] = getattr(nothing, "__click_params__", [])
    return {_setting_name(each): each for each in made}


def _setting_name(option: click.Parameter) -> str:
    return next(name for name in option.opts if name.startswith("--")).removeprefix("--").replace("-", "_")


FILE_OPTIONS = (
    LIST_OPTIONS,
    DO_NOT_CALL_OPTIONS,
    LEDGER_OPTION,
    NETWORK_OPTIONS,
    SEND_OPTIONS,
    RUN_ONLY_OPTIONS,
    KEEP_OPTION,
    END_OPTIONS,
    WATCH_OPTIONS,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A command's options after the file had its say.

    `is_undecided`: it names several campaigns and nobody said which, so `campaign` is what holds for all of them.
    """

    values: Mapping[str, Any]
    configuration: Configuration
    campaign_name: str | None
    campaign: Mapping[str, Any]
    is_undecided: bool = False

    @property
    def ledger(self) -> Path:
        """The ledger to use. **Errors**: UsageProblem when it depends on the campaign, and nobody said which."""
        is_apart = "ledger" not in self.campaign and any("ledger" in e for e in self.configuration.campaigns.values())
        if self.is_undecided and is_apart and not self.values.get("ledger"):
            raise self.configuration.several("They have ledgers of their own: say which with --ledger.")
        return ledger_path(self.values.get("ledger"), self.configuration, self.campaign)

    @property
    def is_network_ledger_fine(self) -> bool:
        """True when somebody takes the blame for a ledger on a network file system."""
        return bool(self.values.get("unsafe_network_ledger"))


def file_configuration() -> Configuration:
    """What the nearest importer.toml says. **Errors**: UsageProblem when it cannot be right."""
    return read_configuration(_names(FILE_OPTIONS))


def asked(context: click.Context, *, campaign_name: str | None = None, of_import: bool = False) -> Asked:
    """The options of a command; those not typed and not in the environment are looked up in importer.toml.

    `campaign_name` stands in for --campaign where a command goes through several. `of_import`: it is about an import,
    which knows its own campaign. Of that, or of no campaign at all, a command may be when several are there and none
    was named. **Errors**: UsageProblem for a value in the file that the option would not take, and where it matters
    which campaign is meant.
    """
    configuration = read_configuration(_names(FILE_OPTIONS))
    said = campaign_name or context.params.get("campaign")
    if said is None and configuration.is_undecided and (of_import or "campaign" not in context.params):
        undecided = _looked_up(context, configuration, None, configuration.whichever())
        return replace(undecided, is_undecided=True)
    return _looked_up(context, configuration, *configuration.campaign(said))


def _looked_up(
    context: click.Context, configuration: Configuration, name: str | None, campaign: Mapping[str, Any]
) -> Asked:
    values = dict(context.params)
    for setting, option in _names(FILE_OPTIONS).items():
        parameter = option.name or ""
        if parameter not in values or context.get_parameter_source(parameter) is not ParameterSource.DEFAULT:
            continue
        said = campaign.get(setting, configuration.common.get(setting))
        if said is not None and setting != "ledger":
            values[parameter] = _converted(option, said, setting, configuration, context)
    return Asked(values=values, configuration=configuration, campaign_name=name, campaign=campaign)


def asked_for_import(options: Asked, import_id: int) -> Asked:
    """The options for an import: of several campaigns those of its own, the one at its host with its token.

    **Errors**: UsageProblem when none of them has it; LedgerProblem when there is no such import.
    """
    from importer.ledger import LedgerReader

    if not options.is_undecided or _names_another(options):
        return options
    with LedgerReader(options.ledger) as reader:
        line = reader.view.import_line(import_id)
        known = {each.id: each.fingerprint for each in reader.campaigns.all()}
    configuration = options.configuration
    for name, campaign in configuration.all_campaigns().items():
        if _is_of(campaign, line.origin, known[line.an_import.campaign_id]):
            return _looked_up(click.get_current_context(), configuration, name, campaign)
    raise configuration.several(
        "None of them has the token of this import's campaign. Say which with --campaign, or, if its token is a new one, "
        "tell the ledger first: importer campaign renew NAME."
    )


def _is_of(campaign: Mapping[str, Any], origin: str, fingerprint: bytes) -> bool:
    from importer.campaigns import fingerprint_of
    from importer.client import check_token, parse_origin

    try:
        # http to another machine is refused later, where it is used
        if parse_origin(origin_text(campaign, None), allow_insecure_http=True) != origin:
            return False
        return fingerprint_of(check_token(token_text(campaign, None)).reveal(), origin) == fingerprint
    except UsageProblem:  # a token that is not there is no reason to stop: another campaign may be meant
        return False


def _converted(
    option: click.Parameter, said: Any, setting: str, configuration: Configuration, context: click.Context
) -> Any:
    try:
        return option.type_cast_value(context, _as_typed(option, said))
    except click.BadParameter as problem:
        raise UsageProblem(f"{configuration.path}: {setting}: {problem.format_message()}") from None


def _as_typed(option: click.Parameter, said: Any) -> Any:
    """What the file says, in the form that the command line would give it."""
    if option.multiple:
        return [str(each) for each in (said if isinstance(said, list) else [said])]
    return ",".join(map(str, said)) if isinstance(said, list) else said


def target_of(options: Asked) -> Target:
    """The campaign to send to. **Errors**: UsageProblem when none is configured, or host or token cannot be right."""
    from importer.client import Secret, check_token, parse_origin
    from importer.run import Target

    values = options.values
    if options.is_undecided and not _names_another(options):
        raise options.configuration.several("Say which with --campaign.")
    is_insecure_fine = bool(values.get("insecure_http"))
    origin = parse_origin(origin_text(options.campaign, values.get("host")), allow_insecure_http=is_insecure_fine)
    forbid_core_dumps()
    token = check_token(token_text(options.campaign, values.get("token_file")))
    return Target(
        origin=origin,
        token=token,
        name=options.campaign_name,
        ca_file=Path(values["ca_file"]) if values.get("ca_file") else None,
        proxy=Secret(values["proxy"]) if values.get("proxy") else None,
        is_insecure_http_fine=is_insecure_fine,
    )


def run_settings(options: Asked, sources: Sequence[str]) -> RunSettings:
    """The settings of a run, from options of `run`, `send` or `check`."""
    from importer.run import Checks, RunSettings
    from importer.shards import parse_shard
    from importer.summary import Allowance

    values = options.values
    if "-" in sources and values.get("token_file") == "-":
        raise UsageProblem("The list and the token cannot both be on standard input.", hint="Put one into a file.")
    return RunSettings(
        sources=sources,
        target=target_of(options),
        ledger=options.ledger,
        list_name=values.get("list_name"),
        round_name=values.get("round_name"),
        once_per=values.get("once_per"),
        phone_column=values.get("phone_column"),
        region_column=values.get("region_column"),
        rules=phone_rules(values),
        mapping=list_mapping(values),
        is_splitting=bool(values.get("split_cells")),
        hold_back=hold_back(values),
        reading=read_options(values),
        batch_size_rows=values.get("batch_size", 250),
        sending=_send_settings(values),
        checks=Checks(
            stop_at_rejects_share=values.get("stop_at_rejects", 0.2),
            expect_rows=values.get("expect_rows"),
            max_calls=values.get("max_calls"),
            allowance=values.get("allow_rejects") or Allowance(),
        ),
        rejects_path=Path(values["rejects"]) if values.get("rejects") else None,
        is_new_ledger_fine=bool(values.get("new_ledger")),
        in_doubt=values.get("in_doubt", "reconcile"),
        keep_for_s=values.get("keep_for", math.inf),
        quiet_s=values.get("quiet_period", 900.0),
        adopt_since_ms=values.get("adopt_since"),
        run_id=values.get("run_id"),
        is_network_ledger_fine=options.is_network_ledger_fine,
        shows_numbers=bool(values.get("show_numbers")),
        shard=None if values.get("shard") is None else parse_shard(values["shard"]),
        home=_home(values, options.ledger),
    )


def _home(values: Mapping[str, Any], ledger: Path) -> Path | None:
    """The home ledger; None where the run's own is meant. **Errors**: UsageProblem."""
    if not values.get("home"):
        return None
    if values.get("shard") is None:
        raise UsageProblem("--home goes with --shard.", hint="A run of the whole list uses --ledger alone.")
    home = Path(values["home"])
    if home.absolute() == ledger.absolute():
        raise UsageProblem(
            f"--home and --ledger both name {ledger}.", hint="A shard keeps a ledger of its own: say another --ledger."
        )
    return home


def import_settings(options: Asked, import_id: int | None) -> tuple[ImportLine, RunSettings]:
    """An import of the ledger, the newest unless named, and the settings to go on with it at its own host.

    **Errors**: UsageProblem when the ledger holds no import; LedgerProblem when there is no such ledger or import.
    """
    from importer.ledger import LedgerReader

    with LedgerReader(options.ledger) as reader:
        number = import_id if import_id is not None else reader.view.newest_import_id()
        if number is None:
            raise UsageProblem(f"The ledger {options.ledger} holds no import yet.", hint="Start one: importer run LIST")
        line = reader.view.import_line(number)
    options = asked_for_import(options, number)
    values = dict(options.values)
    if not (values.get("host") or options.campaign.get("host")):
        values["host"] = line.origin
    return line, run_settings(replace(options, values=values), [line.an_import.list_name])


def _names_another(options: Asked) -> bool:
    """True when the token is named without the help of the file."""
    return bool(options.values.get("token_file"))


def list_mapping(values: Mapping[str, Any]) -> ListMapping | None:
    """The mapping file, read. **Errors**: UsageProblem for one that cannot be."""
    from importer.intake import read_mapping

    return read_mapping(Path(values["map"])) if values.get("map") else None


def hold_back(values: Mapping[str, Any]) -> HoldBack:
    """Whom not to call."""
    from importer.run import HoldBack

    return HoldBack(
        suppress=tuple(values.get("suppress") or ()),
        suppress_column=values.get("suppress_column"),
        not_if_called_within_s=values.get("not_if_called_within"),
    )


def phone_rules(values: Mapping[str, Any]) -> Any:
    """The rules for numbers. **Errors**: UsageProblem for an unknown region or type."""
    from importer.phones import PhoneRules, types_from

    region = values.get("region")
    return PhoneRules(
        region=region.upper() if region else None,
        accept=values.get("accept", "valid"),
        types=types_from(str(values.get("types") or "")),
        bare=values.get("bare"),
    )


def read_options(values: Mapping[str, Any]) -> Any:
    """How to read the list."""
    from importer.sources import ReadOptions

    return ReadOptions(
        format=values.get("list_format"),
        encoding=values.get("encoding"),
        delimiter={"\\t": "\t", "tab": "\t"}.get(str(values.get("delimiter")), values.get("delimiter")),
        quote=values.get("quote"),
        has_header=values.get("has_header"),
        sheet=values.get("sheet"),
        storage_options=dict(map(_storage_option, values.get("storage_option") or ())),
        is_plain_http_fine=bool(values.get("insecure_http")),
        query=_query(values),
    )


def _query(values: Mapping[str, Any]) -> Any:
    from importer.sources import Query

    return Query(sql=values["sql"], db=values["db"]) if values.get("sql") and values.get("db") else None


def sources_of(sources: Sequence[str], values: Mapping[str, Any]) -> Sequence[str]:
    """The names of the list: those given, or that of the query.

    **Errors**: UsageProblem unless there is exactly one of them, or when the query has no database.
    """
    from importer.cli.console import say
    from importer.sources import query_name

    sql = values.get("sql")
    if not sql and not sources:
        raise click.UsageError("Missing argument 'SOURCE...'.", click.get_current_context())
    if not sql:
        return sources
    if sources:
        raise UsageProblem("Say either SOURCE or --sql, not both.")
    if not values.get("db"):
        raise UsageProblem("--sql needs a database.", hint="Say --db URL, or set IMPORTER_DB.")
    if not re.search(r"\border\s+by\b", sql, re.IGNORECASE):
        say(
            "Warning: without ORDER BY a database may give its rows in another order each time, which makes other batches."
        )
    return [query_name(_query(values))]


def _storage_option(said: str) -> tuple[str, Any]:
    """Key and value of a store's option; `true`, `false` and JSON objects or arrays are what they look like.

    **Errors**: UsageProblem, which does not repeat the value: it may be a secret.
    """
    key, sign, value = said.partition("=")
    if not (key and sign):
        raise UsageProblem("--storage-option is not of the form KEY=VALUE.", hint="Such as endpoint_url=https://…")
    if value in ("true", "false"):
        return key, value == "true"
    if not value.startswith(("{", "[")):
        return key, value
    try:
        return key, json.loads(value)
    except ValueError:
        raise UsageProblem(f"--storage-option {key}: the value is no JSON.") from None


def _send_settings(values: Mapping[str, Any]) -> Any:
    from importer.protocol import Window
    from importer.sender import SendSettings

    rate = values.get("rate")
    if rate is not None and not math.isfinite(rate):
        raise UsageProblem("--rate must be a number of rows a second.")
    return SendSettings(
        in_flight=values.get("in_flight", 8),
        rate_rows_s=rate,
        patience_s=values.get("patience", 60.0),
        first_rows=values.get("first"),
        window=Window(
            window_s=values.get("key_window", 86_400.0),
            margin_s=values.get("key_margin", 3_600.0),
            request_s=values.get("timeout", 90.0),
        ),
    )
