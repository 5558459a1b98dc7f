"""The sandbox's SQLite file: every statement that touches it while the server runs.

A floor of its own inside the sandbox: no HTTP, no rules, no simulation. One connection under one lock serves all
threads, so the server is serial exactly where a real one has its transaction. Attempts are not stored: they follow
from what is (see `dialling`), and an addition keeps its numbers' content once, as it came.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
import weakref
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from importer.errors import UsageProblem
from importer.sandbox.dialling import JobFacts, Span
from importer.sandbox.entries import Accepted

SCHEMA_VERSION = 1

_JOB_COLUMNS = """j.sequence, j.phone, a.created_s, a.wait_s + a.gap_s * (j.sequence - a.first_job),
                  j.max_attempts, j.retry_minutes, j.cancelled_s"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Campaign:
    """A campaign as stored. **Units**: times are Unix seconds."""

    id: int
    token: str
    created_at_s: float
    state: str
    stopped_at_s: float | None
    size_rows: int
    busy_until_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyRecord:
    """What a key stands for; `content_sha256` is None while no answer is remembered."""

    first_used_at_s: float
    content_sha256: bytes | None
    status: int
    content_type: str
    body: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class LogEntry:
    """One line of the request log."""

    operation: str
    method: str
    campaign: int | None
    key: str | None
    body_sha256: bytes
    content_sha256: bytes
    body_bytes: int
    arrived_at_s: float
    committed_at_s: float
    arrived_order: int
    is_executed: bool
    is_replayed: bool
    fault: str
    status: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """Creation times, both ends included. **Units**: Unix seconds."""

    from_s: float = float("-inf")
    to_s: float = float("inf")


