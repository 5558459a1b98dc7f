"""The protocol's core: what an exchange means, and what a batch may do next (laws 3 to 6).

Floor: pure; state and event in, state and effects out, no clock and no I/O. A newcomer may question the short list of
definite outcomes: everything not on it is *unknown*, as the platform may have acted before the answer was lost, and
an unknown batch may only go again as the same bytes under the same key. See docs/GUARANTEES.md.

    frozen ⇄ armed ⇄ waiting → accepted
                      ├──→ refused            (definite, never ambiguous, one row)
                      ├──→ split → frozen × n  (definite, never ambiguous)
                      └──→ in_doubt → accepted | frozen, next epoch | refused by a person
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from importer.jobids import EvenIds, read_even
from importer.model import Answer, Exchange, NoAnswer

LARGEST_BACKOFF_S = 30.0
FIRST_BACKOFF_S = 0.5
AFTER_TIMEOUT_S = 5.0
LARGEST_AFTER_TIMEOUT_S = 300.0
LARGEST_RETRY_AFTER_S = 3600.0


class State(StrEnum):
    """Where a batch stands; see the drawing above."""

    FROZEN = "frozen"
    ARMED = "armed"
    WAITING = "waiting"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    SPLIT = "split"
    IN_DOUBT = "in_doubt"


# --- what an exchange means -----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Accepted:
    """A complete answer with one new call job id for each row."""

    ids: tuple[str, ...] | EvenIds


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """The API definitely added nothing and says why; `phone` is the one it names, when it names one."""

    kind: str
    message: str
    phone: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class NotExecuted:
    """This send was not carried out; it says nothing about earlier ones. `retry_after_s` is the server's wish."""

    kind: str
    retry_after_s: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Stopped:
    """Nobody's rows can be taken: the token is unknown or the campaign is stopped. The run ends, the batch stays."""

    kind: str
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Doubtful:
    """A refusal of a shape nobody documents: neither a proof nor a maybe that a repeat could settle."""

    kind: str
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Unknown:
    """Perhaps carried out. Only the same bytes with the same key may follow (law 4)."""

    kind: str
    retry_after_s: float | None = None


Outcome = Accepted | Refused | NotExecuted | Stopped | Doubtful | Unknown

_STOPPING_TYPES = frozenset({"invalid.token", "invalid.call.task.state"})


def classify(exchange: Exchange, size_rows: int) -> Outcome:
    """What an exchange about a batch of `size_rows` rows proves.

    **Law** `test_law_4_a_timeout_is_unknown_not_failed`. **Source**: the Calls API's documented answers.
    """
    if isinstance(exchange, NoAnswer):
        return Unknown(kind=exchange.reason) if exchange.is_sent else NotExecuted(kind=exchange.reason)
    if exchange.status == 200:
        return _classify_success(exchange.body, size_rows)
    if exchange.status == 429:
        return NotExecuted(kind="throttled", retry_after_s=exchange.retry_after_s)
    if exchange.status == 413:
        return Refused(kind="too-large", message="the request is larger than the platform takes")
    if exchange.status in {400, 401, 403, 404, 422}:
        return _classify_refusal(exchange)
    return Unknown(kind=f"status-{exchange.status}", retry_after_s=exchange.retry_after_s)


def _classify_success(body: bytes, size_rows: int) -> Outcome:
    even = read_even(body, size_rows)
    return _classify_read(read_json(body), size_rows) if even is None else Accepted(ids=even)


def _classify_read(found: object, size_rows: int) -> Outcome:
    if not isinstance(found, list):
        return Unknown(kind="strange-answer")
    ids = tuple(found) if set(map(type, found)) == {str} else _ids_among(found)
    if len(ids) != len(found) or len(ids) != size_rows or len(set(ids)) != size_rows or not all(ids):
        return Unknown(kind="wrong-ids")
    return Accepted(ids=ids)


def _ids_among(found: list[Any]) -> tuple[str, ...]:
    return tuple(str(each) for each in found if isinstance(each, (str, int)) and not isinstance(each, bool))


