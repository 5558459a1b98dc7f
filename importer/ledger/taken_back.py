"""Rows that were taken back before they were sent, with what would have been sent for them.

Floor: ledger. A newcomer may question the search: a withdrawn row belongs to no batch any more, but the batch it was in
keeps the bytes that were frozen for it. Batches lie in the order of the rows, so few of them are held at a time; where
two of them have a row's number in their span, it is not told which of the two was meant.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from importer.body import items_of
from importer.ledger.deflate import unpacked
from importer.ledger.store import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class TakenBack:
    """A withdrawn row. `item` has nothing but its number where it cannot be told what else stood in it."""

    row_id: int
    file: str
    row_no: int
    phone: int = field(repr=False)
    item: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Frozen:
    """What was frozen once for a span of rows, by number."""

    last_row_id: int
    items: dict[str, dict[str, Any]] = field(repr=False)


def taken_back(store: Store, import_id: int) -> Iterator[TakenBack]:
    """The withdrawn rows of an import, in their order."""
    rows = store.connection.execute(
        "SELECT r.id, coalesce(f.name, ''), r.row_no, r.phone FROM rows r LEFT JOIN files f "
        "ON f.import_id = r.import_id AND f.file_no = r.file_no WHERE r.import_id = ?1 AND r.batch_id IS NULL "
        "AND r.id >= (SELECT first_row_id FROM imports WHERE id = ?1) ORDER BY r.id",
        [import_id],
    )
    waiting = _frozen(store, import_id)
    upcoming = next(waiting, None)
    around: list[_Frozen] = []
    for row_id, file, row_no, phone in rows:
        around = [each for each in around if each.last_row_id >= row_id]
        while upcoming is not None and upcoming[0] <= row_id:
            around.append(upcoming[1])
            upcoming = next(waiting, None)
        found = [each.items[str(phone)] for each in around if each.last_row_id >= row_id and str(phone) in each.items]
        item = found[0] if len(found) == 1 else {"phone": str(phone)}
        yield TakenBack(row_id=row_id, file=file, row_no=row_no, phone=phone, item=item)


def _frozen(store: Store, import_id: int) -> Iterator[tuple[int, _Frozen]]:
    """The batches that were cut up, as they were first frozen, with the first row of their span."""
    batches = store.connection.execute(
        "SELECT b.first_row_id, b.last_row_id, d.body FROM batches b JOIN bodies d ON d.batch_id = b.id "
        "WHERE b.import_id = ? AND b.state = 'split' AND b.parent_id IS NULL ORDER BY b.first_row_id, b.id",
        [import_id],
    )
    for first_row_id, last_row_id, packed in batches:
        items = {item["phone"]: item for item in items_of(unpacked(packed))}
        yield first_row_id, _Frozen(last_row_id=last_row_id, items=items)
