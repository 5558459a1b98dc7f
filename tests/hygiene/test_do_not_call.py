"""Nobody on a do-not-call list is called, however the list came; one that cannot be honoured stops everything."""

from __future__ import annotations

import contextlib
import sqlite3
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from workbench import OWNER, Bench, Platform, Shop, number, people, write_list

from importer.errors import LedgerProblem, ListProblem, UsageProblem
from importer.intake.suppress import read_suppression
from importer.ledger import Ledger, count_by_calling_code, number_set
from importer.ledger.numberset import packed, parts_in, unpacked
from importer.ledger.opening import SCHEMA_VERSION, migration_set

PHONES = st.integers(10**6, 10**15 - 1)


def opened(path: Path) -> Ledger:
    return Ledger(path, OWNER, now_ms=1_000)


def as_int(text: str) -> int:
    return int(text.removeprefix("+"))


# --- sets of numbers ------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(st.lists(PHONES, max_size=40), st.lists(PHONES, max_size=40))
def test_a_set_of_numbers_survives_being_packed(near: list[int], far: list[int]) -> None:
    """The parts put together again are the set, and each lies within its own bounds."""
    numbers = [*near, *far, *(phone + 1 for phone in near)]
    whole = number_set(numbers)
    again = number_set([])
    for part in packed(whole):
        some = unpacked(part.bitmap, part.sha256)
        assert some is not None
        assert len(some) == part.size_numbers
        assert list(parts_in(some)) == [part.part]
        again |= some
    assert set(again) == set(numbers)


def test_damaged_bytes_are_no_set() -> None:
    """A bitmap that lost a bit is refused by its hash, not read as another set."""
    part = next(packed(number_set([16505550100])))
    assert unpacked(part.bitmap[:-1] + b"\x00", part.sha256) is None
    assert unpacked(b"", part.sha256) is None


def test_numbers_are_counted_by_calling_code() -> None:
    """+1 and +44 are told apart, whatever the length of the number."""
    numbers = number_set([16505550100, 16505550101, 447700900123, 4930123456])
    assert count_by_calling_code(numbers, [1, 44, 49, 7]) == {1: 2, 44: 1, 49: 1}


