"""The one agent process of this Home Assistant, and who needs which target of it.

It starts with the first use, and ends when nobody needs it any more or Home Assistant stops. Who
needs a target is a loaded entry, a form, and each transfer for itself: so a backup goes on while
its entry is reloaded.
"""

import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from homeassistant.const import EVENT_HOMEASSISTANT_STOP, __version__
from homeassistant.core import Event, HomeAssistant, callback
from homeassistant.util.hass_dict import HassKey

from .agent import AgentClient, AgentError
from .const import AGENT_VERSION, DOMAIN


@dataclass
class _Shared:
    client: AgentClient
    forget: Callable[[], None]
    users: Counter[str] = field(default_factory=Counter)


_DATA: HassKey[_Shared] = HassKey(f"{DOMAIN}.agent")


@callback
def async_acquire_agent(hass: HomeAssistant, target: str) -> AgentClient:
    """The agent, which keeps this target from now on, once it is opened. Each call needs one of
    `async_release_agent`."""
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
    shared.users[target] += 1
    return shared.client


async def async_release_agent(hass: HomeAssistant, target: str) -> None:
    """Gives back what `async_acquire_agent` gave."""
    shared = hass.data[_DATA]
    shared.users[target] -= 1
    if shared.users[target] > 0:
        return
    del shared.users[target]
    if not shared.users:
        del hass.data[_DATA]
        shared.forget()
        await shared.client.stop()
        return
    with suppress(AgentError):
        await shared.client.close_target(target)


@asynccontextmanager
async def async_held_agent(hass: HomeAssistant, target: str) -> AsyncIterator[AgentClient]:
    """The agent for a while."""
    client = async_acquire_agent(hass, target)
    try:
        yield client
    finally:
        await async_release_agent(hass, target)
