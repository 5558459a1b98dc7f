"""A list that is read in stretches and handed on in slices is taken in as by a shard that reads the whole list."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from workbench import OWNER, TOKEN, changed_at

from importer import __version__
from importer.client import check_token
from importer.cluster.reading import ListJob, sort_whole
from importer.cluster.records import Sealed, ShardJob, Trouble, Where
from importer.cluster.worker import run_shard
from importer.errors import ListProblem
from importer.intake import Intake, IntakeStopped, Plan, make_plan
from importer.intake.joining import uncut
from importer.intake.slicing import (
    SlicedList,
    SlicesDoNotFitError,
    Sorter,
    TooMuchToHoldError,
    sorted_whole,
)
from importer.ledger import Ledger
from importer.ledger.records import Import
from importer.phones import PhoneRules
from importer.run import RunSettings, Target
from importer.run.choosing import facts_of
from importer.shards import Shard
from importer.sources import Chunk, ReadOptions, RowList
from importer.sources.records import Span
from importer.sources.stretches import layout_of
from tests.shards.slicing import Cut, cut_up, opened
from tests.shards.test_shards import content_of

OF = 3
STOP_AFTER = 5  # chunks, of some twenty


def plan_for(columns: Sequence[str], **more: Any) -> Plan:
    return make_plan(columns, phone_column="phone", once_per="row", rules=PhoneRules(), is_splitting=True, **more)


def phone(place: int) -> str:
    return f"+1202555{place:04d}"


KINDS: list[Callable[[int], str]] = [
    lambda at: f"{phone(at)},plain\n",
    lambda at: f'{phone(at)},"two\nlines"\n',
    lambda at: f'{phone(at)},"li""ne\r\n{phone(at)},inside\n\n,"\n',
    lambda at: f'{phone(at)},an inch: 5"\n',
    lambda at: f'{phone(at)},"never closed\n',
    lambda at: f"{phone(at)},ends\r\nlike this,too\n",
    lambda at: "\n",
    lambda at: f"{at}\n",
    lambda at: f"{phone(at)},one,too many\n",
    lambda at: "nobody,x\n",
    lambda at: f'"{phone(at)}; {phone(at + 1)} {phone(at + 2)}",several numbers\n',
    lambda at: f"{phone(at)},\0\n",
    lambda at: f"{phone(at)},{'x' * 90}\n",
]


def messy(folder: Path, seed: int) -> list[Path]:
    """One to three files of all that a list may hold."""
    choose = random.Random(seed)
    kinds = choose.sample(KINDS, choose.randint(2, len(KINDS)))
    paths = [folder / f"{seed}-{number}.csv" for number in range(choose.randint(1, 3))]
    for path in paths:
        body = "".join(choose.choice(kinds)(choose.randint(0, 60)) for _ in range(choose.randint(5, 60)))
        start = choose.choice(["", "\n\n", "\ufeff"])
        path.write_text(f"{start}phone,name\n{body.rstrip() if choose.random() < 0.3 else body}", newline="")
    return paths


MESSY = ReadOptions(format="csv", encoding="utf-8", delimiter=",", quote='"', has_header=True, max_cell_bytes=80)


def taken_in(
    ledger_path: Path, row_list: RowList, shard: Shard, *, stop_after: int | None = None
) -> tuple[Import | None, dict[str, list[Any]]]:
    """An intake, begun or gone on with, and everything that the ledger then holds of it."""
    plan = plan_for(row_list.columns)
    with Ledger(ledger_path, OWNER, now_ms=1) as ledger:
        book = ledger.intake
        campaign = book.campaign(b"f" * 16) or book.add_campaign(
            name="c", origin="https://localhost", fingerprint=b"f" * 16, key_seed="ab" * 32, now_ms=1
        )
        an_import = book.newest_import() or book.begin_import(
            campaign_id=campaign.id, round_name="", list_name="list", mapping=plan.as_mapping(), settings={},
            batch_size_rows=4, files=[facts_of(info) for info in row_list.files], now_ms=1,
        )  # fmt: skip
        asked = iter(range(10**9))
        intake = Intake(
            row_list=row_list, plan=plan, campaign=campaign, books=[book], observer=lambda _: None, now_ms=lambda: 1,
            is_stopping=lambda: stop_after is not None and next(asked) >= stop_after, shard=shard,
        )  # fmt: skip
        try:
            done = intake.take_in(an_import)
        except IntakeStopped:
            done = None
    content = content_of(ledger_path)
    kept = ("imports", "files", "rows", "row_packs", "batches", "bodies", "identities", "rejects", "leftovers")
    skips = [(reason, *each) for *_, reason, _, rows in content["skips"] for each in json.loads(rows)]
    return done, {**{name: content[name] for name in kept}, "skips": skips}  # kept chunk by chunk


def shards() -> list[Shard]:
    return [Shard(number=number, of=OF) for number in range(1, OF + 1)]


def whole(folder: Path, paths: list[Path], options: ReadOptions, shard: Shard) -> dict[str, list[Any]]:
    """What the ledger of a shard holds that reads the list by itself."""
    with opened(paths, options) as row_list:
        return taken_in(folder / f"whole-{shard.number}.db", row_list, shard)[1]


def compared(folder: Path, paths: list[Path], options: ReadOptions, sizes: Sequence[int]) -> list[Cut]:
    """Cuts a list up in stretches of these sizes; every shard's ledger is that of a shard that reads it whole."""
    expected = {shard: whole(folder, paths, options, shard) for shard in shards()}
    cuts = [cut_up(paths, options, plan_for, of=OF, stretch_bytes=size) for size in sizes]
    for place, cut in enumerate(cuts):
        for shard, content in expected.items():
            ledger = folder / f"sliced-{place}-{shard.number}.db"
            assert taken_in(ledger, cut.of(shard.number, options.chunk_rows), shard)[1] == content
    return cuts


