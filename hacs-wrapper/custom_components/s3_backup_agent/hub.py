"""The agent process, which all entries share, and the users of its targets.

The agent starts with the first user and stops with the last one, or with Home Assistant. Users are
loaded entries, forms and transfers. Each transfer counts separately, so a backup continues while
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
    remove_stop_listener: Callable[[], None]
    users: Counter[str] = field(default_factory=Counter)


_DATA: HassKey[_Shared] = HassKey(f"{DOMAIN}.agent")


@callback
def async_acquire_agent(hass: HomeAssistant, target: str) -> AgentClient:
    """Adds a user of this target. Call `async_release_agent` once for each call of this."""
    shared = hass.data.get(_DATA)
    if shared is None:
        client = AgentClient(
            folder=Path(__file__).parent,
            # Backups of Home Assistant do not contain this directory. With a restored journal,
            # another machine would abort running uploads of the original one.
            state_dir=Path(hass.config.cache_path(DOMAIN)),
            name="home-assistant",
            version=__version__,
            made_for=AGENT_VERSION,
            logger=logging.getLogger(f"{__package__}.agent"),
        )

        async def stop(_: Event) -> None:
            await client.stop()

        # The remove function of `listen_once` fails after the event.
        shared = _Shared(client, hass.bus.async_listen(EVENT_HOMEASSISTANT_STOP, stop))
        hass.data[_DATA] = shared
    shared.users[target] += 1
    return shared.client


async def async_release_agent(hass: HomeAssistant, target: str) -> None:
    """Removes a user of this target."""
    shared = hass.data[_DATA]
    shared.users[target] -= 1
    if shared.users[target] > 0:
        return
    del shared.users[target]
    if not shared.users:
        del hass.data[_DATA]
        shared.remove_stop_listener()
        await shared.client.stop()
        return
    with suppress(AgentError):
        await shared.client.close_target(target)


@asynccontextmanager
async def async_held_agent(hass: HomeAssistant, target: str) -> AsyncIterator[AgentClient]:
    """Adds a user of this target for the duration of a block."""
    client = async_acquire_agent(hass, target)
    try:
        yield client
    finally:
        await async_release_agent(hass, target)
