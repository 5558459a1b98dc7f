"""A whole ledger as Parquet files, one for each thing it knows, for a warehouse or a notebook.

Floor: outcomes. All files show one moment of the ledger, whatever a run does meanwhile, and memory does not grow with
it. A newcomer may question what is left out: key seeds and fingerprints are nobody's business outside the ledger, and
frozen bodies go along as what they say of each row (`sent` in rows.parquet), not as bytes.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from importer.errors import UsageProblem
from importer.ledger import OutcomeBook
from importer.ledger.store import Store
from importer.ledger.upkeep import snapshot
from importer.machine import make_private_folder, private_umask
from importer.outcomes.parquet import sink_parquet

CHUNK_ROWS = 20_000
_WHEN = pl.Datetime("ms", "UTC")
_TEXT, _INT, _REAL, _FLAG = pl.String(), pl.Int64(), pl.Float64(), pl.Boolean()

Schema = dict[str, pl.DataType]

# name -> (query, columns); the columns of a query stand in this order, whatever it calls them.
QUERIES: dict[str, tuple[str, Schema]] = {
    "campaigns": (
        "SELECT id, name, origin, platform_id, first_met_ms, renewed_ms FROM campaigns ORDER BY id",
        {"campaign_id": _INT, "name": _TEXT, "host": _TEXT, "platform_id": _TEXT, "first_met_at": _WHEN,
         "renewed_at": _WHEN},
    ),
    "imports": (
        ("SELECT s.import_id, i.campaign_id, s.round, s.list_name, s.source_state, s.read, s.accepted, s.rejected, "
        "s.duplicate, s.suppressed, s.withdrawn, s.refused, s.in_doubt, s.pending, i.started_ms, i.finished_ms, "
        "json_extract(i.facts, '$.parent.import') FROM import_summary s JOIN imports i ON i.id = s.import_id "
        "ORDER BY s.import_id"),
        {"import_id": _INT, "campaign_id": _INT, "round": _TEXT, "list": _TEXT, "source_state": _TEXT, "read": _INT,
         "accepted": _INT, "rejected": _INT, "duplicate": _INT, "suppressed": _INT, "withdrawn": _INT, "refused": _INT,
         "in_doubt": _INT, "pending": _INT, "started_at": _WHEN, "finished_at": _WHEN, "parent_id": _INT},
    ),
    "call_outcomes": (
        ("SELECT row_id, call_job_id, status, is_finished, attempts, call_duration_s, redial_number, created_ms, "
        "finished_ms, tag_name, tag_payload, report_data FROM job_outcomes ORDER BY row_id"),
        {"row_id": _INT, "call_job_id": _TEXT, "status": _TEXT, "is_finished": _FLAG, "attempts": _INT,
         "duration_s": _REAL, "redial_number": _INT, "created_at": _WHEN, "finished_at": _WHEN, "tag": _TEXT,
         "tag_payload": _TEXT, "report": _TEXT},
    ),
    "call_attempts": (
        ("SELECT row_id, attempt_number, call_result, job_status, call_duration_s, started_ms, finished_ms, tag_name, "
        "tag_payload, report_data FROM call_attempts ORDER BY row_id, attempt_number"),
        {"row_id": _INT, "attempt": _INT, "result": _TEXT, "job_status": _TEXT, "duration_s": _REAL,
         "started_at": _WHEN, "finished_at": _WHEN, "tag": _TEXT, "tag_payload": _TEXT, "report": _TEXT},
    ),
    "cancellations": (
        "SELECT row_id, import_id, fate, call_job_id, tries, asked_ms, settled_ms FROM cancellations ORDER BY row_id",
        {"row_id": _INT, "import_id": _INT, "fate": _TEXT, "call_job_id": _TEXT, "tries": _INT, "asked_at": _WHEN,
         "settled_at": _WHEN},
    ),
    "rejects": (
        ("SELECT r.import_id, f.name, r.row_no, r.column_name, r.reason, r.explanation, r.cells FROM rejects r "
        "LEFT JOIN files f ON f.import_id = r.import_id AND f.file_no = r.file_no ORDER BY r.id"),
        {"import_id": _INT, "file": _TEXT, "row": _INT, "column": _TEXT, "reason": _TEXT, "explanation": _TEXT,
         "cells": _TEXT},
    ),
    "skipped_rows": (
        ("SELECT s.import_id, s.reason, f.name, json_extract(p.value, '$[1]'), json_extract(p.value, '$[2]') "
        "FROM skips s, json_each(s.pack) p LEFT JOIN files f ON f.import_id = s.import_id "
        "AND f.file_no = json_extract(p.value, '$[0]') ORDER BY s.id"),
        {"import_id": _INT, "reason": _TEXT, "file": _TEXT, "row": _INT, "repeats_row_id": _INT},
    ),
    "sends": (
        ("SELECT s.id, b.import_id, s.batch_id, b.size_rows, s.armed_ms, s.ended_ms, s.outcome, s.status, s.elapsed_ms "
        "FROM sends s JOIN batches b ON b.id = s.batch_id ORDER BY s.id"),
        {"send_id": _INT, "import_id": _INT, "batch_id": _INT, "rows": _INT, "armed_at": _WHEN, "ended_at": _WHEN,
         "outcome": _TEXT, "status": _INT, "elapsed_ms": _INT},
    ),
}  # fmt: skip
ROWS_SCHEMA: Schema = {
    "row_id": _INT, "import_id": _INT, "file": _TEXT, "row": _INT, "phone": _TEXT, "state": _TEXT, "reason": _TEXT,
    "call_job_id": _TEXT, "sent": _TEXT,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """A file that was written. **Units**: rows."""

    path: Path
    rows: int


def export_ledger(ledger: Path, folder: Path) -> list[Stored]:
    """Writes every file, 0600, each whole or not at all; earlier ones of these names are replaced.

    **Errors**: LedgerProblem when the ledger cannot be read; UsageProblem when a file cannot be written.
    """
    try:
        make_private_folder(folder)
        with snapshot(ledger) as connection:
            stored = [
                _stored(folder / f"{name}.parquet", _pieces(connection.execute(sql)), schema)
                for name, (sql, schema) in QUERIES.items()
            ]
            return [*stored, _stored(folder / "rows.parquet", _pieces(_rows(connection, ledger)), ROWS_SCHEMA)]
    except OSError as problem:
        raise UsageProblem(f"{folder} could not be written: {problem.strerror or problem}.") from problem


def _stored(path: Path, pieces: Iterator[list[Any]], schema: Schema) -> Stored:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with private_umask():
            rows = sink_parquet(unfinished, (_frame(piece, schema) for piece in pieces), pl.Schema(schema))
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return Stored(path=path, rows=rows)


def _pieces(rows: Iterable[Any]) -> Iterator[list[Any]]:
    waiting = iter(rows)
    while piece := list(islice(waiting, CHUNK_ROWS)):
        yield piece


def _frame(piece: list[Any], schema: Schema) -> pl.DataFrame:
    """A piece as columns; SQLite's 0 and 1 are given as what they mean."""
    columns = zip(*piece, strict=True)
    made = []
    for (name, dtype), values in zip(schema.items(), columns, strict=True):
        told = [None if each is None else bool(each) for each in values] if dtype == pl.Boolean else list(values)
        made.append(pl.Series(name, told, dtype=dtype))
    return pl.DataFrame(made)


def _rows(connection: sqlite3.Connection, path: Path) -> Iterator[tuple[Any, ...]]:
    """Every row that was enqueued, with what was, or would have been, sent for it as JSON."""
    book = OutcomeBook(Store(connection, path))
    for (import_id,) in connection.execute("SELECT id FROM imports ORDER BY id").fetchall():
        for row in book.rows(import_id):
            sent = json.dumps(row.item, ensure_ascii=False)
            yield (
                row.row_id, import_id, row.file, row.row_no, row.phone, row.state, row.reason, row.call_job_id, sent,
            )  # fmt: skip
