"""The client of a campaign, reached as a target says: the one place where a target becomes a client.

Floor: run. Who builds it says how long a request may take, how many go at once, and which kind of client it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from importer.client import CallsApi
from importer.run.settings import Target


def calls_api(
    target: Target,
    *,
    timeout_s: float,
    connections: int,
    made_by: Callable[..., CallsApi] = CallsApi,
    **more: Any,
) -> CallsApi:
    """A client for a target; `more` is for the kind of client. **Errors**: UsageProblem for settings that cannot be."""
    return made_by(
        target.origin,
        target.token.reveal(),
        timeout_s=timeout_s,
        connections=connections,
        ca_file=target.ca_file,
        proxy=None if target.proxy is None else target.proxy.reveal(),
        allow_insecure_http=target.is_insecure_http_fine,
        **more,
    )
