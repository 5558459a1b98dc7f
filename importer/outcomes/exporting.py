"""Outcomes as a file: each row of the list with all its columns, and what became of it.

Floor: outcomes. Written in pieces, so memory does not grow with the import, and whole or not at all. A newcomer may
question our prefix: `importer_` cannot collide with a column of the list, and a list reader drops such columns, so the
file may be read again as a list. CSV is guarded for spreadsheets; JSON lines and Parquet hold every value as it is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import IO, Any

import polars as pl

from importer.errors import UsageProblem
from importer.ledger.outcome_book import AttemptLine, OutcomeRow
from importer.machine import private_umask, sync_file
from importer.outcomes.parquet import sink_parquet
from importer.rejects import RISKY_CELL, guarded

CHUNK_ROWS = 20_000
FORMATS = (".csv", ".parquet", ".jsonl")
_MOMENT = pl.Datetime("ms", "UTC")

_OURS: dict[str, pl.DataType] = {
    "importer_file": pl.String(),
    "importer_row": pl.Int64(),
    "importer_state": pl.String(),
    "importer_reason": pl.String(),  # by this name a list reader knows the file as ours, and takes the guard off
    "importer_job_id": pl.String(),
    "importer_status": pl.String(),
    "importer_is_finished": pl.Boolean(),
    "importer_attempts": pl.Int64(),
    "importer_duration_s": pl.Float64(),
    "importer_created_at": _MOMENT,
    "importer_finished_at": _MOMENT,
    "importer_tag": pl.String(),
    "importer_tag_payload": pl.String(),
    "importer_report": pl.String(),
}
_ATTEMPT: dict[str, pl.DataType] = {
    "importer_attempt": pl.Int64(),
    "importer_attempt_result": pl.String(),
    "importer_attempt_duration_s": pl.Float64(),
    "importer_attempt_started_at": _MOMENT,
    "importer_attempt_finished_at": _MOMENT,
}

Lines = Iterable[tuple[OutcomeRow, AttemptLine | None]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """The list's own columns. `phone` is what the list calls it; `payload` and `policy` as they were sent.

    `order` is how they stand in the list; what is not in it comes last.
    """

    phone: str
    payload: tuple[str, ...]
    policy: tuple[str, ...]
    order: tuple[str, ...] = ()

    def names(self) -> list[str]:
        """All of them, each once: a payload key called like another column gets a number."""
        names: list[str] = []
        for name in (self.phone, *self.payload, *self.policy):
            taken = sum(each == name or each.startswith(f"{name} (") for each in names) if name in names else 0
            names.append(f"{name} ({taken + 1})" if taken else name)
        return names

    def in_order(self) -> list[str]:
        """The same names, in the order of the list."""
        places = {name: place for place, name in enumerate(self.order)}
        return sorted(self.names(), key=lambda name: places.get(name, len(places)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """A file that was written. **Units**: lines."""

    path: Path
    lines: int


def judge_format(path: Path) -> None:
    """Refuses a name whose format nobody knows, before anything else is done. **Errors**: UsageProblem."""
    if path.suffix.lower() not in FORMATS:
        raise UsageProblem(
            f"{path.name} is of no format that can be written.", hint=f"Use one of {', '.join(FORMATS)}."
        )


def export(path: Path, rows: Iterable[OutcomeRow], columns: Columns, *, with_attempts: bool) -> Exported:
    """Writes the rows, 0600; an earlier file of that name is replaced once this one is whole.

    With attempts, CSV and Parquet have a line for each call attempt, and one for a row that was never dialled.
    **Errors**: UsageProblem for an unknown format, or a file that cannot be written.
    """
    judge_format(path)
    write = {".csv": _write_csv, ".parquet": _write_parquet, ".jsonl": _write_jsonl}[path.suffix.lower()]
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with private_umask():
            lines = write(unfinished, rows, columns, with_attempts=with_attempts)
        sync_file(unfinished)
        unfinished.replace(path)
    except OSError as problem:
        raise UsageProblem(f"{path} could not be written: {problem.strerror or problem}.") from problem
    finally:
        unfinished.unlink(missing_ok=True)
    return Exported(path=path, lines=lines)


# --- flat: CSV and Parquet ------------------------------------------------------------------------------------------


def _write_csv(path: Path, rows: Iterable[OutcomeRow], columns: Columns, *, with_attempts: bool) -> int:
    lines = 0
    with path.open("xb") as file:
        _csv(_guarded(_frame((), columns, with_attempts=with_attempts)), file, has_header=True)
        for frame in _frames(rows, columns, with_attempts=with_attempts):
            _csv(_guarded(frame), file, has_header=False)
            lines += frame.height
    return lines


def _csv(frame: pl.DataFrame, file: IO[bytes], *, has_header: bool) -> None:
    frame.write_csv(file, include_header=has_header, datetime_format="%Y-%m-%dT%H:%M:%S%.3fZ")


def _guarded(frame: pl.DataFrame) -> pl.DataFrame:
    """Text that no spreadsheet will run, names of columns included."""
    texts = [name for name, dtype in frame.schema.items() if dtype == pl.String]
    safe = frame.with_columns(_guarded_column(name) for name in texts)
    return safe.rename({name: guarded(name) for name in frame.columns})


def _guarded_column(name: str) -> pl.Expr:
    """As `guarded` does, for a whole column."""
    is_risky = pl.col(name).str.contains(RISKY_CELL)
    return pl.when(is_risky).then(pl.concat_str(pl.lit("'"), pl.col(name))).otherwise(pl.col(name)).alias(name)


def _write_parquet(path: Path, rows: Iterable[OutcomeRow], columns: Columns, *, with_attempts: bool) -> int:
    frames = _frames(rows, columns, with_attempts=with_attempts)
    return sink_parquet(path, frames, _schema(columns, with_attempts=with_attempts))


def _frames(rows: Iterable[OutcomeRow], columns: Columns, *, with_attempts: bool) -> Iterator[pl.DataFrame]:
    lines = iter(_lines(rows, with_attempts=with_attempts))
    while piece := list(islice(lines, CHUNK_ROWS)):
        yield _frame(piece, columns, with_attempts=with_attempts)


def _lines(rows: Iterable[OutcomeRow], *, with_attempts: bool) -> Iterator[tuple[OutcomeRow, AttemptLine | None]]:
    for row in rows:
        if not with_attempts or not row.attempts:
            yield row, None
        else:
            yield from ((row, attempt) for attempt in row.attempts)


def _schema(columns: Columns, *, with_attempts: bool) -> pl.Schema:
    own = dict.fromkeys(columns.in_order(), pl.String())
    return pl.Schema({**own, **_OURS, **(_ATTEMPT if with_attempts else {})})


def _frame(
    lines: Sequence[tuple[OutcomeRow, AttemptLine | None]], columns: Columns, *, with_attempts: bool
) -> pl.DataFrame:
    rows = [row for row, _ in lines]
    cells = [*_own_cells(rows, columns), *_our_cells(rows)]
    if with_attempts:
        cells += _attempt_cells([attempt for _, attempt in lines])
    schema = _schema(columns, with_attempts=with_attempts)
    names = [*columns.names(), *list(schema)[len(columns.names()) :]]
    made = dict(zip(names, cells, strict=True))
    return pl.DataFrame([pl.Series(name, made[name], dtype=dtype) for name, dtype in schema.items()])


def _own_cells(rows: Sequence[OutcomeRow], columns: Columns) -> list[list[Any]]:
    items = [row.item for row in rows]
    payloads = [item.get("payload") or {} for item in items]
    return [
        [row.phone for row in rows],
        *([_cell(payload.get(name)) for payload in payloads] for name in columns.payload),
        *([_cell(item.get(name)) for item in items] for name in columns.policy),
    ]


def _cell(value: Any) -> str | None:
    """A value as text: text unchanged, anything else as JSON, nothing as null."""
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _our_cells(rows: Sequence[OutcomeRow]) -> list[list[Any]]:
    jobs = [row.job for row in rows]
    names = ("status", "is_finished", "attempts", "call_duration_s", "created_ms", "finished_ms", "tag_name",
             "tag_payload", "report_data")  # fmt: skip
    return [
        [row.file for row in rows],
        [row.row_no for row in rows],
        [row.state for row in rows],
        [row.reason for row in rows],
        [row.call_job_id for row in rows],
        *([None if job is None else getattr(job, name) for job in jobs] for name in names),
    ]


def _attempt_cells(attempts: Sequence[AttemptLine | None]) -> list[list[Any]]:
    names = ("attempt_number", "call_result", "call_duration_s", "started_ms", "finished_ms")
    return [[None if each is None else getattr(each, name) for each in attempts] for name in names]


# --- JSON lines -----------------------------------------------------------------------------------------------------


def _write_jsonl(path: Path, rows: Iterable[OutcomeRow], columns: Columns, *, with_attempts: bool) -> int:
    del columns  # every row brings its own
    lines = 0
    with path.open("x", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(_object(row, with_attempts=with_attempts), ensure_ascii=False) + "\n")
            lines += 1
    return lines


def _object(row: OutcomeRow, *, with_attempts: bool) -> dict[str, Any]:
    """A row as one object: what was sent under `sent`, exactly, and what became of it."""
    job = row.job
    found: dict[str, Any] = {
        "file": row.file,
        "row": row.row_no,
        "phone": row.phone,
        "state": row.state,
        "reason": row.reason or None,
        "call_job_id": row.call_job_id,
        "status": job and job.status,
        "is_finished": job and job.is_finished,
        "attempts": job and job.attempts,
        "duration_s": job and job.call_duration_s,
        "created_at": job and _iso(job.created_ms),
        "finished_at": job and _iso(job.finished_ms),
        "tag": job and job.tag_name,
        "tag_payload": job and _parsed(job.tag_payload),
        "report": job and _parsed(job.report_data),
        "sent": row.item,
    }
    if with_attempts:
        found["call_attempts"] = [_attempt_object(each) for each in row.attempts]
    return found


def _attempt_object(attempt: AttemptLine) -> dict[str, Any]:
    return {
        "attempt": attempt.attempt_number,
        "result": attempt.call_result,
        "duration_s": attempt.call_duration_s,
        "started_at": _iso(attempt.started_ms),
        "finished_at": _iso(attempt.finished_ms),
    }


def _iso(moment_ms: int | None) -> str | None:
    if moment_ms is None:
        return None
    return datetime.fromtimestamp(moment_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _parsed(text: str | None) -> Any:
    return None if text is None else json.loads(text)
