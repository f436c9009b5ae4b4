"""The diagnostic sensors of a backup location."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, override

from homeassistant.components.sensor import (
    RestoreSensor,
    SensorDeviceClass,
    SensorEntity,
    SensorEntityDescription,
    SensorStateClass,
)
from homeassistant.const import EntityCategory, UnitOfInformation
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .agent import Listing
from .coordinator import S3ConfigEntry
from .entity import S3Entity
from .errors import STATES
from .health import ACTIVITIES

# The coordinator updates all sensors.
PARALLEL_UPDATES = 0


@dataclass(frozen=True, kw_only=True)
class ListingSensorDescription(SensorEntityDescription):
    """A sensor whose value comes from the listing."""

    value: Callable[[Listing], int]


_LISTING_SENSORS = (
    ListingSensorDescription(
        key="backups",
        translation_key="backups",
        entity_category=EntityCategory.DIAGNOSTIC,
        state_class=SensorStateClass.MEASUREMENT,
        value=lambda listing: len(listing.backups),
    ),
    ListingSensorDescription(
        key="total_size",
        translation_key="total_size",
        entity_category=EntityCategory.DIAGNOSTIC,
        device_class=SensorDeviceClass.DATA_SIZE,
        native_unit_of_measurement=UnitOfInformation.BYTES,
        suggested_unit_of_measurement=UnitOfInformation.GIBIBYTES,
        suggested_display_precision=2,
        state_class=SensorStateClass.MEASUREMENT,
        value=lambda listing: sum(backup.stored_size for backup in listing.backups),
    ),
)
_LAST_UPLOAD = SensorEntityDescription(
    key="last_upload",
    translation_key="last_upload",
    entity_category=EntityCategory.DIAGNOSTIC,
    device_class=SensorDeviceClass.TIMESTAMP,
)
_LAST_ERROR = SensorEntityDescription(
    key="last_error",
    translation_key="last_error",
    entity_category=EntityCategory.DIAGNOSTIC,
    device_class=SensorDeviceClass.ENUM,
    options=["none", *STATES],
)
_ACTIVITY = SensorEntityDescription(
    key="activity",
    translation_key="activity",
    entity_category=EntityCategory.DIAGNOSTIC,
    device_class=SensorDeviceClass.ENUM,
    options=list(ACTIVITIES),
)


async def async_setup_entry(
    hass: HomeAssistant,
    entry: S3ConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Adds the sensors of an entry."""
    coordinator = entry.runtime_data.coordinator
    async_add_entities(
        [
            *(ListingSensor(coordinator, description) for description in _LISTING_SENSORS),
            LastUploadSensor(coordinator, _LAST_UPLOAD),
            LastErrorSensor(coordinator, _LAST_ERROR),
            ActivitySensor(coordinator, _ACTIVITY),
        ]
    )


class ListingSensor(S3Entity, SensorEntity):
    """A sensor that is unavailable while the bucket cannot be listed."""

    entity_description: ListingSensorDescription

    @property
    @override
    def native_value(self) -> int:
        return self.entity_description.value(self.coordinator.data)


class LastUploadSensor(S3Entity, RestoreSensor):
    """The time of the last successful upload. It survives a restart of Home Assistant."""

    _restored: datetime | None = None

    @override
    async def async_added_to_hass(self) -> None:
        await super().async_added_to_hass()
        data = await self.async_get_last_sensor_data()
        if data is not None and isinstance(data.native_value, datetime):
            self._restored = data.native_value

    @property
    @override
    def available(self) -> bool:
        return True

    @property
    @override
    def native_value(self) -> datetime | None:
        return self.coordinator.health.last_upload or self._restored


class HealthSensor(S3Entity, SensorEntity):
    """A sensor that stays available while the server does not answer."""

    @property
    @override
    def available(self) -> bool:
        return True


class LastErrorSensor(HealthSensor):
    """The code of the last error, for automations."""

    @property
    @override
    def native_value(self) -> str:
        return self.coordinator.health.error_code

    @property
    @override
    def extra_state_attributes(self) -> dict[str, Any]:
        return {"operation": self.coordinator.health.failed_operation}


class ActivitySensor(HealthSensor):
    """Whether a backup is being uploaded or waits for the server."""

    @property
    @override
    def native_value(self) -> str:
        return self.coordinator.health.activity
