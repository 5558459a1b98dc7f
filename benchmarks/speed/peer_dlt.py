"""dlt with a custom destination: python peer_dlt.py LIST URL IN_FLIGHT BATCH_ROWS parquet|default

It keeps load packages, no row by row ledger, and checks nothing. Its settings come from the environment.
"""

import sys
import tempfile

import dlt
import httpx
import polars as pl

path, url, _, size, form = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
http = httpx.Client(timeout=60, trust_env=False)


def shaped(row):
    """A row as the platform wants it."""
    return {"phone": row.pop("phone"), "payload": row}


@dlt.destination(
    batch_size=size,
    loader_file_format="parquet" if form == "parquet" else "typed-jsonl",
    skip_dlt_columns_and_tables=True,
)
def platform(items, _table):
    """Posts one batch."""
    rows = items.to_pylist() if hasattr(items, "to_pylist") else items
    http.post(url, json=[shaped(row) for row in rows]).raise_for_status()


@dlt.resource(name="rows")
def source():
    """The list, a hundred thousand rows at a time."""
    for frame in pl.scan_csv(path, infer_schema=False).collect_batches(chunk_size=100_000):
        yield frame.to_arrow() if form == "parquet" else frame.to_dicts()


with tempfile.TemporaryDirectory() as folder:
    dlt.pipeline("bench", destination=platform, pipelines_dir=folder).run(source())
