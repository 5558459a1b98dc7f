"""The documentation says what is so: every name in it exists, every name it owes is in it, every example works."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import sqlite3
import tomllib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import click
import pytest
from workbench import ROOT, Shop, command, people, write_list

from importer import errors, phones, summary
from importer.cli import COMMANDS, cli
from importer.intake import shaping
from importer.intake.mapping import parse_mapping
from importer.keys import RECIPE
from importer.ledger.opening import SCHEMA_VERSION
from importer.model import Balance
from importer.protocol import State
from importer.sources import delimited, jsonlines, sifting

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}
HISTORY = "docs/decisions.md"  # tells what was, so it may name what is no more
EVERYTHING = "\n".join(TEXTS.values())
SIGNALS = {130, 143}
VERBS = {
    "enqueue", "claim", "settle", "release", "split", "hold", "recover", "reconcile", "freeze", "arm", "thaw", "park",
    "drain",
}  # fmt: skip
NOUNS = {
    "row", "reject", "number", "campaign", "round", "call job", "batch", "request key", "row key", "idempotence key",
    "checkpoint", "outcome", "receipt", "held", "send", "call attempt", "chunk", "import", "list", "ledger", "payload",
    "call policy", "epoch", "generation", "leftovers", "revision", "evidence",
}  # fmt: skip


def blocks(language: str) -> list[str]:
    """Every fenced block of a language, over all pages."""
    return re.findall(rf"^```{language}\n(.*?)^```", EVERYTHING, re.DOTALL | re.MULTILINE)


def section(page: str, heading: str) -> str:
    found = re.search(rf"^#+ {re.escape(heading)}$(.*?)(?=^## |\Z)", TEXTS[page], re.DOTALL | re.MULTILINE)
    assert found, f"{page} has no section {heading}"
    return found[1]


def first_cells(table: str) -> list[str]:
    """The first cell of every line of a table, code marks taken off."""
    return [cell.strip().strip("`") for cell in re.findall(r"^\|([^|]+)\|", table, re.MULTILINE)]


def loaded(name: str) -> click.Command:
    found = cli.get_command(click.Context(cli), name)
    assert found is not None
    return found


def options(name: str) -> list[click.Option]:
    found = loaded(name)
    commands = [found, *(found.commands.values() if isinstance(found, click.Group) else ())]
    return [each for command_ in commands for each in command_.params if isinstance(each, click.Option)]


def spelled(option: click.Option) -> list[str]:
    return [word for word in (*option.opts, *option.secondary_opts) if word.startswith("--")]


# --- commands and options -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_heading(name: str) -> None:
    """Each command is explained under its own name."""
    assert re.search(rf"^## .*`importer {name}\b", TEXTS["docs/COMMANDS.md"], re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_documented(name: str) -> None:
    """Each option that `--help` shows stands in the page of commands or in that of settings."""
    pages = TEXTS["docs/COMMANDS.md"] + TEXTS["docs/CONFIGURATION.md"]
    shown = [word for option in options(name) if not option.hidden for word in spelled(option)]
    assert [word for word in shown if not re.search(rf"`{word}(?![a-z-])", pages)] == []


def test_hidden_options_are_not_promised() -> None:
    """What `--help` hides is not finished, so no page offers it."""
    hidden = {word for name in COMMANDS for option in options(name) if option.hidden for word in spelled(option)}
    assert [word for word in sorted(hidden) if re.search(rf"{word}(?![a-z-])", EVERYTHING)] == []


def test_every_option_named_exists() -> None:
    """No page names an option that no command has."""
    known = {word for name in COMMANDS for option in options(name) for word in spelled(option)}
    named = {
        word for page, text in TEXTS.items() if page != HISTORY for word in re.findall(r"`(--[a-z][a-z-]+)[^`]*`", text)
    }
    assert sorted(named - known - {"--help", "--version"}) == []


def command_lines() -> Iterator[str]:
    """Every command line of ours: in shell blocks, in transcripts and in running text."""
    for block in [*blocks("sh"), *blocks("console")]:
        for line in block.replace("\\\n", " ").splitlines():
            found = re.search(r"(?:^|[|] |KILL 4 )\s*(importer .*)", line.removeprefix("$ "))
            if found and (block in blocks("sh") or line.startswith("$ ")):
                yield found[1]
    for page, text in TEXTS.items():
        if page != HISTORY:
            yield from (
                span
                for span in re.findall(r"`(importer [a-z]+ [^`]+)`", text)
                if not re.search(r"[\[\]]|COMMAND", span)
            )


@pytest.mark.parametrize("line", sorted(set(command_lines())))
def test_every_command_line_parses(line: str) -> None:
    """Each line could be typed as it stands: the command is there, and so is every option, with a value it takes."""
    _, *words = shlex.split(re.split(r" [|>]", line)[0], comments=True)
    with cli.make_context("importer", words[:1]) as context:
        _, found, _ = cli.resolve_command(context, words)
        assert found is not None
        with contextlib.suppress(click.exceptions.Exit):  # --help has been shown
            found.make_context(words[0], words[1:], parent=context).close()


# --- settings, variables, exit codes, words -------------------------------------------------------------------------


def test_every_setting_is_documented_and_every_documented_setting_exists(tmp_path: Path) -> None:
    """What may stand in importer.toml is asked of the program itself, one setting at a time."""
    tables = first_cells(section("docs/CONFIGURATION.md", "Settings"))
    settings = [cell for cell in tables if re.fullmatch(r"[a-z_]+", cell) and cell != "setting"]
    shown = {
        word.removeprefix("--").replace("-", "_") for o in options("run") if not o.hidden for word in spelled(o)[:1]
    }
    not_settings = {"campaign", "json", "yes", "rehearse", "host", "token_file", "sql", "db", "run_id", "stop_with"}
    not_settings |= {"shard", "home", "engine", "scheduler", "shards"}
    assert sorted(settings) == sorted(shown - not_settings)
    (tmp_path / "importer.toml").write_text("".join(f'{name} = "1"\n' for name in settings), encoding="utf-8")
    assert "is no setting" not in command("status", "--ledger", "none.db", cwd=tmp_path).err


@pytest.mark.parametrize("example", [block for block in blocks("toml") if "[payload]" in block])
def test_every_mapping_example_is_accepted(example: str) -> None:
    """A mapping in the documentation may be copied as it is."""
    assert parse_mapping(tomllib.loads(example), "map.toml").payload


@pytest.mark.parametrize("example", [block for block in blocks("toml") if "[campaign" in block])
def test_every_configuration_example_is_accepted(example: str, tmp_path: Path) -> None:
    """An example may be copied as it is: a check under each of its campaigns goes through."""
    (tmp_path / "importer.toml").write_text(example, encoding="utf-8")
    rows = [{"phone": row["phone"], "customer_id": row["order"]} for row in people(3)]
    write_list(tmp_path / "list.csv", rows)
    for name in tomllib.loads(example)["campaign"]:
        said = command("check", "list.csv", "--campaign", name, cwd=tmp_path)
        assert (said.code, said.err.count("importer.toml")) == (0, 0), said.err


def test_every_variable_is_documented() -> None:
    """Each IMPORTER_… the program looks at stands in the table of variables, and no other does."""
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "importer").rglob("*.py"))
    documented = {cell for cell in first_cells(section("docs/CONFIGURATION.md", "Variables")) if cell.isupper()}
    assert documented == set(re.findall(r"\bIMPORTER_[A-Z_]+", code))


def test_every_exit_code_is_documented() -> None:
    """The table has each code a run can end with, and no other."""
    classes: list[type[errors.ImporterError]] = [errors.ImporterError, *errors.ImporterError.__subclasses__()]
    codes = {each.exit_code for each in classes} | SIGNALS
    codes |= {summary.WELL, summary.NOT_ALL_GOOD, summary.DENIED, summary.RUN_AGAIN, summary.PERSON_DECIDES}
    table = first_cells(section("README.md", "Exit codes"))
    assert {int(code) for cell in table for code in re.findall(r"\d+", cell)} == codes


def test_every_word_of_ours_is_in_the_glossary(shop: Shop, tmp_path: Path) -> None:
    """States, the parts of a balance, why rows are skipped, the ledger's verbs: each has its line."""
    shop.run(write_list(tmp_path / "list.csv", people(2)))
    with closing(sqlite3.connect(shop.ledger)) as ledger:
        schema = ledger.execute("SELECT sql FROM sqlite_master WHERE name = 'skips'").fetchone()[0]
    skips = re.findall(r"'([a-z_]+)'", schema[schema.index("CHECK") :])
    owed = {*Balance.__dataclass_fields__, *(str(state) for state in State), *skips, *VERBS, *NOUNS}
    explained = re.findall(r"^\* \*\*([^*]+)\*\* – ", TEXTS["docs/GLOSSARY.md"], re.MULTILINE)
    assert sorted(owed - set(explained)) == []
    assert len(explained) == len(set(explained))


