"""Constants that several modules of the integration use."""

from typing import Final

DOMAIN: Final = "s3_backup_agent"

#: The version of the agent that this version is made for. `requirements` in manifest.json has the
#: same version. One version older or newer is accepted.
AGENT_VERSION: Final = "0.1.0"

# Keys of the data of a config entry. From `CONF_ENDPOINT` on, the agent uses the same names.
CONF_PROVIDER: Final = "provider"
CONF_ENDPOINT: Final = "endpoint"
CONF_REGION: Final = "region"
CONF_BUCKET: Final = "bucket"
CONF_PREFIX: Final = "prefix"
CONF_FOLDER: Final = "folder"
CONF_ACCESS_KEY_ID: Final = "access_key_id"
CONF_SECRET_ACCESS_KEY: Final = "secret_access_key"
CONF_SESSION_TOKEN: Final = "session_token"
CONF_ADDRESSING_STYLE: Final = "addressing_style"
CONF_CA_CERTIFICATE: Final = "ca_certificate"
CONF_VERIFY_TLS: Final = "verify_tls"
CONF_STORAGE_CLASS: Final = "storage_class"
CONF_SERVER_SIDE_ENCRYPTION: Final = "server_side_encryption"
CONF_SERVER_SIDE_ENCRYPTION_KEY_ID: Final = "server_side_encryption_key_id"

#: The section "More settings" of the form.
MORE: Final = "more"

#: The folder of entries without `CONF_FOLDER`.
DEFAULT_FOLDER: Final = "backups"

# Keys of the options of a config entry. The agent counts in bytes, the form in MiB and Mbit/s.
CONF_BANDWIDTH_LIMIT: Final = "bandwidth_limit"
CONF_PART_SIZE: Final = "part_size"
CONF_MEMORY: Final = "memory"
CONF_CONCURRENCY: Final = "concurrency"
MIB: Final = 1 << 20
MEGABIT: Final = 125_000  # bytes

# Seconds for one operation, so that a server that does not answer does not block the Backups page.
LIST_DEADLINE: Final = 30
GET_DEADLINE: Final = 30
DELETE_DEADLINE: Final = 60
VALIDATE_DEADLINE: Final = 60
CLEANUP_DEADLINE: Final = 300

# Seconds that the list on the Backups page may be older than the bucket. A cached list is faster.
LIST_STALE: Final = 3600

#: Seconds to keep retrying when the server becomes unreachable during an upload or a download.
RETRY_FOR: Final = 900

#: Seconds for which the parts of a failed upload are kept, so that the next attempt can resume.
RESUME: Final = 60

#: Attempts for an upload in all. Only retryable failures of server, network or agent are repeated.
UPLOAD_ATTEMPTS: Final = 3
