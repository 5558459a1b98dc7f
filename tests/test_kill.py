"""Real processes, real kills: a run and its platform are processes of their own, and the run is killed at random.

The moments are drawn from a seed. What counts is only what the platform's file says once the last run has ended.
"""

from __future__ import annotations

import contextlib
import json
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from workbench import TOKEN, Shop, number, people, start, write_list

from importer.sandbox import records

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals; Windows has another way to end a process"),
]

LIMIT_S = 60.0


@contextlib.contextmanager
def platform_process(db: Path, *faults: str) -> Iterator[str]:
    """`importer sandbox` as a process; gives its address."""
    chosen = [word for fault in faults for word in ("--fault", fault)]
    process = start("sandbox", "--port", "0", "--db", db, "--token", TOKEN, *chosen)
    try:
        assert process.stdout is not None
        ready = process.stdout.readline()
        yield ready.split()[3]
    finally:
        process.terminate()
        process.communicate(timeout=LIMIT_S)


def until(is_so: Callable[[], bool]) -> None:
    """Waits for something another process brings about."""
    deadline_s = time.monotonic() + LIMIT_S
    while not is_so():
        assert time.monotonic() < deadline_s, "waited too long"
        time.sleep(0.01)


def judge(db: Path, count: int, first: int = 0) -> None:
    """Each row has just one job."""
    assert records.duplicates(db) == []
    assert records.keys_with_two_bodies(db) == []
    phones = [f"+{job.phone}" for job in records.jobs(db)]
    assert sorted(phones) == sorted(number(i) for i in range(first, first + count))


def ended(process: subprocess.Popen[str]) -> dict[str, object]:
    """The JSON of a run that came to its end by itself."""
    out, err = process.communicate(timeout=LIMIT_S)
    assert "Traceback" not in err
    found: dict[str, object] = json.loads(out)
    return found


def test_kill_9_at_random_moments_then_the_same_command_leaves_each_row_once(tmp_path: Path) -> None:
    """Some twenty kills over five ledgers, reruns with other settings, answers lost on the way."""
    dice = random.Random(20261123)
    db, kills, rows = tmp_path / "platform.db", 0, 120
    with platform_process(db, "delay:s=0.03", "lose-answer:every=9", "drop:every=13") as origin:
        for place in range(5):
            folder = tmp_path / f"ledger-{place}"
            folder.mkdir()
            shop = Shop(folder=folder, origin=origin)
            path = write_list(folder / "list.csv", people(rows, first=place * rows))
            for _ in range(4):
                kills += killed(shop, path, dice)
            process = start("run", path, *shop.target, "--new-ledger", "--json")
            report = ended(process)
            assert process.returncode == 0, report
            assert report["read"] == rows
            again = ended(start("run", path, *shop.target, "--json"))
            assert again["duplicate"] == rows
    judge(db, 5 * rows)
    assert kills >= 10, "the moments are chosen so that most runs are killed at work"


def killed(shop: Shop, path: Path, dice: random.Random) -> bool:
    """Starts a run, kills it at a random moment, and says whether it was still alive."""
    settings = ("--batch-size", str(dice.randint(1, 9)), "--in-flight", str(dice.randint(1, 6)))
    process = start("run", path, *shop.target, "--new-ledger", "--json", *settings)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=dice.uniform(0.2, 1.5))
    process.kill()
    process.communicate(timeout=LIMIT_S)
    return process.returncode == -signal.SIGKILL


