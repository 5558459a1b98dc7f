"""S9–S11, S19, S22–S24: a list may come from anybody."""
# ruff: noqa: N802 - the tests are named after the security checklist

from __future__ import annotations

import gzip
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from workbench import Bench, Platform, Shop, changed_at, environment, number, people, write_list

from importer.body import batch_body
from importer.errors import ListProblem
from importer.run import Checks

# Every attempt to open a connection that is not to this machine, or any at all, ends the process with code 99.
GUARDED = """
import os, sys
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
        os._exit(99)
    if event == "subprocess.Popen" and list(arguments[1]) == [sys.executable, "-P", "-m", "importer.sources.child"]:
        return
    if event in ("os.system", "subprocess.Popen", "os.exec", "pickle.find_class", "os.posix_spawn"):
        os._exit(98)
sys.addaudithook(watch)
from importer.cli import main
main(sys.argv[1:])
"""


def checked(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """`importer` in a process that may open no connection and unpickle nothing; its own reader is its only child."""
    return subprocess.run(
        [sys.executable, "-c", GUARDED, *map(str, arguments)],
        env=environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_S9_only_a_written_scheme_with_its_extra_is_ever_looked_at(tmp_path: Path) -> None:
    """Whatever polars would fetch: otherwise nothing is opened, resolved or connected to."""
    for scheme in ("hf", "file", "ftp", "http"):
        with pytest.raises(ListProblem, match=r"not read from|in the clear"):
            Bench(folder=tmp_path, origin="http://127.0.0.1:1").run(f"{scheme}://host.invalid/x.parquet")
    for name in ("hf://host.invalid/x", "http://host.invalid/x", "file:///x", "host.invalid/x.csv", "s3:/bucket/x"):
        done = checked("check", name)
        assert (done.returncode, "Traceback" in done.stderr) == (4, False), name
    assert checked("check", "https://host.invalid/list.csv").returncode == 99, "a look that was asked for"


def test_S9_reading_lists_of_every_kind_opens_no_connection_and_starts_only_the_reader(tmp_path: Path) -> None:
    """Also when cells, names of columns and names of files look like addresses; `check` sends nothing (S27)."""
    import polars as pl

    rows = [{**row, "https://host.invalid/x": "s3://bucket/key"} for row in people(4)]
    csv = write_list(tmp_path / "a.csv", rows)
    frame = pl.DataFrame(rows)
    frame.write_parquet(tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(csv.read_bytes()))
    names = [tmp_path / name for name in ("a.csv", "a.parquet", "a.jsonl", "a.csv.gz")]
    done = checked("check", *names, "--ledger", tmp_path / "none.db")
    assert done.returncode == 0, (done.returncode, done.stderr)
    assert "16  rows read" in done.stdout


def test_S10_what_is_no_ordinary_file_is_refused(bench: Bench, tmp_path: Path) -> None:
    """Devices, sockets and folders; a pipe is read like standard input, and bounded."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        for special in ("/dev/zero", "/dev/null", tmp_path / "socket", tmp_path):
            with pytest.raises(ListProblem):
                bench.run(special)


def test_S10_a_list_replaced_while_it_is_read_sends_nothing(bench: Bench, platform: Platform, tmp_path: Path) -> None:
    """Another file under its name, or the same one written to: seen at the end of reading at the latest."""
    from importer.model import ReadingProgress

    path = write_list(tmp_path / "a.csv", people(200))

    def replaced(event: object) -> None:
        if isinstance(event, ReadingProgress):
            write_list(path, people(200, first=300))
            changed_at(path, 10)

    class Watching(list):  # type: ignore[type-arg]
        def append(self, event: object) -> None:
            replaced(event)

    bench.events = Watching()
    with pytest.raises(ListProblem, match="changed while it was being read"):
        bench.run(path, chunk_rows=50)
    assert platform.sends() == []


def test_S11_a_bomb_is_defused_within_bounded_memory(tmp_path: Path) -> None:
    """A few hundred kilobytes that unpack to a gigabyte: refused, in a process with half of that."""
    lines = (b"+12015550100," + b"x" * 20_000 + b"\n") * 50
    with gzip.open(tmp_path / "bomb.csv.gz", "wb", compresslevel=9) as file:
        file.write(b"phone,name\n")
        for _ in range(300):
            file.write(lines)
    code = "import resource; resource.setrlimit(resource.RLIMIT_DATA, (600 << 20, 600 << 20))\n" + GUARDED
    done = subprocess.run(
        [sys.executable, "-c", code, "check", str(tmp_path / "bomb.csv.gz"), "--ledger", str(tmp_path / "none.db")],
        env=environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, "bomb" in done.stderr) == (4, True), done.stderr[-500:]


# --- S19 names that could be SQL ------------------------------------------------------------------------------------

AWKWARD = [
    "a'b", 'a"b', "a`b", "[a]", "a;b", "'; DROP TABLE rows; --", "x); COMMIT; --", "%s", "?", ":x", "$1", "{0}", "a\\b",
    "SELECT", "rowid", "é", "日本", "  spaced  ", "json_extract(x,'$')",
]  # fmt: skip


def test_S19_names_of_columns_lists_and_rounds_are_data(bench: Bench, platform: Platform, tmp_path: Path) -> None:
    """They arrive as they are, and every table is still there."""
    rows = [{"phone": number(i), **{name: f"{i}{name}" for name in AWKWARD}} for i in range(5)]
    for round_name in AWKWARD[:6]:
        report = bench.run(
            write_list(tmp_path / "a.csv", rows), round_name=round_name, list_name=round_name, once_per="a;b"
        )
        assert report.balance.accepted == 5
    sent = {name.strip(): value for name, value in platform.payloads()[0].items()}
    assert sent == {name.strip(): f"0{name}" for name in AWKWARD}
    shop = Shop(folder=tmp_path, origin=platform.origin)
    assert shop.importer("ledger", "check", "--ledger", bench.ledger_path).code == 0


# --- S22, S23: numbers and letters ----------------------------------------------------------------------------------

SPELLINGS = {
    "+12015550100": "+12015550100", "+1 (201) 555-0101": "+12015550101", "+1.201.555.0102": "+12015550102",
    "0012015550103": None, "1201555010": None, "1.2015550104E+10": None, "12015550105.0": "?", "=12015550106": "?",
    "'+12015550107": "?", "+1201555010٨": "?", "＋１２０１５５５０１０９": "?", "12015550110\u202e": "?",
    "+1201555\u200b0111": "?", "+12015550112 ": "+12015550112", "+12015550113x5": "?", "+1201555O114": None,
    "007900": None, "": None, "+": None, "NaN": None, "inf": None, "1e400": None, "0x11": None, "−12015550115": "?",
}  # fmt: skip


def test_S22_no_number_is_ever_read_as_a_quantity(bench: Bench, platform: Platform, tmp_path: Path) -> None:
    """Leading zeros, exponents and points: a cell becomes just the number it spells, or a reject with its cell kept."""
    rows = [{"phone": cell, "name": str(i)} for i, cell in enumerate(SPELLINGS)]
    report = bench.run(write_list(tmp_path / "a.csv", rows), checks=Checks(stop_at_rejects_share=1.0))
    called = {payload["name"]: phone for payload, phone in zip(platform.payloads(), platform.phones(), strict=True)}
    for i, expected in enumerate(SPELLINGS.values()):
        if expected != "?":
            assert called.get(str(i)) == expected
    assert report.balance.read == len(SPELLINGS)
    assert set(called.values()) <= {number(i) for i in range(20)}, "never another number than one that was meant"


def test_S23_letters_that_deceive_are_kept_exactly_in_payloads(
    bench: Bench, platform: Platform, tmp_path: Path
) -> None:
    """Right-to-left marks, zero-width signs and lookalikes: not dropped, not normalised, not another row's key."""
    cells = ["café", "cafe\u0301", "\u202eevil", "a\u200bb", "ａ", "a", "İ", "ß", "\ufeffx", "👩‍👩‍👧"]
    rows = [{"phone": number(i), "name": cell} for i, cell in enumerate(cells)]
    assert bench.run(write_list(tmp_path / "a.csv", rows)).balance.accepted == len(cells)
    assert [payload["name"] for payload in platform.payloads()] == cells


UNREADABLE = [b"phone\n\xff\xfe\xfd\n", "phone\n+12015550100\n".encode("utf-16"), b"phone\r+12015550100\r"]


@pytest.mark.parametrize("content", UNREADABLE)
def test_S23_bytes_that_are_no_text_never_become_numbers(
    content: bytes, bench: Bench, platform: Platform, tmp_path: Path
) -> None:
    """Read rightly, rejected with a reason, or refused: never something else."""
    (tmp_path / "a.csv").write_bytes(content)
    try:
        bench.run(tmp_path / "a.csv")
    except ListProblem:
        assert platform.sends() == []
    assert set(platform.phones()) <= {number(0)}


# --- S24 names that change JSON -------------------------------------------------------------------------------------


@given(st.lists(st.dictionaries(st.text(max_size=12), st.text(max_size=12), max_size=4), min_size=1, max_size=4))
def test_S24_whatever_cells_hold_the_body_is_one_array_of_flat_objects(payloads: list[dict[str, str]]) -> None:
    """Names such as __proto__, quotes and control signs stay data: parsing gives back what was put in."""
    import polars as pl

    from importer.body import item_column

    names = sorted({name for payload in payloads for name in payload})
    cells = {f"c{i}": [payload.get(name) for payload in payloads] for i, name in enumerate(names)}
    e164 = [number(i) for i in range(len(payloads))]
    frame = pl.DataFrame({"e164": e164, **cells}, schema=dict.fromkeys(["e164", *cells], pl.String))
    items = frame.select(item_column(pl.col("e164"), {name: pl.col(f"c{i}") for i, name in enumerate(names)}, {}))
    body = batch_body(items.to_series().to_list())
    parsed = json.loads(body, parse_constant=pytest.fail)
    assert [item.get("payload", {}) for item in parsed] == payloads
    assert all(set(item) <= {"phone", "payload"} for item in parsed)


def test_S24_a_name_that_stands_twice_is_told_and_not_merged(bench: Bench, platform: Platform, tmp_path: Path) -> None:
    """Two columns of one name: refused or told apart, never one cell for the other."""
    (tmp_path / "a.csv").write_text("phone,name,name\n+12015550100,first,second\n")
    try:
        bench.run(tmp_path / "a.csv")
    except ListProblem:
        assert platform.sends() == []
        return
    assert sorted(platform.payloads()[0].values()) == ["first", "second"]


def test_S27_nothing_here_needs_a_shell_or_a_pickle() -> None:
    """No eval, no exec, no pickle, no shell anywhere in the product."""
    root = Path(__file__).resolve().parents[2] / "importer"
    source = {file: file.read_text() for file in root.rglob("*.py")}
    for words in ("eval(", "exec(", "pickle.load", "shell=True", "os.system", "yaml.load", "marshal.load"):
        assert [file.name for file, text in source.items() if words in text.replace("re.eval", "")] == []
