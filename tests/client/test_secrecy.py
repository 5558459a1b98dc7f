"""The token never shows: not in logs, errors, reprs or the variables of a traceback (laws 12, S1, S2)."""

from __future__ import annotations

import io
import json
import logging
import pickle
import socket
import traceback
from collections.abc import Callable, Iterator

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from importer.client import (
    ApiError,
    CallsApi,
    NewCallJob,
    RedactingFilter,
    Secret,
    check_token,
    hush_http_loggers,
    redact,
)
from importer.errors import ImporterError, UsageProblem

from .servers import TOKEN, Server, answering, answering_once, read_request, reply, reset, serving

PHONE = "16505550123"

OPERATIONS: dict[str, Callable[[CallsApi], object]] = {
    "send_batch": lambda api: api.send_batch(b"[]", "key-1"),
    "probe": lambda api: api.probe(),
    "add_phones": lambda api: api.add_phones([NewCallJob(phone=PHONE, payload={"who": PHONE})]),
    "add_phone": lambda api: api.add_phone(PHONE),
    "add_phone_by_query": lambda api: api.add_phone_by_query(PHONE),
    "test_add_phone": lambda api: api.test_add_phone(PHONE),
    "cancel": lambda api: api.cancel(phones=[PHONE]),
    "job_reports": lambda api: api.job_reports(phones=[PHONE]),
    "attempt_reports": lambda api: api.attempt_reports(phones=[PHONE]),
    "unfinished_jobs": lambda api: list(api.iter_unfinished_jobs()),
    "campaign": lambda api: api.campaign(),
    "status": lambda api: api.status(),
    "pause": lambda api: api.pause(),
}


def resetting(connection: socket.socket, server: Server) -> None:
    read_request(connection, server)
    reset(connection)


def echoing(connection: socket.socket, server: Server) -> None:
    """Answers with everything it was told, as a badly made error page does."""
    while request := read_request(connection, server):
        said = request.decode("latin-1")
        body = json.dumps({"type": f"x {said}", "message": said, "phone": PHONE}).encode()
        connection.sendall(reply(body, "400 Bad Request", f"Location: /campaign/{TOKEN}/x", f"X-Echo: {TOKEN}"))


TROUBLE = {
    "a reset": resetting,
    "an echo": echoing,
    "a server error": answering(reply(TOKEN.encode() + PHONE.encode(), "500 Oops")),
    "an unknown token": answering(reply(json.dumps({"type": "invalid.token", "message": TOKEN}).encode(), "404 No")),
    "no access": answering(reply(f"<h1>/campaign/{TOKEN}</h1>".encode(), "403 No")),
    "nonsense": answering(reply(f"<h1>{TOKEN} {PHONE}</h1>".encode())),
    "no HTTP": answering_once(f"ECHO {TOKEN} {PHONE}\r\n\r\n".encode()),
}


@pytest.fixture
def everything_logged() -> Iterator[io.StringIO]:
    """Every logger there is, at DEBUG, into one stream without any filter of ours on the handler."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s"))
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    hush_http_loggers()
    loud = [logger for logger in logging.root.manager.loggerDict.values() if isinstance(logger, logging.Logger)]
    levels = [(logger, logger.level) for logger in loud]
    for logger in loud:
        logger.setLevel(logging.DEBUG)
    yield stream
    for logger, level in levels:
        logger.setLevel(level)
    root.setLevel(before)
    root.removeHandler(handler)


def shown_by(problem: BaseException) -> str:
    """Everything a crash reporter could print: message, hint, fields, traceback, and each frame's variables."""
    story = traceback.TracebackException.from_exception(problem, capture_locals=True)
    return "".join(story.format()) + str(problem) + repr(problem) + repr(vars(problem))


@pytest.mark.parametrize("trouble", TROUBLE)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_token_never_appears_whatever_fails(operation: str, trouble: str, everything_logged: io.StringIO) -> None:
    """A canary token, every method, every kind of trouble: it is in no log line, no error and no frame below ours."""
    with serving(TROUBLE[trouble]) as server, CallsApi(server.origin, TOKEN, timeout_s=10) as api:
        try:
            shown = repr(OPERATIONS[operation](api)) if operation not in {"send_batch", "probe"} else ""
        except ImporterError as problem:
            shown = shown_by(problem)
    assert TOKEN not in shown
    assert TOKEN not in everything_logged.getvalue()
    assert PHONE not in everything_logged.getvalue()


@pytest.mark.parametrize("operation", ["add_phones", "add_phone", "cancel", "job_reports"])
def test_messages_do_not_quote_phone_numbers(operation: str) -> None:
    """The number an error names is in its field, for the program; the message masks it."""
    with serving(echoing) as server, CallsApi(server.origin, TOKEN) as api, pytest.raises(ApiError) as caught:
        OPERATIONS[operation](api)
    assert PHONE not in str(caught.value)
    assert getattr(caught.value, "phone", None) == PHONE


def test_an_interrupt_in_the_middle_of_a_request_does_not_show_the_token() -> None:
    """Ctrl-C raises inside the libraries, whose variables hold the URL: those frames are left out."""

    def interrupt() -> bool:
        raise KeyboardInterrupt

    with (
        serving(answering(reply())) as server,
        CallsApi(server.origin, TOKEN) as api,
        pytest.raises(KeyboardInterrupt) as caught,
    ):
        api.send_batch(b"[]", "key-1", last_look=interrupt)
    assert TOKEN not in shown_by(caught.value)


