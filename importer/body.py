"""The exact bytes of a request: one JSON object a row, one array a batch.

Floor: pure. Fields stand in a fixed order (payload keys by code point), because the same row must give the same bytes
whatever order its columns came in: the platform promises nothing for one key with two contents.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from importer.columns import framed, texts_of

if TYPE_CHECKING:
    import polars as pl

_FIRST_PLAIN = 0x20  # what is below is escaped in JSON, besides quotes and backslashes


def item_column(
    phone: pl.Expr,
    payload: dict[str, pl.Expr],
    policy: dict[str, pl.Expr],
    typed: Sequence[tuple[str, str, pl.Expr]] = (),
) -> pl.Expr:
    """Each row's JSON object as text.

    **Shapes**: `phone` in E.164 with its plus (sent without); `payload` text cells; `policy` JSON texts; `typed` more
    payload fields as (name, type letter, value), the letters and values being those of `keys`. A null is an absent
    field. A row without any payload field carries no `payload`.
    """
    import polars as pl

    texts = texts_of(payload, typed)
    if texts and not policy:
        return pl.map_batches([phone, *texts.values()], lambda cells: _items(cells, list(texts)), pl.String)
    return _item_expr(phone, payload, policy, typed)


def _items(cells: Sequence[pl.Series], names: Sequence[str]) -> pl.Series:
    """The objects of rows whose payload is text: written as it stands where no cell is missing or needs escaping."""
    frame, (phone, *values) = framed(cells)
    fields = dict(zip(names, values, strict=True))
    is_plain = not any(cell.null_count() or _has_escapes(cell) for cell in cells)
    made = _plain_expr(phone, fields) if is_plain else _item_expr(phone, fields, {}, ())
    return frame.select(made).to_series()


def _has_escapes(cell: pl.Series) -> bool:
    """Whether anything in a column needs escaping: asked of all cells as one text, which is quicker than of each."""
    import numpy as np
    import polars as pl

    text = bytes(cell.str.join("").cast(pl.Binary).item() or b"")
    return b'"' in text or b"\\" in text or bool((np.frombuffer(text, np.uint8) < _FIRST_PLAIN).any())


def _plain_expr(phone: pl.Expr, payload: dict[str, pl.Expr]) -> pl.Expr:
    import polars as pl

    pieces: list[pl.Expr] = [pl.lit('{"phone":"'), phone.str.strip_prefix("+")]
    before = '","payload":{'
    for name, value in sorted(payload.items()):
        pieces += [pl.lit(f'{before}{json.dumps(name, ensure_ascii=False)}:"'), value]
        before = '",'
    return pl.concat_str(*pieces, pl.lit('"}}'))


def _item_expr(
    phone: pl.Expr,
    payload: dict[str, pl.Expr],
    policy: dict[str, pl.Expr],
    typed: Sequence[tuple[str, str, pl.Expr]],
) -> pl.Expr:
    """The object of any row, piece by piece."""
    import polars as pl

    members: list[pl.Expr] = [pl.concat_str(pl.lit('"phone":"'), phone.str.strip_prefix("+"), pl.lit('"'))]
    if payload or typed:
        fields = [*((name, "s", value) for name, value in payload.items()), *typed]
        inner = pl.concat_str(
            [member(*field) for field in sorted(fields, key=lambda field: field[:2])], separator=",", ignore_nulls=True
        )
        members.append(pl.when(inner != "").then(pl.concat_str(pl.lit('"payload":{'), inner, pl.lit("}"))))
    members += [pl.concat_str(pl.lit(json.dumps(name) + ":"), value) for name, value in sorted(policy.items())]
    return pl.concat_str(pl.lit("{"), pl.concat_str(members, separator=",", ignore_nulls=True), pl.lit("}"))


def member(name: str, tag: str, value: pl.Expr) -> pl.Expr:
    """`"name":value` as JSON by the value's type letter, null where the value is null."""
    import polars as pl

    if tag == "s":
        return _text_member(name, value)
    written = pl.when(value.is_not_null()).then(pl.lit("null")) if tag == "z" else value
    return pl.concat_str(pl.lit(json.dumps(name, ensure_ascii=False) + ":"), written)


def _text_member(name: str, value: pl.Expr) -> pl.Expr:
    """`"name":"value"` escaped as JSON, null where the cell is null.

    polars has no JSON string function; encoding a struct of one field and cutting its braces off escapes alike.
    """
    import polars as pl

    encoded = pl.struct(value.alias(name)).struct.json_encode()
    return pl.when(value.is_not_null()).then(encoded.str.strip_prefix("{").str.strip_suffix("}"))


def batch_body(items: Iterable[str]) -> bytes:
    """The array of a batch: UTF-8, no spaces."""
    return ("[" + ",".join(items) + "]").encode()


def items_of(body: bytes) -> list[dict[str, Any]]:
    """The objects of a frozen body, for showing and for splitting; the bytes themselves are what is sent."""
    found = json.loads(body)
    return list(found)


def item_texts(body: bytes) -> list[str]:
    """Each object's own text, cut from a frozen body without rewriting it, so that halves keep their rows' bytes."""
    text, decoder = body.decode(), json.JSONDecoder()
    place, texts = 1, []
    while place < len(text) - 1:
        _, end = decoder.raw_decode(text, place)
        texts.append(text[place:end])
        place = end + 1
    return texts


def phones_of(items: Sequence[dict[str, Any]]) -> list[str]:
    """The phones of a batch, in order, as sent."""
    return [str(item["phone"]) for item in items]
