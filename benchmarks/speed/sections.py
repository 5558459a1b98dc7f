"""What is measured, section by section; each prints its table and gives its lines as they are kept.

A section makes what it needs in a folder of its own, so that each can be run by itself, and one that fails takes no
other with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import contenders
import measure
from contenders import DEFAULT, FLOOR, LATENCY, OURS, THROUGHPUT, Contender, Race
from make_list import rows_from, write_list
from measure import Cost, Field

Line = dict[str, object]
MILLION = 1_000_000
LATENCY_ROWS, LATENCY_S = 200_000, 0.02
SANDBOX_ROWS = 500_000
NEARLY = 0.99
CAPACITY = ((20, 15.0), (10, 15.0), (20, 15.0))  # slots, for so many seconds
SLOT_S = 0.1
MOST_IN_FLIGHT = 64
SETTLED_S = 5.0  # the end of a phase, when the number in flight has settled
WINDOW_S = 2.0
ENOUGH = 0.9


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much: rows of the long races, rounds of each race, and rows of the memory curve."""

    rows: int
    rounds: int
    curve: tuple[int, ...]


def throughput(plan: Plan, folder: Path) -> list[Line]:
    """A list in thousands, beside dlt, a script and the floor."""
    return _raced(THROUGHPUT, plan.rows, plan.rounds, folder, f"{plan.rows:,} rows in thousands")


def default(plan: Plan, folder: Path) -> list[Line]:
    """The same, once, beside dlt as it comes."""
    return _raced(DEFAULT, plan.rows, 1, folder, f"{plan.rows:,} rows in thousands, dlt's default form")


def latency(plan: Plan, folder: Path) -> list[Line]:
    """A platform that takes its time, beside durable queues."""
    rows = min(plan.rows, LATENCY_ROWS)
    title = f"{rows:,} rows in hundreds, {LATENCY_S * 1000:.0f} ms latency, 8 in flight"
    return _raced(LATENCY, rows, plan.rounds, folder, title, latency_s=LATENCY_S, batch_rows=100)


def _raced(
    who: dict[str, Contender], rows: int, rounds: int, folder: Path, title: str, *, latency_s: float = 0.0,
    batch_rows: int = 1000,
) -> list[Line]:  # fmt: skip
    write_list(rows, folder / "list.csv")
    with measure.receiver(latency_s) as origin:
        field = Field(folder=folder, rows=folder / "list.csv", origin=origin, batch_rows=batch_rows)
        return _shown(title, rows, contenders.race(who, field, rows, rounds))


def _shown(title: str, rows: int, race: Race) -> list[Line]:
    print(
        f"\n{title}\n{'':<24} {'wall':>8} {'rows/s':>10} {'CPU':>8} {'memory':>9} {'their wall':>11} {'their CPU':>10}"
    )
    lines: list[Line] = []
    for name, costs in race.costs.items():
        middle = measure.median(costs)
        wall, cpu = (measure.ratio(race.costs[OURS], costs, column) for column in ("wall_s", "cpu_s"))
        _print(name, rows, middle, f"{wall:9.2f} x {cpu:8.2f} x")
        ratios = {"wall_ratio": round(wall, 3), "cpu_ratio": round(cpu, 3), "rounds": len(costs)}
        lines.append({"title": title, "name": name, "rows": rows, **middle.figures(rows), **ratios})
    for name, why in race.missing.items():
        print(f"{name:<24} left out: {why}")
        lines.append({"title": title, "name": name, "rows": rows, "left_out": why})
    return lines


def _print(name: str, rows: int, cost: Cost, more: str = "") -> None:
    speed = f"{rows / cost.wall_s:10,.0f}" if rows else f"{'':>10}"
    print(f"{name:<24} {cost.wall_s:6.2f} s {speed} {cost.cpu_s:6.2f} s {cost.peak_mib:5.0f} MiB {more}".rstrip())


