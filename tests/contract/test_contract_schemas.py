"""The contract file itself: valid JSON Schema, and strict enough to fail on what the page forbids."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

CONTRACT = json.loads(Path(__file__).with_name("calls_api.schema.json").read_text(encoding="utf-8"))


def _validator(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": CONTRACT["$defs"]})


def test_the_contract_is_valid_json_schema() -> None:
    """Every definition is a schema, and every reference leads somewhere."""
    jsonschema.Draft202012Validator.check_schema(CONTRACT)
    for name in CONTRACT["$defs"]:
        assert isinstance(_validator(name).is_valid(object()), bool)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CallRequest", {"payload": {}}),
        ("CallRequest", {"phone": "+16505550100"}),
        ("CallRequest", {"phone": "16505550100", "maxAttempts": 51}),
        ("CallRequest", {"phone": "16505550100", "priority": 1}),
        ("AddPhonesRequest", {"phones": []}),
        ("AddPhonesAnswer", [1]),
        ("JobsRequest", {}),
        ("Pagination", {"page": 200}),
        ("Pagination", {"pageSize": 0}),
        ("CampaignStatus", "running"),
        ("PhoneBadFormat", {"type": "phone.bad.format", "message": "no phone named"}),
        ("IdNotFound", {"type": "id.not.found", "message": "named", "id": "1"}),
        ("ControlError", {"type": "x", "message": "typed"}),
    ],
)
def test_the_contract_refuses(name: str, value: object) -> None:
    """What the page rules out does not validate."""
    assert not _validator(name).is_valid(value)
