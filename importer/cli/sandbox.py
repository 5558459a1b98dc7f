"""The `sandbox` command: an embedded Calls API server for rehearsals and demonstrations.

Parses, builds a Sandbox, prints one ready line, serves until told to stop. werkzeug is imported inside the
command, so that `importer --help` works, and stays quick, without the extra.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from importer.cli.options import examples
from importer.errors import UsageProblem

if TYPE_CHECKING:
    from importer.sandbox import Sandbox, Served

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@click.command(
    "sandbox",
    short_help="Serve a pretend Calls API to rehearse against.",
    epilog=examples(
        "importer sandbox --token 1.2.rehearsal", "importer sandbox --port 0 --fault lose-answer:every=7 --speed 60"
    ),
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8787, show_default=True, help="Port; 0 takes a free one."
)
@click.option(
    "--db",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keep the state in this file; otherwise it is gone afterwards.",
)
@click.option(
    "--token", "tokens", multiple=True, help="Token of a campaign to serve; may be repeated. One is made up otherwise."
)
@click.option(
    "--key-ttl",
    default="24h",
    show_default=True,
    metavar="DURATION",
    help="Life of an idempotence key from its first use.",
)
@click.option("--fault", "faults", multiple=True, metavar="SPEC", help="Misbehave; may be repeated. See above.")
@click.option("--seed", type=int, help="Seed of ids, faults and calls; kept in the file.  [default: 0]")
@click.option(
    "--speed",
    type=click.FloatRange(min=0.0, min_open=True),
    default=1.0,
    show_default=True,
    help="Simulated seconds of calling per second.",
)
@click.option(
    "--lines", type=click.IntRange(1), default=50, show_default=True, help="Calls that go on at once, roughly."
)
@click.option(
    "--same-key",
    type=click.Choice(["refuse", "replay", "execute"]),
    default="refuse",
    show_default=True,
    help="What a known key with other content gets.",
)
@click.option(
    "--remember",
    type=click.Choice(["ok", "refusals", "all"]),
    default="ok",
    show_default=True,
    help="Which answers a key replays: successes, 4xx too, or 5xx as well.",
)
@click.option(
    "--duplicates",
    type=click.Choice(["array", "jobs24h"]),
    default="array",
    show_default=True,
    help="Where addPhones looks for a phone twice.",
)
@click.option(
    "--plus",
    type=click.Choice(["refuse", "tolerate"]),
    default="refuse",
    show_default=True,
    help="A leading + in addPhones.",
)
@click.option(
    "--report-delay",
    default="0s",
    show_default=True,
    metavar="DURATION",
    help="How long a new job stays out of the reports.",
)
@click.option("--verbose", is_flag=True, help="Print a line per request to stderr.")
def command(
    *, host: str, port: int, db: Path | None, key_ttl: str, report_delay: str, verbose: bool, **switches: Any
) -> None:
    """Serve a pretend Calls API to rehearse against.

    It answers all thirteen operations, keeps idempotence keys as documented, and lets calls happen. No real call
    is ever made. A DURATION is a number with ms, s, m, h or d.

    \b
    A fault is NAME[:OPTION=VALUE[,OPTION=VALUE]...], for example
      --fault lose-answer:every=7
      --fault status:code=429,retry-after=2,times=5
    \b
    Instead of the operation, which is then not carried out:
      drop          close the connection          how=fin|rst
      status        answer a status               code=503 type= retry-after=
                                                  retry-after-date= at=before|after
      html          a proxy's HTML error page     code=502 at=before|after
      too-large     413 above a size              bytes=1000000
    \b
    After the operation was carried out:
      lose-answer   close without an answer       how=fin|rst
      half-answer   close within the answer       part=body|head
      error-after-commit  answer a status         status=500
      wrong-count   ids too few or too many       by=-1
      strange       a 200 with an odd body        as=empty|cut|object|deep|digits|same-id
      slow-body     drip the body                 bytes=16 gap=100ms
      delay         wait (before it by default)   s=1 at=before|after
    \b
    Otherwise:
      forget-keys   forget the request's key      age=0s
      replay-errors remember errors, 5xx too
      shuffle-ids   ids in another order than the phones
      iso-times     ISO 8601 times in reports, not milliseconds
      in-process    the status is inProcess, not inProgress
      newest-first  paged reports run backwards
      no-date       no Date header
      wrong-date    a Date that is off            s=7200
    \b
    Which requests, for every fault:
      op=addPhones  this operation; several with +, or any
      after=N  every=N  times=N  p=0.1  when=10s..2m
    """  # noqa: D301 - click reads the control character itself
    if host not in _LOOPBACK:
        click.echo(f"warning: {host} can be reached from other machines, and a sandbox has no protection", err=True)
    with ExitStack() as stack:
        path = db or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sandbox-"))) / "sandbox.db"
        times = {
            "key_ttl_s": _duration_s(key_ttl, "--key-ttl"),
            "report_delay_s": _duration_s(report_delay, "--report-delay"),
        }
        sandbox = stack.enter_context(_build(path, on_request=_tell if verbose else None, **times, **switches))
        sandbox.serve_forever(
            host, port, stop=_stopped_by_signals(), on_ready=lambda served: _say_ready(served, sandbox)
        )


def _build(path: Path, **switches: Any) -> Sandbox:
    try:
        from importer.sandbox import Sandbox
    except ModuleNotFoundError as error:
        raise UsageProblem("the sandbox needs werkzeug", hint="pip install 'phone-list-importer[sandbox]'") from error
    return Sandbox(path, **switches)


def _duration_s(text: str, option: str) -> float:
    from importer.sandbox.durations import parse_duration_s

    try:
        return parse_duration_s(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option) from error


def _stopped_by_signals() -> threading.Event:
    """An event that SIGINT and SIGTERM set; the server then ends in order."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _say_ready(served: Served, sandbox: Sandbox) -> None:
    click.echo(f"sandbox ready at {served.url}  campaign token: {' '.join(sandbox.tokens)}")
    sys.stdout.flush()


def _tell(line: str) -> None:
    click.echo(line, err=True)
