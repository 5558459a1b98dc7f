"""Bulk phone-list importer with a durable queue.

The promise: kill it anywhere, run the same command again: no number is called twice, no row is lost,
as long as the platform remembers a request's key (one day). See docs/GUARANTEES.md for the conditions.

The package root imports nothing heavy: `importer --help` must answer before polars could be loaded.
"""

__version__ = "0.1.0"
