"""What goes to a worker and what comes back: a job for one shard, and how it ended.

Floor: cluster. Both pass through the scheduler, whose logs and pages show what a task's arguments say of themselves;
so everything here says no more than which shard it is. A newcomer may question the pad: pickled plainly, the token
would stand in whatever dumps a message. It hides nothing from the scheduler itself, for which `distributed` has TLS.
"""

from __future__ import annotations

import pickle
import secrets
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from importer.client import Secret
from importer.model import Balance
from importer.run import RunSettings, Target
from importer.shards import Shard


@dataclass(frozen=True, slots=True, repr=False)
class Sealed:
    """A run's settings on their way to a worker; never shown, and never in a message as they are written."""

    settings: RunSettings

    def __repr__(self) -> str:
        return "Sealed(***)"

    def __reduce__(self) -> tuple[Any, ...]:
        body = pickle.dumps((_plain(self.settings), _plain(self.settings.target)))
        pad = secrets.token_bytes(len(body))
        return _opened, (pad, _mixed(pad, body))


def _plain(record: RunSettings | Target) -> dict[str, Any]:
    """A record's fields, its secrets as they are; the target goes apart."""
    found = {each.name: getattr(record, each.name) for each in fields(record) if each.name != "target"}
    return {name: (Secret, value.reveal()) if isinstance(value, Secret) else value for name, value in found.items()}


def _opened(pad: bytes, mixed: bytes) -> Sealed:
    settings, target = (_secret_again(each) for each in pickle.loads(_mixed(pad, mixed)))  # noqa: S301 - our own
    return Sealed(RunSettings(**settings, target=Target(**target)))


def _secret_again(plain: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: Secret(value[1]) if isinstance(value, tuple) and value[:1] == (Secret,) else value
        for name, value in plain.items()
    }


def _mixed(left: bytes, right: bytes) -> bytes:
    return (int.from_bytes(left, "big") ^ int.from_bytes(right, "big")).to_bytes(len(left), "big")


@dataclass(frozen=True, kw_only=True, slots=True)
class LedgerCopy:
    """A closed ledger and its counter as bytes. **Units**: packed by zlib."""

    ledger: bytes = field(repr=False)
    counter: bytes | None = field(repr=False)

    @classmethod
    def of(cls, path: Path, counter: Path | None = None) -> LedgerCopy:
        """A ledger that nobody has open; `counter` is its own unless said."""
        counter = counter or counter_of(path)
        return cls(
            ledger=zlib.compress(path.read_bytes(), 1), counter=counter.read_bytes() if counter.exists() else None
        )


def counter_of(ledger: Path) -> Path:
    """Where a ledger's counter stands."""
    return ledger.with_name(f"{ledger.name}.counter")


@dataclass(frozen=True, kw_only=True, slots=True)
class Where:
    """The folder of the shards' ledgers, on the machine of whoever gives the jobs.

    A worker on the same machine, running since the same boot, finds `beacon` there and works in the folder itself.
    """

    folder: str
    home: str
    boot_id: str
    beacon: str = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class ShardJob:
    """One shard's run.

    `run` names the whole. `since_ms` is when the shard was first given out; `is_begun` says that it was, to a worker
    whose ledger never came home.
    """

    run: str
    shard: Shard
    sealed: Sealed
    where: Where
    version: str
    since_ms: int
    is_begun: bool

    def __repr__(self) -> str:
        return f"ShardJob({self.shard})"

    def settings_in(self, folder: Path, home: Path, adopt_since_ms: int | None) -> RunSettings:
        """The settings of this shard, with its ledger in a folder."""
        settings = self.sealed.settings
        return replace(
            settings,
            shard=self.shard,
            ledger=folder / f"{name_of(self.shard)}.db",
            home=home,
            rejects_path=folder / f"{name_of(self.shard)}.rejects.csv",
            adopt_since_ms=settings.adopt_since_ms or adopt_since_ms,
            run_id=f"{settings.run_id or self.run} {self.shard}",  # a task may be run again after its end
        )


def note_of(folder: Path, shard: Shard) -> Path:
    """The note that a shard is given out; it goes when the shard came home."""
    return folder / f"{name_of(shard)}.begun"


def name_of(shard: Shard) -> str:
    """What a shard's files are called."""
    return f"{shard.number}-of-{shard.of}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Trouble:
    """What stopped a shard: an ImporterError as values, since exceptions are logged with whatever they hold."""

    kind: str
    message: str
    hint: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardDone:
    """How a shard's run ended. `copy` is its ledger, where it is not in the folder already."""

    shard: Shard
    exit_code: int
    ending: str
    detail: str
    balance: Balance | None
    trouble: Trouble | None
    copy: LedgerCopy | None
