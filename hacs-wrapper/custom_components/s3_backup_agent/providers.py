"""The providers of the first form, and the values that they fill into the next form.

They are read from providers.json, a copy of the agent's table. An endpoint may contain `{region}`,
which stands for the field "Region", and words in capital letters, which you replace: in
`http://HOST:9000`, for example, `HOST`. `keys` names the pages of the provider's console on which
you create keys; it is not translated.

Home Assistant imports integrations in a thread, so reading the file here does not block.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_TO_REPLACE = re.compile(r"\b(HOST|ACCOUNT_ID|NAMESPACE)\b")


@dataclass(frozen=True, slots=True)
class Region:
    """A region of a provider. `name` is where it is, for example `Frankfurt`; it may be empty.
    `endpoint` is the region's own one, if it does not follow from the provider's.
    """

    id: str
    name: str = ""
    endpoint: str = ""

    @property
    def label(self) -> str:
        """The text for a list of regions."""
        return f"{self.id} ({self.name})" if self.name not in ("", self.id) else self.id


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider."""

    key: str
    name: str
    endpoint: str
    region: str
    regions: tuple[Region, ...]
    keys: str
    url: str

    @property
    def is_fixed(self) -> bool:
        """Whether the endpoint is known, except for the region."""
        return bool(self.endpoint) and not has_placeholder(self.endpoint)

    @property
    def has_choice_of_regions(self) -> bool:
        """Whether the form offers a list of regions."""
        return len(self.regions) > 1


def provider_from_row(row: dict[str, Any]) -> Provider:
    """Parses a row of providers.json."""
    keys, region = row["keys"], row["region"]
    return Provider(
        row["key"],
        row["name"],
        row["endpoint"],
        region["default"],
        tuple(_region(value) for value in region["regions"]),
        keys["path"],
        keys["url"],
    )


def _region(value: dict[str, str]) -> Region:
    return Region(value["id"], value.get("name") or "", value.get("endpoint") or "")


def _read(path: Path) -> dict[str, Provider]:
    """The providers by key, in the order of the form."""
    rows = json.loads(path.read_text("utf-8"))["providers"]
    return {row["key"]: provider_from_row(row) for row in rows}


PROVIDERS: Final = _read(Path(__file__).with_name("providers.json"))


def resolve_endpoint(endpoint: str, region: str) -> str:
    """The endpoint with `{region}` replaced, or the region's own one if it has one."""
    own = (
        known.endpoint
        for provider in PROVIDERS.values()
        if provider.endpoint == endpoint
        for known in provider.regions
        if known.id == region and known.endpoint
    )
    return next(own, endpoint.replace("{region}", region))


def has_placeholder(endpoint: str) -> bool:
    """Whether the endpoint still contains a word in capital letters that must be replaced."""
    return _TO_REPLACE.search(endpoint) is not None
