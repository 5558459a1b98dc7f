"""A run of one shard: what it takes from the home ledger, what it may not do, and its part of every bound.

Floor: run. The home ledger is the one that knows all earlier nights; a shard's own holds what the shard does, until it
is merged. A newcomer may question that the home ledger is only read: many shards read it at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import polars as pl
from pyroaring import BitMap64

from importer.errors import ListProblem, UsageProblem
from importer.intake import Plan
from importer.ledger import EarlierBook, IntakeBook, Ledger, LedgerReader, number_set
from importer.ledger.records import Campaign, Import
from importer.ledger.shards_at_home import SHARDS, few, open_shards_of
from importer.run.settings import RunSettings
from importer.sender import SendSettings
from importer.shards import Shard, shard_column

SHARD = "shard"  # the setting of an import that is one shard's: {"number": 2, "of": 4}


def shard_of(an_import: Import) -> Shard | None:
    """The shard an import is of; None for one of a whole list."""
    said = an_import.settings.get(SHARD)
    return None if said is None else Shard(number=int(said["number"]), of=int(said["of"]))


# --- its part of every bound ------------------------------------------------------------------------------------------


def part_of_settings(settings: RunSettings, shard: Shard | None) -> RunSettings:
    """The settings of a whole import, with the shard's part of its rate, requests under way, and bounds of rows."""
    if shard is None:
        return settings
    most = settings.checks.max_calls
    return replace(
        settings,
        sending=_part_of_sending(settings.sending, shard),
        checks=replace(settings.checks, max_calls=None if most is None else shard.part(most)),
    )


