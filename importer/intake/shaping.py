"""A chunk's columns put into the shape of the request: payload and policy fields, and what is wrong with which cell.

Floor: intake, pure. A plain column of text stays the list's own column; only what a mapping makes is added beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from importer import policy
from importer.columns import TEXT
from importer.intake.mapping import Field, ListMapping
from importer.intake.plan import Plan
from importer.intake.values import Made, Part, nested, payload_values, policy_values

BAD_POLICY, BAD_VALUE = "bad_policy", "bad_value"
POLICY = "policy"


@dataclass(frozen=True, kw_only=True, slots=True)
class Shaped:
    """A chunk with what the request's fields are made of.

    **Shapes**: `frame` has the list's rows and columns, and ours; `payload` and `policy` are expressions over it.
    `problem` says the first thing wrong with each row (null: nothing), `problem_no` whose it is, as an index into
    `blames`: the column and the reason.
    """

    frame: pl.DataFrame
    payload: list[Part]
    policy: dict[str, pl.Expr]
    problem: pl.Series
    problem_no: pl.Series
    blames: list[tuple[str | None, str]]


def shape(rows: pl.DataFrame, judged: pl.DataFrame, plan: Plan) -> Shaped:
    """Makes every field of the request. `judged` is what phone checking said of the rows."""
    mapping = plan.mapping
    payload = [_payload(rows, field, mapping) for field in plan.payload_fields]
    rules = [policy_values(rows, judged, field) for field in plan.policy_fields]
    faults = [*_faults(rules, BAD_POLICY), *_order_faults(rules), *_faults(payload, BAD_VALUE)]
    problem, problem_no = _first_problem([problem for _, _, problem in faults], rows.height)
    parts = [part for made in payload for part in _parts(made)]
    return Shaped(
        frame=rows.with_columns(
            *(series for made in payload for series in _added(made)),
            *(series for made in rules for series in _added(made, POLICY)),
        ),
        payload=nested(parts) if mapping is not None and mapping.is_nested else parts,
        policy={made.field.name: pl.col(_name(made.field, POLICY)) for made in rules},
        problem=problem,
        problem_no=problem_no,
        blames=[(column, reason) for column, reason, _ in faults],
    )


def _payload(rows: pl.DataFrame, field: Field, mapping: ListMapping | None) -> Made:
    is_empty_kept = mapping is None or mapping.is_empty_kept
    are_nulls_kept = mapping is not None and mapping.are_nulls_kept
    is_plain = field.type == "text" and field.default is None and field.constant is None
    if is_plain and is_empty_kept and not are_nulls_kept:
        return Made(field=field, typed=())
    return payload_values(rows, field, is_empty_kept=is_empty_kept, are_nulls_kept=are_nulls_kept)


def _name(field: Field, letter: str) -> str:
    """What a made column is called beside the list's own; names beginning so are dropped when a list is read."""
    return f"importer_{letter}_{field.name}"


def _added(made: Made, kind: str = "") -> list[pl.Series]:
    return [values.alias(_name(made.field, kind or letter)) for letter, values in made.typed]


def _parts(made: Made) -> list[Part]:
    if not made.typed:
        return [(made.field.name, TEXT, pl.col(made.field.sources[0]))]
    return [(made.field.name, letter, pl.col(_name(made.field, letter))) for letter, _ in made.typed]


Fault = tuple[str | None, str, pl.Series]


def _faults(made: list[Made], reason: str) -> list[Fault]:
    """Column, reason and problems of the fields that can have any."""
    return [(next(iter(each.field.sources), None), reason, each.problem) for each in made if each.problem is not None]


def _order_faults(rules: list[Made]) -> list[Fault]:
    """Rows that finish before they start."""
    values = {made.field.name: made for made in rules}
    if not {"startDateTime", "finishDateTime"} <= values.keys():
        return []
    start, finish = values["startDateTime"], values["finishDateTime"]
    wrong = policy.order_problems(start.typed[0][1], finish.typed[0][1])
    return [(next(iter(start.field.sources), None), BAD_POLICY, wrong)]


def _first_problem(problems: list[pl.Series], height: int) -> tuple[pl.Series, pl.Series]:
    """The first problem of each row, and which of them it is."""
    first = pl.Series("problem", [None], dtype=pl.String).new_from_index(0, height)
    number = pl.Series("problem_no", [None], dtype=pl.Int64).new_from_index(0, height)
    for no, each in enumerate(problems):
        is_new = first.is_null() & each.is_not_null()
        first = first.zip_with(~is_new, each)
        number = number.zip_with(~is_new, pl.Series([no], dtype=pl.Int64).new_from_index(0, height))
    return first, number
