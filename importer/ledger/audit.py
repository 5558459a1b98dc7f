"""Holds a ledger against itself: every frozen body against its hash and its keys, every row, key, send and receipt.

Floor: ledger; it only reads, beside a running owner too. A newcomer may question that keys are made again from the
frozen bytes and not from the rows' own keys alone: that is what finds a body changed together with its hash. Findings
name imports, batches and rows, never numbers or cells, so that they may be shown and logged.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from importer.body import item_texts
from importer.errors import LedgerProblem
from importer.keys import BOOLEAN, JSON, NULL, NUMBER, STAND_INS_FROM, request_key, row_key
from importer.ledger.deflate import HEADS
from importer.ledger.key_index import unheld
from importer.ledger.packs import rows_of_batch
from importer.ledger.schema import differences
from importer.ledger.seals import Stub, is_intact, read_receipt
from importer.ledger.stand_ins import is_erased
from importer.ledger.view import View

MOST_FINDINGS = 20  # of one kind; a ledger with more is not read line by line
SETTLED = ("accepted", "refused", "split")


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """Something that cannot be so. `check` names the check that found it, `text` says what and where."""

    check: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """One check: how many `things` of which kind it looked at, and what it found (the first of them)."""

    name: str
    things: int
    findings: tuple[Finding, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """A receipt as it is kept."""

    kind: str
    evidence: str
    received_ms: int
    text: str = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A row of a batch."""

    row_id: int
    position: int
    phone: int = field(repr=False)
    row_key: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """A batch with everything the ledger keeps of it. `packed` and `sha256` are None once its body was dropped.

    `is_repaired`: a repair put it in doubt, and may have lost its bytes and rows; that is known.
    """

    id: int
    state: str
    size_rows: int
    request_key: str
    generation: int
    packed: bytes | None = field(repr=False)
    sha256: bytes | None
    receipt: Receipt | None
    members: Sequence[Member]
    is_repaired: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """What an import's keys are made with besides its rows; `json_fields` are what its mapping calls JSON."""

    seed: str = field(repr=False)
    round_name: str
    json_fields: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """A row as it stands in a frozen body; `row_key` is None when it cannot be made again from the bytes."""

    phone: int = field(repr=False)
    row_key: bytes | None


def body_of(packed: bytes, sha256: bytes) -> bytes | None:
    """The frozen bytes, or None when they are not what was frozen."""
    unpacker = zlib.decompressobj()
    try:
        body = unpacker.decompress(packed) + unpacker.flush()
    except zlib.error:
        return None
    is_whole = unpacker.eof and not unpacker.unused_data and packed.startswith(HEADS)
    return body if is_whole and hashlib.sha256(body).digest() == sha256 else None


def items_in(body: bytes, recipe: Recipe) -> list[Item] | None:
    """The rows of a frozen body, with their keys made again; None when it is no array of rows."""
    try:
        found = json.loads(body)
        texts = [""] * len(found) if all(map(_is_plain, found)) else item_texts(body)
        return [_item(item, text, recipe) for item, text in zip(found, texts, strict=True)]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _is_plain(item: dict[str, Any]) -> bool:
    """Whether a row is a number and texts, so that how its JSON is written does not matter."""
    return item.keys() <= {"phone", "payload"} and all(
        isinstance(each, str) for each in item.get("payload", {}).values()
    )


def _item(item: dict[str, Any], text: str, recipe: Recipe) -> Item:
    phone, payload = item["phone"], item.get("payload", {})
    if not (isinstance(phone, str) and phone.isascii() and phone.isdigit()):
        raise ValueError("a phone is digits")
    if is_erased(int(phone)):
        return Item(phone=int(phone), row_key=None)  # nothing but its place is left
    members = members_of(text)
    policy = {name: value for name, value in members.items() if name not in ("phone", "payload")}
    written = members_of(members.get("payload", "")) if members else {}
    fields = [(name, value, written.get(name, "")) for name, value in payload.items()]
    if any(value is None and name in recipe.json_fields for name, value, _ in fields):
        return Item(phone=int(phone), row_key=None)  # a JSON null, or no cell: the bytes do not tell
    typed = [_typed(*each, recipe) for each in fields if each[0] in recipe.json_fields or not isinstance(each[1], str)]
    names = {name for name, _, _ in typed}
    texts = {name: value for name, value in payload.items() if name not in names}
    return Item(
        phone=int(phone),
        row_key=row_key(recipe.seed, recipe.round_name, f"+{phone}", texts, policy, typed),
    )


