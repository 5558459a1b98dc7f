"""Rows are taken back: never sent, they are withdrawn; else their call jobs are cancelled; and both stay so."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from workbench import TOKEN, Platform, Said, Serve, Shop, changed_at, number, people, start, write_list

from importer import machine
from importer.cancelling import Canceller, Choice, Undone
from importer.client import CallsApi, Found
from importer.errors import ApiAway, UsageProblem
from importer.ledger import Ledger
from importer.ledger.outcome_book import OutcomeRow
from importer.ledger.picking import pick
from importer.ledger.requests import FRESH_S, STOP, Asker, Inbox, requests_folder
from importer.machine import Owner
from importer.sandbox import records

OWNER = Owner(pid=1, host="here", since="now", command="importer cancel")


def cancel(shop: Shop, *more: str | Path) -> Said:
    return shop.importer("cancel", *more, *shop.target, "--yes", "--json")


def summary(shop: Shop) -> dict[str, Any]:
    """The newest import's balance, whose sum is proved."""
    found: dict[str, Any] = shop.importer("status", "--json", "--ledger", shop.ledger).json["imports"][0]
    names = ("accepted", "rejected", "duplicate", "suppressed", "withdrawn", "refused", "in_doubt", "pending")
    assert found["read"] == sum(found[name] for name in names)
    assert shop.importer("ledger", "check", "--ledger", shop.ledger).code == 0
    return found


def cancelled(platform: Platform) -> set[str]:
    return {f"+{job.phone}" for job in records.jobs(platform.db) if job.is_cancelled}


def fates(shop: Shop) -> dict[str, str]:
    with closing(sqlite3.connect(f"{shop.ledger.as_uri()}?mode=ro", uri=True)) as ledger:
        return dict(ledger.execute("SELECT phone, fate FROM cancelled_rows").fetchall())


SLOW = 0.001  # simulated seconds a second: nobody is dialled while a test looks on


@pytest.fixture
def platform(serve: Serve) -> Platform:
    """A platform that behaves, and takes its time."""
    return serve(speed=SLOW)


@pytest.fixture
def half(shop: Shop, tmp_path: Path) -> Shop:
    """A shop whose list of twelve was half sent: six accepted, six pending, none dialled yet."""
    assert shop.run(write_list(tmp_path / "list.csv", people(12)), "--batch-size", "4", "--first", "6").code == 0
    return shop


# --- a whole import -------------------------------------------------------------------------------------------------


def test_what_was_not_sent_is_withdrawn_and_the_rest_cancelled(half: Shop, platform: Platform) -> None:
    """The balance stays even, each row's fate is written down, and the import is finished."""
    said = cancel(half, "1").json
    assert (said["before"]["unsent"], said["before"]["waiting"]) == (6, 6)
    assert (said["withdrawn"], said["cancelled"], said["exit_code"]) == (6, 6, 0)
    assert cancelled(platform) == {number(i) for i in range(6)}
    assert sorted(fates(half).values()) == ["cancelled"] * 6 + ["withdrawn"] * 6
    found = summary(half)
    assert (found["state"], found["accepted"], found["withdrawn"]) == ("finished", 6, 6)
    assert half.send("1").json["accepted"] == 6
    platform.has_each_once(number(i) for i in range(6))


def test_the_same_list_again_calls_none_of_them(half: Shop, platform: Platform, tmp_path: Path) -> None:
    """Whatever makes a row the same row: what somebody took back stays taken back, in its round."""
    cancel(half, "1")
    for more in ((), ("--once-per", "phone"), ("--once-per", "name")):
        again = half.run(tmp_path / "list.csv", *more).json
        assert (again["duplicate"], again["accepted"], again["pending"]) == (12, 0, 0), more
    assert half.run(tmp_path / "list.csv", "--round", "tomorrow").json["accepted"] == 12


