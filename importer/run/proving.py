"""Proof of an import: the ledger against itself, the list against its fingerprint, and both against the API's reports.

Floor: run. A proof only reads; a run may be going on. A newcomer may question what counts as a second job: the reports
echo neither key nor payload, so a whole request carried out twice shows as one createdAt with a job for each of its
numbers that no receipt holds. Jobs that others made for the same numbers do not look like that, and are let be.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from importer.client import ApiError, Found, JobReport
from importer.errors import ListProblem, UsageProblem
from importer.keys import netstring
from importer.ledger.audit import Audit, Checked, Finding, Kept, ids_of
from importer.ledger.phone_index import PhoneIndex
from importer.ledger.seals import read_receipt
from importer.ledger.stand_ins import is_erased
from importer.ledger.upkeep import snapshot
from importer.ledger.view import ImportLine
from importer.model import Balance
from importer.sources import content_sha256

MOST_NAMED = 20
_BEFORE_MS = 120_000  # of a send whose start is known by the API's own clock
_BEFORE_WITHOUT_DATE_MS = 3_600_000
_AFTER_MS = 600_000
_SINGLE_MS = 10_000  # how far from a one-row request its second job may have been made
_JOINED_MS = 1_800_000  # spans closer than this are asked for as one
_ASKED_IDS = 10_000


class Reports(Protocol):
    """The API's reports; `CallsApi` gives them."""

    def iter_job_reports_by_date(
        self, created_from: datetime | None = None, created_to: datetime | None = None
    ) -> Iterable[JobReport]:
        """Every call job created in the span."""

    def job_reports(self, *, ids: Iterable[str] = ()) -> Found[JobReport]:
        """The reports of these jobs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceVerdict:
    """A file of the list now: `same`, `changed`, `gone`, or `unkept` (standard input, a pipe)."""

    name: str
    verdict: str
    sha256: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiVerdict:
    """What the API's reports say. **Units**: rows and jobs. `error` says why they could not be read.

    `missing` are accepted ids the API does not know, `strangers` ids it knows for another number, `doubled` batches of
    which every number has a second job made by one request; `others` counts jobs that somebody else made.
    """

    asked: int = 0
    seen: int = 0
    confirmed: int = 0
    missing: tuple[str, ...] = ()
    strangers: tuple[str, ...] = ()
    doubled: tuple[int, ...] = ()
    others: int = 0
    error: str = ""
    error_code: int = 0

    @property
    def agrees(self) -> bool:
        """True when every accepted row has its job, and none has a second one of ours."""
        return not (self.error or self.missing or self.strangers or self.doubled)


@dataclass(frozen=True, kw_only=True, slots=True)
class Erased:
    """What was erased of an import and cannot be proved again. **Units**: requests, rows; Unix milliseconds."""

    requests: int = 0
    single_rows: int = 0
    first_ms: int | None = None
    last_ms: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Proof:
    """Everything that was held against everything else, and what came of it."""

    made_at: datetime
    line: ImportLine
    ledger_id: str
    checks: tuple[Checked, ...]
    sources: tuple[SourceVerdict, ...]
    requests_sha256: str
    requests: int
    rows_without_id: int
    api: ApiVerdict | None
    erased: Erased = field(default_factory=Erased)

    @property
    def balance(self) -> Balance:
        """Where every row of the import is."""
        return self.line.balance

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What in the ledger cannot be so."""
        return tuple(each for check in self.checks for each in check.findings)

    @property
    def exit_code(self) -> int:
        """0 proved, 5 the ledger contradicts itself, 6 or 7 the API could not be asked, 8 a person must decide."""
        if self.findings:
            return 5
        if self.api is not None and self.api.error:
            return self.api.error_code
        if not self.line.an_import.is_complete:
            return 7
        is_open = self.balance.in_doubt or self.rows_without_id
        return 8 if is_open or (self.api is not None and not self.api.agrees) else 0

    @property
    def verdict(self) -> str:
        """One word: `proved`, `contradicted`, `unasked`, `unfinished` or `undecided`."""
        words = {0: "proved", 5: "contradicted", 6: "unasked", 7: "unasked", 8: "undecided"}
        is_unfinished = self.exit_code == 7 and not (self.api and self.api.error)
        return "unfinished" if is_unfinished else words[self.exit_code]


