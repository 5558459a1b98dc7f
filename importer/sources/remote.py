"""Remote lists: objects of S3, Google Cloud Storage and Azure, and files of web servers, by fsspec. Floor "sources".

Nothing is looked at unless a scheme is written, and each scheme needs its extra. The decision a newcomer would
question: an object is first copied whole into a private file and then read like any other. Only so is the list that
was checked the one that is sent, is it read twice at one price, and does a broken line break nothing half way.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, Final
from urllib.parse import urljoin

from importer.errors import ListProblem
from importer.sources.addresses import is_loopback, scheme_of, shown_name
from importer.sources.opening import LocalFile, Partition, check_partitions, is_hidden, partition_of
from importer.sources.records import ReadOptions
from importer.sources.spooling import Source

BLOCK_BYTES: Final = 8 << 20
CONNECT_S: Final = 30
SILENCE_S: Final = 120  # without a byte for so long, a download is given up
REDIRECTS: Final = (301, 302, 303, 307, 308)
MOST_HOPS: Final = 10
TALKERS: Final = (
    "fsspec",
    "s3fs",
    "gcsfs",
    "adlfs",
    "aiobotocore",
    "botocore",
    "aiohttp",
    "azure",
    "google",
    "urllib3",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Store:
    """A kind of store: its name in fsspec, the extra that brings it, the modules that needs, and their own errors."""

    protocol: str
    extra: str
    needs: tuple[str, ...]
    errors: tuple[tuple[str, str], ...]


_S3 = Store(
    protocol="s3",
    extra="s3",
    needs=("s3fs",),
    errors=(("botocore.exceptions", "BotoCoreError"), ("botocore.exceptions", "ClientError")),
)
_GCS = Store(
    protocol="gs",
    extra="gcs",
    needs=("gcsfs",),
    errors=(("gcsfs.retry", "HttpError"), ("google.auth.exceptions", "GoogleAuthError")),
)
_AZURE = Store(protocol="abfs", extra="azure", needs=("adlfs",), errors=(("azure.core.exceptions", "AzureError"),))
_WEB = Store(protocol="https", extra="http", needs=("fsspec", "aiohttp"), errors=(("aiohttp", "ClientError"),))
STORES: Final = {
    "s3": _S3,
    "s3a": _S3,
    "gs": _GCS,
    "gcs": _GCS,
    "az": _AZURE,
    "abfs": _AZURE,
    "abfss": _AZURE,
    "https": _WEB,
    "http": _WEB,
}

Connect = Callable[[str, Store, Mapping[str, Any]], tuple[Any, str]]
Spool = Callable[[str, Source], LocalFile]


def connected(address: str, store: Store, options: Mapping[str, Any]) -> tuple[Any, str]:
    """The file system for an address, and the path in it; what fsspec reads of variables and configuration holds."""
    import fsspec
    from fsspec.core import url_to_fs

    if store is _WEB:
        from aiohttp import ClientTimeout

        limits = ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=SILENCE_S)
        client = {"timeout": limits, **options.get("client_kwargs", {})}
        return fsspec.filesystem("https", skip_instance_cache=True, **{**options, "client_kwargs": client}), address
    system, path = url_to_fs(address, skip_instance_cache=True, use_listings_cache=False, **options)
    return system, str(path)


def fetched(address: str, options: ReadOptions, spool: Spool, connect: Connect = connected) -> list[LocalFile]:
    """The objects behind an address, copied by `spool`: one, those of a pattern with `*`, or those of a folder `…/`.

    **Errors**: ListProblem without the extra, and for whatever the store says no to; no secret is in its text.
    """
    store = _store_of(address, options)
    name = shown_name(address)
    for talker in TALKERS:
        logging.getLogger(talker).setLevel(logging.WARNING)  # below that they log addresses with their signatures
    with _told(name, store):
        system, path = connect(address, store, options.storage_options)
        if store is _WEB:
            return [_downloaded(system, address, name, options, spool)]
        found = _objects(system, path, address, name)
    return [_copied(system, path, each, partition, store, options, spool) for path, each, partition in found]


def _store_of(address: str, options: ReadOptions) -> Store:
    scheme, name = scheme_of(address) or "", shown_name(address)
    store = STORES.get(scheme)
    if store is None:
        raise ListProblem(
            f"{name}: lists are not read from {scheme}://",
            hint="Readable are files of this machine and " + ", ".join(f"{known}://" for known in STORES) + ".",
        )
    if scheme == "http":
        check_plain(address, name, options)
    if store is not _WEB and "::" in address:
        raise ListProblem(f"{name} is a chain of addresses, and only one can be read", hint="Name the object itself.")
    try:
        for module in store.needs:
            importlib.import_module(module)
    except ImportError:
        raise ListProblem(
            f"{name} is remote, and reading {scheme}:// needs an extra that is not installed",
            hint=f'pip install "phone-list-importer[{store.extra}]", or [remote] for every kind of store',
        ) from None
    return store


def check_plain(address: str, name: str, options: ReadOptions) -> None:
    """Raise for plain http to another machine that nobody allowed."""
    if not (options.is_plain_http_fine or is_loopback(address)):
        raise ListProblem(
            f"{name} would bring phone numbers over the network in the clear",
            hint="Write https://, or allow it with --insecure-http.",
        )


def _objects(system: Any, path: str, address: str, name: str) -> list[tuple[str, str, Partition]]:
    """Path, name and partition of each object."""
    scheme = scheme_of(address)
    if address.endswith("/"):
        root = PurePosixPath(path)
        relatives = [PurePosixPath(each).relative_to(root) for each in sorted(system.find(path))]
        shown = [relative for relative in relatives if not is_hidden(relative)]
        check_partitions(name, shown, example=f"{name}*.csv")
        return [(str(root / each), f"{name}{each}", partition_of(each)) for each in shown]
    if "*" not in path:
        return [(path, name, ())]
    matches = sorted(str(match) for match in system.glob(path))
    if not matches:
        raise ListProblem(f"no object matches {name}", hint="Check the pattern, and which account lists the bucket.")
    return [(match, f"{scheme}://{match}", ()) for match in matches]


def _copied(
    system: Any, path: str, name: str, partition: Partition, store: Store, options: ReadOptions, spool: Spool
) -> LocalFile:
    """One object of a store, copied; it must be as long as the store says, and the same afterwards as before."""
    with _told(name, store):
        before = system.info(path)
        if before.get("type") == "directory":
            raise ListProblem(f"{name} is a folder", hint=f"Name its objects, for example {name.rstrip('/')}/*.csv")
        size_bytes = int(before.get("size") or 0)
        if size_bytes > options.max_spool_bytes:
            raise ListProblem(f"{name} has more than {options.max_spool_bytes} bytes", hint="Cut it into several.")
        with system.open(path, "rb", block_size=BLOCK_BYTES, cache_type="readahead") as stream:
            file = spool(name, _Watched(stream, name, store))
    with _kept_only_if_sound(file), _told(name, store):
        system.invalidate_cache()
        if file.stamp.size_bytes != size_bytes or version_of(system.info(path)) != version_of(before):
            raise ListProblem(
                f"{name} changed while it was being read",
                hint="Nothing was sent from it. Wait until whoever writes it has finished, then run the same command.",
            )
    return replace(file, version=version_of(before), partition=partition)


def _downloaded(system: Any, address: str, name: str, options: ReadOptions, spool: Spool) -> LocalFile:
    """One file of a web server; aiohttp notices when it is cut short of its stated length."""
    for _ in range(MOST_HOPS):
        # A size said, whichever, saves a request that would ask for it.
        with closing(system.open(address, "rb", block_size=0, size=1, allow_redirects=False)) as stream:
            answer = stream.r
            if answer.status not in REDIRECTS:
                return replace(spool(name, _Watched(stream, name, _WEB)), version=version_of(answer.headers))
            address = _redirected(address, answer.headers.get("Location", ""), name, options)
    raise ListProblem(f"{name} is redirected over and over", hint="Check the address in a browser.")


def _redirected(address: str, location: str, name: str, options: ReadOptions) -> str:
    """Where a server sends us, looked at before we go there: never to plain http elsewhere, never to another store."""
    target = urljoin(address, location)
    if scheme_of(target) not in ("https", "http"):
        raise ListProblem(f"{name} is redirected to no web address", hint="Check the address in a browser.")
    if scheme_of(target) == "http":
        check_plain(target, f"{name} is redirected to {shown_name(target)}, which", options)
    return target


def version_of(facts: Mapping[str, Any]) -> str | None:
    """What would show that an object was written anew, by what a store or server tells of it; None if it tells nothing.

    A tag of its content, else when it was written, and how long it is.
    """
    tag = _first(facts, "ETag", "etag", "generation", "md5Hash")
    tag = tag or _first(facts, "LastModified", "last_modified", "Last-Modified", "updated", "mtime", "created")
    return None if tag is None else f"{tag} {_first(facts, 'size', 'Content-Length') or ''}".strip()


def _first(facts: Mapping[str, Any], *names: str) -> str | None:
    return next((str(facts[name]) for name in names if facts.get(name) is not None), None)


@contextmanager
def _kept_only_if_sound(file: LocalFile) -> Iterator[None]:
    from importer.sources.spooling import remove_spools

    try:
        yield
    except BaseException:
        remove_spools([file])
        raise


class _Watched:
    """A remote stream whose own errors are told in our words before anybody takes them for the disk's."""

    def __init__(self, stream: Any, name: str, store: Store) -> None:
        self._stream = stream
        self._name = name
        self._store = store

    def read(self, size_bytes: int, /) -> bytes:
        with _told(self._name, self._store):
            return bytes(self._stream.read(size_bytes))