def test_every_reason_for_a_reject_is_documented() -> None:
    """Each word of the rejects file has its line, and each line's word is one that is given."""
    given = {*phones.REASONS, *delimited.EXPLANATIONS, *jsonlines.EXPLANATIONS, *sifting.EXPLANATIONS}
    lines = re.findall(r"^\|((?: `\w+`,?)+) \|", TEXTS["docs/REJECTS.md"], re.MULTILINE)
    cells = {"ragged", shaping.BAD_POLICY, shaping.BAD_VALUE}
    assert {word for line in lines for word in re.findall(r"`(\w+)`", line)} == given | cells


def test_the_changelog_names_the_format_and_the_recipe() -> None:
    """Both stand in bold, as they are now."""
    told = re.findall(r"\*\*Ledger format (\d+)\. Key recipe (\d+)\.\*\*", (ROOT / "CHANGELOG.md").read_text())
    assert told[0] == (str(SCHEMA_VERSION), str(RECIPE))


# --- the ledger -----------------------------------------------------------------------------------------------------


@pytest.fixture
def ledger(shop: Shop, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A ledger with accepted, rejected and repeated rows, read with nothing but sqlite3."""
    rows = people(6)
    shop.run(write_list(tmp_path / "list.csv", [*rows, rows[0], {**rows[1], "phone": "n/a"}]))
    with closing(sqlite3.connect(f"{shop.ledger.as_uri()}?mode=ro", uri=True)) as connection:
        yield connection


def queries() -> list[str]:
    quoted = [sql for block in blocks("sh") for sql in re.findall(r'sqlite3 [^"\n]*"(SELECT[^"]*)"', block)]
    return [*blocks("sql"), *quoted]


def test_every_query_runs(ledger: sqlite3.Connection) -> None:
    """Each example answers on a real ledger; the one that looks for a wrong sum finds none."""
    assert len(queries()) >= 10
    for query in queries():
        found = ledger.execute(query).fetchall()
        assert found == [] or "<>" not in query, query


def test_the_views_have_something_to_say(ledger: sqlite3.Connection) -> None:
    """The four views answer for rows accepted, rejected and skipped."""
    summed = ledger.execute('SELECT "read", accepted, rejected, duplicate FROM import_summary').fetchall()
    assert summed == [(8, 6, 1, 1)]
    counts = [ledger.execute(f"SELECT count(*) FROM {view}").fetchone()[0] for view in ("call_jobs", "row_states")]
    assert (counts, ledger.execute("SELECT reason FROM skipped_rows").fetchall()) == ([6, 6], [("repeated",)])


def test_every_table_and_view_is_documented(ledger: sqlite3.Connection) -> None:
    """What the file holds is what the page lists."""
    there = {name for (name,) in ledger.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")}
    page = TEXTS["docs/LEDGER.md"]
    listed = {name for cell in re.findall(r"^\|([^|]+)\|", page, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)}
    assert listed == {name for name in there if not name.startswith("sqlite_")}


def test_the_json_of_a_run_is_as_shown(shop: Shop, tmp_path: Path) -> None:
    """The example has the names that a run gives, in their order, and its sum is even."""
    (example,) = (json.loads(block) for block in blocks("json"))
    said = shop.run(write_list(tmp_path / "list.csv", people(2))).json
    assert list(example) == list(said)
    assert Balance(**{name: example[name] for name in Balance.__dataclass_fields__}).is_even


# --- names of files and tests, and what must not be said ------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    """Each link between pages has a file, and where it names a heading, that heading."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.is_file(), target
        assert not anchor or anchor in anchors(there), target


def test_every_file_named_exists() -> None:
    """A path in code marks that looks like one of this repository's is one."""
    paths = set(re.findall(r"`((?:importer|tests|migrations|docs|sample_data|benchmarks)/[\w./-]*)`", EVERYTHING))
    assert sorted(path for path in paths if not (ROOT / path).exists()) == []


def test_every_test_named_exists() -> None:
    """A law is as good as the test that bears its name, so no page names a test that is not there."""
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", EVERYTHING))
    assert sorted(name for name in named if f"def {name}(" not in sources) == []
    assert named


def test_all_thirteen_laws_are_told_with_their_tests() -> None:
    """Each law has its own paragraph, the place in the code, and the name of a test or a word that it lacks one."""
    page = TEXTS["docs/GUARANTEES.md"]
    laws = re.findall(r"^### (\d+)\. .*?\n(.*?)(?=^##|\Z)", page, re.DOTALL | re.MULTILINE)
    assert [int(number) for number, _ in laws] == list(range(1, 14))
    for number, text in laws:
        assert "`importer/" in text, number
        assert "`test_" in text or "No test bears its name yet" in text, number
