"""The platform as one campaign reaches it: is it there, how far apart are the clocks, and is the token known.

Two harmless requests. The token is used and never shown; what the platform says is shown with both masked.
"""

from __future__ import annotations

from importer.client import ApiError, CallsApi
from importer.doctor.findings import NOTE, OK, WARNING, WRONG, Finding
from importer.model import Answer, NoAnswer

MOST_SKEW_S = 60.0

_WHY = {
    "dns": ("its name is not known", "Check the name; on a server, its DNS settings."),
    "refused": ("nobody listens there", "Check the name and the port."),
    "tls": ("its certificate was not accepted", "Check the name; for a private authority say --ca-file."),
    "connect-timeout": ("it did not answer", "Check firewalls; behind a proxy say --proxy."),
    "timeout": ("it took the question and did not answer in time", "Try again in a while."),
}


def examine_campaign(name: str, api: CallsApi, *, unix_s: float) -> list[Finding]:
    """Host, clock and token of a campaign. **Units**: `unix_s` is this machine's time as the first request begins."""
    exchange = api.probe()
    if isinstance(exchange, NoAnswer):
        return [_unreached(name, api.origin, exchange)]
    reached = Finding(
        what="host",
        state=OK if exchange.status < 500 else WARNING,
        text=f"{_of(name)}{api.origin} answers ({exchange.elapsed_s * 1000:,.0f} ms, status {exchange.status})",
        facts={"campaign": name, "host": api.origin, "status": exchange.status, "elapsed_s": exchange.elapsed_s},
    )
    return [reached, _clock(name, exchange, unix_s), _token(name, api)]


def _of(name: str) -> str:
    return f"{name}: " if name else ""


def _unreached(name: str, origin: str, none: NoAnswer) -> Finding:
    why, hint = _WHY.get(none.reason, (none.detail, "Try again in a while."))
    return Finding(
        what="host",
        state=WRONG,
        text=f"{_of(name)}{origin} cannot be reached: {why}",
        hint=hint,
        facts={"campaign": name, "host": origin, "reason": none.reason, "elapsed_s": none.elapsed_s},
        exit_code=7,
    )


def _clock(name: str, answer: Answer, unix_s: float) -> Finding:
    """How far apart the clocks are. **Source**: RFC 9110, 6.6.1: `Date` is when the answer was made, in seconds."""
    if answer.server_date is None:
        text = f"{_of(name)}the platform tells no time; keys are then aged by this machine's own clock"
        return Finding(what="clock", state=NOTE, text=text, facts={"campaign": name, "skew_s": None})
    skew_s = answer.server_date.timestamp() + 0.5 - (unix_s + answer.elapsed_s / 2)
    facts = {"campaign": name, "skew_s": round(skew_s, 1)}
    if abs(skew_s) <= 1 + answer.elapsed_s / 2:
        return Finding(what="clock", state=OK, text=f"{_of(name)}agrees with the platform's", facts=facts)
    text = f"{_of(name)}this machine is {abs(skew_s):,.0f} s {'behind' if skew_s > 0 else 'ahead of'} the platform"
    if abs(skew_s) <= MOST_SKEW_S:
        return Finding(what="clock", state=OK, text=text, facts=facts)
    hint = "No harm to keys, which follow the platform's clock; set this machine's by NTP."
    return Finding(what="clock", state=WARNING, text=text, hint=hint, facts=facts)


def _token(name: str, api: CallsApi) -> Finding:
    facts: dict[str, object] = {"campaign": name}
    try:
        found = api.campaign()
    except ApiError as problem:
        facts["is_valid"] = False if problem.exit_code == 6 else None
        said = f"{_of(name)}{problem.message}"
        return Finding(
            what="token", state=WRONG, text=said, hint=problem.hint, facts=facts, exit_code=problem.exit_code
        )
    facts |= {"is_valid": True, "name": found.name, "status": found.status}
    text = f"{_of(name)}valid; it is the campaign {found.name or found.id or 'without a name'} ({found.status})"
    if found.status in ("finished", "deleted"):
        hint = "It takes no more numbers; `importer campaign list` shows the others."
        return Finding(what="token", state=WARNING, text=text, hint=hint, facts=facts)
    return Finding(what="token", state=OK, text=text, facts=facts)