def _typed(name: str, value: Any, written: str, recipe: Recipe) -> tuple[str, str, str]:
    """A payload field as the keys' recipe has it: its name, type letter and value."""
    if name in recipe.json_fields or isinstance(value, (dict, list)):
        return name, JSON, written
    if value is None:
        return name, NULL, ""
    return name, BOOLEAN if isinstance(value, bool) else NUMBER, written


def members_of(text: str) -> dict[str, str]:
    """The members of a compact JSON object as the texts they are written in. **Errors**: ValueError."""
    decoder, place, found = json.JSONDecoder(), 1, {}
    while place < len(text) - 1:
        name, colon = decoder.raw_decode(text, place)
        _, end = decoder.raw_decode(text, colon + 1)
        if text[colon] != ":" or text[end] not in ",}" or name in found:
            raise ValueError("not a compact object")
        found[str(name)] = text[colon + 1 : end]
        place = end + 1
    return found


# --- one batch ------------------------------------------------------------------------------------------------------


def judge_batch(kept: Kept, recipe: Recipe) -> Iterator[Finding]:
    """Everything about one batch that cannot be so."""
    yield from judge_receipt(kept)
    if kept.packed is None or kept.sha256 is None:
        if kept.state not in SETTLED and not kept.is_repaired:
            yield _about(kept, "bodies", "has no frozen bytes, and is not settled")
        return
    body = body_of(kept.packed, kept.sha256)
    if body is None:
        yield _about(kept, "bodies", "has frozen bytes that do not match their hash")
        return
    items = items_in(body, recipe)
    if items is None or len(items) != kept.size_rows or len({item.phone for item in items}) != len(items):
        yield _about(kept, "bodies", f"has frozen bytes that are not {kept.size_rows:,} rows of different numbers")
        return
    yield from _judge_members(kept, items)
    yield from _judge_keys(kept, items, recipe.seed)


def _judge_members(kept: Kept, items: Sequence[Item]) -> Iterator[Finding]:
    if kept.state == "split":
        if kept.members:
            yield _about(kept, "rows", "was split, and still has rows")
        return
    if [member.position for member in kept.members] != list(range(kept.size_rows)):
        yield _about(kept, "rows", f"has {len(kept.members):,} rows in their places, not {kept.size_rows:,}")
        return
    for member, item in zip(kept.members, items, strict=True):
        if member.phone != item.phone:
            yield _about(kept, "rows", f"has another number in row {member.row_id} than in its frozen bytes")
        if item.row_key is not None and member.row_key != item.row_key:
            yield _about(kept, "keys", f"has a row key in row {member.row_id} that its frozen bytes do not make")


def _judge_keys(kept: Kept, items: Sequence[Item], seed: str) -> Iterator[Finding]:
    """The request key made again from the frozen bytes; from the rows' keys where the bytes do not make them."""
    row_keys = [item.row_key for item in items if item.row_key is not None]
    if len(row_keys) != len(items):
        row_keys = [member.row_key for member in kept.members]
    if len(row_keys) == len(items) and request_key(seed, kept.generation, row_keys) != kept.request_key:
        yield _about(kept, "keys", "has a request key that its rows do not make")


def judge_receipt(kept: Kept) -> Iterator[Finding]:
    """Everything about a batch's receipt that cannot be so."""
    receipt, expected = kept.receipt, kept.state if kept.state in ("accepted", "refused") else None
    if (receipt and receipt.kind) != expected:
        has = f"a receipt that says {receipt.kind!r}" if receipt else "no receipt"
        yield _about(kept, "receipts", f"is {kept.state}, and has {has}")
    if receipt is None:
        return
    stub = Stub(batch_id=kept.id, kind=receipt.kind, evidence=receipt.evidence, received_ms=receipt.received_ms)
    if is_intact(receipt.text, stub) is False:
        yield _about(kept, "receipts", "has a receipt that does not match its seal")
    elif receipt.kind == "accepted" and not _are_ids(receipt, kept.size_rows):
        yield _about(kept, "receipts", f"has a receipt without {kept.size_rows:,} different ids")


def _are_ids(receipt: Receipt, size_rows: int) -> bool:
    """One id for each row, all different; a person's word has none."""
    ids = ids_of(receipt.text)
    if receipt.evidence == "person" and ids == [None] * size_rows:
        return True
    return len(ids) == size_rows == len(set(ids)) and all(isinstance(each, str) and each for each in ids)


def ids_of(text: str) -> list[Any]:
    """The call job ids of a receipt, in the order of its rows; none when it cannot be read."""
    found = (read_receipt(text) or {}).get("ids")
    return [str(each) if isinstance(each, (dict, list)) else each for each in found] if isinstance(found, list) else []


