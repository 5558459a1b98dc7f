"""The key recipe, pinned for ever: users' ledgers hold its results.

The vectors below were made once and are never made anew: a change that moves one is a new recipe with a new version.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from importer import keys
from importer.body import batch_body, item_column, item_texts, items_of

SEED = "00112233445566778899aabbccddeeff" * 2
PHONE = "+12015550123"

text = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=12)
fields = st.dictionaries(text, st.none() | text, max_size=4)


# --- golden vectors ---------------------------------------------------------------------------------------------------


def test_golden_seed_and_fingerprint() -> None:
    """scrypt over the token, salted with version and origin."""
    seed = keys.campaign_seed("8231.7056.b131df1", "https://app.jaicp.com")
    assert seed == "56b2a5300fd5149076dfcc0ab8780cc385c51b47e44841cfbbbb6dd443699334"
    assert keys.campaign_fingerprint(seed).hex() == "3022754daf2240fe1165a69f8271ba44ecbbafee2bc18718877c71af23c737ae"
    assert keys.campaign_seed("8231.7056.b131df1", "https://app.aimylogic.com") != seed
    assert keys.campaign_seed("8231.7056.b131df2", "https://app.jaicp.com") != seed


GOLDEN_ROWS = [
    (("", PHONE, {}, {}), "8e28f18d-79b8-8b16-8f85-af00de301bb6"),
    (("", PHONE, {"name": "Ann"}, {}), "cf9d49df-f939-8937-8500-191136789a11"),
    (("", PHONE, {"name": ""}, {}), "4d68fc96-522d-8670-952d-1e4a5a96656b"),
    (("2026-11-23", PHONE, {"name": "Ann"}, {}), "27140d71-f5e2-89e2-adb8-8477f1a74e21"),
    (("", PHONE, {"имя": "Анна", "b": "2", "a": "1"}, {}), "ba88d1e8-976b-80a8-af0d-0923a1d31778"),
    (
        ("", PHONE, {"name": "Ann"}, {"maxAttempts": "3", "gmtZone": '"Europe/Paris"'}),
        "38cddcac-fdf9-8e84-9217-15c3ce013ac3",
    ),
    (("", PHONE, {"maxAttempts": "3"}, {}), "798cfaa8-fcfa-8d0c-b5a9-1e0d98c1a17c"),
]


def test_golden_row_keys() -> None:
    """Round, phone, payload and policy, as UUIDs of version 8."""
    for (round_name, phone, payload, policy), wanted in GOLDEN_ROWS:
        assert keys.as_uuid(keys.row_key(SEED, round_name, phone, payload, policy)) == wanted
        assert uuid.UUID(wanted).version == 8
        assert uuid.UUID(wanted).variant == uuid.RFC_4122


def test_golden_request_keys() -> None:
    """One row of the first generation is its own row key; anything else is derived from ordered row keys."""
    one, two = bytes(range(16)), bytes(range(16, 32))
    assert keys.request_key(SEED, 0, [one]) == "00010203-0405-0607-0809-0a0b0c0d0e0f"
    assert keys.request_key(SEED, 0, [one, two]) == "7f69741d-6561-8811-a390-779f6764775b"
    assert keys.request_key(SEED, 0, [two, one]) == "319497aa-5dab-8d1b-8e4f-f40ed2afa817"
    assert keys.request_key(SEED, 1, [one, two]) == "8367b078-8949-81c6-93af-2c89befaa76d"
    assert keys.request_key(SEED, 1, [one]) == "a33ede5b-a9aa-841f-a804-9bbc39782e5d"


def test_golden_identities() -> None:
    """Under --once-per COLUMN the named cells and the round alone count."""
    frame = pl.DataFrame({"id": ["7", "7", None, ""], "b": ["x", None, "x", "x"]})
    found = frame.select(keys.identity_column(SEED, "r", {"id": pl.col("id"), "b": pl.col("b")})).to_series()
    assert [key.hex() for key in found] == [
        "404f75c011a3828682b53d6abca86828",
        "518bc50dee028c52af80401189b65972",
        "7cd7d873b1b884b8b31938d9c96b1a7c",
        "56e26e75f3b4850aba7fdee801dfed08",
    ]


def test_golden_source_fingerprint() -> None:
    """Over the files' digests, in order."""
    parts = [hashlib.sha256(b"one").digest(), hashlib.sha256(b"two").digest()]
    assert keys.source_fingerprint(parts) == "b89ca7b0c7b6ca0544b3b332a134ba76af75d5e2a5bf8e56fcfc50c00ef2ffd5"
    assert keys.source_fingerprint(parts[::-1]) != keys.source_fingerprint(parts)


