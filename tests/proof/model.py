"""A bounded model of the protocol, explored to its end: every order of events, within a number of sends and crashes.

One batch of two rows (and its parts, if it falls apart), a platform that forgets keys, a network that loses and delays,
a process that may crash between any two steps, and time that may pass anywhere. Transitions are the functions of
`importer.protocol` themselves; around them stand, in few words, the sender's and the reconciler's order of steps.
Scaled: a key lives 4 units, the margin is 1, a request is late by 1 at most, the quiet period is 2.
`python -m tests.proof.model --sends 4 --crashes 2` explores further than the tests do.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from importer import protocol
from importer.model import Answer, Exchange, NoAnswer
from importer.protocol import Arming, Batch, NotExecuted, Outcome, SeenJob, ServerClock, State, Step, Window

UNIT_MS = 1000
LIFE = 4  # of a key on the platform, from its first use
LATE = 1  # a request arrives so late at most
QUIET = 2  # between the last send and the question that may prove absence: at least LATE and the reports' own delay
OLDEST = LIFE + 2  # ages beyond this are all alike
WINDOW = Window(window_s=float(LIFE), margin_s=1.0, request_s=0.0)
JUMP = 3  # how far a wall clock is set back, once
PHONES = ("12015550100", "12015550101")

Key = tuple[int, int]  # batch, generation


class Was(NamedTuple):
    """What a batch was when it was armed, ages aside: they go on."""

    state: State
    has_first: bool
    has_key: bool


class B(NamedTuple):
    """A batch as it is on disk, with what the process has under way of it. Ages in units, OLDEST at most."""

    state: State
    rows: tuple[int, ...]
    is_ambiguous: bool = False
    first_age: int | None = None  # since it was first armed in its epoch
    key_age: int | None = None  # since the oldest send that may have shown the key
    is_later_epoch: bool = False
    generation: int = 0
    stage: str = ""  # of this process: armed, sent; early is the planted bug of sending before arming
    was: Was | None = None  # while it may be put back


class Message(NamedTuple):
    """A request on its way; `is_awaited` while its process still waits for the answer."""

    key: Key
    age: int
    is_awaited: bool


class Memory(NamedTuple):
    """What the platform knows of a key."""

    key: Key
    age: int
    was_executed: bool


class Job(NamedTuple):
    """One execution: call jobs for these rows, at one moment."""

    rows: tuple[int, ...]
    key: Key
    age: int


class World(NamedTuple):
    """Everything there is."""

    batches: tuple[B, ...]
    messages: tuple[Message, ...] = ()
    keys: tuple[Memory, ...] = ()
    jobs: tuple[Job, ...] = ()
    is_up: bool = True
    quiet_age: int | None = None  # since reconciliation began, in this process
    absent_once: tuple[int, ...] | None = None
    sends: int = 0
    crashes: int = 0
    jumps: int = 0


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What the process goes by: the protocol's functions, and the order of the sender's steps. A bug replaces one."""

    classify: Callable[[Exchange, int], Outcome] = protocol.classify
    arm: Callable[[Batch, Arming, Arming | None], Step] = protocol.arm
    recover: Callable[[Batch], Step] = protocol.recover
    settle: Callable[..., Step] = protocol.settle
    expire: Callable[[Batch], Step] = protocol.expire
    absent: Callable[[Batch], Step] = protocol.absent
    find: Callable[[Sequence[str], list[SeenJob]], protocol.Finding] = protocol.find
    window: Window = WINDOW
    looks_again: bool = True
    is_armed_before_sent: bool = True
    quiet_units: int = QUIET
    is_quiet_from_arming: bool = False
    has_wall_clock: bool = False
    put_back_from: frozenset[str] = frozenset({"armed"})


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """How far to explore."""

    sends: int = 3
    crashes: int = 1
    states: int = 100_000_000


@dataclass(frozen=True, kw_only=True)
class Explored:
    """What exploring came to: `path` leads to the first state that breaks an invariant."""

    states: int
    broken: str = ""
    path: tuple[str, ...] = ()


Move = tuple[str, World]


FRESH = World(batches=(B(state=State.FROZEN, rows=(0, 1)),))
# Refused behind the layer of the keys after an unknown outcome, a unit ago: the key is known, nothing was made.
DOUBTED = World(
    batches=(B(state=State.IN_DOUBT, rows=(0, 1), is_ambiguous=True, first_age=1, key_age=1),),
    keys=(Memory((0, 0), 1, was_executed=False),),
)


