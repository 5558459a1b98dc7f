"""Do-not-call: the lists a ledger keeps, and the last look at them before a batch is armed for the first time.

Floor: ledger. Numbers are looked up in bitmaps, of which only the parts asked for are loaded. A look-up that cannot be
made stops the run: do-not-call fails closed. A newcomer may question that a row found at the last look is taken out of
`rows`: it then stands in the ledger just as if the list had been known while the row was read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pyroaring import BitMap64

from importer.body import item_texts
from importer.errors import LedgerProblem
from importer.ledger.intake_book import IntakeBook
from importer.ledger.numberset import PART_BITS, PackedPart, cut_up, packed, parts_of, unpacked
from importer.ledger.opening import translated
from importer.ledger.packs import rows_of_batch, unfold
from importer.ledger.records import NewBatch, Sendable
from importer.ledger.send_book import SendBook
from importer.ledger.store import Store
from importer.protocol import State


@dataclass(frozen=True, kw_only=True, slots=True)
class DncList:
    """A do-not-call list kept in the ledger. `facts` say where it came from."""

    id: int
    name: str
    numbers: int
    changed_ms: int
    facts: dict[str, Any]


class DncBook:
    """The numbers nobody may call. **Errors**: LedgerProblem when a list's bytes are not those that were written."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._own = BitMap64()
        self._forget()

    def _forget(self) -> None:
        """Drops what was loaded: the lists changed."""
        self._known = BitMap64()
        self._loaded: set[int] = set()
        self._kept_parts: frozenset[int] | None = None

    # --- asking -------------------------------------------------------------------------------------------------------

    def also(self, numbers: BitMap64) -> None:
        """Adds numbers that this run must not call either; they are not kept."""
        self._own |= numbers

    def is_empty(self) -> bool:
        """True when no number could be a hit."""
        return not self._own and not self._kept()

    def hits(self, phones: Sequence[int]) -> set[int]:
        """Which of these numbers are on a list, kept or this run's own.

        **Shapes**: E.164 without the plus, as integers; in any order, repeats welcome, though sorted ones are found
        twice as fast.
        """
        if self.is_empty():
            return set()
        for part in parts_of(phones):
            self._load(part)
        lists = [numbers for numbers in (self._known, self._own) if numbers]
        return {phone for numbers in lists for phone in filter(numbers.__contains__, phones)}

    def _kept(self) -> frozenset[int]:
        if self._kept_parts is None:
            self._kept_parts = frozenset(row[0] for row in self._store.all("SELECT DISTINCT part FROM dnc_parts"))
        return self._kept_parts

    def _load(self, part: int) -> None:
        if part in self._loaded or part not in self._kept():
            return
        for list_id in self._lists_with(part):
            self._known |= self._part(list_id, part)
        self._loaded.add(part)

    def _lists_with(self, part: int) -> list[int]:
        return [row[0] for row in self._store.all("SELECT list_id FROM dnc_parts WHERE part = ?", [part])]

    def _part(self, list_id: int, part: int) -> BitMap64:
        """A part of a list; empty when the list has none."""
        row = self._store.one(
            "SELECT bitmap, sha256, size_numbers FROM dnc_parts WHERE list_id = ? AND part = ?", [list_id, part]
        )
        if row is None:
            return BitMap64()
        numbers = unpacked(row[0], row[1])
        if numbers is None or len(numbers) != row[2]:
            raise LedgerProblem(
                f"A do-not-call list in {self._store.path} is damaged and cannot be honoured. Nothing more was sent.",
                hint="`importer dnc list` names the lists. Drop it and import it again.",
            )
        return numbers

    # --- the lists ----------------------------------------------------------------------------------------------------

    def lists(self) -> list[DncList]:
        """Every list kept, by name."""
        rows = self._store.all(
            "SELECT l.id, l.name, coalesce(sum(p.size_numbers), 0), l.changed_ms, l.facts FROM dnc_lists l "
            "LEFT JOIN dnc_parts p ON p.list_id = l.id GROUP BY l.id ORDER BY l.name"
        )
        return [DncList(id=i, name=n, numbers=c, changed_ms=m, facts=json.loads(f)) for i, n, c, m, f in rows]

    def parts(self, list_id: int) -> Iterator[BitMap64]:
        """The numbers of a list, part by part, in order."""
        for (part,) in self._store.all("SELECT part FROM dnc_parts WHERE list_id = ? ORDER BY part", [list_id]):
            yield self._part(list_id, part)

    def all_numbers(self) -> BitMap64:
        """Every number kept, once."""
        for part in self._kept():
            self._load(part)
        return self._known.copy()

    def names_with(self, phone: int) -> list[str]:
        """The lists kept that hold a number."""
        part = phone >> PART_BITS
        return [each.name for each in self.lists() if phone in self._part(each.id, part)]

    def replace_list(self, name: str, numbers: BitMap64, facts: dict[str, Any], *, now_ms: int) -> DncList:
        """Keeps a list under a name; one of that name gives way. **Crash**: the old list stands, or the new one."""
        with self._store.transaction():
            list_id = self._list_id(name, facts, now_ms)
            self._store.connection.execute("DELETE FROM dnc_parts WHERE list_id = ?", [list_id])
            self._write(list_id, packed(numbers))
        self._forget()
        return self._list(name)

    def add(self, name: str, numbers: BitMap64, *, now_ms: int) -> int:
        """Adds numbers to a list, made when there is none of that name; gives how many it did not hold."""
        with self._store.transaction():
            list_id = self._list_id(name, {}, now_ms)
            before = self._size(list_id)
            for part, some in cut_up(numbers):
                self._rewrite(list_id, part, self._part(list_id, part) | some)
            added = self._size(list_id) - before
        self._forget()
        return added

    def remove(self, numbers: BitMap64, *, now_ms: int) -> dict[str, int]:
        """Takes numbers off every list; gives how many of them each list held, lists without any left out."""
        removed = {}
        with self._store.transaction():
            for each in self.lists():
                for part, some in cut_up(numbers):
                    self._rewrite(each.id, part, self._part(each.id, part) - some)
                count = each.numbers - self._size(each.id)
                if count:
                    removed[each.name] = count
                    self._store.change_one("UPDATE dnc_lists SET changed_ms = ? WHERE id = ?", [now_ms, each.id])
        self._forget()
        return removed

    def drop_list(self, name: str) -> bool:
        """Forgets a list and all its numbers; False when there is none of that name."""
        found = next((each for each in self.lists() if each.name == name), None)
        if found is None:
            return False
        with self._store.transaction():
            self._store.connection.execute("DELETE FROM dnc_parts WHERE list_id = ?", [found.id])
            self._store.change_one("DELETE FROM dnc_lists WHERE id = ?", [found.id])
        self._forget()
        return True

    def _list_id(self, name: str, facts: dict[str, Any], now_ms: int) -> int:
        self._store.connection.execute(
            "INSERT INTO dnc_lists (name, changed_ms, facts) VALUES (?1, ?2, ?3) "
            "ON CONFLICT (name) DO UPDATE SET changed_ms = ?2, facts = iif(?3 = '{}', facts, ?3)",
            [name, now_ms, json.dumps(facts, sort_keys=True)],
        )
        return int(self._store.one("SELECT id FROM dnc_lists WHERE name = ?", [name])[0])

    def _list(self, name: str) -> DncList:
        return next(each for each in self.lists() if each.name == name)

    def _size(self, list_id: int) -> int:
        query = "SELECT coalesce(sum(size_numbers), 0) FROM dnc_parts WHERE list_id = ?"
        return int(self._store.one(query, [list_id])[0])

    def _rewrite(self, list_id: int, part: int, numbers: BitMap64) -> None:
        self._store.connection.execute("DELETE FROM dnc_parts WHERE list_id = ? AND part = ?", [list_id, part])
        self._write(list_id, packed(numbers))

    def _write(self, list_id: int, parts: Iterator[PackedPart]) -> None:
        self._store.many(
            "INSERT INTO dnc_parts (list_id, part, size_numbers, sha256, bitmap) VALUES (?, ?, ?, ?, ?)",
            ((list_id, each.part, each.size_numbers, each.sha256, each.bitmap) for each in parts),
        )


