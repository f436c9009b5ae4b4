"""The storages that people can pick: what the form is filled with for each.

They stand in providers.json, a copy of the table that the agent has as well. Endpoints may hold
`{region}`, which stands for the region field of the form, and words in capital letters, which a
person has to replace. `keys` is the way to the keys as the provider's own pages name it, which is
the same in every language.

Home Assistant imports integrations in a thread, so the file may be read here.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_TO_REPLACE = re.compile(r"\b(HOST|ACCOUNT_ID|NAMESPACE)\b")


@dataclass(frozen=True, slots=True)
class Provider:
    """One row."""

    key: str
    name: str
    endpoint: str
    region: str
    keys: str
    url: str

    @property
    def is_fixed(self) -> bool:
        """Whether nothing but the region is open in the endpoint."""
        return bool(self.endpoint) and not has_placeholder(self.endpoint)


def _provider(row: dict[str, Any]) -> Provider:
    keys = row["keys"]
    return Provider(
        row["key"],
        row["name"],
        row["endpoint"],
        row["region"]["default"],
        keys["path"],
        keys["url"],
    )


def _read(path: Path) -> dict[str, Provider]:
    """The rows by their keys, in the order in which people see them."""
    rows = json.loads(path.read_text("utf-8"))["providers"]
    return {row["key"]: _provider(row) for row in rows}


PROVIDERS: Final = _read(Path(__file__).with_name("providers.json"))


def resolve_endpoint(endpoint: str, region: str) -> str:
    """The endpoint with the region put in."""
    return endpoint.replace("{region}", region)


def has_placeholder(endpoint: str) -> bool:
    """Whether the endpoint still holds a word that was to be replaced."""
    return _TO_REPLACE.search(endpoint) is not None