def _part_of_sending(sending: SendSettings, shard: Shard) -> SendSettings:
    rate, first = sending.rate_rows_s, sending.first_rows
    return replace(
        sending,
        in_flight=max(1, sending.in_flight // shard.of),
        rate_rows_s=None if rate is None else rate / shard.of,
        first_rows=None if first is None else shard.part(first),
    )


# --- what may be ------------------------------------------------------------------------------------------------------


def judge_home(settings: RunSettings, home: LedgerReader | None) -> None:
    """Refuses a shard that knows nothing of earlier nights, and a home ledger that was put back from a copy.

    **Errors**: UsageProblem; LedgerProblem (law 13).
    """
    if home is not None:
        if settings.adopt_since_ms is None:
            home.witness.judge()
        return
    is_told = settings.is_new_ledger_fine or settings.adopt_since_ms is not None
    if settings.shard is not None and settings.home is None and not is_told:
        raise UsageProblem(
            "A shard must know whom earlier imports called: say --home FILE, the ledger that knows all of them.",
            hint="--ledger is then the shard's own. Where there was no import before, say --new-ledger; where\n"
            "the home ledger is lost, --adopt-since TIME.",
        )


def judge_plan(plan: Plan, shard: Shard | None) -> None:
    """Refuses an identity that rows of different shards may share. **Errors**: UsageProblem."""
    if shard is not None and plan.identity_columns and plan.phone_column not in plan.identity_columns:
        raise UsageProblem(
            f"--once-per {plan.once_per} does not go with --shard: rows with the same cells there and other numbers "
            "lie in different shards, and both would be sent.",
            hint=f"Name the phone column as well ({plan.once_per},{plan.phone_column}), or say --once-per phone,\n"
            "or run the list whole.",
        )


def judge_shards(imports: Iterable[Import], round_name: str, list_name: str, shard: Shard | None, *, of: str) -> None:
    """Refuses to cut a round in another way while rows of it may be known to other ledgers only.

    `of` says whose imports they are, for the message. **Errors**: ListProblem; nothing was sent.
    """
    for each in imports:
        if each.round != round_name:
            continue
        was = shard_of(each)
        if was is not None and was != shard:
            raise ListProblem(
                f"Import {each.id} of {of} took shard {was} of {each.list_name} in this round"
                f"{f', and this run is for shard {shard}' if shard else ''}. Nothing was sent.",
                hint=_SAY_SAME,
            )
        open_shards = open_shards_of(each)
        if open_shards and (shard is None or shard.of != each.settings[SHARDS]["of"]):
            raise ListProblem(
                f"Import {each.id} of {of} was cut into {each.settings[SHARDS]['of']} shards in this round, and not "
                f"all of them are settled and merged (open: {few(open_shards)}). Nothing was sent.",
                hint=_SAY_SAME,
            )
        is_whole = was is None and SHARDS not in each.settings
        if shard is not None and is_whole and each.list_name == list_name and each.finished_ms is None:
            raise ListProblem(
                f"Import {each.id} of {of} took this list whole in this round, and is not finished. Nothing was sent.",
                hint=f"Finish it first: importer send {each.id}, or importer run without --shard.",
            )


_SAY_SAME = """A list cut in another way makes other requests: whoever one shard has sent to, another would call again.
Run the same shards again until all are settled, and merge them: importer ledger merge. Then any number of shards may
follow; so may they at once in another --round."""


# --- what it takes from home ------------------------------------------------------------------------------------------


def home_campaign(home: LedgerReader | None, fingerprint: bytes) -> Campaign | None:
    """The campaign as the home ledger knows it: its key seed is older than a renewed token."""
    return None if home is None else home.only_campaign(fingerprint)


def home_book(home: LedgerReader | None, ledger: Ledger, fingerprint: bytes) -> EarlierBook | None:
    """The campaign's rows at home, without those that were merged from this very ledger."""
    campaign = home_campaign(home, fingerprint)
    if home is None or campaign is None:
        return None
    return home.earlier_book(campaign, without=_merged_from(ledger.identity(), home.imports_of(campaign.id)))


def _merged_from(ledger_id: str, imports: Iterable[Import]) -> frozenset[int]:
    return frozenset(
        each.id
        for each in imports
        if any(one.get("ledger") == ledger_id for one in each.settings.get(SHARDS, {}).get("merged", {}).values())
    )


def books_of(own: IntakeBook, earlier: EarlierBook | None) -> list[IntakeBook]:
    """Where a row may already be; the first is the one written to."""
    return [own] if earlier is None else [own, earlier]


def recently_accepted(ledger: Ledger, home: LedgerReader | None) -> Callable[[Sequence[int], int], dict[int, int]]:
    """Who was called lately, here or as the home ledger knows; rows of negative numbers are the home ledger's."""
    own = ledger.intake.recently_accepted
    if home is None:
        return own
    earlier = home.recently_accepted
    return lambda phones, since_ms: {**earlier(phones, since_ms), **own(phones, since_ms)}


def take_do_not_call(ledger: Ledger, home: LedgerReader | None, shard: Shard | None) -> None:
    """Keeps the shard's slice of the home ledger's do-not-call lists, as they are now: `send` honours them, too."""
    if home is None or shard is None:
        return
    at_home = {each.name: each for each in home.dnc.lists()}
    here = {str(each.facts["home"]): each for each in ledger.dnc.lists() if "home" in each.facts}
    for name in here.keys() - at_home.keys():
        ledger.dnc.drop_list(here[name].name)
    for name, each in at_home.items():
        if name not in here or here[name].changed_ms != each.changed_ms:
            numbers = BitMap64()
            for part in home.dnc.parts(each.id):
                numbers |= _own_numbers(part, shard)
            ledger.dnc.replace_list(f"home: {name}", numbers, {**each.facts, "home": name}, now_ms=each.changed_ms)


def _own_numbers(numbers: BitMap64, shard: Shard) -> BitMap64:
    """Those of a shard."""
    frame = pl.DataFrame({"phone": numbers.to_array() if numbers else []}, schema={"phone": pl.Int64})
    e164 = pl.concat_str(pl.lit("+"), pl.col("phone").cast(pl.String))
    return number_set(frame.filter(shard_column(e164, shard.of) == shard.number)["phone"].to_list())
