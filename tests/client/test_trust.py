"""Whom the client trusts: certificates, proxies, the environment (S5 to S8)."""

from __future__ import annotations

import datetime
import os
import selectors
import socket
import ssl
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from importer.client import CallsApi
from importer.errors import UsageProblem
from importer.model import Answer, NoAnswer

from .servers import TOKEN, Behaviour, Server, answering, read_request, reply, serving

BODY = b"[]"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


def server_side(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


@pytest.fixture
def trusted(authority: trustme.CA) -> Iterator[Server]:
    with serving(answering(reply()), server_side(authority.issue_cert("localhost"))) as server:
        yield server


def refused_for(server: Server, ca_file: Path | None) -> NoAnswer:
    with CallsApi(server.origin, TOKEN, ca_file=ca_file) as api:
        nothing = api.send_batch(BODY, "key-1")
    assert isinstance(nothing, NoAnswer)
    assert (nothing.reason, nothing.is_sent) == ("tls", False)
    assert server.requests == []
    return nothing


def test_a_certificate_of_the_given_authority_is_accepted(trusted: Server, ca_file: Path) -> None:
    """An on-premise host has its own authority, given by file."""
    with CallsApi(trusted.origin, TOKEN, ca_file=ca_file) as api:
        answer = api.send_batch(BODY, "key-1", last_look=lambda: True)
        assert isinstance(answer, Answer)
        again = api.send_batch(BODY, "key-2")
        assert isinstance(again, Answer)
    assert trusted.connections == 1


def test_a_large_body_goes_through_tls_whole(trusted: Server, ca_file: Path) -> None:
    """Pieces of a large write arrive in order."""
    body = bytes(range(256)) * 10_000
    with CallsApi(trusted.origin, TOKEN, ca_file=ca_file) as api:
        assert isinstance(api.send_batch(body, "key-1"), Answer)
    assert trusted.requests[0].endswith(body)


def test_the_last_look_over_tls_comes_before_any_byte_of_the_request(trusted: Server, ca_file: Path) -> None:
    """The handshake is not the request."""
    with CallsApi(trusted.origin, TOKEN, ca_file=ca_file) as api:
        nothing = api.send_batch(BODY, "key-1", last_look=lambda: False)
    assert isinstance(nothing, NoAnswer)
    assert (nothing.reason, nothing.is_sent) == ("too-late", False)
    assert (trusted.connections, trusted.requests) == (1, [])


def test_an_unknown_authority_is_refused_and_nothing_is_sent(trusted: Server) -> None:
    """Self-made certificates count for nothing unless their authority was given."""
    assert "verif" in refused_for(trusted, None).detail or "issuer" in refused_for(trusted, None).detail


def test_an_expired_certificate_is_refused_and_nothing_is_sent(authority: trustme.CA, ca_file: Path) -> None:
    """Also when its authority is trusted."""
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    expired = authority.issue_cert("localhost", not_before=past, not_after=past + datetime.timedelta(days=1))
    with serving(answering(reply()), server_side(expired)) as server:
        assert "expired" in refused_for(server, ca_file).detail


def test_a_certificate_for_another_name_is_refused_and_nothing_is_sent(authority: trustme.CA, ca_file: Path) -> None:
    """The name is checked, not the signature alone."""
    with serving(answering(reply()), server_side(authority.issue_cert("other.example"))) as server:
        assert "localhost" in refused_for(server, ca_file).detail


def test_tls_older_than_1_2_is_refused(authority: trustme.CA, ca_file: Path) -> None:
    """A server that offers only TLS 1.1 is no server of ours."""
    context = server_side(authority.issue_cert("localhost"))
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of exactly what this test is about
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with serving(answering(reply()), context) as server:
        refused_for(server, ca_file)


def test_a_server_that_does_not_speak_tls_is_refused() -> None:
    """Plain HTTP on an https port."""

    def plain(connection: socket.socket, _server: Server) -> None:
        connection.recv(65536)
        connection.sendall(reply(b"", "400 Bad Request"))

    with serving(plain) as server, CallsApi(f"https://localhost:{server.port}", TOKEN) as api:
        nothing = api.send_batch(BODY, "key-1")
    assert isinstance(nothing, NoAnswer)
    assert (nothing.reason, nothing.is_sent) == ("tls", False)


def test_a_handshake_that_never_ends_is_bounded_by_the_deadline_and_sends_nothing() -> None:
    """The server took the connection and says nothing: nothing of the request is on it."""

    def mute(_connection: socket.socket, server: Server) -> None:
        server.is_over.wait(20)

    with (
        serving(mute) as server,
        CallsApi(f"https://localhost:{server.port}", TOKEN, timeout_s=0.3) as api,
    ):
        nothing = api.send_batch(BODY, "key-1")
    assert isinstance(nothing, NoAnswer)
    assert (nothing.reason, nothing.is_sent) == ("connect-timeout", False)
    assert nothing.elapsed_s < 2


@pytest.mark.parametrize("content", [None, b"", b"not a certificate"])
def test_a_ca_file_that_cannot_be_used_is_a_usage_problem(content: bytes | None, tmp_path: Path) -> None:
    """Said at once, not as a failed handshake later."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageProblem, match="CA file"):
        CallsApi("https://localhost", TOKEN, ca_file=path)


ASK = """
import sys, pathlib
from importer.client import CallsApi
with CallsApi(sys.argv[1], sys.argv[2]) as api:
    print(api.send_batch(b"[]", "key-1"))
"""


def asked_in_a_process(origin: str, environment: dict[str, str]) -> str:
    variables = {**os.environ, **environment}
    command = [sys.executable, "-c", ASK, origin, TOKEN]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, env=variables, cwd=root, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def test_proxies_and_netrc_of_the_environment_are_ignored(tmp_path: Path) -> None:
    """The server sees a direct call, and the proxy sees nothing: the URL is a secret."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login user password pass\n")
    with serving(answering(reply())) as proxy, serving(answering(reply())) as server:
        names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
        said = asked_in_a_process(
            server.origin, dict.fromkeys(names, proxy.origin) | {"HOME": str(tmp_path), "NO_PROXY": ""}
        )
        assert said.startswith("Answer(status=200")
        assert proxy.connections == 0
        assert b"authorization" not in server.requests[0].lower()


