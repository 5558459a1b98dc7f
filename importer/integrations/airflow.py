"""Airflow: an operator that runs a list, and a sensor that waits for what became of its calls.

Floor: integrations. Made for Airflow 3.2 and newer. What is told to the log, to XCom or to a rendered template holds
counts, names and paths; the token is read from the connection while the task runs, and goes down a pipe to the child.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from airflow.sdk import BaseHook, BaseOperator, BaseSensorOperator, PokeReturnValue
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from importer.integrations.child import (
    Ended,
    ImporterProcess,
    Verdict,
    judge_setting,
    outcome_arguments,
    run_arguments,
)

NIGHT = "{{ (dag_run.data_interval_end or dag_run.run_after) | ds }}"
"""The day of a DAG run, for `round_name`: the same in every retry, whatever the clock says by then."""


class _Child:
    """One process of the importer at a time, drained when Airflow kills the task."""

    conn_id: str
    command: Sequence[str] | None
    _process: ImporterProcess | None = None

    def _host_and_token(self) -> tuple[str, str]:
        """What the connection says. **Errors**: AirflowFailException where it lacks one of them."""
        connection = BaseHook.get_connection(self.conn_id)
        if not (connection.host and connection.password):
            raise AirflowFailException(f"The connection {self.conn_id!r} needs a host, and the token as its password.")
        host = connection.host
        if "://" not in host:
            host = f"{connection.schema or 'https'}://{host}"
        return host + (f":{connection.port}" if connection.port else ""), connection.password

    def _ended(self, arguments: Sequence[str], token: str, log: Any) -> Ended:
        with ImporterProcess(arguments, token=token, tell=log.log, command=self.command) as process:
            self._process = process
            return process.wait()

    def on_kill(self) -> None:
        """Asks the child to drain; whoever waits for it gives it twenty seconds, and it lives them alone if need be."""
        if self._process is not None:
            self._process.ask_to_stop()


class ImporterRunOperator(_Child, BaseOperator):
    """Runs a list into the campaign of a connection: each row called once, whatever happens to this task.

    `conn_id` is a connection with the platform as its host and the campaign's token as its password. `lists` is a path,
    several, or an address. `round_name` is the occasion (`NIGHT`, or None: the campaign, for ever). `settings` are
    those of importer.toml, by the same names. `adopt_since` is for a ledger that does not outlive its pod. `command`
    starts an importer of another environment. Where nobody had to be called the task is skipped, unless
    `skip_if_nobody_called` is False. XCom gets the balance, the number of the import, and where rejects are.
    """

    template_fields: ClassVar[Sequence[str]] = (
        "lists", "ledger", "list_name", "round_name", "once_per", "adopt_since", "settings",
    )  # fmt: skip
    ui_color = "#d5efe9"

    def __init__(
        self,
        *,
        lists: str | Sequence[str],
        ledger: str,
        conn_id: str = "importer_default",
        list_name: str | None = None,
        round_name: str | None = None,
        once_per: str | Sequence[str] | None = None,
        adopt_since: str | None = None,
        settings: Mapping[str, Any] | None = None,
        command: Sequence[str] | None = None,
        skip_if_nobody_called: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.lists = lists
        self.ledger = ledger
        self.conn_id = conn_id
        self.list_name = list_name
        self.round_name = round_name
        self.once_per = once_per
        self.adopt_since = adopt_since
        self.settings = dict(settings or {})
        self.command = command
        self.skip_if_nobody_called = skip_if_nobody_called
        for name in self.settings:
            judge_setting(name)

    def execute(self, context: Any) -> dict[str, Any]:
        """Runs, and judges the end. **Errors**: AirflowException to be retried, AirflowFailException not to be."""
        host, token = self._host_and_token()
        said = {
            "list": self.list_name,
            "round": self.round_name,
            "once_per": self.once_per,
            "adopt_since": self.adopt_since,
            **self.settings,
        }
        instance = context["ti"]
        run_id = f"airflow {instance.dag_id} {instance.task_id} {instance.map_index} {instance.run_id}"
        arguments = run_arguments(self.lists, host=host, ledger=self.ledger, run_id=run_id, settings=said)
        return self.judged(self._ended(arguments, token, self.log), is_first=instance.try_number == 1)

    def judged(self, ended: Ended, *, is_first: bool) -> dict[str, Any]:
        """What XCom gets. **Errors**: as `execute`; AirflowSkipException where nobody had to be called."""
        judge(ended, is_first=is_first)
        if ended.is_nobody_called and self.skip_if_nobody_called:
            raise AirflowSkipException(f"Nobody had to be called. {ended.sentence()}")
        if ended.verdict is Verdict.WARN:
            self.log.warning("%s. The rows that were not used: %s", ended.sentence(), ended.said.get("rejects_file"))
        else:
            self.log.info("%s", ended.sentence())
        return ended.summary()


class ImporterOutcomesSensor(_Child, BaseSensorOperator):
    """Waits until every call job of an import has finished, and gives the counts by how they ended.

    `import_id` is a number, such as `{{ ti.xcom_pull(task_ids="run")["import"] }}`, or what the list is called. `out`
    is where all rows with their outcomes go then (.csv, .parquet, .jsonl). Best with `mode="reschedule"`.
    """

    template_fields: ClassVar[Sequence[str]] = ("import_id", "ledger", "out")
    ui_color = "#d5efe9"

    def __init__(
        self,
        *,
        import_id: str | int,
        ledger: str,
        conn_id: str = "importer_default",
        out: str | None = None,
        command: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.import_id = import_id
        self.ledger = ledger
        self.conn_id = conn_id
        self.out = out
        self.command = command

    def poke(self, context: Any) -> PokeReturnValue:
        """Asks once. A platform that is away, or a ledger that a run has, is asked again next time."""
        host, token = self._host_and_token()
        asked = self._asked(host, token, is_first=context["ti"].try_number == 1)
        if asked is None or not asked.said.get("done"):
            return PokeReturnValue(is_done=False)
        if self.out is not None:
            asked = self._asked(host, token, "--offline", f"--out={self.out}", is_first=True) or asked
        found = {name: asked.said.get(name) for name in ("import", "accepted", "finished", "by_status", "file")}
        return PokeReturnValue(is_done=True, xcom_value=found)

    def _asked(self, host: str, token: str, *more: str, is_first: bool) -> Ended | None:
        ended = self._ended(
            outcome_arguments(self.import_id, host=host, ledger=self.ledger, more=more), token, self.log
        )
        if ended.verdict is Verdict.RETRY:
            self.log.info("%s. Asking again later.", ended.sentence())
            return None
        judge(ended, is_first=is_first)
        self.log.info("%s of %s calls have finished", ended.said.get("finished"), ended.said.get("accepted"))
        return ended


def judge(ended: Ended, *, is_first: bool) -> None:
    """Turns the end of a process into what Airflow understands.

    **Errors**: AirflowException for what a retry mends, AirflowFailException for what it does not.
    """
    if ended.verdict is Verdict.RETRY or (ended.verdict is Verdict.RETRY_ONCE and is_first):
        raise AirflowException(ended.sentence())
    if ended.verdict in (Verdict.FAIL, Verdict.RETRY_ONCE):
        raise AirflowFailException(ended.sentence())
