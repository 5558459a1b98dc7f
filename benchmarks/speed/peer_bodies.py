"""What the queues among the peers are given: the bodies of the requests, made as columns, as fast as polars goes."""

from collections.abc import Iterator

import polars as pl

HEADERS = {"Content-Type": "application/json"}


def bodies(path: str, size: int) -> Iterator[str]:
    """A JSON text for every so many rows of the list, as the platform wants them."""
    rows = pl.scan_csv(path, infer_schema=False)
    rest = [name for name in rows.collect_schema().names() if name != "phone"]
    items = pl.struct("phone", payload=pl.struct(rest)).struct.json_encode()
    for frame in rows.select(items.alias("item")).collect_batches(chunk_size=100_000):
        texts = frame["item"].to_list()
        yield from ("[" + ",".join(texts[at : at + size]) + "]" for at in range(0, len(texts), size))
