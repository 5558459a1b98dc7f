"""Which packed row holds a key: a filter in memory, the order of an earlier list, and sorted runs in the ledger.

Floor: ledger. Nearly every key that is asked for is either new, which the filter says (some 4 bytes a key), or stands
in the ledger in the very order in which it is asked for, which comparing with the next packs shows. Only what is left
is looked up in the runs. A newcomer may question that runs lag behind the packs: they can be made of them at any time,
so keys not yet in a run are read from their packs when a ledger is opened.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from importer.keyruns import KEY_BYTES, column_of, run_of, words_of
from importer.ledger.key_filter import KeyFilter
from importer.ledger.packs import PACK_COLUMNS, Pack, pack_of_row

if TYPE_CHECKING:
    import sqlite3

    import numpy as np
    import numpy.typing as npt
    import polars as pl

    from importer.keyruns import Words

RUN_ROWS = 1_000_000
BLOCK_KEYS = 1024
FEW_KEYS = 2_000  # up to so many are looked up one by one
VERY_FEW_KEYS = 16  # up to so many are compared with all keys in no run
NEAR_ROUNDS = 4
SAMPLE_KEYS = 8
IDENTITY = "identity"  # what a column of identities is called
MOST_UNFILTERED_KEYS = 20_000  # looked up one by one before a filter is made
_READ_ROWS = 250_000  # at once; more would show in memory

# Keys asked for (`at`: their place), and the packed rows that hold them as row key or identity, with their own row key.
FOUND_COLUMNS = ("at", "row_id", "import_id", "revision", "row_key")


class KeyIndex:
    """The keys of packed rows. Reads through any connection; only `note` and `write_run` belong to a writer."""

    def __init__(self, connection: sqlite3.Connection, *, run_rows: int = RUN_ROWS) -> None:
        self._connection = connection
        self._run_rows = run_rows
        self._is_open = False  # whether what follows, but for the filter, was read
        self._tail: list[pl.DataFrame] = []  # keys in no run yet: `key` (its first 8 bytes), `row_id`
        self._tail_rows = 0
        self._runs: list[_Run] = []
        self._filter: KeyFilter | None = None  # dear to make of a large ledger: only once many keys are no list's
        self._unfiltered_keys = 0
        self._expected: dict[str, int] = {}  # by kind of key: the row where a list that is read again should go on

    # --- writing ------------------------------------------------------------------------------------------------------

    def note(self, keys: bytes, row_ids: npt.NDArray[np.int64]) -> None:
        """Adds keys that were just committed, as a run, each with its row's id."""
        if not self._is_open:
            return  # it will be read with all the others
        words = words_of(keys)
        self._tail.append(_tail_of(words, row_ids))
        self._tail_rows += len(words)
        if self._filter is not None:
            self._filter.add(words)

    def write_run(self) -> _Run | None:
        """Writes a run if enough keys are in none; `wrote` is called with it once the transaction is committed."""
        import polars as pl

        if self._tail_rows < self._run_rows:
            return None
        self._tail = [pl.concat(self._tail)]  # one copy less while they are sorted
        tail = self._tail[0].sort("key")
        first_row_id, last_row_id = _first(tail), _last(tail)
        made = self._connection.execute(
            "INSERT INTO key_runs (first_row_id, last_row_id) VALUES (?, ?)", [first_row_id, last_row_id]
        )
        run = _Run(int(made.lastrowid or 0), first_row_id, last_row_id, array("q"), array("q"))
        keys, offsets = tail["key"].to_numpy(), (tail["row_id"] - run.first_row_id).to_numpy()
        for at in range(0, tail.height, BLOCK_KEYS):
            run.add(self._connection, keys[at : at + BLOCK_KEYS], offsets[at : at + BLOCK_KEYS])
        return run

    def catch_up(self) -> None:
        """Writes a run of what is in none, if that is enough; what is in runs is not read. The filter is made anew."""
        last = self._connection.execute("SELECT coalesce(max(last_row_id), 0) FROM key_runs").fetchone()[0]
        self._tail = [_hashed_keys_of(packs) for packs in _pieces(_packs_from(self._connection, last + 1, None))]
        self._tail_rows = sum(part.height for part in self._tail)
        self.write_run()
        self._filter, self._tail, self._tail_rows = None, [], 0

    def wrote(self, run: _Run | None) -> None:
        """Takes a committed run into use."""
        if run is not None:
            self._runs.append(run)
            self._tail, self._tail_rows = [], 0

    # --- reading ------------------------------------------------------------------------------------------------------

    def find(self, keys: pl.Series) -> pl.DataFrame:
        """The packed rows that hold any of these keys, as row key or identity.

        **Shapes**: `keys` is called `identity` when it has identities; the answer has FOUND_COLUMNS.
        """
        import polars as pl

        self._open()
        kind = keys.name
        asked = pl.DataFrame({"key": keys.cast(pl.Binary)}).with_row_index("at")
        if kind not in self._expected and asked.height:
            self._expected[kind] = _first(self._looked_up(asked.head(SAMPLE_KEYS)))
        found = [self._in_order(asked, kind)]
        asked = asked.slice(found[0].height)
        if self._is_filtering(asked.height):
            asked = self._likely(asked)
        if asked.height:
            asked = self._near(asked, found, kind)
        if asked.height:
            found.append(self._looked_up(asked))
        return pl.concat(found)

    def _is_filtering(self, keys: int) -> bool:
        """Whether so many more keys are worth a filter: few are looked up sooner than it is made."""
        if self._filter is None:
            self._unfiltered_keys += keys
        return self._filter is not None or keys > FEW_KEYS or self._unfiltered_keys > MOST_UNFILTERED_KEYS

    def _in_order(self, asked: pl.DataFrame, kind: str) -> pl.DataFrame:
        """The rows of as many of the first keys as go on, one by one, where the last ones of their kind were found."""
        expected_row_id = self._expected.get(kind, 0)
        if not expected_row_id:
            return _found(())  # a new list: nothing is worth making for a comparison
        run = run_of(asked["key"])
        spans: list[tuple[Pack, int, int]] = []
        done = 0
        for pack in self._packs_at(expected_row_id):
            skipped = max(expected_row_id - pack.first_row_id, 0)
            rows = min(pack.size_rows - skipped, asked.height - done)
            if rows <= 0 or not _is_at(pack, kind, skipped, run[done * KEY_BYTES : (done + rows) * KEY_BYTES]):
                break
            spans.append((pack, skipped, rows))
            done += rows
        if not done:
            return _found(())
        self._expected[kind] = spans[-1][0].first_row_id + sum(spans[-1][1:])
        found = _found_in(spans)
        own = _own_keys(spans) if kind == IDENTITY else asked["key"].head(done)
        return found.with_columns(own.alias("row_key"))

    def _packs_at(self, row_id: int) -> Iterator[Pack]:
        """The packs from the one on that holds a row."""
        pack = pack_of_row(self._connection, row_id)
        return _packs_from(self._connection, pack.first_row_id, None) if pack else iter(())

    def is_empty(self) -> bool:
        """True while no row is packed."""
        return self._connection.execute("SELECT 1 FROM row_packs LIMIT 1").fetchone() is None

    def _likely(self, asked: pl.DataFrame) -> pl.DataFrame:
        """The keys the filter does not rule out."""
        import polars as pl

        return asked.filter(pl.Series(self._loaded().may_hold(words_of(run_of(asked["key"])))))

    def _open(self) -> None:
        """Reads where the runs' blocks begin, and the keys that are in no run yet."""
        if self._is_open:
            return
        self._runs, self._tail, self._tail_rows = list(_runs_in(self._connection)), [], 0
        for packs in _pieces(_packs_from(self._connection, self._last_run_row_id() + 1, None)):
            self._tail.append(_hashed_keys_of(packs))
            self._tail_rows += self._tail[-1].height
        self._is_open = True

    def _last_run_row_id(self) -> int:
        return max((run.last_row_id for run in self._runs), default=0)

    def _loaded(self) -> KeyFilter:
        """The filter; made of all packs when it is first needed."""
        if self._filter is None:
            self._filter = KeyFilter()
            for packs in _pieces(_packs_from(self._connection, 0, None)):
                self._filter.add(words_of(_run_of_packs(packs)))
        return self._filter

    def _near(self, asked: pl.DataFrame, found: list[pl.DataFrame], kind: str) -> pl.DataFrame:
        """Compares with the packs where the list is believed to go on; gives the keys that were not there."""
        for _ in range(NEAR_ROUNDS):
            if asked.height <= FEW_KEYS:
                break
            matched = self._matched_near(asked, self._expected.get(kind, 0))
            if matched.height:
                found.append(matched)
                asked = asked.join(matched, on="at", how="anti")
                self._expected[kind] = _last(matched) + 1
            samples = self._looked_up(asked.head(SAMPLE_KEYS))
            if not samples.height:
                break
            self._expected[kind] = _first(samples)
        return asked

    def _matched_near(self, asked: pl.DataFrame, expected_row_id: int) -> pl.DataFrame:
        if not expected_row_id:
            return _found(())
        near = self._keys_from(expected_row_id, asked.height)
        return asked.join(near, on="key", how="inner").select(FOUND_COLUMNS)

    def _keys_from(self, row_id: int, rows: int) -> pl.DataFrame:
        """The keys of about as many packed rows from one on, with their rows."""
        import polars as pl

        pack = pack_of_row(self._connection, row_id)
        first = pack.first_row_id if pack else row_id
        read = []
        for each in _packs_from(self._connection, first, None):
            read.append(each)
            rows -= each.size_rows
            if rows < 0:
                break
        return pl.concat([_keys_of_packs(read, "row_keys"), _keys_of_packs(read, "identities")])

    def _looked_up(self, asked: pl.DataFrame) -> pl.DataFrame:
        """By the runs and the tail; each candidate is held against its row, since 8 bytes are no whole key."""
        import polars as pl

        hashed = asked.with_columns(hash=_hash())
        near = _near_in(self._tail, hashed)
        look = _look_closely if asked.height <= FEW_KEYS else _look_widely
        candidates = [look(self._connection, run, hashed) for run in self._runs]
        pairs = pl.concat([pl.DataFrame(schema={"at": pl.UInt32, "row_id": pl.Int64}), *near, *candidates])
        keys = dict(zip(asked["at"], asked["key"], strict=True))
        return _found(self._verified(pairs.sort("row_id").iter_rows(), keys))

    def _verified(self, pairs: Any, keys: dict[int, bytes]) -> Iterator[tuple[int, int, int, int, bytes]]:
        pack: Pack | None = None
        for at, row_id in pairs:
            if pack is None or not pack.holds(row_id):
                pack = pack_of_row(self._connection, row_id)
            if pack is None:
                continue  # unfolded since
            row = pack.row(row_id - pack.first_row_id)
            if keys[at] in (row.row_key, row.identity):
                yield at, row_id, row.import_id, row.revision, row.row_key


