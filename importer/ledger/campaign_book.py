"""Campaigns as the ledger knows them besides their imports: the platform's own id of each, and renewed tokens.

Floor: ledger. A campaign's key seed never changes, whatever becomes of its token: it is what makes a row the same row
for ever. A newcomer may question that nothing here can change a seed: a renewal only teaches a new token's fingerprint.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from importer.errors import LedgerProblem
from importer.ledger.store import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownCampaign:
    """A campaign of the ledger. `platform_id` is None until the platform told it; `imports` counts its imports."""

    id: int
    name: str
    origin: str
    fingerprint: bytes = field(repr=False)
    platform_id: str | None
    first_met_ms: int
    renewed_ms: int | None
    imports: int


class CampaignBook:
    """What is known of campaigns."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def all(self) -> list[KnownCampaign]:
        """Every campaign, in the order they were met."""
        rows = self._store.all(
            "SELECT c.id, c.name, c.origin, c.fingerprint, c.platform_id, c.first_met_ms, c.renewed_ms, count(i.id) "
            "FROM campaigns c LEFT JOIN imports i ON i.campaign_id = c.id GROUP BY c.id ORDER BY c.id"
        )
        names = ("id", "name", "origin", "fingerprint", "platform_id", "first_met_ms", "renewed_ms", "imports")
        return [KnownCampaign(**dict(zip(names, row, strict=True))) for row in rows]

    def newest_by_list(self) -> dict[str, int]:
        """The newest import of each list, by what the list is called."""
        return dict(self._store.all("SELECT list_name, max(id) FROM imports GROUP BY list_name ORDER BY max(id)"))

    def note(self, campaign_id: int, platform_id: str | None) -> None:
        """Keeps the platform's own id of a campaign; nothing when it told none, or is known."""
        if platform_id is None:
            return
        known = self._store.one("SELECT platform_id FROM campaigns WHERE id = ?", [campaign_id])[0]
        if known != platform_id:
            with self._store.transaction():
                self._store.change_one("UPDATE campaigns SET platform_id = ? WHERE id = ?", [platform_id, campaign_id])

    def renew(self, campaign: KnownCampaign, fingerprint: bytes, platform_id: str | None, *, now_ms: int) -> None:
        """Knows a campaign by a new token from now on; its key seed, and so every key, stays.

        **Errors**: LedgerProblem when the ledger already knows the new token as a campaign of its own.
        """
        if self._store.one("SELECT 1 FROM campaigns WHERE fingerprint = ?", [fingerprint]):
            raise LedgerProblem("The ledger already knows this token as a campaign of its own.")
        with self._store.transaction():
            self._store.change_one(
                "UPDATE campaigns SET fingerprint = ?, platform_id = coalesce(?, platform_id), renewed_ms = ? "
                "WHERE id = ? AND fingerprint = ?",
                [fingerprint, platform_id, now_ms, campaign.id, campaign.fingerprint],
            )
