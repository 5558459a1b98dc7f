"""The simulation behind docs/SCALING.md: it agrees with the formula where nothing happens, and never loses a row."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from importer.protocol import Window

ROOT = Path(__file__).resolve().parents[2]


def loaded() -> Any:
    spec = spec_from_file_location("scaling", ROOT / "benchmarks" / "scaling.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules["scaling"] = module  # its dataclasses look for it there
    spec.loader.exec_module(module)
    return module


scaling = loaded()
CALM = scaling.Cluster(rows=100_000_000, workers=8, shards=8)


@pytest.mark.parametrize("is_split", [True, False])
@pytest.mark.parametrize("platform_rows_s", [10_000.0, 1_000_000.0])
def test_where_nothing_happens_it_takes_what_the_formula_says(platform_rows_s: float, is_split: bool) -> None:
    """With as many shards as workers, sending begins when intake ends."""
    calm = replace(CALM, platform_rows_s=platform_rows_s, is_split=is_split)
    story = scaling.simulate(calm, 1)
    assert story.elapsed_s == pytest.approx(calm.least_s(), rel=0.002)
    assert story.sent_rows == pytest.approx(calm.rows)
    assert (story.losses, story.adoptions, story.slack_s) == (0, 0, scaling.WINDOW_S)


@pytest.mark.parametrize("seed", range(8))
def test_whatever_is_lost_every_row_is_sent_and_no_run_is_shorter_than_the_formula(seed: int) -> None:
    """Rows that were sent before are sent again, so the sum is at least the list."""
    harsh = replace(CALM, spread=0.3, slow_share=0.1, lost_every_s=2 * scaling.HOUR_S, shards=64)
    story = scaling.simulate(harsh, seed)
    assert story == scaling.simulate(harsh, seed)
    assert story.losses > 0
    assert story.sent_rows >= harsh.rows * 0.999999
    assert story.elapsed_s >= scaling.simulate(CALM, seed).elapsed_s * 0.98
    assert story.slack_s < scaling.WINDOW_S


def test_a_shard_whose_keys_would_run_out_adopts() -> None:
    """A platform so slow that a lost shard cannot be repeated within the window."""
    slow = replace(CALM, platform_rows_s=1_200.0, lost_every_s=30 * scaling.HOUR_S)
    stories = [scaling.simulate(slow, seed) for seed in range(6)]
    assert sum(story.adoptions for story in stories) > 0
    assert all(story.slack_s >= 0 for story in stories)


def test_the_window_is_the_products() -> None:
    """What the simulation calls the window is when the product stops repeating."""
    window = Window()
    assert window.window_s - window.margin_s - window.request_s == scaling.WINDOW_S


def test_the_table_is_printed() -> None:
    """As a person would ask for it."""
    words = ["--rows", "10000000", "--workers", "4", "--stories", "1"]
    said = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks/scaling.py"), *words], capture_output=True, text=True, check=True
    )
    assert len(said.stdout.splitlines()) == 2 + len(scaling.SCENARIOS)
