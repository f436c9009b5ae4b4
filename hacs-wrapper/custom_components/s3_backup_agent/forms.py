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
    SelectOptionDict,
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
    CONF_SERVER_SIDE_ENCRYPTION,
    CONF_SERVER_SIDE_ENCRYPTION_KEY_ID,
    CONF_SESSION_TOKEN,
    CONF_STORAGE_CLASS,
    CONF_VERIFY_TLS,
    DEFAULT_FOLDER,
    MEGABIT,
    MIB,
    MORE,
)
from .providers import PROVIDERS, Provider

#: Storage classes whose objects can be read at once. With other classes, a restore takes hours.
STORAGE_CLASSES = (
    "STANDARD",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER_IR",
)
COLD_STORAGE_CLASSES = ("GLACIER", "DEEP_ARCHIVE")

_TEXT = TextSelector()
_PASSWORD = TextSelector(TextSelectorConfig(type=TextSelectorType.PASSWORD, autocomplete="off"))
_PEM = TextSelector(TextSelectorConfig(multiline=True))
_ADDRESSING_STYLE = SelectSelector(
    SelectSelectorConfig(
        options=["auto", "path", "virtual"],
        translation_key=CONF_ADDRESSING_STYLE,
        mode=SelectSelectorMode.DROPDOWN,
    )
)
_STORAGE_CLASS = SelectSelector(
    SelectSelectorConfig(
        options=list(STORAGE_CLASSES),
        custom_value=True,
        mode=SelectSelectorMode.DROPDOWN,
    )
)
_SERVER_SIDE_ENCRYPTION = SelectSelector(
    SelectSelectorConfig(
        options=[
            SelectOptionDict(value="AES256", label="SSE-S3 (AES256)"),
            SelectOptionDict(value="aws:kms", label="SSE-KMS (aws:kms)"),
        ],
        mode=SelectSelectorMode.DROPDOWN,
    )
)

#: `voluptuous.Schema`, or what replaces it from Home Assistant 2026.9 on.
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


def keys_schema(*, asks_for_token: bool) -> Schema:
    """The form for new keys. asks_for_token: whether it has the session token."""
    fields: dict[vol.Marker, Any] = {
        vol.Required(CONF_ACCESS_KEY_ID): _TEXT,
        vol.Required(CONF_SECRET_ACCESS_KEY): _PASSWORD,
    }
    if asks_for_token:
        fields[vol.Optional(CONF_SESSION_TOKEN)] = _PASSWORD
    return vol.Schema(fields)


#: The fields of the section "More settings", in this order. Outside of it there are at most five,
#: so that an error of the first field is visible on a phone while you enter the last one.
_SECTION_FIELDS = {
    CONF_PREFIX: (vol.Optional(CONF_PREFIX), _TEXT),
    CONF_FOLDER: (vol.Optional(CONF_FOLDER, default=DEFAULT_FOLDER), _TEXT),
    CONF_SESSION_TOKEN: (vol.Optional(CONF_SESSION_TOKEN), _PASSWORD),
    CONF_ADDRESSING_STYLE: (
        vol.Required(CONF_ADDRESSING_STYLE, default="auto"),
        _ADDRESSING_STYLE,
    ),
    CONF_CA_CERTIFICATE: (vol.Optional(CONF_CA_CERTIFICATE), _PEM),
    CONF_VERIFY_TLS: (vol.Required(CONF_VERIFY_TLS, default=True), BooleanSelector()),
    CONF_STORAGE_CLASS: (vol.Optional(CONF_STORAGE_CLASS), _STORAGE_CLASS),
    CONF_SERVER_SIDE_ENCRYPTION: (
        vol.Optional(CONF_SERVER_SIDE_ENCRYPTION),
        _SERVER_SIDE_ENCRYPTION,
    ),
    CONF_SERVER_SIDE_ENCRYPTION_KEY_ID: (vol.Optional(CONF_SERVER_SIDE_ENCRYPTION_KEY_ID), _TEXT),
}


def connection_schema(provider: Provider, *, wrong: str | None, form: Mapping[str, Any]) -> Schema:
    """The form for a new backup location.

    wrong: the field with an error, which must not be in the closed section. form: the input so far.
    """
    fields: dict[vol.Marker, Any] = {}
    if not provider.is_fixed:
        fields[vol.Required(CONF_ENDPOINT)] = _TEXT
    fields |= {
        vol.Optional(CONF_REGION): _region(provider),
        # The endpoint may contain the bucket.
        (vol.Required if provider.is_fixed else vol.Optional)(CONF_BUCKET): _TEXT,
        vol.Required(CONF_ACCESS_KEY_ID): _TEXT,
        vol.Required(CONF_SECRET_ACCESS_KEY): _PASSWORD,
    }
    return _with_section(fields, list(_SECTION_FIELDS), wrong, form)


