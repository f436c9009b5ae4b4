"""Logs text, not JSON."""

import os

from the_agent import agent

os.write(2, b"starting up\n")
agent.main()
