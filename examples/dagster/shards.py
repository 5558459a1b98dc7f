"""A large list in four parts, each perhaps on a machine of its own; one import when all of them have run."""

import subprocess
import sys

import dagster as dg

from importer.integrations.dagster import ImporterResource

SHARDS = 4
parts = dg.StaticPartitionsDefinition([f"{number}-of-{SHARDS}" for number in range(1, SHARDS + 1)])


@dg.asset(
    partitions_def=parts,
    retry_policy=dg.RetryPolicy(max_retries=8, delay=60, backoff=dg.Backoff.EXPONENTIAL),
)
def shard(context: dg.AssetExecutionContext, spring: ImporterResource) -> dg.MaterializeResult:
    number = context.partition_key.split("-")[0]
    own = ImporterResource(host=spring.host, token=spring.token, ledger=f"/calls/parts/{context.partition_key}.db")
    settings = {"shard": f"{number}/{SHARDS}", "home": spring.ledger, "new_ledger": True}
    return own.run(context, "/lists/customers.csv", round_name="autumn", settings=settings)


@dg.asset(deps=[shard])
def merged(spring: ImporterResource) -> None:
    merge = [sys.executable, "-m", "importer", "ledger", "merge", "/calls/parts", "--into", spring.ledger]
    subprocess.run(merge, check=True)


defs = dg.Definitions(
    assets=[shard, merged],
    resources={
        "spring": ImporterResource(
            host=dg.EnvVar("SPRING_HOST"), token=dg.EnvVar("SPRING_TOKEN"), ledger="/calls/calls.db"
        )
    },
)
