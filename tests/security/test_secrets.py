"""S1–S5, S16, S17, S28: the token and the numbers stay where they belong."""
# ruff: noqa: N802 - the tests are named after the security checklist

from __future__ import annotations

import io
import json
import logging
import os
import re
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import pytest
from client.servers import Server, answering, read_request, reply, serving
from workbench import TOKEN, Platform, Said, Serve, Shop, command, environment, people, start, write_list

from importer.cli import COMMANDS, cli
from importer.cli.logs import start_log
from importer.client import Secret, check_token
from importer.machine import read_by_others, write_private

from .conftest import files_of, leaks_in, shown_by

ROWS = 9


def everything_of(shop: Shop, path: Path) -> list[Said]:
    """Every command that meets a token or a ledger, once, as people type them."""
    ledger = ("--ledger", shop.ledger)
    return [
        shop.importer(*arguments)
        for arguments in (
            ("check", path, *shop.target),
            ("run", path, *shop.target, "--batch-size", "2"),
            ("run", path, *shop.target),
            ("send", *shop.target, "--json"),
            ("status", *ledger),
            ("status", "1", *ledger, "--json"),
            ("reconcile", *shop.target),
            ("resolve", *ledger),
            ("prove", *shop.target),
            ("ledger", "check", *ledger),
            ("ledger", "backup", shop.folder / "backup.db", *ledger),
            ("ledger", "repair", *ledger),
            ("ledger", "vacuum", *ledger),
            ("dnc", "list", *ledger),
        )
    ]


@contextmanager
def logged_everything() -> Iterator[io.StringIO]:
    """Every logger there is, at DEBUG, through our handler as IMPORTER_LOG sets it up."""
    stream = io.StringIO()
    root, before = logging.getLogger(), (logging.getLogger().level, logging.getLogger().handlers[:])
    os.environ["IMPORTER_LOG"] = "debug"
    try:
        start_log()
        handler = logging.getLogger().handlers[0]
        assert isinstance(handler, logging.StreamHandler)
        handler.setStream(stream)
        for name in ("httpx", "httpcore", "httpcore.http11", "httpcore.connection"):
            logging.getLogger(name).setLevel(logging.DEBUG)
        yield stream
    finally:
        del os.environ["IMPORTER_LOG"]
        root.setLevel(before[0])
        root.handlers[:] = before[1]


# --- S1 to S4: where the token may not be ---------------------------------------------------------------------------


def test_S1_the_token_is_in_no_output_log_or_file_of_any_command(careful: Shop, tmp_path: Path) -> None:
    """Every command, every file it leaves: neither the token nor, but in ledgers and lists, a number."""
    said = everything_of(careful, write_list(tmp_path / "a.csv", people(ROWS)))
    assert [each.code for each in said] == [0] * len(said), [each.err for each in said if each.code]
    assert leaks_in(*shown_by(*said), phones=ROWS) == []
    assert leaks_in(*(path.read_bytes() for path in files_of(tmp_path))) == []


def test_S1_every_logger_at_debug_goes_through_the_redaction(careful: Shop, platform: Platform, tmp_path: Path) -> None:
    """A real process at IMPORTER_LOG=debug, the HTTP libraries' own lines included."""
    path = write_list(tmp_path / "a.csv", people(ROWS))
    said = command("run", path, *careful.target, IMPORTER_LOG="debug")
    assert said.code == 0
    assert leaks_in(*shown_by(said), phones=ROWS) == []
    assert len(platform.phones()) == ROWS


def test_S1_a_line_with_the_token_is_masked_even_where_no_pattern_would_know_it() -> None:
    """The run's own token is handed to the log, so that it is masked wherever it stands."""
    record = logging.LogRecord("x", logging.INFO, "", 0, "it is %s", ("plainlookingsecret",), None)
    stream = io.StringIO()
    before = logging.getLogger().handlers[:], logging.getLogger().level
    os.environ["IMPORTER_LOG"] = "info"
    try:
        start_log(check_token("plainlookingsecret"))
        handler = logging.getLogger().handlers[0]
        assert isinstance(handler, logging.StreamHandler)
        handler.setStream(stream)
        handler.handle(record)
    finally:
        del os.environ["IMPORTER_LOG"]
        logging.getLogger().handlers[:] = before[0]
        logging.getLogger().setLevel(before[1])
    assert stream.getvalue().endswith("it is ***\n")