def test_an_edited_list_does_not_bring_withdrawn_rows_back(half: Shop, platform: Platform, tmp_path: Path) -> None:
    """A part is taken back, the list is edited and run again: the sums stay even, and nobody withdrawn is called."""
    cancel(half, "1", "--where", "importer_row IN (9, 10)")
    rows = write_list(tmp_path / "list.csv", [*people(11), *people(1, first=40)])  # the last one gone, a new one there
    changed_at(rows, 10)
    said = half.run(rows).json
    assert (said["withdrawn"], said["accepted"], said["exit_code"]) == (3, 10, 0)
    summary(half)
    platform.has_each_once(number(i) for i in (*range(7), 9, 10, 40))


def test_nothing_is_done_until_somebody_says_yes(half: Shop, platform: Platform) -> None:
    """Without a terminal nobody can be asked; what would happen is said all the same."""
    said = half.importer("cancel", "1", *half.target)
    assert (said.code, "6  were never sent" in said.out, "--yes" in said.err) == (2, True, True)
    assert (cancelled(platform), fates(half)) == (set(), {})
    assert half.importer("cancel", *half.target).code == 2


def test_what_was_called_already_is_said(serve: Serve, tmp_path: Path) -> None:
    """A call that is over cannot be undone, and is counted as that, not as cancelled."""
    platform = serve(speed=200_000.0)
    shop = Shop(folder=tmp_path, origin=platform.origin)
    shop.run(write_list(tmp_path / "list.csv", people(3)))
    time.sleep(0.2)
    said = cancel(shop, "1").json
    assert (said["before"]["over"], said["cancelled"], said["after"]["over"], said["exit_code"]) == (3, 0, 3, 0)
    assert (fates(shop), cancelled(platform)) == ({}, set())


def test_a_list_not_read_to_its_end_needs_no_cancelling(shop: Shop, tmp_path: Path) -> None:
    """Nothing of it was sent, and nothing will be."""
    shop.run(write_list(tmp_path / "list.csv", people(3)))
    with closing(sqlite3.connect(shop.ledger)) as ledger, ledger:
        ledger.execute("UPDATE imports SET source_state = 'open', finished_ms = NULL")
    said = cancel(shop, "1")
    assert (said.code, "not read to its end" in said.err) == (2, True)


def test_what_is_meant_and_what_was_done_is_said(half: Shop) -> None:
    """By the import's name; a second time nothing is promised that was not done."""
    first = half.importer("cancel", "1", "--yes", *half.target)
    assert (first.code, "12 rows of import 1 (" in first.out, "list.csv" in first.out) == (0, True, True)
    assert ("6  rows were withdrawn" in first.out, "calls none of these rows" in first.err) == (True, True)
    again = half.importer("cancel", "1", "--yes", *half.target)
    assert (again.code, "Nothing was there to take back." in again.out) == (0, True)
    assert "calls none of these rows" not in again.err


def test_withdrawn_rows_keep_their_columns(shop: Shop, platform: Platform, tmp_path: Path) -> None:
    """In a file of outcomes and in the warehouse, whatever was taken back of them before or after."""
    rows = [*people(8), {**people(1)[0], "name": "The same number", "order": "7"}]
    shop.run(write_list(tmp_path / "list.csv", rows), "--batch-size", "4", "--first", "2")
    assert cancel(shop, "1", "--where", "name = 'Person 5'").json["withdrawn"] == 1
    assert cancel(shop, "1", "--where", "importer_row > 5").json["withdrawn"] == 4
    out = tmp_path / "out.jsonl"
    assert shop.importer("outcomes", "--offline", "--out", out, *shop.target).code == 0
    found = {line["row"]: line for line in map(json.loads, out.read_text(encoding="utf-8").splitlines())}
    states = ["accepted", "accepted", "pending", "pending", *["withdrawn"] * 5]
    assert [found[no]["state"] for no in range(2, 11)] == states
    assert [found[no]["sent"]["payload"]["name"] for no in range(2, 11)] == [row["name"] for row in rows]
    assert shop.importer("ledger", "export", tmp_path / "wh", "--ledger", shop.ledger).code == 0
    stored = pl.read_parquet(tmp_path / "wh" / "rows.parquet")
    assert stored.filter(pl.col("state") == "withdrawn").height == 5
    gone = pl.read_parquet(tmp_path / "wh" / "cancellations.parquet")
    assert gone.join(stored, on="row_id").height == gone.height == 5


