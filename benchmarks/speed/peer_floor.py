"""The floor: polars parses, writes JSON, and posts in thousands. Nothing is checked and nothing is kept.

python peer_floor.py LIST URL IN_FLIGHT BATCH_ROWS
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import httpx
import polars as pl

path, url, in_flight, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
rows = pl.scan_csv(path, infer_schema=False)
rest = [name for name in rows.collect_schema().names() if name != "phone"]
items = pl.struct("phone", payload=pl.struct(rest)).struct.json_encode()

with httpx.Client(timeout=60, trust_env=False) as http, ThreadPoolExecutor(in_flight) as pool:
    for frame in rows.select(items.alias("item")).collect_batches(chunk_size=100_000):
        texts = frame["item"].to_list()
        bodies = ["[" + ",".join(texts[at : at + size]) + "]" for at in range(0, len(texts), size)]
        for answer in pool.map(lambda body: http.post(url, content=body), bodies):
            answer.raise_for_status()
