"""One number is called through addPhone, and is a row of the ledger like any other."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from workbench import Platform, Said, Serve, Shop, number, people, write_list

from importer.sandbox import records


def call(shop: Shop, *more: str | Path) -> Said:
    return shop.importer("call", *more, *shop.target, "--json")


def made_by(platform: Platform) -> list[str]:
    return [each.operation for each in records.requests(platform.db) if each.was_executed and "Phone" in each.operation]


def test_one_number_is_called_once(shop: Shop, platform: Platform) -> None:
    """By addPhone, under its row key, with its payload; the same again is the same call."""
    words = (number(0), "--payload", "name=Ada = x", "--payload", "order=7", "--gmt-zone", "+02:00")
    said = call(shop, *words)
    (job,) = records.jobs(platform.db)
    assert (said.code, said.json["accepted"], said.json["call_job_id"]) == (0, 1, job.id)
    assert (platform.payloads(), platform.policies()) == ([{"name": "Ada = x", "order": "7"}], [{"gmtZone": "+02:00"}])
    assert made_by(platform) == ["addPhone"]
    again = call(shop, *words).json
    assert (again["duplicate"], again["accepted"], again["exit_code"]) == (1, 0, 0)
    assert call(shop, *words, "--round", "tomorrow").json["accepted"] == 1
    with closing(sqlite3.connect(shop.ledger)) as ledger:
        keys = ledger.execute("SELECT row_key, lower(replace(request_key, '-', '')) FROM row_states").fetchall()
    assert all(row_key == request_key for row_key, request_key in keys)


def test_a_row_of_a_list_is_not_called_again_by_hand(shop: Shop, platform: Platform, tmp_path: Path) -> None:
    """The same number with the same payload is the same row, whichever way it comes."""
    shop.run(write_list(tmp_path / "list.csv", people(1)))
    same = call(shop, number(0), "--payload", "name=Person 0", "--payload", "order=1000").json
    assert (same["duplicate"], platform.phones()) == (1, [number(0)])
    assert call(shop, number(0), "--payload", "name=Somebody else").json["accepted"] == 1


def test_a_lost_answer_makes_no_second_call(serve: Serve, tmp_path: Path) -> None:
    """It is sent again by the same operation under the same key, and gets the first id."""
    platform = serve("lose-answer:op=addPhone,times=1")
    shop = Shop(folder=tmp_path, origin=platform.origin)
    assert call(shop, number(0)).json["accepted"] == 1
    platform.has_each_once([number(0)])


def test_send_goes_on_by_the_same_operation(serve: Serve, tmp_path: Path) -> None:
    """An import begun by addPhone is never repeated by addPhones: that would be other content under its key."""
    platform = serve("error-after-commit:op=addPhone,times=1")
    shop = Shop(folder=tmp_path, origin=platform.origin)
    words = ("--host", platform.origin, "--token-file", shop.token_file, "--ledger", shop.ledger)
    assert shop.importer("call", number(0), *words, "--timeout", "5s").code == 0 or shop.send("1").code == 0
    assert {each.operation for each in records.requests(platform.db) if "Phone" in each.operation} == {"addPhone"}
    platform.has_each_once([number(0)])


def test_a_number_that_is_none_is_told(shop: Shop, platform: Platform) -> None:
    """With the reason, and nothing is begun."""
    said = call(shop, "12")
    assert (said.code, "Nobody was called" in said.err, shop.ledger.exists()) == (2, True, False)
    assert call(shop, "(415) 555-0100").code == 2
    assert call(shop, "(415) 555-0100", "--region", "US").json["accepted"] == 1
    assert platform.phones() == ["+14155550100"]


@pytest.mark.parametrize(
    "pair", ["phone=1", "gmtZone=Z", "maxAttempts=3", "Idempotence-Key=x", "importer_x=1", "=x", "x"]
)
def test_a_payload_that_could_not_be_told_apart_is_refused(shop: Shop, pair: str) -> None:
    """Every field that addPhone does not know becomes payload, so its own names are taken."""
    assert call(shop, number(0), "--payload", pair).code == 2


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--gmt-zone", "Mars/Olympus"), "gmtZone"),
        (("--payload", "a=1", "--payload", "b=2", "--payload", "a=3"), "'a' twice"),
    ],
)
def test_what_cannot_be_meant_is_told_before_anything_is_begun(shop: Shop, words: tuple[str, ...], why: str) -> None:
    said = call(shop, number(0), *words)
    assert (said.code, why in said.err, ".." in said.err, shop.ledger.exists()) == (2, True, False, False), said.err


def test_a_test_call_is_not_in_the_ledger(shop: Shop, platform: Platform) -> None:
    """It may be repeated at will."""
    ids = {shop.importer("call", number(0), "--test", *shop.target, "--json").json["call_job_id"] for _ in range(2)}
    assert (len(ids), shop.ledger.exists(), made_by(platform)) == (2, False, ["test/addPhone"] * 2)


def test_calls_are_shown_for_people(shop: Shop) -> None:
    """Accepted with its call job, or why not."""
    words = (number(0), *shop.target)
    assert "Accepted by the platform: call job" in shop.importer("call", *words).out
    assert "Not called: the same call" in shop.importer("call", *words).out
    assert shop.importer("dnc", "add", number(1), "--ledger", shop.ledger).code == 0
    assert "do-not-call" in shop.importer("call", number(1), *shop.target).out