@settings(deadline=None, max_examples=20)
@given(data=st.data())
def test_the_ledger_answers_as_a_set_would(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Adding to lists, taking off, replacing and dropping: after each, the hits are those of plain Python sets."""
    some = st.lists(st.integers(447700900000, 447700900040) | st.integers(10**7, 10**15 - 1), max_size=12)
    model: dict[str, set[int]] = {}
    with opened(tmp_path_factory.mktemp("dnc") / "ledger.db") as ledger:
        for _ in range(data.draw(st.integers(1, 6))):
            name, phones = data.draw(st.sampled_from(["a", "b"])), data.draw(some)
            match data.draw(st.sampled_from(["add", "remove", "replace", "drop"])):
                case "add":
                    held = model.setdefault(name, set())
                    assert ledger.dnc.add(name, number_set(phones), now_ms=1) == len(set(phones) - held)
                    held.update(phones)
                case "remove":
                    gone = {each: len(held & set(phones)) for each, held in model.items() if held & set(phones)}
                    assert ledger.dnc.remove(number_set(phones), now_ms=1) == gone
                    model = {each: held - set(phones) for each, held in model.items()}
                case "replace":
                    kept = ledger.dnc.replace_list(name, number_set(phones), {"source": "x"}, now_ms=1)
                    model[name] = set(phones)
                    assert kept.numbers == len(set(phones))
                case _:
                    assert ledger.dnc.drop_list(name) == (model.pop(name, None) is not None)
            known = set().union(*model.values())
            asked = [*data.draw(some), *list(known)[:5]]
            assert ledger.dnc.hits(asked) == known & set(asked)
            assert set(ledger.dnc.all_numbers()) == known
            assert {each.name: each.numbers for each in ledger.dnc.lists()} == {n: len(h) for n, h in model.items()}
            assert all(set(ledger.dnc.names_with(p)) == {n for n, h in model.items() if p in h} for p in asked)


# --- reading a list -------------------------------------------------------------------------------------------------


def read(path: Path, region: str | None = None, column: str | None = None) -> set[int]:
    return set(read_suppression(str(path), region=region, column=column, spool_dir=path.parent).numbers)


def test_a_do_not_call_list_may_have_any_format(tmp_path: Path) -> None:
    """Text, CSV and Parquet with the number written in many ways hold the same numbers."""
    ways = ["+1 650-555-0100", "+16505550101", "1 (650) 555-0102"]
    expected = {16505550100, 16505550101, 16505550102}
    text, table, parquet = tmp_path / "a.txt", tmp_path / "a.csv", tmp_path / "a.parquet"
    text.write_text("\n".join(ways) + "\n")
    table.write_text("id;Phone Number\n" + "".join(f"{i};{way}\n" for i, way in enumerate(ways)))
    pl.DataFrame({"msisdn": [16505550100, 16505550101, 16505550102]}).write_parquet(parquet)
    assert read(text) == read(table) == read(parquet) == expected


def test_a_list_without_header_keeps_its_first_number(tmp_path: Path) -> None:
    """One number and nothing else: it is not lost as the name of a column."""
    path = tmp_path / "one.txt"
    path.write_text("+16505550100\n")
    assert read(path) == {16505550100}


def test_bare_digits_valid_both_ways_are_suppressed_both_ways(tmp_path: Path) -> None:
    """Nobody knows which was meant, so neither may be called."""
    path = tmp_path / "de.csv"
    path.write_text("phone\n49391500080\n")
    assert read(path, region="DE") == {49391500080, 4949391500080}


def test_national_numbers_need_their_region(tmp_path: Path) -> None:
    """With the region they are understood; without it the list is refused instead of protecting nobody."""
    path = tmp_path / "gb.csv"
    path.write_text("phone\n07700 900123\n07700 900124\n")
    assert read(path, region="GB") == {447700900123, 447700900124}
    with pytest.raises(ListProblem, match="2 of 2 rows"):
        read(path)


def test_the_column_must_be_told(tmp_path: Path) -> None:
    """Several columns, none called like a phone: it is asked for, never guessed."""
    path = tmp_path / "a.csv"
    path.write_text("id,who to leave alone\n1234567,+16505550100\n")
    with pytest.raises(ListProblem) as told:
        read(path)
    assert "--suppress-column" in told.value.hint
    assert read(path, column="who to leave alone") == {16505550100}
    with pytest.raises(UsageProblem, match="who"):
        read(path, column="who")


def test_a_few_unreadable_rows_are_told_many_are_refused(tmp_path: Path) -> None:
    """One in two hundred is a notice; three in two hundred stop the run. Empty cells are neither."""
    path = tmp_path / "a.csv"
    good = [number(i) for i in range(199)]
    path.write_text("\n".join(["phone", *good, "n/a", '""', '""']) + "\n")
    found = read_suppression(str(path), region=None, column=None, spool_dir=tmp_path)
    assert (found.unreadable_rows, len(found.numbers)) == (1, 199)
    path.write_text("\n".join(["phone", *good, "n/a", "none", "7.9161E+10"]) + "\n")
    with pytest.raises(ListProblem):
        read(path)


# --- a run ----------------------------------------------------------------------------------------------------------


def test_numbers_on_a_list_are_not_called(shop: Shop, platform: Platform) -> None:
    """Two lists of different formats: what is on either is suppressed, the rest is sent, and it adds up."""
    rows = people(10)
    source = write_list(shop.folder / "list.csv", rows)
    first, second = shop.folder / "a.txt", shop.folder / "b.csv"
    first.write_text(number(1) + "\n")
    second.write_text(f"name,mobile\nx,{number(2).removeprefix('+')}\ny,{number(5)}\n")
    said = shop.run(source, "--suppress", first, "--suppress", second)
    assert said.code == 0
    assert (said.json["accepted"], said.json["suppressed"], said.json["read"]) == (7, 3, 10)
    platform.has_each_once(number(i) for i in range(10) if i not in (1, 2, 5))
    assert "do-not-call" in shop.importer("explain", "row", "3", "--ledger", shop.ledger).out


def test_a_list_kept_in_the_ledger_is_honoured_by_every_run(shop: Shop, platform: Platform) -> None:
    """`dnc add` and `dnc import` hold for runs that say nothing of it; `dnc remove` lets the number be called."""
    source = write_list(shop.folder / "list.csv", people(6))
    registry = write_list(shop.folder / "registry.csv", [{"phone": number(1)}, {"phone": number(2)}])
    kept = ("--ledger", shop.ledger, "--json")
    assert shop.importer("dnc", "add", number(0), *kept).json["added"] == 1
    assert shop.importer("dnc", "import", registry, "--name", "registry", *kept).json["numbers"] == 2
    said = shop.run(source)
    assert (said.json["accepted"], said.json["suppressed"]) == (3, 3)
    assert shop.importer("dnc", "stats", *kept).json == {"lists": 2, "numbers": 3, "by_country_code": {"+1": 3}}
    assert shop.importer("explain", number(0), "--ledger", shop.ledger).out.startswith(f"{number(0)}: is on the do-not")
    assert shop.importer("dnc", "remove", number(2), *kept).json["removed"] == {"registry": 1}
    again = shop.run(source)
    assert (again.json["accepted"], again.json["suppressed"], again.json["duplicate"]) == (1, 2, 3)
    platform.has_each_once(number(i) for i in (2, 3, 4, 5))


def test_a_list_in_the_configuration_is_honoured(shop: Shop, platform: Platform) -> None:
    """Every option may stand in importer.toml, a list of files too."""
    source = write_list(shop.folder / "list.csv", people(3))
    (shop.folder / "a, b.txt").write_text(number(0) + "\n")
    (shop.folder / "importer.toml").write_text('suppress = ["a, b.txt"]\nnot_if_called_within = "7d"\n')
    with contextlib.chdir(shop.folder):
        assert shop.run(source).json["suppressed"] == 1
    platform.has_each_once([number(1), number(2)])


@pytest.mark.parametrize("content", [None, b"", b"\x00\x01\x02\xff" * 40, b"phone\nn/a\nnone\n", b'phone\n"+1650'])
def test_a_list_that_cannot_be_honoured_stops_the_run(shop: Shop, platform: Platform, content: bytes | None) -> None:
    """Missing, empty, junk, no numbers, cut in the middle: exit 4, nothing sent, nothing kept."""
    source = write_list(shop.folder / "list.csv", people(3))
    suppress = shop.folder / "suppress.csv"
    if content is not None:
        suppress.write_bytes(content)
    said = shop.run(source, "--suppress", suppress)
    assert said.code == 4
    assert shop.importer("check", source, "--suppress", suppress, "--json").code == 4
    assert shop.importer("dnc", "import", suppress, "--ledger", shop.ledger, "--json").code == 4
    assert platform.sends() == []


def test_a_damaged_list_in_the_ledger_stops_the_run(shop: Shop, platform: Platform) -> None:
    """The bytes are not those that were written: exit 5 before anything is sent."""
    source = write_list(shop.folder / "list.csv", people(3))
    assert shop.importer("dnc", "add", number(0), "--ledger", shop.ledger).code == 0
    with closing(sqlite3.connect(shop.ledger)) as file, file:
        file.execute("UPDATE dnc_parts SET bitmap = zeroblob(length(bitmap))")
    assert shop.run(source).code == 5
    assert platform.sends() == []


def test_check_counts_what_a_list_holds_back(shop: Shop) -> None:
    """`check` reads the same lists, those of the ledger too, and says how many rows they hold back."""
    source = write_list(shop.folder / "list.csv", people(4))
    (shop.folder / "a.txt").write_text(number(0) + "\n")
    assert shop.importer("dnc", "add", number(1), "--ledger", shop.ledger).code == 0
    ledger = ("--ledger", shop.ledger)
    said = shop.importer("check", source, "--suppress", shop.folder / "a.txt", *ledger, "--json")
    assert (said.json["suppressed"], said.json["pending"]) == (2, 2)
    assert "on a do-not-call list" in shop.importer("check", source, *ledger).out


def test_a_suppressed_row_may_be_called_once_it_is_off_the_list(shop: Shop, platform: Platform) -> None:
    """Suppressed is not a memory: without the list, the finished list's row is new."""
    source = write_list(shop.folder / "list.csv", people(3))
    (shop.folder / "a.txt").write_text(number(0) + "\n")
    assert shop.run(source, "--suppress", shop.folder / "a.txt").json["suppressed"] == 1
    assert shop.run(source).json["accepted"] == 1
    platform.has_each_once(number(i) for i in range(3))


# --- the last look --------------------------------------------------------------------------------------------------


def frozen(bench: Bench, rows: int) -> int:
    """An import whose batches are frozen and were never armed."""
    bench.desk.says_send = False
    report = bench.run(write_list(bench.folder / "list.csv", people(rows)))
    assert report.balance.pending == rows
    bench.desk.says_send = True
    return report.import_id


def test_a_frozen_row_put_on_a_list_is_taken_out_of_its_batch(bench: Bench, platform: Platform) -> None:
    """Before a batch is first armed: hit rows become suppressed, the others go with bytes and a key of their own."""
    import_id = frozen(bench, 10)  # batches of 4, 4 and 2 rows
    gone = [number(1), number(3), number(8), number(9)]
    with bench.open_ledger(bench.ledger_path) as ledger:
        ledger.dnc.add("x", number_set([as_int(each) for each in gone]), now_ms=1)
        seed = ledger.intake.campaign_by_id(1).key_seed
        batches = ledger.sends.frozen(import_id, 0, 10)
        assert [ledger.last_look.hits(each) for each in batches] == [[1, 3], [], [0, 1]]
        first = ledger.last_look.withdraw_rows(batches[0], [1, 3], key_seed=seed, now_ms=2)
        assert ledger.last_look.withdraw_rows(batches[2], [0, 1], key_seed=seed, now_ms=2) is None
        balance = ledger.view.balance(import_id)
        assert balance.is_even
        assert (balance.suppressed, balance.pending) == (4, 6)
        assert first is not None
        part = ledger.sends.load(first)
        assert part.batch.size_rows == 2
        assert part.request_key not in {each.request_key for each in batches}
        assert ledger.last_look.hits(part) == []
        assert ledger.view.skip_at(import_id, 0, 3) == [("suppressed", 0)]
    report = bench.send(import_id)
    assert report.exit_code == 0
    assert (report.balance.accepted, report.balance.suppressed) == (6, 4)
    platform.has_each_once(number(i) for i in range(10) if number(i) not in gone)


def test_a_list_said_to_send_is_honoured(shop: Shop, platform: Platform) -> None:
    """Rows frozen by an earlier run, a list named only now: they are suppressed, though the list is not read again."""
    source = write_list(shop.folder / "list.csv", people(6))
    suppress = shop.folder / "a.txt"
    suppress.write_text(number(3) + "\n" + number(0) + "\n")
    assert shop.run(source, "--first", "1").json["pending"] == 5
    said = shop.send("--suppress", suppress)
    assert said.code == 0
    assert (said.json["accepted"], said.json["suppressed"], said.json["pending"]) == (5, 1, 0)
    platform.has_each_once(number(i) for i in (0, 1, 2, 4, 5))


def test_a_row_taken_out_leaves_no_claim(bench: Bench, platform: Platform) -> None:
    """Once it is off the list again, the same list calls it: its key was given up."""
    import_id = frozen(bench, 3)
    with bench.open_ledger(bench.ledger_path) as ledger:
        seed = ledger.intake.campaign_by_id(1).key_seed
        ledger.last_look.withdraw_rows(ledger.sends.frozen(import_id, 0, 1)[0], [0], key_seed=seed, now_ms=2)
    assert bench.send(import_id).balance.accepted == 2
    report = bench.run(bench.folder / "list.csv")
    assert (report.balance.accepted, report.balance.duplicate) == (1, 2)
    platform.has_each_once(number(i) for i in range(3))


def test_what_may_have_been_sent_is_not_cut(bench: Bench) -> None:
    """A batch that was armed is refused, and nothing changes."""
    import_id = bench.run(write_list(bench.folder / "list.csv", people(3))).import_id
    with bench.open_ledger(bench.ledger_path) as ledger:
        sendable = ledger.sends.load(1)
        with pytest.raises(LedgerProblem):
            ledger.last_look.withdraw_rows(sendable, [0], key_seed="0" * 64, now_ms=2)
        assert ledger.view.balance(import_id).accepted == 3


# --- the ledger's format --------------------------------------------------------------------------------------------


def test_an_older_ledger_is_backed_up_and_then_migrated(tmp_path: Path) -> None:
    """A file of format 1 with skips in it: a copy is kept, the skips are all there, and a new reason is taken."""
    from sqlite_utils import Database

    path = tmp_path / "ledger.db"
    with closing(sqlite3.connect(path)) as old:
        migration_set().apply(Database(old, execute_plugins=False), stop_before="m0002_do_not_call")
        old.execute("INSERT INTO campaigns VALUES (1, 'c', 'o', x'00', ?, 1)", ["0" * 64])
        old.execute(
            "INSERT INTO imports (id, campaign_id, round, list_name, source_state, mapping, settings, batch_size_rows, "
            "started_ms) VALUES (1, 1, '', 'list', 'complete', '{}', '{}', 2, 1)"
        )
        old.execute("INSERT INTO skips VALUES (7, 1, 'already', 1, '[[0,2,1]]')")
        old.commit()
        assert old.execute("PRAGMA user_version").fetchone() == (1,)
    with opened(path) as ledger:
        assert ledger.store.all("SELECT * FROM skips") == [(7, 1, "already", 1, "[[0,2,1]]")]
        with ledger.store.transaction():
            ledger.store.insert("skips", import_id=1, reason="recent", size_rows=1, pack="[[0,3,0]]")
    with closing(sqlite3.connect(path)) as now, closing(sqlite3.connect(tmp_path / "ledger.db.v1.backup")) as backup:
        assert now.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
        assert now.execute("SELECT reason, row_no, row_id FROM skipped_rows").fetchall() == [
            ("already", 2, 1),
            ("recent", 3, 0),
        ]
        assert backup.execute("PRAGMA user_version").fetchone() == (1,)
        assert backup.execute("SELECT count(*) FROM skips").fetchone() == (1,)
        assert (tmp_path / "ledger.db.v1.backup").stat().st_mode & 0o077 == 0


def test_a_number_typed_without_a_plus_is_read_back(shop: Shop) -> None:
    """Or nobody would notice that (202) 555-0171, meant for Washington, kept somebody in Cairo from being called."""
    ledger = ("--ledger", shop.ledger)
    said = shop.importer("dnc", "add", "(202) 555-0171", "+12025550172", *ledger)
    assert said.code == 0
    assert "'(202) 555-0171' was read country code first: +2025550171, in EG" in said.err
    assert "+12025550172" not in said.err
    meant = shop.importer("dnc", "add", "(202) 555-0171", "--region", "US", *ledger)
    assert "read country code first" not in meant.err
    assert "1 number added" in meant.out


def test_digits_that_are_a_number_both_ways_are_kept_both_ways(shop: Shop) -> None:
    """As lists from files are: whichever was meant is not called."""
    said = shop.importer("dnc", "add", "49391500080", "--region", "DE", "--ledger", shop.ledger)
    assert "is a number both ways: +4949391500080 and +49391500080. Both are meant." in said.err
    assert "2 numbers added" in said.out
    gone = shop.importer("dnc", "remove", "49391500080", "--region", "DE", "--ledger", shop.ledger)
    assert "Removed: 2" in gone.out
