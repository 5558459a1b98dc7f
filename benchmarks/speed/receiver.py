"""A platform that only counts rows and answers ids: python benchmarks/speed/receiver.py [LATENCY_S]

It prints its port and serves until its standard input ends. Threads and raw sockets, so that it costs next to nothing
beside what is measured; nothing is kept and nothing is checked. `GET …/counted` tells how many rows came.
"""

from __future__ import annotations

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


class Counter:
    """Hands out ids."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.rows = 0

    def take(self, count: int) -> range:
        with self._lock:
            first = self.rows + 1
            self.rows += count
        return range(first, first + count)


def answer(head: bytes, body: bytes, counter: Counter, latency_s: float) -> bytes:
    """What a request is answered."""
    method, path, _ = head.split(b" ", 2)
    if method == b"POST":
        ids = counter.take(body.count(b'"phone":'))
        time.sleep(latency_s)
        return b"[" + b",".join(b'"%d"' % each for each in ids) + b"]"
    if path.endswith(b"/counted"):
        return b"%d" % counter.rows
    return b'"inProgress"' if path.endswith(b"/status") else CAMPAIGN


def serve(connection: socket.socket, counter: Counter, latency_s: float) -> None:
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
        said = answer(head, body, counter, latency_s)
        date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime()).encode()
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: %s\r\nContent-Length: %d\r\n\r\n%s"
            % (date, len(said), said)
        )


def main(latency_s: float) -> None:
    """Serves on a free port."""
    counter = Counter()
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        print(server.getsockname()[1], flush=True)
        threading.Thread(target=accept, args=(server, counter, latency_s), daemon=True).start()
        sys.stdin.read()


def accept(server: socket.socket, counter: Counter, latency_s: float) -> None:
    """A thread for every connection."""
    while True:
        connection, _ = server.accept()
        threading.Thread(target=serve, args=(connection, counter, latency_s), daemon=True).start()


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 0.0)
