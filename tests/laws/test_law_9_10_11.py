"""Laws 9, 10 and 11: resume is the ordinary road, changes name what they expect, and only a whole list is sent."""

from __future__ import annotations

import contextlib
import gzip
import sqlite3
from dataclasses import replace
from functools import partial
from pathlib import Path

import httpx
import pytest
from workbench import OWNER, Bench, Platform, number, people, write_list

from importer.errors import LedgerHeld, LedgerProblem, ListProblem, UsageProblem
from importer.ledger import Ledger, LedgerReader
from importer.protocol import State

from .dying import Crossings, DyingLedger, DyingTransport, Killed


def opened(path: Path) -> Ledger:
    return Ledger(path, OWNER, now_ms=0)


# --- law 9 ------------------------------------------------------------------------------------------------------------


def test_law_9_resume_is_the_ordinary_road(tmp_path: Path, bench: Bench, platform: Platform) -> None:
    """Died with a send open: found armed, put back as unknown, sent again as it was, by `run` and `send` alike."""
    path = write_list(tmp_path / "a.csv", people(8))
    crossings = Crossings(dies_at=4)  # the second request was carried out, and its answer not yet read
    dying = replace(bench, transport=lambda: DyingTransport(httpx.HTTPTransport(), crossings, only="addPhones"))
    with pytest.raises(Killed):
        dying.run(path, batch_size_rows=2)
    with LedgerReader(bench.ledger_path) as reader:
        assert reader.view.state_rows(1).get("armed") == 2
    path.unlink()
    report = bench.send(1)
    assert (report.exit_code, report.balance.accepted) == (0, 8)
    platform.has_each_once(number(i) for i in range(8))
    with contextlib.closing(sqlite3.connect(bench.ledger_path)) as plain:
        outcomes = [row[0] for row in plain.execute("SELECT outcome FROM sends ORDER BY id")]
    assert outcomes.count("interrupted") == 1
    assert set(outcomes) == {"accepted", "interrupted"}


# --- law 10 -----------------------------------------------------------------------------------------------------------


def test_law_10_a_ledger_has_one_owner_who_is_named(tmp_path: Path) -> None:
    """The second is refused with the first one's name; the lock ends with its owner."""
    path = tmp_path / "ledger.db"
    with opened(path), pytest.raises(LedgerHeld, match="process 1 on here"):
        opened(path)
    opened(path).close()


def test_law_10_a_change_that_moves_no_row_stops_everything(tmp_path: Path, bench: Bench) -> None:
    """Somebody else changed a state: nothing is written, and this ledger object works no more."""
    bench.run(write_list(tmp_path / "a.csv", people(4)), first_rows=1)
    with opened(bench.ledger_path) as ledger:
        sendable = ledger.sends.frozen(1, 0, 1)[0]
        ledger.store.connection.execute("UPDATE batches SET state = 'in_doubt' WHERE id = ?", [sendable.id])
        with pytest.raises(LedgerProblem, match="not in the state"):
            ledger.sends.change(sendable, sendable.batch, "", now_ms=0)
        assert ledger.store.is_broken
        with pytest.raises(LedgerProblem, match="failed earlier"):
            ledger.sends.finish(1, now_ms=0)
        assert ledger.sends.load(sendable.id).batch.state is State.IN_DOUBT


def test_law_10_an_error_of_the_file_ends_the_run_before_anything_more_is_sent(
    tmp_path: Path, bench: Bench, platform: Platform
) -> None:
    """The disk is full when a batch is to be armed: nothing leaves; with room again the same command goes on."""
    path = write_list(tmp_path / "a.csv", people(8))
    bench.run(path, first_rows=4)

    def crowded(place: Path) -> Ledger:
        ledger = opened(place)
        pages = ledger.store.connection.execute("PRAGMA page_count").fetchone()[0]
        ledger.store.connection.execute(f"PRAGMA max_page_count = {pages}")
        ledger.store.connection.execute("CREATE TEMP TRIGGER full BEFORE INSERT ON main.sends BEGIN "
                                        "SELECT raise(ABORT, 'database or disk is full'); END")  # fmt: skip
        return ledger

    sends = len(platform.sends())
    with pytest.raises(LedgerProblem, match="full"):
        Bench(folder=tmp_path, origin=bench.origin, open_ledger=crowded).run(path)
    assert len(platform.sends()) == sends
    assert bench.run(path).balance.accepted == 8
    platform.has_each_once(number(i) for i in range(8))


def test_law_10_a_reader_can_neither_write_nor_hold_anybody_up(tmp_path: Path, bench: Bench) -> None:
    """Readers open the file read-only, beside its owner."""
    bench.run(write_list(tmp_path / "a.csv", people(4)))
    with opened(bench.ledger_path) as owner, LedgerReader(bench.ledger_path) as reader:
        assert reader.view.balance(1).accepted == 4
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader.view._connection.execute("DELETE FROM rows")
        assert owner.sends.finish(1, now_ms=0)


# --- law 11 -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_law_11_nothing_is_sent_from_a_list_not_read_to_its_end(
    tmp_path: Path, bench: Bench, platform: Platform, share: float
) -> None:
    """A packed list that is cut anywhere sends nothing; made whole, it is sent once."""
    plain = write_list(tmp_path / "a.csv", people(400)).read_bytes()
    whole = gzip.compress(plain, mtime=0)
    path = tmp_path / "a.csv.gz"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ListProblem):
        bench.run(path, chunk_rows=50)
    assert platform.sends() == []
    path.write_bytes(whole)
    assert bench.run(path, batch_size_rows=100).balance.accepted == 400
    platform.has_each_once(number(i) for i in range(400))


def test_law_11_send_does_not_send_what_run_has_not_read_to_its_end(tmp_path: Path, platform: Platform) -> None:
    """Wherever intake died, what it froze is not sendable; only reading the list to its end makes it so."""
    path, refused = write_list(tmp_path / "a.csv", people(12)), 0
    for dies_at in range(1, 60):
        crossings = Crossings(dies_at=dies_at)
        bench = Bench(folder=tmp_path / str(dies_at), origin=platform.origin)
        dying = replace(bench, open_ledger=partial(DyingLedger, crossings=crossings))
        with pytest.raises(Killed):
            dying.run(path, chunk_rows=4)
        with LedgerReader(bench.ledger_path) as reader:
            if reader.view.newest_import_id() is None:
                continue
            if reader.view.import_line(1).an_import.is_complete:
                break
        with pytest.raises(UsageProblem, match="not read to its end"):
            bench.send(1)
        refused += 1
    assert refused >= 4
    assert platform.sends() == []
    assert bench.run(path).balance.accepted == 12
    platform.has_each_once(number(i) for i in range(12))


def test_law_11_counts_that_disagree_close_nothing(tmp_path: Path, bench: Bench) -> None:
    """A source is complete only when the rows taken in are as many as the witness counted."""
    bench.run(write_list(tmp_path / "a.csv", people(4)), first_rows=1)
    with opened(bench.ledger_path) as ledger:
        an_import = ledger.intake.import_by_id(1)
        assert an_import is not None
        reopened = ledger.intake.begin_revision(an_import, mapping={}, settings={}, files=[])
        with pytest.raises(LedgerProblem):
            ledger.intake.complete_source(reopened, counts=[(0, 4, 4, "")], now_ms=0)
