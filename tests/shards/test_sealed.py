"""A run's settings on their way to a worker: whole when they arrive, and no secret as it is written on the way."""

from __future__ import annotations

import pickle
from pathlib import Path

from workbench import TOKEN

from importer.client import Secret, check_token
from importer.cluster.records import Sealed
from importer.run import RunSettings, Target
from importer.sources import Query, ReadOptions

SECRETS = (TOKEN, "proxy-password", "bucket-password", "database-password")


def test_settings_arrive_whole_and_hide_every_secret_on_the_way(tmp_path: Path) -> None:
    """Token, proxy, the store's options and the database's address are in no message and in nothing that is shown."""
    settings = RunSettings(
        sources=("s3://bucket/list.csv",),
        target=Target(
            origin="https://calls.example", token=check_token(TOKEN), proxy=Secret("http://u:proxy-password@proxy")
        ),
        ledger=tmp_path / "ledger.db",
        reading=ReadOptions(
            storage_options={"secret": "bucket-password"},
            query=Query(sql="SELECT 1", db="postgresql://u:database-password@db"),
        ),
    )
    message = pickle.dumps(Sealed(settings))
    arrived = pickle.loads(message).settings  # noqa: S301 - as the library does
    assert not [secret for secret in SECRETS if secret.encode() in message]
    assert not [secret for secret in SECRETS if secret in repr(Sealed(settings))]
    assert arrived.target.token.reveal() == TOKEN
    assert arrived.target.proxy.reveal() == "http://u:proxy-password@proxy"
    assert (arrived.reading, arrived.sources) == (settings.reading, settings.sources)
    assert (arrived.sending, arrived.ledger) == (settings.sending, settings.ledger)
