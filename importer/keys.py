"""Keys: which row is the same row, and which request is the same request (laws 1 and 2).

Floor: pure. A key is an HMAC-SHA256 under the campaign's seed, cut to 16 bytes and marked as a UUID of version 8.
A bare hash would not do: phone numbers are few enough to try them all, and keys travel in headers that proxies log.
Every message is made of netstrings (`5:hello,`), so no two different contents can spell the same message, and no
JSON library, float format or column order can change one. **The recipe below is frozen**: users' ledgers hold its
results; a new one gets a new version word and stands beside it. Golden vectors in tests/test_keys.py pin it.

A payload field is its name, one letter for its type, and its value: `s` text as it stands; and, since a mapping can
give values types, `n` a number in plain decimal without needless zeros or signs, `b` `true` or `false`, `z` null with
an empty value, `j` canonical JSON (keys sorted, no spaces, numbers as written). So `"5"`, `5` and null are three
contents, and rows of text have the keys they always had.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from importer.columns import TEXT, framed, texts_of
from importer.keyruns import KEY_BYTES, column_of

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "JSON",
    "KEY_BYTES",
    "NULL",
    "NUMBER",
    "RECIPE",
    "as_uuid",
    "campaign_fingerprint",
    "campaign_seed",
    "identity_column",
    "netstring",
    "request_key",
    "row_key",
    "row_key_column",
    "source_fingerprint",
    "stand_in",
    "stand_in_column",
]

RECIPE = 1
NUMBER, BOOLEAN, NULL, JSON = "nbzj"  # the types of a payload field besides TEXT

_SEED_WORD = b"importer.seed.1"
_ROW_WORD = "importer.row.1"
_IDENTITY_WORD = "importer.identity.1"
_REQUEST_WORD = b"importer.request.1"
_FINGERPRINT_WORD = b"importer.fingerprint.1"
_NUMBER_WORD = b"17:importer.number.1,"


def campaign_seed(token: str, origin: str) -> str:
    """The secret all keys of a campaign are made under: 64 lower-case hex digits.

    scrypt, because a token is short enough to be guessed from keys seen in a log if guessing were cheap (0.08 s each).
    **Units**: n = 2^15, r = 8, p = 1, 32 MiB. `origin` is lower-case and without a default port.
    """
    salt = _SEED_WORD + origin.encode()
    made = hashlib.scrypt(token.encode(), salt=salt, n=2**15, r=8, p=1, maxmem=2**26, dklen=32)
    return made.hex()


def campaign_fingerprint(seed: str) -> bytes:
    """What the ledger keeps to know a campaign's token again without holding it (32 bytes).

    Made from the token's seed, not from the token, so that it is as costly to guess.
    """
    return hmac.new(seed.encode(), _FINGERPRINT_WORD, hashlib.sha256).digest()


def netstring(value: bytes) -> bytes:
    """The value with its length in front and a comma behind: `5:hello,`.

    **Source**: D. J. Bernstein, Netstrings (1997).
    """
    return b"%d:%s," % (len(value), value)


def request_key(seed: str, generation: int, row_keys: Sequence[bytes]) -> str:
    """The Idempotence-Key of a batch, as a UUID.

    A first-generation batch of one row uses the row key itself, so that the API deduplicates row by row;
    otherwise an HMAC of the generation and the ordered row keys.
    """
    if len(row_keys) == 1 and generation == 0:
        return as_uuid(row_keys[0])
    message = netstring(_REQUEST_WORD) + netstring(str(generation).encode()) + _netstrings(row_keys)
    return as_uuid(_cut(hmac.new(seed.encode(), message, hashlib.sha256).digest()))


def _netstrings(row_keys: Sequence[bytes]) -> bytes:
    """The netstring of each, one after another; at once where all are as long as keys are."""
    if row_keys and set(map(len, row_keys)) == {KEY_BYTES}:
        head = b"%d:" % KEY_BYTES
        return head + (b"," + head).join(row_keys) + b","
    return b"".join(map(netstring, row_keys))


def _cut(digest: bytes) -> bytes:
    """The first 16 bytes with the UUID's version (8) and variant bits set. **Source**: RFC 9562, section 5.8."""
    cut = bytearray(digest[:KEY_BYTES])
    cut[6] = (cut[6] & 0x0F) | 0x80
    cut[8] = (cut[8] & 0x3F) | 0x80
    return bytes(cut)


def as_uuid(key: bytes) -> str:
    """The 16 bytes in the usual 8-4-4-4-12 form."""
    text = key.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def row_key(
    seed: str,
    row_round: str,
    phone: str,
    payload: dict[str, str],
    policy: dict[str, str],
    typed: Sequence[tuple[str, str, str]] = (),
) -> bytes:
    """One row's key from plain values: the reference that `row_key_column` must equal, row by row.

    **Shapes**: `phone` in E.164 with its plus; `payload` text values, absent fields left out; `policy` JSON texts;
    `typed` more payload fields as (name, type letter, value).
    **Law** `test_law_1_same_row_same_key`.
    """
    message = b"".join(
        (
            netstring(_ROW_WORD.encode()),
            netstring(row_round.encode()),
            netstring(phone.encode()),
            netstring(b"".join(_field(*field) for field in sorted([*_text_fields(payload), *typed]))),
            netstring(b"".join(_field(*field) for field in sorted(_text_fields(policy)))),
        )
    )
    return _cut(hmac.new(seed.encode(), message, hashlib.sha256).digest())


