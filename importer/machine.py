"""What differs between Linux, macOS and Windows: locks, clocks, signals, private files, standard folders.

Floor: just above `model`; everything else asks here instead of asking `sys.platform`. A newcomer may wonder why a
ledger's owner is written to a file of its own beside the lock file: opening a lock file truncates it, so a second
starter would erase the very name it is about to report.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import secrets
import signal
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO, TextIO

from importer.errors import UsageProblem

PRIVATE_FILE_MODE = 0o600
PRIVATE_FOLDER_MODE = 0o700
STARTER_LOOK_S = 0.5

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def duration_s(text: str) -> float:
    """Seconds in a DURATION: a number with ms, s, m, h or d, such as `90s` or `1.5h`.

    **Errors**: ValueError for anything else; the command line turns it into exit 2.
    """
    found = _DURATION.fullmatch(text.strip())
    if not found:
        raise ValueError(f"{text!r} is not a duration: write a number with ms, s, m, h or d, such as 90s or 15m")
    return float(found[1]) * _UNIT_S[found[2]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """One reading of this machine's clocks.

    **Units**: `unix_ms` is the wall clock, which may jump; `boot_ms` counts from boot and includes sleep, comparable
    only between moments of one `boot_id`.
    """

    unix_ms: int
    boot_ms: int
    boot_id: str


def now() -> Moment:
    """Reads the clocks."""
    return Moment(unix_ms=time.time_ns() // 1_000_000, boot_ms=_boot_ms(), boot_id=_boot_id())


def _boot_ms() -> int:
    """Milliseconds since boot, sleep included where the system can tell (Linux; macOS by its uptime clock)."""
    for name in ("CLOCK_BOOTTIME", "CLOCK_MONOTONIC_RAW"):
        clock = getattr(time, name, None)
        if clock is not None and hasattr(time, "clock_gettime_ns"):
            return int(time.clock_gettime_ns(clock)) // 1_000_000
    return time.monotonic_ns() // 1_000_000


_PROCESS_BOOT_ID = secrets.token_hex(8)


@cache
def _boot_id() -> str:
    """An id that changes with every boot.

    Where the system has none (macOS, Windows), an id of this process: the boot clock is then never compared across
    processes, which errs on the side of doubt.
    """
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return _PROCESS_BOOT_ID


@dataclass(frozen=True, kw_only=True, slots=True)
class Owner:
    """Who holds a ledger, as the next starter is told."""

    pid: int
    host: str
    since: str
    command: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, started {self.since} ({self.command})"


class OwnerLock:
    """The one read-write owner of a ledger, held for life; the operating system drops it with its process.

    **Errors**: `acquire` returns the present owner instead of raising, or None when the lock is ours.
    """

    def __init__(self, ledger: Path) -> None:
        from filelock import FileLock

        self._owner_file = ledger.with_name(ledger.name + ".owner")
        self._lock = FileLock(str(ledger) + ".lock", timeout=0, mode=PRIVATE_FILE_MODE, thread_local=False)

    def acquire(self, owner: Owner) -> Owner | None:
        """Takes the lock, or gives the one who has it."""
        from filelock import Timeout

        try:
            self._lock.acquire()
        except Timeout:
            return read_owner(self._owner_file) or Owner(pid=0, host="?", since="?", command="starting")
        facts = {"pid": owner.pid, "host": owner.host, "since": owner.since, "command": owner.command}
        write_private(self._owner_file, json.dumps(facts).encode())
        return None

    def release(self) -> None:
        """Gives the ledger up."""
        with contextlib.suppress(OSError):
            self._owner_file.unlink()
        self._lock.release()


def claim_file(handle: int) -> bool:
    """Takes the lock of an open file without waiting; False while another process has it. It goes when the file closes.

    Windows needs no lock for this: it lets nobody delete a file that is open.
    """
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def read_owner(owner_file: Path) -> Owner | None:
    """The owner written beside a ledger, or None when nobody wrote one readably."""
    try:
        facts = json.loads(owner_file.read_bytes())
        return Owner(pid=int(facts["pid"]), host=str(facts["host"]), since=facts["since"], command=facts["command"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


LOCKS = Path("/proc/locks")


def holder_of(ledger: Path, locks: Path = LOCKS) -> Owner | None:
    """Who holds a ledger, found out without touching its lock: a starter must never fail because somebody looked.

    Known by the owner's own file, if its process is alive, and on Linux by the table of locks.
    """
    owner = read_owner(ledger.with_name(ledger.name + ".owner"))
    if owner is not None and (owner.host != socket.gethostname() or _is_alive(owner.pid)):
        return owner
    if _is_locked(ledger.with_name(ledger.name + ".lock"), locks):
        return Owner(pid=0, host=socket.gethostname(), since="?", command="starting, or of another container")
    return None


def _is_alive(pid: int) -> bool:
    """Whether there is such a process. Windows cannot be asked so (its `kill` would end it): the file is believed."""
    if os.name == "nt":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _is_locked(lock: Path, locks: Path) -> bool:
    """Whether the table of locks has the file. **Source**: proc_locks(5): `… major:minor:inode start end`."""
    try:
        inode, lines = str(lock.stat().st_ino), locks.read_text(encoding="ascii").splitlines()
    except OSError:
        return False
    return any(field.count(":") == 2 and field.rpartition(":")[2] == inode for line in lines for field in line.split())


def this_process(since: str) -> Owner:
    """This process as an owner; its command is the verb only, since arguments may name private files."""
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    return Owner(pid=os.getpid(), host=socket.gethostname(), since=since, command=f"importer {' '.join(words[:1])}")


@dataclass(slots=True)
class _Mask:
    """The process's umask while somebody is inside `private_umask`: how many are, and what it was before the first."""

    lock: threading.Lock
    inside: int = 0
    before: int = 0


