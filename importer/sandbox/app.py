"""The server: one request through faults, keys, one operation in one transaction, and the log.

The sandbox's upper floor, a plain WSGI callable on werkzeug. A lost answer is an exception, `ConnectionLost`:
in process the caller sees it as the network's failure, and on a socket the handler in `serving` closes the
connection, so a test means the same in both places.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from werkzeug.http import HTTP_STATUS_CODES, http_date

from importer.errors import UsageProblem
from importer.sandbox import effects, replies
from importer.sandbox.arrivals import KEYED, OPERATIONS, Arrival, match, query_and_key, read_body
from importer.sandbox.faults import Fault, FaultPlan, parse_fault
from importer.sandbox.operations import Operations, Visit
from importer.sandbox.records import CUT_REQUEST
from importer.sandbox.replies import Refusal, Reply
from importer.sandbox.rules import DAY_S, Duplicates, Plus, Remember, Rules, SameKey, UnknownFields
from importer.sandbox.serving import ConnectionLost, Served, serving
from importer.sandbox.store import Campaign, KeyRecord, LogEntry, Store

if TYPE_CHECKING:
    import threading

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


_TOKEN = re.compile(r"[A-Za-z0-9._~-]+", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Outcome:
    """What a request led to: the reply of the service, and whether the operation was carried out."""

    reply: Reply
    campaign: Campaign | None = None
    is_executed: bool = False
    is_replayed: bool = False


class Sandbox:
    """An embedded Calls API server over one SQLite file.

    `tokens` are its campaigns (one is made up from the seed if the file has none); `faults` are specifications as
    described in `importer.sandbox.faults`; `clock` gives Unix seconds and may be moved by a test; `sleep` is what
    delays use; `on_request` is told one line per request, never a token or a phone. The other switches are those
    of `Rules`. Use `.app` in process, or `.serve()` on a socket.

    **Errors**: UsageProblem for a bad fault, a file that is none of ours, or another seed than the file's.
    """

    def __init__(
        self,
        db: Path,
        *,
        tokens: Sequence[str] = (),
        seed: int | None = None,
        faults: Sequence[str] = (),
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        on_request: Callable[[str], None] | None = None,
        key_ttl_s: float = DAY_S,
        same_key: SameKey = "refuse",
        remember: Remember = "ok",
        duplicates: Duplicates = "array",
        plus: Plus = "refuse",
        unknown_fields: UnknownFields = "refuse",
        report_delay_s: float = 0.0,
        speed: float = 1.0,
        lines: int = 50,
        max_body_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        parsed = [parse_fault(spec, operations=OPERATIONS) for spec in faults]
        self._rules = Rules(
            key_ttl_s=key_ttl_s,
            same_key=same_key,
            remember=remember,
            duplicates=duplicates,
            plus=plus,
            unknown_fields=unknown_fields,
            report_delay_s=report_delay_s,
            speed=speed,
            lines=lines,
            max_body_bytes=max_body_bytes,
        )
        self._clock = clock
        self._sleep = sleep
        self._on_request = on_request
        self._store = Store(db)
        seed = self._settle(seed, tokens)
        self._plan = FaultPlan(parsed, seed=seed, started_at_s=clock())
        self._operations = Operations(self._store, self._rules, seed=seed)

    def _settle(self, seed: int | None, tokens: Sequence[str]) -> int:
        """Agree with the file on the seed and the campaigns; a file's seed made its ids and cannot be changed."""
        with self._store.transaction():
            stored = int(self._store.remembered("seed", str(seed or 0)))
            if seed is not None and seed != stored:
                raise UsageProblem(f"the sandbox file was made with seed {stored}", hint="leave the seed out")
            for token in tokens or self._store.tokens() or (f"{8231 + stored}.7056.1b131df1",):
                if _TOKEN.fullmatch(token) is None:
                    raise UsageProblem("a token may hold letters, digits and . _ ~ - only")
                self._store.add_campaign(token, self._now_s())
        return stored

    @property
    def tokens(self) -> tuple[str, ...]:
        """The tokens of all campaigns of the file, oldest first."""
        with self._store.transaction():
            return tuple(self._store.tokens())

    @property
    def app(self) -> WSGIApplication:
        """The WSGI callable; a lost answer is raised as ConnectionLost."""
        return self._respond

    def serve(self, host: str = "127.0.0.1", port: int = 0) -> AbstractContextManager[Served]:
        """Serve on a socket from a background thread; the value has `.url`, `.origin` and `.port`.

        **Errors**: UsageProblem if the address cannot be had.
        """
        return serving(self._respond, host, port, clock=self._clock)

    def serve_forever(self, host: str, port: int, *, stop: threading.Event, on_ready: Callable[[Served], None]) -> None:
        """Serve until `stop` is set; `on_ready` is told the address once connections are accepted."""
        with self.serve(host, port) as served:
            on_ready(served)
            stop.wait()

    def close(self) -> None:
        """Close the file. Requests that come later fail."""
        self._store.close()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _now_s(self) -> float:
        """The sandbox's time in whole milliseconds, the unit of its reports."""
        return math.floor(self._clock() * 1000) / 1000

    # One request, from the wire to the wire

    def _respond(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        arrival = self._arrive(environ)
        number, reply = self._handle(arrival)
        lost = _loss(arrival, environ)
        if self._on_request is not None:
            answered = reply.status if lost is None else "no answer"
            self._on_request(f"{arrival.method} {arrival.operation} {answered} {arrival.struck.label}".rstrip())
        if lost is not None:
            self._store.finish(number)
            raise lost
        phrase = HTTP_STATUS_CODES.get(reply.status, "Unknown")
        start_response(f"{reply.status} {phrase}", self._headers(reply, arrival))
        return _Leaving(self._chunks(reply, arrival), on_left=lambda: self._store.finish(number))

    def _arrive(self, environ: WSGIEnvironment) -> Arrival:
        arrived_at_s, arrived_order = self._clock(), self._store.order()
        body = read_body(environ, self._rules.max_body_bytes)
        matched = match(environ)
        query, key = query_and_key(environ, matched.operation)
        return Arrival(
            operation=matched.operation,
            method=environ["REQUEST_METHOD"],
            token=matched.token,
            query=query,
            key=key,
            content_type=environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower(),
            body=body.data,
            is_whole=body.is_whole,
            unread=body.problem,
            stray=matched.problem,
            arrived_at_s=arrived_at_s,
            arrived_order=arrived_order,
            struck=self._plan.strike(matched.operation, now_s=arrived_at_s, body_bytes=len(body.data)),
        )

    def _handle(self, arrival: Arrival) -> tuple[int, Reply]:
        """Carry a request out, or not, as faults and keys have it; its log number and the reply to send."""
        self._delay(arrival, "before")
        body_sha256 = arrival.body_sha256
        content = arrival.content_sha256(body_sha256)
        with self._store.transaction(is_durable=arrival.operation in KEYED):
            number = self._store.next_request()
            outcome = self._decide(arrival, number, content)
            reply = self._as_sent(arrival, outcome.reply)
            is_answered = arrival.is_whole and effects.loss(arrival.struck) is None
            entry = LogEntry(
                operation=arrival.operation,
                method=arrival.method,
                campaign=outcome.campaign.id if outcome.campaign else None,
                key=arrival.key,
                body_sha256=body_sha256,
                content_sha256=content,
                body_bytes=len(arrival.body),
                arrived_at_s=arrival.arrived_at_s,
                committed_at_s=self._clock(),
                arrived_order=arrival.arrived_order,
                is_executed=outcome.is_executed,
                is_replayed=outcome.is_replayed,
                fault=arrival.struck.label if arrival.is_whole else CUT_REQUEST,
                status=reply.status if is_answered else None,
            )
            self._store.log(number, entry)
        self._delay(arrival, "after")
        return number, reply

    def _as_sent(self, arrival: Arrival, reply: Reply) -> Reply:
        if arrival.unread is not None:
            return reply
        return effects.garbled(effects.replaced(reply, arrival.struck, self._clock()), arrival.struck)

    def _delay(self, arrival: Arrival, phase: str) -> None:
        for fault in arrival.struck.at(phase):
            if fault.name == "delay":
                self._sleep(fault.delay_s)

    def _decide(self, arrival: Arrival, number: int, content: bytes) -> _Outcome:
        campaign = self._store.campaign(arrival.token)
        if arrival.unread is not None or not arrival.is_whole:
            return _Outcome(reply=arrival.unread.reply if arrival.unread else Reply(), campaign=campaign)
        blocker = effects.blocker(arrival.struck)
        if blocker is not None:
            return self._blocked(arrival, campaign, content, blocker)
        if campaign is None:
            return _Outcome(reply=(arrival.stray or replies.invalid_token()).reply)
        if arrival.key is None or arrival.operation not in KEYED:
            return self._carried_out(arrival, campaign, number)
        return self._keyed(arrival, campaign, number, content, arrival.key)

    def _blocked(self, arrival: Arrival, campaign: Campaign | None, content: bytes, fault: Fault) -> _Outcome:
        """The answer of a fault that stands in front of the service; a 5xx may stick to the key (replay-errors)."""
        reply = effects.replacement(fault, self._clock())
        sticks = arrival.struck.named("replay-errors") is not None and reply.status >= 500 and fault.name != "drop"
        if sticks and campaign is not None and arrival.key is not None and arrival.operation in KEYED:
            self._remember(arrival, arrival.key, content, reply)
        return _Outcome(reply=reply, campaign=campaign)

    # Idempotence

    def _keyed(self, arrival: Arrival, campaign: Campaign, number: int, content: bytes, key: str) -> _Outcome:
        """Replay what the key stands for, or carry out and remember."""
        known = self._living_key(arrival, key)
        if known is not None and known.content_sha256 is not None:
            if known.content_sha256 == content or self._rules.same_key == "replay":
                return self._replayed(known, campaign)
            if self._rules.same_key == "refuse":
                return _Outcome(reply=replies.key_reused().reply, campaign=campaign)
        self._store.use_key(key, arrival.arrived_at_s)
        outcome = self._carried_out(arrival, campaign, number)
        is_sticky = arrival.struck.named("replay-errors") is not None
        kept = effects.replaced(outcome.reply, arrival.struck, self._clock()) if is_sticky else outcome.reply
        if is_sticky or self._is_remembered(kept.status):
            self._remember(arrival, key, content, kept)
        return outcome

    def _living_key(self, arrival: Arrival, key: str) -> KeyRecord | None:
        """The key's record; one past its life, or forgotten by a fault, is wiped first."""
        known = self._store.key(key)
        if known is None:
            return None
        age_s = self._clock() - known.first_used_at_s
        forget = arrival.struck.named("forget-keys")
        if age_s >= self._rules.key_ttl_s or (forget is not None and age_s >= forget.age_s):
            self._store.forget_key(key)
            return None
        return known

    def _replayed(self, known: KeyRecord, campaign: Campaign) -> _Outcome:
        reply = Reply(status=known.status, body=known.body, content_type=known.content_type)
        return _Outcome(reply=reply, campaign=campaign, is_replayed=True)

    def _is_remembered(self, status: int) -> bool:
        remember = self._rules.remember
        return status < 400 or remember == "all" or (remember == "refusals" and status < 500)

    def _remember(self, arrival: Arrival, key: str, content: bytes, reply: Reply) -> None:
        self._store.use_key(key, arrival.arrived_at_s)
        self._store.remember_answer(key, content, status=reply.status, content_type=reply.content_type, body=reply.body)

    def _carried_out(self, arrival: Arrival, campaign: Campaign, number: int) -> _Outcome:
        visit = Visit(
            number=number,
            operation=arrival.operation,
            body=arrival.body,
            content_type=arrival.content_type,
            query=arrival.query,
            key=arrival.key,
            now_s=self._now_s(),
            struck=arrival.struck,
        )
        try:
            reply = self._operations.run(visit, campaign)
        except Refusal as refusal:
            return _Outcome(reply=refusal.reply, campaign=campaign)
        return _Outcome(reply=reply, campaign=campaign, is_executed=True)

    # The answer leaves

    def _headers(self, reply: Reply, arrival: Arrival) -> list[tuple[str, str]]:
        headers = [("Content-Type", reply.content_type), ("Content-Length", str(len(reply.body))), *reply.headers]
        skew = arrival.struck.named("wrong-date")
        if arrival.struck.named("no-date") is None:
            headers.append(("Date", http_date(self._clock() + (skew.skew_s if skew else 0.0))))
        return headers

    def _chunks(self, reply: Reply, arrival: Arrival) -> Iterator[bytes]:
        if arrival.method == "HEAD":
            return
        if arrival.struck.named("half-answer") is not None:
            yield reply.body[: len(reply.body) // 2]
            raise ConnectionLost
        drip = arrival.struck.named("slow-body")
        step = drip.size_bytes if drip else max(1, len(reply.body))
        for start in range(0, len(reply.body), step):
            if drip is not None and start:
                self._sleep(drip.gap_s)
            yield reply.body[start : start + step]


def _loss(arrival: Arrival, environ: WSGIEnvironment) -> ConnectionLost | None:
    """How the connection ends without an answer, if it does."""
    if not arrival.is_whole:
        return ConnectionLost()
    if (fault := effects.loss(arrival.struck)) is not None:
        return ConnectionLost(is_reset=fault.how == "rst")
    half = arrival.struck.named("half-answer")
    if half is None or half.part == "body":
        return None
    if (connection := environ.get("werkzeug.socket")) is not None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: applic")
    return ConnectionLost()


class _Leaving:
    """An answer on its way out, which says once when it has left or was lost."""

    def __init__(self, chunks: Iterator[bytes], *, on_left: Callable[[], None]) -> None:
        self._chunks = chunks
        self._on_left = on_left
        self._has_left = False

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._chunks
        finally:
            self.close()

    def close(self) -> None:
        """Called by the server when it is done with the answer, sent or not."""
        if not self._has_left:
            self._has_left = True
            self._on_left()