def _near_in(tail: Sequence[pl.DataFrame], hashed: pl.DataFrame) -> list[pl.DataFrame]:
    """The rows of the tail for hashed keys. For very few no table is made of its parts."""
    if hashed.height > VERY_FEW_KEYS:
        asked = hashed.select("at", key="hash")
        return [part.join(asked, on="key", how="inner").select("at", "row_id") for part in tail]
    found = [
        (at, part["row_id"][int(place)])
        for part in tail
        for at, key in hashed.select("at", "hash").iter_rows()
        for place in (part["key"].to_numpy() == key).nonzero()[0]
    ]
    return [_pairs(found)]


def _pairs(found: Sequence[tuple[int, int]]) -> pl.DataFrame:
    import polars as pl

    return pl.DataFrame(found, schema={"at": pl.UInt32, "row_id": pl.Int64}, orient="row")


class _Run:
    """A sorted run: where its blocks begin. `first_keys[i]` is the least key of block `block_ids[i]`."""

    def __init__(
        self, run_id: int, first_row_id: int, last_row_id: int, first_keys: array[int], block_ids: array[int]
    ) -> None:
        self.id = run_id
        self.first_row_id = first_row_id
        self.last_row_id = last_row_id
        self.first_keys = first_keys
        self.block_ids = block_ids

    def add(self, connection: sqlite3.Connection, keys: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64]) -> None:
        """Writes the next block; integers are little-endian in the ledger, whatever the machine."""
        first_key = int(keys[0])
        made = connection.execute(
            "INSERT INTO key_blocks (run_id, first_key, keys, row_ids) VALUES (?, ?, ?, ?)",
            [self.id, first_key, keys.astype("<i8").tobytes(), offsets.astype("<u4").tobytes()],
        )
        self.first_keys.append(first_key)
        self.block_ids.append(int(made.lastrowid or 0))

    def blocks_for(self, key: int) -> range:
        """The places of the blocks that may hold a key: usually one."""
        first = max(bisect_left(self.first_keys, key) - 1, 0)
        return range(first, bisect_right(self.first_keys, key))


