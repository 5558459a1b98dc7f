"""The socket side: keep-alive, one write, cut and oversized requests, and stopping."""

from __future__ import annotations

import http.client
import json
import socket
import statistics
import time
from pathlib import Path

import httpx
import pytest

from importer.errors import UsageProblem
from importer.sandbox import Sandbox, records

from .calling import TOKEN, Caller, rows
from .conftest import Make

PATH = f"/api/calls/campaign/{TOKEN}/addPhones"


def _dial(caller: Caller) -> socket.socket:
    url = caller.http.base_url
    return socket.create_connection((url.host, url.port or 0), timeout=10)


def _talk(caller: Caller, *pieces: bytes) -> bytes:
    """What the server says to raw bytes, until it closes."""
    with _dial(caller) as connection:
        for piece in pieces:
            connection.sendall(piece)
        connection.shutdown(socket.SHUT_WR)
        said = b""
        while piece := connection.recv(65536):
            said += piece
    return said


def test_one_connection_serves_many_requests(over_socket: Make) -> None:
    """Keep-alive holds over successes, errors and empty answers."""
    caller = over_socket()
    url = caller.http.base_url
    connection = http.client.HTTPConnection(url.host, url.port, timeout=10)
    connection.connect()
    first = connection.sock
    for method, path in (
        ("GET", "status"),
        ("GET", "nothing"),
        ("POST", "addPhones"),
        ("POST", "control/pause"),
        ("GET", "status"),
    ):
        connection.request(method, f"/api/calls/campaign/{TOKEN}/{path}")
        answer = connection.getresponse()
        answer.read()
        assert not answer.will_close
        assert connection.sock is first
    connection.close()


def test_a_kept_connection_answers_at_once(over_socket: Make) -> None:
    """No delayed acknowledgement: the median of small requests is far below its 40 ms."""
    caller = over_socket()
    taken_s = []
    for _ in range(30):
        start_s = time.perf_counter()
        caller.get("/status")
        taken_s.append(time.perf_counter() - start_s)
    assert statistics.median(taken_s) < 0.030


