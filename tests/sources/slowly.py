"""The record grammar read one character at a time: slow and plain, the judge of the fast scanner."""

from __future__ import annotations

from collections.abc import Iterator

MAX_RECORD_LINES = 1_000


def records(data: bytes, delimiter: str, quote: str, max_bytes: int) -> Iterator[tuple[int, list[str] | str]]:
    """(row number, cells or flaw) of every record that is not a blank line."""
    lines = data.splitlines(keepends=True)
    at, row_no = 0, 0
    while at < len(lines):
        row_no += 1
        if not lines[at].rstrip(b"\r\n"):
            at += 1
            continue
        span, outcome = _record(lines, at, delimiter, quote, max_bytes)
        yield row_no, outcome
        at += span


def _record(lines: list[bytes], at: int, delimiter: str, quote: str, max_bytes: int) -> tuple[int, list[str] | str]:
    flaw = _flaw(lines[at], max_bytes)
    if flaw:
        return 1, flaw
    for span in range(1, min(MAX_RECORD_LINES + 2, len(lines) - at) + 1):
        taken = lines[at : at + span]
        if any(_flaw(line, max_bytes) for line in taken) or (span > 1 and sum(map(len, taken)) > max_bytes):
            break
        text = b"".join(taken).decode()
        text = (
            text[: len(text) - len(taken[-1]) + len(taken[-1].rstrip(b"\r\n"))] if taken[-1].isascii() else _bare(text)
        )
        cells = _cells(text, delimiter, quote)
        if cells is not None:
            return span, cells
    return 1, "bad_quote"


def _bare(text: str) -> str:
    return text.removesuffix("\n").removesuffix("\r")


def _flaw(line: bytes, max_bytes: int) -> str:
    content = line.rstrip(b"\r\n")
    try:
        content.decode()
    except UnicodeDecodeError:
        return "oversized" if len(content.decode("utf-8", "backslashreplace").encode()) > max_bytes else "undecodable"
    if len(content) > max_bytes:
        return "oversized"
    return "nul" if b"\0" in content else ""


def _cells(text: str, delimiter: str, quote: str) -> list[str] | None:
    """The cells, or None if a quoted cell is not closed or text follows its closing quote."""
    cells: list[str] = []
    at = 0
    while True:
        cell, at = _quoted(text, at, quote) if quote and text.startswith(quote, at) else _unquoted(text, at, delimiter)
        if cell is None or (at < len(text) and text[at] != delimiter):
            return None
        cells.append(cell)
        if at == len(text):
            return cells
        at += 1


def _unquoted(text: str, at: int, delimiter: str) -> tuple[str, int]:
    end = text.find(delimiter, at)
    end = len(text) if end < 0 else end
    return text[at:end], end


def _quoted(text: str, at: int, quote: str) -> tuple[str | None, int]:
    cell = ""
    at += 1
    while at < len(text):
        if text.startswith(quote * 2, at):
            cell, at = cell + quote, at + 2
        elif text[at] == quote:
            return cell, at + 1
        else:
            cell, at = cell + text[at], at + 1
    return None, at
