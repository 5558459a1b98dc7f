"""The figures of the page: each a title, a sentence that says what is to be seen, a drawing, and a table of numbers.

Floor: report. The sentence is the text alternative as well: who cannot see the drawing is told what it shows, not that
there is one. A newcomer may question the fixed colours: a state has one colour on the whole page, and always its name
beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from markupsafe import Markup

from importer.ledger.tally import SendCount
from importer.model import Balance
from importer.report import charts
from importer.report.charts import Bar, Drawing
from importer.report.facts import Facts
from importer.report.latency import Latency, latency
from importer.report.masking import masked
from importer.report.timeline import Timeline, timeline
from importer.report.words import count, counted, duration, milliseconds, moment, rows, say, share, spoken

MOST_BARS = 12
# (field of the balance and colour, what people call it, what it means)
STATES = (
    ("accepted", "Accepted", "the platform has a call job for it"),
    ("pending", "Pending", "waiting to be sent"),
    ("in_doubt", "In doubt", "perhaps accepted: an answer was lost, and asking again would prove nothing"),
    ("duplicate", "Not sent again", "the same row stood in the list before, or was accepted earlier"),
    ("suppressed", "Do not call", "its number is on a do-not-call list"),
    ("withdrawn", "Withdrawn", "taken out by its owner before it was ever sent"),
    ("refused", "Declined", "the platform said no"),
    ("rejected", "Unusable", "a bad number or a bad row"),
)
_TYPES = {
    "uan": "Company-wide number",
    "voip": "Internet telephony (VoIP)",
    "fixed_line_or_mobile": "Fixed line or mobile",
}
_OUTCOMES = (
    ("accepted", "Accepted", "accepted"),
    ("refused", "Declined", "refused"),
    ("not executed", "Not carried out", "pending"),
    ("doubtful", "A refusal that may not be one", "in_doubt"),
    ("unknown", "No clear answer", "in_doubt"),
    ("interrupted", "Cut off by a stop", "withdrawn"),
    ("stopped", "Stopped by the platform", "rejected"),
)
_CALLS = {
    None: ("Not shown in the reports yet", "withdrawn"),
    "planned": ("Planned", "pending"),
    "inProcess": ("Being called", "pending"),
    "inProgress": ("Being called", "pending"),
    "onRetry": ("To be called again", "in_doubt"),
    "longCallWithResult": ("Talked, with a result", "accepted"),
    "longCallWithNoResult": ("Talked, without a result", "duplicate"),
    "noAnswer": ("No answer", "withdrawn"),
    "nonexistentNumber": ("No such number", "rejected"),
    "notDone": ("Not done", "refused"),
    "technicalError": ("Technical error", "refused"),
    "cancelledByUser": ("Cancelled", "suppressed"),
    "canceled": ("Cancelled", "suppressed"),
    "unknown": ("Unknown", "withdrawn"),
}

Line = tuple[str | Markup, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One chart with everything around it. **Shapes**: `lines` have as many cells as `head`; numbers come last."""

    name: str
    title: str
    said: Markup
    drawing: Drawing
    head: tuple[str, ...]
    lines: tuple[Line, ...]


def balance(facts: Facts) -> Drawing:
    """All rows as one strip, a part for each state; the table below it is part of the page itself."""
    known = facts.line.balance
    parts = [
        Bar(label=title, value=getattr(known, name), said="", color=name)
        for name, title, _ in STATES
        if getattr(known, name)
    ]
    return charts.strip("balance", parts)


def equation(known: Balance) -> Markup:
    """The law of balance with this import's numbers, zeros left out."""
    parts = [getattr(known, name) for name, _, _ in STATES if getattr(known, name)]
    return say("{} = {}", known.read, Markup(" + ").join(map(count, parts)) if parts else 0)


def funnel(facts: Facts) -> Figure:
    """From the list to the calls: how many rows came how far."""
    known, calls = facts.line.balance, facts.funnel
    usable = known.read - known.rejected
    to_send = usable - known.duplicate - known.suppressed - known.withdrawn
    stages = [
        ("Read from the list", known.read, "ink-2"),
        ("Usable", usable, "ink-2"),
        ("To be called", to_send, "accent"),
        ("Answered by the platform", known.accepted + known.refused, "accent"),
        ("Accepted", known.accepted, "accepted"),
    ]
    if calls.seen:
        stages.append(("Call jobs finished", calls.finished, "accepted"))
    return _bars(
        "funnel",
        "How far the rows came",
        say("Of {} read, {} were to be called and {} were accepted.", known.read, to_send, known.accepted),
        stages,
        ("Stage", "Rows", "Of all read"),
        known.read,
    )


