"""What the sandbox saw, read back from its file by any process, and the judgements made of it.

Beside the server, never part of it: reads `mode=ro`, needs no werkzeug at work and no server running. Each
judgement answers with what it found, empty when all is well; a test asserts emptiness, and the tests of this
module plant each violation to see that it is found.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from importer.errors import UsageProblem
from importer.sandbox.ids import JobIds

CUT_REQUEST = "cut-request"  # what the log has for a fault where the body did not come whole


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A call job. `payload` and `policy` are JSON with sorted keys: equal content gives equal text.

    `policy` is every field of the number beside phone and payload. `request_key` is the idempotence key of the
    request that made it, `request_number` that request's line in the log.
    """

    id: str
    phone: str
    campaign: str
    created_at: datetime
    payload: str
    policy: str
    request_key: str | None
    request_number: int
    is_cancelled: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """A line of the request log. `campaign` is None for an unknown token, `status` None when nothing was answered.

    `arrived_at` and `committed_at` are on the sandbox's clock; `arrived_order` and `finished_order` grow in real
    time whatever that clock says (`finished_order` is None while the answer has not left). `was_executed` says
    that the operation was carried out, `was_replayed` that a key's first answer was given again.
    """

    number: int
    operation: str
    method: str
    campaign: str | None
    key: str | None
    body_sha256: str
    content_sha256: str
    body_bytes: int
    arrived_at: datetime
    committed_at: datetime
    arrived_order: int
    finished_order: int | None
    was_executed: bool
    was_replayed: bool
    fault: str
    status: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Duplicate:
    """One number with one content that has several jobs in one campaign."""

    campaign: str
    phone: str
    payload: str
    policy: str
    job_ids: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class TwoBodies:
    """A key that was sent with more than one content; `request_numbers` are all requests that carried it."""

    key: str
    content_sha256s: tuple[str, ...]
    request_numbers: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Overlap:
    """Two requests of one key of which the second arrived before the first was answered or lost."""

    key: str
    first_number: int
    second_number: int


@dataclass(frozen=True, kw_only=True, slots=True)
class LateUse:
    """A request that used a key at least a key's life after its first use.

    `was_executed_before` says whether an earlier request with the key had been carried out, that is whether this
    one could make duplicates.
    """

    key: str
    request_number: int
    age_s: float
    was_executed_before: bool


def count_jobs(db: Path) -> int:
    """How many call jobs were ever made, cancelled ones included."""
    with _reading(db) as connection:
        return int(connection.execute("SELECT count(*) FROM jobs").fetchone()[0])


def jobs(db: Path) -> list[Job]:
    """All call jobs, in the order they were made."""
    with _reading(db) as connection:
        return list(_jobs(connection, "1"))


def requests(db: Path) -> list[Request]:
    """The whole request log, in the order of commitment."""
    with _reading(db) as connection:
        return [_request(row) for row in connection.execute(f"{_SELECT_REQUESTS} ORDER BY r.number")]


def duplicates(db: Path) -> list[Duplicate]:
    """Groups of more than one job with the same campaign, phone, payload and policy."""
    with _reading(db) as connection:
        connection.execute("PRAGMA temp_store = MEMORY")
        repeated = "j.phone IN (SELECT phone FROM jobs GROUP BY phone HAVING count(*) > 1)"
        groups: dict[tuple[str, str, str, str], list[str]] = defaultdict(list)
        for job in _jobs(connection, repeated):
            groups[job.campaign, job.phone, job.payload, job.policy].append(job.id)
    return [
        Duplicate(campaign=campaign, phone=phone, payload=payload, policy=policy, job_ids=tuple(job_ids))
        for (campaign, phone, payload, policy), job_ids in groups.items()
        if len(job_ids) > 1
    ]


def keys_with_two_bodies(db: Path) -> list[TwoBodies]:
    """Keys that ever came with more than one content, whatever was answered.

    A body that was cut on its way, by a client that died, is no content, only the beginning of one.
    """
    contents: dict[str, dict[str, None]] = defaultdict(dict)
    numbers: dict[str, list[int]] = defaultdict(list)
    for request in _keyed(db):
        if request.fault == CUT_REQUEST:
            continue
        contents[request.key or ""][request.content_sha256] = None
        numbers[request.key or ""].append(request.number)
    return [
        TwoBodies(key=key, content_sha256s=tuple(found), request_numbers=tuple(numbers[key]))
        for key, found in contents.items()
        if len(found) > 1
    ]


