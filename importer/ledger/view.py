"""Questions a ledger answers without changing anything: balances, imports, and one row's whole life.

Floor: ledger. Works on the owner's connection and on a reader's alike, so `status` and `explain` can look while a run
sends.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from importer.body import item_texts
from importer.errors import LedgerProblem
from importer.ledger.deflate import unpacked
from importer.ledger.intake_book import import_from_row
from importer.ledger.opening import translated
from importer.ledger.packs import RowRecord, packed_rows_at, packed_rows_with_phone, row_of_id
from importer.ledger.records import Import
from importer.ledger.stand_ins import StandIns, is_erased, shown
from importer.model import Balance


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportLine:
    """An import with its campaign's name and its balance."""

    an_import: Import
    campaign: str
    origin: str
    balance: Balance


@dataclass(frozen=True, kw_only=True, slots=True)
class SendLine:
    """One send of a batch, as `explain` shows it."""

    armed_ms: int
    ended_ms: int | None
    outcome: str | None
    status: int | None
    epoch: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RowLife:
    """Everything the ledger knows of one row. `phone` is `erased` when its number was, and `erased_ms` says when."""

    row_id: int
    import_id: int
    file: str
    row_no: int
    phone: str
    row_key: str
    state: str
    reason: str
    request_key: str | None
    batch_id: int | None
    size_rows: int | None
    call_job_id: str | None
    settled_ms: int | None
    sends: tuple[SendLine, ...]
    erased_ms: int | None = None


