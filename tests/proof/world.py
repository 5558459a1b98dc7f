"""A world of its own for one history: clocks that jump, a network that loses, a process that may die at any moment.

Everything random comes from one seeded source, so a seed is a history. The network is an httpx transport in front of
the real sandbox; the crew is a scheduler in place of the sender's threads. A newcomer may question the gate in front of
the platform: refusals that never reach the layer of the keys must come from somewhere that is not that layer.
"""

from __future__ import annotations

import email.utils
import heapq
import json
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TYPE_CHECKING

import httpx

from importer.machine import Moment
from importer.sender import Returned

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

START_MS = 1_800_000_000_000
SECOND_MS, MINUTE_MS, HOUR_MS, DAY_MS = 1_000, 60_000, 3_600_000, 86_400_000
REQUEST_MS = 90_000
DATE_ERROR_MS = 15 * MINUTE_MS  # how far the Date may be from the clock of the keys: a quarter of the margin
DELAYS_MS = (5 * MINUTE_MS, 55 * MINUTE_MS)  # how late a request may still be carried out: less than the margin
REPORT_DELAY_S = 300.0  # how late a call job may show in the reports


class Killed(BaseException):
    """The process ends here: nothing that it has not committed is so."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Weather:
    """How the world treats one process. `fates` weighs what becomes of a request; the rest are chances."""

    fates: Mapping[str, float] = field(default_factory=lambda: {"ok": 1.0})
    report_trouble: float = 0.0
    death: float = 0.0
    suspend: float = 0.0
    stop: float = 0.0
    no_date: float = 0.0
    wall_jump: float = 0.0


CALM = Weather()

UNSENT = ("refused", "connect-timeout")
LOST = ("lost-request", "lost-answer", "reset-before", "reset-after", "delayed", "cut-answer", "wrong-count")
ERRORS = ("error-before", "error-after", "html", "sticky-error")
SAID_NO = ("throttled", "throttled-until", "gate-refuses", "too-large", "denied", "closed", "strange-refusal")
FATES = (*UNSENT, *LOST, *ERRORS, *SAID_NO)


@dataclass(kw_only=True)
class World:
    """True time, the machine's clocks, and what is still under way in the network."""

    dice: random.Random
    true_ms: int = START_MS
    boots: int = 0
    booted_ms: int = START_MS - DAY_MS
    wall_offset_ms: int = 0
    weather: Weather = CALM
    is_dead: bool = False
    requests_left: int = 0
    turns_left: int = 0
    under_way: list[tuple[int, int, Callable[[], None]]] = field(default_factory=list)
    happened: list[str] = field(default_factory=list)
    met: Counter[str] = field(default_factory=Counter)
    _numbers: count[int] = field(default_factory=count)

    def moment(self) -> Moment:
        """This machine's clocks: the wall clock is off by what it was last set to, the boot clock counts sleep."""
        return Moment(
            unix_ms=self.true_ms + self.wall_offset_ms,
            boot_ms=self.true_ms - self.booted_ms,
            boot_id=f"boot-{self.boots}",
        )

    def server_s(self) -> float:
        """The platform's clock."""
        return self.true_ms / 1000

    def monotonic_s(self) -> float:
        """A clock of the process."""
        return (self.true_ms - self.booted_ms) / 1000

    def is_luck(self, chance: float) -> bool:
        return chance > 0 and self.dice.random() < chance

    def note(self, kind: str, detail: object = "") -> None:
        """Keeps what happened, to be printed when the history breaks a law."""
        self.met[kind] += 1
        self.happened.append(f"{(self.true_ms - START_MS) / HOUR_MS:9.4f} h  {kind} {detail}")

    def passes(self, ms: float) -> None:
        """Time goes by; what is under way in the network arrives when it is due."""
        end_ms = self.true_ms + max(0, int(ms))
        while self.under_way and self.under_way[0][0] <= end_ms:
            due_ms, _, arrive = heapq.heappop(self.under_way)
            self.true_ms = max(self.true_ms, due_ms)
            arrive()
        self.true_ms = end_ms

    def later(self, ms: int, arrive: Callable[[], None]) -> None:
        heapq.heappush(self.under_way, (self.true_ms + ms, next(self._numbers), arrive))

    def may_die(self, where: str) -> None:
        """A moment at which the process may be killed; once it is, whatever it still tries dies too."""
        if self.is_dead or self.is_luck(self.weather.death):
            if not self.is_dead:
                self.note("killed", where)
            self.is_dead = True
            raise Killed(where)

    def is_stopping(self) -> bool:
        """Whether somebody pressed Ctrl-C: seldom, or when the process has tried as much as it may."""
        self.turns_left -= 1
        return self.requests_left < 0 or self.turns_left < 0 or self.is_luck(self.weather.stop)

    def jumps(self) -> None:
        """The wall clock may be set: forwards, backwards, by seconds or by years."""
        if self.is_luck(self.weather.wall_jump):
            size_ms = self.dice.choice([30 * SECOND_MS, 20 * MINUTE_MS, 3 * HOUR_MS, 30 * HOUR_MS, 400 * DAY_MS])
            self.wall_offset_ms = self.dice.choice([0, size_ms, -size_ms])
            self.note("wall-clock", f"{self.wall_offset_ms / HOUR_MS:+.2f} h")

    def sleeps(self) -> None:
        """The machine may be suspended."""
        if self.is_luck(self.weather.suspend):
            hours = self.dice.choice([0.1, 1.0, 5.0, 20.0, 22.9, 23.2, 24.5, 30.0])
            self.note("suspended", f"{hours} h")
            self.passes(hours * HOUR_MS)

    def reboots(self) -> None:
        self.boots += 1
        self.booted_ms = self.true_ms - self.dice.randint(10, 100) * SECOND_MS
        self.note("rebooted")


