"""Values for the request's fields, made from a list's columns as the mapping says.

Floor: intake, pure. Text, numbers and booleans are made at column speed; what needs a parser (JSON, dates, policy) is
judged once for each distinct cell and joined back. A value is text beside its type letter, as `keys` and `body` take
it; null is an absent field. A newcomer may question the decimal numbers: they never pass through a float, whose printed
form could change under the keys.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from zoneinfo import ZoneInfo

import polars as pl

from importer import policy
from importer.body import member
from importer.columns import TEXT
from importer.intake.mapping import ABSENT, REJECT, Field
from importer.intake.zones import zone_of
from importer.keys import BOOLEAN, JSON, NULL, NUMBER

Part = tuple[str, str, pl.Expr]


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """A field's values: one series for each type letter it has, never two with a value in one row.

    `problem` says what is wrong with a row's cell, null where nothing is; None when nothing ever can be.
    """

    field: Field
    typed: tuple[tuple[str, pl.Series], ...]
    problem: pl.Series | None = None


class CellProblem(ValueError):
    """A cell that its field cannot take; the text says what it must be."""


# --- payload ----------------------------------------------------------------------------------------------------------


def payload_values(rows: pl.DataFrame, field: Field, *, is_empty_kept: bool, are_nulls_kept: bool) -> Made:
    """A payload field's values for these rows.

    **Shapes**: `rows` all String. An empty cell of a type that has no empty value counts as null.
    """
    if field.constant is not None:
        return Made(field=field, typed=(_constant(field.constant, rows.height),))
    cells = _filled(rows, field)
    if field.type == "text":
        values, problem = (cells if is_empty_kept else _when(cells != "", cells)), None
    else:
        cells = _when(cells.str.strip_chars() != "", cells)
        values, wrong = _PARSERS[field.type](cells, field)
        problem = _named(wrong, field)
    own = (_LETTERS.get(field.type, TEXT), values)
    nulls = ((NULL, _when(cells.is_null(), pl.lit(""))),) if are_nulls_kept else ()
    return Made(field=field, typed=(own, *nulls), problem=problem)


_LETTERS = {"integer": NUMBER, "number": NUMBER, "boolean": BOOLEAN, "json": JSON}


def _constant(value: object, height: int) -> tuple[str, pl.Series]:
    """A constant with the type it has in the file."""
    if isinstance(value, str):
        return TEXT, _repeated(value, height)
    if isinstance(value, bool):
        return BOOLEAN, _repeated(str(value).lower(), height)
    if isinstance(value, (int, float)):
        return NUMBER, _repeated(_plain(value), height)
    return JSON, _repeated(canonical_json(value), height)


def _plain(value: float) -> str:
    """A number as `_numbers` would give it."""
    text = format(Decimal(str(value)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _repeated(text: str | None, height: int) -> pl.Series:
    return pl.Series([text], dtype=pl.String).new_from_index(0, height)


def _filled(rows: pl.DataFrame, field: Field) -> pl.Series:
    """The field's cells, the default in the place of empty ones."""
    if field.column is None:
        raise ValueError(f"{field.name} has no column")
    cells = rows[field.column]
    if field.default is None:
        return cells
    is_blank = cells.is_null() | (cells.str.strip_chars() == "")
    return _when(~is_blank, cells, pl.lit(field.default))


def _when(mask: pl.Series, then: pl.Series | pl.Expr, otherwise: pl.Series | pl.Expr | None = None) -> pl.Series:
    chosen = pl.when(mask).then(then)
    return pl.select((chosen if otherwise is None else chosen.otherwise(otherwise)).alias("value")).to_series()


def _checked(cells: pl.Series, is_right: pl.Series, values: pl.Series, must: str) -> tuple[pl.Series, pl.Series]:
    """The values where they are right, and what is wrong with the others."""
    right = is_right.fill_null(value=False)
    return _when(right, values), _when(~right & cells.is_not_null(), pl.lit(must))


def _integers(cells: pl.Series, _: Field) -> tuple[pl.Series, pl.Series]:
    text = cells.str.strip_chars()
    values = text.cast(pl.Int64, strict=False).cast(pl.String)
    is_right = text.str.contains(r"^[+-]?[0-9]{1,18}$")
    return _checked(cells, is_right, values, "must be a whole number of at most 18 digits")


