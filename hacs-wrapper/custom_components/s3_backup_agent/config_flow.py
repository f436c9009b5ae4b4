"""Adds and changes backup locations. The agent validates the settings before they are saved."""

import re
from collections.abc import Mapping
from typing import Any, override

from homeassistant.config_entries import (
    ConfigEntryState,
    ConfigFlow,
    ConfigFlowResult,
    OptionsFlow,
)
from homeassistant.core import callback
from homeassistant.data_entry_flow import AbortFlow

from .const import (
    CONF_ACCESS_KEY_ID,
    CONF_ADDRESSING_STYLE,
    CONF_BUCKET,
    CONF_CA_CERTIFICATE,
    CONF_ENDPOINT,
    CONF_FOLDER,
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
    DOMAIN,
    MORE,
)
from .coordinator import S3ConfigEntry
from .errors import placeholders
from .forms import (
    OPTIONS_SCHEMA,
    PROVIDER_SCHEMA,
    Schema,
    connection_schema,
    form_from_options,
    is_cold,
    keys_schema,
    options_from_form,
    part_fits,
    reconfigure_schema,
)
from .issues import async_delete_issues, async_store_warnings
from .providers import PROVIDERS, has_placeholder, resolve_endpoint
from .target import backup_path, clean_path, endpoint_host, location_id, target_config, unknown_data
from .validation import (
    Outcome,
    async_check_options,
    async_validate,
    corrections,
    field_to_show,
    form_error,
    form_errors,
    form_placeholders,
)

type _Form = dict[str, Any]


_NO_OUTCOME = Outcome()
_SECRETS = {CONF_SECRET_ACCESS_KEY, CONF_SESSION_TOKEN}
#: The settings that an entry holds only if they were entered.
_OPTIONAL = (
    CONF_SESSION_TOKEN,
    CONF_CA_CERTIFICATE,
    CONF_STORAGE_CLASS,
    CONF_SERVER_SIDE_ENCRYPTION,
    CONF_SERVER_SIDE_ENCRYPTION_KEY_ID,
)


