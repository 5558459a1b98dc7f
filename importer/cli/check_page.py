"""The page that `check` shows: what was read, what `run` would do, and every kind of bad row with how to mend it.

Floor: cli. Lines fit the terminal; cells come last on their line and are cut with `…`, since they are only there to be
found again. Colour repeats what the words say, and goes away with NO_COLOR or where there is no terminal.
"""

from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import click

from importer.cli.console import safe
from importer.cli.words import day

if TYPE_CHECKING:
    from importer.errors import ListProblem
    from importer.phones import Suggestion
    from importer.run.checking import CheckReport, RejectExample, RepeatExample

_WIDEST = 100
_NARROWEST = 40
_LABEL = 17
_HINT_INDENT = " " * 32  # under what is said of an option
_MOST_SHOWN = 6
_TIE = "\u00a0"  # holds a name and its count together until lines are made
_MIXED_SHARE = 0.01

_SKIPPED = {
    "repeated": "stand in the list more than once",
    "already": "were here before, and would not be called again",
    "changed": "are known with other content, and would not be called",
    "recent": "were called too lately",
    "suppressed": "on a do-not-call list",
}
_STYLES = {
    "plus": "with +",
    "double_zero": "with 00",
    "zero": "with 0",
    "digit": "with another digit",
    "none": "without a digit",
}
_WARNINGS = {
    "test_range": "in ranges kept for tests and fiction",
    "extension_dropped": "an extension was left out",
    "letters_as_digits": "letters were read as on a keypad",
    "invisible_characters": "characters that cannot be seen were left out",
}


def show(report: CheckReport, problem: ListProblem | None) -> None:
    """Writes the page to standard output. `problem` is why `run` without a person to ask would send nothing."""
    width = max(_NARROWEST, min(shutil.get_terminal_size((_WIDEST, 24)).columns, _WIDEST))
    color = False if os.environ.get("NO_COLOR") else None
    for line in _lines(report, problem, width):
        click.echo(line, color=color)


def _lines(report: CheckReport, problem: ListProblem | None, width: int) -> Iterator[str]:
    yield from _source(report, width)
    yield ""
    yield from _balance(report)
    yield from _skipped(report, width)
    yield from _rejected(report, width)
    yield from _accepted(report, width)
    yield ""
    yield from _verdict(report, problem, width)
    if report.suggestion is not None:
        yield ""
        yield from _regions(report.suggestion, width)
    yield ""
    if report.unfinished is not None:
        number, rows = report.unfinished
        told = f"Import {number} of this list is not finished, {_rows(rows)} pending. `importer run` goes on with it"
        yield from _wrapped(f"{told}; check counts what it holds as known.", width)
    if report.is_ledger_known and not report.is_campaign_known:
        yield from _wrapped("Who was called already is not counted: the ledger does not know this campaign.", width)
    yield f"Checked in {report.elapsed_s:,.1f} s. Nothing was sent."


def _bold(text: str, color: str | None = None) -> str:
    return click.style(safe(text), bold=True, fg=color)


def _wrapped(text: str, width: int, indent: str = "", first: str | None = None) -> list[str]:
    start = indent if first is None else first
    lines = textwrap.wrap(safe(text), width, initial_indent=start, subsequent_indent=indent, break_on_hyphens=False)
    return [line.replace(_TIE, " ") for line in lines]


def _labelled(label: str, text: str, width: int) -> list[str]:
    return _wrapped(text, width, " " * _LABEL, f"{label:{_LABEL}}")


def _source(report: CheckReport, width: int) -> Iterator[str]:
    for name, said, rows in report.files:
        yield f"{_bold(name)}: {safe(said)}, {rows:,} rows"
    yield from _labelled("Phone column", report.phone_column, width)
    yield from _labelled("The script gets", ", ".join(report.payload_columns) or "nothing", width)
    if report.policy_columns:
        yield from _labelled("Call policy", ", ".join(report.policy_columns), width)
    yield from _shape(report, width)


