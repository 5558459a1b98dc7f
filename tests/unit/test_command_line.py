"""The command line as people and cron see it: exit codes, JSON on every path, and a clear word for every mishap."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
from pathlib import Path

import pytest
from workbench import (
    OTHER_TOKEN,
    TOKEN,
    Platform,
    Said,
    Serve,
    Shop,
    command,
    number,
    people,
    sandbox_control,
    write_list,
)

from importer.cli.config import read_configuration
from importer.machine import Owner, OwnerLock, private_umask

STABLE = {
    "import", "read", "accepted", "rejected", "duplicate", "suppressed", "withdrawn", "refused", "in_doubt", "pending",
    "elapsed_s", "exit_code", "error",
}  # fmt: skip


def told(said: Said, code: int) -> Said:
    """The command ended with this code, its JSON says so, and no traceback was shown."""
    assert said.code == code, (said.out, said.err)
    assert set(said.json) >= STABLE
    assert said.json["exit_code"] == code
    assert (said.json["error"] is None) == (code in {0, 3})
    assert "Traceback" not in said.err
    return said


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A list of eight good rows."""
    return write_list(tmp_path / "a.csv", people(8))


def a_free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


# --- how a run ends --------------------------------------------------------------------------------------------------


def test_exit_0_when_every_row_settled_well(shop: Shop, platform: Platform, path: Path) -> None:
    """Accepted, then duplicate: both are well, and the JSON proves the sum."""
    first = told(shop.run(path), 0).json
    assert (first["read"], first["accepted"], first["pending"]) == (8, 8, 0)
    second = told(shop.run(path), 0).json
    assert (second["read"], second["duplicate"]) == (8, 8)
    platform.has_each_once(number(i) for i in range(8))


def test_exit_3_when_rows_were_rejected_unless_they_are_allowed(shop: Shop, tmp_path: Path) -> None:
    """Bad rows never hold back good ones; `--allow-rejects` only changes the code."""
    rows = [*people(8), {"phone": "not a number", "name": "X", "order": "1"}]
    said = told(shop.run(write_list(tmp_path / "a.csv", rows)), 3).json
    assert (said["accepted"], said["rejected"]) == (8, 1)
    for allowed in ("1", "12%"):
        assert told(shop.run(tmp_path / "a.csv", "--allow-rejects", allowed), 0).json["rejected"] == 1
    told(shop.run(tmp_path / "a.csv", "--allow-rejects", "11%"), 3)


def test_exit_6_for_a_token_nobody_knows(shop: Shop, platform: Platform, path: Path) -> None:
    """The platform is asked once, nothing is sent, and the token is not repeated."""
    shop.token_file.write_text("9999.1.NoSuchToken")
    said = told(shop.run(path), 6)
    assert platform.sends() == []
    assert "NoSuchToken" not in said.out + said.err


def test_exit_6_for_a_stopped_campaign(shop: Shop, platform: Platform, path: Path) -> None:
    """Every row is still pending; nothing is lost."""
    sandbox_control(platform, "stop")
    said = told(shop.run(path), 6).json
    assert (said["pending"], said["accepted"]) == (8, 0)


def test_exit_7_when_the_platform_is_away_and_0_when_it_is_back(tmp_path: Path, serve: Serve, path: Path) -> None:
    """Patience ends the run; the same command goes on later, at the same address."""
    port = a_free_port()
    shop = Shop(folder=tmp_path, origin=f"http://127.0.0.1:{port}")
    said = told(shop.run(path, "--patience", "300ms"), 7).json
    assert (said["pending"], said["ending"]) == (8, "away")
    platform = serve()
    with platform.sandbox.serve(port=port):
        assert told(shop.run(path), 0).json["accepted"] == 8
    platform.has_each_once(number(i) for i in range(8))


