"""A run that ends itself with SIGKILL at a chosen crossing: `python -m importer.selftest.child '{...}'`.

Floor: selftest. It puts the engine of `importer run` together as the command line does, with a network and a clock of
its own. A newcomer may wonder that the package does not import it: what runs as a program should not be a module too.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import httpx

from importer import machine
from importer.client import CallsApi, check_token, parse_origin
from importer.client.wire import WatchedTransport
from importer.errors import ImporterError
from importer.ledger import Ledger
from importer.machine import Moment, Owner, StopSignals
from importer.model import Event
from importer.protocol import Window
from importer.run import CameBack, CampaignFacts, Intention, Run, RunSettings, Target
from importer.selftest.crossings import AFTER_ANSWER, BEFORE_REQUEST, Asked, Crossings
from importer.sender import SendSettings


class MortalTransport(httpx.BaseTransport):
    """The network of a process that may die around any request."""

    def __init__(self, inner: httpx.BaseTransport, crossings: Crossings) -> None:
        self._inner = inner
        self._crossings = crossings

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """The answer of the real network."""
        self._crossings.cross(BEFORE_REQUEST)
        response = self._inner.handle_request(request)
        self._crossings.cross(AFTER_ANSWER)
        return response

    def close(self) -> None:
        """Closes the real network."""
        self._inner.close()


class JumpingClock:
    """This machine's clocks until the n-th reading, and from then on off by so much."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._readings = 0

    def __call__(self) -> Moment:
        """A reading."""
        self._readings += 1
        moment = machine.now()
        if self._readings <= self._asked.jump_at_reading:
            return moment
        return replace(
            moment,
            unix_ms=moment.unix_ms + self._asked.jump_unix_s * 1000,
            boot_ms=moment.boot_ms + self._asked.jump_boot_s * 1000,
        )


class Nobody:
    """A desk with nobody at it, and everything agreed beforehand."""

    def may_send(self, intention: Intention) -> bool:
        """Yes."""
        del intention
        return True

    def which_call(self, came_back: CameBack) -> str | None:
        """Nobody says."""
        del came_back
        return None

    def which_reading(self, *_: object) -> None:
        """Nobody says."""

    def is_right_ledger(self, campaign: CampaignFacts, ledger: Path) -> bool:
        """Nobody says."""
        del campaign, ledger
        return False


def die() -> None:
    """Ends this process as `kill -9` does; Windows has no signals, and ends a process the same way by any."""
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))


def settings_of(asked: Asked) -> RunSettings:
    """What `importer run` would be asked for."""
    return RunSettings(
        sources=[asked.source],
        target=Target(origin=parse_origin(asked.host), token=check_token(asked.token)),
        ledger=Path(asked.ledger),
        batch_size_rows=asked.batch_size_rows,
        sending=SendSettings(in_flight=1, patience_s=20.0, window=Window(request_s=10.0)),
        is_new_ledger_fine=True,
        quiet_s=asked.quiet_s,
        adopt_since_ms=asked.adopt_since_ms,
    )


def run_child(asked: Asked, crossings: Crossings, open_ledger: Callable[[Path, Owner, int], Ledger]) -> int:
    """Runs it to its end or to its death; gives the exit code."""
    settings, now = settings_of(asked), JumpingClock(asked)
    network = MortalTransport(WatchedTransport(is_tls=False, connections=2), crossings)
    with ExitStack() as stack:
        signals = stack.enter_context(StopSignals())
        ledger = stack.enter_context(open_ledger(settings.ledger, machine.this_process("now"), now().unix_ms))
        api = stack.enter_context(CallsApi(asked.host, asked.token, timeout_s=10.0, connections=2, transport=network))
        run = Run(ledger=ledger, api=api, desk=Nobody(), observer=_unheard, signals=signals, now=now)
        return run.run(settings).exit_code


def opened(path: Path, owner: Owner, now_ms: int) -> Ledger:
    """The ledger, as the product opens it."""
    return Ledger(path, owner, now_ms=now_ms)


def _unheard(event: Event) -> None:
    """Nobody watches a child."""
    del event


def main(text: str, open_ledger: Callable[[Path, Owner, int], Ledger] = opened) -> None:
    """The process: prints how many crossings of each kind there were, and exits as the run did."""
    asked = Asked.read(text)
    crossings = Crossings(dies=asked.dies, end=die)
    sys.addaudithook(crossings.watch_connections)
    said, code = "", 0
    try:
        code = run_child(asked, crossings, open_ledger)
    except ImporterError as problem:
        said, code = problem.message, problem.exit_code
    sys.stdout.write(json.dumps({"crossings": dict(crossings.counts), "error": said, "exit_code": code}) + "\n")
    sys.exit(code)


if __name__ == "__main__":
    main(sys.argv[1])
