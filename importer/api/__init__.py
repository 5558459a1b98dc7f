"""The Python API: `run_import`, `check_list` and the ledger as a window, for programs instead of people.

Floor: api, beside the demo and above `run`, which does the work; the command line is not beneath it, and nothing here
prints, asks, exits or looks at the environment. A newcomer may question that settings are keyword arguments and not a
record: they read like the options of `importer run`, and one table of them is judged by the type checker and as it
runs. `from importer import run_import` is the way in; this package is loaded when one of those names is asked for.
"""

from importer.api.frames import Frame, Source
from importer.api.importing import check_list, run_import
from importer.api.options import CheckOptions, ListOptions, RunOptions
from importer.api.results import CheckResult, ImportResult, Refusal
from importer.api.window import Explanation, ImportSummary, Ledger

__all__ = [
    "CheckOptions",
    "CheckResult",
    "Explanation",
    "Frame",
    "ImportResult",
    "ImportSummary",
    "Ledger",
    "ListOptions",
    "Refusal",
    "RunOptions",
    "Source",
    "check_list",
    "run_import",
]
