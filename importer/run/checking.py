"""`check`: all of intake and nothing of the network, to say what `run` would do with a list.

Floor: run. The list goes through the very same intake into a ledger of its own in a temporary folder, so that check and
run cannot disagree; the real ledger, if there is one, is only read, to know who was called already.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import polars as pl

from importer import keys
from importer.errors import ListProblem
from importer.intake import Hygiene, Intake, ListMapping, Plan
from importer.ledger import EarlierBook, IntakeBook, Ledger, LedgerReader, Scratch
from importer.ledger.records import Campaign, Import
from importer.machine import Moment, this_process
from importer.model import Balance, Observer
from importer.phones import PhoneRules, Suggestion, styles, suggest_region
from importer.run.choosing import facts_of, list_name_of
from importer.run.hygiene import hygiene_of, read_suppressions
from importer.run.judging import (
    SAY_BARE,
    SAY_WHICH,
    bare_problem,
    came_back_problem,
    differences,
    doubtful_bare_rows,
    judge_balance,
)
from importer.run.settings import Checks, HoldBack, Target, plan_of
from importer.sources import Position, ReadOptions, RowList, open_list

EXAMPLES_PER_REASON = 3
_SAMPLED_PER_REASON = 1_000
# A cut or doubled digit shows in how many digits the bad cells have.
_LENGTH_REASONS = frozenset({"too_short", "too_long", "wrong_length", "no_area_code"})


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckSettings:
    """What to check, and how `run` would be asked to read it. `once_per` is None where nobody said it."""

    sources: Sequence[str]
    list_name: str | None
    round_name: str | None
    once_per: str | None
    phone_column: str | None
    region_column: str | None
    mapping: ListMapping | None
    is_splitting: bool
    rules: PhoneRules
    hold_back: HoldBack
    reading: ReadOptions
    batch_size_rows: int
    rate_rows_s: float | None
    ledger: Path | None
    target: Target | None


@dataclass(frozen=True, kw_only=True, slots=True)
class RejectExample:
    """A bad row, as a person needs it to find and mend it."""

    file: str
    row_no: int
    column: str | None
    explanation: str
    cells: str

    @property
    def cell(self) -> str | None:
        """The bad cell, or the whole record where no cell could be told."""
        found = json.loads(self.cells)
        said = found.get(self.column) if self.column in found else found.get("importer_raw")
        return None if said is None else str(said)


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnShape:
    """How the first cells of the phone column look: how they begin, and how many digits they have.

    **Units**: counts of cells; `rows` is how many were looked at.
    """

    rows: int = 0
    styles: dict[str, int] = field(default_factory=dict)
    digits: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class RepeatExample:
    """A good row that would not be called, and the row that stands for it, as far as it has one.

    **Units**: `earlier_ms` is when that one was accepted, Unix milliseconds; None while it was not.
    """

    reason: str
    file: str
    row_no: int
    earlier_list: str | None
    earlier_row_no: int | None
    earlier_ms: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckReport:
    """What `run` would do. `balance.pending` are the rows it would send.

    `bad_digits` has, for reasons of length, how many of the first bad cells have how many digits. `questions` are what
    `run` would ask a person, and without a person would end at, in that order. `unfinished` is an earlier import of
    the same list with rows still to send, which `run` would go on with, and how many those are.
    """

    list_name: str
    files: tuple[tuple[str, str, int], ...]
    phone_column: str
    payload_columns: tuple[str, ...]
    policy_columns: tuple[str, ...]
    balance: Balance
    skips: dict[str, int]
    reject_counts: tuple[tuple[str, int], ...]
    examples: dict[str, list[RejectExample]]
    bad_digits: dict[str, dict[int, int]]
    shape: ColumnShape
    repeats: tuple[RepeatExample, ...]
    doubtful_bare_rows: int
    facts: dict[str, dict[str, int]]
    came_back_rows: int
    questions: tuple[ListProblem, ...]
    requests: int
    sending_s: float | None
    suggestion: Suggestion | None
    unfinished: tuple[int, int] | None
    is_ledger_known: bool
    is_campaign_known: bool
    elapsed_s: float


def stop_of(report: CheckReport, checks: Checks) -> ListProblem | None:
    """Why `run` without a person to ask would send nothing of the list: the first question, or safety check."""
    if report.questions:
        return report.questions[0]
    try:
        judge_balance(report.balance, checks)
    except ListProblem as problem:
        return problem
    return None


def check_list(
    settings: CheckSettings, *, observer: Observer, now: Callable[[], Moment], stdin: BinaryIO
) -> CheckReport:
    """Reads a list to its end and says what `run` would do with it. Sends nothing, writes nothing that stays.

    **Errors**: ListProblem when the list cannot be read; LedgerProblem when the real ledger cannot.
    """
    started_ms = now().boot_ms
    with tempfile.TemporaryDirectory(prefix="importer-check-") as folder, contextlib.ExitStack() as stack:
        row_list = stack.enter_context(
            open_list(settings.sources, settings.reading, stdin=stdin, spool_dir=Path(folder))
        )
        scratch = stack.enter_context(Scratch(Path(folder) / "check.db", this_process(""), now_ms=0))
        plan = plan_of(settings, row_list.columns)
        reader = stack.enter_context(_real_ledger(settings))
        earlier, seed = _earlier(settings, reader)
        scratch.dnc.also(read_suppressions(settings.hold_back, settings.rules.region, Path(folder), observer))
        campaign = scratch.intake.add_campaign(
            name="check", origin="", fingerprint=b"check", key_seed=seed or "0" * 64, now_ms=0
        )
        an_import = _begin(scratch, campaign, settings, plan, row_list)
        books: list[IntakeBook] = [scratch.intake, *([earlier] if earlier else [])]
        intake = Intake(
            row_list=row_list,
            plan=plan,
            campaign=campaign,
            books=books,
            observer=observer,
            now_ms=lambda: now().unix_ms,
            is_stopping=lambda: False,
            hygiene=_hygiene(settings, scratch, reader, now().unix_ms),
        )
        done = intake.take_in(an_import)
        report = _report(settings, scratch, reader, done, plan, row_list, is_campaign_known=earlier is not None)
        return replace(report, elapsed_s=(now().boot_ms - started_ms) / 1000)


@contextlib.contextmanager
def _real_ledger(settings: CheckSettings) -> Iterator[LedgerReader | None]:
    """The real ledger, read only, if there is one."""
    if settings.ledger is None or not settings.ledger.exists():
        yield None
        return
    with LedgerReader(settings.ledger) as reader:
        yield reader


def _earlier(settings: CheckSettings, reader: LedgerReader | None) -> tuple[EarlierBook | None, str | None]:
    """The real ledger's rows of this campaign, and the seed they were keyed under."""
    if reader is None:
        return None, None
    campaign = reader.only_campaign(_fingerprint(settings))
    return (None, None) if campaign is None else (reader.earlier_book(campaign), campaign.key_seed)


