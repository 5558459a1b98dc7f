"""A mapping file says what becomes of each column; typed values have keys of their own, text those it always had."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import phonenumbers
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from phonenumbers import timezone
from workbench import Bench, Platform, Shop, number, people, write_list

from importer import keys, phones
from importer.body import item_column
from importer.errors import UsageProblem
from importer.intake import make_plan, read_mapping
from importer.intake.mapping import Field, parse_mapping
from importer.intake.prepare import prepare
from importer.intake.values import canonical_json, nested, payload_values
from importer.intake.zones import zone_of
from importer.phones import PhoneRules
from importer.sources import Chunk
from importer.sources.records import empty_bad

SEED = "5e" * 32


def prepared(toml: str, rows: list[dict[str, str | None]], **options: Any) -> Any:
    """The rows as intake would have them under a mapping."""
    frame = pl.DataFrame(rows, schema=dict.fromkeys(rows[0], pl.String))
    plan = make_plan(
        frame.columns,
        phone_column=options.pop("phone_column", None),
        once_per=options.pop("once_per", "row"),
        rules=PhoneRules(**options),
        mapping=parse_mapping(tomllib.loads(toml), "map.toml"),
    )
    row_nos = pl.Series(range(2, 2 + frame.height), dtype=pl.Int64)
    return prepare(Chunk(file_no=0, rows=frame, row_nos=row_nos, bad=empty_bad()), plan, seed=SEED, round_name="")


def items(toml: str, rows: list[dict[str, str | None]], **options: Any) -> list[dict[str, Any]]:
    made = prepared(toml, rows, **options)
    assert made.rejects == []
    return [json.loads(item) for item in made.good["item"]]


def payload(toml: str, **cells: str | None) -> dict[str, Any]:
    """The payload of one row with these cells."""
    [item] = items(toml, [{"phone": number(0), **cells}])
    found: dict[str, Any] = item.get("payload", {})
    return found


def reject(toml: str, **cells: str | None) -> tuple[str | None, str, str]:
    [found] = prepared(toml, [{"phone": number(0), **cells}]).rejects
    return found.column, found.reason, found.explanation


# --- columns and names ----------------------------------------------------------------------------------------------


def test_columns_are_renamed_dropped_and_added() -> None:
    """Named columns under new names, others under their own unless dropped, constants in every row."""
    toml = """
    drop = ["note"]
    [payload]
    client = "Full name"
    campaign = { constant = "autumn" }
    tries = { constant = 3 }
    share = { constant = 0.50 }
    vip = { constant = true }
    tags = { constant = ["b", "a"] }
    """
    assert payload(toml, **{"Full name": "Ann", "note": "x", "city": "Bonn"}) == {
        "client": "Ann", "city": "Bonn", "campaign": "autumn", "tries": 3, "share": 0.5, "vip": True,
        "tags": ["b", "a"],
    }  # fmt: skip
    assert payload('rest = "drop"\n[payload]\na = "a"', a="1", b="2") == {"a": "1"}


def test_defaults_stand_in_for_empty_cells() -> None:
    """Empty, blank and absent cells take the default, with its type; others keep their own."""
    toml = '[payload]\na = { column = "a", default = "friend" }\nb = { column = "b", type = "integer", default = 7 }'
    assert payload(toml, a="", b=" ") == {"a": "friend", "b": 7}
    assert payload(toml, a=None, b=None) == {"a": "friend", "b": 7}
    assert payload(toml, a="Ann", b="0") == {"a": "Ann", "b": 0}


def test_empty_cells_and_nulls_are_kept_or_left_out() -> None:
    """The vendor's way is an empty text and no field for what is not there; both can be turned round."""
    cells = {"a": "", "b": None, "c": "x"}
    assert payload("", **cells) == {"a": "", "c": "x"}
    assert payload('empty = "drop"', **cells) == {"c": "x"}
    assert payload('nulls = "keep"', **cells) == {"a": "", "b": None, "c": "x"}
    typed = '{ column = "a", type = "integer" }'
    assert payload(f"[payload]\na = {typed}", **cells) == {"c": "x"}
    assert payload(f'nulls = "keep"\n[payload]\na = {typed}', **cells) == {"a": None, "b": None, "c": "x"}


