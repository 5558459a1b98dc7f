"""The Calls API as a Python object: one method per operation, and one raw send for the durable queue.

Floor: client. A newcomer may question the two tongues: `send_batch` and `probe` give an `Exchange`, because to the
sender every outcome is a value to record; the typed methods, for people and programs, raise `ApiError`. Nothing here
repeats a request by itself: a failed typed call tells its `key`, under which the same call may be made again.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote, unquote, urlencode, urlsplit

import httpcore
import httpx

from importer import __version__
from importer.client.exchange import Asking, Exchanger
from importer.client.failures import (
    ApiBusy,
    ApiDenied,
    ApiError,
    ApiRejected,
    ApiUnanswered,
    ApiUnclear,
    ApiWindowFull,
    Refusal,
)
from importer.client.origin import check_key, check_token, parse_origin
from importer.client.reading import (
    Unreadable,
    read_attempt_page,
    read_attempts,
    read_campaign,
    read_id,
    read_ids,
    read_job_page,
    read_jobs,
    read_refusal,
    read_status,
)
from importer.client.records import AttemptReport, Campaign, DateFilter, Found, JobReport, NewCallJob, Page
from importer.client.secrecy import MASK, Secret, hush_http_loggers
from importer.client.tracing import Around
from importer.client.walking import (
    LAST_PAGE,
    PAGE_SIZE_ROWS,
    Selection,
    Unknown,
    WindowFull,
    part_key,
    sift,
    walk_pages,
    walk_windows,
)
from importer.client.wire import WatchedTransport
from importer.errors import UsageProblem
from importer.model import Answer, Exchange, NoAnswer

KEY_NAME = "Idempotence-Key"
DEFAULT_TIMEOUT_S = 90.0

_BASE_HEADERS = (
    ("Accept", "application/json"),
    ("Accept-Encoding", "identity"),  # a compressed answer could unpack to anything
    ("User-Agent", f"phone-list-importer/{__version__}"),
)
_JSON = ("Content-Type", "application/json")
_FORM = ("Content-Type", "application/x-www-form-urlencoded")
_RESERVED_FIELDS = frozenset({"phone", "gmtZone", KEY_NAME})
_NOT_FOUND = frozenset({"id.not.found", "phone.not.found"})
_DENIED_TYPES = frozenset({"invalid.token", "invalid.call.task.state"})
_NO_ACCESS = frozenset({401, 403})
_DEFINITE_STATUSES = _NO_ACCESS | {404, 405, 413, 414, 415}  # 400 and 422 are definite only with a type

T = TypeVar("T")


class CallsApi:
    """One campaign of one host, safe to share between threads; close it, or use it in a `with`.

    **Units**: `timeout_s` bounds a whole request, from waiting for a connection to the last byte of the answer.
    `connections` is how many requests may be under way at once. `ca_file` replaces the trusted authorities. `proxy`
    (`http://[user:password@]host:port`) must tunnel, so it is for https origins; the environment is never asked.
    `transport` stands in for the network in tests; `around` puts an onlooker before it, as
    `importer.client.tracing` does. **Errors**: UsageProblem for settings that cannot be right.
    """

    def __init__(
        self,
        origin: str,
        token: str,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        connections: int = 8,
        transport: httpx.BaseTransport | None = None,
        ca_file: Path | None = None,
        proxy: str | None = None,
        allow_insecure_http: bool = False,
        around: Around | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.origin = parse_origin(origin, allow_insecure_http=allow_insecure_http)
        self._token = check_token(token)
        if not 0 < timeout_s < float("inf") or connections < 1:
            raise UsageProblem("the timeout must be a positive number of seconds, and the connections at least one")
        hush_http_loggers()
        is_tls = self.origin.startswith("https:")
        self._transport = transport or WatchedTransport(
            is_tls=is_tls, connections=connections, ca_file=ca_file, proxy=_proxy(proxy, is_tls=is_tls)
        )
        if around is not None:
            self._transport = around(self._transport)
        self._exchanger = Exchanger(
            self._transport,
            timeout_s=timeout_s,
            token=self._token,
            clock=clock,
            wall_clock=wall_clock,
            is_ours=transport is None or isinstance(transport, WatchedTransport),
        )
        self._batch_url = self._url("calls", "/addPhones")
        self._status_asking = Asking(method="GET", url=self._url("calls", "/status"), headers=_BASE_HEADERS)

    def __repr__(self) -> str:
        return f"CallsApi({self.origin!r}, {MASK})"

    def __enter__(self) -> CallsApi:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes every connection."""
        self._transport.close()

    # --- raw: every outcome is a value ------------------------------------------------------------------------------

    def send_batch(self, body: bytes, key: str, *, last_look: Callable[[], bool] | None = None) -> Exchange:
        """Sends exactly these bytes to addPhones under exactly this key, once, and gives what came of it.

        `last_look` is asked directly before the first byte is written; when it says no, nothing is sent.
        **Errors**: UsageProblem for a key no header can carry; whatever `last_look` raises. Never for the network.
        **Crash**: before the call returns, the request may have been carried out.
        """
        asking = Asking(
            method="POST", url=self._batch_url, headers=(*_BASE_HEADERS, _JSON, (KEY_NAME, check_key(key))), body=body
        )
        return self._exchanger.exchange(asking, last_look)

    def send_phone(
        self,
        phone: str,
        *,
        payload: Mapping[str, str] | None = None,
        gmt_zone: str | None = None,
        key: str,
        last_look: Callable[[], bool] | None = None,
    ) -> Exchange:
        """Sends one number to addPhone, by POST, under exactly this key, once, and gives what came of it.

        The same fields make the same bytes. **Errors** and **Crash** as `send_batch`.
        """
        body = _form(_phone_fields(phone, payload, gmt_zone)).encode("ascii")
        headers = (*_BASE_HEADERS, _FORM, (KEY_NAME, check_key(key)))
        asking = Asking(method="POST", url=self._url("crmCalls", "/addPhone"), headers=headers, body=body)
        return self._exchanger.exchange(asking, last_look)

    def probe(self) -> Exchange:
        """A harmless GET of the campaign's status, raw: its Date header tells the server's clock."""
        return self._exchanger.exchange(self._status_asking)

    # --- adding numbers ---------------------------------------------------------------------------------------------

    def add_phones(self, jobs: Sequence[NewCallJob], *, key: str | None = None) -> tuple[str, ...]:
        """Adds numbers in one request, all or none; gives one call job id each, in the answer's order.

        The order is not documented: a report, which has phone and id, confirms which is whose.
        **Errors**: ApiError; ApiUnclear also when the number of ids is another or an id repeats.
        """
        body = _json_body([job.as_json() for job in jobs])
        call = self._post("addPhones", "calls", "/addPhones", body, key=_new_key(key))
        ids = call.read(read_ids)
        if len(ids) != len(jobs) or len(set(ids)) != len(ids):
            raise call.unclear(f"{len(ids)} ids ({len(set(ids))} different) came for {len(jobs)} numbers")
        return ids

    def add_phone(
        self,
        phone: str,
        *,
        payload: Mapping[str, str] | None = None,
        gmt_zone: str | None = None,
        key: str | None = None,
    ) -> str:
        """Adds one number by POST and gives its call job id; under a key of the last day, the first id again.

        The platform's rule against the same number and payload within 24 h is for requests without a key, and without
        `key` a new one is made: whoever may call twice keeps to one key. **Errors**: ApiError.
        """
        body = _form(_phone_fields(phone, payload, gmt_zone)).encode("ascii")
        return self._post("addPhone", "crmCalls", "/addPhone", body, key=_new_key(key), kind=_FORM).read(read_id)

    def add_phone_by_query(
        self,
        phone: str,
        *,
        payload: Mapping[str, str] | None = None,
        gmt_zone: str | None = None,
        key: str | None = None,
    ) -> str:
        """As `add_phone`, by GET: everything, the key included, stands in the URL, which proxies and servers log."""
        return self._get_phone("addPhone (GET)", "/addPhone", _phone_fields(phone, payload, gmt_zone), _new_key(key))

    def test_add_phone(
        self,
        phone: str,
        *,
        payload: Mapping[str, str] | None = None,
        gmt_zone: str | None = None,
        key: str | None = None,
    ) -> str:
        """As `add_phone_by_query`, without any rule against duplicates: for trying a script on one's own number."""
        return self._get_phone(
            "test/addPhone", "/test/addPhone", _phone_fields(phone, payload, gmt_zone), _new_key(key)
        )

    # --- call jobs --------------------------------------------------------------------------------------------------

    def cancel(self, *, ids: Iterable[str] = (), phones: Iterable[str] = (), key: str | None = None) -> Found[str]:
        """Cancels call jobs; `items` are the ids really cancelled, the unknown are told apart by bisecting.

        Parts of a bisected call go under keys made from `key`, so the same call under the same key repeats them all.
        **Errors**: ApiError; parts before the failing one are done, and repeating the call is safe.
        """
        whole_key = _new_key(key)

        def ask(part: Selection) -> tuple[str, ...]:
            part_body = _json_body(part.as_json())
            return self._post(
                "cancel", "calls", "/callJob/cancel", part_body, key=part_key(whole_key, part.path), shown_key=whole_key
            ).read(read_ids, is_selection=True)

        return sift(ask, str, _selection(ids, phones))

    def job_reports(self, *, ids: Iterable[str] = (), phones: Iterable[str] = ()) -> Found[JobReport]:
        """How these call jobs stand, each once; several jobs may come for one phone. **Errors**: ApiError."""

        def ask(part: Selection) -> tuple[JobReport, ...]:
            body = _json_body(part.as_json())
            return self._post("getReport", "calls", "/callJob/getReport", body).read(read_jobs, is_selection=True)

        return sift(ask, _job_id, _selection(ids, phones))

    def attempt_reports(self, *, ids: Iterable[str] = (), phones: Iterable[str] = ()) -> Found[AttemptReport]:
        """Every dial of these call jobs, each once. **Errors**: ApiError."""

        def ask(part: Selection) -> tuple[AttemptReport, ...]:
            body = _json_body(part.as_json())
            return self._post("attempt getReport", "calls", "/callAttempt/getReport", body).read(
                read_attempts, is_selection=True
            )

        return sift(ask, _attempt_id, _selection(ids, phones))

    def job_reports_by_date(
        self, wanted: DateFilter, *, page: int = 0, page_size: int = PAGE_SIZE_ROWS
    ) -> Page[JobReport]:
        """One page of call jobs by creation and end. **Errors**: ApiError."""
        body = _json_body({"filter": wanted.as_json("createdAt"), "pagination": _pagination(page, page_size)})
        call = self._post("getReportByDate", "calls", "/callJob/getReportByDate", body)
        return call.read(lambda answer: read_job_page(answer, page, page_size))

    def attempt_reports_by_date(
        self, wanted: DateFilter, *, page: int = 0, page_size: int = PAGE_SIZE_ROWS
    ) -> Page[AttemptReport]:
        """One page of call attempts by start and end. **Errors**: ApiError."""
        body = _json_body({"filter": wanted.as_json("startedAt"), "pagination": _pagination(page, page_size)})
        call = self._post("attempt getReportByDate", "calls", "/callAttempt/getReportByDate", body)
        return call.read(lambda answer: read_attempt_page(answer, page, page_size))

    def unfinished_jobs(self, *, page: int = 0, page_size: int = PAGE_SIZE_ROWS) -> Page[JobReport]:
        """One page of call jobs that have not ended. **Errors**: ApiError."""
        call = self._post("getUnfinished", "calls", "/callJob/getUnfinished", _json_body(_pagination(page, page_size)))
        return call.read(lambda answer: read_job_page(answer, page, page_size))

    def iter_job_reports_by_date(
        self,
        created_from: datetime | None = None,
        created_to: datetime | None = None,
        *,
        finished_from: datetime | None = None,
        finished_to: datetime | None = None,
    ) -> Iterator[JobReport]:
        """Every call job of a range, each once, however many; one range needs both ends and is halved where too full.

        **Errors**: ApiError; ApiWindowFull when one millisecond holds more than 40,000; UsageProblem for a range.
        """
        whole = DateFilter(
            began_from=created_from, began_to=created_to, finished_from=finished_from, finished_to=finished_to
        )
        rows = walk_windows(lambda window, page: self.job_reports_by_date(window, page=page), _job_id, whole)
        return _told_when_full("getReportByDate", rows)

    def iter_attempt_reports_by_date(
        self,
        started_from: datetime | None = None,
        started_to: datetime | None = None,
        *,
        finished_from: datetime | None = None,
        finished_to: datetime | None = None,
    ) -> Iterator[AttemptReport]:
        """Every call attempt of a range, each once, however many. **Errors**: as `iter_job_reports_by_date`."""
        whole = DateFilter(
            began_from=started_from, began_to=started_to, finished_from=finished_from, finished_to=finished_to
        )
        rows = walk_windows(lambda window, page: self.attempt_reports_by_date(window, page=page), _attempt_id, whole)
        return _told_when_full("attempt getReportByDate", rows)

    def iter_unfinished_jobs(self) -> Iterator[JobReport]:
        """Every call job that has not ended, each once; jobs ending meanwhile may hide others, so poll again.

        **Errors**: ApiError; ApiWindowFull after the 40,000th, since this filter has no dates to halve.
        """
        rows = walk_pages(lambda page: self.unfinished_jobs(page=page), _job_id)
        return _told_when_full("getUnfinished", rows)

    # --- the campaign -----------------------------------------------------------------------------------------------

    def campaign(self) -> Campaign:
        """The campaign with its counts. **Errors**: ApiError."""
        return self._get("campaign", self._url("calls", "")).read(read_campaign)

    def status(self) -> str:
        """The campaign's status, in the documented spelling. **Errors**: ApiError."""
        return self._call("status", self._status_asking).read(read_status)

    def pause(self, *, key: str | None = None) -> None:
        """Pauses the campaign; running conversations end by themselves. **Errors**: ApiError."""
        self._control("pause", key)

    def resume(self, *, key: str | None = None) -> None:
        """Lets a paused campaign go on. **Errors**: ApiError."""
        self._control("resume", key)

    def stop(self, *, key: str | None = None) -> None:
        """Ends the campaign for good: it takes no more numbers. **Errors**: ApiError."""
        self._control("stop", key)

    def _control(self, verb: str, key: str | None) -> None:
        self._post(verb, "calls", f"/control/{verb}", b"", key=_new_key(key), kind=None).read(lambda _body: None)

    # --- asking -----------------------------------------------------------------------------------------------------

    def _url(self, family: str, path: str, query: str = "") -> Secret[httpx.URL]:
        suffix = f"?{query}" if query else ""
        return Secret(httpx.URL(f"{self.origin}/api/{family}/campaign/{self._token.reveal()}{path}{suffix}"))

    def _get(self, operation: str, url: Secret[httpx.URL], key: str | None = None) -> _Call:
        return self._call(operation, Asking(method="GET", url=url, headers=_BASE_HEADERS), key)

    def _get_phone(self, operation: str, path: str, fields: Mapping[str, str], key: str) -> str:
        url = self._url("crmCalls", path, _form({**fields, KEY_NAME: key}))
        return self._get(operation, url, key).read(read_id)

    def _post(
        self,
        operation: str,
        family: str,
        path: str,
        body: bytes,
        *,
        key: str | None = None,
        shown_key: str | None = None,
        kind: tuple[str, str] | None = _JSON,
    ) -> _Call:
        headers = (*_BASE_HEADERS, *(() if kind is None else (kind,)), *(() if key is None else ((KEY_NAME, key),)))
        asking = Asking(method="POST", url=self._url(family, path), headers=headers, body=body)
        return self._call(operation, asking, shown_key or key)

    def _call(self, operation: str, asking: Asking, key: str | None = None) -> _Call:
        return _Call(operation, self._exchanger.exchange(asking), key, self._token)


