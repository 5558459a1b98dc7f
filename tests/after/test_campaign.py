"""A campaign is looked at and steered beside whatever else goes on, and keeps its keys when its token is renewed."""

from __future__ import annotations

import contextlib
import sqlite3
import tomllib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from terminals import terminal
from workbench import OTHER_TOKEN, TOKEN, Platform, Said, Serve, Shop, people, sandbox_control, write_list

from importer import machine
from importer.ledger import Ledger
from importer.machine import Owner


def where(shop: Shop) -> tuple[str | Path, ...]:
    return ("--host", shop.origin, "--token-file", shop.token_file)


def campaign(shop: Shop, verb: str, *more: str | Path) -> Said:
    return shop.importer("campaign", verb, *where(shop), *more)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A working directory of its own, since importer.toml is looked for there."""
    with contextlib.chdir(tmp_path):
        yield tmp_path


def test_a_campaign_is_paused_resumed_and_stopped(shop: Shop, tmp_path: Path) -> None:
    """Each verb is carried out, and what is so already is left alone and said."""
    shop.run(write_list(tmp_path / "list.csv", people(3)))
    assert campaign(shop, "status", "--json").json["status"] == "inProgress"
    assert campaign(shop, "pause", "--wait", "--json").json["status"] == "paused"
    again = campaign(shop, "pause")
    assert (again.code, again.err.splitlines()[1:]) == (0, ["It was so already: nothing was done to pause it."])
    assert campaign(shop, "resume", "--json").json == {
        **campaign(shop, "status", "--json").json, "was_done": True
    }  # fmt: skip
    assert campaign(shop, "stop", "--yes", "--wait", "--json").json["status"] == "finished"
    said = campaign(shop, "resume")
    assert (said.code, "it cannot do that now" in said.err) == (6, True)


def test_stop_asks_first(shop: Shop, platform: Platform) -> None:
    """Where nobody can be asked, nothing is stopped unless --yes was said."""
    said = campaign(shop, "stop")
    assert (said.code, "--yes" in said.err) == (2, True)
    assert campaign(shop, "status", "--json").json["status"] == "new"


def test_a_control_survives_lost_answers(serve: Serve, tmp_path: Path) -> None:
    """A pause whose answer was lost goes again under its key, and is one pause."""
    platform = serve("lose-answer:op=control/pause,times=1")
    shop = Shop(folder=tmp_path, origin=platform.origin)
    assert campaign(shop, "pause", "--json").json["status"] == "paused"


def test_steering_needs_no_lock(shop: Shop) -> None:
    """While another process owns the ledger, a campaign can be paused."""
    owner = Owner(pid=1, host="here", since="now", command="importer run")
    with Ledger(shop.ledger, owner, now_ms=machine.now().unix_ms):
        assert campaign(shop, "pause", "--json").json["status"] == "paused"


def test_status_waits_until_all_is_called(serve: Serve, tmp_path: Path) -> None:
    """With --wait it ends when the campaign has nothing left to call, told on the way."""
    platform = serve(speed=50_000.0)
    shop = Shop(folder=tmp_path, origin=platform.origin)
    shop.run(write_list(tmp_path / "list.csv", people(5)))
    said = campaign(shop, "status", "--wait", "--json")
    assert (said.code, said.json["processed_numbers"]) == (0, 5)


# --- importer.toml --------------------------------------------------------------------------------------------------


def test_a_campaign_is_added_to_the_configuration(shop: Shop, folder: Path) -> None:
    """What stood in the file stays, the new section is looked up live, and `run` finds it."""
    (folder / "importer.toml").write_text('# mine\nledger = "calls.db"', encoding="utf-8")
    said = shop.importer("campaign", "add", "spring", *where(shop))
    assert said.code == 0, said.err
    text = (folder / "importer.toml").read_text(encoding="utf-8")
    assert text.startswith('# mine\nledger = "calls.db"\n')
    assert tomllib.loads(text)["campaign"] == {"spring": {"host": shop.origin, "token_file": str(shop.token_file)}}
    assert shop.importer("campaign", "status", "spring", "--json").json["status"] == "new"
    listed = shop.importer("campaign", "list")
    assert (listed.code, "spring" in listed.out, TOKEN in listed.out) == (0, True, False)
    assert shop.importer("run", write_list(folder / "list.csv", people(2)), "--campaign", "spring").code == 0
    (met,) = shop.importer("campaign", "list", "--json").json["ledger"]
    assert (met["number"], met["imports"]) == (1, 1)


@pytest.mark.parametrize(
    ("name", "more", "code", "word"),
    [
        ("spring", (), 2, "--host"),
        ("a b", ("--host", "https://example.com", "--token-env", "T"), 2, "letters"),
        ("spring", ("--host", "https://example.com", "--token-env", TOKEN), 2, "never a token"),
        ("spring", ("--host", "https://example.com", "--token-file", "nowhere"), 2, "terminal"),
    ],
)
def test_what_cannot_be_added_changes_nothing(
    shop: Shop, folder: Path, name: str, more: tuple[str, ...], code: int, word: str
) -> None:
    """A name, a source or a host that cannot be right is told, and no file is made."""
    said = shop.importer("campaign", "add", name, *more)
    assert (said.code, word in said.err) == (code, True), said.err
    assert TOKEN not in said.err
    assert not (folder / "importer.toml").exists()


def test_a_campaign_that_is_not_there_is_not_added(shop: Shop, folder: Path) -> None:
    """The live check is held against the platform; an unknown token is no campaign."""
    wrong = folder / "wrong.token"
    wrong.write_text("1.2.nosuchtoken")
    said = shop.importer("campaign", "add", "spring", "--host", shop.origin, "--token-file", wrong)
    assert (said.code, (folder / "importer.toml").exists()) == (6, False)
    assert (
        shop.importer("campaign", "add", "spring", "--host", shop.origin, "--token-file", wrong, "--no-check").code == 0
    )
    again = shop.importer("campaign", "add", "spring", "--host", shop.origin, "--token-file", wrong, "--no-check")
    assert (again.code, "already" in again.err) == (2, True)


def test_it_asks_for_what_is_not_said(shop: Shop, folder: Path) -> None:
    """Name, host and token, which goes into a file of its own, once it is proved right and not before."""
    for token, code in ((OTHER_TOKEN[:-1] + "x", 6), (TOKEN, 0)):
        with terminal(folder, "campaign", "add") as screen:
            for question, answer in (
                ("Name for it", "spring"), ("Host", shop.origin), ("Its token", ""), ("not shown", token),
            ):  # fmt: skip
                screen.until(question)
                screen.type(f"{answer}\n")
            assert (screen.code(), token in screen.shown) == (code, False), screen.shown
        assert (folder / "spring.token").exists() == (folder / "importer.toml").exists() == (code == 0)
    assert (folder / "spring.token").stat().st_mode & 0o777 == 0o600
    assert shop.importer("campaign", "status", "spring", "--json").json["status"] == "new"


def test_a_variable_may_be_named_instead_of_a_file(shop: Shop, folder: Path) -> None:
    with terminal(folder, "campaign", "add", "spring", "--host", shop.origin, MINE=TOKEN) as screen:
        screen.until("Its token")
        screen.type("$MINE\n")
        assert screen.code() == 0, screen.shown
    found = tomllib.loads((folder / "importer.toml").read_text(encoding="utf-8"))
    assert found["campaign"]["spring"] == {"host": shop.origin, "token_env": "MINE"}


# --- several campaigns ----------------------------------------------------------------------------------------------


@pytest.fixture
def two(shop: Shop, folder: Path) -> Shop:
    """A file with two campaigns of one ledger, and an import of the second."""
    (folder / "other.token").write_text(OTHER_TOKEN)
    text = 'ledger = "ledger.db"\n'
    for name, token in (("autumn", shop.token_file.name), ("spring", "other.token")):
        text += f'[campaign.{name}]\nhost = "{shop.origin}"\ntoken_file = "{token}"\n'
    (folder / "importer.toml").write_text(text, encoding="utf-8")
    rows = write_list(folder / "list.csv", people(3))
    assert shop.importer("run", rows, "--campaign", "spring", "--first", "2").code == 0
    return shop


@pytest.mark.parametrize(
    "typed", ["status", "status 1", "dnc list", "explain row 2", "ledger check", "resolve", "outcomes --offline"]
)
def test_what_is_about_no_campaign_needs_none_named(two: Shop, typed: str) -> None:
    said = two.importer(*typed.split())
    assert said.code == 0, said.err


@pytest.mark.parametrize(
    "typed", ["outcomes", "send 1", "reconcile", "prove --json", "cancel 1 --yes", "redial 1 --outcome noAnswer"]
)
def test_an_import_knows_its_own_campaign(two: Shop, typed: str) -> None:
    """Of several at one host it is the one whose token is its own."""
    assert two.importer(*typed.split()).code in {0, 7}
    (met,) = two.importer("campaign", "list", "--json").json["ledger"]
    assert met["name"] == "Sandbox campaign 2"


@pytest.mark.parametrize("typed", ["run list.csv", "check list.csv", "campaign status", "call +16505550100"])
def test_where_it_matters_which_campaign_is_meant_it_must_be_said(two: Shop, typed: str) -> None:
    said = two.importer(*typed.split())
    assert (said.code, "names several campaigns: autumn, spring" in said.err) == (2, True), said.err


def test_an_import_of_none_of_them_is_told(two: Shop, folder: Path) -> None:
    (folder / "other.token").write_text("1.2.another")
    said = two.importer("outcomes")
    assert (said.code, "None of them has the token" in said.err, "renew" in said.err) == (2, True, True), said.err


def test_ledgers_of_their_own_must_be_told_apart(two: Shop, folder: Path) -> None:
    """None is taken for the other, and none is made in a place nobody named."""
    file = folder / "importer.toml"
    text = file.read_text(encoding="utf-8").replace('ledger = "ledger.db"\n', "")
    file.write_text(text + 'ledger = "ledger.db"\n', encoding="utf-8")
    said = two.importer("status")
    assert (said.code, "--ledger" in said.err) == (2, True), said.err
    assert two.importer("status", "--ledger", "ledger.db").code == 0


# --- a renewed token ------------------------------------------------------------------------------------------------


def test_a_renewed_token_keeps_the_keys(shop: Shop, tmp_path: Path, platform: Platform) -> None:
    """The same list under the campaign's new token is all duplicate, because its rows are the same rows."""
    rows = write_list(tmp_path / "list.csv", people(4))
    shop.run(rows)
    with closing(sqlite3.connect(platform.db)) as sandbox, sandbox:
        sandbox.execute("DELETE FROM campaigns WHERE token = ?", [OTHER_TOKEN])
        sandbox.execute("UPDATE campaigns SET token = ? WHERE token = ?", [OTHER_TOKEN, TOKEN])
    shop.token_file.write_text(OTHER_TOKEN)
    assert shop.run(rows).code == 4  # the ledger does not know this token, and the campaign has numbers
    asked = campaign(shop, "renew", "--ledger", shop.ledger)
    assert (asked.code, "--yes" in asked.err) == (2, True)
    assert campaign(shop, "renew", "--ledger", shop.ledger, "--yes", "--json").json["renewed"] == 1
    assert campaign(shop, "renew", "--ledger", shop.ledger, "--json").json["renewed"] is None
    said = shop.run(rows).json
    assert (said["duplicate"], said["accepted"], said["exit_code"]) == (4, 0, 0)
    platform.has_each_once(row["phone"] for row in people(4))


def test_another_campaign_is_not_taken_for_a_renewed_one(shop: Shop, tmp_path: Path) -> None:
    """The platform's own id of the campaign decides; a token of another campaign renews nothing."""
    shop.run(write_list(tmp_path / "list.csv", people(2)))
    shop.token_file.write_text(OTHER_TOKEN)
    said = campaign(shop, "renew", "--ledger", shop.ledger, "--yes")
    assert (said.code, "another campaign" in said.err) == (4, True)


def test_a_paused_campaign_is_shown_as_paused(shop: Shop, platform: Platform) -> None:
    """Whoever paused it."""
    sandbox_control(platform, "pause")
    assert "paused" in campaign(shop, "status").out
