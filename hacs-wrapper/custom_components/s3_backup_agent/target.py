"""The settings of a backup location: as the agent needs them, and the ID derived from them."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from .const import (
    CONF_ACCESS_KEY_ID,
    CONF_ADDRESSING_STYLE,
    CONF_BANDWIDTH_LIMIT,
    CONF_BUCKET,
    CONF_CA_CERTIFICATE,
    CONF_CONCURRENCY,
    CONF_ENDPOINT,
    CONF_FOLDER,
    CONF_MEMORY,
    CONF_PART_SIZE,
    CONF_PREFIX,
    CONF_PROVIDER,
    CONF_REGION,
    CONF_SECRET_ACCESS_KEY,
    CONF_SERVER_SIDE_ENCRYPTION,
    CONF_SERVER_SIDE_ENCRYPTION_KEY_ID,
    CONF_SESSION_TOKEN,
    CONF_STORAGE_CLASS,
    CONF_VERIFY_TLS,
    DEFAULT_FOLDER,
)

_FROM_DATA = (
    CONF_ENDPOINT,
    CONF_REGION,
    CONF_BUCKET,
    CONF_PREFIX,
    CONF_ACCESS_KEY_ID,
    CONF_SECRET_ACCESS_KEY,
    CONF_SESSION_TOKEN,
    CONF_ADDRESSING_STYLE,
    CONF_CA_CERTIFICATE,
    CONF_VERIFY_TLS,
    CONF_STORAGE_CLASS,
    CONF_SERVER_SIDE_ENCRYPTION,
    CONF_SERVER_SIDE_ENCRYPTION_KEY_ID,
)
_FROM_OPTIONS = (
    CONF_BANDWIDTH_LIMIT,
    CONF_PART_SIZE,
    CONF_MEMORY,
    CONF_CONCURRENCY,
)

_LOCALHOST = {"localhost", "127.0.0.1", "[::1]"}


def target_config(data: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The agent's settings for an entry. Empty values are omitted, except for the folder."""
    given = {name: data.get(name) for name in _FROM_DATA}
    given |= {name: options.get(name) for name in _FROM_OPTIONS}
    known = {name: value for name, value in given.items() if value is not None and value != ""}
    return {"type": "s3", CONF_FOLDER: data.get(CONF_FOLDER, DEFAULT_FOLDER)} | known


def unknown_data(data: Mapping[str, Any]) -> dict[str, Any]:
    """The data that a newer version added to an entry. It is kept for that version."""
    known = {CONF_PROVIDER, CONF_FOLDER, *_FROM_DATA}
    return {name: value for name, value in data.items() if name not in known}


def location_id(data: Mapping[str, Any]) -> str:
    """The ID of the backup location for the data of an entry.

    It depends on endpoint, bucket and path, not on spelling or keys. Home Assistant keeps schedule,
    retention and encryption under this ID, so they survive if you delete an entry and add it again.
    """
    host = endpoint_host(data)
    path = backup_path(data)
    prefix, _, folder = path.rpartition("/")
    # The default folder is not part of the ID: older IDs do not have a folder.
    where = [prefix] if folder == DEFAULT_FOLDER else [path, "no folder"]
    identity = "\n".join((host, data[CONF_BUCKET], *where))
    return hashlib.sha256(identity.encode()).hexdigest()[:32]


def endpoint_host(data: Mapping[str, Any]) -> str:
    """Host and port of the endpoint, without differences in spelling."""
    url = urlsplit(data[CONF_ENDPOINT])
    host: str = (url.netloc or url.path).lower().rstrip("/")
    if url.scheme in ("http", "https"):
        host = host.removesuffix(":80" if url.scheme == "http" else ":443")
    name = re.sub(r":\d+$", "", host)
    return host.replace(name, "localhost", 1) if name in _LOCALHOST else host


def backup_path(data: Mapping[str, Any]) -> str:
    """Prefix and folder of an entry, joined."""
    parts = data[CONF_PREFIX], data.get(CONF_FOLDER, DEFAULT_FOLDER)
    return "/".join(filter(None, map(clean_path, parts)))


def clean_path(path: str) -> str:
    """A prefix or folder without blanks and slashes around it."""
    return path.strip().strip("/")
