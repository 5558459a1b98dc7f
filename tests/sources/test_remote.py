"""Remote lists: copied whole from real servers, read like any other, and never with a secret in a name or message."""

from __future__ import annotations

import io
import json
import os
import ssl
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import fsspec
import polars as pl
import pytest
import trustme
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer
from workbench import Bench

from importer.errors import ListProblem
from importer.model import ReadingProgress
from importer.run.choosing import list_name_of
from importer.sources import ReadOptions, open_list, shown_name
from importer.sources.remote import STORES, Store

from .lists import opened, walked
from .servers import Page, web

LIST = b"phone,name\n16505550100,Ann\n"
ROWS = [("16505550100", "Ann")]
SECRET = "c4naryS3cret"


def importer(*words: str, blocked: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own; `blocked` names a module that it shall not find."""
    code = f"import sys; sys.modules.update(dict.fromkeys({blocked.split()!r})); from importer.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        check=False,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://user:pw@example.com/a.csv", "https://example.com/a.csv"),
        ("https://example.com/a.csv?X-Amz-Signature=s&X-Amz-Date=d", "https://example.com/a.csv"),
        ("https://x.blob.core.windows.net/c/a.csv?sp=r&se=2026&sig=s", "https://x.blob.core.windows.net/c/a.csv"),
        ("s3://key:secret@bucket/a.csv", "s3://bucket/a.csv"),
        (
            "abfss://container@account.dfs.core.windows.net/a.csv",
            "abfss://container@account.dfs.core.windows.net/a.csv",
        ),
        ("lists/100% of them?.csv", "lists/100% of them?.csv"),
    ],
)
def test_names_are_shown_without_secrets(address: str, name: str) -> None:
    """User, password and signature are left out; the rest stays, so that a person knows the list again."""
    assert shown_name(address) == name


def test_lists_that_differ_in_their_query_have_names_that_differ() -> None:
    """Two worksheets behind one path must not be taken for one list that was edited."""
    first, second, again = (
        shown_name(f"https://example.com/export?gid={gid}&sig={sig}") for gid, sig in ((1, "a"), (2, "a"), (1, "b"))
    )
    assert first == again != second


@given(st.text(max_size=30), st.text(max_size=30))
def test_a_shown_name_is_shown_as_it_is(user: str, query: str) -> None:
    """Masking twice changes nothing: names go through the ledger and come back."""
    try:
        name = shown_name(f"https://{user}:{SECRET}@example.com/a?{query}&token={SECRET}")
    except ListProblem:
        return
    assert shown_name(name) == name


def test_an_import_is_named_by_its_address_without_secrets() -> None:
    """The name of a list is stored in the ledger."""
    assert list_name_of([f"https://u:{SECRET}@example.com/a.csv", "-"], None) == "https://example.com/a.csv, -"


# --- web servers ------------------------------------------------------------------------------------------------------


def test_a_list_of_a_web_server_is_copied_by_one_request(tmp_path: Path) -> None:
    """The copy is private, read like any file, and gone when the list is closed."""
    pages = {"/list.csv": Page(body=LIST, headers={"ETag": '"v1"'})}
    with web(pages) as server, open_web(f"{server.origin}/list.csv?token={SECRET}", tmp_path) as rows:
        info = rows.files[0]
        assert (info.is_spooled, info.version, stat.S_IMODE(info.path.stat().st_mode)) == (
            True,
            f'"v1" {len(LIST)}',
            0o600,
        )
        assert walked(rows).rows == ROWS
        assert SECRET not in info.name
        assert server.asked == [f"GET /list.csv?token={SECRET}"]
    assert not list(tmp_path.iterdir())


def test_user_and_password_go_to_the_server_named_and_to_no_other(tmp_path: Path) -> None:
    """A redirect to another server does not carry them on."""
    with web({"/list.csv": Page(body=LIST)}) as second:
        first_pages = {"/old": Page(status=302, headers={"Location": f"{second.origin}/list.csv"})}
        with web(first_pages) as first:
            address = first.origin.replace("://", f"://ann:{SECRET}@") + "/old"
            with open_web(address, tmp_path) as rows:
                assert walked(rows).rows == ROWS
            assert [bool(each) for each in first.authorizations + second.authorizations] == [True, False]


def test_json_lines_are_known_by_the_end_of_the_address(tmp_path: Path) -> None:
    """Whatever stands in the query."""
    with (
        web({"/list.jsonl": Page(body=b'[1]\n{"phone": "16505550100"}\n')}) as server,
        open_web(f"{server.origin}/list.jsonl?a=b", tmp_path) as rows,
    ):
        assert rows.files[0].format == "jsonl"


@pytest.mark.parametrize(
    ("page", "words"),
    [
        (Page(body=LIST, missing_bytes=5), "it was cut short"),
        (Page(body=b""), "is empty"),
        (Page(status=403), "the server answered 403"),
        (Page(status=404), "there is nothing at"),
        (Page(status=302, headers={"Location": "/list.csv"}), "redirected over and over"),
        (Page(status=302, headers={"Location": "file:///etc/passwd"}), "redirected to no web address"),
        (Page(status=302, headers={"Location": f"http://u:{SECRET}@example.com/a"}), "in the clear"),
        (Page(body=LIST * 200), "gave more than 4000 bytes"),
    ],
)
def test_a_list_that_does_not_arrive_whole_is_a_list_problem(tmp_path: Path, page: Page, words: str) -> None:
    """Nothing of it is read, nothing stays behind, and the message holds no secret."""
    with web({"/list.csv": page}) as server:
        with pytest.raises(ListProblem, match=words) as caught:
            open_web(f"{server.origin}/list.csv?token={SECRET}", tmp_path, max_spool_bytes=4_000)
        assert SECRET not in caught.value.message + caught.value.hint
        assert caught.value.__cause__ is None
    assert not list(tmp_path.iterdir())


def test_plain_http_to_another_machine_needs_a_word(tmp_path: Path) -> None:
    """Phone numbers in the clear; refused before anything is asked."""
    with pytest.raises(ListProblem, match="in the clear"):
        open_web("http://192.0.2.1/list.csv", tmp_path)


def test_https_is_read_when_its_certificate_is_trusted(tmp_path: Path) -> None:
    """By the command line, with the authority in SSL_CERT_FILE; without it, refused. The secret is never printed."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with web({"/list.csv": Page(body=LIST)}, context) as server:
        words = ["check", "--json", server.origin.replace("://", f"://ann:{SECRET}@") + f"/list.csv?sig={SECRET}"]
        ledger = str(tmp_path / "ledger.db")
        refused = importer(*words, IMPORTER_LEDGER=ledger, IMPORTER_LOG="debug")
        read = importer(*words, IMPORTER_LEDGER=ledger, IMPORTER_LOG="debug", SSL_CERT_FILE=str(tmp_path / "ca.pem"))
    assert (refused.returncode, read.returncode) == (4, 0)
    assert "certificate is not trusted" in refused.stdout + refused.stderr
    assert json.loads(read.stdout)["list"] == f"{server.origin}/list.csv"
    assert SECRET not in refused.stdout + refused.stderr + read.stdout + read.stderr


def open_web(address: str, spool_dir: Path, **options: Any) -> Any:
    return open_list([address], ReadOptions(**options), stdin=io.BytesIO(), spool_dir=spool_dir)


class Interrupted(list[Any]):
    """Hears a run's events, and stops it once rows are taken in."""

    def append(self, event: Any) -> None:
        super().append(event)
        if isinstance(event, ReadingProgress):
            raise KeyboardInterrupt


@pytest.mark.parametrize(("headers", "how"), [({"ETag": '"v1"'}, "continued"), ({}, "reopened")])
def test_an_unfinished_import_goes_on_by_the_tag_of_its_object(
    bench: Bench, headers: Mapping[str, str], how: str
) -> None:
    """Without one it is read anew. Either way every row is called once, and no secret is in the ledger."""
    body = b"phone,name\n" + b"".join(b"1650555%04d,Ann\n" % number for number in range(100, 120))
    with web({"/list.csv": Page(body=body, headers=headers)}) as server:
        address = server.origin.replace("://", f"://ann:{SECRET}@") + f"/list.csv?token={SECRET}"
        with pytest.raises(KeyboardInterrupt):
            replace(bench, events=Interrupted()).run(address, chunk_rows=5)
        report = bench.run(address, chunk_rows=5)
    assert (report.balance.read, report.balance.accepted) == (20, 20)
    assert [event.kind for event in bench.events if getattr(event, "kind", "") in ("continued", "reopened")] == [how]
    assert not [path for path in bench.folder.iterdir() if SECRET.encode() in path.read_bytes()]
    assert not list(bench.folder.glob("*.spool"))


# --- stores -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, Any]]:
    """The storage options of a real S3 server on this machine, with a few objects."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    options = {"endpoint_url": f"http://{host}:{port}", "key": "testing", "secret": SECRET}
    client = boto3.client(
        "s3", endpoint_url=options["endpoint_url"], aws_access_key_id="testing", aws_secret_access_key=SECRET,
        region_name="us-east-1",
    )  # fmt: skip
    client.create_bucket(Bucket="lists")
    content = io.BytesIO()
    pl.DataFrame({"phone": [16505550100]}).write_parquet(content)
    for key, body in {
        "a.csv": LIST, "many/1.csv": LIST, "many/2.csv": LIST.replace(b"0100,Ann", b"0101,Bob"),
        "parts/city=Ufa/part-0.parquet": content.getvalue(), "parts/_SUCCESS": b"", "empty.csv": b"",
    }.items():  # fmt: skip
        client.put_object(Bucket="lists", Key=key, Body=body)
    client.close()
    yield options
    server.stop()


def test_an_object_of_s3_is_read(tmp_path: Path, s3: Mapping[str, Any]) -> None:
    """With its tag as what would show that it was written anew."""
    with open_web("s3://lists/a.csv", tmp_path, storage_options=s3) as rows:
        assert walked(rows).rows == ROWS
        assert rows.files[0].name == "s3://lists/a.csv"
        first = rows.files[0].version
    with open_web("s3://lists/a.csv", tmp_path, storage_options=s3) as rows:
        assert rows.files[0].version == first is not None
    assert SECRET not in repr(ReadOptions(storage_options=s3))


def test_a_pattern_and_a_partitioned_folder_of_s3_are_read(tmp_path: Path, s3: Mapping[str, Any]) -> None:
    """In the order of their names; folders become columns, as on this machine."""
    with open_web("s3://lists/many/*.csv", tmp_path, storage_options=s3) as rows:
        assert [file.name for file in rows.files] == ["s3://lists/many/1.csv", "s3://lists/many/2.csv"]
        assert walked(rows).rows == [*ROWS, ("16505550101", "Bob")]
    with open_web("s3://lists/parts/", tmp_path, storage_options=s3) as rows:
        assert (rows.columns, walked(rows).rows) == (("phone", "city"), [("16505550100", "Ufa")])


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("s3://lists/none.csv", "there is nothing at"),
        ("s3://nobody/a.csv", "there is nothing at"),
        ("s3://lists/none/*.csv", "no object matches"),
        ("s3://lists/many/", "partitioned Parquet directory"),
        ("s3://lists/many", "is a folder"),
        ("s3://lists/empty.csv", "zero bytes"),
        ("s3://lists/a.csv::file:///etc/passwd", "chain of addresses"),
    ],
)
def test_what_s3_does_not_have_is_a_list_problem(
    tmp_path: Path, s3: Mapping[str, Any], address: str, words: str
) -> None:
    """Told like a file that is not there; nothing stays behind."""
    with pytest.raises(ListProblem, match=words):
        open_web(address, tmp_path, storage_options=s3)
    assert not list(tmp_path.iterdir())


def test_storage_options_come_from_the_command_line_and_from_the_environment(
    tmp_path: Path, s3: Mapping[str, Any]
) -> None:
    """And their values are never printed."""
    said = [word for key, value in s3.items() for word in ("--storage-option", f"{key}={value}")]
    ledger = str(tmp_path / "ledger.db")
    by_option = importer("check", "--json", "s3://lists/a.csv", *said, IMPORTER_LEDGER=ledger)
    by_variable = importer(
        "check", "--json", "s3://lists/a.csv",
        IMPORTER_LEDGER=ledger, FSSPEC_S3=json.dumps(s3),
    )  # fmt: skip
    wrong = importer("check", "s3://lists/a.csv", *said, "--storage-option", f"anon={{{SECRET}", IMPORTER_LEDGER=ledger)
    assert [each.returncode for each in (by_option, by_variable, wrong)] == [0, 0, 2]
    assert all(SECRET not in each.stdout + each.stderr for each in (by_option, by_variable, wrong))


def test_a_missing_extra_is_named(tmp_path: Path) -> None:
    """With the words that install it."""
    missing = importer("check", "s3://lists/a.csv", blocked="s3fs", IMPORTER_LEDGER=str(tmp_path / "ledger.db"))
    assert missing.returncode == 4
    assert 'pip install "phone-list-importer[s3]"' in missing.stderr


class Shifting(MemoryFileSystem):
    """A store whose objects are written anew while they are read."""

    cachable = False
    store: dict[str, Any] = {}  # noqa: RUF012 - fsspec's own way
    pseudo_dirs = [""]  # noqa: RUF012

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        found: dict[str, Any] = super().info(path, **kwargs)
        self.pipe_file(path, LIST)
        return found


@pytest.mark.parametrize("scheme", ["gs", "gcs", "az", "abfs"])
def test_other_stores_are_reached_through_fsspec(tmp_path: Path, scheme: str) -> None:
    """Their own servers cannot run here: an object store of fsspec's stands in for them, reached the same way."""
    seen: list[tuple[str, dict[str, Any]]] = []
    memory = fsspec.filesystem("memory", skip_instance_cache=True)
    memory.pipe_file(f"/{scheme}/list.csv", LIST)

    def connect(address: str, store: Store, options: Mapping[str, Any]) -> tuple[Any, str]:
        seen.append((store.extra, dict(options)))
        return memory, f"/{address.partition('://')[2]}"

    options = ReadOptions(storage_options={"account_name": "x"})
    with open_list(
        [f"{scheme}://{scheme}/list.csv"], options, stdin=io.BytesIO(), spool_dir=tmp_path, connect=connect
    ) as rows:
        assert walked(rows).rows == ROWS
    assert seen == [(STORES[scheme].extra, {"account_name": "x"})]


def test_an_object_written_anew_while_it_is_read_is_refused(tmp_path: Path) -> None:
    """What was checked would not be what is there."""
    system = Shifting()
    system.pipe_file("/list.csv", LIST)
    with pytest.raises(ListProblem, match="changed while it was being read"):
        open_list(["gs://list.csv"], stdin=io.BytesIO(), spool_dir=tmp_path, connect=lambda *_: (system, "/list.csv"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["file:///list.csv", "hf://a/b", "ftp://x/y", "memory://x", "https://[x"])
def test_an_address_of_another_kind_is_refused_without_a_look(name: str) -> None:
    """No network, no credentials, no other way into this machine."""
    with pytest.raises(ListProblem, match=r"not read from|cannot be read"):
        opened(name)