class _Call:
    """A typed call that has been made: gives its answer, or raises what the exchange means.

    Errors are built in one frame and raised in another that has no answer among its variables: an error page may
    repeat the URL, and some tracebacks print variables.
    """

    def __init__(self, operation: str, exchange: Exchange, key: str | None, token: Secret[str]) -> None:
        self._operation = operation
        self._exchange = exchange
        self._key = key
        self._token = token

    def read(self, read: Callable[[bytes], T], *, is_selection: bool = False) -> T:
        """The answer as `read` understands it. **Errors**: ApiError; Unknown where a selection is to be bisected."""
        if isinstance(self._exchange, NoAnswer):
            raise self._unanswered(self._exchange)
        if self._exchange.status != 200:
            raise self._refused(self._exchange, is_selection=is_selection)
        try:
            return read(self._exchange.body)
        except Unreadable as problem:
            why = str(problem)
        raise self.unclear(why)

    def unclear(self, why: str) -> ApiUnclear:
        """The error for an answer after which the call is perhaps done."""
        status = self._exchange.status if isinstance(self._exchange, Answer) else None
        message = f"the answer proves nothing: {why}"
        return ApiUnclear(message, operation=self._operation, status=status, key=self._key, hint=self._hint)

    @property
    def _hint(self) -> str:
        return _ASK_HINT if self._key is None else _RETRY_HINT

    def _unanswered(self, nothing: NoAnswer) -> ApiUnanswered:
        return ApiUnanswered(
            f"no answer ({nothing.reason}: {nothing.detail})",
            operation=self._operation,
            reason=nothing.reason,
            is_sent=nothing.is_sent,
            key=self._key,
            hint=self._hint,
        )

    def _refused(self, answer: Answer, *, is_selection: bool) -> Exception:
        """What a status other than 200 means; only the short list of definite ones is a refusal."""
        if answer.status == 429:
            return self._busy(answer.retry_after_s)
        refusal = read_refusal(answer.body, self._token)
        if is_selection and answer.status in {400, 404} and refusal.type in _NOT_FOUND:
            return Unknown()
        if answer.status in _NO_ACCESS or (answer.status in {400, 404} and refusal.type in _DENIED_TYPES):
            return self._said(ApiDenied, answer.status, refusal, "check the token and the campaign's state")
        if answer.status in _DEFINITE_STATUSES or (answer.status in {400, 422} and refusal.type):
            hint = _CONTROL_HINT if self._operation in _CONTROLS else "correct the request and make it anew"
            return self._said(ApiRejected, answer.status, refusal, hint)
        return self.unclear(f"status {answer.status}")

    def _busy(self, retry_after_s: float | None) -> ApiBusy:
        return ApiBusy(
            "the API asks to wait",
            operation=self._operation,
            retry_after_s=retry_after_s,
            key=self._key,
            hint="wait, then make the same call again",
        )

    def _said(self, kind: type[ApiDenied | ApiRejected], status: int, refusal: Refusal, hint: str) -> ApiError:
        said = f"{refusal.type or f'status {status}'}: {refusal.message}".rstrip(": ")
        message = f"the API refused ({said})"
        return kind(message, operation=self._operation, refusal=refusal, status=status, key=self._key, hint=hint)