def test_the_recipe_is_what_the_documentation_says() -> None:
    """The key, made again by hand with nothing of ours: an HMAC of netstrings, cut and marked."""

    def net(value: bytes) -> bytes:
        return str(len(value)).encode() + b":" + value + b","

    payload = net(net(b"a") + b"s" + net(b"1") + net(b"b") + b"s" + net(b"2"))
    message = net(b"importer.row.1") + net(b"round") + net(PHONE.encode()) + payload + net(b"")
    digest = bytearray(hmac.new(SEED.encode(), message, "sha256").digest()[:16])
    digest[6], digest[8] = digest[6] & 0x0F | 0x80, digest[8] & 0x3F | 0x80
    assert keys.row_key(SEED, "round", PHONE, {"b": "2", "a": "1"}, {}) == bytes(digest)


# --- properties -------------------------------------------------------------------------------------------------------


def column_keys(round_name: str, rows: list[dict[str, str | None]], policies: list[str | None]) -> list[bytes]:
    names = sorted({name for row in rows for name in row})
    frame = pl.DataFrame(
        {f"p{i}": [row.get(name) for row in rows] for i, name in enumerate(names)} | {"policy": policies},
        schema={f"p{i}": pl.String for i in range(len(names))} | {"policy": pl.String},
    )
    payload = {name: pl.col(f"p{i}") for i, name in enumerate(names)}
    made = keys.row_key_column(SEED, round_name, pl.lit(PHONE), payload, {"maxAttempts": pl.col("policy")})
    return frame.select(made).to_series().to_list()


@settings(max_examples=60, deadline=None)
@given(text, st.lists(st.tuples(fields, st.none() | st.sampled_from(["1", "50"])), min_size=1, max_size=5))
def test_law_1_the_column_recipe_equals_the_scalar_one(
    round_name: str, rows: list[tuple[dict[str, str | None], str | None]]
) -> None:
    """At column speed or one by one: the same bytes, whatever stands in the cells."""
    found = column_keys(round_name, [payload for payload, _ in rows], [policy for _, policy in rows])
    for key, (payload, policy) in zip(found, rows, strict=True):
        present = {name: value for name, value in payload.items() if value is not None}
        rules = {} if policy is None else {"maxAttempts": policy}
        assert key == keys.row_key(SEED, round_name, PHONE, present, rules)


@settings(max_examples=60, deadline=None)
@given(text, st.lists(text, min_size=1, max_size=4, unique=True), st.data())
def test_law_1_a_chunk_without_a_missing_cell_is_keyed_and_written_as_any_other(
    round_name: str, names: list[str], data: st.DataObject
) -> None:
    """The fast way of plain text gives the bytes of the slow one, whether fields are named or typed."""
    rows = data.draw(st.lists(st.lists(text, min_size=len(names), max_size=len(names)), min_size=1, max_size=4))
    columns = [f"p{place}" for place in range(len(names))]
    frame = pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String), orient="row")
    payload = {name: pl.col(column) for name, column in zip(names, columns, strict=True)}
    typed = [(name, keys.TEXT, value) for name, value in payload.items()]
    fast = frame.select(
        key=keys.row_key_column(SEED, round_name, pl.lit(PHONE), {}, {}, typed),
        named=keys.row_key_column(SEED, round_name, pl.lit(PHONE), payload, {}),
        item=item_column(pl.lit(PHONE), {}, {}, typed),
    )
    items = pl.concat([frame, frame.clear(1)]).select(item_column(pl.lit(PHONE), {}, {}, typed))  # a null: the slow way
    wanted = [keys.row_key(SEED, round_name, PHONE, dict(zip(names, row, strict=True)), {}) for row in rows]
    assert fast["key"].to_list() == fast["named"].to_list() == wanted
    assert fast["item"].to_list() == items.to_series().to_list()[:-1]


