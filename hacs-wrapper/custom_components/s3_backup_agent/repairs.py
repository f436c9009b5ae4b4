"""What the button of a repair issue begins."""

from typing import Any

from homeassistant.components import repairs
from homeassistant.components.repairs import RepairsFlow
from homeassistant.config_entries import SOURCE_REAUTH, SOURCE_RECONFIGURE
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResult
from homeassistant.helpers import issue_registry as ir

from .const import DOMAIN
from .coordinator import S3ConfigEntry
from .issues import ISSUES

_repairs: Any = repairs
# Home Assistant leads on to another flow from 2026.4 on.
_FLOW_TYPES = getattr(_repairs, "FlowType", None)

type _Result = FlowResult[Any, str]


async def async_create_fix_flow(
    hass: HomeAssistant, issue_id: str, data: dict[str, str | int | float | None] | None
) -> RepairsFlow:
    """The flow for an issue. data: as issues.py has written it."""
    known = data or {}
    entry = hass.config_entries.async_get_entry(str(known.get("entry_id")))
    kind = ISSUES.get(str(known.get("code")))
    if entry is None or kind is None:
        return _EntryGone()
    if kind.fix == "cleanup":
        return _Cleanup(entry)
    return _OpenForm(entry, kind.fix == "reauth")


class _EntryGone(RepairsFlow):
    """For the issue of an entry that is gone."""

    async def async_step_init(self, user_input: dict[str, str] | None = None) -> _Result:
        """The issue goes away."""
        return self.async_create_entry(data={})


class _OpenForm(RepairsFlow):
    """Leads on to the form for new keys, or for everything. The issue ends when these work."""

    def __init__(self, entry: S3ConfigEntry, asks_for_keys: bool) -> None:
        """Begins nothing yet."""
        self._entry = entry
        self._asks_for_keys = asks_for_keys

    async def async_step_init(self, user_input: dict[str, str] | None = None) -> _Result:
        """Says what comes next."""
        return await self.async_step_confirm()

    async def async_step_confirm(self, user_input: dict[str, str] | None = None) -> _Result:
        """Begins the other flow."""
        if user_input is None:
            return self.async_show_form(step_id="confirm", description_placeholders=_texts(self))
        flow_id = await self._begin()
        if _FLOW_TYPES is None or flow_id is None:
            return self.async_abort(reason="open_integration")
        return self.async_abort(reason="form_opens", next_flow=(_FLOW_TYPES.CONFIG_FLOW, flow_id))

    async def _begin(self) -> str | None:
        entry, source = self._entry, SOURCE_REAUTH if self._asks_for_keys else SOURCE_RECONFIGURE
        for known in entry.async_get_active_flows(self.hass, {source}):
            return known["flow_id"]
        flow = await self.hass.config_entries.flow.async_init(
            DOMAIN,
            context={
                "source": source,
                "entry_id": entry.entry_id,
                "unique_id": entry.unique_id,
                "title_placeholders": {"name": entry.title},
            },
            # What a form gets besides would count as filled in.
            data=entry.data if self._asks_for_keys else None,
        )
        return flow.get("flow_id")


class _Cleanup(RepairsFlow):
    """Tries once more to remove what uploads have left."""

    def __init__(self, entry: S3ConfigEntry) -> None:
        """Begins nothing yet."""
        self._entry = entry

    async def async_step_init(self, user_input: dict[str, str] | None = None) -> _Result:
        """Says what is done."""
        return await self.async_step_confirm()

    async def async_step_confirm(self, user_input: dict[str, str] | None = None) -> _Result:
        """Sweeps."""
        if user_input is None:
            return self.async_show_form(step_id="confirm", description_placeholders=_texts(self))
        if self._entry not in self.hass.config_entries.async_loaded_entries(DOMAIN):
            return self.async_abort(reason="open_integration")
        coordinator = self._entry.runtime_data.coordinator
        await coordinator.async_cleanup()
        cleanup = coordinator.health.last_cleanup
        if cleanup is None or cleanup.error_code or cleanup.failed:
            return self.async_abort(reason="not_removed")
        return self.async_create_entry(data={})


def _texts(flow: RepairsFlow) -> dict[str, str]:
    """What the texts of the issue are filled with."""
    issue = ir.async_get(flow.hass).async_get_issue(DOMAIN, flow.issue_id)
    return dict(issue.translation_placeholders or {}) if issue else {}