def test_dots_nest_only_when_asked() -> None:
    """A name with dots is a name; with `nested` it is a path, and an object without members is absent."""
    cells = {"who.name": "Ann", "who.address.city": "Bonn", "x": "1"}
    assert payload("", **cells) == cells
    assert payload("nested = true", **cells) == {"who": {"name": "Ann", "address": {"city": "Bonn"}}, "x": "1"}
    assert payload('nested = true\nempty = "drop"', **{"who.name": "", "x": "1"}) == {"x": "1"}
    toml = 'nested = true\n[payload]\n"a.n" = { column = "n", type = "integer" }\n"a.s" = "s"'
    assert payload(toml, n="5", s='say "hi"\n') == {"a": {"n": 5, "s": 'say "hi"\n'}}


def test_the_mapping_names_phone_and_region() -> None:
    """Options go before it."""
    rows: list[dict[str, str | None]] = [{"a": "(201) 555-0123", "land": "US", "b": "+12015550124"}]
    assert items('phone = "a"\nregion = "land"', rows)[0]["phone"] == "12015550123"
    assert items('phone = "a"', rows, phone_column="b")[0]["phone"] == "12015550124"


# --- types ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "cell", "expected"),
    [
        ('type = "integer"', " +007 ", "7"),
        ('type = "integer"', "-0", "0"),
        ('type = "number"', "007.50", "7.5"),
        ('type = "number"', "-0.0", "0"),
        ('type = "number"', "10", "10"),
        ('type = "number", decimal = ","', "1,20", "1.2"),
        ('type = "number"', "123456789012345678901234567890.5", "123456789012345678901234567890.5"),
        ('type = "boolean"', "Yes", "true"),
        ('type = "boolean"', "0", "false"),
        ('type = "boolean", true = "да", false = ["нет"]', "ДА", "true"),
        ('type = "json"', '{"b": 1.50, "a": [1, null]}', '{"a":[1,null],"b":1.50}'),
        ('type = "date", format = "%d.%m.%Y"', "03.02.1999", '"1999-02-03"'),
        ('type = "date", format = ["%Y-%m-%d", "%d.%m.%Y"]', "03.02.1999", '"1999-02-03"'),
        ('type = "time"', "9:05", '"09:05"'),
        ('type = "time"', "9 PM", '"21:00"'),
        ('format = "%d.%m.%Y %H:%M", zone = "Europe/Berlin"', "01.07.2026 10:00", '"2026-07-01T10:00:00+02:00"'),
        ('type = "datetime", zone = "UTC"', "2026-07-01T10:00", '"2026-07-01T10:00:00+00:00"'),
        ('type = "datetime"', "2026-07-01T10:00:00Z", '"2026-07-01T10:00:00+00:00"'),
    ],
)
def test_a_typed_cell_becomes_its_value(options: str, cell: str, expected: str) -> None:
    """Written as JSON, to the letter: no float ever touches a number."""
    made = prepared(f'[payload]\nv = {{ column = "v", {options} }}', [{"phone": number(0), "v": cell}])
    assert f'"payload":{{"v":{expected}}}' in made.good["item"][0]


