"""Taking rows back: never sent, they are withdrawn; else the platform is asked to cancel their call jobs.

Floor: beside campaigns and outcomes, above ledger and client. First everything is looked at, so that a person can be
told what would happen; then rows are withdrawn, and call jobs cancelled in frozen requests under keys of their own. A
newcomer may question that a cancellation is repeated after a lost answer: the same ids go under the same key, and
cancelling what is cancelled changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Protocol

from importer import phones
from importer.client import Found
from importer.errors import ApiAway, UsageProblem
from importer.intake import find_column, likely_phone_column
from importer.ledger import Ledger
from importer.ledger.cancel_book import CancelRequest, Standing
from importer.ledger.picking import pick
from importer.ledger.records import Campaign, Import
from importer.ledger.shards_at_home import judge_own_shards
from importer.machine import Moment
from importer.outcomes import Refresher, RefreshSettings
from importer.outcomes.refreshing import TRIES, Reports, wait_before
from importer.phones import PhoneRules
from importer.sources import open_list


class Platform(Reports, Protocol):
    """The platform's reports, and its cancelling; `CallsApi` has them."""

    def cancel(self, *, ids: Iterable[str] = (), key: str | None = None) -> Found[str]:
        """Cancels call jobs; gives the ids really cancelled."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """Which rows to take back: of these imports; only of these numbers, only where a condition holds."""

    imports: tuple[Import, ...]
    phones: frozenset[int] | None = None
    where: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Numbers:
    """Numbers read from a file. `unreadable_rows` could not be understood."""

    phones: frozenset[int]
    unreadable_rows: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Undone:
    """What a cancellation came to. **Units**: rows.

    `withdrawn` were never sent; `cancelled` the platform cancelled; `after` is how the chosen rows stand now.
    `is_whole`: everything was asked for; else a signal ended it, and the same command goes on.
    """

    withdrawn: int
    cancelled: int
    not_cancelled: int
    unknown: int
    after: Standing
    is_whole: bool = True

    @property
    def still_open(self) -> int:
        """Rows that may still be called, whatever was done."""
        return self.after.waiting + self.after.dialled + self.after.asked + self.after.unsent


class Canceller:
    """Takes rows of one campaign back. The ledger must be owned while it works."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        platform: Platform,
        campaign: Campaign,
        now: Callable[[], Moment],
        is_stopping: Callable[[], bool],
        nap: Callable[[float], None] = time.sleep,
    ) -> None:
        self._ledger = ledger
        self._book = ledger.cancellations
        self._platform = platform
        self._campaign = campaign
        self._now = now
        self._is_stopping = is_stopping
        self._nap = nap

    def look(self, choice: Choice) -> Standing:
        """Chooses the rows, and asks the reports how their call jobs stand.

        **Errors**: UsageProblem for a list not read to its end, or a condition that cannot be; ApiError.
        """
        for an_import in choice.imports:
            _judge_complete(an_import)
            judge_own_shards(an_import, is_adopting=False)
            self._ledger.sends.recover(an_import.id, now_ms=self._now().unix_ms)
        self._choose(choice)
        self._refresh()
        return self._book.standing()

    def _choose(self, choice: Choice) -> None:
        ids = [an_import.id for an_import in choice.imports]
        if choice.where is None:
            self._book.choose(ids, phones=choice.phones, row_ids=None)
            return
        picked = [row_id for each in choice.imports for row_id in self._picked(each, choice.where, choice.phones)]
        self._book.choose(ids, phones=None, row_ids=picked)

    def _picked(self, an_import: Import, where: str, phones: frozenset[int] | None) -> Iterator[int]:
        outcomes = self._ledger.outcomes
        payload, policy = outcomes.field_names(an_import.id)
        rows = outcomes.rows(an_import.id)
        wanted = rows if phones is None else (row for row in rows if row.phone and int(row.phone) in phones)
        return pick(wanted, where, phone=an_import.mapping["phone_column"], fields=(*payload, *policy))

    def _refresh(self) -> None:
        """Brings the outcomes of the chosen rows' batches up to date; what no report shows is known by its receipt."""
        refresher = Refresher(
            book=self._ledger.outcomes,
            reports=self._platform,
            settings=RefreshSettings(rate_requests_s=None),
            now=self._now,
            is_stopping=self._is_stopping,
            nap=self._nap,
        )
        batch_ids = self._book.accepted_batches()
        refresher.run_batches(batch_ids)
        self._ledger.outcomes.name_jobs(batch_ids)

    def undo(self) -> Undone:
        """Takes the chosen rows back, as far as they can be.

        **Crash**: at any moment; what was withdrawn is, and what was asked goes again under its key.
        **Errors**: ApiError when the platform does not answer; the same command goes on.
        """
        now_ms = self._now().unix_ms
        before = self._book.fates()
        self._book.withdraw(key_seed=self._campaign.key_seed, now_ms=now_ms)
        for request in self._requests(now_ms):
            if self._is_stopping():
                return self._undone(before, is_whole=False)
            self._carry_out(request)
        self._refresh()
        self._book.believe_reports(now_ms=self._now().unix_ms)
        for import_id in self._book.imports():
            self._ledger.sends.finish(import_id, now_ms=self._now().unix_ms)
        return self._undone(before, is_whole=True)

    def _requests(self, now_ms: int) -> Iterator[CancelRequest]:
        """Those whose answer never came, then new ones; each is written down before it is given out."""
        yield from self._book.open_requests()
        after_row_id = 0
        while not self._is_stopping():
            request = self._book.freeze_next(after_row_id, key_seed=self._campaign.key_seed, now_ms=now_ms)
            if request is None:
                return
            after_row_id = request.row_ids[-1]
            yield request

    def _carry_out(self, request: CancelRequest) -> None:
        found = self._repeated(request)
        cancelled, unknown = set(found.items), set(found.unknown_ids)
        fates = {
            each: "cancelled" if each in cancelled else "unknown" if each in unknown else "not_cancelled"
            for each in request.ids
        }
        self._book.settle(request, fates, now_ms=self._now().unix_ms)

    def _repeated(self, request: CancelRequest) -> Found[str]:
        """The same request, under its key, a few times while the platform is away."""
        for tried in range(TRIES):
            try:
                return self._platform.cancel(ids=request.ids, key=request.key)
            except ApiAway as problem:
                wait_s = wait_before(problem, tried)
                if tried + 1 == TRIES or wait_s is None or self._is_stopping():
                    raise
                self._nap(wait_s)
        raise AssertionError("the last try returns or raises")  # pragma: no cover

    def _undone(self, before: dict[str, int], *, is_whole: bool) -> Undone:
        fates = self._book.fates()
        return Undone(
            withdrawn=fates.get("withdrawn", 0) - before.get("withdrawn", 0),
            cancelled=fates.get("cancelled", 0) - before.get("cancelled", 0),
            not_cancelled=fates.get("not_cancelled", 0),
            unknown=fates.get("unknown", 0),
            after=self._book.standing(),
            is_whole=is_whole,
        )


def _judge_complete(an_import: Import) -> None:
    if not an_import.is_complete:
        raise UsageProblem(
            f"The list of import {an_import.id} was not read to its end, so nothing of it was sent.",
            hint="There is nothing to take back: do not run that list again.",
        )


def read_numbers(path: str, *, region: str | None, column: str | None, spool_dir: Path) -> Numbers:
    """The numbers of a file in any format, understood as those of a list to call.

    **Errors**: ListProblem when it cannot be read to its end; UsageProblem for a column that is not there.
    """
    rules = PhoneRules(region=region, types=frozenset(phones.TYPES))
    found: set[int] = set()
    unreadable = 0
    with open_list([path], stdin=BytesIO(), spool_dir=spool_dir) as row_list:
        name = (
            find_column(row_list.columns, column, "--phone-column") if column else likely_phone_column(row_list.columns)
        )
        for chunk in row_list.chunks():
            judged = phones.check(chunk.rows[name], rules)["e164"]
            found.update(int(number.removeprefix("+")) for number in judged.drop_nulls())
            unreadable += judged.null_count() + chunk.bad.height
    return Numbers(phones=frozenset(found), unreadable_rows=unreadable)
