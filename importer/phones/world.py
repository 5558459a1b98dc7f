"""Every international number's answer, in one sorted table that is filled in as calling codes are met.

Floor: phones, pure. A number's digits, country code first, are one integer; since no calling code begins with 0 the
integer also tells how many digits there are. One binary search over the starts of spans then gives an answer: calling
code, region, type, what is wrong, and whether a national prefix may stand after the country code. A newcomer may
wonder at `NOT_LOADED`: making the spans of all the world takes a second, and most lists need three calling codes.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import polars as pl
from phonenumbers import PhoneMetadata, PhoneNumberDesc

from importer.phones.columns import FAULT, REGION, TYPE, VERDICT, placed
from importer.phones.plans import CALLING_CODES, code_plan, metadata_of
from importer.phones.spans import Automaton, Pattern

# Longer numbers do not fit 64 bits with room to spare; no plan has any, and `phonenumbers` decides such cells.
LONGEST_DIGITS = 18
# With this few digits libphonenumber does not even look for a calling code.
_SHORTEST_DIGITS = 2
_NOTHING = 1  # stands for no digits at all: too short, like any single digit

# In the order libphonenumber tries them; fixed and mobile are looked at together, after all others.
_SPECIAL_TYPES = (
    "premium_rate",
    "toll_free",
    "shared_cost",
    "voip",
    "personal_number",
    "pager",
    "uan",
    "voicemail",
)
_GENERAL, _LEADING, _PREFIX = "general_desc", "leading_digits", "prefix"


class Answer(NamedTuple):
    """What is known of a number from its digits. `code` 0 stands for no calling code at all.

    `is_parsed` says whether there is a number to speak of, `is_settled` that no national prefix can be stripped.
    Where one may be, it has `prefix_digits` digits, or takes a regular expression to tell (0). The number less its
    prefix is taken unless `is_general` (it fits the plan's general pattern) was true before and is false after, and
    only where its own answer `is_whole`: of a length that stripping may leave.
    """

    code: int = 0
    region: str | None = None
    type: str = "unknown"
    fault: str | None = None
    is_parsed: bool = True
    is_settled: bool = True
    prefix_digits: int = 0
    is_general: bool = False
    is_whole: bool = False
    is_loaded: bool = True

    @property
    def verdict(self) -> str:
        """Valid without a fault; possible if only the beginning or the area code is wrong."""
        if self.fault is None:
            return "valid"
        return "possible" if self.fault in {"invalid_for_region", "no_area_code"} else "invalid"


NO_CODE = Answer(fault="no_country_code", is_parsed=False)
TOO_SHORT = Answer(fault="too_short", is_parsed=False)
NOT_VIABLE = Answer(fault="not_viable", is_parsed=False)
UNKNOWN_REGION = Answer(fault="unknown_region", is_parsed=False)
_FIXED = (NO_CODE, TOO_SHORT, NOT_VIABLE, UNKNOWN_REGION)
NO_CODE_ID, TOO_SHORT_ID, NOT_VIABLE_ID, UNKNOWN_REGION_ID = range(4)


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """The spans loaded so far. `starts` is sorted, `answers` has the id of each span's answer.

    The other columns have a row per answer; gathering by id turns a column of ids into a column of facts.
    """

    starts: pl.Series
    answers: pl.Series
    facts: pl.DataFrame

    def look_up(self, digits: pl.Series) -> pl.Series:
        """The answer ids of international numbers. **Shapes**: at most `LONGEST_DIGITS` ASCII digits in, UInt32 out."""
        keys = digits.cast(pl.UInt64, strict=False)
        at = self.starts.search_sorted(keys.fill_null(_NOTHING), side="right") - 1
        found = self.answers.gather(at)
        astray = digits.str.starts_with("0").arg_true()
        if not len(astray):
            return found
        is_short = digits.gather(astray).str.len_bytes() <= _SHORTEST_DIGITS
        return placed(found, astray, pl.select(pl.when(is_short).then(TOO_SHORT_ID).otherwise(NO_CODE_ID)).to_series())

    def fact(self, name: str, ids: pl.Series) -> pl.Series:
        """One fact for a column of answer ids."""
        return self.facts[name].gather(ids)


class World:
    """The table, and the lock under which it grows. Answers keep their ids for ever; tables are never changed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ids: dict[Answer, int] = {answer: number for number, answer in enumerate(_FIXED)}
        self._facts = _facts([])
        self._no_code = _spans_frame(_between_codes())
        self._codes = {code: self._unloaded(code) for code in CALLING_CODES}
        self._loaded: set[int] = set()
        self.table = self._build()

    def look_up(self, digits: pl.Series) -> tuple[Table, pl.Series]:
        """Answer ids of numbers, after loading the calling codes they need, and the table that explains the ids."""
        table = self.table
        found = table.look_up(digits)
        missing = table.fact("code", found.filter(~table.fact("is_loaded", found))).unique()
        if not len(missing):
            return table, found
        table = self._with(missing.to_list())
        return table, table.look_up(digits)

    def _with(self, codes: list[int]) -> Table:
        with self._lock:
            new = [code for code in codes if code not in self._loaded]
            for code in new:
                spans = [(start, self._id(answer)) for start, answer in _code_spans(code)]
                self._codes[code] = _spans_frame(spans, code)
            if new:
                self._loaded.update(new)
                self.table = self._build()
            return self.table

    def _id(self, answer: Answer) -> int:
        return self._ids.setdefault(answer, len(self._ids))

    def _build(self) -> Table:
        # Where one code's end is the next one's beginning, the beginning is what counts.
        spans = pl.concat([self._no_code, *self._codes.values()]).sort("start", "is_between")
        spans = spans.filter(pl.col("start") != pl.col("start").shift(1, fill_value=spans["start"][-1]))
        new = list(self._ids)[len(self._facts) :]
        self._facts = pl.concat([self._facts, _facts(new)])
        return Table(starts=spans["start"], answers=spans["answer"], facts=self._facts)

    def _unloaded(self, code: int) -> pl.DataFrame:
        answer = self._id(Answer(code=code, is_loaded=False))
        return _spans_frame([(code * 10**left, answer) for left in _lengths_left(code)], code)


_MAKING = threading.Lock()


def world() -> World:
    """The one table of this process: ids of one table mean nothing to another, so two threads never make two."""
    with _MAKING:
        return _world()


@lru_cache(maxsize=1)
def _world() -> World:
    return World()


def _spans_frame(spans: list[tuple[int, int]], code: int | None = None) -> pl.DataFrame:
    """Starts and answers, and where the calling code ends; without a code, what stands between the codes."""
    ends = [] if code is None else [((code + 1) * 10**left, NO_CODE_ID) for left in _lengths_left(code)]
    starts, answers = zip(*spans, *ends, strict=True)
    return pl.DataFrame(
        {
            "start": pl.Series(starts, dtype=pl.UInt64),
            "answer": pl.Series(answers, dtype=pl.UInt32),
            "is_between": [code is None] * len(spans) + [True] * len(ends),
        }
    )


def _between_codes() -> list[tuple[int, int]]:
    """Where numbers of one more digit begin, and what the shortest are."""
    lengths = range(_SHORTEST_DIGITS + 1, LONGEST_DIGITS + 1)
    return [(0, NO_CODE_ID), (1, TOO_SHORT_ID), *((10 ** (length - 1), NO_CODE_ID) for length in lengths)]


def _lengths_left(code: int) -> range:
    used = len(str(code))
    return range(max(0, _SHORTEST_DIGITS + 1 - used), LONGEST_DIGITS - used + 1)


def _facts(answers: list[Answer]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "code": pl.Series([answer.code for answer in answers], dtype=pl.UInt16),
            "code_digits": pl.Series([len(str(answer.code)) for answer in answers], dtype=pl.UInt8),
            "region": pl.Series([answer.region for answer in answers], dtype=REGION),
            "type": pl.Series([answer.type for answer in answers], dtype=TYPE),
            "fault": pl.Series([answer.fault for answer in answers], dtype=FAULT),
            "verdict": pl.Series([answer.verdict for answer in answers], dtype=VERDICT),
            "is_parsed": pl.Series([answer.is_parsed for answer in answers], dtype=pl.Boolean),
            "is_settled": pl.Series([answer.is_settled for answer in answers], dtype=pl.Boolean),
            "prefix_digits": pl.Series([answer.prefix_digits for answer in answers], dtype=pl.UInt8),
            "is_general": pl.Series([answer.is_general for answer in answers], dtype=pl.Boolean),
            "is_whole": pl.Series([answer.is_whole for answer in answers], dtype=pl.Boolean),
            "is_loaded": pl.Series([answer.is_loaded for answer in answers], dtype=pl.Boolean),
        }
    )