def explore(rules: Rules, bounds: Bounds, start: World = FRESH) -> Explored:
    """Breadth first, so that the path to a broken invariant is a shortest one."""
    machine = Machine(rules, bounds)
    came_from: dict[World, tuple[World | None, str]] = {start: (None, "")}
    waiting = deque([start])
    while waiting and len(came_from) < bounds.states:
        world = waiting.popleft()
        for event, after in machine.moves(world):
            if after in came_from:
                continue
            came_from[after] = (world, event)
            broken = invariant_broken(after)
            if broken:
                return Explored(states=len(came_from), broken=broken, path=_path(came_from, after))
            waiting.append(after)
    return Explored(states=len(came_from))


def _path(came_from: dict[World, tuple[World | None, str]], end: World) -> tuple[str, ...]:
    events: list[str] = []
    world: World | None = end
    while world is not None:
        world, event = came_from[world]
        events.append(event)
    return tuple(reversed(events[:-1]))


def invariant_broken(world: World) -> str:
    """I2 to I8 of a state, in words; empty when all hold."""
    called = Counter(row for job in world.jobs for row in job.rows)
    if any(times > 1 for times in called.values()):
        return "I2: a row has two call jobs"
    for number, batch in enumerate(world.batches):
        if batch.state is State.ACCEPTED and not all(called[row] for row in batch.rows):
            return "I7: a row counts as accepted and has no call job"
        if batch.state is State.REFUSED and any(called[row] for row in batch.rows):
            return "I7: a row counts as refused and has a call job"
        if batch.stage == "early" and any(message.key[0] == number for message in world.messages):
            return "I3: bytes left before the arming was on disk"
    live = Counter(row for batch in world.batches if batch.state is not State.SPLIT for row in batch.rows)
    if any(times > 1 for times in live.values()):
        return "I8: a row is in two live batches"
    awaited = Counter(message.key for message in world.messages if message.is_awaited)
    return "I6: a key is in flight twice" if any(times > 1 for times in awaited.values()) else ""