def _about(kept: Kept, check: str, what: str) -> Finding:
    return Finding(check=check, text=f"batch {kept.id} {what}")


# --- a whole ledger -------------------------------------------------------------------------------------------------

_BATCHES = """
SELECT b.id, b.state, b.size_rows, b.request_key, b.generation, d.body, d.sha256,
       c.kind, c.evidence, c.received_ms, c.content, b.state = 'in_doubt' AND b.reason LIKE 'repaired: %'
FROM batches b LEFT JOIN bodies d ON d.batch_id = b.id LEFT JOIN receipts c ON c.batch_id = b.id
"""

_IMPOSSIBLE_SENDS = {
    "has an open send, and is not armed": """
        SELECT s.batch_id FROM sends s LEFT JOIN batches b ON b.id = s.batch_id
        WHERE s.ended_ms IS NULL AND b.state IS NOT 'armed'""",
    "is armed, and has not one open send": """
        SELECT b.id FROM batches b WHERE b.state = 'armed'
        AND 1 <> (SELECT count(*) FROM sends s WHERE s.batch_id = b.id AND s.ended_ms IS NULL)""",
    "has an answer to no send": """
        SELECT b.id FROM batches b JOIN receipts c ON c.batch_id = b.id AND c.evidence = 'answer'
        WHERE NOT EXISTS (SELECT 1 FROM sends s WHERE s.batch_id = b.id)""",
    "is frozen, and has a send in its epoch": """
        SELECT b.id FROM batches b JOIN sends s ON s.batch_id = b.id AND s.epoch = b.epoch
        WHERE b.state = 'frozen'""",
}


_IMPOSSIBLE_ERASURES = {
    "is not settled": """
        SELECT e.batch_id FROM erased_batches e LEFT JOIN batches b ON b.id = e.batch_id
        WHERE coalesce(b.state, '') NOT IN ('accepted', 'refused', 'split')""",
    "has frozen bytes": "SELECT e.batch_id FROM erased_batches e JOIN bodies d ON d.batch_id = e.batch_id",
    "has a number": f"""
        SELECT e.batch_id FROM erased_batches e JOIN batches b ON b.id = e.batch_id
        JOIN rows r ON r.id BETWEEN b.first_row_id AND b.last_row_id AND r.batch_id = b.id
        WHERE r.phone < {STAND_INS_FROM}
        UNION ALL SELECT e.batch_id FROM erased_batches e JOIN row_packs p ON p.batch_id = e.batch_id
        WHERE p.digits < 19""",
}


