"""Shards: which of N equal parts of a list a row belongs to, so that each part can be imported by itself.

Floor: pure. A row belongs to its number's shard, whatever else it holds, so every rule about one number stays exact
inside one shard. A row without a usable number belongs by its place in the list, so that each row is counted by just
one shard. **The recipe below is frozen**: two shards that disagreed on it would call somebody twice, or never. A
newcomer may question SHA-256 for a mere distribution: anybody can compute it anywhere, and it will never change.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from importer.errors import UsageProblem

if TYPE_CHECKING:
    import polars as pl

_WORD = "importer.shard.1:"
_HEX_DIGITS = 15  # 60 bits, which every signed 64-bit integer holds
MOST_SHARDS = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """One of `of` parts of a list; `number` counts from 1."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def part(self, total: int) -> int:
        """This shard's part of a whole number; the parts of all shards add up to it."""
        return total // self.of + (self.number <= total % self.of)


def parse_shard(text: str) -> Shard:
    """A shard from `K/N`. **Errors**: UsageProblem."""
    found = re.fullmatch(r"\s*(\d{1,5})\s*/\s*(\d{1,5})\s*", text)
    number, of = (int(found[1]), int(found[2])) if found else (0, 0)
    if not (1 <= number <= of <= MOST_SHARDS):
        raise UsageProblem(
            f"{text!r} is not a shard such as 2/4.",
            hint=f"K/N: shard K of N, K from 1 to N, N at most {MOST_SHARDS:,}.",
        )
    return Shard(number=number, of=of)


def shard_number(text: str, of: int) -> int:
    """The shard of a text: a number in E.164 with its plus, or `FILE:ROW` for a row without a usable number.

    1 plus the remainder by `of` of the first 15 hexadecimal digits of SHA-256("importer.shard.1:" + text).
    """
    return 1 + int(hashlib.sha256(f"{_WORD}{text}".encode()).hexdigest()[:_HEX_DIGITS], 16) % of


def shard_column(text: pl.Expr, of: int) -> pl.Expr:
    """`shard_number` of a text column, at column speed. **Shapes**: Int64."""
    import polars as pl
    import polars_hash  # noqa: F401 - importing it registers the `chash` namespace

    digest: pl.Expr = pl.concat_str(pl.lit(_WORD), text).chash.sha2_256()  # type: ignore[attr-defined]  # registered above
    return digest.str.slice(0, _HEX_DIGITS).str.to_integer(base=16, dtype=pl.Int64) % of + 1
