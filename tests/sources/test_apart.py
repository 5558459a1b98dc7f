"""Binary lists are read by a child: what it dies of is told, and it says the same as a reading here."""

from __future__ import annotations

import io
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from workbench import Bench

from importer.errors import ListProblem, UsageProblem
from importer.ledger import LedgerReader
from importer.model import ReadingProgress
from importer.run import Checks
from importer.sources import Position, ReadOptions, RowList, open_list
from importer.sources.apart import Apart, Here, Opener

from .lists import walked, workbook

DYING = """
import os, signal, sys
from importer.sources.child import serve
left = [int(sys.argv[1])]
def before_piece(piece):
    left[0] -= 1
    if left[0] < 0:
        {death}
serve(sys.stdin.buffer, sys.stdout.buffer, before_piece=before_piece)
"""


def dying(death: str, after_pieces: int) -> Apart:
    """A child that dies so, after it sent so many pieces."""
    return Apart([sys.executable, "-c", DYING.format(death=death), str(after_pieces)])


def opened(path: Path, opener: Opener, **options: Any) -> RowList:
    return open_list(
        [str(path)], ReadOptions(**options), stdin=io.BytesIO(), spool_dir=path.parent / "spool", opener=opener
    )


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    """Three slices, with a row in the second that cannot be a row."""
    return write_parquet(tmp_path / "list.parquet", 250_000)


def write_parquet(path: Path, rows: int) -> Path:
    names = [f"Ann {n}" if n != 150_000 else "An\0n" for n in range(rows)]
    pl.DataFrame({"phone": range(16505550000, 16505550000 + rows), "name": names}).write_parquet(path)
    return path


def test_a_child_reads_what_would_be_read_here(parquet: Path, tmp_path: Path) -> None:
    """Shape, rows, row numbers, bad rows and counts; from the start and from the middle, twice over."""
    book = workbook(
        tmp_path / "book.xlsx", {"Sheet": [["phone", "name"], [16505550100, "Ann"], [None, "x\0"], ["", 1]]}
    )
    for path in (parquet, book):
        with opened(path, Here()) as here, opened(path, Apart()) as apart:
            assert [vars_of(info) for info in here.files] == [vars_of(info) for info in apart.files]
            for start in (None, Position(file_no=0, row_no=3), None):
                assert walked(here, start) == walked(apart, start)


def vars_of(info: Any) -> dict[str, Any]:
    return {name: getattr(info, name) for name in info.__slots__}


@pytest.mark.parametrize(
    ("death", "how"),
    [
        ("os.abort()", "SIGABRT"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
        ("os._exit(3)", "exit code 3"),
        ("sys.stdout.buffer.write(b'C' + (1000).to_bytes(8, 'big')); sys.stdout.flush(); os._exit(0)", "exit code 0"),
    ],
)
@pytest.mark.parametrize(("after_pieces", "where"), [(0, "before its first row"), (2, "after row 200000")])
def test_a_death_is_a_list_problem(parquet: Path, death: str, how: str, after_pieces: int, where: str) -> None:
    """It names the file and the last row that came through."""
    with opened(parquet, dying(death, after_pieces)) as rows:
        with pytest.raises(ListProblem, match=rf"list\.parquet ended the process that read it, .*{how}, {where}"):
            list(rows.chunks())
        with pytest.raises(RuntimeError):
            _ = rows.counts


def test_a_death_while_opening_is_a_list_problem(parquet: Path) -> None:
    """As is a child that never comes to life."""
    for words in (["import os; os.abort()"], ["raise SystemExit(1)"]):
        with pytest.raises(ListProblem, match="while it was opened"):
            opened(parquet, Apart([sys.executable, "-c", *words]))


class Killer(list[Any]):
    """Hears a run's events, and kills the child that reads for it once rows are taken in."""

    def append(self, event: Any) -> None:
        if isinstance(event, ReadingProgress) and not any(isinstance(each, ReadingProgress) for each in self):
            for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split():
                if b"importer.sources.child" in Path(f"/proc/{child}/cmdline").read_bytes():
                    os.kill(int(child), signal.SIGABRT)
        super().append(event)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="only Linux tells the children of a process so")
def test_a_death_leaves_the_ledger_as_any_stop_does(bench: Bench, tmp_path: Path) -> None:
    """Nothing is sent; the same command goes on, and every row is there once. Some slices are read ahead, not all."""
    parquet = write_parquet(tmp_path / "long.parquet", 850_000)
    with pytest.raises(ListProblem, match=r"SIGABRT, after row [1-7]00000"):
        replace(bench, events=Killer()).run(parquet, batch_size_rows=50_000)
    with pytest.raises(ListProblem, match="more than"):
        bench.run(parquet, batch_size_rows=50_000, checks=Checks(max_calls=0))
    with LedgerReader(bench.ledger_path) as reader:
        balance = reader.view.balance(1)
    assert (balance.read, balance.rejected, balance.accepted) == (850_000, balance.rejected, 0)
    assert balance.read == balance.rejected + balance.pending
    assert balance.pending > 0


def test_a_reading_given_up_can_be_begun_again(parquet: Path) -> None:
    """The child that was interrupted is ended, and another one answers."""
    with opened(parquet, Apart()) as rows:
        first = next(iter(rows.chunks()))
        assert first.rows.height > 0
        assert sum(chunk.rows.height + chunk.bad.height for chunk in rows.chunks()) == 250_000


def test_problems_of_the_list_pass_through(tmp_path: Path) -> None:
    """In the same words as here, and the child lives on."""
    (tmp_path / "cut.parquet").write_bytes(b"PAR1" + bytes(100))
    (tmp_path / "cut.xlsx").write_bytes(b"PK\x03\x04" + bytes(100))
    for name in ("cut.parquet", "cut.xlsx"):
        messages = []
        for opener in (Here(), Apart()):
            with pytest.raises(ListProblem) as caught:
                opened(tmp_path / name, opener)
            messages.append((caught.value.message, caught.value.hint))
        assert messages[0] == messages[1]
    with pytest.raises(UsageProblem):
        opened(tmp_path / "cut.parquet", Apart(), format="nonsense")


def test_text_needs_no_child(tmp_path: Path) -> None:
    """It is what must be fast, and a scanner looks at it first."""
    (tmp_path / "list.csv").write_bytes(b"phone\n16505550100\n")
    with opened(tmp_path / "list.csv", Apart(["/no/such/program"])) as rows:
        assert walked(rows).rows == [("16505550100",)]


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="Windows has no process groups of this kind")
def test_the_child_does_not_hear_ctrl_c(parquet: Path) -> None:
    """It is for the run to end in order; a child that died of it would look like a bad list."""
    opener = Apart()
    with opened(parquet, opener) as rows:
        child = opener._child
        assert child is not None
        assert os.getpgid(child.pid) != os.getpgid(0)
        child.send_signal(signal.SIGCONT)
        assert walked(rows).read_rows == 250_000
    assert child.returncode == -signal.SIGKILL
