"""Which import a run continues, opens anew, or begins.

Floor: run. An import is a list in a campaign and round. The same list under the same plan, unfinished, goes on under
its own round; an edited one is opened anew, so that rows deleted since are not called; everything else begins afresh.
Only where a scheduler names its runs, one that comes again after it finished is told what it did.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from importer.intake import Plan
from importer.ledger import IntakeBook
from importer.ledger.records import Campaign, Import
from importer.sources import FileInfo, RowList, scheme_of, shown_name


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """The import to work on and the plan it goes under. `how` is `continued`, `reopened`, `finished` or `begun`."""

    an_import: Import
    plan: Plan
    how: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What the run asks for, where it bears on the choice."""

    list_name: str
    round_name: str
    plan: Plan
    is_once_per_said: bool
    settings: dict[str, Any]
    batch_size_rows: int
    run_id: str | None = None


def choose_import(book: IntakeBook, campaign: Campaign, row_list: RowList, wanted: Wanted, *, now_ms: int) -> Choice:
    """Finds the unfinished import this list belongs to, or begins one."""
    files = [facts_of(info) for info in row_list.files]
    for candidate in book.unfinished_imports(campaign.id, wanted.list_name):
        if not _is_same_share(candidate, wanted):
            continue
        plan = _plan_under(candidate, wanted)
        if plan.as_mapping() == candidate.mapping and _is_same_list(book, candidate, row_list):
            book.refresh_files(candidate.id, files)
            return Choice(an_import=candidate, plan=plan, how="continued")
        if candidate.round == wanted.round_name:
            reopened = book.begin_revision(
                candidate, mapping=wanted.plan.as_mapping(), settings=wanted.settings, files=files
            )
            return Choice(an_import=reopened, plan=wanted.plan, how="reopened")
    if (finished := _finished(book, campaign, row_list, wanted)) is not None:
        return finished
    begun = book.begin_import(
        campaign_id=campaign.id,
        round_name=wanted.round_name,
        list_name=wanted.list_name,
        mapping=wanted.plan.as_mapping(),
        settings=wanted.settings,
        batch_size_rows=wanted.batch_size_rows,
        files=files,
        now_ms=now_ms,
    )
    return Choice(an_import=begun, plan=wanted.plan, how="begun")


def _finished(book: IntakeBook, campaign: Campaign, row_list: RowList, wanted: Wanted) -> Choice | None:
    """What the run of this name did already, with the same list under the same plan."""
    found = None if wanted.run_id is None else book.finished_import(campaign.id, wanted.list_name, wanted.run_id)
    if found is None or found.round != wanted.round_name:
        return None
    plan = _plan_under(found, wanted)
    if plan.as_mapping() != found.mapping or not _is_same_list(book, found, row_list):
        return None
    return Choice(an_import=found, plan=plan, how="finished")


def _is_same_share(candidate: Import, wanted: Wanted) -> bool:
    """Whether it takes the same part of its list: the whole, or the same shard; one merged of shards is theirs."""
    return candidate.settings.get("shard") == wanted.settings.get("shard") and "shards" not in candidate.settings


def _plan_under(candidate: Import, wanted: Wanted) -> Plan:
    """The wanted plan; where nobody said what the same call is or how bare digits read, the import's answer stands."""
    plan = wanted.plan
    if plan.rules.bare is None:
        plan = replace(plan, rules=replace(plan.rules, bare=candidate.mapping.get("bare")))
    if wanted.is_once_per_said:
        return plan
    return replace(plan, once_per=str(candidate.mapping.get("once_per", plan.once_per)))


def facts_of(info: FileInfo) -> dict[str, Any]:
    """What the ledger keeps of a file."""
    facts = asdict(info)
    return {**facts, "path": str(info.path), "columns": list(info.columns)}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Stamp:
    """The stamp of a file as the ledger remembers it."""

    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    inode: int


def _is_same_list(book: IntakeBook, candidate: Import, row_list: RowList) -> bool:
    known = book.files(candidate.id)
    return len(known) == len(row_list.files) and all(
        _is_same_file(facts, file_no, row_list) for file_no, facts in enumerate(known)
    )


def _is_same_file(known: dict[str, Any], file_no: int, row_list: RowList) -> bool:
    """Unedited by its stamp; else, once its content is known, by its content. Read the same way, either way."""
    reading = ("name", "format", "compression", "encoding", "delimiter", "quote", "has_header", "sheet")
    info = row_list.files[file_no]
    if any(known[field] != getattr(info, field) for field in reading) or known["columns"] != list(info.columns):
        return False
    stamp = _Stamp(**{field: known[field] for field in ("size_bytes", "mtime_ns", "ctime_ns", "inode")})
    if info.version is not None and info.version == known.get("version"):
        return True
    return row_list.is_same_content(file_no, stamp, known["sha256"])


def list_name_of(sources: Sequence[str], said: str | None) -> str:
    """What an import is called: as said, else the list's own path (several: joined), or address without its secrets."""
    return said or ", ".join(map(_source_name, sources))


def _source_name(source: str) -> str:
    is_local_file = source != "-" and scheme_of(source) is None
    return str(Path(source).absolute()) if is_local_file else shown_name(source)
