"""The judge: what the sandbox's own file says became of every row, held against the list and the ledger.

Floor: selftest. The sandbox shares no code with what it judges. Lost is a row of the last list that has no call job and
is not shown as in doubt either, and a row that the ledger calls accepted without a job behind it; duplicated is each
job too many for one number. Every number stands once in a history's lists, so a number is a row.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from importer.selftest.site import Ended, Row, Site, claim_of
from importer.selftest.table import Finding

WELL, PERSON_DECIDES = 0, 8


def judge(
    fault: str, site: Site, last: Ended, wanted: Sequence[Row], *, gone: Sequence[Row] = (), may_doubt: bool = False
) -> Finding:
    """What a history came to, after its last run. `gone` are rows of earlier lists, which may have been called."""
    from importer.sandbox import records

    made = {job.id: f"+{job.phone}" for job in records.jobs(site.platform.db) if job.campaign == site.token}
    called = Counter(made.values())
    try:
        claim = claim_of(site.ledger)
    except sqlite3.Error as problem:
        return Finding(fault=fault, trouble=f"the ledger cannot be read ({problem}); {_told(last)}")
    in_doubt = claim.in_doubt if may_doubt else frozenset()
    missing = {phone for phone, _ in wanted} - set(called) - in_doubt
    false = {phone for phone, job_id in claim.accepted.items() if made.get(job_id) != phone}
    strangers = set(called) - {phone for phone, _ in (*wanted, *gone)}
    return Finding(
        fault=fault,
        lost=len(missing | false),
        duplicated=sum(called.values()) - len(called),
        trouble=_trouble(last, strangers=len(strangers), fine={WELL, PERSON_DECIDES} if may_doubt else {WELL}),
    )


def _trouble(last: Ended, *, strangers: int, fine: set[int]) -> str:
    if strangers:
        return f"{strangers} numbers were called that stand in no list"
    return "" if last.code in fine else _told(last)


def _told(last: Ended) -> str:
    said = last.said.get("error") or last.err.strip().rsplit("\n", 1)[-1]
    return f"the last run ended with exit code {last.code}: {said}"


def judge_platforms(files: Iterable[Path]) -> str:
    """What must hold of all requests together; empty when it does."""
    from importer.sandbox import records

    for db in files:
        if records.keys_with_two_bodies(db):
            return "a key was used with two bodies"
        if records.overlapping_keys(db):
            return "a key was in flight twice at once"
    return ""
