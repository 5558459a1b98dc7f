"""Addresses of lists that are not on this machine, and how they are shown: never with a secret. Floor "sources".

Only a name with a written scheme is an address. What is shown and stored is the address without user and password and
without its query, which may be a signature: of a query only eight digits of a fingerprint stay, so that two lists of
one path have two names, and the same list keeps its name when it is signed anew.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from importer.errors import ListProblem

SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://")
CUT: Final = "…"

# Source: the query parameters of presigned URLs of S3, Google Cloud Storage and CloudFront, and of Azure's SAS tokens.
_SIGNING: Final = re.compile(
    r"x-amz-.*|x-goog-.*|x-id|signature|key-pair-id|policy|expires|awsaccesskeyid|googleaccessid|"
    r"sig|s[ieprtv]|spr|srt|ss|sdd|scid|skoid|sktid|sk[testv]",
    re.IGNORECASE,
)
_SIGNED_BY: Final = re.compile(r"x-amz-signature|x-goog-signature|signature|sig", re.IGNORECASE)
_USER_IS_CONTAINER: Final = ("abfs", "abfss")  # abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/…


def scheme_of(name: str) -> str | None:
    """The scheme of an address, in lower case; None for a name of a file."""
    found = SCHEME.match(name)
    return found[1].lower() if found else None


def shown_name(name: str) -> str:
    """The name to show and to store. **Law**: showing a shown name changes nothing, and a file's name is shown whole.

    **Errors**: ListProblem for an address that cannot be one.
    """
    scheme = scheme_of(name)
    if scheme is None:
        return name
    try:
        parts = urlsplit(name)
        host = parts.netloc if scheme in _USER_IS_CONTAINER and ":" not in parts.netloc else _without_user(parts.netloc)
    except ValueError:
        raise ListProblem(f"the address {scheme}://{CUT} cannot be read", hint="Check how it is written.") from None
    return f"{scheme}://{host}{parts.path}{_shown_query(parts.query)}"


def _without_user(netloc: str) -> str:
    return netloc.rpartition("@")[2]


def _shown_query(query: str) -> str:
    if not query or query.startswith(CUT):
        return f"?{query}" if query else ""
    pairs = parse_qsl(query, keep_blank_values=True) or [(query, "")]
    is_signed = any(_SIGNED_BY.fullmatch(key) for key, _ in pairs)
    kept = [pair for pair in pairs if not (is_signed and _SIGNING.fullmatch(pair[0]))]
    return f"?{CUT}{fingerprint(urlencode(kept))}" if kept else ""


def fingerprint(text: str) -> str:
    """Eight digits that know a text again without telling it."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def is_loopback(address: str) -> bool:
    """Whether an address is on this machine by its very name."""
    host = urlsplit(address).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
