"""The first minute: a campaign set up in one conversation, the Tab key, examples everywhere, and any terminal."""

from __future__ import annotations

import re
import shlex
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from terminals import terminal
from workbench import TOKEN, Platform, Serve, Shop, command, environment, people, start, write_list

from importer.cli import COMMANDS, cli
from importer.cli.console import cut

WRONG = "9999.1.NoSuchToken"


def every_command() -> Iterator[tuple[str, click.Command]]:
    """Each command and subcommand, by the words one types."""
    for name in COMMANDS:
        found = cli.get_command(click.Context(cli), name)
        assert found is not None
        yield name, found
        for verb, each in found.commands.items() if isinstance(found, click.Group) else ():
            yield f"{name} {verb}", each


EVERY = dict(every_command())


# --- init ------------------------------------------------------------------------------------------------------------


def test_init_without_a_terminal_takes_options_and_ends_with_the_command_to_run(
    platform: Platform, tmp_path: Path
) -> None:
    """The last line, typed as it stands, sends the list: two commands from nothing to accepted."""
    path = write_list(tmp_path / "my people.csv", people(3))
    said = command(
        "init", path.name, "--name", "spring", "--host", platform.origin, "--token-env", "SPRING", "--region", "us",
        cwd=tmp_path, SPRING=TOKEN,
    )  # fmt: skip
    assert said.code == 0, said.err
    assert said.out.splitlines() == ["importer run 'my people.csv' --campaign spring"]
    settings = tomllib.loads((tmp_path / "importer.toml").read_text(encoding="utf-8"))
    own = {"host": platform.origin, "token_env": "SPRING", "region": "US"}
    assert settings == {"ledger": "calls.db", "campaign": {"spring": own}}
    ran = command(*shlex.split(said.out)[1:], cwd=tmp_path, SPRING=TOKEN)
    assert ran.code == 0, ran.err
    assert len(platform.phones()) == 3


def test_init_asks_and_keeps_the_token_to_oneself(platform: Platform, tmp_path: Path) -> None:
    """At a terminal: a wrong token may be said again, nothing of it is written or shown, the file is 0600."""
    write_list(tmp_path / "people.csv", people(3))
    with terminal(tmp_path, "init", COLUMNS="40") as screen:
        screen.until("A name for the campaign [spring]:")
        screen.type("\r")
        screen.until("Host [https://app.jaicp.com]:")
        screen.type(f"{platform.origin}\r")
        screen.until("not shown):")
        screen.type(f"{WRONG}\r")
        screen.until("Once more:\r\nThe campaign's API token (not shown):")
        assert not list(tmp_path.glob("*.to*"))
        screen.type(f"{TOKEN}\r")
        screen.until("Where to keep the ledger [calls.db]:")
        screen.type("\r")
        screen.until("importer run people.csv --campaign spring")
        assert screen.code() == 0
    assert TOKEN not in screen.shown
    assert WRONG not in screen.shown
    file = tmp_path / "spring.token"
    assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == (f"{TOKEN}\n", 0o600)
    assert TOKEN not in (tmp_path / "importer.toml").read_text()


def test_init_writes_nothing_before_the_platform_agreed(platform: Platform, tmp_path: Path) -> None:
    """Exit 6 for a token nobody knows, 7 for a host nobody answers at, 2 for what cannot be right."""
    before = set(tmp_path.iterdir())
    known = ("init", "--name", "spring", "--token-env", "SPRING")
    assert command(*known, "--host", platform.origin, cwd=tmp_path, SPRING=WRONG).code == 6
    assert command(*known, "--host", "http://127.0.0.1:1", cwd=tmp_path, SPRING=TOKEN).code == 7
    wrong: list[tuple[str, ...]] = [
        ("--host", "ftp://x"), ("--host", platform.origin, "--region", "XX"), (),
        ("--host", platform.origin, "no-such.csv"), ("--host", platform.origin, "--token-file", "t"),
    ]  # fmt: skip
    for each in wrong:
        said = command(*known, *each, cwd=tmp_path, SPRING=TOKEN)
        assert said.code in (2, 5), (each, said.err)
        assert "Traceback" not in said.err
    assert set(tmp_path.iterdir()) == before