class Machine:
    """The moves from a state. Steps of the protocol are pure, so each is asked once and remembered."""

    def __init__(self, rules: Rules, bounds: Bounds) -> None:
        self._rules = rules
        self._bounds = bounds
        self._steps: dict[tuple[object, ...], tuple[B, tuple[tuple[int, ...], ...]]] = {}

    def moves(self, world: World) -> Iterator[Move]:
        """Everything that can happen next."""
        yield from self._time(world)
        yield from self._arrivals(world)
        if not world.is_up:
            yield "restart", self._restarted(world)
            return
        if world.crashes < self._bounds.crashes:
            yield "crash", _crashed(world)
        if world.quiet_age is not None:
            yield from self._reconciling(world)
            return
        for number, batch in enumerate(world.batches):
            yield from self._sending(world, number, batch)
        is_idle = not any(batch.state is State.ARMED or batch.stage for batch in world.batches)
        if is_idle and any(batch.state is State.IN_DOUBT for batch in world.batches):
            yield "reconcile", world._replace(quiet_age=0)

    # --- time, crashes ------------------------------------------------------------------------------------------------

    def _time(self, world: World) -> Iterator[Move]:
        if all(message.age < LATE for message in world.messages):
            yield "time", _older(world)
        if self._rules.has_wall_clock and world.jumps == 0:
            back = tuple(
                batch._replace(first_age=None if batch.first_age is None else max(0, batch.first_age - JUMP))
                for batch in world.batches
            )
            yield "wall clock set back", world._replace(batches=back, jumps=1)

    def _restarted(self, world: World) -> World:
        batches = tuple(
            self._step("recover", batch)[0] if batch.state is State.ARMED else batch for batch in world.batches
        )
        return world._replace(batches=batches, is_up=True)

    # --- sending ------------------------------------------------------------------------------------------------------

    def _sending(self, world: World, number: int, batch: B) -> Iterator[Move]:
        if batch.stage == "early":
            yield "arm, late", _with(world, number, self._armed(batch)._replace(stage="sent"))
        elif batch.stage == "armed":
            yield from self._last_look(world, number, batch)
        elif batch.state in (State.FROZEN, State.WAITING):
            yield from self._next(world, number, batch)
        if batch.was is not None and batch.stage in self._rules.put_back_from:
            yield "put back", _with(_unawaited(world, _key(number, batch)), number, _put_back(batch, batch.was))
        if batch.stage == "sent" and any(m.is_awaited and m.key == _key(number, batch) for m in world.messages):
            given_up = _unawaited(world, _key(number, batch))
            yield "timeout", self._settled(given_up, number, _nothing("timeout", is_sent=True))

    def _next(self, world: World, number: int, batch: B) -> Iterator[Move]:
        if batch.state is State.WAITING:
            yield "park", _with(world, number, self._step("park", batch)[0])
            if not batch.is_ambiguous:
                yield "renew", _with(world, number, self._step("renew", batch)[0])
        if not self._is_in_window(batch.first_age):
            yield "expire", _with(world, number, self._step("expire", batch)[0])
        elif world.sends < self._bounds.sends and self._rules.is_armed_before_sent:
            yield (
                "arm",
                _with(world._replace(sends=world.sends + 1), number, self._armed(batch)._replace(stage="armed")),
            )
        elif world.sends < self._bounds.sends:
            early = _with(world._replace(sends=world.sends + 1), number, batch._replace(stage="early"))
            yield "send, early", _posted(early, _key(number, batch))

    def _armed(self, batch: B) -> B:
        armed = self._step("arm", batch)[0]
        was = Was(batch.state, batch.first_age is not None, batch.key_age is not None)
        return armed._replace(key_age=0 if batch.key_age is None else batch.key_age, was=was)

    def _last_look(self, world: World, number: int, batch: B) -> Iterator[Move]:
        """Directly before the write: the age again, of the key if it may be known to the platform, else of this arming.

        An arming of its own age is not kept here: it can only be younger than the key's, so nothing is missed.
        """
        if self._rules.looks_again and batch.is_ambiguous and not self._is_in_window(batch.first_age):
            yield "too late", self._settled(world, number, _nothing("too-late", is_sent=False))
            return
        yield "connection refused", self._settled(world, number, _nothing("refused", is_sent=False))
        was = batch.was if "sent" in self._rules.put_back_from else None
        sent = _with(world, number, batch._replace(stage="sent", was=was))
        yield "send", _posted(sent, _key(number, batch))

    def _is_in_window(self, age: int | None) -> bool:
        if age is None:
            return True
        first = Arming(server_low_ms=-age * UNIT_MS, boot_ms=-age * UNIT_MS, boot_id="boot")
        clock = ServerClock(low_ms=0, high_ms=0, boot_ms=0, boot_id="boot")
        age_ms = protocol.age_ms(first, clock, 0, "boot")
        return age_ms is not None and self._rules.window.is_open(age_ms)

    def _settled(self, world: World, number: int, exchange: Exchange) -> World:
        """The send's end, with its parts frozen if the batch falls apart."""
        batch, parts = self._step("settle", world.batches[number], exchange)
        children = tuple(B(state=State.FROZEN, rows=tuple(batch.rows[place] for place in part)) for part in parts)
        after = _with(world, number, batch._replace(stage=""))
        return after._replace(batches=after.batches + children)

    # --- the platform -------------------------------------------------------------------------------------------------

    def _arrivals(self, world: World) -> Iterator[Move]:
        for place, message in enumerate(world.messages):
            left = world._replace(messages=world.messages[:place] + world.messages[place + 1 :])
            if message.is_awaited and world.is_up:
                yield from self._answered(left, message.key)
            else:
                yield "late request lost", left
                yield "late request refused", _used(left, message.key)
                yield "late request carried out", _executed(left, message.key)

    def _answered(self, world: World, key: Key) -> Iterator[Move]:
        """What an awaited request can meet: in front of the keys, behind them, and on the way back."""
        number, done = key[0], _executed(world, key)
        rows = world.batches[number].rows
        if world.batches[number].stage == "early":
            return  # its answer is taken once its arming is written
        for name, exchange in _front(rows):
            yield name, self._settled(world, number, exchange)
        yield "answer", self._settled(done, number, _ids(len(rows)))
        yield "answer lost", self._settled(done, number, _nothing("reset", is_sent=True))
        yield "5xx after", self._settled(done, number, _status(503))
        known = next((memory for memory in world.keys if memory.key == key), None)
        if known is None or not known.was_executed:
            yield "refused behind the keys", self._settled(_used(world, key), number, _refusal(rows))
            yield "5xx before", self._settled(_used(world, key), number, _status(500))

    # --- reconciling --------------------------------------------------------------------------------------------------

    def _reconciling(self, world: World) -> Iterator[Move]:
        doubts = [number for number, batch in enumerate(world.batches) if batch.state is State.IN_DOUBT]
        for visible in _visible(world):
            findings = {number: self._found(world, number, visible) for number in doubts}
            after = world
            for number, kind in findings.items():
                if kind == "all":
                    after = _with(after, number, self._step("found", world.batches[number])[0])
            none = tuple(number for number, kind in findings.items() if kind == "none")
            if after != world:
                yield "found", after._replace(quiet_age=None, absent_once=None)
            elif world.absent_once is None and none and self._is_quiet(world, none):
                yield "absent once", world._replace(absent_once=none)
            elif world.absent_once is not None:
                yield "absent twice", self._absent(world, set(none) & set(world.absent_once))

    def _is_quiet(self, world: World, numbers: tuple[int, ...]) -> bool:
        if self._rules.is_quiet_from_arming:
            return all((world.batches[number].key_age or 0) >= self._rules.quiet_units for number in numbers)
        return (world.quiet_age or 0) >= self._rules.quiet_units

    def _absent(self, world: World, numbers: set[int]) -> World:
        after = world._replace(quiet_age=None, absent_once=None)
        for number in numbers:
            after = _with(after, number, self._step("absent", world.batches[number])[0])
        return after

    def _found(self, world: World, number: int, visible: tuple[Job, ...]) -> str:
        claimed = {_key(n, b) for n, b in enumerate(world.batches) if b.state is State.ACCEPTED}
        jobs = [
            SeenJob(id=f"{place}-{row}", phone=PHONES[row], created_ms=place)
            for place, job in enumerate(visible)
            if job.key not in claimed
            for row in job.rows
        ]
        return self._rules.find([PHONES[row] for row in world.batches[number].rows], jobs).kind

    # --- the protocol's own steps -------------------------------------------------------------------------------------

    def _step(self, name: str, batch: B, exchange: Exchange | None = None) -> tuple[B, tuple[tuple[int, ...], ...]]:
        known = (name, batch, exchange)
        if known not in self._steps:
            step = self._ask(name, batch, exchange)
            self._steps[known] = _as_kept(batch, step), step.parts
        return self._steps[known]

    def _ask(self, name: str, kept: B, exchange: Exchange | None) -> Step:
        rules, batch = self._rules, _as_protocol(kept)
        if exchange is not None:
            phones = tuple(PHONES[row] for row in kept.rows)
            return rules.settle(batch, rules.classify(exchange, len(phones)), phones=phones, jitter=0.5)
        if name == "arm":
            return rules.arm(batch, _arming(0), _arming(kept.key_age) if kept.is_later_epoch and kept.key_age else None)
        steps: dict[str, Callable[[Batch], Step]] = {
            "recover": rules.recover,
            "expire": rules.expire,
            "absent": rules.absent,
            "found": protocol.found,
            "renew": protocol.renew,
            "park": lambda each: protocol.park(each, "parked"),
        }
        return steps[name](batch)


