"""Taking rows back: which may still be withdrawn, which were asked to be cancelled, and what became of each.

Floor: ledger. A row whose batch was never armed is withdrawn here and now; for any other the platform must be asked,
and that it is asked, under which key, is written before the request leaves. A newcomer may question that a withdrawn
row keeps its keys: the same list run again must not call whom somebody took back on purpose.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from importer.body import item_texts
from importer.keys import as_uuid, netstring
from importer.ledger.intake_book import IntakeBook
from importer.ledger.packs import unfold
from importer.ledger.phone_index import PhoneIndex
from importer.ledger.records import NewBatch, Sendable
from importer.ledger.send_book import SendBook
from importer.ledger.stand_ins import StandIns
from importer.ledger.store import Store
from importer.protocol import Batch, State

CHUNK_ROWS = 500
BATCHES_PER_COMMIT = 100
_WORD = b"importer.cancel.1"
_NEVER_ARMED = (
    "b.state = 'frozen' AND b.epoch = 0 AND b.first_boot_id IS NULL "
    "AND NOT EXISTS (SELECT 1 FROM sends s WHERE s.batch_id = b.id)"
)
_STANDING = f"""
CASE WHEN x.fate IN ('withdrawn', 'cancelled') THEN 'back'
     WHEN x.fate = 'asked' THEN 'asked'
     WHEN b.id IS NULL THEN 'withdrawn'
     WHEN b.state = 'refused' THEN 'refused'
     WHEN {_NEVER_ARMED} THEN 'unsent'
     WHEN b.state = 'in_doubt' THEN 'in_doubt'
     WHEN b.state <> 'accepted' THEN 'unsettled'
     WHEN o.row_id IS NULL AND c.evidence = 'person' THEN 'nameless'
     WHEN o.is_finished = 1 THEN 'over'
     WHEN coalesce(o.attempts, 0) > 0 THEN 'dialled'
     ELSE 'waiting' END
"""
_CHOSEN = """
FROM temp.chosen h LEFT JOIN batches b ON b.id = h.batch_id
LEFT JOIN receipts c ON c.batch_id = b.id LEFT JOIN job_outcomes o ON o.row_id = h.row_id
LEFT JOIN cancellations x ON x.row_id = h.row_id
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """How the chosen rows stand. **Units**: rows.

    `unsent` can be withdrawn; `waiting` and `dialled` have a call job that has not ended (`dialled` was tried at least
    once); `over` have one that has. `unsettled` and `in_doubt` may have been sent. `nameless` were called by a person's
    word, and have no id. `asked` is a cancellation whose answer never came; `back` was taken back before.
    """

    unsent: int = 0
    waiting: int = 0
    dialled: int = 0
    over: int = 0
    unsettled: int = 0
    in_doubt: int = 0
    nameless: int = 0
    refused: int = 0
    withdrawn: int = 0
    asked: int = 0
    back: int = 0

    @property
    def can_be_undone(self) -> int:
        """Rows that a cancellation changes, as far as can be told."""
        return self.unsent + self.waiting + self.dialled + self.asked


@dataclass(frozen=True, kw_only=True, slots=True)
class CancelRequest:
    """Call jobs to cancel in one request, in its order, under its key. **Shapes**: `row_ids` and `ids` go together."""

    key: str
    row_ids: tuple[int, ...]
    ids: tuple[str, ...]