def test_exit_9_while_another_run_holds_the_ledger(shop: Shop, platform: Platform, path: Path) -> None:
    """The second is told whose the ledger is, and sends nothing."""
    lock = OwnerLock(shop.ledger)
    owner = Owner(pid=4711, host="desk", since="2026-11-23 09:00:00 UTC", command="importer run")
    assert lock.acquire(owner) is None
    said = told(shop.run(path), 9)
    lock.release()
    assert "process 4711 on desk" in said.err
    assert platform.sends() == []
    told(shop.run(path), 0)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--batch-size", "none"],
        ["--batch-size", "0"],
        ["--in-flight", "0"],
        ["--timeout", "90"],
        ["--timeout", "0s"],
        ["--rate", "0"],
        ["--region", "XX"],
        ["--types", "pigeon"],
        ["--once-per", "customer"],
        ["--phone-column", "telephone"],
        ["--expect-rows", "many"],
        ["--allow-rejects", "1.5"],
        ["--stop-at-rejects", "120%"],
        ["--key-window", "1h"],
        ["--no-such-option"],
        ["--campaign", "nobody"],
        ["--delimiter", "::"],
    ],
    ids=" ".join,
)
def test_exit_2_for_options_that_cannot_be_right(
    shop: Shop, platform: Platform, path: Path, arguments: list[str]
) -> None:
    """Usage is judged before anything is sent, and says so in JSON too."""
    told(shop.run(path, *arguments), 2)
    assert platform.sends() == []


def test_exit_2_without_a_list_and_for_no_command(shop: Shop) -> None:
    """Mistyped commands are guessed at."""
    told(shop.importer("run", "--json"), 2)
    said = told(shop.importer("rnu", "--json"), 2)
    assert "run" in said.json["error"]


def test_exit_2_where_a_host_would_send_phones_in_the_clear(shop: Shop, path: Path) -> None:
    """http is for this machine only; paths and user names are no part of a host."""
    for host in ("http://example.com", "https://user@example.com", "https://example.com/path", "ftp://example.com"):
        told(shop.importer("run", path, "--host", host, *shop.target[2:], "--json"), 2)


# --- what stops a run before anything is sent ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [["--expect-rows", "9.."], ["--expect-rows", "..7"], ["--expect-rows", "3"], ["--max-calls", "7"]],
    ids=" ".join,
)
def test_exit_4_when_a_safety_check_says_no(shop: Shop, platform: Platform, path: Path, arguments: list[str]) -> None:
    """The list is in the ledger, nothing of it is sent; said right, the same import goes on."""
    said = told(shop.run(path, *arguments), 4).json
    assert said["pending"] == 8
    assert platform.sends() == []
    assert told(shop.run(path, "--expect-rows", "8", "--max-calls", "8"), 0).json["import"] == said["import"]


def test_exit_4_above_stop_at_rejects(shop: Shop, platform: Platform, tmp_path: Path) -> None:
    """More than a fifth of bad rows sends nothing, unless that is said to be right."""
    rows = [*people(7), {"phone": "x"}, {"phone": "y"}]
    path = write_list(tmp_path / "a.csv", rows, columns=["phone", "name", "order"])
    told(shop.run(path), 4)
    assert platform.sends() == []
    assert told(shop.run(path, "--stop-at-rejects", "23%"), 3).json["accepted"] == 7


def test_exit_4_for_a_ledger_new_to_a_campaign_with_numbers(
    shop: Shop, platform: Platform, path: Path, tmp_path: Path
) -> None:
    """It may be the wrong ledger, or a lost one: only `--new-ledger` goes on."""
    told(shop.run(path), 0)
    sends = len(platform.sends())
    elsewhere = Shop(folder=tmp_path / "elsewhere", origin=shop.origin)
    elsewhere.folder.mkdir()
    other = write_list(tmp_path / "b.csv", people(3, first=20))
    said = told(elsewhere.run(other), 4)
    assert "--new-ledger" in said.err
    assert len(platform.sends()) == sends
    assert told(elsewhere.run(other, "--new-ledger"), 0).json["accepted"] == 3


