"""What the tests of the laws are built from: a platform to judge, lists to send, and three ways to run.

`Bench` runs the engine in process, so that a test can pass its own transport, clock, desk or ledger. `Shop` types at
the command line in process. `command` starts a real process. All meet the same sandbox, whose file is the judge.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import httpx

from importer import machine
from importer.cli import main
from importer.client import CallsApi, check_token
from importer.ledger import Ledger
from importer.machine import Moment, Owner, StopSignals
from importer.model import Event
from importer.protocol import Window
from importer.run import CameBack, CampaignFacts, Intention, Run, RunReport, RunSettings, Target
from importer.sandbox import Sandbox, records
from importer.sender import SendSettings
from importer.sources import ReadOptions

ROOT = Path(__file__).resolve().parent.parent
TOKEN = "8231.7056.CaNaRyb131df1"
OTHER_TOKEN = "8232.7056.CaNaRyb131df2"

Row = Mapping[str, str]

_AREAS = [
    *(area for area in range(201, 220) if area not in {204, 211}),
    *(area for area in range(301, 320) if area not in {306, 311}),
    *(area for area in range(401, 420) if area not in {403, 411, 416, 418}),
]


def number(place: int) -> str:
    """An invented number: 555-0100 to 555-0199 of an American area."""
    return f"+1{_AREAS[place // 100]}55501{place % 100:02}"


def people(count: int, first: int = 0) -> list[dict[str, str]]:
    """So many rows, each with a number and a payload of its own."""
    return [{"phone": number(i), "name": f"Person {i}", "order": str(1000 + i)} for i in range(first, first + count)]


def write_list(path: Path, rows: Sequence[Row], columns: Sequence[str] | None = None) -> Path:
    """A CSV of these rows."""
    names = list(columns or rows[0])
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def changed_at(path: Path, offset_s: int) -> None:
    """Gives a file another time, as an editor would: tests are quicker than the clock of a file system."""
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + offset_s * 1_000_000_000))


# --- the platform, which is also the judge --------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Platform:
    """A sandbox on a socket; everything asked here is read from its file."""

    sandbox: Sandbox
    db: Path
    origin: str

    def phones(self) -> list[str]:
        """The number of every call job, in the order the jobs were made."""
        return [f"+{job.phone}" for job in records.jobs(self.db)]

    def payloads(self) -> list[dict[str, str]]:
        return [json.loads(job.payload) or {} for job in records.jobs(self.db)]

    def policies(self) -> list[dict[str, Any]]:
        return [json.loads(job.policy) for job in records.jobs(self.db)]

    def sends(self) -> list[records.Request]:
        """The requests that wanted to add numbers."""
        return [one for one in records.requests(self.db) if one.operation == "addPhones"]

    def judge(self) -> None:
        """No row has two jobs, no key came with two bodies, no key was in flight twice."""
        assert records.duplicates(self.db) == []
        assert records.keys_with_two_bodies(self.db) == []
        assert records.overlapping_keys(self.db) == []

    def has_each_once(self, phones: Iterable[str]) -> None:
        """Every number has just one job, and no other number has any."""
        self.judge()
        assert sorted(self.phones()) == sorted(phones)


class Serve(Protocol):
    """The `serve` fixture: faults and switches in, a platform on a socket out."""

    def __call__(self, *faults: str, **switches: Any) -> Platform: ...


def sandbox_control(platform: Platform, verb: str) -> None:
    """Pauses, resumes or stops the campaign behind everybody's back."""
    url = f"{platform.origin}/api/calls/campaign/{TOKEN}/control/{verb}"
    with httpx.Client(trust_env=False) as http:
        assert http.post(url).status_code == 200


# --- the engine in process ------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class ScriptedDesk:
    """Answers questions as the test says, and keeps what was shown."""

    says_send: bool = True
    says_which: str | None = None
    says_right: bool = False
    shown: list[Intention | CameBack | CampaignFacts] = field(default_factory=list)

    def may_send(self, intention: Intention) -> bool:
        self.shown.append(intention)
        return self.says_send

    def which_call(self, came_back: CameBack) -> str | None:
        self.shown.append(came_back)
        return self.says_which

    def which_reading(self, bare: object) -> str | None:
        return None

    def is_right_ledger(self, campaign: CampaignFacts, ledger: Path) -> bool:
        self.shown.append(campaign)
        return self.says_right


def hurried(times: int) -> Callable[[], Moment]:
    """This machine's clocks, running so many times as fast: waits between retries are short."""
    start = machine.now()

    def read() -> Moment:
        now = machine.now()
        return replace(
            now,
            unix_ms=start.unix_ms + (now.unix_ms - start.unix_ms) * times,
            boot_ms=start.boot_ms + (now.boot_ms - start.boot_ms) * times,
        )

    return read


OWNER = Owner(pid=1, host="here", since="now", command="importer run")


