"""From an open file to blocks of UTF-8 that end where lines end: hash, unpack, transcode, cut. Floor "sources".

Each stage is a generator over the one below, so memory is a few blocks whatever the list holds. Bytes that the
encoding does not allow become bytes that UTF-8 does not allow: they stay visible to the record scanner, which turns
the row around them into a bad row instead of failing the file.
"""

from __future__ import annotations

import codecs
import hashlib
import importlib
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Final, Protocol

from importer.errors import ListProblem
from importer.sources.records import MIB, WHOLE, ReadOptions, Span

READ_BYTES: Final = MIB
BLOCK_BYTES: Final = 2 * MIB
ZSTD_STEP_BYTES: Final = 1_024  # a Zstandard run-length block turns 4 bytes into 128 KiB: small bites bound the burst
RATIO_FREE_BYTES: Final = 64 * MIB  # below this size no ratio is suspicious
ZSTD_WINDOW_BYTES: Final = 128 * MIB  # Source: RFC 8878 asks decoders for 8 MiB; `zstd --long` needs 128 MiB

GZIP_MAGIC: Final = b"\x1f\x8b"
ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
FOREIGN_MAGIC: Final = {b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz", b"7z\xbc\xaf\x27\x1c": "7-Zip", b"Rar!\x1a\x07": "RAR"}

UNDECODABLE: Final = "importer-undecodable"
UTF8_NAMES: Final = ("utf-8", "utf-8-sig", "ascii")
BOM: Final = "\ufeff".encode()


class Digest(Protocol):
    """A running hash, as hashlib makes them."""

    def update(self, data: bytes, /) -> None:
        """Take in more bytes."""
        ...

    def hexdigest(self) -> str:
        """The hash so far, as hexadecimal digits."""
        ...


def _mark_undecodable(error: UnicodeError) -> tuple[str, int]:
    """Stand in a lone surrogate: it survives as bytes that are no valid UTF-8, so the row is seen to be damaged."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "\udc80", error.end


codecs.register_error(UNDECODABLE, _mark_undecodable)


def raw_blocks(file: BinaryIO, digest: Digest, span: Span = WHOLE) -> Iterator[bytes]:
    """The file's bytes, those of a span, hashed as they pass."""
    at = file.seek(span.start)
    while block := file.read(READ_BYTES if span.end is None else min(READ_BYTES, span.end - at)):
        at += len(block)
        digest.update(block)
        yield block


def compression_of(head: bytes, name: str) -> str | None:
    """`gzip`, `zstd` or None, by the file's first bytes; its name decides nothing.

    **Errors**: ListProblem for other packers.
    """
    for magic, packer in FOREIGN_MAGIC.items():
        if head.startswith(magic):
            raise ListProblem(
                f"{name} is packed with {packer}", hint="Unpack it first; .gz and .zst are read as they are."
            )
    if head.startswith(GZIP_MAGIC):
        return "gzip"
    return "zstd" if head.startswith(ZSTD_MAGIC) else None


def unpacked(blocks: Iterator[bytes], compression: str | None, options: ReadOptions, name: str) -> Iterator[bytes]:
    """The unpacked bytes. **Errors**: ListProblem if the packing is cut, damaged or a bomb."""
    if compression is None:
        return blocks
    guard = BombGuard(options, name)
    return _gunzipped(blocks, guard, name) if compression == "gzip" else _unzstd(blocks, guard, name)


class BombGuard:
    """Watches how much comes out for how much went in."""

    def __init__(self, options: ReadOptions, name: str) -> None:
        self._options = options
        self._name = name
        self._in_bytes = 0
        self._out_bytes = 0

    def fed(self, block: bytes) -> None:
        """Packed bytes went in."""
        self._in_bytes += len(block)

    def gave(self, block: bytes) -> bytes:
        """Unpacked bytes came out. **Errors**: ListProblem past the limits."""
        self._out_bytes += len(block)
        ratio = self._out_bytes / max(self._in_bytes, 1)
        if self._out_bytes > RATIO_FREE_BYTES and ratio > self._options.max_ratio:
            self._refuse(f"unpacks to over {self._options.max_ratio} times its size")
        if self._out_bytes > self._options.max_unpacked_bytes:
            self._refuse(f"unpacks to over {self._options.max_unpacked_bytes} bytes")
        return block

    def _refuse(self, what: str) -> None:
        raise ListProblem(
            f"{self._name} {what}, which looks like a decompression bomb",
            hint="If the list is honest, unpack it yourself and name the unpacked file.",
        )


def _gunzipped(blocks: Iterator[bytes], guard: BombGuard, name: str) -> Iterator[bytes]:
    """All members of a gzip file; zero padding after the last is allowed, as gzip itself allows it."""
    member = zlib.decompressobj(wbits=31)
    for block in blocks:
        guard.fed(block)
        data = block
        while data:
            if member.eof:
                data = data.lstrip(b"\0")
                member = zlib.decompressobj(wbits=31) if data else member
                continue
            try:
                out = member.decompress(data, READ_BYTES)
            except zlib.error as cause:
                raise _damaged(name, "gzip") from cause
            yield guard.gave(out)
            data = member.unused_data if member.eof else member.unconsumed_tail
    yield from _gzip_rest(member, guard, name)


def _gzip_rest(member: zlib._Decompress, guard: BombGuard, name: str) -> Iterator[bytes]:
    """What the decompressor still holds after the last input byte."""
    while not member.eof:
        try:
            out = member.decompress(member.unconsumed_tail, READ_BYTES)
        except zlib.error as cause:
            raise _damaged(name, "gzip") from cause
        if not out and not member.eof:
            raise _cut(name, "gzip")
        yield guard.gave(out)


def _unzstd(blocks: Iterator[bytes], guard: BombGuard, name: str) -> Iterator[bytes]:
    try:
        zstandard = importlib.import_module("zstandard")
    except ImportError as cause:
        raise ListProblem(
            f"{name} is packed with Zstandard, which needs an extra",
            hint='pip install "phone-list-importer[zstd]"',
        ) from cause
    decompressor = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES)
    frame = decompressor.decompressobj()
    is_inside = False
    for block in blocks:
        for start in range(0, len(block), ZSTD_STEP_BYTES):
            data = block[start : start + ZSTD_STEP_BYTES]
            guard.fed(data)
            while data:
                try:
                    out = frame.decompress(data)
                except zstandard.ZstdError as cause:
                    raise _damaged(name, "Zstandard") from cause
                yield guard.gave(out)
                is_inside = not frame.eof
                data = b"" if is_inside else frame.unused_data
                frame = frame if is_inside else decompressor.decompressobj()
    if is_inside:
        raise _cut(name, "Zstandard")


