"""docs/PIPELINES.md: its examples are the files that run under the schedulers, and its table is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from workbench import ROOT

from importer.integrations.child import VERDICTS, judge_setting

PAGE = (ROOT / "docs" / "PIPELINES.md").read_text(encoding="utf-8")
EXAMPLES = sorted((ROOT / "examples").glob("*/*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_each_example_is_the_file_that_is_tested(path: Path) -> None:
    """To the letter, and some test under `tests_integrations` runs it."""
    assert f"```python\n{path.read_text(encoding='utf-8')}```" in PAGE
    tests = ROOT / "tests_integrations" / f"test_{path.parent.name}.py"
    assert path.name in tests.read_text(encoding="utf-8")


def test_the_table_of_ends_is_what_schedulers_are_told() -> None:
    """Every exit code, with its verdict in the same words."""
    lines = re.findall(r"^\| (\d+) \|[^|]+\| ([^|]+) \|$", PAGE, re.MULTILINE)
    assert {int(code): words for code, words in lines} == {code: str(verdict) for code, verdict in VERDICTS.items()}


def test_the_settings_that_are_refused_are_named() -> None:
    """Those that may hold a secret, in the sentence that says so."""
    (named,) = re.findall(r"What may hold a secret \(([^)]+)\)", PAGE)
    for name in re.findall(r"`(\w+)`", named):
        with pytest.raises(ValueError, match="secret"):
            judge_setting(name)
