"""Names: patterns, pipes, directories, missing and special files, and names that are no files."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from polars.exceptions import PanicException

from importer.errors import ListProblem
from importer.sources import ReadOptions, open_list
from importer.sources.translation import polars_translated

from .lists import opened, walked

LIST = b"phone,name\n16505550100,Ann\n"


def test_a_pattern_names_its_files_in_order(tmp_path: Path) -> None:
    """A file that is really called so is taken literally, though."""
    for name in ("b.csv", "a.csv", "c.txt"):
        (tmp_path / name).write_bytes(LIST)
    with opened(tmp_path / "*.csv") as rows:
        assert [Path(file.name).name for file in rows.files] == ["a.csv", "b.csv"]
    (tmp_path / "[x].csv").write_bytes(LIST)
    with opened(tmp_path / "[x].csv") as rows:
        assert len(rows.files) == 1


def test_standard_input_is_copied_privately_and_removed(tmp_path: Path) -> None:
    """The copy has mode 0600 and lives as long as the list."""
    with open_list(["-"], stdin=io.BytesIO(LIST), spool_dir=tmp_path / "spool") as rows:
        info = rows.files[0]
        assert (info.name, info.is_spooled, stat.S_IMODE(info.path.stat().st_mode)) == ("-", True, 0o600)
        assert walked(rows).rows == [("16505550100", "Ann")]
    assert not list((tmp_path / "spool").iterdir())


def test_a_refused_standard_input_leaves_nothing_behind(tmp_path: Path) -> None:
    """Neither when it is empty nor when it is no list, nor when it never ends."""
    for data in (b"", b"a,a\n1,2\n", b"x" * 5_000):
        with pytest.raises(ListProblem):
            open_list(["-"], ReadOptions(max_spool_bytes=4_000), stdin=io.BytesIO(data), spool_dir=tmp_path / "spool")
        assert not list((tmp_path / "spool").iterdir())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes in the file system")
def test_a_pipe_is_read_like_standard_input(tmp_path: Path) -> None:
    """As in <(zcat list.gz)."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen([sys.executable, "-c", f"open({str(pipe)!r}, 'wb').write({LIST!r})"]), opened(pipe) as rows:
        assert walked(rows).rows == [("16505550100", "Ann")]
        assert rows.files[0].name == str(pipe)


def test_a_copy_whose_maker_was_killed_is_cleared_away(tmp_path: Path) -> None:
    """By the next copy made there; one that is still in use stays."""
    code = (
        "import io, os, sys, pathlib; from importer.sources import open_list\n"
        f"rows = open_list(['-'], stdin=io.BytesIO({LIST!r}), spool_dir=pathlib.Path(sys.argv[1]))\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False, timeout=60)
    (left,) = tmp_path.iterdir()
    with open_list(["-"], stdin=io.BytesIO(LIST), spool_dir=tmp_path) as first:
        assert not left.exists()
        with open_list(["-"], stdin=io.BytesIO(LIST), spool_dir=tmp_path) as second:
            assert walked(first).rows == walked(second).rows
    assert not list(tmp_path.iterdir())


def test_a_missing_file_suggests_its_neighbours(tmp_path: Path) -> None:
    """Most missing files are misspelt."""
    (tmp_path / "customers.csv").write_bytes(LIST)
    with pytest.raises(ListProblem, match="there is no file") as caught:
        opened(tmp_path / "custmers.csv")
    assert "customers.csv" in caught.value.hint


def test_special_files_and_directories_are_refused(tmp_path: Path) -> None:
    """A directory says what it may hold."""
    (tmp_path / "a.csv").write_bytes(LIST)
    with pytest.raises(ListProblem, match="partitioned Parquet directory"):
        opened(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ListProblem, match="it holds no such file"):
        opened(tmp_path / "empty")
    if Path("/dev/zero").exists():
        with pytest.raises(ListProblem, match="device or socket"):
            open_list(["/dev/zero"], stdin=io.BytesIO(), spool_dir=tmp_path)


def test_a_file_named_twice_is_refused(tmp_path: Path) -> None:
    """Overlapping patterns would double every row."""
    (tmp_path / "a.csv").write_bytes(LIST)
    (tmp_path / "link.csv").symlink_to(tmp_path / "a.csv")
    with pytest.raises(ListProblem, match="named twice"):
        opened(tmp_path / "*.csv")


def test_names_that_cannot_be_files_are_refused(tmp_path: Path) -> None:
    """Nothing at all, nothing readable, nothing that a file system would take."""
    for names in ([], ["a\0b"], [str(tmp_path / ("x" * 5_000))], [str(tmp_path / "no*such")]):
        with pytest.raises(ListProblem):
            open_list(names, stdin=io.BytesIO(), spool_dir=tmp_path)


def test_partition_folders_become_columns(tmp_path: Path) -> None:
    """Their values are text, as written, decoded; Hive's word for null is null."""
    for folder, phone in (("city=New%20York/n=007", 1), ("city=__HIVE_DEFAULT_PARTITION__/n=8", 2)):
        (tmp_path / "lists" / folder).mkdir(parents=True)
        pl.DataFrame({"phone": [phone]}).write_parquet(tmp_path / "lists" / folder / "part-0.parquet")
    (tmp_path / "lists" / "_SUCCESS").touch()
    with opened(tmp_path / "lists") as rows:
        assert sorted(walked(rows).rows, key=str) == [("1", "New York", "007"), ("2", None, "8")]


def test_a_parser_panic_is_a_list_problem() -> None:
    """PanicException is no Exception; it must not pass as a crash of the run."""
    with pytest.raises(ListProblem, match="made the parser give up"), polars_translated("list.parquet"):
        raise PanicException("index out of bounds")


def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    """Tried by a process that gives up root if it has it, from inside the folder, so that no other mode matters."""
    (tmp_path / "list.csv").write_bytes(LIST)
    (tmp_path / "list.csv").chmod(0)
    tmp_path.chmod(0o755)
    code = (
        "import io, os, pathlib, sys\n"
        "from importer.sources import open_list\n"
        "from importer.errors import ListProblem\n"
        "os.chdir(sys.argv[1])\n"
        "if os.geteuid() == 0: os.setuid(65534)\n"
        "try: open_list(['list.csv'], stdin=io.BytesIO(), spool_dir=pathlib.Path('spool'))\n"
        "except ListProblem as problem: print(problem.message)\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert told.stdout.strip() == "no permission to read list.csv"
