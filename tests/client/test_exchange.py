"""What a raw exchange gives, over real sockets, from servers that behave and from servers that do not."""

from __future__ import annotations

import contextlib
import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from importer.client import CallsApi
from importer.client.wire import WatchedTransport
from importer.errors import UsageProblem
from importer.model import Answer, Exchange, NoAnswer

from .servers import (
    TOKEN,
    Behaviour,
    Server,
    answering,
    answering_once,
    dripping,
    read_request,
    reply,
    reset,
    serving,
)

BODY = b'[{"phone":"16505550100"}]'
UNSENT = {"dns", "refused", "tls", "connect-timeout", "pool-timeout", "too-late"}
SENT = {"write-failed", "reset", "closed", "timeout", "cut", "too-large", "undecodable"}


def send(behave: Behaviour, *, timeout_s: float = 10.0, body: bytes = BODY) -> Exchange:
    with serving(behave) as server, CallsApi(server.origin, TOKEN, timeout_s=timeout_s) as api:
        return api.send_batch(body, "key-1")


def answer_of(exchange: Exchange) -> Answer:
    assert isinstance(exchange, Answer), exchange
    return exchange


def nothing_of(exchange: Exchange) -> NoAnswer:
    assert isinstance(exchange, NoAnswer), exchange
    assert exchange.reason in (SENT if exchange.is_sent else UNSENT)
    assert TOKEN not in exchange.detail
    return exchange


# --- what is sent ---------------------------------------------------------------------------------------------------


