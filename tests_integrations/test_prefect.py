"""Prefect for real: the example's flow against a server of its own, and a flow that is killed at work."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from platforms import (
    LIMIT_S,
    ROOT,
    TOKEN,
    Platform,
    command_line,
    daemon,
    files_with,
    importer_process,
    is_gone,
    platform,
    until,
    write_list,
)

import importer
from importer.integrations.child import VERDICTS, Ended, Verdict
from importer.integrations.prefect import RunFailed, is_mended_by_a_retry, kept_of

PREFECT = str(Path(sys.executable).with_name("prefect"))
NIGHT = "2026-11-23"

STARTS = """
import json, sys
from prefect.blocks.system import Secret
sys.path.insert(0, sys.argv[1])
from nightly_calls import nightly_calls
if sys.argv[4] == "new":
    Secret(value=sys.stdin.readline().strip()).save("spring-token")
kept = nightly_calls(host=sys.argv[2], night=sys.argv[3])
print("KEPT " + json.dumps(kept))
"""


@dataclass(frozen=True, kw_only=True)
class Site:
    """A Prefect of its own in a folder; lists and ledger beside it."""

    folder: Path
    port: int

    @property
    def ledger(self) -> Path:
        return self.folder / "calls" / "calls.db"

    @property
    def settings(self) -> dict[str, str]:
        return {
            "PREFECT_HOME": str(self.folder / "home"),
            "PREFECT_API_URL": f"http://127.0.0.1:{self.port}/api",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_UI_ENABLED": "false",
            "DO_NOT_TRACK": "1",
        }

    @contextmanager
    def server(self) -> Iterator[None]:
        """Prefect's own server, on this machine alone."""
        words = [PREFECT, "server", "start", "--host", "127.0.0.1", "--port", str(self.port), "--no-services"]
        with daemon(words, self.folder / "server.log", **self.settings):
            until(self._is_up, look_s=0.5)
            yield

    def _is_up(self) -> bool:
        with (
            suppress(OSError),
            urllib.request.urlopen(f"{self.settings['PREFECT_API_URL']}/health", timeout=5) as answer,
        ):
            return bool(answer.status == 200)
        return False

    def example(self, **slow: object) -> None:
        """The example's file, with this folder for the container's paths."""
        text = (ROOT / "examples" / "prefect" / "nightly_calls.py").read_text(encoding="utf-8")
        text = text.replace('"/lists/', f'"{self.folder}/lists/').replace('"/calls/', f'"{self.folder}/calls/')
        more = "".join(f', "{name}": {value!r}' for name, value in slow.items())
        text = text.replace('"1..20000"}', f'"1..20000"{more}}}')
        (self.folder / "nightly_calls.py").write_text(text, encoding="utf-8")

    def starts(self, at: Platform, *, is_new: bool) -> subprocess.Popen[str]:
        """A flow run in a process of its own; the token goes into its block by way of standard input."""
        process = subprocess.Popen(
            [sys.executable, "-c", STARTS, str(self.folder), at.origin, NIGHT, "new" if is_new else "again"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **self.settings},
            cwd=self.folder,
        )
        assert process.stdin is not None
        process.stdin.write(TOKEN + "\n")
        process.stdin.flush()
        return process

    def asked(self, path: str, **body: Any) -> Any:
        """What the server's API says."""
        request = urllib.request.Request(
            f"{self.settings['PREFECT_API_URL']}{path}",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
            method="POST",
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())


@pytest.fixture
def site(tmp_path: Path) -> Site:
    for name in ("home", "lists", "calls"):
        (tmp_path / name).mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        return Site(folder=tmp_path, port=free.getsockname()[1])


def kept_in(said: str) -> dict[str, Any]:
    """What the flow returned."""
    (line,) = [each for each in said.splitlines() if each.startswith("KEPT ")]
    found: dict[str, Any] = json.loads(line.removeprefix("KEPT "))
    return found


# --- what an end means ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [code for code in (*VERDICTS, -9, 137, 99) if code not in (0, 3)])
@pytest.mark.parametrize("run_count", [1, 2])
def test_every_exit_code_becomes_what_prefect_understands(code: int, run_count: int) -> None:
    """RunFailed, which the task's condition has repeated or not."""
    with pytest.raises(RunFailed) as caught:
        kept_of(Ended(exit_code=code, said={}), None)
    state = SimpleNamespace(result=lambda raise_on_failure: caught.value)
    expected = {Verdict.RETRY: True, Verdict.FAIL: False, Verdict.RETRY_ONCE: run_count == 1}
    is_mended = is_mended_by_a_retry(None, SimpleNamespace(run_count=run_count), state)
    assert is_mended is expected[caught.value.ended.verdict]


def test_the_product_stands_beside_prefect_without_conflict() -> None:
    """Installed from its wheel, into one environment with Prefect and all it needs."""
    assert Path(importer.__file__).is_relative_to(sys.prefix)
    done = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


# --- real runs --------------------------------------------------------------------------------------------------------


def test_the_examples_flow_is_killed_and_the_same_flow_goes_on(site: Site) -> None:
    """The very file of the documentation: ended with SIGTERM, with SIGKILL, and not at all; then a wrong list."""
    write_list(site.folder / "lists" / "tonight.csv", 200, bad=1)
    site.example(batch_size=2, in_flight=2)
    with platform(site.folder, "delay:s=0.2,at=after") as at, site.server():
        for number_sent in (signal.SIGTERM, signal.SIGKILL):
            before = at.jobs()
            process = site.starts(at, is_new=before == 0)
            until(lambda least=before + 8: at.jobs() >= least and importer_process(site.ledger), look_s=0.05)
            child = importer_process(site.ledger)
            assert child is not None
            assert TOKEN not in command_line(child)
            process.send_signal(number_sent)
            process.communicate(timeout=LIMIT_S)
            until(lambda pid=child: is_gone(pid), limit_s=25)
        assert at.jobs() < 200
        said, _ = site.starts(at, is_new=False).communicate(timeout=LIMIT_S)
        at.has_each_once(200)
        kept = kept_in(said)
        assert [kept[name] for name in ("import", "read", "accepted", "round")] == [1, 201, 200, NIGHT]
        (artifact,) = site.asked("/artifacts/latest/filter")
        told = {row["what"]: row["rows"] for row in json.loads(artifact["data"])}
        assert told == {"read": 201, "accepted": 200, "rejected": 1, "rejected: not_a_number": 1}
        (site.folder / "lists" / "tonight.csv").unlink()
        began_s = time.monotonic()
        said, _ = site.starts(at, is_new=False).communicate(timeout=LIMIT_S)
        assert "RunFailed" in said
        assert time.monotonic() - began_s < 60, "a wrong list is not repeated"
    assert TOKEN not in said
    assert files_with(site.folder / "home", TOKEN) == []
    assert TOKEN not in (site.folder / "server.log").read_text(encoding="utf-8")
