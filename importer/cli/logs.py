"""The log: silent unless IMPORTER_LOG names a level, and never with a token or a whole phone number in it."""

from __future__ import annotations

import logging
import os

from importer.errors import UsageProblem

_LEVELS = ("debug", "info", "warning", "error")


def start_log() -> None:
    """Sends the log to standard error at the level of IMPORTER_LOG, every line redacted.

    **Errors**: UsageProblem for a level nobody knows.
    """
    level = os.environ.get("IMPORTER_LOG", "").strip().lower()
    if not level:
        return
    if level not in _LEVELS:
        raise UsageProblem(f"IMPORTER_LOG={level} is no level.", hint=f"Use one of: {', '.join(_LEVELS)}.")
    from importer.client import RedactingFilter, hush_http_loggers

    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handler.addFilter(RedactingFilter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    hush_http_loggers()


def log_bug(problem: Exception) -> None:
    """Notes an unexpected failure with its traceback, redacted."""
    logging.getLogger("importer").debug("a bug stopped the run", exc_info=problem)
