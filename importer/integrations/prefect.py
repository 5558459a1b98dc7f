"""Prefect: a task that runs a list.

Floor: integrations. The token is in a Secret block, named by its name and loaded while the task runs, so it is in no
parameter of a flow or a task; what the task returns holds counts, names and paths.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prefect import get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.blocks.system import Secret
from prefect.runtime import flow_run, task_run
from prefect.tasks import exponential_backoff

from importer.integrations.child import Ended, ImporterProcess, Verdict, run_arguments


class RunFailed(Exception):
    """A run did not end well; `ended` says how."""

    def __init__(self, ended: Ended) -> None:
        super().__init__(ended.sentence())
        self.ended = ended


def is_mended_by_a_retry(_task: Any, run: Any, state: Any) -> bool:
    """Whether repeating the task may help; for `retry_condition_fn`. Whatever is no end of a run is repeated."""
    problem = state.result(raise_on_failure=False)
    if not isinstance(problem, RunFailed):
        return True
    verdict = problem.ended.verdict
    return verdict is Verdict.RETRY or (verdict is Verdict.RETRY_ONCE and run.run_count <= 1)


@task(
    name="importer run",
    retries=8,
    retry_delay_seconds=exponential_backoff(backoff_factor=60),
    retry_jitter_factor=0.2,
    retry_condition_fn=is_mended_by_a_retry,
    persist_result=False,
)
def run_list(
    lists: str | Sequence[str],
    *,
    host: str,
    token_block: str,
    ledger: str,
    round_name: str | None = None,
    once_per: str | Sequence[str] | None = None,
    list_name: str | None = None,
    adopt_since: Any = None,
    settings: Mapping[str, Any] | None = None,
    command: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Runs a list into the campaign of a token: each row called once, whatever happens to this flow.

    `token_block` is the name of a Secret block; `round_name` the occasion; `settings` those of importer.toml. Gives the
    balance, the number of the import and where rejects are; a table of it becomes the artifact `importer-run`.
    **Errors**: RunFailed, which is repeated only where that mends something.
    """
    said = {"list": list_name, "round": round_name, "once_per": once_per, "adopt_since": adopt_since}
    arguments = run_arguments(
        lists,
        host=host,
        ledger=ledger,
        run_id=f"prefect {flow_run.id or task_run.id}",
        settings={**said, **(settings or {})},
    )
    log = get_run_logger()
    token = Secret.load(token_block).get()
    with ImporterProcess(arguments, token=str(token), tell=log.log, command=command) as process:
        ended = process.wait()
    return kept_of(ended, log)


def kept_of(ended: Ended, log: Any) -> dict[str, Any]:
    """What the task returns. **Errors**: RunFailed for an end that is not well."""
    if ended.verdict not in (Verdict.SUCCEED, Verdict.WARN):
        raise RunFailed(ended)
    kept = ended.summary()
    level = 30 if ended.verdict is Verdict.WARN else 20
    log.log(level, "%s", ended.sentence())
    counts = [{"what": name, "rows": rows} for name, rows in kept.items() if name in _COUNTS and rows]
    rejects = [{"what": f"rejected: {reason}", "rows": rows} for reason, rows in kept["rejects_by_reason"].items()]
    create_table_artifact(key="importer-run", table=counts + rejects, description=ended.sentence())
    return kept


_COUNTS = (
    "read", "accepted", "rejected", "duplicate", "suppressed", "withdrawn", "refused", "in_doubt", "pending",
)  # fmt: skip