def unpacked(kind: str, content: bytes) -> array[int]:
    """Integers of a block, as numbers that can be searched."""
    made = array(kind)
    made.frombytes(content)
    if sys.byteorder == "big":
        made.byteswap()
    return made


def _runs_in(connection: sqlite3.Connection) -> Iterator[_Run]:
    for run_id, first, last in connection.execute("SELECT id, first_row_id, last_row_id FROM key_runs").fetchall():
        rows = connection.execute(
            "SELECT first_key, id FROM key_blocks WHERE run_id = ? ORDER BY first_key, id", [run_id]
        ).fetchall()
        yield _Run(run_id, first, last, array("q", [row[0] for row in rows]), array("q", [row[1] for row in rows]))


def _look_closely(connection: sqlite3.Connection, run: _Run, hashed: pl.DataFrame) -> pl.DataFrame:
    """Few keys: each by a binary search in its block."""
    found = []
    for at, key in hashed.select("at", "hash").iter_rows():
        for place in run.blocks_for(key):
            content, offsets = connection.execute(
                "SELECT keys, row_ids FROM key_blocks WHERE id = ?", [run.block_ids[place]]
            ).fetchone()
            keys = unpacked("q", content)
            span = range(bisect_left(keys, key), bisect_right(keys, key))
            if span:
                row_ids = unpacked("I", offsets)
                found += [(at, run.first_row_id + row_ids[each]) for each in span]
    return _pairs(found)


