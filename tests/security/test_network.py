"""S6–S8, S11, S12, S26: the other end of the wire is not trusted."""
# ruff: noqa: N802 - the tests are named after the security checklist

from __future__ import annotations

import gzip
import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from client.servers import Behaviour, Server, answering, read_request, reply, serving
from hypothesis import given
from hypothesis import strategies as st
from workbench import TOKEN, Said, Shop, people, write_list

from importer.client import parse_origin
from importer.errors import UsageProblem

from .conftest import leaks_in, shown_by

SOON = ("--patience", "300ms", "--timeout", "5s", "--quiet-period", "0s", "--in-doubt", "hold")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_list(tmp_path / "a.csv", people(3))


def run_at(origin: str, folder: Path, path: Path, *options: str | Path) -> Said:
    return Shop(folder=folder, origin=origin).run(path, *SOON, *options)


# --- S6 redirects ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_S6_a_redirect_is_not_followed(status: str, path: Path, tmp_path: Path) -> None:
    """Body, key and token would go to whoever is named: nobody is asked, and nothing is accepted."""
    with serving(answering(reply())) as other:
        head = f"Location: {other.origin}/api/calls/campaign/{TOKEN}/addPhones"
        with serving(answering(reply(b"", status, head))) as server:
            said = run_at(server.origin, tmp_path, path)
        assert other.connections == 0
    assert (said.code, said.json["accepted"], said.json["pending"]) == (7, 0, 3)
    assert leaks_in(*shown_by(said), phones=3) == []


# --- S7 TLS ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA) -> Iterator[Server]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with serving(answering(reply(b'["a","b","c"]')), context) as server:
        yield server


def test_S7_an_authority_of_ones_own_is_given_by_file(
    authority: trustme.CA, trusted: Server, path: Path, tmp_path: Path
) -> None:
    """Without the file nothing is sent, with it all is; the environment's certificates count for nothing."""
    said = run_at(trusted.origin, tmp_path, path)
    assert (said.code, said.json["pending"], trusted.requests) == (7, 3, [])
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    assert run_at(trusted.origin, tmp_path, path, "--ca-file", tmp_path / "ca.pem").json["accepted"] == 3
    wrong = run_at(trusted.origin, tmp_path, path, "--ca-file", tmp_path / "none.pem")
    assert (wrong.code, "CA file" in wrong.json["error"]) == (2, True)


def test_S7_http_is_for_this_machine_unless_somebody_insists(path: Path, tmp_path: Path) -> None:
    """--insecure-http says what it does; loopback needs no flag, private addresses do."""
    for host in ("http://calls.example", "http://10.0.0.1:8080", "http://192.168.1.1"):
        said = run_at(host, tmp_path, path)
        assert (said.code, "clear" in said.json["error"]) == (2, True)
    said = run_at("http://127.0.0.1:1", tmp_path, path)
    assert said.code == 7
    said = run_at("http://calls.invalid", tmp_path, path, "--insecure-http", "--ledger", tmp_path / "other.db")
    assert said.code == 7, "allowed, and not there"


def test_S7_there_is_no_way_to_switch_the_checks_off() -> None:
    """No option, no variable and no parameter turns the verification of certificates off."""
    source = "".join(file.read_text() for file in Path("importer").rglob("*.py")) if Path("importer").is_dir() else ""
    for words in ("CERT_NONE", "check_hostname = False", "verify=False", "_create_unverified"):
        assert words not in source


def test_S7_a_proxy_and_a_ca_file_may_stand_in_the_configuration(path: Path, tmp_path: Path) -> None:
    """As every option of `run`; a wrong one is told with the file's name for it."""
    from workbench import command

    (tmp_path / "importer.toml").write_text('proxy = "socks5://x"\nca_file = "none.pem"\n')
    said = command(
        "run", path, "--host", "https://calls.invalid", "--ledger", "l.db", cwd=tmp_path, IMPORTER_TOKEN=TOKEN
    )
    assert (said.code, "proxy" in said.err) == (2, True)


# --- S8 the host ----------------------------------------------------------------------------------------------------


@given(st.text(max_size=60))
def test_S8_whatever_is_accepted_as_a_host_is_one_origin(text: str) -> None:
    """Scheme, name and port, and nothing that could lead elsewhere."""
    try:
        origin = parse_origin(text)
    except UsageProblem:
        return
    scheme, _, rest = origin.partition("://")
    assert scheme in {"http", "https"}
    assert not set(rest) & set("/?#@\\ \t\r\n%")


@pytest.mark.parametrize(
    "host",
    [
        "https://user:pass@calls.example", "https://calls.example/path", "https://calls.example?x=1", "ftp://calls.example",
        "https://calls.example#x", "https://calls.example\\@evil.example", "file:///etc/passwd", "https://", "//evil",
        "https://calls.example:99999", "https://calls.example%2fevil", "https://[::1", "https://0x7f.1",
    ],
)  # fmt: skip
def test_S8_a_host_that_is_no_plain_origin_is_refused_and_not_repeated(host: str, path: Path, tmp_path: Path) -> None:
    """It may hold a password."""
    said = run_at(host, tmp_path, path)
    assert said.code == 2
    assert "pass" not in said.err.replace("passwd", "")


# --- S11, S12, S26 answers ------------------------------------------------------------------------------------------


def flooding(connection: socket.socket, server: Server) -> None:
    """Never stops answering."""
    read_request(connection, server)
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    block = b"10000\r\n" + b" " * 65536 + b"\r\n"
    while not server.is_over.is_set():
        connection.sendall(block)


STRANGE: dict[str, Behaviour] = {
    "S11 packed": answering(reply(gzip.compress(b" " * 50_000_000), "200 OK", "Content-Encoding: gzip")),
    "S11 endless": flooding,
    "S11 a length beyond belief": answering(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"),
    "S12 deep": answering(reply(b"[" * 200_000)),
    "S12 digits": answering(reply(b"[" + b"9" * 500_000 + b"]")),
    "S12 no JSON": answering(reply(b"\xff\xfe\x00")),
    "S12 other things": answering(reply(b'[{"a": 1}, null, true]')),
    "S26 wait for years": answering(reply(b"{}", "429 No", "Retry-After: 1000000000")),
    "S26 a bad wait": answering(reply(b"{}", "429 No", "Retry-After: -5")),
    "S26 many headers": answering(reply(b"{}", "200 OK", *(f"X-{i}: y" for i in range(5000)))),
    "S26 a long header": answering(reply(b"{}", "200 OK", "X: " + "y" * 1_000_000)),
    "S26 cookies": answering(reply(b"{}", "200 OK", *(f"Set-Cookie: a{i}=b; Domain=.example" for i in range(500)))),
}


@pytest.mark.parametrize("strange", STRANGE)
def test_S11_S12_S26_a_strange_answer_is_no_answer_and_the_run_ends(strange: str, path: Path, tmp_path: Path) -> None:
    """Nothing is accepted, nothing is refused, nothing crashes, and patience is obeyed."""
    with serving(STRANGE[strange]) as server:
        said = run_at(server.origin, tmp_path, path, "--timeout", "500ms")
        assert all(b"cookie:" not in request.lower() for request in server.requests)
    assert said.code == 7, said.err
    assert (said.json["accepted"], said.json["refused"], said.json["pending"]) == (0, 0, 3)
    assert said.json["elapsed_s"] < 20
    assert "Traceback" not in said.err
    assert json.loads(said.out)