def echoing(status: str, kind: str) -> object:
    """A platform whose error pages repeat everything they were told."""

    def behave(connection: object, server: Server) -> None:
        while request := read_request(connection, server):  # type: ignore[arg-type]
            said = request.decode("latin-1")
            body = json.dumps({"type": f"{kind} {said}" if kind == "echo" else kind, "message": said}).encode()
            connection.sendall(reply(body, status))  # type: ignore[attr-defined]

    return behave


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("400 Bad Request", "echo"), ("400 Bad Request", "phone.bad.format"), ("404 Not Found", "invalid.token"),
        ("403 Forbidden", "x"), ("500 Oops", "x"), ("302 Found", "x"), ("422 No", "echo"),
    ],
)  # fmt: skip
def test_S2_an_error_that_repeats_the_token_does_not_show_or_store_it(status: str, kind: str, tmp_path: Path) -> None:
    """Whatever class of error it becomes: not in the message, the JSON, the hint or the receipt."""
    with serving(echoing(status, kind)) as server:  # type: ignore[arg-type]
        shop = Shop(folder=tmp_path, origin=server.origin)
        path = write_list(tmp_path / "a.csv", people(2))
        options = ("--patience", "1s", "--batch-size", "1", "--quiet-period", "0s")
        said = [
            shop.importer("run", path, *shop.target, *options),
            shop.run(path, *options),
            shop.importer("prove", *shop.target),
        ]
    assert leaks_in(*shown_by(*said), phones=2) == []
    assert leaks_in(*(file.read_bytes() for file in files_of(tmp_path))) == []
    assert all("Traceback" not in text for text in shown_by(*said))


def test_S2_a_bug_is_told_without_the_variables_around_it(tmp_path: Path) -> None:
    """No traceback on the screen; in the log it is redacted."""
    said = command(
        "run", tmp_path / "a.csv", "--host", "http://127.0.0.1:1", IMPORTER_TOKEN=TOKEN, IMPORTER_LOG="debug"
    )
    assert said.code in {2, 4}
    assert leaks_in(*shown_by(said)) == []


def test_S3_no_option_takes_a_token_and_a_running_import_does_not_show_it(serve: Serve, tmp_path: Path) -> None:
    """The list of processes is everybody's: the token comes from a file or a variable."""
    platform = serve("delay:s=1")
    shop = Shop(folder=tmp_path, origin=platform.origin)
    path = write_list(tmp_path / "a.csv", people(2))
    process = start("run", path, *shop.target)
    try:
        deadline_s = time.monotonic() + 20
        while not platform.sends() and time.monotonic() < deadline_s:
            time.sleep(0.05)
        arguments = Path(f"/proc/{process.pid}/cmdline")
        if arguments.exists():
            assert leaks_in(arguments.read_bytes()) == []
            limits = Path(f"/proc/{process.pid}/limits").read_text()
            assert re.search(r"Max core file size\s+0\s+0\s", limits), "S28: a crash leaves no memory image"
    finally:
        process.kill()
        process.communicate()


def test_S3_only_the_sandbox_takes_tokens_as_words() -> None:
    """Its tokens are made up and good for nothing else."""
    context = click.Context(cli)
    takers = []
    for name in COMMANDS:
        found = cli.get_command(context, name)
        assert found is not None
        parts = [found, *(found.commands.values() if isinstance(found, click.Group) else ())]
        takers += [name for part in parts for each in part.params if "--token" in each.opts]
    assert takers == ["sandbox"]


def test_S3_a_token_file_that_others_can_read_is_warned_about(careful: Shop, tmp_path: Path) -> None:
    """Said once on standard error, with the command that mends it; the run goes on."""
    path = write_list(tmp_path / "a.csv", people(2))
    assert "chmod" not in careful.run(path).err
    careful.token_file.chmod(0o644)
    said = careful.run(path)
    assert (said.code, said.err.count("chmod 600")) == (0, 1)
    assert read_by_others(tmp_path / "nothing") is None


def test_S4_the_ledger_holds_no_token_and_knows_it_again(careful: Shop, tmp_path: Path) -> None:
    """A fingerprint that is as costly to guess as the key's own secret."""
    careful.run(write_list(tmp_path / "a.csv", people(ROWS)))
    for file in tmp_path.glob("ledger.db*"):
        assert leaks_in(file.read_bytes()) == []
    assert careful.run(tmp_path / "a.csv").json["duplicate"] == ROWS


def test_S5_proxies_of_the_environment_are_not_used(careful: Shop, platform: Platform, tmp_path: Path) -> None:
    """The URL is a secret: only --proxy sends it elsewhere, and then inside a tunnel."""
    path = write_list(tmp_path / "a.csv", people(2))
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login user password pass\n")
    with serving(answering(reply())) as proxy:
        names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
        said = command(
            "run", path, *careful.target, **dict.fromkeys(names, proxy.origin), HOME=str(tmp_path), NO_PROXY=""
        )
        assert (said.code, proxy.connections) == (0, 0)
        refused = careful.run(path, "--proxy", proxy.origin)
        assert (refused.code, "token" in refused.json["error"], proxy.connections) == (2, True, 0)
    assert len(platform.phones()) == 2


# --- S16 numbers, S17 files, S28 memory -----------------------------------------------------------------------------


