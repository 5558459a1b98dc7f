"""The one host a client talks to is exactly the one that was meant (S8)."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from importer.client import parse_origin
from importer.errors import UsageProblem


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://app.jaicp.com", "https://app.jaicp.com"),
        ("https://app.jaicp.com/", "https://app.jaicp.com"),
        ("HTTPS://App.JAICP.com:443", "https://app.jaicp.com"),
        ("https://calls.example:8443", "https://calls.example:8443"),
        ("https://calls.example:08443", "https://calls.example:8443"),
        ("https://xn--e1afmkfd.example", "https://xn--e1afmkfd.example"),
        ("https://192.0.2.7", "https://192.0.2.7"),
        ("https://[2001:DB8:0:0::1]:443", "https://[2001:db8::1]"),
        ("http://localhost:8787", "http://localhost:8787"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
        ("http://[::1]:8787", "http://[::1]:8787"),
        ("https://localhost:80", "https://localhost:80"),
    ],
)
def test_an_origin_has_one_spelling(text: str, origin: str) -> None:
    """Lower case, no default port, no slash: the ledger keeps it and the key seed is salted with it."""
    assert parse_origin(text) == origin
    assert parse_origin(origin) == origin


@pytest.mark.parametrize(
    "text",
    [
        "",
        "app.jaicp.com",
        "ftp://app.jaicp.com",
        "https:/app.jaicp.com",
        "https://",
        "https://user@app.jaicp.com",
        "https://user:s3cret@app.jaicp.com",
        "https://app.jaicp.com@evil.example",
        "https://app.jaicp.com/api",
        "https://app.jaicp.com//",
        "https://app.jaicp.com?x",
        "https://app.jaicp.com#x",
        "https://app.jaicp.com\\@evil.example",
        "https://app.jaicp.com\n",
        " https://app.jaicp.com",
        "https://app. jaicp.com",
        "https://app\t.jaicp.com",
        "https://app.jaicp.com:",
        "https://app.jaicp.com:0",
        "https://app.jaicp.com:65536",
        "https://app.jaicp.com:99999999",
        "https://app..com",
        "https://.com",
        "https://app.jaicp.com.",
        "https://-app.com",
        "https://" + "a" * 64 + ".com",
        "https://" + "a." * 130 + "com",
        "https://127.1",
        "https://0x7f.0.0.1",
        "https://127.0.0.0x1",
        "https://2130706433",
        "https://127.0.0.01",
        "https://256.0.0.1",
        "https://[::1",
        "https://[fe80::1%25eth0]",
        "https://[::g]",
        "https://пример.example",
        "https://app.jaicp.c\u212a",
        "https://%61pp.jaicp.com",
    ],
)
def test_anything_but_a_plain_host_is_refused_without_repeating_it(text: str) -> None:
    """No user, path, query, fragment, space, escape, other script or half address."""
    with pytest.raises(UsageProblem) as caught:
        parse_origin(text)
    assert "s3cret" not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize(
    "text", ["http://app.jaicp.com", "http://192.168.0.1", "http://localhost.example", "http://127.0.0.1.example"]
)
def test_plain_http_is_for_this_machine_alone_unless_allowed(text: str) -> None:
    """The token stands in the URL: in the clear it is everybody's."""
    with pytest.raises(UsageProblem, match="clear"):
        parse_origin(text)
    assert parse_origin(text, allow_insecure_http=True) == text


@given(st.text(alphabet="htps:/.[]@?#%\\ab019-_\t\n é", max_size=30).map(lambda rest: f"https://{rest}"))
def test_what_is_accepted_means_the_same_to_the_library_that_connects(text: str) -> None:
    """Our reading and httpx's reading of the host are one."""
    try:
        origin = parse_origin(text)
    except UsageProblem:
        return
    url = httpx.URL(origin + "/x")
    shown = f"[{url.host}]" if ":" in url.host else url.host
    port = "" if url.port is None else f":{url.port}"
    assert (f"{url.scheme}://{shown}{port}", url.userinfo, url.path, url.query) == (origin, b"", "/x", b"")
    assert parse_origin(origin) == origin
