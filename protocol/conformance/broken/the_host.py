"""Imports the reference host."""

import sys

sys.path.insert(0, f"{sys.path[0]}/../../reference")

import host

__all__ = ["host"]
