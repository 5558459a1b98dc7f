"""The ledger's records, each built from a database row in one place."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from importer.body import batch_body
from importer.keys import request_key
from importer.ledger.deflate import packed
from importer.protocol import Batch

if TYPE_CHECKING:
    import polars as pl

    from importer.ledger.packs import PackRuns


@dataclass(frozen=True, kw_only=True, slots=True)
class Campaign:
    """A campaign as the ledger knows it; `key_seed` is a secret, `fingerprint` knows the token again."""

    id: int
    name: str
    origin: str
    fingerprint: bytes = field(repr=False)
    key_seed: str = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Import:
    """One list in one campaign and round. `mapping` and `settings` are as the run was given them."""

    id: int
    campaign_id: int
    round: str
    list_name: str
    source_state: str
    revision: int
    mapping: dict[str, Any]
    settings: dict[str, Any]
    batch_size_rows: int
    next_file_no: int
    next_row_no: int
    read_rows: int
    first_row_id: int
    facts: dict[str, Any]
    started_ms: int
    completed_ms: int | None
    finished_ms: int | None

    @property
    def is_complete(self) -> bool:
        """True once the list was read to its end and its counts agreed."""
        return self.source_state == "complete"


@dataclass(frozen=True, kw_only=True, slots=True)
class NewBatch:
    """A batch about to be frozen. `body_bytes` is what will be sent, to the byte; `body_packed` the same, if made."""

    request_key: str
    size_rows: int
    body_bytes: bytes = field(repr=False)
    sha256: bytes
    row_keys: tuple[bytes, ...] = field(repr=False)
    generation: int = 0
    body_packed: bytes | None = field(default=None, repr=False, compare=False)

    @classmethod
    def made_of(cls, seed: str, row_keys: Sequence[bytes], items: Sequence[str]) -> NewBatch:
        """A batch from its rows' keys and request items, in order: the very bytes, their hash, the key."""
        return cls.of_body(seed, row_keys, batch_body(items))

    @classmethod
    def of_body(cls, seed: str, row_keys: Sequence[bytes], body: bytes, *, is_packed: bool = False) -> NewBatch:
        """The same from the request's very bytes, packed at once if they are to be kept."""
        return cls(
            request_key=request_key(seed, 0, row_keys),
            size_rows=len(row_keys),
            body_bytes=body,
            sha256=hashlib.sha256(body).digest(),
            row_keys=tuple(row_keys),
            body_packed=packed(body) if is_packed else None,
        )

    @classmethod
    def counted(cls, request_key: str, size_rows: int) -> NewBatch:
        """A batch that will not be sent: what a ledger without bodies keeps of one."""
        return cls(request_key=request_key, size_rows=size_rows, body_bytes=b"", sha256=b"", row_keys=())

    def in_generation(self, seed: str, generation: int) -> NewBatch:
        """The same rows and bytes under the key of a later generation."""
        return replace(self, request_key=request_key(seed, generation, self.row_keys), generation=generation)


@dataclass(frozen=True, kw_only=True, slots=True)
class NewReject:
    """A row found unusable, with everything a person needs to repair it. `cells` is JSON text."""

    file_no: int
    row_no: int
    column: str | None
    reason: str
    explanation: str
    cells: str = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Leftover:
    """A good row waiting for enough others to fill a batch; kept so that batches do not depend on chunks (law 2)."""

    file_no: int
    row_no: int
    phone: int
    row_key: bytes
    identity: bytes | None
    item: str = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class IntakeChunk:
    """What one commit of intake holds: rows, batches, rejects, skips and the checkpoint they lead to.

    **Crash**: before the commit none of it is there and the checkpoint is the old one; after it all of it is.
    **Shapes**: `rows` has file_no, row_no, phone, row_key and identity; row i gets the id `first_row_id + i`;
    `runs` is what packs are made of, where it was made already; `members[n]` are the rows of `batches[n]`, in the order
    of its request; `skips` maps a reason to file_no, row_no and
    row_id, that being the row repeated (0 where it has no id yet: a leftover);
    `returning_row_ids` are thawed rows that are enqueued anew, `kept` (row_id, file_no, row_no) of rows already armed.
    """

    first_row_id: int
    rows: pl.DataFrame
    runs: PackRuns | None = None
    members: Sequence[Sequence[int]]
    leftovers: Sequence[Leftover]
    batches: Sequence[NewBatch]
    rejects: Sequence[NewReject]
    skips: dict[str, pl.DataFrame]
    returning_row_ids: Sequence[int]
    kept: Sequence[tuple[int, int, int]]
    read_rows: int
    next_file_no: int
    next_row_no: int
    facts: dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """A row that already holds a key."""

    identity: bytes
    row_id: int
    import_id: int
    revision: int
    is_thawed: bool
    row_key: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Loose:
    """A row that no batch will settle: withdrawn (or thawed) when `is_withdrawn`, else declined by the platform."""

    row_id: int
    phone: int
    row_key: bytes
    revision: int
    is_withdrawn: bool

    def as_held(self, import_id: int) -> Held:
        """As if it still held its key."""
        return Held(
            identity=self.row_key,
            row_id=self.row_id,
            import_id=import_id,
            revision=self.revision,
            is_thawed=self.is_withdrawn,
            row_key=self.row_key,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Sendable:
    """A batch with all that a send needs. `body_bytes` was checked against its hash when it was read."""

    id: int
    request_key: str
    batch: Batch
    body_bytes: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Settlement:
    """The end of a send, ready to be written: the batch after it, the receipt, and what the exchange said."""

    sendable: Sendable
    after: Batch
    reason: str
    outcome: str
    status: int | None
    server_date_ms: int | None
    elapsed_ms: int
    receipt: dict[str, Any] | None
    parts: Iterable[NewPart] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class NewPart:
    """A part of a batch that falls apart: its own bytes and key, and which positions of the parent it takes."""

    batch: NewBatch
    positions: tuple[int, ...]