@pytest.mark.parametrize("seed", range(8))
def test_slices_are_taken_in_as_the_whole_list_is(tmp_path: Path, seed: int) -> None:
    """Law 2: batches, bodies, keys, rejects and counts are those of whole reading, wherever the list is cut."""
    paths = messy(tmp_path, seed)
    size = sum(path.stat().st_size for path in paths)
    options = replace(MESSY, chunk_rows=[5, 65_536][seed % 2])
    compared(tmp_path, paths, options, [size // 7 + 1, size // 3 + 1])


def test_cuts_inside_of_records_are_given_up(tmp_path: Path) -> None:
    """Lists within cells look like the list itself; what was read from a wrong place is read again from a right one."""
    inside = "".join(f"{phone(at)},as a row\n" for at in range(40))
    plain = "".join(f"{phone(at)},plain\n" for at in range(150))
    path = tmp_path / "list.csv"
    path.write_text("phone,name\n" + "".join(f'{phone(at)},"{inside}"\n' for at in range(2)) + plain)
    (cut,) = compared(tmp_path, [path], replace(MESSY, max_cell_bytes=100_000), [path.stat().st_size // 9])
    assert 1 < len(cut.stretches) < 9 < cut.readings


def test_stretches_and_files_without_a_row(tmp_path: Path) -> None:
    """Blank lines for a whole stretch, in the front and in the middle, and a file that is a header and nothing else."""
    blank = "\n" * 400
    full, empty = tmp_path / "full.csv", tmp_path / "empty.csv"
    full.write_text(f"{blank}phone,name\n{phone(1)},a\n{blank}{phone(2)},b\nnobody,c\n{blank}")
    empty.write_text("phone,name\n")
    (cut,) = compared(tmp_path, [full, empty], MESSY, [100])
    assert len(cut.stretches) > 3


def test_a_stray_quote_does_not_mislead_where_a_list_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("phone,name\n" + "".join(f'{phone(at)},5" pipe\n' for at in range(201)))
    (cut,) = compared(tmp_path, [path], MESSY, [500])
    assert len(cut.stretches) == cut.readings == -(-path.stat().st_size // 500)


def test_parquet_is_read_in_spans_of_rows(tmp_path: Path) -> None:
    cells = [phone(at % 60) if at % 7 else "nobody" for at in range(500)]
    for number in range(2):
        frame = pl.DataFrame({"phone": cells, "name": [f"n{number}{at}" for at in range(500)]})
        frame.write_parquet(tmp_path / f"{number}.parquet", row_group_size=70)
    paths = [tmp_path / "0.parquet", tmp_path / "1.parquet"]
    size = paths[0].stat().st_size
    cuts = compared(tmp_path, paths, ReadOptions(chunk_rows=64), [size // 3, size // 7, 10 * size])
    few, many, none = (len(cut.stretches) for cut in cuts)
    assert none == 2 < few < many


def test_other_encodings_are_cut_where_a_byte_is_a_character(tmp_path: Path) -> None:
    text = "phone;имя\n" + "".join(f"{phone(at % 50)};Иван {at}\n" for at in range(200))
    path = tmp_path / "list.csv"
    path.write_bytes(text.encode("cp1251"))
    options = ReadOptions(encoding="cp1251", delimiter=";", has_header=True)
    assert len(compared(tmp_path, [path], options, [1_000])[0].stretches) > 3
    path.write_bytes(text.encode("utf-16"))
    assert len(compared(tmp_path / "..", [path], replace(options, encoding="utf-16"), [1_000])[0].stretches) == 1


def test_what_cannot_be_cut_is_one_stretch(tmp_path: Path) -> None:
    rows = [{"phone": phone(at % 50), "name": f"n{at}"} for at in range(100)]
    (tmp_path / "a.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    text = "phone,name\n" + "".join(f"{row['phone']},{row['name']}\n" for row in rows)
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(text.encode()))
    (cut,) = compared(tmp_path, [tmp_path / "a.jsonl", tmp_path / "b.csv.gz"], ReadOptions(), [200])
    assert [stretch.span for stretch in cut.stretches] == [Span(), Span()]


@pytest.mark.parametrize("first", ["whole", "sliced"])
def test_an_intake_goes_on_whichever_way_it_began(tmp_path: Path, first: str) -> None:
    """A shard that stopped in the middle is gone on with from slices, from others, and from the whole list."""
    paths, options = messy(tmp_path, 3), replace(MESSY, chunk_rows=3)
    ways = [cut_up(paths, options, plan_for, of=OF, stretch_bytes=size) for size in (150, 350)]
    for shard in shards():
        expected = whole(tmp_path, paths, options, shard)
        ledger = tmp_path / f"stopped-{shard.number}.db"
        done, turn = None, 0 if first == "whole" else 1
        while done is None:
            way = turn % 3
            with ways[way - 1].of(shard.number, 3) if way else opened(paths, options) as row_list:
                done, content = taken_in(ledger, row_list, shard, stop_after=STOP_AFTER)
            turn += 1
        assert turn > 3
        assert content == expected


def test_a_list_edited_while_it_is_read_is_refused(tmp_path: Path) -> None:
    """By another length, by a cell that changed unseen, and by another file under the same name."""
    path = tmp_path / "list.csv"
    text = "phone,name\n" + "".join(f"{phone(at)},n{at}\n" for at in range(60))

    def edit(content: str) -> Callable[[], None]:
        return lambda: (path.write_text(content), changed_at(path, 0))[1]

    for content in (text + f"{phone(99)},late\n", text.replace(phone(20), phone(21)), text.replace("n5", "m5")):
        path.write_text(text)
        changed_at(path, 0)
        with pytest.raises(ListProblem, match="not the same for everybody"):
            cut_up([path], MESSY, plan_for, of=OF, stretch_bytes=300, meanwhile=edit(content))


def test_a_stretch_that_was_read_again_must_be_the_same(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("phone,name\n" + "".join(f"{phone(at)},n{at}\n" for at in range(60)))
    cut = cut_up([path], MESSY, plan_for, of=OF, stretch_bytes=300)
    path.write_text(path.read_text().replace("n20", "m20"))
    again = cut_up([path], MESSY, plan_for, of=OF, stretch_bytes=300)
    mixed = SlicedList(cut.whole, [each[1] for each in (*cut.slices[:1], *again.slices[1:])], 100)
    with pytest.raises(ListProblem, match="changed while it was being read"):
        taken_in(tmp_path / "ledger.db", mixed, Shard(number=1, of=OF))


def test_a_shard_whose_stretch_cannot_be_read_again_is_not_begun(tmp_path: Path) -> None:
    """Reading the list by itself instead, it would take in another list than its sisters did."""
    path = tmp_path / "list.csv"
    path.write_text(f"phone,name\n{phone(1)},n\n")
    cut = cut_up([path], MESSY, plan_for, of=OF, stretch_bytes=300)
    target = Target(origin="https://localhost", token=check_token(TOKEN))
    job = ShardJob(
        run="run", shard=Shard(number=1, of=OF), version=__version__, since_ms=1, is_begun=False,
        sealed=Sealed(RunSettings(sources=[str(path)], target=target, ledger=tmp_path / "home.db")),
        where=Where(folder=str(tmp_path), home=str(tmp_path / "home.db"), boot_id="", beacon=""),
    )  # fmt: skip
    lost = Trouble(kind="ListProblem", message="there is no file", hint="")
    done = run_shard(job, None, cut.whole, [(cut.slices[0][1],), lost])
    assert done.trouble == lost


def test_a_worker_of_another_version_reads_nothing(tmp_path: Path) -> None:
    """It might find other shards for the same rows."""
    settings = RunSettings(
        sources=["list.csv"],
        target=Target(origin="https://localhost", token=check_token(TOKEN)),
        ledger=tmp_path / "home.db",
    )
    told = sort_whole(ListJob(sealed=Sealed(settings), version="0", of=OF))
    assert isinstance(told, Trouble)
    assert "Install the same version" in told.hint


def test_slices_of_another_plan_are_not_taken_in(tmp_path: Path) -> None:
    """Whoever's a row is depends on how numbers are read: another reading, another cut."""
    path = tmp_path / "list.csv"
    path.write_text(f"phone,name\n{phone(1)},n\n")
    cut = cut_up([path], MESSY, plan_for, of=OF, stretch_bytes=300)
    plan = plan_for(("phone", "name"))
    cut.of(1).judge_fit(plan, Shard(number=1, of=OF))
    for other, of in ((replace(plan, rules=PhoneRules(bare="national")), OF), (plan, OF + 1)):
        with pytest.raises(SlicesDoNotFitError):
            cut.of(1).judge_fit(other, Shard(number=1, of=of))


def test_rows_lost_between_reading_and_taking_in_are_noticed(tmp_path: Path) -> None:
    """Law 11: what a shard takes in is held against what was counted for it."""
    path = tmp_path / "list.csv"
    path.write_text("phone,name\n" + "".join(f"{phone(at)},n{at}\n" for at in range(60)))
    cut = cut_up([path], MESSY, plan_for, of=OF, stretch_bytes=300)
    empty = [replace(each[1], placed=None) for each in cut.slices]
    with pytest.raises(ListProblem, match="were found for it"):
        taken_in(tmp_path / "ledger.db", SlicedList(cut.whole, empty, 100), Shard(number=1, of=OF))


def test_a_list_that_only_one_worker_has_is_sorted_whole(tmp_path: Path) -> None:
    path = tmp_path / "pipe.csv"
    path.write_text("phone,name\n" + "".join(f"{phone(at)},n{at}\n" for at in range(60)))
    with opened([path], MESSY) as row_list:
        (made,) = sorted_whole(row_list, lambda: Sorter(plan=plan_for(row_list.columns), of=OF, most_bytes=10**6))
        assert made.counted.read_rows == sum(made.own_rows.values()) == 60
        assert made.counted.sha256 == row_list.counts[0].sha256


def test_no_more_is_held_than_allowed() -> None:
    rows = pl.DataFrame({"phone": [phone(at) for at in range(60)], "name": ["n" * 90] * 60})
    sorter = Sorter(plan=plan_for(rows.columns), of=OF, most_bytes=1_000)
    numbers = pl.int_range(1, 61, dtype=pl.Int64, eager=True)
    bad = pl.DataFrame(schema={"row_no": pl.Int64})
    with pytest.raises(TooMuchToHoldError):
        sorter.add(Chunk(file_no=0, rows=rows, row_nos=numbers, bad=bad))


def test_a_list_without_any_good_cut_is_one_stretch_in_the_end(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("phone,name\n" + "".join(f"{phone(at)},n{at}\n" for at in range(60)))
    with opened([path], MESSY) as row_list:
        layout = layout_of(row_list, MESSY, stretch_bytes=300)
    assert layout is not None
    assert len(uncut(layout, {0}).stretches) == 1
