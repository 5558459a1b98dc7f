"""Where a history takes place: a platform in a process of its own, a folder, one campaign, and real commands.

Floor: selftest. A newcomer may wonder why many histories share one platform: each has a campaign of its own, so they
cannot meet, and one process started is a second saved. The numbers are from the range 01 99 00 that France keeps for
films; nobody can be called there.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from importer.errors import ImporterError
from importer.selftest.crossings import Asked

LONGEST_S = 120.0
FIRST_NUMBER = 33_199_000_000
COMMAND = (sys.executable, "-m", "importer")
CHILD = (sys.executable, "-m", "importer.selftest.child")

Row = tuple[str, str]


def rows(count: int, first: int = 0) -> list[Row]:
    """So many rows: a number that nobody has, and a name."""
    return [(f"+{FIRST_NUMBER + place}", f"Person {place}") for place in range(first, first + count)]


def write_list(path: Path, content: Sequence[Row]) -> Path:
    """A CSV of these rows."""
    lines = ["phone,name", *(",".join(row) for row in content)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def edit_list(path: Path, content: Sequence[Row]) -> Path:
    """As `write_list`, and the file looks newer, however coarse the clock of its file system is."""
    before = path.stat().st_mtime_ns
    write_list(path, content)
    os.utime(path, ns=(before + 5_000_000_000, before + 5_000_000_000))
    return path


def environment(**more: str) -> dict[str, str]:
    """The caller's variables without any setting of ours; one thread for polars, as many processes run at once."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("IMPORTER_")}
    return {**kept, "POLARS_MAX_THREADS": "1", **more}


@dataclass(frozen=True, kw_only=True, slots=True)
class Platform:
    """A sandbox in a process of its own. `db` is its file, which is the judge."""

    db: Path
    origin: str


@contextlib.contextmanager
def platform(db: Path, tokens: Sequence[str], *options: str, port: int = 0) -> Iterator[Platform]:
    """Starts `importer sandbox` with a campaign for each token. **Errors**: ImporterError when it does not start."""
    words = [word for token in tokens for word in ("--token", token)]
    process = subprocess.Popen(  # noqa: S603 - our own command, arguments made here
        [*COMMAND, "sandbox", "--port", str(port), "--db", str(db), *words, *options],
        env=environment(),
        cwd=db.parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        found = re.search(r"http://\S+", process.stdout.readline() if process.stdout else "")
        if not found:
            raise ImporterError("The sandbox did not start.", hint="`importer sandbox` shows why.")
        yield Platform(db=db, origin=found[0])
    finally:
        process.terminate()
        process.communicate(timeout=LONGEST_S)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """How a process ended. `code` is negative for a signal; `said` is its JSON, empty when it had none."""

    code: int
    said: Mapping[str, Any]
    err: str = ""

    @property
    def is_killed(self) -> bool:
        """True when it ended by `kill -9` (on Windows by what comes closest)."""
        return self.code in {-int(getattr(signal, "SIGKILL", 9)), int(signal.SIGTERM)}


def ended(process: subprocess.Popen[str]) -> Ended:
    """Awaits a process. **Errors**: ImporterError when it hangs."""
    try:
        out, err = process.communicate(timeout=LONGEST_S)
    except subprocess.TimeoutExpired as late:
        process.kill()
        process.communicate()
        raise ImporterError(f"A process hung for {LONGEST_S:.0f} s.") from late
    last = out.strip().rsplit("\n", 1)[-1]
    said = json.loads(last) if last.startswith("{") else {}
    return Ended(code=process.returncode, said=said, err=err)


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """One campaign of one platform, with a folder for list and ledger."""

    folder: Path
    platform: Platform
    token: str
    options: tuple[str, ...] = ()

    @property
    def ledger(self) -> Path:
        """The ledger of this history."""
        return self.folder / "ledger.db"

    @property
    def source(self) -> Path:
        """Its list."""
        return self.folder / "list.csv"

    @property
    def command(self) -> list[str]:
        """`importer run` with this site's list, to be said again and again."""
        return [*COMMAND, "run", str(self.source), "--json", "--new-ledger", *self.options]

    def start(self, command: Sequence[str]) -> subprocess.Popen[str]:
        """A process that knows this site's platform, campaign and ledger."""
        return subprocess.Popen(  # noqa: S603 - our own command, arguments made here
            list(command),
            env=environment(
                IMPORTER_HOST=self.platform.origin, IMPORTER_TOKEN=self.token, IMPORTER_LEDGER=str(self.ledger)
            ),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *more: str) -> Ended:
        """`importer run`, to its end."""
        return ended(self.start([*self.command, *more]))

    def child(self, **asked: Any) -> Ended:
        """The engine with counting parts, to its end or its death."""
        words = Asked(
            source=str(self.source), ledger=str(self.ledger), host=self.platform.origin, token=self.token, **asked
        )
        return ended(self.start([*CHILD, json.dumps(asdict(words))]))


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """What a ledger says of its rows: the id of each accepted number, and the numbers that are in doubt."""

    accepted: Mapping[str, str]
    in_doubt: frozenset[str]


def claim_of(ledger: Path) -> Claim:
    """What a ledger says, read beside whoever owns it."""
    with closing(sqlite3.connect(f"{ledger.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        accepted = dict(connection.execute("SELECT phone, call_job_id FROM call_jobs"))
        doubtful = connection.execute("SELECT phone FROM row_states WHERE state = 'in_doubt'").fetchall()
    return Claim(accepted=accepted, in_doubt=frozenset(phone for (phone,) in doubtful))
