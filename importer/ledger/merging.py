"""Shards' ledgers brought home: what each of them did becomes part of one import in the home ledger.

Floor: ledger. A shard's import is copied by SQL from its attached file, which is only read, in one transaction. Every
id is moved by a distance that the home import remembers, so that bringing it again finds its own records and changes
only what moved since. A newcomer may question that a list still being read is left out: nothing of it was sent (law
11), so there is nothing to know of it.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from importer.errors import LedgerProblem
from importer.ledger.opening import open_reader, translated
from importer.ledger.seals import Stub, is_intact, read_receipt, sealed

if TYPE_CHECKING:
    from importer.ledger import Ledger

_COUNTS = ("read_rows", "rejected_rows", "duplicate_rows", "suppressed_rows", "withdrawn_rows")
_COUNTERS = ("regions", "types", "warnings", "numbers")
_BATCH_STATE = (
    "state, size_rows, request_key, generation, epoch, is_ambiguous, sends, first_low_ms, first_boot_ms, "
    "first_boot_id, reason, changed_ms"
)
_OUTCOME = (
    "call_job_id, status, is_finished, attempts, call_duration_s, redial_number, created_ms, finished_ms, tag_name, "
    "tag_payload, report_data, are_attempts_known, asked_ms"
)
_ATTEMPT = (
    "attempt_number, job_status, call_result, call_duration_s, redial_number, started_ms, finished_ms, tag_name, "
    "tag_payload, report_data"
)
_CANCELLATION = "fate, call_job_id, request_key, tries, asked_ms, settled_ms"
_SEAL_END = 34  # a seal's 32 digits, and the `"}` behind them


@dataclass(frozen=True, kw_only=True, slots=True)
class MergedShard:
    """What became of one import of a shard's ledger. `import_id` is the home import; None where none was touched.

    `how` is `new`, `updated`, `unchanged`; `unread`: its list is still being read, so nothing of it was sent; or
    `later`: the import before it, of the same list, waits for other shards.
    """

    path: Path
    shard: str
    list_name: str
    how: str
    import_id: int | None = None


def merge_ledgers(home: Ledger, paths: Sequence[Path]) -> list[MergedShard]:
    """Brings the imports of shards' ledgers home, one after another.

    **Crash**: each shard's import is home whole, as it was before, or not at all; merge again.
    **Errors**: LedgerProblem for a file that is no shard's ledger, or does not fit what the home ledger holds; what was
    merged before stays.
    """
    merged = [each for path in paths for each in _merge_file(home, path)]
    if not any(each.how == "later" for each in merged):
        return merged
    again = [each for path in paths for each in _merge_file(home, path)]
    return [then if first.how == "later" else first for first, then in zip(merged, again, strict=True)]


def _merge_file(home: Ledger, path: Path) -> list[MergedShard]:
    if _is_blank(path):
        return []
    open_reader(path).close()  # a ledger of this version
    connection = home.store.connection
    with translated(path, "read"):
        connection.execute("ATTACH DATABASE ? AS part", [f"{path.absolute().as_uri()}?mode=ro"])
    try:
        return list(_File(home, path).merge())
    finally:
        connection.execute("DETACH DATABASE part")


def _is_blank(path: Path) -> bool:
    """Whether whoever made the file was killed before its first step: there is nothing in it."""
    if not path.exists():
        return False
    with translated(path, "read"), closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as file:
        tables = "SELECT count(*) FROM sqlite_master WHERE name NOT GLOB '*_sqlite_migrations*'"
        return bool(file.execute(tables).fetchone()[0] == 0)


class _File:
    """One shard's ledger, attached as `part`."""

    def __init__(self, home: Ledger, path: Path) -> None:
        self._home = home
        self._path = path
        self._ledger_id = str(home.store.one("SELECT ledger_id FROM part.ledger_info")[0])
        if self._ledger_id == home.identity():
            raise self._problem("is the home ledger itself", "Name the shards' own ledgers.")

    def _problem(self, what: str, hint: str) -> LedgerProblem:
        return LedgerProblem(f"{self._path} {what}. It was not merged.", hint=hint)

    def merge(self) -> Iterator[MergedShard]:
        """Each import of the file, oldest first."""
        found = self._home.store.all(
            "SELECT i.id, i.settings, i.list_name, i.source_state, i.round, c.fingerprint, c.key_seed, c.id "
            "FROM part.imports i JOIN part.campaigns c ON c.id = i.campaign_id ORDER BY i.id"
        )
        for import_id, settings, list_name, state, round_name, fingerprint, key_seed, campaign_id in found:
            shard = json.loads(settings).get("shard")
            if shard is None:
                hint = "Only runs with --shard are merged."
                raise self._problem(f"holds import {import_id}, which is of a whole list", hint)
            said = f"{shard['number']}/{shard['of']}"
            if state != "complete":
                self._judge_unsent(import_id)
                yield MergedShard(path=self._path, shard=said, list_name=list_name, how="unread")
                continue
            part = _Part(
                import_id=import_id, number=shard["number"], of=shard["of"], ledger_id=self._ledger_id,
                round_name=round_name, list_name=list_name, fingerprint=fingerprint, key_seed=key_seed,
                campaign_id=campaign_id,
            )  # fmt: skip
            home_id, how = _Merge(self._home, self._path, part).run()
            yield MergedShard(path=self._path, shard=said, list_name=list_name, how=how, import_id=home_id)

    def _judge_unsent(self, import_id: int) -> None:
        """An edited list that is read anew may have rows that were sent: it must be read to its end first."""
        sql = "SELECT 1 FROM part.batches WHERE import_id = ? AND state <> 'frozen' LIMIT 1"
        if self._home.store.one(sql, [import_id]):
            hint = "Run that shard again until its list is read; then merge."
            raise self._problem(f"holds import {import_id}, whose edited list is being read anew", hint)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """A shard's import, as its own ledger knows it."""

    import_id: int
    number: int
    of: int
    ledger_id: str
    round_name: str
    list_name: str
    fingerprint: bytes
    key_seed: str
    campaign_id: int