def _fingerprint(settings: CheckSettings) -> bytes | None:
    target = settings.target
    if target is None:
        return None
    return keys.campaign_fingerprint(keys.campaign_seed(target.token.reveal(), target.origin))


def _hygiene(settings: CheckSettings, scratch: Ledger, reader: LedgerReader | None, now_ms: int) -> Hygiene:
    """As `run` would hold rows back: by the lists named, and by what the real ledger knows."""
    if reader is None:
        return Hygiene(is_idle=scratch.dnc.is_empty, suppressed=scratch.dnc.hits)
    dnc = reader.dnc
    return hygiene_of(
        settings.hold_back.not_if_called_within_s,
        has_no_lists=lambda: scratch.dnc.is_empty() and dnc.is_empty(),
        hits=lambda phones: scratch.dnc.hits(phones) | dnc.hits(phones),
        recently_accepted=reader.recently_accepted,
        now_ms=now_ms,
    )


def _begin(scratch: Ledger, campaign: Campaign, settings: CheckSettings, plan: Plan, row_list: RowList) -> Import:
    return scratch.intake.begin_import(
        campaign_id=campaign.id,
        round_name=settings.round_name or "",
        list_name=list_name_of(settings.sources, settings.list_name),
        mapping=plan.as_mapping(),
        settings={},
        batch_size_rows=settings.batch_size_rows,
        files=[facts_of(info) for info in row_list.files],
        now_ms=0,
    )


def _report(
    settings: CheckSettings,
    scratch: Ledger,
    reader: LedgerReader | None,
    done: Import,
    plan: Plan,
    row_list: RowList,
    *,
    is_campaign_known: bool,
) -> CheckReport:
    view = scratch.view
    balance = view.balance(done.id)
    counts = {facts["file_no"]: facts["read_rows"] for facts in scratch.intake.files(done.id)}
    sampled = _sampled(scratch, done.id)
    first_cells = _first_cells(row_list, plan)
    return CheckReport(
        list_name=done.list_name,
        files=tuple((info.name, _described(info), counts[info.file_no]) for info in row_list.files),
        phone_column=plan.phone_column,
        payload_columns=plan.payload,
        policy_columns=plan.policy,
        balance=balance,
        skips=view.skip_counts(done.id),
        reject_counts=tuple(view.reject_counts(done.id)),
        examples={reason: _different(each) for reason, each in sampled.items()},
        bad_digits={reason: _digits(each) for reason, each in sampled.items() if reason in _LENGTH_REASONS},
        shape=_shape(first_cells),
        repeats=tuple(_repeats(scratch, reader, done.id)),
        doubtful_bare_rows=0 if settings.rules.bare else doubtful_bare_rows(done),
        facts={name: done.facts.get(name, {}) for name in ("regions", "types", "warnings", "numbers")},
        came_back_rows=_came_back_rows(done),
        questions=tuple(_questions(settings, scratch, reader, done)),
        requests=view.batch_count(done.id),
        sending_s=balance.pending / settings.rate_rows_s if settings.rate_rows_s else None,
        suggestion=_suggestion(settings, first_cells, balance),
        unfinished=_unfinished(settings, reader, done.list_name),
        is_ledger_known=settings.ledger is not None and settings.ledger.exists(),
        is_campaign_known=is_campaign_known,
        elapsed_s=0.0,
    )


