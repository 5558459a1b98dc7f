"""The ledger as it lies there: its file, its sums, who holds it, the disk under it, and how large it will grow.

A newcomer may question that the quick look stops at a size: SQLite's own check reads the whole file, and
`importer ledger check` is there for that.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from importer.doctor.findings import NOTE, OK, WARNING, WRONG, Finding
from importer.errors import ImporterError
from importer.ledger import LedgerReader
from importer.ledger.erasing import KEPT, Scope
from importer.ledger.opening import SCHEMA_VERSION
from importer.machine import MOUNTS, file_system, holder_of, network_file_system, read_by_others, written_by_others
from importer.purging import DEFAULT_KEEP_S

LARGEST_QUICK_BYTES = 512 * 1024 * 1024
LEAST_FREE_BYTES = 64 * 1024 * 1024
LITTLE_FREE_BYTES = 1024 * 1024 * 1024
MOST_IMPORTS = 200
FEWEST_ROWS = 1000  # below, the empty tables weigh more than the rows
DAY_MS = 86_400_000
DAY_S = 86_400
FORECAST_DAYS = 90
YEAR_DAYS = 365
STAND_IN_BYTES = 8  # by so much a stand-in is longer than a number


def examine_ledger(path: Path, *, now_ms: int, keep_for_s: Sequence[float] = (DEFAULT_KEEP_S,)) -> list[Finding]:
    """The file, its content, its holder, its growth, and what will be erased when.

    `keep_for_s`: how long its campaigns keep what was settled; the longest counts for how it will grow.
    """
    if not path.exists():
        text = f"{path} is not there yet; the first run makes it"
        return [Finding(what="ledger", state=NOTE, text=text, facts={"path": str(path), "is_there": False})]
    try:
        with LedgerReader(path) as reader:
            keep_s = max(keep_for_s, default=DEFAULT_KEEP_S)
            growth = _growth(path, reader, now_ms, keep_s)
            return [*_content(path, reader), _holder(path), growth, *_erasure(reader, now_ms, keep_s)]
    except ImporterError as problem:
        facts = {"path": str(path), "is_there": True}
        return [Finding(what="ledger", state=WRONG, text=problem.message, hint=problem.hint, facts=facts, exit_code=5)]


def _content(path: Path, reader: LedgerReader) -> list[Finding]:
    size_bytes = _size_bytes(path)
    facts: dict[str, object] = {"path": str(path), "is_there": True, "format": SCHEMA_VERSION, "size_bytes": size_bytes}
    reader.witness.judge()
    said = reader.view.quick_check() if size_bytes <= LARGEST_QUICK_BYTES else "too large for a quick look"
    lines = reader.view.imports(MOST_IMPORTS)
    uneven = [line.an_import.id for line in lines if line.an_import.is_complete and not line.balance.is_even]
    if said not in ("ok", "too large for a quick look") or uneven:
        what = f"the sums of import {uneven[0]} do not add up" if uneven else said
        hint = "Nothing should be sent with it. `importer ledger check` shows what is wrong."
        return [Finding(what="ledger", state=WRONG, text=f"{path}: {what}", hint=hint, facts=facts, exit_code=5)]
    checked = "sound" if said == "ok" else said
    text = f"{path}: format {SCHEMA_VERSION}, {size(size_bytes)}, imports: {len(lines):,}, {checked}"
    found = [Finding(what="ledger", state=OK, text=text, facts=facts), *_left_over(reader)]
    warnings = filter(None, (read_by_others(path), written_by_others(path.parent)))
    return [*found, *(Finding(what="ledger", state=WARNING, text=warning) for warning in warnings)]


def _size_bytes(path: Path) -> int:
    """The file and what of it still lies in its -wal."""
    wal = path.with_name(f"{path.name}-wal")
    return path.stat().st_size + (wal.stat().st_size if wal.exists() else 0)


def _left_over(reader: LedgerReader) -> list[Finding]:
    """What waits for a run, and what for a person."""
    lines = reader.view.imports(MOST_IMPORTS)
    open_ones = [line for line in lines if line.balance.pending]
    doubtful = sum(line.balance.in_doubt for line in lines)
    found = []
    if open_ones:
        rows, newest = sum(line.balance.pending for line in open_ones), open_ones[0].an_import.id
        found.append(
            Finding(
                what="imports",
                state=NOTE,
                text=f"{rows:,} rows are pending, imports: {len(open_ones):,}",
                hint=f"Run their lists again, or: importer send {newest}",
                facts={"pending": rows, "unfinished": len(open_ones)},
            )
        )
    if doubtful:
        hint = "importer reconcile, then importer resolve"
        text = f"{doubtful:,} rows are in doubt"
        found.append(Finding(what="imports", state=WARNING, text=text, hint=hint, facts={"in_doubt": doubtful}))
    return found


def _holder(path: Path) -> Finding:
    owner = holder_of(path)
    if owner is None:
        return Finding(what="lock", state=OK, text="nobody holds the ledger", facts={"holder": None})
    return Finding(what="lock", state=NOTE, text=f"held by {owner}", facts={"holder": str(owner)})


def _growth(path: Path, reader: LedgerReader, now_ms: int, keep_s: float) -> Finding:
    """How large the ledger will be, if lists keep coming as they do, and what is due is erased."""
    size_bytes = _size_bytes(path)
    total_rows, first_ms = reader.view.rows_read()
    if first_ms is None or total_rows < FEWEST_ROWS:
        return Finding(what="growth", state=NOTE, text=f"too few rows to go by ({total_rows:,})")
    lately_rows, _ = reader.view.rows_read(since_ms=now_ms - 30 * DAY_MS)
    days = min(30.0, max(1.0, (now_ms - first_ms) / DAY_MS))
    per_row = size_bytes / total_rows
    growth_bytes = round(per_row * lately_rows / days * FORECAST_DAYS)
    year_bytes = size_bytes + round(per_row * lately_rows / days * YEAR_DAYS)
    year_bytes -= _spared_bytes(reader, lately_rows / days, keep_s)
    text = (
        f"{per_row:,.0f} bytes a row; {lately_rows / days:,.0f} rows a day lately: "
        f"about {size(size_bytes + growth_bytes)} in {FORECAST_DAYS} days, {size(year_bytes)} in a year"
    )
    free_bytes = shutil.disk_usage(path.parent).free
    facts = {"bytes_per_row": round(per_row, 1), "rows_a_day": round(lately_rows / days, 1)}
    facts |= {f"forecast_{FORECAST_DAYS}_days_bytes": size_bytes + growth_bytes, "forecast_year_bytes": year_bytes}
    if growth_bytes > free_bytes:
        hint = "Give it a larger disk, or `importer ledger vacuum` after old imports were erased."
        return Finding(what="growth", state=WARNING, text=f"{text}, more than is free", hint=hint, facts=facts)
    return Finding(what="growth", state=OK, text=text, facts=facts)


def _spared_bytes(reader: LedgerReader, rows_a_day: float, keep_s: float) -> int:
    """What erasing gives back within a year: frozen bytes, less the stand-ins that take the place of numbers."""
    held_rows, held_bytes = reader.erasing.held()
    days_ahead = YEAR_DAYS - keep_s / DAY_S
    if not held_rows or days_ahead <= 0:
        return 0
    erased_rows = held_rows + rows_a_day * days_ahead
    return max(0, round(erased_rows * (held_bytes / held_rows - STAND_IN_BYTES)))


def _erasure(reader: LedgerReader, now_ms: int, keep_s: float) -> list[Finding]:
    """What will be erased when, by itself; and whether free pages still hold something."""
    found = [_due(reader, now_ms, keep_s)]
    if not reader.erasing.is_wiped():
        text = "what was erased may still stand between records of the file"
        hint = "`importer ledger vacuum` writes it anew, when no run needs it."
        found.append(Finding(what="erasure", state=WARNING, text=text, hint=hint, facts={"is_wiped": False}))
    return found


def _due(reader: LedgerReader, now_ms: int, keep_s: float) -> Finding:
    facts: dict[str, object] = {"erased_rows": reader.erasing.erased_rows(), "due_rows": 0, "next_at": None}
    if math.isinf(keep_s):
        hint = "`importer purge --older-than 90d` erases them; keep_for in importer.toml does so by itself."
        text = "numbers and payloads are kept until somebody erases them"
        return Finding(what="erasure", state=NOTE, text=text, hint=hint, facts={**facts, "keep_for_days": None})
    before_ms = now_ms - round(keep_s * 1000)
    due = reader.erasing.look(Scope(cause=KEPT, before_ms=before_ms, asked_ms=before_ms))
    oldest_ms = reader.erasing.oldest_ms()
    days = keep_s / DAY_S
    facts |= {"keep_for_days": days, "due_rows": due.rows}
    text = f"numbers and payloads of settled rows are erased after {days:g} days: {due.rows:,} rows are due"
    if oldest_ms is not None and not due.rows:
        next_at = datetime.fromtimestamp(oldest_ms / 1000 + keep_s, UTC)
        facts["next_at"] = next_at.isoformat(timespec="seconds")
        text += f", the next on {next_at:%Y-%m-%d}"
    left = due.pending + due.in_doubt
    if left:
        text += f"; {left:,} rows as old are not settled, and stay until they are"
    hint = "The next run erases them; `importer purge` does so now." if due.rows else ""
    return Finding(what="erasure", state=OK, text=text, hint=hint, facts=facts)


@dataclass(frozen=True, kw_only=True, slots=True)
class Disk:
    """Free and total bytes of a disk."""

    free_bytes: int
    total_bytes: int


def examine_disk(path: Path, *, mounts: Path = MOUNTS, disk: Disk | None = None) -> list[Finding]:
    """The disk that a ledger lies on, or will lie on: room, and a file system whose locks can be trusted."""
    folder = next(each for each in (path.absolute().parent, *path.absolute().parents) if each.is_dir())
    usage = shutil.disk_usage(folder)
    disk = disk or Disk(free_bytes=usage.free, total_bytes=usage.total)
    room = f"{size(disk.free_bytes)} of {size(disk.total_bytes)} free at {folder}"
    facts = {"free_bytes": disk.free_bytes, "total_bytes": disk.total_bytes}
    kind = network_file_system(folder, mounts)
    return [_room(disk, room, facts), _kind(folder, kind, file_system(folder, mounts))]


def _room(disk: Disk, text: str, facts: dict[str, int]) -> Finding:
    hint = "Free some space before the next run."
    if disk.free_bytes < LEAST_FREE_BYTES:
        return Finding(what="disk", state=WRONG, text=text, hint=hint, facts=facts, exit_code=5)
    if disk.free_bytes < LITTLE_FREE_BYTES:
        return Finding(what="disk", state=WARNING, text=text, hint=hint, facts=facts)
    return Finding(what="disk", state=OK, text=text, facts=facts)


def _kind(folder: Path, network: str | None, kind: str | None) -> Finding:
    facts = {"kind": kind, "is_network": network is not None}
    if network is not None:
        text, hint = (
            f"{folder} is on a network ({network})",
            "Keep the ledger on a local disk: locks cannot be trusted.",
        )
        return Finding(what="file system", state=WRONG, text=text, hint=hint, facts=facts, exit_code=5)
    return Finding(what="file system", state=OK, text=f"{kind or 'local, as far as can be told'}", facts=facts)


def size(size_bytes: float) -> str:
    """Bytes in the unit that fits them."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size_bytes < 1024:
            return f"{size_bytes:,.0f} {unit}" if unit == "bytes" else f"{size_bytes:,.1f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:,.1f} TiB"
