"""Frozen bodies are packed in zlib's format, whoever packs them, and damage to them is told apart."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from importer.ledger.deflate import HEADS, packed, unpacked


@given(content=st.binary(max_size=5000))
def test_what_is_packed_here_is_read_anywhere(content: bytes) -> None:
    """A ledger made on one machine is read on another, whichever of the two has the faster packer."""
    made = packed(content)
    assert made.startswith(HEADS)
    assert zlib.decompress(made) == content == unpacked(made)


@given(content=st.binary(max_size=5000), level=st.sampled_from([1, 6, 9]))
def test_what_zlib_packed_is_read(content: bytes, level: int) -> None:
    """As older ledgers have it."""
    assert unpacked(zlib.compress(content, level)) == content


@given(content=st.binary(min_size=1, max_size=2000), data=st.data())
def test_a_changed_or_lost_byte_is_noticed(content: bytes, data: st.DataObject) -> None:
    """What is read of damaged bytes is an error, or what was packed: never anything else."""
    made = bytearray(packed(content))
    at = data.draw(st.integers(0, len(made) - 1))
    if data.draw(st.booleans()):
        made[at] ^= data.draw(st.integers(1, 255))
    else:
        made = made[:at]
    try:
        assert unpacked(bytes(made)) == content
    except ValueError:
        return


@pytest.mark.parametrize("content", [b"", b"x", b"\x78\x01", b"\x78\x5e" + bytes(20)])
def test_what_is_nothing_packed_is_an_error(content: bytes) -> None:
    """Callers know one kind of error, whichever library it was."""
    with pytest.raises(ValueError, match="not a whole packed text"):
        unpacked(content)