def test_exit_4_and_three_ways_out_when_known_numbers_came_back_changed(
    shop: Shop, platform: Platform, path: Path, tmp_path: Path
) -> None:
    """Without a terminal nobody can be asked; each of the three lines settles it."""
    told(shop.run(path), 0)
    rows = [{**row, "name": "New"} for row in people(2)]
    changed = write_list(tmp_path / "b.csv", rows)
    said = told(shop.run(changed), 4)
    assert "changed: name" in said.err
    assert [line for line in ("--once-per phone", "--round NAME", "--once-per row") if line not in said.err] == []
    assert told(shop.run(changed, "--once-per", "phone"), 0).json["duplicate"] == 2
    told(shop.run(changed, "--once-per", "row"), 0)
    assert len(platform.phones()) == 10
    told(shop.run(changed, "--round", "tonight"), 0)
    assert len(platform.phones()) == 12


BAD_FILES: dict[str, bytes] = {
    "empty": b"",
    "junk": bytes(range(256)) * 40,
    "zip": b"PK\x03\x04" + b"\x00" * 60,
    "gzip": b"\x1f\x8b\x08\x00" + b"\x01" * 40,
    "parquet": b"PAR1" + b"\x00" * 40 + b"PAR1",
    "sqlite": b"SQLite format 3\x00" + b"\x00" * 84,
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_exit_4_for_a_file_that_is_no_list(shop: Shop, platform: Platform, tmp_path: Path, kind: str) -> None:
    """Whatever the bytes are, there is a word about the file, never a traceback, and nothing is sent."""
    path = tmp_path / f"{kind}.csv"
    path.write_bytes(BAD_FILES[kind])
    said = told(shop.run(path), 4)
    assert path.name in said.err
    assert platform.sends() == []


def test_exit_4_for_a_list_that_is_not_there(shop: Shop, tmp_path: Path) -> None:
    """A missing file, a folder, a pattern that matches nothing, an address."""
    for source in (tmp_path / "none.csv", tmp_path, tmp_path / "*.csv", "https://example.com/list.csv", "/dev/null"):
        said = shop.run(source)
        assert said.code in {2, 4}, (source, said)
        assert "Traceback" not in said.err
        assert said.json["error"]


def test_ragged_rows_are_rejects_and_the_others_are_sent(shop: Shop, platform: Platform, tmp_path: Path) -> None:
    """Too many and too few cells are bad rows with their place and their text."""
    lines = ["phone,name", *(f"{number(i)},P{i}" for i in range(8)), f"{number(8)},P8,more", f"{number(9)}"]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    said = told(shop.run(tmp_path / "a.csv"), 3).json
    assert (said["read"], said["accepted"], said["rejected"]) == (10, 8, 2)
    rejects = Path(said["rejects_file"]).read_text()
    assert "P8,more" in rejects
    assert ",10," in rejects
    platform.has_each_once(number(i) for i in range(8))


# --- sources ----------------------------------------------------------------------------------------------------------


def test_several_files_are_one_list(shop: Shop, platform: Platform, tmp_path: Path) -> None:
    """Columns may stand in another order or be missing; repeats across files are repeats."""
    first = write_list(tmp_path / "1.csv", people(6))
    second = write_list(tmp_path / "2.csv", people(6, first=4), columns=["order", "name", "phone"])
    said = told(shop.run(first, second), 0).json
    assert (said["read"], said["accepted"], said["duplicate"]) == (12, 10, 2)
    assert told(shop.run(tmp_path / "[12].csv"), 0).json["duplicate"] == 12
    platform.has_each_once(number(i) for i in range(10))


def test_policy_columns_are_checked_and_sent_as_fields(shop: Shop, platform: Platform, tmp_path: Path) -> None:
    """A good cell becomes a field of the request, an empty one is left out, a wrong one is a bad row."""
    rows = [
        {"phone": number(0), "maxAttempts": "3", "gmtZone": "Europe/Paris", "allowedDays": "mon,tue", "note": "a"},
        {"phone": number(1), "maxAttempts": "", "gmtZone": "", "allowedDays": "", "note": ""},
        {"phone": number(2), "maxAttempts": "51", "gmtZone": "", "allowedDays": "", "note": "c"},
    ]
    path = write_list(tmp_path / "a.csv", rows)
    said = told(shop.run(path, "--stop-at-rejects", "50%"), 3).json
    assert said["rejects_by_reason"] == {"bad_policy": 1}
    assert platform.policies() == [{"maxAttempts": 3, "gmtZone": "Europe/Paris", "allowedDays": ["mon", "tue"]}, {}]
    assert platform.payloads() == [{"note": "a"}, {"note": ""}]


def test_standard_input_is_a_list_read_to_its_end(shop: Shop, platform: Platform) -> None:
    """Piped rows are spooled, counted and sent; the same pipe again is all duplicate."""
    piped = ("phone,name\n" + "".join(f"{number(i)},P{i}\n" for i in range(5))).encode()
    for name in ("accepted", "duplicate"):
        said = told(command("run", "-", "--list", "nightly", *shop.target, "--json", stdin=piped), 0).json
        assert (said[name], said["list"]) == (5, "nightly")
    platform.has_each_once(number(i) for i in range(5))


def test_closed_standard_input_is_no_bug(shop: Shop, platform: Platform, path: Path) -> None:
    """A daemon may start us with no standard input at all."""
    script = f'exec "$0" -m importer run "{path}" --host {shop.origin} --token-file "{shop.token_file}" --ledger '
    said = _shell(f'{script} "{shop.ledger}" --json <&-')
    told(said, 0)
    platform.has_each_once(number(i) for i in range(8))


def _shell(script: str) -> Said:
    import subprocess
    import sys

    from workbench import environment

    done = subprocess.run(
        ["/bin/sh", "-c", script, sys.executable], capture_output=True, env=environment(), timeout=60, check=False
    )
    return Said(code=done.returncode, out=done.stdout.decode(), err=done.stderr.decode())


# --- rejects ----------------------------------------------------------------------------------------------------------


def test_a_rejects_file_is_never_written_over(shop: Shop, tmp_path: Path) -> None:
    """An existing file that differs keeps its name and content; the same rejects again make no second file."""
    path = write_list(tmp_path / "a.csv", [*people(8), {"phone": "bad", "name": "=1+1", "order": "1"}])
    theirs = tmp_path / "a.rejects.csv"
    theirs.write_text("mine")
    for _ in range(2):
        said = told(shop.run(path), 3).json
        assert said["rejects_file"] == str(tmp_path / "a.rejects.2.csv")
    assert theirs.read_text() == "mine"
    made = tmp_path / "a.rejects.2.csv"
    assert made.stat().st_mode & 0o777 == 0o600
    assert "'=1+1" in made.read_text()


def test_a_rejects_file_fed_back_is_the_list_of_its_bad_rows(shop: Shop, platform: Platform, tmp_path: Path) -> None:
    """Repaired in place and run again, its own columns are dropped and its apostrophes taken off."""
    path = write_list(tmp_path / "a.csv", [*people(8), {"phone": "bad", "name": "-Ann", "order": "9"}])
    made = Path(told(shop.run(path), 3).json["rejects_file"])
    made.write_text(made.read_text().replace("bad,", f"{number(8)},"))
    assert told(shop.run(made), 0).json["accepted"] == 1
    assert platform.payloads()[-1] == {"name": "-Ann", "order": "9"}


def test_rejects_go_where_they_are_told_or_not_at_all(shop: Shop, tmp_path: Path) -> None:
    """`--rejects FILE` names the place; one that cannot be written is a usage error, with the balance in JSON."""
    path = write_list(tmp_path / "a.csv", [*people(8), {"phone": "bad", "name": "x", "order": "9"}])
    said = told(shop.run(path, "--rejects", tmp_path / "none" / "r.csv"), 2)
    assert said.json["rejected"] == 1
    told(shop.run(path, "--rejects", tmp_path / "r.csv"), 3)
    assert (tmp_path / "r.csv").exists()


# --- the ledger -------------------------------------------------------------------------------------------------------


def a_newer_ledger(path: Path) -> None:
    with sqlite3.connect(path) as made:
        made.execute("CREATE TABLE something (a)")
        made.execute(f"PRAGMA application_id = {0x504C4931}")
        made.execute("PRAGMA user_version = 99")
    made.close()


def a_foreign_database(path: Path) -> None:
    with sqlite3.connect(path) as made:
        made.execute("CREATE TABLE something (a)")
    made.close()


def junk(path: Path) -> None:
    path.write_bytes(b"this is no database at all" * 100)


def a_folder(path: Path) -> None:
    path.mkdir()


def a_link(path: Path) -> None:
    target = path.with_name("target.db")
    target.touch()
    path.symlink_to(target)


@pytest.mark.parametrize("made", [a_newer_ledger, a_foreign_database, junk, a_folder, a_link])
def test_exit_5_for_a_ledger_that_is_none_and_it_is_left_alone(
    shop: Shop, platform: Platform, path: Path, made: object
) -> None:
    """Newer, foreign, damaged, a folder, a link: a clear word, and not a byte of it changed."""
    assert callable(made)
    made(shop.ledger)
    before = shop.ledger.read_bytes() if shop.ledger.is_file() else b""
    for said in (shop.run(path), shop.send(), shop.importer("status", "--ledger", shop.ledger, "--json")):
        assert shop.ledger.name in told(said, 5).err
    assert (shop.ledger.read_bytes() if shop.ledger.is_file() else b"") == before
    assert platform.sends() == []


def test_exit_5_for_a_ledger_that_cannot_be_made(shop: Shop, path: Path, tmp_path: Path) -> None:
    """Below a file, or where nothing can be made."""
    for place in (path / "ledger.db", Path("/proc/none/ledger.db")):
        told(shop.importer("run", path, *shop.target[:4], "--ledger", place, "--json"), 5)


def test_exit_5_in_a_folder_that_anybody_may_write_to(shop: Shop, path: Path, tmp_path: Path) -> None:
    """Somebody else could swap the file."""
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    told(shop.importer("run", path, *shop.target[:4], "--ledger", folder / "ledger.db", "--json"), 5)


def test_exit_2_without_a_terminal_and_without_a_ledger_named(shop: Shop, path: Path) -> None:
    """Cron's HOME is another one: the ledger must be named, by option, variable or file."""
    target = shop.target[:4]
    assert told(command("run", path, *target, "--json"), 2).json["import"] is None
    told(command("run", path, *target, "--json", IMPORTER_LEDGER=str(shop.ledger)), 0)


def test_a_campaign_of_the_configuration_file_names_host_token_ledger_and_options(
    shop: Shop, platform: Platform, path: Path, tmp_path: Path
) -> None:
    """Every option may stand in importer.toml; what is typed wins; a token in the clear is refused."""
    work = tmp_path / "work"
    work.mkdir()
    (work / "importer.toml").write_text(
        f'ledger = "{shop.ledger}"\nbatch_size = 2\n[campaign.spring]\nhost = "{shop.origin}"\n'
        'token_env = "SPRING"\nallow_rejects = "1"\nfirst = 4\n'
    )
    said = told(command("run", path, "--campaign", "spring", "--json", cwd=work, SPRING=TOKEN), 0).json
    assert (said["accepted"], len(platform.sends())) == (4, 2)
    assert told(command("run", path, "--first", "1", "--json", cwd=work, SPRING=TOKEN), 0).json["accepted"] == 5
    told(command("run", path, "--json", cwd=work), 2)
    (work / "importer.toml").write_text(f'[campaign.spring]\nhost = "{shop.origin}"\ntoken = "{OTHER_TOKEN}"\n')
    refused = told(command("run", path, "--json", cwd=work), 2)
    assert OTHER_TOKEN not in refused.out + refused.err


# --- send, status, explain --------------------------------------------------------------------------------------------


def test_send_goes_on_without_the_list(shop: Shop, platform: Platform, path: Path) -> None:
    """The list may be gone; its frozen batches are sent as they are, at the import's own host."""
    told(shop.run(path, "--batch-size", "2", "--first", "2"), 0)
    path.unlink()
    said = shop.importer("send", "--token-file", shop.token_file, "--ledger", shop.ledger, "--json")
    assert told(said, 0).json["accepted"] == 8
    platform.has_each_once(number(i) for i in range(8))


def test_send_needs_an_import_of_this_campaign(shop: Shop, platform: Platform, path: Path) -> None:
    """An unknown number is a ledger's answer (5); another campaign's token is a usage error (2)."""
    told(shop.send(), 5)
    told(shop.run(path, "--first", "1"), 0)
    told(shop.send("17"), 5)
    shop.token_file.write_text(OTHER_TOKEN)
    told(shop.send("1"), 2)
    assert len(platform.sends()) == 1


def test_send_sends_nothing_that_a_safety_check_held_back(shop: Shop, platform: Platform, path: Path) -> None:
    """Numbers that came back changed wait for an answer, however they are sent."""
    told(shop.run(path), 0)
    sends = len(platform.sends())
    changed = write_list(path.with_name("b.csv"), [{**row, "name": "New"} for row in people(2)])
    told(shop.run(changed), 4)
    told(shop.send(), 4)
    assert len(platform.sends()) == sends


def test_status_shows_the_balance_beside_a_run_and_changes_nothing(shop: Shop, path: Path) -> None:
    """For people and for programs; the ledger's bytes are the same afterwards."""
    told(shop.run(path, "--first", "3"), 0)
    before = shop.ledger.read_bytes()
    said = shop.importer("status", "--ledger", shop.ledger, "--json").json
    assert [said["imports"][0][name] for name in ("import", "read", "accepted", "pending")] == [1, 8, 3, 5]
    text = shop.importer("status", "1", "--ledger", shop.ledger)
    assert "pending" in text.out
    assert "importer send 1" in text.err
    assert shop.ledger.read_bytes() == before


def test_explain_tells_the_whole_life_of_a_row_and_of_a_number(shop: Shop, tmp_path: Path) -> None:
    """Accepted with its call job, pending, rejected, repeated: each by its row number, the first two by number too."""
    rows = [*people(8), {"phone": "bad", "name": "x", "order": "9"}, people(1)[0]]
    told(shop.run(write_list(tmp_path / "a.csv", rows), "--first", "2"), 3)

    def explained(*what: str) -> str:
        said = shop.importer("explain", *what, "--ledger", shop.ledger)
        assert said.code == 0, said
        return said.out

    assert "call job" in explained("row", "2")
    assert "call job" in explained(number(0))
    assert "pending" in explained("row", "9")
    assert "bad row" in explained("row", "10")
    assert "stands in the list more than once" in explained("row", "11")
    assert shop.importer("explain", "row", "99", "--ledger", shop.ledger).code == 4
    assert shop.importer("explain", number(50), "--ledger", shop.ledger).code == 4


def test_control_characters_of_a_cell_never_reach_the_terminal(shop: Shop, tmp_path: Path) -> None:
    """A cell may hold an escape sequence; what is printed shows it instead of obeying it."""
    rows = [*people(8), {"phone": "\x1b]0;owned\x07", "name": "x", "order": "9"}]
    path = write_list(tmp_path / "a\x1b[31m.csv", rows)
    said = shop.importer("run", path, *shop.target)
    assert said.code == 3
    shown = shop.importer("explain", "row", "10", "--ledger", shop.ledger)
    assert "\x1b" not in said.out + said.err + shown.out + shown.err


def test_the_plain_report_names_the_ledger_and_the_next_step(shop: Shop, path: Path) -> None:
    """Data on standard output, talk on standard error."""
    said = shop.importer("run", path, "--first", "2", *shop.target)
    assert said.code == 0
    assert str(shop.ledger) in said.out
    assert "without --first" in said.err
    with pytest.raises(json.JSONDecodeError):
        json.loads(said.out)


def test_ledger_files_are_private_under_any_umask(shop: Shop, path: Path) -> None:
    """0600, the companions of SQLite included, whatever the caller's umask."""
    before = os.umask(0)
    try:
        told(shop.run(path), 0)
    finally:
        os.umask(before)
    modes = {each.name: each.stat().st_mode & 0o777 for each in shop.folder.glob("ledger.db*")}
    assert set(modes.values()) == {0o600}, modes


def test_overlapping_threads_leave_the_umask_as_it_was() -> None:
    """The first to come is the first to go: what the second found on its way in is not what it leaves."""
    first, second = private_umask(), private_umask()
    before = os.umask(0o022)
    try:
        with first:
            second.__enter__()
            assert os.umask(0o077) == 0o077
        assert os.umask(0o077) == 0o077  # one is still inside
        second.__exit__(None, None, None)
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)


