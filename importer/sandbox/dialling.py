"""Calls that happen by themselves: the course of a job as a pure function of time.

A leaf of the sandbox. No thread dials: the attempts of a job follow from (seed, job, creation, now) and from the
spans in which the campaign was paused or stopped, so a restarted server tells the same story, and a test that
moves the clock by a day sees a day's calls. Allowed days and hours are checked on entry but not simulated.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

MEAN_CALL_S = 60.0
DEFAULT_MAX_ATTEMPTS = 3
DEFAULT_RETRY_MINUTES = 10

_RETRIED = frozenset({"noAnswer", "technicalError"})
_SHARES = (
    (0.38, "longCallWithResult"),
    (0.55, "longCallWithNoResult"),
    (0.93, "noAnswer"),
    (0.96, "nonexistentNumber"),
    (0.98, "notDone"),
    (1.00, "technicalError"),
)

Span = tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class JobFacts:
    """What is stored of a job. **Units**: `wait_s` is simulated seconds in the campaign's queue."""

    sequence: int
    phone: str
    created_at_s: float
    wait_s: float
    max_attempts: int | None
    retry_minutes: int | None
    cancelled_at_s: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CallAttempt:
    """One dial. `finished_at_s` is None while it goes on; `talk_s` is simulated seconds."""

    number: int
    started_at_s: float
    finished_at_s: float | None
    result: str
    talk_s: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Course:
    """How a job stands: its attempts so far, its status, and when it finished, if it did."""

    attempts: tuple[CallAttempt, ...]
    status: str
    finished_at_s: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Dialler:
    """The simulation's constants: the seed, the speed, and when the campaign did not dial."""

    seed: int
    speed: float
    holds: Sequence[Span]
    stopped_at_s: float | None

    def course(self, job: JobFacts, now_s: float) -> Course:
        """The attempts of a job up to `now_s` and the status they leave."""
        attempts = tuple(self._attempts(job, now_s))
        if attempts and attempts[-1].finished_at_s is None:
            return Course(attempts=attempts, status="inProcess", finished_at_s=None)
        return self._settled(job, attempts, now_s)

    def _settled(self, job: JobFacts, attempts: tuple[CallAttempt, ...], now_s: float) -> Course:
        last = attempts[-1] if attempts else None
        last_end_s = last.finished_at_s if last and last.finished_at_s is not None else job.created_at_s
        if last is not None and (last.result not in _RETRIED or last.number == _ceiling(job)):
            return Course(attempts=attempts, status=last.result, finished_at_s=last_end_s)
        ends = ((job.cancelled_at_s, "cancelledByUser"), (self.stopped_at_s, "notDone"))
        for end_s, status in sorted((end_s, status) for end_s, status in ends if end_s is not None):
            if end_s <= now_s:
                return Course(attempts=attempts, status=status, finished_at_s=max(end_s, last_end_s))
        return Course(attempts=attempts, status="onRetry" if last else "planned", finished_at_s=None)

    def _attempts(self, job: JobFacts, now_s: float) -> Iterator[CallAttempt]:
        holds = self._holds_of(job)
        end_s, wait_s = job.created_at_s, job.wait_s
        for number in range(1, _ceiling(job) + 1):
            drawn = _draws(self.seed, job.sequence, number)
            start_s = _after(end_s, (wait_s + 2.0 + 3.0 * drawn[0]) / self.speed, holds)
            if start_s > now_s:
                return
            result = next(name for share, name in _SHARES if drawn[1] < share)
            talk_s = _talk_s(result, drawn[2])
            end_s = start_s + (talk_s + 5.0 + 20.0 * drawn[3]) / self.speed
            done = end_s <= now_s
            yield CallAttempt(
                number=number,
                started_at_s=start_s,
                finished_at_s=end_s if done else None,
                result=result if done else "",
                talk_s=talk_s if done else 0,
            )
            if not done or result not in _RETRIED:
                return
            wait_s = 60.0 * (job.retry_minutes or DEFAULT_RETRY_MINUTES)

    def _holds_of(self, job: JobFacts) -> Sequence[Span]:
        """The spans in which no attempt of this job starts, in order; the last may be for ever."""
        ends = [at for at in (self.stopped_at_s, job.cancelled_at_s) if at is not None]
        return sorted([*self.holds, (min(ends), math.inf)]) if ends else self.holds


def _ceiling(job: JobFacts) -> int:
    return job.max_attempts or DEFAULT_MAX_ATTEMPTS


def _draws(seed: int, sequence: int, number: int) -> tuple[float, float, float, float]:
    digest = hashlib.blake2b(b"%d %d %d" % (seed, sequence, number), digest_size=8).digest()
    one, two, three, four = (int.from_bytes(digest[at : at + 2], "big") / 65536 for at in (0, 2, 4, 6))
    return one, two, three, four


def _talk_s(result: str, drawn: float) -> int:
    return int(10 + 110 * drawn) if result.startswith("longCall") else 0


def _after(start_s: float, wait_s: float, holds: Sequence[Span]) -> float:
    """`wait_s` after `start_s`, not counting the holds; infinity when a hold never ends."""
    at_s = start_s
    for from_s, to_s in holds:
        if at_s + wait_s <= from_s:
            break
        if at_s < to_s:
            wait_s -= max(0.0, from_s - at_s)
            at_s = to_s
    return at_s + wait_s
