"""What a run is asked for, once options, variables and configuration have been put together.

Floor: run. Frozen records; the command line and the Python API both fill them in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from importer.client import Secret
from importer.intake import ListMapping, Plan, make_plan
from importer.model import Balance
from importer.phones import PhoneRules
from importer.purging import DEFAULT_KEEP_S
from importer.reconcile import Reconciled
from importer.sender import SendSettings
from importer.shards import Shard
from importer.sources import ReadOptions
from importer.summary import Allowance

if TYPE_CHECKING:
    from importer.run.checking import CheckSettings

DEFAULT_BATCH_ROWS = 250
VIA_LIST, VIA_PHONE = "addPhones", "addPhone"


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """The campaign to send to, and how it is reached. `name` is how the configuration calls it, for people only.

    `ca_file` replaces the trusted authorities; `proxy` may hold a password.
    """

    origin: str
    token: Secret[str]
    name: str | None = None
    ca_file: Path | None = None
    proxy: Secret[str] | None = None
    is_insecure_http_fine: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Checks:
    """What must hold before anything is sent, and what rejects are forgiven afterwards.

    **Units**: `stop_at_rejects_share` of the rows read; `expect_rows` inclusive bounds; `max_calls` rows to send.
    """

    stop_at_rejects_share: float = 0.2
    expect_rows: tuple[int, int | None] | None = None
    max_calls: int | None = None
    allowance: Allowance = field(default_factory=Allowance)


@dataclass(frozen=True, kw_only=True, slots=True)
class HoldBack:
    """Whom not to call: the numbers of do-not-call lists (files), and who was called within so many seconds.

    The lists kept in the ledger hold whatever is said here.
    """

    suppress: Sequence[str] = ()
    suppress_column: str | None = None
    not_if_called_within_s: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class BareDigits:
    """Cells of bare digits that are numbers both ways, and begin with the region's own code country code first."""

    rows: int
    read_rows: int
    region: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSettings:
    """One run. `once_per` and `round_name` are None when nobody said them.

    `in_doubt` is `reconcile` or `hold`; `quiet_s` seconds; `adopt_since_ms` the Unix time since which a lost or
    restored ledger may have sent. Settled rows are erased after `keep_for_s`, never
    if that is infinite. `run_id` is the name that whoever starts this run gave it and its retries. `via` is
    the operation rows are sent by, for as long as the import lasts; `parent` is what a redial keeps of the import it
    was made from. `shard` is the part of the list to take, `home` the ledger that knows the earlier imports.
    """

    sources: Sequence[str]
    target: Target
    ledger: Path
    list_name: str | None = None
    round_name: str | None = None
    once_per: str | None = None
    phone_column: str | None = None
    region_column: str | None = None
    mapping: ListMapping | None = None
    is_splitting: bool = False
    rules: PhoneRules = field(default_factory=PhoneRules)
    hold_back: HoldBack = field(default_factory=HoldBack)
    reading: ReadOptions = field(default_factory=ReadOptions)
    batch_size_rows: int = DEFAULT_BATCH_ROWS
    sending: SendSettings = field(default_factory=SendSettings)
    checks: Checks = field(default_factory=Checks)
    rejects_path: Path | None = None
    is_new_ledger_fine: bool = False
    in_doubt: str = "reconcile"
    quiet_s: float = 900.0
    adopt_since_ms: int | None = None
    run_id: str | None = None
    is_network_ledger_fine: bool = False
    shows_numbers: bool = False
    keep_for_s: float = DEFAULT_KEEP_S
    via: str = VIA_LIST
    parent: Mapping[str, Any] | None = None
    shard: Shard | None = None
    home: Path | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class CampaignFacts:
    """What the platform says of the campaign; all None when it could not be asked."""

    name: str | None = None
    status: str | None = None
    total_numbers: int | None = None
    platform_id: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class LastTime:
    """The import of the same list before this one. **Units**: rows, Unix milliseconds."""

    import_id: int
    started_ms: int
    read_rows: int
    accepted_rows: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """Whether sending fits, as far as can be told beforehand; None where nothing is known to go by.

    `is_measured`: the rate is how the platform answered before, not what `--rate` allows. `late_rows` have a calling
    window of their own that closes before it is their turn.
    """

    rate_rows_s: float | None
    is_measured: bool
    expected_s: float | None
    is_beyond_key_window: bool
    late_rows: int
    last: LastTime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Intention:
    """What a run is about to do, for a person to look at once."""

    import_id: int
    list_name: str
    ledger: Path
    round_name: str
    campaign: CampaignFacts
    origin: str
    balance: Balance
    payload_columns: tuple[str, ...]
    phone_column: str
    requests: int
    repeated_rows: int
    already_rows: int
    changed_rows: int
    recent_rows: int
    suppressed_rows: int
    earlier_ms: tuple[int | None, int | None]
    reject_counts: tuple[tuple[str, int], ...]
    rejects_path: Path | None
    to_send_rows: int
    is_resumed: bool
    fit: Fit


@dataclass(frozen=True, kw_only=True, slots=True)
class CameBack:
    """Numbers already in this campaign and round whose rows came back with other content."""

    rows: int
    changed_fields: tuple[str, ...]


class Desk(Protocol):
    """The person at the terminal, or nobody: every question a run may have."""

    def may_send(self, intention: Intention) -> bool:
        """Shows what is about to happen; False means the person said no."""

    def which_call(self, came_back: CameBack) -> str | None:
        """`phone` to leave known numbers alone, `row` to call them again, None when nobody can or will say."""

    def which_reading(self, bare: BareDigits) -> str | None:
        """`international` or `national` for bare digits that are valid both ways, None when nobody can or will say."""

    def is_right_ledger(self, campaign: CampaignFacts, ledger: Path) -> bool:
        """True when a person says that this ledger may meet a campaign which already has jobs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunReport:
    """How a run ended: the exit code, the balance, and what a person should know."""

    exit_code: int
    ending: str
    import_id: int
    list_name: str
    round_name: str
    balance: Balance
    rejects_path: Path | None
    reject_counts: tuple[tuple[str, int], ...]
    refusals: tuple[tuple[str, int, str], ...]
    detail: str
    other_pending: tuple[tuple[int, str, int], ...]
    elapsed_s: float
    is_resumed: bool
    facts: dict[str, object]
    reconciled: Reconciled | None = None


def plan_of(settings: RunSettings | CheckSettings, columns: Sequence[str]) -> Plan:
    """The plan of a run, or of a dry one, for a list with these columns.

    **Errors**: UsageProblem for a column that is not there.
    """
    return make_plan(
        columns,
        phone_column=settings.phone_column,
        once_per=settings.once_per or "row",
        rules=settings.rules,
        region_column=settings.region_column,
        not_if_called_within_s=settings.hold_back.not_if_called_within_s,
        mapping=settings.mapping,
        is_splitting=settings.is_splitting,
    )