def _look_widely(connection: sqlite3.Connection, run: _Run, hashed: pl.DataFrame) -> pl.DataFrame:
    """Many keys: the whole run is read and joined."""
    return hashed.select("at", key="hash").join(_whole(connection, run), on="key", how="inner").select("at", "row_id")


def _whole(connection: sqlite3.Connection, run: _Run) -> pl.DataFrame:
    """All of a run: `key` (its first 8 bytes), `row_id`."""
    import numpy as np
    import polars as pl

    blocks = connection.execute("SELECT keys, row_ids FROM key_blocks WHERE run_id = ?", [run.id]).fetchall()
    keys = np.frombuffer(b"".join(content for content, _ in blocks), "<i8").astype(np.int64)
    offsets = np.frombuffer(b"".join(row_ids for _, row_ids in blocks), "<u4").astype(np.int64)
    return pl.DataFrame({"key": keys, "row_id": offsets + run.first_row_id})


def unheld(connection: sqlite3.Connection, most: int = 20) -> list[int]:
    """Packed rows whose keys the runs should hold and do not: they could be called again. **Errors**: sqlite3.Error."""
    missing: list[int] = []
    for run in _runs_in(connection):
        whole = _whole(connection, run)
        for packs in _pieces(_packs_from(connection, run.first_row_id, run.last_row_id)):
            lost = _hashed_keys_of(packs).join(whole, on=["key", "row_id"], how="anti")
            missing += lost["row_id"].head(most - len(missing)).to_list()
    return missing


def _packs_from(connection: sqlite3.Connection, first_row_id: int, last_row_id: int | None) -> Iterator[Pack]:
    """Packs that begin in a span of row ids, in order."""
    found = connection.execute(
        f"SELECT {PACK_COLUMNS} FROM row_packs p WHERE p.first_row_id BETWEEN ? AND ? ORDER BY p.first_row_id",
        [first_row_id, 2**62 if last_row_id is None else last_row_id],
    )
    return (Pack(*row) for row in found)


def _pieces(packs: Iterator[Pack]) -> Iterator[list[Pack]]:
    """Packs of so many rows together."""
    waiting: list[Pack] = []
    rows = 0
    for pack in packs:
        waiting.append(pack)
        rows += pack.size_rows
        if rows >= _READ_ROWS:
            yield waiting
            waiting, rows = [], 0
    if waiting:
        yield waiting


