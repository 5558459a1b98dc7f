"""The page of an import: one file that shows people where every row is, and how it went.

Floor: beside api, above outcomes. Facts are gathered from one moment of the ledger, drawn, and put into a page that
loads nothing and tells no number of anybody. A newcomer may question that nothing is asked of the platform here: a
report that changes what it reports on, or fails when the platform is away, is of no use in the morning.
"""

from __future__ import annotations

from importer.report.facts import Facts, gather

__all__ = ["Facts", "gather"]
