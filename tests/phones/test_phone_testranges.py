"""Reserved numbers warn, and their neighbours, which somebody may own, do not."""

import re

import phonenumbers
import pytest

from importer.phones.testranges import TEST_NUMBER


@pytest.mark.parametrize(
    ("reserved", "neighbour"),
    [
        ("+12025550100", "+12025550200"),
        ("+18025550199", "+18005550199"),
        ("+447700900999", "+447700901000"),
        ("+441134960000", "+441194960000"),
        ("+442079460999", "+442079461000"),
        ("+441914980000", "+441914960000"),
        ("+442896496000", "+442890180123"),
        ("+442920180999", "+442920181000"),
        ("+441632960000", "+441632961000"),
        ("+443069990000", "+443069991000"),
        ("+448081570000", "+448081571000"),
        ("+61255501234", "+61255511234"),
        ("+61870101234", "+61470101234"),
        ("+61491570006", "+61491570007"),
        ("+61491579760", "+61491579761"),
        ("+611800975711", "+611800975712"),
        ("+611300975707", "+611300975706"),
        ("+33199000000", "+33199010000"),
        ("+33639989999", "+33639990000"),
        ("+493023125000", "+493023126000"),
        ("+492214710999", "+492214711999"),
        ("+491713920000", "+491713920100"),
        ("+4917604069099", "+4917604069100"),
        ("+46701740605", "+46701740604"),
        ("+46701740699", "+46701740700"),
        ("+46846500400", "+46846500500"),
        ("+46980319299", "+46980319300"),
    ],
)
def test_a_range_ends_where_its_regulator_ends_it(reserved, neighbour):
    """First and last numbers are in, the next ones are out."""
    assert re.fullmatch(TEST_NUMBER[1:-1], reserved)
    assert not re.fullmatch(TEST_NUMBER[1:-1], neighbour)


@pytest.mark.parametrize("number", ["+12025550100", "+442079460000", "+33199000000", "+493023125000", "+61491570006"])
def test_reserved_numbers_may_be_valid_to_the_library(number):
    """Most are, which is why they need a warning of their own."""
    assert phonenumbers.is_valid_number(phonenumbers.parse(number))
