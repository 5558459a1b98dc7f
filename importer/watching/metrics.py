"""A run's counts for Prometheus: as a text file, for runs that come and go, and as an endpoint, for those that last.

Needs the extra `metrics`. The counts are those of the balance, so they add up; the only label is the campaign's name in
the settings, because numbers and paths of lists would make a new series each night.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from importer.errors import UsageProblem
from importer.model import Balance, Event, ReadingProgress, SendingProgress

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

STATES = ("accepted", "rejected", "duplicate", "suppressed", "withdrawn", "refused", "in_doubt", "pending")
WRITE_INTERVAL_S = 15.0
LOOPBACK = "127.0.0.1"


def _library() -> Any:
    try:
        import prometheus_client
    except ImportError as problem:
        raise UsageProblem(
            "Metrics need prometheus-client.", hint='pip install "phone-list-importer[metrics]"'
        ) from problem
    return prometheus_client


class Metrics:
    """The series of one run. An observer; `finish` says how it ended.

    **Errors**: UsageProblem without the extra, for a file that cannot be written, or an address nobody can listen at.
    """

    def __init__(
        self,
        *,
        campaign: str,
        file: Path | None = None,
        tell: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        library = _library()
        self.registry: CollectorRegistry = library.CollectorRegistry()
        self._campaign, self._file = campaign, file
        self._tell, self._clock, self._wall_clock = tell, clock, wall_clock
        self._written_s = 0.0
        self._server: Any = None

        def gauge(name: str, text: str, *labels: str) -> Any:
            return library.Gauge(f"importer_{name}", text, ["campaign", *labels], registry=self.registry)

        self._rows = gauge(
            "rows", "Rows of the newest import by where they are; they add up to importer_rows_read.", "state"
        )
        self._read = gauge("rows_read", "Rows of the newest import that were read.")
        self._rejects = gauge("rejects", "Rows of the newest import that cannot be used, by reason.", "reason")
        self._in_flight = gauge("requests_in_flight", "Requests under way.")
        self._retries = gauge("request_retries", "Requests of this run that were made again.")
        self._started = gauge("run_started_timestamp_seconds", "When the run began, Unix time.")
        self._finished = gauge("run_finished_timestamp_seconds", "When the run ended, Unix time; 0 while it goes on.")
        self._exit_code = gauge("run_exit_code", "How the run ended; -1 while it goes on.")
        self._import = gauge("import_id", "The number of the newest import.")
        self._started.labels(campaign).set(wall_clock())
        self._finished.labels(campaign).set(0)
        self._exit_code.labels(campaign).set(-1)
        if problem := self._written():
            hint = "Name a file in a folder that is there and may be written to."
            raise UsageProblem(f"The metrics file {file} cannot be written: {problem}.", hint=hint)

    def __call__(self, event: Event) -> None:
        """Takes an event of the engine."""
        if isinstance(event, ReadingProgress):
            self._read.labels(self._campaign).set(event.read_rows)
            self._count({"rejected": event.rejected_rows, "duplicate": event.duplicate_rows})
        elif isinstance(event, SendingProgress):
            self._balance(event.balance)
            self._in_flight.labels(self._campaign).set(event.in_flight)
            self._retries.labels(self._campaign).set(event.retries)
        if self._clock() - self._written_s >= WRITE_INTERVAL_S:
            self._write()

    def finish(
        self, exit_code: int, balance: Balance | None, *, import_id: int | None, rejects: Mapping[str, int]
    ) -> None:
        """Notes how the run ended, and writes the file for the last time."""
        if balance is not None:
            self._balance(balance)
        if import_id is not None:
            self._import.labels(self._campaign).set(import_id)
        for reason, rows in rejects.items():
            self._rejects.labels(self._campaign, reason).set(rows)
        self._in_flight.labels(self._campaign).set(0)
        self._finished.labels(self._campaign).set(self._wall_clock())
        self._exit_code.labels(self._campaign).set(exit_code)
        self._write()

    def serve(self, port: int, address: str = LOOPBACK) -> str:
        """Serves the series until `close`; gives the address. Port 0 takes a free one."""
        try:
            self._server, _ = _library().start_http_server(port, addr=address, registry=self.registry)
        except OSError as problem:
            raise UsageProblem(f"Metrics cannot be served at {address}:{port}: {problem.strerror}.") from problem
        return f"http://{address}:{self._server.server_port}/metrics"

    def close(self) -> None:
        """Ends the serving."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def _balance(self, balance: Balance) -> None:
        self._read.labels(self._campaign).set(balance.read)
        self._count({state: getattr(balance, state) for state in STATES})

    def _count(self, rows: Mapping[str, int]) -> None:
        for state, count in rows.items():
            self._rows.labels(self._campaign, state).set(count)

    def _write(self) -> None:
        """Writes the file; that it cannot be any more is told, once, and stops nothing."""
        if problem := self._written():
            self._tell(f"The metrics file {self._file} cannot be written any more: {problem}.")
            self._file = None

    def _written(self) -> str | None:
        """The file, whole or not at all, since the collector may read it at any moment; else what went wrong."""
        self._written_s = self._clock()
        if self._file is None:
            return None
        try:
            _library().write_to_textfile(str(self._file), self.registry)
            self._file.chmod(0o644)  # counts only, and the collector is another user
        except OSError as problem:
            return problem.strerror or type(problem).__name__
        return None
