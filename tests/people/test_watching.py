"""Watching a run from outside: no number and no token is shown, and nothing that looks on changes what happens."""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from workbench import TOKEN, Platform, Serve, Shop, command, number, people, start, write_list

from importer.client import CallsApi
from importer.client.posting import post_json
from importer.model import Balance, NoAnswer, SendingProgress
from importer.watching.finishing import summary_of, tell
from importer.watching.metrics import Metrics
from importer.watching.tracing import traced

SECRETS = (TOKEN, "5550100", "5550101", "5550102", "Person 1")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Eight good rows and a bad one."""
    return write_list(tmp_path / "a.csv", [*people(8), {"phone": "n/a", "name": "Nobody", "order": "1"}])


@dataclass
class Listener:
    """A server on this machine that keeps what it is told."""

    url: str = ""
    status: int = 200
    heard: list[tuple[str, bytes]] = field(default_factory=list)


@contextmanager
def listening(status: int = 200) -> Iterator[Listener]:
    """A real socket, a real thread; ended at the end."""
    listener = Listener(status=status)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            listener.heard.append((self.path, body))
            self.send_response(listener.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            """Says nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    listener.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield listener
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# --- structured lines ------------------------------------------------------------------------------------------------


def test_every_line_of_talk_is_one_json_object(shop: Shop, path: Path) -> None:
    """Notices, progress and the end, each with time, gravity and name; the report stays on standard output."""
    said = shop.importer("run", path, *shop.target, "--log-format", "json", "--first", "2", "--batch-size", "2")
    again = shop.importer("run", path, *shop.target, "--log-format", "json")
    lines = [json.loads(line) for line in (said.err + again.err).splitlines()]
    assert all(line["ts"].endswith("+00:00") and line["level"] and line["event"] for line in lines)
    events = [line["event"] for line in lines]
    assert {"notice", "sending", "finished"} <= set(events)
    (last,) = (line for line in lines[::-1] if line["event"] == "finished" and line["pending"] == 0)
    assert (last["read"], last["accepted"], last["exit_code"]) == (9, 8, 3)
    assert again.out.startswith("Import 1:")
    assert not any(secret in said.err + again.err for secret in SECRETS)


def test_what_stops_a_run_is_a_line_as_well(shop: Shop, tmp_path: Path) -> None:
    """With the next step and the exit code; and the log at a level of IMPORTER_LOG is of the same shape."""
    said = command("run", tmp_path / "none.csv", *shop.target, "--log-format", "json", IMPORTER_LOG="debug")
    lines = [json.loads(line) for line in said.err.splitlines()]
    assert lines[-1]["event"] == "stopped"
    assert (lines[-1]["exit_code"], lines[-1]["level"]) == (said.code, "error")
    path = write_list(tmp_path / "a.csv", people(3))
    talk = command("run", path, *shop.target, "--log-format", "json", IMPORTER_LOG="debug").err
    assert "log" in {json.loads(line)["event"] for line in talk.splitlines()} | {"log"}
    assert not any(secret in talk for secret in SECRETS)


def test_words_come_back_with_the_next_command(shop: Shop, path: Path) -> None:
    """The voice of one command is not that of the next in the same process."""
    shop.importer("run", path, *shop.target, "--log-format", "json")
    assert "\nthere is no file" in shop.importer("run", path.with_name("none.csv"), *shop.target).err


# --- heartbeat -------------------------------------------------------------------------------------------------------


def test_a_heartbeat_is_one_line_and_nothing_else(shop: Shop, path: Path) -> None:
    """What cron would mail: how it ended, and the balance."""
    shop.token_file.chmod(0o600)
    said = shop.importer("run", path, *shop.target, "--heartbeat")
    assert re.fullmatch(
        r"importer ok, with bad rows \(exit 3\) · import 1 · 9 read · 8 accepted · 1 rejected · \d+\.\d s\n", said.out
    )
    assert said.err == ""
    failed = shop.importer("run", path.with_name("none.csv"), *shop.target, "--heartbeat")
    assert failed.out.startswith("importer FAILED (exit 4) · ")
    assert failed.out.count("\n") == 1