def _arming(age: int) -> Arming:
    return Arming(server_low_ms=-age * UNIT_MS, boot_ms=-age * UNIT_MS, boot_id="boot")


def _as_protocol(kept: B) -> Batch:
    return Batch(
        state=kept.state,
        size_rows=len(kept.rows),
        epoch=int(kept.is_later_epoch),
        generation=kept.generation,
        is_ambiguous=kept.is_ambiguous,
        first_armed=None if kept.first_age is None else _arming(kept.first_age),
        sends=1,
    )


def _as_kept(before: B, step: Step) -> B:
    after = step.batch
    first_age = None if after.first_armed is None else -after.first_armed.boot_ms // UNIT_MS
    return before._replace(
        state=after.state,
        is_ambiguous=after.is_ambiguous,
        first_age=first_age,
        is_later_epoch=after.epoch > 0,
        generation=after.generation,
        stage="",
        was=None,
    )


def _put_back(armed: B, was: Was) -> B:
    before = armed._replace(
        state=was.state,
        first_age=armed.first_age if was.has_first else None,
        key_age=armed.key_age if was.has_key else None,
    )
    return _as_kept(before, protocol.put_back(_as_protocol(armed), _as_protocol(before)))


# --- small steps of the world -----------------------------------------------------------------------------------------


