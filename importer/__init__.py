"""Bulk phone-list importer with a durable queue.

The promise: kill it anywhere, run the same command again: no number is called twice, no row is lost,
as long as the platform remembers a request's key (one day). See docs/GUARANTEES.md for the conditions.

The package root imports nothing heavy: `importer --help` must answer before polars could be loaded. What it offers to
programs (`from importer import run_import`) is loaded when it is asked for; docs/PYTHON.md explains each name.
"""

import importlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importer.api import CheckResult as CheckResult
    from importer.api import ImportResult as ImportResult
    from importer.api import Ledger as Ledger
    from importer.api import check_list as check_list
    from importer.api import run_import as run_import
    from importer.client import CallsApi as CallsApi
    from importer.errors import ImporterError as ImporterError
    from importer.machine import StopSignals as StopSignals
    from importer.model import Balance as Balance
    from importer.model import Notice as Notice
    from importer.model import ReadingProgress as ReadingProgress
    from importer.model import SendingProgress as SendingProgress

__version__ = "0.1.0"
__all__ = [
    "Balance",
    "CallsApi",
    "CheckResult",
    "ImportResult",
    "ImporterError",
    "Ledger",
    "Notice",
    "ReadingProgress",
    "SendingProgress",
    "StopSignals",
    "__version__",
    "check_list",
    "run_import",
]

_HOMES = {
    "importer.api": ("CheckResult", "ImportResult", "Ledger", "check_list", "run_import"),
    "importer.client": ("CallsApi",),
    "importer.errors": ("ImporterError",),
    "importer.machine": ("StopSignals",),
    "importer.model": ("Balance", "Notice", "ReadingProgress", "SendingProgress"),
}


def __getattr__(name: str) -> object:
    """What programs ask for, loaded late. **Errors**: AttributeError for any other name."""
    home = next((home for home, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module 'importer' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    """What there is to ask for, before any of it is loaded."""
    return sorted({*globals(), *__all__})
