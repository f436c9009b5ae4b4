"""Settings are tried out by the agent before they are saved."""

import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from homeassistant.core import HomeAssistant

from .agent import AgentClient, AgentError, Check
from .const import (
    CONF_ADDRESSING,
    CONF_BUCKET,
    CONF_ENDPOINT,
    CONF_PREFIX,
    CONF_REGION,
    VALIDATE_DEADLINE,
)
from .hub import async_held_agent
from .target import target_config

#: What an agent may suggest in place of what was entered.
_SUGGESTED = (CONF_ENDPOINT, CONF_REGION, CONF_BUCKET, CONF_PREFIX, CONF_ADDRESSING)


@dataclass(frozen=True, slots=True)
class Trial:
    """How a trial ended.

    error: why the storage cannot be used; None if it can.
    suggestion: settings that work in place of the given ones, also without an error, as the agent
    read these.
    warnings: what works, but should be looked at.
    """

    error: AgentError | None = None
    suggestion: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[Check, ...] = ()


async def async_try_out(hass: HomeAssistant, data: Mapping[str, Any]) -> Trial:
    """Lets the agent list, write, read and delete in the storage. data: what an entry holds."""
    try:
        async with _async_opened(hass, data, {}) as (client, target):
            result = await client.validate(target, level="write", deadline=VALIDATE_DEADLINE)
    except AgentError as err:
        return Trial(err)
    given = {name: result.suggestion.get(name) for name in _SUGGESTED}
    suggestion = {name: value for name, value in given.items() if isinstance(value, str)}
    if _is_plain(suggestion.get(CONF_ENDPOINT, "")) and not _is_plain(data[CONF_ENDPOINT]):
        # Whoever is on the way could have it say so, and would then read everything.
        del suggestion[CONF_ENDPOINT]
    if result.ok:
        return Trial(None, suggestion, result.warnings)
    silent = AgentError("the storage did not pass, and the agent did not say why")
    return Trial(result.error or silent, suggestion)


async def async_check(
    hass: HomeAssistant, data: Mapping[str, Any], options: Mapping[str, Any]
) -> AgentError | None:
    """Lets the agent look at settings, without the network."""
    try:
        async with _async_opened(hass, data, options):
            return None
    except AgentError as err:
        return err


def _is_plain(endpoint: str) -> bool:
    return endpoint.lower().startswith("http://")


@asynccontextmanager
async def _async_opened(
    hass: HomeAssistant, data: Mapping[str, Any], options: Mapping[str, Any]
) -> AsyncIterator[tuple[AgentClient, str]]:
    """An agent, and the name of a target in it that has these settings."""
    name = f"form-{uuid.uuid4().hex}"
    async with async_held_agent(hass, name) as client:
        await client.open_target(name, target_config(data, options))
        yield client, name
