"""Packed lists: read in full, or refused; never read in part."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from importer.errors import ListProblem
from importer.sources import content_sha256

from .lists import read, read_file

TEXT = b"phone,name\n" + b"".join(b"%d,name %d\n" % (16505550100 + at, at) for at in range(60))
ROWS = [tuple(line.split(",")) for line in TEXT.decode().splitlines()[1:]]


def zst(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


@pytest.mark.parametrize("pack", [gzip.compress, zst])
def test_packed_lists_read_like_plain_ones(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    """Several members in a row are one list, and the file's name plays no part."""
    half = len(TEXT) // 2
    for data in (pack(TEXT), pack(TEXT[:half]) + pack(TEXT[half:]), pack(b"") + pack(TEXT)):
        reading = read(tmp_path / "list.txt", data)
        assert reading.rows == ROWS
        assert reading.sha256 == hashlib.sha256(data).hexdigest() == content_sha256(tmp_path / "list.txt")


@pytest.mark.parametrize("pack", [gzip.compress, zst])
def test_a_packed_list_cut_at_any_byte_is_refused(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    """Every length short of the whole: nothing is ever delivered as if it were complete."""
    data = pack(TEXT)
    path = tmp_path / "list.csv.gz"
    for size_bytes in range(1, len(data)):
        if size_bytes < 4:
            continue  # too short for its magic: it is read as text and judged as that
        with pytest.raises(ListProblem):
            read(path, data[:size_bytes])


@pytest.mark.parametrize("pack", [gzip.compress, zst])
def test_a_packed_list_with_a_wrong_checksum_is_refused(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    """The rows may all be there, but nobody knows."""
    data = bytearray(pack(TEXT))
    data[-6 if pack is gzip.compress else -2] ^= 0x10
    with pytest.raises(ListProblem, match="damaged"):
        read(tmp_path / "list.csv", bytes(data))


def test_a_gzip_may_end_in_zeros_but_not_in_junk(tmp_path: Path) -> None:
    """Zero padding comes from tapes and block devices."""
    assert read(tmp_path / "list.gz", gzip.compress(TEXT) + b"\0" * 700).rows == ROWS
    with pytest.raises(ListProblem, match="damaged"):
        read(tmp_path / "list.gz", gzip.compress(TEXT) + b"junk")


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_a_bomb_is_bounded(tmp_path: Path, kind: str) -> None:
    """Its ratio gives it away long before it is unpacked; an honest giant can be let through by name."""
    path = tmp_path / "bomb.csv"
    size_rows = 6_000_000
    packer = zlib.compressobj(wbits=31) if kind == "gzip" else zstandard.ZstdCompressor().compressobj()
    line = b"16505550100,b\n" * 100_000
    with path.open("wb") as file:
        file.write(packer.compress(b"phone,name\n"))
        for _ in range(size_rows // 100_000):
            file.write(packer.compress(line))
        file.write(packer.flush())
    with pytest.raises(ListProblem, match="decompression bomb"):
        read_file(path)
    with pytest.raises(ListProblem, match="decompression bomb"):
        read_file(path, max_unpacked_bytes=1_000_000, max_ratio=10**9)


def test_a_zst_without_the_extra_says_what_to_install(tmp_path: Path) -> None:
    """In a process that has no zstandard."""
    (tmp_path / "list.csv.zst").write_bytes(zst(TEXT))
    code = (
        "import io, pathlib, sys\n"
        "sys.modules['zstandard'] = None\n"
        "from importer.sources import open_list\n"
        "from importer.errors import ListProblem\n"
        "try: open_list([sys.argv[1]], stdin=io.BytesIO(), spool_dir=pathlib.Path('spool'))\n"
        "except ListProblem as problem: print(problem.hint)\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "list.csv.zst")],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert told.stdout.strip() == 'pip install "phone-list-importer[zstd]"'


@pytest.mark.parametrize(("magic", "packer"), [(b"BZh9", "bzip2"), (b"\xfd7zXZ\x00", "xz"), (b"Rar!\x1a\x07", "RAR")])
def test_other_packers_are_named(tmp_path: Path, magic: bytes, packer: str) -> None:
    """So that a person knows which tool to unpack with."""
    with pytest.raises(ListProblem, match=packer):
        read(tmp_path / "list.csv", magic + b"\0" * 40)