def throughput(facts: Facts) -> Figure | None:
    """Rows accepted over time."""
    shown = timeline(facts.accepted_by_second)
    if not shown.stretches:
        return None
    spans = [(_local_ms(start), _local_ms(end), rows_ / shown.span_s) for start, end, rows_ in shown.spans]
    return Figure(
        name="throughput",
        title="Rows accepted a second",
        said=_pace(shown),
        drawing=charts.columns("throughput", spans, time_format=_time_format(shown)),
        head=("From", "Rows", "Rows a second"),
        lines=tuple(
            (moment(start * 1000), count(number), count(number / shown.span_s)) for start, _, number in shown.spans
        ),
    )


def _pace(shown: Timeline) -> Markup:
    number = sum(each.rows for each in shown.stretches)
    best = max(rows_ for _, _, rows_ in shown.spans) / shown.span_s
    said = say(
        "{} in {} of sending: {} a second on average, {} at the most (over {}).",
        rows(number), duration(shown.sending_s), count(number / shown.sending_s), count(best), duration(shown.span_s),
    )  # fmt: skip
    if shown.is_part:
        said += say(
            " They were sent in {} with long pauses between them; shown is the one with the most rows.",
            counted(len(shown.stretches), "stretch").replace("stretchs", "stretches"),
        )
    return said


def _local_ms(unix_s: int) -> float:
    local = datetime.fromtimestamp(unix_s).astimezone()
    return (unix_s + (local.utcoffset() or local - local).total_seconds()) * 1000


def _time_format(shown: Timeline) -> str:
    span_s = shown.spans[-1][1] - shown.spans[0][0]
    if span_s < 180:
        return "%H:%M:%S"
    return "%H:%M" if span_s < 86_400 else "%b %d, %H:%M"


def rejects(facts: Facts) -> Figure | None:
    """Bad rows by reason."""
    if not facts.rejects:
        return None
    number = facts.line.balance.rejected
    reason, most = facts.rejects[0]
    return _bars(
        "reasons",
        "Unusable rows by reason",
        say(
            "{} of {} cannot be used, {} of them for the commonest reason: {}.",
            number, rows(facts.line.balance.read), most, spoken(reason).lower(),
        ),
        [(spoken(name), rows_, "rejected") for name, rows_ in facts.rejects],
        ("Reason", "Rows", "Of the unusable"),
        number,
    )  # fmt: skip


def countries(facts: Facts) -> Figure | None:
    """Good numbers by country."""
    return _numbers("countries", "Countries", facts.regions, "country", "countries", _country)


def number_types(facts: Facts) -> Figure | None:
    """Good numbers by type."""
    return _numbers("types", "Number types", facts.types, "type", "types", lambda name: _TYPES.get(name, spoken(name)))


def _numbers(
    name: str, title: str, counts: Mapping[str, int], one: str, many: str, named: Callable[[str], str]
) -> Figure | None:
    if not counts:
        return None
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    number = sum(counts.values())
    kinds = len(ordered)
    said = say(
        "The good numbers of the list, repeated ones included: {} in {}. Most: {}, {}.",
        number, say("{} {}", kinds, one if kinds == 1 else many), named(ordered[0][0]), share(ordered[0][1], number),
    )  # fmt: skip
    items = [(named(each), rows_, "accent") for each, rows_ in ordered]
    return _bars(name, title, said, items, (one.title(), "Numbers", "Share"), number)


def _country(region: str) -> str:
    from phonenumbers.geodata.locale import LOCALE_DATA

    names = LOCALE_DATA.get(region, {})
    name = names.get("en", "")
    while name.startswith("*"):  # the same as in another language
        name = names.get(name[1:], "")
    return f"{name} ({region})" if name else {"001": "No country (international services)"}.get(region, region)


