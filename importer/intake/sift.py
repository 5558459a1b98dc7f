"""Sifting good rows: which are new, which repeat another, which were already here.

Floor: intake. A row is the same row when its key is (law 1); under `--once-per` its phone or the named cells decide:
a row with known identity and other content is `changed`: reported, never sent. The keys already in the ledger are
asked for once a chunk, sorted. Only rows that would be sent are then held against do-not-call lists and earlier calls.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import polars as pl

from importer.intake.plan import ONCE_PER_PHONE, ONCE_PER_ROW, Plan
from importer.ledger import IntakeBook
from importer.ledger.records import Held, Import

Skips = dict[str, list[tuple[int, int, int]]]
NO_ROW = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Hygiene:
    """What holds good rows back. Both answer for numbers in E.164 without the plus.

    `suppressed` gives those that are on a do-not-call list; `recent` those called lately, each with the row it was.
    """

    suppressed: Callable[[Sequence[int]], set[int]] = lambda _: set()
    recent: Callable[[Sequence[int]], dict[int, int]] = lambda _: {}


@dataclass(frozen=True, kw_only=True, slots=True)
class Sifted:
    """A chunk's good rows, sorted out.

    **Shapes**: `fresh` has prepare's GOOD_SCHEMA, leftovers first; `skips` are (file_no, row_no, row_id) by reason, the
    row_id being that of the row repeated (negative: in a ledger only read; 0: none);
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
    hygiene: Hygiene,
    *,
    next_row_id: int,
    has_earlier: bool,
) -> Sifted:
    """Sorts out `good`, whose first `leftover_rows` rows were found fresh before.

    **Shapes**: `books` is where rows may already be: the ledger, and for a dry check also a ledger that is only read;
    `next_row_id` is the id that the first fresh row will have, the others following in order.
    """
    skips: Skips = {"repeated": [], "already": [], "changed": [], "recent": [], "suppressed": []}
    first, others = _first_of_each(good, plan)
    asked = first.slice(leftover_rows)
    claims = _Claims(an_import, asked["row_key"])
    _claim_loose(claims, good.slice(leftover_rows), asked, plan, books[0])
    _claim_held(claims, asked, plan, books)
    kept = []
    stands_for: dict[int, int] = {}  # place in `first` -> the row that stands there instead
    for row, found in claims.strongest.items():
        file_no, row_no, key = asked.row(row)[0], asked.row(row)[1], asked["row_key"][row]
        stands_for[leftover_rows + row] = found.row_id
        if found.import_id == an_import.id and found.row_key == key and found.revision < an_import.revision:
            kept.append((found.row_id, file_no, row_no))
        else:
            skips[_why(found, key, an_import)].append((file_no, row_no, found.row_id))
    stands_for |= _hold_back(_without(first, stands_for).slice(leftover_rows), hygiene, skips)
    fresh = _without(first, stands_for).drop("at")
    if others.height:
        _skip_others(others, _row_ids(first.height, stands_for, next_row_id), skips)
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


def _identity(plan: Plan) -> str:
    """The column that must differ between rows of one list."""
    if plan.once_per == ONCE_PER_PHONE:
        return "phone"
    return "identity" if plan.identity_columns else "row_key"


def _first_of_each(good: pl.DataFrame, plan: Plan) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The first row of each identity, and the others.

    **Shapes**: the others as `file_no`, `row_no`, `at` (the place of their first among the firsts), `is_changed`.
    """
    name = _identity(plan)
    mask = good[name].is_first_distinct()
    first = good.filter(mask)
    firsts = first.select(pl.col(name).alias("is"), first_key="row_key").with_row_index("at")
    others = (
        good.filter(~mask)
        .select("file_no", "row_no", "row_key", pl.col(name).alias("is"))
        .join(firsts, on="is", how="left", maintain_order="left", nulls_equal=True)
        .select("file_no", "row_no", "at", is_changed=pl.col("first_key") != pl.col("row_key"))
    )
    return first, others


def _row_ids(firsts: int, stands_for: dict[int, int], next_row_id: int) -> list[int]:
    """For each first row the id it will have, or that of the row that stands there instead."""
    ids = []
    for at in range(firsts):
        ids.append(stands_for.get(at, next_row_id))
        next_row_id += at not in stands_for
    return ids


def _skip_others(others: pl.DataFrame, row_ids: Sequence[int], skips: Skips) -> None:
    """Notes the rows that repeat a first one, or change it."""
    for file_no, row_no, at, is_changed in others.iter_rows():
        skips["changed" if is_changed else "repeated"].append((file_no, row_no, row_ids[at]))


def _hold_back(fresh: pl.DataFrame, hygiene: Hygiene, skips: Skips) -> dict[int, int]:
    """Notes the rows that may not be called, or not yet; gives their places, each with the row that stands there."""
    phones = fresh["phone"].sort().to_list()  # sorted, they are looked up faster
    suppressed = hygiene.suppressed(phones)
    recent = dict.fromkeys(suppressed, NO_ROW) | hygiene.recent([p for p in phones if p not in suppressed])
    held = fresh.filter(pl.col("phone").is_in(list(recent))).select("at", "file_no", "row_no", "phone")
    for _, file_no, row_no, phone in held.iter_rows():
        skips["suppressed" if phone in suppressed else "recent"].append((file_no, row_no, recent[phone]))
    return {at: recent[phone] for at, phone in zip(held["at"], held["phone"], strict=True)}


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


def _without(frame: pl.DataFrame, places: Collection[int]) -> pl.DataFrame:
    """The rows at other places, each with its place as `at`."""
    numbered = frame.with_row_index("at")
    return numbered.filter(~pl.col("at").is_in(list(places))) if places else numbered


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