def test_of_an_import_taken_back_whole_every_column_is_left(shop: Shop, tmp_path: Path) -> None:
    """Even of a number that stands in it twice, of which the ledger does not tell which is which."""
    rows = [*people(3), {**people(1)[0], "name": "Again", "order": "7"}]
    shop.run(write_list(tmp_path / "list.csv", rows), "--first", "1")
    assert cancel(shop, "1").code == 0
    out = tmp_path / "out.csv"
    assert shop.importer("outcomes", "--offline", "--out", out, *shop.target).code == 0
    table = pl.read_csv(out, infer_schema=False)
    assert table.columns[:3] == ["phone", "name", "order"]
    assert dict(zip(table["importer_row"], table["importer_state"], strict=True))["4"] == "withdrawn"


def test_a_second_cancellation_finds_nothing_more(half: Shop) -> None:
    """What was taken back is counted as that."""
    cancel(half, "1")
    said = cancel(half, "1").json
    assert (said["withdrawn"], said["cancelled"], said["after"]["back"], said["exit_code"]) == (0, 0, 12, 0)


# --- a part of it ---------------------------------------------------------------------------------------------------


def test_numbers_of_a_file_are_taken_back_wherever_they_are(half: Shop, platform: Platform, tmp_path: Path) -> None:
    """Over every import of the campaign, with a word about lines that are no numbers."""
    half.run(write_list(tmp_path / "more.csv", people(2, first=20)))
    wrong = [{"who": "x", "number": number(i)} for i in (1, 8, 21)] + [{"who": "y", "number": "n/a"}]
    said = cancel(half, "--phones", write_list(tmp_path / "wrong.csv", wrong), "--phone-column", "number")
    assert (said.json["withdrawn"], said.json["cancelled"], "1 rows" in said.err) == (1, 2, True)
    assert cancelled(platform) == {number(1), number(21)}
    half.send("1")
    platform.has_each_once(number(i) for i in (*range(8), *range(9, 12), 20, 21))


def test_rows_are_picked_by_a_condition_over_their_columns(half: Shop, platform: Platform) -> None:
    """Payload, place and state may be asked for; the rest of a batch goes on under a key of its own."""
    said = cancel(half, "1", "--where", "\"order\" = '1002' OR (name LIKE '%7' AND importer_state = 'pending')").json
    assert (said["withdrawn"], said["cancelled"]) == (1, 1)
    assert cancelled(platform) == {number(2)}
    assert half.send("1").json["withdrawn"] == 1
    summary(half)
    platform.has_each_once(number(i) for i in range(12) if i != 7)


@pytest.mark.parametrize(
    ("where", "why"),
    [
        ("nme = 'x'", "Did you mean name? The columns are: phone, name, order"),
        ("name = ", "syntax error"),
        ("", "syntax error"),
        ("name = 'x'; DROP TABLE list", "syntax error"),
        ("0) UNION SELECT importer_row_id FROM list WHERE (1", "do nothing else"),
        ("0)) UNION SELECT importer_row_id FROM list WHERE ((1", "syntax error"),
        ("1) LIMIT (3", "syntax error"),
        ("1) ORDER BY (1", "syntax error"),
        ("0 /*", "incomplete input"),
        ("name = (SELECT max(name) FROM list)", "do nothing else"),
        ("name IN (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT i FROM n)", "do nothing else"),
        ("load_extension('x')", "not authorized"),
        ("count(*) > 1", "misuse of aggregate"),
        ('"nmae" <> name', 'no column "nmae", and text stands in single quotes'),
        ('name = "Person 3"', 'no column "Person 3"'),
    ],
)
def test_a_condition_that_cannot_be_is_told_with_the_columns(half: Shop, where: str, why: str) -> None:
    """It may compare what stands in its row; what would do more, or choose otherwise, does nothing."""
    said = cancel(half, "1", "--where", where)
    assert (said.code, fates(half)) == (2, {})
    assert why in said.err
    assert "phone, name, order" in said.err