@pytest.mark.parametrize(
    ("options", "cell", "must"),
    [
        ('type = "integer"', "1.5", "whole number"),
        ('type = "integer"', "1" * 19, "at most 18 digits"),
        ('type = "number"', "1e5", "12.5"),
        ('type = "number"', "1,5", "12.5"),
        ('type = "boolean"', "perhaps", "true, yes, 1, false, no, 0"),
        ('type = "json"', '{"a":1,"a":2}', "JSON"),
        ('type = "json"', "NaN", "JSON"),
        ('type = "json"', "[" * 100_000, "JSON"),
        ('type = "date", format = "%d.%m.%Y"', "1999-02-03", "%d.%m.%Y"),
        ('type = "datetime"', "2026-07-01T10:00", "offset"),
        ('type = "datetime", zone = "Europe/Berlin"', "2026-03-29T02:30", "does not exist"),
        ('type = "time"', "25:00", "time of day"),
    ],
)
def test_a_cell_that_cannot_take_its_type_is_a_reject(options: str, cell: str, must: str) -> None:
    """The row is not sent; the reject names the column, the field and what it must be."""
    column, reason, explanation = reject(f'[payload]\nfield = {{ column = "v", {options} }}', v=cell)
    assert (column, reason) == ("v", "bad_value")
    assert explanation.startswith(("field must ", "field is "))
    assert must in explanation


@settings(deadline=None, max_examples=60)
@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
))  # fmt: skip
@example({"\x7f": "\u2028", "\n": '"'})
def test_canonical_json_is_what_the_standard_library_says(value: object) -> None:
    """Sorted names, no spaces, the same escapes."""
    assert canonical_json(value) == json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(st.sampled_from(["a", "a.b", "a.b.c", "z.é", 'z."', "z. "]), st.text(), min_size=1))
def test_nested_objects_are_canonical_json(cells: dict[str, str]) -> None:
    """What columns make at column speed is what the plain recipe makes, so equal content has one key."""
    if any(f"{name}." in other for name in cells for other in cells if other.startswith(f"{name}.")):
        return
    frame = pl.DataFrame({name: [value] for name, value in cells.items()})
    made = nested([(name, "s", pl.col(name)) for name in cells])
    plain: dict[str, Any] = {}
    for name, value in cells.items():
        place, *path = plain, *name.split(".")
        for step in path[:-1]:
            place = place.setdefault(step, {})
        place[path[-1]] = value
    for name, letter, expression in made:
        text = frame.select(expression).item()
        assert text == (canonical_json(plain[name]) if letter == "j" else plain[name])


# --- keys -----------------------------------------------------------------------------------------------------------


def test_typed_values_have_keys_of_their_own() -> None:
    """`"5"`, 5, true, null and an object are different contents; golden vectors pin the additions to recipe 1."""
    phone = "+16505550100"
    golden = {
        (): "94aff25d-cdd2-89a3-b527-25b42beb9b5f",
        (("v", "s", "5"),): "c98820b1-0a10-887d-9183-734fa730833a",
        (("v", "n", "5"),): "c92de0e0-42dc-8f54-91a6-9d2d953d8946",
        (("v", "b", "true"),): "179009e7-9727-8dce-a916-c2b19e598ecb",
        (("v", "z", ""),): "63b131ed-d644-83dc-934e-33c0dc5cada4",
        (("v", "j", '{"a":[1,null],"b":1.50}'),): "25630752-30da-8ce0-b00b-698bdf9686be",
    }
    made = {fields: keys.as_uuid(keys.row_key(SEED, "", phone, {}, {}, fields)) for fields in golden}
    assert made == golden
    assert len(set(made.values())) == len(golden)
    assert keys.row_key(SEED, "", phone, {"v": "5"}, {}) == keys.row_key(SEED, "", phone, {}, {}, [("v", "s", "5")])