@pytest.mark.parametrize("sizes", [[0], [7, 7, 7], [9, 10], [0, 9, 10, 99, 100], [4_095, 4_096], [5_000, 5_000, 3]])
def test_law_1_cells_of_any_length_are_keyed_as_one_by_one(sizes: list[int]) -> None:
    """Lengths are spelled once where all are alike, taken from a table where they are usual, else spelled each."""
    frame = pl.DataFrame({"a": ["x" * size for size in sizes], "b": ["é" * (size // 2) for size in sizes]})
    made = frame.select(keys.row_key_column(SEED, "", pl.lit(PHONE), {name: pl.col(name) for name in "ab"}, {}))
    assert made.to_series().to_list() == [keys.row_key(SEED, "", PHONE, row, {}) for row in frame.iter_rows(named=True)]
    empty = frame.clear().select(keys.row_key_column(SEED, "", pl.col("a"), {"b": pl.col("b")}, {}))
    assert empty.height == 0


@settings(max_examples=100)
@given(
    st.lists(
        st.tuples(text, st.dictionaries(text, text, max_size=3), st.dictionaries(text, text, max_size=2)),
        min_size=2,
        max_size=2,
    )
)
def test_law_1_other_content_has_another_key(rows: list[tuple[str, dict[str, str], dict[str, str]]]) -> None:
    """Two rows share a key exactly when round, payload and policy are equal; no cell can spell another field."""
    (one, two), contents = [keys.row_key(SEED, r, PHONE, p, q) for r, p, q in rows], rows
    assert (one == two) == (contents[0] == contents[1])


@given(st.permutations(["a", "b", "name", "ÿ", "Z"]))
def test_law_1_the_order_of_payload_keys_does_not_matter(order: list[str]) -> None:
    """Neither for the key nor for the bytes that are sent."""
    frame = pl.DataFrame({name: [name.upper()] for name in order})
    payload = {name: pl.col(name) for name in order}
    made = frame.select(
        key=keys.row_key_column(SEED, "", pl.lit(PHONE), payload, {}), item=item_column(pl.lit(PHONE), payload, {})
    )
    straight = {name: pl.col(name) for name in sorted(order)}
    assert made.equals(
        frame.select(
            key=keys.row_key_column(SEED, "", pl.lit(PHONE), straight, {}),
            item=item_column(pl.lit(PHONE), straight, {}),
        )
    )


def test_law_1_an_absent_field_is_not_an_empty_one() -> None:
    """Nor a field of policy one of payload, nor a value moved from one field to the next."""
    contents: list[tuple[dict[str, str], dict[str, str]]] = [
        ({}, {}), ({"a": ""}, {}), ({}, {"a": ""}), ({"a": "b"}, {}), ({"ab": ""}, {}), ({"a": "", "b": ""}, {}),
    ]  # fmt: skip
    assert len({keys.row_key(SEED, "", PHONE, *content) for content in contents}) == len(contents)


@settings(max_examples=60, deadline=None)
@given(st.lists(fields, min_size=1, max_size=4))
def test_the_bytes_of_a_request_are_json_and_can_be_cut_again(rows: list[dict[str, str | None]]) -> None:
    """Each row's object carries its cells unchanged; cutting a body gives back the very texts it was made of."""
    names = sorted({name for row in rows for name in row})
    frame = pl.DataFrame(
        {f"p{i}": [row.get(name) for row in rows] for i, name in enumerate(names)} | {"phone": [PHONE] * len(rows)},
        schema={f"p{i}": pl.String for i in range(len(names))} | {"phone": pl.String},
    )
    made = item_column(
        pl.col("phone"), {name: pl.col(f"p{i}") for i, name in enumerate(names)}, {"maxAttempts": pl.lit("3")}
    )
    items = frame.select(made).to_series().to_list()
    body = batch_body(items)
    assert item_texts(body) == items
    for row, item in zip(rows, items_of(body), strict=True):
        present = {name: value for name, value in row.items() if value is not None}
        wanted = {"phone": PHONE[1:], "maxAttempts": 3} | ({"payload": present} if present else {})
        assert item == wanted
    assert json.loads(body) == items_of(body)


CELLS = st.one_of(
    st.none(), st.text(max_size=6), st.sampled_from(["plain", 'a "quote"', "back\\slash", "tab\t", "é\x7f{}"])
)


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=4))
def test_an_item_is_the_same_whether_any_cell_beside_it_needs_escaping(
    rows: list[tuple[str | None, str | None]],
) -> None:
    """Columns without anything to escape are written in one go: byte for byte what each row is by itself."""
    frame = pl.DataFrame(rows, schema={'b"': pl.String, "a": pl.String}, orient="row")
    payload = {name: pl.col(name) for name in frame.columns}
    made = frame.select(item=item_column(pl.lit(PHONE), payload, {}))["item"]
    alone = [frame[at].select(item=item_column(pl.lit(PHONE), payload, {}))["item"][0] for at in range(frame.height)]
    assert made.to_list() == alone
    for text, (first, second) in zip(made, rows, strict=True):
        fields = {name: cell for name, cell in (("a", second), ('b"', first)) if cell is not None}
        assert json.loads(text) == {"phone": PHONE[1:], **({"payload": fields} if fields else {})}
