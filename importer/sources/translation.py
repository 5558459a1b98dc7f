"""What polars says when it cannot read something, said once in our words. Floor "sources".

A Rust panic reaches Python as PanicException, which is no Exception: it is caught here by name, because a list that
crashes the parser is a bad list and not a bug of the run. An abort of the whole process cannot be caught by anyone:
what may bring one about is read by a child (`apart.py`), and the ledger survives it anyway, as it survives a kill.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import polars as pl
from polars.exceptions import PanicException

from importer.errors import ListProblem


@contextmanager
def polars_translated(name: str) -> Iterator[None]:
    """Turn polars' errors and panics about a file into ListProblem, cause kept."""
    try:
        yield
    except pl.exceptions.PolarsError as cause:
        first_line = str(cause).splitlines()[0] if str(cause) else type(cause).__name__
        raise ListProblem(f"{name} cannot be read: {first_line}", hint="Save the list anew and try that.") from cause
    except PanicException as cause:
        raise ListProblem(f"{name} made the parser give up", hint="Save the list anew and try that.") from cause
