"""A mapping file to begin with, written by looking at a list.

Floor: intake. As it is written it changes nothing: the same rows get the same keys with it as without. What a column
seems to hold is only remarked on, since a type chosen wrongly would send other content. No cell is quoted: the file may
be shared, the list may not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial

import phonenumbers
import polars as pl

from importer.intake.mapping import FALSE, TRUE
from importer.intake.plan import Plan, make_plan
from importer.phones import PhoneRules
from importer.sources import RowList

SAMPLE_ROWS = 5_000
_MOST_PARSED = 200
_FORMATS = ("%Y-%m-%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%d.%m.%Y %H:%M",
            "%d.%m.%Y %H:%M:%S", "%Y-%m-%dT%H:%M:%S")  # fmt: skip

_HEAD = """# What becomes of each column of this list. Use it with: importer run LIST --map THIS_FILE
# As it stands it changes nothing. A line that begins with # says nothing until the # is taken away.

"""

_TAIL = """
# More that a line may say:
#   source = { constant = "autumn" }                               the same in every row
#   name = { column = "Name", default = "customer" }               where the cell is empty
#   score = { column = "Score", type = "number", decimal = "," }   text integer number boolean json datetime date time
#   since = { column = "Since", type = "date", format = "%d.%m.%Y" }    formats of strptime, several in [ ]
#
# [policy] takes startDateTime finishDateTime allowedDays allowedTime retryIntervalInMinutes maxAttempts gmtZone
# dialerPriority:
#   startDateTime = { column = "Call after", format = "%d.%m.%Y %H:%M", zone = "Europe/Paris" }
#   allowedTime = { from = "From", to = "To" }                     two columns with times of day
#   gmtZone = { from = "number", otherwise = "absent" }            where the number's region has one zone;
#                                                                  else absent, "reject", or a zone you name
"""


def starter_text(row_list: RowList) -> str:
    """The file's text. **Errors**: ListProblem when the list cannot be read."""
    plan = make_plan(row_list.columns, phone_column=None, once_per="row", rules=PhoneRules())
    chunk = next(iter(row_list.chunks()), None)
    sample = pl.DataFrame(schema=dict.fromkeys(row_list.columns, pl.String)) if chunk is None else chunk.rows
    sample = sample.head(SAMPLE_ROWS)
    return _HEAD + "\n".join(_lines(plan, sample)) + "\n" + _TAIL


def _lines(plan: Plan, sample: pl.DataFrame) -> Iterator[str]:
    yield f"phone = {_quoted(plan.phone_column)}"
    regions = [name for name in plan.payload if _is_region(sample[name])]
    yield f"# region = {_quoted(regions[0] if regions else '…')}  # a column that says where each number is dialled"
    yield 'rest = "payload"  # columns not named below; "drop" leaves them out'
    yield "drop = []  # columns to leave out"
    yield 'empty = "keep"  # an empty cell is sent as ""; "drop" leaves the field out'
    yield 'nulls = "drop"  # a cell that is not there leaves the field out; "keep" sends null'
    yield "nested = false  # true: a dot in a name makes an object inside the payload"
    for section, names in (("payload", plan.payload), ("policy", plan.policy)):
        if names:
            yield f"\n[{section}]"
            yield from (_line(name, sample[name], is_policy=section == "policy") for name in names)


def _line(name: str, cells: pl.Series, *, is_policy: bool) -> str:
    text = _quoted(name)
    remark = "" if is_policy else _remark(name, cells)
    return f"{text} = {text}" + (f"  # {remark}" if remark else "")


def _quoted(text: str) -> str:
    """As a basic string of TOML, whose escapes are those of JSON; DEL has to be one there."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _is_region(cells: pl.Series) -> bool:
    filled = _filled(cells)
    return len(filled) > 0 and bool(filled.str.to_uppercase().is_in(list(phonenumbers.SUPPORTED_REGIONS)).all())


def _filled(cells: pl.Series) -> pl.Series:
    text = cells.drop_nulls().str.strip_chars()
    return text.filter(text != "")


def _remark(name: str, cells: pl.Series) -> str:
    """What a column seems to hold, with the line that would say so."""
    filled = _filled(cells)
    if not len(filled):
        return "empty in the first rows"
    for type_, options, holds in _GUESSES:
        if holds(filled):
            return f"could be {{ column = {_quoted(name)}, type = {_quoted(type_)}{options} }}"
    return "" if len(filled) == len(cells) else "sometimes empty"


def _holds_pattern(pattern: str, cells: pl.Series) -> bool:
    return bool(cells.str.contains(pattern).all())


def _holds_words(cells: pl.Series) -> bool:
    return bool(cells.str.to_lowercase().is_in([*TRUE, *FALSE]).all()) and cells.n_unique() > 1


def _holds_dates(form: str, cells: pl.Series) -> bool:
    return all(_fits(cell, form) for cell in cells.unique(maintain_order=True).head(_MOST_PARSED))


def _fits(cell: str, form: str) -> bool:
    try:
        datetime.strptime(cell, form)  # noqa: DTZ007 - only looked at, never used
    except ValueError:
        return False
    return True


def _holds_json(cells: pl.Series) -> bool:
    return _holds_pattern(r"^(?s:[\[{].*[\]}])$", cells) and all(map(_is_json, cells.head(_MOST_PARSED)))


def _is_json(cell: str) -> bool:
    try:
        json.loads(cell)
    except (ValueError, RecursionError):
        return False
    return True


_GUESSES: list[tuple[str, str, Callable[[pl.Series], bool]]] = [
    ("boolean", "", _holds_words),
    ("integer", "", partial(_holds_pattern, r"^(?:0|[+-]?[1-9][0-9]{0,17})$")),
    ("number", "", partial(_holds_pattern, r"^[+-]?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?$")),
    ("number", ', decimal = ","', partial(_holds_pattern, r"^[+-]?(?:0|[1-9][0-9]*)(?:,[0-9]+)?$")),
    *(
        ("datetime" if "%H" in form else "date", f", format = {_quoted(form)}", partial(_holds_dates, form))
        for form in _FORMATS
    ),
    ("time", "", partial(_holds_pattern, r"^(?:[01]?[0-9]|2[0-3]):[0-5][0-9]$")),
    ("json", "", _holds_json),
]
