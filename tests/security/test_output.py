"""S13–S15: what is printed, logged or written for a spreadsheet does nothing but show."""
# ruff: noqa: N802 - the tests are named after the security checklist

from __future__ import annotations

import csv
import io
import logging
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from workbench import Shop, number, people, write_list

from importer.cli.console import safe
from importer.cli.logs import start_log
from importer.rejects import guarded

ESCAPES = [
    "\x1b]52;c;ZXZpbA==\x07", "\x1b]0;title\x07", "\x1b[2J\x1b[1;1H", "\x9b31m", "\x08\x08\x08", "\x7f",
    "\u202egpj.exe", "\u2066x\u2069",
    "a\rb", "a\nb", "\u2028line", "\x00", "\ud7ff\ue000", "\x1b[8mhidden\x1b[0m", "\x85next",
]  # fmt: skip


def is_harmless(text: str) -> bool:
    """Nothing a terminal would obey: no control sign but line ends, none that reorders a line."""
    return all(safe(sign) == sign for sign in text if sign != "\n")


def escaped_name(place: int) -> str:
    """An escape as a name: without what no file name may have."""
    return ESCAPES[place].replace("\x00", "").replace("/", "")


# --- S13 spreadsheets -----------------------------------------------------------------------------------------------

FORMULAS = [
    "=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "  +1", "\u00a0=1", "＝1+1", "＋1", "－1", "＠x",
    "'=1", "=cmd|' /C calc'!A0", '=HYPERLINK("http://x")', "\ufeff=1", "\u200b=1", "%0A=1", ";=1", '"=1', "\x00=1",
]  # fmt: skip


@pytest.mark.parametrize("cell", FORMULAS)
def test_S13_no_cell_of_a_file_we_write_is_a_formula(cell: str) -> None:
    """An apostrophe stands before whatever a spreadsheet could run, also behind blanks and in full-width signs."""
    shown = guarded(cell)
    assert shown in {cell, f"'{cell}"}
    first = shown.lstrip(" \u00a0\t\r\n\ufeff\u200b\x00")[:1]
    assert first not in set("=+-@＝＋－＠")


@given(st.text(max_size=20))
def test_S13_a_guarded_cell_comes_back_as_it_was(cell: str) -> None:
    """Reading our own file takes exactly one apostrophe away, so that a repaired list keeps its keys."""
    assert guarded(cell).removeprefix("'") == cell


def test_S13_a_rejects_file_can_be_opened_repaired_and_fed_back(shop: Shop, tmp_path: Path) -> None:
    """Every cell, name of a column and explanation in it is guarded; the original cells are not lost."""
    rows = [{"phone": "=bad", "@name": cell} for cell in FORMULAS if not {"\x00", "\r", "\n"} & set(cell)]
    said = shop.run(write_list(tmp_path / "a.csv", rows), "--stop-at-rejects", "100%")
    assert said.code == 3
    with Path(said.json["rejects_file"]).open(newline="", encoding="utf-8") as file:
        lines = list(csv.reader(file))
    assert lines[0][1] == "'@name"
    cells = [cell for line in lines for cell in line]
    assert not any(cell.lstrip(" \u00a0\t\r\n\ufeff\u200b")[:1] in set("=+-@＝＋－＠") - {""} for cell in cells if cell)
    assert [line[1].removeprefix("'") for line in lines[1:]] == [row["@name"] for row in rows]


# --- S14 terminals --------------------------------------------------------------------------------------------------


@given(st.text())
def test_S14_shown_text_has_nothing_a_terminal_obeys(text: str) -> None:
    """Controls, bidirectional marks and line separators become visible escapes; length is bounded."""
    assert is_harmless(safe(text))
    assert is_harmless(safe(text, keep_lines=True))
    assert len(safe("x" * 100_000)) < 5_000


