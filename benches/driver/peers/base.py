"""What all peers have."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..results import Run
from ..server import Server


@dataclass(frozen=True)
class Place:
    """Where a peer stores, and what it may have of the machine."""

    server: Server
    endpoint: str  # that of the link
    bucket: str  # empty, and of this peer alone
    home: Path  # an empty folder for its files

    @property
    def keys(self) -> dict[str, str]:
        """What most programs read from the environment."""
        return {
            "AWS_ACCESS_KEY_ID": self.server.key_id,
            "AWS_SECRET_ACCESS_KEY": self.server.secret,
            "AWS_REGION": self.server.region,
            "AWS_DEFAULT_REGION": self.server.region,
            "AWS_EC2_METADATA_DISABLED": "true",
            "HOME": str(self.home),
        }


class Peer(ABC):
    """A program that stores one file and brings it back, with its own defaults."""

    #: The commands that are measured, as people would type them, for `upload` and `download`, and
    #: `view` if the peer can.
    commands: Mapping[str, str]

    @abstractmethod
    def version(self) -> str:
        """Of the program."""

    def prepare(self, place: Place) -> None:  # noqa: B027  most have nothing to prepare
        """What has to be there before the first upload, and is not measured."""

    def view(self, place: Place, size: int) -> Run:
        """Downloads over HTTP what was stored last."""
        raise NotImplementedError

    @abstractmethod
    def upload(self, place: Place, file: Path) -> Run:
        """Stores the file."""

    @abstractmethod
    def download(self, place: Place, file: Path, size: int) -> Run:
        """Brings back to `file` what was stored last. A peer that has checked the bytes itself
        writes none."""