_CONTROLS = frozenset({"pause", "resume", "stop"})
_CONTROL_HINT = "look how the campaign stands: it cannot do that now"
_ASK_HINT = "nothing was to be changed: ask again later"
_RETRY_HINT = "make the same call again under the same key; a new key could do it twice"


def _told_when_full(operation: str, rows: Iterator[T]) -> Iterator[T]:
    """The rows; a filter that cannot be narrowed further becomes an error one can read."""
    try:
        yield from rows
    except WindowFull:
        pass
    else:
        return
    most = (LAST_PAGE + 1) * PAGE_SIZE_ROWS
    raise ApiWindowFull(
        f"more than {most} rows share one filter that cannot be narrowed",
        operation=operation,
        hint="ask for these jobs by their ids, or by another date",
    )


def _job_id(report: JobReport) -> str:
    return report.call_job_id


def _attempt_id(report: AttemptReport) -> tuple[str, int]:
    return report.call_job_id, report.attempt_number


def _selection(ids: Iterable[str], phones: Iterable[str]) -> Selection:
    return Selection(ids=tuple(dict.fromkeys(ids)), phones=tuple(dict.fromkeys(phones)))


def _new_key(key: str | None) -> str:
    """The caller's key, checked, or a new one for this call alone."""
    return str(uuid.uuid4()) if key is None else check_key(key)


