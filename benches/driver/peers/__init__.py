"""The programs that are measured, each driven in its own way."""

from ..tools import Tools
from .agent import Agent
from .awscli import AwsCli
from .base import Peer, Place
from .curl import Curl
from .home_assistant import HomeAssistant
from .rclone import Rclone
from .restic import Restic
from .rustic import Rustic
from .s5cmd import S5cmd

__all__ = ["NAMES", "HomeAssistant", "Peer", "Place", "peer"]

# In the order of the tables. The names are those of the results.
NAMES = {
    "ours-ha": "s3-backup-agent in Home Assistant",
    "aws_s3": "aws_s3 in Home Assistant",
    "ours": "s3-backup-agent, command line",
    "ours-32": "s3-backup-agent, --memory 32MiB",
    "s5cmd": "s5cmd",
    "rclone": "rclone",
    "aws-cli": "aws-cli",
    "restic": "restic",
    "rustic": "rustic",
    "curl": "curl, one PUT or GET",
}


def peer(name: str, tools: Tools) -> Peer:
    """A peer by its name in the results."""
    match name:
        case "ours-ha":
            return HomeAssistant(tools, "ours")
        case "aws_s3":
            return HomeAssistant(tools, "theirs")
        case "ours":
            return Agent(tools)
        case "ours-32":
            return Agent(tools, budget=32 << 20)
        case "s5cmd":
            return S5cmd(tools)
        case "rclone":
            return Rclone(tools)
        case "aws-cli":
            return AwsCli(tools)
        case "restic":
            return Restic(tools)
        case "rustic":
            return Rustic(tools)
        case "curl":
            return Curl()
    raise ValueError(f"there is no peer {name!r}")