class S3ConfigFlow(ConfigFlow, domain=DOMAIN):
    """Adds a backup location, changes it, or changes its keys."""

    VERSION = 1
    MINOR_VERSION = 1

    def __init__(self) -> None:
        """The provider is selected in the first step."""
        self._provider = PROVIDERS["other"]

    async def async_step_user(self, user_input: _Form | None = None) -> ConfigFlowResult:
        """Asks for the provider, whose values fill in the next form."""
        if user_input is None:
            return self.async_show_form(step_id="user", data_schema=PROVIDER_SCHEMA)
        self._provider = PROVIDERS[user_input[CONF_PROVIDER]]
        return await self.async_step_connection()

    async def async_step_connection(self, user_input: _Form | None = None) -> ConfigFlowResult:
        """Asks for all other settings."""
        if user_input is None:
            provider = self._provider
            return self._connection_form(
                {CONF_ENDPOINT: provider.endpoint, CONF_REGION: provider.region}
            )
        form = {CONF_ENDPOINT: self._provider.endpoint} | _tidy(user_input)
        data = _data(self._provider.key, form)
        await self._async_check_unique(data)
        outcome = await self._async_validate(data, form)
        if outcome.error:
            return self._connection_form(form, outcome)
        # The endpoint may have contained the bucket.
        data |= outcome.suggestion
        await self._async_check_unique(data)
        async_store_warnings(self.hass, location_id(data), outcome.warnings)
        return self.async_create_entry(title=self._title(data), data=data)

    async def async_step_reauth(self, entry_data: Mapping[str, Any]) -> ConfigFlowResult:
        """Starts when the server refuses the keys."""
        return await self.async_step_reauth_confirm()

    async def async_step_reauth_confirm(self, user_input: _Form | None = None) -> ConfigFlowResult:
        """Asks for new keys."""
        entry = self._get_reauth_entry()
        form = {CONF_ACCESS_KEY_ID: entry.data[CONF_ACCESS_KEY_ID]}
        outcome = Outcome()
        if user_input is not None:
            form = _tidy(user_input)
            # A session token belongs to its keys, so an old one is never kept.
            others = {k: v for k, v in entry.data.items() if k != CONF_SESSION_TOKEN}
            outcome = await async_validate(self.hass, {**others, **form})
            if not outcome.error:
                return self._saved(entry, outcome, {**others, **form})
        schema = keys_schema(asks_for_token=CONF_SESSION_TOKEN in entry.data)
        return self.async_show_form(
            step_id="reauth_confirm",
            data_schema=self.add_suggested_values_to_schema(schema, form),
            errors=form_errors(outcome, schema),
            description_placeholders={"title": entry.title} | form_placeholders(outcome),
        )

    async def async_step_reconfigure(self, user_input: _Form | None = None) -> ConfigFlowResult:
        """Changes an entry, except for bucket, prefix and folder. Other backups are there, so the
        schedule of this location does not apply to them."""
        entry = self._get_reconfigure_entry()
        self._provider = PROVIDERS.get(entry.data.get(CONF_PROVIDER, ""), self._provider)
        place = {name: entry.data.get(name, "") for name in (CONF_BUCKET, CONF_PREFIX)}
        place[CONF_FOLDER] = entry.data.get(CONF_FOLDER, DEFAULT_FOLDER)
        if user_input is None:
            return self._reconfigure_form(entry, dict(entry.data))
        form = _tidy(user_input) | place
        if not form.get(CONF_SECRET_ACCESS_KEY):
            # The form shows no secrets: empty fields keep the old ones.
            for name in _SECRETS & entry.data.keys():
                form[name] = form.get(name) or entry.data[name]
        data = _data(self._provider.key, form)
        self._abort_if_same_location(data, besides=entry.entry_id)
        outcome = await self._async_validate(data, form)
        if outcome.error:
            return self._reconfigure_form(entry, form, outcome)
        if endpoint := outcome.suggestion.get(CONF_ENDPOINT):
            data[CONF_ENDPOINT] = endpoint
        return self._saved(entry, outcome, unknown_data(entry.data) | data)

    def _saved(self, entry: S3ConfigEntry, outcome: Outcome, data: _Form) -> ConfigFlowResult:
        """Saves new settings of an entry that work, and deletes its issues."""
        async_delete_issues(self.hass, entry.entry_id)
        async_store_warnings(self.hass, entry.unique_id or "", outcome.warnings)
        return self.async_update_reload_and_abort(entry, data=data)

    async def _async_check_unique(self, data: _Form) -> None:
        # Another form that is still open does not block this one.
        await self.async_set_unique_id(location_id(data), raise_on_progress=False)
        self._abort_if_unique_id_configured()
        self._abort_if_same_location(data)

    async def _async_validate(self, data: _Form, form: _Form) -> Outcome:
        """Validates settings. Writes values that correct an error into the form."""
        if "{region}" in form[CONF_ENDPOINT] and not data[CONF_REGION]:
            return form_error("region_missing", CONF_REGION)
        if has_placeholder(data[CONF_ENDPOINT]):
            return form_error("endpoint_placeholder", CONF_ENDPOINT)
        if is_cold(data.get(CONF_STORAGE_CLASS, "")):
            return form_error("storage_class_cold", CONF_STORAGE_CLASS)
        outcome = await async_validate(self.hass, data)
        if outcome.error:
            form |= corrections(outcome.error, form) | dict(outcome.suggestion)
        return outcome

    def _connection_form(self, form: _Form, outcome: Outcome = _NO_OUTCOME) -> ConfigFlowResult:
        schema = connection_schema(self._provider, wrong=field_to_show(outcome), form=form)
        return self._form("connection", schema, form, outcome)

    def _reconfigure_form(
        self, entry: S3ConfigEntry, form: _Form, outcome: Outcome = _NO_OUTCOME
    ) -> ConfigFlowResult:
        schema = reconfigure_schema(self._provider, wrong=field_to_show(outcome), form=form)
        shown = {name: value for name, value in form.items() if name not in _SECRETS}
        location = f"{entry.data[CONF_BUCKET]}/{backup_path(entry.data)}"
        return self._form("reconfigure", schema, shown, outcome, location=location)

    def _form(
        self, step_id: str, schema: Schema, form: _Form, outcome: Outcome, **details: str
    ) -> ConfigFlowResult:
        return self.async_show_form(
            step_id=step_id,
            data_schema=self.add_suggested_values_to_schema(schema, form | {MORE: form}),
            errors=form_errors(outcome, schema),
            description_placeholders={
                "provider": self._provider.name,
                "keys": self._provider.keys,
                "keys_url": self._provider.url,
                "example": "https://s3.example.com",
            }
            | form_placeholders(outcome)
            | details,
        )

    def _abort_if_same_location(self, data: _Form, besides: str | None = None) -> None:
        """Compares the data, too: an entry keeps its unique ID when its endpoint changes."""
        location = location_id(data)
        for entry in self._async_current_entries(include_ignore=False):
            if entry.entry_id != besides and location_id(entry.data) == location:
                raise AbortFlow("already_configured")

    def _title(self, data: _Form) -> str:
        """Provider, bucket and path; with the host if another entry has the same title."""
        provider = PROVIDERS[data[CONF_PROVIDER]].name
        title = f"{provider} ({_place(data)})"
        if any(entry.title == title for entry in self._async_current_entries()):
            return f"{provider} ({endpoint_host(data)}, {_place(data)})"
        return title

    @staticmethod
    @callback
    @override
    def async_get_options_flow(config_entry: S3ConfigEntry) -> S3OptionsFlow:
        """The options of an entry."""
        return S3OptionsFlow()