def _unfinished(settings: CheckSettings, reader: LedgerReader | None, list_name: str) -> tuple[int, int] | None:
    campaign = None if reader is None else reader.only_campaign(_fingerprint(settings))
    if reader is None or campaign is None:
        return None
    pending = reader.view.other_pending(campaign.id, 0)
    return next(((number, rows) for number, name, rows in pending if name == list_name), None)


def _came_back_rows(done: Import) -> int:
    return int(done.facts.get("numbers", {}).get("came_back", 0))


def _questions(
    settings: CheckSettings, scratch: Ledger, reader: LedgerReader | None, done: Import
) -> Iterator[ListProblem]:
    """What `run` would ask, in its order."""
    bare_rows = 0 if settings.rules.bare else doubtful_bare_rows(done)
    if bare_rows:
        yield bare_problem(bare_rows, done, settings.rules.region, SAY_BARE)
    is_said = settings.once_per is not None or settings.round_name is not None
    if _came_back_rows(done) and not is_said:
        yield came_back_problem(_came_back_rows(done), _changed_fields(scratch, reader, done), SAY_WHICH)


def _changed_fields(scratch: Ledger, reader: LedgerReader | None, done: Import) -> tuple[str, ...]:
    changed: dict[str, None] = {}
    for row_id, item in done.facts.get("came_back", []):
        view = scratch.view if row_id > 0 or reader is None else reader.view
        before = view.item_of(abs(row_id))
        if before is not None:
            changed.update(dict.fromkeys(differences(json.loads(before), json.loads(item))))
    return tuple(changed)


def _first_cells(row_list: RowList, plan: Plan) -> pl.Series | None:
    """The phone column of the first chunk."""
    chunk = next(iter(row_list.chunks(Position(file_no=0, row_no=0))), None)
    return None if chunk is None else chunk.rows[plan.phone_column]


def _shape(cells: pl.Series | None) -> ColumnShape:
    if cells is None:
        return ColumnShape()
    counted = cells.drop_nulls().str.count_matches("[0-9]").alias("digits").value_counts().sort("digits")
    return ColumnShape(rows=len(cells), styles=styles(cells), digits=dict(counted.iter_rows()))


def _described(info: object) -> str:
    """How a file is read, in a few words."""
    names = ("format", "compression", "encoding", "sheet")
    parts = [str(getattr(info, name)) for name in names if getattr(info, name)]
    delimiter = getattr(info, "delimiter", None)
    if delimiter:
        parts.append("tab between cells" if delimiter == "\t" else f"'{delimiter}' between cells")
    is_text_without_header = delimiter and not getattr(info, "has_header", True)
    return ", ".join([*parts, "no header"] if is_text_without_header else parts)


def _sampled(scratch: Ledger, import_id: int) -> dict[str, list[RejectExample]]:
    """The first rejects of each reason: more than are shown, so that those shown can differ."""
    sampled: dict[str, list[RejectExample]] = {}
    found = scratch.view.reject_examples(import_id, _SAMPLED_PER_REASON)
    for reason, file, row_no, column, explanation, cells in found:
        example = RejectExample(file=file, row_no=row_no, column=column, explanation=explanation, cells=cells)
        sampled.setdefault(reason, []).append(example)
    return sampled


def _different(sampled: list[RejectExample]) -> list[RejectExample]:
    """The first examples with different cells; the first of every column comes before the second of any."""
    first: dict[tuple[str | None, str | None], RejectExample] = {}
    for each in sampled:
        first.setdefault((each.column, each.cell), each)
    seen: Counter[str | None] = Counter()
    ranked: list[tuple[int, RejectExample]] = []
    for each in first.values():
        ranked.append((seen[each.column], each))
        seen[each.column] += 1
    return [each for _, each in sorted(ranked, key=lambda pair: pair[0])[:EXAMPLES_PER_REASON]]


def _digits(sampled: list[RejectExample]) -> dict[int, int]:
    counted = Counter(sum(map(str.isdigit, each.cell or "")) for each in sampled)
    return dict(sorted(counted.items()))


def _repeats(scratch: Ledger, reader: LedgerReader | None, import_id: int) -> Iterator[RepeatExample]:
    """The first duplicates of each reason, each with the row it repeats: of this list, or of the real ledger."""
    for reason, file, row_no, row_id in scratch.view.skip_examples(import_id, EXAMPLES_PER_REASON):
        view = scratch.view if row_id > 0 or reader is None else reader.view
        earlier = view.life_of(abs(row_id)) if row_id else None
        yield RepeatExample(
            reason=reason,
            file=file,
            row_no=row_no,
            earlier_list=None if earlier is None else earlier.file,
            earlier_row_no=None if earlier is None else earlier.row_no,
            earlier_ms=None if earlier is None or earlier.state != "accepted" else earlier.settled_ms,
        )


def _suggestion(settings: CheckSettings, cells: pl.Series | None, balance: Balance) -> Suggestion | None:
    """A region, when none was given and a good part of the numbers is bad without one."""
    if cells is None or settings.rules.region is not None or balance.rejected * 10 < balance.read:
        return None
    return suggest_region(cells)
