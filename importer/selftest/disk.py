"""A disk that forgets: what files hold at a power cut, when only what was synced is sure to be there.

Floor: selftest. Bytes are durable once their file was synced, names once their folder was. Everything since may be
there or not: none of it, all of it, any part of it, or a write torn at a sector. That is less than file systems
promise, on purpose.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from importer.selftest.tracing import Event

SECTOR_BYTES = 512
Change = Callable[[bytearray], None]
Naming = Callable[[dict[str, int]], None]
Image = Mapping[str, bytes]


@dataclass(kw_only=True, slots=True)
class _File:
    durable: bytes = b""
    pending: list[Event] = field(default_factory=list)


class Disk:
    """Folders and files as a process changed them."""

    def __init__(self) -> None:
        self._files: dict[int, _File] = {}
        self._live: dict[str, int] = {}
        self._durable: dict[str, int] = {}
        self._namings: list[Naming] = []
        self._folders: set[str] = set()

    def apply(self, event: Event) -> None:
        """Lets an event happen."""
        match event.kind:
            case "open":
                self._open(event)
            case "write" | "resize" if event.path in self._live:
                self._files[self._live[event.path]].pending.append(event)
            case "sync":
                self._sync(event.path)
            case "rename":
                self._name(event.path, _moved(event.path, event.target))
            case "remove":
                self._name(event.path, _removed(event.path))

    def _open(self, event: Event) -> None:
        if event.path not in self._live:
            number = len(self._files)
            self._files[number] = _File()
            self._name(event.path, _made(event.path, number))
        elif event.offset == 0:
            self._files[self._live[event.path]].pending.append(Event(kind="resize", path=event.path, offset=0))

    def _name(self, path: str, naming: Naming) -> None:
        self._folders.add(str(PurePosixPath(path).parent))
        naming(self._live)
        self._namings.append(naming)

    def _sync(self, path: str) -> None:
        if path in self._live:
            file = self._files[self._live[path]]
            file.durable = _written(file.durable, file.pending)
            file.pending = []
        elif path in self._folders:
            self._durable = dict(self._live)
            self._namings = []

    def images(self, dice: random.Random, *, draws: int) -> dict[str, Image]:
        """What the disk may hold now: by name of the way in which it was cut."""
        made = {
            "nothing unsynced": self._image(self._durable, lambda file: file.durable),
            "names without bytes": self._image(self._live, lambda file: file.durable),
            "everything": self._image(self._live, lambda file: _written(file.durable, file.pending)),
            "last write torn": self._image(self._live, lambda file: _torn(file, dice)),
        }
        for draw in range(draws):
            made[f"some of it, draw {draw}"] = self._image(self._some_names(dice), lambda file: _some(file, dice))
        return made

    def _some_names(self, dice: random.Random) -> dict[str, int]:
        names = dict(self._durable)
        for naming in self._namings[: dice.randint(0, len(self._namings))]:
            naming(names)
        return names

    def _image(self, names: Mapping[str, int], content: Callable[[_File], bytes]) -> Image:
        return MappingProxyType({path: content(self._files[number]) for path, number in sorted(names.items())})


def _made(path: str, number: int) -> Naming:
    def change(names: dict[str, int]) -> None:
        names[path] = number

    return change


def _moved(path: str, target: str) -> Naming:
    def change(names: dict[str, int]) -> None:
        if path in names:
            names[target] = names.pop(path)

    return change


def _removed(path: str) -> Naming:
    def change(names: dict[str, int]) -> None:
        names.pop(path, None)

    return change


def _written(durable: bytes, changes: list[Event]) -> bytes:
    content = bytearray(durable)
    for each in changes:
        if each.kind == "resize":
            size = each.offset or 0
            content[size:] = bytes(max(0, size - len(content)))
            continue
        offset = len(content) if each.offset is None else each.offset
        content.extend(bytes(max(0, offset - len(content))))
        content[offset : offset + len(each.data)] = each.data
    return bytes(content)


def _torn(file: _File, dice: random.Random) -> bytes:
    """All of it, but of the last write only some sectors from its beginning."""
    if not file.pending or file.pending[-1].kind != "write":
        return _written(file.durable, file.pending)
    last = file.pending[-1]
    kept_bytes = SECTOR_BYTES * dice.randint(0, len(last.data) // SECTOR_BYTES)
    torn = Event(kind="write", path=last.path, data=last.data[:kept_bytes], offset=last.offset)
    return _written(file.durable, [*file.pending[:-1], torn])


def _some(file: _File, dice: random.Random) -> bytes:
    """Any of the writes, in their order."""
    return _written(file.durable, [each for each in file.pending if dice.random() < 0.5])


def lay_out(image: Image, before: Path, after: Path) -> None:
    """Makes the files of an image, moved from the folder they were recorded in to another."""
    for path, content in image.items():
        target = after / PurePosixPath(path).relative_to(before)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
