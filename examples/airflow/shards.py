"""A large list in four parts, a mapped task for each; one import when all of them have run."""

import subprocess
import sys
from datetime import timedelta

import pendulum
from airflow.sdk import dag, task

from importer.integrations.airflow import NIGHT, ImporterRunOperator

SHARDS = 4


@task
def merge():
    words = [sys.executable, "-m", "importer", "ledger", "merge", "/calls/parts", "--into", "/calls/calls.db"]
    subprocess.run(words, check=True)


@dag(
    schedule="30 18 * * 1-5",
    start_date=pendulum.datetime(2026, 11, 1, tz="Europe/Berlin"),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 8, "retry_delay": timedelta(minutes=5), "retry_exponential_backoff": True},
)
def shards():
    parts = ImporterRunOperator.partial(
        task_id="part",
        conn_id="spring",
        lists="/lists/customers.csv",
        round_name=NIGHT,
        skip_if_nobody_called=False,
    ).expand_kwargs(
        [
            {
                "ledger": f"/calls/parts/{number}.db",
                "settings": {"shard": f"{number}/{SHARDS}", "home": "/calls/calls.db", "new_ledger": True},
            }
            for number in range(1, SHARDS + 1)
        ]
    )
    parts >> merge()


shards()