def test_exactly_the_given_bytes_and_key_are_sent() -> None:
    """The body is not touched, the key stands in its header, and no compressed answer is asked for."""
    body = b'[ {"phone" : "16505550100"}\n] \xd0\xbf'
    with serving(answering(reply())) as server, CallsApi(server.origin, TOKEN) as api:
        answer = answer_of(api.send_batch(body, "a key, any key"))
        head, _, sent = server.requests[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert (answer.status, answer.body, sent) == (200, b'["id-1"]', body)
    assert lines[0] == f"POST /api/calls/campaign/{TOKEN}/addPhones HTTP/1.1"
    fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    assert fields["idempotence-key"] == "a key, any key"
    assert fields["accept-encoding"] == "identity"
    assert fields["content-type"] == "application/json"
    assert not {"cookie", "authorization", "transfer-encoding", "expect"} & set(fields)


@pytest.mark.parametrize("key", ["", " x", "x ", "a\r\nEvil: 1", "a\nb", "ключ", "\x7f", "a\x00"])
def test_a_key_that_no_header_can_carry_is_refused_before_anything_is_sent(key: str) -> None:
    """A key is printable ASCII, so it cannot smuggle a header."""
    with serving(answering(reply())) as server, CallsApi(server.origin, TOKEN) as api:
        with pytest.raises(UsageProblem):
            api.send_batch(BODY, key)
        assert server.connections == 0


def test_a_kept_connection_carries_many_requests() -> None:
    """Requests of one thread share one connection."""
    with serving(answering(reply())) as server, CallsApi(server.origin, TOKEN) as api:
        assert all(answer_of(api.send_batch(BODY, f"key-{n}")).status == 200 for n in range(20))
        assert (server.connections, len(server.requests)) == (1, 20)


def test_threads_share_one_client_and_each_gets_its_own_answer() -> None:
    """Eight threads over four connections: no answer crosses to another thread."""

    def echo(connection: socket.socket, server: Server) -> None:
        while request := read_request(connection, server):
            connection.sendall(reply(request.partition(b"\r\n\r\n")[2]))

    with serving(echo) as server, CallsApi(server.origin, TOKEN, connections=4) as api, ThreadPoolExecutor(8) as pool:
        bodies = [b"[%d]" % n for n in range(200)]
        answers = list(pool.map(lambda body: answer_of(api.send_batch(body, "k")).body, bodies))
        assert answers == bodies
        assert server.connections <= 4


# --- the last look --------------------------------------------------------------------------------------------------


def test_a_last_look_that_says_no_sends_nothing() -> None:
    """The connection may be open by then; no byte of the request is on it."""
    with serving(answering(reply())) as server, CallsApi(server.origin, TOKEN) as api:
        nothing = nothing_of(api.send_batch(BODY, "key-1", last_look=lambda: False))
        assert (nothing.reason, nothing.is_sent) == ("too-late", False)
        assert answer_of(api.send_batch(BODY, "key-2", last_look=lambda: True)).status == 200
        assert len(server.requests) == 1


def test_the_last_look_comes_after_the_connection_is_made_and_once_per_request() -> None:
    """Connecting can take long, so looking before it would be looking too early."""
    seen: list[int] = []
    with serving(answering(reply())) as server, CallsApi(server.origin, TOKEN) as api:

        def look() -> bool:
            for _ in range(200):  # the server counts a connection a moment after ours is made
                if server.connections:
                    break
                time.sleep(0.01)
            seen.append(server.connections)
            return True

        api.send_batch(BODY * 40_000, "key-1", last_look=look)
        api.send_batch(BODY, "key-2", last_look=look)
    assert seen == [1, 1]


def test_what_the_last_look_raises_comes_out_and_nothing_is_sent() -> None:
    """A fault of the caller's own check is no trouble of the network."""

    def look() -> bool:
        raise LookupError("the ledger is gone")

    with serving(answering(reply())) as server, CallsApi(server.origin, TOKEN) as api:
        with pytest.raises(LookupError, match="the ledger is gone"):
            api.send_batch(BODY, "key-1", last_look=look)
        assert server.requests == []
        assert answer_of(api.send_batch(BODY, "key-2")).status == 200


# --- nothing was sent -----------------------------------------------------------------------------------------------


def test_a_refused_connection_is_known_not_to_have_sent() -> None:
    """Nobody listens: not executed, the same batch may go later."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with CallsApi(f"http://127.0.0.1:{port}", TOKEN) as api:
        nothing = nothing_of(api.send_batch(BODY, "key-1"))
    assert (nothing.reason, nothing.is_sent) == ("refused", False)


def test_an_unknown_name_is_known_not_to_have_sent() -> None:
    """`.invalid` never resolves (RFC 2606)."""
    with CallsApi("http://nobody.invalid", TOKEN, allow_insecure_http=True) as api:
        nothing = nothing_of(api.send_batch(BODY, "key-1"))
    assert (nothing.reason, nothing.is_sent) == ("dns", False)


def test_waiting_for_a_connection_ends_with_the_deadline_and_sends_nothing() -> None:
    """One connection, and another request holds it."""
    is_busy, may_answer = threading.Event(), threading.Event()

    def busy(connection: socket.socket, server: Server) -> None:
        read_request(connection, server)
        is_busy.set()
        may_answer.wait(20)
        connection.sendall(reply())

    transport = WatchedTransport(is_tls=False, connections=1)
    with (
        serving(busy) as server,
        CallsApi(server.origin, TOKEN, transport=transport) as patient,
        ThreadPoolExecutor(1) as pool,
    ):
        first = pool.submit(patient.send_batch, BODY, "key-1")
        assert is_busy.wait(10)
        hasty = CallsApi(server.origin, TOKEN, transport=transport, timeout_s=0.2)
        nothing = nothing_of(hasty.send_batch(BODY, "key-2"))
        assert (nothing.reason, nothing.is_sent) == ("pool-timeout", False)
        may_answer.set()
        assert answer_of(first.result()).status == 200
        assert len(server.requests) == 1


def test_no_more_connections_are_open_than_said_and_each_is_used_again() -> None:
    """Eight threads, thirty requests, three connections; one after the other needs one."""

    def patient(connection: socket.socket, server: Server) -> None:
        with contextlib.suppress(OSError):
            while read_request(connection, server):
                time.sleep(0.005)
                connection.sendall(reply())

    with (
        serving(patient) as server,
        CallsApi(server.origin, TOKEN, transport=WatchedTransport(is_tls=False, connections=3)) as api,
        ThreadPoolExecutor(8) as pool,
    ):
        alone = [answer_of(api.send_batch(BODY, f"alone-{each}")).status for each in range(5)]
        assert (alone, server.connections) == ([200] * 5, 1)
        together = pool.map(lambda each: answer_of(api.send_batch(BODY, f"key-{each}")).status, range(30))
        assert list(together) == [200] * 30
        assert (server.connections, len(server.requests)) == (3, 35)


# --- something may have been sent -----------------------------------------------------------------------------------


def closing(connection: socket.socket, server: Server) -> None:
    read_request(connection, server)


def resetting(connection: socket.socket, server: Server) -> None:
    read_request(connection, server)
    reset(connection)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

AMBIGUOUS: dict[str, tuple[Behaviour, set[str]]] = {
    "closes without an answer": (closing, {"closed"}),
    "resets the connection": (resetting, {"reset"}),
    "stops inside the head": (answering_once(HEAD), {"cut"}),
    "stops inside a body with a length": (answering_once(HEAD + b'Content-Length: 20\r\n\r\n["id'), {"cut"}),
    "stops inside a chunk": (answering_once(HEAD + b'Transfer-Encoding: chunked\r\n\r\n9\r\n["id'), {"cut"}),
    "stops before the last chunk": (answering_once(HEAD + b'Transfer-Encoding: chunked\r\n\r\n4\r\n["id\r\n'), {"cut"}),
    "ends its body by closing": (answering_once(HEAD + b'\r\n["id-1"]'), {"cut"}),
    "answers as HTTP/1.0 by closing": (answering_once(b'HTTP/1.0 200 OK\r\n\r\n["id-1"]'), {"cut"}),
    "speaks something else": (answering_once(b"SSH-2.0-OpenSSH_9.9\r\n"), {"undecodable", "cut"}),
    "gives two lengths": (answering(HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n[] "), {"undecodable"}),
    "gives a strange length": (answering(HEAD + b"Content-Length: -1\r\n\r\n"), {"undecodable"}),
    "gives a strange coding": (answering(HEAD + b"Transfer-Encoding: rot13\r\n\r\n"), {"undecodable"}),
    "sends a head without end": (answering(HEAD + b"X: " + b"x" * 300_000), {"undecodable"}),
    "sends cookies without end": (answering(HEAD + b"Set-Cookie: a=b\r\n" * 30_000), {"undecodable"}),
    "announces a huge body": (answering(HEAD + b"Content-Length: 17000000\r\n\r\n"), {"too-large"}),
    "announces an absurd body": (answering(HEAD + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n"), {"undecodable"}),
    "compresses": (answering(reply(gzip.compress(b"[]"), "200 OK", "Content-Encoding: gzip")), {"undecodable"}),
}


@pytest.mark.parametrize("what", AMBIGUOUS)
def test_no_complete_answer_is_ambiguous_never_done(what: str) -> None:
    """Law 4: the request left, so it may have been carried out, whatever the server made of its answer."""
    behave, reasons = AMBIGUOUS[what]
    nothing = nothing_of(send(behave))
    assert nothing.is_sent
    assert nothing.reason in reasons


def test_a_body_without_end_is_cut_off_at_the_limit() -> None:
    """Chunk after chunk: reading stops at 16 MB, not when memory does."""

    def endless(connection: socket.socket, server: Server) -> None:
        read_request(connection, server)
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        piece = b"10000\r\n" + b" " * 65536 + b"\r\n"
        for _ in range(1000):
            connection.sendall(piece)

    assert nothing_of(send(endless)).reason == "too-large"


def test_a_gzip_bomb_is_never_unpacked() -> None:
    """A hundred megabytes behind a hundred kilobytes: refused by its header."""
    bomb = gzip.compress(bytes(100_000_000), 1)
    began_s = time.monotonic()
    nothing = nothing_of(send(answering(reply(bomb, "200 OK", "Content-Encoding: gzip"))))
    assert (nothing.reason, nothing.is_sent) == ("undecodable", True)
    assert time.monotonic() - began_s < 5


def test_a_connection_closed_while_idle_is_left_alone() -> None:
    """The server's goodbye is seen before the next request, which goes over a new connection."""
    with serving(answering_once(reply())) as server, CallsApi(server.origin, TOKEN) as api:
        answer_of(api.send_batch(BODY, "key-1"))
        for thread in list(server._threads)[1:]:
            thread.join(5)
        answer_of(api.send_batch(BODY, "key-2"))
        assert server.connections == 2


def test_a_request_on_a_kept_connection_that_dies_is_ambiguous_and_never_repeated() -> None:
    """The write succeeded, then came a reset: once is once, also when a fresh connection would have worked."""

    def once_then_reset(connection: socket.socket, server: Server) -> None:
        read_request(connection, server)
        connection.sendall(reply())
        read_request(connection, server)
        reset(connection)

    with serving(once_then_reset) as server, CallsApi(server.origin, TOKEN) as api:
        answer_of(api.send_batch(BODY, "key-1"))
        nothing = nothing_of(api.send_batch(BODY, "key-2"))
        assert (nothing.reason, nothing.is_sent) == ("reset", True)
        assert len(server.requests) == 2


def test_an_answer_that_was_there_before_the_request_is_not_its_answer() -> None:
    """Two answers to one request: the second must not be taken for the answer to the next request."""

    def twice(connection: socket.socket, server: Server) -> None:
        read_request(connection, server)
        connection.sendall(reply(b'["mine"]') + reply(b'["stale"]'))
        read_request(connection, server)
        server.is_over.wait(20)

    with serving(twice) as server, CallsApi(server.origin, TOKEN, timeout_s=5) as api:
        assert answer_of(api.send_batch(BODY, "key-1")).body == b'["mine"]'
        assert not isinstance(api.send_batch(BODY, "key-2"), Answer)


# --- the deadline ---------------------------------------------------------------------------------------------------

SLOW: dict[str, Behaviour] = {
    "a head a byte at a time": dripping(reply()),
    "a body a byte at a time": dripping(reply(b" " * 10_000)[60:], 0.05),
    "interim answers for ever": dripping(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, 0.005),
}


@pytest.mark.parametrize("what", SLOW)
def test_the_deadline_holds_for_the_whole_request(what: str) -> None:
    """Every read is quick and the whole is slow: it ends at the deadline, not at the server's leisure."""
    began_s = time.monotonic()
    nothing = nothing_of(send(SLOW[what], timeout_s=0.7))
    assert time.monotonic() - began_s < 3
    assert nothing.is_sent
    assert nothing.elapsed_s == pytest.approx(0.7, abs=0.5)


def test_a_chunked_body_that_drips_ends_at_the_deadline() -> None:
    """The head came at once; the body's chunks are small and endless."""

    def chunks(connection: socket.socket, server: Server) -> None:
        read_request(connection, server)
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        while not server.is_over.wait(0.02):
            connection.sendall(b"1\r\n \r\n")

    nothing = nothing_of(send(chunks, timeout_s=0.7))
    assert (nothing.reason, nothing.is_sent) == ("timeout", True)
    assert nothing.elapsed_s < 2


def test_a_server_that_reads_slowly_cannot_stretch_the_deadline() -> None:
    """Each write makes a little progress; their sum is bounded all the same."""

    def sip(connection: socket.socket, server: Server) -> None:
        while not server.is_over.wait(0.02) and connection.recv(20_000):
            pass

    nothing = nothing_of(send(sip, timeout_s=0.7, body=b"x" * 30_000_000))
    assert (nothing.reason, nothing.is_sent) == ("timeout", True)
    assert nothing.elapsed_s < 2


def test_a_server_that_accepts_and_says_nothing_ends_at_the_deadline() -> None:
    """The plainest timeout there is: unknown, not failed."""

    def silent(connection: socket.socket, server: Server) -> None:
        read_request(connection, server)
        server.is_over.wait(20)

    nothing = nothing_of(send(silent, timeout_s=0.3))
    assert (nothing.reason, nothing.is_sent) == ("timeout", True)


def test_a_deadline_that_passed_while_connecting_sends_nothing() -> None:
    """The clock jumps (a suspended machine) between connecting and writing: no byte leaves."""
    moments: Iterator[float] = iter([0.0, 0.0, 0.0, 0.0])
    with (
        serving(answering(reply())) as server,
        CallsApi(server.origin, TOKEN, timeout_s=60, clock=lambda: next(moments, 1000.0)) as api,
    ):
        nothing = nothing_of(api.send_batch(BODY, "key-1"))
        assert not nothing.is_sent
        assert server.requests == []


# --- complete answers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request", "404 Not Found", "429 Too Many", "503 Unavailable"])
def test_every_complete_answer_is_an_answer_whatever_its_status(status: str) -> None:
    """What a status means is decided above."""
    answer = answer_of(send(answering(reply(b'{"type":"x"}', status))))
    assert (answer.status, answer.body) == (int(status[:3]), b'{"type":"x"}')
    assert answer.content_type == "application/json"
    assert answer.elapsed_s > 0


def test_chunked_and_empty_answers_are_complete() -> None:
    """A last chunk, a length of nothing, and 204 each say where the end is."""
    chunked = HEAD + b'Transfer-Encoding: chunked\r\n\r\n4\r\n["a"\r\n1\r\n]\r\n0\r\n\r\n'
    assert answer_of(send(answering(chunked))).body == b'["a"]'
    assert answer_of(send(answering(reply(b"")))).body == b""
    assert answer_of(send(answering(b"HTTP/1.1 204 No Content\r\n\r\n"))).status == 204


def test_interim_answers_are_skipped() -> None:
    """100 Continue, which nobody asked for, is not the answer."""
    raw = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + reply(b'["a"]')
    assert answer_of(send(answering(raw))).body == b'["a"]'


def test_an_early_refusal_is_read_although_the_body_was_not_taken() -> None:
    """413 comes while the body is still on its way: an answer when it can be had, else ambiguous."""

    def early(connection: socket.socket, server: Server) -> None:
        connection.recv(1000)
        connection.sendall(reply(b"{}", "413 Content Too Large", "Connection: close"))
        connection.shutdown(socket.SHUT_WR)
        while not server.is_over.is_set() and connection.recv(65536):
            pass

    assert answer_of(send(early, body=b"x" * 5_000_000)).status == 413


def test_redirects_are_answers_and_never_followed() -> None:
    """The second server sees neither body nor key nor token."""
    for status in ("301 Moved", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"):
        with serving(answering(reply())) as second:
            to = f"Location: {second.origin}/api/calls/campaign/{TOKEN}/addPhones"
            answer = answer_of(send(answering(reply(b"", status, to))))
            assert answer.status == int(status[:3])
            assert second.connections == 0


def test_cookies_are_not_kept() -> None:
    """A cookie given is a cookie forgotten."""
    raw = reply(b"[]", "200 OK", "Set-Cookie: session=1; Path=/")
    with serving(answering(raw)) as server, CallsApi(server.origin, TOKEN) as api:
        api.send_batch(BODY, "key-1")
        api.send_batch(BODY, "key-2")
        assert not any(b"cookie" in request.lower() for request in server.requests)


def test_probe_asks_the_status_and_gives_the_servers_clock() -> None:
    """The harmless GET behind law 6."""
    raw = reply(b'"inProgress"', "200 OK", "Date: Mon, 23 Nov 2026 09:00:00 GMT")
    with serving(answering(raw)) as server, CallsApi(server.origin, TOKEN) as api:
        answer = answer_of(api.probe())
        assert server.requests[0].startswith(f"GET /api/calls/campaign/{TOKEN}/status HTTP/1.1".encode())
    assert answer.server_date is not None
    assert answer.server_date.isoformat() == "2026-11-23T09:00:00+00:00"


# --- transports that are not ours -----------------------------------------------------------------------------------


class Odd(httpx.BaseTransport):
    def __init__(self, behave: Callable[[httpx.Request], httpx.Response]) -> None:
        self.behave = behave
        self.requests = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        return self.behave(request)


def raising(problem: Exception) -> Odd:
    def behave(_request: httpx.Request) -> httpx.Response:
        raise problem

    return Odd(behave)


@pytest.mark.parametrize(
    ("problem", "reason"),
    [
        (httpx.ConnectError("no"), "refused"),
        (httpx.ConnectTimeout("no"), "connect-timeout"),
        (httpx.PoolTimeout("no"), "pool-timeout"),
        (httpx.ReadTimeout("no"), "timeout"),
        (httpx.ReadError("no"), "reset"),
        (httpx.WriteError("no"), "write-failed"),
        (httpx.RemoteProtocolError("no"), "undecodable"),
        (ConnectionResetError("no"), "reset"),
    ],
)
def test_another_transports_errors_are_ambiguous_unless_it_could_not_connect(problem: Exception, reason: str) -> None:
    """A transport that cannot tell whether bytes left is believed to have sent them."""
    with CallsApi("https://api.example", TOKEN, transport=raising(problem)) as api:
        assert nothing_of(api.send_batch(BODY, "key-1")).reason == reason


def test_another_transport_is_not_asked_when_the_last_look_says_no() -> None:
    """It cannot tell us when its first byte leaves, so the look comes before it is asked."""
    odd = Odd(lambda _request: httpx.Response(200, content=b"[]"))
    with CallsApi("https://api.example", TOKEN, transport=odd) as api:
        assert nothing_of(api.send_batch(BODY, "key-1", last_look=lambda: False)).reason == "too-late"
        assert odd.requests == 0
        assert answer_of(api.send_batch(BODY, "key-1", last_look=lambda: True)).body == b"[]"


def test_a_length_that_another_transport_does_not_keep_is_a_cut_answer() -> None:
    """In process nobody counts the bytes for us."""
    odd = Odd(lambda _request: httpx.Response(200, headers={"Content-Length": "9"}, stream=httpx.ByteStream(b"[]")))
    with CallsApi("https://api.example", TOKEN, transport=odd) as api:
        assert nothing_of(api.send_batch(BODY, "key-1")).reason == "cut"