@pytest.mark.parametrize(
    "where", ["name = 'Person 3' -- the third", "0) OR (name LIKE '%n 3'", "name = '\"nmae\" 3' OR \"NAME\" GLOB '*3'"]
)
def test_a_condition_may_be_written_in_any_way_that_is_one(half: Shop, where: str) -> None:
    """Comments, parentheses and quotes included."""
    assert cancel(half, "1", "--where", where).json["cancelled"] == 1


def test_columns_that_differ_in_case_alone_can_be_told_apart() -> None:
    """SQLite could not; the second gets a number."""
    rows = [
        OutcomeRow(
            row_id=i, file="f", row_no=i, state="pending", reason="", call_job_id=None, job=None,
            item={"phone": str(i), "payload": {"Name": "a", "name": each}},
        )
        for i, each in enumerate(["x", "y"])
    ]  # fmt: skip
    assert list(pick(rows, "\"name (2)\" = 'y' AND Name = 'a'", phone="phone", fields=("Name", "name"))) == [1]


# --- a platform that makes it hard ----------------------------------------------------------------------------------


class Hard:
    """The platform, as a test has it fail: after how many cancellations the process dies, or what is away."""

    def __init__(self, api: CallsApi, *, dies_before: int | None = None, dies_after: int | None = None) -> None:
        self._api = api
        self._dies_before, self._dies_after = dies_before, dies_after
        self.asked: list[tuple[str | None, tuple[str, ...]]] = []

    def job_reports(self, *, ids: Any = ()) -> Found[Any]:
        return self._api.job_reports(ids=ids)

    def attempt_reports(self, *, ids: Any = ()) -> Found[Any]:
        return self._api.attempt_reports(ids=ids)

    def cancel(self, *, ids: Any = (), key: str | None = None) -> Found[str]:
        self.asked.append((key, tuple(ids)))
        if len(self.asked) == self._dies_before:
            raise KilledError
        found = self._api.cancel(ids=ids, key=key)
        if len(self.asked) == self._dies_after:
            raise KilledError
        return found


class KilledError(BaseException):
    """The process ends here."""


def undo(shop: Shop, platform: Any, **more: Any) -> Undone:
    with Ledger(shop.ledger, OWNER, now_ms=machine.now().unix_ms) as ledger:
        canceller = Canceller(
            ledger=ledger,
            platform=platform,
            campaign=ledger.intake.campaign_by_id(1),
            now=machine.now,
            is_stopping=lambda: False,
            nap=lambda _: None,
        )
        canceller.look(Choice(imports=tuple(ledger.intake.imports_of(1)), **more))
        return canceller.undo()


@pytest.fixture
def api(platform: Platform) -> Iterator[CallsApi]:
    with CallsApi(platform.origin, TOKEN) as client:
        yield client


@pytest.mark.parametrize("when", ["dies_before", "dies_after"])
def test_a_killed_cancellation_goes_on_under_the_same_key(
    half: Shop, platform: Platform, api: CallsApi, when: str
) -> None:
    """What was asked is asked again, the same ids under the same key, and each fate is known in the end."""
    first, then = Hard(api, **{when: 1}), Hard(api)
    with pytest.raises(KilledError):
        undo(half, first)
    assert summary(half)["withdrawn"] == 6
    done = undo(half, then)
    assert (done.cancelled, done.withdrawn, then.asked[0]) == (6, 0, first.asked[0])
    assert cancelled(platform) == {number(i) for i in range(6)}
    assert records.keys_with_two_bodies(platform.db) == []


def test_a_lost_answer_is_asked_for_again(serve: Serve, tmp_path: Path) -> None:
    """The platform answers what it answered first."""
    platform = serve("lose-answer:op=callJob/cancel,times=1", speed=SLOW)
    shop = Shop(folder=tmp_path, origin=platform.origin)
    shop.run(write_list(tmp_path / "list.csv", people(3)))
    said = cancel(shop, "1").json
    assert (said["cancelled"], said["exit_code"]) == (3, 0)