@pytest.mark.parametrize("place", range(len(ESCAPES)))
def test_S14_no_command_prints_what_a_cell_or_a_name_smuggles_in(place: int, shop: Shop, tmp_path: Path) -> None:
    """Cells, names of columns, lists, rounds and files, in every command that shows them."""
    evil = ESCAPES[place].replace("\x00", "")
    rows = [{"phone": number(0), f"c{evil}": evil}, {"phone": f"bad{evil}", f"c{evil}": evil}]
    path = tmp_path / f"list{escaped_name(place)}.csv"
    write_list(path, rows)
    many = ("--stop-at-rejects", "100%")
    ledger = ("--ledger", shop.ledger)
    said = [
        shop.importer("check", path, *ledger, *many),
        shop.importer("run", path, *shop.target, *many, "--list", f"l{evil}", "--round", f"r{evil}"),
        shop.importer("run", path, *shop.target, *many),
        shop.importer("status", *ledger),
        shop.importer("status", "1", *ledger),
        shop.importer("explain", number(0), *ledger),
        shop.importer("explain", "row", "2", *ledger),
        shop.importer("prove", "1", *shop.target),
        shop.importer("ledger", "backup", tmp_path / f"b{escaped_name(place)}.db", *ledger),
    ]
    for each in said:
        assert is_harmless(each.out), each.out
        assert is_harmless(each.err), each.err


@pytest.mark.parametrize("evil", ["\x1b]52;c;x\x07", "\x1b[2J", "\u202ex"])
def test_S14_usage_errors_repeat_arguments_harmlessly(evil: str, shop: Shop, tmp_path: Path) -> None:
    """Whatever was typed, pasted or came from a file name: commands, options, values and paths that are wrong."""
    for arguments in (
        (f"ru{evil}n",),
        ("run", f"--ledge{evil}r", "x"),
        ("run", f"{evil}.csv", "--in-flight", f"{evil}"),
        ("check", tmp_path / f"none{evil}.csv", "--ledger", tmp_path / "x.db"),
        ("run", "a.csv", "--region", evil, *shop.target),
        ("status", "1", f"more{evil}"),
        ("explain", evil, "--ledger", tmp_path / f"none{evil}.db"),
        ("run", "a.csv", "--campaign", evil, "--ledger", shop.ledger),
    ):
        said = shop.importer(*arguments)
        assert said.code in {2, 4, 5}, arguments
        assert is_harmless(said.err), said.err
        assert is_harmless(said.out), said.out


def test_S14_findings_and_reasons_kept_in_a_ledger_are_shown_harmlessly(shop: Shop, tmp_path: Path) -> None:
    """A ledger may come from somebody else: its texts are no more trusted than a list's."""
    shop.run(write_list(tmp_path / "a.csv", people(2)))
    with closing(sqlite3.connect(shop.ledger)) as connection, connection:
        connection.execute("UPDATE campaigns SET name = ?", [ESCAPES[0]])
        connection.execute("UPDATE imports SET list_name = ?", [ESCAPES[2]])
        connection.execute("UPDATE batches SET reason = ?", [ESCAPES[6]])
        connection.execute(f'CREATE TABLE "{ESCAPES[1]}" (x)')
    ledger = ("--ledger", shop.ledger)
    for arguments in (
        ("status",),
        ("status", "1"),
        ("explain", number(0)),
        ("ledger", "check"),
        ("prove", "--offline"),
    ):
        said = shop.importer(*arguments, *ledger)
        assert is_harmless(said.out + said.err), said


# --- S15 logs -------------------------------------------------------------------------------------------------------


def test_S15_a_message_is_one_line_of_the_log_whatever_is_in_it() -> None:
    """A cell with a line end and a time in front looks like the next message: it is shown as what it is."""
    stream = io.StringIO()
    before = logging.getLogger().handlers[:], logging.getLogger().level
    os.environ["IMPORTER_LOG"] = "info"
    try:
        start_log()
        handler = logging.getLogger().handlers[0]
        assert isinstance(handler, logging.StreamHandler)
        handler.setStream(stream)
        logging.getLogger("x").info("read %s", "cell\n2026-11-23 00:00:00,000 ERROR importer: forged\x1b[2J")
        try:
            raise ValueError("\x1b]52;c;x\x07\nsecond")
        except ValueError:
            logging.getLogger("x").exception("failed")
    finally:
        del os.environ["IMPORTER_LOG"]
        logging.getLogger().handlers[:] = before[0]
        logging.getLogger().setLevel(before[1])
    lines = stream.getvalue().splitlines()
    assert "forged" in lines[0]
    assert not any(line.startswith("2026-11-23 00:00:00,000") for line in lines)
    assert is_harmless(stream.getvalue())