def _numbers(cells: pl.Series, field: Field) -> tuple[pl.Series, pl.Series]:
    """Plain decimals, without needless zeros and signs: `007,50` with a decimal comma is `7.5`."""
    text = cells.str.strip_chars()
    text = text.str.replace(",", ".", literal=True) if field.decimal == "," else text
    values = (
        text.str.strip_prefix("+")
        .str.replace(r"^(-?)0+([0-9])", "${1}${2}")
        .str.replace(r"(\.[0-9]*?)0+$", "${1}")
        .str.replace(r"\.$", "")
        .str.replace(r"^-0$", "0")
    )
    is_right = text.str.contains(r"^[+-]?[0-9]{1,300}(?:\.[0-9]{1,300})?$")
    return _checked(cells, is_right, values, f"must be a number such as 12{field.decimal}5")


def _booleans(cells: pl.Series, field: Field) -> tuple[pl.Series, pl.Series]:
    word = cells.str.strip_chars().str.to_lowercase()
    is_true, is_false = word.is_in(list(field.true)), word.is_in(list(field.false))
    values = _when(is_true, pl.lit("true"), pl.lit("false"))
    must = f"must be one of {', '.join((*field.true, *field.false))}"
    return _checked(cells, is_true | is_false, values, must)


def _parsed(parse: Callable[[str, Field], str], cells: pl.Series, field: Field) -> tuple[pl.Series, pl.Series]:
    """Values that need a parser, once for each distinct cell."""
    return distinctly(lambda cell: parse(cell, field), cells)


def distinctly(parse: Callable[[str], str], cells: pl.Series) -> tuple[pl.Series, pl.Series]:
    """What `parse` makes of each cell, and its problems; each distinct cell is parsed once."""
    judged = [(cell, *_tried(parse, cell)) for cell in cells.unique().drop_nulls().to_list()]
    schema = {"cell": pl.String, "value": pl.String, "problem": pl.String}
    verdicts = pl.DataFrame(judged, schema=schema, orient="row")
    found = cells.alias("cell").to_frame().join(verdicts, on="cell", how="left", maintain_order="left")
    return found["value"], found["problem"]


def _tried(parse: Callable[[str], str], cell: str) -> tuple[str | None, str | None]:
    try:
        return parse(cell), None
    except CellProblem as problem:
        return None, str(problem)


# --- JSON -------------------------------------------------------------------------------------------------------------


class _Written(str):
    """A number as it was written."""

    __slots__ = ()


def _json_cell(cell: str, _: Field) -> str:
    try:
        found = json.loads(
            cell, parse_float=_Written, parse_int=_Written, parse_constant=_no_constant, object_pairs_hook=_object
        )
        return canonical_json(found)
    except (ValueError, RecursionError):
        raise CellProblem("must be JSON, each name once in an object") from None


def _no_constant(word: str) -> object:
    raise ValueError(word)


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def canonical_json(value: object) -> str:
    """JSON with sorted names and no spaces; numbers as they were written."""
    if isinstance(value, _Written):
        return str(value)
    if isinstance(value, dict):
        inner = (f"{_quoted(str(name))}:{canonical_json(each)}" for name, each in sorted(value.items()))
        return "{" + ",".join(inner) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical_json, value)) + "]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False, default=str)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


# --- dates and times --------------------------------------------------------------------------------------------------


def _moment(cell: str, field: Field) -> datetime:
    """The moment in a cell, by the first format that fits. A local time needs the field's zone."""
    found = next(filter(None, (_by_format(cell.strip(), each) for each in field.formats)), None)
    if not field.formats:
        found = _iso(cell.strip())
    if found is None:
        raise CellProblem(f"must be written like {' or '.join(field.formats) or '2026-11-23T09:00:00+03:00'}")
    return found


def _by_format(text: str, form: str) -> datetime | None:
    try:
        return datetime.strptime(text, form)  # noqa: DTZ007 - the zone is given afterwards
    except ValueError:
        return None


