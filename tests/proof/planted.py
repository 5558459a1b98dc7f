"""Bugs to be found: each is a small mistake in one part of the engine, put in its place by the simulation.

None of them touches the product's files. A newcomer may question that some are kind mistakes, such as a client that
mends a strange answer: those are the ones that get written.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from importer.client import CallsApi
from importer.ledger.doubt_book import Doubt, DoubtBook
from importer.ledger.records import Sendable, Settlement
from importer.ledger.send_book import SendBook
from importer.model import Answer, Exchange, NoAnswer
from importer.protocol import Arming, Batch, State, Step, Window
from importer.reconcile import Reconciler
from importer.sender import Carrier, Sender

from .sim import Parts

Looking = Callable[[], bool] | None


class Bent:
    """A carrier that bends what it is given, or what comes back."""

    def __init__(self, api: CallsApi) -> None:
        self.api = api

    def send_batch(self, body: bytes, key: str, *, last_look: Looking = None) -> Exchange:
        return self.bent(self.api.send_batch(body, key, last_look=last_look), len(json.loads(body)))

    def bent(self, exchange: Exchange, size_rows: int) -> Exchange:
        return exchange


class RandomKey(Bent):
    """A new key for every request."""

    def send_batch(self, body: bytes, key: str, *, last_look: Looking = None) -> Exchange:
        return self.api.send_batch(body, str(uuid.uuid4()), last_look=last_look)


class Unlooked(Bent):
    """No last look before the first byte."""

    def send_batch(self, body: bytes, key: str, *, last_look: Looking = None) -> Exchange:
        return self.api.send_batch(body, key)


class TimeoutIsFailure(Bent):
    """A timeout counts as not carried out."""

    def bent(self, exchange: Exchange, size_rows: int) -> Exchange:
        return replace(exchange, is_sent=False) if isinstance(exchange, NoAnswer) else exchange


class ErrorIsDefinite(Bent):
    """A 5xx counts as not carried out."""

    def bent(self, exchange: Exchange, size_rows: int) -> Exchange:
        is_5xx = isinstance(exchange, Answer) and exchange.status >= 500
        return replace(exchange, status=429) if is_5xx and isinstance(exchange, Answer) else exchange


class ErrorIsRefusal(Bent):
    """A 5xx counts as a refusal of the request."""

    def bent(self, exchange: Exchange, size_rows: int) -> Exchange:
        is_5xx = isinstance(exchange, Answer) and exchange.status >= 500
        return replace(exchange, status=413) if is_5xx and isinstance(exchange, Answer) else exchange


class CountsAreMended(Bent):
    """A 200 with too many ids is taken for as many as were wanted."""

    def bent(self, exchange: Exchange, size_rows: int) -> Exchange:
        if isinstance(exchange, Answer) and exchange.status == 200 and exchange.body.endswith(b"]"):
            return replace(exchange, body=json.dumps(json.loads(exchange.body)[:size_rows]).encode())
        return exchange


class CutIsMended(Bent):
    """A 200 that cannot be read is taken for a success with ids of our own."""

    def bent(self, exchange: Exchange, size_rows: int) -> Exchange:
        if isinstance(exchange, Answer) and exchange.status == 200 and not exchange.body.endswith(b"]"):
            return replace(exchange, body=json.dumps([f"made-up-{row}" for row in range(size_rows)]).encode())
        return exchange


class RefusalIsUnknown(Bent):
    """A 400 is repeated like an error, so a bad row is never told from the good ones."""

    def bent(self, exchange: Exchange, size_rows: int) -> Exchange:
        is_refused = isinstance(exchange, Answer) and exchange.status == 400
        return replace(exchange, status=500) if is_refused and isinstance(exchange, Answer) else exchange


class LateFreezing(SendBook):
    """The bytes of a retry are made anew, by today's JSON library."""

    def load(self, batch_id: int) -> Sendable:
        found = super().load(batch_id)
        return replace(found, body_bytes=json.dumps(json.loads(found.body_bytes)).encode())


class UnwrittenArming(SendBook):
    """The arming reaches the disk together with the outcome, when it is too late."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._unwritten: dict[int, tuple[Sendable, Batch, Arming | None]] = {}

    def advance(
        self,
        *,
        settled: Sequence[Settlement] = (),
        put_back: Sequence[tuple[Sendable, Step]] = (),
        armed: Sequence[tuple[Sendable, Batch]] = (),
        server_high_ms: int = 0,
        arming: Arming | None = None,
        now_ms: int,
    ) -> None:
        for each, _ in put_back:
            del self._unwritten[each.id]  # neither its arming nor its end reaches the disk
        for each in settled:
            if each.sendable.id in self._unwritten:
                sendable, after, since = self._unwritten.pop(each.sendable.id)
                super().advance(armed=[(sendable, after)], arming=since, now_ms=now_ms)
        self._unwritten |= {sendable.id: (sendable, after, arming) for sendable, after in armed}
        super().advance(settled=settled, server_high_ms=server_high_ms, now_ms=now_ms)


class ForgetsDoubt(SendBook):
    """Ambiguity is lost when a batch is read back: a later refusal then splits or settles it."""

    def load(self, batch_id: int) -> Sendable:
        found = super().load(batch_id)
        is_waiting = found.batch.state is State.WAITING
        return replace(found, batch=replace(found.batch, is_ambiguous=False)) if is_waiting else found


class ForgetsFirstArming(SendBook):
    """The key's age is counted from the last send."""

    def load(self, batch_id: int) -> Sendable:
        found = super().load(batch_id)
        return found if found.batch.epoch else replace(found, batch=replace(found.batch, first_armed=None))