# --- check ------------------------------------------------------------------------------------------------------------


def test_check_says_what_run_would_do_and_neither_sends_nor_keeps_anything(
    shop: Shop, platform: Platform, path: Path
) -> None:
    """All of intake, no network; an existing ledger is read to count who was called already, and left as it is."""
    fresh = shop.importer("check", path, "--ledger", shop.ledger, "--json")
    assert (fresh.code, fresh.json["read"], fresh.json["pending"]) == (0, 8, 8)
    assert not shop.ledger.exists()
    told(shop.run(path), 0)
    asked, before = len(platform.sends()), shop.ledger.read_bytes()
    grown = write_list(path.with_name("b.csv"), people(10))
    said = shop.importer("check", grown, "--ledger", shop.ledger, "--json")
    assert (said.code, said.json["duplicate"], said.json["pending"]) == (0, 8, 2)
    assert len(platform.sends()) == asked
    assert shop.ledger.read_bytes() == before


def test_check_has_the_exit_codes_of_run(shop: Shop, tmp_path: Path) -> None:
    """Bad rows 3, a safety check or an unreadable list 4, usage 2."""
    path = write_list(tmp_path / "a.csv", [*people(8), {"phone": "bad", "name": "x", "order": "9"}])
    for code, arguments in (
        (3, ()),
        (0, ("--allow-rejects", "1")),
        (4, ("--expect-rows", "1")),
        (2, ("--region", "X")),
    ):
        assert shop.importer("check", path, *arguments, "--ledger", shop.ledger, "--json").code == code
    (tmp_path / "junk.csv").write_bytes(BAD_FILES["junk"])
    assert shop.importer("check", tmp_path / "junk.csv", "--ledger", shop.ledger, "--json").code == 4


def test_a_campaigns_own_token_is_never_replaced_by_that_of_the_top(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token file at the top and a variable in the section: the section's own counts."""
    text = 'host = "https://calls.example"\ntoken_file = "top.token"\n[campaign.b]\ntoken_env = "B_TOKEN"\n'
    (tmp_path / "importer.toml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    name, campaign = read_configuration([]).campaign("b")
    assert (name, dict(campaign)) == ("b", {"host": "https://calls.example", "token_env": "B_TOKEN"})