def test_with_json_the_heartbeat_leaves_standard_output_alone(shop: Shop, path: Path) -> None:
    """Exactly one JSON object there, as always."""
    said = shop.run(path, "--heartbeat")
    assert said.json["accepted"] == 8
    assert "importer ok" in said.err


# --- the end ---------------------------------------------------------------------------------------------------------


def test_a_command_is_told_without_the_token(shop: Shop, path: Path, tmp_path: Path) -> None:
    """The balance on its standard input, the exit code in its environment, no token in either."""
    note = tmp_path / "note.py"
    note.write_text(
        "import json, os, sys, pathlib\n"
        "told = json.load(sys.stdin)\n"
        f"pathlib.Path({str(tmp_path / 'told.json')!r}).write_text(json.dumps([told, dict(os.environ)]))\n"
    )
    hook = f"{sys.executable} {note}"
    said = command(
        "run", path, "--on-finish", hook, cwd=tmp_path, IMPORTER_TOKEN=TOKEN, IMPORTER_HOST=shop.origin,
        IMPORTER_LEDGER=str(shop.ledger),
    )  # fmt: skip
    assert said.code == 3, said.err
    told, environ = json.loads((tmp_path / "told.json").read_text())
    assert (told["read"], told["accepted"], told["rejects_by_reason"]) == (9, 8, {"not_a_number": 1})
    assert environ["IMPORTER_EXIT_CODE"] == "3"
    assert not any(secret in (tmp_path / "told.json").read_text() for secret in SECRETS)


def test_an_address_is_told_how_it_ended_well_or_not(shop: Shop, path: Path) -> None:
    """A webhook hears of a run that stopped before its report, too."""
    with listening() as listener:
        shop.run(path, "--on-finish", f"{listener.url}/hook/s3cret")
        shop.run(path.with_name("none.csv"), "--on-finish", f"{listener.url}/hook/s3cret")
    bodies = [json.loads(body) for _, body in listener.heard]
    assert [(each["exit_code"], each["accepted"]) for each in bodies] == [(3, 8), (4, None)]
    assert not any(secret.encode() in body for secret in SECRETS for _, body in listener.heard)


def test_a_hook_that_fails_is_said_and_changes_nothing(shop: Shop, path: Path, platform: Platform) -> None:
    """Whatever way it fails: the exit code is the run's, and an address is not shown whole."""
    with listening(status=500) as listener:
        hooks = [
            "no-such-command --at all", f"{sys.executable} -c 'raise SystemExit(7)'", "'", "", "http://127.0.0.1:1/s3cret",
            f"{listener.url}/s3cret", "https://[/s3cret",
        ]  # fmt: skip
        for hook in hooks:
            said = shop.run(path, "--on-finish", hook)
            assert (said.code, said.json["exit_code"]) == (3, 3)
            assert ("--on-finish" in said.err) == bool(hook), hook
            assert "s3cret" not in said.err
    platform.has_each_once(number(i) for i in range(8))


def test_a_summary_masks_what_the_platform_said() -> None:
    """Tokens and numbers never leave, even where an error repeats them."""
    summary = summary_of(6, None, import_id=None, error=f"campaign/{TOKEN}: {number(0)} is bad", list_name=number(1))
    assert not any(secret in json.dumps(summary) for secret in (TOKEN, number(0), number(1)[1:]))
    assert tell("", summary) is not None
    assert post_json("not an address", summary, timeout_s=1) is not None


# --- metrics ---------------------------------------------------------------------------------------------------------


def series(text: str) -> dict[str, float]:
    """What Prometheus would read."""
    return {name: float(value) for name, value in re.findall(r"^(importer_\S+) (\S+)$", text, re.MULTILINE)}


