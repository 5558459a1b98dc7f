"""What goes to a worker and what comes back: a job for one shard, and how it ended.

Floor: cluster. Both pass through the scheduler, whose logs and pages show what a task's arguments say of themselves;
so everything here says no more than which shard it is. A newcomer may question the pad: pickled plainly, the token
would stand in whatever dumps a message. It hides nothing from the scheduler itself, for which `distributed` has TLS.
"""

from __future__ import annotations

import json
import secrets
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from importer import __version__
from importer.client import Secret
from importer.errors import UsageProblem
from importer.model import Balance
from importer.run import RunSettings, Target
from importer.shards import Shard
from importer.sources import Query, ReadOptions


def judge_version(said: str) -> None:
    """Holds a worker's version against the one a job was made by. **Errors**: UsageProblem."""
    if said != __version__:
        raise UsageProblem(
            f"A worker has importer {__version__}, and the job was made by {said}.",
            hint="Install the same version everywhere.",
        )


@dataclass(frozen=True, slots=True, repr=False)
class Sealed:
    """A run's settings on their way to a worker; never shown, and never in a message as they are written."""

    settings: RunSettings

    def __repr__(self) -> str:
        return "Sealed(***)"

    def __reduce__(self) -> tuple[Any, ...]:
        settings, target, reading = self.settings, self.settings.target, self.settings.reading
        secret = json.dumps(
            {
                "target": {name: value and value.reveal() for name, value in _only(target, _SECRET_OF_TARGET).items()},
                "options": dict(reading.storage_options),
                "query": reading.query and [reading.query.sql, reading.query.db],
            }
        ).encode()
        pad = secrets.token_bytes(len(secret))
        plain = (
            _all_but(settings, ("target", "reading")),
            _all_but(target, _SECRET_OF_TARGET),
            _all_but(reading, _SECRET_OF_READING),
        )
        return _opened, (*plain, pad, _mixed(pad, secret))


_SECRET_OF_TARGET = ("token", "proxy")
_SECRET_OF_READING = ("storage_options", "query")


def _all_but(record: RunSettings | Target | ReadOptions, left_out: Sequence[str]) -> dict[str, Any]:
    return {each.name: getattr(record, each.name) for each in fields(record) if each.name not in left_out}


def _only(target: Target, names: Sequence[str]) -> dict[str, Secret[str] | None]:
    return {name: getattr(target, name) for name in names}


def _opened(
    settings: Mapping[str, Any], target: Mapping[str, Any], reading: Mapping[str, Any], pad: bytes, mixed: bytes
) -> Sealed:
    secret = json.loads(_mixed(pad, mixed))
    shown: dict[str, Any] = {n: None if text is None else Secret(text) for n, text in secret["target"].items()}
    query = secret["query"] and Query(sql=secret["query"][0], db=secret["query"][1])
    return Sealed(
        RunSettings(
            **settings,
            target=Target(**target, **shown),
            reading=ReadOptions(**reading, storage_options=secret["options"], query=query),
        )
    )


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
