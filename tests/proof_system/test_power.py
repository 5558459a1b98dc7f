"""A power cut at any call: what the disk then holds, and what the same command makes of it.

One run is recorded call by call, and the disk rebuilt with unsynced writes dropped, torn, or kept in part. Ledgers that
sync less than ours are recorded too, since a test that cannot fail proves nothing.
"""

from __future__ import annotations

import json
import random
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from importer.selftest.crossings import Asked
from importer.selftest.disk import Disk
from importer.selftest.powercut import PowerCut
from importer.selftest.site import Site
from importer.selftest.tracing import Event, why_not

pytestmark = pytest.mark.slow
PLANTED = Path(__file__).with_name("planted.py")
FOLDER = "/ledgers"
FILES = tuple(f"{FOLDER}/{name}" for name in ("ledger.db", "ledger.db-wal", "ledger.db.counter"))


def planted(pragma: str, site: Site) -> list[str]:
    """A run whose ledger has a setting changed."""
    asked = Asked(source=str(site.source), ledger=str(site.ledger), host=site.platform.origin, token=site.token)
    return [sys.executable, str(PLANTED), pragma, json.dumps(asdict(asked))]


def test_strace_is_here() -> None:
    """Where it is not, what follows would prove nothing: install it (`.ci/run` does)."""
    assert why_not() == ""


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> PowerCut:
    """A recorded run."""
    return PowerCut.recorded(tmp_path_factory.mktemp("power") / "cut")


def test_f4_after_a_power_cut_whatever_had_left_is_armed_and_the_ledger_is_whole(cut: PowerCut) -> None:
    """Every call of the run, six disks each."""
    finding = cut.examined(random.Random(1), draws=2)
    assert finding.is_well, finding
    assert finding.runs > 1500


@pytest.mark.parametrize("seed", range(4))
def test_f4_after_a_power_cut_the_same_command_gives_each_row_one_job(cut: PowerCut, tmp_path: Path, seed: int) -> None:
    """The platform is where it was, the ledger is what the disk kept."""
    finding = cut.history("power cut", tmp_path, random.Random(seed))
    assert finding.is_well, finding


def test_f5_a_power_cut_at_a_checkpoint_is_no_other(tmp_path: Path) -> None:
    """With a checkpoint every few pages, the same holds."""
    cut = PowerCut.recorded(tmp_path / "cut", command=lambda site: planted("wal_autocheckpoint=20", site))
    finding = cut.examined(random.Random(2), draws=1)
    assert finding.is_well, finding


@pytest.mark.parametrize("pragma", ["synchronous=NORMAL", "synchronous=OFF"])
def test_planted_a_ledger_that_syncs_less_is_caught(tmp_path: Path, pragma: str) -> None:
    """With less than FULL a request leaves before its arming is durable; some disk shows it."""
    cut = PowerCut.recorded(tmp_path / "cut", command=lambda site: planted(pragma, site))
    assert "not armed" in cut.examined(random.Random(3), draws=2).trouble


def test_the_rebuilt_disk_is_the_real_one_when_nothing_is_cut(cut: PowerCut) -> None:
    """What the record says every file holds at the end is what it does hold."""
    for moment in cut.moments(random.Random(4), draws=0):
        image = moment.images["everything"]
    there = {str(path): path.read_bytes() for path in (cut.folder / "work").iterdir() if path.name != "list.csv"}
    assert dict(image) == there
    assert len(moment.requests) == len(moment.keys) == 3


EVENTS = st.lists(
    st.one_of(
        st.builds(
            lambda path, data, offset: Event(kind="write", path=path, data=data, offset=offset),
            st.sampled_from(FILES),
            st.binary(min_size=1, max_size=2000),
            st.one_of(st.none(), st.integers(0, 3000)),
        ),
        st.builds(lambda path: Event(kind="sync", path=path), st.sampled_from((*FILES, FOLDER))),
        st.builds(lambda path: Event(kind="open", path=path, offset=0), st.sampled_from(FILES)),
        st.builds(
            lambda pair: Event(kind="rename", path=pair[0], target=pair[1]),
            st.tuples(st.sampled_from(FILES), st.sampled_from(FILES)).filter(lambda pair: pair[0] != pair[1]),
        ),
        st.builds(lambda path: Event(kind="remove", path=path), st.sampled_from(FILES)),
    ),
    max_size=20,
)


@given(EVENTS, st.integers(0, 1000))
@settings(max_examples=150, deadline=None)
def test_what_was_synced_is_in_every_image(happened: list[Event], seed: int) -> None:
    """Once files and folder were synced, every way to cut the power leaves the very same disk."""
    disk = Disk()
    for event in happened:
        disk.apply(event)
    for path in (*FILES, FOLDER):
        disk.apply(Event(kind="sync", path=path))
    images = disk.images(random.Random(seed), draws=3)
    assert all(dict(image) == dict(images["everything"]) for image in images.values())


def test_an_unsynced_write_is_lost_torn_or_kept() -> None:
    """The ways of cutting differ where they should."""
    disk = Disk()
    for event in (
        Event(kind="open", path=FILES[0]),
        Event(kind="write", path=FILES[0], data=b"a" * 1024, offset=0),
        Event(kind="sync", path=FILES[0]),
        Event(kind="sync", path=FOLDER),
        Event(kind="write", path=FILES[0], data=b"b" * 1024, offset=0),
    ):
        disk.apply(event)
    images = [disk.images(random.Random(seed), draws=1) for seed in range(20)]
    assert all(each["nothing unsynced"][FILES[0]] == b"a" * 1024 for each in images)
    assert all(each["everything"][FILES[0]] == b"b" * 1024 for each in images)
    assert b"b" * 512 + b"a" * 512 in {each["last write torn"][FILES[0]] for each in images}
    assert len({each["some of it, draw 0"][FILES[0]] for each in images}) == 2
