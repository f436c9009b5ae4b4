"""The one agent process of this Home Assistant, shared by all entries and forms.

It starts with the first use, and ends when nobody needs it any more or Home Assistant stops.
"""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from homeassistant.const import EVENT_HOMEASSISTANT_STOP, __version__
from homeassistant.core import Event, HomeAssistant, callback
from homeassistant.util.hass_dict import HassKey

from .agent import AgentClient
from .const import AGENT_VERSION, DOMAIN


@dataclass
class _Shared:
    client: AgentClient
    forget: Callable[[], None]
    users: int = 0


_DATA: HassKey[_Shared] = HassKey(f"{DOMAIN}.agent")


@callback
def async_acquire_agent(hass: HomeAssistant) -> AgentClient:
    """The agent. Each call needs one of `async_release_agent`."""
    shared = hass.data.get(_DATA)
    if shared is None:
        client = AgentClient(
            folder=Path(__file__).parent,
            # Home Assistant leaves this folder out of its backups. A copy that is restored onto
            # another machine would else take the uploads of the original, which go on, for dead
            # ones of its own, and abort them.
            state_dir=Path(hass.config.cache_path(DOMAIN)),
            name="home-assistant",
            version=__version__,
            made_for=AGENT_VERSION,
            logger=logging.getLogger(f"{__package__}.agent"),
        )

        async def stop(_: Event) -> None:
            await client.stop()

        # Not `listen_once`: that one cannot be forgotten after it was called.
        shared = _Shared(client, hass.bus.async_listen(EVENT_HOMEASSISTANT_STOP, stop))
        hass.data[_DATA] = shared
    shared.users += 1
    return shared.client


async def async_release_agent(hass: HomeAssistant) -> None:
    """Gives back what `async_acquire_agent` gave."""
    shared = hass.data[_DATA]
    shared.users -= 1
    if shared.users == 0:
        del hass.data[_DATA]
        shared.forget()
        await shared.client.stop()


@asynccontextmanager
async def async_borrowed_agent(hass: HomeAssistant) -> AsyncIterator[AgentClient]:
    """The agent for a while."""
    client = async_acquire_agent(hass)
    try:
        yield client
    finally:
        await async_release_agent(hass)
