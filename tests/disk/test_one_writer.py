"""One writer per ledger: of starters at once one wins, whoever dies gives the ledger up, and shares are refused."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from workbench import OWNER, Bench, Shop, environment, people, write_list

from importer.errors import LedgerHeld, LedgerProblem
from importer.ledger import Ledger
from importer.machine import network_file_system

HOLD = """
import sys
from pathlib import Path
from importer.errors import LedgerHeld
from importer.ledger import Ledger
from importer.machine import this_process
sys.stdin.readline()
try:
    with Ledger(Path(sys.argv[1]), this_process("today"), now_ms=1):
        print("owner", flush=True)
        sys.stdin.readline()
except LedgerHeld as held:
    print(held.message, flush=True)
    sys.exit(held.exit_code)
"""


def starter(ledger: Path) -> subprocess.Popen[str]:
    """A process that waits for a line, opens the ledger, says how that went, and holds it until the next line."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(ledger)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip


def tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_of_eight_starters_at_once_one_owns_the_ledger(tmp_path: Path) -> None:
    """Real processes, released together on a ledger that is not there yet; the others are told whose it is."""
    ledger = tmp_path / "ledger.db"
    starters = [starter(ledger) for _ in range(8)]
    for each in starters:
        tell(each)
    said = [line_of(each) for each in starters]
    owners = [each for each, text in zip(starters, said, strict=True) if text == "owner"]
    assert len(owners) == 1, said
    others = [text for text in said if text != "owner"]
    assert all("is in use by" in text for text in others)
    tell(owners[0])
    codes = sorted(each.wait(30) for each in starters)
    for each in starters:
        each.communicate()
    assert codes == [0, *[9] * 7]


def test_an_owner_that_is_killed_gives_the_ledger_up(tmp_path: Path) -> None:
    """The system drops the lock with its process, whatever files it left behind."""
    first = starter(tmp_path / "ledger.db")
    tell(first)
    assert line_of(first) == "owner"
    with pytest.raises(LedgerHeld, match=f"process {first.pid}"):
        Ledger(tmp_path / "ledger.db", OWNER, now_ms=1)
    first.kill()
    first.communicate()
    with Ledger(tmp_path / "ledger.db", OWNER, now_ms=1) as ledger:
        assert ledger.view.newest_import_id() is None


def test_two_owners_in_one_process_are_refused_too(tmp_path: Path) -> None:
    """Also in another thread: the lock belongs to a ledger, not to a process."""
    problems: list[BaseException] = []

    def second() -> None:
        try:
            Ledger(tmp_path / "ledger.db", OWNER, now_ms=1)
        except LedgerHeld as problem:
            problems.append(problem)

    with Ledger(tmp_path / "ledger.db", OWNER, now_ms=1):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert len(problems) == 1


def test_a_run_beside_an_owner_is_exit_9_and_sends_nothing(shop: Shop, bench: Bench) -> None:
    """Readers read on meanwhile."""
    path = write_list(bench.folder / "a.csv", people(4))
    with Ledger(bench.ledger_path, OWNER, now_ms=1):
        assert shop.run(path).code == 9
        assert shop.importer("ledger", "check", "--ledger", shop.ledger).code == 0
    assert shop.run(path).code == 0


# --- network file systems -------------------------------------------------------------------------------------------

MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
fileserver:/export {folder}/nfs nfs4 rw 0 0
//server/share {folder}/with\\040space cifs rw 0 0
fileserver:/export {folder}/covered nfs rw 0 0
/dev/sdb1 {folder}/covered ext4 rw 0 0
nonsense
"""


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("", None),
        ("nfs", "nfs4"),
        ("nfs/deep/er", "nfs4"),
        ("nfs-not", None),
        ("with space", "cifs"),
        ("covered", None),
    ],
)
def test_a_network_file_system_is_known_by_the_table_of_mounts(place: str, kind: str | None, tmp_path: Path) -> None:
    """The longest mount point decides, of two on one point the later; the kernel writes a space its own way."""
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS.format(folder=tmp_path))
    assert network_file_system(tmp_path / place, mounts) == kind


def test_without_a_table_of_mounts_nothing_is_refused(tmp_path: Path) -> None:
    """macOS has none, and an empty one tells nothing."""
    assert network_file_system(tmp_path, tmp_path / "none") is None
    (tmp_path / "empty").write_text("")
    assert network_file_system(tmp_path, tmp_path / "empty") is None


def test_a_ledger_on_a_share_is_refused_unless_somebody_takes_the_blame(tmp_path: Path) -> None:
    """The refusal says what may happen; the override has `unsafe` in its name."""
    mounts = tmp_path / "mounts"
    mounts.write_text(f"server:/x {tmp_path} nfs4 rw 0 0\n")
    with pytest.raises(LedgerProblem, match="network file system") as caught:
        Ledger(tmp_path / "ledger.db", OWNER, now_ms=1, mounts=mounts)
    assert "--unsafe-network-ledger" in caught.value.hint
    assert "twice" in caught.value.hint
    Ledger(tmp_path / "ledger.db", OWNER, now_ms=1, mounts=mounts, is_network_fine=True).close()


def test_the_override_is_an_option_and_a_variable_that_help_does_not_offer(shop: Shop) -> None:
    """It is for people who read the refusal."""
    assert "unsafe" not in shop.importer("run", "--help").out
    assert shop.importer("status", "--unsafe-network-ledger", "--ledger", shop.ledger).code == 5
