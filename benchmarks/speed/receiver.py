"""A platform that only counts rows and answers ids: python benchmarks/speed/receiver.py [LATENCY_S [SLOTS]]

It prints its port and serves until its standard input ends. Threads and raw sockets, so that it costs next to nothing
beside what is measured; nothing is checked. With SLOTS it takes so many requests at once and refuses others with 429.
`GET …/counted` tells how many rows came, `…/first` when the first request came since `…/mark` (seconds by the monotonic
clock, 0 for none), `…/told` when requests were taken and refused. `…/hold/N` leaves requests unanswered once N rows
came, until `…/mark`; `…/slots/N` sets the slots.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
import time

CAMPAIGN = json.dumps(
    {
        "id": 1, "name": "bench", "projectName": "bench", "creationDate": 0, "botId": "bench", "status": "inProgress",
        "shortReport": {
            "totalNumbers": 0, "processedNumbers": 0, "usedTalkingTime": 0, "usedAsrSeconds": 0, "inProcessCalls": 0,
            "retryCalls": 0,
        },
    }
).encode()  # fmt: skip


class Platform:
    """Hands out ids, and notes when."""

    def __init__(self, latency_s: float, slots: int) -> None:
        self._lock = threading.Lock()
        self._latency_s = latency_s
        self._slots = slots
        self._busy = 0
        self._held_from = 0
        self._may_answer = threading.Event()
        self.rows = 0
        self.first_s = 0.0
        self.taken: list[float] = []
        self.refused: list[float] = []

    def add(self, body: bytes) -> bytes | None:
        """The ids of the rows; None when it is refused."""
        now_s, count = time.monotonic(), body.count(b'"phone":')
        with self._lock:
            self.first_s = self.first_s or now_s
            if self._slots and self._busy >= self._slots:
                self.refused.append(now_s)
                return None
            self._busy += 1
            self.taken.append(now_s)
            first = self.rows + 1
            self.rows += count
            is_held = 0 < self._held_from <= self.rows
        time.sleep(self._latency_s)
        if is_held:
            self._may_answer.wait()
        with self._lock:
            self._busy -= 1
        return b"[" + b",".join(b'"%d"' % each for each in range(first, first + count)) + b"]"

    def control(self, path: str) -> bytes:
        """What the benchmark asks and says; else the campaign."""
        what, _, number = path.rpartition("/")
        if what.endswith("/hold"):
            self._held_from = int(number)
        elif what.endswith("/slots"):
            self._slots = int(number)
        elif number == "mark":
            self.first_s, self._held_from = 0.0, 0
            self._may_answer.set()
        elif number == "told":
            return json.dumps({"taken": self.taken, "refused": self.refused}).encode()
        elif number == "first":
            return repr(self.first_s).encode()
        elif number != "counted":
            return b'"inProgress"' if number == "status" else CAMPAIGN
        return b"%d" % self.rows


def answer(head: bytes, body: bytes, platform: Platform) -> tuple[bytes, bytes]:
    """What a request is answered: status line and body."""
    method, path, _ = head.split(b" ", 2)
    if method == b"GET":
        return b"200 OK", platform.control(path.decode())
    ids = platform.add(body)
    return (b"429 Too Many Requests", b"{}") if ids is None else (b"200 OK", ids)


def serve(connection: socket.socket, platform: Platform) -> None:
    """One connection to its end."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    kept = b""
    while True:
        while b"\r\n\r\n" not in kept:
            more = connection.recv(1 << 18)
            if not more:
                return
            kept += more
        head, _, kept = kept.partition(b"\r\n\r\n")
        length = next((int(line[15:]) for line in head.split(b"\r\n") if line[:15].lower() == b"content-length:"), 0)
        parts, got = [kept], len(kept)
        while got < length:
            parts.append(connection.recv(1 << 18))
            got += len(parts[-1])
            if not parts[-1]:
                return
        whole = b"".join(parts)
        body, kept = whole[:length], whole[length:]
        status, said = answer(head, body, platform)
        date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime()).encode()
        connection.sendall(
            b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nDate: %s\r\nContent-Length: %d\r\n\r\n%s"
            % (status, date, len(said), said)
        )


def main(latency_s: float = 0.0, slots: int = 0) -> None:
    """Serves on a free port."""
    platform = Platform(latency_s, slots)
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        print(server.getsockname()[1], flush=True)
        threading.Thread(target=accept, args=(server, platform), daemon=True).start()
        sys.stdin.read()


def accept(server: socket.socket, platform: Platform) -> None:
    """A thread for every connection."""
    while True:
        connection, _ = server.accept()
        threading.Thread(target=serve_until_gone, args=(connection, platform), daemon=True).start()


def serve_until_gone(connection: socket.socket, platform: Platform) -> None:
    """One connection, which may be cut at any moment."""
    with connection, contextlib.suppress(ConnectionError):
        serve(connection, platform)


if __name__ == "__main__":
    main(*map(float, sys.argv[1:2]), *map(int, sys.argv[2:3]))
