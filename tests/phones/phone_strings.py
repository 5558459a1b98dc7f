"""Strings that a phone column may hold, made from a seed: real-looking, damaged, mutated and random ones.

Example numbers come from the metadata; libphonenumber publishes them to be quoted. The benchmark draws from here too.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache

import phonenumbers
from phonenumbers import PhoneMetadata, PhoneNumberFormat

REGIONS = sorted(phonenumbers.SUPPORTED_REGIONS)
CODES = sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE)
_TYPES = range(11)
_FORMATS = (
    PhoneNumberFormat.E164,
    PhoneNumberFormat.INTERNATIONAL,
    PhoneNumberFormat.NATIONAL,
    PhoneNumberFormat.RFC3966,
)
_EXTENSIONS = (
    " ext 12",
    " ext. 1234",
    "x99",
    " x 7",
    ";ext=55",
    ",,123",
    ", 45",
    " доб. 123",
    " доб 4",
    "#12",
    " - 12#",
    "/x1",
    " extension 3",
    " int 5",
    " anexo 6",
    "~8",
    ";12345",
    " ｅｘｔ 5",
    " extensión 9",
)
_JUNK = (
    " ",
    "  ",
    "tel:",
    "Tel.: ",
    "(",
    ")",
    "'",
    '"',
    "\u200e",
    "\ufeff",
    "\u00a0",
    "\t",
    "\n",
    "моб. ",
    "№",
    "a",
    "±",
    "📞",
    "ـ",
    "\u202a",
)
_INSIDE = " -.()/+*x~#,;:_abcXYZ\u00a0\u2010\u2013\u2212\u3000\u200b\u2060\u00ad０５٣۴９²१＋／（）\u0301[]\\'E\n"
_WORDS = ("FLOWERS", "TAXI", "call", "PIZZA", "AB", "Home", "ſs", "Ünal")
_PARAMETERS = (
    ";phone-context=+1",
    ";phone-context=example.com",
    ";isub=12",
    ";phone-context=+44-20",
    ";phone-context=",
)
_OTHER_ZEROS = (0x0660, 0x06F0, 0xFF10, 0x0966, 0x1D7CE)


@cache
def examples() -> tuple[tuple[str, phonenumbers.PhoneNumber], ...]:
    """Every example number of every region and type, with the region (`001` for codes of no country)."""
    found = [
        (region, number)
        for region in REGIONS
        for number in (phonenumbers.example_number_for_type(region, kind) for kind in _TYPES)
        if number is not None
    ]
    other_codes = sorted(phonenumbers.COUNTRY_CODES_FOR_NON_GEO_REGIONS)
    found += [("001", phonenumbers.example_number_for_non_geo_entity(code)) for code in other_codes]
    return tuple(found)


@cache
def _national_ways(region: str) -> tuple[str, ...]:
    """What may be dialled in a region before a number: prefixes of the region, with carriers where it has some."""
    metadata = PhoneMetadata.metadata_for_region(region, None)
    assert metadata is not None
    ways = {"", "0", "1", "8", metadata.national_prefix or "", str(metadata.country_code), "00", "011", "810"}
    ways |= {
        "0015",
        "0031",
        "90",
        "015",
        "044",
        "01",
        "02",
        "045",
        "06",
        "17900",
        "0415",
        "183",
        "0180020",
        "000",
        "003768",
    }
    return tuple(sorted(ways))


def formatted(random_: random.Random) -> tuple[str, str]:
    """An example number as people write it, and the region it is from."""
    region, number = random_.choice(examples())
    form = random_.choice((*_FORMATS, PhoneNumberFormat.NATIONAL))
    if random_.random() < 0.1 and region != "001":
        text = phonenumbers.format_out_of_country_calling_number(number, random_.choice(REGIONS))
    else:
        text = phonenumbers.format_number(number, form)
    return text, region if region != "001" else random_.choice(REGIONS)


def with_other_digits(text: str, random_: random.Random) -> str:
    """The text with some of its digits changed: usually the last ones, so that the number stays plausible."""
    keep = random_.choice((1, 2, 3, 4, 5, 6, 99))
    seen = 0
    changed = []
    for character in text:
        is_digit = character.isdigit()
        seen += is_digit
        changed.append(random_.choice("0123456789") if is_digit and seen > keep else character)
    return "".join(changed)


def dialled(random_: random.Random) -> tuple[str, str]:
    """Digits of an example number behind some prefix, bare, with a plus, or with its country code twice."""
    region, number = random_.choice(examples())
    region = region if region != "001" else random_.choice(REGIONS)
    national = with_other_digits(phonenumbers.national_significant_number(number), random_)
    before = random_.choice(("", "+", "+", "00", "+00", "011"))
    code = random_.choice(("", str(number.country_code), str(number.country_code)))
    return before + code + random_.choice(_national_ways(region)) + national, region


def mutated(text: str, random_: random.Random) -> str:
    """The text after one to three accidents."""
    for _ in range(random_.choice((1, 1, 1, 2, 3))):
        text = _accident(text, random_)
    return text


def _accident(text: str, random_: random.Random) -> str:  # noqa: C901, PLR0911 - a list of accidents, one a line
    at = random_.randrange(len(text) + 1)
    kind = random_.randrange(12)
    if kind == 0:
        return text[:at] + text[at + 1 :]
    if kind == 1:
        return text[:at] + random_.choice("0123456789") + text[at:]
    if kind == 2:
        return text[:at] + random_.choice(_INSIDE) + text[at:]
    if kind == 3:
        return random_.choice(_JUNK) + text
    if kind == 4:
        return text + random_.choice(_JUNK)
    if kind == 5:
        return text + random_.choice(_EXTENSIONS)
    if kind == 6:
        zero = random_.choice(_OTHER_ZEROS)
        return "".join(chr(zero + int(c)) if c in "0123456789" else c for c in text)
    if kind == 7:
        return text[: at or 1] + random_.choice(_WORDS) + text[at + 4 :]
    if kind == 8:
        return text.replace("+", random_.choice(("", "00", "＋", "++", "+0")))
    if kind == 9:
        return text.replace(" ", random_.choice(("", "-", ".", "\u00a0", " - ", "/", "\u2009")))
    if kind == 10:
        return "".join(c for c in text if c.isdigit())
    return text + random_.choice(_PARAMETERS)


def noise(random_: random.Random) -> str:
    """Digits without sense behind a calling code that may exist, or characters without any."""
    if random_.random() < 0.7:
        digits = "".join(random_.choices("0123456789", k=random_.choice((1, 2, 3, 5, *range(6, 21)))))
        return random_.choice(("", "+", "+", "00")) + random_.choice(("", str(random_.choice(CODES)))) + digits
    return "".join(random_.choices("0123456789+" + _INSIDE, k=random_.randrange(1, 24)))


def cell(random_: random.Random, region: str) -> str:
    """One cell of any kind, mostly of the region."""
    kind = random_.random()
    if kind < 0.15:
        return noise(random_)
    text, home = dialled(random_) if kind < 0.5 else formatted(random_)
    for _ in range(20):
        if home == region or random_.random() < 0.15:
            break
        text, home = dialled(random_) if kind < 0.5 else formatted(random_)
    text = with_other_digits(text, random_) if random_.random() < 0.6 else text
    return mutated(text, random_) if random_.random() < 0.5 else text


def cells(random_: random.Random, region: str, count: int) -> Iterator[str]:
    """Many cells."""
    return (cell(random_, region) for _ in range(count))
