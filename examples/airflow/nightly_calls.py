"""Tonight's calls, every working day at half past six in the evening, and by and by what became of them."""

from datetime import timedelta

import pendulum
from airflow.sdk import dag

from importer.integrations.airflow import NIGHT, ImporterOutcomesSensor, ImporterRunOperator


@dag(
    schedule="30 18 * * 1-5",
    start_date=pendulum.datetime(2026, 11, 1, tz="Europe/Berlin"),
    catchup=False,
    max_active_runs=1,  # one run at a time has the ledger
    default_args={"retries": 8, "retry_delay": timedelta(minutes=5), "retry_exponential_backoff": True},
)
def nightly_calls():
    run = ImporterRunOperator(
        task_id="run",
        conn_id="spring",
        lists="/lists/tonight.csv",
        ledger="/calls/calls.db",
        round_name=NIGHT,
        once_per="phone",
        settings={"allow_rejects": "1%", "expect_rows": "1..20000"},
    )
    outcomes = ImporterOutcomesSensor(
        task_id="outcomes",
        conn_id="spring",
        import_id='{{ ti.xcom_pull(task_ids="run")["import"] }}',
        ledger="/calls/calls.db",
        out="/calls/outcomes-{{ dag_run.run_after | ds }}.parquet",
        mode="reschedule",
        poke_interval=timedelta(minutes=10).total_seconds(),
        timeout=timedelta(days=1).total_seconds(),
    )
    run >> outcomes


nightly_calls()
