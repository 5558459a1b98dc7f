"""The safety checks between intake and the first send. Floor: run. Whatever says no here, nothing was sent."""

from __future__ import annotations

import json

from importer.errors import ListProblem
from importer.intake import Plan
from importer.ledger import Ledger, LedgerReader
from importer.ledger.records import Import
from importer.model import Balance
from importer.run.settings import BareDigits, CameBack, CampaignFacts, Checks, Desk


def judge_balance(balance: Balance, checks: Checks, *, elsewhere_rows: int = 0) -> None:
    """Holds a list that was taken in against what the person expected of it; `elsewhere_rows` are other shards'.

    **Errors**: ListProblem (exit 4) naming the check and the option that changes it.
    """
    share = balance.rejected / balance.read if balance.read else 0.0
    if share > checks.stop_at_rejects_share:
        raise ListProblem(
            f"{balance.rejected:,} of {balance.read:,} rows ({share:.0%}) cannot be used, more than "
            f"{checks.stop_at_rejects_share:.0%}. Nothing was sent.",
            hint="See the rejects file for why. If the list is as it should be, say --stop-at-rejects 100%.",
        )
    if checks.expect_rows is not None:
        _judge_size(balance.read + elsewhere_rows, *checks.expect_rows)
    if checks.max_calls is not None and balance.pending > checks.max_calls:
        raise ListProblem(
            f"{balance.pending:,} rows would be called, more than --max-calls {checks.max_calls:,}. Nothing was sent.",
            hint="Check that it is the right list; raise --max-calls, or try some with --first N.",
        )


def _judge_size(read_rows: int, least: int, most: int | None) -> None:
    if read_rows < least or (most is not None and read_rows > most):
        bounds = f"{least:,}..{'' if most is None else format(most, ',')}"
        raise ListProblem(
            f"The list has {read_rows:,} rows, outside --expect-rows {bounds}. Nothing was sent.",
            hint="Check that it is the right list, and whole.",
        )


SAY_WHICH = """Say which call is the same call, by one of these:
  --once-per phone              leave numbers alone that were called already
  --round NAME                  a new occasion: everybody may be called again, once (for example today's date)
  --once-per row                call again when anything in the row changed"""


def judge_came_back(ledger: Ledger, an_import: Import, desk: Desk, home: LedgerReader | None = None) -> str | None:
    """Asks what to do about known numbers with other content, when neither option said it.

    Gives `row` or `phone` as the person chose, or None when there is nothing to ask.
    **Errors**: ListProblem (exit 4) with the changed columns and the three ways to say it, when nobody answers.
    """
    rows = _unanswered_rows(an_import)
    if not rows:
        return None
    fields = _changed_fields(ledger, an_import, home)
    said = desk.which_call(CameBack(rows=rows, changed_fields=fields))
    if said is None:
        raise came_back_problem(rows, fields, SAY_WHICH)
    return said


# The fact that notes it: `send`, which makes no checks, sends only what a run has passed.
PASSED = "is_passed"


def judge_answered(ledger: Ledger, an_import: Import) -> None:
    """Holds `send` back from a list that `run` has not passed: a check said no, or a question was not answered.

    **Errors**: ListProblem (exit 4).
    """
    bare_rows = _unanswered_bare_rows(an_import, an_import.mapping.get("bare"))
    if bare_rows:
        raise bare_problem(
            bare_rows,
            an_import,
            an_import.mapping.get("region"),
            f"{SAY_BARE}\nwith: importer run {an_import.list_name}",
        )
    rows = _unanswered_rows(an_import)
    if rows:
        hint = f"{SAY_WHICH}\nwith: importer run {an_import.list_name}"
        raise came_back_problem(rows, _changed_fields(ledger, an_import), hint)
    if not an_import.facts.get(PASSED):
        raise ListProblem(
            f"The safety checks have not passed import {an_import.id}. Nothing was sent.",
            hint=f"Run it with its list, so that they are made: importer run {an_import.list_name}",
        )


