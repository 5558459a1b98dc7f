"""From names to open local files: globs, directories, standard input and pipes. Floor "sources".

A name is opened by us and never handed to polars, which would take it for a URL or a pattern. Only regular files
are read in place; all else is first copied to a private temporary file, so that a list is always complete, countable
and readable twice before anything is decided about it.
"""

from __future__ import annotations

import difflib
import glob
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import BinaryIO, Final
from urllib.parse import unquote

from importer.errors import ListProblem
from importer.sources.addresses import scheme_of
from importer.sources.records import Stamped

HIVE_PART: Final = re.compile(r"([^=/]+)=(.*)")
HIVE_NULL: Final = "__HIVE_DEFAULT_PARTITION__"  # Source: Apache Hive's name for a null partition value
STDIN: Final = "-"

Partition = tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stamp:
    """What a file looked like at one moment, as far as fstat tells."""

    inode: int
    size_bytes: int
    mtime_ns: int
    ctime_ns: int

    @staticmethod
    def of(status: os.stat_result) -> Stamp:
        """The stamp in a stat result."""
        return Stamp(
            inode=status.st_ino,
            size_bytes=status.st_size,
            mtime_ns=status.st_mtime_ns,
            ctime_ns=status.st_ctime_ns,
        )

    def is_same_content(self, other: Stamp) -> bool:
        """Whether nobody wrote in between; a mere chmod or rename (ctime) does not disturb a reading."""
        return (self.inode, self.size_bytes, self.mtime_ns) == (other.inode, other.size_bytes, other.mtime_ns)


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalFile:
    """A regular file of the list: how the user named it, where it is, and its stamp when the list was opened.

    `version` is what a remote store said of its object; `keeper` holds a private copy while the list is open.
    """

    name: str
    path: Path
    stamp: Stamp
    is_spooled: bool
    partition: Partition = ()
    version: str | None = None
    keeper: BinaryIO | None = None

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """The open file. **Errors**: ListProblem if it is not, or by the end no longer is, the file first seen."""
        with translated(self.name), self.path.open("rb") as file:
            self.check_unchanged(os.fstat(file.fileno()))
            yield file
            self.check_unchanged(os.fstat(file.fileno()))
            self.check_unchanged(self.path.stat())

    def check_unchanged(self, status: os.stat_result) -> None:
        """Raise if somebody wrote to the file, or put another in its place, since the list was opened."""
        if not self.stamp.is_same_content(Stamp.of(status)):
            raise ListProblem(
                f"{self.name} changed while it was being read",
                hint="Nothing was sent from it. Wait until whoever writes it has finished, then run the same command.",
            )


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Turn the system's refusals about a file into ListProblem, cause kept."""
    try:
        yield
    except PermissionError as cause:
        raise ListProblem(f"no permission to read {name}", hint="Check the owner and mode of the file.") from cause
    except FileNotFoundError as cause:
        raise ListProblem(f"there is no file {name}", hint=near_names(name)) from cause
    except OSError as cause:
        reason = os.strerror(cause.errno) if cause.errno else str(cause)
        raise ListProblem(
            f"cannot read {name}: {reason}", hint="Copy the file to a local disk and try that."
        ) from cause


def near_names(name: str) -> str:
    """The hint for a missing file: names beside it that look alike."""
    path = Path(name)
    try:
        beside = sorted(other.name for other in path.parent.iterdir())
    except OSError:
        return f"The folder {path.parent} cannot be read either; check the path."
    close = difflib.get_close_matches(path.name, beside, n=3, cutoff=0.6)
    if not close:
        return f"Check the path; {path.parent.resolve()} has no file of a similar name."
    return "Did you mean " + " or ".join(str(path.parent / other) for other in close) + "?"


def find_files(
    names: Sequence[str],
    *,
    stdin: BinaryIO,
    spool: Callable[[str, BinaryIO], LocalFile],
    fetch: Callable[[str], list[LocalFile]],
) -> list[LocalFile]:
    """The regular files behind the names, in the order named (globs and directories sorted).

    A name with a scheme is left to `fetch`, any other is a file of this machine.
    **Errors**: ListProblem for a missing, unreadable, special or twice-named file.
    """
    if not names:
        raise ListProblem("no list was named", hint="Name a file, a pattern, or - for standard input.")
    files = [file for name in names for file in (fetch(name) if scheme_of(name) else _files_of(name, stdin, spool))]
    _check_distinct(files)
    return files