def reconfigure_schema(provider: Provider, *, wrong: str | None, form: Mapping[str, Any]) -> Schema:
    """The form for an existing backup location, without bucket, prefix and folder.

    The secret access key may stay empty. wrong, form: as for `connection_schema`.
    """
    fields = {
        vol.Required(CONF_ENDPOINT): _TEXT,
        vol.Optional(CONF_REGION): _region(provider),
        vol.Required(CONF_ACCESS_KEY_ID): _TEXT,
        vol.Optional(CONF_SECRET_ACCESS_KEY): _PASSWORD,
    }
    names = [name for name in _SECTION_FIELDS if name not in (CONF_PREFIX, CONF_FOLDER)]
    return _with_section(fields, names, wrong, form)


def _region(provider: Provider) -> TextSelector | SelectSelector:
    """A list of the provider's regions that accepts other text, or a text field without a list."""
    if not provider.has_choice_of_regions:
        return _TEXT
    return SelectSelector(
        SelectSelectorConfig(
            options=[
                SelectOptionDict(value=region.id, label=region.label) for region in provider.regions
            ],
            custom_value=True,
            mode=SelectSelectorMode.DROPDOWN,
        )
    )


def _with_section(
    fields: dict[vol.Marker, Any], names: list[str], wrong: str | None, form: Mapping[str, Any]
) -> Schema:
    """The fields and the closed section "More settings" with the fields of these names.

    A field of the section with an error is moved to the top, and so is a CA certificate that is
    asked for or was entered, together with its switch.
    """
    visible = {wrong}
    if wrong == CONF_CA_CERTIFICATE or CONF_CA_CERTIFICATE in form:
        visible |= {CONF_CA_CERTIFICATE, CONF_VERIFY_TLS}
    if form.get(CONF_VERIFY_TLS) is False:
        visible.add(CONF_VERIFY_TLS)
    outside = dict(_SECTION_FIELDS[name] for name in names if name in visible)
    inside = dict(_SECTION_FIELDS[name] for name in names if name not in visible)
    more = section(cast(Any, vol.Schema(inside)), {"collapsed": True})
    return vol.Schema(outside | fields | {vol.Required(MORE): more})


def _number(least: float, most: float, unit: str = "", step: float = 1) -> NumberSelector:
    config = NumberSelectorConfig(min=least, max=most, step=step, mode=NumberSelectorMode.BOX)
    if unit:
        config["unit_of_measurement"] = unit
    return NumberSelector(config)


OPTIONS_SCHEMA: Schema = vol.Schema(
    {
        # In the unit that internet providers use; the step allows links below 1 Mbit/s.
        vol.Optional(CONF_BANDWIDTH_LIMIT): _number(0.6, 100_000, "Mbit/s", step=0.1),
        vol.Optional(CONF_PART_SIZE): _number(5, 5120, "MiB"),
        vol.Optional(CONF_MEMORY): _number(32, 8192, "MiB"),
        vol.Optional(CONF_CONCURRENCY): _number(1, 64),
    }
)
#: The agent's value for 1 in the form.
_UNITS = {
    CONF_BANDWIDTH_LIMIT: MEGABIT,
    CONF_PART_SIZE: MIB,
    CONF_MEMORY: MIB,
    CONF_CONCURRENCY: 1,
}

# The agent's default, and the memory that an upload needs besides one part.
_DEFAULT_MEMORY = 96 * MIB
_MEMORY_BESIDES_PART = 20 * MIB


def is_cold(storage_class: str) -> bool:
    """Whether objects of this storage class cannot be read at once."""
    return storage_class.upper() in COLD_STORAGE_CLASSES


def part_fits(options: Mapping[str, Any]) -> bool:
    """Whether a part fits into the memory. The agent reports this only during a large upload."""
    part = options.get(CONF_PART_SIZE, 0)
    memory = options.get(CONF_MEMORY, _DEFAULT_MEMORY)
    return not part or bool(part + _MEMORY_BESIDES_PART <= memory)


def options_from_form(user_input: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """The options to store. Options in `before` that only a newer version knows are kept."""
    shown = {str(marker) for marker in OPTIONS_SCHEMA.schema}
    return {name: value for name, value in before.items() if name not in shown} | {
        name: round(value * _UNITS[name]) for name, value in user_input.items() if value is not None
    }


def form_from_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The stored options in the units of the form."""
    return {
        name: value / _UNITS[name] if name in _UNITS else value for name, value in options.items()
    }