def _key(number: int, batch: B) -> Key:
    return number, batch.generation


def _with(world: World, number: int, batch: B) -> World:
    return world._replace(batches=(*world.batches[:number], batch, *world.batches[number + 1 :]))


def _posted(world: World, key: Key) -> World:
    return world._replace(messages=tuple(sorted((*world.messages, Message(key, 0, True)))))


def _unawaited(world: World, key: Key) -> World:
    messages = (each._replace(is_awaited=False) if each.key == key else each for each in world.messages)
    return world._replace(messages=tuple(sorted(messages)))


def _crashed(world: World) -> World:
    return world._replace(
        batches=tuple(batch._replace(stage="", was=None) for batch in world.batches),
        messages=tuple(sorted(message._replace(is_awaited=False) for message in world.messages)),
        is_up=False,
        quiet_age=None,
        absent_once=None,
        crashes=world.crashes + 1,
    )


def _older(world: World) -> World:
    return world._replace(
        batches=tuple(
            batch._replace(first_age=_aged(batch.first_age), key_age=_aged(batch.key_age)) for batch in world.batches
        ),
        messages=tuple(message._replace(age=message.age + 1) for message in world.messages),
        keys=tuple(memory._replace(age=memory.age + 1) for memory in world.keys if memory.age + 1 < LIFE),
        jobs=tuple(job._replace(age=min(job.age + 1, 1)) for job in world.jobs),
        quiet_age=None if world.quiet_age is None else min(world.quiet_age + 1, QUIET),
    )


def _aged(age: int | None) -> int | None:
    return None if age is None else min(age + 1, OLDEST)


def _used(world: World, key: Key, *, is_executed: bool = False) -> World:
    """The platform meets a key: its life begins with its first use, whatever comes of it."""
    known = next((memory for memory in world.keys if memory.key == key), Memory(key, 0, False))
    others = (memory for memory in world.keys if memory.key != key)
    met = known._replace(was_executed=known.was_executed or is_executed)
    return world._replace(keys=tuple(sorted((*others, met))))


def _executed(world: World, key: Key) -> World:
    """Carried out, or answered from memory."""
    if any(memory.key == key and memory.was_executed for memory in world.keys):
        return world
    job = Job(world.batches[key[0]].rows, key, 0)
    return _used(world, key, is_executed=True)._replace(jobs=tuple(sorted((*world.jobs, job))))


def _visible(world: World) -> Iterator[tuple[Job, ...]]:
    """What the reports may show: a call job may be missing as long as it is new."""
    yield world.jobs
    older = tuple(job for job in world.jobs if job.age > 0)
    if older != world.jobs:
        yield older


# --- exchanges --------------------------------------------------------------------------------------------------------


def _nothing(reason: str, *, is_sent: bool) -> NoAnswer:
    return NoAnswer(reason=reason, detail="", is_sent=is_sent, elapsed_s=0.0)


def _answer(status: int, value: object) -> Answer:
    body = json.dumps(value).encode()
    return Answer(status=status, body=body, content_type="", server_date=None, retry_after_s=None, elapsed_s=0.0)


def _ids(rows: int) -> Answer:
    return _answer(200, [f"id-{row}" for row in range(rows)])


def _status(status: int) -> Answer:
    return _answer(status, {"error": "boom"})


def _refusal(rows: tuple[int, ...]) -> Answer:
    return _answer(400, {"type": "phone.bad.format", "phone": PHONES[rows[-1]], "message": ""})


def _front(rows: tuple[int, ...]) -> Iterator[tuple[str, Exchange]]:
    """Answers that never reach the layer of the keys, and none."""
    yield "429", _status(429)
    yield "4xx in front", _refusal(rows)
    yield "lost", _nothing("reset", is_sent=True)


# --- planted bugs: what a model check of this protocol must catch -----------------------------------------------------


def _bugged_arm(batch: Batch, arming: Arming, key_since: Arming | None = None) -> Step:
    step = protocol.arm(batch, arming, key_since)
    return replace(step, batch=replace(step.batch, first_armed=arming))


