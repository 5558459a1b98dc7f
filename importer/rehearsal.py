"""A rehearsal: the same run against a sandbox on this machine, in a copy of the ledger, so that nobody is called.

Floor: rehearsal, above run and sandbox. The copy knows the campaign by the sandbox's token, as after a renewal, so that
rows called before are duplicates here too. A newcomer may question that even the network is real: the sandbox answers
on a socket, and all that differs from the real thing is who answers.
"""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from importer import keys
from importer.errors import UsageProblem
from importer.ledger import Ledger
from importer.ledger.opening import translated
from importer.ledger.upkeep import snapshot
from importer.machine import now, private_umask, this_process, write_private
from importer.run import Target


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """Where a rehearsal plays: a sandbox's address, a file with its token, a ledger, and the sandbox's own records."""

    origin: str
    token_file: Path
    ledger: Path
    sandbox_db: Path

    def judge(self) -> tuple[int, int]:
        """Call jobs the sandbox made, and how many of them are second ones of a row."""
        from importer.sandbox import records

        doubled = sum(len(each.job_ids) - 1 for each in records.duplicates(self.sandbox_db))
        return records.count_jobs(self.sandbox_db), doubled


@contextlib.contextmanager
def staged(folder: Path, ledger: Path | None, target: Target | None) -> Iterator[Stage]:
    """A sandbox on a free port of this machine, and a ledger: a copy of the real one, if its campaign is known there.

    **Errors**: UsageProblem when the sandbox is not installed; LedgerProblem when the ledger cannot be read.
    """
    try:
        from importer.sandbox import Sandbox
    except ImportError as problem:
        hint = 'pip install "phone-list-importer[sandbox]"'
        raise UsageProblem("A rehearsal needs the sandbox.", hint=hint) from problem
    token, db = f"1.2.rehearsal{secrets.token_hex(8)}", folder / "sandbox.db"
    token_file = folder / "token"
    write_private(token_file, token.encode())
    with Sandbox(db, tokens=(token,)) as sandbox, sandbox.serve() as served:
        stage = Stage(origin=served.origin, token_file=token_file, ledger=folder / "ledger.db", sandbox_db=db)
        if ledger is not None and target is not None and ledger.exists():
            _copy(ledger, stage.ledger)
            _teach(stage, token, target)
        yield stage


def _copy(ledger: Path, copy: Path) -> None:
    """The ledger as it is at one moment, by SQLite's own online copy."""
    with (
        private_umask(),
        snapshot(ledger) as source,
        translated(copy, "written"),
        contextlib.closing(sqlite3.connect(copy, isolation_level=None)) as connection,
    ):
        source.backup(connection)


def _teach(stage: Stage, token: str, target: Target) -> None:
    """Has the copy know the real campaign by the sandbox's token, and not take itself for a restored one."""
    known_by = keys.campaign_fingerprint(keys.campaign_seed(target.token.reveal(), target.origin))
    new = keys.campaign_fingerprint(keys.campaign_seed(token, stage.origin))
    with Ledger(stage.ledger, this_process(""), now_ms=now().unix_ms) as ledger:
        for campaign in ledger.campaigns.all():
            if campaign.fingerprint == known_by:
                ledger.campaigns.renew(campaign, new, None, now_ms=now().unix_ms)
        ledger.witness.note(0)
