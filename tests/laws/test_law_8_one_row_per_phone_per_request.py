"""Law 8 (with 2): rows that share a phone go to different requests, by a rule that knows nothing but the rows."""

from __future__ import annotations

from pathlib import Path

import polars as pl
from hypothesis import given
from hypothesis import strategies as st
from workbench import Bench, Platform, number, write_list

from importer.body import batch_body, items_of, phones_of
from importer.intake.cut import BODY_CAP_BYTES, cut


def rows_of(phones: list[int], pad: int = 0) -> pl.DataFrame:
    items = [f'{{"phone":"{phone}","payload":{{"n":"{place}{"x" * pad}"}}}}' for place, phone in enumerate(phones)]
    keys = [place.to_bytes(16) for place in range(len(phones))]
    schema = {"phone": pl.Int64, "row_key": pl.Binary, "item": pl.String}
    return pl.DataFrame({"phone": phones, "row_key": keys, "item": items}, schema=schema)


@given(st.lists(st.integers(1, 9), max_size=40), st.integers(1, 12))
def test_law_8_one_row_per_phone_per_request(phones: list[int], size: int) -> None:
    """No request has a phone twice or too many rows; every row is in just one place; the rest keeps its order."""
    made = cut(rows_of(phones), size, "seed")
    assert sorted(place for rows in made.members for place in rows) == list(range(len(phones)))
    for mine, batch in zip(made.members, made.batches, strict=True):
        items = items_of(batch.body_bytes)
        assert list(mine) == sorted(mine)
        assert phones_of(items) == [str(phones[place]) for place in mine]
        assert len(set(phones_of(items))) == len(items) == batch.size_rows <= size


@given(st.lists(st.integers(1, 9), max_size=40), st.integers(1, 12), st.integers(0, 5))
def test_law_2_batches_do_not_depend_on_where_a_chunk_ended(phones: list[int], size: int, blocks: int) -> None:
    """Whole blocks cut now and the rest later are the batches of all of it at once."""
    rows, at = rows_of(phones), min(blocks * size, len(phones))
    apart = [*cut(rows.head(at), size, "seed").batches, *cut(rows.slice(at), size, "seed").batches]
    assert apart == cut(rows, size, "seed").batches


def test_a_body_stays_under_the_cap_unless_one_row_alone_is_over_it() -> None:
    """A heavy batch is cut where the cap is passed; a row heavier than the cap goes alone."""
    made = cut(rows_of(list(range(1, 21)), pad=BODY_CAP_BYTES // 5), 20, "seed")
    assert all(len(batch.body_bytes) <= BODY_CAP_BYTES for batch in made.batches)
    assert [batch.size_rows for batch in made.batches] == [4] * 5
    giants = cut(rows_of([1, 2], pad=BODY_CAP_BYTES), 2, "seed")
    assert [batch.size_rows for batch in giants.batches] == [1, 1]


@given(st.lists(st.sampled_from([1, 2, 3, 4]), min_size=1, max_size=12), st.integers(-3, 3), st.booleans())
def test_law_2_where_the_cap_cuts_is_frozen(quarters: list[int], off: int, repeats: bool) -> None:
    """Ledgers of earlier versions hold batches cut by this very rule: another would be another request."""
    sizes = [quarter * BODY_CAP_BYTES // 4 + off for quarter in quarters]
    phones = [place // 2 if repeats else place for place in range(len(sizes))]
    schema = {"phone": pl.Int64, "row_key": pl.Binary, "item": pl.String}
    items = ["x" * size for size in sizes]
    keys = [place.to_bytes(16) for place in range(len(sizes))]
    made = cut(pl.DataFrame({"phone": phones, "row_key": keys, "item": items}, schema=schema), len(sizes), "seed")
    wanted = []
    for group in [range(len(sizes))] if not repeats else [range(nth, len(sizes), 2) for nth in (0, 1)]:
        wanted += [rows for rows in capped(group, sizes) if rows]
    assert [list(rows) for rows in made.members] == wanted
    assert [batch.body_bytes for batch in made.batches] == [batch_body(items[row] for row in rows) for rows in wanted]


def capped(group: range, sizes_bytes: list[int]) -> list[list[int]]:
    """Rows one by one, the first two bytes being the brackets; all of them where they fit with one bracket less."""
    if sum(sizes_bytes[row] + 1 for row in group) + 1 <= BODY_CAP_BYTES:
        return [list(group)]
    parts: list[list[int]] = [[]]
    size_bytes = 2
    for row in group:
        if size_bytes > 2 and size_bytes + sizes_bytes[row] + 1 > BODY_CAP_BYTES:
            parts.append([])
            size_bytes = 2
        parts[-1].append(row)
        size_bytes += sizes_bytes[row] + 1
    return parts


def test_law_8_holds_for_a_real_list(tmp_path: Path, bench: Bench, platform: Platform) -> None:
    """A platform that refuses a phone twice in an array has nothing to refuse."""
    rows = [{"phone": number(i % 3), "n": str(i)} for i in range(13)]
    report = bench.run(write_list(tmp_path / "a.csv", rows), in_flight=4)
    assert (report.exit_code, report.balance.accepted) == (0, 13)
    assert sorted(payload["n"] for payload in platform.payloads()) == sorted(str(i) for i in range(13))