def test_a_platform_that_is_away_loses_nothing(serve: Serve, tmp_path: Path) -> None:
    """What could be withdrawn is; the rest is asked for by the same command later."""
    platform = serve("status:code=503,op=callJob/cancel,times=4", speed=SLOW)
    shop = Shop(folder=tmp_path, origin=platform.origin)
    shop.run(write_list(tmp_path / "list.csv", people(6)), "--batch-size", "3", "--first", "3")
    with CallsApi(platform.origin, TOKEN) as client:
        with pytest.raises(ApiAway):
            undo(shop, client)
        assert (summary(shop)["withdrawn"], set(fates(shop).values())) == (3, {"withdrawn", "asked"})
        assert undo(shop, client).cancelled == 3


def test_at_the_command_line_the_same_command_is_the_next_step(serve: Serve, tmp_path: Path) -> None:
    """Nobody there sees the key of the request, which is the command's own business."""
    platform = serve("status:code=429,retry-after=9999,op=callJob/cancel", speed=SLOW)
    shop = Shop(folder=tmp_path, origin=platform.origin)
    shop.run(write_list(tmp_path / "list.csv", people(3)))
    said = cancel(shop, "1")
    assert (said.code, "run the same command again" in said.err, "key" in said.err) == (7, True, False), said.err


def test_a_job_that_was_not_cancelled_is_asked_for_under_a_new_key(half: Shop, api: CallsApi) -> None:
    """Another try is another request; and what the reports show as cancelled counts, whatever an answer said."""

    class Stubborn(Hard):
        def cancel(self, *, ids: Any = (), key: str | None = None) -> Found[str]:
            self.asked.append((key, tuple(ids)))
            return Found(items=())

    first = Stubborn(api)
    done = undo(half, first)
    assert (done.cancelled, done.still_open) == (0, 6)
    then = Hard(api)
    time.sleep(0.01)
    assert undo(half, then).cancelled == 6
    assert then.asked[0][0] != first.asked[0][0]


def test_reports_are_believed(half: Shop, api: CallsApi) -> None:
    """A cancellation that was carried out, and whose answer says otherwise, is one."""

    class Forgetful(Hard):
        def cancel(self, *, ids: Any = (), key: str | None = None) -> Found[str]:
            super().cancel(ids=ids, key=key)
            return Found(items=())

    assert undo(half, Forgetful(api)).cancelled == 6


def test_batches_that_were_armed_are_not_withdrawn(serve: Serve, tmp_path: Path) -> None:
    """What may have been sent is settled first: it is told, and exit 7 says that a later command can."""
    platform = serve("status:code=503,retry-after=1,op=addPhones,times=1", speed=SLOW)
    shop = Shop(folder=tmp_path, origin=platform.origin)
    rows = write_list(tmp_path / "list.csv", people(6))
    assert shop.run(rows, "--batch-size", "3", "--first", "3", "--patience", "200ms").code == 7
    said = cancel(shop, "1").json
    assert (said["withdrawn"], said["after"]["unsettled"], said["exit_code"]) == (3, 3, 7)
    assert shop.send("1").json["accepted"] == 3
    assert cancel(shop, "1").json["cancelled"] == 3


# --- from a second terminal -----------------------------------------------------------------------------------------


def test_a_run_that_is_sending_is_asked_to_stop(serve: Serve, tmp_path: Path) -> None:
    """It drains and ends as after Ctrl-C, says who asked, and the cancellation goes on with what it left."""
    platform = serve("delay:s=0.2", speed=SLOW)
    shop = Shop(folder=tmp_path, origin=platform.origin)
    rows = write_list(tmp_path / "list.csv", people(60))
    running = start("run", rows, *shop.target, "--batch-size", "1", "--in-flight", "1")
    until_s = time.monotonic() + 20
    while len(platform.phones()) < 3 and time.monotonic() < until_s:
        time.sleep(0.05)
    said = cancel(shop, "1")
    out, err = running.communicate(timeout=20)
    assert (running.returncode, "Stopping, as asked by importer cancel" in err) == (130, True), err
    assert (said.code, "Asking it to stop" in said.err) == (0, True), said.err
    found = said.json
    assert found["withdrawn"] + found["cancelled"] == 60
    assert cancelled(platform) == set(platform.phones())
    assert not requests_folder(shop.ledger).exists()
    assert out