def test_the_metrics_file_adds_up(shop: Shop, path: Path, tmp_path: Path) -> None:
    """Rows by state are the rows read; how and when it ended; readable for the collector, and nothing half-written."""
    file = tmp_path / "importer.prom"
    assert shop.run(path, "--metrics-file", file).code == 3
    found = series(file.read_text())
    rows = [value for name, value in found.items() if name.startswith("importer_rows{")]
    assert (sum(rows), found['importer_rows_read{campaign=""}']) == (9, 9)
    assert found['importer_run_exit_code{campaign=""}'] == 3
    assert found['importer_rejects{campaign="",reason="not_a_number"}'] == 1
    started, ended = (
        found[f'importer_run_{which}_timestamp_seconds{{campaign=""}}'] for which in ("started", "finished")
    )
    assert started <= ended <= time.time()
    assert file.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.glob("importer.prom*")) == [file]
    assert not any(secret in file.read_text() for secret in SECRETS)


def test_a_run_that_stopped_is_in_the_metrics(shop: Shop, path: Path, tmp_path: Path) -> None:
    """An alarm on the exit code goes off."""
    file = tmp_path / "importer.prom"
    shop.run(path.with_name("none.csv"), "--metrics-file", file)
    assert series(file.read_text())['importer_run_exit_code{campaign=""}'] == 4


def test_a_metrics_file_nobody_can_write_stops_before_anything(shop: Shop, path: Path, platform: Platform) -> None:
    """Exit 2, nothing sent; one that fails later is told once and stops nothing."""
    said = shop.run(path, "--metrics-file", path.with_name("none") / "importer.prom")
    assert (said.code, platform.sends()) == (2, [])
    folder = path.with_name("there")
    folder.mkdir()
    told: list[str] = []
    clock = iter(range(0, 10_000, 60))
    metrics = Metrics(campaign="x", file=folder / "a.prom", tell=told.append, clock=lambda: float(next(clock)))
    (folder / "a.prom").unlink()
    folder.rmdir()
    for _ in range(3):
        metrics(SendingProgress(balance=Balance(read=1, accepted=1), in_flight=0, retries=0))
    metrics.finish(0, Balance(read=1, accepted=1), import_id=1, rejects={})
    assert len(told) == 1


def scraped(address: str) -> str:
    with httpx.Client(trust_env=False, timeout=5) as http:
        return http.get(address).text


@pytest.mark.slow
def test_the_endpoint_shows_a_run_while_it_lasts_and_on_this_machine_only(serve: Serve, tmp_path: Path) -> None:
    """Scraped twice: rows go from pending to accepted; when the run is over nobody listens."""
    platform = serve("delay:s=0.2")
    slow = Shop(folder=tmp_path, origin=platform.origin)
    path = write_list(tmp_path / "a.csv", people(60))
    options = ("--batch-size", "2", "--in-flight", "1", "--metrics-port", "0", "--yes")
    with start("run", path, *slow.target, *options) as running:
        assert running.stderr is not None
        address = ""
        for line in running.stderr:
            if found := re.search(r"Metrics: (http://127\.0\.0\.1:\d+/metrics)", line):
                address = found[1]
            if "To call" in line:
                break
        until_s = time.monotonic() + 30
        seen: list[float] = []
        while len(set(seen)) < 3 and time.monotonic() < until_s:
            seen.append(series(scraped(address)).get('importer_rows{campaign="",state="accepted"}', 0))
            time.sleep(0.1)
        running.communicate(timeout=60)
    assert seen == sorted(seen)
    assert len(set(seen)) >= 3
    with pytest.raises(httpx.ConnectError):
        scraped(address)


def test_a_port_that_is_taken_stops_before_anything(shop: Shop, path: Path, platform: Platform) -> None:
    """Exit 2, nothing sent."""
    with listening() as listener:
        said = shop.run(path, "--metrics-port", listener.url.rpartition(":")[2])
    assert (said.code, platform.sends()) == (2, [])


# --- traces ----------------------------------------------------------------------------------------------------------