class View:
    """Read-only questions over one connection."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self.path = path

    def _all(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        with translated(self.path, "read"):
            return self._connection.execute(sql, values).fetchall()

    def balance(self, import_id: int) -> Balance:
        """Where every row of an import is. **Law** `test_every_row_read_is_in_exactly_one_state`."""
        counted = self._all(
            "SELECT read_rows, rejected_rows, duplicate_rows, suppressed_rows, withdrawn_rows "
            "FROM imports WHERE id = ?",
            [import_id],
        )
        if not counted:
            raise LedgerProblem(f"There is no import {import_id} in {self.path}.", hint="`importer status` lists them.")
        read, rejected, duplicate, suppressed, withdrawn = counted[0]
        states = self.state_rows(import_id)
        return Balance(
            read=read,
            accepted=states.get("accepted", 0),
            rejected=rejected,
            duplicate=duplicate,
            suppressed=suppressed,
            withdrawn=withdrawn,
            refused=states.get("refused", 0),
            in_doubt=states.get("in_doubt", 0),
            pending=sum(states.get(state, 0) for state in ("frozen", "armed", "waiting")),
        )

    def written_files(self, import_id: int) -> list[str]:
        """The files of bad rows that runs of an import wrote, as far as they said so."""
        found = self._all("SELECT json_extract(facts, '$.rejects_file') FROM imports WHERE id = ?", [import_id])
        return [path for (path,) in found if path is not None]

    def erased(self, import_id: int) -> tuple[int, int, int | None]:
        """Requests of an import that were erased, of how many there are, and when the last of them was."""
        found = self._all(
            "SELECT count(e.batch_id), count(*), max(e.erased_ms) FROM batches b "
            "LEFT JOIN erased_batches e ON e.batch_id = b.id WHERE b.import_id = ?",
            [import_id],
        )
        return found[0][0], found[0][1], found[0][2]

    def state_rows(self, import_id: int) -> dict[str, int]:
        """Rows of an import by the state of their batch."""
        return dict(
            self._all("SELECT state, sum(size_rows) FROM batches WHERE import_id = ? GROUP BY state", [import_id])
        )

    def imports(self, limit: int = 20) -> list[ImportLine]:
        """The newest imports, newest first."""
        return [
            self.import_line(row[0]) for row in self._all("SELECT id FROM imports ORDER BY id DESC LIMIT ?", [limit])
        ]

    def import_line(self, import_id: int) -> ImportLine:
        """One import with its balance. **Errors**: LedgerProblem when there is none of that number."""
        balance = self.balance(import_id)
        row = self._all(
            "SELECT i.id, i.campaign_id, i.round, i.list_name, i.source_state, i.revision, i.mapping, i.settings, "
            "i.batch_size_rows, i.next_file_no, i.next_row_no, i.read_rows, i.first_row_id, i.facts, i.started_ms, "
            "i.completed_ms, i.finished_ms, c.name, c.origin FROM imports i JOIN campaigns c ON c.id = i.campaign_id "
            "WHERE i.id = ?",
            [import_id],
        )[0]
        return ImportLine(an_import=import_from_row(row[:17]), campaign=row[17], origin=row[18], balance=balance)

    def newest_import_id(self) -> int | None:
        """The number of the import begun last."""
        found = self._all("SELECT max(id) FROM imports")
        return None if found[0][0] is None else int(found[0][0])

    def measured_rows_s(self, in_flight: int) -> float | None:
        """How many rows a second the platform took lately, with so many requests under way; None before any."""
        rows, elapsed_ms = self._all(
            "SELECT coalesce(sum(size_rows), 0), coalesce(sum(elapsed_ms), 0) FROM "
            "(SELECT b.size_rows, s.elapsed_ms FROM sends s JOIN batches b ON b.id = s.batch_id "
            "WHERE s.outcome = 'accepted' ORDER BY s.id DESC LIMIT 200)"
        )[0]
        return in_flight * rows * 1000 / elapsed_ms if rows and elapsed_ms else None

    def import_before(self, an_import: Import) -> tuple[int, int, int, int] | None:
        """The newest earlier import of the same list: number, when it began, rows read, rows accepted."""
        found = self._all(
            "SELECT i.id, i.started_ms, i.read_rows, (SELECT coalesce(sum(b.size_rows), 0) FROM batches b "
            "WHERE b.import_id = i.id AND b.state = 'accepted') FROM imports i WHERE i.campaign_id = ? "
            "AND i.list_name = ? AND i.id < ? AND i.source_state = 'complete' ORDER BY i.id DESC LIMIT 1",
            [an_import.campaign_id, an_import.list_name, an_import.id],
        )
        return found[0] if found else None

    def reject_counts(self, import_id: int) -> list[tuple[str, int]]:
        """Rejects of an import by reason, the commonest first."""
        return self._all(
            "SELECT reason, count(*) FROM rejects WHERE import_id = ? GROUP BY reason ORDER BY 2 DESC, 1", [import_id]
        )

    def reject_examples(self, import_id: int, per_reason: int) -> list[tuple[str, str, int, str | None, str, str]]:
        """The first rejects of each reason: reason, file, row, column, explanation, cells."""
        return self._all(
            "SELECT reason, name, row_no, column_name, explanation, cells FROM (SELECT j.*, f.name, row_number() OVER "
            "(PARTITION BY j.reason ORDER BY j.id) AS nth FROM rejects j LEFT JOIN files f "
            "ON f.import_id = j.import_id AND f.file_no = j.file_no WHERE j.import_id = ?) WHERE nth <= ? ORDER BY id",
            [import_id, per_reason],
        )

    def in_doubt(self) -> list[tuple[int, int, int, str, list[tuple[int, str, int]]]]:
        """Batches in doubt: batch, import, rows, reason, and the evidence as (asked_ms, finding, jobs)."""
        rows = self._all("SELECT id, import_id, size_rows, reason FROM batches WHERE state = 'in_doubt' ORDER BY id")
        return [(*row, self.evidence(row[0])) for row in rows]

    def evidence(self, batch_id: int) -> list[tuple[int, str, int]]:
        """What the reports showed of a batch, oldest first: (asked_ms, finding, jobs)."""
        return self._all("SELECT asked_ms, finding, jobs FROM evidence WHERE batch_id = ? ORDER BY id", [batch_id])

    def batch_count(self, import_id: int) -> int:
        """How many requests are still to be made."""
        states = "('frozen', 'armed', 'waiting')"
        found = self._all(f"SELECT count(*) FROM batches WHERE import_id = ? AND state IN {states}", [import_id])
        return int(found[0][0])

    def skip_counts(self, import_id: int) -> dict[str, int]:
        """Rows not enqueued, by reason."""
        return dict(
            self._all("SELECT reason, sum(size_rows) FROM skips WHERE import_id = ? GROUP BY reason", [import_id])
        )

    def skip_examples(self, import_id: int, per_reason: int) -> list[tuple[str, str, int, int]]:
        """The first rows not enqueued of each reason: reason, file, row, and the id of the row repeated."""
        packs = self._all("SELECT reason, pack FROM skips WHERE import_id = ? ORDER BY id", [import_id])
        names = dict(self._all("SELECT file_no, name FROM files WHERE import_id = ?", [import_id]))
        first: dict[str, list[tuple[str, str, int, int]]] = {}
        for reason, pack in packs:
            shown = first.setdefault(reason, [])
            if len(shown) < per_reason:
                places = json.loads(pack)[: per_reason - len(shown)]
                shown += [(reason, names.get(file_no, ""), row_no, row_id) for file_no, row_no, row_id in places]
        return [each for examples in first.values() for each in examples]

    def earlier_days(self, import_id: int) -> tuple[int | None, int | None]:
        """When the rows that this import repeats were settled: first and last, Unix milliseconds."""
        found = self._all(
            "SELECT min(c.received_ms), max(c.received_ms) FROM receipts c WHERE c.batch_id IN ("
            "SELECT coalesce((SELECT r.batch_id FROM rows r WHERE r.id = k.row_id), "
            "(SELECT q.batch_id FROM row_packs q WHERE q.first_row_id <= k.row_id "
            "ORDER BY q.first_row_id DESC LIMIT 1)) "
            "FROM ("
            "SELECT json_extract(p.value, '$[2]') AS row_id FROM skips s, json_each(s.pack) p WHERE s.import_id = ? "
            "AND s.reason IN ('already', 'changed', 'recent')) k)",
            [import_id],
        )
        return found[0][0], found[0][1]

    def refusals(self, import_id: int, limit: int = 20) -> list[tuple[str, int, dict[str, Any]]]:
        """What the platform declined: file, row and its answer."""
        rows = self._all(
            "SELECT f.name, r.row_no, c.content FROM batches b JOIN receipts c ON c.batch_id = b.id "
            "JOIN rows r ON r.id BETWEEN b.first_row_id AND b.last_row_id AND r.batch_id = b.id "
            "LEFT JOIN files f ON f.import_id = r.import_id AND f.file_no = r.file_no "
            "WHERE b.import_id = ? AND b.state = 'refused' ORDER BY r.id LIMIT ?",
            [import_id, limit],
        )
        return [(file, row_no, json.loads(content)) for file, row_no, content in rows]

    def rows_of_phone(self, phone: int) -> list[RowLife]:
        """Every row that stands for a number, oldest first; one whose number was erased is known by its stand-in."""
        found: list[RowRecord] = []
        with translated(self.path, "read"):
            for known in StandIns(self._connection).with_numbers([phone]):
                found += packed_rows_with_phone(self._connection, known)
                found += (RowRecord(*row) for row in self._all("SELECT * FROM rows WHERE phone = ?", [known]))
        return self._lives(found)

    def row(self, import_id: int, file_no: int, row_no: int) -> list[RowLife]:
        """The row at a place of a list."""
        apart = self._all(
            "SELECT * FROM rows WHERE id >= (SELECT first_row_id FROM imports WHERE id = ?1) AND import_id = ?1 "
            "AND file_no = ?2 AND row_no = ?3",
            [import_id, file_no, row_no],
        )
        with translated(self.path, "read"):
            packed = packed_rows_at(self._connection, import_id, file_no, row_no)
        return self._lives([*(RowRecord(*row) for row in apart), *packed])

    def _lives(self, rows: Sequence[RowRecord]) -> list[RowLife]:
        return [self._life(row) for row in sorted(rows)]

    def _life(self, row: RowRecord) -> RowLife:
        names = dict(self._all("SELECT file_no, name FROM files WHERE import_id = ?", [row.import_id]))
        batch = self._all(
            "SELECT b.id, b.state, b.reason, b.request_key, b.size_rows, c.content, c.received_ms FROM batches b "
            "LEFT JOIN receipts c ON c.batch_id = b.id WHERE b.id = ?",
            [row.batch_id],
        )
        batch_id, state, reason, request_key, size_rows, content, settled_ms = (
            batch[0] if batch else (None, "withdrawn", "", None, None, None, None)
        )
        ids = json.loads(content).get("ids") if content else None
        return RowLife(
            row_id=row.id,
            import_id=row.import_id,
            file=names.get(row.file_no, ""),
            row_no=row.row_no,
            phone=shown(row.phone) or "erased",
            row_key=row.row_key.hex(),
            state=state if state in ("withdrawn", "accepted", "refused", "in_doubt") else "pending",
            reason=reason,
            request_key=request_key,
            batch_id=batch_id,
            size_rows=size_rows,
            call_job_id=ids[row.position] if ids and row.position is not None else None,
            settled_ms=settled_ms,
            sends=() if batch_id is None else tuple(self._sends(batch_id)),
            erased_ms=self._erased_ms(row) if is_erased(row.phone) else None,
        )

    def _erased_ms(self, row: RowRecord) -> int | None:
        """When a row's number and payload were erased."""
        found = self._all(
            "SELECT coalesce((SELECT erased_ms FROM erased_rows WHERE row_id = ?), "
            "(SELECT erased_ms FROM erased_batches WHERE batch_id = ?), (SELECT erased_ms FROM imports WHERE id = ?))",
            [row.id, row.batch_id, row.import_id],
        )
        return found[0][0] if found else None

    def _sends(self, batch_id: int) -> list[SendLine]:
        """The sends of a batch and of the batches it was cut from."""
        rows = self._all(
            "WITH RECURSIVE line(id) AS (SELECT ? UNION ALL SELECT b.parent_id "
            "FROM batches b JOIN line ON b.id = line.id WHERE b.parent_id IS NOT NULL) "
            "SELECT armed_ms, ended_ms, outcome, status, epoch FROM sends WHERE batch_id IN (SELECT id FROM line) "
            "ORDER BY id",
            [batch_id],
        )
        return [SendLine(armed_ms=a, ended_ms=e, outcome=o, status=s, epoch=n) for a, e, o, s, n in rows]

    def reject_at(self, import_id: int, file_no: int, row_no: int) -> list[tuple[str, str]]:
        """Why a row was rejected: reason and explanation."""
        return self._all(
            "SELECT reason, explanation FROM rejects WHERE import_id = ? AND file_no = ? AND row_no = ?",
            [import_id, file_no, row_no],
        )

    def skip_at(self, import_id: int, file_no: int, row_no: int) -> list[tuple[str, int]]:
        """Why a good row was not enqueued, and the id of the row it repeats."""
        return self._all(
            "SELECT s.reason, json_extract(p.value, '$[2]') FROM skips s, json_each(s.pack) p WHERE s.import_id = ? "
            "AND json_extract(p.value, '$[0]') = ? AND json_extract(p.value, '$[1]') = ?",
            [import_id, file_no, row_no],
        )

    def item_of(self, row_id: int) -> str | None:
        """What was, or will be, sent for a row: its JSON object; None once it was erased."""
        row = self._row_of_id(row_id)
        found = (
            row and not is_erased(row.phone) and self._all("SELECT body FROM bodies WHERE batch_id = ?", [row.batch_id])
        )
        return item_texts(unpacked(found[0][0]))[row.position or 0] if row and found else None

    def _row_of_id(self, row_id: int) -> RowRecord | None:
        with translated(self.path, "read"):
            return row_of_id(self._connection, row_id)

    def other_pending(self, campaign_id: int, import_id: int) -> list[tuple[int, str, int]]:
        """Unfinished imports of a campaign besides this one: number, list name, rows still pending."""
        rows = self._all(
            "SELECT i.id, i.list_name, sum(b.size_rows) FROM imports i JOIN batches b ON b.import_id = i.id "
            "WHERE i.campaign_id = ? AND i.id <> ? AND i.finished_ms IS NULL "
            "AND b.state IN ('frozen', 'armed', 'waiting') GROUP BY i.id ORDER BY i.id",
            [campaign_id, import_id],
        )
        return [(number, name, rows_count) for number, name, rows_count in rows]

    def quick_check(self) -> str:
        """What SQLite's own quick look at the file says: `ok`, or what is wrong first."""
        return str(self._all("PRAGMA quick_check(1)")[0][0])

    def rows_read(self, *, since_ms: int = 0) -> tuple[int, int | None]:
        """Rows of imports begun since then, and when the first of them was. **Units**: Unix milliseconds."""
        rows, first_ms = self._all(
            "SELECT coalesce(sum(read_rows), 0), min(started_ms) FROM imports WHERE started_ms >= ?", [since_ms]
        )[0]
        return int(rows), first_ms

    def lines(self, view: str, columns: Sequence[str], import_id: int) -> list[Any]:
        """The lines of a documented view that unfolds no JSON; names come from code, never from a user."""
        return self._all(f"SELECT {', '.join(columns)} FROM {view} WHERE import_id = ?", [import_id])

    def call_job_ids(self, import_id: int) -> list[tuple[int, list[str], str, int]]:
        """What the accepted batches got: batch, an id for each position, evidence, when (Unix milliseconds)."""
        rows = self._all(
            "SELECT c.batch_id, json_extract(c.content, '$.ids'), c.evidence, c.received_ms FROM receipts c "
            "JOIN batches b ON b.id = c.batch_id WHERE b.import_id = ? AND c.kind = 'accepted' ORDER BY c.batch_id",
            [import_id],
        )
        return [(batch_id, json.loads(ids or "[]"), evidence, ms) for batch_id, ids, evidence, ms in rows]

    def skip_packs(self, import_id: int) -> list[tuple[str, list[tuple[int, int, int]]]]:
        """Rows not enqueued, in packs: reason, and (file, row, id of the row repeated) of each."""
        packs = self._all("SELECT reason, pack FROM skips WHERE import_id = ? ORDER BY id", [import_id])
        return [(reason, [tuple(place) for place in json.loads(pack)]) for reason, pack in packs]

    def life_of(self, row_id: int) -> RowLife | None:
        """One row by its id."""
        row = self._row_of_id(row_id)
        return row and self._life(row)