def _hashed_keys_of(packs: Sequence[Pack]) -> pl.DataFrame:
    """All keys of packs by their first 8 bytes (`key`), each with its row's id, without making each key first."""
    import numpy as np
    import polars as pl

    spans = [(pack.first_row_id, pack.size_rows) for pack in packs for run in (pack.row_keys, pack.identities) if run]
    keys = words_of(_run_of_packs(packs))[:, 0].astype(np.int64)  # as SQLite can hold it
    return pl.DataFrame({"key": keys, "row_id": _counted(spans)})


def _counted(spans: Sequence[tuple[int, int]]) -> pl.Series:
    """The numbers of spans (the first, how many), one span after another. **Shapes**: Int64."""
    import numpy as np
    import polars as pl

    firsts, sizes = np.array(spans, dtype=np.int64).reshape(-1, 2).T
    skipped = np.cumsum(sizes) - sizes
    return pl.Series(np.repeat(firsts - skipped, sizes) + np.arange(sizes.sum()))


def _keys_of_packs(packs: Sequence[Pack], column: str) -> pl.DataFrame:
    """One kind of key of these packs: `key`, and of which row."""
    packs = [pack for pack in packs if getattr(pack, column)]
    found = _found_in([(pack, 0, pack.size_rows) for pack in packs])
    run = b"".join(getattr(pack, column) for pack in packs)
    own = b"".join(pack.row_keys for pack in packs)
    return found.select(column_of(run).alias("key"), "row_id", "import_id", "revision", column_of(own).alias("row_key"))


def _is_at(pack: Pack, kind: str, skipped: int, run: bytes) -> bool:
    """Whether the keys of a pack go on like this after so many of its rows."""
    keys = pack.identities if kind == IDENTITY else pack.row_keys
    return keys is not None and keys[skipped * KEY_BYTES :].startswith(run)


def _found_in(spans: Sequence[tuple[Pack, int, int]]) -> pl.DataFrame:
    """The rows of spans of packs (rows skipped, rows that follow) as found for the first keys, own keys aside."""
    import numpy as np
    import polars as pl

    row_ids = _counted([(pack.first_row_id + skipped, rows) for pack, skipped, rows in spans])
    sizes = [rows for _, _, rows in spans]
    facts = {
        name: np.repeat(np.array([getattr(pack, name) for pack, _, _ in spans], dtype=np.int64), sizes)
        for name in ("import_id", "revision")
    }
    return pl.DataFrame({"at": pl.int_range(len(row_ids), dtype=pl.UInt32, eager=True), "row_id": row_ids, **facts})


def _own_keys(spans: Sequence[tuple[Pack, int, int]]) -> pl.Series:
    """The row keys of spans of packs."""
    own = b"".join(pack.row_keys[skipped * KEY_BYTES : (skipped + rows) * KEY_BYTES] for pack, skipped, rows in spans)
    return column_of(own)


def _first(found: pl.DataFrame) -> int:
    """The first of the rows; 0 for none."""
    import polars as pl

    return int(found.select(pl.col("row_id").min().fill_null(0)).item())


def _last(found: pl.DataFrame) -> int:
    import polars as pl

    return int(found.select(pl.col("row_id").max()).item())


def _found(rows: Any) -> pl.DataFrame:
    import polars as pl

    schema = {"at": pl.UInt32, "row_id": pl.Int64, "import_id": pl.Int64, "revision": pl.Int64, "row_key": pl.Binary}
    return pl.DataFrame(list(rows), schema=schema, orient="row")


def _hash() -> pl.Expr:
    """The first 8 bytes of `key` as a signed number, so that SQLite can hold it."""
    import polars as pl

    return pl.col("key").bin.slice(0, 8).bin.reinterpret(dtype=pl.Int64, endianness="big")


def _tail_of(words: Words, row_ids: npt.NDArray[np.int64]) -> pl.DataFrame:
    """Keys as numbers, as a part of the tail: what `_hashed` makes of them."""
    import numpy as np
    import polars as pl

    return pl.DataFrame({"key": words[:, 0].view(np.int64), "row_id": row_ids})


def _hashed(keys: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    return keys.select(key=_hash(), row_id=pl.col("row_id").cast(pl.Int64))


def _run_of_packs(packs: Sequence[Pack]) -> bytes:
    """All keys of packs, one after another."""
    return b"".join(run for pack in packs for run in (pack.row_keys, pack.identities) if run)
