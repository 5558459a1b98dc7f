"""Which encoding a list is in, judged from its bytes alone. Floor "sources".

Deterministic: the same bytes give the same answer. UTF-8 is believed unless the bytes deny it; a file that is UTF-8
but for a few broken bytes stays UTF-8, and the rows with those bytes are bad rows. Only text that is clearly not
UTF-8 goes to charset-normalizer, and only among single-byte encodings that phone lists really come in: on short
lists the East Asian ones would win by accident, so they must be named.
"""

from __future__ import annotations

import codecs
import contextlib
from collections.abc import Iterator
from typing import Final

from importer.sources.records import MIB

BOMS: Final = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
LEGACY: Final = ("cp1251", "cp1252", "cp1250", "cp866", "koi8_r", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257")
FALLBACK: Final = "cp1252"
SEARCH_BYTES: Final = 64 * MIB  # how far to look for the first byte that is not ASCII
SAMPLE_BYTES: Final = 64 * 1_024
NUL_SAMPLE_BYTES: Final = 4_096


def detect_encoding(blocks: Iterator[bytes]) -> str:
    """The encoding of the text in `blocks` (its first bytes first), as a Python codec name."""
    head = _head(blocks)
    for mark, encoding in BOMS:
        if head.startswith(mark):
            return encoding
    return _wide(head[:NUL_SAMPLE_BYTES]) or _by_telling_bytes(head, blocks)


def _head(blocks: Iterator[bytes]) -> bytes:
    """Enough bytes to see marks and NULs in, however small the blocks are."""
    head = b""
    while len(head) < NUL_SAMPLE_BYTES and (block := next(blocks, None)) is not None:
        head += block
    return head


def _wide(head: bytes) -> str | None:
    """UTF-16 without a mark: digits, delimiters and line ends put a NUL in every second byte."""
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if not even + odd or max(even, odd) * 5 < len(head) // 2 or min(even, odd) * 20 > max(even, odd):
        return None
    return "utf-16-be" if even > odd else "utf-16-le"


def _by_telling_bytes(head: bytes, blocks: Iterator[bytes]) -> str:
    """Judge by the first block that has something to tell, that is, a byte beyond ASCII."""
    block, seen_bytes = head, len(head)
    while block.isascii():
        following = next(blocks, None)
        if following is None or seen_bytes > SEARCH_BYTES:
            return "utf-8"
        block = following
        seen_bytes += len(block)
    return "utf-8" if is_mostly_utf8(block) else _legacy(block)


def is_mostly_utf8(block: bytes) -> bool:
    """Whether the block (perhaps cut inside a character at either end) is UTF-8, give or take a few broken bytes."""
    whole = _from_character(block)
    with contextlib.suppress(UnicodeDecodeError):
        codecs.getincrementaldecoder("utf-8")().decode(whole)
        return True
    text = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode(whole)
    broken = sum("\udc80" <= character <= "\udcff" for character in text)
    return sum(character > "\x7f" for character in text) > 10 * broken


def _from_character(block: bytes) -> bytes:
    """The block without the tail of a character that began before it."""
    start = next((at for at in range(min(3, len(block))) if block[at] & 0xC0 != 0x80), 0)
    return block[start:]


def _legacy(block: bytes) -> str:
    from charset_normalizer import from_bytes  # 30 ms that only legacy lists need to pay

    matches = from_bytes(_telling_lines(block), cp_isolation=list(LEGACY), preemptive_behaviour=False)
    ranked = [
        (match.chaos, -match.coherence, LEGACY.index(encoding))
        for match in matches
        for encoding in match.could_be_from_charset
        if encoding in LEGACY
    ]
    return LEGACY[min(ranked)[2]] if ranked else FALLBACK


def _telling_lines(block: bytes) -> bytes:
    """The lines that are not plain ASCII, up to the sample size: digits say nothing about an encoding."""
    taken: list[bytes] = []
    size_bytes = 0
    for line in block.splitlines(keepends=True):
        if not line.isascii():
            taken.append(line)
            size_bytes += len(line)
        if size_bytes > SAMPLE_BYTES:
            break
    return b"".join(taken)[: 2 * SAMPLE_BYTES]
