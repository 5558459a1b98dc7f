"""How the page says things: numbers with separators, local times, sentences that escape what they quote.

Floor: report. Numbers become markup here and nowhere else, since every other text is masked on its way into the page
and a long count would look like somebody's number. A newcomer may question that the zone stands once at the top and
not at every time: it is the same for all of them, and columns stay narrow.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from markupsafe import Markup, escape

from importer.report.masking import masked

_TIE = "\u00a0"  # keeps a number and its unit on one line


def _made(text: str) -> Markup:
    """Markup of digits and units that are made here."""
    return Markup(text)  # noqa: S704 - nothing quoted is in it


def count(number: float) -> Markup:
    """A whole number with thousands separators."""
    return _made(f"{round(number):,}")


def plain(number: int) -> Markup:
    """A number that is a name, such as that of an import or a batch: it is typed as it stands."""
    return _made(f"{number:d}")


def rows(number: int) -> Markup:
    """So many rows."""
    return counted(number, "row")


def counted(number: int, noun: str) -> Markup:
    """So many of something that takes an s."""
    return count(number) + " " + (noun if number == 1 else f"{noun}s")


def share(part: float, whole: float) -> Markup:
    """A percentage that says neither 0 nor 100 where it is not so."""
    if not whole:
        return Markup("–")
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return _made(f"&lt;{_TIE}0.1{_TIE}%")
    if 99.9 < percent < 100:
        return _made(f"&gt;{_TIE}99.9{_TIE}%")
    return _made(f"{percent:.0f}{_TIE}%" if percent in (0, 100) else f"{percent:.1f}{_TIE}%")


def milliseconds(wait_ms: float) -> Markup:
    """A duration in the unit that fits it."""
    if wait_ms < 1000:
        return _made(f"{wait_ms:,.0f}{_TIE}ms")
    return _made(f"{wait_ms / 1000:,.1f}{_TIE}s") if wait_ms < 120_000 else duration(wait_ms / 1000)


def duration(span_s: float) -> Markup:
    """A length of time in at most two units."""
    whole = round(span_s)
    for unit, size, below, part in (("d", 86_400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // part
            return _made(f"{whole // size}{_TIE}{unit}" + (f"{_TIE}{rest}{_TIE}{below}" if rest else ""))
    return _made(f"{span_s:.1f}{_TIE}s" if span_s < 10 and span_s != whole else f"{whole}{_TIE}s")


def moment(unix_ms: int | None) -> Markup:
    """A local date and time, with its offset for machines."""
    if unix_ms is None:
        return Markup("–")
    local = datetime.fromtimestamp(unix_ms / 1000).astimezone()
    return Markup('<time datetime="{}">{}</time>').format(
        local.isoformat(timespec="milliseconds"), local.strftime("%Y-%m-%d %H:%M:%S")
    )


def zone(unix_ms: int) -> str:
    """The zone of this machine at that time, such as `CET (UTC+01:00)`."""
    local = datetime.fromtimestamp(unix_ms / 1000).astimezone()
    offset = local.isoformat()[-6:]
    name = local.tzname() or ""
    return "UTC" if name == "UTC" else f"{name} (UTC{offset})" if name.isalpha() else f"UTC{offset}"


def say(template: str, /, *values: Any, **named: Any) -> Markup:
    """A sentence: numbers get separators, texts are masked and escaped, markup stays what it is."""
    return Markup(template).format(  # noqa: S704 - templates stand in our code
        *(shown(value) for value in values), **{name: shown(value) for name, value in named.items()}
    )


def shown(value: Any) -> Any:
    """A value as it may stand in the page."""
    if isinstance(value, Markup):
        return value
    if isinstance(value, bool) or value is None:
        return value
    return count(value) if isinstance(value, (int, float)) else escape(masked(str(value)))


def spoken(name: str) -> str:
    """A stable word such as `too_short` as people read it."""
    text = name.replace("_", " ").replace("-", " ")
    return text[:1].upper() + text[1:]