class Napping:
    """Naps that grow while nothing happens: a process may always wake later than it asked for."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._factor = 1.0

    def rest(self, wanted_s: float) -> None:
        self._world.may_die("nap")
        self._world.jumps()
        self._world.passes(max(wanted_s, 0.001) * SECOND_MS * self._factor)
        self._factor = min(self._factor * 1.7, 400.0)

    def wake(self) -> None:
        self._factor = 1.0


class SeededCrew:
    """A sender's crew of one thread: what was begun is carried out, and given back, in an order the seed decides."""

    def __init__(self, world: World, size: int) -> None:
        self._world = world
        self._size = size
        self._begun: list[Callable[[], Returned]] = []
        self._back: list[Returned] = []
        self._napping = Napping(world)

    def start(self, work: Callable[[], Returned]) -> None:
        self._world.may_die("before the work begins")
        self._begun.append(work)
        assert len(self._begun) + len(self._back) <= self._size, "more requests in flight than allowed"

    def wait(self, longest_s: float) -> list[Returned]:
        world = self._world
        world.may_die("in the loop")
        if not self._begun and not self._back:
            self._napping.rest(longest_s)
            return []
        self._napping.wake()
        world.sleeps()
        while self._begun and (not self._back or world.is_luck(0.5)):
            self._back.append(self._begun.pop(world.dice.randrange(len(self._begun)))())
        world.dice.shuffle(self._back)
        taken = world.dice.randint(0 if self._begun else 1, len(self._back))
        found, self._back = self._back[:taken], self._back[taken:]
        return found

    def wake(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """What was begun goes its way: a process that dies may have written some of it to its sockets already."""
        for work in self._begun:
            if not self._world.is_dead or self._world.is_luck(0.5):
                work()
        self._begun = []


@dataclass(kw_only=True)
class Gate:
    """What stands in front of the platform's keys: a proxy with limits, and an operator who closes the campaign.

    `poison` are phones it always refuses; `remembered` are answers that stick to a key for as long as it lives.
    """

    poison: frozenset[str]
    remembers_refusals: bool
    largest_rows: int
    remembered: dict[str, tuple[int, int, bytes]] = field(default_factory=dict)

    def judge(self, key: str, phones: list[str], fate: str, now_ms: int) -> httpx.Response | None:
        """The refusal, or None to let the request through."""
        since_ms, status, content = self.remembered.get(key, (0, 0, b""))
        if status and now_ms - since_ms < DAY_MS:
            return httpx.Response(status, content=content)
        refusal = self._refusal(phones, fate)
        if refusal is not None and (fate == "sticky-error" or (fate == "closed" and self.remembers_refusals)):
            self.remembered[key] = (now_ms, refusal.status_code, refusal.content)
        return refusal

    def _refusal(self, phones: list[str], fate: str) -> httpx.Response | None:
        named = next((phone for phone in phones if phone in self.poison), None)
        if named is None and fate == "gate-refuses":
            named = phones[-1]
        if named is not None:
            return said(400, {"type": "phone.bad.format", "message": "bad", "phone": named})
        if fate == "too-large" or len(phones) > self.largest_rows:
            return httpx.Response(413, text="<html>too large</html>")
        answers = {
            "error-before": lambda: said(500, {"error": "boom"}),
            "html": lambda: httpx.Response(502, text="<html>bad gateway</html>"),
            "sticky-error": lambda: said(503, {"error": "again and again"}),
            "throttled": lambda: said(429, {"error": "slow down"}),
            "throttled-until": lambda: httpx.Response(429, headers={"Retry-After": "120"}, text="{}"),
            "denied": lambda: said(401, {"error": "who are you"}),
            "closed": lambda: said(400, {"type": "invalid.call.task.state", "state": "FINISHED", "message": ""}),
            "strange-refusal": lambda: said(400, {"error": "bad_request"}),
        }
        return answers[fate]() if fate in answers else None


def said(status: int, facts: object) -> httpx.Response:
    return httpx.Response(status, json=facts)


class Network(httpx.BaseTransport):
    """Carries requests to the sandbox, or loses, delays, cuts and refuses them; it never makes two of one."""

    def __init__(self, world: World, app: WSGIApplication, gate: Gate) -> None:
        self._world = world
        self._inner = httpx.WSGITransport(app=app)
        self._gate = gate

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        world = self._world
        if not request.url.path.endswith("/addPhones"):
            return self._asked(request)
        world.requests_left -= 1
        fates = world.weather.fates
        fate = world.dice.choices(list(fates), list(fates.values()))[0]
        world.note(fate, request.headers["Idempotence-Key"][:8])
        return self._dated(self._added(request, fate))

    def _asked(self, request: httpx.Request) -> httpx.Response:
        """Anything that adds nobody."""
        world = self._world
        world.may_die("asking")
        world.passes(world.dice.randint(1, 300))
        if world.is_luck(world.weather.report_trouble):
            world.note("no report")
            raise httpx.ReadTimeout("no answer")
        return self._dated(self._arrived(request))

    def _added(self, request: httpx.Request, fate: str) -> httpx.Response:
        world = self._world
        world.passes(world.dice.choice([1, 40, 900, 20_000]))
        if fate == "refused":
            raise httpx.ConnectError("refused")
        if fate == "connect-timeout":
            world.passes(10_000)
            raise httpx.ConnectTimeout("nobody there")
        if fate in ("lost-request", "delayed"):
            if fate == "delayed":
                world.later(
                    world.dice.randint(1_000, world.dice.choice(DELAYS_MS)), lambda: self._arrives_late(request)
                )
            world.passes(REQUEST_MS)
            raise httpx.ReadTimeout("no answer")
        if fate == "reset-before":
            raise httpx.ReadError("reset")
        return self._answered(self._through_the_gate(request, fate), fate)

    def _answered(self, response: httpx.Response, fate: str) -> httpx.Response:
        world = self._world
        world.passes(world.dice.choice([1, 40, 900, 20_000]))
        if fate == "lost-answer":
            world.passes(REQUEST_MS)
            raise httpx.ReadTimeout("no answer")
        if fate == "reset-after":
            raise httpx.RemoteProtocolError("server disconnected")
        if fate == "cut-answer":
            return httpx.Response(response.status_code, content=response.content[:-2])
        if fate == "wrong-count" and response.status_code == 200:
            return httpx.Response(200, json=["9999999999", *response.json()])
        return said(500, {"error": "boom"}) if fate == "error-after" else response

    def _arrives_late(self, request: httpx.Request) -> None:
        self._world.note("late arrival", request.headers["Idempotence-Key"][:8])
        self._through_the_gate(request, "delayed")

    def _through_the_gate(self, request: httpx.Request, fate: str) -> httpx.Response:
        phones = [str(each["phone"]) for each in json.loads(request.content)]
        refusal = self._gate.judge(request.headers["Idempotence-Key"], phones, fate, self._world.true_ms)
        return refusal or self._arrived(request)

    def _arrived(self, request: httpx.Request) -> httpx.Response:
        response = self._inner.handle_request(request)
        response.read()
        return httpx.Response(response.status_code, headers=response.headers, content=response.content)

    def _dated(self, response: httpx.Response) -> httpx.Response:
        """The answer with the Date of a clock that is nearly the one of the keys, or without."""
        world = self._world
        if world.is_luck(world.weather.no_date):
            response.headers.pop("Date", None)
        else:
            error_ms = world.dice.randint(-DATE_ERROR_MS, DATE_ERROR_MS)
            response.headers["Date"] = email.utils.formatdate((world.true_ms + error_ms) // 1000, usegmt=True)
        return response


def stormy(dice: random.Random) -> Weather:
    """Weather for one process: a few kinds of trouble, each as likely as the dice say."""
    kinds = dice.sample(FATES, dice.randint(1, 4))
    fates = {"ok": dice.choice([0.0, 0.1, 0.5, 2.0]), **{kind: dice.random() + 0.05 for kind in kinds}}
    return Weather(
        fates=fates,
        report_trouble=dice.choice([0.0, 0.0, 0.1, 0.5]),
        death=dice.choice([0.0, 0.0, 0.01, 0.03, 0.1]),
        suspend=dice.choice([0.0, 0.0, 0.05, 0.3]),
        stop=dice.choice([0.0, 0.0, 0.0, 0.02]),
        no_date=dice.choice([0.0, 0.0, 0.3, 1.0]),
        wall_jump=dice.choice([0.0, 0.0, 0.05]),
    )


def calm_after(weather: Weather) -> Weather:
    """The same world, well again."""
    return replace(CALM, no_date=0.0 if weather.no_date < 1 else 1.0)