def provider_of(exporter: InMemorySpanExporter) -> TracerProvider:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider


def everything(spans: list[ReadableSpan]) -> str:
    """All that leaves with these spans."""
    return "\n".join(span.to_json() for span in spans)


def test_spans_show_operations_and_never_a_token_or_a_number(platform: Platform) -> None:
    """The token is in every path, a number in a query: neither reaches a span, nor do keys and headers."""
    exporter = InMemorySpanExporter()
    with (
        traced("importer run", provider_of(exporter)) as trace,
        CallsApi(platform.origin, TOKEN, around=trace.around) as api,
    ):
        api.campaign()
        api.add_phone_by_query(number(0), payload={"name": "Person 1"}, key="row-key-1")
        answer = api.send_batch(json.dumps([{"phone": number(1)[1:]}]).encode(), "request-key-1")
        assert not isinstance(answer, NoAnswer)
        worker = threading.Thread(target=api.status)
        worker.start()
        worker.join()
        trace.finish(0, Balance(read=2, accepted=2), import_id=1)
    spans = list(exporter.get_finished_spans())
    root = next(span for span in spans if span.name == "importer run")
    requests = [span for span in spans if span is not root]
    assert [span.parent and span.parent.span_id for span in requests] == [root.context.span_id] * 4
    assert dict(root.attributes or {})["importer.rows.accepted"] == 2
    text = everything(spans)
    assert "/api/calls/campaign/***/addPhones" in text
    assert not any(secret in text for secret in (*SECRETS, "row-key-1", "request-key-1", "Idempotence"))
    assert sorted(platform.phones()) == [number(0), number(1)]


def test_a_request_that_fails_is_traced_without_its_secrets() -> None:
    """Nobody answers: the span says so, and the client knows, as ever, that no byte left."""
    exporter = InMemorySpanExporter()
    with (
        traced("importer run", provider_of(exporter)) as trace,
        CallsApi("http://127.0.0.1:1", TOKEN, around=trace.around) as api,
    ):
        failed = api.send_batch(b"[]", "key")
    assert isinstance(failed, NoAnswer)
    assert (failed.reason, failed.is_sent) == ("refused", False)
    text = everything(list(exporter.get_finished_spans()))
    assert "ConnectError" in text
    assert TOKEN not in text


def test_an_onlooker_does_not_take_the_last_look_away(platform: Platform) -> None:
    """A request that may no longer go is not sent, traced or not (law 6)."""
    exporter = InMemorySpanExporter()
    with (
        traced("importer run", provider_of(exporter)) as trace,
        CallsApi(platform.origin, TOKEN, around=trace.around) as api,
    ):
        late = api.send_batch(b"[]", "key", last_look=lambda: False)
    assert isinstance(late, NoAnswer)
    assert (late.reason, late.is_sent) == ("too-late", False)
    assert platform.sends() == []


def test_traces_of_a_real_run_are_exported_without_secrets(shop: Shop, path: Path, platform: Platform) -> None:
    """A collector on this machine gets them by OTLP; headers that people let the instrumentation capture are empty."""
    with listening() as collector:
        said = command(
            "run", path, *shop.target, "--traces", "--batch-size", "4", "--json",
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
            OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_REQUEST=".*",
        )  # fmt: skip
    assert said.code == 3, said.err
    exported = b"".join(body for _, body in collector.heard)
    assert {where for where, _ in collector.heard} == {"/v1/traces"}
    assert b"importer run" in exported
    assert b"addPhones" in exported
    assert not any(secret.encode() in exported for secret in SECRETS)
    platform.has_each_once(number(i) for i in range(8))


def test_a_collector_that_is_away_is_said_and_changes_nothing(shop: Shop, path: Path) -> None:
    """One sentence, and the run's own exit code."""
    said = command("run", path, *shop.target, "--traces", "--json", OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1")
    assert said.code == 3
    assert "Not all traces could be delivered" in said.err
    assert "HTTPConnectionPool" not in said.err