LETTERED = st.one_of(
    st.tuples(st.just("s"), st.text()),
    st.tuples(st.just("n"), st.integers().map(str)),
    st.tuples(st.just("b"), st.sampled_from(["true", "false"])),
    st.tuples(st.just("z"), st.just("")),
    st.tuples(st.just("j"), st.sampled_from(["[]", '{"a":1}'])),
)


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(st.text(max_size=5), LETTERED, max_size=4))
def test_the_typed_column_recipe_is_the_plain_one(fields: dict[str, tuple[str, str]]) -> None:
    """Keys made at column speed equal the reference, and the item says the same values."""
    flat = [(name, letter, value) for name, (letter, value) in fields.items()]
    columns = [(name, letter, pl.lit(value)) for name, letter, value in flat]
    # A name may stand for several letters, of which a row has one.
    columns += [(name, "z" if letter != "z" else "n", pl.lit(None, dtype=pl.String)) for name, letter, _ in flat]
    made = pl.select(
        key=keys.row_key_column(SEED, "r", pl.lit("+16505550100"), {}, {}, columns),
        item=item_column(pl.lit("+16505550100"), {}, {}, columns),
    )
    assert made["key"][0] == keys.row_key(SEED, "r", "+16505550100", {}, {}, flat)
    says = {"s": lambda text: text, "z": lambda _: None}
    expected = {name: says.get(letter, json.loads)(value) for name, (letter, value) in fields.items()}
    assert json.loads(made["item"][0]).get("payload", {}) == expected


def test_a_mapping_that_changes_nothing_keeps_the_keys(shop: Shop, platform: Platform) -> None:
    """The starter that `importer map` writes, unedited: every row is the row it was without."""
    rows = [{**row, "maxAttempts": "3", "when": "2026-01-01", 'a "b".c': ""} for row in people(5)]
    source = write_list(shop.folder / "list.csv", rows)
    target = shop.folder / "map.toml"
    assert shop.run(source).json["accepted"] == 5
    assert shop.importer("map", source, "--output", target).code == 0
    said = shop.run(source, "--map", target)
    assert (said.code, said.json["duplicate"]) == (0, 5)
    assert len(platform.phones()) == 5
    assert shop.importer("map", source).out == target.read_text()
    assert shop.importer("map", source, "--output", target).code == 2


def test_a_row_keeps_its_identity_under_a_mapping() -> None:
    """`--once-per COLUMN` means the list's column, renamed or dropped or not."""
    rows: list[dict[str, str | None]] = [{"phone": number(0), "id": "7", "name": "Ann"}]
    plain = prepared("", rows, once_per="id").good["identity"][0]
    for toml in ('drop = ["id"]', '[payload]\nnr = { column = "id", type = "integer" }'):
        assert prepared(toml, rows, once_per="id").good["identity"][0] == plain


def test_a_changed_mapping_reopens_an_unfinished_import(bench: Bench, platform: Platform) -> None:
    """What was never armed is cut anew under the new mapping; an unchanged one goes on."""
    source = write_list(bench.folder / "list.csv", people(4))
    one = parse_mapping(tomllib.loads('drop = ["name"]'), "map.toml")
    two = parse_mapping(tomllib.loads('drop = ["name", "order"]'), "map.toml")
    bench.desk.says_send = False
    first = bench.run(source, mapping=one)
    assert bench.run(source, mapping=one).is_resumed
    bench.desk.says_send = True
    report = bench.run(source, mapping=two)
    assert (report.import_id, report.balance.accepted, report.balance.withdrawn) == (first.import_id, 4, 4)
    platform.has_each_once(number(i) for i in range(4))
    assert platform.payloads() == [{}] * 4


# --- call policy ----------------------------------------------------------------------------------------------------


