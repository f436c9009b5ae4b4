"""Imports the reference agent."""

import sys

sys.path.insert(0, f"{sys.path[0]}/../../reference")

import agent

__all__ = ["agent"]
