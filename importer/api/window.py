"""The ledger as a window: read only, beside whoever owns it, rows as polars frames.

Floor: api. It reads the views that docs/LEDGER.md documents, so a query written by hand and a frame from here say the
same. A newcomer may question that it never writes: what changes a ledger is a run, a `reconcile` or a person's word,
each with a command and checks of its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from types import TracebackType

import polars as pl

from importer.errors import LedgerProblem, UsageProblem
from importer.ledger import LedgerReader
from importer.ledger.view import ImportLine, RowLife
from importer.model import Balance

_ROWS: dict[str, pl.DataType] = {
    "row_id": pl.Int64(), "import_id": pl.Int64(), "file": pl.String(), "row_no": pl.Int64(), "phone": pl.String(),
    "row_key": pl.String(), "state": pl.String(), "batch_id": pl.Int64(), "position": pl.Int64(),
    "request_key": pl.String(), "reason": pl.String(),
}  # fmt: skip
_JOBS: dict[str, pl.DataType] = {
    "batch_id": pl.Int64(), "call_job_id": pl.List(pl.String), "evidence": pl.String(), "accepted_at": pl.Int64(),
}  # fmt: skip
_OUTCOMES: dict[str, pl.DataType] = {
    "row_id": pl.Int64(), "import_id": pl.Int64(), "file": pl.String(), "row_no": pl.Int64(), "phone": pl.String(),
    "call_job_id": pl.String(), "status": pl.String(), "is_finished": pl.Int64(), "attempts": pl.Int64(),
    "call_duration_s": pl.Float64(), "tag_name": pl.String(), "last_result": pl.String(), "created_at": pl.String(),
    "finished_at": pl.String(),
}  # fmt: skip
_SKIPPED = {"reason": pl.String(), "file_no": pl.Int64(), "row_no": pl.Int64(), "row_id": pl.Int64()}
_REJECTS: dict[str, pl.DataType] = {
    "reason": pl.String(), "file": pl.String(), "row_no": pl.Int64(), "column": pl.String(),
    "explanation": pl.String(), "cells": pl.String(),
}  # fmt: skip
_ALL = 2**62


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportSummary:
    """One import of a ledger. `state` is `unfinished` or `finished`; times are aware UTC."""

    import_id: int
    campaign: str
    origin: str
    list_name: str
    round_name: str
    state: str
    begun_at: datetime
    finished_at: datetime | None
    balance: Balance

    @classmethod
    def of(cls, line: ImportLine) -> ImportSummary:
        """From the ledger's own record."""
        an_import = line.an_import
        return cls(
            import_id=an_import.id,
            campaign=line.campaign,
            origin=line.origin,
            list_name=an_import.list_name,
            round_name=an_import.round,
            state="unfinished" if an_import.finished_ms is None else "finished",
            begun_at=_moment(an_import.started_ms),
            finished_at=None if an_import.finished_ms is None else _moment(an_import.finished_ms),
            balance=line.balance,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    """What the ledger knows of a number or of a place in a list; all of it empty where it knows nothing.

    `rows` are the rows that were enqueued, each with its batch, its sends and its call job. `rejected` are (reason,
    explanation); `skipped` are (reason, the row that stands for it); `do_not_call` names lists.
    """

    rows: tuple[RowLife, ...] = ()
    rejected: tuple[tuple[str, str], ...] = ()
    skipped: tuple[tuple[str, RowLife | None], ...] = ()
    do_not_call: tuple[str, ...] = ()


class Ledger:
    """A ledger to look into; close it, or use it in a `with`. Used from the thread that opened it.

    **Errors**: LedgerProblem when there is no such file, or it is not a ledger of this version.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        self._reader = LedgerReader(self.path)
        self._view = self._reader.view

    def __repr__(self) -> str:
        return f"Ledger({str(self.path)!r})"

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file."""
        self._reader.close()

    def imports(self, limit: int = 20) -> tuple[ImportSummary, ...]:
        """The newest imports, newest first."""
        return tuple(map(ImportSummary.of, self._view.imports(limit)))

    def balance(self, import_id: int | None = None) -> Balance:
        """Where every row of an import is; of the newest one unless named."""
        return self._view.balance(self._number(import_id))

    def rows(self, import_id: int | None = None) -> pl.DataFrame:
        """The rows that were enqueued, one line each, in the order of the list.

        **Shapes**: as the view `row_states`, with `call_job_id`, `evidence` and `accepted_at` of those accepted.
        """
        number = self._number(import_id)
        states = self._lines("row_states", number, _ROWS)
        return states.join(self._jobs(number), on=["batch_id", "position"], how="left", maintain_order="left")

    def _jobs(self, import_id: int) -> pl.DataFrame:
        """The call job of each place in the accepted batches."""
        jobs = pl.DataFrame(self._view.call_job_ids(import_id), schema=_JOBS, orient="row")
        places = jobs.with_columns(
            pl.int_ranges(pl.col("call_job_id").list.len(), dtype=pl.Int64).alias("position"),
            pl.from_epoch("accepted_at", time_unit="ms").dt.replace_time_zone("UTC"),
        )
        return places.filter(pl.col("call_job_id").list.len() > 0).explode("call_job_id", "position")

    def rejects(self, import_id: int | None = None) -> pl.DataFrame:
        """The rows found unusable, with reason, explanation and their cells as JSON, in the order of the list."""
        found = self._view.reject_examples(self._number(import_id), _ALL)
        return pl.DataFrame(found, schema=_REJECTS, orient="row")

    def skipped(self, import_id: int | None = None) -> pl.DataFrame:
        """The good rows that were not enqueued, and why, in the order of the list.

        **Shapes**: `reason`, `file_no` (from 1), `row_no`, and `row_id` of the row that stands for it, if it has one.
        """
        packs = self._view.skip_packs(self._number(import_id))
        places = [
            (reason, file_no + 1, row_no, row_id or None) for reason, pack in packs for file_no, row_no, row_id in pack
        ]
        return pl.DataFrame(places, schema=_SKIPPED, orient="row").sort("file_no", "row_no")

    def outcomes(self, import_id: int | None = None) -> pl.DataFrame:
        """What became of the calls, as far as `importer outcomes` has fetched it.

        **Shapes**: as the view `call_outcomes`, times as UTC.
        """
        found = self._lines("call_outcomes", self._number(import_id), _OUTCOMES)
        return found.with_columns(
            pl.col("is_finished").cast(pl.Boolean), _as_moment("created_at"), _as_moment("finished_at")
        )

    def explain(self, phone: str) -> Explanation:
        """The whole life of a number, written with its country code. **Errors**: UsageProblem without digits."""
        digits = re.sub(r"\D", "", phone)
        if not 0 < len(digits) <= 18:
            raise UsageProblem("That is no number.", hint="Write it with its country code, such as +16505550100.")
        number = int(digits)
        return Explanation(
            rows=tuple(self._view.rows_of_phone(number)), do_not_call=tuple(self._reader.dnc.names_with(number))
        )

    def explain_row(self, row_no: int, *, import_id: int | None = None, file_no: int = 1) -> Explanation:
        """What became of a row of a list, counted as a spreadsheet shows it (in a frame: from 1)."""
        number, view = self._number(import_id), self._view
        place = (number, file_no - 1, row_no)
        return Explanation(
            rows=tuple(view.row(*place)),
            rejected=tuple((reason, text) for reason, text in view.reject_at(*place)),
            skipped=tuple((reason, view.life_of(row_id)) for reason, row_id in view.skip_at(*place)),
        )

    def _number(self, import_id: int | None) -> int:
        """The import's number; the newest unless named. **Errors**: LedgerProblem when there is none."""
        number = self._view.newest_import_id() if import_id is None else import_id
        if number is None:
            raise LedgerProblem(f"The ledger {self.path} holds no import yet.", hint="run_import begins one.")
        self._view.balance(number)
        return number

    def _lines(self, view: str, import_id: int, schema: dict[str, pl.DataType]) -> pl.DataFrame:
        return pl.DataFrame(self._view.lines(view, tuple(schema), import_id), schema=schema, orient="row").sort(
            "row_id"
        )


def _as_moment(name: str) -> pl.Expr:
    return pl.col(name).str.to_datetime("%Y-%m-%d %H:%M:%S", time_zone="UTC")


def _moment(unix_ms: int) -> datetime:
    return datetime.fromtimestamp(unix_ms / 1000, UTC)
