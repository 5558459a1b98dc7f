"""What `make bench` measures with is honest: peaks are a process's own, the receiver obeys, the page is in step."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import httpx
import pytest
from workbench import ROOT

SPEED = ROOT / "benchmarks" / "speed"
BODY = b'[{"phone":"12015550100","payload":{}},{"phone":"12015550101","payload":{}}]'


@pytest.fixture
def origin() -> Iterator[str]:
    """The receiver with two slots, each free again at once."""
    command = [sys.executable, str(SPEED / "receiver.py"), "0", "2"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        process.terminate()


def ask(origin: str, what: str) -> Any:
    return httpx.get(f"{origin}/{what}").json()


def post(origin: str) -> int:
    """A request of two rows; its status."""
    return httpx.post(f"{origin}/addPhones", content=BODY).status_code


def test_a_peak_is_that_of_the_process_alone(tmp_path: Path) -> None:
    """Started by a process of 300 MiB, a command of a few is measured as one of a few; its ending is told, too."""
    launch, kept = SPEED / "launch.py", tmp_path / "cost.json"
    small = [
        sys.executable,
        "-I",
        "-S",
        str(launch),
        str(kept),
        sys.executable,
        "-I",
        "-S",
        "-c",
        "raise SystemExit(3)",
    ]
    program = f"import subprocess; kept = bytearray(b'x' * (300 << 20)); subprocess.run({small!r}, check=True)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    cost = json.loads(kept.read_text())
    assert cost["code"] == 3
    assert cost["peak_mib"] < 100
    assert 0 < cost["began_s"] < time.monotonic()


def wait_for_rows(origin: str, rows: int) -> None:
    until_s = time.monotonic() + 30
    while ask(origin, "counted") < rows:
        assert time.monotonic() < until_s


def test_the_receiver_holds_its_answers_and_refuses_what_finds_no_slot(origin: str) -> None:
    """Two requests are held and fill both slots, a third is refused; the mark lets go of them and forgets the first."""
    assert ask(origin, "first") == 0
    ask(origin, "hold/1")
    with ThreadPoolExecutor(2) as pool:
        held = [pool.submit(post, origin) for _ in range(2)]
        wait_for_rows(origin, 4)
        assert post(origin) == 429
        assert not any(each.done() for each in held)
        told = ask(origin, "told")
        assert ask(origin, "first") == told["taken"][0] <= told["refused"][0] <= time.monotonic()
        ask(origin, "mark")
        assert [each.result(timeout=30) for each in held] == [200, 200]
    assert ask(origin, "first") == 0
    assert ask(origin, "counted") == 4


def test_the_receiver_takes_as_many_at_once_as_it_is_told(origin: str) -> None:
    """A third slot, opened while two requests are held, takes the third."""
    ask(origin, "hold/1")
    ask(origin, "slots/3")
    with ThreadPoolExecutor(3) as pool:
        held = [pool.submit(post, origin) for _ in range(3)]
        wait_for_rows(origin, 6)
        ask(origin, "mark")
        assert [each.result(timeout=30) for each in held] == [200, 200, 200]


def test_the_page_shows_the_results_that_are_kept() -> None:
    """The figures in docs/SPEED.md are those of the result file, all of them and no others."""
    spec = spec_from_file_location("page", SPEED / "page.py")
    assert spec is not None
    assert spec.loader is not None
    page = module_from_spec(spec)
    spec.loader.exec_module(page)
    results = json.loads(page.RESULTS.read_text(encoding="utf-8"))
    text = page.PAGE.read_text(encoding="utf-8")
    assert text.split(page.BEGIN)[1].split(page.END)[0].strip() == page.figures(results)
    assert set(results["sections"]) <= set(page.TITLES)
