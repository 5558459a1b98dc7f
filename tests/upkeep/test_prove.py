"""`importer prove`: an untouched import is proved, and a single changed byte in a body, key or receipt is found."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import stat
import zlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from workbench import OTHER_TOKEN, TOKEN, Bench, Platform, Serve, Shop, changed_at, number, people, write_list

from importer.ledger.audit import Audit, body_of, judge_batch
from importer.run.proving import prove

Copy = Callable[..., Path]


def offline(path: Path, import_id: int = 1) -> int:
    return prove(path, import_id, reports=None, now_ms=1_000).exit_code


def posted(platform: Platform, phones: list[str]) -> None:
    """Somebody else, or a platform that forgot a key, makes jobs for these numbers in one request."""
    url = f"{platform.origin}/api/calls/campaign/{TOKEN}/addPhones"
    with httpx.Client(trust_env=False) as http:
        jobs = [{"phone": phone.removeprefix("+"), "payload": {"by": "others"}} for phone in phones]
        assert http.post(url, json=jobs).status_code == 200


@pytest.fixture
def sent(shop: Shop, tmp_path: Path) -> Shop:
    """A shop whose list of ten rows was sent in batches of four."""
    assert shop.run(write_list(tmp_path / "a.csv", people(10)), "--batch-size", "4").code == 0
    return shop


def test_an_import_is_proved_by_its_ledger_its_list_and_the_platform(sent: Shop, tmp_path: Path) -> None:
    """Exit 0, a short verdict, and a private certificate without numbers or token."""
    said = sent.importer("prove", *sent.target)
    assert (said.code, "Proved." in said.out) == (0, True)
    assert "10 of 10 call job ids confirmed" in said.out
    file = tmp_path / "import-1.proof.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    text = file.read_text()
    certificate = json.loads(text)
    assert (certificate["verdict"], certificate["accepted"], certificate["requests"]) == ("proved", 10, 3)
    assert (certificate["api"]["ids_confirmed"], certificate["sources"][0]["now"]) == (10, "same")
    assert TOKEN not in text
    assert not any(number(i)[1:] in text for i in range(10))


def test_two_proofs_of_one_import_have_one_digest_and_another_ledger_has_another(sent: Shop, copied: Copy) -> None:
    """The digest stands for every key, body and receipt, so that a later proof can be compared."""
    told = [sent.importer("prove", "--offline", "--ledger", sent.ledger, "--json") for _ in range(2)]
    digests = {each.json["requests_sha256"] for each in told}
    assert len(digests) == 1
    other = sent.importer("prove", "1", "--offline", "--ledger", copied("other.db"), "--json")
    assert {other.json["requests_sha256"]} != digests


def test_prove_says_one_json_object(sent: Shop) -> None:
    """With the balance, the exit code and where the certificate lies."""
    said = sent.importer("prove", *sent.target, "--json")
    assert (said.code, said.json["exit_code"], said.json["verdict"], said.json["error"]) == (0, 0, "proved", None)
    assert Path(said.json["file"]).exists()


def test_the_platform_away_is_exit_7_and_the_rest_still_told(sent: Shop) -> None:
    """A proof without the platform is no proof, but no contradiction either."""
    nobody = replace(sent, origin="http://127.0.0.1:1")
    wrong = nobody.importer("prove", *nobody.target)
    assert wrong.code == 2, "another host is another campaign"
    with closing(sqlite3.connect(sent.ledger)) as connection, connection:
        from importer import keys

        seed = keys.campaign_seed(TOKEN, nobody.origin)
        connection.execute("UPDATE campaigns SET fingerprint = ?", [keys.campaign_fingerprint(seed)])
    said = nobody.importer("prove", *nobody.target, "--json")
    assert (said.code, said.json["verdict"], said.json["checks"][0]["findings"]) == (7, "unasked", [])


def test_a_token_of_another_campaign_asks_nobody(sent: Shop, tmp_path: Path) -> None:
    """Exit 2: its reports would contradict everything."""
    (tmp_path / "other").write_text(OTHER_TOKEN)
    said = sent.importer("prove", "--host", sent.origin, "--token-file", tmp_path / "other", "--ledger", sent.ledger)
    assert (said.code, "another campaign" in said.err) == (2, True)


def test_jobs_of_others_for_the_same_numbers_are_let_be(sent: Shop, platform: Platform) -> None:
    """Somebody may add one of our numbers by hand; that is not ours to judge."""
    posted(platform, [number(1), number(7)])
    said = sent.importer("prove", *sent.target, "--json")
    assert (said.code, said.json["api"]["jobs_of_others"], said.json["api"]["batches_made_twice"]) == (0, 2, [])


def test_a_request_carried_out_twice_is_found(sent: Shop, platform: Platform) -> None:
    """One createdAt with a job for each number of a batch that no receipt holds: exit 8, and which batch."""
    posted(platform, [number(i) for i in range(4, 8)])
    said = sent.importer("prove", *sent.target, "--json")
    assert (said.code, said.json["verdict"], said.json["api"]["batches_made_twice"]) == (8, "undecided", [2])


def test_a_one_row_request_carried_out_twice_is_found(serve: Serve, tmp_path: Path) -> None:
    """In the strict mode a second job near its send is ours."""
    platform = serve("forget-keys", "lose-answer:times=1")
    bench = Bench(folder=tmp_path, origin=platform.origin)
    bench.run(write_list(tmp_path / "a.csv", people(3)), batch_size_rows=1)
    assert len(platform.phones()) == 4, "the platform broke its promise"
    shop = Shop(folder=tmp_path, origin=platform.origin)
    said = shop.importer("prove", *shop.target, "--json")
    assert (said.code, len(said.json["api"]["batches_made_twice"])) == (8, 1)


def test_ids_the_platform_does_not_know_or_knows_for_another_number_are_found(sent: Shop) -> None:
    """Exit 8: the ledger is sound in itself, and wrong."""
    from importer.ledger.seals import Stub, read_receipt, sealed

    with closing(sqlite3.connect(sent.ledger)) as connection, connection:
        rows = connection.execute("SELECT batch_id, kind, evidence, received_ms, content FROM receipts").fetchall()
        for batch_id, kind, evidence, received_ms, text in rows:
            content = read_receipt(text) or {}
            ids = content["ids"]
            ids = {1: ["9999", *ids[1:]], 2: [ids[1], ids[0], *ids[2:]]}.get(batch_id, ids)
            stub = Stub(batch_id=batch_id, kind=kind, evidence=evidence, received_ms=received_ms)
            connection.execute(
                "UPDATE receipts SET content = ? WHERE batch_id = ?", [sealed({**content, "ids": ids}, stub), batch_id]
            )
    said = sent.importer("prove", *sent.target, "--json")
    api = said.json["api"]
    assert (said.code, api["ids_missing"], api["ids_missing_first"], api["ids_of_other_numbers"]) == (8, 1, ["9999"], 2)


def test_rows_in_doubt_are_not_proved(sent: Shop) -> None:
    """Exit 8 even offline: somebody may have been called, and nobody knows."""
    with closing(sqlite3.connect(sent.ledger)) as connection, connection:
        connection.execute("DELETE FROM receipts WHERE batch_id = 1")
        connection.execute("UPDATE batches SET state = 'in_doubt', is_ambiguous = 1 WHERE id = 1")
    assert offline(sent.ledger) == 8


def test_a_changed_or_missing_list_is_told_and_contradicts_nothing(sent: Shop, tmp_path: Path) -> None:
    """Lists are replaced every night; what was sent is what the ledger froze."""
    write_list(tmp_path / "a.csv", people(11))
    changed_at(tmp_path / "a.csv", 10)
    said = sent.importer("prove", "--offline", "--ledger", sent.ledger, "--json")
    assert (said.code, said.json["sources"][0]["now"]) == (0, "changed")
    (tmp_path / "a.csv").unlink()
    said = sent.importer("prove", "--offline", "--ledger", sent.ledger, "--json")
    assert (said.code, said.json["sources"][0]["now"]) == (0, "gone")


def test_a_certificate_replaces_only_a_certificate(sent: Shop, tmp_path: Path) -> None:
    """`--out ledger.db` would be the worst slip of a finger."""
    before = sent.ledger.read_bytes()
    said = sent.importer("prove", "--offline", "--ledger", sent.ledger, "--out", sent.ledger)
    assert (said.code, sent.ledger.read_bytes() == before) == (2, True)
    out = tmp_path / "deep" / "proof.json"
    for _ in range(2):
        assert sent.importer("prove", "--offline", "--ledger", sent.ledger, "--out", out).code == 0
    assert stat.S_IMODE(out.stat().st_mode) == 0o600


def test_call_policy_and_awkward_payloads_are_proved_too(shop: Shop, tmp_path: Path) -> None:
    """Keys are made again from the bytes, whatever JSON had to escape."""
    rows = [
        {"phone": number(i), "name": name, "__proto__": "x", "maxAttempts": "3", "allowedDays": "mon,tue", "z": ""}
        for i, name in enumerate(['"', "\\", "é\t\n", "\u2028", "😀", "{}", ",", ""])
    ]
    assert shop.run(write_list(tmp_path / "a.csv", rows), "--batch-size", "3").code == 0
    said = shop.importer("prove", *shop.target, "--json")
    assert (said.code, said.json["checks"][4]["check"], said.json["checks"][4]["looked_at"]) == (0, "keys", 11)


MAPPING = """
[payload]
name = "name"
count = { column = "count", type = "integer" }
price = { column = "price", type = "number" }
is_member = { column = "member", type = "boolean" }
extra = { column = "extra", type = "json" }
"""


def test_typed_payloads_of_a_mapping_are_proved_too(shop: Shop, tmp_path: Path) -> None:
    """Numbers, booleans and JSON have other keys than the texts that look like them, and these are made again."""
    (tmp_path / "map.toml").write_text(MAPPING)
    cells = [
        ("1", "1.50", "yes", '{"a": [1, 2.0]}'),
        ("-7", "0", "no", '"text"'),
        ("0", "1e3", "true", "5"),
        ("", "", "", ""),
    ]
    rows = [
        {"phone": number(i), "name": str(i), "count": count, "price": price, "member": member, "extra": extra}
        for i, (count, price, member, extra) in enumerate(cells)
    ]
    said = shop.run(write_list(tmp_path / "a.csv", rows), "--map", tmp_path / "map.toml", "--stop-at-rejects", "100%")
    assert said.json["accepted"] >= 2, said.json
    proof = shop.importer("prove", *shop.target, "--json")
    assert (proof.code, [each["findings"] for each in proof.json["checks"]]) == (0, [[]] * 7)
    with closing(sqlite3.connect(shop.ledger)) as connection, connection:
        connection.execute("UPDATE rows SET row_key = randomblob(16) WHERE id = 1")
    assert offline(shop.ledger) == 5


def test_an_empty_ledger_and_an_unknown_import_are_told(shop: Shop, copied: Copy) -> None:
    """Exit 5 for an import that is not there, exit 5 without a ledger."""
    assert shop.importer("prove", "77", "--offline", "--ledger", copied()).code == 5
    assert shop.importer("prove", "--offline", "--ledger", shop.folder / "none.db").code == 5


# --- one byte -------------------------------------------------------------------------------------------------------

FLIPPED = {
    "body": ("bodies", "body", "batch_id"),
    "hash": ("bodies", "sha256", "batch_id"),
    "request key": ("batches", "request_key", "id"),
    "row key": ("rows", "row_key", "id"),
    "receipt": ("receipts", "content", "batch_id"),
}


@pytest.fixture(scope="module")
def bytes_of(well: Path) -> dict[str, list[tuple[int, bytes]]]:
    """Every stored value that a byte may be changed in."""
    with closing(sqlite3.connect(well)) as connection:
        return {
            what: connection.execute(
                f"SELECT {key}, CAST({column} AS BLOB) FROM {table} WHERE {key} IS NOT NULL ORDER BY {key}"
            ).fetchall()
            for what, (table, column, key) in FLIPPED.items()
        }


@settings(max_examples=250, deadline=None)
@given(data=st.data())
def test_one_changed_byte_in_a_body_key_or_receipt_is_found(
    data: st.DataObject, well: Path, bytes_of: dict[str, list[tuple[int, bytes]]]
) -> None:
    """Whichever stored value, whichever byte, whatever it becomes: the proof of its import contradicts."""
    what = data.draw(st.sampled_from(sorted(FLIPPED)))
    table, column, key = FLIPPED[what]
    row_id, value = data.draw(st.sampled_from(bytes_of[what]))
    place = data.draw(st.integers(0, len(value) - 1))
    mask = data.draw(st.integers(1, 255))
    flipped = value[:place] + bytes([value[place] ^ mask]) + value[place + 1 :]
    kind = "BLOB" if column in ("body", "sha256", "row_key") else "TEXT"
    with closing(sqlite3.connect(f"{well.as_uri()}?mode=ro", uri=True, isolation_level=None)) as connection:
        memory = sqlite3.connect(":memory:", isolation_level=None)
        connection.backup(memory)
    with closing(memory):
        memory.execute(f"UPDATE {table} SET {column} = CAST(? AS {kind}) WHERE {key} = ?", [flipped, row_id])
        audit = Audit(memory, well)
        checks = audit.requests([1, 2])
    is_found = any(check.findings for check in checks)
    if what == "body" and not is_found:  # the last bits of a compressed stream stand for nothing
        digest = dict(bytes_of["hash"])[row_id]
        assert body_of(flipped, digest) == body_of(value, digest)
        assert place == len(value) - 5
        return
    assert is_found


def test_a_body_changed_together_with_its_hash_is_found(well: Path) -> None:
    """Its rows' keys are made again from the bytes, and they are other keys."""
    with closing(sqlite3.connect(f"{well.as_uri()}?mode=ro", uri=True)) as connection:
        kept = next(Audit(connection, well).kept(1))
        recipe = Audit(connection, well).recipe_of(1)
    assert kept.packed is not None
    assert list(judge_batch(kept, recipe)) == []
    body = zlib.decompress(kept.packed)
    for place in range(1, len(body) - 1):
        other = body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]
        forged = replace(kept, packed=zlib.compress(other, 1), sha256=hashlib.sha256(other).digest())
        assert list(judge_batch(forged, recipe)), body[place - 10 : place + 10]
