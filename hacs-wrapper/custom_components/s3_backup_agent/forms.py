"""The forms of the config flow and the options flow."""

from collections.abc import Mapping
from typing import Any, cast

import voluptuous as vol
from homeassistant.data_entry_flow import section
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
    CONF_ADDRESSING_STYLE,
    CONF_BANDWIDTH_LIMIT,
    CONF_BUCKET,
    CONF_CA_CERTIFICATE,
    CONF_CONCURRENCY,
    CONF_ENDPOINT,
    CONF_FOLDER,
    CONF_MEMORY,
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
    MORE,
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
        translation_key=CONF_ADDRESSING_STYLE,
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


_SECTION_FIELDS = {
    CONF_PREFIX: (vol.Optional(CONF_PREFIX), _TEXT),
    CONF_FOLDER: (vol.Optional(CONF_FOLDER, default=DEFAULT_FOLDER), _TEXT),
    CONF_ADDRESSING_STYLE: (vol.Required(CONF_ADDRESSING_STYLE, default="auto"), _ADDRESSING),
    CONF_CA_CERTIFICATE: (vol.Optional(CONF_CA_CERTIFICATE), _PEM),
    CONF_VERIFY_TLS: (vol.Required(CONF_VERIFY_TLS, default=True), BooleanSelector()),
}


def connection_schema(
    *, asks_for_endpoint: bool, wrong: str | None, form: Mapping[str, Any]
) -> Schema:
    """The form of a new storage.

    asks_for_endpoint: whether the provider leaves the address open. wrong: the field that is wrong,
    which has to be seen wherever it usually is. form: what was entered so far.
    """
    fields: dict[vol.Marker, Any] = {}
    if asks_for_endpoint:
        fields[vol.Required(CONF_ENDPOINT)] = _TEXT
    fields |= {
        vol.Optional(CONF_REGION): _TEXT,
        # With an address it may be a part of that.
        (vol.Optional if asks_for_endpoint else vol.Required)(CONF_BUCKET): _TEXT,
        vol.Required(CONF_ACCESS_KEY_ID): _TEXT,
        vol.Required(CONF_SECRET_ACCESS_KEY): _PASSWORD,
    }
    return _with_section(fields, list(_SECTION_FIELDS), wrong, form)


def reconfigure_schema(*, wrong: str | None, form: Mapping[str, Any]) -> Schema:
    """The form of a storage that is there already: without the place, which cannot change.

    The secret may stay empty. wrong, form: as above.
    """
    fields = {
        vol.Required(CONF_ENDPOINT): _TEXT,
        vol.Optional(CONF_REGION): _TEXT,
        vol.Required(CONF_ACCESS_KEY_ID): _TEXT,
        vol.Optional(CONF_SECRET_ACCESS_KEY): _PASSWORD,
    }
    folding = [CONF_ADDRESSING_STYLE, CONF_CA_CERTIFICATE, CONF_VERIFY_TLS]
    return _with_section(fields, folding, wrong, form)


def _with_section(
    fields: dict[vol.Marker, Any], folding: list[str], wrong: str | None, form: Mapping[str, Any]
) -> Schema:
    """With what most never need in a section that is closed.

    A certificate that is asked for, or was given, stands outside of it, with its switch.
    """
    seen = {wrong}
    if wrong == CONF_CA_CERTIFICATE or CONF_CA_CERTIFICATE in form:
        seen |= {CONF_CA_CERTIFICATE, CONF_VERIFY_TLS}
    if form.get(CONF_VERIFY_TLS) is False:
        seen.add(CONF_VERIFY_TLS)
    outside = dict(_SECTION_FIELDS[name] for name in folding if name in seen)
    inside = dict(_SECTION_FIELDS[name] for name in folding if name not in seen)
    folded = section(cast(Any, vol.Schema(inside)), {"collapsed": True})
    # In front, where it is seen first.
    return vol.Schema(outside | fields | {vol.Required(MORE): folded})


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
        vol.Optional(CONF_MEMORY): _number(32, 8192, "MiB"),
        vol.Optional(CONF_CONCURRENCY): _number(1, 64),
        # As contracts with providers put it, for lines of less than a megabit as well.
        vol.Optional(CONF_BANDWIDTH_LIMIT): _number(0.6, 100_000, "Mbit/s", step=0.1),
    }
)
#: What one of the form is for the agent.
_UNITS = {
    CONF_PART_SIZE: MIB,
    CONF_MEMORY: MIB,
    CONF_CONCURRENCY: 1,
    CONF_BANDWIDTH_LIMIT: MEGABIT,
}

# What the agent takes without being told, and what it needs besides one part of an upload.
_DEFAULT_MEMORY = 96 * MIB
_MEMORY_BESIDES_PART = 20 * MIB


def part_fits(options: Mapping[str, Any]) -> bool:
    """Whether the memory has room for a part. The agent would notice in the first large upload."""
    part = options.get(CONF_PART_SIZE, 0)
    budget = options.get(CONF_MEMORY, _DEFAULT_MEMORY)
    return not part or bool(part + _MEMORY_BESIDES_PART <= budget)


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