def _code_spans(code: int) -> Iterator[tuple[int, Answer]]:
    """Starts and answers of every number of a calling code, by length and then in order."""
    reader = _CodeReader(code)
    machine = Automaton(reader.patterns(), reader.answer)
    for left in _lengths_left(code):
        for start, answer in machine.spans(left):
            yield code * 10**left + start, answer


class _CodeReader:
    """Says what the marks on a national number mean under one calling code."""

    def __init__(self, code: int) -> None:
        self._plan = code_plan(code)
        self._regions = [(region, metadata_of(code, region)) for region in CALLING_CODES[code]]

    def patterns(self) -> Iterator[Pattern]:
        """Every pattern that can decide something, marked by region and name."""
        for region, metadata in self._regions:
            for name in (_GENERAL, *_SPECIAL_TYPES, "fixed_line", "mobile"):
                source = getattr(getattr(metadata, name), "national_number_pattern", None)
                if source:
                    yield Pattern(mark=(region, name), source=source)
            if metadata.leading_digits:
                yield Pattern(mark=(region, _LEADING), source=metadata.leading_digits, is_beginning=True)
        prefix = self._regions[0][1].national_prefix_for_parsing
        if prefix:
            yield Pattern(mark=_PREFIX, source=prefix, is_beginning=True)

    def answer(self, marks: frozenset[Hashable], length: int) -> Answer:
        """The answer for national numbers of one length that carry these marks."""
        if length < _SHORTEST_DIGITS:
            return TOO_SHORT
        region, kind = self._region_and_type(marks, length)
        is_settled = _PREFIX not in marks or self._is_prefix_too_long(length)
        return Answer(
            code=self._plan.code,
            region=region,
            type=kind,
            fault=None if kind != "unknown" else self._fault(length),
            is_settled=is_settled,
            prefix_digits=0 if is_settled else self._plan.prefix_digits,
            is_general=(self._regions[0][0], _GENERAL) in marks,
            is_whole=self._plan.keeps_stripped(length),
        )

    def _region_and_type(self, marks: frozenset[Hashable], length: int) -> tuple[str | None, str]:
        for region, metadata in self._regions:
            kind = _type(region, metadata, marks, length)
            is_chosen = (region, _LEADING) in marks if metadata.leading_digits else kind != "unknown"
            if len(self._regions) == 1 or is_chosen:
                return region, kind
        return None, "unknown"

    def _fault(self, length: int) -> str:
        plan = self._plan
        if length in plan.local_lengths:
            return "no_area_code"
        if length in plan.lengths:
            return "invalid_for_region"
        if length < plan.lengths[0]:
            return "too_short"
        return "too_long" if length > plan.longest else "wrong_length"

    def _is_prefix_too_long(self, length: int) -> bool:
        """Whether a number of this length is kept whatever prefix it begins with, because too little would be left."""
        if self._plan.rewrite is not None:
            return False
        if self._plan.prefix_digits:
            return not self._plan.keeps_stripped(length - self._plan.prefix_digits)
        return not any(self._plan.keeps_stripped(left) for left in range(length))


def _type(region: str, metadata: PhoneMetadata, marks: frozenset[Hashable], length: int) -> str:
    """The type of a number in a region's plan, as libphonenumber tries them one after the other."""

    def is_a(name: str) -> bool:
        desc: PhoneNumberDesc | None = getattr(metadata, name)
        if desc is None or (region, name) not in marks:
            return False
        return not desc.possible_length or length in desc.possible_length

    if not is_a(_GENERAL):
        return "unknown"
    for name in _SPECIAL_TYPES:
        if is_a(name):
            return name
    is_same = metadata.same_mobile_and_fixed_line_pattern
    if is_a("fixed_line"):
        return "fixed_line_or_mobile" if is_same or is_a("mobile") else "fixed_line"
    return "mobile" if not is_same and is_a("mobile") else "unknown"
