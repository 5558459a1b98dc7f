"""Dagster for real: materialised in process, by its own command, and by a command that is killed at work."""

# No `from __future__ import annotations` here: Dagster reads the annotations of assets as they stand.

import os
import runpy
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from platforms import (
    LIMIT_S,
    ROOT,
    TOKEN,
    Platform,
    command_line,
    files_with,
    importer_process,
    is_gone,
    parent_of,
    platform,
    until,
    write_list,
)

import importer
from importer.integrations.child import VERDICTS, Ended, Verdict
from importer.integrations.dagster import ImporterResource, judge, metadata_of
from importer.ledger import LedgerReader

DAGSTER = str(Path(sys.executable).with_name("dagster"))
NIGHT = "2026-11-20"


@dataclass(frozen=True, kw_only=True)
class Site:
    """A Dagster of its own in a folder; lists and ledger beside it."""

    folder: Path

    @property
    def ledger(self) -> Path:
        return self.folder / "calls" / "calls.db"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def example(self, **slow: object) -> Path:
        """The example's file, with this folder for the container's paths."""
        text = (ROOT / "examples" / "dagster" / "nightly_calls.py").read_text(encoding="utf-8")
        text = text.replace('"/lists/', f'"{self.folder}/lists/').replace('"/calls/', f'"{self.folder}/calls/')
        more = "".join(f', "{name}": {value!r}' for name, value in slow.items())
        path = self.folder / "nightly_calls.py"
        text = text.replace("delay=60", "delay=1")
        path.write_text(text.replace('"1..20000"}', f'"1..20000"{more}}}'), encoding="utf-8")
        return path

    def starts(self, at: Platform, file: Path) -> subprocess.Popen[str]:
        """`dagster asset materialize` for one night."""
        said = {"DAGSTER_HOME": str(self.home), "SPRING_HOST": at.origin, "SPRING_TOKEN": TOKEN, "DO_NOT_TRACK": "1"}
        return subprocess.Popen(
            [DAGSTER, "asset", "materialize", "--select", "nightly_calls", "--partition", NIGHT, "-f", str(file)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **said},
            cwd=self.folder,
        )

    def kept(self) -> dict[str, Any]:
        """The metadata of the newest materialisation, from Dagster's own storage."""
        with dg.DagsterInstance.from_config(str(self.home)) as instance:
            event = instance.get_latest_materialization_event(dg.AssetKey("nightly_calls"))
            assert event is not None
            assert event.asset_materialization is not None
            return {name: value.value for name, value in event.asset_materialization.metadata.items()}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    for name in ("home", "lists", "calls"):
        (tmp_path / name).mkdir()
    (tmp_path / "home" / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    return Site(folder=tmp_path)


# --- what an end means ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [*VERDICTS, -9, 137, 99])
@pytest.mark.parametrize("is_first", [True, False])
def test_every_exit_code_becomes_what_dagster_understands(code: int, is_first: bool) -> None:
    """A Failure with or without retries; else nothing."""
    ended = Ended(exit_code=code, said={})
    try:
        judge(ended, is_first=is_first)
        allows = None
    except dg.Failure as failure:
        allows = failure.allow_retries
    expected = {Verdict.SUCCEED: None, Verdict.WARN: None, Verdict.RETRY: True, Verdict.FAIL: False}
    assert allows is {**expected, Verdict.RETRY_ONCE: is_first}[ended.verdict]


def test_a_killed_run_still_has_metadata() -> None:
    """What it never said is left out."""
    assert metadata_of(Ended(exit_code=-9, said={})) == {"exit_code": -9, "verdict": "retry"}


def test_the_product_stands_beside_dagster_without_conflict() -> None:
    """Installed from its wheel, into one environment with Dagster and all it needs."""
    assert Path(importer.__file__).is_relative_to(sys.prefix)
    done = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


# --- real runs --------------------------------------------------------------------------------------------------------


def test_a_materialisation_has_balance_rejects_and_paths(
    site: Site, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In process; a second one of the same night calls nobody again. The token is in nothing that Dagster keeps."""
    monkeypatch.setenv("SPRING_TOKEN", TOKEN)
    path = write_list(site.folder / "lists" / "a.csv", 40, bad=2)

    @dg.asset(retry_policy=dg.RetryPolicy(max_retries=2))
    def calls(context: dg.AssetExecutionContext, spring: ImporterResource) -> dg.MaterializeResult:
        return spring.run(context, str(path), round_name=NIGHT, once_per="phone", settings={"allow_rejects": "10%"})

    with platform(site.folder) as at, dg.DagsterInstance.from_config(str(site.home)) as instance:
        spring = ImporterResource(host=at.origin, token=dg.EnvVar("SPRING_TOKEN"), ledger=str(site.ledger))
        done = [dg.materialize([calls], resources={"spring": spring}, instance=instance) for _ in range(2)]
        first, again = (each.asset_materializations_for_node("calls")[0] for each in done)
        at.has_each_once(40)
    kept = {name: value.value for name, value in first.metadata.items()}
    assert {name: kept[name] for name in ("read", "accepted", "rejected", "import", "round")} == {
        "read": 42, "accepted": 40, "rejected": 2, "import": 1, "round": NIGHT,
    }  # fmt: skip
    table = first.metadata["rejects_by_reason"].records
    assert [dict(record.data) for record in table] == [{"reason": "not_a_number", "rows": 2}]
    assert Path(kept["rejects_file"]).read_text(encoding="utf-8").count("not_a_number") == 2
    assert {name: again.metadata[name].value for name in ("accepted", "duplicate")} == {"accepted": 0, "duplicate": 40}
    said = capfd.readouterr()
    assert TOKEN not in said.out + said.err
    assert files_with(site.home, TOKEN) == []
    assert files_with(site.home, "5550100") == []


def test_a_wrong_list_is_not_repeated(site: Site) -> None:
    """A Failure without retries, though the policy would have some."""
    tries: list[int] = []

    @dg.asset(retry_policy=dg.RetryPolicy(max_retries=2))
    def calls(context: dg.AssetExecutionContext, spring: ImporterResource) -> dg.MaterializeResult:
        tries.append(context.retry_number)
        return spring.run(context, "no-such-list.csv", once_per="phone")

    spring = ImporterResource(host="http://127.0.0.1:9", token="1.2.invented", ledger=str(site.ledger))
    done = dg.materialize([calls], resources={"spring": spring}, raise_on_error=False)
    assert (done.success, tries) == (False, [0])


def test_the_examples_asset_is_killed_and_the_next_try_goes_on(site: Site) -> None:
    """`dagster asset materialize` with the file of the documentation.

    Ended with SIGTERM it drains, and the same command goes on; its step killed with SIGKILL, the retry policy does.
    """
    write_list(site.folder / "lists" / "tonight.csv", 200, bad=1)
    file = site.example(batch_size=2, in_flight=2)

    def at_work(before: int) -> int:
        """The importer's process, once it has sent some rows more."""
        until(lambda: at.jobs() >= before + 8 and importer_process(site.ledger), look_s=0.05)
        pid = importer_process(site.ledger)
        assert pid is not None
        assert TOKEN not in command_line(pid)
        return pid

    with platform(site.folder, "delay:s=0.2,at=after") as at:
        process = site.starts(at, file)
        child = at_work(0)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=LIMIT_S)
        assert process.returncode != 0
        until(lambda: is_gone(child), limit_s=25)
        process = site.starts(at, file)
        os.kill(parent_of(at_work(at.jobs())), signal.SIGKILL)
        said, _ = process.communicate(timeout=LIMIT_S)
        assert process.returncode == 0, said[-4000:]
        at.has_each_once(200)
    assert "Import 1 was not finished" in said
    kept = site.kept()
    assert [kept[name] for name in ("import", "read", "accepted", "rejected", "round")] == [1, 201, 200, 1, NIGHT]
    page = Path(kept["report"]).read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert TOKEN not in said + page
    assert files_with(site.home, TOKEN) == []


def test_the_examples_partitions_are_shards_of_one_import(site: Site) -> None:
    """`shards.py`, each partition materialised by itself, one of them twice; merged they are the whole list."""
    write_list(site.folder / "lists" / "customers.csv", 120, bad=3)
    text = (ROOT / "examples" / "dagster" / "shards.py").read_text(encoding="utf-8")
    file = site.folder / "shards.py"
    file.write_text(text.replace('"/lists/', f'"{site.folder}/lists/').replace('"/calls/', f'"{site.folder}/calls/'))
    example = runpy.run_path(str(file))
    with platform(site.folder) as at, dg.DagsterInstance.from_config(str(site.home)) as instance:
        spring = ImporterResource(host=at.origin, token=TOKEN, ledger=str(site.ledger))
        for key in ("1-of-4", "2-of-4", "2-of-4", "3-of-4", "4-of-4"):
            shard = [example["shard"]]
            assert dg.materialize(shard, partition_key=key, resources={"spring": spring}, instance=instance).success
        everything = [example["shard"], example["merged"]]
        assert dg.materialize(
            everything, selection=[example["merged"]], resources={"spring": spring}, instance=instance
        ).success
        at.has_each_once(120)
    with LedgerReader(site.ledger) as reader:
        balance = reader.view.balance(1)
    assert (balance.read, balance.accepted, balance.rejected) == (123, 120, 3)
