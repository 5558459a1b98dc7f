"""The one table of all numbers, and how it grows."""

import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import phone_strings
import phonenumbers
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from importer.phones import damage
from importer.phones.world import World


def test_threads_that_meet_new_calling_codes_at_once_find_the_same_answers():
    """Each looks up numbers of other codes in a table that the others are filling."""
    codes = phone_strings.CODES[3::30]
    columns = [pl.Series([f"{code}{digits}" for digits in ("2345678", "65012345", "0301234567")]) for code in codes]

    def facts(world: World, column: pl.Series) -> list[object]:
        table, answers = world.look_up(column)
        return [table.fact(name, answers).to_list() for name in ("code", "region", "type", "fault")]

    shared = World()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda column: facts(shared, column), columns))
    assert found == [facts(World(), column) for column in columns]


def test_only_the_calling_codes_met_are_loaded():
    """A list of one country does not pay for the world."""
    world = World()
    table, answers = world.look_up(pl.Series(["393123456789", "0393123456789", "39", "", "999123456"]))
    assert table.fact("fault", answers).to_list() == [
        None,
        "no_country_code",
        "too_short",
        "too_short",
        "no_country_code",
    ]
    foreign = world.table.look_up(pl.Series(["16505550100", "393123456789"]))
    assert world.table.fact("is_loaded", foreign).to_list() == [False, True]


@given(cells=st.lists(st.text("0123456789 eE.,;/+|&\n\t()-", max_size=40), max_size=30))
@settings(max_examples=100, deadline=None)
def test_a_cell_passed_at_first_look_matches_no_sign_of_damage(cells):
    """The quick look may suspect too much, never too little."""
    column = pl.Series(cells, dtype=pl.String)
    passed = column.filter(~column.str.contains(damage._SUSPICION))
    for sign in (damage._EMPTY, damage._SCIENTIFIC, damage._DECIMAL, damage._TWO):
        assert not passed.str.contains(sign).any()


def test_library_and_table_agree_on_random_digits_behind_calling_codes():
    """Bare validity of international digits, without any text around them."""
    chance = random.Random(11)
    numbers = [
        f"{code}{''.join(chance.choices('123456789', k=length))}"
        for code in phone_strings.CODES
        for length in (7, 9, 10)
    ]
    table, answers = World().look_up(pl.Series(numbers))
    is_valid = table.fact("fault", answers).is_null()
    is_settled = table.fact("is_settled", answers)
    for number, ours, settled in zip(numbers, is_valid, is_settled, strict=True):
        if settled:
            assert ours == phonenumbers.is_valid_number(phonenumbers.parse("+" + number)), number


def test_threads_that_begin_at_once_share_one_table() -> None:
    """Ids of one table mean nothing to another. In a process of its own, where nobody has made one yet."""
    source = (
        "import threading\n"
        "from importer.phones.world import world\n"
        "start, found = threading.Barrier(4), []\n"
        "def look():\n"
        "    start.wait(10)\n"
        "    found.append(world())\n"
        "threads = [threading.Thread(target=look) for _ in range(4)]\n"
        "[each.start() for each in threads]\n"
        "[each.join() for each in threads]\n"
        "print(len(found), len(set(map(id, found))))\n"
    )
    said = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True, timeout=60)
    assert said.stdout.split() == ["4", "1"]
