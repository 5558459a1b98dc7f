"""Dagster: a campaign with its ledger as a resource; an asset or an op that runs a list with it.

Floor: integrations. What Dagster keeps of a run, metadata included, holds counts, names and paths. The token is a field
of the resource, to be given as `EnvVar` (or by a secrets manager), so that it stands in no configuration.
"""

# No `from __future__ import annotations` here: pydantic reads the fields of the resource as they stand.

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from importer.integrations.child import Ended, ImporterProcess, Verdict, run_arguments

_COUNTS = (
    "read", "accepted", "rejected", "duplicate", "suppressed", "withdrawn", "refused", "in_doubt", "pending", "import",
)  # fmt: skip


class ImporterResource(dg.ConfigurableResource):
    """The campaign that a token is for, at a host, and the ledger that remembers who was called in it.

    `command` starts an importer of another environment.
    """

    host: str
    token: str
    ledger: str
    command: list[str] | None = None

    def run(
        self,
        context: Any,
        lists: str | Sequence[str],
        *,
        round_name: str | None = None,
        once_per: str | Sequence[str] | None = None,
        list_name: str | None = None,
        adopt_since: Any = None,
        settings: Mapping[str, Any] | None = None,
        report: str | None = None,
    ) -> Any:
        """Runs a list: each row called once, whatever happens to this run. Gives a `MaterializeResult`.

        `round_name` is the occasion, such as `context.partition_key`; `settings` are those of importer.toml; `report`
        is where the page of the import goes (.html; it needs the extra `report`).
        **Errors**: `Failure`; the asset's retry policy repeats it only where that mends something.
        """
        said = {"list": list_name, "round": round_name, "once_per": once_per, "adopt_since": adopt_since}
        arguments = run_arguments(
            lists,
            host=self.host,
            ledger=self.ledger,
            run_id=f"dagster {context.run.root_run_id or context.run.run_id}",
            settings={**said, **(settings or {})},
        )
        with ImporterProcess(arguments, token=self.token, tell=context.log.log, command=self.command) as process:
            ended = process.wait()
        judge(ended, is_first=context.retry_number == 0)
        if ended.verdict is Verdict.WARN:
            context.log.warning(f"{ended.sentence()}. The rows that were not used: {ended.said.get('rejects_file')}")
        page = {} if report is None else self._report(context, ended, report)
        return dg.MaterializeResult(metadata={**metadata_of(ended), **page})

    def _report(self, context: Any, ended: Ended, file: str) -> dict[str, Any]:
        """The page of the import, written; a page that cannot be is told, and the run stays as well as it was."""
        words = ["report", f"--ledger={self.ledger}", f"--html={file}", "--", str(ended.said["import"])]
        lines: list[str] = []
        with ImporterProcess(words, token="", tell=lambda _, line: lines.append(line), command=self.command) as process:
            made = process.wait()
        context.log.log(20 if made.exit_code == 0 else 30, " ".join(lines))
        return {"report": dg.MetadataValue.path(file)} if made.exit_code == 0 else {}


def judge(ended: Ended, *, is_first: bool) -> None:
    """Turns the end of a process into what Dagster understands. **Errors**: Failure, with or without retries."""
    if ended.verdict in (Verdict.SUCCEED, Verdict.WARN):
        return
    is_mended = ended.verdict is Verdict.RETRY or (ended.verdict is Verdict.RETRY_ONCE and is_first)
    raise dg.Failure(description=ended.sentence(), metadata=metadata_of(ended), allow_retries=is_mended)


def metadata_of(ended: Ended) -> dict[str, Any]:
    """The balance, rejects by reason, and where ledger and rejects are; nothing for what a killed run never said."""
    said = ended.said
    kept: dict[str, Any] = {name: said[name] for name in _COUNTS if said.get(name) is not None}
    kept |= {name: dg.MetadataValue.path(said[name]) for name in ("ledger", "rejects_file") if said.get(name)}
    kept |= {name: said[name] for name in ("list", "round", "elapsed_s") if said.get(name)}
    if said.get("rejects_by_reason"):
        rows = [dg.TableRecord({"reason": reason, "rows": n}) for reason, n in said["rejects_by_reason"].items()]
        kept["rejects_by_reason"] = dg.MetadataValue.table(records=rows)
    return {**kept, "exit_code": ended.exit_code, "verdict": str(ended.verdict)}
