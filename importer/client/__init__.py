"""The HTTP client of the Calls API: one exchange per method, usable on its own.

Floor: client, beside `ledger` and `sources`. Only this package knows httpx. A newcomer may question that it neither
retries nor remembers: what may be sent again, and when, is decided above, where it can be written down first.

    from importer.client import CallsApi
    with CallsApi("https://app.jaicp.com", token) as api:
        print(api.status())
"""

from importer.client.api import DEFAULT_TIMEOUT_S, CallsApi
from importer.client.failures import (
    ApiBusy,
    ApiDenied,
    ApiError,
    ApiRejected,
    ApiUnanswered,
    ApiUnclear,
    ApiWindowFull,
    Refusal,
)
from importer.client.origin import check_token, is_loopback, parse_origin
from importer.client.reading import Unreadable, read_id, read_ids, read_refusal
from importer.client.records import (
    AttemptReport,
    Campaign,
    DateFilter,
    ExternalCheck,
    Found,
    JobReport,
    NewCallJob,
    Page,
    ShortReport,
    TimeSpan,
)
from importer.client.secrecy import RedactingFilter, Secret, hush_http_loggers, redact

__all__ = [
    "DEFAULT_TIMEOUT_S",
    "ApiBusy",
    "ApiDenied",
    "ApiError",
    "ApiRejected",
    "ApiUnanswered",
    "ApiUnclear",
    "ApiWindowFull",
    "AttemptReport",
    "CallsApi",
    "Campaign",
    "DateFilter",
    "ExternalCheck",
    "Found",
    "JobReport",
    "NewCallJob",
    "Page",
    "RedactingFilter",
    "Refusal",
    "Secret",
    "ShortReport",
    "TimeSpan",
    "Unreadable",
    "check_token",
    "hush_http_loggers",
    "is_loopback",
    "parse_origin",
    "read_id",
    "read_ids",
    "read_refusal",
    "redact",
]
