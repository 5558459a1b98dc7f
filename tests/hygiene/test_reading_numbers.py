"""Which country a number is dialled in: by a column, row by row, and by a person where bare digits mean two things."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from workbench import Bench, Platform, ScriptedDesk, Shop, write_list

from importer.errors import ListProblem
from importer.phones import PhoneRules
from importer.run import BareDigits

# Valid in Germany as dialled there, and also with their first digits as the country code.
BOTH = [f"493915000{i:02}" for i in range(80, 90)]
PLAIN = [f"+1201555{i:04}" for i in range(100, 200)]


@dataclass(kw_only=True)
class AskedDesk(ScriptedDesk):
    """Also answers how bare digits are meant."""

    says_bare: str | None = None
    asked: list[BareDigits] = field(default_factory=list)

    def which_reading(self, bare: BareDigits) -> str | None:
        self.asked.append(bare)
        return self.says_bare


def list_of(path: Path, phones: list[str]) -> Path:
    return write_list(path, [{"phone": phone, "n": str(i)} for i, phone in enumerate(phones)])


def test_a_column_says_where_a_number_is_dialled(shop: Shop, platform: Platform) -> None:
    """Each row is read in its own country; an empty one in that of --region; an unknown one is a bad row."""
    rows = [
        {"phone": "07400 123456", "country": "GB"},
        {"phone": "(201) 555-0123", "country": "us"},
        {"phone": "01512 3456789", "country": ""},
        {"phone": "07700 900124", "country": "Narnia"},
    ]
    source = write_list(shop.folder / "list.csv", rows)
    said = shop.run(source, "--region-column", "country", "--region", "DE", "--stop-at-rejects", "100%")
    assert said.code == 3
    assert said.json["rejects_by_reason"] == {"unknown_region": 1}
    platform.has_each_once(["+447400123456", "+12015550123", "+4915123456789"])
    assert platform.payloads()[0] == {"country": "GB"}


def test_a_region_column_that_is_not_there_is_named(shop: Shop) -> None:
    """With the nearest name there is."""
    source = write_list(shop.folder / "list.csv", [{"phone": "+12015550123", "country": "US"}])
    said = shop.run(source, "--region-column", "county")
    assert said.code == 2
    assert "Did you mean 'country'?" in said.err


def test_without_a_terminal_doubtful_digits_send_nothing(shop: Shop, platform: Platform) -> None:
    """Exit 4 with the two ways to say it; `send` holds back likewise, and so does `check`; saying it sends."""
    source = list_of(shop.folder / "list.csv", BOTH)
    said = shop.run(source, "--region", "DE")
    assert said.code == 4
    assert "--bare international" in said.err
    assert "--bare national" in said.err
    assert shop.send().code == 4
    assert platform.sends() == []
    checked = shop.importer("check", source, "--region", "DE")
    assert checked.code == 4
    assert "`importer run` would stop and ask" in checked.out
    assert "10 of 10 numbers without + are valid in DE as they stand" in " ".join(checked.out.split())
    assert "--bare national" in checked.out
    assert shop.importer("check", source, "--region", "DE", "--bare", "national").code == 0
    assert shop.run(source, "--region", "DE", "--bare", "international").code == 0
    platform.has_each_once(f"+{each}" for each in BOTH)


def test_up_to_one_row_in_a_hundred_nobody_is_asked(bench: Bench, platform: Platform) -> None:
    """One of a hundred is read as dialled in the region; two of a hundred and one are asked about."""
    desk = AskedDesk()
    bench.desk = desk
    rules = PhoneRules(region="DE")
    bench.run(list_of(bench.folder / "few.csv", [*PLAIN[:99], BOTH[0]]), rules=rules)
    assert desk.asked == []
    assert f"+49{BOTH[0]}" in platform.phones()
    with pytest.raises(ListProblem):
        bench.run(list_of(bench.folder / "more.csv", [*PLAIN[:99], *BOTH[1:3]]), rules=rules)
    assert desk.asked == [BareDigits(rows=2, read_rows=101, region="DE")]


@pytest.mark.parametrize(("says", "code"), [("international", "+"), ("national", "+49")])
def test_a_persons_answer_decides_and_is_remembered(bench: Bench, platform: Platform, says: str, code: str) -> None:
    """The answer holds for the whole import: going on with it asks no more."""
    desk = AskedDesk(says_bare=says, says_send=False)
    bench.desk = desk
    source, rules = list_of(bench.folder / "list.csv", BOTH), PhoneRules(region="DE")
    assert bench.run(source, rules=rules).ending == "declined"
    desk.says_send, desk.says_bare = True, None
    report = bench.run(source, rules=rules)
    assert report.is_resumed
    assert report.balance.accepted == len(BOTH)
    assert len(desk.asked) == 1
    platform.has_each_once(f"{code}{each}" for each in BOTH)
