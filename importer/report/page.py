"""The page itself: facts and figures put into one template that escapes and masks whatever it prints.

Floor: report. Style and, for a watched page, script stand inside the file and are named to the browser by their hash or
a nonce; everything else is forbidden by the page's own policy. A newcomer may question that masking hangs on printing
rather than on each field: a field that somebody adds later is masked as well.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template
from markupsafe import Markup

from importer import __version__
from importer.ledger.view import ImportLine
from importer.report import figures, words
from importer.report.facts import Facts
from importer.report.masking import masked_cell
from importer.report.verdict import verdict

_SKIPS = {
    "repeated": "stand in the list more than once; the first of them counts",
    "already": "were accepted before, in this campaign and round",
    "changed": "are known with other content, and were not sent again",
    "recent": "were called too lately (--not-if-called-within)",
    "suppressed": "are on a do-not-call list",
}
_FINDINGS = {
    "all": "one call job for each row",
    "several": "call jobs made more than once",
    "none": "none of its numbers",
    "some": "call jobs that do not fit the batch",
    "unreadable": "the reports could not be read",
    "person": "a person decided",
}
_KNOWN_BY = {
    "answer": "by the platform’s answer to the request",
    "report": "by the platform’s reports, after the answer was lost",
    "person": "by a person’s word",
}
_BATCH_STATES = {"in_doubt": "in doubt", "frozen": "to be sent", "armed": "being sent", "waiting": "to be sent again"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Live:
    """What a watched page has besides: the nonce of its script, and how often it asks. **Units**: milliseconds."""

    nonce: str
    every_ms: int


def render(facts: Facts, live: Live | None = None) -> str:
    """The whole page as HTML."""
    return _template().render(
        facts=facts,
        live=live,
        policy=Markup(policy(live)),  # noqa: S704 - made here
        script=Markup(_resource("live.js")),  # noqa: S704 - ours
        style=Markup(_resource("page.css")),  # noqa: S704 - ours
        version=__version__,
        line=facts.line,
        verdict=verdict(facts),
        balance=figures.balance(facts),
        states=_states(facts.line),
        equation=figures.equation(facts.line.balance),
        **{each.__name__: each(facts) for each in _FIGURES},
        reasons=_reasons(facts),
        skips=[(facts.skips[name], said) for name, said in _SKIPS.items() if facts.skips.get(name)],
        known_by=[(facts.known_by[name], said) for name, said in _KNOWN_BY.items() if facts.known_by.get(name)],
        findings=_FINDINGS,
        batch_states=_BATCH_STATES,
    )


_FIGURES = (
    figures.funnel, figures.throughput, figures.rejects, figures.countries, figures.number_types, figures.outcomes,
    figures.waiting, figures.calls,
)  # fmt: skip


def policy(live: Live | None) -> str:
    """What the browser may do with the page: show its own style and icon, and for a watched one run its own script."""
    digest = base64.b64encode(hashlib.sha256(_resource("page.css").encode()).digest()).decode()
    allowed = ["default-src 'none'", f"style-src 'sha256-{digest}'", "img-src data:", "base-uri 'none'"]
    allowed += ["form-action 'none'"]
    allowed += [f"script-src 'nonce-{live.nonce}'", "connect-src 'self'"] if live else []
    return "; ".join(allowed)


def _states(line: ImportLine) -> list[tuple[str, str, str, int]]:
    """The states that rows are in, accepted always among them: name, title, meaning, rows."""
    found = [(name, title, said, int(getattr(line.balance, name))) for name, title, said in figures.STATES]
    return [each for each in found if each[3] or each[0] == "accepted"]


def _reasons(facts: Facts) -> list[dict[str, Any]]:
    """Each reason for rejecting, with what to do and masked examples."""
    return [
        {
            "title": words.spoken(reason),
            "rows": number,
            "explanation": next((_sentence(each.explanation) for each in facts.examples.get(reason, ())), ""),
            "examples": [
                (each, None if each.cell is None else masked_cell(each.cell)) for each in facts.examples.get(reason, ())
            ],
        }
        for reason, number in facts.rejects
    ]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?", "!")) else ".")


@lru_cache(maxsize=4)
def _resource(name: str) -> str:
    """A file that lies beside this module."""
    return files("importer.report").joinpath(name).read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _template() -> Template:
    environment = Environment(
        loader=FunctionLoader(_resource),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=words.shown,
    )
    named = ("plain", "rows", "share", "moment", "zone")
    environment.globals.update({name: getattr(words, name) for name in named})
    return environment.get_template("page.html")