class InnocentCrash(SendBook):
    """A send that was open when its process ended counts as never made."""

    def recover(self, import_id: int, *, now_ms: int) -> int:
        before = {row[0] for row in self._store.all("SELECT id FROM batches WHERE is_ambiguous = 1")}
        found = super().recover(import_id, now_ms=now_ms)
        with self._store.transaction():
            self._store.connection.execute(
                "UPDATE batches SET is_ambiguous = 0 WHERE state = 'waiting' AND reason = 'interrupted' "
                f"AND id NOT IN ({', '.join(map(str, before)) or 0})"
            )
        return found


class NewDayForAnOldKey(SendBook):
    """A batch that proved absent counts its key's age from its next send."""

    def key_since(self, sendable: Sendable) -> Arming | None:
        return None


class NoRivals(DoubtBook):
    """Call jobs that another open batch may own are given to the first that asks."""

    def rivals(self, doubts: Sequence[Doubt]) -> list[Doubt]:
        return []


class OursForTheirs(DoubtBook):
    """The span of the question is of our own wall clock."""

    def doubts(self, import_id: int, *, is_early: bool) -> list[Doubt]:
        found = super().doubts(import_id, is_early=is_early)
        return [
            replace(each, from_ms=each.last_ms - 60_000, armed_ms=each.last_ms - 86_400_000, has_server_time=True)
            for each in found
        ]


class ClaimsNothing(DoubtBook):
    """Call jobs that receipts already hold are counted again."""

    def unclaimed(self, jobs: Any) -> Any:
        return list(jobs)


class TrustsTheLost(Sender):
    """What a lost ledger may have sent counts as never sent."""

    def _as_adopted(self, sendable: Sendable) -> Sendable:
        return sendable


class BlindlyAgain(Sender):
    """When the window closes, the batch is sent again as if for the first time."""

    def _is_in_window(self, batch: Batch) -> bool:
        return True


class HastyParts(Sender):
    """Absent from the reports is as good as never sent: its rows get other keys at once."""

    def _is_past(self, sendable: Sendable) -> bool:
        return True


class OldVerdicts(Sender):
    """Found absent once is absent for ever."""

    def _is_stale(self, sendable: Sendable) -> bool:
        return False


class NeverLooks(Reconciler):
    """What a lost ledger sent in parts, or under a fresh key, is not looked for."""

    def look_for_adopted(self, import_id: int, since: Arming) -> int:
        return 0


ENDLESS = Window(window_s=1e9)


def _carried(kind: Callable[[CallsApi], Carrier]) -> Parts:
    return Parts(carrier=kind)


def _sent(book: type[SendBook]) -> Parts:
    return Parts(books=(book, DoubtBook))


def _doubted(book: type[DoubtBook]) -> Parts:
    return Parts(books=(SendBook, book))


PLANTED: dict[str, Parts] = {
    "a random key": _carried(RandomKey),
    "no last look": _carried(Unlooked),
    "a timeout is a failure": _carried(TimeoutIsFailure),
    "a 5xx is definite": _carried(ErrorIsDefinite),
    "a 5xx is a refusal": _carried(ErrorIsRefusal),
    "a wrong count is mended": _carried(CountsAreMended),
    "a cut answer is mended": _carried(CutIsMended),
    "a 400 is repeated": _carried(RefusalIsUnknown),
    "late freezing": _sent(LateFreezing),
    "sent before the arming is written": _sent(UnwrittenArming),
    "doubt is forgotten": _sent(ForgetsDoubt),
    "first arming is forgotten": _sent(ForgetsFirstArming),
    "a crash is innocent": _sent(InnocentCrash),
    "a new day for an old key": _sent(NewDayForAnOldKey),
    "our clock for theirs": _doubted(OursForTheirs),
    "claims are ignored": _doubted(ClaimsNothing),
    "a lost ledger is trusted": Parts(sender=TrustsTheLost, reconciler=NeverLooks),  # either alone is made good
    "no window": Parts(window=ENDLESS),
    "blindly again": Parts(sender=BlindlyAgain, window=ENDLESS),
    "no quiet period": Parts(quiet_s=0.0),
    "other keys at once": Parts(sender=HastyParts),
}
