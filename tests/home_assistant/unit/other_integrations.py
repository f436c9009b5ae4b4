"""What other integrations write into a bucket, and how they find backups.

From the source code of:
* Home Assistant 2026.11.0 and 2026.3.4: aws_s3, cloudflare_r2 and idrive_e2;
* bauer-group/IP-HomeassistantS3CompatibleBackup at 3a16566;
* PhantomPhoton/S3-Compatible at 206f826, and its fork Reydan46/S3-Compatible 1.0.9.

All of them write the archive first, under the file name that Home Assistant suggests, then the
document beside it: `AgentBackup.as_dict()` as JSON, with escapes for what is not ASCII. To list,
they read every document below their prefix with `AgentBackup.from_dict`, without a look at the
archive. To download and to delete, they make its key once more, of name and date in the document.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from homeassistant.components.backup import AgentBackup, suggested_filename

DOCUMENT = ".metadata.json"


@dataclass(frozen=True)
class Writer:
    """An integration. start: makes the start of its object keys from its setting for the prefix."""

    name: str
    start: Callable[[str], str]

    def archive_key(self, prefix: str, backup: AgentBackup) -> str:
        return self.start(prefix) + suggested_filename(backup)

    def objects(self, prefix: str, backup: AgentBackup, content: bytes) -> dict[str, bytes]:
        """Keys and contents of the objects that it writes for a backup, in this order."""
        archive = self.archive_key(prefix, backup)
        document = json.dumps(backup.as_dict()).encode("ascii")
        return {archive: content, archive.removesuffix(".tar") + DOCUMENT: document}

    def listed(self, prefix: str, bucket: Mapping[str, bytes]) -> list[AgentBackup]:
        """The backups that it lists. It raises if one metadata object is invalid."""
        return [
            AgentBackup.from_dict(json.loads(content))
            for key, content in bucket.items()
            if key.startswith(self.start(prefix)) and key.endswith(DOCUMENT)
        ]


def _folder_of_its_own(prefix: str) -> str:
    folder = prefix.strip("/")
    return f"{folder}/backups/" if folder else "backups/"


def _prefix_as_folder(prefix: str) -> str:
    return f"{prefix}/" if prefix else ""


def _prefix_as_it_is(prefix: str) -> str:
    return prefix


def _prefix_without_what_is_around(prefix: str) -> str:
    return prefix.strip().lstrip("/")


#: The prefix is a folder, or empty. Releases before 2026.4 and idrive_e2 have no prefix.
CORE = Writer("Home Assistant", _prefix_as_folder)
#: It uses a folder below the prefix.
BAUER_GROUP = Writer("bauer-group", _folder_of_its_own)
#: The prefix is only a folder if it ends in a slash.
PHANTOM_PHOTON = Writer("PhantomPhoton", _prefix_as_it_is)
REYDAN46 = Writer("Reydan46", _prefix_without_what_is_around)
