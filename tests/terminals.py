"""Commands at a terminal, as a person has them: what is shown, what is typed, and Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from workbench import environment

LONGEST_S = 30.0


class Terminal:
    """A command whose input and output are a terminal, as far as it can tell."""

    def __init__(self, *arguments: str | Path, folder: Path, **more: str) -> None:
        self._ours, theirs = os.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "importer", *map(str, arguments)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment(**more),
            cwd=folder,
            start_new_session=True,
        )
        os.close(theirs)
        self.shown = ""

    def until(self, text: str) -> None:
        """Reads until a text is shown."""
        until_s = time.monotonic() + LONGEST_S
        while text not in self.shown and self._read() and time.monotonic() < until_s:
            pass
        assert text in self.shown, self.shown

    def _read(self) -> bool:
        if not select.select([self._ours], [], [], 0.1)[0]:
            return True
        try:
            piece = os.read(self._ours, 65_536)
        except OSError:  # how Linux says that nobody holds the other end any more
            return False
        self.shown += piece.decode(errors="replace")
        return bool(piece)

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def interrupt(self) -> None:
        """What Ctrl-C does. One that comes an instant before the terminal is read is seen by nobody, so it may come
        again; where the first was heeded, but only as a wish, the second kills, which is another exit code."""
        for _ in range(5):
            self.process.send_signal(signal.SIGINT)
            if self._ended(3.0):
                return

    def _ended(self, within_s: float) -> bool:
        until_s = time.monotonic() + within_s
        while (is_open := self._read()) and time.monotonic() < until_s:
            pass
        return not is_open

    def code(self) -> int:
        """Reads to the end; the exit code."""
        assert self._ended(LONGEST_S), self.shown
        return self.process.wait(timeout=LONGEST_S)

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait(timeout=LONGEST_S)
        os.close(self._ours)


@contextlib.contextmanager
def terminal(folder: Path, *arguments: str | Path, **more: str) -> Iterator[Terminal]:
    """A command in a folder, with more in its environment; killed at the end if it has not ended."""
    screen = Terminal(*arguments, folder=folder, **more)
    try:
        yield screen
    finally:
        screen.close()