_MASK = _Mask(lock=threading.Lock())


@contextlib.contextmanager
def private_umask() -> Iterator[None]:
    """Files made inside are readable by their owner only (SQLite makes its own files, so a mode cannot be passed).

    A umask is the whole process's. Of threads whose stays overlap, the first sets it and the last puts back what was:
    if each put back what it had found, the private one could stay for good in a program that runs imports in threads.
    """
    with _MASK.lock:
        if not _MASK.inside:
            _MASK.before = os.umask(0o077)
        _MASK.inside += 1
    try:
        yield
    finally:
        with _MASK.lock:
            _MASK.inside -= 1
            if not _MASK.inside:
                os.umask(_MASK.before)


def make_private_folder(folder: Path) -> None:
    """Makes the folder, 0700, with whatever parents it lacks; an existing one is left as it is."""
    if not folder.exists():
        with private_umask():
            folder.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER_MODE)


def write_private(path: Path, content: bytes) -> None:
    """Writes a 0600 file whole or not at all: a temporary file beside it, synced, then renamed over it.

    **Crash**: when it returns, name and content outlast a power cut.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    # Made new and never through a link: in a folder that others may write to, theirs is not written into.
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE_MODE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_file(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sync_file(path: Path) -> None:
    """Makes what was written to a file durable, or to a folder: the names in it. Windows syncs no folders."""
    if os.name == "nt" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def forbid_core_dumps() -> None:
    """From now on a crash of this process leaves no memory image behind: it would hold the token and the numbers.

    Windows has no such limit; its crash reports are the administrator's to switch off.
    """
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def read_by_others(path: Path) -> str | None:
    """Why a secret file is not one, or None: its mode lets others read it. Windows has no such mode."""
    if os.name == "nt":
        return None
    try:
        mode = path.stat().st_mode
    except OSError:
        return None
    if not stat.S_ISREG(mode) or not mode & (stat.S_IRGRP | stat.S_IROTH):
        return None
    return f"{path} can be read by others (mode {stat.S_IMODE(mode):04o}): chmod 600 {path}"


def is_of_another_user(path: Path) -> bool:
    """True when somebody else owns the file; root may use anybody's. Windows asks its own access lists."""
    if os.name == "nt" or not path.exists():
        return False
    return os.geteuid() not in (0, path.stat().st_uid)


def written_by_others(folder: Path) -> str | None:
    """Why a folder is not safe for a ledger, or None: the group may put another file in its place."""
    if os.name == "nt" or not folder.is_dir():
        return None
    mode = folder.stat().st_mode
    if not mode & stat.S_IWGRP or mode & stat.S_ISVTX:
        return None
    return f"{folder} can be written to by its group (mode {stat.S_IMODE(mode):04o}): chmod g-w {folder}"


_NETWORK_FILE_SYSTEMS = frozenset({
    "9p", "afs", "beegfs", "ceph", "cifs", "davfs", "drvfs", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4",
    "ocfs2", "smb2", "smb3", "smbfs", "vboxsf", "vmhgfs", "fuse.ceph", "fuse.curlftpfs", "fuse.davfs2", "fuse.gcsfuse",
    "fuse.glusterfs", "fuse.juicefs", "fuse.rclone", "fuse.s3fs", "fuse.smbnetfs", "fuse.sshfs",
})  # fmt: skip
MOUNTS = Path("/proc/self/mounts")
_WINDOWS_REMOTE_DRIVE = 4  # Source: Win32 GetDriveType, DRIVE_REMOTE


