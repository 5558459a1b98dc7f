"""What a process did to its files and said to the network, in order, as strace saw it.

Floor: selftest. Linux only, and only where strace may trace; `why_not` says so. A newcomer may wonder at the order of
overlapping calls: bytes count as sent when the call begins, and as durable when the sync has ended, so an overlap is
always taken for the worse.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from importer.errors import ImporterError

LARGEST_STRING_BYTES = 8_000_000
CALLS = "openat,creat,pwrite64,write,ftruncate,fdatasync,fsync,sendto,rename,renameat,renameat2,unlink,unlinkat"

_LINE = re.compile(r"(?P<pid>\d+)\s+(?P<rest>.*)")
_RESUMED = re.compile(r"<\.\.\. \w+ resumed>(?P<rest>.*)")
_CALL = re.compile(r"(?P<name>\w+)\((?P<arguments>.*?)(?:\)\s+= (?P<result>-?\d+)(?:<.*>)?.*)?$", re.DOTALL)
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_FILE = re.compile(r"\d+<((?:\\x[0-9a-f]{2})*)>")
_UNFINISHED = " <unfinished ...>"


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One call that matters.

    `kind` is `open` (`offset` 0 cuts the file), `write` (`offset` None appends), `resize`, `sync`, `rename` (to
    `target`), `remove` or `send`. **Units**: `offset` bytes.
    """

    kind: str
    path: str
    data: bytes = field(default=b"", repr=False)
    offset: int | None = None
    target: str = ""


@cache
def why_not() -> str:
    """Why no process can be traced here; empty where it can."""
    if sys.platform != "linux":
        return "power cuts: they are rebuilt from a record of system calls, which only Linux makes"
    if shutil.which("strace") is None:
        return "power cuts: strace is not installed (Debian, Ubuntu: apt install strace)"
    done = subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, check=False)  # noqa: S607
    return "" if done.returncode == 0 else "power cuts: strace may not trace here (ptrace is forbidden)"


def traced(command: Sequence[str], record: Path) -> list[str]:
    """The command that runs another under strace and keeps the record."""
    options = ["-f", "--seccomp-bpf", "-y", "-xx", "-s", str(LARGEST_STRING_BYTES), "-e", f"trace={CALLS}"]
    return ["strace", *options, "-e", "signal=none", "-o", str(record), *command]


def events(record: Path, folder: Path) -> list[Event]:
    """What happened to the files below the folder, and what was sent. **Errors**: ImporterError without a record."""
    if not record.exists():
        raise ImporterError("strace left no record.")
    with record.open(encoding="ascii") as lines:
        found = [event for text in _calls(lines) for event in _event(text)]
    return [each for each in found if each.kind == "send" or each.path.startswith(str(folder))]


def _calls(lines: Iterator[str]) -> Iterator[str]:
    """Whole calls; one that was interrupted comes when it ended, but a send when it began."""
    begun: dict[str, str] = {}
    for line in lines:
        match = _LINE.match(line.rstrip("\n"))
        if match is None:
            continue
        pid, text = match["pid"], match["rest"]
        resumed = _RESUMED.match(text)
        if resumed is not None:
            text = begun.pop(pid, "") + resumed["rest"]
            if text.startswith("sendto"):
                continue
        elif text.endswith(_UNFINISHED):
            begun[pid] = text.removesuffix(_UNFINISHED)
            if not text.startswith("sendto"):
                continue
            text = begun[pid]
        yield text


def _event(text: str) -> Iterator[Event]:
    match = _CALL.match(text)
    if match is None or (match["result"] or "0").startswith("-"):
        return
    name, arguments = match["name"], match["arguments"]
    strings = [_plain(each) for each in _STRING.findall(arguments)]
    files = [_plain(each).decode() for each in _FILE.findall(arguments)]
    path = files[0] if files else ""
    tail = arguments.rsplit(", ", 1)[-1].rstrip(") ")
    match name:
        case "sendto":
            yield Event(kind="send", path=path, data=strings[0])
        case "pwrite64":
            yield Event(kind="write", path=path, data=strings[0], offset=int(tail))
        case "write":
            yield Event(kind="write", path=path, data=strings[0])
        case "ftruncate":
            yield Event(kind="resize", path=path, offset=int(tail))
        case "fdatasync" | "fsync":
            yield Event(kind="sync", path=path)
        case "rename" | "renameat" | "renameat2":
            yield Event(kind="rename", path=strings[0].decode(), target=strings[1].decode())
        case "unlink" | "unlinkat":
            yield Event(kind="remove", path=strings[0].decode())
        case "openat" | "creat" if "O_CREAT" in arguments or name == "creat":
            is_cut = "O_TRUNC" in arguments or name == "creat"
            yield Event(kind="open", path=strings[0].decode(), offset=0 if is_cut else None)
        case _:
            return


def _plain(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))
