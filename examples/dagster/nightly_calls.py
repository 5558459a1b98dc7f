"""Tonight's calls, every working day at half past six in the evening: one partition is one night."""

import dagster as dg

from importer.integrations.dagster import ImporterResource

# `end_offset`: tonight is a partition before it is over
nights = dg.DailyPartitionsDefinition(start_date="2026-11-01", timezone="Europe/Berlin", end_offset=1)


@dg.asset(
    partitions_def=nights,
    pool="calls_ledger",  # a limit of one: one run at a time has the ledger
    retry_policy=dg.RetryPolicy(max_retries=8, delay=60, backoff=dg.Backoff.EXPONENTIAL),
)
def nightly_calls(context: dg.AssetExecutionContext, spring: ImporterResource) -> dg.MaterializeResult:
    return spring.run(
        context,
        "/lists/tonight.csv",
        round_name=context.partition_key,
        once_per="phone",
        settings={"allow_rejects": "1%", "expect_rows": "1..20000"},
        report=f"/calls/report-{context.partition_key}.html",
    )


@dg.schedule(target=nightly_calls, cron_schedule="30 18 * * 1-5", execution_timezone="Europe/Berlin")
def every_evening(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    return dg.RunRequest(partition_key=context.scheduled_execution_time.strftime("%Y-%m-%d"))


defs = dg.Definitions(
    assets=[nightly_calls],
    schedules=[every_evening],
    resources={
        "spring": ImporterResource(
            host=dg.EnvVar("SPRING_HOST"), token=dg.EnvVar("SPRING_TOKEN"), ledger="/calls/calls.db"
        )
    },
)
