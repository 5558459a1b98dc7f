"""S25, S27: what the product is made of, and commands that may do harm."""
# ruff: noqa: N802 - the tests are named after the security checklist

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from workbench import Platform, Shop, environment, people, write_list

from importer.cli import EPILOG

ROOT = Path(__file__).resolve().parents[2]

SILENT = """
import sys
def watch(event, arguments):
    if event.startswith("socket.") and event not in ("socket.__new__",):
        print(event, arguments, file=sys.stderr)
        import os; os._exit(99)
sys.addaudithook(watch)
import importer, importer.cli, importer.client, importer.ledger, importer.run, importer.sources, importer.run.proving
"""


def test_S25_every_pinned_package_has_its_hashes() -> None:
    """What is installed is what was looked at: exact versions, and hashes for each."""
    lock = (ROOT / "requirements.lock").read_text()
    blocks = re.findall(r"^([A-Za-z0-9._-]+)==(\S+).*?(?=^[A-Za-z0-9]|\Z)", lock, flags=re.MULTILINE | re.DOTALL)
    starts = re.findall(r"^[A-Za-z0-9._-]+==\S+", lock, flags=re.MULTILINE)
    assert len(blocks) == len(starts) > 10
    parts = re.split(r"^(?=[A-Za-z0-9._-]+==)", lock, flags=re.MULTILINE)[1:]
    assert [part.split()[0] for part in parts if "--hash=sha256:" not in part] == []
    assert not re.search(r"^(?:-e|git\+|https?:|--index|--extra)", lock, flags=re.MULTILINE)


def test_S25_importing_the_product_opens_no_connection() -> None:
    """Not one socket, from any library underneath."""
    done = subprocess.run(
        [sys.executable, "-c", SILENT], env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_S27_commands_that_may_do_harm_say_what_they_do(shop: Shop, platform: Platform, tmp_path: Path) -> None:
    """What will be sent is said before it is; `check` sends nothing; a repair and a backup replace nothing."""
    path = write_list(tmp_path / "a.csv", people(3))
    said = shop.importer("check", path, *shop.target)
    assert "Nothing was sent" in said.out
    assert platform.sends() == []
    said = shop.importer("run", path, *shop.target)
    assert "To call       3 rows" in said.err
    for verb, words in (("repair", "left as it is"), ("backup", "must not be there yet"), ("vacuum", "free disk")):
        assert words in " ".join(shop.importer("ledger", verb, "--help").out.split())
    assert "called twice" in " ".join(shop.importer("resolve", "--help").out.split())


def test_S27_every_exit_code_means_one_thing() -> None:
    """The table people script against."""
    told = re.search(r"Exit codes: (.*?)\. Set", " ".join(EPILOG.split()))
    assert told is not None
    codes = re.findall(r"(\d+(?:/\d+)?) [a-z]", told[1])
    assert codes == ["0", "2", "3", "4", "5", "6", "7", "8", "9", "130/143"]
