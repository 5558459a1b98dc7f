"""The fault table: fault × runs × lost × duplicated, as everything that tortures prints it.

Floor: selftest. A finding is what one history, or one enumerated part, came to; the table adds them up by fault in the
order the faults were first met. `trouble` is whatever else went wrong, such as an exit code nobody should see: it fails
a run as surely as a lost row does, but it is not a row.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What histories of one fault came to. **Units**: `lost` and `duplicated` rows. `seed` repeats a history."""

    fault: str
    runs: int = 1
    lost: int = 0
    duplicated: int = 0
    trouble: str = ""
    seed: int | None = None

    @property
    def is_well(self) -> bool:
        """True when no row was lost or called twice and nothing else went wrong."""
        return not (self.lost or self.duplicated or self.trouble)


@dataclass(frozen=True, kw_only=True, slots=True)
class FaultLine:
    """One line of the table."""

    fault: str
    runs: int
    lost: int
    duplicated: int


def tally(findings: Iterable[Finding]) -> list[FaultLine]:
    """The findings added up, a line per fault."""
    lines: dict[str, FaultLine] = {}
    for each in findings:
        line = lines.get(each.fault) or FaultLine(fault=each.fault, runs=0, lost=0, duplicated=0)
        lines[each.fault] = replace(
            line,
            runs=line.runs + each.runs,
            lost=line.lost + each.lost,
            duplicated=line.duplicated + each.duplicated,
        )
    return list(lines.values())


def markdown(lines: Iterable[FaultLine]) -> str:
    """The table in Markdown."""
    head = ["| fault | runs | lost | duplicated |", "|---|---:|---:|---:|"]
    return "\n".join([*head, *(f"| {e.fault} | {e.runs:,} | {e.lost} | {e.duplicated} |" for e in lines)])