def _shape(report: CheckReport, width: int) -> Iterator[str]:
    """How the numbers are written and how many digits they have: where a list was cut, the second has a cliff."""
    shape = report.shape
    if not shape.rows:
        return
    yield from _labelled("Numbers begin", _most([(_STYLES[name], rows) for name, rows in shape.styles.items()]), width)
    most = sorted(shape.digits.items(), key=lambda pair: -pair[1])[:_MOST_SHOWN]
    rest = sum(shape.digits.values()) - sum(rows for _, rows in most)
    digits = _counts([(str(digits), rows) for digits, rows in sorted(most)], rest)
    yield from _labelled("Digits in a cell", digits, width)
    if shape.rows + report.balance.rejected < report.balance.read:
        yield from _labelled("", f"(of the first {shape.rows:,} rows)", width)


def _most(pairs: Iterable[tuple[str, int]]) -> str:
    """The largest counts, and the sum of the others."""
    ordered = sorted(pairs, key=lambda pair: -pair[1])
    return _counts(ordered[:_MOST_SHOWN], sum(rows for _, rows in ordered[_MOST_SHOWN:]))


def _counts(pairs: Sequence[tuple[str, int]], rest: int) -> str:
    shown = [f"{name}: {rows:,}".replace(" ", _TIE) for name, rows in [*pairs, *([("others", rest)] if rest else [])]]
    return f"{_TIE}· ".join(shown)


def _balance(report: CheckReport) -> Iterator[str]:
    balance = report.balance
    yield f"{balance.read:>12,}  rows read"
    yield f"{_bold(f'{balance.pending:>12,}', 'green')}  would be called"
    for reason, said in _SKIPPED.items():
        if report.skips.get(reason):
            yield f"{report.skips[reason]:>12,}  {said}"
    if balance.rejected:
        yield f"{_bold(f'{balance.rejected:>12,}', 'red')}  cannot be used"


def _heading(reason: str, rows: int, color: str) -> str:
    return f"{_bold(reason.replace('_', ' ').capitalize(), color)} · {_rows(rows)}"


def _rows(rows: int) -> str:
    return f"{rows:,} {'row' if rows == 1 else 'rows'}"


def _examples(pairs: Sequence[tuple[str, str]], width: int) -> Iterator[str]:
    """Places and cells in two columns, cut at the end of the line."""
    longest = max(len(place) for place, _ in pairs)
    for place, said in pairs:
        room = max(10, width - longest - 6)
        shown = safe(said)
        shown = shown if len(shown) <= room else shown[: room - 1] + "…"
        yield f"  {click.style(f'{place:<{longest}}', dim=True)}    {shown}"


def _place(report: CheckReport, file: str, row_no: int) -> str:
    place = f"row {row_no:,}"
    return place if len(report.files) == 1 else f"{safe(file)} {place}"


def _skipped(report: CheckReport, width: int) -> Iterator[str]:
    """The first duplicates of each kind, each with the row it repeats and when that was called."""
    by_reason: dict[str, list[RepeatExample]] = {}
    for each in report.repeats:
        if each.earlier_row_no is not None:
            by_reason.setdefault(each.reason, []).append(each)
    for reason, examples in by_reason.items():
        yield ""
        yield _heading(reason, report.skips.get(reason, len(examples)), "yellow")
        yield from _examples([(_place(report, e.file, e.row_no), _earlier(report, e)) for e in examples], width)


def _earlier(report: CheckReport, each: RepeatExample) -> str:
    when = "" if each.earlier_ms is None else f", accepted {day(each.earlier_ms)},"
    is_here = len(report.files) == 1 and each.earlier_list == each.file and each.earlier_ms is None
    return f"as row {each.earlier_row_no:,}{when}" + ("" if is_here else f" of {each.earlier_list}")


def _rejected(report: CheckReport, width: int) -> Iterator[str]:
    """The damage report: how many of each reason, the first different ones, and how each can be mended."""
    for reason, rows in report.reject_counts:
        examples = report.examples.get(reason, [])
        yield ""
        yield _heading(reason, rows, "red")
        if not examples:
            continue
        yield from _examples([(_place(report, e.file, e.row_no), _cell(e)) for e in examples], width)
        digits = report.bad_digits.get(reason, {})
        if len(digits) > 1:
            told = _counts([(f"{count} digits", cells) for count, cells in list(digits.items())[:_MOST_SHOWN]], 0)
            yield from _wrapped(told, width, "  ")
        for explanation in _explanations(examples):
            yield from _wrapped(explanation, width, "  ")


