"""The reference agent, for the programs here to break."""

import sys

sys.path.insert(0, f"{sys.path[0]}/../../reference")

import agent

__all__ = ["agent"]