def _iso(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _date_time(cell: str, field: Field) -> str:
    moment = _moment(cell, field)
    if moment.tzinfo is None:
        moment = _in_zone(moment, field)
    return moment.isoformat()


def _in_zone(moment: datetime, field: Field) -> datetime:
    """The local time with its offset. Of a time that comes twice in autumn the first is meant; one skipped is wrong."""
    if field.zone is None:
        raise CellProblem("must say its offset from UTC, or the mapping a zone")
    placed = moment.replace(tzinfo=ZoneInfo(field.zone))
    if placed.astimezone(UTC).astimezone(placed.tzinfo).replace(tzinfo=None) != moment:
        raise CellProblem(f"is a time that does not exist in {field.zone}: clocks are put forward then")
    return placed


def _date(cell: str, field: Field) -> str:
    return _moment(cell, field).date().isoformat()


def _time(cell: str, field: Field) -> str:
    return _clock(cell.strip(), field.formats)


_CLOCK_FORMATS = ("%H:%M", "%H:%M:%S", "%H", "%H.%M", "%I:%M %p", "%I %p")


def _clock(text: str, formats: Sequence[str] = ()) -> str:
    """`HH:MM`, 24 hours."""
    found = next(filter(None, (_by_format(text, each) for each in formats or _CLOCK_FORMATS)), None)
    if found is None:
        raise CellProblem("must be a time of day such as 09:00")
    return found.strftime("%H:%M")


_PARSERS: dict[str, Callable[[pl.Series, Field], tuple[pl.Series, pl.Series]]] = {
    "integer": _integers,
    "number": _numbers,
    "boolean": _booleans,
    "json": partial(_parsed, _json_cell),
    "datetime": partial(_parsed, _date_time),
    "date": partial(_parsed, _date),
    "time": partial(_parsed, _time),
}


# --- call policy ------------------------------------------------------------------------------------------------------


def policy_values(rows: pl.DataFrame, judged: pl.DataFrame, field: Field) -> Made:
    """A policy field's JSON texts, held to the documented rules. `judged` is what phone checking said of the rows."""
    cells, wrong = _policy_cells(rows, judged, field)
    verdict = policy.check(field.name, cells)
    broken = verdict["problem"]
    problem = broken if wrong is None else wrong.zip_with(wrong.is_not_null(), broken)
    return Made(field=field, typed=((JSON, verdict["value"]),), problem=problem)


def _policy_cells(rows: pl.DataFrame, judged: pl.DataFrame, field: Field) -> tuple[pl.Series, pl.Series | None]:
    """The cells as a list with the API's own columns would have them, and what is wrong with some."""
    if field.is_from_number:
        return _zones(judged, field)
    if field.columns is not None:
        return _intervals(rows, field)
    if field.constant is not None:
        return _repeated(_policy_text(field.constant), rows.height), None
    cells = _filled(rows, field)
    if field.type == "datetime":
        cells = _when(cells.str.strip_chars() != "", cells)
        values, problems = distinctly(lambda cell: _date_time(cell, field), cells)
        return values, _named(problems, field)
    return cells, None


def _policy_text(constant: object) -> str:
    return constant if isinstance(constant, str) else canonical_json(constant)


def _named(problems: pl.Series, field: Field) -> pl.Series:
    """Problems as sentences about the field."""
    return _when(problems.is_not_null(), pl.concat_str(pl.lit(f"{field.name} "), problems))


def _intervals(rows: pl.DataFrame, field: Field) -> tuple[pl.Series, pl.Series]:
    """Makes allowedTime from a column with its begin and one with its end; absent where both are empty."""
    begins, ends = (rows[column].fill_null("").str.strip_chars() for column in field.sources)
    pairs = _when((begins != "") | (ends != ""), pl.concat_str(begins, pl.lit("\n"), ends))
    values, problems = distinctly(lambda pair: _interval(pair, field), pairs)
    return values, _named(problems, field)


def _interval(pair: str, field: Field) -> str:
    begin, _, end = pair.partition("\n")
    interval = {"localTimeFrom": _clock(begin), "localTimeTo": _clock(end)}
    return json.dumps({day: [interval] for day in field.days})


def _zones(judged: pl.DataFrame, field: Field) -> tuple[pl.Series, pl.Series | None]:
    """Makes gmtZone from the number, where its region has one zone only."""
    zones = zone_of(judged["e164"], judged["type"])
    is_unknown = zones.is_null() & judged["e164"].is_not_null()
    if field.otherwise == REJECT:
        must = f"{field.name} cannot be told from the number: its region has several time zones"
        return zones, _when(is_unknown, pl.lit(must))
    if field.otherwise == ABSENT:
        return zones, None
    return _when(~is_unknown, zones, pl.lit(field.otherwise)), None


# --- nesting ----------------------------------------------------------------------------------------------------------


def nested(parts: Sequence[Part]) -> list[Part]:
    """Fields with dots in their names put into objects, each object a field of canonical JSON.

    An object without any member in a row is absent there.
    """
    flat = [part for part in parts if "." not in part[0]]
    inner: dict[str, list[Part]] = {}
    for name, letter, value in parts:
        if "." in name:
            top, _, rest = name.partition(".")
            inner.setdefault(top, []).append((rest, letter, value))
    return flat + [(top, JSON, _object_text(nested(members))) for top, members in inner.items()]


def _object_text(members: Sequence[Part]) -> pl.Expr:
    written = [member(*part) for part in sorted(members, key=lambda part: part[:2])]
    inner = pl.concat_str(written, separator=",", ignore_nulls=True)
    return pl.when(inner != "").then(pl.concat_str(pl.lit("{"), inner, pl.lit("}")))
