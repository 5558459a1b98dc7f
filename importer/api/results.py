"""What `run_import` and `check_list` give: frozen records, the same facts that `--json` prints.

Floor: api. A newcomer may question that a run which sent nothing for good reason still gives a record: only what stops
a run before its report is an exception (`ImporterError`), and `exit_code` says the rest, as the shell would be told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from importer.client import redact
from importer.model import Balance
from importer.run import RunReport
from importer.run.checking import CheckReport


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """A row that the platform declined: its place, and the `type` the platform gave."""

    file: str
    row_no: int
    type: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportResult:
    """How a run ended.

    `exit_code` is what `importer run` would have ended with; `ending` is `done`, `first`, `stopped`, `away`, `denied`
    or `declined`. `rejects_path` is None where there were no rejects. `detail` is what the platform said, masked.
    **Units**: `elapsed_s` seconds; everything else rows.
    """

    import_id: int
    ledger: Path
    list_name: str
    round_name: str
    balance: Balance
    exit_code: int
    ending: str
    rejects_by_reason: Mapping[str, int]
    rejects_path: Path | None
    refusals: tuple[Refusal, ...]
    facts: Mapping[str, Any] = field(repr=False)
    detail: str
    is_resumed: bool
    elapsed_s: float

    @property
    def is_well(self) -> bool:
        """True when every row settled well: exit code 0."""
        return self.exit_code == 0

    @property
    def is_to_be_repeated(self) -> bool:
        """True when the same call, later, settles more: exit code 7, or it was stopped."""
        return self.exit_code == 7 or self.ending == "stopped"

    @classmethod
    def of(cls, report: RunReport, ledger: Path) -> ImportResult:
        """From the engine's report."""
        return cls(
            import_id=report.import_id,
            ledger=ledger,
            list_name=report.list_name,
            round_name=report.round_name,
            balance=report.balance,
            exit_code=report.exit_code,
            ending=report.ending,
            rejects_by_reason=MappingProxyType(dict(report.reject_counts)),
            rejects_path=report.rejects_path,
            refusals=tuple(Refusal(file=file, row_no=row, type=redact(kind)) for file, row, kind in report.refusals),
            facts=MappingProxyType(dict(report.facts)),
            detail=redact(report.detail),
            is_resumed=report.is_resumed,
            elapsed_s=report.elapsed_s,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckResult:
    """What a run would do with a list. `balance.pending` are the rows it would send.

    `exit_code` is what `importer check` would have ended with, and `problem` the safety check that says no, if any.
    `facts` count countries, types and warnings; `came_back` and `doubtful_bare` are rows a run would ask about.
    """

    list_name: str
    balance: Balance
    exit_code: int
    problem: str | None
    requests: int
    phone_column: str
    payload_columns: tuple[str, ...]
    policy_columns: tuple[str, ...]
    rejects_by_reason: Mapping[str, int]
    skips_by_reason: Mapping[str, int]
    facts: Mapping[str, Mapping[str, int]] = field(repr=False)
    came_back: int
    doubtful_bare: int
    region_suggested: str | None
    elapsed_s: float

    @property
    def is_well(self) -> bool:
        """True when a run would leave nothing out and no check says no: exit code 0."""
        return self.exit_code == 0

    @classmethod
    def of(cls, report: CheckReport, *, exit_code: int, problem: str | None) -> CheckResult:
        """From the engine's report."""
        return cls(
            list_name=report.list_name,
            balance=report.balance,
            exit_code=exit_code,
            problem=problem,
            requests=report.requests,
            phone_column=report.phone_column,
            payload_columns=report.payload_columns,
            policy_columns=report.policy_columns,
            rejects_by_reason=MappingProxyType(dict(report.reject_counts)),
            skips_by_reason=MappingProxyType(dict(report.skips)),
            facts=MappingProxyType(dict(report.facts)),
            came_back=report.came_back_rows,
            doubtful_bare=report.doubtful_bare_rows,
            region_suggested=report.suggestion.region if report.suggestion else None,
            elapsed_s=report.elapsed_s,
        )
