"""Faults of the ledger's file: nothing more is sent, the error says so, and the next run goes on without loss."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from workbench import OWNER, TOKEN, Bench, Platform, Shop, environment, number, people, write_list

from importer import machine
from importer.errors import ImporterError, LedgerProblem, ListProblem
from importer.ledger import Ledger
from importer.ledger.records import Settlement
from importer.ledger.rescue import record_last
from importer.ledger.upkeep import check_ledger
from importer.model import Answer
from importer.protocol import Arming, State, arm, classify, settle

from .conftest import EventfulTransport

ROWS = 24
EndsWell = Callable[[int], None]


def family(path: Path) -> list[Path]:
    """The ledger with its -wal and counter, as far as they are there."""
    return [each for ending in ("", "-wal", ".counter") if (each := path.with_name(path.name + ending)).exists()]


def at_request(bench: Bench, at: int, event: Callable[[], None]) -> EventfulTransport:
    transport = EventfulTransport(at, event)
    bench.transport = lambda: transport
    return transport


def run_into_trouble(bench: Bench, match: str) -> LedgerProblem:
    with pytest.raises(LedgerProblem, match=match) as caught:
        bench.run(write_list(bench.folder / "a.csv", people(ROWS)))
    assert caught.value.exit_code == 5
    assert caught.value.hint
    return caught.value


# --- deleted, moved, replaced ---------------------------------------------------------------------------------------


def test_a_ledger_deleted_while_running_is_noticed_before_anything_more_is_sent(
    bench: Bench, platform: Platform, tmp_path: Path
) -> None:
    """The request under way ends; no other follows. Without its ledger the campaign is not sent to again."""
    transport = at_request(bench, 3, bench.ledger_path.unlink)
    run_into_trouble(bench, "deleted or replaced")
    assert transport.count == 3
    bench.transport = lambda: None
    with pytest.raises((ListProblem, LedgerProblem)):
        bench.run(tmp_path / "a.csv")
    assert len(platform.sends()) == 3


@pytest.mark.parametrize("what", ["", "-wal"])
def test_a_ledger_moved_away_is_noticed_and_goes_on_once_it_is_back(
    what: str, bench: Bench, ends_well: EndsWell
) -> None:
    """Nothing is lost: whoever moves it back finds every send in it."""
    aside = bench.folder / "aside"
    moved = bench.ledger_path.with_name(bench.ledger_path.name + what)
    transport = at_request(bench, 3, lambda: moved.rename(aside))
    run_into_trouble(bench, "deleted or replaced")
    assert transport.count == 3
    bench.transport = lambda: None
    if not what:
        aside.rename(bench.ledger_path)
    ends_well(ROWS)


def test_a_ledger_replaced_by_an_older_copy_while_running_is_noticed(bench: Bench, platform: Platform) -> None:
    """Another file under the same name: a rename is enough, as restoring a backup does it."""
    copy = bench.folder / "copy.db"

    def replace() -> None:
        shutil.copyfile(bench.ledger_path, copy)
        copy.replace(bench.ledger_path)

    transport = at_request(bench, 3, replace)
    run_into_trouble(bench, "deleted or replaced")
    assert transport.count == 3
    assert len(platform.phones()) == len(set(platform.phones()))


# --- a full disk, by SQLite's own limit, by the process's, and by the system call ----------------------------------


def opened_with(limit_pages: int) -> Callable[[Path], Ledger]:
    """A ledger on a disk that has room for so many pages more than the schema needs."""

    def opened(path: Path) -> Ledger:
        ledger = Ledger(path, OWNER, now_ms=machine.now().unix_ms)
        pages = ledger.store.one("PRAGMA page_count")[0]
        ledger.store.connection.execute(f"PRAGMA max_page_count = {pages + limit_pages}")
        return ledger

    return opened


def test_a_disk_that_is_full_at_any_page_stops_before_sending_and_loses_nothing(
    bench: Bench, platform: Platform, ends_well: EndsWell
) -> None:
    """Room for 0, 1, 2 … pages: the error says what to do, the ledger stays sound, and the next run finishes."""
    bench.open_ledger, plain = opened_with(0), bench.open_ledger
    write_list(bench.folder / "a.csv", people(400))
    stopped, hints = 0, set()
    for _ in range(40):
        try:
            bench.run(bench.folder / "a.csv", batch_size_rows=40, chunk_rows=100)
            break
        except LedgerProblem as problem:
            hints.add(problem.hint)
            stopped += 1
        assert check_ledger(bench.ledger_path).findings == ()
        bench.open_ledger = opened_with(3)
    assert stopped >= 3
    assert all("disk is full" in hint for hint in hints)
    bench.open_ledger = plain
    ends_well(400)


LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
from importer.cli import main
main(sys.argv[2:])
"""


