"""persist-queue's SQLite queue with acknowledgement: python peer_persist_queue.py LIST URL IN_FLIGHT BATCH_ROWS

A job for every request, so many worker threads, each over a connection that stays open; a job is acknowledged when it
was answered, so one that was under way comes again after a crash, with no key to tell the platform so.
"""

import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
from peer_bodies import HEADERS, bodies
from persistqueue import Empty, SQLiteAckQueue

path, url, in_flight, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
CLEAR_EVERY = 100
all_put = threading.Event()


def work(queue, http, number):
    """Takes jobs until none is left and none will come."""
    taken = 0
    while True:
        try:
            job = queue.get(timeout=0.02, raw=True)
        except Empty:
            if all_put.is_set():
                return
            continue
        http.post(url, content=job["data"], headers=HEADERS).raise_for_status()
        queue.ack(id=job["pqid"])
        taken += 1
        if number == 0 and taken % CLEAR_EVERY == 0:
            queue.clear_acked_data(max_delete=100_000, keep_latest=0)


with (
    tempfile.TemporaryDirectory() as folder,
    httpx.Client(timeout=60, trust_env=False) as http,
    ThreadPoolExecutor(in_flight) as pool,
):
    queue = SQLiteAckQueue(folder, multithreading=True)
    workers = [pool.submit(work, queue, http, number) for number in range(in_flight)]
    for body in bodies(path, size):
        queue.put(body)
    all_put.set()
    for each in workers:
        each.result()