def prove(path: Path, import_id: int, *, reports: Reports | None, now_ms: int) -> Proof:
    """Proves an import; without `reports`, by the ledger and the list alone.

    **Errors**: LedgerProblem when there is no such ledger or import.
    """
    with snapshot(path) as connection:
        audit = Audit(connection, path)
        line = audit.view.import_line(import_id)
        story = _Story.read(audit, line)
    return Proof(
        made_at=datetime.fromtimestamp(now_ms / 1000, UTC),
        line=line,
        ledger_id=story.ledger_id,
        checks=story.checks,
        sources=tuple(_source_verdict(name, facts, kept) for name, facts, kept in story.files),
        requests_sha256=story.digest,
        requests=story.requests,
        rows_without_id=story.rows_without_id,
        api=None if reports is None else _Witnesses(path, line, story, reports).hear(),
        erased=story.erased,
    )


def check_token_is_of(path: Path, import_id: int, fingerprint: bytes) -> None:
    """Refuses to ask one campaign about another's import. **Errors**: UsageProblem."""
    with snapshot(path) as connection:
        found = connection.execute(
            "SELECT c.fingerprint FROM imports i JOIN campaigns c ON c.id = i.campaign_id WHERE i.id = ?", [import_id]
        ).fetchone()
    if found is None or found[0] != fingerprint:
        raise UsageProblem(
            "The token belongs to another campaign than this import.",
            hint="Name the import's own campaign with --campaign, or its token; --offline asks nobody.",
        )


# --- the ledger -----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Story:
    """What the ledger tells of one import, as far as a proof needs it. `jobs`: id to number, of accepted rows."""

    ledger_id: str
    checks: tuple[Checked, ...] = ()
    files: list[tuple[str, dict[str, Any], str | None]] = field(default_factory=list)
    digest: str = ""
    requests: int = 0
    rows_without_id: int = 0
    jobs: dict[str, int] = field(default_factory=dict, repr=False)
    spans: list[tuple[int, int]] = field(default_factory=list)
    known_doubles: set[int] = field(default_factory=set)
    erased: Erased = field(default_factory=Erased)

    @classmethod
    def read(cls, audit: Audit, line: ImportLine) -> _Story:
        """Reads it all in one pass over the batches."""
        an_import, connection = line.an_import, audit.connection
        story = cls(ledger_id=connection.execute("SELECT ledger_id FROM ledger_info").fetchone()[0])
        story.files = _files(connection, an_import.id)
        requests = story._read_requests(audit, an_import.id)
        story.checks = (
            audit.checked("balance", lambda: audit.judge_balance(an_import.id)),
            audit.checked("list", lambda: _judge_files(connection, an_import.id, is_complete=an_import.is_complete)),
            *requests,
            audit.checked("ids once in the campaign", lambda: audit.judge_shared_ids(an_import.campaign_id)),
        )
        story.spans = _spans(connection, an_import.id)
        story.erased = _erased(connection, an_import.id)
        return story

    def _read_requests(self, audit: Audit, import_id: int) -> list[Checked]:
        digest = hashlib.sha256()

        def noted(kept: Kept) -> None:
            self.requests += kept.state != "split"
            receipt = kept.receipt.text if kept.receipt else ""
            for part in (kept.request_key, kept.state, (kept.sha256 or b"").hex(), receipt):
                digest.update(netstring(part.encode()))
            self._note_jobs(kept)

        checks = audit.requests([import_id], on_batch=noted)
        self.digest = digest.hexdigest()
        return checks

    def _note_jobs(self, kept: Kept) -> None:
        if kept.receipt is None or kept.receipt.kind != "accepted":
            return
        ids = ids_of(kept.receipt.text)
        self.rows_without_id += sum(not isinstance(each, str) for each in ids)
        if (read_receipt(kept.receipt.text) or {}).get("extra_ids"):
            self.known_doubles.add(kept.id)
        pairs = zip(ids, kept.members, strict=False)  # a length that differs is a finding already
        self.jobs.update((each, member.phone) for each, member in pairs if isinstance(each, str))


def _files(connection: sqlite3.Connection, import_id: int) -> list[tuple[str, dict[str, Any], str | None]]:
    rows = connection.execute(
        "SELECT name, facts, sha256 FROM files WHERE import_id = ? ORDER BY file_no", [import_id]
    ).fetchall()
    return [(name, json.loads(facts), sha256) for name, facts, sha256 in rows]


def _judge_files(connection: sqlite3.Connection, import_id: int, *, is_complete: bool) -> tuple[int, list[Finding]]:
    """Two counts of every file agreed when it was read, and it has a fingerprint since, unless that was erased."""
    rows = connection.execute(
        "SELECT f.file_no, f.read_rows, f.witness_rows, coalesce(f.sha256, iif(i.erased_ms > 0, '', NULL)) "
        "FROM files f JOIN imports i ON i.id = f.import_id WHERE f.import_id = ? ORDER BY f.file_no",
        [import_id],
    ).fetchall()
    if not is_complete:
        return len(rows), []
    bad = [no for no, read, witness, sha256 in rows if read != witness or sha256 is None or len(sha256) not in (0, 64)]
    return len(rows), [Finding(check="list", text=f"file {no + 1} has no agreed count or fingerprint") for no in bad]


