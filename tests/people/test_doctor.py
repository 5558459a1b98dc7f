"""`importer doctor` and `--version`: what is not well is named with the next step, and looking touches nothing."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from workbench import TOKEN, Platform, Said, Serve, Shop, command, environment, people, start, write_list

from importer.client import CallsApi
from importer.doctor.campaign import examine_campaign
from importer.doctor.findings import Finding, verdict
from importer.doctor.ledger import Disk, examine_disk, examine_ledger
from importer.machine import Owner, OwnerLock, holder_of, now


def checks(said: Said) -> dict[str, dict[str, Any]]:
    """The findings by what was looked at; the first of each."""
    found: dict[str, dict[str, Any]] = {}
    for each in said.json["checks"]:
        found.setdefault(each["what"], each)
    return found


def doctor(shop: Shop, *arguments: str | Path) -> Said:
    return shop.importer("doctor", *arguments, *shop.target, "--json")


def a_free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


# --- all is well -----------------------------------------------------------------------------------------------------


def test_all_is_well_with_a_ledger_a_host_and_a_token(shop: Shop, tmp_path: Path) -> None:
    """Everything is looked at, and neither the token nor a number is in what it says."""
    shop.token_file.touch(mode=0o600)
    shop.run(write_list(tmp_path / "a.csv", people(3)))
    said = doctor(shop)
    found = checks(said)
    assert (said.code, said.json["error"]) == (0, None)
    assert list(found) == [
        "versions", "extras", "ledger", "lock", "growth", "erasure", "disk", "file system", "host", "clock", "token",
    ]  # fmt: skip
    assert {found[what]["state"] for what in ("ledger", "lock", "disk", "host", "clock", "token")} == {"ok"}
    assert found["token"]["facts"]["is_valid"] is True
    assert TOKEN not in said.out + said.err
    assert "5550" not in said.out


def test_it_makes_no_ledger_and_changes_none(shop: Shop, tmp_path: Path) -> None:
    """A ledger that is not there stays so; one that is there keeps every byte."""
    assert checks(doctor(shop, "--offline"))["ledger"]["state"] == "note"
    assert not shop.ledger.exists()
    shop.run(write_list(tmp_path / "a.csv", people(3)))
    before = shop.ledger.read_bytes()
    assert doctor(shop).code == 0
    assert shop.ledger.read_bytes() == before


def test_people_read_a_line_for_each_thing(shop: Shop) -> None:
    """The state is a word, not a colour, and the last line sums up."""
    lines = shop.importer("doctor", *shop.target).out.splitlines()
    assert lines[0].startswith("ok        versions: importer ")
    assert lines[-1] == "All is well."


def test_offline_asks_nobody(shop: Shop, platform: Platform) -> None:
    """No request arrives."""
    doctor(shop, "--offline")
    with closing(sqlite3.connect(platform.db)) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE name = 'requests'")]
        assert [db.execute(f"SELECT count(*) FROM {name}").fetchone() for name in tables] in ([(0,)], [])


# --- the platform ----------------------------------------------------------------------------------------------------


def test_exit_6_for_a_token_nobody_knows(shop: Shop) -> None:
    """Named as such, and not repeated."""
    shop.token_file.write_text("9999.1.NoSuchToken")
    said = doctor(shop)
    assert (said.code, checks(said)["token"]["facts"]["is_valid"]) == (6, False)
    assert "NoSuchToken" not in said.out + said.err


def test_exit_7_for_a_host_nobody_answers_at(shop: Shop) -> None:
    """With what to look at next."""
    said = shop.importer(
        "doctor", "--host", f"http://127.0.0.1:{a_free_port()}", "--token-file", shop.token_file, "--json"
    )
    host = checks(said)["host"]
    assert (said.code, host["state"], host["facts"]["reason"]) == (7, "wrong", "refused")
    assert host["hint"]


def test_exit_7_for_a_platform_that_is_ill(serve: Serve, tmp_path: Path) -> None:
    """It answers with 5xx: the host is there, the token cannot be judged."""
    ill = Shop(folder=tmp_path, origin=serve("status:code=503,op=any").origin)
    said = doctor(ill)
    found = checks(said)
    assert (said.code, found["host"]["state"], found["token"]["facts"]["is_valid"]) == (7, "warning", None)


def test_a_clock_that_is_off_is_told_and_is_no_failure(platform: Platform) -> None:
    """Keys follow the platform's clock, so it is a warning."""
    with CallsApi(platform.origin, TOKEN) as api:
        _, ahead, _ = examine_campaign("spring", api, unix_s=now().unix_ms / 1000 + 600)
        _, near, _ = examine_campaign("spring", api, unix_s=now().unix_ms / 1000 + 5)
    assert (ahead.state, near.state) == ("warning", "ok")
    assert re.search(r"spring: this machine is (59\d|60\d) s ahead", ahead.text)
    assert verdict([ahead]) == 0