def _pagination(page: int, page_size: int) -> dict[str, int]:
    if not (0 <= page <= LAST_PAGE and 1 <= page_size <= PAGE_SIZE_ROWS):
        raise UsageProblem(f"pages are 0 to {LAST_PAGE}, of 1 to {PAGE_SIZE_ROWS} rows")
    return {"page": page, "pageSize": page_size}


def _phone_fields(phone: str, payload: Mapping[str, str] | None, gmt_zone: str | None) -> dict[str, str]:
    """The fields of addPhone; every name that is not its own becomes payload, so those names are taken."""
    taken = _RESERVED_FIELDS & set(payload or ())
    if taken:
        raise UsageProblem(f"a payload key of addPhone cannot be called {', '.join(sorted(taken))}")
    return {"phone": phone, **({} if gmt_zone is None else {"gmtZone": gmt_zone}), **(payload or {})}


def _form(fields: Mapping[str, str]) -> str:
    """Form encoding with `%20` and `%2B`, never a bare plus, which some servers take for itself."""
    return urlencode(fields, quote_via=quote, safe="")


def _json_body(value: Any) -> bytes:
    """Compact UTF-8 JSON. **Errors**: UsageProblem for what JSON does not have (NaN, half characters, objects)."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8")
    except (TypeError, ValueError, RecursionError):
        pass
    raise UsageProblem("the request cannot be written as JSON", hint="payload values: text, numbers, lists, objects")


def _proxy(text: str | None, *, is_tls: bool) -> httpcore.Proxy | None:
    """The proxy, which sees host names only, because everything else goes through a tunnel."""
    if text is None:
        return None
    if not is_tls:
        raise UsageProblem("through a proxy only https origins are reached: it would read the token otherwise")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if host is None or parts.scheme != "http" or parts.path.strip("/") or parts.query or parts.fragment:
        raise UsageProblem("the proxy is not written as http://host:port, with or without user:password@")
    auth = None if parts.username is None else (unquote(parts.username), unquote(parts.password or ""))
    return httpcore.Proxy(url=httpcore.URL(scheme="http", host=host, port=port or 80, target="/"), auth=auth)