Pieces = list[list[int]]  # spans of ids in the shard's ledger: first, last, and what the first is at home


def _moved(column: str, pieces: Pieces, otherwise: str = "NULL") -> str:
    """SQL for an id at home."""
    cases = " ".join(
        f"WHEN {column} BETWEEN {first} AND {last} THEN {column} + {at - first}" for first, last, at in pieces
    )
    return f"CASE {cases} ELSE {otherwise} END" if cases else otherwise


def _within(column: str, pieces: Pieces) -> str:
    """SQL that says whether an id at home is one of these."""
    spans = " OR ".join(f"{column} BETWEEN {at} AND {at + last - first}" for first, last, at in pieces)
    return f"({spans})" if spans else "0"


class _Merge:
    """One shard's import on its way home."""

    def __init__(self, home: Ledger, path: Path, part: _Part) -> None:
        self._home = home
        self._store = home.store
        self._path = path
        self._part = part
        self._entry: dict[str, Any] = {}

    def run(self) -> tuple[int | None, str]:
        """The home import, and `new`, `updated`, `unchanged` or `later`."""
        mark = self._mark()
        found = self._home_import()
        if found is not None:
            self._entry = self._settings(found)["shards"]["merged"].get(str(self._part.number), {})
            if self._entry.get("mark") == mark:
                return found, "unchanged"
            self._judge_erased(found)
        self._judge_purged()
        if found is None and self._is_list_open():
            return None, "later"
        how = "updated" if self._entry else "new"
        try:
            with self._store.transaction():
                import_id = found or self._begin()
                self._bring(import_id)
                self._sum_up(import_id, mark)
        except LedgerProblem as problem:
            if isinstance(problem.__cause__, sqlite3.IntegrityError):
                self._store.is_broken = False  # it was rolled back whole
                raise self._clash() from problem
            raise
        return import_id, how

    def _one(self, sql: str) -> Any:
        return self._store.one(sql, [self._part.import_id])[0]

    def _mark(self) -> list[Any]:
        """What changes whenever anything of the shard's import does."""
        outcomes = "SELECT max(o.asked_ms) FROM part.job_outcomes o JOIN part.{0} r ON {1} WHERE r.import_id = ?"
        return [
            self._one("SELECT revision FROM part.imports WHERE id = ?"),
            self._one("SELECT finished_ms FROM part.imports WHERE id = ?"),
            self._one(f"SELECT {' + 3 * '.join(_COUNTS)} FROM part.imports WHERE id = ?"),
            self._one("SELECT facts FROM part.imports WHERE id = ?"),
            self._one("SELECT max(changed_ms) FROM part.batches WHERE import_id = ?"),
            self._one("SELECT count(*) FROM part.batches WHERE import_id = ?"),
            self._one(
                "SELECT count(*) || ' ' || coalesce(max(s.id + coalesce(s.ended_ms, 0)), 0) FROM part.sends s "
                "JOIN part.batches b ON b.id = s.batch_id WHERE b.import_id = ?"
            ),
            self._one(outcomes.format("rows", "r.id = o.row_id")),
            self._one(
                outcomes.format("row_packs", "o.row_id BETWEEN r.first_row_id AND r.first_row_id + r.size_rows - 1")
            ),
            self._one("SELECT max(asked_ms + coalesce(settled_ms, 0)) FROM part.cancellations WHERE import_id = ?"),
        ]

    # --- which import -------------------------------------------------------------------------------------------------

    def _settings(self, import_id: int) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._store.one("SELECT settings FROM imports WHERE id = ?", [import_id])[0])
        return found

    def _home_import(self) -> int | None:
        """The home import this shard's belongs to; None when it is the first of its shards to come home.

        **Errors**: LedgerProblem when another ledger's work stands where this one's belongs.
        """
        part, fits = self._part, []
        for import_id, settings_text, is_list in self._store.all(
            "SELECT i.id, i.settings, i.list_name = ?1 AND i.round = ?2 FROM imports i JOIN campaigns c "
            "ON c.id = i.campaign_id WHERE c.key_seed = ?3 ORDER BY i.id",
            [part.list_name, part.round_name, part.key_seed],
        ):
            shards = json.loads(settings_text).get("shards")
            if shards is None:
                continue
            merged = shards["merged"].get(str(part.number))
            if merged and (merged["ledger"], merged["import"]) == (part.ledger_id, part.import_id):
                return self._judged(int(import_id))
            if is_list and shards["of"] == part.of and self._is_same_list(import_id):
                fits.append((int(import_id), merged))
        free = [import_id for import_id, merged in fits if merged is None]
        unsettled = [import_id for import_id, merged in fits if merged is not None and not merged["is_finished"]]
        if unsettled:
            raise LedgerProblem(
                f"{self._path} took shard {part.number}/{part.of} of {part.list_name}, and so did another ledger, "
                f"which is part of import {unsettled[0]} and not settled. It was not merged.",
                hint="Merge only one ledger for each shard: the one that is run again.",
            )
        return free[0] if free else None

    def _is_list_open(self) -> bool:
        """Whether an earlier import of the list is open at home: there is only one at a time."""
        part = self._part
        return bool(
            self._store.one(
                "SELECT 1 FROM imports i JOIN campaigns c ON c.id = i.campaign_id WHERE i.list_name = ? AND i.round = ?"
                " AND c.key_seed = ? AND i.finished_ms IS NULL",
                [part.list_name, part.round_name, part.key_seed],
            )
        )

    def _judged(self, import_id: int) -> int:
        """**Errors**: LedgerProblem when the home ledger has gone on with the import itself."""
        facts = json.loads(self._store.one("SELECT facts FROM imports WHERE id = ?", [import_id])[0])
        if "adopted_since_ms" in facts:
            raise LedgerProblem(
                f"Import {import_id} was adopted at home, as if the ledgers of its shards were lost. {self._path} was "
                "not merged.",
                hint="Do not send from that ledger any more.",
            )
        return import_id

    def _judge_erased(self, import_id: int) -> None:
        """**Errors**: LedgerProblem when the shard would bring back what was erased at home."""
        sql = (
            "SELECT 1 FROM imports i WHERE i.id = ?1 AND (erased_ms IS NOT NULL OR EXISTS (SELECT 1 "
            "FROM erased_batches e JOIN batches b ON b.id = e.batch_id WHERE b.import_id = ?1))"
        )
        if self._store.one(sql, [import_id]):
            raise LedgerProblem(
                f"Import {import_id} was purged at home, and {self._path} would bring back what was erased. It was not "
                "merged.",
                hint="Purge once every shard is settled and merged; then delete the shards' ledgers.",
            )

    def _judge_purged(self) -> None:
        """**Errors**: LedgerProblem for a ledger that was purged by itself: its stand-ins are not those of home."""
        if self._store.one("SELECT 1 FROM part.purges LIMIT 1"):
            raise LedgerProblem(
                f"{self._path} was purged, so that its numbers cannot be known again at home. It was not merged.",
                hint="Merge shards first, and purge the home ledger.",
            )

    def _is_same_list(self, import_id: int) -> bool:
        """The same content, read in the same way."""
        return bool(
            self._store.one(
                "SELECT h.mapping = p.mapping AND h.batch_size_rows = p.batch_size_rows AND NOT EXISTS "
                "(SELECT 1 FROM part.files f LEFT JOIN files g ON g.import_id = ?1 AND g.file_no = f.file_no "
                "WHERE f.import_id = ?2 AND f.sha256 IS NOT g.sha256) "
                "FROM imports h JOIN part.imports p ON p.id = ?2 WHERE h.id = ?1",
                [import_id, self._part.import_id],
            )[0]
        )

    def _clash(self) -> LedgerProblem:
        part = self._part
        return LedgerProblem(
            f"{self._path} holds rows of {part.list_name} that the home ledger took in by itself meanwhile. It was "
            "not merged.",
            hint="One of the two sent rows that the other did not know of: `importer prove` with each ledger\n"
            "shows which rows have a call job.",
        )

    def _campaign_id(self) -> int:
        part = self._part
        known = self._store.one(
            "SELECT id, key_seed FROM campaigns WHERE fingerprint = ?1 OR key_seed = ?2 ORDER BY key_seed <> ?2",
            [part.fingerprint, part.key_seed],
        )
        if known is None:
            made = self._store.connection.execute(
                "INSERT INTO campaigns (name, origin, fingerprint, key_seed, first_met_ms, platform_id, renewed_ms) "
                "SELECT name, origin, fingerprint, key_seed, first_met_ms, platform_id, renewed_ms FROM part.campaigns "
                "WHERE id = ?",
                [part.campaign_id],
            )
            return int(made.lastrowid or 0)
        if known[1] != part.key_seed:
            raise LedgerProblem(
                f"{self._path} made its keys from another seed than the home ledger's. It was not merged.",
                hint="It was begun without --home, after the campaign's token was renewed: it cannot be merged.",
            )
        return int(known[0])

    def _begin(self) -> int:
        """A home import for all the shards of the list."""
        campaign_id = self._campaign_id()
        settings = json.loads(self._one("SELECT settings FROM part.imports WHERE id = ?"))
        del settings["shard"]
        settings["shards"] = {"of": self._part.of, "merged": {}}
        made = self._store.connection.execute(
            "INSERT INTO imports (campaign_id, round, list_name, source_state, mapping, settings, batch_size_rows, "
            "first_row_id, started_ms) SELECT ?2, round, list_name, 'open', mapping, ?3, batch_size_rows, ?4, "
            "started_ms FROM part.imports WHERE id = ?1",
            [self._part.import_id, campaign_id, json.dumps(settings), self._home.intake.next_row_id()],
        )
        import_id = int(made.lastrowid or 0)
        self._run(
            f"INSERT INTO files SELECT {import_id}, file_no, name, facts, read_rows, witness_rows, sha256 "
            "FROM part.files WHERE import_id = :part"
        )
        return import_id

    # --- what comes along ---------------------------------------------------------------------------------------------

    def _run(self, sql: str) -> None:
        self._store.connection.execute(sql, {"part": self._part.import_id})

    def _bring(self, import_id: int) -> None:
        """Everything of the shard's import; what it no longer holds goes."""
        batches = self._extended(
            "batches", "SELECT min(id), max(id) FROM part.batches WHERE import_id = ?1 AND id > ?2", "batches"
        )
        rows = self._extended("rows", _NEW_ROWS, None)
        sends = self._extended("sends", _NEW_OF_BATCHES.format("sends"), "sends")
        evidence = self._extended("evidence", _NEW_OF_BATCHES.format("evidence"), "evidence")
        self._judge_own(import_id, batches)
        self._clear_rows(rows)
        self._clear_sends(batches, sends)
        self._bring_batches(import_id, batches, rows)
        self._bring_rows(import_id, batches, rows)
        self._bring_sends(batches, sends, evidence)
        self._bring_receipts(batches)
        self._bring_afterwards(import_id, batches, rows)
        self._bring_rejects(import_id)
        self._bring_skips(import_id, rows)
        self._home.intake.catch_up()

    def _extended(self, name: str, new_sql: str, table: str | None) -> Pieces:
        """The spans of ids known so far, and one more for what is new; `table` says which ids are taken at home.

        A span stays its shard's where the shard deletes the last ids of it, since it may use them again.
        """
        pieces: Pieces = self._entry.setdefault(name, [])
        known = max((last for _, last, _ in pieces), default=0)
        first, last = self._store.one(new_sql, [self._part.import_id, known])
        if first is not None:
            free = self._home.intake.next_row_id() if table is None else self._next_id(table)
            pieces.append([first, last, max(free, self._end_of_spans(name))])
        return pieces

    def _end_of_spans(self, name: str) -> int:
        """The first id behind all spans that shards were given at home."""
        entries = [self._entry]
        for (settings,) in self._store.all("SELECT settings FROM imports"):
            entries += json.loads(settings).get("shards", {}).get("merged", {}).values()
        return max((at + last - first + 1 for entry in entries for first, last, at in entry.get(name, [])), default=0)

    def _next_id(self, table: str) -> int:
        return int(self._store.one(f"SELECT coalesce(max(id), 0) + 1 FROM {table}")[0])

    def _judge_own(self, import_id: int, batches: Pieces) -> None:
        sql = f"SELECT 1 FROM batches WHERE {_within('id', batches)} AND import_id <> ? LIMIT 1"
        if self._store.one(sql, [import_id]):
            raise LedgerProblem(
                f"{self._path} cannot be merged again: other batches stand in its places.",
                hint="Please report this; keep both ledgers.",
            )

    def _clear_rows(self, rows: Pieces) -> None:
        mine = f"FROM rows WHERE {_within('id', rows)}"
        self._run(
            f"DELETE FROM identities WHERE identity IN (SELECT row_key {mine} UNION ALL SELECT identity {mine} "
            f"AND identity IS NOT NULL) AND {_within('row_id', rows)}"
        )
        self._run(f"DELETE {mine}")
        self._run(f"DELETE FROM row_packs WHERE {_within('first_row_id', rows)}")

    def _clear_sends(self, batches: Pieces, sends: Pieces) -> None:
        """Takes out the sends that the shard has taken back: it had armed them ahead, and then never sent them.

        Their ids may stand for other sends by now.
        """
        self._run(
            f"DELETE FROM sends WHERE {_within('id', sends)} AND (id, batch_id, epoch, armed_ms) NOT IN "
            f"(SELECT {_moved('p.id', sends)}, {_moved('p.batch_id', batches)}, p.epoch, p.armed_ms FROM part.sends p "
            "JOIN part.batches b ON b.id = p.batch_id WHERE b.import_id = :part)"
        )

    def _bring_batches(self, import_id: int, batches: Pieces, rows: Pieces) -> None:
        """Batches by their ids; bodies of those that are new, for what was dropped at home stays dropped."""
        home_id = _moved("p.id", batches)
        gone = (
            f"SELECT b.id FROM batches b WHERE {_within('b.id', batches)} AND b.id NOT IN "
            f"(SELECT {home_id} FROM part.batches p WHERE p.import_id = :part)"
        )
        self._run(f"DELETE FROM bodies WHERE batch_id IN ({gone})")
        self._run(f"DELETE FROM batches WHERE id IN ({gone})")
        new = (
            f"SELECT {home_id}, d.sha256, d.body FROM part.bodies d JOIN part.batches p ON p.id = d.batch_id "
            f"WHERE p.import_id = :part AND ({home_id} NOT IN (SELECT id FROM batches) OR EXISTS "
            f"(SELECT 1 FROM bodies h WHERE h.batch_id = {home_id} AND h.sha256 <> d.sha256))"
        )
        self._run(f"CREATE TEMP TABLE new_bodies AS {new}")
        changes = ", ".join(f"{name.strip()} = excluded.{name.strip()}" for name in _BATCH_STATE.split(","))
        self._run(
            f"INSERT INTO batches (id, import_id, first_row_id, last_row_id, parent_id, {_BATCH_STATE}) "
            f"SELECT {home_id}, {import_id}, {_moved('p.first_row_id', rows, '0')}, "
            f"{_moved('p.last_row_id', rows, '0')}, {_moved('p.parent_id', batches)}, {_BATCH_STATE} "
            "FROM part.batches p WHERE p.import_id = :part ORDER BY p.id "
            "ON CONFLICT (id) DO UPDATE SET first_row_id = excluded.first_row_id, last_row_id = excluded.last_row_id, "
            f"parent_id = excluded.parent_id, {changes}"
        )
        self._run("INSERT OR REPLACE INTO bodies SELECT * FROM temp.new_bodies")
        self._run("DROP TABLE temp.new_bodies")

    def _bring_rows(self, import_id: int, batches: Pieces, rows: Pieces) -> None:
        batch_id = _moved("p.batch_id", batches)
        self._run(
            f"INSERT INTO rows SELECT {_moved('p.id', rows)}, {import_id}, file_no, row_no, phone, row_key, identity, "
            f"{batch_id}, position, revision FROM part.rows p WHERE p.import_id = :part ORDER BY p.id"
        )
        self._run(
            f"INSERT INTO identities SELECT i.identity, {_moved('i.row_id', rows)} FROM part.identities i "
            "JOIN part.rows p ON p.id = i.row_id WHERE p.import_id = :part ORDER BY i.identity"
        )
        self._run(
            f"INSERT INTO row_packs SELECT {_moved('p.first_row_id', rows)}, size_rows, {import_id}, {batch_id}, "
            "place, revision, file_no, first_row_no, row_nos, digits, phones, row_keys, identities "
            "FROM part.row_packs p WHERE p.import_id = :part ORDER BY p.first_row_id"
        )

    def _bring_sends(self, batches: Pieces, sends: Pieces, evidence: Pieces) -> None:
        """Sends are changed once, when they end; evidence never is."""
        of_part = "JOIN part.batches b ON b.id = p.batch_id WHERE b.import_id = :part"
        ended = ("ended_ms", "outcome", "status", "server_date_ms", "elapsed_ms")
        self._run(
            f"INSERT INTO sends SELECT {_moved('p.id', sends)}, {_moved('p.batch_id', batches)}, p.epoch, p.armed_ms, "
            f"p.server_low_ms, p.boot_ms, p.boot_id, {', '.join(f'p.{name}' for name in ended)} FROM part.sends p "
            f"{of_part} ON CONFLICT (id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in ended)}"
        )
        home_id = _moved("p.id", evidence)
        self._run(
            f"INSERT INTO evidence SELECT {home_id}, {_moved('p.batch_id', batches)}, p.epoch, asked_ms, from_ms, "
            f"to_ms, finding, jobs, campaign_status, detail FROM part.evidence p {of_part} AND {home_id} NOT IN "
            "(SELECT id FROM evidence)"
        )

    def _bring_receipts(self, batches: Pieces) -> None:
        """A receipt's seal names its batch, so each is held against its old seal and sealed anew."""
        at_home = _moved("p.batch_id", batches)
        said = f"substr({{0}}.content, 1, length({{0}}.content) - {_SEAL_END})"
        found = self._store.all(
            f"SELECT {at_home}, p.batch_id, p.kind, p.evidence, p.received_ms, p.content FROM part.receipts p "
            f"JOIN part.batches b ON b.id = p.batch_id LEFT JOIN receipts h ON h.batch_id = {at_home} "
            "WHERE b.import_id = ? AND (h.batch_id IS NULL OR (h.kind, h.evidence, h.received_ms) <> "
            f"(p.kind, p.evidence, p.received_ms) OR {said.format('h')} <> {said.format('p')})",
            [self._part.import_id],
        )
        self._store.many("INSERT OR REPLACE INTO receipts VALUES (?, ?, ?, ?, ?)", map(self._resealed, found))

    def _resealed(self, found: Sequence[Any]) -> tuple[Any, ...]:
        home_id, batch_id, *facts, content = found
        old, new = (Stub(**dict(zip(_STUB, (each, *facts), strict=True))) for each in (batch_id, home_id))
        if not is_intact(content, old):
            raise LedgerProblem(
                f"{self._path} is damaged: batch {batch_id} has a receipt that does not match its seal. It was "
                "not merged.",
                hint="`importer ledger check` shows all that is wrong with it.",
            )
        return (home_id, *facts, sealed(read_receipt(content) or {}, new))

    def _bring_afterwards(self, import_id: int, batches: Pieces, rows: Pieces) -> None:
        """What was asked about its calls with the shard's own ledger, where that is newer."""
        row_id = _moved("p.row_id", rows)
        of_part = f"{row_id} IS NOT NULL"
        for table, key, names in (
            ("job_outcomes", "row_id", _OUTCOME),
            ("call_attempts", "row_id, attempt_number", _ATTEMPT),
        ):
            self._run(
                f"INSERT INTO {table} (row_id, {names}) SELECT {row_id}, {names} FROM part.{table} p WHERE {of_part} "
                f"ON CONFLICT ({key}) DO {_changes(names, table if table == 'job_outcomes' else '')}"
            )
        self._run(
            f"INSERT INTO cancellations (row_id, import_id, {_CANCELLATION}) SELECT {row_id}, {import_id}, "
            f"{_CANCELLATION} FROM part.cancellations p WHERE p.import_id = :part "
            f"ON CONFLICT (row_id) DO {_changes(_CANCELLATION, '')}"
        )
        self._run(
            f"INSERT INTO outcome_progress SELECT {_moved('p.batch_id', batches)}, {import_id}, open_rows, "
            "open_attempt_rows, asked_ms FROM part.outcome_progress p WHERE p.import_id = :part "
            f"ON CONFLICT (batch_id) DO {_changes('open_rows, open_attempt_rows, asked_ms', 'outcome_progress')}"
        )

    def _bring_rejects(self, import_id: int) -> None:
        self._replace(
            "rejects",
            f"INSERT INTO rejects (import_id, file_no, row_no, column_name, reason, explanation, cells) "
            f"SELECT {import_id}, file_no, row_no, column_name, reason, explanation, cells FROM part.rejects "
            "WHERE import_id = :part ORDER BY id",
        )

    def _bring_skips(self, import_id: int, rows: Pieces) -> None:
        """The rows they repeat get the ids they have at home; those of the home ledger are negative in a shard's."""
        moved = _moved("json_extract(e.value, '$[2]')", [*rows, *self._earlier_rows()], "0")
        row_id = f"CASE WHEN json_extract(e.value, '$[2]') < 0 THEN -json_extract(e.value, '$[2]') ELSE {moved} END"
        place = f"json_array(json_extract(e.value, '$[0]'), json_extract(e.value, '$[1]'), {row_id})"
        self._replace(
            "skips",
            f"INSERT INTO skips (import_id, reason, size_rows, pack) SELECT {import_id}, reason, size_rows, "
            f"(SELECT json_group_array({place}) FROM json_each(p.pack) e) FROM part.skips p WHERE import_id = :part "
            "ORDER BY id",
        )

    def _earlier_rows(self) -> Pieces:
        """Where the rows of the shard's other imports are at home."""
        found = self._store.all("SELECT settings FROM imports WHERE json_extract(settings, '$.shards') IS NOT NULL")
        entries = [entry for (text,) in found for entry in json.loads(text)["shards"]["merged"].values()]
        return [piece for entry in entries if entry["ledger"] == self._part.ledger_id for piece in entry["rows"]]

    def _replace(self, table: str, insert: str) -> None:
        """Takes out what came of the shard before, and brings what it holds now."""
        for first, last in self._entry.get(table, []):
            self._run(f"DELETE FROM {table} WHERE id BETWEEN {first} AND {last}")
        first = self._next_id(table)
        self._run(insert)
        last = self._next_id(table) - 1
        self._entry[table] = [[first, last]] if last >= first else []

    # --- the sum ------------------------------------------------------------------------------------------------------

    def _sum_up(self, import_id: int, mark: list[Any]) -> None:
        """The home import's counts, facts and times are those of all its shards so far."""
        part = self._part
        counts, facts_text, revision, completed, finished = self._part_facts()
        self._entry |= {
            "ledger": part.ledger_id, "import": part.import_id, "mark": mark, "counts": counts,
            "facts": {name: value for name, value in json.loads(facts_text).items() if name != "came_back"},
            "revision": revision, "completed_ms": completed, "finished_ms": finished,
            "is_finished": finished is not None,
        }  # fmt: skip
        settings = self._settings(import_id)
        merged = settings["shards"]["merged"]
        merged[str(part.number)] = self._entry
        entries, is_all = list(merged.values()), len(merged) == part.of
        totals = [sum(entry["counts"][place] for entry in entries) for place in range(len(_COUNTS))]
        is_finished = is_all and all(entry["is_finished"] for entry in entries)
        self._store.change_one(
            "UPDATE imports SET settings = ?, facts = ?, revision = ?, source_state = ?, completed_ms = ?, "
            "finished_ms = ?, read_rows = ?, rejected_rows = ?, duplicate_rows = ?, suppressed_rows = ?, "
            "withdrawn_rows = ?, started_ms = min(started_ms, (SELECT started_ms FROM part.imports WHERE id = ?)) "
            "WHERE id = ?",
            [
                json.dumps(settings, sort_keys=True),
                json.dumps(_summed([entry["facts"] for entry in entries], is_all=is_all), sort_keys=True),
                max(entry["revision"] for entry in entries),
                "complete" if is_all else "open",
                max(entry["completed_ms"] for entry in entries) if is_all else None,
                max(entry["finished_ms"] for entry in entries) if is_finished else None,
                *totals,
                part.import_id,
                import_id,
            ],
        )
        self._run(
            "UPDATE ledger_info SET server_high_ms = max(server_high_ms, (SELECT server_high_ms FROM part.ledger_info))"
        )

    def _part_facts(self) -> tuple[list[int], str, int, int, int | None]:
        row = self._store.one(
            f"SELECT facts, revision, completed_ms, finished_ms, {', '.join(_COUNTS)} FROM part.imports WHERE id = ?",
            [self._part.import_id],
        )
        return list(row[4:]), row[0], row[1], row[2], row[3]