def outcomes(facts: Facts) -> Figure | None:
    """How requests ended."""
    groups: dict[str, int] = {}
    for each in facts.sends:
        kind = _kind(each)
        groups[kind] = groups.get(kind, 0) + each.sends
    number = sum(groups.values())
    if not number:
        return None
    sent = say("{} {}", number, "request was" if number == 1 else "requests were")
    known = [(title, groups[kind], color) for kind, title, color in _OUTCOMES if groups.get(kind)]
    known += [("Under way, or cut off", groups[""], "pending")] if groups.get("") else []
    return _bars(
        "outcomes",
        "How requests ended",
        say(
            "{} sent, {} accepted at once. A request without a clear answer went again with the same bytes and the "
            "same key, so nobody is called twice by that.",
            sent, share(groups.get("accepted", 0), number),
        ),
        known,
        ("Outcome", "Requests", "Share"),
        number,
    )  # fmt: skip


def _kind(each: SendCount) -> str:
    return (each.outcome or "").split(":")[0]


def waiting(facts: Facts) -> Figure | None:
    """How long answers took."""
    times: dict[int, int] = {}
    for each in facts.sends:
        if each.elapsed_ms is not None:
            times[each.elapsed_ms] = times.get(each.elapsed_ms, 0) + each.sends
    found = latency(list(times.items()))
    if found is None:
        return None
    return Figure(
        name="latency",
        title="How long requests took",
        said=say(
            "From the first byte to the last: half took at most {}, 95 % at most {}, 99 % at most {}; the longest {}. "
            "The solid line marks the half, the broken one 95 %.",
            milliseconds(found.median_ms), milliseconds(found.p95_ms), milliseconds(found.p99_ms),
            milliseconds(found.longest_ms),
        ),
        drawing=_histogram(found),
        head=("Took", "Requests", "Share"),
        lines=tuple(
            (say("{} to {}", milliseconds(start), milliseconds(below)), count(number), share(number, found.sends))
            for start, below, number in found.spans
        ),
    )  # fmt: skip


def _histogram(found: Latency) -> Drawing:
    marks = [(True, found.place(found.median_ms)), (False, found.place(found.p95_ms))]
    return charts.histogram("latency", [(str(milliseconds(start)), number) for start, _, number in found.spans], marks)


def calls(facts: Facts) -> Figure | None:
    """What became of the calls, as far as the platform was asked."""
    known = facts.funnel
    if not known.seen:
        return None
    jobs: dict[str | None, int] = {}
    for status, _, number in known.by_status:
        jobs[status] = jobs.get(status, 0) + number
    jobs[None] = jobs.get(None, 0) + max(0, known.accepted - sum(jobs.values()))
    order = [*_CALLS, *sorted(status for status in jobs if status not in _CALLS and status)]
    found = [(*_call(status), jobs[status]) for status in order if jobs.get(status)]
    talked = say(" People were talked to for {} in all.", duration(known.talked_s)) if known.talked_s else Markup("")
    return _bars(
        "calls",
        "What became of the calls",
        say(
            "{} of {} call jobs have finished, after {}.{}",
            known.finished, known.accepted, counted(known.attempts, "call attempt"), talked,
        ),
        [(title, number, color) for title, color, number in found],
        ("Outcome", "Call jobs", "Share"),
        known.accepted,
    )  # fmt: skip


def _call(status: str | None) -> tuple[str, str]:
    return _CALLS.get(status, (masked(str(status)), "withdrawn"))


def _bars(
    name: str,
    title: str,
    said: Markup,
    items: Sequence[tuple[str, int, str]],
    head: tuple[str, str, str],
    whole: int,
) -> Figure:
    """A figure of bars; those beyond a dozen are one bar in the drawing and stand all in the table."""
    drawn = list(items[:MOST_BARS])
    if len(items) > MOST_BARS:
        rest = items[MOST_BARS - 1 :]
        drawn[-1] = (f"{len(rest)} others", sum(number for _, number, _ in rest), "ink-2")
    return Figure(
        name=name,
        title=title,
        said=said,
        drawing=charts.bars(
            name,
            [
                Bar(label=label, value=number, said=f"{number:,} · {share(number, whole).unescape()}", color=color)
                for label, number, color in drawn
            ],
        ),
        head=head,
        lines=tuple((label, count(number), share(number, whole)) for label, number, _ in items),
    )