def _classify_refusal(answer: Answer) -> Outcome:
    found = read_json(answer.body)
    facts: dict[str, Any] = found if isinstance(found, dict) else {}
    kind, message = str(facts.get("type") or ""), str(facts.get("message") or "")
    if kind in _STOPPING_TYPES or answer.status in {401, 403, 404}:
        said = message or str(facts.get("state") or "") or f"status {answer.status}"
        return Stopped(kind=kind or f"status-{answer.status}", message=said)
    if answer.status == 400 and kind.startswith(("phone.", "invalid.")):
        phone = facts.get("phone")
        return Refused(kind=kind, message=message, phone=None if phone is None else str(phone))
    return Doubtful(kind=kind or str(facts.get("error") or f"status-{answer.status}"), message=message)


def read_json(body: bytes) -> object:
    """The value, or None for whatever cannot be read: cut, HTML, absurdly deep, or with numbers of 5,000 digits."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


# --- what a batch may do next -----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Arming:
    """When a batch was first armed in its epoch, by every clock that was there.

    **Units**: `server_low_ms` is the earliest the server's clock can have shown, Unix milliseconds (None: no Date
    header was ever seen); `boot_ms` since the boot named `boot_id`.
    """

    server_low_ms: int | None
    boot_ms: int
    boot_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """A batch as the protocol sees it. `sends` counts the sends of this epoch; an armed batch has one open."""

    state: State
    size_rows: int
    epoch: int = 0
    generation: int = 0
    is_ambiguous: bool = False
    first_armed: Arming | None = None
    sends: int = 0
    wait_s: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """A transition: the batch after it, why, and how it falls apart if it does (lists of row positions)."""

    batch: Batch
    reason: str = ""
    parts: tuple[tuple[int, ...], ...] = ()
    is_run_over: bool = False


class ImpossibleStep(AssertionError):
    """A batch was asked for a step its state does not allow: a bug, never a user's mistake."""


def arm(batch: Batch, arming: Arming, key_since: Arming | None = None) -> Step:
    """Opens a send. What it returns must be on disk before the first byte leaves (law 3).

    `key_since` is when an earlier epoch first sent the same key: the server's memory of a key begins with its first
    use, whatever came of it, so a later epoch may send once but has no new day to repeat an unknown outcome in.
    """
    _expect(batch, State.FROZEN, State.WAITING)
    first = batch.first_armed or key_since or arming
    return Step(batch=replace(batch, state=State.ARMED, first_armed=first, sends=batch.sends + 1, wait_s=0.0))


def put_back(armed: Batch, before: Batch) -> Step:
    """An armed batch that was never handed to the network is again what it was: nothing of this send can exist."""
    _expect(armed, State.ARMED)
    _expect(before, State.FROZEN, State.WAITING)
    return Step(batch=before, reason="put back before it was sent")


def recover(batch: Batch) -> Step:
    """A send was open when its process ended: it may have been carried out."""
    _expect(batch, State.ARMED)
    return Step(batch=replace(batch, state=State.WAITING, is_ambiguous=True), reason="interrupted")


def settle(batch: Batch, outcome: Outcome, *, phones: tuple[str, ...], jitter: float) -> Step:
    """Closes the open send with what it proved.

    **Shapes**: `phones` as sent, in order (to find the one a refusal names); `jitter` in 0…1, for the wait.
    **Law** `test_law_5_a_refusal_settles_only_what_was_never_ambiguous`.
    """
    _expect(batch, State.ARMED)
    match outcome:
        case Accepted():
            return Step(batch=replace(batch, state=State.ACCEPTED))
        case NotExecuted():
            return Step(batch=_wait(batch, outcome, jitter), reason=outcome.kind)
        case Unknown():
            return Step(batch=replace(_wait(batch, outcome, jitter), is_ambiguous=True), reason=outcome.kind)
        case Stopped():
            return Step(batch=replace(batch, state=State.WAITING), reason=outcome.kind, is_run_over=True)
        case Doubtful():
            return Step(batch=replace(batch, state=State.IN_DOUBT), reason=f"strange refusal: {outcome.kind}")
        case Refused():
            return _refuse(batch, outcome, phones)


def _refuse(batch: Batch, outcome: Refused, phones: tuple[str, ...]) -> Step:
    if batch.is_ambiguous:
        return Step(batch=replace(batch, state=State.IN_DOUBT), reason=f"{outcome.kind} after an unknown outcome")
    if batch.size_rows == 1:
        return Step(batch=replace(batch, state=State.REFUSED), reason=outcome.kind)
    return Step(batch=replace(batch, state=State.SPLIT), reason=outcome.kind, parts=_parts(outcome, phones))


