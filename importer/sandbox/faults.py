"""Misbehaviour on demand: which fault strikes which request, written as one line of text.

    NAME[:OPTION=VALUE[,OPTION=VALUE]...]        lose-answer:every=7    status:code=429,retry-after=2,times=5

    before the operation, which is then not executed
      drop            close the connection without an answer          how=fin|rst
      status          answer this status                              code=503 type= retry-after= retry-after-date= at=
      html            answer a proxy's HTML error page                code=502 at=
      too-large       413 for bodies above a size                     bytes=1000000
    after the operation was executed and committed
      lose-answer     close the connection without an answer          how=fin|rst
      half-answer     send half of the answer, then close             part=body|head
      error-after-commit  answer this status instead                  status=500
      wrong-count     one id too few, or more                         by=-1
      strange         a 200 with an odd body      as=empty|cut|object|deep|digits|same-id
      slow-body       drip the body                                   bytes=16 gap=100ms
    before or after
      delay           wait                                            s=1 at=before|after
    how the operation is carried out
      forget-keys     the key of the request is forgotten, if so old  age=0s
      shuffle-ids     ids in another order than the phones
      replay-errors   errors are remembered under the key and replayed, 5xx too
      iso-times       reports carry ISO 8601 times, not milliseconds
      in-process      the status is called inProcess
      newest-first    paged reports run backwards, so pages shift while jobs arrive
      no-date         no Date header              wrong-date  Date is off by   s=7200

    which requests (all conditions hold together; each fault counts for itself, from the start of the process)
      op=addPhones    this operation, several joined with +, or any   (default addPhones; any from replay-errors on)
      after=N         not the first N       every=N   each Nth       times=N   at most N times
      p=0.1           seeded chance         when=10s..2m   this long after the start (either end may be left out)

`retry-after` is sent as written, `retry-after-date=SECONDS` as an HTTP date so far away. `at=after` turns a
`status` or `html` that would come from a proxy before the service into one that comes after it.
A leaf of the sandbox; the effects live in `app`.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from importer.errors import UsageProblem
from importer.sandbox.durations import parse_duration_s

ANY = "any"


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """One fault: what it does (`name`, `at` and its settings) and which requests it picks."""

    name: str
    at: str
    code: int = 500
    type: str = ""
    retry_after: str = ""
    retry_after_date_s: int | None = None
    how: str = "fin"
    part: str = "body"
    strange: str = "empty"
    size_bytes: int = 0
    gap_s: float = 0.1
    delay_s: float = 1.0
    skew_s: float = 7200.0
    age_s: float = 0.0
    by: int = -1
    operations: frozenset[str] = field(default=frozenset({"addPhones"}))
    after: int = 0
    every: int = 1
    times: int | None = None
    chance: float = 1.0
    from_s: float = 0.0
    until_s: float = float("inf")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Kind:
    plain: Fault
    options: tuple[str, ...] = ()


def _kind(name: str, at: str, *options: str, **settings: Any) -> _Kind:
    return _Kind(plain=Fault(name=name, at=at, **settings), options=options)


_EVERYWHERE = frozenset({ANY})
_KINDS: Mapping[str, _Kind] = {
    kind.plain.name: kind
    for kind in (
        _kind("drop", "before", "how"),
        _kind("status", "before", "code", "status", "type", "retry-after", "retry-after-date", "at", code=503),
        _kind("html", "before", "code", "status", "at", code=502),
        _kind("too-large", "before", "bytes", size_bytes=1_000_000, code=413),
        _kind("lose-answer", "after", "how"),
        _kind("half-answer", "after", "part"),
        _kind("error-after-commit", "after", "code", "status"),
        _kind("wrong-count", "after", "by"),
        _kind("strange", "after", "as"),
        _kind("slow-body", "after", "bytes", "gap", size_bytes=16),
        _kind("delay", "before", "s", "at"),
        _kind("forget-keys", "during", "age"),
        _kind("shuffle-ids", "during"),
        _kind("replay-errors", "during", operations=_EVERYWHERE),
        _kind("iso-times", "during", operations=_EVERYWHERE),
        _kind("in-process", "during", operations=_EVERYWHERE),
        _kind("newest-first", "during", operations=_EVERYWHERE),
        _kind("no-date", "during", operations=_EVERYWHERE),
        _kind("wrong-date", "during", "s", operations=_EVERYWHERE),
    )
}
FAULT_NAMES = tuple(_KINDS)
_PICKING = ("op", "after", "every", "times", "p", "when")


def _seconds(text: str) -> float:
    return float(text) if text.replace(".", "", 1).isdigit() else parse_duration_s(text)


def _one_of(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"{text!r} is none of {', '.join(words)}")
        return text

    return read


def _whole_from(low: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        value = int(text)
        if value < low:
            raise ValueError(f"{text!r} is below {low}")
        return value

    return read


def _chance(text: str) -> float:
    value = float(text)
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{text!r} is no chance from 0 to 1")
    return value


def _signed_seconds(text: str) -> float:
    return -_seconds(text[1:]) if text.startswith("-") else _seconds(text)


def _status(text: str) -> int:
    value = int(text)
    if not 200 <= value <= 599:
        raise ValueError(f"{text!r} is no HTTP status from 200 to 599")
    return value


def _header_text(text: str) -> str:
    if not text.isprintable() or not text.isascii():
        raise ValueError("a header value must be printable ASCII")
    return text


_READERS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "how": ("how", _one_of("fin", "rst")),
    "part": ("part", _one_of("body", "head")),
    "as": ("strange", _one_of("empty", "cut", "object", "deep", "digits", "same-id")),
    "at": ("at", _one_of("before", "after")),
    "code": ("code", _status),
    "status": ("code", _status),
    "type": ("type", str),
    "retry-after": ("retry_after", _header_text),
    "retry-after-date": ("retry_after_date_s", int),
    "bytes": ("size_bytes", _whole_from(1)),
    "gap": ("gap_s", _seconds),
    "s": ("delay_s", _seconds),
    "age": ("age_s", _seconds),
    "by": ("by", int),
    "op": ("operations", lambda text: frozenset(text.split("+"))),
    "after": ("after", _whole_from(0)),
    "every": ("every", _whole_from(1)),
    "times": ("times", _whole_from(0)),
    "p": ("chance", _chance),
}


def parse_fault(spec: str, *, operations: Sequence[str] = ()) -> Fault:
    """The fault a specification describes; `operations` are the names `op=` may use (empty: unchecked).

    **Errors**: UsageProblem that repeats the specification and says which word is wrong.
    """
    name, _, rest = spec.strip().partition(":")
    if name not in _KINDS:
        raise UsageProblem(f"unknown fault {name!r} in {spec!r}", hint=f"faults are: {', '.join(FAULT_NAMES)}")
    fault = _KINDS[name].plain
    for part in filter(None, rest.split(",")):
        fault = _with_option(fault, part, spec)
    strangers = fault.operations - {ANY, *operations} if operations else frozenset()
    if strangers:
        raise UsageProblem(f"no operation {min(strangers)!r} in {spec!r}", hint=f"operations: {', '.join(operations)}")
    return fault


def _with_option(fault: Fault, part: str, spec: str) -> Fault:
    option, equals, value = part.partition("=")
    known = (*_KINDS[fault.name].options, *_PICKING)
    if not equals or option not in known:
        raise UsageProblem(f"{part!r} in {spec!r} is no option of {fault.name}", hint=f"options: {', '.join(known)}")
    try:
        return _set(fault, option, value)
    except ValueError as error:
        raise UsageProblem(f"{part!r} in {spec!r}: {error}") from error


def _set(fault: Fault, option: str, value: str) -> Fault:
    if option == "when":
        start, dots, end = value.partition("..")
        if not dots:
            raise ValueError("write a range such as 10s..2m")
        return replace(fault, from_s=_seconds(start) if start else 0.0, until_s=_seconds(end) if end else float("inf"))
    if option == "s" and fault.name == "wrong-date":
        return replace(fault, skew_s=_signed_seconds(value))
    name, read = _READERS[option]
    return replace(fault, **{name: read(value)})


@dataclass(frozen=True, kw_only=True, slots=True)
class Struck:
    """The faults that strike one request, in the order they were given."""

    faults: tuple[Fault, ...] = ()

    def named(self, name: str) -> Fault | None:
        """The first fault of a name, if it strikes."""
        return next((fault for fault in self.faults if fault.name == name), None)

    def at(self, phase: str) -> tuple[Fault, ...]:
        """The faults of one phase: before, during, after."""
        return tuple(fault for fault in self.faults if fault.at == phase)

    @property
    def label(self) -> str:
        """How the log names them."""
        return "+".join(fault.name for fault in self.faults)


class FaultPlan:
    """Counts requests for every fault and says which strike; safe to ask from several threads.

    **Law**: the same faults, seed and order of requests give the same strikes.
    """

    def __init__(self, faults: Sequence[Fault], *, seed: int, started_at_s: float) -> None:
        self._faults = tuple(faults)
        self._seed = seed
        self._started_at_s = started_at_s
        self._seen = [0] * len(self._faults)
        self._struck = [0] * len(self._faults)
        self._lock = threading.Lock()

    def strike(self, operation: str, *, now_s: float, body_bytes: int) -> Struck:
        """The faults that hit this request; each call counts it."""
        if not self._faults:
            return Struck()
        age_s = now_s - self._started_at_s
        with self._lock:
            hit = [
                fault
                for index, fault in enumerate(self._faults)
                if _concerns(fault, operation, age_s=age_s, body_bytes=body_bytes) and self._is_turn(index, fault)
            ]
        return Struck(faults=tuple(hit))

    def _is_turn(self, index: int, fault: Fault) -> bool:
        self._seen[index] += 1
        turn = self._seen[index] - fault.after
        is_hit = turn > 0 and turn % fault.every == 0 and self._draw(index) < fault.chance
        is_hit = is_hit and (fault.times is None or self._struck[index] < fault.times)
        self._struck[index] += is_hit
        return is_hit

    def _draw(self, index: int) -> float:
        text = f"fault {self._seed} {index} {self._seen[index]}".encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=7).digest(), "big") / 2**56


def _concerns(fault: Fault, operation: str, *, age_s: float, body_bytes: int) -> bool:
    if fault.name == "too-large" and body_bytes <= fault.size_bytes:
        return False
    return bool(fault.operations & {ANY, operation}) and fault.from_s <= age_s < fault.until_s
