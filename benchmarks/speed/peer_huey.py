"""huey with its SQLite storage, as durable as it comes: python peer_huey.py LIST URL IN_FLIGHT BATCH_ROWS

A task for every request, so many worker threads, each over a connection that stays open. The workers take tasks while
others are still put. huey forgets a task when a worker takes it, so a crash loses what was under way.
"""

import sys
import tempfile
import threading
from pathlib import Path

import httpx
from huey import SqliteHuey
from peer_bodies import HEADERS, bodies

path, url, in_flight, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
finished = threading.Semaphore(0)

with tempfile.TemporaryDirectory() as folder, httpx.Client(timeout=60, trust_env=False) as http:
    queue = SqliteHuey("bench", filename=str(Path(folder) / "huey.db"), results=False)

    @queue.task(retries=3)
    def send(body: str) -> None:
        """Posts one batch."""
        http.post(url, content=body, headers=HEADERS).raise_for_status()
        finished.release()

    consumer = queue.create_consumer(workers=in_flight, periodic=False, initial_delay=0.005, max_delay=0.02)
    consumer.start()
    put = [send(body) for body in bodies(path, size)]
    for _ in put:
        finished.acquire(timeout=60)
    consumer.stop(graceful=True)
