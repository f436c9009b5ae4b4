"""The flows that the buttons of repair issues start."""

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
# From Home Assistant 2026.4 on, a flow can open another one.
_FLOW_TYPES = getattr(_repairs, "FlowType", None)

type _Result = FlowResult[Any, str]


async def async_create_fix_flow(
    hass: HomeAssistant, issue_id: str, data: dict[str, str | int | float | None] | None
) -> RepairsFlow:
    """The flow for an issue. data: written by issues.py."""
    known = data or {}
    entry = hass.config_entries.async_get_entry(str(known.get("entry_id")))
    issue_type = ISSUES.get(str(known.get("code")))
    if entry is None or issue_type is None:
        return _EntryGone()
    if issue_type.fix == "cleanup":
        return _Cleanup(entry)
    return _OpenForm(entry, issue_type.fix == "reauth")


class _EntryGone(RepairsFlow):
    """The flow for an issue of an entry that was deleted."""

    async def async_step_init(self, user_input: dict[str, str] | None = None) -> _Result:
        """Deletes the issue."""
        return self.async_create_entry(data={})


class _OpenForm(RepairsFlow):
    """Opens the form for new keys or for all settings. Settings that work delete the issue."""

    def __init__(self, entry: S3ConfigEntry, asks_for_keys: bool) -> None:
        """asks_for_keys: whether to open the form for new keys."""
        self._entry = entry
        self._asks_for_keys = asks_for_keys

    async def async_step_init(self, user_input: dict[str, str] | None = None) -> _Result:
        """Shows the description."""
        return await self.async_step_confirm()

    async def async_step_confirm(self, user_input: dict[str, str] | None = None) -> _Result:
        """Opens the form."""
        if user_input is None:
            return self.async_show_form(
                step_id="confirm", description_placeholders=_placeholders(self)
            )
        flow_id = await self._start()
        if _FLOW_TYPES is None or flow_id is None:
            return self.async_abort(reason="open_integration")
        return self.async_abort(reason="form_opens", next_flow=(_FLOW_TYPES.CONFIG_FLOW, flow_id))

    async def _start(self) -> str | None:
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
            # The reconfigure step would treat data as user input.
            data=entry.data if self._asks_for_keys else None,
        )
        return flow.get("flow_id")


class _Cleanup(RepairsFlow):
    """Tries again to remove incomplete uploads."""

    def __init__(self, entry: S3ConfigEntry) -> None:
        """entry: the entry of the issue."""
        self._entry = entry

    async def async_step_init(self, user_input: dict[str, str] | None = None) -> _Result:
        """Shows the description."""
        return await self.async_step_confirm()

    async def async_step_confirm(self, user_input: dict[str, str] | None = None) -> _Result:
        """Runs the cleanup."""
        if user_input is None:
            return self.async_show_form(
                step_id="confirm", description_placeholders=_placeholders(self)
            )
        if self._entry not in self.hass.config_entries.async_loaded_entries(DOMAIN):
            return self.async_abort(reason="open_integration")
        coordinator = self._entry.runtime_data.coordinator
        await coordinator.async_cleanup()
        cleanup = coordinator.health.last_cleanup
        if cleanup is None or cleanup.error_code or cleanup.failed:
            return self.async_abort(reason="not_removed")
        return self.async_create_entry(data={})


def _placeholders(flow: RepairsFlow) -> dict[str, str]:
    """The placeholders of the issue's texts."""
    issue = ir.async_get(flow.hass).async_get_issue(DOMAIN, flow.issue_id)
    return dict(issue.translation_placeholders or {}) if issue else {}
