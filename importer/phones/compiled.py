"""The compiled reading: cells of one region to readings, a column at a time.

Floor: phones, pure. Follows the order in which `phonenumbers` parses: an international prefix, the region's own code
in front, the national prefix; then one look into the world's table. A newcomer may wonder why only answer ids travel
between the steps: facts are gathered from them once, at the end, which costs less than carrying six columns along.
"""

from __future__ import annotations

from typing import NamedTuple

import polars as pl

from importer.phones import reference
from importer.phones.cells import read_cells
from importer.phones.columns import NO_REGION, READING, UNKNOWN_REGION, all_false, placed, same
from importer.phones.homes import Homes
from importer.phones.plans import Plan, code_plan, region_plan
from importer.phones.world import LONGEST_DIGITS, NO_CODE_ID, NOT_VIABLE_ID, UNKNOWN_REGION_ID, Table, world

_TWO_DIGITS = 2


class Numbers(NamedTuple):
    """Numbers looked up: international digits, the ids of their answers, whether they were dialled bare.

    Bare means that neither a plus nor an international prefix said where the country code is.
    """

    digits: pl.Series
    answers: pl.Series
    is_bare: pl.Series


def read(cells: pl.Series, region: str) -> pl.DataFrame:
    """Readings of cells dialled in one region, as `reference.read` gives them."""
    return read_homes(cells, Homes(region=region))


def read_homes(cells: pl.Series, homes: Homes) -> pl.DataFrame:
    """Readings of the cells, as `reference.read_homes` gives them. **Shapes**: `columns.READING`, a row per cell."""
    texts = read_cells(cells)
    numbers = _numbers(texts["digits"], texts["has_plus"], homes)
    is_too_long = texts["is_viable"] & (numbers.digits.str.len_bytes() > LONGEST_DIGITS)
    is_read = texts["is_viable"] & _fact("is_parsed", numbers.answers)
    numbers = Numbers(
        digits=numbers.digits,
        answers=numbers.answers.zip_with(texts["is_viable"], same(NOT_VIABLE_ID, len(cells), pl.UInt32)),
        is_bare=numbers.is_bare & is_read,
    )
    readings = _readings(numbers, _other_readings(texts["digits"], numbers))
    return _with_fallback(readings, cells, homes, (texts["is_undecided"] | is_too_long).arg_true())


def _numbers(digits: pl.Series, has_plus: pl.Series, homes: Homes) -> Numbers:
    """What is written with its country code means the same everywhere; the rest is read region by region."""
    if homes.column is None:
        return _numbers_in(digits, has_plus, homes.region)
    plus = has_plus.arg_true()
    abroad = _international(digits.gather(plus))
    is_clear = (abroad.answers != NO_CODE_ID) & (digits.gather(plus).str.len_bytes() > _TWO_DIGITS)
    parts, rows = [Numbers(*(column.filter(is_clear) for column in abroad))], [plus.filter(is_clear)]
    others = placed(~has_plus, plus, ~is_clear).arg_true()
    for region, at in homes.gather(others).groups(len(others)):
        rows.append(others.gather(at))
        parts.append(_numbers_in(digits.gather(rows[-1]), has_plus.gather(rows[-1]), region))
    return _in_order(tuple(parts), tuple(rows))


def _numbers_in(digits: pl.Series, has_plus: pl.Series, region: str) -> Numbers:
    if region not in {NO_REGION, UNKNOWN_REGION}:
        return _dialled(digits, has_plus, region_plan(region))
    numbers = _international(digits)
    if region == UNKNOWN_REGION:
        unknown = same(UNKNOWN_REGION_ID, len(digits), pl.UInt32)
        return numbers._replace(answers=numbers.answers.zip_with(has_plus, unknown))
    # Two digits alone are a number where there is a region, but none once a plus is put before them.
    not_viable = same(NOT_VIABLE_ID, len(digits), pl.UInt32)
    return numbers._replace(answers=numbers.answers.zip_with(digits.str.len_bytes() > _TWO_DIGITS, not_viable))