def _forgetful_arm(batch: Batch, arming: Arming, key_since: Arming | None = None) -> Step:
    return protocol.arm(batch, arming)


def _innocent_recover(batch: Batch) -> Step:
    step = protocol.recover(batch)
    return replace(step, batch=replace(step.batch, is_ambiguous=batch.is_ambiguous))


def _new_key_settle(batch: Batch, outcome: Outcome, **named: object) -> Step:
    step = protocol.settle(batch, outcome, **named)  # type: ignore[arg-type]  # passed on as they came
    is_maybe = isinstance(outcome, protocol.Unknown)
    return replace(step, batch=replace(step.batch, generation=batch.generation + 1)) if is_maybe else step


def _definite_5xx(exchange: Exchange, size_rows: int) -> Outcome:
    is_5xx = isinstance(exchange, Answer) and exchange.status >= 500
    return NotExecuted(kind="5xx") if is_5xx else protocol.classify(exchange, size_rows)


def _splitting_settle(batch: Batch, outcome: Outcome, **named: object) -> Step:
    is_refused = isinstance(outcome, protocol.Refused) and batch.size_rows > 1
    before = replace(batch, is_ambiguous=False) if is_refused else batch
    return protocol.settle(before, outcome, **named)  # type: ignore[arg-type]


def _trusting_settle(batch: Batch, outcome: Outcome, **named: object) -> Step:
    is_refused = isinstance(outcome, protocol.Refused)
    step = protocol.settle(batch, outcome, **named)  # type: ignore[arg-type]
    return replace(step, batch=replace(step.batch, state=State.REFUSED), parts=()) if is_refused else step


def _blind_expire(batch: Batch) -> Step:
    return protocol.absent(replace(batch, state=State.IN_DOUBT))


AS_BUILT = Rules()
PLANTED: dict[str, Rules] = {
    "a new key after a maybe": Rules(settle=_new_key_settle),
    "sent before the arming is durable": Rules(is_armed_before_sent=False),
    "no deadline": Rules(window=Window(window_s=1e9, margin_s=0.0, request_s=0.0)),
    "deadline from the last send": Rules(arm=_bugged_arm),
    "no margin": Rules(window=replace(AS_BUILT.window, margin_s=0.0)),
    "no second look at the write": Rules(looks_again=False),
    "a wall clock that jumps": Rules(has_wall_clock=True),
    "a crash is not ambiguous": Rules(recover=_innocent_recover),
    "a 5xx is definite": Rules(classify=_definite_5xx),
    "split after a maybe": Rules(settle=_splitting_settle),
    "a refusal after a maybe is definite": Rules(settle=_trusting_settle),
    "reconciled without a quiet period": Rules(quiet_units=0),
    "quiet period from the arming": Rules(is_quiet_from_arming=True),
    "sent again blindly": Rules(expire=_blind_expire),
    "a new day for an old key": Rules(arm=_forgetful_arm),
    "put back after it was sent": Rules(put_back_from=frozenset({"armed", "sent"})),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Explores the protocol as built, then every planted bug; prints how many states that took."""
    parser = argparse.ArgumentParser(prog="python -m tests.proof.model", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sends", type=int, default=3)
    parser.add_argument("--crashes", type=int, default=1)
    parser.add_argument("--states", type=int, default=100_000_000, help="give up after so many")
    said = parser.parse_args(arguments)
    bounds = Bounds(sends=said.sends, crashes=said.crashes, states=said.states)
    is_right = _tell("as built", explore(AS_BUILT, bounds), bounds, is_to_break=False)
    for name, rules in PLANTED.items():
        is_right &= _tell(name, explore(rules, bounds), bounds, is_to_break=True)
    return 0 if is_right else 1


def _tell(name: str, explored: Explored, bounds: Bounds, *, is_to_break: bool) -> bool:
    is_whole = explored.states < bounds.states
    end = explored.broken or ("explored to the end, nothing broken" if is_whole else "not explored to the end")
    print(f"{name}: {explored.states:,} states, {end}")  # noqa: T201
    if bool(explored.broken) != is_to_break:
        print("    " + "\n    ".join(explored.path))  # noqa: T201
    return bool(explored.broken) == is_to_break


if __name__ == "__main__":
    sys.exit(main())