def test_certificate_settings_of_the_environment_are_ignored(trusted: Server, ca_file: Path, tmp_path: Path) -> None:
    """Neither trust nor a log of session keys comes from variables."""
    log = tmp_path / "keys.log"
    said = asked_in_a_process(trusted.origin, {"SSL_CERT_FILE": str(ca_file), "SSLKEYLOGFILE": str(log)})
    assert said.startswith("NoAnswer(reason='tls'")
    assert not log.exists()


# --- an explicit proxy ----------------------------------------------------------------------------------------------


def tunnelling(port: int, answer: bytes = b"HTTP/1.1 200 OK\r\n\r\n") -> Behaviour:
    def behave(connection: socket.socket, server: Server) -> None:
        read_request(connection, server)
        connection.sendall(answer)
        if b" 200 " not in answer:
            return
        with socket.create_connection(("127.0.0.1", port), timeout=20) as onward:
            pump(connection, onward)

    return behave


def pump(left: socket.socket, right: socket.socket) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(left, selectors.EVENT_READ, right)
        selector.register(right, selectors.EVENT_READ, left)
        while ready := selector.select(20):
            for key, _ in ready:
                source = key.fileobj
                assert isinstance(source, socket.socket)
                if not (received := source.recv(65536)):
                    return
                key.data.sendall(received)


def test_an_explicit_proxy_sees_the_host_and_nothing_else(trusted: Server, ca_file: Path) -> None:
    """Everything goes through a tunnel; the proxy's password goes to the proxy alone."""
    with serving(tunnelling(trusted.port)) as proxy:
        address = f"http://user:pa%20ss@127.0.0.1:{proxy.port}"
        with CallsApi(trusted.origin, TOKEN, ca_file=ca_file, proxy=address) as api:
            assert isinstance(api.send_batch(BODY, "key-1", last_look=lambda: True), Answer)
        assert proxy.requests[0].startswith(f"CONNECT localhost:{trusted.port} HTTP/1.1".encode())
        assert TOKEN.encode() not in proxy.requests[0]
        assert b"proxy-authorization: basic dxnlcjpwysbzcw==" in proxy.requests[0].lower()
        assert b"proxy-authorization" not in trusted.requests[0].lower()


def test_the_last_look_comes_after_the_tunnel_is_made(trusted: Server, ca_file: Path) -> None:
    """CONNECT is the proxy's request, not ours: it is no reason to believe that anything was sent."""
    with serving(tunnelling(trusted.port)) as proxy:
        with CallsApi(trusted.origin, TOKEN, ca_file=ca_file, proxy=f"http://127.0.0.1:{proxy.port}") as api:
            nothing = api.send_batch(BODY, "key-1", last_look=lambda: len(proxy.requests) == 0)
        assert isinstance(nothing, NoAnswer)
        assert (nothing.reason, nothing.is_sent, trusted.requests) == ("too-late", False, [])


def test_a_proxy_that_refuses_is_known_not_to_have_sent(trusted: Server, ca_file: Path) -> None:
    """407 and its like: not executed."""
    with serving(tunnelling(trusted.port, reply(b"", "407 Proxy Authentication Required"))) as proxy:
        with CallsApi(trusted.origin, TOKEN, ca_file=ca_file, proxy=f"http://127.0.0.1:{proxy.port}") as api:
            nothing = api.send_batch(BODY, "key-1")
        assert isinstance(nothing, NoAnswer)
        assert (nothing.reason, nothing.is_sent) == ("refused", False)


@pytest.mark.parametrize(
    "proxy",
    ["proxy:3128", "https://proxy", "socks5://proxy", "http://", "http://proxy/path", "http://p:x", "http://[x"],
)
def test_a_proxy_that_is_no_tunnel_is_a_usage_problem(proxy: str) -> None:
    """Said before anything is sent."""
    with pytest.raises(UsageProblem):
        CallsApi("https://api.example", TOKEN, proxy=proxy)


def test_a_proxy_for_an_http_origin_is_a_usage_problem() -> None:
    """It would be given the whole URL, and the token stands in it."""
    with pytest.raises(UsageProblem, match="token"):
        CallsApi("http://localhost:8787", TOKEN, proxy="http://127.0.0.1:3128")