def _files_of(name: str, stdin: BinaryIO, spool: Callable[[str, BinaryIO], LocalFile]) -> list[LocalFile]:
    if name == STDIN:
        return [spool(name, stdin)]
    if "\0" in name:
        raise ListProblem("a file name cannot contain a NUL character", hint="Check how the name was produced.")
    if not os.path.lexists(name) and glob.has_magic(name):
        return [file for match in _matches(name) for file in _one(match, match, spool)]
    return _one(name, name, spool)


def _matches(pattern: str) -> list[str]:
    found = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
    if not found:
        raise ListProblem(
            f"no file matches {pattern}", hint="Check the pattern; quote it if the shell should not expand it."
        )
    return found


def _one(name: str, path: str, spool: Callable[[str, BinaryIO], LocalFile]) -> list[LocalFile]:
    with translated(name):
        status = Path(path).stat()
        if stat.S_ISDIR(status.st_mode):
            return _partitions(name, Path(path))
        if stat.S_ISFIFO(status.st_mode):
            with Path(path).open("rb") as pipe:
                return [spool(name, pipe)]
    return [_regular(name, Path(path), status)]


def _regular(name: str, path: Path, status: os.stat_result) -> LocalFile:
    if not stat.S_ISREG(status.st_mode):
        raise ListProblem(f"{name} is a device or socket, not a file", hint="Name a regular file, a pipe, or -.")
    if status.st_size == 0:
        raise ListProblem(f"{name} is empty: zero bytes", hint="A list with nobody in it still has a header line.")
    return LocalFile(name=name, path=path, stamp=Stamp.of(status), is_spooled=False)


def _check_distinct(files: list[LocalFile]) -> None:
    seen: dict[str, str] = {}
    for file in files:
        real = os.path.realpath(file.path)
        if real in seen:
            raise ListProblem(
                f"{file.name} is named twice (also as {seen[real]})", hint="Name every file once; patterns may overlap."
            )
        seen[real] = file.name


def _partitions(name: str, root: Path) -> list[LocalFile]:
    """The Parquet files of a hive-partitioned directory; each brings its `key=value` folders as columns."""
    found = sorted(path for path in root.rglob("*") if path.is_file() and not is_hidden(path.relative_to(root)))
    check_partitions(name, [path.relative_to(root) for path in found], example=str(root / "*.csv"))
    return [
        LocalFile(
            name=str(Path(name) / path.relative_to(root)),
            path=path,
            stamp=_regular(str(path), path, path.stat()).stamp,
            is_spooled=False,
            partition=partition_of(path.relative_to(root)),
        )
        for path in found
    ]


def check_partitions(name: str, found: Sequence[PurePath], *, example: str) -> None:
    """Raise unless these are the files of a partitioned Parquet directory, named from its root."""
    strangers = [path for path in found if path.suffix != ".parquet" or not partition_of(path)]
    if strangers or not found:
        why = f"it holds {strangers[0]}" if strangers else "it holds no such file"
        raise ListProblem(
            f"{name} is a directory, and only a partitioned Parquet directory (key=value/….parquet) can be read: {why}",
            hint=f"Name the files themselves, for example {example}.",
        )


def is_hidden(relative: PurePath) -> bool:
    """Whether a writer's own marker (`_SUCCESS`, `.crc`), which no reader takes for data."""
    return any(part.startswith((".", "_")) and "=" not in part for part in relative.parts)


def partition_of(relative: PurePath) -> Partition:
    """The `key=value` folders of a file, as columns; none unless all of its folders are such."""
    parts = [HIVE_PART.fullmatch(part) for part in relative.parts[:-1]]
    if not parts or not all(parts):
        return ()
    pairs = [(unquote(part[1]), unquote(part[2])) for part in parts if part]
    return tuple((key, None if value == HIVE_NULL else value) for key, value in pairs)


def is_unedited(info: Stamped, path: str | Path) -> bool:
    """Whether the file at `path` is the one `info` tells of, going by inode, size, mtime and ctime.

    False also when there is no such file. True is strong evidence, not proof: `content_sha256` proves.
    """
    try:
        now = Stamp.of(Path(path).stat())
    except OSError:
        return False
    return now == Stamp(inode=info.inode, size_bytes=info.size_bytes, mtime_ns=info.mtime_ns, ctime_ns=info.ctime_ns)


def content_sha256(path: str | Path) -> str:
    """The SHA-256 of the file's bytes, as lower-case hex: equal to `FileCount.sha256` of a reading of the same bytes.

    **Errors**: ListProblem if the file cannot be read.
    """
    with translated(str(path)), Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
