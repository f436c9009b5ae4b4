"""What names a storage: the settings for the agent, and the identity that backups are known by."""

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
    CONF_ADDRESSING_STYLE,
    CONF_CA_CERTIFICATE,
    CONF_VERIFY_TLS,
)
_FROM_OPTIONS = (
    CONF_STORAGE_CLASS,
    CONF_PART_SIZE,
    CONF_MEMORY,
    CONF_CONCURRENCY,
    CONF_BANDWIDTH_LIMIT,
)


_THIS_MACHINE = {"localhost", "127.0.0.1", "[::1]"}


def target_config(data: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as the agent takes them. What is empty is left to it, except for the folder."""
    given = {name: data.get(name) for name in _FROM_DATA}
    given |= {name: options.get(name) for name in _FROM_OPTIONS}
    known = {name: value for name, value in given.items() if value is not None and value != ""}
    return {"type": "s3", CONF_FOLDER: data.get(CONF_FOLDER, DEFAULT_FOLDER)} | known


def unknown_data(data: Mapping[str, Any]) -> dict[str, Any]:
    """What a newer version has added to an entry, to be kept for when it comes back."""
    ours = {CONF_PROVIDER, CONF_FOLDER, *_FROM_DATA}
    return {name: value for name, value in data.items() if name not in ours}


def location_id(data: Mapping[str, Any]) -> str:
    """The same for the same place, however it is written, and whatever the keys are.

    Home Assistant's schedule, retention and encryption settings hang on it, so it survives that
    somebody removes the entry and adds it again. data: what an entry holds.
    """
    host = endpoint_host(data)
    path = backup_path(data)
    prefix, _, folder = path.rpartition("/")
    # Only the usual folder stays unnamed: ids are older than the choice of another one.
    where = [prefix] if folder == DEFAULT_FOLDER else [path, "no folder"]
    place = "\n".join((host, data[CONF_BUCKET], *where))
    return hashlib.sha256(place.encode()).hexdigest()[:32]


def endpoint_host(data: Mapping[str, Any]) -> str:
    """Host and port of the endpoint, the same for the same server where that can be known."""
    url = urlsplit(data[CONF_ENDPOINT])
    host: str = (url.netloc or url.path).lower().rstrip("/")
    if url.scheme in ("http", "https"):
        host = host.removesuffix(":80" if url.scheme == "http" else ":443")
    name = re.sub(r":\d+$", "", host)
    return host.replace(name, "localhost", 1) if name in _THIS_MACHINE else host


def backup_path(data: Mapping[str, Any]) -> str:
    """Where the backups of an entry lie, whatever part of it is the prefix or the folder."""
    parts = data[CONF_PREFIX], data.get(CONF_FOLDER, DEFAULT_FOLDER)
    return "/".join(filter(None, map(clean_path, parts)))


def clean_path(path: str) -> str:
    """A prefix or folder without what does not count."""
    return path.strip().strip("/")