class S3OptionsFlow(OptionsFlow):
    """The options for transfers. Running transfers continue and follow new limits at once."""

    async def async_step_init(self, user_input: _Form | None = None) -> ConfigFlowResult:
        """The only step."""
        form = form_from_options(self.config_entry.options)
        errors: dict[str, str] = {}
        details: dict[str, str] = {}
        if user_input is not None:
            form = user_input
            options = options_from_form(user_input, self.config_entry.options)
            if not part_fits(options):
                errors[CONF_PART_SIZE] = "invalid_config_part_size"
            elif error := await async_check_options(self.hass, self.config_entry.data, options):
                errors = form_errors(Outcome(error), OPTIONS_SCHEMA)
                details = placeholders(error)
            else:
                await self._async_apply(options)
                return self.async_create_entry(data=options)
        return self.async_show_form(
            step_id="init",
            data_schema=self.add_suggested_values_to_schema(OPTIONS_SCHEMA, form),
            errors=errors,
            description_placeholders=details,
        )

    async def _async_apply(self, options: _Form) -> None:
        entry: S3ConfigEntry = self.config_entry
        if entry.state is ConfigEntryState.LOADED:
            config = target_config(entry.data, options)
            await entry.runtime_data.client.update_target(entry.entry_id, config)
        else:
            # Runs after the options are saved.
            reload = self.hass.config_entries.async_schedule_reload
            self.hass.loop.call_soon(reload, entry.entry_id)


#: Invisible characters of pasted text.
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")


def _tidy(user_input: _Form) -> _Form:
    """All fields without the section, and without blanks and invisible characters around them."""
    form = {name: value for name, value in user_input.items() if name != MORE}
    form |= user_input.get(MORE, {})
    return {
        name: _INVISIBLE.sub("", value).strip() if isinstance(value, str) else value
        for name, value in form.items()
    }


def _data(provider: str, form: _Form) -> _Form:
    """The data of an entry."""
    region = form.get(CONF_REGION, "")
    data = {
        CONF_PROVIDER: provider,
        CONF_ENDPOINT: resolve_endpoint(form[CONF_ENDPOINT], region),
        CONF_REGION: region,
        CONF_BUCKET: form.get(CONF_BUCKET, ""),
        CONF_PREFIX: clean_path(form.get(CONF_PREFIX, "")),
        CONF_FOLDER: clean_path(form.get(CONF_FOLDER, DEFAULT_FOLDER)),
        CONF_ACCESS_KEY_ID: form[CONF_ACCESS_KEY_ID],
        CONF_SECRET_ACCESS_KEY: form[CONF_SECRET_ACCESS_KEY],
        CONF_ADDRESSING_STYLE: form.get(CONF_ADDRESSING_STYLE, "auto"),
        CONF_VERIFY_TLS: form.get(CONF_VERIFY_TLS, True),
    }
    return data | {name: form[name] for name in _OPTIONAL if form.get(name)}


def _place(data: _Form) -> str:
    parts = [data[CONF_BUCKET], data[CONF_PREFIX]]
    if data[CONF_FOLDER] != DEFAULT_FOLDER:
        parts.append(data[CONF_FOLDER])
    # The slash tells an entry without a folder from one with the default folder.
    return "/".join(filter(None, parts)) + ("" if data[CONF_FOLDER] else "/")
