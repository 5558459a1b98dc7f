"""Makes sample_data/: invented people with numbers that belong to nobody.

The numbers come from ranges set aside for fiction: +1 XXX 555-01XX (NANPA), +44 20 7946 0XXX (Ofcom),
+33 1 99 00 XX XX (Arcep) and +61 2 5550 00XX (ACMA). The mistakes are those that lists have in practice.
Run it from the project's root:

    python benchmarks/make_sample_data.py
"""

from __future__ import annotations

import csv
import random
from pathlib import Path

import polars as pl

FOLDER = Path("sample_data")
FIRST = ("Ada", "Alan", "Barbara", "Claude", "Dennis", "Edsger", "Frances", "Grace", "Hedy", "Ivan", "Jean", "Radia")
LAST = ("Lovelace", "Turing", "Liskov", "Shannon", "Ritchie", "Dijkstra", "Allen", "Hopper", "Lamarr", "Perlman")
CITIES = ("Boston", "Leeds", "Lyon", "Zürich", "São Paulo", "Kraków", "Ελλάδα", "")
US_AREAS = (
    "202",
    "206",
    "212",
    "303",
    "312",
    "404",
    "415",
    "503",
    "512",
    "602",
    "617",
    "650",
    "702",
    "713",
    "808",
    "907",
)


def numbers(rng: random.Random) -> list[str]:
    """Every number once, in E.164 without its plus, shuffled."""
    made = [f"1{area}55501{i:02d}" for area in US_AREAS for i in range(100)]
    made += [f"442079460{i:03d}" for i in range(1000)]
    made += [f"61255500{i:03d}" for i in range(100)]
    made += [f"3319900{i:04d}" for i in range(3000)]
    rng.shuffle(made)
    return made


def dressed(number: str, rng: random.Random) -> str:
    """A number as people write it, country code always there."""
    country = next(code for code in ("44", "33", "61", "1") if number.startswith(code))
    rest = number[len(country) :]
    return rng.choice(
        [number, number, f"+{number}", f"+{country} {rest}", f"+{country} ({rest[:3]}) {rest[3:6]}-{rest[6:]}"]
    )


def person(at: int, number: str, rng: random.Random) -> list[str]:
    """A row of the list."""
    name = f"{rng.choice(FIRST)} {rng.choice(LAST)}"
    due = f"{rng.randint(5, 900)}.{rng.randint(0, 99):02d}"
    return [number, f"C{at:06d}", name, rng.choice(CITIES), due]


def mistakes(rng: random.Random) -> list[list[str]]:
    """Rows with the honest mistakes of real lists."""
    cells = ["4.47701E+11", "n/a", "", "555-0100", "+44 7700", "call after six", "12025550111/12025550112",
             "33199000001.0", "=HYPERLINK(1)", "033 1 99 00 0x 11"]  # fmt: skip
    return [person(900_000 + i, rng.choice(cells), rng) for i in range(90)]


def main() -> None:
    """Writes the files."""
    rng = random.Random(20261123)
    pool = numbers(rng)
    rows = [person(i, dressed(number, rng), rng) for i, number in enumerate(pool[:4500])]
    rows += [list(rng.choice(rows)) for _ in range(60)]
    rows += mistakes(rng)
    rng.shuffle(rows)
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / "customers.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["phone", "customer_id", "name", "city", "amount_due"])
        for at, row in enumerate(rows):
            writer.writerow(row[:3] if at in (700, 2100) else row)
    more = [person(500_000 + i, number, rng) for i, number in enumerate(pool[4500:5500])]
    names = ["msisdn", "customer_id", "name", "city", "amount_due"]
    frame = pl.DataFrame(more, schema=names, orient="row").with_columns(
        pl.col("msisdn").cast(pl.Int64), pl.col("amount_due").cast(pl.Float64), maxAttempts=pl.lit(3)
    )
    frame.write_parquet(FOLDER / "more-customers.parquet")
    write_messy(random.Random(20261124))


def write_messy(rng: random.Random) -> None:
    """A short list with every kind of damage, as a person who collected it from many places would have."""
    # Dialled in the United States: without --region most of these are no numbers at all.
    rows = [
        f"({area}) 555-01{rng.randint(0, 99):02d}" for area in ("650", "808", "617", "503", "702") for _ in range(14)
    ]
    rows += [f"+1 {area} 555 01{rng.randint(0, 99):02d}" for area in ("212", "305", "415") for _ in range(6)]
    rows += [f"+44 20 7946 0{rng.randint(0, 999):03d}" for _ in range(12)]
    rows += ["tel:+1-202-555-0101", "+1.303.555.0106", "+1 (312) 555-0107 ext. 12", "\uff0b\uff11 404 555 0108",
             "+44\u200b 20 7946 0131", "+44 (0)20 7946 0132", "+1 (512) 555-0109 #44"]  # fmt: skip
    rows += ["4.47701E+11", "1.65056E+10", "12025550111.0", "16505550112,00", "12025550113/12025550114",
             "+442079460133; +442079460134", "650 555 0115 or 650 555 0116", "+1 650 555 01000", "+1 650 555 010",
             "+44 7700", "555-0117", "n/a", "", "   ", "ask his wife", "call after six", "+1 650 abc 0118",
             "+999 650 555 0119", "911", "=HYPERLINK(1)", "+1 0650 555 0120"]  # fmt: skip
    rng.shuffle(rows)
    with (FOLDER / "messy-leads.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=";", lineterminator="\n")
        writer.writerow(["Phone", "Name", "Source"])
        writer.writerows(
            [phone, f"{rng.choice(FIRST)} {rng.choice(LAST)}", rng.choice(("fair", "web", "referral"))]
            for phone in rows
        )


if __name__ == "__main__":
    main()
