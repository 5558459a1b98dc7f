r"""The grammar of numbering patterns: the small part of regular expressions that the metadata uses.

Floor: phones, pure Python. Digits, `\d`, classes, groups, alternatives, `?`, `{n}`, `{n,m}` and a final `$` are
understood; anything else raises, so that new metadata can never be misread in silence. A newcomer may wonder why
Python's own parser is not used: it is private, and the same text must mean the same in Python, here and in Rust.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

ANY_DIGIT = 0b11_1111_1111

_TOKEN = re.compile(r"\(\?:|\{\d+(?:,\d+)?\}|\[[\d-]+\]|\\d|[()|?$\d]")
_RANGE = re.compile(r"(\d)-(\d)|(\d)")


@dataclass(frozen=True, slots=True)
class Digit:
    """One digit out of a set. `members` has bit n for digit n."""

    members: int


@dataclass(frozen=True, slots=True)
class Sequence:
    """One part after the other."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """Any one of the options."""

    options: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """The part from `least` to `most` times."""

    part: Node
    least: int
    most: int


@dataclass(frozen=True, slots=True)
class End:
    """The end of the number: `$`."""


Node = Digit | Sequence | Choice | Repeat | End


def parse(source: str) -> Node:
    """The tree of a pattern. **Errors**: ValueError for anything outside the grammar."""
    tokens = _TOKEN.findall(source)
    if "".join(tokens) != source:
        raise ValueError(f"numbering pattern has syntax unknown here: {source!r}")
    node, rest = _choice(tokens)
    if rest:
        raise ValueError(f"numbering pattern closes a group it never opened: {source!r}")
    return node


def lengths(node: Node) -> frozenset[int]:
    """How many digits a match can have."""
    match node:
        case Digit():
            return frozenset({1})
        case Sequence(parts):
            return frozenset(_sums([lengths(part) for part in parts]))
        case Choice(options):
            return frozenset().union(*(lengths(option) for option in options))
        case Repeat(part, least, most):
            return frozenset().union(*(_sums([lengths(part)] * times) for times in range(least, most + 1)))
        case End():
            return frozenset({0})


def beginnings(node: Node, digits: int) -> frozenset[str]:
    """The digits that matches begin with, `digits` of them, or all where a match is shorter."""
    match node:
        case Digit(members):
            return frozenset(str(digit) for digit in range(10) if members >> digit & 1)
        case Sequence(parts):
            return _in_a_row((beginnings(part, digits) for part in parts), digits)
        case Choice(options):
            return frozenset().union(*(beginnings(option, digits) for option in options))
        case Repeat(part, least, most):
            once = beginnings(part, digits)
            most = min(most, max(least, digits))  # more make no difference to the first digits
            return frozenset().union(*(_in_a_row([once] * times, digits) for times in range(least, most + 1)))
        case End():
            return frozenset({""})


def rust(source: str) -> str:
    r"""The pattern as polars must be given it: there `\d` would mean the digits of every script."""
    parse(source)
    return source.replace(r"\d", "[0-9]")


def _sums(choices: list[frozenset[int]]) -> set[int]:
    sums = {0}
    for choice in choices:
        sums = {one + other for one in sums for other in choice}
    return sums


def _in_a_row(choices: Iterable[frozenset[str]], digits: int) -> frozenset[str]:
    done: set[str] = set()
    begun = {""}
    for choice in choices:
        longer = {(text + more)[:digits] for text in begun for more in choice}
        begun = {text for text in longer if len(text) < digits}
        done |= longer - begun
        if not begun:
            break
    return frozenset(done | begun)


def _choice(tokens: list[str]) -> tuple[Node, list[str]]:
    option, tokens = _sequence(tokens)
    options = [option]
    while tokens and tokens[0] == "|":
        option, tokens = _sequence(tokens[1:])
        options.append(option)
    return (options[0] if len(options) == 1 else Choice(tuple(options))), tokens


def _sequence(tokens: list[str]) -> tuple[Node, list[str]]:
    parts: list[Node] = []
    while tokens and tokens[0] not in {"|", ")"}:
        part, tokens = _part(tokens)
        part, tokens = _repeated(part, tokens)
        parts.append(part)
    return (parts[0] if len(parts) == 1 else Sequence(tuple(parts))), tokens


def _part(tokens: list[str]) -> tuple[Node, list[str]]:
    head, rest = tokens[0], tokens[1:]
    if head in {"(", "(?:"}:
        inner, rest = _choice(rest)
        if not rest:
            raise ValueError("numbering pattern leaves a group open")
        return inner, rest[1:]
    if head == "$":
        return End(), rest
    if head == r"\d":
        return Digit(ANY_DIGIT), rest
    if head.startswith("["):
        return Digit(_members(head)), rest
    if head.isdigit():
        return Digit(1 << int(head)), rest
    raise ValueError(f"numbering pattern repeats nothing: {head!r}")


def _repeated(part: Node, tokens: list[str]) -> tuple[Node, list[str]]:
    if not tokens or not (tokens[0] == "?" or tokens[0].startswith("{")):
        return part, tokens
    if tokens[0] == "?":
        return Repeat(part, 0, 1), tokens[1:]
    least, _, most = tokens[0].strip("{}").partition(",")
    return Repeat(part, int(least), int(most or least)), tokens[1:]


def _members(bracket: str) -> int:
    members = 0
    for first, last, single in _RANGE.findall(bracket):
        low, high = (single, single) if single else (first, last)
        members |= sum(1 << digit for digit in range(int(low), int(high) + 1))
    return members
