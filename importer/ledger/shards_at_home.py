"""An import at home that was merged of shards: which of them are open, and that those are theirs to go on with.

Floor: ledger, pure. While a shard is open, its own ledger knows what it has sent since it was merged; home does not.
"""

from __future__ import annotations

from collections.abc import Sequence

from importer.errors import ListProblem
from importer.ledger.records import Import

SHARDS = "shards"  # the setting of an import that was merged: {"of": 4, "merged": {"2": …}}


def open_shards_of(an_import: Import) -> list[int]:
    """The shards of a merged import that were not brought home settled; none for any other import."""
    said = an_import.settings.get(SHARDS)
    if said is None or an_import.facts.get("adopted_since_ms"):
        return []
    merged = said["merged"]
    return [k for k in range(1, int(said["of"]) + 1) if not merged.get(str(k), {}).get("is_finished")]


def judge_own_shards(an_import: Import, *, is_adopting: bool) -> None:
    """Refuses to go on at home with what the shards' own ledgers go on with. **Errors**: ListProblem."""
    open_shards = open_shards_of(an_import)
    if open_shards and not (is_adopting and an_import.is_complete):
        raise ListProblem(
            f"Import {an_import.id} is its shards' to go on with: {few(open_shards)} of "
            f"{an_import.settings[SHARDS]['of']} are not settled and merged. Nothing was done.",
            hint="Run those shards again with their own ledgers, then merge them. If their ledgers are lost, say\n"
            "since when they may have sent: importer send --adopt-since TIME.",
        )


def few(numbers: Sequence[int]) -> str:
    """The first of many numbers, for a message."""
    return ", ".join(map(str, numbers[:8])) + (", …" if len(numbers) > 8 else "")
