"""Names that several rooms of the integration use."""

from typing import Final

DOMAIN: Final = "s3_backup_agent"

#: The version of the agent that this one is made for. `requirements` in manifest.json pins it, so
#: that the two usually are what was released together; those before and after it fit as well.
AGENT_VERSION: Final = "0.1.0"

# What a config entry holds. From `CONF_ENDPOINT` on, the names are those of the agent.
CONF_PROVIDER: Final = "provider"
CONF_ENDPOINT: Final = "endpoint"
CONF_REGION: Final = "region"
CONF_BUCKET: Final = "bucket"
CONF_PREFIX: Final = "prefix"
CONF_ACCESS_KEY_ID: Final = "access_key_id"
CONF_SECRET_ACCESS_KEY: Final = "secret_access_key"
CONF_ADDRESSING_STYLE: Final = "addressing_style"
CONF_CA_CERTIFICATE: Final = "ca_certificate"
CONF_VERIFY_TLS: Final = "verify_tls"
CONF_FOLDER: Final = "folder"

#: The section of the form with what most never need.
MORE: Final = "more"

#: What entries mean that say nothing of a folder.
DEFAULT_FOLDER: Final = "backups"
#: What forms show for none, as a field that is cleared gets its default again.
NO_FOLDER: Final = "/"

# Options, all of them optional. The agent counts in bytes, people in MiB and Mbit/s.
CONF_STORAGE_CLASS: Final = "storage_class"
CONF_PART_SIZE: Final = "part_size"
CONF_MEMORY: Final = "memory"
CONF_CONCURRENCY: Final = "concurrency"
CONF_BANDWIDTH_LIMIT: Final = "bandwidth_limit"
MIB: Final = 1 << 20
MEGABIT: Final = 125_000  # bytes

# Seconds that the storage has to answer, so that one dead storage never holds up the Backups page.
LIST_DEADLINE: Final = 30
GET_DEADLINE: Final = 30
DELETE_DEADLINE: Final = 60
VALIDATE_DEADLINE: Final = 60
CLEANUP_DEADLINE: Final = 300

# Seconds that the Backups page may lag behind what others change, which spares it the wait.
LIST_STALE: Final = 3600

#: Seconds that the storage may be away in the middle of an upload or a download.
RETRY_FOR: Final = 900

#: Seconds that what an upload has stored waits for its next try, which sends only the rest.
RESUME: Final = 60

#: How often an upload is tried in all, when the storage or the network fails in a passing way.
UPLOAD_ATTEMPTS: Final = 3