def again(plan: Plan, folder: Path) -> list[Line]:
    """What comes after a list was sent: again, again with one row changed, explained, counted, checked; the ledger."""
    rows, path, changed = plan.rows, folder / "list.csv", folder / "changed.csv"
    write_list(rows, path)
    write_list(rows, changed, changed=rows // 2)
    phone = str(rows_from(rows // 2, 1)["phone"][0])
    with measure.receiver() as origin:
        field = Field(folder=folder, rows=path, origin=origin)
        measure.run_afresh(field)
        after_one = measure.ledger_bytes(field) / rows
        ledger = ("--ledger", str(field.ledger))
        found = {"the same list again": (rows, measure.run(field))}
        before = measure.ask(origin, "counted")
        found["again, one row changed"] = (rows, measure.run(field, changed))
        sent = int(measure.ask(origin, "counted") - before)
        found["explain a number"] = (0, measure.importer("explain", f"+{phone}", *ledger))
        found["status"] = (0, measure.importer("status", *ledger))
    found["check, no ledger"] = (rows, measure.importer("check", str(path)))
    after_three = measure.ledger_bytes(field) / rows
    if sent != 1:
        raise RuntimeError(f"{sent:,} rows were sent for the one that was changed")
    print(f"\nAfter {rows:,} rows were sent\n{'':<24} {'wall':>8} {'rows/s':>10} {'CPU':>8} {'memory':>9}")
    for name, (count, cost) in found.items():
        _print(name, count, cost)
    print(f"{'ledger':<24} {after_one:.1f} bytes a settled row; with two lists of duplicates besides {after_three:.1f}")
    sizes = {"bytes_a_row": round(after_one, 1), "bytes_a_row_with_two_lists_of_duplicates": round(after_three, 1)}
    lines = [{"name": name, "rows": rows, **cost.figures(count)} for name, (count, cost) in found.items()]
    return [*lines, {"name": "ledger", "rows": rows, **sizes}]


def memory(plan: Plan, folder: Path) -> list[Line]:
    """Speed and memory of ever longer lists, `importer` alone."""
    print(f"\nLonger lists\n{'':<24} {'wall':>8} {'rows/s':>10} {'CPU':>8} {'memory':>9} {'ledger':>18}")
    lines: list[Line] = []
    for rows in plan.curve:
        path = folder / "list.csv"
        write_list(rows, path)
        with measure.receiver() as origin:
            field = Field(folder=folder, rows=path, origin=origin)
            cost = measure.run_afresh(field)
            arrived = int(measure.ask(origin, "counted"))
        if arrived != rows:
            raise RuntimeError(f"{arrived:,} of {rows:,} rows arrived")
        size = measure.ledger_bytes(field) / rows
        _print(f"{rows:,} rows", rows, cost, f"{size:5.1f} bytes a row")
        lines.append({"name": "importer", "rows": rows, **cost.figures(rows), "bytes_a_row": round(size, 1)})
    return lines + _argued(lines)


def _argued(lines: Sequence[Line]) -> list[Line]:
    """A hundred million rows, were it to go on as between the last two points of the curve."""
    if len(lines) < 2:
        return []
    rows, wall_s, cpu_s, peak_mib = (
        [float(str(each[name])) for each in lines] for name in ("rows", "wall_s", "cpu_s", "peak_mib")
    )
    kept, kept_cpu = (rows[-1] / each[-1] / (rows[0] / each[0]) for each in (wall_s, cpu_s))
    print(f"rows/s of the longest are {kept:.0%} of those of the shortest; rows a second of CPU {kept_cpu:.0%}.")
    far = (100 * MILLION - rows[-1]) / (rows[-1] - rows[-2])
    wall, cpu, peak = (each[-1] + far * (each[-1] - each[-2]) for each in (wall_s, cpu_s, peak_mib))
    cost = Cost(wall_s=wall, cpu_s=cpu, peak_mib=peak)
    _print("100,000,000 by slope", 100 * MILLION, cost)
    return [{"name": "by the slope of the last two", "rows": 100 * MILLION, **cost.figures(100 * MILLION)}]


def resume(plan: Plan, folder: Path) -> list[Line]:
    """A run killed at 99 %: how soon after the same command again the first request arrives."""
    rows = plan.rows
    write_list(rows, folder / "list.csv")
    with measure.receiver() as origin:
        field = Field(folder=folder, rows=folder / "list.csv", origin=origin)
        measure.ask(origin, f"hold/{int(NEARLY * rows)}")
        with measure.running(measure.run_of(field)) as process:
            measure.wait_for(lambda: measure.ask(origin, "counted") >= NEARLY * rows, 60 + rows / 20_000, process)
        measure.ask(origin, "mark")
        before = int(measure.ask(origin, "counted"))
        cost = measure.run(field)
        first_s = measure.ask(origin, "first") - cost.began_s
        after = int(measure.ask(origin, "counted"))
    open_rows = before + (after - before) - rows  # sent before the kill and once more after it, under the same keys
    if not 0 <= open_rows <= field.in_flight * field.batch_rows:
        raise RuntimeError(f"{after - before:,} rows came after the kill, {before:,} before: {rows:,} in the list")
    print(
        f"\nKilled with {before:,} of {rows:,} rows sent, run again: first request after {first_s:.2f} s, done after "
        f"{cost.wall_s:.2f} s, {cost.peak_mib:.0f} MiB; {open_rows:,} rows under way at the kill came again, same keys"
    )
    return [{"name": "importer", "rows": rows, "first_request_s": round(first_s, 3), **cost.figures()}]


def rehearsal(plan: Plan, folder: Path) -> list[Line]:
    """How fast the sandbox takes rows, from a client that costs little: the floor."""
    rows = min(plan.rows, SANDBOX_ROWS)
    write_list(rows, folder / "list.csv")
    with measure.sandbox(folder) as origin:
        cost = FLOOR(Field(folder=folder, rows=folder / "list.csv", origin=origin))
    print(f"\nThe sandbox, every request durable: {rows / cost.wall_s:,.0f} rows/s")
    return [{"name": "sandbox", "rows": rows, **cost.figures(rows)}]


def adaptive(_: Plan, folder: Path) -> list[Line]:
    """A platform of hidden capacity that halves and doubles: what is used of it, what is refused, how soon it is found.

    Real requests over a real socket; the receiver refuses with 429 whatever finds no free slot.
    """
    seconds = sum(each for _, each in CAPACITY)
    rows = int(max(slots for slots, _ in CAPACITY) / SLOT_S * (seconds + 10) * 20)
    write_list(rows, folder / "list.csv")
    with measure.receiver(SLOT_S, CAPACITY[0][0]) as origin:
        field = Field(folder=folder, rows=folder / "list.csv", origin=origin, in_flight=MOST_IN_FLIGHT, batch_rows=20)
        with measure.running(measure.run_of(field)) as process:
            measure.wait_for(lambda: measure.ask(origin, "first") > 0, 60, process)
            marks = [measure.ask(origin, "first")]
            for slots, lasts_s in CAPACITY:
                measure.ask(origin, f"slots/{slots}")
                time.sleep(max(0.0, marks[-1] + lasts_s - time.monotonic()))
                marks.append(time.monotonic())
            told = measure.told(origin)
    print(f"\nA hidden capacity, {MOST_IN_FLIGHT} in flight at most")
    print(f"{'':<24} {'used':>6} {'refused':>9} {'found after':>12}")
    return [
        _phase(slots, told, began_s, ended_s)
        for (slots, _), began_s, ended_s in zip(CAPACITY, marks, marks[1:], strict=False)
    ]


def _phase(slots: int, told: dict[str, list[float]], began_s: float, ended_s: float) -> Line:
    capacity = slots / SLOT_S

    def share(from_s: float, to_s: float) -> float:
        return sum(from_s <= at < to_s for at in told["taken"]) / (to_s - from_s) / capacity

    steps = range(int((ended_s - began_s - WINDOW_S) * 10))
    enough = (
        each / 10 + WINDOW_S for each in steps if share(began_s + each / 10, began_s + each / 10 + WINDOW_S) >= ENOUGH
    )
    used, found_s = share(ended_s - SETTLED_S, ended_s), next(enough, float("inf"))
    refused, taken = (sum(began_s <= at < ended_s for at in told[name]) for name in ("refused", "taken"))
    print(f"{f'{slots} slots of {SLOT_S:.1f} s':<24} {used:6.0%} {refused / (refused + taken):9.1%} {found_s:10.1f} s")
    shares = {
        "used": round(used, 3),
        "refused": round(refused / (refused + taken), 4),
        "found_after_s": round(found_s, 1),
    }
    return {"name": f"{slots} slots of {SLOT_S:.1f} s", "capacity_requests_s": capacity, **shares}


Section = Callable[[Plan, Path], list[Line]]
SECTIONS: dict[str, Section] = {
    "throughput": throughput,
    "again": again,
    "latency": latency,
    "resume": resume,
    "sandbox": rehearsal,
    "adaptive": adaptive,
    "memory": memory,
    "default": default,
}
ONLY_FULL = ("memory", "default")
