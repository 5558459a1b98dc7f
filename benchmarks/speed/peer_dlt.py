"""dlt with a custom destination: python peer_dlt.py LIST URL IN_FLIGHT BATCH_ROWS parquet|default

It keeps load packages, no row by row ledger, and checks nothing. It sends one request at a time from each file of a
package, so files are kept small enough to have as many requests under way as the others.
"""

import os
import sys
import tempfile

path, url, in_flight, size, form = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5]
FILE_ROWS = 125 * size
os.environ |= {
    "LOAD__WORKERS": in_flight,
    "DATA_WRITER__FILE_MAX_ITEMS": str(FILE_ROWS),
    "DATA_WRITER__BUFFER_MAX_ITEMS": str(FILE_ROWS),
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    "RUNTIME__LOG_LEVEL": "ERROR",
}

import dlt  # noqa: E402 - it reads its settings from the environment
import httpx  # noqa: E402
import polars as pl  # noqa: E402

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
    """The list, a file's worth at a time."""
    for frame in pl.scan_csv(path, infer_schema=False).collect_batches(chunk_size=FILE_ROWS):
        yield frame.to_arrow() if form == "parquet" else frame.to_dicts()


with tempfile.TemporaryDirectory() as folder:
    dlt.pipeline("bench", destination=platform, pipelines_dir=folder).run(source())
