"""The mapping file: what each column of a list becomes, as a person wrote it down in TOML.

Floor: intake, pure but for reading the file. Everything is checked here, names against the nearest that is known, so
that a slip of the pen is told before a row is read. A newcomer may question that a field is one record with many
options instead of a class per type: a field of the request is one line of the file, and this is that line.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from importer import policy
from importer.errors import UsageProblem

TYPES = ("text", "integer", "number", "boolean", "json", "datetime", "date", "time")
TRUE, FALSE = ("true", "yes", "1"), ("false", "no", "0")
ABSENT, REJECT = "absent", "reject"
_TOP = ("phone", "region", "rest", "drop", "empty", "nulls", "nested", "payload", "policy")
_FIELD = ("column", "constant", "default", "type", "format", "zone", "true", "false", "decimal", "from", "to", "days",
          "otherwise")  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """One field of the request and where it comes from: a column, two, a constant, or the number's own region.

    `default` stands in for cells that are empty or absent. `formats` are those of strptime, tried in turn. `zone` is
    for times that do not say their offset. `otherwise` is a zone, `absent` or `reject`, for numbers with several zones.
    """

    name: str
    column: str | None = None
    constant: Any = None
    default: str | None = None
    type: str = "text"
    formats: tuple[str, ...] = ()
    zone: str | None = None
    true: tuple[str, ...] = TRUE
    false: tuple[str, ...] = FALSE
    decimal: str = "."
    columns: tuple[str, str] | None = None
    days: tuple[str, ...] = ("default",)
    is_from_number: bool = False
    otherwise: str = ABSENT

    @property
    def sources(self) -> tuple[str, ...]:
        """The columns it is made of."""
        return tuple(column for column in (self.column, *(self.columns or ())) if column is not None)


@dataclass(frozen=True, kw_only=True, slots=True)
class ListMapping:
    """A mapping file. `said` is its whole content, as the ledger keeps it; `name` is the file's, for messages."""

    name: str
    said: Mapping[str, Any]
    payload: tuple[Field, ...] = ()
    policy: tuple[Field, ...] = ()
    phone: str | None = None
    region: str | None = None
    is_rest_kept: bool = True
    drop: tuple[str, ...] = ()
    is_empty_kept: bool = True
    are_nulls_kept: bool = False
    is_nested: bool = False
    sources: frozenset[str] = field(default=frozenset())


def read_mapping(path: Path) -> ListMapping:
    """The mapping in a file. **Errors**: UsageProblem naming the file and the place in it."""
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as problem:
        near = difflib.get_close_matches(path.name, _neighbours(path), n=1)
        hint = f"Did you mean {path.with_name(near[0])}?" if near else "`importer map LIST` writes one to begin with."
        raise UsageProblem(f"The mapping {path} cannot be read: {problem.strerror}.", hint=hint) from problem
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as problem:
        raise UsageProblem(f"The mapping {path} is no TOML: {problem}.") from problem
    return parse_mapping(said, path.name)


def _neighbours(path: Path) -> list[str]:
    return [each.name for each in path.parent.glob("*.toml")] if path.parent.is_dir() else []


def parse_mapping(said: Mapping[str, Any], name: str) -> ListMapping:
    """The mapping that a parsed TOML file says. **Errors**: UsageProblem."""
    place = _Place(name)
    place.judge_names(said, _TOP)
    fields = {
        section: tuple(
            _field(place.under(f"[{section}] {target}"), target, spec, is_policy=section == "policy")
            for target, spec in place.table(said, section).items()
        )
        for section in ("payload", "policy")
    }
    for each in fields["policy"]:
        place.judge_word("policy", each.name, tuple(policy.FIELDS))
    drop = place.words(said, "drop")
    return ListMapping(
        name=name,
        said=json.loads(json.dumps(said, default=str)),
        payload=fields["payload"],
        policy=fields["policy"],
        phone=place.word(said, "phone"),
        region=place.word(said, "region"),
        is_rest_kept=place.choice(said, "rest", ("payload", "drop")) == "payload",
        drop=drop,
        is_empty_kept=place.choice(said, "empty", ("keep", "drop")) == "keep",
        are_nulls_kept=place.choice(said, "nulls", ("drop", "keep")) == "keep",
        is_nested=place.flag(said, "nested"),
        sources=frozenset(drop).union(*(each.sources for each in (*fields["payload"], *fields["policy"]))),
    )


