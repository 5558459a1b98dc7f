"""Outcomes: what became of the calls, brought into the ledger from the platform's reports and joined to the rows.

Floor: beside campaigns and cancelling, above ledger and client. Reports repeat no payload, so the ledger is the only
place where an outcome and its row meet. `exporting` is not loaded with the rest: it needs polars.
"""

from importer.outcomes.refreshing import Refreshed, Refresher, RefreshSettings

__all__ = ["RefreshSettings", "Refreshed", "Refresher"]
