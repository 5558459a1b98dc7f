"""Rows of large batches, kept in columns: one record holds the places, numbers and keys of up to a thousand rows.

Floor: ledger. A record per row costs more than everything else intake does, and a batch's rows are nearly always looked
at together. A pack is never changed: whoever must change one row of a batch unfolds the batch into `rows` first, in the
same transaction, and then works as if packs did not exist. A newcomer may question digits where integers would do:
fixed-width digits let a plain SQL view, and a search for a number, read a pack without any function of ours.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from importer.keyruns import KEY_BYTES, run_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import polars as pl

    RowIds = npt.NDArray[np.int64]
    _V = TypeVar("_V", bound=np.generic)

PACK_ROWS = 1000  # the views count on it
LEAST_ROWS = 64  # a smaller batch is kept row by row: a pack would save nothing
_INSERT = "INSERT INTO row_packs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
PACK_COLUMNS = (
    "p.first_row_id, p.size_rows, p.import_id, p.batch_id, p.place, p.revision, p.file_no, p.first_row_no, p.row_nos, "
    "p.digits, p.phones, p.row_keys, p.identities"
)


class RowRecord(NamedTuple):
    """A row as the ledger keeps it, wherever it does. `batch_id` and `position` are None for one without a batch."""

    id: int
    import_id: int
    file_no: int
    row_no: int
    phone: int
    row_key: bytes
    identity: bytes | None
    batch_id: int | None
    position: int | None
    revision: int


class Pack(NamedTuple):
    """A pack as it is stored. `place` is the position of its first row in the batch."""

    first_row_id: int
    size_rows: int
    import_id: int
    batch_id: int
    place: int
    revision: int
    file_no: int
    first_row_no: int
    row_nos: bytes | None
    digits: int
    phones: bytes
    row_keys: bytes
    identities: bytes | None

    def row(self, at: int) -> RowRecord:
        """The row at a place of the pack."""
        return RowRecord(
            id=self.first_row_id + at,
            import_id=self.import_id,
            file_no=self.file_no,
            row_no=self.row_no(at),
            phone=int(self.phones[at * self.digits : (at + 1) * self.digits]),
            row_key=self.row_keys[at * KEY_BYTES : (at + 1) * KEY_BYTES],
            identity=self.identities[at * KEY_BYTES : (at + 1) * KEY_BYTES] if self.identities else None,
            batch_id=self.batch_id,
            position=self.place + at,
            revision=self.revision,
        )

    def row_no(self, at: int) -> int:
        """The row's number in its file."""
        if self.row_nos is None:
            return self.first_row_no + at
        width = len(self.row_nos) // self.size_rows
        return int(self.row_nos[at * width : (at + 1) * width])

    def rows(self) -> list[RowRecord]:
        """All of them, in order."""
        return [self.row(at) for at in range(self.size_rows)]

    def holds(self, row_id: int) -> bool:
        """Whether a row is in it."""
        return self.first_row_id <= row_id < self.first_row_id + self.size_rows


def packs_of(connection: sqlite3.Connection, batch_id: int) -> list[Pack]:
    """The packs of a batch, in order; none when it is kept row by row."""
    found = connection.execute(
        f"SELECT {PACK_COLUMNS} FROM batches b JOIN row_packs p "
        "ON p.first_row_id BETWEEN b.first_row_id AND b.last_row_id AND p.batch_id = b.id "
        "WHERE b.id = ? ORDER BY p.first_row_id",
        [batch_id],
    )
    return [Pack(*row) for row in found]


def rows_of_batch(connection: sqlite3.Connection, batch_id: int) -> list[RowRecord]:
    """The rows of a batch in the order of its request."""
    packed = packs_of(connection, batch_id)
    if packed:
        return [row for pack in packed for row in pack.rows()]
    found = connection.execute(
        "SELECT r.* FROM batches b JOIN rows r ON r.id BETWEEN b.first_row_id AND b.last_row_id AND r.batch_id = b.id "
        "WHERE b.id = ? ORDER BY r.position",
        [batch_id],
    )
    return [RowRecord(*row) for row in found]