def _damaged(name: str, packer: str) -> ListProblem:
    return ListProblem(
        f"{name} is damaged: its {packer} packing does not check out",
        hint="Nothing was sent from it. Fetch the file again.",
    )


def _cut(name: str, packer: str) -> ListProblem:
    return ListProblem(
        f"{name} is cut short: its {packer} packing has no end",
        hint="Nothing was sent from it. The copy was probably interrupted; fetch the file again.",
    )


def check_encoding(name: str) -> str:
    """The canonical name of a text encoding. **Errors**: ListProblem if Python knows none by that name."""
    try:
        canonical = codecs.lookup(name).name
        b"a".decode(name, "replace")  # refuses codecs that are no text encodings
    except (LookupError, ValueError) as cause:
        raise ListProblem(
            f"no text encoding is called {name!r}", hint="Usual ones: utf-8, cp1251, cp1252, utf-16."
        ) from cause
    return canonical


def as_utf8(blocks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    """The same text as UTF-8 without a byte order mark; undecodable input becomes invalid UTF-8."""
    return _without_bom(blocks if encoding in UTF8_NAMES else _transcoded(blocks, encoding))


def _transcoded(blocks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)(errors=UNDECODABLE)
    for block in blocks:
        yield decoder.decode(block).encode("utf-8", "surrogatepass")
    yield decoder.decode(b"", final=True).encode("utf-8", "surrogatepass")


def _without_bom(blocks: Iterator[bytes]) -> Iterator[bytes]:
    head = b""
    for block in blocks:
        head += block
        if len(head) >= len(BOM):
            yield head.removeprefix(BOM)
            break
    else:
        yield head.removeprefix(BOM)
    yield from blocks


def line_blocks(blocks: Iterator[bytes], *, max_line_bytes: int, block_bytes: int = BLOCK_BYTES) -> Iterator[bytes]:
    """Blocks of about `block_bytes` that end with a line end; only the last may lack one.

    A line that exceeds both `max_line_bytes` and a block is passed on cut, but still longer than the limit, so
    that the scanner rejects it as oversized without its ever being held whole.
    """
    target_bytes = max(block_bytes, 2 * max_line_bytes)
    pending: list[bytes] = []
    size_bytes = 0
    is_skipping = False
    for block in blocks:
        piece = block
        if is_skipping:
            piece, is_skipping = _after_line_end(block)
        pending.append(piece)
        size_bytes += len(piece)
        if size_bytes < target_bytes:
            continue
        whole = b"".join(pending)
        cut = line_end_before(whole)
        if cut:
            yield whole[:cut]
        rest = whole[cut:]
        if len(rest) > max_line_bytes + 1 and not rest.endswith(b"\r"):
            rest, is_skipping = rest[: max_line_bytes + 1], True
        pending, size_bytes = [rest], len(rest)
    last = b"".join(pending)
    if last:
        yield last


def line_end_before(data: bytes) -> int:
    """The index just after the last line end that is surely complete; 0 if there is none.

    A carriage return at the very end may be half of a CRLF, so it does not count yet.
    """
    line_feed = data.rfind(b"\n") + 1
    return max(line_feed, data.rfind(b"\r", line_feed, len(data) - 1) + 1)


def _after_line_end(block: bytes) -> tuple[bytes, bool]:
    """The block from its first line end on, and whether the overlong line goes on."""
    ends = [at for at in (block.find(b"\n"), block.find(b"\r")) if at >= 0]
    return (block[min(ends) :], False) if ends else (b"", True)


def text_blocks(
    file: BinaryIO,
    digest: Digest,
    *,
    compression: str | None,
    encoding: str,
    options: ReadOptions,
    name: str,
    span: Span = WHOLE,
) -> Iterator[bytes]:
    """The whole road from an open file to blocks of UTF-8 lines. A span is of a file that is not packed."""
    plain = unpacked(raw_blocks(file, digest, span), compression, options, name)
    text = as_utf8(plain, encoding) if span.start == 0 else from_the_middle(plain, encoding)
    return line_blocks(text, max_line_bytes=options.max_cell_bytes)


def from_the_middle(blocks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    """Text from a line's start on, where what looks like a byte order mark is none."""
    return blocks if encoding in UTF8_NAMES else _transcoded(blocks, encoding)


def new_digest() -> Digest:
    """The digest a file's bytes are hashed with."""
    return hashlib.sha256()
