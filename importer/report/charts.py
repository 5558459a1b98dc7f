"""The charts: described in Vega-Lite, drawn as static SVG by its own compiler, coloured by the page.

Floor: report. Colours are the page's CSS variables, so one drawing serves light, dark and paper; nothing in it runs,
loads or listens. Each chart is drawn twice, wide and narrow, since text in a picture does not wrap. A newcomer may
question that the drawing has no roles of its own: it is one picture with a title, a sentence and a table beside it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from json import dumps
from typing import Any

import vl_convert
from markupsafe import Markup

WIDE_PX, NARROW_PX = 752, 320
_LABEL_PX, _VALUE_PX = 215, 130
_FIT = {"type": "fit", "contains": "padding"}
_GAP = 0.003  # of paper between neighbours, so that a part ends where its colour is not told from the next
_SLIVER = 0.006  # one row of a million is to be seen
_ROLES = re.compile(r' (?:role="graphics-[a-z]+"|aria-[a-z]+="[^"<>]*"|pointer-events="none")')
_SIZE = re.compile(r'^<svg xmlns="[^"]+" xmlns:xlink="[^"]+" version="1.1" class="marks" width="(\d+)" height="(\d+)"')
_FONT = "Liberation Sans, Arial, sans-serif"  # measured with this; the page shows its own of much the same widths


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """One bar: what it stands for, how much, the same in words, and the CSS variable of its colour."""

    label: str
    value: float
    said: str
    color: str = "accent"


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawing:
    """A chart in both widths."""

    wide: Markup
    narrow: Markup


def bars(name: str, items: Sequence[Bar]) -> Drawing:
    """Horizontal bars, each with its words: beside it where there is room, above it where there is none."""
    most = max((bar.value for bar in items), default=0) or 1
    values = [
        {"place": place, "label": bar.label, "value": max(bar.value / most, _SLIVER if bar.value else 0),
         "said": bar.said, "color": f"var(--{bar.color})"}
        for place, bar in enumerate(items)
    ]  # fmt: skip
    return Drawing(wide=_drawn(f"{name}-w", _wide_bars(values)), narrow=_drawn(f"{name}-n", _narrow_bars(values)))


def strip(name: str, items: Sequence[Bar]) -> Drawing:
    """One bar cut into parts of a whole; parts too small to be seen get a sliver."""
    whole = sum(bar.value for bar in items) or 1
    least = whole * (_SLIVER + _GAP)
    end, values = 0.0, []
    for bar in items:
        start, end = end, end + max(bar.value, least)
        values.append({"start": start, "end": end - whole * _GAP, "color": f"var(--{bar.color})"})
    return Drawing(
        wide=_drawn(f"{name}-w", _strip(values, WIDE_PX)), narrow=_drawn(f"{name}-n", _strip(values, NARROW_PX))
    )


def columns(name: str, items: Sequence[tuple[float, float, float]], *, time_format: str) -> Drawing:
    """How much in each span of time. **Shapes**: (start, end, value); times as local milliseconds."""
    values = [{"start": start, "end": end, "value": value} for start, end, value in items]
    return Drawing(
        wide=_drawn(f"{name}-w", _over_time(values, WIDE_PX, 170, time_format, 8)),
        narrow=_drawn(f"{name}-n", _over_time(values, NARROW_PX, 140, time_format, 4)),
    )


def histogram(name: str, items: Sequence[tuple[str, int]], marks: Sequence[tuple[bool, float]]) -> Drawing:
    """Counts of neighbouring spans. **Shapes**: (label, count), and (is solid, place) of lines across, in spans."""
    values = [{"place": place, "label": label, "value": number} for place, (label, number) in enumerate(items)]
    lines = [{"at": place, "dash": [1, 0] if is_solid else [4, 3]} for is_solid, place in marks]
    return Drawing(
        wide=_drawn(f"{name}-w", _spans(values, lines, WIDE_PX)),
        narrow=_drawn(f"{name}-n", _spans(values, lines, NARROW_PX)),
    )


def _text(**more: Any) -> dict[str, Any]:
    return {"type": "text", "font": _FONT, "fontSize": 13, "color": "var(--ink)", "limit": 600, **more}


def _color() -> dict[str, Any]:
    return {"field": "color", "type": "nominal", "scale": None}


def _wide_bars(values: list[dict[str, Any]]) -> dict[str, Any]:
    room = WIDE_PX - _LABEL_PX - _VALUE_PX
    row = {"field": "place", "type": "ordinal", "axis": None}
    length = {
        "field": "value",
        "type": "quantitative",
        "axis": None,
        "scale": {"domain": [0, 1], "range": [_LABEL_PX, _LABEL_PX + room]},
    }
    return {
        "width": WIDE_PX, "height": {"step": 28}, "data": {"values": values},
        "encoding": {"y": row},
        "layer": [
            {"mark": _text(align="left", baseline="middle", limit=_LABEL_PX - 12),
             "encoding": {"x": {"value": 0}, "text": {"field": "label"}}},
            {"mark": {"type": "bar", "height": 16, "minBandSize": 2},
             "encoding": {"x": length, "x2": {"datum": 0}, "color": _color()}},
            {"mark": _text(align="left", baseline="middle", dx=8),
             "encoding": {"x": length, "text": {"field": "said"}}},
        ],
    }  # fmt: skip


def _narrow_bars(values: list[dict[str, Any]]) -> dict[str, Any]:
    row = {"field": "place", "type": "ordinal", "axis": None}
    length = {
        "field": "value",
        "type": "quantitative",
        "axis": None,
        "scale": {"domain": [0, 1], "range": [0, NARROW_PX]},
    }
    return {
        "width": NARROW_PX, "height": {"step": 44}, "data": {"values": values},
        "encoding": {"y": row},
        "layer": [
            {"mark": _text(align="left", baseline="middle", dy=-11, limit=NARROW_PX - 110),
             "encoding": {"x": {"value": 0}, "text": {"field": "label"}}},
            {"mark": _text(align="right", baseline="middle", dy=-11),
             "encoding": {"x": {"value": NARROW_PX}, "text": {"field": "said"}}},
            {"mark": {"type": "bar", "height": 12, "yOffset": 7},
             "encoding": {"x": length, "x2": {"datum": 0}, "color": _color()}},
        ],
    }  # fmt: skip


def _strip(values: list[dict[str, Any]], width: int) -> dict[str, Any]:
    whole = values[-1]["end"] if values else 1
    return {
        "width": width, "height": 26, "data": {"values": values},
        "mark": {"type": "rect", "height": 26},
        "encoding": {
            "x": {"field": "start", "type": "quantitative", "axis": None,
                  "scale": {"domain": [0, whole], "nice": False}},
            "x2": {"field": "end"}, "fill": _color(),
        },
    }  # fmt: skip


def _over_time(values: list[dict[str, Any]], width: int, height: int, time_format: str, ticks: int) -> dict[str, Any]:
    axis = {
        "format": time_format,
        "tickCount": ticks,
        "title": None,
        "grid": False,
        "labelOverlap": True,
        "labelSeparation": 12,
    }
    return {
        "width": width, "height": height, "autosize": _FIT, "data": {"values": values},
        "mark": {"type": "rect", "fill": "var(--accepted)", "stroke": "var(--paper)", "strokeWidth": 0.5},
        "encoding": {
            "x": {"field": "start", "type": "temporal", "scale": {"type": "utc"}, "axis": axis},
            "x2": {"field": "end"},
            "y": {"field": "value", "type": "quantitative", "axis": _count_axis()}, "y2": {"datum": 0},
        },
    }  # fmt: skip


def _spans(values: list[dict[str, Any]], lines: list[dict[str, Any]], width: int) -> dict[str, Any]:
    words = dumps([each["label"] for each in values])
    labels: dict[str, Any] = {
        "title": None, "grid": False, "labelAngle": 0, "labelOverlap": True, "labelSeparation": 12, "ticks": False,
        "labelExpr": f"{words}[datum.value]", "values": [each["place"] for each in values],
    }  # fmt: skip
    across: dict[str, Any] = {
        "type": "quantitative",
        "scale": {"domain": [-0.5, max(len(values) - 0.5, 0.5)], "nice": False, "zero": False},
    }
    return {
        "width": width, "height": 170, "autosize": _FIT,
        "layer": [
            {"data": {"values": [{**e, "from": e["place"] - 0.45, "to": e["place"] + 0.45} for e in values]},
             "mark": {"type": "rect", "fill": "var(--accent)"},
             "encoding": {"x": {"field": "from", **across, "axis": labels}, "x2": {"field": "to"},
                          "y": {"field": "value", "type": "quantitative", "axis": _count_axis()}, "y2": {"datum": 0}}},
            {"data": {"values": lines}, "mark": {"type": "rule", "color": "var(--ink)", "strokeWidth": 1.5},
             "encoding": {"x": {"field": "at", **across, "axis": labels},
                          "strokeDash": {"field": "dash", "type": "nominal", "scale": None}}},
        ],
    }  # fmt: skip


def _count_axis() -> dict[str, Any]:
    return {"format": ",d", "tickMinStep": 1, "tickCount": 4, "title": None, "domain": False, "ticks": False}


_CONFIG = {
    "background": None, "font": _FONT, "padding": 0, "view": {"stroke": None}, "aria": False,
    "axis": {
        "labelFontSize": 12, "labelColor": "var(--quiet)", "gridColor": "var(--line)", "domainColor": "var(--rule)",
        "tickColor": "var(--rule)", "labelPadding": 6,
    },
}  # fmt: skip


def _drawn(name: str, spec: dict[str, Any]) -> Markup:
    schema = "https://vega.github.io/schema/vega-lite/v6.json"
    return _svg(name, dumps({"$schema": schema, "config": _CONFIG, "padding": 0, **spec}, sort_keys=True))


@lru_cache(maxsize=64)
def _svg(name: str, spec: str) -> Markup:
    """The drawing, its ids made its own, with the page's word on who it is. A watched page asks for the same again."""
    drawn = _ROLES.sub("", vl_convert.vegalite_to_svg(spec))
    drawn = re.sub(r'(id="|url\(#)(?=\w)', rf"\1{name}-", drawn)
    words = f'role="img" aria-labelledby="{name[:-2]}-title {name[:-2]}-said" width="\\1" height="\\2"'
    return Markup(_SIZE.sub(f"<svg {words}", drawn))  # noqa: S704 - drawn by the library, which escapes text
