"""The importer under other people's schedulers: Airflow, Dagster, Prefect.

Floor: integrations, beside the command line, which they meet as a process only. Each module is thin: it takes a
scheduler's own words (a connection, a partition, a block), starts `importer run`, and says what its end means there.
"""
