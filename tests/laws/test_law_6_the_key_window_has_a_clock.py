"""Law 6, as far as the sender keeps it: a key is used only while it is surely remembered."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from workbench import Bench, Serve, people, write_list

from importer.protocol import Arming, Batch, ServerClock, State, Window, age_ms, calibrated, expire
from importer.sandbox import records

DAY_MS, HOUR_MS = 86_400_000, 3_600_000


def test_law_6_the_last_request_ends_before_the_margin() -> None:
    """With the defaults: 22 h 58 min 30 s after first arming, to the millisecond."""
    window = Window()
    last_ms = DAY_MS - HOUR_MS - 90_000
    assert window.is_open(last_ms - 1)
    assert not window.is_open(last_ms)


@given(
    date_ms=st.integers(0, 10**13),
    round_trip_ms=st.integers(0, 90_000),
    boot_ms=st.integers(0, 10**10),
    passed_ms=st.integers(0, 3 * DAY_MS),
    error_ms=st.integers(0, 999),
    drift=st.floats(-1 / 2500, 1 / 2500),
)
def test_law_6_the_servers_clock_lies_within_the_bounds(
    date_ms: int, round_trip_ms: int, boot_ms: int, passed_ms: int, error_ms: int, drift: float
) -> None:
    """A Date is cut to seconds, the answer took its way, crystals drift: the true time is still between the bounds."""
    clock = calibrated(date_ms, round_trip_ms, boot_ms, "b")
    low_ms, high_ms = clock.bounds_ms(boot_ms + passed_ms)
    true_ms = date_ms + error_ms + round_trip_ms + passed_ms * (1 + drift)
    assert low_ms - 1 <= true_ms <= high_ms + 1, "to the millisecond, which is the unit"


def test_law_6_the_larger_of_two_ages_counts_and_none_is_no_permission() -> None:
    """Server's clock or boot clock, whichever makes the key older; across boots without a Date there is no age."""
    clock = ServerClock(low_ms=10_000, high_ms=12_000, boot_ms=0, boot_id="b")
    assert age_ms(Arming(server_low_ms=2_000, boot_ms=0, boot_id="b"), clock, 0, "b") == 10_000
    assert age_ms(Arming(server_low_ms=11_000, boot_ms=-5_000, boot_id="b"), clock, 0, "b") == 5_000
    assert age_ms(Arming(server_low_ms=2_000, boot_ms=0, boot_id="earlier"), clock, 0, "b") == 10_000
    assert age_ms(Arming(server_low_ms=None, boot_ms=0, boot_id="b"), None, 7_000, "b") == 7_000
    assert age_ms(Arming(server_low_ms=None, boot_ms=0, boot_id="earlier"), clock, 0, "b") is None
    assert age_ms(Arming(server_low_ms=2_000, boot_ms=0, boot_id="earlier"), None, 0, "b") is None


def test_law_6_a_closed_window_means_doubt_only_where_something_may_exist() -> None:
    """Ambiguous: in doubt. Never carried out: a new epoch of the same bytes, as if for the first time."""
    waiting = Batch(
        state=State.WAITING, size_rows=2, sends=3, first_armed=Arming(server_low_ms=1, boot_ms=1, boot_id="b")
    )
    fresh = expire(waiting).batch
    assert (fresh.state, fresh.epoch, fresh.first_armed, fresh.sends) == (State.FROZEN, 1, None, 0)
    doubtful = Batch(state=State.WAITING, size_rows=2, is_ambiguous=True)
    assert expire(doubtful).batch.state is State.IN_DOUBT


def test_law_6_no_request_starts_after_the_window_and_the_rows_are_in_doubt(serve: Serve, tmp_path: Path) -> None:
    """A platform that always loses its answer, and a short window: the same key until the window ends, then doubt."""
    platform = serve("lose-answer")
    bench = Bench(folder=tmp_path, origin=platform.origin)
    window = Window(window_s=60.0, margin_s=10.0, request_s=10.0)
    report = bench.run(write_list(tmp_path / "a.csv", people(3)), window=window, patience_s=600.0, in_doubt="hold")
    assert (report.exit_code, report.balance.in_doubt, report.balance.pending) == (8, 3, 0)
    assert len(platform.sends()) >= 2
    assert len({(one.key, one.body_sha256) for one in platform.sends()}) == 1
    assert records.count_jobs(platform.db) == 3
    assert records.keys_used_past(platform.db, 40.0) == []