class CancelBook:
    """What cancelling reads and writes. Rows are chosen first; everything else is about the chosen."""

    def __init__(self, store: Store, intake: IntakeBook, sends: SendBook) -> None:
        self._store = store
        self._intake = intake
        self._sends = sends

    # --- choosing -----------------------------------------------------------------------------------------------------

    def choose(self, import_ids: Sequence[int], *, phones: Iterable[int] | None, row_ids: Iterable[int] | None) -> int:
        """Chooses the rows of these imports, of these numbers or ids where they are given; gives how many."""
        run = self._store.connection.execute
        run("CREATE TEMP TABLE IF NOT EXISTS chosen (row_id INTEGER PRIMARY KEY, import_id INTEGER, batch_id INTEGER)")
        run("CREATE TEMP TABLE IF NOT EXISTS chosen_among (value INTEGER PRIMARY KEY)")
        run("DELETE FROM temp.chosen")
        run("DELETE FROM temp.chosen_among")
        among = (
            row_ids if phones is None or row_ids is not None else StandIns(self._store.connection).with_numbers(phones)
        )
        if among is not None:
            self._store.many("INSERT OR IGNORE INTO temp.chosen_among VALUES (?)", ((value,) for value in among))
        for import_id in import_ids:
            run(f"INSERT INTO temp.chosen {_CHOICES[phones is not None, row_ids is not None]}", [import_id])
        if phones is not None and row_ids is None:
            self._choose_packed(import_ids)
        return int(self._store.one("SELECT count(*) FROM temp.chosen")[0])

    def _choose_packed(self, import_ids: Sequence[int]) -> None:
        """The packed rows of the wanted numbers."""
        wanted = [row[0] for row in self._store.all("SELECT value FROM temp.chosen_among")]
        found = PhoneIndex(self._store.connection).find(wanted)
        chosen = [(row.id, row.import_id, row.batch_id) for row in found if row.import_id in import_ids]
        self._store.many("INSERT INTO temp.chosen VALUES (?, ?, ?)", chosen)

    def standing(self) -> Standing:
        """How the chosen rows stand."""
        return Standing(**dict(self._store.all(f"SELECT {_STANDING}, count(*) {_CHOSEN} GROUP BY 1")))

    def imports(self) -> list[int]:
        """The imports the chosen rows are of."""
        rows = self._store.all("SELECT DISTINCT import_id FROM temp.chosen ORDER BY 1")
        return [row[0] for row in rows]

    def accepted_batches(self) -> list[int]:
        """The accepted batches that hold chosen rows."""
        rows = self._store.all(
            "SELECT DISTINCT b.id FROM temp.chosen h JOIN batches b ON b.id = h.batch_id "
            "WHERE b.state = 'accepted' ORDER BY 1"
        )
        return [row[0] for row in rows]

    # --- withdrawing --------------------------------------------------------------------------------------------------

    def withdraw(self, *, key_seed: str, now_ms: int) -> int:
        """Withdraws the chosen rows whose batches were never armed; the others of a batch are frozen anew.

        **Crash**: a hundred batches share a commit; each row is withdrawn or as it was.
        """
        rows = self._store.all(
            "SELECT h.batch_id, h.row_id FROM temp.chosen h JOIN batches b ON b.id = h.batch_id "
            f"WHERE {_NEVER_ARMED} ORDER BY h.batch_id, h.row_id"
        )
        gone: dict[int, set[int]] = {}
        for batch_id, row_id in rows:
            gone.setdefault(batch_id, set()).add(row_id)
        batch_ids = list(gone)
        for place in range(0, len(batch_ids), BATCHES_PER_COMMIT):
            with self._store.transaction():
                for batch_id in batch_ids[place : place + BATCHES_PER_COMMIT]:
                    self._withdraw(batch_id, gone[batch_id], key_seed, now_ms)
        return len(rows)

    def _withdraw(self, batch_id: int, gone: set[int], key_seed: str, now_ms: int) -> None:
        """Called inside a transaction."""
        sendable = self._sends.load(batch_id)
        unfold(self._store.connection, batch_id)
        members = self._store.all(
            "SELECT r.id, r.row_key FROM batches b JOIN rows r ON r.id BETWEEN b.first_row_id AND b.last_row_id "
            "AND r.batch_id = b.id WHERE b.id = ? ORDER BY r.position",
            [batch_id],
        )
        after = Batch(state=State.SPLIT, size_rows=sendable.batch.size_rows)
        self._sends.move(batch_id, State.FROZEN, after, "rows of it were withdrawn", now_ms)
        import_id = self._store.one("SELECT import_id FROM batches WHERE id = ?", [batch_id])[0]
        self._store.many(
            "INSERT INTO cancellations (row_id, import_id, fate, asked_ms, settled_ms) "
            "VALUES (?, ?, 'withdrawn', ?, ?)",
            [(row_id, import_id, now_ms, now_ms) for row_id in sorted(gone)],
        )
        self._store.many("UPDATE rows SET batch_id = NULL, position = NULL WHERE id = ?", [(each,) for each in gone])
        self._store.many("UPDATE temp.chosen SET batch_id = NULL WHERE row_id = ?", [(each,) for each in gone])
        self._store.change_one(
            "UPDATE imports SET withdrawn_rows = withdrawn_rows + ? WHERE id = ? AND source_state = 'complete'",
            [len(gone), import_id],
        )
        rest = [place for place, (row_id, _) in enumerate(members) if row_id not in gone]
        if rest:
            self._refreeze(sendable, members, rest, import_id, key_seed, now_ms)

    def _refreeze(
        self, sendable: Sendable, members: Sequence[Any], rest: Sequence[int], import_id: int, seed: str, now_ms: int
    ) -> None:
        """The rows of a batch that stay, with bytes and a key of their own."""
        items = item_texts(sendable.body_bytes)
        batch = NewBatch.made_of(seed, [members[place][1] for place in rest], [items[place] for place in rest])
        span = self._store.one("SELECT first_row_id, last_row_id FROM batches WHERE id = ?", [sendable.id])
        new_id = int(self._store.one("SELECT max(id) + 1 FROM batches")[0])
        self._intake.freeze(import_id, [batch], [(span[0], span[1])], new_id, now_ms, sendable.id)
        self._store.many(
            "UPDATE rows SET batch_id = ?, position = ? WHERE id = ?",
            [(new_id, position, members[place][0]) for position, place in enumerate(rest)],
        )

    # --- cancelling ---------------------------------------------------------------------------------------------------

    def open_requests(self) -> list[CancelRequest]:
        """The requests among the chosen rows that were written down, and whose answer never came."""
        rows = self._store.all(
            "SELECT x.request_key, x.row_id, x.call_job_id FROM cancellations x WHERE x.fate = 'asked' "
            "AND x.request_key IN (SELECT y.request_key FROM temp.chosen h JOIN cancellations y ON y.row_id = h.row_id "
            "WHERE y.fate = 'asked') ORDER BY x.request_key, x.row_id"
        )
        found: dict[str, list[tuple[int, str]]] = {}
        for key, row_id, job_id in rows:
            found.setdefault(key, []).append((row_id, job_id))
        return [
            CancelRequest(key=key, row_ids=tuple(r for r, _ in pairs), ids=tuple(i for _, i in pairs))
            for key, pairs in found.items()
        ]

    def freeze_next(self, after_row_id: int, *, key_seed: str, now_ms: int) -> CancelRequest | None:
        """Writes down the next request among the chosen rows behind one; None when none is left.

        What was asked for by this very command is not asked for again: `tries` tells the commands apart, and another
        try is another request under another key.
        **Crash**: after it the request counts as sent; the same ids go again under the same key.
        """
        rows = self._store.all(
            f"SELECT h.row_id, o.call_job_id, h.import_id, coalesce(x.tries, 0) + 1 {_CHOSEN} "
            "WHERE b.state = 'accepted' AND o.call_job_id IS NOT NULL AND o.is_finished = 0 "
            "AND (x.row_id IS NULL OR (x.fate IN ('not_cancelled', 'unknown') AND x.asked_ms < ?)) "
            "AND h.row_id > ? ORDER BY h.row_id LIMIT ?",
            [now_ms, after_row_id, CHUNK_ROWS],
        )
        if not rows:
            return None
        ids = tuple(row[1] for row in rows)
        key = cancel_key(key_seed, [(job_id, tries) for _, job_id, _, tries in rows])
        with self._store.transaction():
            self._store.many(
                "INSERT INTO cancellations (row_id, import_id, fate, call_job_id, request_key, tries, asked_ms) "
                "VALUES (?, ?, 'asked', ?, ?, ?, ?) ON CONFLICT (row_id) DO UPDATE SET fate = 'asked', "
                "call_job_id = excluded.call_job_id, request_key = excluded.request_key, tries = excluded.tries, "
                "asked_ms = excluded.asked_ms, settled_ms = NULL",
                [(row_id, import_id, job_id, key, tries, now_ms) for row_id, job_id, import_id, tries in rows],
            )
        return CancelRequest(key=key, row_ids=tuple(row[0] for row in rows), ids=ids)

    def settle(self, request: CancelRequest, fates: dict[str, str], *, now_ms: int) -> None:
        """Writes down what became of each call job of a request. **Shapes**: `fates` by id."""
        with self._store.transaction():
            for row_id, job_id in zip(request.row_ids, request.ids, strict=True):
                self._store.change_one(
                    "UPDATE cancellations SET fate = ?, settled_ms = ? "
                    "WHERE row_id = ? AND fate = 'asked' AND request_key = ?",
                    [fates[job_id], now_ms, row_id, request.key],
                )

    def believe_reports(self, *, now_ms: int) -> int:
        """Counts as cancelled what the reports show as cancelled, whatever the answers said; gives how many rows."""
        with self._store.transaction():
            return self._store.connection.execute(
                "UPDATE cancellations SET fate = 'cancelled', settled_ms = ? "
                "WHERE fate IN ('not_cancelled', 'unknown') AND row_id IN "
                "(SELECT h.row_id FROM temp.chosen h JOIN job_outcomes o ON o.row_id = h.row_id "
                "WHERE o.status = 'cancelledByUser')",
                [now_ms],
            ).rowcount

    def fates(self) -> dict[str, int]:
        """The chosen rows by what became of them, those never asked for left out."""
        return dict(
            self._store.all(
                "SELECT x.fate, count(*) FROM temp.chosen h JOIN cancellations x ON x.row_id = h.row_id GROUP BY 1"
            )
        )


