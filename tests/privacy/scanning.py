"""Looks for numbers and texts in the bytes of files, in every form in which the ledger keeps or kept them."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from pathlib import Path

_PACKED = re.compile(rb"\x78[\x01\x5e]")  # how compressed streams begin


def forms_of(phone: str) -> list[bytes]:
    """A number as text, as the integers of a record (big-endian, as long as it needs or more) and in memory's order.

    SQLite writes an integer of a record in 6 or 8 bytes, and one that is a key as a varint of 7 bits a byte.
    """
    number = int(phone.removeprefix("+"))
    varint, rest = bytes([number & 0x7F]), number >> 7
    while rest:
        varint, rest = bytes([rest & 0x7F | 0x80]) + varint, rest >> 7
    integers = [number.to_bytes(6, "big"), number.to_bytes(8, "big"), number.to_bytes(8, "little"), varint]
    return [str(number).encode(), str(number).encode("utf-16-le"), *integers]


def found_in(path: Path, wanted: Iterable[bytes]) -> list[bytes]:
    """Which of these stand in a file, as they are or inside something compressed."""
    content = path.read_bytes()
    readable = [content, *_unpacked(content)]
    return [each for each in wanted if any(each in text for text in readable)]


def _unpacked(content: bytes) -> list[bytes]:
    """What can be read of every compressed stream, as far as its pages lie one after another."""
    found = []
    for at in (begin.start() for begin in _PACKED.finditer(content)):
        unpacker = zlib.decompressobj()
        made = bytearray()
        try:
            for place in range(at, min(at + 200_000, len(content)), 64):
                made += unpacker.decompress(content[place : place + 64])
                if unpacker.eof:
                    break
        except zlib.error:
            pass
        if made:
            found.append(bytes(made))
    return found


def files_of(ledger: Path) -> list[Path]:
    """The ledger and everything that is called after it: -wal, -shm, copies."""
    return sorted(ledger.parent.glob(f"{ledger.name}*"))