def _international(digits: pl.Series) -> Numbers:
    """Numbers with their country code first; a national prefix between code and number is dropped."""
    table, answers = world().look_up(digits)
    rows = (~table.fact("is_settled", answers)).arg_true()
    if not len(rows):
        return Numbers(digits, answers, all_false(len(digits)))
    is_simple = table.fact("prefix_digits", answers.gather(rows)) > 0
    digits, answers = _less_simple_prefixes(table, digits, answers, rows.filter(is_simple))
    rows = rows.filter(~is_simple)
    for code, at in _by_value(table.fact("code", answers.gather(rows)), rows):
        plan = code_plan(code)
        nationals = digits.gather(at).str.slice(len(plan.code_text))
        digits = placed(digits, at, _prefixed(plan.code_text, plan.without_prefix_if_long_enough(nationals)))
        answers = placed(answers, at, table.look_up(digits.gather(at)))
    return Numbers(digits, answers, all_false(len(digits)))


def _less_simple_prefixes(
    table: Table, digits: pl.Series, answers: pl.Series, rows: pl.Series
) -> tuple[pl.Series, pl.Series]:
    """All rows with a prefix that always has the same number of digits, whatever their calling codes."""
    given = pl.DataFrame({"digits": digits.gather(rows), "answer": answers.gather(rows)}).with_columns(
        code_digits=table.fact("code_digits", answers.gather(rows)),
        prefix_digits=table.fact("prefix_digits", answers.gather(rows)),
    )
    after = pl.col("code_digits") + pl.col("prefix_digits")
    bare = given.select(pl.col("digits").str.head("code_digits") + pl.col("digits").str.slice(after)).to_series()
    found = table.look_up(bare)
    is_worse = table.fact("is_general", given["answer"]) & ~table.fact("is_general", found)
    is_taken = table.fact("is_whole", found) & ~is_worse
    rows = rows.filter(is_taken)
    return placed(digits, rows, bare.filter(is_taken)), placed(answers, rows, found.filter(is_taken))


def _dialled(digits: pl.Series, has_plus: pl.Series, plan: Plan) -> Numbers:
    """Numbers as dialled inside a region."""
    plus = has_plus.arg_true()
    if not len(plus):
        return _national(digits, plan)
    if len(plus) == len(digits):
        return _with_plus(digits, plan)
    bare = (~has_plus).arg_true()
    parts = _with_plus(digits.gather(plus), plan), _national(digits.gather(bare), plan)
    return _in_order(parts, (plus, bare))


def _with_plus(digits: pl.Series, plan: Plan) -> Numbers:
    """A plus in front of no country code counts for nothing, if the region's own ways then lead to one."""
    numbers = _international(digits)
    astray = (numbers.answers == NO_CODE_ID).arg_true()
    if not len(astray):
        return numbers
    again = _national(digits.gather(astray), plan)
    is_found = ~again.is_bare | _has_own_code(digits.gather(astray), plan)[1]
    no_code = same(NO_CODE_ID, len(astray), pl.UInt32)
    return Numbers(
        digits=placed(numbers.digits, astray, again.digits),
        answers=placed(numbers.answers, astray, again.answers.zip_with(is_found, no_code)),
        is_bare=numbers.is_bare,
    )


def _national(digits: pl.Series, plan: Plan) -> Numbers:
    """Numbers without a plus: after an international prefix, or the region's own, with its code in front or without."""
    abroad, rest = _after_international_prefix(digits, plan)
    nationals, has_code = _has_own_code(digits, plan)
    if plan == code_plan(plan.code):
        numbers = _international(_prefixed(plan.code_text, nationals))
    else:
        full = _prefixed(plan.code_text, _without_national_prefix(nationals, has_code, plan))
        numbers = Numbers(full, world().look_up(full)[1], all_false(len(full)))
    numbers = numbers._replace(is_bare=~numbers.is_bare)
    if not len(abroad):
        return numbers
    return Numbers(*(placed(whole, abroad, part) for whole, part in zip(numbers, _international(rest), strict=True)))


def _after_international_prefix(digits: pl.Series, plan: Plan) -> tuple[pl.Series, pl.Series]:
    """The rows that begin with the region's international prefix, and their digits after it.

    A country code never begins with 0, so what is followed by one was no prefix.
    """
    prefix = plan.international_prefix or "$^"
    rows = digits.str.contains(prefix).arg_true()
    rest = digits.gather(rows).str.replace(prefix, "")
    is_abroad = ~rest.str.starts_with("0")
    return rows.filter(is_abroad), rest.filter(is_abroad)