class Audit:
    """The checks of one ledger over one connection, which only reads.

    **Errors**: none for damage: a check that cannot read its tables says so as its finding.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.connection = connection
        self.view = View(connection, path)

    def _all(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        return self.connection.execute(sql, values).fetchall()

    def whole(self) -> list[Checked]:
        """Every check there is."""
        imports = [row[0] for row in self._look(lambda: self._all("SELECT id FROM imports ORDER BY id")) or []]
        return [
            self.checked("file", self._judge_file),
            self.checked("schema", self._judge_schema),
            self.checked("references", self._judge_references),
            self.checked("balances", lambda: self._over(imports, self.judge_balance)),
            self.checked("sends", self._judge_sends),
            *self.requests(imports),
            self.checked("receipts across batches", self._judge_shared_ids),
            self.checked("identities", self._judge_identities),
            self.checked("erasures", self._judge_erasures),
        ]

    def checked(self, name: str, judge: Callable[[], tuple[int, list[Finding]]]) -> Checked:
        """Runs one check; unreadable tables are its finding."""
        try:
            things, found = judge()
        except (sqlite3.Error, LedgerProblem) as problem:
            text = f"could not be read: {problem}"
            return Checked(name=name, things=0, findings=(Finding(check=name, text=text),))
        return Checked(name=name, things=things, findings=tuple(found))

    @staticmethod
    def _look(ask: Callable[[], list[Any]]) -> list[Any] | None:
        try:
            return ask()
        except sqlite3.Error:
            return None

    @staticmethod
    def _over(
        import_ids: Sequence[int], judge: Callable[[int], tuple[int, list[Finding]]]
    ) -> tuple[int, list[Finding]]:
        results = [judge(import_id) for import_id in import_ids]
        return sum(things for things, _ in results), [each for _, found in results for each in found]

    # --- the file -----------------------------------------------------------------------------------------------------

    def _judge_file(self) -> tuple[int, list[Finding]]:
        said = [row[0] for row in self._all(f"PRAGMA integrity_check({MOST_FINDINGS})")]
        pages = self._all("PRAGMA page_count")[0][0]
        return int(pages), [Finding(check="file", text=text) for text in said if text != "ok"]

    def _judge_schema(self) -> tuple[int, list[Finding]]:
        found = [Finding(check="schema", text=str(each)) for each in differences(self.connection)]
        return int(self._all("SELECT count(*) FROM sqlite_master")[0][0]), found

    def _judge_references(self) -> tuple[int, list[Finding]]:
        rows = self._all("PRAGMA foreign_key_check")
        texts = [f"{table} row {row_id} points at {parent} that is not there" for table, row_id, parent, _ in rows]
        return len(rows), [Finding(check="references", text=text) for text in texts[:MOST_FINDINGS]]

    # --- balances and sends -------------------------------------------------------------------------------------------

    def judge_balance(self, import_id: int) -> tuple[int, list[Finding]]:
        """The sum proved, and the rejects and skips it counts counted again."""
        state, rejected, skipped = self._all(
            "SELECT source_state, rejected_rows, duplicate_rows + suppressed_rows FROM imports WHERE id = ?",
            [import_id],
        )[0]
        balance = self.view.balance(import_id)
        if state != "complete":
            return balance.read, []
        texts = [] if balance.is_even else [f"the rows of import {import_id} do not add up"]
        lines = self._all("SELECT count(*) FROM rejects WHERE import_id = ?", [import_id])[0][0]
        if lines != rejected:
            texts.append(f"import {import_id} counts {rejected:,} rejects, and has {lines:,}")
        packs = self._all("SELECT coalesce(sum(size_rows), 0) FROM skips WHERE import_id = ?", [import_id])[0][0]
        if packs != skipped:
            texts.append(f"import {import_id} counts {skipped:,} duplicate and suppressed rows, and has {packs:,}")
        return balance.read, [Finding(check="balances", text=text) for text in texts]

    def _judge_sends(self) -> tuple[int, list[Finding]]:
        found = [
            Finding(check="sends", text=f"batch {row[0]} {what}")
            for what, sql in _IMPOSSIBLE_SENDS.items()
            for row in self._all(f"{sql} LIMIT {MOST_FINDINGS}")
        ]
        return int(self._all("SELECT count(*) FROM sends")[0][0]), found

    # --- requests -----------------------------------------------------------------------------------------------------

    def requests(
        self, import_ids: Sequence[int], on_batch: Callable[[Kept], None] = lambda _kept: None
    ) -> list[Checked]:
        """Every batch of these imports: its bodies, rows, keys and receipts; `on_batch` is shown each."""
        found: dict[str, list[Finding]] = {name: [] for name in ("bodies", "rows", "keys", "receipts")}
        batches = rows = receipts = 0
        try:
            for import_id in import_ids:
                recipe = self.recipe_of(import_id)
                for kept in self.kept(import_id):
                    batches, rows = batches + 1, rows + len(kept.members)
                    receipts += kept.receipt is not None
                    on_batch(kept)
                    for each in judge_batch(kept, recipe):
                        if len(found[each.check]) < MOST_FINDINGS:
                            found[each.check].append(each)
        except sqlite3.Error as problem:
            found["bodies"].append(Finding(check="bodies", text=f"batches could not be read: {problem}"))
        things = {"bodies": batches, "rows": rows, "keys": batches + rows, "receipts": receipts}
        return [Checked(name=name, things=things[name], findings=tuple(each)) for name, each in found.items()]

    def recipe_of(self, import_id: int) -> Recipe:
        """What an import's keys are made with besides its rows."""
        seed, round_name, mapping = self._all(
            "SELECT c.key_seed, i.round, i.mapping FROM imports i LEFT JOIN campaigns c ON c.id = i.campaign_id "
            "WHERE i.id = ?",
            [import_id],
        )[0]
        return Recipe(seed=seed or "", round_name=round_name, json_fields=_json_fields(mapping))

    def kept(self, import_id: int) -> Iterator[Kept]:
        """The batches of an import, one by one, so that memory stays small."""
        for row in self.connection.execute(f"{_BATCHES} WHERE b.import_id = ? ORDER BY b.id", [import_id]):
            yield self._kept(row)

    def kept_one(self, batch_id: int) -> Kept:
        """One batch."""
        return self._kept(self.connection.execute(f"{_BATCHES} WHERE b.id = ?", [batch_id]).fetchone())

    def _kept(self, row: Sequence[Any]) -> Kept:
        return kept_from_row(row, self.members(row[0]))

    def members(self, batch_id: int) -> list[Member]:
        """The rows of a batch, in order."""
        return [
            Member(row_id=row.id, position=row.position or 0, phone=row.phone, row_key=row.row_key)
            for row in rows_of_batch(self.connection, batch_id)
        ]

    # --- across batches -----------------------------------------------------------------------------------------------

    def _judge_shared_ids(self) -> tuple[int, list[Finding]]:
        return self.judge_shared_ids(None)

    def judge_shared_ids(self, campaign_id: int | None) -> tuple[int, list[Finding]]:
        """No call job id stands for two rows of one campaign."""
        shared = self._all(
            "SELECT min(c.batch_id), max(c.batch_id) FROM receipts c JOIN batches b ON b.id = c.batch_id "
            "JOIN imports i ON i.id = b.import_id, json_each(CASE WHEN json_valid(c.content) THEN c.content ELSE '{}' "
            "END, '$.ids') j WHERE c.kind = 'accepted' AND j.value IS NOT NULL AND (?1 IS NULL OR i.campaign_id = ?1) "
            f"GROUP BY i.campaign_id, j.value HAVING count(*) > 1 LIMIT {MOST_FINDINGS}",
            [campaign_id],
        )
        texts = [f"batches {first} and {last} hold the same call job id" for first, last in shared]
        receipts = self._all("SELECT count(*) FROM receipts WHERE kind = 'accepted'")[0][0]
        return int(receipts), [Finding(check="receipts", text=text) for text in texts]

    def _judge_identities(self) -> tuple[int, list[Finding]]:
        """Every live row holds its key, and every key is held by a row: else a row is sent twice, or never."""
        found = []
        for column in ("row_key", "identity"):
            rows = self._all(
                f"SELECT r.id FROM rows r JOIN batches b ON b.id = r.batch_id LEFT JOIN identities i "
                f"ON i.identity = r.{column} WHERE r.{column} IS NOT NULL AND b.state NOT IN ('refused', 'split') "
                f"AND i.row_id IS NOT r.id LIMIT {MOST_FINDINGS}"
            )
            found += [f"row {row[0]} does not hold its own key" for row in rows]
        loose = self._all(
            "SELECT i.row_id FROM identities i LEFT JOIN rows r ON r.id = i.row_id "
            f"WHERE r.row_key IS NOT i.identity AND r.identity IS NOT i.identity LIMIT {MOST_FINDINGS}"
        )
        found += [f"a key is held for row {row[0]}, which has another or is not there" for row in loose]
        found += self._judge_packs() + [f"row {row_id} does not hold its own key" for row_id in unheld(self.connection)]
        count = self._all("SELECT (SELECT count(*) FROM identities) + (SELECT total(size_rows) FROM row_packs)")[0][0]
        return int(count), [Finding(check="identities", text=text) for text in found]

    def _judge_erasures(self) -> tuple[int, list[Finding]]:
        """What was erased is settled, and nothing of it is there: no bytes, no number."""
        found = []
        for what, sql in _IMPOSSIBLE_ERASURES.items():
            found += [f"batch {row[0]} was erased, and {what}" for row in self._all(f"{sql} LIMIT {MOST_FINDINGS}")]
        count = self._all("SELECT count(*) FROM erased_batches")[0][0]
        return int(count), [Finding(check="erasures", text=text) for text in found]

    def _judge_packs(self) -> list[str]:
        """A batch is packed or not, never both; and one that gave its keys back is not."""
        both = self._all(
            "SELECT p.batch_id FROM row_packs p JOIN batches b ON b.id = p.batch_id "
            "WHERE b.state IN ('refused', 'split') OR EXISTS (SELECT 1 FROM rows r WHERE r.id BETWEEN p.first_row_id "
            "AND p.first_row_id + p.size_rows - 1) "
            f"LIMIT {MOST_FINDINGS}"
        )
        return [f"batch {row[0]} is packed, and should not be" for row in both]


def _json_fields(mapping: str) -> frozenset[str]:
    """The payload fields that an import's mapping gives the type `json`."""
    try:
        fields = json.loads(mapping).get("map", {}).get("payload", {})
        return frozenset(name for name, said in fields.items() if isinstance(said, dict) and said.get("type") == "json")
    except (ValueError, AttributeError):
        return frozenset()


def kept_from_row(row: Sequence[Any], members: Sequence[Member]) -> Kept:
    """A batch from the columns of the query above."""
    kind, evidence, received_ms, text = row[7:11]
    receipt = None if kind is None else Receipt(kind=kind, evidence=evidence, received_ms=received_ms, text=text)
    return Kept(
        id=row[0], state=row[1], size_rows=row[2], request_key=row[3], generation=row[4], packed=row[5], sha256=row[6],
        receipt=receipt, members=members, is_repaired=bool(row[11]),
    )  # fmt: skip