def test_policy_is_made_from_columns_as_people_write_them() -> None:
    """Dates with a stated zone, times of day from two columns, constants; checked by the documented rules."""
    toml = """
    [policy]
    startDateTime = { column = "after", format = "%d.%m.%Y %H:%M", zone = "Europe/Moscow" }
    finishDateTime = "until"
    allowedTime = { from = "from", to = "to", days = ["mon", "tue"] }
    allowedDays = { constant = ["mon", "tue"] }
    maxAttempts = { constant = 3 }
    dialerPriority = { column = "prio", default = 5 }
    """
    cells = {"after": "01.02.2026 09:30", "until": "2026-02-02T00:00:00+03:00", "from": "9", "to": "18:00", "prio": ""}
    rows: list[dict[str, str | None]] = [
        {"phone": number(0), **cells},
        {"phone": number(1), **dict.fromkeys(cells, "")},
    ]
    first, second = items(toml, rows)
    hours = [{"localTimeFrom": "09:00", "localTimeTo": "18:00"}]
    assert first == {
        "phone": first["phone"], "startDateTime": "2026-02-01T09:30:00+03:00",
        "finishDateTime": "2026-02-02T00:00:00+03:00", "allowedTime": {"mon": hours, "tue": hours},
        "allowedDays": ["mon", "tue"], "maxAttempts": 3, "dialerPriority": 5,
    }  # fmt: skip
    assert second == {
        "phone": second["phone"], "allowedDays": ["mon", "tue"], "maxAttempts": 3, "dialerPriority": 5,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("line", "cells", "column", "must"),
    [
        ('startDateTime = { column = "a", format = "%d.%m.%Y", zone = "UTC" }', {"a": "x"}, "a", "%d.%m.%Y"),
        ('allowedTime = { from = "a", to = "b" }', {"a": "9:00", "b": ""}, "a", "time of day"),
        ('allowedTime = { from = "a", to = "b" }', {"a": "19:00", "b": "9:00"}, "a", "before"),
        ('maxAttempts = "a"', {"a": "99"}, "a", "from 1 to 50"),
        ('maxAttempts = { column = "a", default = 99 }', {"a": ""}, "a", "from 1 to 50"),
    ],
)
def test_a_cell_that_breaks_a_policy_rule_is_a_reject(line: str, cells: dict[str, str], column: str, must: str) -> None:
    """Under the name of the column it came from."""
    found = reject(f"[policy]\n{line}", **cells)
    assert found[:2] == (column, "bad_policy")
    assert must in found[2]


def test_the_zone_comes_from_the_number_where_there_is_one() -> None:
    """Germany has one zone; Russia has many: then absent, refused, or the zone that was named, as was said."""
    rows: list[dict[str, str | None]] = [{"phone": "+4915123456789"}, {"phone": "+79123456789"}]

    def zones(otherwise: str) -> Any:
        return prepared(f'[policy]\ngmtZone = {{ from = "number", otherwise = "{otherwise}" }}', rows)

    found = [json.loads(item).get("gmtZone") for item in zones("absent").good["item"]]
    assert found == ["Europe/Berlin", None]
    found = [json.loads(item).get("gmtZone") for item in zones("Europe/Moscow").good["item"]]
    assert found == ["Europe/Berlin", "Europe/Moscow"]
    [refused] = zones("reject").rejects
    assert (refused.row_no, refused.reason) == (3, "bad_policy")


def test_zones_are_those_of_phonenumbers() -> None:
    """On an example of every type of every region, and on neighbours of each."""
    written = []
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        for kind in range(11):
            found = phonenumbers.example_number_for_type(region, kind)
            if found is not None:
                text = phonenumbers.format_number(found, phonenumbers.PhoneNumberFormat.E164)
                written += [text, *(text[:place] + "7" + text[place + 1 :] for place in range(3, 7))]
    judged = phones.check(pl.Series(written), PhoneRules(types=frozenset(phones.TYPES)))
    for text, zone in zip(judged["e164"], zone_of(judged["e164"], judged["type"]), strict=True):
        known = () if text is None else timezone.time_zones_for_number(phonenumbers.parse(text, None))
        assert zone == (known[0] if len(known) == 1 and known[0] != timezone.UNKNOWN_TIMEZONE else None)


