"""What people see: one place through which every line goes, and the progress of a run.

Floor: cli. Talk goes to standard error, data to standard output. Cells of a list are shown with control characters made
visible, since a terminal would obey them. Progress counts settled facts and never goes back.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import click

from importer.machine import is_terminal
from importer.model import Balance, Event, Notice, ReadingProgress, SendingProgress

LINE_INTERVAL_S = 10.0
DRAW_INTERVAL_S = 0.1
COLUMNS_FOR_BAR = 110  # the bar with its percentage, the time left and the longest state beside it
LONGEST_CELL = 200
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})


def safe(text: str, *, keep_lines: bool = False, longest: int = 4000) -> str:
    """The text with everything a terminal could obey made visible, cut to a sane length."""
    shown = "".join(_shown(sign, keep_lines=keep_lines) for sign in text[:longest])
    return shown if len(text) <= longest else shown + "…"


def _shown(sign: str, *, keep_lines: bool) -> str:
    if (sign == "\n" and keep_lines) or unicodedata.category(sign) not in _UNSAFE:
        return sign
    return sign.encode("unicode_escape").decode("ascii")


@dataclass(kw_only=True, slots=True)
class Voice:
    """How standard error is spoken to: words for people, or one JSON object a line (`--log-format json`)."""

    is_json: bool = False


VOICE = Voice()  # one for the process, as standard error is


def say(text: str) -> None:
    """A line of talk on standard error."""
    if VOICE.is_json:
        log_line("said", message=text)
    else:
        click.echo(safe(text, keep_lines=True), err=True)


def log_line(event: str, *, level: str = "info", **fields: Any) -> None:
    """One structured line on standard error: when, how grave, what, and its fields; tokens and numbers masked."""
    from importer.client import redact

    moment = datetime.now(UTC).isoformat(timespec="milliseconds")
    said = {name: redact(value) if isinstance(value, str) else value for name, value in fields.items()}
    click.echo(json.dumps({"ts": moment, "level": level, "event": event, **said}, ensure_ascii=False), err=True)


class LogLines:
    """A run as structured lines: an observer, for `--log-format json`. Progress every ten seconds, and its end."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last_s = clock()

    def __call__(self, event: Event) -> None:
        """Takes an event of the engine."""
        match event:
            case Notice():
                log_line("notice", kind=event.kind, message=event.text)
            case ReadingProgress() if self._is_due():
                log_line("reading", **{name: getattr(event, name) for name in ReadingProgress.__dataclass_fields__})
            case SendingProgress() if event.balance.pending == 0 or self._is_due():
                counts = asdict(event.balance)
                log_line("sending", **counts, in_flight=event.in_flight, retries=event.retries)

    def _is_due(self) -> bool:
        now_s = self._clock()
        if now_s - self._last_s < LINE_INTERVAL_S:
            return False
        self._last_s = now_s
        return True


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """While somebody is being asked, one Ctrl-C ends the command: nothing is under way that could be drained."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def terminal_columns() -> int:
    """How wide the terminal is; COLUMNS counts, and 80 where nobody can tell."""
    return shutil.get_terminal_size().columns


def cut(text: str, columns: int) -> str:
    """The text, cut so that a terminal of so many columns shows it in one line with the cursor after it."""
    return text if len(text) < columns else text[: max(columns - 2, 0)] + "…"


class Progress:
    """Draws a run: a bar on a terminal, else a line every so often. An observer; use it in a `with`."""

    def __init__(self, *, is_quiet: bool = False) -> None:
        self._is_terminal = is_terminal(sys.stderr) and not is_quiet
        self._is_quiet = is_quiet
        self._bar: Any = None
        self._last_s = 0.0
        self._base_rows = 0
        self._started_s = 0.0
        self._is_line_open = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def __call__(self, event: Event) -> None:
        """Takes an event of the engine."""
        match event:
            case Notice():
                self.end_line()
                say(event.text)
            case ReadingProgress():
                self._draw_reading(event)
            case SendingProgress():
                self._draw_sending(event)

    def end_line(self) -> None:
        """Leaves the line that is being drawn."""
        if self._is_line_open:
            click.echo("", err=True)
            self._is_line_open = False

    def end(self) -> None:
        """Closes the bar."""
        self.end_line()
        if self._bar is not None:
            self._bar.render_finish()
            self._bar = None

    def _is_due(self, interval_s: float) -> bool:
        now_s = time.monotonic()
        if now_s - self._last_s < interval_s:
            return False
        self._last_s = now_s
        return True

    def _draw_reading(self, event: ReadingProgress) -> None:
        if self._is_quiet or not self._is_due(DRAW_INTERVAL_S if self._is_terminal else LINE_INTERVAL_S):
            return
        text = f"Reading: {event.read_rows:,} rows, {event.rejected_rows:,} bad, {event.duplicate_rows:,} repeated"
        if self._is_terminal:
            self._redraw(text)
        else:
            say(text)

    def _redraw(self, text: str) -> None:
        """Draws a line over itself, cut to the terminal: one that wraps could not be drawn over."""
        click.echo(f"\r{cut(text, terminal_columns())}\x1b[K", err=True, nl=False)
        self._is_line_open = True

    def _draw_sending(self, event: SendingProgress) -> None:
        if self._is_quiet:
            return
        balance = event.balance
        done = balance.settled
        if not self._started_s:
            self._started_s, self._base_rows = time.monotonic(), done
        is_last = balance.pending == 0
        if not is_last and not self._is_due(DRAW_INTERVAL_S if self._is_terminal else LINE_INTERVAL_S):
            return
        if self._is_terminal and terminal_columns() >= COLUMNS_FOR_BAR:
            self._draw_bar(balance, done, self._state(event, done))
        elif self._is_terminal:
            share = done / balance.read if balance.read else 1.0
            self._redraw(f"Sending {share:.0%} · {self._state(event, done)}")
        else:
            say(f"{done:,} of {balance.read:,} rows settled · {self._state(event, done)}")

    def _state(self, event: SendingProgress, done: int) -> str:
        balance = event.balance
        rate = (done - self._base_rows) / max(time.monotonic() - self._started_s, 0.001)
        parts = [f"{balance.accepted:,} accepted", f"{balance.pending:,} pending"]
        parts += [f"{balance.refused:,} declined"] if balance.refused else []
        parts += [f"{balance.in_doubt:,} in doubt"] if balance.in_doubt else []
        parts += [f"{event.retries:,} retries"] if event.retries else []
        return " · ".join([*parts, f"{rate:,.0f} rows/s"])

    def _draw_bar(self, balance: Balance, done: int, state: str) -> None:
        self.end_line()
        if self._bar is None:
            self._bar = click.progressbar(
                length=balance.read, label="Sending", file=sys.stderr, show_pos=False, item_show_func=lambda item: item
            )
            self._bar.__enter__()
            self._bar.update(self._base_rows)
        self._bar.update(done - self._bar.pos, state)