def test_numbers_added_meanwhile_are_heeded_by_the_run(serve: Serve, tmp_path: Path) -> None:
    """`dnc add` from a second terminal reaches the run, which goes on, and does not send them any more."""
    platform = serve("delay:s=0.2", speed=SLOW)
    shop = Shop(folder=tmp_path, origin=platform.origin)
    running = start(
        "run", write_list(tmp_path / "list.csv", people(30)), *shop.target, "--batch-size", "1", "--in-flight", "1"
    )
    until_s = time.monotonic() + 20
    while len(platform.phones()) < 2 and time.monotonic() < until_s:
        time.sleep(0.05)
    said = shop.importer("dnc", "add", number(28), number(29), "--ledger", shop.ledger)
    running.communicate(timeout=30)
    assert (running.returncode, said.code, "2 numbers added" in said.out) == (0, 0, True), said.err
    assert summary(shop)["suppressed"] == 2
    platform.has_each_once(number(i) for i in range(28))


def test_a_request_is_heeded_only_while_somebody_waits_for_it(tmp_path: Path) -> None:
    """One that was left lying is stale, and nobody stops for it."""
    ledger, clock, wall = tmp_path / "ledger.db", [0.0], [time.time()]
    inbox = Inbox(ledger, clock=lambda: clock[0], wall_clock=lambda: wall[0])
    assert not inbox.heed()
    with Asker(ledger, STOP, {}, asked_by="somebody") as asker:
        wall[0] += FRESH_S + 1
        clock[0] += 1
        assert not inbox.heed()
        assert asker.answer() is None
    with Asker(ledger, STOP, {}, asked_by="somebody") as asker:
        wall[0] = time.time()
        clock[0] += 1
        assert inbox.heed()
        assert (asker.answer(), inbox.stop_asked_by) == ({"stopping": True}, "somebody")
    assert not requests_folder(ledger).exists()


def test_an_owner_does_what_it_is_asked(tmp_path: Path) -> None:
    """Numbers are added to a do-not-call list by whoever owns the ledger; what it does not know it says."""
    path = tmp_path / "ledger.db"
    with Ledger(path, OWNER, now_ms=1) as ledger:
        content = {"list": "by hand", "numbers": [16505550100], "now_ms": 2}
        with Asker(path, "dnc-add", content, asked_by="me") as asker:
            ledger.requests.heed()
            assert asker.answer() == {"added": 1}
        assert ledger.dnc.hits([16505550100, 16505550101]) == {16505550100}
        with Asker(path, "sing", {}, asked_by="me", nap=lambda _: None) as asker:
            assert asker.wait(0.1) is None
            time.sleep(0.25)
            ledger.requests.heed()
            assert asker.wait(0.1) == {"error": "unknown request"}


def test_rubbish_in_the_folder_is_no_request(tmp_path: Path) -> None:
    """It is taken away, and nothing is done."""
    ledger = tmp_path / "ledger.db"
    folder = requests_folder(ledger)
    folder.mkdir()
    (folder / "x.request").write_text("[")
    (folder / "y.request").write_text(json.dumps({"kind": 1}))
    assert not Inbox(ledger).heed()
    assert list(folder.iterdir()) == []


def test_ctrl_c_leaves_a_cancellation_to_go_on(half: Shop, api: CallsApi) -> None:
    """A signal between two requests ends it; the same command does the rest."""
    with Ledger(half.ledger, OWNER, now_ms=machine.now().unix_ms) as ledger:
        stopping = [False]
        canceller = Canceller(
            ledger=ledger, platform=Hard(api), campaign=ledger.intake.campaign_by_id(1), now=machine.now,
            is_stopping=lambda: stopping[0],
        )  # fmt: skip
        canceller.look(Choice(imports=tuple(ledger.intake.imports_of(1))))
        stopping[0] = True
        done = canceller.undo()
        assert (done.withdrawn, done.cancelled) == (6, 0)
    assert undo(half, Hard(api)).cancelled == 6


def test_another_campaign_s_token_takes_nothing_back(half: Shop) -> None:
    """Its call jobs are others."""
    half.token_file.write_text("8232.7056.CaNaRyb131df2")
    assert cancel(half, "1").code == 2
    with pytest.raises(UsageProblem):
        list(pick([], "nothing like SQL", phone="phone", fields=()))
