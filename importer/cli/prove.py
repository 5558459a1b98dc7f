"""`importer prove`: an import held against itself, its list, and the platform's own reports."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from importer.cli.imports import import_number
from importer.cli.options import (
    CAMPAIGN_OPTIONS,
    JSON_OPTION,
    LEDGER_OPTION,
    asked,
    asked_for_import,
    target_of,
    with_options,
)
from importer.errors import UsageProblem

if TYPE_CHECKING:
    from importer.cli.options import Asked
    from importer.run.proving import ApiVerdict, Erased, Proof

EPILOG = """\b
Examples:
  importer prove
  importer prove 12 --offline
  importer prove 12 --out proof.json"""

CERTIFICATE = "importer.proof.1"
ASK_TIMEOUT_S = 90.0
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command("prove", short_help="Prove an import by its ledger and the platform.", epilog=EPILOG)
@click.argument("import_id", metavar="[IMPORT]", required=False)
@click.option("--offline", is_flag=True, help="Ask nobody: hold the ledger and the list against themselves only.")
@click.option("--out", metavar="FILE", type=_FILE, help="Where the certificate goes. Else beside the ledger.")
@with_options(CAMPAIGN_OPTIONS, LEDGER_OPTION, (JSON_OPTION,))
@click.pass_context
def command(
    context: click.Context, /, import_id: str | None, offline: bool, out: Path | None, as_json: bool, **_: Any
) -> None:
    """Check every sum, frozen request, key and receipt of an import, and ask the platform for every call job.

    Nothing is sent or changed, and a run may be going on. The certificate holds no numbers and no token. Exit 0
    proved, 5 the ledger contradicts itself, 8 rows are in doubt or the platform's reports disagree.
    """
    from importer.cli.logs import start_log

    start_log()
    options = asked(context, of_import=True)
    named = import_number(options, import_id)
    number = _newest(options) if named is None else named
    path = out or options.ledger.with_name(f"import-{number}.proof.json")
    _refuse_to_replace(path)
    proof = _prove(options, number, is_offline=offline)
    certificate = as_certificate(proof)
    _write(path, certificate)
    if as_json:
        click.echo(json.dumps({**certificate, "file": str(path), "error": _error(proof)}, ensure_ascii=False))
    else:
        _show(proof, path)
    context.exit(proof.exit_code)


def _newest(options: Asked) -> int:
    from importer.ledger import LedgerReader

    with LedgerReader(options.ledger) as reader:
        number = reader.view.newest_import_id()
    if number is None:
        raise UsageProblem(f"The ledger {options.ledger} holds no import yet.", hint="Start one: importer run LIST")
    return number


def _prove(options: Asked, import_id: int, *, is_offline: bool) -> Proof:
    from importer import keys
    from importer.cli.engine import calls_api
    from importer.ledger import LedgerReader
    from importer.machine import now
    from importer.run.proving import check_token_is_of, prove

    now_ms = now().unix_ms
    if is_offline:
        return prove(options.ledger, import_id, reports=None, now_ms=now_ms)
    with LedgerReader(options.ledger) as reader:
        origin = reader.view.import_line(import_id).origin
    options = asked_for_import(options, import_id)
    values = {**options.values, "host": options.values.get("host") or options.campaign.get("host") or origin}
    target = target_of(replace(options, values=values))
    seed = keys.campaign_seed(target.token.reveal(), target.origin)
    check_token_is_of(options.ledger, import_id, keys.campaign_fingerprint(seed))
    with calls_api(target, timeout_s=ASK_TIMEOUT_S, connections=1) as api:
        return prove(options.ledger, import_id, reports=api, now_ms=now_ms)


def _refuse_to_replace(path: Path) -> None:
    """A certificate replaces nothing but an older certificate. **Errors**: UsageProblem."""
    if not path.exists():
        return
    try:
        is_ours = json.loads(path.read_bytes()).get("certificate") == CERTIFICATE
    except (OSError, ValueError, AttributeError):
        is_ours = False
    if not is_ours:
        raise UsageProblem(f"{path} is there already, and is no certificate.", hint="Name another file with --out.")


def _write(path: Path, certificate: dict[str, Any]) -> None:
    from importer.machine import make_private_folder, write_private

    try:
        make_private_folder(path.parent)
        write_private(path, json.dumps(certificate, ensure_ascii=False, indent=2).encode() + b"\n")
    except OSError as problem:
        raise UsageProblem(f"The certificate could not be written to {path}: {problem.strerror}.") from problem


def as_certificate(proof: Proof) -> dict[str, Any]:
    """The proof for programs and archives: no numbers of people, no token, names masked likewise."""
    from importer import __version__
    from importer.cli.words import balance_json
    from importer.client import redact

    an_import = proof.line.an_import
    return {
        "certificate": CERTIFICATE,
        "importer": __version__,
        "made_at": proof.made_at.isoformat(timespec="seconds"),
        "verdict": proof.verdict,
        "exit_code": proof.exit_code,
        "ledger_id": proof.ledger_id,
        "import": an_import.id,
        "campaign": proof.line.campaign,
        "origin": proof.line.origin,
        "list": redact(an_import.list_name),
        "round": an_import.round or None,
        **balance_json(proof.balance),
        "checks": [
            {"check": each.name, "looked_at": each.things, "findings": [found.text for found in each.findings]}
            for each in proof.checks
        ],
        "sources": [{"name": redact(each.name), "sha256": each.sha256, "now": each.verdict} for each in proof.sources],
        "requests": proof.requests,
        "requests_sha256": proof.requests_sha256,
        "rows_without_id": proof.rows_without_id,
        "erased": _erased_json(proof.erased),
        "api": None if proof.api is None else _api_json(proof.api),
    }


def _erased_json(erased: Erased) -> dict[str, Any]:
    """What a purge took away, so that it cannot be proved again."""
    moments = {"first_at": erased.first_ms, "last_at": erased.last_ms}
    times = {
        name: ms and datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")
        for name, ms in moments.items()
    }
    return {"requests": erased.requests, "single_rows": erased.single_rows, **times}


def _erased_lines(erased: Erased) -> list[str]:
    from importer.cli.words import day

    counted = {"requests": erased.requests, "single rows": erased.single_rows}
    what = " and ".join(f"{count:,} {name}" for name, count in counted.items() if count)
    return (
        [f"Erased on {day(erased.last_ms)}: the bytes of {what} cannot be held against their keys again."]
        if what
        else []
    )


def _api_json(api: ApiVerdict) -> dict[str, Any]:
    return {
        "ids_asked": api.asked,
        "ids_confirmed": api.confirmed,
        "jobs_seen": api.seen,
        "ids_missing": len(api.missing),
        "ids_missing_first": list(api.missing[:20]),
        "ids_of_other_numbers": len(api.strangers),
        "ids_of_other_numbers_first": list(api.strangers[:20]),
        "batches_made_twice": list(api.doubled),
        "jobs_of_others": api.others,
        "error": api.error or None,
    }


def _error(proof: Proof) -> str | None:
    if proof.findings:
        return proof.findings[0].text
    return proof.api.error or None if proof.api else None


_VERDICTS = {
    "proved": "Proved",
    "contradicted": "The ledger contradicts itself",
    "unasked": "The platform's reports could not be read; the rest holds",
    "unfinished": "The list was not read to its end yet",
    "undecided": "Not proved",
}


def _show(proof: Proof, path: Path) -> None:
    from importer.cli.console import safe
    from importer.cli.words import balance_lines

    an_import = proof.line.an_import
    lines = [f"Import {an_import.id}: {an_import.list_name}", *balance_lines(proof.balance), ""]
    for check in proof.checks:
        lines.append(f"{check.name:24}  {check.things:>12,}  {'ok' if not check.findings else 'WRONG'}")
        lines += [f"    {found.text}" for found in check.findings]
    lines += [f"list file {each.name}: {_SOURCES[each.verdict]}" for each in proof.sources]
    lines += _erased_lines(proof.erased)
    lines += _api_lines(proof.api) if proof.api else ["The platform was not asked."]
    if proof.rows_without_id:
        lines.append(f"{proof.rows_without_id:,} accepted rows have no call job id: by a person's word, or lost.")
    for line in [*lines, "", f"{_VERDICTS[proof.verdict]}. Certificate: {path}"]:
        click.echo(safe(line))


_SOURCES = {
    "same": "the same bytes as when it was read",
    "changed": "has changed since it was read",
    "gone": "is not there any more",
    "unkept": "was read from a pipe, or its fingerprint was erased, so there is nothing to compare",
}


def _api_lines(api: ApiVerdict) -> list[str]:
    if api.error:
        return [f"The platform's reports could not be read: {api.error}"]
    told = {
        "call job ids are not known to the platform": len(api.missing),
        "call job ids are another number's": len(api.strangers),
        "requests were carried out twice": len(api.doubled),
        "jobs for the same numbers were made by others": api.others,
    }
    lines = [f"{api.confirmed:,} of {api.asked:,} call job ids confirmed by the platform's reports"]
    return [*lines, *(f"{count:,} {what}" for what, count in told.items() if count)]
