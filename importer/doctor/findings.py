"""What the doctor found, one thing at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

OK, NOTE, WARNING, WRONG = "ok", "note", "warning", "wrong"
_PRECEDENCE = (1, 2, 9, 5, 4, 6, 7, 8, 3)


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing looked at. `state` is `ok`, `note`, `warning` or `wrong`; `exit_code` counts where it is `wrong`.

    `facts` are for programs; `text` and `hint` never hold a token or a number.
    """

    what: str
    state: str
    text: str
    hint: str = ""
    facts: Mapping[str, object] = field(default_factory=dict)
    exit_code: int = 0


def verdict(findings: Sequence[Finding]) -> int:
    """The exit code of all of them: 0, or that of the gravest, in the order that every command follows."""
    codes = {each.exit_code for each in findings if each.state == WRONG}
    return next((code for code in _PRECEDENCE if code in codes), 0)