def _erased(connection: sqlite3.Connection, import_id: int) -> Erased:
    requests, single_rows, first_ms, last_ms = connection.execute(
        "SELECT count(*) FILTER (WHERE is_request), count(*) FILTER (WHERE NOT is_request), min(erased_ms), "
        "max(erased_ms) FROM (SELECT e.erased_ms, 1 AS is_request FROM batches b JOIN erased_batches e "
        "ON e.batch_id = b.id WHERE b.import_id = ?1 UNION ALL SELECT r.erased_ms, 0 FROM imports i JOIN erased_rows r "
        "ON r.row_id >= i.first_row_id WHERE i.id = ?1 AND r.row_id IN "
        "(SELECT a.id FROM all_rows a WHERE a.import_id = ?1 AND a.id = r.row_id))",
        [import_id],
    ).fetchone()
    return Erased(requests=requests, single_rows=single_rows, first_ms=first_ms, last_ms=last_ms)


def _source_verdict(name: str, facts: Mapping[str, Any], kept: str | None) -> SourceVerdict:
    """The file's content now against its fingerprint then."""
    if facts.get("is_spooled") or kept is None:
        return SourceVerdict(name=name, verdict="unkept", sha256=kept)
    try:
        now = content_sha256(str(facts.get("path", name)))
    except ListProblem:
        return SourceVerdict(name=name, verdict="gone", sha256=kept)
    return SourceVerdict(name=name, verdict="same" if now == kept else "changed", sha256=kept)


def _spans(connection: sqlite3.Connection, import_id: int) -> list[tuple[int, int]]:
    """When the API may have made jobs for an import, by its own clock as well as it is known; joined where close."""
    rows = connection.execute(
        "SELECT s.server_low_ms, s.armed_ms, coalesce(s.ended_ms, s.armed_ms) FROM sends s "
        "JOIN batches b ON b.id = s.batch_id WHERE b.import_id = ?",
        [import_id],
    )
    return list(_joined(sorted(_span(*row) for row in rows)))


def _span(low_ms: int | None, armed_ms: int, ended_ms: int) -> tuple[int, int]:
    if low_ms is None:
        return armed_ms - _BEFORE_WITHOUT_DATE_MS, ended_ms + _BEFORE_WITHOUT_DATE_MS
    return low_ms - _BEFORE_MS, low_ms + max(0, ended_ms - armed_ms) + _AFTER_MS


