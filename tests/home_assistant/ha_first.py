"""Bridges what Home Assistant has changed since the release that the test harness is made for.

pytest loads it with `-p ha_first`, before the harness, which is a plugin as well.
"""

# First of all: it gives other modules the names httpx and voluptuous, and the harness imports them.
import homeassistant  # noqa: F401
from homeassistant.components import logger
from homeassistant.components.logger import helpers

if not hasattr(logger, "_clear_logger_overwrites"):
    logger._clear_logger_overwrites = helpers._clear_logger_overwrites  # type: ignore[attr-defined]
