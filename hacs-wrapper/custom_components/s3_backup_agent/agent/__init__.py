"""The client library for the S3 backup agent: finds, starts and uses it, without Home Assistant.

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
    UploadResult,
    ValidateResult,
    VerifyResult,
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
    "CleanupItem",
    "DownloadStream",
    "Kind",
    "Listing",
    "NewBackup",
    "NoSuchBackup",
    "Progress",
    "Skipped",
    "Stream",
    "StreamFactory",
    "UploadResult",
    "ValidateResult",
    "VerifyResult",
    "find_agent",
]
