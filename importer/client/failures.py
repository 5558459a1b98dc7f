"""How a typed call fails. The raw `send_batch` does not raise these: for a sender every outcome is a value.

    importer.errors.ImporterError
    └── ApiError                   every failure of a typed call
        ├── ApiUnanswered      7   no complete answer; may have been carried out when `is_sent`   (ApiAway)
        ├── ApiUnclear         7   an answer that proves nothing: 5xx, 3xx, a 200 nobody can read (ApiAway)
        ├── ApiBusy            7   429: not carried out this time; `retry_after_s`                (ApiAway)
        ├── ApiDenied          6   token unknown, campaign stopped, access refused                (ApiRefusal)
        ├── ApiRejected        6   the API said no to this request and why; nothing was done      (ApiRefusal)
        └── ApiWindowFull      1   more rows than paging can reach share one filter

Floor: client. A newcomer may question that no message quotes a phone number: the number is in the field `phone`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from importer.errors import ApiAway, ApiRefusal, ImporterError


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """What an error body says: `type` as documented (or the body's `error`, or ""), `message` with numbers masked.

    `phone`, `gmt_zone` and `state` are the fields some types carry; `phones_duplicates` names further numbers.
    """

    type: str
    message: str
    phone: str | None = field(default=None, repr=False)
    gmt_zone: str | None = field(default=None, repr=False)
    state: str | None = field(default=None, repr=False)
    phones_duplicates: tuple[str, ...] = field(default=(), repr=False)


class ApiError(ImporterError):
    """A typed call failed. `operation` names it, `status` is the answer's if there was one, `key` the request's."""

    def __init__(
        self, message: str, *, operation: str, hint: str = "", status: int | None = None, key: str | None = None
    ) -> None:
        super().__init__(f"{operation}: {message}", hint=hint)
        self.operation = operation
        self.status = status
        self.key = key


class ApiUnanswered(ApiError, ApiAway):
    """No complete answer came; when `is_sent`, only the same call under the same `key` may be made again."""

    def __init__(
        self, message: str, *, operation: str, reason: str, is_sent: bool, hint: str = "", key: str | None = None
    ) -> None:
        super().__init__(message, operation=operation, hint=hint, key=key)
        self.reason = reason
        self.is_sent = is_sent


class ApiUnclear(ApiError, ApiAway):
    """An answer came that proves neither success nor failure; treat the call as perhaps carried out."""


class ApiBusy(ApiError, ApiAway):
    """The API asks to wait (429); the call was not carried out this time."""

    def __init__(
        self, message: str, *, operation: str, retry_after_s: float | None, hint: str = "", key: str | None = None
    ) -> None:
        super().__init__(message, operation=operation, hint=hint, status=429, key=key)
        self.retry_after_s = retry_after_s


class _Said(ApiError):
    """A definite no with a body; not raised itself."""

    def __init__(
        self,
        message: str,
        *,
        operation: str,
        refusal: Refusal,
        status: int,
        hint: str = "",
        key: str | None = None,
    ) -> None:
        super().__init__(message, operation=operation, hint=hint, status=status, key=key)
        self.refusal = refusal

    @property
    def type(self) -> str:
        """The documented error type, such as `phone.duplicated`, or "" when the body had none."""
        return self.refusal.type

    @property
    def phone(self) -> str | None:
        """The number the API names, when it names one."""
        return self.refusal.phone

    @property
    def state(self) -> str | None:
        """The campaign's state, when the API names it."""
        return self.refusal.state


class ApiDenied(_Said, ApiRefusal):
    """The API refuses everything we could ask: unknown token, no access, a campaign that is over."""


class ApiRejected(_Said, ApiRefusal):
    """The API refused this one request and did nothing; `type`, `phone` and `state` say why."""


class ApiWindowFull(ApiError):
    """One millisecond (or one filter that cannot be narrowed) holds more rows than 200 pages of 200 can show."""