@dataclass(kw_only=True)
class Bench:
    """One ledger and one platform; `run` is what `importer run` does, without its command line."""

    folder: Path
    origin: str
    transport: Callable[[], httpx.BaseTransport | None] = lambda: None
    open_ledger: Callable[[Path], Ledger] = lambda path: Ledger(path, OWNER, now_ms=machine.now().unix_ms)
    desk: ScriptedDesk = field(default_factory=ScriptedDesk)
    now: Callable[[], Moment] = field(default_factory=lambda: hurried(20))
    token: str = TOKEN
    events: list[Event] = field(default_factory=list)
    signals: StopSignals = field(default_factory=StopSignals)

    @property
    def ledger_path(self) -> Path:
        return self.folder / "ledger.db"

    def settings(self, sources: Sequence[Path | str], **overrides: Any) -> RunSettings:
        """Settings of a run: those of `SendSettings` may be given by their own names, `chunk_rows` too."""
        sending = {"in_flight": 1, "patience_s": 60.0, "window": Window(request_s=10.0)}
        sending |= {name: overrides.pop(name) for name in SendSettings.__dataclass_fields__ if name in overrides}
        chunk_rows = overrides.pop("chunk_rows", 100_000)
        return RunSettings(
            **{
                "sources": [str(source) for source in sources],
                "target": Target(origin=self.origin, token=check_token(self.token)),
                "ledger": self.ledger_path,
                "batch_size_rows": 4,
                "sending": SendSettings(**sending),  # type: ignore[arg-type]
                "reading": ReadOptions(chunk_rows=chunk_rows),
                **overrides,
            }
        )

    def run(self, *sources: Path | str, **overrides: Any) -> RunReport:
        settings = self.settings(sources, **overrides)
        with self._opened(settings) as run:
            return run.run(settings)

    def send(self, import_id: int, **overrides: Any) -> RunReport:
        settings = self.settings(["-"], **overrides)
        with self._opened(settings) as run:
            an_import = run.ledger.intake.import_by_id(import_id)
            assert an_import is not None
            return run.send(an_import, settings)

    @contextlib.contextmanager
    def _opened(self, settings: RunSettings) -> Iterator[Run]:
        with (
            self.open_ledger(self.ledger_path) as ledger,
            CallsApi(
                self.origin,
                self.token,
                timeout_s=settings.sending.window.request_s,
                connections=settings.sending.in_flight + 1,
                transport=self.transport(),
            ) as api,
        ):
            yield Run(
                ledger=ledger,
                api=api,
                desk=self.desk,
                observer=self.events.append,
                signals=self.signals,
                now=self.now,
                stdin=io.BytesIO(),
            )


# --- the command line -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one JSON object on standard output."""
        found: dict[str, Any] = json.loads(self.out)
        return found


@dataclass(frozen=True, kw_only=True)
class Shop:
    """A folder with a ledger and a token file, at one platform; commands run in this process."""

    folder: Path
    origin: str

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger.db"

    @property
    def token_file(self) -> Path:
        path = self.folder / "token"
        if not path.exists():
            path.write_text(TOKEN)
        return path

    def importer(self, *arguments: str | Path) -> Said:
        """Types a command, adds nothing to it."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = _exit_code_of(lambda: main([str(each) for each in arguments]))
        return Said(code=code, out=out.getvalue(), err=err.getvalue())

    @property
    def target(self) -> tuple[str | Path, ...]:
        return ("--host", self.origin, "--token-file", self.token_file, "--ledger", self.ledger)

    def run(self, *arguments: str | Path) -> Said:
        """`importer run` with this shop's ledger and campaign, reported as JSON."""
        return self.importer("run", *arguments, *self.target, "--json")

    def send(self, *arguments: str | Path) -> Said:
        return self.importer("send", *arguments, *self.target, "--json")


def _exit_code_of(call: Callable[[], None]) -> int:
    try:
        call()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0
    return 0


def environment(**more: str) -> dict[str, str]:
    """A small environment for a process: nothing of the caller's settings, one thread for polars."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "SYSTEMROOT") if name in os.environ}
    return {**kept, "PYTHONPATH": str(ROOT), "POLARS_MAX_THREADS": "1", "PYTHONUNBUFFERED": "1", **more}


def start(*arguments: str | Path, cwd: Path | None = None, **more: str) -> subprocess.Popen[str]:
    """`python -m importer …` as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "importer", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**more),
        cwd=cwd,
    )


def command(*arguments: str | Path, cwd: Path | None = None, stdin: bytes = b"", **more: Any) -> Said:
    """Runs `python -m importer …` to its end."""
    done = subprocess.run(
        [sys.executable, "-m", "importer", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        env=environment(**more),
        cwd=cwd,
        timeout=60,
        check=False,
    )
    return Said(code=done.returncode, out=done.stdout.decode(), err=done.stderr.decode())
