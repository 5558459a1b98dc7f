"""Encodings: found from the bytes, honoured by name, and damage to single rows."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from importer.errors import ListProblem
from importer.sources.encodings import detect_encoding

from .lists import opened, read

RUSSIAN = "phone,name,city\n79161234567,Иван Петров,Москва\n79161234568,Анна Сидорова,Санкт-Петербург\n"
FRENCH = "phone,name,city\n33612345678,François Lefèvre,Orléans\n33612345679,Hélène Çelik,Évry\n"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        *(
            (RUSSIAN, name)
            for name in (
                "utf-8",
                "utf-8-sig",
                "utf-16",
                "utf-16-le",
                "utf-16-be",
                "utf-32",
                "cp1251",
                "cp866",
                "koi8-r",
            )
        ),
        *((FRENCH, name) for name in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252")),
    ],
)
def test_usual_encodings_are_found_from_the_bytes(tmp_path: Path, text: str, encoding: str) -> None:
    """Cells are the same whatever encoding the list is in."""
    reading = read(tmp_path / "list.csv", text.encode(encoding))
    assert [reading.columns, *reading.rows] == [tuple(line.split(",")) for line in text.splitlines()]


@pytest.mark.parametrize("encoding", ["cp1251", "shift_jis", "gb18030", "utf-16-be", "latin-1"])
def test_an_encoding_named_is_an_encoding_used(tmp_path: Path, encoding: str) -> None:
    """Encodings that are not guessed can be named."""
    name = {"cp1251": "Жанна", "latin-1": "Ægir"}.get(encoding, "山田")
    reading = read(tmp_path / "list.csv", f"phone,name\n819012345678,{name}\n".encode(encoding), encoding=encoding)
    assert reading.rows == [("819012345678", name)]


def test_an_unknown_encoding_is_refused(tmp_path: Path) -> None:
    """The message says what usual encodings are called."""
    for name in ("klingon", "rot13", "hex", ""):
        if name:
            with pytest.raises(ListProblem, match="no text encoding is called"):
                read(tmp_path / "list.csv", b"phone\n16505550100\n", encoding=name)


def test_undecodable_bytes_cost_one_row(tmp_path: Path) -> None:
    """A UTF-8 list with broken bytes stays UTF-8, and the broken row shows its bytes."""
    lines = [f"1650555{number:04d},Zoë" for number in range(50)]
    data = "\n".join(["phone,name", *lines]).encode().replace(b"0007,Zo\xc3\xab", b"0007,Zo\xc3")
    path = tmp_path / "list.csv"
    reading = read(path, data)
    assert (len(reading.rows), reading.reasons) == (49, {9: "undecodable"})
    with opened(path) as rows:
        assert next(rows.chunks()).bad["raw"].to_list() == ["16505550007,Zo\\xc3"]


def test_undecodable_bytes_of_other_encodings_cost_one_row(tmp_path: Path) -> None:
    """CP1252 has no 0x81, and UTF-16 no lone surrogate."""
    reading = read(tmp_path / "a.csv", b"phone,name\n1,\x81\n2,b\n", encoding="cp1252")
    assert (reading.rows, reading.reasons) == ([("2", "b")], {2: "undecodable"})
    data = "phone,name\n1,".encode("utf-16-le") + b"\x00\xd8" + "\n2,b\n".encode("utf-16-le")
    reading = read(tmp_path / "b.csv", data, encoding="utf-16-le")
    assert (reading.rows, reading.reasons) == ([("2", "b")], {2: "undecodable"})


def test_an_encoding_is_found_far_from_the_start(tmp_path: Path) -> None:
    """A list may be plain ASCII for megabytes before its first name."""
    rows = b"".join(b"%d,a\n" % (16505550100 + number) for number in range(200_000))
    reading = read(
        tmp_path / "list.csv",
        b"phone,name\n" + rows + "79161234567,Иван Петров\n79161234568,Пётр Иванов\n".encode("cp1251"),
    )
    assert reading.rows[-1] == ("79161234568", "Пётр Иванов")


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=300))
def test_detection_always_names_a_codec_and_always_the_same(data: bytes) -> None:
    """It never fails, and it is a function of the bytes."""
    found = detect_encoding(iter([data]))
    assert codecs.lookup(found)
    assert detect_encoding(iter([data])) == found


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=30))
def test_utf8_is_never_taken_for_something_else(name: str) -> None:
    """Any text with characters beyond ASCII is believed to be the UTF-8 that it is."""
    assert detect_encoding(iter([f"phone,name\n16505550100,{name}\n".encode()])) == "utf-8"
