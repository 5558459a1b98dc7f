"""The whole check, fast: a list cut into pieces that the machine's cores judge side by side.

Floor: phones, pure. Pieces change nothing in the result, since every row is judged alone. A newcomer may wonder about
threads in Python: nearly all the time is spent inside polars, which lets go of the interpreter while it works.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import polars as pl

from importer.phones.compiled import read_homes
from importer.phones.judge import check_with
from importer.phones.rules import PhoneRules

# Large enough that some thirty calling codes in one piece, each with patterns of its own, cost little per row.
_PIECE_ROWS = 1 << 17


def check(numbers: pl.Series, rules: PhoneRules, regions: pl.Series | None = None) -> pl.DataFrame:
    """Judges a column of cells: what number each one is, and whether it is to be called.

    `regions` gives each row a default region of its own; an empty one falls back to that of the rules.
    **Shapes**: one row per cell, in order; columns `e164` (String, null unless accepted), `parsed_e164` (String, the
    best reading even of a rejected cell), and Enums `verdict`, `region`, `type` (null and `unknown` where there is no
    number), `reason` (null = accepted) and `warning`; Booleans `is_ambiguous_bare` (valid both as dialled in the region
    and country code first, as different numbers), `is_own_code_bare` (and the latter has the region's own code), and
    `is_fallback` (decided by `phonenumbers`, not by the tables).
    **Law**: exact - verdict, E.164, region and type are those of `phonenumbers`, damaged cells aside.
    """
    if len(numbers) <= _PIECE_ROWS:
        return check_with(read_homes, numbers, rules, regions)
    starts = range(0, len(numbers), _PIECE_ROWS)

    def check_piece(start: int) -> pl.DataFrame:
        own_regions = None if regions is None else regions.slice(start, _PIECE_ROWS)
        return check_with(read_homes, numbers.slice(start, _PIECE_ROWS), rules, own_regions)

    with ThreadPoolExecutor(pl.thread_pool_size()) as pool:
        return pl.concat(list(pool.map(check_piece, starts)), rechunk=False)