def test_S16_numbers_are_masked_in_the_log_unless_asked_for() -> None:
    """`--show-numbers` shows them, and never the token."""
    for shows, expected in ((False, "+1201***0100 ***"), (True, "+12015550100 ***")):
        stream = io.StringIO()
        before = logging.getLogger().handlers[:], logging.getLogger().level
        os.environ["IMPORTER_LOG"] = "info"
        try:
            start_log(Secret(TOKEN), shows_numbers=shows)
            handler = logging.getLogger().handlers[0]
            assert isinstance(handler, logging.StreamHandler)
            handler.setStream(stream)
            logging.getLogger("x").info("called +12015550100 %s", TOKEN)
        finally:
            del os.environ["IMPORTER_LOG"]
            logging.getLogger().handlers[:] = before[0]
            logging.getLogger().setLevel(before[1])
        assert expected in stream.getvalue()


def test_S16_a_payload_never_reaches_a_log_or_a_message(careful: Shop, tmp_path: Path) -> None:
    """Cells are people's data."""
    rows = [{**row, "name": "CanaryCellContent"} for row in people(3)]
    path = write_list(tmp_path / "a.csv", rows)
    with logged_everything() as log:
        said = everything_of(careful, path)
    assert "CanaryCellContent" not in log.getvalue() + "".join(shown_by(*said))
    assert leaks_in(log.getvalue(), phones=3) == []


def test_S17_everything_importer_writes_is_private_under_any_umask(serve: Serve, tmp_path: Path) -> None:
    """With umask 000: files 0600, the ledger's new folder 0700, after every command."""
    shop = Shop(folder=tmp_path / "new" / "folder", origin=serve().origin)
    before = os.umask(0)
    try:
        shop.folder.mkdir(parents=True, mode=0o700)
        shop.token_file.chmod(0o600)
        deep = Shop(folder=shop.folder, origin=shop.origin)
        path = write_list(shop.folder / "a.csv", [*people(ROWS), {"phone": "bad", "name": "", "order": ""}])
        said = [
            *everything_of(deep, path),
            shop.importer(
                "run", path, *shop.target[:4], "--ledger", tmp_path / "made" / "here" / "x.db", "--new-ledger"
            ),
        ]
    finally:
        os.umask(before)
    assert {each.code for each in said} <= {0, 3}, [each.err for each in said]
    made = [*files_of(shop.folder), *files_of(tmp_path / "made")]
    names = "ledger.db ledger.db.lock ledger.db.counter a.rejects.csv backup.db import-2.proof.json ledger.db.repaired"
    assert {path.name for path in made} >= set(names.split())
    assert [path for path in made if stat.S_IMODE(path.stat().st_mode) != 0o600] == []
    assert [stat.S_IMODE(each.stat().st_mode) for each in (tmp_path / "made", tmp_path / "made" / "here")] == [
        0o700
    ] * 2


def test_S17_a_ledger_that_was_copied_here_readable_is_made_private(careful: Shop, tmp_path: Path) -> None:
    """With its -wal, which takes the ledger's mode."""
    careful.run(write_list(tmp_path / "a.csv", people(2)))
    careful.ledger.chmod(0o644)
    assert careful.send().code == 0
    assert stat.S_IMODE(careful.ledger.stat().st_mode) == 0o600


def test_S17_a_folder_others_may_write_to_is_refused_or_warned_about(careful: Shop, tmp_path: Path) -> None:
    """Anybody: refused. The group: a warning with the command that mends it. A link: refused."""
    path = write_list(tmp_path / "a.csv", people(2))
    loose = tmp_path / "loose"
    loose.mkdir()
    target = (*careful.target[:4], "--ledger", loose / "x.db")
    loose.chmod(0o777)
    assert careful.importer("run", path, *target).code == 5
    loose.chmod(0o770)
    said = careful.importer("run", path, *target)
    assert (said.code, "chmod g-w" in said.err) == (0, True)
    (tmp_path / "link.db").symlink_to(loose / "x.db")
    assert careful.importer("run", path, *careful.target[:4], "--ledger", tmp_path / "link.db").code == 5


def test_S17_private_files_are_never_written_through_a_link(tmp_path: Path) -> None:
    """A link planted where the temporary file will be is removed, not followed."""
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    (tmp_path / f".x.{os.getpid()}.tmp").symlink_to(victim)
    write_private(tmp_path / "x", b"secret")
    assert victim.read_text() == "untouched"
    assert (tmp_path / "x").read_bytes() == b"secret"


LIMITS = """
import resource
from importer.machine import forbid_core_dumps
forbid_core_dumps()
print(resource.getrlimit(resource.RLIMIT_CORE))
"""


def test_S28_no_core_dump_once_a_token_is_loaded() -> None:
    """The limit is taken down for good; that a running import has it is looked at in S3."""
    done = subprocess.run([sys.executable, "-c", LIMITS], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout == "(0, 0)\n"
