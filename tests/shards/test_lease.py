"""A worker sends nothing more once another may have sent the same, longer ago than keys are remembered."""

from __future__ import annotations

from dataclasses import dataclass, replace

from workbench import TOKEN, Platform

from importer import machine
from importer.cluster.lease import Lease, LeasedApi
from importer.machine import Moment, StopSignals
from importer.model import NoAnswer


@dataclass
class Clock:
    """A boot clock that goes as the test says."""

    passed_ms: int = 0

    def __call__(self) -> Moment:
        now = machine.now()
        return replace(now, boot_ms=1_000_000 + self.passed_ms)


def test_silence_longer_than_the_window_ends_it_for_good() -> None:
    """Frozen or cut off: what it hears afterwards comes too late."""
    clock = Clock()
    lease = Lease(60.0, clock)
    clock.passed_ms = 59_000
    assert (lease.is_good(), lease.received) == (True, None)
    lease.renew(lambda: True)
    clock.passed_ms = 118_000
    assert lease.is_good()
    clock.passed_ms = 119_000
    assert (lease.is_good(), lease.received) == (False, 15)
    lease.renew(lambda: True)
    assert not lease.is_good()


def test_no_answer_renews_nothing_and_a_successor_ends_it() -> None:
    clock = Clock()
    lease = Lease(60.0, clock)
    clock.passed_ms = 30_000
    lease.renew(lambda: None)
    clock.passed_ms = 61_000
    assert not lease.is_good()
    other = Lease(60.0, clock)
    other.renew(lambda: False)
    assert (other.is_good(), other.received) == (False, 15)
    other.renew(lambda: True)
    assert not other.is_good()


def test_what_counts_is_when_it_was_asked_not_when_it_was_answered() -> None:
    """A process may be frozen between the two."""
    clock = Clock()
    lease = Lease(60.0, clock)

    def slowly() -> bool:
        clock.passed_ms = 50_000
        return True

    lease.renew(slowly)
    clock.passed_ms = 60_000
    assert not lease.is_good()


def test_the_first_byte_waits_for_a_last_look_at_it(platform: Platform) -> None:
    """Woken between arming and sending, nothing leaves."""
    clock = Clock()
    with LeasedApi(Lease(60.0, clock), platform.origin, TOKEN, timeout_s=5.0, connections=1) as api:
        clock.passed_ms = 61_000
        exchange = api.send_batch(b'[{"phone":"12015550100"}]', "0" * 32)
    assert isinstance(exchange, NoAnswer)
    assert (exchange.reason, exchange.is_sent) == ("too-late", False)
    assert platform.phones() == []


def test_ctrl_c_ends_it_as_well() -> None:
    signals = StopSignals()
    lease = Lease(60.0, Clock(), signals)
    assert lease.received is None
    signals.ask_to_stop()
    assert lease.received == 15
