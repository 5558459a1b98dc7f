"""The folder beside the home ledger where shards' ledgers are until they are settled and merged.

Floor: cluster. What is in it is unfinished: a shard's ledger goes once everything of it is settled and home. A newcomer
may question the note beside each: it says that a shard was given to a worker elsewhere whose ledger has not come home,
which nothing else could tell after the scheduler, or this process, was lost.
"""

from __future__ import annotations

import json
import secrets
import zlib
from pathlib import Path

from importer.cluster.records import LedgerCopy, Where, counter_of, name_of, note_of
from importer.errors import LedgerProblem
from importer.ledger import Ledger, LedgerReader
from importer.ledger.merging import MergedShard, merge_ledgers
from importer.machine import make_private_folder, write_private
from importer.shards import Shard


class Keep:
    """The folder of one home ledger."""

    def __init__(self, home: Ledger, *, boot_id: str) -> None:
        self._home = home
        self._boot_id = boot_id
        self.folder = home.path.with_name(f"{home.path.name}.shards")
        make_private_folder(self.folder)
        self._beacon = secrets.token_hex(16)
        write_private(self.folder / "beacon", self._beacon.encode())

    def where(self) -> Where:
        """How a worker on this machine finds it."""
        return Where(
            folder=str(self.folder.absolute()),
            home=str(self._home.path.absolute()),
            boot_id=self._boot_id,
            beacon=self._beacon,
        )

    def ledger(self, shard: Shard) -> Path:
        """A shard's own ledger, whether it is there or not."""
        return self.folder / f"{name_of(shard)}.db"

    def _note(self, shard: Shard) -> Path:
        return note_of(self.folder, shard)

    def begun_since_ms(self, shard: Shard) -> int | None:
        """Since when a worker elsewhere may have sent for a shard, whose ledger never came home; None if none has."""
        try:
            said = json.loads(self._note(shard).read_bytes())
        except FileNotFoundError:
            return None
        return None if said["where"] == "beside" else int(said["since_ms"])

    def give_out(self, shard: Shard, since_ms: int) -> None:
        """Notes that a shard is given to a worker, before it is."""
        if self.begun_since_ms(shard) is None:
            write_private(self._note(shard), json.dumps({"since_ms": since_ms, "where": "somewhere"}).encode())

    def began_beside(self, shard: Shard) -> None:
        """Notes that its worker keeps its ledger here, so that losing the worker loses nothing."""
        note = self._note(shard)
        if note.exists():
            said = json.loads(note.read_bytes())
            write_private(note, json.dumps({**said, "where": "beside"}).encode())

    def came_home(self, shard: Shard, copy: LedgerCopy | None, *, is_run: bool) -> None:
        """Keeps a ledger that a worker sent.

        The note goes only where the run came to its report: a worker that stopped before it knows nothing of what an
        earlier one, now lost, has sent.
        """
        if copy is not None:
            path = self.ledger(shard)
            self._forget(path)
            write_private(path, zlib.decompress(copy.ledger))
            if copy.counter is not None:
                write_private(counter_of(path), copy.counter)
        if is_run:
            self._note(shard).unlink(missing_ok=True)

    def is_taken_in(self, shard: Shard, list_name: str, round_name: str) -> bool:
        """Whether a shard's ledger here has read this list to its end and is not settled: it reads no list any more."""
        path = self.ledger(shard)
        if not path.exists():
            return False
        try:
            with LedgerReader(path) as reader:
                imports = [each.an_import for each in reader.view.imports()]
        except LedgerProblem:
            return False
        names = [(each.list_name, each.round) for each in imports if each.is_complete and each.finished_ms is None]
        return (list_name, round_name) in names

    def merge(self, shard: Shard) -> MergedShard | None:
        """Brings a shard home, and forgets its ledger once nothing of it is open. None where it has no ledger yet."""
        path = self.ledger(shard)
        if not path.exists():
            return None
        merged = merge_ledgers(self._home, [path])
        if merged and all(self._is_settled(each, shard) for each in merged) and not self._note(shard).exists():
            self._forget(path)
        return merged[-1] if merged else None

    def _is_settled(self, merged: MergedShard, shard: Shard) -> bool:
        an_import = None if merged.import_id is None else self._home.intake.import_by_id(merged.import_id)
        return an_import is not None and bool(an_import.settings["shards"]["merged"][str(shard.number)]["is_finished"])

    @staticmethod
    def _forget(path: Path) -> None:
        for ending in ("", "-wal", "-shm", ".counter"):
            path.with_name(f"{path.name}{ending}").unlink(missing_ok=True)
        path.with_suffix(".rejects.csv").unlink(missing_ok=True)
