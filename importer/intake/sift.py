"""Sifting good rows: which are new, which repeat another, which were already here.

Floor: intake. A row is the same row when its key is (law 1); under `--once-per` its phone or the named cells decide:
a row with known identity and other content is `changed`: reported, never sent. The keys already in the ledger are
asked for once a chunk, sorted. Only rows that would be sent are then held against do-not-call lists and earlier calls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from importer.intake.plan import ONCE_PER_PHONE, ONCE_PER_ROW, Plan
from importer.ledger import IntakeBook
from importer.ledger.records import Held, Import

Skips = dict[str, list[pl.DataFrame]]
SKIP_COLUMNS = ("file_no", "row_no", "row_id")
NO_ROW = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Hygiene:
    """What holds good rows back. Both answer for numbers in E.164 without the plus.

    `suppressed` gives those that are on a do-not-call list; `recent` those called lately, each with the row it was.
    While `is_idle` both would find nothing, and are not asked.
    """

    is_idle: Callable[[], bool] = lambda: False
    suppressed: Callable[[Sequence[int]], set[int]] = lambda _: set()
    recent: Callable[[Sequence[int]], dict[int, int]] = lambda _: {}


@dataclass(frozen=True, kw_only=True, slots=True)
class Sifted:
    """A chunk's good rows, sorted out.

    **Shapes**: `fresh` has prepare's GOOD_SCHEMA, leftovers first; `skips` are SKIP_COLUMNS by reason, the row_id being
    that of the row repeated (negative: in a ledger only read; 0: none);
    `came_back` counts new rows whose phone was already accepted here with other content, with a few (row_id, item).
    """

    fresh: pl.DataFrame
    skips: dict[str, pl.DataFrame]
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
    packed = _claim_held(claims, asked, plan, books)
    taken = pl.concat([packed, _claimed(claims)])
    kept = _sort_out(taken, asked, an_import, skips)
    stands = taken.select(at=pl.col("at") + leftover_rows, row_id="row_id")  # of `first`, and what stands there instead
    held_back = _hold_back(_without(first, stands).slice(leftover_rows), hygiene, skips)
    stands = pl.concat([stands, held_back])
    fresh = _without(first, stands).drop("at")
    if others.height:
        _skip_others(others, _row_ids(first.height, stands, next_row_id), skips)
    came_back = _came_back(fresh.slice(leftover_rows), plan, an_import, books) if has_earlier else []
    return Sifted(
        fresh=fresh,
        skips={reason: pl.concat(frames) for reason, frames in skips.items() if frames},
        returning_row_ids=sorted(claims.returning),
        kept=kept,
        came_back_rows=len(came_back),
        came_back=came_back[:200],
    )


def _sort_out(taken: pl.DataFrame, asked: pl.DataFrame, an_import: Import, skips: Skips) -> list[tuple[int, int, int]]:
    """Notes why rows are not new; gives those that an edited list keeps."""
    if not taken.height:
        return []
    is_same = pl.col("row_key") == pl.col("own_key")
    is_mine = pl.col("import_id") == an_import.id
    rows = asked[taken["at"].cast(pl.Int64)].select("file_no", "row_no", own_key="row_key")
    told = (
        pl.concat([taken, rows], how="horizontal")
        .sort("at")
        .select(
            *SKIP_COLUMNS,
            why=pl.when(is_same & is_mine & (pl.col("revision") < an_import.revision))
            .then(pl.lit("kept"))
            .when(~is_same)
            .then(pl.lit("changed"))
            .otherwise(pl.when(is_mine).then(pl.lit("repeated")).otherwise(pl.lit("already"))),
        )
    )
    for (why,), frame in told.group_by("why", maintain_order=True):
        if why != "kept":
            skips[str(why)].append(frame.select(SKIP_COLUMNS))
    return told.filter(pl.col("why") == "kept").select("row_id", "file_no", "row_no").rows()


def _identity(plan: Plan) -> str:
    """The column that must differ between rows of one list."""
    if plan.once_per == ONCE_PER_PHONE:
        return "phone"
    return "identity" if plan.identity_columns else "row_key"


def marks_of(good: pl.DataFrame, plan: Plan) -> dict[str, pl.Series]:
    """By what a row is known as one that is there already: rows that share no mark are different rows.

    **Shapes**: Int64; of a key its first 8 bytes, so different rows may share one, if hardly ever.
    """
    names = ("identity", "row_key") if plan.identity_columns else ("row_key",)
    first = {name: pl.col(name).bin.slice(0, 8).bin.reinterpret(dtype=pl.Int64, endianness="little") for name in names}
    marks = good.select(**first).to_dict()
    return {**marks, "phone": good["phone"]} if plan.once_per == ONCE_PER_PHONE else marks


def _first_of_each(good: pl.DataFrame, plan: Plan) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The first row of each identity, and the others.

    **Shapes**: the others as `file_no`, `row_no`, `at` (the place of their first among the firsts), `is_changed`.
    """
    name = _identity(plan)
    mask = good[name].is_first_distinct()
    if mask.all():
        return good, good.clear()
    first = good.filter(mask)
    firsts = first.select(pl.col(name).alias("is"), first_key="row_key").with_row_index("at")
    others = (
        good.filter(~mask)
        .select("file_no", "row_no", "row_key", pl.col(name).alias("is"))
        .join(firsts, on="is", how="left", maintain_order="left", nulls_equal=True)
        .select("file_no", "row_no", "at", is_changed=pl.col("first_key") != pl.col("row_key"))
    )
    return first, others


