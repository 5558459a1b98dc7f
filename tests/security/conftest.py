"""What the security tests share: a shop with secrets in every place a secret may stand, and a search for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from workbench import TOKEN, Said, Shop, number

TOKEN_PARTS = (TOKEN, TOKEN.rpartition(".")[2])


def leaks_in(*texts: str | bytes, phones: int = 0) -> list[str]:
    """The secrets that stand in these texts: the token or its last part, and the first so many invented numbers."""
    secrets = [*TOKEN_PARTS, *(number(i).removeprefix("+") for i in range(phones))]
    whole = [text.encode() if isinstance(text, str) else text for text in texts]
    return [secret for secret in secrets if any(secret.encode() in text for text in whole)]


def shown_by(*said: Said) -> list[str]:
    return [text for each in said for text in (each.out, each.err)]


def files_of(folder: Path) -> Iterator[Path]:
    """Every file importer made below a folder: not the list, the token, or the platform's own."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in {"a.csv", "token"} and not path.name.startswith("platform-"):
            yield path


@pytest.fixture
def careful(shop: Shop) -> Shop:
    """A shop whose token file is as it should be."""
    shop.token_file.chmod(0o600)
    return shop
