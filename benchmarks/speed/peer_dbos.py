"""DBOS with SQLite: python peer_dbos.py LIST URL IN_FLIGHT BATCH_ROWS

A workflow of one step for every request, on a queue with so many workers, over connections that stay open. A workflow
that was under way runs again after a crash.
"""

import sys
import tempfile
from pathlib import Path

import httpx
from dbos import DBOS
from peer_bodies import HEADERS, bodies

path, url, in_flight, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
http = httpx.Client(timeout=60, trust_env=False)


@DBOS.step(retries_allowed=True)
def post(body: str) -> None:
    """Posts one batch."""
    http.post(url, content=body, headers=HEADERS).raise_for_status()


@DBOS.workflow()
def send(body: str) -> None:
    """One request."""
    post(body)


with tempfile.TemporaryDirectory() as folder:
    url_of_database = f"sqlite:///{Path(folder) / 'dbos.sqlite'}"
    DBOS(config={"name": "bench", "system_database_url": url_of_database, "log_level": "ERROR"})
    DBOS.launch()
    DBOS.register_queue("sends", worker_concurrency=in_flight, polling_interval_sec=0.02)
    handles = [DBOS.enqueue_workflow("sends", send, body) for body in bodies(path, size)]
    for each in handles:
        each.get_result(polling_interval_sec=0.02)
    DBOS.destroy()
