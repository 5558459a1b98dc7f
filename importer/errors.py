"""Every way a run stops, with the exit code the shell sees.

    ImporterError
    ├── UsageProblem           2   options or configuration; nothing was touched
    ├── ListProblem            4   the list cannot be read, or a safety check says no; nothing was sent
    ├── LedgerProblem          5   the ledger cannot be trusted or written; nothing more is sent
    ├── ApiRefusal             6   the API said no for good: token, stopped campaign
    ├── ApiAway                7   no answer; running again later settles more
    └── LedgerHeld             9   another run owns the ledger

Expected things (a bad number, a 429) are values, not exceptions. A message says what happened, where, and the
next step; foreign errors are translated once, with their cause kept, and never carry the token.
"""

from __future__ import annotations


class ImporterError(Exception):
    """A run cannot go on. `message` says what happened, `hint` what to do next; `exit_code` is the process's."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        # Set on the way up, once it is known: which import was at work, and (balance, start) for `--json`.
        self.import_id: int | None = None
        self.known: tuple[object, float] | None = None


class UsageProblem(ImporterError):
    """An option or the configuration is wrong; nothing was read or written."""

    exit_code = 2


class ListProblem(ImporterError):
    """The list cannot be read, or a safety check refused it; nothing was sent."""

    exit_code = 4


class LedgerProblem(ImporterError):
    """The ledger cannot be opened, trusted or written; nothing more is sent."""

    exit_code = 5


class ApiRefusal(ImporterError):
    """The API said no for good: the token is unknown or the campaign is stopped."""

    exit_code = 6


class ApiAway(ImporterError):
    """The API gave no answer in time; nothing is lost, run the same command again."""

    exit_code = 7


class LedgerHeld(ImporterError):
    """Another run owns the ledger."""

    exit_code = 9