class _Place:
    """A place in a mapping file, for messages, and the simple things that may stand there."""

    def __init__(self, name: str) -> None:
        self._name = name

    def under(self, section: str) -> _Place:
        """A place inside this one."""
        return _Place(f"{self._name} {section}")

    def wrong(self, what: str, hint: str = "") -> UsageProblem:
        """The exception for something wrong here."""
        return UsageProblem(f"{self._name}: {what}", hint=hint)

    def judge_names(self, table: Mapping[str, Any], known: Sequence[str]) -> None:
        """Refuses a setting nobody knows."""
        for name in table:
            self.judge_word("setting", name, known)

    def judge_word(self, kind: str, word: str, known: Sequence[str]) -> None:
        """Refuses a word that is none of those known."""
        if word not in known:
            near = difflib.get_close_matches(word, known, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known are: {', '.join(known)}."
            raise self.wrong(f"{word!r} is no {kind}.", hint)

    def table(self, table: Mapping[str, Any], name: str) -> Mapping[str, Any]:
        """A table of settings, empty when it is not there."""
        found = table.get(name, {})
        if not isinstance(found, dict):
            raise self.wrong(f"{name} must be a table: [{name}].")
        return found

    def word(self, table: Mapping[str, Any], name: str) -> str | None:
        """A text, or None."""
        found = table.get(name)
        if found is not None and not isinstance(found, str):
            raise self.wrong(f"{name} must be a text in quotes.")
        return found

    def words(self, table: Mapping[str, Any], name: str) -> tuple[str, ...]:
        """Texts; one alone may stand without brackets."""
        found = table.get(name, [])
        listed = [found] if isinstance(found, str) else found
        if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
            raise self.wrong(f"{name} must be a list of texts in quotes.")
        return tuple(listed)

    def choice(self, table: Mapping[str, Any], name: str, known: Sequence[str]) -> str:
        """One of a few words; the first when nothing was said."""
        found = table.get(name, known[0])
        self.judge_word(f"choice for {name}", str(found), known)
        return str(found)

    def flag(self, table: Mapping[str, Any], name: str) -> bool:
        """True or false; false when nothing was said."""
        found = table.get(name, False)
        if not isinstance(found, bool):
            raise self.wrong(f"{name} must be true or false.")
        return found

    def zone(self, table: Mapping[str, Any], name: str) -> str | None:
        """A time zone that exists, or None."""
        found = self.word(table, name)
        if found is not None:
            try:
                ZoneInfo(found)
            except (ZoneInfoNotFoundError, ValueError, OSError):
                raise self.wrong(f"{found!r} is no time zone.", "Write one such as Europe/Paris, or UTC.") from None
        return found


def _field(place: _Place, name: str, spec: Any, *, is_policy: bool) -> Field:
    """One line of [payload] or [policy]: a column's name, or a table of options."""
    if isinstance(spec, str):
        return Field(name=name, column=spec)
    if not isinstance(spec, dict):
        raise place.wrong("must be a column's name, or options such as { constant = 1 }.")
    place.judge_names(spec, _FIELD)
    is_from_number = name == "gmtZone" and is_policy and spec.get("from") == "number" and "to" not in spec
    _judge_source(place, name, spec, is_policy=is_policy, is_from_number=is_from_number)
    _judge_constant(place, spec.get("constant"))
    pair = None if is_from_number or "from" not in spec else (str(spec["from"]), str(spec["to"]))
    default = spec.get("default")
    return Field(
        name=name,
        column=place.word(spec, "column"),
        constant=spec.get("constant"),
        default=default if default is None or isinstance(default, str) else json.dumps(default),
        type=_type_of(place, name, spec, is_policy=is_policy),
        formats=place.words(spec, "format"),
        zone=place.zone(spec, "zone"),
        true=tuple(word.lower() for word in place.words(spec, "true")) or TRUE,
        false=tuple(word.lower() for word in place.words(spec, "false")) or FALSE,
        decimal=place.choice(spec, "decimal", (".", ",")),
        columns=pair,
        days=_days(place, spec),
        is_from_number=is_from_number,
        otherwise=_otherwise(place, spec, is_from_number=is_from_number),
    )


def _judge_source(place: _Place, name: str, spec: Mapping[str, Any], *, is_policy: bool, is_from_number: bool) -> None:
    given = [word for word in ("column", "constant", "from") if word in spec]
    if len(given) != 1:
        raise place.wrong("needs one of column, constant, and from with to.")
    if "from" not in spec:
        return
    if name == "gmtZone" and is_policy and not is_from_number:
        raise place.wrong('knows one other source than a column: from = "number".')
    if not is_from_number and not (is_policy and name == "allowedTime" and "to" in spec):
        raise place.wrong("cannot come from two columns: only [policy] allowedTime can.")


def _judge_constant(place: _Place, constant: Any) -> None:
    try:
        json.dumps(constant, allow_nan=False)
    except (TypeError, ValueError):
        raise place.wrong("a constant must be a text, a number, true, false, a list or a table of these.") from None


_TIMES = ("startDateTime", "finishDateTime")


def _type_of(place: _Place, name: str, spec: Mapping[str, Any], *, is_policy: bool) -> str:
    found = place.word(spec, "type")
    if is_policy and name not in _TIMES and ("format" in spec or "zone" in spec):
        raise place.wrong(f"format and zone belong to {' and '.join(_TIMES)}.")
    if found is None:
        return "datetime" if "format" in spec or "zone" in spec else "text"
    if is_policy:
        raise place.wrong("needs no type: each policy field has its own.")
    place.judge_word("type", found, TYPES)
    return found


def _days(place: _Place, spec: Mapping[str, Any]) -> tuple[str, ...]:
    days = place.words(spec, "days")
    for day in days:
        place.judge_word("day", day, (*policy.DAYS, "default"))
    return days or ("default",)


def _otherwise(place: _Place, spec: Mapping[str, Any], *, is_from_number: bool) -> str:
    found = place.word(spec, "otherwise")
    if not is_from_number:
        if found is not None:
            raise place.wrong('otherwise belongs to from = "number".')
        return ABSENT
    if found is None:
        raise place.wrong(
            "must say what to do with numbers that have several zones.",
            'Add otherwise = "absent" (the campaign decides), "reject", or a zone such as "Europe/Paris".',
        )
    return found if found in (ABSENT, REJECT) else place.zone(spec, "otherwise") or ABSENT