_CHOICES = {  # (by number, by id); packed rows of a number are found elsewhere
    (False, False): """
SELECT id, import_id, batch_id FROM rows WHERE id >= (SELECT first_row_id FROM imports WHERE id = ?1) AND import_id = ?1
UNION ALL SELECT p.first_row_id + n.value, p.import_id, p.batch_id
FROM row_packs p JOIN pack_places n ON n.value < p.size_rows WHERE p.import_id = ?1""",
    (True, False): """
SELECT r.id, r.import_id, r.batch_id FROM temp.chosen_among a CROSS JOIN rows r ON r.phone = a.value
WHERE r.import_id = ?1""",
    (False, True): """
SELECT r.id, r.import_id, r.batch_id FROM temp.chosen_among a CROSS JOIN rows r ON r.id = a.value WHERE r.import_id = ?1
UNION ALL SELECT a.value, p.import_id, p.batch_id FROM temp.chosen_among a CROSS JOIN row_packs p
ON p.first_row_id = (SELECT max(q.first_row_id) FROM row_packs q WHERE q.first_row_id <= a.value)
WHERE a.value < p.first_row_id + p.size_rows AND p.import_id = ?1""",
}


def cancel_key(seed: str, tried: Sequence[tuple[str, int]]) -> str:
    """The Idempotence-Key of a cancellation: a function of the ids, their order, and how often each was tried."""
    message = b"".join(
        (netstring(_WORD), *(netstring(job_id.encode()) + netstring(b"%d" % tries) for job_id, tries in tried))
    )
    digest = bytearray(hmac.new(seed.encode(), message, hashlib.sha256).digest()[:16])
    digest[6] = (digest[6] & 0x0F) | 0x80  # a UUID of version 8, RFC 9562, 5.8
    digest[8] = (digest[8] & 0x3F) | 0x80
    return as_uuid(bytes(digest))