def _text_fields(fields: dict[str, str]) -> list[tuple[str, str, str]]:
    return [(name, TEXT, value) for name, value in fields.items()]


def _field(name: str, tag: str, value: str) -> bytes:
    return netstring(name.encode()) + tag.encode() + netstring(value.encode())


def row_key_column(
    seed: str,
    row_round: str,
    phone: pl.Expr,
    payload: dict[str, pl.Expr],
    policy: dict[str, pl.Expr],
    typed: Sequence[tuple[str, str, pl.Expr]] = (),
) -> pl.Expr:
    """The row keys of a column, as 16-byte Binary; a null cell is an absent field, an empty one is not.

    **Shapes**: `typed` as for `row_key`; a name may stand there several times, with at most one value in a row.
    """
    import polars as pl

    texts = texts_of(payload, typed)
    if texts and not policy:
        columns = [phone, *texts.values()]
        return _hmac_column(seed, pl.map_batches(columns, lambda cells: _messages(row_round, cells, texts), pl.String))
    return _hmac_column(seed, _message_expr(row_round, phone, payload, policy, typed))


def _message_expr(
    row_round: str,
    phone: pl.Expr,
    payload: dict[str, pl.Expr],
    policy: dict[str, pl.Expr],
    typed: Sequence[tuple[str, str, pl.Expr]],
) -> pl.Expr:
    """What is hashed of any row."""
    import polars as pl

    return pl.concat_str(
        pl.lit(_text_netstring(_ROW_WORD) + _text_netstring(row_round)),
        _netstring_expr(phone),
        _netstring_of_made(_fields_expr(payload, typed)) if payload or typed else pl.lit(_text_netstring("")),
        _netstring_of_made(_fields_expr(policy)) if policy else pl.lit(_text_netstring("")),
    )


def _messages(row_round: str, cells: Sequence[pl.Series], names: Iterable[str]) -> pl.Series:
    """What is hashed of rows whose payload is text: put together in one go where no cell is missing."""
    frame, (phone, *values) = framed(cells)
    texts = dict(zip(names, values, strict=True))
    if any(cell.null_count() for cell in cells):
        return frame.select(_message_expr(row_round, phone, texts, {}, ())).to_series()
    sizes_bytes = [cell.str.len_bytes() for cell in frame.iter_columns()]
    return frame.select(_whole_message(row_round, phone, texts, sizes_bytes)).to_series()


def _whole_message(
    row_round: str, phone: pl.Expr, texts: dict[str, pl.Expr], sizes_bytes: Sequence[pl.Series]
) -> pl.Expr:
    """`_message_expr` of rows without policy in which every field is there; the length of all is reckoned, not made.

    **Shapes**: `sizes_bytes` are those of the phones, then of the texts in their order.
    """
    phone_size, *text_sizes = map(_spelled, sizes_bytes)
    fixed_bytes = sum(len((_text_netstring(name) + TEXT + ":,").encode()) for name in texts)
    all_bytes: Any = fixed_bytes
    for size, spelled in zip(sizes_bytes[1:], text_sizes, strict=True):
        all_bytes = all_bytes + size + _digits(spelled)
    head = _text_netstring(_ROW_WORD) + _text_netstring(row_round)
    pieces = [head, phone_size, ":", phone, ",", _spelled(all_bytes)]
    before = ":"
    for name, spelled in sorted(zip(texts, text_sizes, strict=True), key=lambda field: field[0]):
        pieces += [before + _text_netstring(name) + TEXT, spelled, ":", texts[name]]
        before = ","
    return _concatenated([*pieces, ",," + _text_netstring("")])


def _spelled(counts: pl.Series) -> str | pl.Series:
    """Counts as text: one text where all are alike, as they are for cells of one length."""
    import polars as pl

    least, most = counts.min(), counts.max()
    if least == most:
        return str(most or 0)
    numerals = _numerals()
    return numerals.gather(counts) if most < len(numerals) else counts.cast(pl.String)  # type: ignore[operator]


def _digits(spelled: str | pl.Series) -> int | pl.Series:
    return len(spelled) if isinstance(spelled, str) else spelled.str.len_bytes()


@cache
def _numerals() -> pl.Series:
    """The counts that are usual, to be taken from here: quicker than to spell each."""
    import polars as pl

    return pl.Series(map(str, range(4096)), dtype=pl.String)


