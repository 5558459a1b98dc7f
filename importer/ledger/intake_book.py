"""Intake's side of the ledger: campaigns, imports, and what each chunk of a list adds.

Floor: ledger. A chunk's rows, batches, rejects and checkpoint share one transaction, so a crash leaves whole chunks or
none. A newcomer may question that rows get their ids here and not from SQLite: a batch names the span of ids its rows
lie in, and both are written in the same stroke.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from importer.errors import LedgerProblem
from importer.ledger.deflate import packed
from importer.ledger.key_index import KeyIndex
from importer.ledger.opening import as_record, translated
from importer.ledger.packs import LEAST_ROWS, Packer, pack_of_row, unfold
from importer.ledger.phone_index import PhoneIndex
from importer.ledger.records import Campaign, Held, Import, IntakeChunk, Leftover, Loose, NewBatch
from importer.ledger.stand_ins import StandIns
from importer.ledger.store import Store

if TYPE_CHECKING:
    import polars as pl

_FEW_APART = 200_000
_IMPORT_COLUMNS = (
    "id, campaign_id, round, list_name, source_state, revision, mapping, settings, batch_size_rows, next_file_no, "
    "next_row_no, read_rows, first_row_id, facts, started_ms, completed_ms, finished_ms"
)
_JSON_COLUMNS = frozenset({"mapping", "settings", "facts"})

# Rows withdrawn by `cancel` keep their keys, so that the same list run again does not call for them.
_TAKEN_BACK = "LEFT JOIN cancellations x ON x.row_id = r.id AND x.fate = 'withdrawn'"
_IS_TAKEN_BACK = "EXISTS (SELECT 1 FROM cancellations x WHERE x.row_id = rows.id AND x.fate = 'withdrawn')"


def import_from_row(row: Sequence[Any]) -> Import:
    """An Import from the columns above."""
    names = [name.strip() for name in _IMPORT_COLUMNS.split(",")]
    with as_record("an import"):
        values = {
            name: json.loads(value) if name in _JSON_COLUMNS else value for name, value in zip(names, row, strict=True)
        }
        return Import(**values)


class IntakeBook:
    """What intake reads and writes."""

    def __init__(self, store: Store, *, least_packed_rows: int = LEAST_ROWS, keeps_bodies: bool = True) -> None:
        self._store = store
        self.keeps_bodies = keeps_bodies
        self.least_packed_rows = least_packed_rows
        self._keys = KeyIndex(store.connection)
        self._phones = PhoneIndex(store.connection)
        self._stand_ins = StandIns(store.connection)

    def campaign(self, fingerprint: bytes) -> Campaign | None:
        """The campaign whose token has this fingerprint."""
        row = self._store.one(
            "SELECT id, name, origin, fingerprint, key_seed FROM campaigns WHERE fingerprint = ?", [fingerprint]
        )
        return row and Campaign(id=row[0], name=row[1], origin=row[2], fingerprint=row[3], key_seed=row[4])

    def campaign_by_id(self, campaign_id: int) -> Campaign:
        """The campaign of an import."""
        row = self._store.one("SELECT fingerprint FROM campaigns WHERE id = ?", [campaign_id])
        found = self.campaign(row[0])
        if found is None:
            raise LedgerProblem("An import names a campaign the ledger does not hold.")
        return found

    def add_campaign(self, *, name: str, origin: str, fingerprint: bytes, key_seed: str, now_ms: int) -> Campaign:
        """Meets a campaign for the first time; its key seed stays for ever."""
        with self._store.transaction():
            campaign_id = self._store.insert(
                "campaigns", name=name, origin=origin, fingerprint=fingerprint, key_seed=key_seed, first_met_ms=now_ms
            )
        return Campaign(id=campaign_id, name=name, origin=origin, fingerprint=fingerprint, key_seed=key_seed)

    def unfinished_imports(self, campaign_id: int, list_name: str | None = None) -> list[Import]:
        """Imports with rows still to settle, newest first; of one list when it is named."""
        rows = self._store.all(
            f"SELECT {_IMPORT_COLUMNS} FROM imports WHERE campaign_id = ? AND finished_ms IS NULL "
            "AND (list_name = ? OR ? IS NULL) ORDER BY id DESC",
            [campaign_id, list_name, list_name],
        )
        return [import_from_row(row) for row in rows]

    def finished_import(self, campaign_id: int, list_name: str, run_id: str) -> Import | None:
        """The newest finished import of a list that the run of this name worked on."""
        row = self._store.one(
            f"SELECT {_IMPORT_COLUMNS} FROM imports WHERE campaign_id = ? AND list_name = ? "
            "AND finished_ms IS NOT NULL AND EXISTS "
            "(SELECT 1 FROM json_each(facts, '$.run_ids') AS each WHERE each.key = ?) ORDER BY id DESC LIMIT 1",
            [campaign_id, list_name, run_id],
        )
        return row and import_from_row(row)

    def import_by_id(self, import_id: int) -> Import | None:
        """One import."""
        row = self._store.one(f"SELECT {_IMPORT_COLUMNS} FROM imports WHERE id = ?", [import_id])
        return row and import_from_row(row)

    def imports_of(self, campaign_id: int) -> list[Import]:
        """Every import of a campaign, oldest first."""
        rows = self._store.all(
            f"SELECT {_IMPORT_COLUMNS} FROM imports WHERE campaign_id = ? ORDER BY id", [campaign_id]
        )
        return [import_from_row(row) for row in rows]

    def newest_import(self) -> Import | None:
        """The import begun last."""
        row = self._store.one(f"SELECT {_IMPORT_COLUMNS} FROM imports ORDER BY id DESC LIMIT 1")
        return row and import_from_row(row)

    def begin_import(
        self,
        *,
        campaign_id: int,
        round_name: str,
        list_name: str,
        mapping: dict[str, Any],
        settings: dict[str, Any],
        batch_size_rows: int,
        files: Sequence[dict[str, Any]],
        now_ms: int,
    ) -> Import:
        """Opens an import; its source is open until it was read to its end."""
        with self._store.transaction():
            import_id = self._store.insert(
                "imports",
                campaign_id=campaign_id,
                round=round_name,
                list_name=list_name,
                source_state="open",
                mapping=json.dumps(mapping, sort_keys=True),
                settings=json.dumps(settings, sort_keys=True),
                batch_size_rows=batch_size_rows,
                first_row_id=self.next_row_id(),
                started_ms=now_ms,
            )
            self._add_files(import_id, files)
        return self._must_find(import_id)

    def begin_revision(
        self, an_import: Import, *, mapping: dict[str, Any], settings: dict[str, Any], files: Sequence[dict[str, Any]]
    ) -> Import:
        """Opens an edited list anew: batches never armed are thawed, armed ones stay, old rejects and skips go.

        **Crash**: one transaction; after it the new list is read from its first row.
        """
        never_armed = (
            "SELECT id FROM batches WHERE import_id = ? AND state = 'frozen' AND epoch = 0 AND first_boot_id IS NULL"
        )
        with self._store.transaction():
            run = self._store.connection.execute
            for (batch_id,) in run(never_armed, [an_import.id]).fetchall():
                unfold(self._store.connection, batch_id)
            run(f"UPDATE rows SET batch_id = NULL, position = NULL WHERE batch_id IN ({never_armed})", [an_import.id])
            run(f"DELETE FROM bodies WHERE batch_id IN ({never_armed})", [an_import.id])
            run(f"DELETE FROM batches WHERE id IN ({never_armed})", [an_import.id])
            for table in ("rejects", "skips", "files", "leftovers"):
                run(f"DELETE FROM {table} WHERE import_id = ?", [an_import.id])
            self._store.change_one(
                "UPDATE imports SET source_state = 'open', revision = revision + 1, mapping = ?, settings = ?, "
                "next_file_no = 0, next_row_no = 0, read_rows = 0, rejected_rows = 0, duplicate_rows = 0, "
                "suppressed_rows = 0, withdrawn_rows = 0, completed_ms = NULL, facts = '{}' "
                "WHERE id = ? AND revision = ? AND finished_ms IS NULL",
                [
                    json.dumps(mapping, sort_keys=True),
                    json.dumps(settings, sort_keys=True),
                    an_import.id,
                    an_import.revision,
                ],
            )
            self._add_files(an_import.id, files)
        return self._must_find(an_import.id)

    def _must_find(self, import_id: int) -> Import:
        found = self.import_by_id(import_id)
        if found is None:
            raise LedgerProblem(f"There is no import {import_id} in {self._store.path}.")
        return found

    def _add_files(self, import_id: int, files: Sequence[dict[str, Any]]) -> None:
        self._store.many(
            "INSERT INTO files (import_id, file_no, name, facts) VALUES (?, ?, ?, ?)",
            [(import_id, facts["file_no"], facts["name"], json.dumps(facts, sort_keys=True)) for facts in files],
        )

    def files(self, import_id: int) -> list[dict[str, Any]]:
        """What is known of each file of a list, with `sha256`, `read_rows` and `witness_rows` once it was read."""
        rows = self._store.all(
            "SELECT facts, sha256, read_rows, witness_rows FROM files WHERE import_id = ? ORDER BY file_no", [import_id]
        )
        with as_record("the facts of a file"):
            return [
                {**json.loads(facts), "sha256": sha256, "read_rows": read, "witness_rows": witness}
                for facts, sha256, read, witness in rows
            ]

    def refresh_files(self, import_id: int, files: Sequence[dict[str, Any]]) -> None:
        """Keeps a list's new times and inode after its content was found unchanged."""
        with self._store.transaction():
            self._store.many(
                "UPDATE files SET facts = ? WHERE import_id = ? AND file_no = ?",
                [(json.dumps(facts, sort_keys=True), import_id, facts["file_no"]) for facts in files],
            )

    def add_facts(self, import_id: int, facts: dict[str, Any]) -> None:
        """Merges facts into an import's own."""
        with self._store.transaction():
            self._store.change_one(
                "UPDATE imports SET facts = json_patch(facts, ?) WHERE id = ?", [json.dumps(facts), import_id]
            )

    def held(self, keys: Sequence[bytes]) -> list[Held]:
        """The rows that hold any of these keys."""
        import polars as pl

        asked = pl.Series(keys, dtype=pl.Binary)
        in_packs = [
            Held(identity=keys[at], row_id=r, import_id=i, revision=v, is_thawed=False, row_key=o)
            for at, r, i, v, o in self.held_in_packs(asked).iter_rows()
        ]
        return [*self.held_apart(asked), *in_packs]

    def held_in_packs(self, keys: pl.Series) -> pl.DataFrame:
        """The packed rows that hold any of these keys. **Shapes**: FOUND_COLUMNS; `at` is a key's place."""
        with translated(self._store.path, "read"):
            return self._keys.find(keys)

    def held_apart(self, keys: pl.Series) -> list[Held]:
        """The rows in no pack that hold any of these keys."""
        return [
            Held(identity=k, row_id=r, import_id=i, revision=v, is_thawed=bool(t), row_key=o)
            for k, r, i, v, t, o in self._looked_up(
                self._likely_apart(keys),
                "SELECT w.value, r.id, r.import_id, r.revision, r.batch_id IS NULL AND x.row_id IS NULL, r.row_key "
                "FROM temp.wanted w CROSS JOIN identities i ON i.identity = w.value "
                f"CROSS JOIN rows r ON r.id = i.row_id {_TAKEN_BACK}",
            )
        ]

    def _likely_apart(self, keys: pl.Series) -> list[bytes]:
        """Those of the keys that rows in no pack may hold: where these are few, their first bytes tell."""
        some = self._store.all("SELECT substr(identity, 1, 4) FROM identities LIMIT ?", [_FEW_APART + 1])
        if len(some) > _FEW_APART or len(keys) < len(some):
            return keys.to_list()
        known = {row[0] for row in some}
        return [key for key in keys.to_list() if key[:4] in known] if known else []

    def held_phones(self, campaign_id: int, round_name: str, phones: Sequence[int]) -> list[tuple[int, Held]]:
        """The rows of a campaign and round that stand for any of these phones; refused and withdrawn ones left out.

        A row without a batch is thawed while its list is read anew; once the list was read to its end, it is
        withdrawn. One that `cancel` took back counts as held: nobody is to be called for it. One whose number was
        erased is found by its stand-in.
        """
        known = self._known_by(phones)
        found = self._looked_up(
            list(known),
            "SELECT w.value, r.id, r.import_id, r.revision, r.batch_id IS NULL AND x.row_id IS NULL, r.row_key "
            "FROM temp.wanted w CROSS JOIN rows r ON r.phone = w.value CROSS JOIN imports i ON i.id = r.import_id "
            f"LEFT JOIN batches b ON b.id = r.batch_id {_TAKEN_BACK} WHERE i.campaign_id = ? AND i.round = ? "
            "AND (x.row_id IS NOT NULL OR coalesce(b.state <> 'refused', i.source_state = 'open'))",
            [campaign_id, round_name],
        )
        apart = [
            (known[p], Held(identity=o, row_id=r, import_id=i, revision=v, is_thawed=bool(t), row_key=o))
            for p, r, i, v, t, o in found
        ]
        return [*apart, *self._packed_phones(campaign_id, round_name, known)]

    def _known_by(self, phones: Sequence[int]) -> dict[int, int]:
        """What the rows of these numbers are known by, each with its number."""
        with translated(self._store.path, "read"):
            return self._stand_ins.with_numbers(phones)

    def forget_numbers(self) -> None:
        """Drops what was loaded of numbers, after some were erased."""
        self._phones.forget()

    def _packed_phones(self, campaign_id: int, round_name: str, known: dict[int, int]) -> list[tuple[int, Held]]:
        """Packed rows are neither refused nor withdrawn."""
        imports = self._store.all(
            "SELECT id FROM imports WHERE campaign_id = ? AND round = ?", [campaign_id, round_name]
        )
        import_ids = {row[0] for row in imports}
        with translated(self._store.path, "read"):
            return [
                (
                    known[row.phone],
                    Held(
                        identity=row.row_key,
                        row_id=row.id,
                        import_id=row.import_id,
                        revision=row.revision,
                        is_thawed=False,
                        row_key=row.row_key,
                    ),
                )
                for row in self._phones.find(list(known))
                if row.import_id in import_ids
            ]

    def loose_rows(self, an_import: Import, phones: Sequence[int]) -> list[Loose]:
        """The rows of an import, for any of these phones, that no batch will settle any more.

        They hold no key, so `held` does not find them; an edited list may still name them. None of them is packed, and
        none is erased while its import lasts.
        """
        found = self._looked_up(
            phones,
            "SELECT r.id, r.phone, r.row_key, r.revision, r.batch_id IS NULL FROM temp.wanted w "
            f"CROSS JOIN rows r ON r.phone = w.value LEFT JOIN batches b ON b.id = r.batch_id {_TAKEN_BACK} "
            "WHERE r.import_id = ? AND x.row_id IS NULL AND (b.id IS NULL OR b.state = 'refused')",
            [an_import.id],
        )
        return [Loose(row_id=r, phone=p, row_key=k, revision=v, is_withdrawn=bool(w)) for r, p, k, v, w in found]

    def _looked_up(self, values: Sequence[Any], sql: str, more: Sequence[Any] = ()) -> list[Any]:
        """A query over a temporary table of wanted values, sorted so that the look-ups walk the index once."""
        if not values or self._store.one("SELECT 1 FROM rows LIMIT 1") is None:
            return []
        run = self._store.connection.execute
        run("CREATE TEMP TABLE IF NOT EXISTS wanted (value ANY PRIMARY KEY) STRICT, WITHOUT ROWID")
        run("DELETE FROM temp.wanted")
        self._store.many("INSERT OR IGNORE INTO temp.wanted VALUES (?)", ((value,) for value in sorted(values)))
        return self._store.all(sql, more)

    def recently_accepted(self, phones: Sequence[int], since_ms: int) -> dict[int, int]:
        """Which of these phones were accepted since then, in any campaign and round; each with its newest such row."""
        known = self._known_by(phones)
        found = self._looked_up(
            list(known),
            "SELECT w.value, r.id, max(c.received_ms) FROM temp.wanted w CROSS JOIN rows r ON r.phone = w.value "
            "JOIN receipts c ON c.batch_id = r.batch_id AND c.kind = 'accepted' AND c.received_ms >= ? "
            "GROUP BY w.value",
            [since_ms],
        )
        newest: dict[int, tuple[int, int]] = {}
        apart = [(phone, row_id, accepted_ms) for phone, row_id, accepted_ms in found]
        for phone, row_id, accepted_ms in [*apart, *self._packed_accepted(list(known), since_ms)]:
            newest[known[phone]] = max(newest.get(known[phone], (0, 0)), (accepted_ms, row_id))
        return {phone: row_id for phone, (_, row_id) in newest.items()}

    def _packed_accepted(self, phones: Sequence[int], since_ms: int) -> list[tuple[int, int, int]]:
        """Packed rows of these phones accepted since then: phone, row, when."""
        accepted = dict(
            self._store.all(
                "SELECT batch_id, received_ms FROM receipts WHERE kind = 'accepted' AND received_ms >= ?", [since_ms]
            )
        )
        if not accepted:
            return []
        with translated(self._store.path, "read"):
            rows = self._phones.find(phones)
        return [(row.phone, row.id, accepted[row.batch_id]) for row in rows if row.batch_id in accepted]

    def has_earlier_rows(self, an_import: Import) -> bool:
        """True if this campaign and round had another import, or this one an earlier revision."""
        if an_import.revision > 1:
            return True
        sql = "SELECT 1 FROM imports WHERE campaign_id = ? AND round = ? AND id <> ? LIMIT 1"
        return bool(self._store.one(sql, [an_import.campaign_id, an_import.round, an_import.id]))

    def is_empty(self) -> bool:
        """True while no row was ever enqueued in this ledger."""
        return self._store.one("SELECT 1 FROM identities UNION ALL SELECT 1 FROM row_packs LIMIT 1") is None

    def commit_chunk(self, an_import: Import, chunk: IntakeChunk, *, now_ms: int) -> None:
        """Adds a chunk, all of it or nothing, and moves the checkpoint."""
        with self._store.transaction():
            run = self._keys.write_run()
            self._drop_returning(chunk.returning_row_ids)
            self._keep(an_import, chunk.kept)
            packer = self._add_rows(an_import, chunk, now_ms)
            self._add_rejects(an_import.id, chunk)
            self._add_skips(an_import.id, chunk.skips)
            self._leave_over(an_import.id, chunk.leftovers)
            self._move_checkpoint(an_import, chunk)
        self._keys.wrote(run)
        for keys, row_ids in packer.packed_keys():
            self._keys.note(keys, row_ids)
        self._phones.note(packer.packed_phones())

    def catch_up(self) -> None:
        """Indexes the keys of packs that came from elsewhere, where they are many. Called inside a transaction."""
        self._keys.catch_up()

    def next_row_id(self) -> int:
        """The id the next row will get: never one that a row had before, since duplicates name rows by it."""
        return 1 + int(
            self._store.one(
                "SELECT max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'rows'), 0), coalesce("
                "(SELECT first_row_id + size_rows - 1 FROM row_packs ORDER BY first_row_id DESC LIMIT 1), 0))"
            )[0]
        )

    def leftovers(self, an_import: Import) -> list[Leftover]:
        """Good rows that the last chunk had too few of to fill a batch, in order."""
        rows = self._store.all(
            "SELECT file_no, row_no, phone, row_key, identity, item FROM leftovers WHERE import_id = ? ORDER BY place",
            [an_import.id],
        )
        return [Leftover(file_no=f, row_no=n, phone=p, row_key=k, identity=i, item=t) for f, n, p, k, i, t in rows]

    def _leave_over(self, import_id: int, leftovers: Sequence[Leftover]) -> None:
        self._store.connection.execute("DELETE FROM leftovers WHERE import_id = ?", [import_id])
        self._store.many(
            "INSERT INTO leftovers VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (import_id, place, row.file_no, row.row_no, row.phone, row.row_key, row.identity, row.item)
                for place, row in enumerate(leftovers)
            ],
        )

    def _next_id(self, table: str) -> int:
        return int(self._store.one(f"SELECT coalesce(max(id), 0) + 1 FROM {table}")[0])

    def _drop_returning(self, row_ids: Sequence[int]) -> None:
        """Thawed rows found again in the edited list are enqueued anew, in their new place.

        Only keys these rows hold are given up: after a withdrawal another import may have taken one.
        """
        ids = [(row_id,) for row_id in row_ids]
        self._store.many(
            "DELETE FROM identities WHERE row_id = ?1 AND identity IN (SELECT row_key FROM rows WHERE id = ?1 "
            "UNION ALL SELECT identity FROM rows WHERE id = ?1 AND identity IS NOT NULL)",
            ids,
        )
        self._store.many("DELETE FROM rows WHERE id = ? AND batch_id IS NULL", ids)

    def _keep(self, an_import: Import, kept: Sequence[tuple[int, int, int]]) -> None:
        """Rows already armed stay as they are; only their place in the list is brought up to date."""
        for row_id, _, _ in kept:
            pack = pack_of_row(self._store.connection, row_id)
            if pack is not None:
                unfold(self._store.connection, pack.batch_id)
        self._store.many(
            "UPDATE rows SET revision = ?, file_no = ?, row_no = ? WHERE id = ?",
            [(an_import.revision, file_no, row_no, row_id) for row_id, file_no, row_no in kept],
        )

    def _add_rows(self, an_import: Import, chunk: IntakeChunk, now_ms: int) -> Packer:
        """Freezes the batches and adds their rows, packed where they fit; gives who packed them."""
        batch_id, first_row_id = self._next_id("batches"), chunk.first_row_id
        spans = [(first_row_id + rows[0], first_row_id + rows[-1]) for rows in chunk.members]
        self.freeze(an_import.id, chunk.batches, spans, batch_id, now_ms)
        packer = Packer(
            chunk.rows,
            import_id=an_import.id,
            revision=an_import.revision,
            first_row_id=first_row_id,
            least_rows=self.least_packed_rows,
            runs=chunk.runs,
        )
        apart: list[tuple[int, int, int]] = []
        for this_id, rows in enumerate(chunk.members, batch_id):
            if packer.fits(rows):
                self._store.many(packer.insert, packer.packs(this_id, rows))
            else:
                apart += [(row, this_id, position) for position, row in enumerate(rows)]
        self._add_apart(an_import, chunk, apart)
        return packer

    def _add_apart(self, an_import: Import, chunk: IntakeChunk, apart: Sequence[tuple[int, int, int]]) -> None:
        """Adds rows one by one. **Shapes**: `apart` are (place in the chunk, batch, position)."""
        if not apart:
            return
        columns = chunk.rows.select("file_no", "row_no", "phone", "row_key", "identity").rows()
        rows = [
            (chunk.first_row_id + at, an_import.id, *columns[at], batch_id, position, an_import.revision)
            for at, batch_id, position in sorted(apart)
        ]
        self._store.many("INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        held = [(key, row[0]) for row in rows for key in row[5:7] if key is not None]
        self._store.many("INSERT INTO identities VALUES (?, ?)", sorted(held))

    def freeze(
        self,
        import_id: int,
        batches: Sequence[NewBatch],
        spans: Sequence[tuple[int, int]],
        first_batch_id: int,
        now_ms: int,
        parent_id: int | None = None,
    ) -> None:
        """Freezes batches: membership, exact bytes, their hash and the key (law 3). Called inside a transaction."""
        free = [self._under_free_key(import_id, batch) for batch in batches]
        numbered = list(enumerate(zip(free, spans, strict=True), first_batch_id))
        self._store.many(
            "INSERT INTO batches (id, import_id, state, size_rows, first_row_id, last_row_id, request_key, generation, "
            "parent_id, changed_ms) VALUES (?, ?, 'frozen', ?, ?, ?, ?, ?, ?, ?)",
            [
                (batch_id, import_id, batch.size_rows, *span, batch.request_key, batch.generation, parent_id, now_ms)
                for batch_id, (batch, span) in numbered
            ],
        )
        if not self.keeps_bodies:
            return
        self._store.many(
            "INSERT INTO bodies VALUES (?, ?, ?)",
            (
                (batch_id, batch.sha256, batch.body_packed or packed(batch.body_bytes))
                for batch_id, (batch, _) in numbered
            ),
        )

    def _under_free_key(self, import_id: int, batch: NewBatch) -> NewBatch:
        """The batch, in a later generation where its key was refused before: a server may remember the refusal."""
        free = batch
        while self._store.one(
            "SELECT 1 FROM batches WHERE request_key = ? AND state IN ('refused', 'split')", [free.request_key]
        ):
            seed = self._store.one(
                "SELECT c.key_seed FROM imports i JOIN campaigns c ON c.id = i.campaign_id WHERE i.id = ?", [import_id]
            )[0]
            free = free.in_generation(seed, free.generation + 1)
        return free

    def _add_rejects(self, import_id: int, chunk: IntakeChunk) -> None:
        self._store.many(
            "INSERT INTO rejects (import_id, file_no, row_no, column_name, reason, explanation, cells) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(import_id, r.file_no, r.row_no, r.column, r.reason, r.explanation, r.cells) for r in chunk.rejects],
        )

    def _add_skips(self, import_id: int, skips: dict[str, pl.DataFrame]) -> None:
        self._store.many(
            "INSERT INTO skips (import_id, reason, size_rows, pack) VALUES (?, ?, ?, ?)",
            [(import_id, reason, rows.height, _json_of(rows)) for reason, rows in sorted(skips.items()) if rows.height],
        )

    def _move_checkpoint(self, an_import: Import, chunk: IntakeChunk) -> None:
        skipped = {reason: rows.height for reason, rows in chunk.skips.items()}
        suppressed = skipped.get("suppressed", 0)
        duplicate = sum(skipped.values()) - suppressed
        self._store.change_one(
            "UPDATE imports SET next_file_no = ?, next_row_no = ?, read_rows = read_rows + ?, "
            "rejected_rows = rejected_rows + ?, duplicate_rows = duplicate_rows + ?, "
            "suppressed_rows = suppressed_rows + ?, facts = ? WHERE id = ? AND source_state = 'open' AND revision = ?",
            [chunk.next_file_no, chunk.next_row_no, chunk.read_rows, len(chunk.rejects), duplicate, suppressed,
             json.dumps(chunk.facts, sort_keys=True), an_import.id, an_import.revision],
        )  # fmt: skip

    def complete_source(
        self,
        an_import: Import,
        *,
        counts: Iterable[tuple[int, int, int, str]],
        now_ms: int,
        more_rows: int = 0,
    ) -> Import:
        """Closes a list that was read to its end; only now may anything of it be sent (law 11).

        **Shapes**: `counts` (file_no, read_rows, witness_rows, sha256) for each file; `more_rows` than the files hold
        were made of cells with several numbers, less those that belong to other shards.
        **Errors**: LedgerProblem when the counts do not agree with the rows taken in: nothing is sent.
        """
        counted = list(counts)
        with self._store.transaction():
            self._store.many(
                "UPDATE files SET read_rows = ?, witness_rows = ?, sha256 = ? WHERE import_id = ? AND file_no = ?",
                [(read, witness, sha256, an_import.id, file_no) for file_no, read, witness, sha256 in counted],
            )
            withdrawn, carried = self._settle_revision(an_import)
            self._store.change_one(
                "UPDATE imports SET source_state = 'complete', completed_ms = ?, withdrawn_rows = ?, "
                "read_rows = read_rows + ? WHERE id = ? AND source_state = 'open' AND revision = ? AND read_rows = ? "
                "AND NOT EXISTS (SELECT 1 FROM leftovers WHERE import_id = imports.id)",
                [now_ms, withdrawn, withdrawn + carried, an_import.id, an_import.revision,
                 sum(witness for _, _, witness, _ in counted) + more_rows],
            )  # fmt: skip
        return self._must_find(an_import.id)

    def _settle_revision(self, an_import: Import) -> tuple[int, int]:
        """Rows an edited list no longer holds: withdrawn if they were never armed, carried on if they were.

        A withdrawn row gives up the keys it holds. One withdrawn earlier holds none: its key may be another row's now.
        One that `cancel` took back keeps them, and was read already if the list still names it.
        """
        if an_import.revision == 1:
            return 0, 0
        mine = "FROM rows WHERE id >= ? AND import_id = ?"
        values = [an_import.first_row_id, an_import.id]
        run = self._store.connection.execute
        for column in ("row_key", "identity"):
            run(
                f"DELETE FROM identities WHERE identity IN (SELECT {column} {mine} AND batch_id IS NULL) "
                f"AND (SELECT import_id = ? AND batch_id IS NULL AND NOT {_IS_TAKEN_BACK} "
                "FROM rows WHERE id = identities.row_id)",
                [*values, an_import.id],
            )
        withdrawn = run(f"SELECT count(*) {mine} AND batch_id IS NULL", values).fetchone()[0]
        carried = run(
            f"SELECT count(*) {mine} AND revision < ? AND batch_id IS NOT NULL",
            [*values, an_import.revision],
        ).fetchone()[0]
        in_packs = run(
            "SELECT coalesce(sum(size_rows), 0) FROM row_packs WHERE first_row_id >= ? AND import_id = ? "
            "AND revision < ?",
            [*values, an_import.revision],
        ).fetchone()[0]
        named = run(
            f"SELECT count(*) {mine} AND revision = ? AND batch_id IS NULL AND {_IS_TAKEN_BACK}",
            [*values, an_import.revision],
        ).fetchone()[0]
        return int(withdrawn), int(carried) + int(in_packs) - int(named)

    def rejects(self, import_id: int) -> Iterable[tuple[int, int, str | None, str, str, str]]:
        """Each reject in list order: file_no, row_no, column, reason, explanation, cells (JSON)."""
        return self._store.connection.execute(
            "SELECT file_no, row_no, column_name, reason, explanation, cells FROM rejects WHERE import_id = ? "
            "ORDER BY file_no, row_no, id",
            [import_id],
        )


def _json_of(rows: pl.DataFrame) -> str:
    """Rows of integers as a compact JSON array of arrays."""
    import polars as pl

    line = pl.concat_str(pl.lit("["), pl.concat_str(pl.all(), separator=","), pl.lit("]"))
    return f"[{rows.select(line.str.join(',')).item()}]"
