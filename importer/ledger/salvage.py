"""A new ledger made of a damaged one: everything readable is kept, and what was lost is said, never guessed away.

Floor: ledger. The damaged file is only read. Rows whose record was lost are made again from their frozen bytes, and
bytes that were lost make their batch in doubt, since it may have been sent. A newcomer may question the filling lines:
a row that disappears from the sums would be worse than a row that is shown as lost.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from importer.errors import LedgerProblem, UsageProblem
from importer.keys import request_key
from importer.ledger.audit import (
    SETTLED,
    Audit,
    Item,
    Kept,
    Recipe,
    body_of,
    ids_of,
    items_in,
    judge_batch,
    judge_receipt,
)
from importer.ledger.opening import open_writer, translated
from importer.ledger.packs import PACK_COLUMNS, Pack, RowRecord
from importer.ledger.schema import expected_tables
from importer.ledger.seals import Stub, sealed
from importer.ledger.store import Store
from importer.ledger.upkeep import Health, check_ledger
from importer.ledger.witness import Witness
from importer.ledger.wreck import Wreck, opened_wreck
from importer.machine import sync_file
from importer.model import Balance

# Identities are made anew from the rows, whatever was damaged there; evidence waits until the batches are known.
_NOT_COPIED = frozenset({"identities", "evidence", "key_runs", "key_blocks"})
_FIRST = ("ledger_info", "campaigns", "imports")
_UNSETTLED = ("frozen", "armed", "waiting")
REPAIRED = "repaired: "  # how the reason of a batch put in doubt by a repair begins


@dataclass(frozen=True, kw_only=True, slots=True)
class Doubted:
    """A batch that may have been sent, and whose record was damaged. **Units**: rows."""

    batch_id: int
    import_id: int
    size_rows: int
    why: str


@dataclass(slots=True)
class Salvaged:
    """What a repair saved, and what it could not. **Units**: rows. `unread` names tables with unreadable places."""

    kept: dict[str, int] = field(default_factory=dict)
    unread: tuple[str, ...] = ()
    refused_rows: dict[str, int] = field(default_factory=dict)
    doubted: list[Doubted] = field(default_factory=list)
    remade_rows: int = 0
    lost_rows: int = 0
    lost_ids: int = 0
    notes: list[str] = field(default_factory=list)
    health: Health = field(default_factory=lambda: Health(checks=()))

    @property
    def is_whole(self) -> bool:
        """True when nothing at all was lost."""
        lost = (self.unread, self.refused_rows, self.doubted, self.lost_rows, self.lost_ids, self.notes)
        return not any(lost) and not self.health.findings


def salvage(path: Path, target: Path, *, now_ms: int, is_network_fine: bool = False) -> Salvaged:
    """Makes a new ledger at `target` of what can be read of `path`. The caller owns `path`, which is never written.

    **Crash**: `target` is there whole or not at all. **Errors**: UsageProblem when `target` is there already;
    LedgerProblem when nothing can be saved, or the new file cannot be written.
    """
    if os.path.lexists(target):
        raise UsageProblem(f"{target} is already there.", hint="Name a new file with --into.")
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with opened_wreck(path) as wreck:
            writer = open_writer(unfinished, is_network_fine=is_network_fine)
            with contextlib.closing(writer) as connection, translated(unfinished, "written"):
                salvaged = _Salvage(wreck, connection, path, now_ms).run()
            is_newest = _is_newest(wreck, path, salvaged)
        salvaged.health = check_ledger(unfinished)
        sync_file(unfinished)
        unfinished.rename(target)
        sync_file(target.parent)
    except OSError as problem:
        raise LedgerProblem(f"The new ledger {target} could not be written: {problem.strerror}.") from problem
    finally:
        for ending in ("", "-wal", "-shm"):
            unfinished.with_name(f"{unfinished.name}{ending}").unlink(missing_ok=True)
    if is_newest:
        _begin_counter(target, is_network_fine=is_network_fine)
    return salvaged


def _is_newest(wreck: Wreck, path: Path, salvaged: Salvaged) -> bool:
    """Whether the counter kept outside agrees that the damaged file had forgotten nothing (law 13)."""
    try:
        Witness(Store(wreck.connection, path)).judge()
    except (LedgerProblem, sqlite3.Error, TypeError):
        salvaged.notes.append("nothing shows that the damaged file was the newest one: send with --adopt-since TIME")
        return False
    return True


def _begin_counter(target: Path, *, is_network_fine: bool) -> None:
    with contextlib.closing(open_writer(target, is_network_fine=is_network_fine)) as connection:
        Witness(Store(connection, target)).note(0)


class _Salvage:
    """One repair: the wreck on one side, the new ledger on the other."""

    def __init__(self, wreck: Wreck, connection: sqlite3.Connection, path: Path, now_ms: int) -> None:
        self._wreck = wreck
        self._new = connection
        self._audit = Audit(connection, path)
        self._path = path
        self._now_ms = now_ms
        self._said = Salvaged()
        self._remade: set[int] = set()

    def run(self) -> Salvaged:
        """Copies, then mends, all in one transaction: half a repair is none."""
        self._new.execute("PRAGMA foreign_keys = OFF")
        self._new.execute("BEGIN IMMEDIATE")
        self._copy_tables()
        self._unfold()
        self._keep_memory()
        self._remake_imports()
        self._remake_batches()
        self._copy_evidence()
        self._interrupt_sends()
        for import_id in self._column("SELECT id FROM imports"):
            self._mend_import(import_id)
        self._hold_keys()
        self._fill_sums()
        self._fill_sends()
        self._drop_strays()
        self._new.execute("COMMIT")
        self._said.unread = tuple(sorted(self._wreck.unread))
        return self._said

    def _column(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        return [row[0] for row in self._new.execute(sql, values).fetchall()]

    # --- copying ------------------------------------------------------------------------------------------------------

    def _copy_tables(self) -> None:
        tables = expected_tables()
        rest = [name for name in tables if name not in _FIRST and name not in _NOT_COPIED]
        for table in (*_FIRST, *rest):
            for chunk in self._wreck.chunks(table, tables[table], most_id=self._most_id(table)):
                self._add(table, tables[table], chunk)
        if not self._column("SELECT id FROM campaigns"):
            raise LedgerProblem(
                f"Nothing of {self._path} can be saved: the secret its keys are made with is lost.",
                hint="Put a backup in its place, or begin a new ledger with --adopt-since.",
            )

    def _most_id(self, table: str) -> int:
        """The largest id that other tables, copied before, know of."""
        asked = {
            "rows": "SELECT max(last_row_id) FROM batches",
            "row_packs": "SELECT max(last_row_id) FROM batches",
            "bodies": "SELECT max(id) FROM batches",
        }
        found = self._column(asked[table]) if table in asked else [None]
        return int(found[0] or 0)

    def _add(self, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
        marks = ", ".join("?" * len(columns))
        for row in rows:
            try:
                self._new.execute(f"INSERT INTO {table} VALUES ({marks})", row)
            except sqlite3.IntegrityError:  # a damaged value breaks a rule of its table
                self._refuse(table)
            else:
                self._said.kept[table] = self._said.kept.get(table, 0) + 1

    def _unfold(self) -> None:
        """A repaired ledger keeps every row apart: then each can be mended by itself."""
        for values in self._new.execute(f"SELECT {PACK_COLUMNS} FROM row_packs p").fetchall():
            self._add("rows", tuple(RowRecord._fields), Pack(*values).rows())
        self._new.execute("DELETE FROM row_packs")

    def _refuse(self, table: str) -> None:
        self._said.refused_rows[table] = self._said.refused_rows.get(table, 0) + 1

    def _copy_evidence(self) -> None:
        """Evidence can only be added: what belongs to no batch is left behind."""
        batches = set(self._column("SELECT id FROM batches"))
        columns = expected_tables()["evidence"]
        place = columns.index("batch_id")
        for chunk in self._wreck.chunks("evidence", columns):
            self._add("evidence", columns, [row for row in chunk if row[place] in batches])

    def _keep_memory(self) -> None:
        """Without the ledger's own page nobody knows whether it is the newest: everything unsettled is in doubt."""
        if self._column("SELECT id FROM ledger_info"):
            return
        self._new.execute(
            "INSERT INTO ledger_info (id, ledger_id, created_ms) VALUES (1, ?, ?)", [os.urandom(16).hex(), self._now_ms]
        )
        self._said.notes.append("the ledger's own counters were lost, so whatever was not settled is in doubt")
        unsettled = f"SELECT id, import_id, size_rows FROM batches WHERE state IN {_UNSETTLED}"
        for batch_id, import_id, size_rows in self._new.execute(unsettled).fetchall():
            self._doubt(batch_id, import_id, size_rows, "the ledger's own counters were lost")

    # --- what other records tell of a lost one ------------------------------------------------------------------------

    def _remake_imports(self) -> None:
        campaign_id = self._column("SELECT min(id) FROM campaigns")[0]
        for table in ("batches", "rows"):
            for import_id in self._column(
                f"SELECT DISTINCT import_id FROM {table} WHERE import_id NOT IN (SELECT id FROM imports)"
            ):
                self._new.execute(
                    "INSERT INTO imports (id, campaign_id, round, list_name, source_state, mapping, settings, "
                    "batch_size_rows, started_ms) VALUES (?, ?, '', ?, 'complete', ?, '{}', 1, ?)",
                    [import_id, campaign_id, f"(lost: import {import_id})", '{"phone_column": "phone"}', self._now_ms],
                )
                self._remade.add(import_id)
                self._said.notes.append(f"the record of import {import_id} was lost, with its list's name and round")

    def _remake_batches(self) -> None:
        """A batch known by its rows alone: settled if its receipt is there, else in doubt."""
        lost = self._new.execute(
            "SELECT batch_id, import_id, count(*), min(id), max(id) FROM rows WHERE batch_id IS NOT NULL "
            "AND batch_id NOT IN (SELECT id FROM batches) GROUP BY batch_id"
        ).fetchall()
        for batch_id, import_id, size_rows, first, last in lost:
            kind = self._column("SELECT kind FROM receipts WHERE batch_id = ?", [batch_id])
            keys = self._column("SELECT row_key FROM rows WHERE batch_id = ? ORDER BY position", [batch_id])
            key = request_key(self._audit.recipe_of(import_id).seed, 0, keys)
            is_taken = self._column("SELECT 1 FROM batches WHERE request_key = ?", [key])
            self._new.execute(
                "INSERT INTO batches (id, import_id, state, size_rows, first_row_id, last_row_id, request_key, "
                "changed_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [batch_id, import_id, kind[0] if kind else "waiting", size_rows, first, last,
                 f"lost-batch-{batch_id}" if is_taken else key, self._now_ms],
            )  # fmt: skip
            if not kind:
                self._doubt(batch_id, import_id, size_rows, "its record was lost")

    def _interrupt_sends(self) -> None:
        """As a start after a crash does: what was under way may have been carried out."""
        self._new.execute("UPDATE batches SET state = 'waiting', is_ambiguous = 1 WHERE state = 'armed'")
        self._new.execute(
            "UPDATE sends SET ended_ms = ?, outcome = 'interrupted' WHERE ended_ms IS NULL", [self._now_ms]
        )

    # --- batch by batch -----------------------------------------------------------------------------------------------

    def _mend_import(self, import_id: int) -> None:
        recipe = self._audit.recipe_of(import_id)
        for batch_id in self._column("SELECT id FROM batches WHERE import_id = ? ORDER BY id", [import_id]):
            kept = self._audit.kept_one(batch_id)
            findings = list(judge_batch(kept, recipe))
            if findings:
                self._mend_batch(kept, import_id, recipe, findings[0].text)

    def _mend_batch(self, kept: Kept, import_id: int, recipe: Recipe, finding: str) -> None:
        items = self._items(kept, recipe)
        if items is None:
            self._new.execute("DELETE FROM bodies WHERE batch_id = ?", [kept.id])
        if kept.state != "split":
            self._mend_members(kept, import_id, items or [])
        self._mend_key(kept, items or [], recipe.seed)
        self._mend_receipt(kept)
        if kept.state not in SETTLED:
            self._doubt(kept.id, import_id, kept.size_rows, finding.removeprefix(f"batch {kept.id} "))

    @staticmethod
    def _items(kept: Kept, recipe: Recipe) -> list[Item] | None:
        """The rows of the frozen bytes; None when the bytes are not what was frozen."""
        body = None if kept.packed is None or kept.sha256 is None else body_of(kept.packed, kept.sha256)
        items = None if body is None else items_in(body, recipe)
        return items if items is not None and len(items) == kept.size_rows else None

    def _mend_members(self, kept: Kept, import_id: int, items: Sequence[Item]) -> None:
        """Rows whose record was lost or damaged, made again from the frozen bytes."""
        there = {member.position: member for member in kept.members}
        for position, item in enumerate(items):
            member = there.get(position)
            if item.row_key is None or (member and (member.phone, member.row_key) == (item.phone, item.row_key)):
                continue
            if member is not None:
                self._new.execute("DELETE FROM rows WHERE id = ?", [member.row_id])
            self._new.execute(
                "INSERT INTO rows (id, import_id, file_no, row_no, phone, row_key, batch_id, position, revision) "
                "VALUES (?, ?, 0, 0, ?, ?, ?, ?, 1)",
                [member and member.row_id, import_id, item.phone, item.row_key, kept.id, position],
            )
            self._said.remade_rows += 1
        there_now = self._column("SELECT count(*) FROM rows WHERE batch_id = ?", [kept.id])[0]
        self._said.lost_rows += kept.size_rows - there_now
        self._new.execute(
            "UPDATE batches SET first_row_id = coalesce((SELECT min(id) FROM rows WHERE batch_id = ?1), first_row_id), "
            "last_row_id = coalesce((SELECT max(id) FROM rows WHERE batch_id = ?1), last_row_id) WHERE id = ?1",
            [kept.id],
        )

    def _mend_key(self, kept: Kept, items: Sequence[Item], seed: str) -> None:
        """The request key that rows and frozen bytes make, where these two agree."""
        made = [item.row_key for item in items if item.row_key is not None]
        if made and made == [member.row_key for member in kept.members]:
            key = request_key(seed, kept.generation, made)
            self._new.execute("UPDATE OR IGNORE batches SET request_key = ? WHERE id = ?", [key, kept.id])

    def _mend_receipt(self, kept: Kept) -> None:
        """A settled batch stays settled; ids that were lost or damaged are shown as lost."""
        if next(judge_receipt(kept), None) is None:
            return
        if kept.state not in ("accepted", "refused"):
            self._new.execute("DELETE FROM receipts WHERE batch_id = ?", [kept.id])
            return
        is_accepted = kept.state == "accepted"
        content: dict[str, Any] = {"ids": [None] * kept.size_rows} if is_accepted else {"type": "lost"}
        readable = [] if kept.receipt is None else [each for each in ids_of(kept.receipt.text) if each]
        if readable:
            content["damaged_ids"] = readable
        stub = Stub(batch_id=kept.id, kind=kept.state, evidence="person", received_ms=self._now_ms)
        self._new.execute(
            "INSERT OR REPLACE INTO receipts VALUES (?, ?, 'person', ?, ?)",
            [kept.id, kept.state, self._now_ms, sealed({**content, "lost": True}, stub)],
        )
        self._said.lost_ids += kept.size_rows if is_accepted else 0

    def _doubt(self, batch_id: int, import_id: int, size_rows: int, why: str) -> None:
        self._new.execute(
            "UPDATE batches SET state = 'in_doubt', is_ambiguous = 1, reason = ?, changed_ms = ? WHERE id = ?",
            [f"{REPAIRED}{why}", self._now_ms, batch_id],
        )
        if batch_id not in {each.batch_id for each in self._said.doubted}:
            self._said.doubted.append(Doubted(batch_id=batch_id, import_id=import_id, size_rows=size_rows, why=why))

    # --- across batches -----------------------------------------------------------------------------------------------

    def _hold_keys(self) -> None:
        """Every live row holds its keys again, and so do thawed rows of a list still being read."""
        for column in ("row_key", "identity"):
            live = (
                "FROM rows r JOIN imports i ON i.id = r.import_id LEFT JOIN batches b ON b.id = r.batch_id "
                f"WHERE r.{column} IS NOT NULL "
                "AND coalesce(b.state NOT IN ('refused', 'split'), i.source_state = 'open')"
            )
            wanted = self._column(f"SELECT count(*) {live}")[0]
            held = self._new.execute(
                f"INSERT OR IGNORE INTO identities SELECT r.{column}, r.id {live} ORDER BY r.{column}"
            ).rowcount
            if held != wanted:
                self._said.notes.append(f"{wanted - held:,} rows have a key that another row has too")

    def _fill_sums(self) -> None:
        """What an import's counts say and its records do not show any more stays in the sums, as lost."""
        for import_id in self._remade:
            self._count_anew(import_id)
        for import_id in self._column("SELECT id FROM imports WHERE source_state = 'complete'"):
            rejected, skipped = self._new.execute(
                "SELECT rejected_rows - (SELECT count(*) FROM rejects WHERE import_id = ?1), duplicate_rows + "
                "suppressed_rows - (SELECT coalesce(sum(size_rows), 0) FROM skips WHERE import_id = ?1) "
                "FROM imports WHERE id = ?1",
                [import_id],
            ).fetchone()
            self._fill_lines(import_id, rejected, skipped)
            missing_rows = _missing_rows(self._audit.view.balance(import_id))
            if missing_rows > 0:
                self._fill_batch(import_id, missing_rows)

    def _count_anew(self, import_id: int) -> None:
        """The counts of an import whose own record was lost: what is there of it is all that is known."""
        self._new.execute(
            "UPDATE imports SET rejected_rows = (SELECT count(*) FROM rejects WHERE import_id = ?1), duplicate_rows = "
            "(SELECT coalesce(sum(size_rows), 0) FROM skips WHERE import_id = ?1) WHERE id = ?1",
            [import_id],
        )
        unread = -_missing_rows(self._audit.view.balance(import_id))
        self._new.execute("UPDATE imports SET read_rows = ? WHERE id = ?", [unread, import_id])

    def _fill_lines(self, import_id: int, rejects: int, skips: int) -> None:
        if rejects > 0:
            line = (import_id, 0, 0, "lost", "its record was damaged, and lost in a repair", "{}")
            self._new.executemany(
                "INSERT INTO rejects (import_id, file_no, row_no, reason, explanation, cells) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                [line] * rejects,
            )
        if skips > 0:
            self._new.execute(
                "INSERT INTO skips (import_id, reason, size_rows, pack) VALUES (?, 'repeated', ?, '[]')",
                [import_id, skips],
            )

    def _fill_batch(self, import_id: int, size_rows: int) -> None:
        made = self._new.execute(
            "INSERT INTO batches (import_id, state, size_rows, first_row_id, last_row_id, request_key, is_ambiguous, "
            "changed_ms) VALUES (?, 'in_doubt', ?, 0, 0, ?, 1, ?)",
            [import_id, size_rows, f"lost-{import_id}", self._now_ms],
        )
        self._said.lost_rows += size_rows
        self._doubt(int(made.lastrowid or 0), import_id, size_rows, "their records were lost, bytes and all")

    def _fill_sends(self) -> None:
        """A batch with an answer was sent, even where the lines of its sends were lost."""
        self._new.execute(
            "INSERT INTO sends (batch_id, epoch, armed_ms, boot_ms, boot_id, ended_ms, outcome) "
            "SELECT b.id, b.epoch, c.received_ms, 0, 'lost', c.received_ms, 'lost' FROM batches b "
            "JOIN receipts c ON c.batch_id = b.id AND c.evidence = 'answer' "
            "WHERE NOT EXISTS (SELECT 1 FROM sends s WHERE s.batch_id = b.id)"
        )

    def _drop_strays(self) -> None:
        """Records of things that are gone for good."""
        for table, row_id, _, _ in self._new.execute("PRAGMA foreign_key_check").fetchall():
            where = "rowid = ?1" if row_id is not None else "import_id NOT IN (SELECT id FROM imports) OR ?1"
            self._new.execute(f"DELETE FROM {table} WHERE {where}", [row_id])
            self._refuse(table)


def _missing_rows(balance: Balance) -> int:
    """How many rows were read and are in no state."""
    settled = balance.accepted + balance.rejected + balance.duplicate + balance.suppressed + balance.withdrawn
    return balance.read - settled - balance.refused - balance.in_doubt - balance.pending