def _parts(outcome: Refused, phones: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
    """The named row apart from the others; halves when nobody is named. A fixed rule: law 2 holds for parts too."""
    everything = tuple(range(len(phones)))
    if outcome.phone is not None and phones.count(outcome.phone) == 1:
        named = phones.index(outcome.phone)
        return tuple(part for part in ((named,), everything[:named] + everything[named + 1 :]) if part)
    middle = (len(phones) + 1) // 2
    return everything[:middle], everything[middle:]


def expire(batch: Batch) -> Step:
    """The key's window has closed on a waiting batch.

    In doubt if any send may have been carried out. If every send was definitely not, nothing can exist under the key:
    a new epoch opens and the same bytes may go as if for the first time.
    """
    _expect(batch, State.WAITING)
    if batch.is_ambiguous:
        return Step(batch=replace(batch, state=State.IN_DOUBT), reason="the key's window closed")
    fresh = Batch(state=State.FROZEN, size_rows=batch.size_rows, epoch=batch.epoch + 1, generation=batch.generation)
    return Step(batch=fresh, reason="the key's window closed on a batch that was never carried out")


def renew(batch: Batch) -> Step:
    """Lets a batch go again under a fresh key: for a server that remembers a refusal under the old one.

    Only while every send so far was definitely not carried out, so nothing can exist under the old key.
    """
    _expect(batch, State.WAITING)
    if batch.is_ambiguous:
        raise ImpossibleStep("a batch that may have been carried out keeps its key")
    fresh = Batch(state=State.FROZEN, size_rows=batch.size_rows, epoch=batch.epoch + 1, generation=batch.generation + 1)
    return Step(batch=fresh, reason="a fresh key, because every send under the old one was definitely refused")


def park(batch: Batch, reason: str) -> Step:
    """Puts a batch in doubt before its time: repeats prove nothing (a server replays one error), or law 13 says so."""
    _expect(batch, State.FROZEN, State.WAITING)
    return Step(batch=replace(batch, state=State.IN_DOUBT, is_ambiguous=True, wait_s=0.0), reason=reason)


def found(batch: Batch, reason: str = "found in the platform's reports") -> Step:
    """The reports show one unclaimed call job for each row: the batch was carried out."""
    _expect(batch, State.IN_DOUBT, State.WAITING)
    return Step(batch=replace(batch, state=State.ACCEPTED, wait_s=0.0), reason=reason)


def absent(batch: Batch, reason: str = "absent from the platform's reports") -> Step:
    """The reports show, twice and after a quiet period, that nothing was made: a new epoch opens.

    Ambiguity and first arming are cleared; the same bytes go again under the same key (law 7): if the server still
    remembers it after all, it answers with the old ids, where a new key could only make duplicates.
    """
    _expect(batch, State.IN_DOUBT)
    fresh = Batch(state=State.FROZEN, size_rows=batch.size_rows, epoch=batch.epoch + 1, generation=batch.generation)
    return Step(batch=fresh, reason=reason)


def give_up(batch: Batch) -> Step:
    """A person decides that the rows are not to be called (again)."""
    _expect(batch, State.IN_DOUBT)
    return Step(batch=replace(batch, state=State.REFUSED), reason="given up by a person")


def _wait(batch: Batch, outcome: NotExecuted | Unknown, jitter: float) -> Batch:
    return replace(batch, state=State.WAITING, wait_s=wait_s(outcome, batch.sends, jitter))


def wait_s(outcome: NotExecuted | Unknown, sends: int, jitter: float) -> float:
    """How long before the same bytes may go again: full jitter under a doubling ceiling.

    After a timeout the server may still be at work, so at least five seconds pass: one key is rarely in flight twice.
    A Retry-After is obeyed, up to an hour. **Source**: M. Brooker, Exponential Backoff And Jitter (2015).
    """
    if outcome.retry_after_s is not None:
        return min(outcome.retry_after_s, LARGEST_RETRY_AFTER_S) + jitter * FIRST_BACKOFF_S
    doubled = 2.0 ** min(sends - 1, 16)
    if isinstance(outcome, Unknown) and outcome.kind == "timeout":
        return min(AFTER_TIMEOUT_S * doubled, LARGEST_AFTER_TIMEOUT_S)
    return jitter * min(FIRST_BACKOFF_S * doubled, LARGEST_BACKOFF_S)


def _expect(batch: Batch, *states: State) -> None:
    if batch.state not in states:
        raise ImpossibleStep(f"a {batch.state} batch cannot take this step")


# --- what the platform's reports prove (law 7) ------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class SeenJob:
    """A call job of the reports that no receipt claims. **Units**: `created_ms` Unix milliseconds of the platform."""

    id: str
    phone: str
    created_ms: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What the reports show of a batch.

    `kind` is `all` (one moment of creation has one job for each row: `ids` in the order of the rows), `several` (more
    than one such moment: the server made the batch twice; `ids` are of the first, `extra_ids` of the others), `none`
    (no job of any of its phones), or `some` (anything else, which proves nothing).
    """

    kind: str
    ids: tuple[str, ...] = ()
    extra_ids: tuple[str, ...] = ()
    jobs: int = 0


def find(phones: Sequence[str], jobs: Iterable[SeenJob]) -> Finding:
    """Judges unclaimed jobs against the phones of one batch, which are all different (law 8).

    All rows of one request are created at one moment, so one moment with exactly one job for each phone is the batch.
    """
    wanted = set(phones)
    mine = [job for job in jobs if job.phone in wanted]
    moments: dict[int, dict[str, list[str]]] = {}
    for job in mine:
        moments.setdefault(job.created_ms, {}).setdefault(job.phone, []).append(job.id)
    whole = [
        by_phone
        for _, by_phone in sorted(moments.items())
        if by_phone.keys() == wanted and all(len(ids) == 1 for ids in by_phone.values())
    ]
    if not mine:
        return Finding(kind="none")
    if not whole:
        return Finding(kind="some", jobs=len(mine))
    first, *others = [tuple(by_phone[phone][0] for phone in phones) for by_phone in whole]
    if others:
        return Finding(kind="several", ids=first, extra_ids=sum(others, ()), jobs=len(mine))
    return Finding(kind="all", ids=first, jobs=len(mine))


# --- the key's window (law 6) ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerClock:
    """What is known of the server's clock: it lay in `low_ms…high_ms` when this machine's boot clock read `boot_ms`.

    **Units**: Unix milliseconds of the server's clock. Counting on from the boot clock makes a jumping wall clock and
    a sleeping laptop harmless. A Date header names a whole second, and the answer took its round trip.
    """

    low_ms: int
    high_ms: int
    boot_ms: int
    boot_id: str

    def bounds_ms(self, boot_ms: int) -> tuple[int, int]:
        """The earliest and latest the server's clock can show now; crystals may drift apart by 1 in 2,000."""
        passed = boot_ms - self.boot_ms
        return self.low_ms + passed - passed // 2000, self.high_ms + passed + passed // 2000


def calibrated(date_ms: int, round_trip_ms: int, boot_ms: int, boot_id: str) -> ServerClock:
    """The server's clock after an answer with a Date header, read at `boot_ms`."""
    return ServerClock(low_ms=date_ms, high_ms=date_ms + 1000 + round_trip_ms, boot_ms=boot_ms, boot_id=boot_id)


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """How long a key is trusted: the platform's promise less our margin, and how long one request may take."""

    window_s: float = 86_400.0
    margin_s: float = 3_600.0
    request_s: float = 90.0

    def is_open(self, age_ms: int) -> bool:
        """True while a request started now ends before the key can have been forgotten."""
        return age_ms + self.request_s * 1000 < (self.window_s - self.margin_s) * 1000


def age_ms(first: Arming, clock: ServerClock | None, boot_ms: int, boot_id: str) -> int | None:
    """The oldest a key can be by now, by the larger of what the server's clock and the boot clock say.

    None when neither can tell: no Date header, and the machine was started anew since. That key is not to be used.
    """
    ages = []
    if clock is not None and first.server_low_ms is not None:
        ages.append(clock.bounds_ms(boot_ms)[1] - first.server_low_ms)
    if first.boot_id == boot_id:
        ages.append(boot_ms - first.boot_ms)
    return max(ages, default=None)


def passed_ms(since: Arming, clock: ServerClock | None, alone_ms: int, boot_ms: int, boot_id: str) -> int:
    """The least time that has passed since an arming. `alone_ms` is since when this process alone sends (boot clock).

    To a second or so where the server's clock tells: `server_low_ms` is the earliest it can have shown.
    """
    if since.boot_id == boot_id:
        return boot_ms - since.boot_ms
    if clock is None or since.server_low_ms is None:
        return boot_ms - alone_ms
    return max(boot_ms - alone_ms, clock.bounds_ms(boot_ms)[0] - since.server_low_ms)
