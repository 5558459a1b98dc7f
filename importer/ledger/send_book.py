"""The sender's side of the ledger: claim, arm, settle, recover.

Floor: ledger. Arming and settling share commits where they meet, since one fsync serves them all; but no batch is
handed to the network before the commit that armed it has returned (law 3).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from importer.errors import LedgerProblem
from importer.keys import request_key
from importer.ledger.deflate import unpacked
from importer.ledger.intake_book import IntakeBook
from importer.ledger.opening import as_record, translated
from importer.ledger.packs import row_keys_of_batch, unfold
from importer.ledger.records import NewPart, Sendable, Settlement
from importer.ledger.seals import Stub, sealed
from importer.ledger.store import Store
from importer.protocol import Arming, Batch, State, Step, recover

_BATCH_COLUMNS = (
    "b.id, b.state, b.size_rows, b.epoch, b.generation, b.is_ambiguous, b.sends, b.first_low_ms, b.first_boot_ms, "
    "b.first_boot_id"
)

# Sends that may have been carried out; the names are those of the sender's outcomes.
_MAYBE = "outcome IS NULL OR outcome IN ('interrupted') OR outcome LIKE 'unknown%' OR outcome LIKE 'doubtful%'"

# Rows of values joined to what they change: each is found by its id, however many there are.
_MOVE = (
    "UPDATE batches SET state = column3, epoch = column4, generation = column5, is_ambiguous = column6, "
    "sends = column7, first_low_ms = column8, first_boot_ms = column9, first_boot_id = column10, reason = column11, "
    "changed_ms = column12 FROM (VALUES $rows) WHERE batches.id = column1 AND batches.state = column2"
)
_CLOSE = (
    "UPDATE sends SET outcome = column2, status = column3, server_date_ms = column4, elapsed_ms = column5, "
    "ended_ms = column6 FROM (VALUES $rows) WHERE sends.batch_id = column1 AND sends.ended_ms IS NULL "
    "AND 1 = (SELECT count(*) FROM sends o WHERE o.batch_id = column1 AND o.ended_ms IS NULL)"
)


def batch_from_row(row: Sequence[Any]) -> Batch:
    """A protocol batch from the columns above (its id left aside)."""
    _, state, size_rows, epoch, generation, is_ambiguous, sends, low_ms, boot_ms, boot_id = row
    first = None if boot_id is None else Arming(server_low_ms=low_ms, boot_ms=boot_ms, boot_id=boot_id)
    with as_record("a batch"):
        return Batch(
            state=State(state),
            size_rows=size_rows,
            epoch=epoch,
            generation=generation,
            is_ambiguous=bool(is_ambiguous),
            first_armed=first,
            sends=sends,
        )


class SendBook:
    """What the sender reads and writes."""

    def __init__(self, store: Store, intake: IntakeBook) -> None:
        self._store = store
        self._intake = intake

    def recover(self, import_id: int, *, now_ms: int) -> int:
        """Turns sends that were open when their process ended into waiting, ambiguous batches; gives how many.

        **Crash**: can be repeated; a batch is recovered once.
        """
        rows = self._store.all(
            f"SELECT {_BATCH_COLUMNS} FROM batches b WHERE b.import_id = ? AND b.state = 'armed'", [import_id]
        )
        with self._store.transaction():
            for row in rows:
                step = recover(batch_from_row(row))
                self._close_sends([(row[0], "interrupted", None, None, None)], now_ms)
                self.move(row[0], State.ARMED, step.batch, step.reason, now_ms)
        return len(rows)

    def waiting(self, import_id: int) -> list[tuple[int, Batch]]:
        """Every waiting batch, oldest first."""
        rows = self._store.all(
            f"SELECT {_BATCH_COLUMNS} FROM batches b WHERE b.import_id = ? AND b.state = 'waiting' ORDER BY b.id",
            [import_id],
        )
        return [(row[0], batch_from_row(row)) for row in rows]

    def frozen(self, import_id: int, after_id: int, limit: int) -> list[Sendable]:
        """The next frozen batches in the order of the list."""
        return [each.unpacked() for each in self.frozen_packed(import_id, after_id, limit)]

    def frozen_packed(self, import_id: int, after_id: int, limit: int) -> list[PackedSendable]:
        """The same, to be unpacked by whoever has the time."""
        return self._packed(
            "b.import_id = ? AND b.state = 'frozen' AND b.id > ? ORDER BY b.id LIMIT ?", [import_id, after_id, limit]
        )

    def load(self, batch_id: int) -> Sendable:
        """One batch with its bytes, perhaps to be sent again: its key must still be the one its rows make.

        **Errors**: LedgerProblem when it is not: under another key the same rows would be called twice.
        """
        found = self._packed("b.id = ?", [batch_id])[0].unpacked()
        seed = self._store.one(
            "SELECT c.key_seed FROM batches b JOIN imports i ON i.id = b.import_id "
            "JOIN campaigns c ON c.id = i.campaign_id WHERE b.id = ?",
            [batch_id],
        )
        made = seed and request_key(seed[0], found.batch.generation, self.row_keys(batch_id))
        if found.request_key != made:
            raise LedgerProblem(
                f"The request key of batch {batch_id} is not the one its rows make: the ledger is damaged.",
                hint="Nothing of it was sent. `importer ledger check` shows what is wrong.",
            )
        return found

    def load_bare(self, batch_id: int) -> Sendable:
        """One batch whose bytes were lost: it can be judged, and is never sent."""
        row = self._store.one(f"SELECT {_BATCH_COLUMNS}, b.request_key FROM batches b WHERE b.id = ?", [batch_id])
        return Sendable(id=row[0], batch=batch_from_row(row[:-1]), request_key=row[-1], body_bytes=b"")

    def _packed(self, where: str, values: Sequence[Any]) -> list[PackedSendable]:
        rows = self._store.all(
            f"SELECT {_BATCH_COLUMNS}, b.request_key, d.body, d.sha256 FROM batches b "
            f"JOIN bodies d ON d.batch_id = b.id WHERE {where}",
            values,
        )
        return [
            PackedSendable(
                id=row[0], batch=batch_from_row(row[:10]), request_key=row[10], body_packed=row[11], sha256=row[12]
            )
            for row in rows
        ]

    def advance(
        self,
        *,
        settled: Sequence[Settlement] = (),
        put_back: Sequence[tuple[Sendable, Step]] = (),
        armed: Sequence[tuple[Sendable, Batch]] = (),
        server_high_ms: int = 0,
        arming: Arming | None = None,
        now_ms: int,
    ) -> None:
        """Writes ended sends and opens new ones in one durable commit.

        **Crash**: before it none of this is so; after it the armed batches count as sent, whether or not a byte left.
        **Shapes**: `armed` pairs each batch as claimed with how it stands once armed; `put_back` each armed batch that
        was never handed out with how it stood before.
        """
        with self._store.transaction():
            self._settle(settled, now_ms)
            self._put_back(put_back, now_ms)
            self._arm(armed, arming, now_ms)
            self._store.connection.execute(
                "UPDATE ledger_info SET armings = armings + ?, server_high_ms = max(server_high_ms, ?)",
                [len(armed), server_high_ms],
            )

    def change(self, sendable: Sendable, after: Batch, reason: str, *, now_ms: int) -> None:
        """Moves a batch that no send is open for: its window closed, or a person decided."""
        with self._store.transaction():
            self.move(sendable.id, sendable.batch.state, after, reason, now_ms)

    def renew(self, sendable: Sendable, after: Batch, seed: str, reason: str, *, now_ms: int) -> None:
        """Gives a batch that was only ever refused the key of its next generation."""
        key = request_key(seed, after.generation, self.row_keys(sendable.id))
        with self._store.transaction():
            self.move(sendable.id, sendable.batch.state, after, reason, now_ms)
            self._store.change_one("UPDATE batches SET request_key = ? WHERE id = ?", [key, sendable.id])

    def outcomes(self, sendable: Sendable, limit: int) -> list[tuple[int, str]]:
        """When the last sends of a batch's present epoch were armed and how they ended, newest first."""
        rows = self._store.all(
            "SELECT armed_ms, outcome FROM sends WHERE batch_id = ? AND epoch = ? AND ended_ms IS NOT NULL "
            "ORDER BY id DESC LIMIT ?",
            [sendable.id, sendable.batch.epoch, limit],
        )
        return [(armed_ms, outcome) for armed_ms, outcome in rows]

    def key_since(self, sendable: Sendable) -> Arming | None:
        """When the oldest send that may have shown the platform this batch's key was armed; None: none may have.

        Sends of an earlier generation had another key. They count as well: that errs on the side of doubt.
        """
        row = self._store.one(
            "SELECT server_low_ms, boot_ms, boot_id FROM sends WHERE batch_id = ? "
            "AND NOT (status IS NULL AND coalesce(outcome, '') LIKE 'not executed:%') ORDER BY id LIMIT 1",
            [sendable.id],
        )
        return row and Arming(server_low_ms=row[0], boot_ms=row[1], boot_id=row[2])

    def last_maybe(self, sendable: Sendable, *, is_of_now: bool = False) -> Arming | None:
        """When the newest send of an earlier epoch (or of the present one) that may have been carried out was armed.

        None: none may have been.
        """
        row = self._store.one(
            "SELECT server_low_ms, boot_ms, boot_id FROM sends WHERE batch_id = ? AND epoch < ? AND "
            f"({_MAYBE}) ORDER BY id DESC LIMIT 1",
            [sendable.id, sendable.batch.epoch + is_of_now],
        )
        return row and Arming(server_low_ms=row[0], boot_ms=row[1], boot_id=row[2])

    def cut(self, sendable: Sendable, parts: Sequence[NewPart], reason: str, *, now_ms: int) -> None:
        """Cuts a frozen batch, of which nothing can exist, into parts with keys of their own."""
        with self._store.transaction():
            self.move(sendable.id, State.FROZEN, replace(sendable.batch, state=State.SPLIT), reason, now_ms)
            self._add_parts(sendable.id, parts, now_ms)

    def _arm(self, armed: Sequence[tuple[Sendable, Batch]], arming: Arming | None, now_ms: int) -> None:
        """Opens a send for each of these batches."""
        self._move_each([(each.id, each.batch.state, after, "") for each, after in armed], now_ms)
        sends = []
        for each, after in armed:
            here = arming or after.first_armed
            if here is None:
                raise LedgerProblem("A batch was armed without a time.")
            sends.append((each.id, after.epoch, now_ms, here.server_low_ms, here.boot_ms, here.boot_id))
        self._store.insert_each(
            "INSERT INTO sends (batch_id, epoch, armed_ms, server_low_ms, boot_ms, boot_id) VALUES $rows", sends
        )

    def _settle(self, settled: Sequence[Settlement], now_ms: int) -> None:
        """Ends a send of each of these batches, with what it brought."""
        self._close_sends(
            [(each.sendable.id, each.outcome, each.status, each.server_date_ms, each.elapsed_ms) for each in settled],
            now_ms,
        )
        self._move_each([(each.sendable.id, State.ARMED, each.after, each.reason) for each in settled], now_ms)
        self._store.insert_each(
            "INSERT INTO receipts (batch_id, kind, evidence, received_ms, content) VALUES $rows",
            [_receipt_of(each, each.receipt, now_ms) for each in settled if each.receipt is not None],
        )
        for each in settled:
            if each.after.state is State.REFUSED:
                self.release_identities(each.sendable.id)
            self._add_parts(each.sendable.id, list(each.parts), now_ms)

    def _put_back(self, put_back: Sequence[tuple[Sendable, Step]], now_ms: int) -> None:
        """Takes back that these batches were armed: no send is left, for whatever asks whether one ever was."""
        for each, step in put_back:
            self._store.change_one("DELETE FROM sends WHERE batch_id = ? AND ended_ms IS NULL", [each.id])
            self.move(each.id, State.ARMED, step.batch, step.reason, now_ms)

    def move(self, batch_id: int, before: State, after: Batch, reason: str, now_ms: int) -> None:
        """Changes a batch's state, naming the one it must be in (law 10). Called inside a transaction."""
        self._move_each([(batch_id, before, after, reason)], now_ms)

    def _move_each(self, moves: Sequence[tuple[int, State, Batch, str]], now_ms: int) -> None:
        rows = []
        for batch_id, before, after, reason in moves:
            first = after.first_armed
            rows.append((
                batch_id, str(before), str(after.state), after.epoch, after.generation, int(after.is_ambiguous),
                after.sends, first and first.server_low_ms, first and first.boot_ms, first and first.boot_id,
                reason, now_ms,
            ))  # fmt: skip
        self._store.change_each(_MOVE, rows)

    def _close_sends(self, ends: Sequence[tuple[int, str, int | None, int | None, int | None]], now_ms: int) -> None:
        self._store.change_each(_CLOSE, [(*end, now_ms) for end in ends])

    def release_identities(self, batch_id: int) -> None:
        """A row the platform declined was never called: a later import may try it again."""
        unfold(self._store.connection, batch_id)
        for column in ("row_key", "identity"):
            self._store.connection.execute(
                f"DELETE FROM identities WHERE identity IN (SELECT r.{column} FROM rows r JOIN batches b "
                "ON r.id BETWEEN b.first_row_id AND b.last_row_id AND r.batch_id = b.id WHERE b.id = ?1) "
                "AND (SELECT batch_id = ?1 FROM rows WHERE id = identities.row_id)",
                [batch_id],
            )

    def _add_parts(self, batch_id: int, parts: Sequence[NewPart], now_ms: int) -> None:
        if not parts:
            return
        import_id, first, last = self._store.one(
            "SELECT import_id, first_row_id, last_row_id FROM batches WHERE id = ?", [batch_id]
        )
        unfold(self._store.connection, batch_id)
        members = self._store.all(
            "SELECT id FROM rows WHERE id BETWEEN ? AND ? AND batch_id = ? ORDER BY position", [first, last, batch_id]
        )
        part_id = self._store.one("SELECT max(id) + 1 FROM batches")[0]
        self._intake.freeze(
            import_id, [part.batch for part in parts], [(first, last)] * len(parts), part_id, now_ms, batch_id
        )
        for this_id, part in enumerate(parts, part_id):
            moves = [(this_id, place, members[position][0]) for place, position in enumerate(part.positions)]
            self._store.many("UPDATE rows SET batch_id = ?, position = ? WHERE id = ?", moves)

    def first_part_id(self, batch_id: int) -> int:
        """The first of the parts a batch was split into."""
        return int(self._store.one("SELECT min(id) FROM batches WHERE parent_id = ?", [batch_id])[0])

    def row_keys(self, batch_id: int) -> list[bytes]:
        """The row keys of a batch, in order."""
        with translated(self._store.path, "read"):
            return row_keys_of_batch(self._store.connection, batch_id)

    def begun(self) -> int:
        """How many batches were armed once, at the least, and are not settled."""
        is_begun = "state IN ('armed', 'waiting', 'in_doubt') OR state = 'frozen' AND epoch > 0"
        return int(self._store.one(f"SELECT count(*) FROM batches WHERE {is_begun}")[0])

    def server_high_ms(self) -> int:
        """The latest the server's clock was ever known to show."""
        return int(self._store.one("SELECT server_high_ms FROM ledger_info")[0])

    def finish(self, import_id: int, *, now_ms: int) -> bool:
        """Marks an import finished when nothing of it is pending or in doubt; says whether it is."""
        with self._store.transaction():
            self._store.connection.execute(
                "UPDATE imports SET finished_ms = ? WHERE id = ? AND finished_ms IS NULL AND source_state = 'complete' "
                "AND NOT EXISTS (SELECT 1 FROM batches WHERE import_id = imports.id "
                "AND state IN ('frozen', 'armed', 'waiting', 'in_doubt'))",
                [now_ms, import_id],
            )
        return self._store.one("SELECT finished_ms FROM imports WHERE id = ?", [import_id])[0] is not None


