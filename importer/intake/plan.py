"""What a list's columns mean: which one is the phone, which are call policy, what is left for the payload.

Floor: intake. The phone column is named, or found by the vendor's habit: a column called like a phone, else the first.
A plan is stored with its import; an unfinished import continues only under the same plan.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from importer.errors import UsageProblem
from importer.intake.mapping import Field, ListMapping
from importer.keys import RECIPE
from importer.phones import PhoneRules
from importer.policy import FIELDS

ONCE_PER_ROW = "row"
ONCE_PER_PHONE = "phone"

_PHONE_NAMES = (
    "phone", "phonenumber", "phone1", "msisdn", "mobile", "mobilephone", "mobilenumber", "cell", "cellphone", "tel",
    "telephone", "telephonenumber", "telefon", "telefono", "telefone", "telefonnummer", "contactnumber", "number",
    "телефон", "номертелефона", "номер", "мобильный", "мобильныйтелефон",
    "电话", "电话号码", "手机", "手机号", "電話番号",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What each column of a list is for. `once_per` is `row`, `phone`, or column names joined by commas."""

    phone_column: str
    payload_fields: tuple[Field, ...]
    policy_fields: tuple[Field, ...]
    once_per: str
    rules: PhoneRules
    region_column: str | None = None
    not_if_called_within_s: float | None = None
    mapping: ListMapping | None = None
    is_splitting: bool = False

    @property
    def payload(self) -> tuple[str, ...]:
        """The names of the payload's fields."""
        return tuple(field.name for field in self.payload_fields)

    @property
    def policy(self) -> tuple[str, ...]:
        """The names of the policy's fields."""
        return tuple(field.name for field in self.policy_fields)

    @property
    def identity_columns(self) -> tuple[str, ...]:
        """The columns that make a row the same row; empty when the row or its phone does."""
        return () if self.once_per in (ONCE_PER_ROW, ONCE_PER_PHONE) else tuple(self.once_per.split(","))

    def as_mapping(self) -> dict[str, Any]:
        """The plan as the ledger stores it: everything that decides which rows come out of a list.

        What was not asked for is left out, so that plans of earlier versions stay equal.
        """
        asked = {
            "region_column": self.region_column,
            "not_if_called_within_s": self.not_if_called_within_s,
            "map": self.mapping and self.mapping.said,
            "split_cells": self.is_splitting or None,
        }
        return {
            **{name: value for name, value in asked.items() if value is not None},
            "recipe": RECIPE,
            "phone_column": self.phone_column,
            "payload": list(self.payload),
            "policy": list(self.policy),
            "once_per": self.once_per,
            "region": self.rules.region,
            "accept": self.rules.accept,
            "types": sorted(self.rules.types),
            "bare": self.rules.bare,
        }


def make_plan(
    columns: Sequence[str],
    *,
    phone_column: str | None,
    once_per: str,
    rules: PhoneRules,
    region_column: str | None = None,
    not_if_called_within_s: float | None = None,
    mapping: ListMapping | None = None,
    is_splitting: bool = False,
) -> Plan:
    """The plan for a list with these columns. Options go before the mapping.

    **Errors**: UsageProblem for a column that is not there, naming the nearest that is; for two fields of one name.
    """
    mapped = mapping or ListMapping(name="", said={})
    phone = _column(columns, phone_column, "--phone-column", mapped.phone, mapped) or likely_phone_column(columns)
    region = _column(columns, region_column, "--region-column", mapped.region, mapped)
    payload, policy = _fields(columns, phone, mapping)
    return Plan(
        phone_column=phone,
        payload_fields=payload,
        policy_fields=policy,
        once_per=_once_per(columns, once_per),
        rules=rules,
        region_column=region,
        not_if_called_within_s=not_if_called_within_s,
        mapping=mapping,
        is_splitting=is_splitting,
    )


def _column(
    columns: Sequence[str], said: str | None, option: str, mapped: str | None, mapping: ListMapping
) -> str | None:
    """The column an option names, else the mapping."""
    if said:
        return find_column(columns, said, option)
    return find_column(columns, mapped, mapping.name) if mapped else None


def _fields(
    columns: Sequence[str], phone: str, mapping: ListMapping | None
) -> tuple[tuple[Field, ...], tuple[Field, ...]]:
    """The fields of payload and policy: those of the mapping, then every other column under its own name."""
    if mapping is None:
        return _own_names([name for name in columns if name != phone])
    for name in sorted(mapping.sources):
        find_column(columns, name, mapping.name)
    rest = [name for name in columns if name != phone and name not in mapping.sources] if mapping.is_rest_kept else []
    payload, policy = _own_names(rest)
    fields = (*mapping.payload, *payload), (*mapping.policy, *policy)
    for each in fields:
        _judge_names(mapping, [field.name for field in each])
    return fields


def _own_names(columns: Sequence[str]) -> tuple[tuple[Field, ...], tuple[Field, ...]]:
    """Columns as fields of their own names; the API's own go into the policy."""
    fields = [Field(name=name, column=name) for name in columns]
    return tuple(each for each in fields if each.name not in FIELDS), tuple(
        each for each in fields if each.name in FIELDS
    )


def _judge_names(mapping: ListMapping, names: Sequence[str]) -> None:
    """Refuses two fields of one name, and, where dots nest, a field that is also an object."""
    for place, name in enumerate(names):
        inside = f"{name}."
        if name in names[:place] or (mapping.is_nested and any(each.startswith(inside) for each in names)):
            raise UsageProblem(
                f"{mapping.name}: two fields would be called {name!r}.",
                hint="Rename one, or name the column you do not want in drop.",
            )


def likely_phone_column(columns: Sequence[str]) -> str:
    """A column called like a phone, the likeliest name first; else the first column, as the vendor's upload has it."""
    by_name = {re.sub(r"[\W_]+", "", name).lower(): name for name in reversed(columns)}
    return next((by_name[name] for name in _PHONE_NAMES if name in by_name), columns[0])


def is_phone_name(column: str) -> bool:
    """Whether a column is called like a phone."""
    return re.sub(r"[\W_]+", "", column).lower() in _PHONE_NAMES


def _once_per(columns: Sequence[str], said: str) -> str:
    if said in (ONCE_PER_ROW, ONCE_PER_PHONE):
        return said
    names = sorted({find_column(columns, name.strip(), "--once-per") for name in said.split(",") if name.strip()})
    if not names:
        raise UsageProblem("--once-per needs `row`, `phone`, or the names of columns.")
    return ",".join(names)


def find_column(columns: Sequence[str], name: str, option: str) -> str:
    """The column of that name. **Errors**: UsageProblem, with the nearest names."""
    if name in columns:
        return name
    near = difflib.get_close_matches(name, columns, n=1, cutoff=0.6)
    folded = [column for column in columns if column.casefold() == name.casefold()]
    guess = (folded or near or [""])[0]
    shown = ", ".join(columns[:12]) + (", …" if len(columns) > 12 else "")
    raise UsageProblem(
        f"The list has no column {name!r} ({option}).",
        hint=f"Did you mean {guess!r}? The columns are: {shown}" if guess else f"The columns are: {shown}",
    )
