"""The log: silent unless IMPORTER_LOG names a level, and never with a token or a whole phone number in it."""

from __future__ import annotations

import json
import logging
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from importer.cli.console import VOICE, safe
from importer.errors import UsageProblem

if TYPE_CHECKING:
    from importer.client import Secret

_LEVELS = ("debug", "info", "warning", "error")


class _JsonLines(logging.Formatter):
    """One JSON object for a message."""

    def format(self, record: logging.LogRecord) -> str:
        """The object, in the shape of all structured lines."""
        fields = {"ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")}
        fields |= {"level": record.levelname.lower(), "event": "log", "logger": record.name}
        fields |= {"message": record.getMessage()}
        if record.exc_text:
            fields["traceback"] = record.exc_text
        return json.dumps(fields, ensure_ascii=False)


class _Lines(logging.Formatter):
    """One line for a message, whatever is in it, and nothing that a terminal would obey."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        """The line; a line end inside the message would look like the next message."""
        record.message = safe(record.message)
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        """The line, and its traceback below."""
        return safe(super().format(record), keep_lines=True, longest=100_000)


def start_log(*secrets: Secret[str], shows_numbers: bool = False) -> None:
    """Sends the log to standard error at the level of IMPORTER_LOG, every line redacted.

    `secrets` are masked wherever they stand; without them, what looks like one.
    **Errors**: UsageProblem for a level nobody knows.
    """
    level = os.environ.get("IMPORTER_LOG", "").strip().lower()
    if not level:
        return
    if level not in _LEVELS:
        raise UsageProblem(f"IMPORTER_LOG={level} is no level.", hint=f"Use one of: {', '.join(_LEVELS)}.")
    from importer.client import RedactingFilter, hush_http_loggers

    handler = logging.StreamHandler()
    words = _Lines("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(_JsonLines() if VOICE.is_json else words)
    handler.addFilter(RedactingFilter(*secrets, shows_numbers=shows_numbers))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    hush_http_loggers()


def log_bug(problem: Exception) -> None:
    """Notes an unexpected failure with its traceback, redacted."""
    logging.getLogger("importer").debug("a bug stopped the run", exc_info=problem)
