"""Tonight's calls, every working day at half past six in the evening."""

from prefect import flow
from prefect.runtime import flow_run
from prefect.schedules import Cron

from importer.integrations.prefect import run_list


@flow
def nightly_calls(host: str = "https://app.jaicp.com", night: str | None = None) -> dict:
    # when the run was to begin, not when it did: the same in every retry
    night = night or flow_run.scheduled_start_time.in_timezone("Europe/Berlin").date().isoformat()
    return run_list(
        "/lists/tonight.csv",
        host=host,
        token_block="spring-token",
        ledger="/calls/calls.db",
        round_name=night,
        once_per="phone",
        settings={"allow_rejects": "1%", "expect_rows": "1..20000"},
    )


if __name__ == "__main__":
    nightly_calls.serve(name="nightly", schedule=Cron("30 18 * * 1-5", timezone="Europe/Berlin"), global_limit=1)