def network_file_system(folder: Path, mounts: Path = MOUNTS) -> str | None:
    """The name of the network file system under a folder, or None for a local (or unknown) one.

    Known on Linux by the table of mounts, on Windows by the kind of drive; macOS does not tell a program cheaply.
    **Source**: SQLite's locking needs a local disk (sqlite.org, "How To Corrupt An SQLite Database File", 2.1).
    """
    if sys.platform == "win32":
        return _windows_share(folder)
    kind = file_system(folder, mounts)
    return kind if kind in _NETWORK_FILE_SYSTEMS else None


def file_system(folder: Path, mounts: Path = MOUNTS) -> str | None:
    """The kind of file system under a folder, such as `ext4`; None where the system has no table of mounts."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    target, best, kind = str(folder.resolve()), -1, ""
    for fields in map(str.split, lines):
        point = _unescaped(fields[1]) if len(fields) > 2 else ""
        if point and len(point) >= best and _is_under(target, point):  # of two on one point, the later covers the other
            best, kind = len(point), fields[2]
    return kind or None


def _windows_share(folder: Path) -> str | None:
    r"""`\\server\share`, or a drive letter that stands for one."""
    import ctypes

    drive = folder.resolve().drive
    if drive.startswith("\\\\"):
        return "network share"
    windll: Any = getattr(ctypes, "windll", None)
    is_remote = windll is not None and windll.kernel32.GetDriveTypeW(f"{drive}\\") == _WINDOWS_REMOTE_DRIVE
    return "network drive" if is_remote else None


def _unescaped(point: str) -> str:
    r"""A mount point as it is: the kernel writes a space as `\040`. **Source**: proc(5), getmntent(3)."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), point)


def _is_under(target: str, mount: str) -> bool:
    return target == mount or target.startswith(mount.rstrip("/") + "/")


def is_terminal(stream: TextIO | None) -> bool:
    """True where a person may be: daemons are started with streams that are closed, which Python shows as None."""
    return stream is not None and stream.isatty()


def standard_input() -> BinaryIO:
    """Standard input as bytes; empty where the process was started without one."""
    return io.BytesIO() if sys.stdin is None else sys.stdin.buffer


class StopSignals:
    """Ctrl-C and SIGTERM as a flag: the first asks to drain, the second stops at once.

    The second keeps the process's default reaction, so it works even while the main thread is inside C code.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, object] = {}
        self._told: Callable[[], None] = lambda: None

    def __enter__(self) -> StopSignals:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal() gave it takes back

    def when_received(self, told: Callable[[], None]) -> None:
        """Calls `told` at the first signal (from the main thread, between two byte codes)."""
        self._told = told

    def ask_to_stop(self) -> None:
        """As if SIGTERM had come: for a run that is in no main thread. Any thread may ask."""
        self.received = self.received or int(signal.SIGTERM)
        self._told()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.received = number
        for each in self._before:
            signal.signal(each, signal.SIG_DFL)
        self._told()

    @contextlib.contextmanager
    def with_starter(self, pid: int | None) -> Iterator[None]:
        """While inside, the end of the process `pid` asks to drain, as SIGTERM would; None asks nothing.

        Whoever was killed could not send a signal any more, and what it started would go on alone.
        **Errors**: UsageProblem on Windows, where nobody can be asked whether a process lives.
        """
        if pid is not None and os.name == "nt":
            raise UsageProblem("--stop-with is not there on Windows.")
        is_over = threading.Event()
        watcher = threading.Thread(target=self._watch_starter, args=(pid, is_over), name="starter", daemon=True)
        if pid is not None:
            watcher.start()
        try:
            yield
        finally:
            is_over.set()

    def _watch_starter(self, pid: int, is_over: threading.Event) -> None:
        is_parent = os.getppid() == pid
        while not is_over.wait(STARTER_LOOK_S):
            if (is_parent and os.getppid() != pid) or not _is_alive(pid):
                if self.received is None:
                    os.kill(os.getpid(), signal.SIGTERM)
                return

    @property
    def exit_code(self) -> int | None:
        """128 + the signal's number, as shells report it; None while none has come."""
        return None if self.received is None else 128 + int(self.received)
