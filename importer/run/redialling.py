"""A new round from the outcomes of an old one: the rows whose calls ended so, as a list of their own.

Floor: run. The rows go the ordinary way, through intake, do-not-call and every check, since nothing that holds for a
list is less true of this one. A newcomer may question the mapping made here: the columns of the list are given names
that mean nothing, so that a payload key may be called like a field of the platform, and numbers stay numbers.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from importer.errors import UsageProblem
from importer.intake.mapping import ListMapping, parse_mapping
from importer.ledger import OutcomeBook
from importer.ledger.outcome_book import OutcomeRow
from importer.ledger.records import Import
from importer.machine import private_umask

# The statuses a call job can end with, as the platform documents them.
OUTCOMES = (
    "noAnswer", "longCallWithNoResult", "longCallWithResult", "notDone", "technicalError", "nonexistentNumber",
    "cancelledByUser", "unknown",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class RedialList:
    """The list that was written. **Units**: rows; `erased_rows` ended so, and nobody knows their numbers any more."""

    path: Path
    rows: int
    erased_rows: int
    mapping: ListMapping


def judge_outcomes(said: str, known: Iterable[str]) -> tuple[str, ...]:
    """The outcomes in a comma-separated list. **Errors**: UsageProblem for one nobody has seen, with the nearest."""
    all_known = list(dict.fromkeys([*OUTCOMES, *known]))
    names = tuple(dict.fromkeys(name.strip() for name in said.split(",") if name.strip()))
    for name in names:
        if name not in all_known:
            near = difflib.get_close_matches(name, all_known, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"They are: {', '.join(all_known)}."
            raise UsageProblem(f"{name!r} is no outcome of a call job.", hint=hint)
    if not names:
        raise UsageProblem("Say which outcomes to dial again, such as --outcome noAnswer.")
    return names


def round_for(parent: Import, imports: Sequence[Import], outcomes: Sequence[str]) -> str:
    """The round of a redial nobody named: an unfinished one of the same rows goes on, else the next one begins."""
    children = [each for each in imports if each.facts.get("parent", {}).get("import") == parent.id]
    for child in children:
        if child.finished_ms is None and child.facts["parent"].get("outcomes") == list(outcomes):
            return child.round
    return f"redial-{parent.id}-{len(children) + 1}"


def judge_round(said: str | None, parent: Import) -> None:
    """A redial needs a round of its own. **Errors**: UsageProblem for its parent's, in which all were called."""
    if said and said == parent.round:
        raise UsageProblem(
            f"Import {parent.id} was made in round {said!r} itself: everybody was called in it.",
            hint="Leave --round out, or name another.",
        )


def write_list(book: OutcomeBook, import_id: int, outcomes: Sequence[str], path: Path) -> RedialList:
    """Writes the rows whose call job has finished with one of these outcomes, as JSON lines, 0600.

    **Shapes**: `phone`; `p0`, `p1`, … the payload; `c0`, … the call policy: the mapping says which is which.
    """
    wanted = frozenset(outcomes)
    kinds: dict[str, set[str]] = {}
    policy: dict[str, None] = {}
    for row in _ended(book, import_id, wanted):
        for name, value in (row.item.get("payload") or {}).items():
            kinds.setdefault(name, set()).add(_kind(value))
        policy.update(dict.fromkeys(row.item.keys() - {"phone", "payload"}))
    payload, policies = {name: _type(kind) for name, kind in kinds.items()}, sorted(policy)
    rows = erased_rows = 0
    with private_umask(), path.open("w", encoding="utf-8", newline="\n") as file:
        for row in _ended(book, import_id, wanted):
            if row.phone is None:
                erased_rows += 1
                continue
            file.write(json.dumps(_line(row.item, payload, policies), ensure_ascii=False) + "\n")
            rows += 1
    return RedialList(path=path, rows=rows, erased_rows=erased_rows, mapping=_mapping(payload, policies))


def _ended(book: OutcomeBook, import_id: int, wanted: frozenset[str]) -> Iterator[OutcomeRow]:
    """Only what has finished: a job that may still be dialled must not be dialled twice."""
    for row in book.rows(import_id):
        if row.job is not None and row.job.is_finished and row.job.status in wanted:
            yield row


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    return "text" if isinstance(value, str) else "json"


def _type(kinds: set[str]) -> str:
    """What a mapping calls a key's values; JSON where they are of several kinds."""
    return next(iter(kinds)) if len(kinds) == 1 else "json"


def _line(item: dict[str, Any], payload: dict[str, str], policies: Sequence[str]) -> dict[str, str]:
    values = item.get("payload") or {}
    line = {"phone": f"+{item['phone']}"}
    for place, (name, kind) in enumerate(payload.items()):
        if name in values:
            line[f"p{place}"] = values[name] if kind == "text" else json.dumps(values[name], ensure_ascii=False)
    for place, name in enumerate(policies):
        if name in item:
            line[f"c{place}"] = item[name] if isinstance(item[name], str) else json.dumps(item[name])
    return line


def _mapping(payload: dict[str, str], policies: Sequence[str]) -> ListMapping:
    fields = {name: {"column": f"p{place}", "type": kind} for place, (name, kind) in enumerate(payload.items())}
    rules = {name: {"column": f"c{place}"} for place, name in enumerate(policies)}
    said = {"phone": "phone", "rest": "drop", "payload": fields, "policy": rules}
    return parse_mapping(said, "redial")
