"""The base class of the entities."""

from homeassistant.helpers.device_registry import DeviceEntryType, DeviceInfo
from homeassistant.helpers.entity import EntityDescription
from homeassistant.helpers.update_coordinator import CoordinatorEntity

from .const import CONF_PROVIDER, DOMAIN
from .coordinator import S3Coordinator
from .providers import PROVIDERS


class S3Entity(CoordinatorEntity[S3Coordinator]):
    """An entity of the service device of an entry."""

    _attr_has_entity_name = True

    def __init__(self, coordinator: S3Coordinator, description: EntityDescription) -> None:
        """The unique IDs start with that of the backup location."""
        super().__init__(coordinator)
        entry = coordinator.config_entry
        provider = PROVIDERS.get(entry.data.get(CONF_PROVIDER, ""))
        agent = entry.runtime_data.client.info
        identity = entry.unique_id or entry.entry_id
        self.entity_description = description
        self._attr_unique_id = f"{identity}_{description.key}"
        self._attr_device_info = DeviceInfo(
            entry_type=DeviceEntryType.SERVICE,
            identifiers={(DOMAIN, identity)},
            name=entry.title,
            manufacturer=provider.name if provider else None,
            model="S3",
            configuration_url=provider.url if provider else None,
            sw_version=agent.version if agent else None,
        )