def test_an_answer_is_one_write(over_socket: Make) -> None:
    """Head and body arrive together, every time of two hundred."""
    with _dial(over_socket()) as connection:
        for _ in range(200):
            connection.sendall(f"GET /api/calls/campaign/{TOKEN}/status HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert connection.recv(65536).endswith(b'\r\n\r\n"new"')


def test_pipelined_requests_are_answered_in_turn(over_socket: Make) -> None:
    """A body is read to its end, so that the next request starts where it should."""
    body = json.dumps(rows(1)).encode()
    post = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (PATH.encode(), len(body), body)
    get = f"GET /api/calls/campaign/{TOKEN}/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    said = _talk(over_socket(), post + get)
    assert said.count(b"HTTP/1.1 200 OK") == 2
    assert said.endswith(b'"inProgress"')


def test_a_request_cut_on_its_way_is_not_carried_out(over_socket: Make, db: Path) -> None:
    """Half a body is no request, even if the half is valid JSON."""
    whole = json.dumps(rows(1)).encode()
    head = b"POST %s HTTP/1.1\r\nHost: x\r\nIdempotence-Key: k1\r\nContent-Length: %d\r\n\r\n" % (
        PATH.encode(),
        len(whole) + 10,
    )
    caller = over_socket()
    assert _talk(caller, head, whole) == b""
    (request,) = records.requests(db)
    assert (request.was_executed, request.fault, request.status) == (False, "cut-request", None)
    assert records.count_jobs(db) == 0
    assert caller.add(1, key="k1").status_code == 200
    assert records.keys_with_two_bodies(db) == []


def test_a_chunked_body_is_read_whole_or_not_at_all(over_socket: Make, db: Path) -> None:
    """Chunks are joined; a cut or broken chunk is a cut request."""
    caller = over_socket()
    content = json.dumps(rows(1, 2)).encode()
    answer = caller.http.post(PATH, content=iter([content[:7], content[7:]]))
    assert (answer.status_code, len(answer.json())) == (200, 2)
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    assert _talk(caller, head, b"5\r\n[{}") == b""
    assert _talk(caller, head, b"zz\r\n[]\r\n0\r\n\r\n") == b""
    assert records.count_jobs(db) == 2


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_huge_body_is_413_and_ends_the_connection(over_socket: Make, is_chunked: bool) -> None:
    """The client hears the 413 although the server never read the body."""
    caller = over_socket(max_body_bytes=1000)
    body = b" " * 3_000_000
    answer = caller.http.post(PATH, content=iter([body]) if is_chunked else body)
    assert answer.status_code == 413
    assert answer.headers["Connection"] == "close"
    assert caller.add(1).status_code == 200


def test_an_unread_body_ends_the_connection_whatever_strikes(over_socket: Make) -> None:
    """A fault must not turn the rest of a refused body into the next request."""
    caller = over_socket(max_body_bytes=1000, faults=("status:code=503", "strange:as=empty"))
    answer = caller.http.post(PATH, content=b" " * 100_000)
    assert (answer.status_code, answer.headers["Connection"]) == (413, "close")


def test_a_length_beside_chunks_is_not_believed(over_socket: Make) -> None:
    """Chunks frame the body; what follows them is the next request."""
    chunked = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunked += "2\r\n[]\r\n0\r\n\r\n"
    get = f"GET /api/calls/campaign/{TOKEN}/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    said = _talk(over_socket(), (chunked + get).encode())
    assert said.count(b"HTTP/1.1 200 OK") == 2
    assert said.endswith(b'"new"')


@pytest.mark.parametrize("length", ["-1", "abc", "1e3", "9" * 40])
def test_a_senseless_length_is_refused(over_socket: Make, length: str) -> None:
    """No body is read by guess."""
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode()
    said = _talk(over_socket(), head, b"[]")
    assert said.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 413 "))


@pytest.mark.parametrize(
    "noise",
    [b"\x16\x03\x01\x02\x00\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"A" * 70_000 + b"\r\n\r\n", b""],
)
def test_noise_is_answered_or_hung_up_on(over_socket: Make, noise: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    """Not even bytes that are no HTTP make the server talk on its own terminal, or stop."""
    caller = over_socket()
    said = _talk(caller, noise)
    assert b"Traceback" not in said
    assert caller.get("/status").status_code == 200
    assert capfd.readouterr() == ("", "")


def test_a_client_that_leaves_is_no_noise(over_socket: Make, capfd: pytest.CaptureFixture[str], db: Path) -> None:
    """A client gone before its answer is carried out all the same, and nothing is printed."""
    caller = over_socket()
    body = json.dumps(rows(*range(1000))).encode()
    with _dial(caller) as connection:
        connection.sendall(
            b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (PATH.encode(), len(body), body)
        )
    deadline_s = time.monotonic() + 10
    while records.count_jobs(db) < 1000 and time.monotonic() < deadline_s:
        caller.get("/status")
    assert records.count_jobs(db) == 1000
    assert capfd.readouterr() == ("", "")


def test_http_1_0_is_answered_and_closed(over_socket: Make) -> None:
    """An old client gets its answer and the end of the connection."""
    said = _talk(over_socket(), f"GET /api/calls/campaign/{TOKEN}/status HTTP/1.0\r\n\r\n".encode())
    assert said.endswith(b'"new"')
    assert b"Connection: close" in said


def test_stopping_hangs_up_on_idle_connections(db: Path) -> None:
    """When the block is left, nobody is served any more and the port is free."""
    with Sandbox(db, tokens=(TOKEN,)) as sandbox:
        with sandbox.serve() as served:
            idle = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
            idle.request("GET", f"/api/calls/campaign/{TOKEN}/status")
            assert idle.getresponse().read() == b'"new"'
        assert idle.sock.recv(1) == b""
        idle.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", served.port), timeout=10)
        with sandbox.serve(port=served.port) as again:
            assert (again.port, again.origin) == (served.port, served.url)


def test_a_taken_port_is_said_to_be_taken(db: Path) -> None:
    """An address that cannot be had is a usage problem, not an exit."""
    with Sandbox(db) as sandbox, sandbox.serve() as served:
        with pytest.raises(UsageProblem, match=str(served.port)), sandbox.serve(port=served.port):
            pass
        with pytest.raises(UsageProblem), sandbox.serve(port=70_000):
            pass


def test_a_loopback_of_the_other_family_works(db: Path) -> None:
    """IPv6 addresses are bracketed in the URL."""
    with Sandbox(db, tokens=(TOKEN,)) as sandbox, sandbox.serve("::1") as served:
        assert served.url == f"http://[::1]:{served.port}"
        with httpx.Client(base_url=served.url, trust_env=False) as http:
            assert Caller(http=http).get("/status").json() == "new"


def test_a_bug_is_a_500_to_the_client_and_a_traceback_to_nobody_else(
    db: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What goes wrong inside is shown on the server's stderr only."""

    def broken(_: float) -> None:
        raise RuntimeError("broken on purpose")

    with (
        Sandbox(db, tokens=(TOKEN,), sleep=broken, faults=("delay",)) as sandbox,
        sandbox.serve() as served,
        httpx.Client(base_url=served.url, trust_env=False) as http_client,
    ):
        answer = Caller(http=http_client).add(1)
        assert (answer.status_code, answer.content) == (500, b"")
        assert Caller(http=http_client).get("/status").status_code == 200
    assert "broken on purpose" in capfd.readouterr().err


def test_requests_are_told_without_token_or_phone(db: Path) -> None:
    """The observer's lines can be shown to anybody."""
    lines: list[str] = []
    with Sandbox(db, tokens=(TOKEN,), on_request=lines.append, faults=("status:after=1",)) as sandbox:
        transport = httpx.WSGITransport(app=sandbox.app)
        with httpx.Client(transport=transport, base_url="http://sandbox") as http:
            Caller(http=http).add(1)
            Caller(http=http).add(1)
    assert lines == ["POST addPhones 200", "POST addPhones 503 status"]


def test_adding_is_fast(over_socket: Make) -> None:
    """Far more than the importer sends; the floor is a tenth of what two cores did when it was written."""
    caller = over_socket()
    bodies = [
        json.dumps([{"phone": str(16505500000 + 1000 * at + n)} for n in range(1000)]).encode() for at in range(12)
    ]
    best_rows_per_s = 0.0
    for at in range(0, 12, 4):
        start_s = time.perf_counter()
        for body in bodies[at : at + 4]:
            assert caller.post("/addPhones", raw=body, key=str(body[:40])).status_code == 200
        best_rows_per_s = max(best_rows_per_s, 4000 / (time.perf_counter() - start_s))
    assert best_rows_per_s > 20_000
