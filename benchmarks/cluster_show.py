"""A cluster under fire: workers killed and frozen at random, schedulers lost, networks cut; each row is sent once.

Rounds of one list each, over real processes: a scheduler, three workers and a sandbox that forgets keys after seconds
where the platform does after a day, so that a frozen worker wakes after its window. In half of the rounds the workers
take themselves to be on other machines, so that a killed one takes its ledger along. With --netns (as root, on Linux)
workers live in a network namespace, and are also cut off from the sandbox alone. Ends by printing a table.

    python benchmarks/cluster_show.py --minutes 10 --seed 1 --netns
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from workbench import OWNER, TOKEN, Platform, people, write_list  # noqa: E402 - the tests are no package of an installation

from importer.client import check_token  # noqa: E402
from importer.cluster import Cluster, joined  # noqa: E402
from importer.errors import ImporterError  # noqa: E402
from importer.ledger import Ledger, LedgerReader  # noqa: E402
from importer.machine import StopSignals, now  # noqa: E402
from importer.model import Balance  # noqa: E402
from importer.protocol import Window  # noqa: E402
from importer.run import RunSettings, Target  # noqa: E402
from importer.sandbox import Sandbox, records  # noqa: E402
from importer.sender import SendSettings  # noqa: E402
from tests.shards.farm import Farm, awaited, farm  # noqa: E402

ROWS, WORKERS = 200, 3
MOST_SHARDS = 5
STRETCH_BYTES = (500, 1_000, 3_000, 10_000)  # of a list of some 7,000
KEY_S, MARGIN_S, REQUEST_S = 24.0, 6.0, 5.0
MOST_RUNS = 8
NAMESPACE, LINK = "importer-show", "imp-show"
HERE, THERE, PLATFORM = "10.77.0.1", "10.77.0.2", "10.77.1.1"


@dataclass(kw_only=True)
class Count:
    """What was done to the clusters, and what came of the rows."""

    done: Counter[str] = field(default_factory=Counter)
    rounds: int = 0
    runs: int = 0
    rows: int = 0
    accepted: int = 0
    in_doubt: int = 0
    lost: int = 0
    doubled: int = 0


# --- a network of its own -------------------------------------------------------------------------------------------


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@contextlib.contextmanager
def namespace() -> Iterator[None]:
    """Workers' own network, joined to this machine's by a pair of links; the platform has an address of its own."""
    _ip("netns", "add", NAMESPACE)
    try:
        _ip("link", "add", LINK, "type", "veth", "peer", "name", "inside", "netns", NAMESPACE)
        for address in (HERE, PLATFORM):
            _ip("addr", "add", f"{address}/24", "dev", LINK)
        _ip("link", "set", LINK, "up")
        for words in (
            ("addr", "add", f"{THERE}/24", "dev", "inside"),
            ("link", "set", "inside", "up"),
            ("link", "set", "lo", "up"),
            ("route", "add", "default", "via", HERE),
        ):
            _ip("-n", NAMESPACE, *words)
        yield
    finally:
        _ip("netns", "del", NAMESPACE)


# --- what is done to a cluster --------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Foe:
    """Does something to the cluster every few seconds, until it is told that the round is over."""

    farm: Farm
    dice: random.Random
    count: Count
    has_namespace: bool
    is_over: threading.Event = field(default_factory=threading.Event)
    frozen: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def strike(self) -> None:
        """Until the round is over."""
        kinds: list[Callable[[], None]] = [self.kill, self.kill, self.freeze, self.lose_scheduler]
        kinds += [self.cut_off] if self.has_namespace else []
        while not self.is_over.wait(self.dice.uniform(2.0, 6.0)):
            self.dice.choice(kinds)()

    def kill(self) -> None:
        """A worker dies, another comes."""
        self.farm.kill(self.dice.choice(self.farm.workers))
        self.farm.add_worker()
        self.count.done["worker killed (SIGKILL)"] += 1

    def freeze(self) -> None:
        """A worker stands still, longer than its keys live or for a moment, and wakes."""
        worker = self.dice.choice(self.farm.workers)
        is_long = self.dice.random() < 0.5
        worker.send_signal(signal.SIGSTOP)
        self.farm.add_worker()
        self.is_over.wait(KEY_S + 3 if is_long else self.dice.uniform(1.0, 5.0))
        worker.send_signal(signal.SIGCONT)
        self.count.done["worker frozen past the window, woken" if is_long else "worker frozen a while, woken"] += 1

    def lose_scheduler(self) -> None:
        """The scheduler dies, and its workers with it; a new cluster comes, and the command is run again."""
        self.farm.stop()
        self.farm.start(WORKERS)
        self.count.done["scheduler and workers lost, started anew"] += 1

    def cut_off(self) -> None:
        """The workers do not reach the platform for a while; they reach the scheduler."""
        _ip("-n", NAMESPACE, "route", "add", "blackhole", f"{PLATFORM}/32")
        self.is_over.wait(self.dice.uniform(2.0, 8.0))
        _ip("-n", NAMESPACE, "route", "del", "blackhole", f"{PLATFORM}/32")
        self.count.done["workers cut off from the platform"] += 1


# --- a round --------------------------------------------------------------------------------------------------------


def one_round(folder: Path, dice: random.Random, count: Count, *, has_namespace: bool) -> None:
    """One list, sent under fire, then run again in peace until nothing is open."""
    faults = ("delay:s=0.25,at=after", "lose-answer:p=0.05")
    network = (
        {"host": HERE, "worker_host": THERE, "prefix": ("ip", "netns", "exec", NAMESPACE)} if has_namespace else {}
    )
    with (
        Sandbox(
            folder / "platform.db", tokens=(TOKEN,), faults=faults, key_ttl_s=KEY_S, seed=dice.randrange(10**6)
        ) as sandbox,
        sandbox.serve(host=PLATFORM if has_namespace else "127.0.0.1") as served,
        farm(folder / "farm", **network) as field_,
    ):
        platform = Platform(sandbox=sandbox, db=folder / "platform.db", origin=served.origin)
        field_.start(WORKERS)
        rows = people(ROWS)
        settings = _settings(folder, write_list(folder / "list.csv", rows), platform)
        is_apart, shards = dice.random() < 0.5, dice.randint(2, MOST_SHARDS)
        count.done["rounds with workers elsewhere" if is_apart else "rounds with workers beside"] += 1
        foe = Foe(farm=field_, dice=dice, count=count, has_namespace=has_namespace)
        striking = threading.Thread(target=foe.strike)
        striking.start()
        for attempt in range(MOST_RUNS):
            if attempt == MOST_RUNS // 2:
                foe.is_over.set()
                striking.join()
            count.runs += 1
            balance = _one_run(settings, field_, shards, dice.choice(STRETCH_BYTES), is_apart=is_apart)
            if _is_settled(balance):
                break
        foe.is_over.set()
        striking.join()
        _judge(folder, platform, rows, count)
        print(f"    {shards} shards, {'elsewhere' if is_apart else 'beside'}", flush=True)


def _settings(folder: Path, source: Path, platform: Platform) -> RunSettings:
    return RunSettings(
        sources=(str(source),),
        target=Target(origin=platform.origin, token=check_token(TOKEN), is_insecure_http_fine=True),
        ledger=folder / "ledger.db",
        batch_size_rows=4,
        sending=SendSettings(
            in_flight=6, patience_s=15.0, window=Window(window_s=KEY_S, margin_s=MARGIN_S, request_s=REQUEST_S)
        ),
        is_new_ledger_fine=True,
        quiet_s=2.0,
    )


def _one_run(settings: RunSettings, field_: Farm, shards: int, stretch_bytes: int, *, is_apart: bool) -> Balance | None:
    """The command, once, its list cut in another way each time; None when it was stopped."""
    awaited(lambda: field_.address, 60)
    try:
        with (
            Ledger(settings.ledger, OWNER, now_ms=now().unix_ms) as home,
            joined(field_.address, shards) as (client, of),
        ):
            machine = "another machine" if is_apart else now().boot_id
            made = Cluster(
                home=home,
                observer=lambda _: None,
                signals=StopSignals(),
                boot_id=machine,
                stretch_bytes=stretch_bytes,
            )
            return made.run(settings, client, of).balance
    except ImporterError as problem:
        print(f"    {problem.message}", flush=True)
        time.sleep(2)
        return None


def _is_settled(balance: Balance | None) -> bool:
    return balance is not None and balance.pending == 0 and balance.in_doubt == 0 and balance.is_even


def _judge(folder: Path, platform: Platform, rows: list[dict[str, str]], count: Count) -> None:
    """Counts call jobs at the sandbox against what the ledger says."""
    jobs = Counter(platform.phones())
    with LedgerReader(folder / "ledger.db") as reader:
        balance = reader.view.balance(reader.view.newest_import_id() or 0)
    count.rounds += 1
    count.rows += len(rows)
    count.accepted += balance.accepted
    count.in_doubt += balance.in_doubt + balance.pending
    count.lost += max(0, balance.accepted - len(jobs)) + (len(rows) - balance.read)
    count.doubled += sum(each - 1 for each in jobs.values()) + len(records.keys_with_two_bodies(platform.db))


def main() -> int:
    """Rounds until the time is up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="copy rounds with a row lost or called twice there")
    parser.add_argument("--netns", action="store_true", help="workers in a network namespace of their own; needs root")
    said = parser.parse_args()
    count, until_s = Count(), time.monotonic() + said.minutes * 60
    with namespace() if said.netns else contextlib.nullcontext():
        while time.monotonic() < until_s:
            dice = random.Random(said.seed * 1000 + count.rounds)
            with tempfile.TemporaryDirectory(prefix="importer-show-") as name:
                Path(name).chmod(0o700)
                wrong = count.lost + count.doubled
                one_round(Path(name), dice, count, has_namespace=said.netns)
                if said.keep and count.lost + count.doubled > wrong:
                    shutil.copytree(name, said.keep / f"seed-{said.seed}-round-{count.rounds}")
            print(f"round {count.rounds}: {dict(count.done)}, lost {count.lost}, doubled {count.doubled}", flush=True)
    print(table(count))
    return 0 if count.lost == count.doubled == 0 else 1


def table(count: Count) -> str:
    """The counts, for docs."""
    facts = {"rounds": count.rounds, "runs of the command": count.runs, "rows": count.rows, "accepted": count.accepted}
    facts |= dict(sorted(count.done.items()))
    facts |= {"open at the end": count.in_doubt, "rows lost": count.lost, "rows called twice": count.doubled}
    load = f"{os.getloadavg()[0]:.0f}"
    lines = ["| what | count |", "|---|---:|", *(f"| {name} | {value:,} |" for name, value in facts.items())]
    return "\n".join([*lines, "", f"(load {load})"])


if __name__ == "__main__":
    sys.exit(main())
