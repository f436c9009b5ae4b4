"""The storages that people can pick, as a table: what the form is filled with for each.

Endpoints may hold `{region}`, which stands for the region field of the form, and words in capital
letters, which a person has to replace. `keys` is the way to the keys as the provider's own pages
name it, which is the same in every language.
"""

import re
from dataclasses import dataclass
from typing import Final, Literal

type Addressing = Literal["auto", "path", "virtual"]

_TO_REPLACE = re.compile(r"\b(HOST|ACCOUNT_ID)\b")


@dataclass(frozen=True, slots=True)
class Provider:
    """One row."""

    key: str
    name: str
    endpoint: str
    region: str
    addressing: Addressing
    keys: str
    url: str


_ROWS: Final = (
    Provider(
        "aws",
        "Amazon S3",
        "https://s3.{region}.amazonaws.com",
        "eu-central-1",
        "virtual",
        "IAM → Users → Security credentials → Create access key",
        "https://console.aws.amazon.com/iam/",
    ),
    Provider(
        "minio",
        "MinIO",
        "http://HOST:9000",
        "us-east-1",
        "path",
        "Console → Access Keys → Create access key",
        "https://min.io/docs/",
    ),
    Provider(
        "garage",
        "Garage",
        "http://HOST:3900",
        "garage",
        "path",
        "garage key create; garage bucket allow --read --write",
        "https://garagehq.deuxfleurs.fr/documentation/quick-start/",
    ),
    Provider(
        "wasabi",
        "Wasabi",
        "https://s3.{region}.wasabisys.com",
        "eu-central-1",
        "virtual",
        "Console → Access Keys → Create Access Key",
        "https://console.wasabisys.com/",
    ),
    Provider(
        "backblaze",
        "Backblaze B2",
        "https://s3.{region}.backblazeb2.com",
        "eu-central-003",
        "path",
        "Application Keys → Add a New Application Key",
        "https://secure.backblaze.com/app_keys.htm",
    ),
    Provider(
        "digitalocean",
        "DigitalOcean Spaces",
        "https://{region}.digitaloceanspaces.com",
        "fra1",
        "virtual",
        "Spaces Object Storage → Access Keys → Create Access Key",
        "https://cloud.digitalocean.com/spaces/access_keys",
    ),
    Provider(
        "cloudflare",
        "Cloudflare R2",
        "https://ACCOUNT_ID.r2.cloudflarestorage.com",
        "auto",
        "path",
        "R2 Object Storage → API Tokens → Manage → Create API token",
        "https://dash.cloudflare.com/?to=/:account/r2/api-tokens",
    ),
    Provider(
        "synology",
        "Synology C2 Object Storage",
        "https://{region}.s3.synologyc2.net",
        "eu-002",
        "virtual",
        "C2 Object Storage → Access Key → Create",
        "https://object.c2.synology.com/",
    ),
    Provider(
        "hetzner",
        "Hetzner Object Storage",
        "https://{region}.your-objectstorage.com",
        "fsn1",
        "virtual",
        "Project → Security → S3 credentials → Generate credentials",
        "https://console.hetzner.com/",
    ),
    Provider(
        "scaleway",
        "Scaleway",
        "https://s3.{region}.scw.cloud",
        "fr-par",
        "virtual",
        "IAM & API keys → API keys → Generate API key",
        "https://console.scaleway.com/iam/api-keys",
    ),
    Provider(
        "ovh",
        "OVHcloud",
        "https://s3.{region}.io.cloud.ovh.net",
        "gra",
        "virtual",
        "Public Cloud → Object Storage → Users → Create user",
        "https://www.ovh.com/manager/",
    ),
    Provider(
        "idrive",
        "IDrive e2",
        "https://s3.{region}.idrivee2.com",
        "eu-central-2",
        "path",
        "Access Keys → Create Access Key",
        "https://app.idrivee2.com/",
    ),
    Provider(
        "linode",
        "Akamai (Linode) Object Storage",
        "https://{region}.linodeobjects.com",
        "eu-central-1",
        "virtual",
        "Object Storage → Access Keys → Create Access Key",
        "https://cloud.linode.com/object-storage/access-keys",
    ),
    Provider(
        "storj",
        "Storj",
        "https://gateway.storjshare.io",
        "us-east-1",
        "virtual",
        "Access Keys → New Access Key → S3 Credentials",
        "https://storj.io/login",
    ),
    Provider(
        "ceph",
        "Ceph RADOS Gateway",
        "https://HOST",
        "us-east-1",
        "path",
        "radosgw-admin user create; radosgw-admin key create",
        "https://docs.ceph.com/en/latest/radosgw/admin/",
    ),
    Provider(
        "other",
        "S3",
        "https://HOST",
        "us-east-1",
        "auto",
        "access key, secret key",
        "https://docs.aws.amazon.com/general/latest/gr/aws-sec-cred-types.html",
    ),
)

PROVIDERS: Final = {provider.key: provider for provider in _ROWS}


def resolve_endpoint(endpoint: str, region: str) -> str:
    """The endpoint with the region put in."""
    return endpoint.replace("{region}", region)


def is_unfinished(endpoint: str) -> bool:
    """Whether the endpoint still holds a word that was to be replaced."""
    return _TO_REPLACE.search(endpoint) is not None