def _row_ids(firsts: int, stands: pl.DataFrame, next_row_id: int) -> pl.DataFrame:
    """For each first row the id it will have, or that of the row that stands there instead: `at`, `row_id`."""
    places = pl.DataFrame({"at": pl.int_range(firsts, dtype=pl.UInt32, eager=True)})
    told = places.join(stands, on="at", how="left", maintain_order="left")
    is_new = pl.col("row_id").is_null()
    own_id = next_row_id - 1 + is_new.cast(pl.Int64).cum_sum()
    return told.select("at", row_id=pl.when(is_new).then(own_id).otherwise(pl.col("row_id")))


def _skip_others(others: pl.DataFrame, row_ids: pl.DataFrame, skips: Skips) -> None:
    """Notes the rows that repeat a first one, or change it."""
    told = others.join(row_ids, on="at", how="left", maintain_order="left")
    for reason, is_so in (("changed", pl.col("is_changed")), ("repeated", ~pl.col("is_changed"))):
        skips[reason].append(told.filter(is_so).select(SKIP_COLUMNS))


def _hold_back(fresh: pl.DataFrame, hygiene: Hygiene, skips: Skips) -> pl.DataFrame:
    """Notes the rows that may not be called, or not yet; gives their places, each with the row that stands there."""
    if hygiene.is_idle():
        return fresh.select("at", row_id=pl.lit(NO_ROW, dtype=pl.Int64)).clear()
    phones = fresh["phone"].sort().to_list()  # sorted, they are looked up faster
    suppressed = hygiene.suppressed(phones)
    recent = hygiene.recent([p for p in phones if p not in suppressed] if suppressed else phones)
    none = dict.fromkeys(suppressed, NO_ROW)
    held = {
        reason: fresh.join(_rows_by_phone(rows), on="phone", how="inner", maintain_order="left")
        for reason, rows in (("suppressed", none), ("recent", recent))
    }
    for reason, frame in held.items():
        skips[reason].append(frame.select(SKIP_COLUMNS))
    return pl.concat([frame.select("at", "row_id") for frame in held.values()])


def _rows_by_phone(rows: Mapping[int, int]) -> pl.DataFrame:
    return pl.DataFrame(
        {"phone": list(rows), "row_id": list(rows.values())}, schema={"phone": pl.Int64, "row_id": pl.Int64}
    )


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


_TAKEN = {"at": pl.UInt32, "row_id": pl.Int64, "import_id": pl.Int64, "revision": pl.Int64, "row_key": pl.Binary}


def _claimed(claims: _Claims) -> pl.DataFrame:
    """The strongest claims in columns."""
    rows = [(at, held.row_id, held.import_id, held.revision, held.row_key) for at, held in claims.strongest.items()]
    return pl.DataFrame(rows, schema=_TAKEN, orient="row")


def _claim_held(claims: _Claims, asked: pl.DataFrame, plan: Plan, books: Sequence[IntakeBook]) -> pl.DataFrame:
    """Claims by key, by identity and, under `--once-per phone`, by number.

    Gives the packed rows that stand for asked ones as columns; those of rows that others claim as well become claims.
    """
    found = [pl.DataFrame(schema=_TAKEN)]
    for book in books:
        if book.is_empty():
            continue
        for name in ("identity", "row_key") if plan.identity_columns else ("row_key",):
            _claim_apart(claims, asked[name], book)
            found.append(book.held_in_packs(asked[name]))
        if plan.once_per == ONCE_PER_PHONE:
            by_phone = {phone: row for row, phone in enumerate(asked["phone"])}
            for phone, held in book.held_phones(claims.an_import.campaign_id, claims.an_import.round, list(by_phone)):
                claims.add(by_phone[phone], held)
    packed = _strongest(pl.concat(found), asked)
    is_contested = pl.col("at").is_in(list(claims.strongest))
    for row in packed.filter(is_contested).iter_rows(named=True):
        claims.add(row.pop("at"), Held(identity=row["row_key"], is_thawed=False, **row))
    return packed.filter(~is_contested)


def _claim_apart(claims: _Claims, keys: pl.Series, book: IntakeBook) -> None:
    """Claims of rows that are kept one by one."""
    found = book.held_apart(keys)
    places = {key: at for at, key in enumerate(keys)} if found else {}
    for held in found:
        claims.add(places[held.identity], held)


def _strongest(found: pl.DataFrame, asked: pl.DataFrame) -> pl.DataFrame:
    """Of several rows that stand for one, an equal one."""
    if found["at"].is_unique().all():
        return found
    own = asked.select(own_key="row_key").with_row_index("at")
    is_other = pl.col("row_key") != pl.col("own_key")
    told = found.join(own, on="at", how="left", maintain_order="left").sort(is_other, maintain_order=True)
    return told.unique("at", keep="first", maintain_order=True).drop("own_key")


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


def _without(frame: pl.DataFrame, places: pl.DataFrame) -> pl.DataFrame:
    """The rows at other places, each with its place as `at`."""
    numbered = frame.with_row_index("at")
    return numbered.join(places, on="at", how="anti", maintain_order="left") if places.height else numbered


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
