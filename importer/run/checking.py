"""`check`: all of intake and nothing of the network, to say what `run` would do with a list.

Floor: run. The list goes through the very same intake into a ledger of its own in a temporary folder, so that check and
run cannot disagree; the real ledger, if there is one, is only read, to know who was called already.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from importer import keys
from importer.intake import Intake, Plan, make_plan
from importer.ledger import EarlierBook, IntakeBook, Ledger, LedgerReader
from importer.ledger.records import Campaign, Import
from importer.machine import Moment, this_process
from importer.model import Balance, Observer
from importer.phones import PhoneRules, Suggestion, suggest_region
from importer.run.choosing import facts_of, list_name_of
from importer.run.settings import Target
from importer.sources import Position, ReadOptions, RowList, open_list

EXAMPLES_PER_REASON = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckSettings:
    """What to check, and how `run` would be asked to read it."""

    sources: Sequence[str]
    list_name: str | None
    round_name: str | None
    once_per: str
    phone_column: str | None
    rules: PhoneRules
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


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckReport:
    """What `run` would do. `balance.pending` are the rows it would send."""

    list_name: str
    files: tuple[tuple[str, str, int], ...]
    phone_column: str
    payload_columns: tuple[str, ...]
    policy_columns: tuple[str, ...]
    balance: Balance
    skips: dict[str, int]
    reject_counts: tuple[tuple[str, int], ...]
    examples: dict[str, list[RejectExample]]
    facts: dict[str, dict[str, int]]
    came_back_rows: int
    requests: int
    sending_s: float | None
    suggestion: Suggestion | None
    is_ledger_known: bool
    is_campaign_known: bool
    elapsed_s: float


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
        scratch = stack.enter_context(Ledger(Path(folder) / "check.db", this_process(""), now_ms=0))
        plan = make_plan(
            row_list.columns,
            phone_column=settings.phone_column,
            once_per=settings.once_per,
            rules=settings.rules,
        )
        earlier, seed = stack.enter_context(_earlier(settings))
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
        )
        done = intake.take_in(an_import)
        report = _report(settings, scratch, done, plan, row_list, is_campaign_known=earlier is not None)
        return replace(report, elapsed_s=(now().boot_ms - started_ms) / 1000)


@contextlib.contextmanager
def _earlier(settings: CheckSettings) -> Iterator[tuple[EarlierBook | None, str | None]]:
    """The real ledger's rows of this campaign, read only, and the seed they were keyed under."""
    if settings.ledger is None or not settings.ledger.exists():
        yield None, None
        return
    with LedgerReader(settings.ledger) as reader:
        target = settings.target
        fingerprint = (
            None
            if target is None
            else keys.campaign_fingerprint(keys.campaign_seed(target.token.reveal(), target.origin))
        )
        campaign = reader.only_campaign(fingerprint)
        yield (None, None) if campaign is None else (reader.earlier_book(campaign), campaign.key_seed)


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
    settings: CheckSettings, scratch: Ledger, done: Import, plan: Plan, row_list: RowList, *, is_campaign_known: bool
) -> CheckReport:
    view = scratch.view
    balance = view.balance(done.id)
    counts = {facts["file_no"]: facts["read_rows"] for facts in scratch.intake.files(done.id)}
    return CheckReport(
        list_name=done.list_name,
        files=tuple((info.name, _described(info), counts[info.file_no]) for info in row_list.files),
        phone_column=plan.phone_column,
        payload_columns=plan.payload,
        policy_columns=plan.policy,
        balance=balance,
        skips=view.skip_counts(done.id),
        reject_counts=tuple(view.reject_counts(done.id)),
        examples=_examples(scratch, done.id),
        facts={name: done.facts.get(name, {}) for name in ("regions", "types", "warnings", "numbers")},
        came_back_rows=int(done.facts.get("numbers", {}).get("came_back", 0)),
        requests=view.batch_count(done.id),
        sending_s=balance.pending / settings.rate_rows_s if settings.rate_rows_s else None,
        suggestion=_suggestion(settings, row_list, plan, balance),
        is_ledger_known=settings.ledger is not None and settings.ledger.exists(),
        is_campaign_known=is_campaign_known,
        elapsed_s=0.0,
    )


def _described(info: object) -> str:
    """How a file is read, in a few words."""
    names = ("format", "compression", "encoding", "sheet")
    parts = [str(getattr(info, name)) for name in names if getattr(info, name)]
    delimiter = getattr(info, "delimiter", None)
    if delimiter:
        parts.append("tab between cells" if delimiter == "\t" else f"'{delimiter}' between cells")
    is_text_without_header = delimiter and not getattr(info, "has_header", True)
    return ", ".join([*parts, "no header"] if is_text_without_header else parts)


def _examples(scratch: Ledger, import_id: int) -> dict[str, list[RejectExample]]:
    examples: dict[str, list[RejectExample]] = {}
    for reason, file, row_no, column, explanation, cells in scratch.view.reject_examples(
        import_id, EXAMPLES_PER_REASON
    ):
        examples.setdefault(reason, []).append(
            RejectExample(file=file, row_no=row_no, column=column, explanation=explanation, cells=cells)
        )
    return examples


def _suggestion(settings: CheckSettings, row_list: RowList, plan: Plan, balance: Balance) -> Suggestion | None:
    """A region, when none was given and a good part of the numbers is bad without one."""
    if settings.rules.region is not None or balance.rejected * 10 < balance.read:
        return None
    chunk = next(iter(row_list.chunks(Position(file_no=0, row_no=0))), None)
    return None if chunk is None else suggest_region(chunk.rows[plan.phone_column])