def overlapping_keys(db: Path) -> list[Overlap]:
    """Pairs of requests of one key that were in flight at once.

    A request whose answer never left (the server was killed) counts as over when it arrived: nobody can tell.
    """
    found: list[Overlap] = []
    running: dict[str, Request] = {}
    for request in sorted(_keyed(db), key=lambda one: one.arrived_order):
        key = request.key or ""
        earlier = running.get(key)
        if earlier is not None and request.arrived_order < _end(earlier):
            found.append(Overlap(key=key, first_number=earlier.number, second_number=request.number))
        if earlier is None or _end(request) > _end(earlier):
            running[key] = request
    return found


def keys_used_past(db: Path, ttl_s: float) -> list[LateUse]:
    """Requests that used a key `ttl_s` or more after its first use, whatever was answered."""
    first_at: dict[str, datetime] = {}
    executed: set[str] = set()
    found: list[LateUse] = []
    for request in sorted(_keyed(db), key=lambda one: (one.arrived_at, one.arrived_order)):
        key = request.key or ""
        age_s = (request.arrived_at - first_at.setdefault(key, request.arrived_at)).total_seconds()
        if age_s >= ttl_s:
            found.append(
                LateUse(key=key, request_number=request.number, age_s=age_s, was_executed_before=key in executed)
            )
        if request.was_executed:
            executed.add(key)
    return found


def _end(request: Request) -> int:
    return request.arrived_order if request.finished_order is None else request.finished_order


def _keyed(db: Path) -> list[Request]:
    with _reading(db) as connection:
        rows = connection.execute(f"{_SELECT_REQUESTS} WHERE r.key IS NOT NULL ORDER BY r.number")
        return [_request(row) for row in rows]


@contextmanager
def _reading(db: Path) -> Iterator[sqlite3.Connection]:
    if not db.is_file():
        raise UsageProblem(f"there is no sandbox file {db}")
    with closing(sqlite3.connect(f"{db.absolute().as_uri()}?mode=ro", uri=True, timeout=10.0)) as connection:
        yield connection


_SELECT_REQUESTS = """
    SELECT r.number, r.operation, r.method, c.token, r.key, r.body_sha256, r.content_sha256, r.body_bytes,
           r.arrived_s, r.committed_s, r.arrived_order, r.finished_order, r.is_executed, r.is_replayed,
           r.fault, r.status
    FROM requests AS r LEFT JOIN campaigns AS c ON c.id = r.campaign"""

_SELECT_JOBS = """
    SELECT j.sequence, j.phone, c.token, a.created_s, r.key, r.number, j.cancelled_s, a.entries,
           j.sequence - a.first_job
    FROM jobs AS j JOIN additions AS a ON a.request = j.request JOIN campaigns AS c ON c.id = a.campaign
    LEFT JOIN requests AS r ON r.number = a.request"""


def _request(row: tuple[Any, ...]) -> Request:
    return Request(
        number=row[0],
        operation=row[1],
        method=row[2],
        campaign=row[3],
        key=row[4],
        body_sha256=row[5].hex(),
        content_sha256=row[6].hex(),
        body_bytes=row[7],
        arrived_at=_moment(row[8]),
        committed_at=_moment(row[9]),
        arrived_order=row[10],
        finished_order=row[11],
        was_executed=bool(row[12]),
        was_replayed=bool(row[13]),
        fault=row[14],
        status=row[15],
    )


def _moment(at_s: float) -> datetime:
    return datetime.fromtimestamp(at_s, UTC)


def _jobs(connection: sqlite3.Connection, condition: str) -> Iterator[Job]:
    seed = int(connection.execute("SELECT value FROM meta WHERE name = 'seed'").fetchone()[0])
    ids = JobIds.seeded(seed)
    unpacked_number, entries = -1, []
    for row in connection.execute(f"{_SELECT_JOBS} WHERE {condition} ORDER BY j.sequence"):
        sequence, phone, token, created_s, key, number, cancelled_s, packed, position = row
        if number != unpacked_number:
            unpacked_number, entries = number, json.loads(zlib.decompress(packed))
        entry = entries[position]
        yield Job(
            id=ids.of(sequence),
            phone=phone,
            campaign=token,
            created_at=_moment(created_s),
            payload=_canonical(entry.get("payload")),
            policy=_canonical({name: entry[name] for name in entry if name not in {"phone", "payload"}}),
            request_key=key,
            request_number=number,
            is_cancelled=cancelled_s is not None,
        )


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