# --- what is wrong with a mapping -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ("pyload = 1", "Did you mean 'payload'?"),
        ('[payload]\na = { colunm = "x" }', "Did you mean 'column'?"),
        ('[payload]\na = { column = "x", type = "integr" }', "Did you mean 'integer'?"),
        ('[policy]\nmaxAttempt = "x"', "Did you mean 'maxAttempts'?"),
        ('rest = "dorp"', "Did you mean 'drop'?"),
        ("[payload]\na = 5", "column's name"),
        ('[payload]\na = { default = "x" }', "needs one of"),
        ('[payload]\na = { column = "x", constant = 1 }', "needs one of"),
        ('[payload]\na = { from = "x", to = "y" }', "two columns"),
        ("[payload]\na = { constant = nan }", "constant must be"),
        ("[payload]\na = { constant = 2026-01-01 }", "constant must be"),
        ('[payload]\na.b = "x"', "no setting"),
        ('[policy]\nmaxAttempts = { column = "x", type = "integer" }', "needs no type"),
        ('[policy]\nmaxAttempts = { column = "x", zone = "UTC" }', "format and zone"),
        ('[policy]\nstartDateTime = { column = "x", zone = "Europe/Pariss" }', "no time zone"),
        ('[policy]\ngmtZone = { from = "number" }', "several zones"),
        ('[policy]\ngmtZone = { from = "phone", otherwise = "absent" }', 'from = "number"'),
        ('[policy]\nallowedTime = { from = "a", to = "b", days = ["monday"] }', "Did you mean 'mon'?"),
        ("nested = 1", "true or false"),
        ("drop = 1", "list of texts"),
    ],
)
def test_a_slip_in_a_mapping_is_told(toml: str, says: str) -> None:
    """With its place and the nearest word, before a row is read."""
    with pytest.raises(UsageProblem) as told:
        parse_mapping(tomllib.loads(toml), "map.toml")
    assert told.value.message.startswith("map.toml")
    assert says in told.value.message + told.value.hint


def test_columns_a_mapping_names_must_be_there(shop: Shop) -> None:
    """Exit 2 with the nearest column; two fields of one name are refused; a missing file is named."""
    source = write_list(shop.folder / "list.csv", people(2))
    target = shop.folder / "map.toml"

    def says(text: str) -> str:
        target.write_text(text)
        said = shop.run(source, "--map", target)
        assert said.code == 2
        return said.err

    assert "Did you mean 'order'?" in says('[payload]\na = "ordr"')
    assert "Did you mean 'name'?" in says('drop = ["nam"]')
    assert "two fields would be called 'order'" in says('[payload]\norder = "name"')
    assert "two fields would be called 'name'" in says('nested = true\n[payload]\n"name.x" = "order"')
    assert "is no TOML" in says("[payload")
    missing = shop.run(source, "--map", shop.folder / "mapp.toml")
    assert missing.code == 2
    assert "map.toml?" in missing.err


def test_a_mapping_may_be_named_in_the_configuration_and_is_used_by_check(shop: Shop, platform: Platform) -> None:
    """`map` in importer.toml; `check` shows the fields it makes."""
    source = write_list(shop.folder / "list.csv", people(2))
    target = shop.folder / "map.toml"
    target.write_text('rest = "drop"\n[payload]\nnr = { column = "order", type = "integer" }\n')
    assert read_mapping(target).payload == (Field(name="nr", column="order", type="integer"),)
    assert shop.importer("check", source, "--map", target, "--json").json["payload_columns"] == ["nr"]
    assert shop.run(source, "--map", target).code == 0
    assert platform.payloads() == [{"nr": 1000}, {"nr": 1001}]


def test_text_stays_text() -> None:
    """Without types nothing is made of a cell: leading zeros, spaces and long digits stay."""
    cells = pl.DataFrame({"a": ["007", " x ", "12345678901234567890", None]})
    made = payload_values(cells, Field(name="a", column="a"), is_empty_kept=True, are_nulls_kept=False)
    assert made.typed[0][1].to_list() == cells["a"].to_list()
