"""The first sentence of the page: is every row accounted for, and what must somebody do.

Floor: report. The worst thing known is what is said first, in the order of the exit codes. A newcomer may question that
bad rows do not make a bad verdict: they are told and counted, and a list without any is rare.
"""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from importer.report.facts import Facts
from importer.report.words import counted, plain, rows, say

_DOUBT = (
    "{rows} may or may not have been taken, each at most once. Ask the platform’s reports with "
    "<code>importer reconcile {id}</code>; what they cannot settle, a person decides: "
    '<a href="#doubt">batches in doubt</a>.'
)
_PENDING = "{rows} wait to be sent. If no run is going on, <code>importer send {id}</code> sends them."
_DECLINED = '{rows} were declined by the platform: <a href="#declined">why</a>. They were not called.'
_UNUSABLE = (
    '{rows} cannot be used: <a href="#rejects">why, and how to mend them</a>. Repair them in the rejects file and run '
    "that file."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """`kind` is `well`, `look`, `act`, `busy` or `wrong`; `mark` says the same without colour."""

    kind: str
    word: str
    mark: str
    sentence: Markup
    steps: tuple[Markup, ...]


def verdict(facts: Facts) -> Verdict:
    """The verdict on an import."""
    balance = facts.line.balance
    if facts.line.an_import.is_complete and not balance.is_even:
        return _wrong(facts)
    if facts.state == "reading":
        return _reading(facts)
    told = say("{}: all accounted for. {}", rows(balance.read), _where(facts))
    if balance.pending:
        return Verdict(kind="busy", word="Not finished", mark="…", sentence=told, steps=_steps(facts))
    if balance.in_doubt:
        return Verdict(kind="act", word="A person must look", mark="!", sentence=told, steps=_steps(facts))
    if balance.refused or balance.rejected:
        return Verdict(kind="look", word="Finished, with rows to look at", mark="✓", sentence=told, steps=_steps(facts))
    return Verdict(kind="well", word="Finished", mark="✓", sentence=told, steps=())


def _wrong(facts: Facts) -> Verdict:
    balance = facts.line.balance
    return Verdict(
        kind="wrong",
        word="The balance is not even",
        mark="✗",
        sentence=say(
            "{} were read, and the states do not add up to that. The ledger is damaged or was changed from outside.",
            rows(balance.read),
        ),
        steps=(say("<code>importer ledger check</code> shows what is wrong. Nothing of it should be sent before."),),
    )


def _reading(facts: Facts) -> Verdict:
    balance = facts.line.balance
    return Verdict(
        kind="busy",
        word="The list is being read",
        mark="…",
        sentence=say("{} read so far. Nothing is sent before the list was read to its end.", rows(balance.read)),
        steps=(say("If no run is going on, start it again with the same command: it goes on where it stopped."),),
    )


def _where(facts: Facts) -> Markup:
    """Where the rows are, the good ones first, zeros left out."""
    balance = facts.line.balance
    parts = [
        (balance.accepted, "{} accepted"), (balance.pending, "{} still to be sent"), (balance.in_doubt, "{} in doubt"),
        (balance.duplicate, "{} not sent again"), (balance.suppressed, "{} on a do-not-call list"),
        (balance.withdrawn, "{} withdrawn"), (balance.refused, "{} declined by the platform"),
        (balance.rejected, "{} unusable"),
    ]  # fmt: skip
    said = [say(words, number) for number, words in parts if number]
    return _listed(said) + "." if said else Markup("None was in it.")


def _listed(parts: list[Markup]) -> Markup:
    if len(parts) == 1:
        return parts[0]
    return Markup(", ").join(parts[:-1]) + Markup(" and ") + parts[-1]


def _steps(facts: Facts) -> tuple[Markup, ...]:
    """What somebody has to do, the most urgent first."""
    balance, number = facts.line.balance, plain(facts.id)
    steps = [(balance.in_doubt, _DOUBT), (balance.pending, _PENDING), (balance.refused, _DECLINED)]
    steps.append((balance.rejected, _UNUSABLE))
    return tuple(say(words, rows=counted(count, "row"), id=number) for count, words in steps if count)