@contextmanager
def _told(name: str, store: Store) -> Iterator[None]:
    """Turn what a store says into ListProblem. The cause is not kept: its text may hold keys and signatures."""
    own = tuple(getattr(importlib.import_module(module), kind) for module, kind in store.errors)
    try:
        yield
    except FileNotFoundError:
        raise ListProblem(f"there is nothing at {name}", hint="Check the address.") from None
    except PermissionError:
        raise ListProblem(f"no permission to read {name}", hint=_HOW_TO_SIGN) from None
    except TimeoutError:
        raise ListProblem(f"{name} gave no answer in time", hint="Nothing was sent. Try again later.") from None
    except (OSError, ValueError, TypeError, *own) as cause:
        reason = _reason(cause)
        raise ListProblem(f"{name} could not be fetched: {reason}", hint=_HOW_TO_SIGN) from None


_HOW_TO_SIGN: Final = (
    "Check the address and the credentials: those of the environment, or --storage-option. Nothing was sent from it."
)


_WORDS: Final = {
    "ClientPayloadError": "it was cut short",
    "ClientConnectorCertificateError": "the server's certificate is not trusted",
    "NoCredentialsError": "no credentials were found",
}


def _reason(cause: Exception) -> str:
    if type(cause).__name__ in _WORDS:
        return _WORDS[type(cause).__name__]
    status = getattr(cause, "status", None) or getattr(cause, "code", None) or getattr(cause, "status_code", None)
    if isinstance(status, int):
        return f"the server answered {status}"
    strerror = getattr(cause, "strerror", None)
    return f"{type(cause).__name__}" + (f" ({strerror})" if isinstance(strerror, str) and "://" not in strerror else "")
