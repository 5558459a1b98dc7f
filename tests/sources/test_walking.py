"""Walking a list: chunk sizes, positions, several files, counts, hashes, and files that change meanwhile."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from importer.errors import ListProblem
from importer.sources import Position, content_sha256, is_unedited

from .lists import Reading, opened, read_file, walked, workbook


def messy_csv(path: Path) -> Path:
    """Blank lines, bad rows, quoted line ends and inches, over more than one block."""
    choose = random.Random(7)
    kinds = ["%d,a\n", '%d,"b\nc"\n', '%d,5" d\n', "\n", "%d\n", '%d,"e\n', "%d,f,g\n", "%d,\0\n"]
    lines = [kind % at if "%" in kind else kind for at in range(60_000) for kind in [choose.choice(kinds)]]
    padding = "".join(f"{at},{'x' * 90}\n" for at in range(50_000))
    path.write_bytes(("phone,name\n" + "".join(lines) + padding).encode())
    return path


def parquet(path: Path) -> Path:
    pl.DataFrame({"phone": range(250_000), "name": [f"n{at}" for at in range(250_000)]}).write_parquet(
        path, row_group_size=70_000
    )
    return path


def json_lines(path: Path) -> Path:
    lines = [json.dumps({"phone": at, "name": "n"}) if at % 7 else "" if at % 2 else "[]" for at in range(20_000)]
    path.write_text("\n".join(lines))
    return path


def sheet(path: Path) -> Path:
    return workbook(
        path, {"S": [["phone", "name"], *([at, f"n{at}"] if at % 5 else [None, None] for at in range(3_000))]}
    )


MAKERS: dict[str, Callable[[Path], Path]] = {"csv": messy_csv, "parquet": parquet, "jsonl": json_lines, "xlsx": sheet}


@pytest.fixture(scope="module", params=sorted(MAKERS))
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Reading]:
    path = MAKERS[request.param](tmp_path_factory.mktemp("made") / f"list.{request.param}")
    return path, read_file(path, **options_of(path))


def options_of(path: Path) -> dict[str, object]:
    return {"format": "csv", "encoding": "utf-8"} if path.suffix == ".csv" else {}


@pytest.mark.parametrize("chunk_rows", [997, 40_000, 10**9])
def test_rows_do_not_depend_on_the_chunk_size(made: tuple[Path, Reading], chunk_rows: int) -> None:
    """Rows, row numbers, bad rows and hashes are a function of the file."""
    path, whole = made
    assert read_file(path, chunk_rows=chunk_rows, **options_of(path)) == whole


def test_chunks_are_as_large_as_asked_for(made: tuple[Path, Reading]) -> None:
    """Good and bad rows together; only the last chunk of a file is smaller."""
    path, _ = made
    with opened(path, chunk_rows=1_000, **options_of(path)) as rows:
        for most_rows, size in ((None, 1_000), (300, 300), (5_000, 1_000)):
            sizes = [chunk.rows.height + chunk.bad.height for chunk in rows.chunks(most_rows=most_rows)]
            assert set(sizes[:-1]) <= {size}
            assert 0 < sizes[-1] <= size


@pytest.mark.parametrize("share", [0.0, 0.001, 0.4, 0.97, 1.0])
def test_a_reading_continues_from_any_position(made: tuple[Path, Reading], share: float) -> None:
    """The rest is exactly the rest, and the counts are still those of the whole file."""
    path, whole = made
    first = int(share * max(whole.row_nos)) + 1
    with opened(path, chunk_rows=7_000, **options_of(path)) as rows:
        rest = walked(rows, Position(file_no=0, row_no=first))
    assert rest.row_nos == [row_no for row_no in whole.row_nos if row_no >= first]
    assert rest.rows == whole.rows[len(whole.rows) - len(rest.rows) :]
    assert rest.bad == [bad for bad in whole.bad if bad[0] >= first]
    assert (rest.read_rows, rest.witness_rows, rest.sha256) == (whole.read_rows, whole.witness_rows, whole.sha256)


def test_counts_agree_with_the_bytes(made: tuple[Path, Reading]) -> None:
    """Everything delivered is counted twice, and the hash is that of the file."""
    path, whole = made
    assert len(whole.rows) + len(whole.bad) == whole.read_rows == whole.witness_rows
    assert whole.sha256 == hashlib.sha256(path.read_bytes()).hexdigest() == content_sha256(path)


def test_counts_are_not_to_be_had_early(tmp_path: Path) -> None:
    """Asking before the end is a bug in the caller."""
    (tmp_path / "list.csv").write_bytes(b"phone\n16505550100\n")
    with opened(tmp_path / "list.csv") as rows, pytest.raises(RuntimeError):
        _ = rows.counts


def test_files_of_one_list_share_their_columns(tmp_path: Path) -> None:
    """In the order of first appearance; a column that a file lacks is null there."""
    (tmp_path / "a.csv").write_bytes(b"phone,name\n16505550100,Ann\n")
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(b"city;phone\nRome;16505550101\n"))
    with opened(tmp_path / "a.csv", str(tmp_path / "b.csv.gz")) as rows:
        assert rows.columns == ("phone", "name", "city")
        assert [(chunk.file_no, chunk.rows.rows()) for chunk in rows.chunks()] == [
            (0, [("16505550100", "Ann", None)]),
            (1, [("16505550101", None, "Rome")]),
        ]
        rest = walked(rows, Position(file_no=1, row_no=0))
        assert (len(rest.rows), rest.read_rows) == (1, 2)


@pytest.mark.parametrize("change", ["grow", "replace", "touch"])
def test_a_file_that_changes_is_refused(tmp_path: Path, change: str) -> None:
    """Between opening and reading, and while it is read."""
    path = tmp_path / "list.csv"
    path.write_bytes(b"phone\n" + b"16505550100\n" * 900_000)

    def disturb() -> None:
        if change == "grow":
            with path.open("ab") as file:
                file.write(b"16505550101\n")
        elif change == "replace":
            (tmp_path / "new.csv").write_bytes(path.read_bytes())
            (tmp_path / "new.csv").replace(path)
        else:
            os.utime(path, ns=(1, 1))

    with opened(path) as rows:
        chunks = rows.chunks()
        next(chunks)
        disturb()
        with pytest.raises(ListProblem, match="changed while it was being read"):
            list(chunks)
    with opened(path) as rows:
        disturb_again = path.stat().st_mtime_ns + 1_000
        os.utime(path, ns=(disturb_again, disturb_again))
        with pytest.raises(ListProblem, match="changed while it was being read"):
            list(rows.chunks())


def test_an_edited_file_is_known_by_its_stamp(tmp_path: Path) -> None:
    """Inode, size, mtime and ctime: a rewrite shows even when size and mtime are put back."""
    path = tmp_path / "list.csv"
    path.write_bytes(b"phone\n16505550100\n")
    with opened(path) as rows:
        info = rows.files[0]
    assert is_unedited(info, path)
    path.write_bytes(b"phone\n16505550101\n")
    os.utime(path, ns=(info.mtime_ns, info.mtime_ns))
    assert not is_unedited(info, path)
    path.unlink()
    assert not is_unedited(info, path)


def test_a_walk_may_be_left_in_the_middle(tmp_path: Path) -> None:
    """Nothing is kept open, and a new walk starts afresh."""
    path = tmp_path / "list.csv"
    path.write_bytes(b"phone\n" + b"16505550100\n" * 900_000)
    with opened(path, chunk_rows=50_000) as rows:
        chunks = rows.chunks()
        next(chunks)
        chunks.close()  # type: ignore[attr-defined]
        assert walked(rows).read_rows == 900_000
