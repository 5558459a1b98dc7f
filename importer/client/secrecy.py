"""What must not be shown, and how text is made safe to show: the campaign token first, phone numbers next.

Floor: client. A newcomer may question that redaction guesses by pattern (what stands after `campaign/`, whatever
looks like a token or a phone number) although the token is known here: log lines of other libraries pass through it
too, and a token may be printed by code that never met our `Secret`.
"""

from __future__ import annotations

import logging
import re
from typing import Generic, NoReturn, TypeVar

MASK = "***"

T = TypeVar("T")


class Secret(Generic[T]):
    """A value that shows itself only when asked by name: never in repr, str, format or pickle."""

    __slots__ = ("_value",)

    def __init__(self, value: T) -> None:
        self._value = value

    def reveal(self) -> T:
        """The value itself; every call of this is a place to look at in a review."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled: it would leave this process in the clear")


# The path segment after `campaign/`; int.int.base62, the shape tokens have; a query's phone; E.164 has 7 to 15 digits.
_IN_PATH = re.compile(r"(campaign(?:/|%2[fF]))[^/?#%\s\"'\\]+")
_TOKEN_SHAPE = re.compile(r"(?<![\w.])\d{1,12}\.\d{1,12}\.[0-9A-Za-z]{6,}(?![\w.])")
_QUERY_PHONE = re.compile(r"(\bphone=)[^&\s\"'\\]+")
_PHONE = re.compile(r"(?<![\w.])(\+?)(\d{7,15})(?![\w.]*\w)")


def redact(text: str, *secrets: Secret[str], shows_numbers: bool = False) -> str:
    """The text with tokens as `***` and phone numbers as `+7900***1234`; `secrets` are masked wherever they stand."""
    for secret in secrets:
        text = text.replace(secret.reveal(), MASK)
    text = _IN_PATH.sub(rf"\1{MASK}", text)
    text = _TOKEN_SHAPE.sub(MASK, text)
    if shows_numbers:
        return text
    text = _QUERY_PHONE.sub(rf"\1{MASK}", text)
    return _PHONE.sub(lambda found: found[1] + _masked_digits(found[2]), text)


def _masked_digits(digits: str) -> str:
    """Enough to recognise a number one knows, too little to dial it; short ones keep two digits only."""
    return f"{digits[:4]}{MASK}{digits[-4:]}" if len(digits) > 10 else f"{MASK}{digits[-2:]}"


class RedactingFilter(logging.Filter):
    """Rewrites each log record through `redact`; put it on every handler, since a logger's filter skips its children.

    The record is formatted here, traceback included, because its arguments may be objects whose text holds the token.
    """

    def __init__(self, *secrets: Secret[str], shows_numbers: bool = False) -> None:
        super().__init__()
        self._secrets = secrets
        self._shows_numbers = shows_numbers

    def filter(self, record: logging.LogRecord) -> bool:
        """Keeps every record, changed."""
        record.msg, record.args = self._redacted(record.getMessage()), None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = self._redacted(record.exc_text)
        record.exc_info = None
        record.stack_info = self._redacted(record.stack_info) if record.stack_info else None
        return True

    def _redacted(self, text: str) -> str:
        return redact(text, *self._secrets, shows_numbers=self._shows_numbers)


_LOUD_LOGGERS = (
    "httpx",
    "httpcore",
    "httpcore.connection",
    "httpcore.http11",
    "httpcore.http2",
    "httpcore.proxy",
    "httpcore.socks",
)
_PATTERNS_ONLY = RedactingFilter()


def hush_http_loggers() -> None:
    """Sets the HTTP libraries' loggers to WARNING where nobody chose a level, and redacts what they still say."""
    for name in _LOUD_LOGGERS:
        logger = logging.getLogger(name)
        logger.addFilter(_PATTERNS_ONLY)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.WARNING)
