"""The settings of a run as keyword arguments, and how they become what the engine is asked for.

Floor: api. Names are those of the command line's options with underscores, and the unit where there is one; each means
what docs/CONFIGURATION.md says. A newcomer may question that bounds are judged here although the command line judges
them too: it does so as it parses, and a program must be told as clearly.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Literal, TypedDict

from importer.api.frames import Handed
from importer.client import Secret, check_token, parse_origin
from importer.errors import UsageProblem
from importer.intake import ListMapping, read_mapping
from importer.intake.mapping import parse_mapping
from importer.phones import DEFAULT_TYPES, TYPES, PhoneRules
from importer.protocol import Window
from importer.purging import DEFAULT_KEEP_S, LEAST_KEEP_S
from importer.run import DEFAULT_BATCH_ROWS, Checks, HoldBack, RunSettings, Target
from importer.run.checking import CheckSettings
from importer.sender import SendSettings
from importer.sources import ReadOptions
from importer.summary import Allowance, parse_allowance

AnyPath = str | PathLike[str]


class ListOptions(TypedDict, total=False):
    """Which rows come out of a list: what `importer check` and `importer run` share."""

    list_name: str
    round_name: str
    once_per: str | Sequence[str]
    map: AnyPath | Mapping[str, Any]
    phone_column: str
    region: str
    region_column: str
    split_cells: bool
    bare: Literal["international", "national"]
    accept: Literal["valid", "possible", "any-digits"]
    types: str | Collection[str]
    not_if_called_within_s: float
    suppress: AnyPath | Sequence[AnyPath]
    suppress_column: str
    format: str
    encoding: str
    delimiter: str
    quote: str
    header: bool
    sheet: str
    storage_option: Mapping[str, Any]
    batch_size: int
    stop_at_rejects: float
    expect_rows: int | tuple[int, int | None]
    max_calls: int
    allow_rejects: int | str
    rate_rows_s: float
    ca_file: AnyPath
    proxy: str
    insecure_http: bool


class CheckOptions(ListOptions, total=False):
    """The options of `check_list`."""


class RunOptions(ListOptions, total=False):
    """The options of `run_import`: those of the list, and how it is sent."""

    rejects: AnyPath
    new_ledger: bool
    in_flight: int
    timeout_s: float
    patience_s: float
    first: int
    in_doubt: Literal["reconcile", "hold"]
    adopt_since: datetime
    keep_for_s: float


# Inclusive bounds of what may be asked for; those of the command line.
_BOUNDS: Mapping[str, tuple[float, float]] = {
    "batch_size": (1, 100_000),
    "in_flight": (1, 256),
    "first": (1, math.inf),
    "max_calls": (0, math.inf),
    "stop_at_rejects": (0, 1),
    "timeout_s": (0.001, 86_400),
    "patience_s": (0, math.inf),
    "not_if_called_within_s": (0, math.inf),
    "keep_for_s": (LEAST_KEEP_S, math.inf),
    "rate_rows_s": (1e-6, 1e9),
}
_WORDS: Mapping[str, tuple[str, ...]] = {"in_doubt": ("reconcile", "hold")}


def judged(options: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """What was asked for, held against what can be; None is as good as nothing said.

    **Errors**: TypeError for a name that is no option, as for any function; UsageProblem for a value out of bounds.
    """
    for name, value in options.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise TypeError(f"There is no option {name!r}." + (f" Did you mean {near[0]!r}?" if near else ""))
        if value is None:
            continue
        least, most = _BOUNDS.get(name, (-math.inf, math.inf))
        if name in _BOUNDS and not (isinstance(value, (int, float)) and least <= value <= most):
            raise UsageProblem(f"{name} must be a number from {least:g} to {most:g}, not {value!r}.")
        if value not in _WORDS.get(name, (value,)):
            raise UsageProblem(f"{name} is one of {', '.join(_WORDS[name])}, not {value!r}.")
    return {name: value for name, value in options.items() if value is not None}


def target_of(host: str, token: str, options: Mapping[str, Any]) -> Target:
    """The campaign to send to. **Errors**: UsageProblem when host or token cannot be right."""
    is_insecure_fine = bool(options.get("insecure_http"))
    text = host if "://" in host else f"https://{host}"
    return Target(
        origin=parse_origin(text, allow_insecure_http=is_insecure_fine),
        token=check_token(token.strip()),
        ca_file=_path(options.get("ca_file")),
        proxy=Secret(options["proxy"]) if options.get("proxy") else None,
        is_insecure_http_fine=is_insecure_fine,
    )


def run_settings(handed: Handed, target: Target, ledger: Path, options: RunOptions) -> RunSettings:
    """The settings of a run."""
    adopt_since = options.get("adopt_since")
    return RunSettings(
        sources=handed.names,
        target=target,
        ledger=ledger,
        list_name=options.get("list_name") or handed.list_name,
        round_name=options.get("round_name"),
        once_per=once_per(options),
        phone_column=options.get("phone_column"),
        region_column=options.get("region_column"),
        mapping=_mapping(options.get("map")),
        is_splitting=options.get("split_cells", False),
        rules=phone_rules(options),
        hold_back=hold_back(options),
        reading=reading(handed, options),
        batch_size_rows=options.get("batch_size", DEFAULT_BATCH_ROWS),
        sending=_sending(options),
        checks=checks(options),
        rejects_path=_path(options.get("rejects")),
        is_new_ledger_fine=options.get("new_ledger", False),
        in_doubt=options.get("in_doubt", "reconcile"),
        adopt_since_ms=None if adopt_since is None else int(adopt_since.timestamp() * 1000),
        keep_for_s=options.get("keep_for_s", DEFAULT_KEEP_S),
    )


def check_settings(handed: Handed, target: Target | None, ledger: Path | None, options: ListOptions) -> CheckSettings:
    """The settings of a check."""
    return CheckSettings(
        sources=handed.names,
        list_name=options.get("list_name") or handed.list_name,
        round_name=options.get("round_name"),
        once_per=once_per(options),
        phone_column=options.get("phone_column"),
        region_column=options.get("region_column"),
        mapping=_mapping(options.get("map")),
        is_splitting=options.get("split_cells", False),
        rules=phone_rules(options),
        hold_back=hold_back(options),
        reading=reading(handed, options),
        batch_size_rows=options.get("batch_size", DEFAULT_BATCH_ROWS),
        rate_rows_s=options.get("rate_rows_s"),
        ledger=ledger,
        target=target,
    )


def once_per(options: ListOptions) -> str | None:
    """Which call is the same call, as the command line writes it."""
    said = options.get("once_per")
    return said if said is None or isinstance(said, str) else ",".join(said)


def phone_rules(options: ListOptions) -> PhoneRules:
    """The rules for numbers. **Errors**: UsageProblem for an unknown region, type or word."""
    region, said = options.get("region"), options.get("types", ())
    names = [part.strip() for part in said.split(",")] if isinstance(said, str) else list(said)
    types = frozenset(TYPES) if names == ["all"] else frozenset(filter(None, names)) or DEFAULT_TYPES
    return PhoneRules(
        region=region.upper() if region else None,
        accept=options.get("accept", "valid"),
        types=types,
        bare=options.get("bare"),
    )


def hold_back(options: ListOptions) -> HoldBack:
    """Whom not to call."""
    said = options.get("suppress", ())
    names = (said,) if isinstance(said, (str, PathLike)) else said
    return HoldBack(
        suppress=tuple(fspath(name) for name in names),
        suppress_column=options.get("suppress_column"),
        not_if_called_within_s=options.get("not_if_called_within_s"),
    )


def reading(handed: Handed, options: ListOptions) -> ReadOptions:
    """How to read the list; of a frame everything is known."""
    if handed.stream is not None:
        return ReadOptions(format=handed.format)
    return ReadOptions(
        format=options.get("format"),
        encoding=options.get("encoding"),
        delimiter=options.get("delimiter"),
        quote=options.get("quote"),
        has_header=options.get("header"),
        sheet=options.get("sheet"),
        storage_options=dict(options.get("storage_option", {})),
    )


def checks(options: ListOptions) -> Checks:
    """What must hold before anything is sent. **Errors**: UsageProblem for an allowance that is none."""
    expected = options.get("expect_rows")
    try:
        allowance = parse_allowance(str(options["allow_rejects"])) if "allow_rejects" in options else Allowance()
    except ValueError as problem:
        raise UsageProblem(f"allow_rejects: {problem}.") from None
    return Checks(
        stop_at_rejects_share=options.get("stop_at_rejects", Checks().stop_at_rejects_share),
        expect_rows=(expected, expected) if isinstance(expected, int) else expected,
        max_calls=options.get("max_calls"),
        allowance=allowance,
    )


def _sending(options: RunOptions) -> SendSettings:
    usual = SendSettings()
    return SendSettings(
        in_flight=options.get("in_flight", usual.in_flight),
        rate_rows_s=options.get("rate_rows_s"),
        patience_s=options.get("patience_s", usual.patience_s),
        first_rows=options.get("first"),
        window=Window(request_s=options.get("timeout_s", usual.window.request_s)),
    )


def _mapping(said: AnyPath | Mapping[str, Any] | None) -> ListMapping | None:
    if said is None:
        return None
    return parse_mapping(said, "map") if isinstance(said, Mapping) else read_mapping(Path(said))


def _path(said: AnyPath | None) -> Path | None:
    return None if said is None else Path(said)
