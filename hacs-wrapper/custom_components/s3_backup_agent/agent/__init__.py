"""A host of the S3 backup agent: finds it, runs it, and talks to it. No Home Assistant in here.

async with AgentClient() as client:
    await client.open_target("home", {"bucket": "backups", "access_key_id": ...})
    await client.upload("home", NewBackup("b1", "Nightly"), chunks, size=length)
    async for chunk in await client.download("home", "b1"):
        ...
"""

from .binary import find_agent
from .client import AgentClient
from .download import DownloadStream
from .errors import (
    AgentError,
    AgentGone,
    AgentNotFound,
    AgentProtocolError,
    AgentStartFailed,
    AgentTimeout,
    AuthError,
    Kind,
    NoSuchBackup,
)
from .models import (
    AgentInfo,
    Backup,
    Check,
    CleanupItem,
    Listing,
    NewBackup,
    Progress,
    Skipped,
    Uploaded,
    Validation,
    Verification,
)
from .upload import Stream, StreamFactory

__all__ = [
    "AgentClient",
    "AgentError",
    "AgentGone",
    "AgentInfo",
    "AgentNotFound",
    "AgentProtocolError",
    "AgentStartFailed",
    "AgentTimeout",
    "AuthError",
    "Backup",
    "Check",
    "DownloadStream",
    "Kind",
    "CleanupItem",
    "Listing",
    "NewBackup",
    "NoSuchBackup",
    "Progress",
    "Skipped",
    "Stream",
    "StreamFactory",
    "Uploaded",
    "Validation",
    "Verification",
    "find_agent",
]
