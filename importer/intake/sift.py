"""Sifting good rows: which are new, which repeat another, which were already here.

Floor: intake. A row is the same row when its key is (law 1); under `--once-per` its phone or the named cells decide:
a row with known identity and other content is `changed`: reported, never sent. The keys already in the ledger are
asked for once a chunk, sorted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import polars as pl

from importer.intake.plan import ONCE_PER_PHONE, ONCE_PER_ROW, Plan
from importer.ledger import IntakeBook
from importer.ledger.records import Held, Import

Skips = dict[str, list[tuple[int, int, int]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sifted:
    """A chunk's good rows, sorted out.

    **Shapes**: `fresh` has prepare's GOOD_SCHEMA, leftovers first; `skips` are (file_no, row_no, row_id) by reason;
    `came_back` counts new rows whose phone was already accepted here with other content, with a few (row_id, item).
    """

    fresh: pl.DataFrame
    skips: Skips
    returning_row_ids: list[int]
    kept: list[tuple[int, int, int]]
    came_back_rows: int = 0
    came_back: list[tuple[int, str]] = field(default_factory=list)


def sift(
    good: pl.DataFrame,
    leftover_rows: int,
    plan: Plan,
    an_import: Import,
    books: Sequence[IntakeBook],
    *,
    has_earlier: bool,
) -> Sifted:
    """Sorts out `good`, whose first `leftover_rows` rows were found fresh before.

    **Shapes**: `books` is where rows may already be: the ledger, and for a dry check also a ledger that is only read.
    """
    skips: Skips = {"repeated": [], "already": [], "changed": []}
    first = _first_of_each(good, plan, skips)
    asked = first.slice(leftover_rows)
    claims = _Claims(an_import, asked["row_key"])
    _claim_loose(claims, good.slice(leftover_rows), asked, plan, books[0])
    _claim_held(claims, asked, plan, books)
    kept, gone = [], []
    for row, found in claims.strongest.items():
        file_no, row_no, key = asked.row(row)[0], asked.row(row)[1], asked["row_key"][row]
        gone.append(row)
        if found.import_id == an_import.id and found.row_key == key and found.revision < an_import.revision:
            kept.append((found.row_id, file_no, row_no))
        else:
            skips[_why(found, key, an_import)].append((file_no, row_no, found.row_id))
    fresh = _without(first, [leftover_rows + row for row in gone])
    came_back = _came_back(fresh.slice(leftover_rows), plan, an_import, books) if has_earlier else []
    return Sifted(
        fresh=fresh,
        skips=skips,
        returning_row_ids=sorted(claims.returning),
        kept=kept,
        came_back_rows=len(came_back),
        came_back=came_back[:200],
    )


def _why(found: Held, row_key: bytes, an_import: Import) -> str:
    if found.row_key != row_key:
        return "changed"
    return "repeated" if found.import_id == an_import.id else "already"


def _identity(plan: Plan) -> list[str]:
    """The columns that must differ between rows of one list."""
    if plan.once_per == ONCE_PER_PHONE:
        return ["phone"]
    return ["identity"] if plan.identity_columns else ["row_key"]


def _first_of_each(good: pl.DataFrame, plan: Plan, skips: Skips) -> pl.DataFrame:
    """The first row of each identity; the others are noted as repeats, or as changed where their content differs."""
    names = _identity(plan)
    is_first = good.select(pl.struct(names).is_first_distinct()).to_series() if len(names) > 1 else None
    mask = good[names[0]].is_first_distinct() if is_first is None else is_first
    if not mask.all():
        firsts = good.filter(mask).select(*names, first_key="row_key") if names != ["row_key"] else None
        others = good.filter(~mask)
        if firsts is None:
            changed = pl.repeat(value=False, n=others.height, eager=True)
        else:
            joined = others.join(firsts, on=names, how="left", maintain_order="left", nulls_equal=True)
            changed = joined["first_key"] != joined["row_key"]
        for file_no, row_no, is_changed in zip(others["file_no"], others["row_no"], changed, strict=True):
            skips["changed" if is_changed else "repeated"].append((file_no, row_no, 0))
    return good.filter(mask)


class _Claims:
    """For each asked row (by index) the row that already stands for it, the strongest claim where several do.

    Rows of this very import that wait for nothing, thawed or withdrawn, claim nothing: the list names them again, so
    they are put back (`returning`) and its row takes their place.
    """

    def __init__(self, an_import: Import, row_keys: pl.Series) -> None:
        self.an_import = an_import
        self._row_keys = row_keys
        self.strongest: dict[int, Held] = {}
        self.returning: set[int] = set()

    def add(self, row: int, held: Held) -> None:
        """Notes that `held` stands for an asked row; of two, an equal row is the stronger."""
        if held.is_thawed and held.import_id == self.an_import.id:
            self.returning.add(held.row_id)
        elif row not in self.strongest or self._weakness(row, held) < self._weakness(row, self.strongest[row]):
            self.strongest[row] = held

    def _weakness(self, row: int, held: Held) -> tuple[bool, bool]:
        return held.is_thawed, held.row_key != self._row_keys[row]


def _claim_held(claims: _Claims, asked: pl.DataFrame, plan: Plan, books: Sequence[IntakeBook]) -> None:
    """Claims by key, by identity and, under `--once-per phone`, by number."""
    by_key = {key: row for row, key in enumerate(asked["row_key"])}
    by_identity = {key: row for row, key in enumerate(asked["identity"]) if key is not None}
    by_phone = {phone: row for row, phone in enumerate(asked["phone"])} if plan.once_per == ONCE_PER_PHONE else {}
    for book in books:
        if book.is_empty():
            continue
        for held in book.held([*by_identity, *by_key]):
            row = by_key.get(held.identity)
            claims.add(by_identity[held.identity] if row is None else row, held)
        if by_phone:
            for phone, held in book.held_phones(claims.an_import.campaign_id, claims.an_import.round, list(by_phone)):
                claims.add(by_phone[phone], held)


def _claim_loose(claims: _Claims, good: pl.DataFrame, asked: pl.DataFrame, plan: Plan, book: IntakeBook) -> None:
    """Claims of rows of this import that hold no key any more, when its edited list is read.

    One withdrawn and named again is put back; one the platform declined stays declined, while its import lasts.
    """
    if claims.an_import.revision == 1:
        return
    by_key = {key: row for row, key in enumerate(asked["row_key"])}
    named = set(good["row_key"])
    for loose in book.loose_rows(claims.an_import, good["phone"].unique().to_list()):
        if loose.is_withdrawn and (loose.row_key in named or plan.once_per == ONCE_PER_PHONE):
            claims.returning.add(loose.row_id)
        elif not loose.is_withdrawn and loose.row_key in by_key:
            claims.add(by_key[loose.row_key], loose.as_held(claims.an_import.id))


def _without(frame: pl.DataFrame, rows: list[int]) -> pl.DataFrame:
    if not rows:
        return frame
    return frame.with_row_index("at").filter(~pl.col("at").is_in(rows)).drop("at")


def _came_back(
    fresh: pl.DataFrame, plan: Plan, an_import: Import, books: Sequence[IntakeBook]
) -> list[tuple[int, str]]:
    """New rows whose phone an earlier import of this campaign and round already holds: (row_id there, item here)."""
    if plan.once_per != ONCE_PER_ROW:
        return []
    items = dict(zip(fresh["phone"], fresh["item"], strict=True))
    return [
        (held.row_id, items[phone])
        for book in books
        for phone, held in book.held_phones(an_import.campaign_id, an_import.round, list(items))
        if not held.is_thawed and (held.import_id != an_import.id or held.revision < an_import.revision)
    ]
