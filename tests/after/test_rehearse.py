"""A rehearsal is the whole run but for who answers; and before the real one, it is said whether it will fit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from workbench import TOKEN, Bench, Platform, Shop, people, write_list

from importer.run import Intention


def test_a_rehearsal_calls_nobody_and_leaves_no_ledger(shop: Shop, platform: Platform, tmp_path: Path) -> None:
    """Timing, rejects and balance are those of the list; the real platform and ledger are not touched."""
    rows = write_list(tmp_path / "list.csv", [*people(6), {**people(1)[0], "phone": "n/a"}])
    said = shop.run(rows, "--rehearse").json
    assert (said["rehearsal"], said["accepted"], said["rejected"]) == (True, 6, 1)
    assert (said["call_jobs"], said["doubled"], said["exit_code"]) == (6, 0, 3)
    assert (platform.phones(), shop.ledger.exists()) == ([], False)
    assert "n/a" in (tmp_path / "list.rejects.csv").read_text(encoding="utf-8")


def test_a_rehearsal_knows_who_was_called_already(shop: Shop, platform: Platform, tmp_path: Path) -> None:
    """It plays in a copy of the ledger, which is left as it was."""
    shop.run(write_list(tmp_path / "first.csv", people(4)))
    before = shop.ledger.read_bytes()
    said = shop.run(write_list(tmp_path / "second.csv", people(6)), "--rehearse").json
    assert (said["duplicate"], said["accepted"], said["doubled"]) == (4, 2, 0)
    assert (len(platform.phones()), shop.ledger.read_bytes()) == (4, before)
    assert shop.run(tmp_path / "second.csv").json["accepted"] == 2


def test_a_rehearsal_needs_no_campaign(shop: Shop, tmp_path: Path) -> None:
    """Nothing need be configured for it, and it says plainly what it is."""
    said = shop.importer("run", write_list(tmp_path / "list.csv", people(2)), "--rehearse")
    assert (said.code, "Nobody is called" in said.err, "Nobody was called" in said.out) == (0, True, True), said.err
    assert TOKEN not in said.out + said.err


def test_a_rehearsal_keeps_the_rate(shop: Shop, tmp_path: Path) -> None:
    """Six rows at ten a second, two in a request, take the time that they would take."""
    words = ("--rehearse", "--rate", "10", "--batch-size", "2")
    assert shop.run(write_list(tmp_path / "list.csv", people(6)), *words).json["elapsed_s"] > 0.35


# --- will it fit ----------------------------------------------------------------------------------------------------


def shown(bench: Bench) -> Intention:
    found = bench.desk.shown[-1]
    assert isinstance(found, Intention)
    return found


def test_the_summary_says_when_sending_would_end(bench: Bench, tmp_path: Path) -> None:
    """By --rate; and by how the platform answered before, where that is slower or nobody gave a rate."""
    rows = write_list(tmp_path / "list.csv", people(8))
    bench.desk.says_send = False
    bench.run(rows)
    assert shown(bench).fit.expected_s is None
    bench.run(rows, rate_rows_s=0.0001)
    assert (round(shown(bench).fit.expected_s or 0), shown(bench).fit.is_beyond_key_window) == (80_000, False)
    bench.run(rows, rate_rows_s=0.00009)
    assert shown(bench).fit.is_beyond_key_window
    bench.desk.says_send = True
    bench.run(rows)
    bench.run(write_list(tmp_path / "other.csv", people(3, first=20)))
    assert (shown(bench).fit.is_measured, (shown(bench).fit.expected_s or 0) > 0) == (True, True)


def test_rows_whose_window_closes_before_their_turn_are_counted(bench: Bench, tmp_path: Path) -> None:
    """Two rows a second: of eight rows that may be called for two more seconds, those behind the fourth are late."""
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    rows = [{**row, "finishDateTime": soon if place % 2 else ""} for place, row in enumerate(people(8))]
    bench.desk.says_send = False
    bench.run(write_list(tmp_path / "list.csv", rows), rate_rows_s=0.001)
    assert shown(bench).fit.late_rows == 2  # the turns of rows 5 and 7 are after 5,000 and 7,000 seconds
    bench.run(tmp_path / "list.csv", rate_rows_s=100.0)
    assert shown(bench).fit.late_rows == 0


def test_the_last_import_of_the_same_list_is_named(shop: Shop, tmp_path: Path) -> None:
    """With how the list has grown since."""
    rows = write_list(tmp_path / "list.csv", people(5))
    shop.run(rows, "--list", "nightly")
    said = shop.importer(
        "run", write_list(tmp_path / "next.csv", people(7)), *shop.target, "--list", "nightly", "--rate", "1000"
    )
    assert "import 1," in said.err
    assert "5 rows read, 5 accepted; now +2 rows, 2 to call" in said.err
    assert "Takes about" in said.err
