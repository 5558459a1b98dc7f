"""Broken lists: the fuzz target for a moment, and files that are hardly lists."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from importer.errors import ListProblem

from .lists import opened, walked

ROOT = Path(__file__).parents[2]


def test_broken_lists_are_refused_or_accounted_for(tmp_path: Path) -> None:
    """A few of what `make fuzz` makes by the thousand; other ones every time."""
    words = ["--most", "40", "--minutes", "1", "--seed", str(random.randrange(1_000_000))]
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks/fuzz.py"), *words],
        check=False, cwd=tmp_path, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert (done.returncode, ", 0 failed" in done.stdout) == (0, True), done.stdout + done.stderr


def test_a_file_that_is_hardly_a_list_is_refused_early(tmp_path: Path) -> None:
    """A quoted cell of a million lines would else be a million bad rows. It is told where that began."""
    path = tmp_path / "list.csv"
    path.write_bytes(b'phone,name\n16505550100,Ann\n16505550101,"' + b"x\n" * 1_000_000 + b'"\n')
    with (
        opened(path) as rows,
        pytest.raises(ListProblem, match=r"hardly a list: .* beginning with row 3: a quoted cell"),
    ):
        list(rows.chunks())


def test_many_bad_rows_among_good_ones_are_borne(tmp_path: Path) -> None:
    """Each is told; whether to send the others is for --stop-at-rejects to say."""
    path = tmp_path / "list.csv"
    path.write_bytes(b"phone,name\n" + b"16505550100,Ann\n1\n1\n1\n1\n" * 30_000)
    with opened(path) as rows:
        reading = walked(rows)
    assert (len(reading.rows), len(reading.bad)) == (30_000, 120_000)
