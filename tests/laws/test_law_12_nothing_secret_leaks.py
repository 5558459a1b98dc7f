"""Law 12: neither the token nor a phone number in anything that is printed, logged or, for the token, stored."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from workbench import TOKEN, Said, Serve, Shop, command, people, write_list

FAULTS = [
    ("plain", ()),
    ("lost", ("lose-answer:times=1", "half-answer:after=1,times=1")),
    ("refused", ("status:code=400,type=phone.bad.format,times=1",)),
    ("denied", ("status:code=404,type=invalid.token,op=any",)),
    ("html", ("html:code=404",)),
]


def secrets_of(rows: list[dict[str, str]]) -> list[str]:
    return [TOKEN, TOKEN.rpartition(".")[2], *(row["phone"].removeprefix("+") for row in rows)]


def judged(said: Said, secrets: list[str]) -> None:
    shown = said.out + said.err
    assert "Traceback" not in shown or "bug" not in shown
    assert [secret for secret in secrets if secret in shown] == []


@pytest.mark.parametrize(("name", "faults"), FAULTS, ids=[name for name, _ in FAULTS])
def test_law_12_nothing_secret_leaks(tmp_path: Path, serve: Serve, name: str, faults: tuple[str, ...]) -> None:
    """Every command at debug level, in good times and bad: no token and no whole number; the ledger has no token."""
    platform = serve(*faults)
    shop, rows = Shop(folder=tmp_path, origin=platform.origin), people(9)
    path = write_list(tmp_path / "a.csv", rows)
    for arguments in (
        ("run", path, *shop.target),
        ("send", *shop.target, "--json"),
        ("status", "--ledger", shop.ledger),
    ):
        judged(command(*arguments, IMPORTER_LOG="debug"), secrets_of(rows))
    for file in tmp_path.glob("ledger.db*"):
        assert TOKEN.encode() not in file.read_bytes(), file
        assert file.stat().st_mode & 0o777 == 0o600, file


def test_law_12_a_bug_is_told_without_its_secrets(tmp_path: Path, serve: Serve) -> None:
    """A wrong token in a file, in the environment, or with junk behind it is never repeated."""
    shop = Shop(folder=tmp_path, origin=serve().origin)
    path = write_list(tmp_path / "a.csv", people(2))
    for token in (f"{TOKEN}/../x", f"{TOKEN}?a=b", f"{TOKEN} more", "x" * 600 + TOKEN):
        shop.token_file.write_text(token)
        said = shop.run(path)
        assert said.code == 2
        judged(said, [TOKEN, TOKEN.rpartition(".")[2]])


def test_law_12_the_rejects_file_is_private_and_safe_to_open(tmp_path: Path, serve: Serve) -> None:
    """0600, and no cell that a spreadsheet would run."""
    shop = Shop(folder=tmp_path, origin=serve().origin)
    evil = ["=1+1", "+1", "-1", "@x", "\t=1", "'=1"]
    rows = [*people(40), *({"phone": "bad", "name": cell, "order": cell} for cell in evil)]
    made = Path(shop.run(write_list(tmp_path / "a.csv", rows)).json["rejects_file"])
    assert made.stat().st_mode & 0o777 == 0o600
    assert re.findall(r"(?:^|,)\"?[=+\-@\t]", made.read_text(), flags=re.MULTILINE) == []
