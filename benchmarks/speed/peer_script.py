"""What many people write: csv and httpx, a list of dicts per request, some requests at once. Nothing is kept.

python peer_script.py LIST URL IN_FLIGHT BATCH_ROWS
"""

import csv
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import httpx

path, url, in_flight, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])


def batches(rows):
    """So many rows at a time, as the platform wants them."""
    while batch := [{"phone": row.pop("phone"), "payload": row} for row in islice(rows, size)]:
        yield batch


with (
    Path(path).open(newline="", encoding="utf-8") as file,
    httpx.Client(timeout=60, trust_env=False) as http,
    ThreadPoolExecutor(in_flight) as pool,
):
    waiting = []
    for batch in batches(csv.DictReader(file)):
        waiting.append(pool.submit(http.post, url, json=batch))
        if len(waiting) >= 2 * in_flight:
            waiting.pop(0).result().raise_for_status()
    for each in waiting:
        each.result().raise_for_status()