def _concatenated(pieces: Iterable[str | pl.Series | pl.Expr]) -> pl.Expr:
    """The pieces of each row as one text, with as few pieces as can be."""
    import polars as pl

    joined: list[str | pl.Series | pl.Expr] = [""]
    for piece in pieces:
        if isinstance(piece, str) and isinstance(joined[-1], str):
            joined[-1] += piece
        else:
            joined.append(piece)
    return pl.concat_str([piece if isinstance(piece, pl.Expr) else pl.lit(piece) for piece in joined])


def identity_column(seed: str, row_round: str, columns: dict[str, pl.Expr]) -> pl.Expr:
    """The identity of rows under `--once-per COLUMN,…`: only the named cells and the round count."""
    import polars as pl

    word = pl.lit(_text_netstring(_IDENTITY_WORD) + _text_netstring(row_round))
    return _hmac_column(seed, pl.concat_str(word, _netstring_of_made(_fields_expr(columns))))


def _text_netstring(text: str) -> str:
    return netstring(text.encode()).decode()


def _netstring_expr(value: pl.Expr) -> pl.Expr:
    """`len:value,` with the length in bytes; null stays null."""
    import polars as pl

    return pl.concat_str(value.str.len_bytes().cast(pl.String), pl.lit(":"), value, pl.lit(","))


def _netstring_of_made(value: pl.Expr) -> pl.Expr:
    """As `_netstring_expr`, for a costly value: it stands there twice, and would be made twice."""
    import polars as pl

    def written(made: pl.Series) -> pl.Series:
        return made.to_frame("made").select(_netstring_expr(pl.col("made"))).to_series()

    return value.map_batches(written, return_dtype=pl.String)


def _fields_expr(fields: dict[str, pl.Expr], typed: Sequence[tuple[str, str, pl.Expr]] = ()) -> pl.Expr:
    """Name, type and value of each field that is there, in the order of the names' code points."""
    import polars as pl

    tagged = [*((name, TEXT, value) for name, value in fields.items()), *typed]
    parts = [
        pl.concat_str(pl.lit(_text_netstring(name) + tag), _netstring_expr(value))
        for name, tag, value in sorted(tagged, key=lambda field: field[:2])
    ]
    return pl.concat_str(parts, ignore_nulls=True)


def _hmac_column(seed: str, message: pl.Expr) -> pl.Expr:
    """HMAC-SHA256 of a text column, cut as `_cut` does, at column speed (`polars-hash` equals the `hmac` module)."""
    import polars as pl
    import polars_hash  # noqa: F401 - importing it registers the `chash` namespace

    digest: pl.Expr = message.chash.hmac_sha256(key=seed)  # type: ignore[attr-defined]  # registered just above
    return digest.map_batches(_cut_column, return_dtype=pl.Binary)


def _cut_column(hexes: pl.Series) -> pl.Series:
    """`_cut` of digests in hex."""
    import numpy as np

    run = bytearray.fromhex(hexes.str.slice(0, 2 * KEY_BYTES).str.join("").item())
    octets = np.frombuffer(run, np.uint8).reshape(-1, KEY_BYTES)
    octets[:, 6] = octets[:, 6] & 0x0F | 0x80
    octets[:, 8] = octets[:, 8] & 0x3F | 0x80
    return column_of(bytes(run))


def source_fingerprint(parts: Iterable[bytes]) -> str:
    """A list's fingerprint over its files' SHA-256 digests, in order: 64 hex digits."""
    return hashlib.sha256(b"".join(netstring(part) for part in parts)).hexdigest()


# --- numbers that were erased -----------------------------------------------------------------------------------------

STAND_INS_FROM = 10**18  # a number has at most 15 digits (E.164), a stand-in has 19
_STAND_IN_HEX = 15  # 60 bits: 10^18 and more, and still a signed 64-bit integer


def stand_in(seed: str, phone: int) -> int:
    """What an erased number is known by: the same number under the same seed has the same.

    **Shapes**: `phone` in E.164 without its plus. **Law** `test_an_erased_number_is_known_again_by_its_stand_in_alone`.
    """
    message = _NUMBER_WORD + netstring(str(phone).encode())
    digest = hmac.new(seed.encode(), message, hashlib.sha256).hexdigest()
    return STAND_INS_FROM + int(digest[:_STAND_IN_HEX], 16)


def stand_in_column(seed: str, phones: pl.Series) -> pl.Series:
    """As `stand_in`, for a column of Int64."""
    import polars as pl
    import polars_hash  # noqa: F401 - importing it registers the `chash` namespace

    digits = pl.col("phone").cast(pl.String)
    message = pl.concat_str(
        pl.lit(_NUMBER_WORD.decode()), digits.str.len_bytes().cast(pl.String), pl.lit(":"), digits, pl.lit(",")
    )
    hexes: pl.Expr = message.chash.hmac_sha256(key=seed)  # type: ignore[attr-defined]  # registered just above
    made = hexes.str.slice(0, _STAND_IN_HEX).str.to_integer(base=16, dtype=pl.Int64) + STAND_INS_FROM
    return phones.to_frame("phone").select(made.alias("phone")).to_series()
