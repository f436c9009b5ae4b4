"""Adapts the test harness to a newer release of Home Assistant.

pytest loads it with `-p ha_first` before the harness, which is a plugin, too.
"""

# First: it replaces the modules httpx and voluptuous, which the harness imports.
import homeassistant  # noqa: F401
from homeassistant.components import logger
from homeassistant.components.logger import helpers

if not hasattr(logger, "_clear_logger_overwrites"):
    logger._clear_logger_overwrites = helpers._clear_logger_overwrites  # type: ignore[attr-defined]
