"""How these tests speak to a sandbox: httpx with nothing of the importer's client in between."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import jsonschema

TOKEN = "8231.7056.1b131df1"
OTHER_TOKEN = "8231.7057.2c242ef2"
START_S = 1_800_000_000.0

_CONTRACT = json.loads((Path(__file__).parents[1] / "contract" / "calls_api.schema.json").read_text(encoding="utf-8"))


def check(name: str, value: object) -> None:
    """Fail unless a value is what the contract calls by this name."""
    schema = {"$ref": f"#/$defs/{name}", "$defs": _CONTRACT["$defs"]}
    jsonschema.Draft202012Validator(schema).validate(value)


def phone(number: int) -> str:
    """The number-th of ten thousand invented phones."""
    return f"1650555{number:04d}"


def rows(*numbers: int, **fields: Any) -> list[dict[str, Any]]:
    """One entry of addPhones per number."""
    return [{"phone": phone(number), **fields} for number in numbers]


class Clock:
    """A clock a test moves by hand."""

    def __init__(self, now_s: float = START_S) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, wait_s: float) -> None:
        self.now_s += wait_s


@dataclass(frozen=True, kw_only=True)
class Caller:
    """A campaign's user on one httpx client."""

    http: httpx.Client
    token: str = TOKEN

    def path(self, tail: str, *, api: str = "calls") -> str:
        return f"/api/{api}/campaign/{self.token}{tail}"

    def post(
        self, tail: str, body: object = None, *, key: str | None = None, raw: bytes | None = None
    ) -> httpx.Response:
        content = raw if raw is not None else (b"" if body is None else json.dumps(body).encode())
        headers = {"Content-Type": "application/json"} if content else {}
        return self.http.post(self.path(tail), content=content, headers=headers | _key_header(key))

    def get(self, tail: str = "", *, api: str = "calls", **query: str) -> httpx.Response:
        return self.http.get(self.path(tail, api=api), params=query)

    def add(self, *numbers: int, key: str | None = None, **fields: Any) -> httpx.Response:
        return self.post("/addPhones", rows(*numbers, **fields), key=key)

    def added(self, *numbers: int, key: str | None = None, **fields: Any) -> list[str]:
        answer = self.add(*numbers, key=key, **fields)
        assert answer.status_code == 200, answer.text
        return [str(job_id) for job_id in answer.json()]

    def reported(self, **page: int) -> list[dict[str, Any]]:
        answer = self.post("/callJob/getReportByDate", {"pagination": page})
        assert answer.status_code == 200, answer.text
        return list(answer.json()["items"])


def _key_header(key: str | None) -> dict[str, str]:
    return {} if key is None else {"Idempotence-Key": key}


def error_of(answer: httpx.Response, status: int = 400) -> dict[str, Any]:
    """The JSON body of an error answer."""
    assert answer.status_code == status, answer.text
    return dict(answer.json())