class Store:
    """The open file. Use it inside `transaction()`; every method expects that."""

    def __init__(self, path: Path, *, tick_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._lock = threading.RLock()
        self._tick_ns = tick_ns
        self._connection = _open(path)
        self._close = weakref.finalize(self, self._connection.close)
        self._lead_ns = max(0, self._last_order() - tick_ns())

    def close(self) -> None:
        """Close the file; the last connection folds the write-ahead log into it."""
        with self._lock:
            self._close()

    def order(self) -> int:
        """A number for "now" that grows in real time, whatever the sandbox's clock says."""
        return self._tick_ns() + self._lead_ns

    @contextmanager
    def transaction(self, *, is_durable: bool = True) -> Iterator[None]:
        """Everything inside is committed together, or not at all.

        **Crash**: before the commit nothing of it is there, after it all of it is; without `is_durable` a power
        cut, but no death of the process, may take it back.
        """
        with self._lock:
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if is_durable else 'NORMAL'}")
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def remembered(self, name: str, value: str) -> str:
        """The stored value of a name, after storing `value` if there was none."""
        self._connection.execute("INSERT INTO meta VALUES (?, ?) ON CONFLICT DO NOTHING", (name, value))
        return str(self._connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()[0])

    def add_campaign(self, token: str, now_s: float) -> None:
        """Make the campaign of a token unless it is there."""
        self._connection.execute(
            "INSERT INTO campaigns (token, created_s) VALUES (?, ?) ON CONFLICT DO NOTHING", (token, now_s)
        )

    def tokens(self) -> list[str]:
        """The tokens of all campaigns, oldest first."""
        return [row[0] for row in self._connection.execute("SELECT token FROM campaigns ORDER BY id")]

    def campaign(self, token: str) -> Campaign | None:
        """The campaign of a token."""
        row = self._connection.execute("SELECT * FROM campaigns WHERE token = ?", (token,)).fetchone()
        if row is None:
            return None
        number, token, created_s, state, stopped_s, size_rows, busy_until_s = row
        return Campaign(
            id=number,
            token=token,
            created_at_s=created_s,
            state=state,
            stopped_at_s=stopped_s,
            size_rows=size_rows,
            busy_until_s=busy_until_s,
        )

    def pause(self, campaign: Campaign, now_s: float) -> None:
        """Running → paused."""
        self._move(campaign, "running", "paused")
        self._connection.execute("INSERT INTO pauses (campaign, from_s) VALUES (?, ?)", (campaign.id, now_s))

    def resume(self, campaign: Campaign, now_s: float) -> None:
        """Paused → running."""
        self._move(campaign, "paused", "running")
        self._end_pause(campaign, now_s)

    def stop(self, campaign: Campaign, now_s: float) -> None:
        """Running or paused → finished."""
        self._move(campaign, campaign.state, "finished")
        self._end_pause(campaign, now_s)
        self._connection.execute("UPDATE campaigns SET stopped_s = ? WHERE id = ?", (now_s, campaign.id))

    def _move(self, campaign: Campaign, expected: str, state: str) -> None:
        moved = self._connection.execute(
            "UPDATE campaigns SET state = ? WHERE id = ? AND state = ?", (state, campaign.id, expected)
        )
        if moved.rowcount != 1:
            raise RuntimeError(f"campaign {campaign.id} was not {expected}")

    def _end_pause(self, campaign: Campaign, now_s: float) -> None:
        self._connection.execute("UPDATE pauses SET to_s = ? WHERE campaign = ? AND to_s IS NULL", (now_s, campaign.id))

    def pauses(self, campaign: Campaign) -> list[Span]:
        """The spans without dialling, in order; the last may be open, that is for ever as far as is known."""
        rows = self._connection.execute(
            "SELECT from_s, coalesce(to_s, 9e999) FROM pauses WHERE campaign = ? ORDER BY from_s", (campaign.id,)
        )
        return [(from_s, to_s) for from_s, to_s in rows]

    def add_jobs(
        self,
        campaign: Campaign,
        *,
        request: int,
        accepted: Accepted,
        entries_json: bytes,
        now_s: float,
        wait_s: float,
        gap_s: float,
        busy_until_s: float,
    ) -> range:
        """Store the jobs of one request; returns their sequence numbers, in the order of the phones."""
        size_rows = len(accepted.phones)
        last = self._connection.execute("SELECT coalesce(max(sequence), 0) FROM jobs").fetchone()[0]
        sequences = range(last + 1, last + 1 + size_rows)
        self._connection.execute(
            "INSERT INTO additions VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (request, campaign.id, now_s, sequences.start, size_rows, wait_s, gap_s, zlib.compress(entries_json, 1)),
        )
        self._connection.executemany(
            "INSERT INTO jobs (sequence, request, phone, max_attempts, retry_minutes) VALUES (?, ?, ?, ?, ?)",
            zip(
                sequences,
                (request,) * size_rows,
                accepted.phones,
                accepted.max_attempts,
                accepted.retry_minutes,
                strict=True,
            ),
        )
        self._connection.execute(
            "UPDATE campaigns SET size_rows = size_rows + ?, busy_until_s = ? WHERE id = ?",
            (size_rows, busy_until_s, campaign.id),
        )
        return sequences

    def phones_added_since(self, campaign: Campaign, phones: Sequence[str], since_s: float) -> list[str]:
        """Those of the phones that have a job created after `since_s`."""
        self._index_phones()
        rows = self._connection.execute(
            """SELECT DISTINCT j.phone FROM json_each(?) AS given
               JOIN phones AS p ON p.phone = given.value JOIN jobs AS j ON j.sequence = p.sequence
               JOIN additions AS a ON a.request = j.request
               WHERE a.campaign = ? AND a.created_s > ?""",
            (json.dumps(phones), campaign.id, since_s),
        )
        return [row[0] for row in rows]

    def _index_phones(self) -> None:
        """Index the jobs added since the last look-up by phone, in one sorted go."""
        indexed = self._connection.execute("SELECT coalesce(max(value), 0) FROM meta WHERE name = 'indexed'").fetchone()
        last = self._connection.execute("SELECT coalesce(max(sequence), 0) FROM jobs").fetchone()[0]
        if (first := int(indexed[0]) + 1) <= last:
            self._connection.execute(
                "INSERT INTO phones SELECT phone, sequence FROM jobs WHERE sequence >= ? ORDER BY phone", (first,)
            )
            self._connection.execute("INSERT OR REPLACE INTO meta VALUES ('indexed', ?)", (str(last),))

    def single_added_since(self, campaign: Campaign, content: bytes, since_s: float) -> bool:
        """Whether addPhone added this content after `since_s`."""
        row = self._connection.execute(
            "SELECT created_s > ? FROM singles WHERE campaign = ? AND content = ?", (since_s, campaign.id, content)
        ).fetchone()
        return row is not None and bool(row[0])

    def add_single(self, campaign: Campaign, content: bytes, now_s: float) -> None:
        """Note that addPhone added this content now."""
        self._connection.execute(
            """INSERT INTO singles VALUES (?, ?, ?)
               ON CONFLICT (campaign, content) DO UPDATE SET created_s = excluded.created_s""",
            (campaign.id, content, now_s),
        )

    def jobs(self, campaign: Campaign, window: Window, *, is_newest_first: bool = False) -> Iterator[JobFacts]:
        """The campaign's jobs created in a window, oldest first unless told otherwise; read lazily."""
        direction = "DESC" if is_newest_first else "ASC"
        rows = self._connection.execute(
            f"""SELECT {_JOB_COLUMNS} FROM additions AS a
                CROSS JOIN jobs AS j ON j.sequence BETWEEN a.first_job AND a.first_job + a.size_rows - 1
                WHERE a.campaign = ? AND a.created_s BETWEEN ? AND ?
                ORDER BY a.created_s {direction}, a.request {direction}, j.sequence {direction}""",  # noqa: S608 - constants
            (campaign.id, window.from_s, window.to_s),
        )
        return (_job(row) for row in rows)

    def sampled_jobs(self, campaign: Campaign, stride: int) -> Iterator[JobFacts]:
        """Every `stride`-th job of the file that is the campaign's."""
        rows = self._connection.execute(
            f"""SELECT {_JOB_COLUMNS} FROM jobs AS j JOIN additions AS a ON a.request = j.request
                WHERE a.campaign = ? AND j.sequence % ? = 0""",  # noqa: S608 - constants
            (campaign.id, stride),
        )
        return (_job(row) for row in rows)

    def jobs_by_sequence(self, campaign: Campaign, sequences: Sequence[int]) -> list[JobFacts]:
        """The campaign's jobs among these numbers."""
        return self._jobs_where(campaign, "CROSS JOIN jobs AS j ON j.sequence = given.value", sequences)

    def jobs_by_phone(self, campaign: Campaign, phones: Sequence[str]) -> list[JobFacts]:
        """All jobs of the campaign that call these phones."""
        self._index_phones()
        join = "CROSS JOIN phones AS p ON p.phone = given.value CROSS JOIN jobs AS j ON j.sequence = p.sequence"
        return self._jobs_where(campaign, join, phones)

    def _jobs_where(self, campaign: Campaign, join: str, given: Sequence[int] | Sequence[str]) -> list[JobFacts]:
        rows = self._connection.execute(
            f"""SELECT DISTINCT {_JOB_COLUMNS} FROM json_each(?) AS given {join}
                CROSS JOIN additions AS a ON a.request = j.request WHERE a.campaign = ? ORDER BY j.sequence""",  # noqa: S608 - constants
            (json.dumps(given), campaign.id),
        )
        return [_job(row) for row in rows]

    def cancel(self, sequences: Sequence[int], now_s: float) -> None:
        """Mark jobs cancelled."""
        self._connection.executemany(
            "UPDATE jobs SET cancelled_s = ? WHERE sequence = ? AND cancelled_s IS NULL",
            [(now_s, sequence) for sequence in sequences],
        )

    def key(self, key: str) -> KeyRecord | None:
        """What a key stands for."""
        row = self._connection.execute(
            "SELECT first_used_s, content_sha256, status, content_type, body FROM keys WHERE key = ?", (key,)
        ).fetchone()
        if row is None:
            return None
        first_used_s, content, status, content_type, body = row
        return KeyRecord(
            first_used_at_s=first_used_s, content_sha256=content, status=status, content_type=content_type, body=body
        )

    def forget_key(self, key: str) -> None:
        """Make a key as good as new."""
        self._connection.execute("DELETE FROM keys WHERE key = ?", (key,))

    def use_key(self, key: str, now_s: float) -> None:
        """Start a key's life, unless it has begun."""
        self._connection.execute(
            "INSERT INTO keys (key, first_used_s) VALUES (?, ?) ON CONFLICT DO NOTHING", (key, now_s)
        )

    def remember_answer(self, key: str, content: bytes, *, status: int, content_type: str, body: bytes) -> None:
        """Bind a used key to content and its answer."""
        self._connection.execute(
            "UPDATE keys SET content_sha256 = ?, status = ?, content_type = ?, body = ? WHERE key = ?",
            (content, status, content_type, body, key),
        )

    def next_request(self) -> int:
        """The number the next log line will have."""
        return int(self._connection.execute("SELECT coalesce(max(number), 0) + 1 FROM requests").fetchone()[0])

    def log(self, number: int, entry: LogEntry) -> None:
        """Write one log line."""
        self._connection.execute(
            """INSERT INTO requests (number, operation, method, campaign, key, body_sha256, content_sha256, body_bytes,
                   arrived_s, committed_s, arrived_order, is_executed, is_replayed, fault, status)
               VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
            (
                number,
                entry.operation,
                entry.method,
                entry.campaign,
                entry.key,
                entry.body_sha256,
                entry.content_sha256,
                entry.body_bytes,
                entry.arrived_at_s,
                entry.committed_at_s,
                entry.arrived_order,
                entry.is_executed,
                entry.is_replayed,
                entry.fault,
                entry.status,
            ),
        )

    def finish(self, number: int) -> None:
        """Note that the answer of a request has left, or was lost; its own small transaction."""
        with self.transaction(is_durable=False):
            self._connection.execute("UPDATE requests SET finished_order = ? WHERE number = ?", (self.order(), number))

    def _last_order(self) -> int:
        row = self._connection.execute("SELECT max(max(arrived_order), max(coalesce(finished_order, 0))) FROM requests")
        return int(row.fetchone()[0] or 0)


def _job(row: tuple[int, str, float, float, int | None, int | None, float | None]) -> JobFacts:
    sequence, phone, created_s, wait_s, max_attempts, retry_minutes, cancelled_s = row
    return JobFacts(
        sequence=sequence,
        phone=phone,
        created_at_s=created_s,
        wait_s=wait_s,
        max_attempts=max_attempts,
        retry_minutes=retry_minutes,
        cancelled_at_s=cancelled_s,
    )


def _open(path: Path) -> sqlite3.Connection:
    """The one connection, on a file only its owner can read (it holds phone numbers)."""
    try:
        path.touch(mode=0o600)
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10.0)
    except (OSError, sqlite3.Error) as error:
        raise UsageProblem(f"cannot open the sandbox file {path}: {error}") from error
    try:
        _prepare(connection, path)
    except sqlite3.Error as error:
        connection.close()
        raise UsageProblem(f"{path} is no sandbox file: {error}") from error
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA cache_size = -65536")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version not in {0, SCHEMA_VERSION}:
        raise UsageProblem(f"{path} was written by another version of the sandbox", hint="use a new --db file")
    if version == 0:
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise UsageProblem(f"{path} is another program's database", hint="use a new --db file")
        schema = files("importer.sandbox").joinpath("schema.sql").read_text(encoding="utf-8")
        connection.executescript(f"BEGIN IMMEDIATE; {schema}; PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