def _has_own_code(digits: pl.Series, plan: Plan) -> tuple[pl.Series, pl.Series]:
    """National numbers less the region's own country code, and whether it was there.

    It was if the number is no number with it and one without it, or is too long with it.
    """
    rows = digits.str.starts_with(plan.code_text).arg_true()
    given = digits.gather(rows)
    inner = plan.without_prefix(given.str.slice(len(plan.code_text)))
    is_too_long = given.str.len_bytes() > plan.longest
    unsure = (~is_too_long).arg_true()  # patterns are dear, and of most lists no cell is left to them
    is_general, is_general_inside = (column.gather(unsure).str.contains(plan.is_general) for column in (given, inner))
    is_code = placed(is_too_long, unsure, ~is_general & is_general_inside)
    has_code = placed(all_false(len(digits)), rows, is_code)
    return placed(digits, rows, inner.zip_with(is_code, given)), has_code


def _without_national_prefix(nationals: pl.Series, has_code: pl.Series, plan: Plan) -> pl.Series:
    """Behind a country code the rules of its main region hold, in front of none those of the region itself."""
    local = plan.without_prefix_if_long_enough(nationals)
    if not has_code.any():
        return local
    return code_plan(plan.code).without_prefix_if_long_enough(nationals).zip_with(has_code, local)


def _other_readings(digits: pl.Series, read: Numbers) -> dict[str, pl.Series]:
    """Bare digits read country code first, where that makes a valid number."""
    rows = read.is_bare.arg_true()
    numbers = _country_code_first(digits.gather(rows), Numbers(*(column.gather(rows) for column in read)))
    is_valid = _fact("fault", numbers.answers).is_null()
    rows, answers = rows.filter(is_valid), numbers.answers.filter(is_valid)
    found = {
        "plus_e164": _prefixed("+", numbers.digits.filter(is_valid)),
        "plus_region": _fact("region", answers),
        "plus_type": _fact("type", answers),
    }
    return {name: placed(same(None, len(digits), READING[name]), rows, found[name]) for name in found}


def _country_code_first(digits: pl.Series, read: Numbers) -> Numbers:
    """As `_international`; what was read as these very digits, and is settled, need not be looked up again."""
    other = ~((read.digits == digits) & _fact("is_settled", read.answers))
    if other.all():
        return _international(digits)
    rows = other.arg_true()
    if not len(rows):
        return read
    again = _international(digits.gather(rows))
    return Numbers(*(placed(column, rows, part) for column, part in zip(read, again, strict=True)))


def _readings(numbers: Numbers, others: dict[str, pl.Series]) -> pl.DataFrame:
    is_parsed = _fact("is_parsed", numbers.answers)
    columns = {
        "parsed_e164": _prefixed("+", numbers.digits).zip_with(is_parsed, same(None, len(is_parsed), pl.String())),
        "verdict": _fact("verdict", numbers.answers),
        "region": _fact("region", numbers.answers),
        "type": _fact("type", numbers.answers),
        "fault": _fact("fault", numbers.answers),
        "is_bare": numbers.is_bare,
        **others,
        "is_fallback": all_false(len(is_parsed)),
    }
    return pl.DataFrame(columns)


def _with_fallback(readings: pl.DataFrame, cells: pl.Series, homes: Homes, rows: pl.Series) -> pl.DataFrame:
    """The readings, with those rows decided by `phonenumbers`."""
    for region, at in homes.gather(rows).groups(len(rows)):
        readings = _with_fallback_in(readings, cells, region, rows.gather(at))
    return readings


def _with_fallback_in(readings: pl.DataFrame, cells: pl.Series, region: str, rows: pl.Series) -> pl.DataFrame:
    """Those rows decided, each different cell once."""
    asked = cells.gather(rows).alias("cell").to_frame()
    different = asked.unique()
    decided = reference.read(different["cell"], region).with_columns(different["cell"], is_fallback=pl.lit(value=True))
    found = asked.join(decided, on="cell", how="left", maintain_order="left")
    return readings.with_columns(placed(readings[name], rows, found[name]) for name in readings.columns)


def _fact(name: str, answers: pl.Series) -> pl.Series:
    return world().table.fact(name, answers)


def _prefixed(prefix: str, digits: pl.Series) -> pl.Series:
    return pl.select(pl.lit(prefix) + digits).to_series()


def _by_value(keys: pl.Series, rows: pl.Series) -> list[tuple[int, pl.Series]]:
    return [(key, rows.filter(keys == key)) for key in keys.unique()]


def _in_order(parts: tuple[Numbers, ...], rows: tuple[pl.Series, ...]) -> Numbers:
    """Parts of a column put back where they came from."""
    order = pl.concat(rows).arg_sort()
    return Numbers(*(pl.concat(pieces).gather(order) for pieces in zip(*parts, strict=True)))
