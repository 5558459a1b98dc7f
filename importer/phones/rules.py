"""What counts as a usable number: the rules of a run, and every word the phone floor answers with.

Floor: phones, pure. Types are libphonenumber's names in lower case. A newcomer may wonder why short codes are a
reason and not a type one could ask for: they have no international form, so no call API could ever dial one.
The codes are stable: they stand in reject files and scripts, so a new one may be added but none renamed.
"""

from __future__ import annotations

from dataclasses import dataclass

import phonenumbers

from importer.errors import UsageProblem

METADATA_VERSION: str = phonenumbers.__version__

ACCEPT = ("valid", "possible", "any-digits")
BARE = ("international", "national")

# The order is that of libphonenumber's PhoneNumberType; "unknown" is the type of a number that is not valid.
TYPES = (
    "fixed_line",
    "mobile",
    "fixed_line_or_mobile",
    "toll_free",
    "premium_rate",
    "shared_cost",
    "voip",
    "personal_number",
    "pager",
    "uan",
    "voicemail",
    "unknown",
)
DEFAULT_TYPES = frozenset(TYPES) - {"premium_rate"}

VERDICTS = ("invalid", "possible", "valid")
REASONS = (
    "empty",
    "scientific_notation",
    "decimal_point",
    "two_numbers",
    "not_a_number",
    "letters",
    "invisible_characters",
    "too_short",
    "too_long",
    "wrong_length",
    "short_code",
    "no_area_code",
    "no_country_code",
    "unknown_region",
    "lost_plus",
    "lost_leading_zero",
    "invalid_for_region",
    "type_not_wanted",
)
WARNINGS = ("test_range", "extension_dropped", "letters_as_digits", "invisible_characters")


@dataclass(frozen=True, kw_only=True, slots=True)
class PhoneRules:
    """How the numbers of one list are read and which of them are kept.

    `region` (ISO 3166 alpha-2) is where a number without country code is dialled; None reads bare digits country
    code first. `accept` is the least verdict kept: `valid`, `possible`, or `any-digits`. `types` are the number types
    kept; a number that may be fixed or mobile is kept if either is. `bare` says how bare digits that are valid both
    ways are read when a region is given; None reads them as libphonenumber does, which is `national`.

    **Errors**: UsageProblem for an unknown word.
    """

    region: str | None = None
    accept: str = "valid"
    types: frozenset[str] = DEFAULT_TYPES
    bare: str | None = None

    def __post_init__(self) -> None:
        if self.region is not None and self.region not in phonenumbers.SUPPORTED_REGIONS:
            raise UsageProblem(
                f"{self.region!r} is not a region with phone numbers",
                hint="Write two capital letters of ISO 3166, such as US, DE or RU.",
            )
        _expect("accept", self.accept, ACCEPT)
        if self.bare is not None:
            _expect("bare", self.bare, BARE)
        for name in sorted(self.types):
            _expect("types", name, TYPES)

    @property
    def wanted_types(self) -> tuple[str, ...]:
        """The types kept, once "fixed or mobile" is counted as both and "unknown" is left to `accept`."""
        either = {"fixed_line", "mobile", "fixed_line_or_mobile"}
        kept = self.types | {"unknown"} | ({"fixed_line_or_mobile"} if self.types & either else set())
        return tuple(name for name in TYPES if name in kept)


def types_from(text: str) -> frozenset[str]:
    """The set of types a person wrote: `all`, `default` (or nothing), or names with commas between them.

    **Errors**: UsageProblem for a name that is no type.
    """
    if text == "all":
        return frozenset(TYPES)
    if text == "default":
        return DEFAULT_TYPES
    names = frozenset(part.strip().lower().replace("-", "_") for part in text.split(",") if part.strip())
    for name in sorted(names):
        _expect("types", name, TYPES)
    return names or DEFAULT_TYPES


def _expect(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageProblem(f"{value!r} is not a value for {option}", hint=f"Choose from: {', '.join(known)}.")
