"""A campaign looked at and steered, and a ledger taught that a campaign's token was renewed.

Floor: beside cancelling and outcomes, above ledger and client. Steering needs no ledger, so it works beside a run. A
newcomer may question that a control request is repeated after a lost answer: it goes under the same key, and pausing
what is paused changes nothing.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from importer import keys
from importer.client import ApiError, Campaign
from importer.errors import ApiAway, ListProblem, UsageProblem
from importer.ledger.campaign_book import CampaignBook, KnownCampaign

TRIES = 3
POLL_S = 2.0
VERBS = ("pause", "resume", "stop")
_RUNNING = frozenset({"new", "planned", "inProgress"})
_OVER = frozenset({"finished", "deleted"})


class Control(Protocol):
    """A campaign's controls; `CallsApi` has them."""

    def campaign(self) -> Campaign:
        """The campaign with its counts."""

    def pause(self, *, key: str | None = None) -> None:
        """Pauses it."""

    def resume(self, *, key: str | None = None) -> None:
        """Lets it go on."""

    def stop(self, *, key: str | None = None) -> None:
        """Ends it for good."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How to wait: `nap` sleeps, `is_stopping` is asked between naps, `tell` hears how the campaign stands."""

    nap: Callable[[float], None] = time.sleep
    is_stopping: Callable[[], bool] = lambda: False
    tell: Callable[[Campaign], None] = lambda _: None


@dataclass(frozen=True, kw_only=True, slots=True)
class Steered:
    """How a campaign stands afterwards.

    `was_done`: a control was really used. `is_reached`: it stands as it was wanted to.
    """

    campaign: Campaign
    was_done: bool
    is_reached: bool


def steer(api: Control, verb: str, patience: Patience, *, is_waiting: bool) -> Steered:
    """Pauses, resumes or stops a campaign, and waits, if asked to, until it really is so.

    A pause is reached when no conversation goes on any more. **Errors**: ApiError; ApiRejected when the platform says
    that the campaign cannot be steered so as it stands.
    """
    before = api.campaign()
    is_needed = not _is_so(before, verb)
    if is_needed:
        _repeated(lambda key: getattr(api, verb)(key=key), patience)
    after = _awaited(api, patience, lambda found: is_reached(found, verb), is_waiting=is_waiting)
    return Steered(campaign=after, was_done=is_needed, is_reached=is_reached(after, verb))


def watch(api: Control, patience: Patience) -> Steered:
    """Waits until a campaign has nothing left to call. **Errors**: ApiError."""
    after = _awaited(api, patience, is_done, is_waiting=True)
    return Steered(campaign=after, was_done=False, is_reached=is_done(after))


def is_over(api: Control) -> bool:
    """True when the campaign makes no more calls, ever; False also when it cannot be asked."""
    try:
        return api.campaign().status in _OVER
    except ApiError:
        return False


def is_done(campaign: Campaign) -> bool:
    """True when the campaign is over, or has worked through every number it has."""
    report = campaign.short_report
    if campaign.status in _OVER:
        return True
    if report is None or not report.total_numbers:
        return False
    return report.processed_numbers == report.total_numbers and not report.in_process_calls


def is_reached(campaign: Campaign, verb: str) -> bool:
    """True when a campaign stands as the verb wants it, conversations included."""
    report = campaign.short_report
    is_quiet = report is None or not report.in_process_calls
    return _is_so(campaign, verb) and (verb == "resume" or is_quiet)


def _is_so(campaign: Campaign, verb: str) -> bool:
    wanted = {"pause": {"paused"}, "resume": _RUNNING, "stop": _OVER}[verb]
    return campaign.status in wanted


def _repeated(ask: Callable[[str], None], patience: Patience) -> None:
    """The same request under the same key, a few times."""
    key = str(uuid.uuid4())
    for left in reversed(range(TRIES)):
        try:
            ask(key)
        except ApiAway:
            if not left or patience.is_stopping():
                raise
            patience.nap(POLL_S)
        else:
            return


def _awaited(api: Control, patience: Patience, is_enough: Callable[[Campaign], bool], *, is_waiting: bool) -> Campaign:
    while True:
        found = api.campaign()
        patience.tell(found)
        if not is_waiting or is_enough(found) or patience.is_stopping():
            return found
        patience.nap(POLL_S)


# --- a renewed token ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class NewToken:
    """What is known of a new token: where it is used, its fingerprint, and the campaign the platform shows for it."""

    origin: str
    fingerprint: bytes
    shown: Campaign


def renewed(book: CampaignBook, new: NewToken, *, number: int | None) -> KnownCampaign | None:
    """The campaign of the ledger that a new token stands for; None when the ledger knows the token already.

    The platform's id of the campaign decides where the ledger has it; else it must be the only one there, or `number`.
    **Errors**: UsageProblem when that cannot be told; ListProblem when the platform shows another campaign.
    """
    known = book.all()
    if any(each.fingerprint == new.fingerprint for each in known):
        return None
    here = [each for each in known if each.origin == new.origin and number in (None, each.id)]
    same = [each for each in here if each.platform_id is not None and each.platform_id == new.shown.id]
    if same:
        return _only(same, new)
    _judge_other(here, new, number)
    return _only([each for each in here if each.platform_id is None or new.shown.id is None], new)


def _judge_other(here: list[KnownCampaign], new: NewToken, number: int | None) -> None:
    other = next((each for each in here if each.platform_id is not None and new.shown.id is not None), None)
    if other is not None and (number is not None or len(here) == 1):
        raise ListProblem(
            f"The platform shows another campaign for this token ({new.shown.name or new.shown.id}) than campaign "
            f"{other.id} of the ledger ({other.name}). Nothing was changed.",
            hint="A token of another campaign needs nothing to be renewed: `importer run` meets it as a new one.",
        )


def _only(found: list[KnownCampaign], new: NewToken) -> KnownCampaign:
    if len(found) == 1:
        return found[0]
    names = ", ".join(f"{each.id} ({each.name})" for each in found)
    raise UsageProblem(
        f"Which campaign of the ledger the new token stands for cannot be told: {names or f'none is at {new.origin}'}.",
        hint="Name it by its number: importer campaign renew --from NUMBER. `importer campaign list` shows them.",
    )


def fingerprint_of(token: str, origin: str) -> bytes:
    """What the ledger keeps of a token."""
    return keys.campaign_fingerprint(keys.campaign_seed(token, origin))
