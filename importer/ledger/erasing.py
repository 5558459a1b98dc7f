"""Erasing: numbers, payloads, frozen bytes and bad rows' cells leave the ledger; counts, keys, ids and times stay.

Floor: ledger. Only what is settled is erased: a row that is pending or in doubt needs all of it, so that it is neither
lost nor called twice. A number gives way to its stand-in, so nothing that looks for numbers forgets who was called. A
newcomer may question that row keys stay for ever: without them the same list would be sent again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from importer.body import batch_body, item_texts
from importer.keys import STAND_INS_FROM
from importer.ledger.deflate import packed, unpacked
from importer.ledger.packs import Pack, pack_of_row, packed_rows_with_phone, packs_of
from importer.ledger.seals import Stub, read_receipt, sealed
from importer.ledger.stand_ins import StandIns
from importer.ledger.store import Store

AGE, IMPORT, PHONE, KEPT = "age", "import", "phone", "kept long enough"
NEVER_MS = 2**62
_ANY = 2**63 - 1
ROWS_PER_COMMIT = 20_000
BATCHES_PER_COMMIT = 500
LINES_PER_COMMIT = 10_000
FEWEST_FILE_ROWS = 10  # the fingerprint of a shorter list could be found by trying numbers
_LONG_NUMBER = re.compile(r"\d{7,}")
_DIGITS = re.compile(r"\D")

_SETTLED = """
FROM batches b JOIN imports i ON i.id = b.import_id LEFT JOIN receipts c ON c.batch_id = b.id
WHERE i.source_state = 'complete' AND (b.state = 'accepted' OR b.state IN ('refused', 'split') AND i.finished_ms > 0)
AND (:import_id IS NULL OR b.import_id = :import_id) AND coalesce(c.received_ms, b.changed_ms) < :before_ms
AND NOT EXISTS (SELECT 1 FROM erased_batches e WHERE e.batch_id = b.id AND e.keeps_hashes <= :keeps_hashes)
AND NOT EXISTS (SELECT 1 FROM outcome_progress p
                WHERE p.batch_id = b.id AND p.open_rows > 0 AND p.asked_ms >= :asked_ms)
