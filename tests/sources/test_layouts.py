"""JSON lines read as whole columns say what they say read one by one."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from importer.sources.jsonlines import parsed_line
from importer.sources.layouts import MOST_KEYS, Layouts, columns_of, learned

from .lists import read

ODD = st.sampled_from(list('",:{}[]\\/ \n\t\x00\x1f\u2028é😀'))
TEXTS = st.one_of(st.sampled_from(["null", '"a":', ', "b": ']), st.text(st.one_of(ODD, st.characters()), max_size=8))
KEYS = st.one_of(st.sampled_from(["a", "b", "phone"]), TEXTS)
NUMBERS = st.sampled_from(["0", "-1", "79161234567", "7.9e10", "1.50", "1E+2", "123456789012345678901234567890"])
VALUES = st.one_of(
    TEXTS.map(json.dumps), NUMBERS, st.sampled_from(["null", "true", "false", "[1]", '{"a": 1}', "NaN", "01"])
)


@st.composite
def lines(draw: st.DrawFn) -> list[str]:
    """Lines by a few writers, each with keys and blanks of its own; some lines are broken."""
    made: list[str] = []
    for _ in range(draw(st.integers(1, 3))):
        keys = draw(st.lists(KEYS, min_size=1, max_size=3))
        comma, colon = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\t", " :")]))
        is_ascii = draw(st.booleans())
        for _ in range(draw(st.integers(1, 4))):
            pairs = (f"{json.dumps(key, ensure_ascii=is_ascii)}{colon}{draw(VALUES)}" for key in keys)
            made.append("{" + comma.join(pairs) + draw(st.sampled_from(["}", "}", "} ", "", "}}"])))
    return draw(st.permutations(made))


def as_bytes(line: str) -> bytes:
    """A line without half characters and without line ends of its own."""
    return line.encode("utf-8", "replace").replace(b"\n", b" ").replace(b"\r", b" ")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(lines())
def test_lines_mean_at_once_what_they_mean_one_by_one(tmp_path: Path, texts: list[str]) -> None:
    """Law 11: cells as written, and no line more or less, good or bad."""
    data = [as_bytes(text) for text in ['{"a": "1"}', *texts]]
    parsed = [parsed_line(line, 1 << 20) for line in data]
    objects = [cells for cells in parsed if isinstance(cells, dict)]
    wanted = [cells for cells in objects if not any("\0" in (cell or "") for cell in cells.values())]
    names = list(dict.fromkeys(key for cells in objects for key in cells))
    if "" in names or any("\0" in name or name.startswith("importer_") for name in names):
        return
    reading = read(tmp_path / "list.jsonl", b"\n".join(data))
    assert reading.columns == tuple(names)
    assert reading.rows == [tuple(cells.get(name) for name in names) for cells in wanted]
    assert reading.read_rows == reading.witness_rows == len(data)
    assert len(reading.bad) == len(data) - len(wanted)


@pytest.mark.parametrize(
    "line",
    [
        '{"a": 1, "a": 2}',
        '{"a": [1]}',
        '{"": 1}',
        '{", x": 1}',
        '{"\\u0061": 1}',
        '{"a": "\\ud800"}',
        '{"a": 01}',
        '{"a" 1}',
        '[{"a": 1}]',
        '{"a": 1}, {"b": 2}',
        "{}",
        "",
        json.dumps({str(number): 1 for number in range(MOST_KEYS + 1)}),
    ],
)
def test_a_line_out_of_the_ordinary_teaches_nothing(line: str) -> None:
    """It goes one by one, where everything is looked at."""
    assert learned(line) is None


def test_wide_lines_are_read_at_once_too() -> None:
    """Up to a width at which patterns are still quick to build."""
    texts = pl.Series([json.dumps({f"key {number}": f"é {line}" for number in range(MOST_KEYS)}) for line in range(50)])
    ((layout, indices),), left = Layouts().sorted_out(texts)
    assert (indices.len(), left.len()) == (50, 0)
    cells = columns_of(layout, texts)
    assert cells is not None
    assert cells.row(49) == ("é 49",) * MOST_KEYS


def test_a_hundred_layouts_are_not_all_learned(tmp_path: Path) -> None:
    """Only so many are tried on every line; the rest is read one by one, to the same end."""
    data = b"\n".join(json.dumps({"phone": "1", f"key {number}": number}).encode() for number in range(100))
    reading = read(tmp_path / "list.jsonl", data)
    assert reading.columns == ("phone", *(f"key {number}" for number in range(100)))
    assert [row[0] for row in reading.rows] == ["1"] * 100
