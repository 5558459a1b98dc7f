"""Which versions are at work, and which extras are there. Nothing heavy is imported to find out."""

from __future__ import annotations

import platform
import sqlite3
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from importer import __version__
from importer.doctor.findings import NOTE, OK, WARNING, Finding

_EXTRAS = {
    "sandbox": "werkzeug",
    "zstd": "zstandard",
    "pandas": "pyarrow",
    "metrics": "prometheus_client",
    "report": "vl_convert",
    "otel": "opentelemetry.instrumentation",
}


def versions() -> dict[str, str]:
    """What decides how a list is judged and kept, by name. That of `phonenumbers` is that of its number metadata."""
    names = ("phonenumbers", "polars", "httpx", "sqlite-utils")
    known = {name: _version(name) for name in names}
    return {
        "importer": __version__,
        "phonenumbers": known["phonenumbers"],
        "polars": known["polars"],
        "SQLite": sqlite3.sqlite_version,
        "httpx": known["httpx"],
        "sqlite-utils": known["sqlite-utils"],
        "Python": platform.python_version(),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def examine_installation() -> list[Finding]:
    """Versions and extras."""
    known = versions()
    said = ", ".join(f"{name} {number}" for name, number in known.items())
    missing = [name for name, number in known.items() if number == "missing"]
    there = [name for name, module in _EXTRAS.items() if _is_there(module)]
    return [
        Finding(
            what="versions",
            state=WARNING if missing else OK,
            text=said,
            hint="Install phone-list-importer again." if missing else "",
            facts={**known, "system": platform.system(), "machine": platform.machine()},
        ),
        Finding(
            what="extras",
            state=NOTE,
            text=", ".join(there) if there else "none",
            facts={name: name in there for name in _EXTRAS},
        ),
    ]


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
