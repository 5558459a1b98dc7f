"""Word that a run is over: to a command, or to an address, with the balance and no number of anybody.

What goes wrong here is a sentence for a person; it never changes how the run ended.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Mapping
from typing import Any

from importer.client import redact
from importer.client.posting import post_json
from importer.model import Balance

LONGEST_COMMAND_S = 60.0
LONGEST_POST_S = 15.0
_SECRET = ("IMPORTER_TOKEN", "IMPORTER_PROXY")


def summary_of(
    exit_code: int,
    balance: Balance | None,
    *,
    import_id: int | None,
    error: str | None,
    list_name: str | None = None,
    round_name: str | None = None,
    rejects: Mapping[str, int] | None = None,
    elapsed_s: float | None = None,
) -> dict[str, Any]:
    """What is told: the names that `--json` uses, counts and no cells; what the platform said is masked."""
    counts = {name: None if balance is None else getattr(balance, name) for name in Balance.__dataclass_fields__}
    return {
        "import": import_id,
        **counts,
        "exit_code": exit_code,
        "error": None if error is None else redact(error),
        "list": None if list_name is None else redact(list_name),
        "round": round_name,
        "rejects_by_reason": dict(rejects or {}),
        "elapsed_s": None if elapsed_s is None else round(elapsed_s, 3),
    }


def tell(hook: str, summary: Mapping[str, Any]) -> str | None:
    """Tells a command (JSON on its standard input) or an address (JSON by POST). None when it heard, else why not."""
    if hook.lower().startswith(("http://", "https://")):
        return post_json(hook, summary, timeout_s=LONGEST_POST_S)
    return _run(hook, summary)


def _run(command: str, summary: Mapping[str, Any]) -> str | None:
    """Runs a command without a shell; its output goes where our talk goes."""
    try:
        words = shlex.split(command, posix=os.name != "nt")
    except ValueError as problem:
        return f"the command cannot be read: {problem}"
    name = words[0] if words else "the command"
    known = {key: value for key, value in os.environ.items() if key not in _SECRET}
    known |= {"IMPORTER_EXIT_CODE": str(summary["exit_code"])}
    try:
        done = subprocess.run(  # noqa: S603 - the user's own command, from the user's own settings
            words, input=json.dumps(summary, ensure_ascii=False).encode(), env=known, stdout=2,
            timeout=LONGEST_COMMAND_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"{name} did not end within {LONGEST_COMMAND_S:.0f} s and was stopped"
    except (OSError, ValueError, IndexError) as problem:
        return f"{name} could not be started ({getattr(problem, 'strerror', None) or type(problem).__name__})"
    return f"{name} ended with {done.returncode}" if done.returncode else None
