"""One JSON object posted to an address of the user's own: word that a run is over. Floor: client.

Not the Calls API: no token goes there. The address itself may be a secret (chat services put one in its path), so no
message shows more of it than the host.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

from importer import __version__
from importer.client.secrecy import hush_http_loggers


def post_json(url: str, content: Mapping[str, Any], *, timeout_s: float) -> str | None:
    """Posts it once; None when the answer was 2xx, else what went wrong, without the address."""
    hush_http_loggers()
    headers = {"Content-Type": "application/json", "User-Agent": f"phone-list-importer/{__version__}"}
    try:
        with httpx.Client(timeout=timeout_s, follow_redirects=False, trust_env=False) as client:
            answer = client.post(url, content=json.dumps(content, ensure_ascii=False).encode(), headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as problem:
        return f"{host_of(url)} could not be told ({type(problem).__name__})"
    return None if answer.is_success else f"{host_of(url)} answered {answer.status_code}"


def host_of(url: str) -> str:
    """The part of an address that may be shown."""
    try:
        return urlsplit(url).hostname or "the address"
    except ValueError:
        return "the address"