def test_every_campaign_of_the_file_is_looked_at(shop: Shop, tmp_path: Path, platform: Platform) -> None:
    """Each with its own settings; one that lacks its token does not hide the other."""
    assert shop.token_file.exists()
    (tmp_path / "importer.toml").write_text(
        f'ledger = "calls.db"\n[campaign.spring]\nhost = "{platform.origin}"\ntoken_file = "token"\n'
        f'[campaign.autumn]\nhost = "{platform.origin}"\ntoken_env = "NOT_SET"\n'
    )
    said = command("doctor", "--json", cwd=tmp_path)
    texts = [each["text"] for each in said.json["checks"]]
    assert said.code == 2
    assert any(text.startswith("spring: valid") for text in texts)
    assert any(text.startswith("autumn: There is no campaign token") for text in texts)
    assert command("doctor", "--campaign", "spring", "--json", cwd=tmp_path).code == 0


def test_nothing_configured_is_a_note_with_the_way_on(tmp_path: Path) -> None:
    """A newcomer is not told that something is wrong."""
    said = command("doctor", "--json", cwd=tmp_path)
    found = checks(said)
    assert (said.code, found["campaign"]["state"], found["ledger"]["state"]) == (0, "note", "note")
    assert "importer init" in found["campaign"]["hint"]


# --- the ledger ------------------------------------------------------------------------------------------------------


def test_exit_5_for_what_is_no_ledger_or_a_damaged_one(shop: Shop, tmp_path: Path) -> None:
    """A file that is something else; a sum that does not come out."""
    (tmp_path / "text.db").write_text("x" * 5000)
    assert shop.importer("doctor", "--offline", "--ledger", tmp_path / "text.db", "--json").code == 5
    shop.run(write_list(tmp_path / "a.csv", people(3)))
    with closing(sqlite3.connect(shop.ledger)) as ledger, ledger:
        ledger.execute("UPDATE imports SET read_rows = 4")
    said = doctor(shop, "--offline")
    assert said.code == 5
    assert "do not add up" in said.json["error"]


def test_exit_5_for_a_ledger_that_was_put_back_from_a_copy(shop: Shop, tmp_path: Path) -> None:
    """Known by its counter, before a run would refuse it."""
    path = write_list(tmp_path / "a.csv", people(3))
    shop.run(path)
    copy = shop.ledger.read_bytes()
    shop.run(write_list(tmp_path / "b.csv", people(3, first=10)))
    for wreck in tmp_path.glob("ledger.db-*"):
        wreck.unlink()
    shop.ledger.write_bytes(copy)
    said = doctor(shop, "--offline")
    assert said.code == 5
    assert "restored from an older copy" in said.json["error"]


def test_pending_rows_and_a_lax_mode_are_told(shop: Shop, tmp_path: Path) -> None:
    """What waits for a run is a note; a ledger that others may read is a warning."""
    shop.run(write_list(tmp_path / "a.csv", people(8)), "--first", "2", "--batch-size", "2")
    shop.ledger.chmod(0o644)
    found = doctor(shop, "--offline").json["checks"]
    notes = [(each["what"], each["state"]) for each in found]
    assert ("imports", "note") in notes
    assert ("ledger", "warning") in notes


def test_the_holder_is_named_and_its_lock_is_not_touched(tmp_path: Path) -> None:
    """A live owner is found by its file; a dead one's file is no owner."""
    ledger = tmp_path / "ledger.db"
    mine = Owner(pid=os.getpid(), host=socket.gethostname(), since="now", command="importer run")
    lock = OwnerLock(ledger)
    lock.acquire(mine)
    assert holder_of(ledger) == mine
    (tmp_path / "ledger.db.owner").unlink()
    table = tmp_path / "locks"
    table.write_text(f"1: FLOCK  ADVISORY  WRITE 7 08:01:{(tmp_path / 'ledger.db.lock').stat().st_ino} 0 EOF\n")
    held = holder_of(ledger, table)
    assert held is not None
    assert held.pid == 0
    lock.release()
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    owner = {"pid": int(dead.stdout), "host": socket.gethostname(), "since": "then", "command": "importer run"}
    (tmp_path / "ledger.db.owner").write_text(json.dumps(owner))
    assert holder_of(ledger, tmp_path / "none") is None


@pytest.mark.slow
def test_it_may_be_asked_beside_a_run(serve: Serve, tmp_path: Path) -> None:
    """A run that is sending is named as the holder and is not disturbed."""
    platform = serve("delay:s=0.3")
    slow = Shop(folder=tmp_path, origin=platform.origin)
    path = write_list(tmp_path / "a.csv", people(40))
    with start("run", path, *slow.target, "--batch-size", "2", "--in-flight", "1", "--json") as running:
        until_s = time.monotonic() + 30
        while not platform.sends() and time.monotonic() < until_s:
            time.sleep(0.05)
        said = command("doctor", "--offline", "--json", *slow.target)
        out, _ = running.communicate(timeout=60)
    assert said.code == 0
    assert f"process {running.pid} " in checks(said)["lock"]["text"]
    assert json.loads(out)["accepted"] == 40


