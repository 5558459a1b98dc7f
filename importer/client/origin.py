"""Whom we talk to: the one origin a client is bound to, and the token that names the campaign there.

Floor: client; pure. A newcomer may question the hand-written grammar: `urlsplit` drops tabs and newlines, keeps
userinfo and accepts `http://127.1`, and here a lenient reading sends a list of phone numbers to another host.
"""

from __future__ import annotations

import ipaddress
import re

from importer.client.secrecy import Secret
from importer.errors import UsageProblem

LONGEST_HOST = 253  # RFC 1035, 2.3.4, as text
LONGEST_TOKEN = 512

_ORIGIN = re.compile(r"(?P<scheme>https?)://(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?/?")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_ENDS_IN_NUMBER = re.compile(r"(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)$")  # WHATWG URL: such a host is an IPv4 address or none
_TOKEN = re.compile(r"[A-Za-z0-9._~-]+")
_KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_DEFAULT_PORT = {"http": 80, "https": 443}


def parse_origin(text: str, *, allow_insecure_http: bool = False) -> str:
    """The canonical origin: lower case, no default port, no path, such as `https://app.jaicp.com`.

    **Errors**: UsageProblem for anything but `https://host[:port]`; http is for loopback hosts only, unless allowed.
    The message never repeats the text, which may hold a password.
    """
    found = _ORIGIN.fullmatch(text.lower()) if text.isascii() else None
    if found is None:
        raise UsageProblem(
            "the host is not written as https://name or https://name:port",
            hint="leave out user names, paths, queries and spaces: https://app.jaicp.com",
        )
    scheme, host = found["scheme"], _canonical_host(found["host"])
    if scheme == "http" and not (allow_insecure_http or is_loopback(host)):
        raise UsageProblem("http would send the token and the phone numbers in the clear", hint="write https://")
    return f"{scheme}://{host}{_port_suffix(scheme, found['port'])}"


def _canonical_host(host: str) -> str:
    try:
        if host.startswith("["):
            return f"[{ipaddress.IPv6Address(host[1:-1]).compressed}]"
        if _ENDS_IN_NUMBER.search(host):
            return str(ipaddress.IPv4Address(host))
    except ValueError:
        raise UsageProblem("the host is not a valid IP address") from None
    if len(host) > LONGEST_HOST or not all(_LABEL.fullmatch(label) for label in host.split(".")):
        raise UsageProblem("the host name is not a valid one", hint="for names in other scripts write the xn-- form")
    return host


def _port_suffix(scheme: str, digits: str | None) -> str:
    if digits is None:
        return ""
    port = int(digits)
    if not 1 <= port <= 65535:
        raise UsageProblem("the port must be 1 to 65535")
    return "" if port == _DEFAULT_PORT[scheme] else f":{port}"


def is_loopback(host: str) -> bool:
    """Whether the canonical host is this machine by its very name (nothing is resolved)."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_token(text: str) -> Secret[str]:
    """The token, wrapped; it is one path segment and cannot become two.

    **Errors**: UsageProblem, which never repeats the token.
    """
    if not _TOKEN.fullmatch(text) or text in {".", ".."} or len(text) > LONGEST_TOKEN:
        raise UsageProblem(
            "the campaign token has characters that no token has",
            hint="copy it again: letters, digits and . _ ~ - only, no spaces, no quotes, no line end",
        )
    return Secret(text)


def check_key(text: str) -> str:
    """The idempotence key, fit to be a header value.

    **Errors**: UsageProblem for an empty one, one with control or non-ASCII characters, or spaces at its ends.
    """
    if not _KEY.fullmatch(text):
        raise UsageProblem("an idempotence key is printable ASCII without spaces at its ends", hint="use a UUID")
    return text