def _receipt_of(each: Settlement, content: Mapping[str, Any], now_ms: int) -> tuple[int, str, str, int, str]:
    """What the platform said of a batch, as its row in the ledger."""
    kind = "accepted" if each.after.state is State.ACCEPTED else "refused"
    stub = Stub(batch_id=each.sendable.id, kind=kind, evidence="answer", received_ms=now_ms)
    return stub.batch_id, kind, stub.evidence, now_ms, sealed(content, stub)


@dataclass(frozen=True, kw_only=True, slots=True)
class PackedSendable:
    """A batch as it lies in the ledger."""

    id: int
    request_key: str
    batch: Batch
    body_packed: bytes = field(repr=False)
    sha256: bytes

    def unpacked(self) -> Sendable:
        """The batch with its frozen bytes; in any thread. **Errors**: LedgerProblem: they do not match their hash."""
        body = _checked(self.body_packed, self.sha256, self.id)
        return Sendable(id=self.id, batch=self.batch, request_key=self.request_key, body_bytes=body)


def _checked(packed: bytes, sha256: bytes, batch_id: int) -> bytes:
    """The frozen bytes, or a stop: what does not match its hash is not sent."""
    try:
        body = unpacked(packed)
    except ValueError:
        body = b""
    if hashlib.sha256(body).digest() != sha256:
        raise LedgerProblem(
            f"The frozen request of batch {batch_id} does not match its own hash: the ledger is damaged.",
            hint="Nothing of it was sent. Keep the file; `importer status` still shows what is known.",
        )
    return body
