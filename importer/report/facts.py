"""Everything the page shows, gathered from one moment of the ledger.

Floor: report. All questions are asked inside one read transaction, so that the numbers of the page agree with each
other beside a run; it lasts as long as the questions and no longer, since a reader that stays keeps the journal long.
Countries and number types are the counts that intake made while reading: nothing is unfolded for them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from importer.ledger.outcome_book import Funnel, OutcomeBook
from importer.ledger.store import Store
from importer.ledger.tally import DoubtfulBatch, EvidenceLine, SendCount, Tally
from importer.ledger.upkeep import snapshot
from importer.ledger.view import ImportLine, View

EXAMPLES = 3
MOST_BATCHES = 50
MOST_EVIDENCE = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class RejectExample:
    """A row that could not be used; `cell` is None where no single cell is to blame, or it was erased."""

    file: str
    row_no: int
    column: str | None
    explanation: str
    cell: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """One import at one moment. **Units**: rows, but for `batches` and `sends`; times are Unix milliseconds."""

    line: ImportLine
    ledger: str
    gathered_ms: int
    files: tuple[tuple[str, int | None], ...]
    rejects: tuple[tuple[str, int], ...]
    examples: dict[str, tuple[RejectExample, ...]]
    skips: dict[str, int]
    regions: dict[str, int]
    types: dict[str, int]
    accepted_by_second: tuple[tuple[int, int], ...]
    known_by: dict[str, int]
    sends: tuple[SendCount, ...]
    batches: dict[str, int]
    in_doubt: tuple[DoubtfulBatch, ...]
    evidence: tuple[EvidenceLine, ...]
    findings: dict[str, int]
    refusals: tuple[tuple[str, str, int], ...]
    funnel: Funnel

    @property
    def id(self) -> int:
        """The import's number."""
        return self.line.an_import.id

    @property
    def list_name(self) -> str:
        """What people call the list: its name, or its file without the folders."""
        return bare_name(self.line.an_import.list_name)

    @property
    def state(self) -> str:
        """One word: `reading`, `sending`, `in doubt` or `finished`."""
        an_import, balance = self.line.an_import, self.line.balance
        if not an_import.is_complete:
            return "reading"
        if balance.pending:
            return "sending"
        return "in doubt" if balance.in_doubt else "finished"


def bare_name(name: str) -> str:
    """A path without its folders, those of either system; other names as they are."""
    kind = PureWindowsPath if "\\" in name else PurePosixPath
    return kind(name).name or name


def gather(ledger: Path, import_id: int, *, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> Facts:
    """The facts of an import. **Errors**: LedgerProblem when there is no such ledger or import."""
    with snapshot(ledger) as connection:
        view, tally = View(connection, ledger), Tally(connection, ledger, import_id)
        line = view.import_line(import_id)
        counted = line.an_import.facts
        return Facts(
            line=line,
            ledger=ledger.name,
            gathered_ms=now_ms(),
            files=tuple((bare_name(name), rows) for name, rows in tally.file_names()),
            rejects=tuple(view.reject_counts(import_id)),
            examples=_examples(view, import_id),
            skips=view.skip_counts(import_id),
            regions=dict(counted.get("regions", {})),
            types=dict(counted.get("types", {})),
            accepted_by_second=tuple(tally.accepted_by_second()),
            known_by=tally.known_by(),
            sends=tuple(tally.sends()),
            batches=tally.batches(),
            in_doubt=tuple(tally.in_doubt(MOST_BATCHES)),
            evidence=tuple(tally.evidence(MOST_EVIDENCE)),
            findings=tally.findings(),
            refusals=tuple(tally.refusals()),
            funnel=OutcomeBook(Store(connection, ledger)).funnel(import_id),
        )


def _examples(view: View, import_id: int) -> dict[str, tuple[RejectExample, ...]]:
    found: dict[str, tuple[RejectExample, ...]] = {}
    for reason, file, row_no, column, explanation, cells in view.reject_examples(import_id, EXAMPLES):
        example = RejectExample(
            file=bare_name(file or ""), row_no=row_no, column=column, explanation=explanation, cell=_cell(cells, column)
        )
        found[reason] = (*found.get(reason, ()), example)
    return found


def _cell(cells: str, column: str | None) -> str | None:
    """The cell to blame, out of a row as it was read."""
    try:
        row = json.loads(cells)
    except ValueError:
        return None
    found = row.get(column) if isinstance(row, dict) and column is not None else None
    return None if found is None else str(found)
