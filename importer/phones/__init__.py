"""Phone checking at column speed: a column of cells in, a column of E.164 and reasons out.

Floor: phones, pure; it imports `errors` and nothing else of ours. `check` judges exactly as `phonenumbers` does, from
tables made of the metadata that package ships; `reference.check` is the same judgement row by row, and the oracle of
the tests. A newcomer may wonder why damage is looked for before reading: a damaged cell can be a valid wrong number.
"""

from __future__ import annotations

from importer.phones.engine import check
from importer.phones.report import Summary, explain, first_rejects, styles, summarise
from importer.phones.rules import DEFAULT_TYPES, METADATA_VERSION, REASONS, TYPES, WARNINGS, PhoneRules, types_from
from importer.phones.suggest import Rival, Suggestion, suggest_region

__all__ = [
    "DEFAULT_TYPES",
    "METADATA_VERSION",
    "REASONS",
    "TYPES",
    "WARNINGS",
    "PhoneRules",
    "Rival",
    "Suggestion",
    "Summary",
    "check",
    "explain",
    "first_rejects",
    "styles",
    "suggest_region",
    "summarise",
    "types_from",
]