_STUB = ("batch_id", "kind", "evidence", "received_ms")
_NEW_ROWS = """
SELECT min(first), max(last) FROM (
    SELECT min(id) AS first, max(id) AS last FROM part.rows WHERE import_id = ?1 AND id > ?2
    UNION ALL SELECT min(first_row_id), max(first_row_id + size_rows - 1) FROM part.row_packs
    WHERE import_id = ?1 AND first_row_id > ?2)"""
_NEW_OF_BATCHES = (
    "SELECT min(s.id), max(s.id) FROM part.{0} s JOIN part.batches b ON b.id = s.batch_id "
    "WHERE b.import_id = ?1 AND s.id > ?2"
)


def _changes(names: str, table: str) -> str:
    """The update half of an upsert; with a table, only where what comes was asked for later."""
    changes = ", ".join(f"{name.strip()} = excluded.{name.strip()}" for name in names.split(","))
    return f"UPDATE SET {changes}" + (f" WHERE excluded.asked_ms >= {table}.asked_ms" if table else "")


def _summed(facts: Sequence[dict[str, Any]], *, is_all: bool) -> dict[str, Any]:
    """The facts of a whole list from those of its shards. Cells taken apart were counted by every shard."""
    counters: dict[str, Any] = {
        name: sum((Counter(each.get(name, {})) for each in facts), Counter()) for name in _COUNTERS
    }
    split_off = max(each.get("numbers", {}).get("split_off", 0) for each in facts)
    numbers = {**counters["numbers"], "split_off": split_off}
    numbers.pop("elsewhere", None)
    said: dict[str, Any] = {
        name: each[name] for each in facts for name in ("said_bare", "said_once_per", "phonenumbers") if name in each
    }
    is_passed = is_all and all(each.get("is_passed") for each in facts)
    return {**said, **counters, "numbers": numbers, "is_passed": is_passed}