def test_init_leaves_an_importer_toml_alone(tmp_path: Path) -> None:
    """It names the command that adds to it."""
    (tmp_path / "importer.toml").write_text("# mine\n")
    said = command("init", cwd=tmp_path)
    assert (said.code, (tmp_path / "importer.toml").read_text()) == (2, "# mine\n")
    assert "importer campaign add" in said.err


def test_init_without_a_check_needs_no_network(tmp_path: Path) -> None:
    """And takes IMPORTER_TOKEN where nothing says another place."""
    said = command(
        "init", "--name", "spring", "--host", "app.jaicp.com", "--no-check", cwd=tmp_path, IMPORTER_TOKEN=TOKEN
    )
    assert (said.code, said.out) == (0, "importer run LIST --campaign spring\n")
    section = tomllib.loads((tmp_path / "importer.toml").read_text())["campaign"]["spring"]
    assert section == {"host": "https://app.jaicp.com", "token_env": "IMPORTER_TOKEN"}


# --- the Tab key -----------------------------------------------------------------------------------------------------


BASH = """
source <(importer completion bash 2>/dev/null)
tab() {
  COMP_WORDS=("$@"); COMP_CWORD=$(($#-1)); COMPREPLY=()
  _importer_completion importer 2>/dev/null; echo "${COMPREPLY[*]}"
}
tab importer re
tab importer run --once
tab importer run --campaign s
tab importer campaign pause su
tab importer check --accept a
tab importer ledger v
"""


def test_a_real_bash_completes_commands_options_values_and_campaigns(tmp_path: Path) -> None:
    """The very script of `importer completion bash`, in a shell of its own."""
    program = tmp_path / "importer"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m importer "$@"\n')
    program.chmod(0o755)
    sections = "".join(f'[campaign.{name}]\nhost = "http://127.0.0.1:1"\n' for name in ("spring", "sunny"))
    (tmp_path / "importer.toml").write_text(sections)
    settings = environment()
    settings["PATH"] = f"{tmp_path}:{settings['PATH']}"
    done = subprocess.run(
        ["bash", "--norc", "-c", BASH],
        env=settings,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines() == [
        "reconcile resolve report redial", "--once-per", "spring sunny", "sunny", "any-digits", "vacuum",
    ]  # fmt: skip


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_has_its_script_and_asks_us_by_the_same_protocol(shell: str, tmp_path: Path) -> None:
    """The script names our variable; asked through it, the program answers and loads no polars."""
    script = command("completion", shell).out
    assert f"_IMPORTER_COMPLETE={shell}_complete" in script
    asked = {
        "_IMPORTER_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": "importer dem",
        "COMP_CWORD": "1" if shell != "fish" else "dem",
    }
    code = "import sys, importer.cli as c\ntry: c.main([])\nfinally: print('polars' in sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(**asked),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "demo" in done.stdout
    assert done.stderr.strip().endswith("False")


# --- help ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY)
def test_help_ends_with_examples_that_could_be_typed(name: str) -> None:
    """Each command and subcommand has some, and each of them parses."""
    epilog = EVERY[name].epilog or ""
    examples = re.findall(r"^  (.*importer .*)$", epilog, re.MULTILINE)
    assert examples, f"{name} has no examples"
    for line in examples:
        typed = re.split(r" >|(?<=\S)  +", line.strip())[0].replace('eval "$(', "").replace(')"', "")
        _, *words = shlex.split(typed[typed.index("importer ") :])
        found: click.Command = cli
        while isinstance(found, click.Group):
            _, sub, rest = found.resolve_command(click.Context(found), words)
            assert sub is not None
            if isinstance(sub, click.Group) and not rest:
                break
            found, words = sub, rest
        if not isinstance(found, click.Group):
            found.make_context(name, list(words)).close()


@pytest.mark.parametrize("name", ["run", "ledger", "campaign add", "doctor"])
def test_help_fits_a_narrow_terminal(name: str) -> None:
    """At forty columns no line of prose is wider, but for words and examples that cannot be broken."""
    shown = command(*name.split(), "--help", COLUMNS="40").out
    prose = shown.partition("Examples:")[0].splitlines()
    assert [line for line in prose if len(line) > 40 and len(line.split()) > 2] == []


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["chck"], "check"), (["ledger", "chek"], "check"), (["run", "a.csv", "--rat", "5"], "--rate"),
        (["check", "a.csv", "--phone-column", "Телефн"], "Телефон"), (["check", "a.csv", "--once-per", "имя"], "Имя"),
        (["check", "b.csv"], "a.csv"), (["check", "a.csv", "--campaign", "sprng"], "spring"),
        (["campaign", "pause", "sprng"], "spring"),
    ],
)  # fmt: skip
def test_whatever_was_mistyped_the_nearest_is_named(typed: list[str], meant: str, tmp_path: Path) -> None:
    """Commands, options, columns in any script, files and campaigns."""
    write_list(tmp_path / "a.csv", [{"Телефон": "+12015550100", "Имя": "Анна"}])
    (tmp_path / "importer.toml").write_text('[campaign.spring]\nhost = "https://app.jaicp.com"\n')
    said = command(*typed, cwd=tmp_path)
    assert said.code in (2, 4), said.err
    assert meant in said.err
    assert "Did you mean" in said.err


