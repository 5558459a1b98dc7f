"""A chunk of a list as the ledger will need it: numbers judged, policy judged, keys and request items made.

Floor: intake, pure. Whatever the columns of a file are called, what comes out has one schema, so a batch may be filled
from two files. Everything happens in columns; only rejected rows are looked at one by one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import polars as pl

from importer import phones, policy
from importer.body import item_column
from importer.intake.plan import Plan
from importer.keys import identity_column, row_key_column
from importer.ledger.records import NewReject
from importer.sources import Chunk

GOOD_SCHEMA = pl.Schema(
    {
        "file_no": pl.Int64(),
        "row_no": pl.Int64(),
        "phone": pl.Int64(),
        "row_key": pl.Binary(),
        "identity": pl.Binary(),
        "item": pl.String(),
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """A chunk after judging.

    **Shapes**: `good` has GOOD_SCHEMA, in list order; `judged` is what `phones.check` said of every row.
    """

    good: pl.DataFrame
    rejects: list[NewReject]
    judged: pl.DataFrame
    read_rows: int
    last_row_no: int


def prepare(chunk: Chunk, plan: Plan, *, seed: str, round_name: str) -> Prepared:
    """Judges and keys a chunk. Every row of it is in `good` or in `rejects`."""
    regions = chunk.rows[plan.region_column] if plan.region_column else None
    judged = phones.check(chunk.rows[plan.phone_column], plan.rules, regions)
    values, problems = _judge_policy(chunk.rows, plan)
    reasons = pl.DataFrame(
        {"row_no": chunk.row_nos, "phone_reason": judged["reason"].cast(pl.String), "problem": problems}
    )
    is_good = reasons["phone_reason"].is_null() & reasons["problem"].is_null()
    frame = chunk.rows.with_columns(judged["e164"].alias(_E164), chunk.row_nos.alias(_ROW_NO), *values)
    return Prepared(
        good=_keyed(frame.filter(is_good), plan, chunk.file_no, seed, round_name),
        rejects=_rejects(chunk, plan, reasons.filter(~is_good), chunk.rows.filter(~is_good)),
        judged=judged,
        read_rows=chunk.rows.height + chunk.bad.height,
        last_row_no=max(chunk.row_nos.max() or 0, chunk.bad["row_no"].max() or 0),  # type: ignore[arg-type]  # integers
    )


# Our columns stand beside the list's own. Columns whose names begin so are dropped when a list is read.
_E164 = "importer_e164"
_ROW_NO = "importer_row_no"


def _policy_name(field: str) -> str:
    return f"importer_policy_{field}"


def _judge_policy(rows: pl.DataFrame, plan: Plan) -> tuple[list[pl.Series], pl.Series]:
    """The policy columns as JSON texts, and for each row the first rule it breaks (null: none)."""
    problem = pl.Series("problem", [None] * rows.height, dtype=pl.String)
    values = []
    for field in plan.policy:
        verdict = policy.check(field, rows[field])
        values.append(verdict["value"].alias(_policy_name(field)))
        problem = problem.zip_with(problem.is_not_null(), verdict["problem"])
    by_field = dict(zip(plan.policy, values, strict=True))
    if {"startDateTime", "finishDateTime"} <= by_field.keys():
        wrong = policy.order_problems(by_field["startDateTime"], by_field["finishDateTime"])
        problem = problem.zip_with(problem.is_not_null(), wrong)
    return values, problem.alias("problem")


def _keyed(frame: pl.DataFrame, plan: Plan, file_no: int, seed: str, round_name: str) -> pl.DataFrame:
    """Keys and request items of good rows."""
    payload = {name: pl.col(name) for name in plan.payload}
    rules = {name: pl.col(_policy_name(name)) for name in plan.policy}
    content = {plan.phone_column: pl.col(_E164), **payload, **rules}  # as keyed, so one row key has one identity
    identity = (
        identity_column(seed, round_name, {name: content[name] for name in plan.identity_columns})
        if plan.identity_columns
        else pl.lit(None, dtype=pl.Binary)
    )
    return frame.select(
        file_no=pl.lit(file_no, dtype=pl.Int64),
        row_no=_ROW_NO,
        phone=pl.col(_E164).str.strip_prefix("+").cast(pl.Int64),
        row_key=row_key_column(seed, round_name, pl.col(_E164), payload, rules),
        identity=identity,
        item=item_column(pl.col(_E164), payload, rules),
    )


def _rejects(chunk: Chunk, plan: Plan, reasons: pl.DataFrame, rows: pl.DataFrame) -> list[NewReject]:
    """The reject lines of a chunk, in list order."""
    cells = rows.select(pl.struct(pl.all()).struct.json_encode()).to_series()
    judged = [
        _reject(chunk.file_no, plan, row_no, phone_reason, problem, cell, text)
        for (row_no, phone_reason, problem), cell, text in zip(
            reasons.iter_rows(), rows[plan.phone_column], cells, strict=True
        )
    ]
    unread = [
        NewReject(
            file_no=chunk.file_no,
            row_no=bad["row_no"],
            column=bad["column"],
            reason=bad["reason"],
            explanation=bad["explanation"],
            cells=_raw_cells(bad["raw"]),
        )
        for bad in chunk.bad.iter_rows(named=True)
    ]
    return sorted(judged + unread, key=lambda reject: reject.row_no)


def _reject(
    file_no: int, plan: Plan, row_no: int, phone_reason: str | None, problem: str | None, cell: str | None, cells: str
) -> NewReject:
    if phone_reason is None:
        column, reason, explanation = (problem or "").partition(" ")[0], "bad_policy", problem or ""
    else:
        column, reason, explanation = plan.phone_column, phone_reason, phones.explain(phone_reason, cell or "")
    return NewReject(file_no=file_no, row_no=row_no, column=column, reason=reason, explanation=explanation, cells=cells)


def _raw_cells(raw: str) -> str:
    """A row that could not be cut into cells, kept as one."""
    return json.dumps({"importer_raw": raw}, ensure_ascii=False)
