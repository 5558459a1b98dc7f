"""Private copies of lists that cannot be read in place: standard input, pipes, remote objects. Floor "sources".

A copy is held by a lock on the copy itself for as long as its list is open. The system drops that lock with the
process, so what a killed process left behind is known by being unlocked, and the next copy made there clears it away.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from importer.errors import ListProblem
from importer.machine import claim_file
from importer.sources.opening import STDIN, LocalFile, Stamp
from importer.sources.records import MIB

PREFIX: Final = "list-"
SUFFIX: Final = ".spool"


class Source(Protocol):
    """What a copy is made of."""

    def read(self, size_bytes: int, /) -> bytes:
        """The next bytes, none at the end."""
        ...


def spool_file(name: str, stream: Source, *, spool_dir: Path, max_spool_bytes: int) -> LocalFile:
    """The stream, copied whole into a private file (mode 0600) that the list deletes when closed.

    **Crash**: a killed process leaves the copy in `spool_dir`, readable by its owner alone; the next one removes it.
    """
    with private_copy(name, spool_dir) as (path, keeper):
        with path.open("wb") as copy:
            _copy_bounded(name, stream, copy, max_spool_bytes)
        return spooled(name, path, keeper)


def spooled(name: str, path: Path, keeper: BinaryIO) -> LocalFile:
    """A finished copy as a file of the list. **Errors**: ListProblem if nothing arrived."""
    status = path.stat()
    if status.st_size == 0:
        shown_name = "standard input" if name == STDIN else name
        raise ListProblem(f"{shown_name} is empty: zero bytes arrived", hint="Check the command before the pipe.")
    return LocalFile(name=name, path=path, stamp=Stamp.of(status), is_spooled=True, keeper=keeper)


@contextmanager
def private_copy(name: str, spool_dir: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """A new private file, and what holds it; removed if filling it fails."""
    with _translated(name):
        spool_dir.mkdir(parents=True, exist_ok=True)
        remove_left_behind(spool_dir)
        path, keeper = _new_file(spool_dir)
    try:
        with _translated(name):
            yield path, keeper
    except BaseException:
        keeper.close()
        path.unlink(missing_ok=True)
        raise


def _new_file(spool_dir: Path) -> tuple[Path, BinaryIO]:
    """A file that is surely ours: one that was cleared away between its making and its claiming is made again."""
    while True:
        handle, path_text = tempfile.mkstemp(prefix=PREFIX, suffix=SUFFIX, dir=spool_dir)
        keeper, path = os.fdopen(handle, "rb"), Path(path_text)
        if claim_file(keeper.fileno()) and _is_still(path, keeper):
            return path, keeper
        keeper.close()


def _is_still(path: Path, keeper: BinaryIO) -> bool:
    try:
        return path.stat().st_ino == os.fstat(keeper.fileno()).st_ino
    except FileNotFoundError:
        return False


def remove_left_behind(spool_dir: Path) -> None:
    """Delete the copies there that nobody holds: their processes were killed."""
    for path in spool_dir.glob(f"{PREFIX}*{SUFFIX}"):
        with suppress(OSError), path.open("rb") as file:  # not ours to open, gone, or held: none of it matters here
            if claim_file(file.fileno()):
                path.unlink()


def _copy_bounded(name: str, stream: Source, copy: BinaryIO, max_spool_bytes: int) -> None:
    room_bytes = max_spool_bytes
    while block := stream.read(MIB):
        room_bytes -= len(block)
        if room_bytes < 0:
            raise ListProblem(
                f"{name} gave more than {max_spool_bytes} bytes", hint="Write it to a file and name that."
            )
        copy.write(block)


@contextmanager
def _translated(name: str) -> Iterator[None]:
    """Turn the system's refusals into ListProblem, cause kept."""
    try:
        yield
    except OSError as cause:
        is_full = cause.errno == errno.ENOSPC
        raise ListProblem(
            f"cannot copy {name} to a temporary file: {cause.strerror}",
            hint="Free some space on the disk." if is_full else "Write it to a file and name that.",
        ) from cause


def remove_spools(files: Iterable[LocalFile]) -> None:
    """Delete the private copies among `files`."""
    for file in files:
        if file.is_spooled:
            file.path.unlink(missing_ok=True)
            if file.keeper is not None:
                file.keeper.close()
