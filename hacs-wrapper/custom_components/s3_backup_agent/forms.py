"""The forms of the config flow and the options flow."""

from collections.abc import Mapping
from typing import Any

import voluptuous as vol
from homeassistant.helpers.selector import (
    BooleanSelector,
    NumberSelector,
    NumberSelectorConfig,
    NumberSelectorMode,
    SelectSelector,
    SelectSelectorConfig,
    SelectSelectorMode,
    TextSelector,
    TextSelectorConfig,
    TextSelectorType,
)

from .const import (
    CONF_ACCESS_KEY_ID,
    CONF_ADDRESSING,
    CONF_BUCKET,
    CONF_CA_CERTIFICATE,
    CONF_ENDPOINT,
    CONF_FOLDER,
    CONF_MAX_BYTES_PER_SECOND,
    CONF_MAX_PARALLEL_PARTS,
    CONF_MEMORY_BUDGET,
    CONF_PART_SIZE,
    CONF_PREFIX,
    CONF_PROVIDER,
    CONF_REGION,
    CONF_SECRET_ACCESS_KEY,
    CONF_STORAGE_CLASS,
    CONF_VERIFY_TLS,
    DEFAULT_FOLDER,
    MEGABIT,
    MIB,
)
from .providers import PROVIDERS

#: Classes whose objects can be read at once. The others would need a thaw before a restore.
STORAGE_CLASSES = (
    "STANDARD",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER_IR",
)
ARCHIVE_CLASSES = ("GLACIER", "DEEP_ARCHIVE")

_TEXT = TextSelector()
_PASSWORD = TextSelector(TextSelectorConfig(type=TextSelectorType.PASSWORD, autocomplete="off"))
_PEM = TextSelector(TextSelectorConfig(multiline=True))
_ADDRESSING = SelectSelector(
    SelectSelectorConfig(
        options=["auto", "path", "virtual"],
        translation_key=CONF_ADDRESSING,
        mode=SelectSelectorMode.DROPDOWN,
    )
)

#: `voluptuous.Schema`, and from Home Assistant 2026.9 on what took its place.
type Schema = Any

PROVIDER_SCHEMA: Schema = vol.Schema(
    {
        vol.Required(CONF_PROVIDER): SelectSelector(
            SelectSelectorConfig(
                options=list(PROVIDERS),
                translation_key=CONF_PROVIDER,
                mode=SelectSelectorMode.DROPDOWN,
            )
        )
    }
)

KEYS_SCHEMA: Schema = vol.Schema(
    {
        vol.Required(CONF_ACCESS_KEY_ID): _TEXT,
        vol.Required(CONF_SECRET_ACCESS_KEY): _PASSWORD,
    }
)


def connection_schema(*, with_certificate: bool, keep_secret: bool = False) -> Schema:
    """The form of a storage.

    with_certificate: also ask for a certificate, as the storage's own is not trusted.
    keep_secret: the secret may stay empty, because there is one already.
    """
    secret = vol.Optional if keep_secret else vol.Required
    fields: dict[vol.Marker, Any] = {
        vol.Required(CONF_ENDPOINT): _TEXT,
        vol.Optional(CONF_REGION): _TEXT,
        vol.Required(CONF_BUCKET): _TEXT,
        vol.Optional(CONF_PREFIX): _TEXT,
        vol.Optional(CONF_FOLDER, default=DEFAULT_FOLDER): _TEXT,
        vol.Required(CONF_ACCESS_KEY_ID): _TEXT,
        secret(CONF_SECRET_ACCESS_KEY): _PASSWORD,
        vol.Required(CONF_ADDRESSING, default="auto"): _ADDRESSING,
    }
    if with_certificate:
        fields[vol.Optional(CONF_CA_CERTIFICATE)] = _PEM
        fields[vol.Required(CONF_VERIFY_TLS, default=True)] = BooleanSelector()
    return vol.Schema(fields)


def _number(least: float, most: float, unit: str = "", step: float = 1) -> NumberSelector:
    config = NumberSelectorConfig(min=least, max=most, step=step, mode=NumberSelectorMode.BOX)
    if unit:
        config["unit_of_measurement"] = unit
    return NumberSelector(config)


OPTIONS_SCHEMA: Schema = vol.Schema(
    {
        vol.Optional(CONF_STORAGE_CLASS): SelectSelector(
            SelectSelectorConfig(
                options=list(STORAGE_CLASSES),
                custom_value=True,
                mode=SelectSelectorMode.DROPDOWN,
            )
        ),
        vol.Optional(CONF_PART_SIZE): _number(5, 5120, "MiB"),
        vol.Optional(CONF_MEMORY_BUDGET): _number(32, 8192, "MiB"),
        vol.Optional(CONF_MAX_PARALLEL_PARTS): _number(1, 64),
        # As contracts with providers put it, for lines of less than a megabit as well.
        vol.Optional(CONF_MAX_BYTES_PER_SECOND): _number(0.6, 100_000, "Mbit/s", step=0.1),
    }
)
#: What one of the form is for the agent.
_UNITS = {
    CONF_PART_SIZE: MIB,
    CONF_MEMORY_BUDGET: MIB,
    CONF_MAX_PARALLEL_PARTS: 1,
    CONF_MAX_BYTES_PER_SECOND: MEGABIT,
}

# What the agent takes without being told, and what it needs besides one part of an upload.
_MEMORY_BUDGET = 96 * MIB
_BESIDES_A_PART = 20 * MIB


def part_fits(options: Mapping[str, Any]) -> bool:
    """Whether the memory has room for a part. The agent would notice in the first large upload."""
    part = options.get(CONF_PART_SIZE, 0)
    budget = options.get(CONF_MEMORY_BUDGET, _MEMORY_BUDGET)
    return not part or bool(part + _BESIDES_A_PART <= budget)


def options_from_form(user_input: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """What the options form holds, as it is stored. before: the options so far, of which those stay
    that only a newer version knows."""
    shown = {str(marker) for marker in OPTIONS_SCHEMA.schema}
    return {name: value for name, value in before.items() if name not in shown} | {
        name: round(value * _UNITS[name]) if name in _UNITS else value.strip()
        for name, value in user_input.items()
        if value not in (None, "")
    }


def form_from_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """What is stored, as the options form shows it."""
    return {
        name: value / _UNITS[name] if name in _UNITS else value for name, value in options.items()
    }