def _joined(spans: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    begin, end = None, 0
    for first, last in spans:
        if begin is not None and first > end + _JOINED_MS:
            yield begin, end
            begin = None
        begin, end = (first, last) if begin is None else (begin, max(end, last))
    if begin is not None:
        yield begin, end


# --- the API --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Seen:
    """A job that no receipt of the import holds, for a number the import holds."""

    id: str
    phone: int
    created_ms: int | None


class _Witnesses:
    """The API's reports, heard about one import."""

    def __init__(self, path: Path, line: ImportLine, story: _Story, reports: Reports) -> None:
        self._path = path
        self._line = line
        self._story = story
        self._reports = reports
        self._left = dict(story.jobs)
        self._strangers: list[str] = []
        self._unclaimed: list[_Seen] = []
        self._seen = 0

    def hear(self) -> ApiVerdict:
        """Asks for the spans of the sends, then for each id that was not among them."""
        try:
            self._hear_spans()
            missing = self._hear_ids()
        except ApiError as problem:
            return ApiVerdict(asked=len(self._story.jobs), error=problem.message, error_code=problem.exit_code)
        doubled, explained = self._doubled()
        return ApiVerdict(
            asked=len(self._story.jobs),
            seen=self._seen,
            confirmed=len(self._story.jobs) - len(missing) - len(self._strangers),
            missing=tuple(missing),
            strangers=tuple(self._strangers),
            doubled=tuple(sorted(doubled | self._story.known_doubles)),
            others=len(self._unclaimed) - explained,
        )

    def _hear_spans(self) -> None:
        numbers = set(self._story.jobs.values())
        for begin, end in self._story.spans:
            moments = (datetime.fromtimestamp(ms / 1000, UTC) for ms in (begin, end))
            for report in self._reports.iter_job_reports_by_date(*moments):
                self._seen += 1
                if not self._confirm(report) and _number(report.phone) in numbers:
                    self._unclaimed.append(_seen(report))

    def _confirm(self, report: JobReport) -> bool:
        """Whether the job is one of ours; if so, whether it is for the number we think."""
        known = self._story.jobs.get(report.call_job_id)
        if known is None:
            return False
        if self._left.pop(report.call_job_id, None) is None or is_erased(known):
            return True
        if _number(report.phone) != known:
            self._strangers.append(report.call_job_id)
        return True

    def _hear_ids(self) -> list[str]:
        """The ids the API does not know, after asking for each that no span showed."""
        waiting = list(self._left)
        for start in range(0, len(waiting), _ASKED_IDS):
            for report in self._reports.job_reports(ids=waiting[start : start + _ASKED_IDS]).items:
                self._confirm(report)
        return list(self._left)

    def _doubled(self) -> tuple[set[int], int]:
        """Batches carried out a second time, and how many of the unclaimed jobs that explains."""
        if not self._unclaimed:
            return set(), 0
        with snapshot(self._path) as connection:
            held = _ids_elsewhere(connection, self._line)
            self._unclaimed = [job for job in self._unclaimed if job.id not in held]
            return _second_jobs(connection, self._line.an_import.id, self._unclaimed)


def _number(phone: str) -> int:
    digits = "".join(sign for sign in phone if sign.isdigit())
    return int(digits[:18] or 0)


def _seen(report: JobReport) -> _Seen:
    created_ms = None if report.created_at is None else int(report.created_at.timestamp() * 1000)
    return _Seen(report.call_job_id, _number(report.phone), created_ms)


def _ids_elsewhere(connection: sqlite3.Connection, line: ImportLine) -> set[str]:
    """The ids that receipts of the campaign hold, this import's known doubles among them."""
    rows = connection.execute(
        "SELECT c.content FROM receipts c JOIN batches b ON b.id = c.batch_id JOIN imports i ON i.id = b.import_id "
        "WHERE c.kind = 'accepted' AND i.campaign_id = ?",
        [line.an_import.campaign_id],
    )
    held: set[str] = set()
    for (text,) in rows:
        content = read_receipt(text) or {}
        held.update(each for each in [*ids_of(text), *content.get("extra_ids", [])] if isinstance(each, str))
    return held


def _second_jobs(connection: sqlite3.Connection, import_id: int, jobs: Sequence[_Seen]) -> tuple[set[int], int]:
    """Accepted batches all of whose numbers have an unclaimed job of one createdAt; a batch of one, near its sends."""
    groups: dict[int, set[int]] = defaultdict(set)
    for job in jobs:
        if job.created_ms is not None:
            groups[job.created_ms].add(job.phone)
    doubled, explained = set(), 0
    for created_ms, numbers in groups.items():
        for batch_id, found in _batches_of(connection, import_id, numbers).items():
            size_rows = connection.execute("SELECT size_rows FROM batches WHERE id = ?", [batch_id]).fetchone()[0]
            if found == size_rows and (size_rows > 1 or _is_near(connection, batch_id, created_ms)):
                doubled.add(batch_id)
                explained += size_rows
    return doubled, explained


def _batches_of(connection: sqlite3.Connection, import_id: int, numbers: Iterable[int]) -> Counter[int]:
    """How many of these numbers each accepted batch has."""
    sql = (
        "SELECT r.batch_id FROM rows r JOIN batches b ON b.id = r.batch_id "
        "WHERE r.phone = ? AND r.import_id = ? AND b.state = 'accepted'"
    )
    wanted = list(numbers)
    apart = [row[0] for number in wanted for row in connection.execute(sql, [number, import_id])]
    packed = [row.batch_id for row in PhoneIndex(connection).find(wanted) if row.import_id == import_id]
    accepted = "SELECT 1 FROM batches WHERE id = ? AND state = 'accepted'"
    is_accepted = {each: connection.execute(accepted, [each]).fetchone() for each in set(packed)}
    return Counter([*apart, *(each for each in packed if each is not None and is_accepted[each])])


def _is_near(connection: sqlite3.Connection, batch_id: int, created_ms: int) -> bool:
    rows = connection.execute(
        "SELECT coalesce(server_low_ms, armed_ms), coalesce(ended_ms, armed_ms) - armed_ms FROM sends "
        "WHERE batch_id = ?",
        [batch_id],
    )
    return any(low_ms - _SINGLE_MS <= created_ms <= low_ms + took_ms + _SINGLE_MS for low_ms, took_ms in rows)