def _unanswered_rows(an_import: Import) -> int:
    rows = int(an_import.facts.get("numbers", {}).get("came_back", 0))
    return 0 if an_import.facts.get("said_once_per") else rows


def came_back_problem(rows: int, fields: tuple[str, ...], hint: str) -> ListProblem:
    """Known numbers came back changed, and nobody said which call is the same call."""
    return ListProblem(
        f"{rows:,} rows are for numbers this campaign already has, with other content "
        f"(changed: {', '.join(fields) or 'other columns'}). Nothing was sent.",
        hint=hint,
    )


MOST_OWN_CODE_SHARE = 0.01

SAY_BARE = """Say how such digits are meant:
  --bare international          they begin with the country code
  --bare national               they are dialled as they stand, inside the region"""


def judge_bare(an_import: Import, plan: Plan, desk: Desk) -> str | None:
    """Asks how bare digits are meant when over 1 % of a list could be meant both ways and begin with the own code.

    Gives `international` or `national` as the person chose, or None when there is nothing to ask.
    **Errors**: ListProblem (exit 4) naming --bare, when nobody answers.
    """
    rows = _unanswered_bare_rows(an_import, plan.rules.bare)
    if not rows:
        return None
    said = desk.which_reading(BareDigits(rows=rows, read_rows=an_import.read_rows, region=plan.rules.region))
    if said is None:
        raise bare_problem(rows, an_import, plan.rules.region, SAY_BARE)
    return said


def _unanswered_bare_rows(an_import: Import, bare: str | None) -> int:
    rows = doubtful_bare_rows(an_import)
    return 0 if bare is not None or an_import.facts.get("said_bare") else rows


def doubtful_bare_rows(an_import: Import) -> int:
    """How many cells of bare digits could be meant both ways; 0 when they are too few to ask about."""
    rows = int(an_import.facts.get("numbers", {}).get("own_code_bare", 0))
    return rows if rows > MOST_OWN_CODE_SHARE * an_import.read_rows else 0


def bare_problem(rows: int, an_import: Import, region: str | None, hint: str) -> ListProblem:
    """Bare digits are numbers both ways, and nobody said how they are meant."""
    return ListProblem(
        f"{rows:,} of {an_import.read_rows:,} numbers without + are valid in {region or 'their region'} as they stand, "
        "and also when their first digits are the country code. Nothing was sent.",
        hint=hint,
    )


def _changed_fields(ledger: Ledger, an_import: Import, home: LedgerReader | None = None) -> tuple[str, ...]:
    """The names of what differs, over the sample that intake kept; rows of negative numbers are the home ledger's."""
    changed: dict[str, None] = {}
    for row_id, item in an_import.facts.get("came_back", []):
        view = ledger.view if row_id > 0 or home is None else home.view
        before = view.item_of(abs(row_id))
        if before is not None:
            changed.update(dict.fromkeys(differences(json.loads(before), json.loads(item))))
    return tuple(changed)


def differences(before: dict[str, object], after: dict[str, object]) -> list[str]:
    """The names of the fields and columns in which two rows differ."""

    def flat(item: dict[str, object]) -> dict[str, object]:
        payload = item.get("payload")
        rest = {name: value for name, value in item.items() if name != "payload"}
        return {**rest, **(payload if isinstance(payload, dict) else {})}

    left, right = flat(before), flat(after)
    return sorted(name for name in left.keys() | right.keys() if left.get(name) != right.get(name))


def judge_new_ledger(ledger: Ledger, campaign: CampaignFacts, desk: Desk, *, is_fine: bool) -> None:
    """Stops a ledger that has never met a campaign which already has jobs: it may be the wrong one, or a lost one.

    **Errors**: ListProblem (exit 4) when nobody says that it is right.
    """
    if is_fine or not campaign.total_numbers or desk.is_right_ledger(campaign, ledger.path):
        return
    raise ListProblem(
        f"This campaign already has {campaign.total_numbers:,} numbers, but the ledger {ledger.path} does not know it. "
        "Nothing was sent.",
        hint="Use the ledger of the earlier imports (--ledger). If there was none, say --new-ledger.",
    )
