"""The page of a running import on loopback: for one browser, read only, and gone with its command."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from workbench import Shop, command, people, start, write_list

from importer.errors import LedgerProblem, UsageProblem
from importer.report import Facts, gather
from importer.report.live import LivePage


@pytest.fixture
def live(facts: Facts) -> Iterator[LivePage]:
    """A page that always tells the same facts."""
    with LivePage(lambda: facts) as page:
        yield page


def browser(page: LivePage, **more: str) -> httpx.Client:
    """A browser of its own: cookies are kept, redirects are followed by hand."""
    return httpx.Client(base_url=f"http://127.0.0.1:{page.port}", trust_env=False, headers=more)


@contextlib.contextmanager
def opened(page: LivePage) -> Iterator[httpx.Client]:
    """A browser that has opened the address."""
    with browser(page) as client:
        assert client.get(page.address).status_code == 303
        yield client


def test_the_address_opens_once_and_the_cookie_stays(live: LivePage) -> None:
    """The first visit gets a cookie that no script reads and no other site sends; the second gets nothing."""
    with opened(live) as first, browser(live) as second:
        (cookie,) = first.cookies.jar
        assert (cookie.name, cookie.path) == (live.cookie_name, "/")
        assert cookie.has_nonstandard_attr("HttpOnly")
        assert cookie.get_nonstandard_attr("SameSite") == "Strict"
        assert first.get("/").status_code == 200
        assert first.get(live.address).headers["Location"] == "/"
        again = second.get(live.address)
        assert (again.status_code, "Set-Cookie" in again.headers) == (403, False)
        assert second.get("/").status_code == 403


def test_of_many_at_once_one_comes_in(live: LivePage) -> None:
    """Two that bring the secret at the same moment do not both get a cookie."""
    codes: list[int] = []

    def visit() -> None:
        codes.append(httpx.get(live.address, trust_env=False).status_code)

    threads = [threading.Thread(target=visit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(codes) == [303] + [403] * 7


@pytest.mark.parametrize("secret", ["", "x", "%00", "é", "../open"])
def test_a_wrong_secret_opens_nothing(live: LivePage, secret: str) -> None:
    """And leaves the right one usable."""
    with browser(live) as client:
        assert client.get(f"/open/{secret}").status_code == 403
        assert client.get(f"{live.address}x").status_code == 403
    with opened(live) as client:
        assert client.get("/").status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example", ""])
def test_under_another_name_it_answers_nobody(live: LivePage, host: str) -> None:
    """A name of the web that was turned to this address brings another Host along, even with the cookie."""
    with opened(live) as client:
        assert client.get("/", headers={"Host": host}).status_code == 403
        assert client.get("/", headers={"Host": f"localhost:{live.port}"}).status_code == 200


def test_two_hosts_in_one_request_are_refused(live: LivePage) -> None:
    """Whichever of them a server would have believed."""
    with socket.create_connection(("127.0.0.1", live.port), timeout=10) as raw:
        raw.sendall(f"GET / HTTP/1.0\r\nHost: 127.0.0.1:{live.port}\r\nHost: evil.example\r\n\r\n".encode())
        assert raw.recv(100).startswith(b"HTTP/1.0 403")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "NONSENSE"])
def test_only_get_is_answered(live: LivePage, method: str) -> None:
    with opened(live) as client:
        answer = client.request(method, "/")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET")


def test_every_answer_is_kept_nowhere_and_framed_by_nobody(live: LivePage) -> None:
    """Refusals as well; and the page may run its own script alone, named by a nonce that is new each time."""
    with opened(live) as client, browser(live) as stranger:
        first, second, refused = client.get("/"), client.get("/"), stranger.get("/")
        missing = client.get("/favicon.ico")
    assert missing.status_code == 404
    for answer in (first, refused, missing):
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Server"].strip() == "importer"
        assert "Access-Control-Allow-Origin" not in answer.headers
    policies = [answer.headers["Content-Security-Policy"] for answer in (first, second)]
    assert policies[0] != policies[1]
    assert all("default-src 'none'" in each and "frame-ancestors 'none'" in each for each in policies)
    assert not any("unsafe" in each for each in policies)
    assert live.door.secret not in first.text


def test_a_ledger_that_cannot_be_read_is_said(facts: Facts) -> None:
    """The page comes back once it can be."""
    troubles: list[LedgerProblem] = [LedgerProblem("The ledger is away.", hint="Wait.")]

    def tell() -> Facts:
        if troubles:
            raise troubles.pop()
        return facts

    with LivePage(tell) as page, opened(page) as client:
        answer = client.get("/")
        assert (answer.status_code, answer.text) == (503, "The ledger is away. Wait.")
        assert client.get("/").status_code == 200


def test_a_taken_port_is_said_with_the_next_step(live: LivePage, facts: Facts) -> None:
    with pytest.raises(UsageProblem, match=f"Port {live.port}"):
        LivePage(lambda: facts, port=live.port)


def test_it_follows_the_ledger_and_never_writes_it(shop: Shop, tmp_path: Path) -> None:
    """What a run settles is on the next page; a run goes on undisturbed while somebody looks."""
    path = write_list(tmp_path / "a.csv", people(6))
    shop.run(path, "--first", "2", "--batch-size", "2")
    with LivePage(lambda: gather(shop.ledger, 1)) as page, opened(page) as client:
        assert "2 accepted and 4 still to be sent" in client.get("/").text
        assert shop.run(path).code == 0
        after = client.get("/").text
    assert "6 rows: all accounted for. 6 accepted." in after
    every_ms = re.search(r'data-every="(\d+)"', after)
    assert every_ms is not None
    assert 10_000 <= int(every_ms[1]) <= 15_000, "nothing is pending: it asks rarely"


@contextlib.contextmanager
def served(*arguments: str | Path) -> Iterator[tuple[str, Callable[[], tuple[int, str]]]]:
    """`importer report --live` as a process: its address, and how to end it by Ctrl-C."""
    process = start("report", "--live", *arguments)

    def end() -> tuple[int, str]:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        return process.returncode, out + err

    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), end
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate(timeout=30)


def test_the_command_prints_an_address_and_ends_with_ctrl_c(ledger: Path) -> None:
    """The address alone on standard output; nothing listens afterwards; no secret is said twice."""
    with served("1", "--ledger", ledger) as (address, end):
        with httpx.Client(trust_env=False, follow_redirects=True) as client:
            page = client.get(address)
        assert page.status_code == 200
        assert "28 accepted" in page.text
        code, said = end()
    assert (code, "Ctrl-C ends it" in said, said.rstrip().endswith("Ended.")) == (0, True, True)
    assert address not in said
    with pytest.raises(httpx.ConnectError):
        httpx.get(address, trust_env=False)


def test_one_way_out_at_a_time(ledger: Path) -> None:
    """A file or a browser, and a port only for the latter (2)."""
    for arguments in (("--live", "--html", "-"), ("--html", "-", "--port", "8000"), ()):
        assert command("report", "1", *arguments, "--ledger", ledger).code == 2
