"""Bulk phone-list importer with a durable queue.

The promise: kill it anywhere, run the same command again: no number is called twice, no row is lost,
as long as the platform remembers a request's key (one day). See docs/GUARANTEES.md for the conditions.

The package root imports nothing heavy: `importer --help` must answer before polars could be loaded. What it offers to
programs (`from importer import CallsApi`) is loaded when it is asked for.
"""

import importlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importer.client import CallsApi as CallsApi

__version__ = "0.1.0"
__all__ = ["CallsApi", "__version__"]


def __getattr__(name: str) -> object:
    """The client of the Calls API, loaded late. **Errors**: AttributeError for any other name."""
    if name != "CallsApi":
        raise AttributeError(f"module 'importer' has no attribute {name!r}")
    return importlib.import_module("importer.client").CallsApi