def _explanations(examples: Sequence[RejectExample]) -> list[str]:
    """The first one of every column: those of one column differ in their counts only."""
    first: dict[str | None, str] = {}
    for each in examples:
        text = each.explanation
        text = f"T{text[1:]}" if text.startswith("the ") else text
        first.setdefault(each.column, text if text.endswith((".", "!", "?")) else f"{text}.")
    return list(dict.fromkeys(first.values()))


def _cell(example: RejectExample) -> str:
    cell = example.cell or ""
    return cell if cell.strip() else "(only spaces)" if cell else "(empty)"


def _accepted(report: CheckReport, width: int) -> Iterator[str]:
    """What the good numbers are, and what is worth a look although they are good."""
    facts = report.facts
    types = {name.replace("_", " "): rows for name, rows in facts["types"].items() if name != "unknown"}
    if facts["regions"] or types:
        yield ""
    if facts["regions"]:
        yield from _labelled("Countries", _most(facts["regions"].items()), width)
    if types:
        yield from _labelled("Types", _most(types.items()), width)
    for rows, said in _notes(report):
        yield from _labelled("Note", f"{_rows(rows)}: {said}", width)


def _notes(report: CheckReport) -> Iterator[tuple[int, str]]:
    facts, shape = report.facts, report.shape
    if facts["types"].get("unknown"):
        yield facts["types"]["unknown"], "possible but not valid, let through by --accept"
    if facts["numbers"].get("split_off"):
        yield facts["numbers"]["split_off"], "made of cells with several numbers, beside those the list has"
    for warning, rows in facts["warnings"].items():
        yield rows, _WARNINGS[warning]
    if facts["numbers"].get("fallback"):
        yield facts["numbers"]["fallback"], "judged by `phonenumbers` one at a time"
    ways = {name: rows for name, rows in shape.styles.items() if name != "none" and rows > _MIXED_SHARE * shape.rows}
    if len(ways) > 1:
        told = _most([(_STYLES[name], rows) for name, rows in ways.items()])
        yield shape.rows, f"written in several ways ({told}). Were lists of different origin put together?"


def _verdict(report: CheckReport, problem: ListProblem | None, width: int) -> Iterator[str]:
    if problem is None:
        requests = f"{report.requests:,} {'request' if report.requests == 1 else 'requests'}"
        yield from _wrapped(f"`importer run` would send {_rows(report.balance.pending)} in {requests}.", width)
        if report.sending_s is not None:
            minutes = report.sending_s / 60
            yield f"At --rate that takes about {minutes:,.0f} min." if minutes >= 2 else "At --rate: under 2 min."
        return
    asks = " and ask" if report.questions else ""
    stops = f"`importer run` would stop{asks}, and without a terminal send nothing (exit code 4):"
    yield from (_bold(line, "red") for line in _wrapped(stops, width))
    for each in report.questions or (problem,):
        yield from _wrapped(each.message.removesuffix(" Nothing was sent."), width, "  ")
        for line in each.hint.splitlines():
            yield from _wrapped(line.strip(), width, _HINT_INDENT if line.startswith(" ") else "  ", "  ")


def _regions(found: Suggestion, width: int) -> Iterator[str]:
    """Where the numbers without a country code could be at home, with shares: never used, only told."""
    yield from _wrapped(
        f"No --region was given, and many numbers have no country code. Of {found.sampled_rows:,} different ones", width
    )
    yield f"{_bold(f'{found.share:>12.0%}')}  would be valid in {found.region}"
    for rival in sorted(found.rivals, key=lambda rival: -rival.share):
        yield f"{rival.share:>12.0%}  would be valid in {rival.region}"
    yield f"{found.plus_share:>12.0%}  are valid as they stand, country code first"
    advice = (
        f"Say --region {found.region} if that is where they are dialled."
        if found.is_clear
        else "More than one country fits, and only you know which: say it with --region."
    )
    yield from _wrapped(advice, width)