def row_keys_of_batch(connection: sqlite3.Connection, batch_id: int) -> list[bytes]:
    """The row keys of a batch in the order of its request."""
    keys = b"".join(pack.row_keys for pack in packs_of(connection, batch_id))
    if keys:
        return [keys[at : at + KEY_BYTES] for at in range(0, len(keys), KEY_BYTES)]
    return [row.row_key for row in rows_of_batch(connection, batch_id)]


def pack_of_row(connection: sqlite3.Connection, row_id: int) -> Pack | None:
    """The pack a row is in."""
    found = connection.execute(
        f"SELECT {PACK_COLUMNS} FROM row_packs p WHERE p.first_row_id <= ? ORDER BY p.first_row_id DESC LIMIT 1",
        [row_id],
    ).fetchone()
    pack = found and Pack(*found)
    return pack if pack and pack.holds(row_id) else None


def row_of_id(connection: sqlite3.Connection, row_id: int) -> RowRecord | None:
    """One row."""
    pack = pack_of_row(connection, row_id)
    if pack is not None:
        return pack.row(row_id - pack.first_row_id)
    found = connection.execute("SELECT * FROM rows WHERE id = ?", [row_id]).fetchone()
    return found and RowRecord(*found)


def packed_rows_with_phone(connection: sqlite3.Connection, phone: int) -> Iterator[RowRecord]:
    """Every packed row of a number, oldest first. It looks through all packs: some 50 M rows a second."""
    digits = str(phone).encode()
    found = connection.execute(
        f"SELECT {PACK_COLUMNS} FROM row_packs p WHERE p.digits >= ? AND instr(p.phones, ?) ORDER BY p.first_row_id",
        [len(digits), digits],
    )
    for row in found:
        pack = Pack(*row)
        wanted = digits.rjust(pack.digits, b"0")
        at = pack.phones.find(wanted)
        while at >= 0:
            if at % pack.digits == 0:
                yield pack.row(at // pack.digits)
            at = pack.phones.find(wanted, at + 1)


def packed_rows_at(connection: sqlite3.Connection, import_id: int, file_no: int, row_no: int) -> list[RowRecord]:
    """The packed rows at a place of a list."""
    found = connection.execute(
        f"SELECT {PACK_COLUMNS} FROM row_packs p "
        "WHERE p.first_row_id >= (SELECT first_row_id FROM imports WHERE id = ?1) "
        "AND p.import_id = ?1 AND p.file_no = ?2 AND p.first_row_no <= ?3 "
        "AND (p.row_nos IS NOT NULL OR ?3 < p.first_row_no + p.size_rows)",
        [import_id, file_no, row_no],
    )
    packs = [Pack(*row) for row in found]
    return [pack.row(at) for pack in packs for at in range(pack.size_rows) if pack.row_no(at) == row_no]


def unfold(connection: sqlite3.Connection, batch_id: int) -> None:
    """Makes a batch's packs rows with keys of their own, that can be changed one by one. Called inside a transaction.

    **Crash**: as its transaction; a batch is packed or unfolded, never both.
    """
    for pack in packs_of(connection, batch_id):
        rows = pack.rows()
        connection.executemany("INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        held = [(key, row.id) for row in rows for key in (row.row_key, row.identity) if key is not None]
        connection.executemany("INSERT INTO identities VALUES (?, ?)", held)
        connection.execute("DELETE FROM row_packs WHERE first_row_id = ?", [pack.first_row_id])


class Packer:
    """Packs the rows of one chunk.

    **Shapes**: `frame` has file_no, row_no, phone, row_key and identity; its row i gets the id `first_row_id + i`.
    """

    def __init__(
        self,
        frame: pl.DataFrame,
        *,
        import_id: int,
        revision: int,
        first_row_id: int,
        least_rows: int = LEAST_ROWS,
        runs: PackRuns | None = None,
    ) -> None:
        self._frame = frame
        self._least_rows = least_rows
        self._facts = import_id, revision
        self._first_row_id = first_row_id
        self._runs = runs
        self._packed: list[Sequence[int]] = []

    def fits(self, members: Sequence[int]) -> bool:
        """Whether a batch can be packed: large, its rows one after another, and of one file."""
        if len(members) < self._least_rows or not isinstance(members, range):
            return False
        file_nos = self._frame["file_no"]
        return bool(file_nos[members[0]] == file_nos[members[-1]])

    def packs(self, batch_id: int, members: Sequence[int]) -> Iterator[tuple[Any, ...]]:
        """The records of a batch that fits."""
        runs = self._runs = self._runs or PackRuns(self._frame)
        self._packed.append(members)
        import_id, revision = self._facts
        first, end = members[0], members[-1] + 1
        for at in range(first, end, PACK_ROWS):
            to = min(at + PACK_ROWS, end)
            facts = (import_id, batch_id, at - first, revision, *runs.places(at, to))
            yield (self._first_row_id + at, to - at, *facts, runs.digits, *runs.contents(at, to))

    insert = _INSERT

    def packed_keys(self) -> Iterator[tuple[bytes, RowIds]]:
        """The row keys of what was packed, and the identities if it has any: each kind as a run, with its rows' ids."""
        import numpy as np

        if self._runs is None or not self._packed:
            return
        row_ids = self._row_ids()
        for run in filter(None, (self._runs.row_keys, self._runs.identities)):
            yield self._of_packed(np.frombuffer(run, np.uint8).reshape(-1, KEY_BYTES)).tobytes(), row_ids

    def packed_phones(self) -> pl.Series:
        """The numbers of what was packed."""
        import polars as pl

        return pl.Series(self._of_packed(self._frame["phone"].to_numpy()), dtype=pl.Int64)

    def _row_ids(self) -> RowIds:
        import numpy as np

        return self._of_packed(np.arange(self._frame.height, dtype=np.int64)) + self._first_row_id

    def _of_packed(self, values: npt.NDArray[_V]) -> npt.NDArray[_V]:
        """The values of the rows that were packed, of one for each row."""
        import numpy as np

        if sum(map(len, self._packed)) == len(values):
            return values
        return np.concatenate([values[:0], *(values[rows[0] : rows[-1] + 1] for rows in self._packed)])


class PackRuns:
    """A chunk's columns as the runs of bytes that packs are slices of."""

    def __init__(self, frame: pl.DataFrame) -> None:
        import numpy as np

        phones, self._row_nos = frame["phone"].to_numpy(), frame["row_no"].to_numpy()
        self.digits = len(str(phones.max()))
        self._row_digits = len(str(self._row_nos.max()))
        self._phones = _run_of_digits(phones, self.digits)
        self.row_keys = run_of(frame["row_key"])
        has_identities = frame["identity"].null_count() == 0
        self.identities = run_of(frame["identity"]) if has_identities else None
        self._jumps = np.cumsum(np.diff(self._row_nos, prepend=self._row_nos[0] - 1) != 1)
        self._file_nos = frame["file_no"]

    def places(self, at: int, to: int) -> tuple[int, int, bytes | None]:
        """File and row numbers; the latter only where they do not just count on."""
        is_even = self._jumps[at] == self._jumps[to - 1]
        row_nos = None if is_even else _run_of_digits(self._row_nos[at:to], self._row_digits)
        return self._file_nos[at], int(self._row_nos[at]), row_nos

    def contents(self, at: int, to: int) -> tuple[bytes, bytes, bytes | None]:
        """Numbers, row keys and identities."""
        keys = slice(at * KEY_BYTES, to * KEY_BYTES)
        identities = None if self.identities is None else self.identities[keys]
        return self._phones[at * self.digits : to * self.digits], self.row_keys[keys], identities


def _run_of_digits(numbers: RowIds, width: int) -> bytes:
    """Numbers one after another, each with zeros in front to the same width."""
    import numpy as np

    written = np.empty((len(numbers), width), dtype=np.uint8)
    for place in reversed(range(width)):
        rest = numbers // 10
        written[:, place] = numbers - rest * 10 + ord("0")
        numbers = rest
    return written.tobytes()