class LastLook:
    """Rows taken out of a frozen batch, of which nothing was sent in this epoch: nobody may call them (any more)."""

    def __init__(self, store: Store, intake: IntakeBook, sends: SendBook, dnc: DncBook) -> None:
        self._store = store
        self._intake = intake
        self._sends = sends
        self._dnc = dnc

    def hits(self, sendable: Sendable) -> list[int]:
        """The positions in a batch whose numbers are on a do-not-call list, in order."""
        if self._dnc.is_empty():
            return []
        members = self._members(sendable.id)
        found = self._dnc.hits([phone for _, _, _, phone, _ in members])
        return [place for place, (_, _, _, phone, _) in enumerate(members) if phone in found]

    def withdraw_rows(self, sendable: Sendable, positions: Sequence[int], *, key_seed: str, now_ms: int) -> int | None:
        """Takes rows out of a batch as suppressed; the others are frozen anew, with bytes and a key of their own.

        Gives the id of the batch that took the others; None when none was left.
        **Errors**: LedgerProblem, and nothing changes, unless the batch is frozen and was never armed in its epoch.
        Whether something of an earlier epoch may still be on its way is for the sender to know.
        **Crash**: one transaction; before it the batch is whole, after it each row is suppressed or in the new batch.
        """
        members = self._members(sendable.id)
        gone = set(positions)
        with self._store.transaction():
            self._judge_unarmed(sendable)
            split = replace(sendable.batch, state=State.SPLIT)
            self._sends.move(sendable.id, State.FROZEN, split, "rows on a do-not-call list were taken out", now_ms)
            unfold(self._store.connection, sendable.id)
            self._suppress(sendable.id, [members[place] for place in sorted(gone)])
            rest = [place for place in range(len(members)) if place not in gone]
            return self._refreeze(sendable, members, rest, key_seed, now_ms) if rest else None

    def _members(self, batch_id: int) -> list[Any]:
        """(row_id, file_no, row_no, phone, row_key) of a batch's rows, in the order of its request."""
        with translated(self._store.path, "read"):
            rows = rows_of_batch(self._store.connection, batch_id)
        return [(row.id, row.file_no, row.row_no, row.phone, row.row_key) for row in rows]

    def _judge_unarmed(self, sendable: Sendable) -> None:
        if not self._store.one(
            "SELECT 1 FROM batches b WHERE id = ? AND state = 'frozen' AND first_boot_id IS NULL "
            "AND NOT EXISTS (SELECT 1 FROM sends WHERE batch_id = b.id AND epoch = b.epoch)",
            [sendable.id],
        ):
            raise LedgerProblem(f"Batch {sendable.id} may have been sent already; it cannot be cut.")

    def _suppress(self, batch_id: int, rows: Sequence[Any]) -> None:
        """The rows leave; what stays of them is that they were suppressed, and where in the list they stood."""
        import_id = self._store.one("SELECT import_id FROM batches WHERE id = ?", [batch_id])[0]
        self._store.many("DELETE FROM identities WHERE row_id = ? AND identity = ?", [(row[0], row[4]) for row in rows])
        self._store.many(
            "DELETE FROM identities WHERE row_id = ?1 AND identity = (SELECT identity FROM rows WHERE id = ?1)",
            [(row[0],) for row in rows],
        )
        self._store.many("DELETE FROM rows WHERE id = ?", [(row[0],) for row in rows])
        pack = json.dumps([[file_no, row_no, 0] for _, file_no, row_no, _, _ in rows], separators=(",", ":"))
        self._store.insert("skips", import_id=import_id, reason="suppressed", size_rows=len(rows), pack=pack)
        self._store.change_one(
            "UPDATE imports SET suppressed_rows = suppressed_rows + ? WHERE id = ? AND source_state = 'complete'",
            [len(rows), import_id],
        )

    def _refreeze(
        self, sendable: Sendable, members: Sequence[Any], rest: Sequence[int], key_seed: str, now_ms: int
    ) -> int:
        import_id, span = self._span(sendable.id)
        items = item_texts(sendable.body_bytes)
        batch = NewBatch.made_of(key_seed, [members[place][4] for place in rest], [items[place] for place in rest])
        new_id = int(self._store.one("SELECT max(id) + 1 FROM batches")[0])
        self._intake.freeze(import_id, [batch], [span], new_id, now_ms, sendable.id)
        self._store.many(
            "UPDATE rows SET batch_id = ?, position = ? WHERE id = ?",
            [(new_id, position, members[place][0]) for position, place in enumerate(rest)],
        )
        return new_id

    def _span(self, batch_id: int) -> tuple[int, tuple[int, int]]:
        row = self._store.one("SELECT import_id, first_row_id, last_row_id FROM batches WHERE id = ?", [batch_id])
        return row[0], (row[1], row[2])