def test_a_fault_in_a_transport_does_not_show_the_token() -> None:
    """Neither does a fault nobody foresaw."""

    class Faulty(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            url = str(request.url)
            raise ZeroDivisionError(len(url))

    with CallsApi("https://api.example", TOKEN, transport=Faulty()) as api, pytest.raises(ZeroDivisionError) as caught:
        api.send_batch(b"[]", "key-1")
    assert TOKEN not in shown_by(caught.value)


def test_a_client_shows_its_origin_and_not_its_token() -> None:
    """In repr, str and format, and in everything it holds."""
    api = CallsApi("https://API.example:443/", TOKEN)
    assert repr(api) == "CallsApi('https://api.example', ***)"
    assert TOKEN not in f"{api} {api!r} {vars(api)!r}"


def test_a_refused_token_is_not_repeated() -> None:
    """The message about a bad token does not hold the bad token."""
    for token in (TOKEN + "/../x", TOKEN + " ", TOKEN + "?", "..", ".", "", TOKEN + "%2f", TOKEN + "\n", "т" + TOKEN):
        with pytest.raises(UsageProblem) as caught:
            CallsApi("https://api.example", token)
        assert TOKEN not in str(caught.value) + caught.value.hint


@given(st.text(max_size=40))
def test_an_accepted_token_is_one_plain_path_segment(text: str) -> None:
    """Whatever is accepted can neither leave its segment nor change the URL's meaning."""
    try:
        token = check_token(text).reveal()
    except UsageProblem:
        return
    url = httpx.URL(f"https://api.example/api/calls/campaign/{token}/status")
    assert url.raw_path == f"/api/calls/campaign/{text}/status".encode()
    assert token not in {".", ".."}


def test_a_secret_is_neither_printed_nor_pickled() -> None:
    """Only `reveal` gives it."""
    secret = Secret(TOKEN)
    assert TOKEN not in f"{secret} {secret!r} {secret!s} {[secret]}"
    assert secret.reveal() == TOKEN
    with pytest.raises(TypeError):
        pickle.dumps(secret)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"POST https://h/api/calls/campaign/{TOKEN}/addPhones", "POST https://h/api/calls/campaign/***/addPhones"),
        (
            "GET /api/crmCalls/campaign/x~y-z_1/addPhone?phone=%2B16505550123&a=1",
            "GET /api/crmCalls/campaign/***/addPhone?phone=***&a=1",
        ),
        ("Location: campaign%2Fabc%2Fstatus", "Location: campaign%2F***%2Fstatus"),
        ("token 8231.7056.1b131df1 is unknown", "token *** is unknown"),
        ("phone +16505550123 is there twice", "phone +1650***0123 is there twice"),
        ("phone 447700900123.", "phone 4477***0123."),
        ("phone 1234567", "phone ***67"),
        ("batch 42 of 1000, port 8787, 127.0.0.1:8787", "batch 42 of 1000, port 8787, 127.0.0.1:8787"),
        ("httpx 0.28.1 took 1.25 s", "httpx 0.28.1 took 1.25 s"),
    ],
)
def test_redaction_masks_tokens_and_numbers_and_leaves_the_rest(text: str, shown: str) -> None:
    """What an operator needs stays readable."""
    assert redact(text) == shown


@given(st.text(), st.from_regex(r"[A-Za-z0-9._~-]{8,40}", fullmatch=True), st.text())
def test_a_known_secret_is_masked_wherever_it_stands(before: str, token: str, after: str) -> None:
    """The patterns guess; a secret that is handed over is masked for certain."""
    assert token not in redact(before + token + after, Secret(token)).replace("***", "\0")


@given(st.text())
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    """A line that passes two filters is the line that passed one."""
    assert redact(redact(text)) == redact(text)


def test_the_filter_redacts_messages_arguments_and_tracebacks() -> None:
    """A handler with the filter never writes the token, however it got into the record."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(RedactingFilter(Secret("s3cret-token")))
    logger = logging.getLogger("redaction")
    logger.addHandler(handler)
    logger.warning("asked %s as %r", f"/campaign/{TOKEN}/status", {"token": "s3cret-token"})
    try:
        raise LookupError(f"no campaign/{TOKEN} for s3cret-token")
    except LookupError:
        logger.exception("failed", stack_info=True)
    logger.removeHandler(handler)
    written = stream.getvalue()
    assert "asked /campaign/***/status" in written
    assert "LookupError: no campaign/***" in written
    assert TOKEN not in written
    assert "s3cret-token" not in written.replace('"s3cret-token"', "").replace('s3cret-token")', "")


def test_the_http_libraries_are_quiet_unless_somebody_asked() -> None:
    """Their loggers stand at WARNING after a client is made, and a level that was chosen stays chosen."""
    chosen, unasked = logging.getLogger("httpcore.http11"), logging.getLogger("httpx")
    before = chosen.level, unasked.level
    chosen.setLevel(logging.ERROR)
    unasked.setLevel(logging.NOTSET)
    CallsApi("https://api.example", TOKEN)
    assert not unasked.isEnabledFor(logging.INFO)
    assert chosen.level == logging.ERROR
    chosen.setLevel(before[0])
    unasked.setLevel(before[1])