@pytest.mark.parametrize(("number_sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_drains_and_the_same_command_goes_on(tmp_path: Path, number_sent: signal.Signals, code: int) -> None:
    """What is in flight is awaited and written down, so nothing is left unknown; then the rest follows."""
    shop_rows, db = 60, tmp_path / "platform.db"
    path = write_list(tmp_path / "list.csv", people(shop_rows))
    with platform_process(db, "delay:s=0.2,at=after") as origin:
        shop = Shop(folder=tmp_path, origin=origin)
        process = start("run", path, *shop.target, "--batch-size", "2", "--in-flight", "3", "--json")
        until(lambda: records.count_jobs(db) >= 8)
        process.send_signal(number_sent)
        report = ended(process)
        assert (process.returncode, report["exit_code"], report["ending"]) == (code, code, "stopped")
        assert report["accepted"] == records.count_jobs(db)
        assert report["pending"] == shop_rows - records.count_jobs(db)
        assert not shop.ledger.with_name("ledger.db.owner").exists()
        assert ended(start("run", path, *shop.target, "--json"))["accepted"] == shop_rows
    judge(db, shop_rows)


def test_a_second_ctrl_c_stops_at_once_and_nothing_is_lost(tmp_path: Path) -> None:
    """The first one drains; whoever cannot wait presses again; what was in flight counts as unknown."""
    db, path = tmp_path / "platform.db", write_list(tmp_path / "list.csv", people(6))
    with platform_process(db, "delay:s=8,at=after,times=1") as origin:
        shop = Shop(folder=tmp_path, origin=origin)
        process = start("run", path, *shop.target, "--batch-size", "2", "--json")
        until(lambda: records.count_jobs(db) >= 2)
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert process.poll() is None, "the first signal drains"
        pressed_s = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=LIMIT_S)
        assert process.returncode == -signal.SIGINT
        assert time.monotonic() - pressed_s < 4.0
        assert ended(start("run", path, *shop.target, "--json"))["accepted"] == 6
    judge(db, 6)


def test_a_signal_while_a_long_list_is_read_sends_nothing(tmp_path: Path) -> None:
    """Stopped between two chunks: exit 130, nothing was sent, and intake goes on from its checkpoint."""
    db, rows = tmp_path / "platform.db", 200_000
    path = tmp_path / "list.csv"
    body = "".join(f"{number(i % 50)},{i}\n" for i in range(rows))
    path.write_text(f"phone,n\n{body}")
    with platform_process(db) as origin:
        shop = Shop(folder=tmp_path, origin=origin)
        process = start("run", path, *shop.target, "--json")
        until(lambda: process.poll() is not None or _checkpoint(shop.ledger) > 0)
        process.send_signal(signal.SIGINT)
        report = ended(process)
        assert (process.returncode, records.count_jobs(db)) == (130, 0), report
        assert 0 < _checkpoint(shop.ledger) < rows
        resumed = ended(start("run", path, *shop.target, "--json", "--max-calls", "1"))
        assert (resumed["exit_code"], resumed["read"], resumed["pending"]) == (4, rows, rows)
        assert resumed["import"] == report["import"]
    assert records.count_jobs(db) == 0


def _checkpoint(ledger: Path) -> int:
    """How many rows of the newest import were read, as another process sees it."""
    if not ledger.exists():
        return 0
    with contextlib.closing(sqlite3.connect(f"{ledger.as_uri()}?mode=ro", uri=True)) as reader:
        try:
            found = reader.execute("SELECT read_rows FROM imports ORDER BY id DESC LIMIT 1").fetchone()
        except sqlite3.OperationalError:
            return 0
    return int(found[0]) if found else 0


def test_two_processes_on_one_ledger_and_the_lock_dies_with_its_owner(tmp_path: Path) -> None:
    """The second says whose it is and exits 9 with nothing sent; after a kill the ledger is free at once."""
    db, path = tmp_path / "platform.db", write_list(tmp_path / "list.csv", people(6))
    other = write_list(tmp_path / "other.csv", people(6, first=20))
    with platform_process(db, "delay:s=20,at=after,times=1") as origin:
        shop = Shop(folder=tmp_path, origin=origin)
        owner = start("run", path, *shop.target, "--batch-size", "2", "--json")
        until(lambda: records.count_jobs(db) >= 2)
        for verb in (("run", other), ("send",)):
            second = start(*verb, *shop.target, "--json")
            report = ended(second)
            assert (second.returncode, report["exit_code"]) == (9, 9)
            assert f"process {owner.pid}" in str(report["error"])
        reader = ended(start("status", "--ledger", shop.ledger, "--json"))
        assert reader["imports"][0]["read"] == 6  # type: ignore[index]  # a list of objects
        owner.kill()
        owner.communicate(timeout=LIMIT_S)
        assert ended(start("run", path, *shop.target, "--json"))["accepted"] == 6
    judge(db, 6)