"""
_FINISHED = """
FROM imports i WHERE i.finished_ms < :before_ms AND (:import_id IS NULL OR i.id = :import_id) AND i.erased_ms IS NULL
"""
_NOT_SETTLED = """
FROM batches b WHERE b.state IN ('frozen', 'armed', 'waiting', 'in_doubt') AND b.changed_ms < :before_ms
AND (:import_id IS NULL OR b.import_id = :import_id)
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """What is to be erased: what was settled before a time, of one import or of all.

    `asked_ms`: batches whose outcomes were asked for since then, and are still open, are left for later.
    """

    cause: str
    before_ms: int
    import_id: int | None = None
    keeps_hashes: bool = True
    asked_ms: int = NEVER_MS

    def values(self) -> dict[str, int | None]:
        """As the queries take them."""
        return {
            "before_ms": self.before_ms,
            "import_id": self.import_id,
            "keeps_hashes": int(self.keeps_hashes),
            "asked_ms": self.asked_ms,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Erasable:
    """What a purge would erase, and what of its scope is not settled and stays. **Units**: rows, requests, imports."""

    rows: int = 0
    requests: int = 0
    imports: int = 0
    rejects: int = 0
    withdrawn: int = 0
    pending: int = 0
    in_doubt: int = 0
    unread_lists: int = 0

    @property
    def is_nothing(self) -> bool:
        """True when nothing is there to erase."""
        return not (self.rows or self.requests or self.rejects or self.withdrawn)


@dataclass(frozen=True, kw_only=True, slots=True)
class Purge:
    """A purge that was begun. It is written down first, so that whoever comes after a crash goes on with it."""

    id: int
    scope: Scope


@dataclass(frozen=True, kw_only=True, slots=True)
class Traces:
    """Where one number stands. **Shapes**: ids of rows and rejects; `pending` and `in_doubt` count rows that stay."""

    row_ids: tuple[int, ...] = ()
    reject_ids: tuple[int, ...] = ()
    pending: int = 0
    in_doubt: int = 0


@dataclass(slots=True)
class _Rows:
    """The rows of some batches on their way to stand-ins: packs and single rows, with all their numbers."""

    packs: list[Pack] = field(default_factory=list)
    apart: list[tuple[int, int]] = field(default_factory=list)  # (row, number)

    def phones(self) -> list[int]:
        in_packs = [int(p.phones[at : at + p.digits]) for p in self.packs for at in range(0, len(p.phones), p.digits)]
        return in_packs + [phone for _, phone in self.apart]


class EraseBook:
    """What erasing reads and writes."""

    def __init__(self, store: Store, *, rows_per_commit: int = ROWS_PER_COMMIT) -> None:
        self._store = store
        self._rows_per_commit = rows_per_commit
        self._stand_ins = StandIns(store.connection)

    # --- looking ------------------------------------------------------------------------------------------------------

    def look(self, scope: Scope) -> Erasable:
        """What a purge would do now."""
        values = scope.values()
        rows, requests, imports = self._one(
            "SELECT coalesce(sum(iif(b.state = 'split', 0, b.size_rows)), 0), count(*), count(DISTINCT b.import_id) "
            + _SETTLED,
            values,
        )
        rejects = self._one(
            f"SELECT count(*) FROM rejects r WHERE r.import_id IN (SELECT i.id {_FINISHED}) AND r.cells <> '{{}}'",
            values,
        )[0]
        withdrawn = self._one(f"SELECT coalesce(sum(i.withdrawn_rows), 0) {_FINISHED}", values)[0]
        in_doubt = "coalesce(sum(b.size_rows) FILTER (WHERE b.state = 'in_doubt'), 0)"
        left = self._one(f"SELECT coalesce(sum(b.size_rows), 0), {in_doubt} {_NOT_SETTLED}", values)
        unread = self._one(
            "SELECT count(*) FROM imports i WHERE i.source_state <> 'complete' AND i.started_ms < :before_ms "
            "AND (:import_id IS NULL OR i.id = :import_id)",
            values,
        )[0]
        return Erasable(
            rows=rows,
            requests=requests,
            imports=imports,
            rejects=rejects,
            withdrawn=withdrawn,
            pending=left[0] - left[1],
            in_doubt=left[1],
            unread_lists=unread,
        )

    def _one(self, sql: str, values: dict[str, Any]) -> Any:
        return self._store.one(sql, values)  # type: ignore[arg-type]  # sqlite3 takes names as well

    def imports_in(self, scope: Scope) -> list[int]:
        """The imports that a purge would erase something of."""
        values = scope.values()
        rows = self._store.all(
            f"SELECT b.import_id {_SETTLED} UNION SELECT i.id {_FINISHED}",
            values,  # type: ignore[arg-type]
        )
        return [row[0] for row in rows]

    def open_purges(self) -> list[Purge]:
        """Purges that were begun and never ended."""
        rows = self._store.all(
            "SELECT id, cause, before_ms, import_id, keeps_hashes FROM purges WHERE erased_ms IS NULL ORDER BY id"
        )
        return [
            Purge(
                id=purge_id,
                scope=Scope(
                    cause=cause,
                    before_ms=before_ms,
                    import_id=import_id,
                    keeps_hashes=bool(keeps),
                    asked_ms=before_ms if cause == KEPT else NEVER_MS,
                ),
            )
            for purge_id, cause, before_ms, import_id, keeps in rows
        ]

    def oldest_ms(self) -> int | None:
        """When the oldest of what could be erased one day was settled; None when there is nothing."""
        values = Scope(cause=AGE, before_ms=NEVER_MS).values()
        return self._one(f"SELECT min(coalesce(c.received_ms, b.changed_ms)) {_SETTLED}", values)[0]  # type: ignore[no-any-return]

    def held(self) -> tuple[int, int]:
        """Rows whose frozen bytes are still there, and how many bytes these take."""
        rows, size_bytes = self._store.one(
            "SELECT coalesce(sum(b.size_rows), 0), coalesce(sum(length(d.body)), 0) FROM bodies d "
            "JOIN batches b ON b.id = d.batch_id WHERE b.state <> 'split'"
        )
        return int(rows), int(size_bytes)

    def erased_rows(self) -> int:
        """Rows erased by all purges together."""
        return int(self._store.one("SELECT coalesce(sum(rows), 0) FROM purges")[0])

    def is_wiped(self) -> bool:
        """False while something erased may still stand in free pages of the file."""
        return self._store.one("SELECT 1 FROM purges WHERE wiped_ms IS NULL LIMIT 1") is None

    # --- erasing ------------------------------------------------------------------------------------------------------

    def begin(self, scope: Scope, *, now_ms: int) -> Purge:
        """Writes down what will be erased. **Crash**: after it, any later purge or run goes on with it."""
        with self._store.transaction():
            self._stand_ins.ensure_seed()
            if not scope.keeps_hashes:
                self._take_up_again(scope)
            purge_id = self._store.insert(
                "purges",
                cause=scope.cause,
                import_id=scope.import_id,
                before_ms=scope.before_ms,
                keeps_hashes=int(scope.keeps_hashes),
                begun_ms=now_ms,
            )
        return Purge(id=purge_id, scope=scope)

    def _take_up_again(self, scope: Scope) -> None:
        """Withdrawn rows of these imports may have been erased with hashes: they are erased once more, without."""
        self._store.connection.execute(
            "UPDATE imports SET erased_ms = NULL WHERE finished_ms < ?1 AND (?2 IS NULL OR id = ?2)",
            [scope.before_ms, scope.import_id],
        )

    def step(self, purge: Purge, *, after_id: int, now_ms: int) -> int | None:
        """Erases the next few thousand rows behind a batch; gives the last batch erased, None when the purge is over.

        **Crash**: one transaction: each batch is erased or whole.
        """
        if batches := self._next_batches(purge.scope, after_id):
            with self._store.transaction():
                self._erase_batches(batches, purge, now_ms)
            return batches[-1][0]
        import_ids = self._store.all(f"SELECT i.id {_FINISHED} ORDER BY i.id LIMIT 1", purge.scope.values())  # type: ignore[arg-type]
        if import_ids:
            with self._store.transaction():
                self._erase_lines(import_ids[0][0], purge, now_ms)
            return after_id
        with self._store.transaction():
            self._store.change_one(
                "UPDATE purges SET erased_ms = ? WHERE id = ? AND erased_ms IS NULL", [now_ms, purge.id]
            )
        return None

    def _next_batches(self, scope: Scope, after_id: int) -> list[tuple[int, str, bool]]:
        """The next batches that share a commit: id, state, and whether a hash of their numbers is kept.

        While an import is not finished its own list may be read again, so its hashes stay whatever was asked for.
        """
        found: list[tuple[int, str, bool]] = []
        rows = 0
        for batch_id, state, size_rows, is_finished in self._store.all(
            f"SELECT b.id, b.state, b.size_rows, i.finished_ms IS NOT NULL {_SETTLED} AND b.id > :after_id "
            f"ORDER BY b.id LIMIT {BATCHES_PER_COMMIT}",
            {**scope.values(), "after_id": after_id},  # type: ignore[arg-type]
        ):
            rows += size_rows
            if found and rows > self._rows_per_commit:
                break
            found.append((batch_id, state, scope.keeps_hashes or not is_finished))
        return found

    def _erase_batches(self, batches: Sequence[tuple[int, str, bool]], purge: Purge, now_ms: int) -> None:
        erased_rows = 0
        for keeps_hashes in (True, False):
            ids = [batch_id for batch_id, state, keeps in batches if keeps is keeps_hashes and state != "split"]
            erased_rows += self._stand_in_for(ids, keeps_hashes=keeps_hashes)
        for batch_id, _, _ in batches:
            self._erase_answers(batch_id)
        marks = [(batch_id,) for batch_id, _, _ in batches]
        self._store.many("DELETE FROM bodies WHERE batch_id = ?", marks)
        self._store.many(
            "INSERT INTO erased_batches VALUES (?1, ?2, ?3) ON CONFLICT (batch_id) DO UPDATE SET keeps_hashes = ?3",
            [(batch_id, now_ms, int(keeps)) for batch_id, _, keeps in batches],
        )
        self._store.connection.execute("UPDATE purges SET rows = rows + ? WHERE id = ?", [erased_rows, purge.id])

    def _stand_in_for(self, batch_ids: Sequence[int], *, keeps_hashes: bool) -> int:
        """Puts stand-ins where the numbers of these batches' rows are; gives how many rows."""
        rows = _Rows()
        for batch_id in batch_ids:
            packs = packs_of(self._store.connection, batch_id)
            rows.packs += packs
            rows.apart += [] if packs else self._apart(batch_id)
        phones = rows.phones()
        if phones:
            self._write(rows, self._stand_ins.made_of(phones, keeps_hashes=keeps_hashes))
        return len(phones)

    def _apart(self, batch_id: int) -> list[tuple[int, int]]:
        return self._store.all(
            "SELECT r.id, r.phone FROM batches b JOIN rows r ON r.id BETWEEN b.first_row_id AND b.last_row_id "
            "AND r.batch_id = b.id WHERE b.id = ?",
            [batch_id],
        )

    def _write(self, rows: _Rows, stand_ins: Sequence[int]) -> None:
        """Writes packs and rows with other numbers, and forgets what reports told besides status and times."""
        place = 0
        for pack in rows.packs:
            self._rewrite(pack, stand_ins[place : place + pack.size_rows])
            self._forget_reports(pack.first_row_id, pack.first_row_id + pack.size_rows - 1)
            place += pack.size_rows
        apart = list(zip(stand_ins[place:], rows.apart, strict=True))
        self._store.many("UPDATE rows SET phone = ? WHERE id = ?", [(made, row_id) for made, (row_id, _) in apart])
        for _, (row_id, _) in apart:
            self._forget_reports(row_id, row_id)

    def _rewrite(self, pack: Pack, phones: Sequence[int]) -> None:
        digits = max(pack.digits, *(len(str(phone)) for phone in phones))
        text = b"".join(b"%0*d" % (digits, phone) for phone in phones)
        self._store.change_one(
            "UPDATE row_packs SET digits = ?, phones = ? WHERE first_row_id = ? AND batch_id = ?",
            [digits, text, pack.first_row_id, pack.batch_id],
        )

    def _forget_reports(self, first_row_id: int, last_row_id: int) -> None:
        for table in ("job_outcomes", "call_attempts"):
            self._store.connection.execute(
                f"UPDATE {table} SET tag_payload = NULL, report_data = NULL, redial_number = NULL "
                "WHERE row_id BETWEEN ? AND ? AND coalesce(tag_payload, report_data, redial_number) IS NOT NULL",
                [first_row_id, last_row_id],
            )

    def _erase_answers(self, batch_id: int) -> None:
        """A refusal names a number; what is left of it is which refusal it was."""
        row = self._store.one(
            "SELECT evidence, received_ms, content FROM receipts WHERE batch_id = ? AND kind = 'refused'", [batch_id]
        )
        if row is not None:
            evidence, received_ms, text = row
            stub = Stub(batch_id=batch_id, kind="refused", evidence=evidence, received_ms=received_ms)
            kind = _without_numbers(str((read_receipt(text) or {}).get("type", "")))
            content = sealed({"type": kind, "erased": True}, stub)
            self._store.connection.execute("UPDATE receipts SET content = ? WHERE batch_id = ?", [content, batch_id])
        for table, column, where in (("batches", "reason", "id"), ("sends", "outcome", "batch_id")):
            self._mask(table, column, where, batch_id)

    def _mask(self, table: str, column: str, where: str, batch_id: int) -> None:
        """The platform's own word for an error may hold a number, too."""
        for rowid, text in self._store.all(f"SELECT rowid, {column} FROM {table} WHERE {where} = ?", [batch_id]):
            if text and _LONG_NUMBER.search(text):
                changed = [_without_numbers(text), rowid]
                self._store.connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", changed)

    # --- what a finished import keeps besides its batches -----------------------------------------------------------

    def _erase_lines(self, import_id: int, purge: Purge, now_ms: int) -> None:
        """The next cells of bad rows, then withdrawn rows; when none is left, the import's own facts."""
        if self._erase_cells(import_id) or self._erase_withdrawn(import_id, purge):
            return
        (facts,) = self._store.one("SELECT facts FROM imports WHERE id = ?", [import_id])
        kept = {**json.loads(facts), "came_back": []}
        self._store.connection.execute(
            "UPDATE files SET sha256 = NULL WHERE import_id = ? AND read_rows < ?", [import_id, FEWEST_FILE_ROWS]
        )
        self._store.change_one(
            "UPDATE imports SET facts = ?, erased_ms = ? WHERE id = ? AND erased_ms IS NULL",
            [json.dumps(kept, sort_keys=True), now_ms, import_id],
        )

    def _erase_cells(self, import_id: int) -> int:
        return self._store.connection.execute(
            "UPDATE rejects SET cells = '{}', explanation = 'erased' WHERE id IN "
            "(SELECT id FROM rejects WHERE import_id = ? AND cells <> '{}' LIMIT ?)",
            [import_id, LINES_PER_COMMIT],
        ).rowcount

    def _erase_withdrawn(self, import_id: int, purge: Purge) -> int:
        """The next withdrawn rows; all of them at once where stand-ins are at random, since one looks like another."""
        keeps = purge.scope.keeps_hashes
        rows = self._store.all(
            "SELECT id, phone FROM rows WHERE id >= (SELECT first_row_id FROM imports WHERE id = ?1) "
            "AND import_id = ?1 AND batch_id IS NULL AND phone < ?2 LIMIT ?3",
            [import_id, *((STAND_INS_FROM, LINES_PER_COMMIT) if keeps else (_ANY, -1))],
        )
        if rows:
            self._write(_Rows(apart=rows), self._stand_ins.made_of([phone for _, phone in rows], keeps_hashes=keeps))
            self._store.connection.execute("UPDATE purges SET rows = rows + ? WHERE id = ?", [len(rows), purge.id])
        return len(rows) if keeps else 0

    # --- one number ---------------------------------------------------------------------------------------------------

    def traces_of(self, phone: int, *, keeps_hashes: bool) -> Traces:
        """Where a number stands: rows that are settled, bad rows whose cells hold it, and rows that must stay.

        Rows that were erased already count where their hash is to go as well.
        """
        known = [phone] if keeps_hashes else list(self._stand_ins.with_numbers([phone]))
        found = [row for each in known for row in self._rows_of(each)]
        states = [(row_id, self._state_of(batch_id, import_id)) for row_id, batch_id, import_id in found]
        return Traces(
            row_ids=tuple(sorted(row_id for row_id, state in states if state == "settled")),
            reject_ids=tuple(self._rejects_of(phone)),
            pending=sum(state == "pending" for _, state in states),
            in_doubt=sum(state == "in_doubt" for _, state in states),
        )

    def _rows_of(self, phone: int) -> list[tuple[int, int | None, int]]:
        in_packs = [
            (row.id, row.batch_id, row.import_id) for row in packed_rows_with_phone(self._store.connection, phone)
        ]
        return in_packs + self._store.all("SELECT id, batch_id, import_id FROM rows WHERE phone = ?", [phone])

    def _state_of(self, batch_id: int | None, import_id: int) -> str:
        """A row is settled when its batch is; one without a batch, once its import is finished."""
        state, is_finished = self._store.one(
            "SELECT (SELECT state FROM batches WHERE id = ?), finished_ms IS NOT NULL FROM imports WHERE id = ?",
            [batch_id, import_id],
        )
        if state == "in_doubt":
            return "in_doubt"
        return "settled" if state == "accepted" or (is_finished and state in (None, "refused", "split")) else "pending"

    def _rejects_of(self, phone: int) -> list[int]:
        """Bad rows of finished imports with a cell that may be this number, however it was written."""
        rows = self._store.connection.execute(
            "SELECT r.id, r.cells FROM rejects r JOIN imports i ON i.id = r.import_id "
            "WHERE i.finished_ms IS NOT NULL AND r.cells <> '{}'"
        )
        return [reject_id for reject_id, cells in rows if _holds(cells, str(phone))]

    def erase_number(self, phone: int, *, keeps_hashes: bool, now_ms: int) -> Traces:
        """Erases a number wherever it is settled; what else those batches hold stays. Gives where it stood.

        **Crash**: one transaction: all of it or none.
        """
        with self._store.transaction():
            self._stand_ins.ensure_seed()
            traces = self.traces_of(phone, keeps_hashes=keeps_hashes)
            made = self._stand_ins.made_of([phone] * len(traces.row_ids), keeps_hashes=keeps_hashes)
            for row_id, stand_in in zip(traces.row_ids, made, strict=True):
                self._erase_row(row_id, phone, stand_in, now_ms)
            self._store.many(
                "UPDATE rejects SET cells = '{}', explanation = 'erased' WHERE id = ?",
                [(each,) for each in traces.reject_ids],
            )
            self._erase_samples(phone)
            self._store.insert(
                "purges",
                cause=PHONE,
                keeps_hashes=int(keeps_hashes),
                rows=len(traces.row_ids),
                begun_ms=now_ms,
                erased_ms=now_ms,
            )
        return traces

    def _erase_row(self, row_id: int, phone: int, stand_in: int, now_ms: int) -> None:
        pack = pack_of_row(self._store.connection, row_id)
        if pack is None:
            self._store.connection.execute("UPDATE rows SET phone = ? WHERE id = ?", [stand_in, row_id])
        else:
            numbers = [row.phone for row in pack.rows()]
            numbers[row_id - pack.first_row_id] = stand_in
            self._rewrite(pack, numbers)
        self._forget_reports(row_id, row_id)
        for batch_id in self._batches_around(row_id):
            self._redact(batch_id, str(phone), stand_in)
            if self._store.one(
                "SELECT 1 FROM receipts WHERE batch_id = ? AND instr(content, ?)", [batch_id, str(phone)]
            ):
                self._erase_answers(batch_id)
        self._store.connection.execute("INSERT OR IGNORE INTO erased_rows VALUES (?, ?)", [row_id, now_ms])

    def _batches_around(self, row_id: int) -> list[int]:
        """The settled batches that a row is, or was, part of: its own and those it was split from."""
        rows = self._store.all(
            "SELECT b.id FROM batches b WHERE ?1 BETWEEN b.first_row_id AND b.last_row_id "
            "AND b.state IN ('accepted', 'refused', 'split')",
            [row_id],
        )
        return [row[0] for row in rows]

    def _redact(self, batch_id: int, phone: str, stand_in: int) -> None:
        """Takes one row's item out of a frozen body: its number becomes the stand-in, everything else goes."""
        found = self._store.one("SELECT body FROM bodies WHERE batch_id = ?", [batch_id])
        if found is None:
            return
        items = item_texts(unpacked(found[0]))
        changed = [f'{{"phone":"{stand_in}"}}' if json.loads(item)["phone"] == phone else item for item in items]
        if changed != items:
            body = batch_body(changed)
            self._store.connection.execute(
                "UPDATE bodies SET sha256 = ?, body = ? WHERE batch_id = ?",
                [sha256(body).digest(), packed(body), batch_id],
            )

    def _erase_samples(self, phone: int) -> None:
        """What imports remember of rows that came back with other content."""
        for import_id, text in self._store.all(
            "SELECT id, facts FROM imports WHERE finished_ms IS NOT NULL AND instr(facts, ?)", [str(phone)]
        ):
            facts = json.loads(text)
            kept = [each for each in facts.get("came_back", []) if str(phone) not in each[1]]
            self._store.connection.execute(
                "UPDATE imports SET facts = ? WHERE id = ?",
                [json.dumps({**facts, "came_back": kept}, sort_keys=True), import_id],
            )

    # --- the end ------------------------------------------------------------------------------------------------------

    def note_wiped(self, *, now_ms: int) -> None:
        """Notes that the file was written anew: what was erased before stands in none of its pages."""
        with self._store.transaction():
            self._store.connection.execute(
                "UPDATE purges SET wiped_ms = ? WHERE wiped_ms IS NULL AND erased_ms IS NOT NULL", [now_ms]
            )


def _without_numbers(text: str) -> str:
    return _LONG_NUMBER.sub("***", text)


def _holds(cells: str, phone: str) -> bool:
    """Whether a cell is a number's digits, perhaps without its country code, or holds them."""
    try:
        values = json.loads(cells).values()
    except (ValueError, AttributeError):
        return phone in cells
    told = (_DIGITS.sub("", str(value)) for value in values)
    return any(phone in digits or (len(digits) >= 7 and phone.endswith(digits)) for digits in told)
