"""A chunk of a list as the ledger will need it: numbers judged, policy judged, keys and request items made.

Floor: intake, pure. Whatever the columns of a file are called, what comes out has one schema, so a batch may be filled
from two files. Everything happens in columns; only rejected rows are looked at one by one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import polars as pl

from importer import phones
from importer.body import item_column
from importer.intake.cut import Items
from importer.intake.plan import Plan
from importer.intake.shaping import Shaped, shape
from importer.intake.share import share
from importer.intake.splitting import judge_and_split
from importer.keys import identity_column, row_key_column
from importer.ledger.records import NewReject
from importer.phones.plans import CALLING_CODES
from importer.shards import Shard
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

    **Shapes**: `good` has GOOD_SCHEMA, in list order; `told` counts what `phones.check` said. `more_rows` of
    the rows read were made of cells with several numbers; `elsewhere_rows` of them belong to other shards, and are not
    in `read_rows`. `items` are those of `good` put together, where its rows are likely to be sent as they are.
    """

    good: pl.DataFrame
    rejects: list[NewReject]
    told: dict[str, dict[str, int]]
    more_rows: int
    read_rows: int
    last_row_no: int
    elsewhere_rows: int = 0
    items: Items | None = None


def prepare(
    chunk: Chunk,
    plan: Plan,
    *,
    seed: str,
    round_name: str,
    shard: Shard | None = None,
    is_likely_new: bool = False,
) -> Prepared:
    """Judges and keys a chunk. Every row of it, or of the shard's share of it, is in `good` or in `rejects`."""
    left_out = chunk.left_out
    last_row_no: int = max(chunk.row_nos.max() or 0, chunk.bad["row_no"].max() or 0, left_out.last_row_no)  # type: ignore[assignment]
    own = share(judge_and_split(chunk, plan), shard)
    split = own.split
    chunk, judged = split.chunk, split.judged
    shaped = shape(chunk.rows, judged, plan)
    is_good = judged["reason"].is_null() & shaped.problem_no.is_null()
    frame = shaped.frame.with_columns(judged["e164"].alias(_E164), chunk.row_nos.alias(_ROW_NO))
    good = _keyed(frame if is_good.all() else frame.filter(is_good), shaped, plan, chunk.file_no, seed, round_name)
    return Prepared(
        good=good,
        items=Items.of(good["item"]) if is_likely_new else None,
        rejects=_rejects(chunk, plan, judged["reason"], shaped, ~is_good),
        told=_told(judged),
        more_rows=split.more_rows + left_out.more_rows,
        read_rows=chunk.rows.height + chunk.bad.height,
        last_row_no=last_row_no,
        elsewhere_rows=own.elsewhere_rows + left_out.rows + left_out.more_rows,
    )


def _told(judged: pl.DataFrame) -> dict[str, dict[str, int]]:
    """How many of the good numbers are of which region and type, with which warning; and some counts of all."""
    good = judged.filter(pl.col("reason").is_null()) if judged["reason"].null_count() < judged.height else judged
    flags = {"fallback": "is_fallback", "ambiguous_bare": "is_ambiguous_bare", "own_code_bare": "is_own_code_bare"}
    return {
        "regions": _counted(good["region"]),
        "types": _counted(good["type"]),
        "warnings": _counted(good["warning"]),
        "numbers": {"checked": judged.height, **{name: int(judged[flag].sum()) for name, flag in flags.items()}},
    }


def _counted(column: pl.Series) -> dict[str, int]:
    return {value: count for value, count in column.value_counts().iter_rows() if value is not None}


# Our columns stand beside the list's own. Columns whose names begin so are dropped when a list is read.
_E164 = "importer_e164"
_ROW_NO = "importer_row_no"


def _keyed(frame: pl.DataFrame, shaped: Shaped, plan: Plan, file_no: int, seed: str, round_name: str) -> pl.DataFrame:
    """Keys and request items of good rows."""
    identity = (
        identity_column(seed, round_name, _identity_content(shaped, plan))
        if plan.identity_columns
        else pl.lit(None, dtype=pl.Binary)
    )
    return frame.select(
        file_no=pl.lit(file_no, dtype=pl.Int64),
        row_no=_ROW_NO,
        phone=pl.col(_E164).str.strip_prefix("+").cast(pl.Int64),
        row_key=row_key_column(seed, round_name, pl.col(_E164), {}, shaped.policy, shaped.payload),
        identity=identity,
        item=item_column(pl.col(_E164), {}, shaped.policy, shaped.payload),
    )


def _identity_content(shaped: Shaped, plan: Plan) -> dict[str, pl.Expr]:
    """The named cells as the list has them; numbers and policy as they are keyed, so one row key has one identity."""
    keyed = {field.column: shaped.policy[field.name] for field in plan.policy_fields if field.column == field.name}
    content = {**keyed, plan.phone_column: pl.col(_E164)}
    return {name: content.get(name, pl.col(name)) for name in plan.identity_columns}


def _rejects(chunk: Chunk, plan: Plan, phone_reasons: pl.Series, shaped: Shaped, is_bad: pl.Series) -> list[NewReject]:
    """The reject lines of a chunk, in list order."""
    if not is_bad.any() and not chunk.bad.height:
        return []
    rows = chunk.rows.filter(is_bad)
    cells = rows.select(pl.struct(pl.all()).struct.json_encode()).to_series()
    regions = rows[plan.region_column] if plan.region_column else [plan.rules.region] * rows.height
    columns = (
        chunk.row_nos.filter(is_bad),
        phone_reasons.filter(is_bad),
        shaped.problem_no.filter(is_bad),
        shaped.problem.filter(is_bad),
        rows[plan.phone_column],
        regions,
        cells,
    )
    judged = []
    for row_no, phone_reason, at, problem, cell, region, text in zip(*columns, strict=True):
        column, reason, said = _why(plan, shaped, phone_reason, at, problem, cell, region)
        judged.append(
            NewReject(file_no=chunk.file_no, row_no=row_no, column=column, reason=reason, explanation=said, cells=text)
        )
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


def _why(
    plan: Plan,
    shaped: Shaped,
    phone_reason: str | None,
    problem_no: int | None,
    problem: str | None,
    cell: str | None,
    region: str | None,
) -> tuple[str | None, str, str]:
    """Column, reason and explanation of a bad row: its number's before those of its other cells."""
    if phone_reason is not None:
        dialled_in = (region or plan.rules.region or "").strip().upper() or None
        explanation = phones.explain(phone_reason, cell or "", _region_of(cell or "", dialled_in))
        return plan.phone_column, phone_reason, explanation
    return *shaped.blames[problem_no or 0], problem or ""


def _region_of(cell: str, dialled_in: str | None) -> str | None:
    """Whose numbers a bad one is to be compared with: those of its country code, if it shows one."""
    text = cell.strip()
    if dialled_in and not text.startswith("+"):
        return dialled_in
    digits = "".join(sign for sign in text if sign.isdecimal())
    codes = (CALLING_CODES.get(int(digits[:length])) for length in (1, 2, 3) if digits[:length])
    return next((regions[0] for regions in codes if regions), None)


def _raw_cells(raw: str) -> str:
    """A row that could not be cut into cells, kept as one."""
    return json.dumps({"importer_raw": raw}, ensure_ascii=False)