# --- terminals -------------------------------------------------------------------------------------------------------


def test_a_narrow_terminal_draws_one_line_over_itself(serve: Serve, tmp_path: Path) -> None:
    """At forty columns no drawn line is as wide as the terminal, so that none wraps; and there is no colour."""
    slow = Shop(folder=tmp_path, origin=serve("delay:s=0.05").origin)
    path = write_list(tmp_path / "a.csv", people(80))
    options = ("--batch-size", "4", "--in-flight", "1", "--yes", *slow.target)
    with terminal(tmp_path, "run", path, *options, COLUMNS="40", NO_COLOR="1") as screen:
        screen.until("Import 1:")
        assert screen.code() == 0
    drawn = [line.rpartition("\n")[2] for line in re.findall(r"\r([^\r]*?)\x1b\[K", screen.shown)]
    sending = [line for line in drawn if line.startswith("Sending ")]
    assert len(sending) > 2
    assert max(map(len, drawn)) < 40
    assert not re.search(r"\x1b\[[\d;]*m", screen.shown)


def test_a_wide_terminal_has_a_bar_that_fits(serve: Serve, tmp_path: Path) -> None:
    """At a hundred and twenty columns, too, no drawn line wraps."""
    slow = Shop(folder=tmp_path, origin=serve("delay:s=0.05").origin)
    path = write_list(tmp_path / "a.csv", people(80))
    options = ("--batch-size", "4", "--in-flight", "1", "--yes", *slow.target)
    with terminal(tmp_path, "run", path, *options, COLUMNS="120") as screen:
        screen.until("Import 1:")
        assert screen.code() == 0
    bars = [part for part in re.split(r"[\r\n]", screen.shown) if "Sending  [" in part]
    assert bars
    assert max(len(re.sub(r"\x1b\[[^A-Za-z]*[A-Za-z]", "", bar)) for bar in bars) < 120


def test_a_cut_line_leaves_room_for_the_cursor() -> None:
    """One that fits stays as it is."""
    assert cut("short", 40) == "short"
    assert cut("x" * 40, 40) == "x" * 38 + "…"
    assert cut("x" * 9, 1) == "…"


def test_headers_in_any_script_are_columns_like_others(shop: Shop, platform: Platform, tmp_path: Path) -> None:
    """Found as the phone column, named in full, and sent as they are."""
    lists = {"ru": ("Телефон", "Имя"), "zh": ("电话号码", "姓名"), "ar": ("رقم الهاتف", "الاسم")}
    for place, (name, (phone, other)) in enumerate(lists.items()):
        path = write_list(tmp_path / f"список {name}.csv", [{phone: f"+1201555010{place}", other: "Ω"}])
        assert shop.importer("check", path, "--json").json["phone_column"] == phone
        assert shop.run(path).code == 0
    assert [set(each) for each in platform.payloads()] == [{other} for _, other in lists.values()]


def test_talk_is_plain_where_there_is_no_terminal(shop: Shop, tmp_path: Path) -> None:
    """Not one escape sequence reaches a log."""
    path = write_list(tmp_path / "a.csv", people(3))
    with start("run", path, *shop.target) as running:
        out, err = running.communicate(timeout=60)
    assert "\x1b" not in out + err
    assert "\r" not in out + err
