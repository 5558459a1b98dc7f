"""The sockets know exactly whether a byte of the request left, and when to look for the last time."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import httpcore
import pytest

from importer.client.wire import TooLate, Watch, _Current, _Stream


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def watched(
    sock: socket.socket,
    *,
    left_s: float = 10.0,
    last_look: Callable[[], bool] | None = None,
    carries_request: bool = True,
) -> tuple[_Stream, Watch]:
    current = _Current()
    current.watch = Watch(deadline_s=left_s, clock=lambda: 0.0, last_look=last_look)
    return _Stream(sock, current, carries_request=carries_request), current.watch


Pair = tuple[socket.socket, socket.socket]


def test_a_first_write_that_fails_whole_has_sent_nothing(pair: Pair) -> None:
    """The kept connection was dead already: no byte left, so the batch is not ambiguous."""
    ours, theirs = pair
    theirs.close()
    stream, watch = watched(ours)
    with pytest.raises(httpcore.WriteError):
        stream.write(b"POST / HTTP/1.1\r\n\r\n")
    assert (watch.is_sent, watch.trouble) == (False, "refused")


def test_a_write_that_fails_after_a_part_has_sent(pair: Pair) -> None:
    """One byte is enough for doubt."""
    ours, theirs = pair
    stream, watch = watched(ours)

    def sip_and_leave() -> None:
        theirs.recv(10)
        theirs.close()

    reader = threading.Thread(target=sip_and_leave)
    reader.start()
    with pytest.raises(httpcore.WriteError):
        stream.write(b"x" * 50_000_000)
    reader.join()
    assert (watch.is_sent, watch.trouble) == (True, "write-failed")


def test_a_write_that_nobody_reads_ends_with_the_deadline_and_has_sent(pair: Pair) -> None:
    """The kernel's buffer took a part, which may arrive."""
    stream, watch = watched(pair[0], left_s=0.1)
    with pytest.raises(httpcore.WriteTimeout):
        stream.write(b"x" * 50_000_000)
    assert watch.is_sent


def test_the_last_look_comes_once_and_before_the_first_byte(pair: Pair) -> None:
    """Later writes of the same request are past deciding."""
    ours, theirs = pair
    theirs.setblocking(False)
    looks: list[bool] = []

    def look() -> bool:
        with pytest.raises(BlockingIOError):
            theirs.recv(1)
        looks.append(True)
        return True

    stream, watch = watched(ours, last_look=look)
    stream.write(b"")
    assert looks == []
    stream.write(b"head")
    stream.write(b"body")
    assert (looks, watch.is_sent, theirs.recv(100)) == ([True], True, b"headbody")


def test_a_last_look_that_says_no_leaves_the_connection_untouched(pair: Pair) -> None:
    """Nothing to read on the other side."""
    ours, theirs = pair
    theirs.setblocking(False)
    stream, watch = watched(ours, last_look=lambda: False)
    with pytest.raises(TooLate):
        stream.write(b"head")
    with pytest.raises(BlockingIOError):
        theirs.recv(1)
    assert not watch.is_sent


def test_what_a_proxy_is_told_is_not_the_request(pair: Pair) -> None:
    """No look, and nothing sent, before the tunnel stands."""
    stream, watch = watched(pair[0], last_look=lambda: pytest.fail("looked"), carries_request=False)
    stream.write(b"CONNECT host:443 HTTP/1.1\r\n\r\n")
    assert not watch.is_sent


@pytest.mark.parametrize("left_s", [0.0, -5.0])
def test_nothing_moves_after_the_deadline(pair: Pair, left_s: float) -> None:
    """Neither writing nor reading, however ready the socket is."""
    ours, theirs = pair
    theirs.sendall(b"ready")
    stream, watch = watched(ours, left_s=left_s)
    with pytest.raises(httpcore.WriteTimeout):
        stream.write(b"head")
    with pytest.raises(httpcore.ReadTimeout):
        stream.read(10)
    assert not watch.is_sent


def test_an_idle_connection_that_has_something_to_say_is_readable(pair: Pair) -> None:
    """Also one that was closed here, so that the pool drops it."""
    ours, theirs = pair
    stream, _ = watched(ours)
    assert not stream.get_extra_info("is_readable")
    theirs.close()
    assert stream.get_extra_info("is_readable")
    stream.close()
    assert stream.get_extra_info("is_readable")


def in_another_thread(work: Callable[[], object]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)


def test_a_connection_in_use_is_not_closed_by_another_thread(pair: Pair) -> None:
    """The pool's decision came too late: the request under way gets its answer, then the connection goes."""
    ours, theirs = pair
    stream, _ = watched(ours)
    stream.write(b"request")
    in_another_thread(stream.close)
    theirs.sendall(b"answer")
    assert stream.read(100) == b"answer"
    stream.leave()
    assert ours.fileno() == -1


def test_a_connection_in_use_is_not_idle_although_its_answer_waits(pair: Pair) -> None:
    """What is readable then is the answer, not a goodbye."""
    ours, theirs = pair
    stream, _ = watched(ours)
    stream.write(b"request")
    theirs.sendall(b"answer")
    assert not stream.get_extra_info("is_readable")
    assert stream.read(100) == b"answer"
    stream.leave()
    assert not stream.get_extra_info("is_readable")


def test_a_connection_that_is_over_sends_its_next_user_to_another_and_nothing_to_the_server(pair: Pair) -> None:
    """Found dead or closed while idle: the request has not begun, so it may begin elsewhere."""
    ours, theirs = pair
    stream, watch = watched(ours, last_look=lambda: pytest.fail("looked"))
    theirs.shutdown(socket.SHUT_WR)
    assert stream.get_extra_info("is_readable")
    with pytest.raises(httpcore.ConnectionNotAvailable):
        stream.write(b"request")
    theirs.setblocking(False)
    with pytest.raises(BlockingIOError):
        theirs.recv(1)
    assert not watch.is_sent