@pytest.mark.parametrize("limit_kib", [60, 200, 236])
def test_a_file_size_limit_is_a_clear_error_and_the_next_run_goes_on(
    limit_kib: int, shop: Shop, platform: Platform, tmp_path: Path
) -> None:
    """The limit that administrators set: exit 5 as soon as it bites, in a real process."""
    path = write_list(tmp_path / "a.csv", people(ROWS))
    arguments = ["run", str(path), *map(str, shop.target), "--batch-size", "2", "--json"]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(limit_kib * 1024), *arguments],
        env=environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 5, (done.stdout, done.stderr)
    assert json.loads(done.stdout)["exit_code"] == 5
    assert "Traceback" not in done.stderr
    assert shop.run(path, "--batch-size", "2").code == 0
    platform.has_each_once(number(i) for i in range(ROWS))


# --- errors of a commit ---------------------------------------------------------------------------------------------


class FailingConnection:
    """A real connection whose n-th COMMIT reports a disk error, before or after it took place."""

    def __init__(
        self, inner: sqlite3.Connection, fails_at: int, requests: EventfulTransport, *, is_durable: bool
    ) -> None:
        self._inner = inner
        self._left = fails_at
        self._requests = requests
        self._is_durable = is_durable
        self.has_failed = False
        self.requests_before = 0

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        if sql == "COMMIT":
            self._left -= 1
            if self._left == 0:
                self.has_failed = True
                self.requests_before = self._requests.count
                self._inner.execute("COMMIT" if self._is_durable else "ROLLBACK")
                raise disk_error()
        return self._inner.execute(sql, *values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class FailsAfterRequest(FailingConnection):
    """Its first COMMIT after a request went out reports a disk error."""

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        if sql == "COMMIT" and self._requests.count and not self.has_failed:
            self._left = 1
        return super().execute(sql, *values)


def disk_error() -> sqlite3.OperationalError:
    return sqlite3.OperationalError("disk I/O error")


@pytest.mark.parametrize("is_durable", [False, True])
def test_an_error_on_any_commit_ends_the_run_before_another_request(
    is_durable: bool, bench: Bench, platform: Platform, tmp_path: Path
) -> None:
    """Whether the commit took place or not: after its error nothing is armed, and the next run finds the truth."""
    path = write_list(tmp_path / "a.csv", people(8))
    for at in range(1, 40):
        folder = tmp_path / f"at-{at}"
        folder.mkdir()
        requests = EventfulTransport(0, lambda: None)
        failing: list[FailingConnection] = []

        def opened(
            where: Path,
            at: int = at,
            requests: EventfulTransport = requests,
            failing: list[FailingConnection] = failing,
        ) -> Ledger:
            ledger = Ledger(where, OWNER, now_ms=machine.now().unix_ms)
            inner: Any = FailingConnection(ledger.store.connection, at, requests, is_durable=is_durable)
            failing.append(inner)
            ledger.store.connection = inner
            return ledger

        one = Bench(folder=folder, origin=bench.origin, open_ledger=opened, transport=lambda each=requests: each)  # type: ignore[misc]
        with contextlib.suppress(LedgerProblem):
            one.run(path, batch_size_rows=4, is_new_ledger_fine=True)
            assert not failing[0].has_failed
            return
        assert requests.count == failing[0].requests_before, "after the error nothing is sent"
        again = Bench(folder=folder, origin=bench.origin)
        balance = again.run(path, batch_size_rows=4, is_new_ledger_fine=True).balance
        assert balance.accepted + balance.duplicate == 8
        assert check_ledger(again.ledger_path).findings == ()
        platform.has_each_once(number(i) for i in range(8))
    raise AssertionError("a run of eight rows has more commits than expected")


def test_an_answer_that_the_ledger_failed_to_take_is_written_down_before_the_run_ends(
    bench: Bench, platform: Platform
) -> None:
    """The commit of the receipt fails once: the run ends, and still the batch stands accepted, not unknown."""
    path = write_list(bench.folder / "a.csv", people(4))
    requests = EventfulTransport(0, lambda: None)

    def opened(where: Path) -> Ledger:
        ledger = Ledger(where, OWNER, now_ms=machine.now().unix_ms)
        inner: Any = FailsAfterRequest(ledger.store.connection, 0, requests, is_durable=False)
        ledger.store.connection = inner
        return ledger

    one = Bench(folder=bench.folder, origin=bench.origin, open_ledger=opened, transport=lambda: requests)
    with pytest.raises(LedgerProblem):
        one.run(path)
    assert requests.count == 1
    with contextlib.closing(sqlite3.connect(bench.ledger_path)) as ledger:
        assert ledger.execute("SELECT state, is_ambiguous FROM batches").fetchall() == [("accepted", 0)]
        assert ledger.execute("SELECT outcome FROM sends").fetchall() == [("accepted",)]
    assert check_ledger(bench.ledger_path).findings == ()
    platform.has_each_once(number(place) for place in range(4))


def test_what_came_back_after_the_ledger_failed_is_written_down_once_more(bench: Bench, platform: Platform) -> None:
    """On a fresh connection to the same file, the lock kept; what stands settled there already is left alone."""
    bench.run(write_list(bench.folder / "a.csv", people(12)), first_rows=4)
    with Ledger(bench.ledger_path, OWNER, now_ms=1) as ledger:
        settled = [answered(ledger, sendable) for sendable in ledger.sends.frozen(1, 0, 2)]
        ledger.sends.advance(settled=settled[:1], now_ms=7)
        ledger.store.is_broken = True
        with pytest.raises(LedgerProblem):
            ledger.sends.advance(settled=settled[1:], now_ms=8)
        assert record_last(ledger, lambda: settled, now_ms=9) == 1
        assert ledger.view.balance(1).accepted == 12
        assert Ledger.__name__ == "Ledger"
        bench.ledger_path.rename(bench.folder / "gone")
        assert record_last(ledger, lambda: settled, now_ms=10) == 0
        (bench.folder / "gone").rename(bench.ledger_path)
    assert check_ledger(bench.ledger_path).findings == ()


def answered(ledger: Ledger, sendable: Any) -> Settlement:
    """A frozen batch, armed, and the settlement of an answer that accepts it."""
    arming = Arming(server_low_ms=1, boot_ms=1, boot_id="x")
    armed = arm(sendable.batch, arming).batch
    ledger.sends.advance(armed=[(sendable, armed)], arming=arming, now_ms=5)
    ids = [f"id-{sendable.id}-{i}" for i in range(armed.size_rows)]
    answer = Answer(
        status=200, body=json.dumps(ids).encode(), content_type="", server_date=None, retry_after_s=None, elapsed_s=0.1
    )
    step = settle(armed, classify(answer, armed.size_rows), phones=(), jitter=0.5)
    assert step.batch.state is State.ACCEPTED
    return Settlement(
        sendable=sendable, after=step.batch, reason="", outcome="accepted", status=200, server_date_ms=None,
        elapsed_ms=100, receipt={"ids": ids},
    )  # fmt: skip


# --- read-only ------------------------------------------------------------------------------------------------------


NOBODY = 65534


@contextlib.contextmanager
def bound_by_modes(home: Path) -> Iterator[None]:
    """As a user whom file modes bind, with a home of their own; root is bound by none."""
    if os.geteuid() != 0:
        yield
        return
    before = dict(os.environ)
    os.environ["HOME"] = str(home)
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.environ.update(before)


@pytest.fixture
def theirs() -> Iterator[Path]:
    """A folder of that user, with a token and a list."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "token").write_text(TOKEN)
        write_list(folder / "a.csv", people(8))
        hand_over(folder, *folder.iterdir())
        yield folder
        folder.chmod(0o700)


def hand_over(*paths: Path) -> None:
    if os.geteuid() == 0:
        for path in paths:
            os.chown(path, NOBODY, NOBODY)


def test_a_folder_that_cannot_be_written_is_a_clear_error(theirs: Path, shop: Shop) -> None:
    """Exit 5 with the path, no traceback, nothing sent."""
    sealed = theirs / "sealed"
    sealed.mkdir()
    target = ("--host", shop.origin, "--token-file", theirs / "token")
    assert shop.importer("run", theirs / "a.csv", *target, "--ledger", theirs / "first.db").code == 0
    sealed.chmod(0o555)
    hand_over(sealed)
    with bound_by_modes(theirs):
        said = shop.importer("run", theirs / "a.csv", *target, "--ledger", sealed / "ledger.db")
    assert said.code == 5, said.err
    assert "ledger.db" in said.err


def test_a_ledger_that_cannot_be_written_is_a_clear_error_and_can_still_be_read(
    theirs: Path, bench: Bench, shop: Shop, platform: Platform
) -> None:
    """A read-only disk: `send` is exit 5, nothing leaves; `status` and `ledger check` still tell."""
    bench.run(write_list(bench.folder / "a.csv", people(8)), first_rows=4)
    ledger = theirs / "ledger.db"
    for each in family(bench.ledger_path):
        shutil.copyfile(each, theirs / each.name)
    with closing(sqlite3.connect(ledger)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE").fetchone()
    send = ("send", "--host", shop.origin, "--token-file", theirs / "token", "--ledger", ledger)
    looks = (("status", "--ledger", ledger), ("ledger", "check", "--ledger", ledger))
    for look in looks:
        assert shop.importer(*look).code == 0
    hand_over(*theirs.iterdir())
    for each in family(ledger):
        each.chmod(0o444)
    theirs.chmod(0o555)
    with bound_by_modes(theirs):
        said, seen = shop.importer(*send), [shop.importer(*look) for look in looks]
    assert said.code == 5, said.err
    assert [each.code for each in seen] == [0, 0], [each.err for each in seen]
    assert len(platform.phones()) == 4


# --- what a crash leaves, and rot -----------------------------------------------------------------------------------


class Died(BaseException):
    """The process ends in the middle."""


def test_the_wal_of_a_crash_is_read_by_the_next_run(bench: Bench, ends_well: EndsWell) -> None:
    """The files as they stood at the crash: the main file is days old, everything new lies in the -wal."""
    image = bench.folder / "image"

    def crash() -> None:
        image.mkdir()
        for each in family(bench.ledger_path):
            shutil.copyfile(each, image / each.name)
        raise Died

    at_request(bench, 4, crash)
    with pytest.raises(Died):
        bench.run(write_list(bench.folder / "a.csv", people(ROWS)))
    assert (image / "ledger.db-wal").stat().st_size > 0
    for each in image.iterdir():
        each.replace(bench.folder / each.name)
    bench.transport = lambda: None
    ends_well(ROWS)


@pytest.fixture
def half_sent(bench: Bench) -> Path:
    """A folder with the ledger of a list of which a third was sent, and one request is unknown."""
    at_request(bench, 3, lambda: (_ for _ in ()).throw(Died))  # type: ignore[arg-type]
    with pytest.raises(Died):
        bench.run(write_list(bench.folder / "a.csv", people(ROWS)))
    bench.transport = lambda: None
    kept = bench.folder / "half"
    kept.mkdir()
    for each in family(bench.ledger_path):
        shutil.copyfile(each, kept / each.name)
    return kept


def test_whatever_rots_in_the_file_nobody_else_is_called_and_nobody_twice(
    half_sent: Path, bench: Bench, platform: Platform
) -> None:
    """Bytes flipped, pages zeroed, the end cut off: the run refuses or sends just what it would have sent."""
    chance = random.Random(7)
    codes: list[int] = []
    for _ in range(40):
        for each in half_sent.iterdir():
            shutil.copyfile(each, bench.folder / each.name)
        for left in ("-wal", "-shm"):
            bench.ledger_path.with_name(f"ledger.db{left}").unlink(missing_ok=True)
        rot(bench.ledger_path, chance)
        try:
            bench.send(1, quiet_s=0.0)
        except ImporterError as problem:
            codes.append(problem.exit_code)
        assert platform.phones() == list(dict.fromkeys(platform.phones())), "nobody twice"
        assert set(platform.phones()) <= {number(i) for i in range(ROWS)}, "nobody else"
        platform.judge()
    assert len(codes) >= 3
    assert set(codes) == {5}


def rot(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    kind = chance.choice(["flip", "flip", "flip", "zero", "cut"])
    place = chance.randrange(100, len(data))
    if kind == "flip":
        data[place] ^= 1 << chance.randrange(8)
    elif kind == "zero":
        start = place // 4096 * 4096
        data[start : start + 4096] = bytes(4096)
    else:
        del data[place:]
    path.write_bytes(data)