def test_a_disk_that_is_full_or_far_away_is_wrong(tmp_path: Path) -> None:
    """Room in three degrees, and a network file system by the table of mounts."""
    mib = 1024 * 1024
    states = [
        examine_disk(tmp_path / "a.db", disk=Disk(free_bytes=free * mib, total_bytes=9000 * mib))[0].state
        for free in (10, 500, 5000)
    ]
    assert states == ["wrong", "warning", "ok"]
    mounts = tmp_path / "mounts"
    mounts.write_text(f"server:/share {tmp_path} nfs4 rw 0 0\n")
    kind = examine_disk(tmp_path / "deep" / "a.db", mounts=mounts)[1]
    assert (kind.state, kind.exit_code, kind.facts["kind"]) == ("wrong", 5, "nfs4")


def test_growth_is_forecast_from_what_came_in(shop: Shop, tmp_path: Path) -> None:
    """Half a thousand rows twice: so many bytes a row, so many rows a day."""
    for first in (0, 600):
        shop.run(write_list(tmp_path / f"{first}.csv", people(600, first=first)))
    growth = next(each for each in examine_ledger(shop.ledger, now_ms=now().unix_ms) if each.what == "growth")
    facts = growth.facts
    assert facts["rows_a_day"] == 1200
    size_bytes = shop.ledger.stat().st_size  # its -wal is gone with the last connection
    forecast = facts["forecast_90_days_bytes"]
    assert isinstance(forecast, int)
    assert forecast >= size_bytes * 80
    kept_for_ever = _found(shop, "growth", keep_for_s=[math.inf]).facts["forecast_year_bytes"]
    assert isinstance(kept_for_ever, int)
    assert forecast < facts["forecast_year_bytes"] < kept_for_ever  # type: ignore[operator]  # facts are objects


def _found(shop: Shop, what: str, **more: Any) -> Finding:
    later_ms = more.pop("now_ms", now().unix_ms)
    return next(each for each in examine_ledger(shop.ledger, now_ms=later_ms, **more) if each.what == what)


def test_what_will_be_erased_is_told_with_its_day(shop: Shop, tmp_path: Path) -> None:
    """Nothing is due yet; ninety days later all of it is; whoever keeps everything is told so."""
    shop.run(write_list(tmp_path / "a.csv", people(30)))
    soon = _found(shop, "erasure")
    assert (soon.facts["due_rows"], soon.facts["keep_for_days"]) == (0, 90)
    assert str(soon.facts["next_at"])[:10] in soon.text
    later_ms = now().unix_ms + 91 * 86_400_000
    due = _found(shop, "erasure", now_ms=later_ms)
    assert (due.facts["due_rows"], "importer purge" in due.hint) == (30, True)
    assert _found(shop, "erasure", keep_for_s=[math.inf]).state == "note"
    (tmp_path / "importer.toml").write_text('keep_for = "30d"', encoding="utf-8")
    with contextlib.chdir(tmp_path):
        assert checks(doctor(shop))["erasure"]["facts"]["keep_for_days"] == 30


def test_pages_that_still_hold_something_are_told(shop: Shop, tmp_path: Path) -> None:
    """What was erased and not yet wiped is a warning, until `ledger vacuum` writes the file anew."""
    shop.run(write_list(tmp_path / "a.csv", people(30)))
    with closing(sqlite3.connect(shop.ledger)) as connection:
        connection.execute("INSERT INTO purges (cause, keeps_hashes, begun_ms, erased_ms) VALUES ('age', 1, 1, 1)")
        connection.commit()
    told = [each.text for each in examine_ledger(shop.ledger, now_ms=now().unix_ms) if each.state == "warning"]
    assert told == ["what was erased may still stand between records of the file"]
    assert shop.importer("ledger", "vacuum", "--ledger", shop.ledger).code == 0
    assert [each for each in examine_ledger(shop.ledger, now_ms=now().unix_ms) if each.state == "warning"] == []


# --- the rest --------------------------------------------------------------------------------------------------------


def test_the_gravest_finding_decides() -> None:
    """In the order that every command follows."""
    wrong = [Finding(what="x", state="wrong", text="", exit_code=code) for code in (7, 6, 5)]
    assert verdict(wrong) == 5
    assert verdict([Finding(what="x", state="warning", text="", exit_code=7)]) == 0


def test_version_names_what_decides_about_numbers() -> None:
    """The first line is as it always was; the next has the metadata. Nothing heavy is loaded for it."""
    said = command("--version")
    first, second = said.out.splitlines()
    assert re.fullmatch(r"importer, version \d+\.\d+\.\d+", first)
    assert re.search(r"phonenumbers 9\.\S+ \(number metadata\), polars \S+, SQLite 3\.", second)
    code = "import sys; sys.argv=['importer','--version']\ntry:\n import importer.cli; importer.cli.main()\nexcept SystemExit: pass\nprint([m for m in ('polars','httpx','phonenumbers') if m in sys.modules])"  # noqa: E501 - one program
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
