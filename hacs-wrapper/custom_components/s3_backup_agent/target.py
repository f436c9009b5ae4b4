"""What names a storage: the settings for the agent, and the identity that backups are known by."""

import hashlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from .const import (
    CONF_ACCESS_KEY_ID,
    CONF_ADDRESSING,
    CONF_BUCKET,
    CONF_CA_CERTIFICATE,
    CONF_ENDPOINT,
    CONF_MEMORY_BUDGET,
    CONF_PART_SIZE,
    CONF_PREFIX,
    CONF_REGION,
    CONF_SECRET_ACCESS_KEY,
    CONF_STORAGE_CLASS,
    CONF_VERIFY_TLS,
)

_FROM_DATA = (
    CONF_ENDPOINT,
    CONF_REGION,
    CONF_BUCKET,
    CONF_PREFIX,
    CONF_ACCESS_KEY_ID,
    CONF_SECRET_ACCESS_KEY,
    CONF_ADDRESSING,
    CONF_CA_CERTIFICATE,
    CONF_VERIFY_TLS,
)
_FROM_OPTIONS = (CONF_STORAGE_CLASS, CONF_PART_SIZE, CONF_MEMORY_BUDGET)


def target_config(data: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as the agent takes them. What is empty is left to the agent."""
    given = {name: data.get(name) for name in _FROM_DATA}
    given |= {name: options.get(name) for name in _FROM_OPTIONS}
    return {"type": "s3"} | {
        name: value for name, value in given.items() if value is not None and value != ""
    }


def storage_id(endpoint: str, bucket: str, prefix: str) -> str:
    """The same for the same place, however it is written, and whatever the keys are.

    Home Assistant's schedule, retention and encryption settings hang on it, so it survives that
    somebody removes the entry and adds it again.
    """
    url = urlsplit(endpoint)
    host = (url.netloc or url.path).lower().rstrip("/")
    if url.scheme in ("http", "https"):
        host = host.removesuffix(":80" if url.scheme == "http" else ":443")
    place = "\n".join((host, bucket, clean_prefix(prefix)))
    return hashlib.sha256(place.encode()).hexdigest()[:32]


def clean_prefix(prefix: str) -> str:
    """The prefix without what does not count."""
    return prefix.strip().strip("/")
