"""What ended without success is dialled again in a round of its own, which knows where it comes from."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from workbench import Platform, Said, Serve, Shop, people, write_list

from importer.run.redialling import OUTCOMES
from importer.sandbox import records

FAST = 200_000.0


def redial(shop: Shop, *more: str | Path) -> Said:
    return shop.importer("redial", *more, *shop.target, "--json")


def ask(shop: Shop, sql: str) -> list[Any]:
    with closing(sqlite3.connect(f"{shop.ledger.as_uri()}?mode=ro", uri=True)) as ledger:
        return ledger.execute(sql).fetchall()


@pytest.fixture
def swift(serve: Serve) -> Platform:
    return serve(speed=FAST)


@pytest.fixture
def called(swift: Platform, tmp_path: Path) -> Shop:
    """A shop whose thirty rows were all called, some without an answer."""
    shop = Shop(folder=tmp_path, origin=swift.origin)
    rows = [{**row, "maxAttempts": "1", "allowedDays": "mon,tue"} for row in people(30)]
    assert shop.run(write_list(tmp_path / "list.csv", rows)).code == 0
    time.sleep(0.2)
    assert shop.importer("outcomes", *shop.target).code == 0
    return shop


def test_a_redial_calls_just_those_rows_again(called: Shop, swift: Platform) -> None:
    """Same payload, same policy, another round; its lineage stands in the ledger."""
    ended = {phone for (phone,) in ask(called, "SELECT phone FROM call_outcomes WHERE status = 'noAnswer'")}
    assert 0 < len(ended) < 30
    said = redial(called, "1", "--outcome", "noAnswer").json
    assert (said["accepted"], said["round"], said["parent"], said["exit_code"]) == (len(ended), "redial-1-1", 1, 0)
    jobs = records.jobs(swift.db)
    first = {job.phone: (job.payload, job.policy) for job in jobs[:30]}
    again = {job.phone: (job.payload, job.policy) for job in jobs[30:]}
    assert {f"+{phone}" for phone in again} == ended
    assert all(first[phone] == content for phone, content in again.items())
    assert ask(called, "SELECT import_id, parent_id, outcomes FROM import_lineage") == [(2, 1, '["noAnswer"]')]


def test_the_next_redial_is_another_round(called: Shop) -> None:
    """Each may call everybody once; one can be made of a redial, too."""
    assert redial(called, "1", "--outcome", "noAnswer").json["round"] == "redial-1-1"
    assert redial(called, "1", "--outcome", "noAnswer,technicalError").json["round"] == "redial-1-2"
    time.sleep(0.2)
    said = redial(called, "2", "--outcome", "noAnswer,longCallWithResult,longCallWithNoResult").json
    assert (said["round"], said["parent"]) == ("redial-2-1", 2)


def test_the_round_of_the_old_import_is_none_for_a_redial(called: Shop, tmp_path: Path) -> None:
    """Everybody was called in it, so nobody would be."""
    assert called.run(tmp_path / "list.csv", "--round", "first").json["accepted"] == 30
    said = redial(called, "2", "--outcome", "noAnswer", "--round", "first")
    assert (said.code, "Leave --round out" in said.err) == (2, True), said.err


def test_the_help_names_every_outcome(shop: Shop) -> None:
    """So that nobody has to guess the platform's words."""
    shown = shop.importer("redial", "--help").out
    assert [name for name in OUTCOMES if name not in shown] == []


def test_an_unfinished_redial_goes_on(called: Shop, swift: Platform) -> None:
    """The same command again sends the rest, and nobody twice."""
    before = redial(called, "1", "--outcome", "noAnswer", "--first", "2").json
    rest = redial(called, "1", "--outcome", "noAnswer").json
    assert (rest["import"], rest["round"], rest["pending"]) == (before["import"], before["round"], 0)
    assert len(records.jobs(swift.db)) == 30 + rest["accepted"]


def test_do_not_call_holds_for_a_redial(called: Shop) -> None:
    """What holds for a list holds for this one."""
    (phone,) = ask(called, "SELECT phone FROM call_outcomes WHERE status = 'noAnswer' LIMIT 1")[0]
    called.importer("dnc", "add", phone, "--ledger", called.ledger)
    said = redial(called, "1", "--outcome", "noAnswer").json
    assert said["suppressed"] == 1


def test_what_has_not_finished_is_not_dialled_again(shop: Shop, platform: Platform, tmp_path: Path) -> None:
    """A call job that the platform may still dial would be dialled twice."""
    shop.run(write_list(tmp_path / "list.csv", people(3)))
    said = redial(shop, "1", "--outcome", "noAnswer,unknown")
    assert (said.code, said.json["import"], len(platform.phones())) == (0, None, 3)


def test_an_unknown_outcome_is_told_with_the_nearest(called: Shop) -> None:
    """Nothing is begun."""
    said = redial(called, "1", "--outcome", "noAnwser")
    assert (said.code, "noAnswer" in said.err) == (2, True)


def test_values_keep_their_types(swift: Platform, tmp_path: Path) -> None:
    """Numbers stay numbers, and a payload key may be called like a field of the platform."""
    shop = Shop(folder=tmp_path, origin=swift.origin)
    mapping = tmp_path / "map.toml"
    mapping.write_text(
        '[payload]\nage = {column = "order", type = "integer"}\nmaxAttempts = {constant = "many"}\n'
        'tags = {constant = [1, "two"]}\n[policy]\nmaxAttempts = {constant = "1"}\n'
    )
    assert shop.run(write_list(tmp_path / "list.csv", people(20)), "--map", mapping).code == 0
    time.sleep(0.2)
    assert redial(shop, "1", "--outcome", "noAnswer").json["accepted"] > 0
    payloads = [json.loads(job.payload) for job in records.jobs(swift.db)]
    again = payloads[20:]
    assert again
    assert all(payload in payloads[:20] and payload["age"] in range(1000, 1020) for payload in again)
