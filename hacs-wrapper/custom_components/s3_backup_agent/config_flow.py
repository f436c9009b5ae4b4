"""Asks for a storage, tries it out through the agent, and says at each field what is wrong."""

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
    CONF_STORAGE_CLASS,
    CONF_VERIFY_TLS,
    DEFAULT_FOLDER,
    DOMAIN,
    MORE,
)
from .coordinator import S3ConfigEntry
from .errors import placeholders
from .forms import (
    ARCHIVE_CLASSES,
    KEYS_SCHEMA,
    OPTIONS_SCHEMA,
    PROVIDER_SCHEMA,
    Schema,
    connection_schema,
    form_from_options,
    options_from_form,
    part_fits,
    reconfigure_schema,
)
from .issues import async_delete_issues, async_store_warnings
from .providers import PROVIDERS, has_placeholder, resolve_endpoint
from .target import backup_path, clean_path, endpoint_host, location_id, target_config, unknown_data
from .trial import (
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


class S3ConfigFlow(ConfigFlow, domain=DOMAIN):
    """Adds a storage, gives it new keys, or changes it."""

    VERSION = 1
    MINOR_VERSION = 1

    def __init__(self) -> None:
        """Nothing was picked yet."""
        self._provider = PROVIDERS["other"]

    async def async_step_user(self, user_input: _Form | None = None) -> ConfigFlowResult:
        """Asks for the provider, which fills in most of the next form."""
        if user_input is None:
            return self.async_show_form(step_id="user", data_schema=PROVIDER_SCHEMA)
        self._provider = PROVIDERS[user_input[CONF_PROVIDER]]
        return await self.async_step_connection()

    async def async_step_connection(self, user_input: _Form | None = None) -> ConfigFlowResult:
        """Asks for everything else."""
        if user_input is None:
            provider = self._provider
            return self._connection_form(
                {CONF_ENDPOINT: provider.endpoint, CONF_REGION: provider.region}
            )
        form = {CONF_ENDPOINT: self._provider.endpoint} | _tidy(user_input)
        data = _data(self._provider.key, form)
        await self._async_check_place(data)
        trial = await self._async_validate(data, form)
        if trial.error:
            return self._connection_form(form, trial)
        # The bucket may have been a part of the address.
        data |= trial.suggestion
        await self._async_check_place(data)
        async_store_warnings(self.hass, location_id(data), trial.warnings)
        return self.async_create_entry(title=self._title(data), data=data)

    async def async_step_reauth(self, entry_data: Mapping[str, Any]) -> ConfigFlowResult:
        """The storage refuses the keys."""
        return await self.async_step_reauth_confirm()

    async def async_step_reauth_confirm(self, user_input: _Form | None = None) -> ConfigFlowResult:
        """Asks for other keys."""
        entry = self._get_reauth_entry()
        form = {CONF_ACCESS_KEY_ID: entry.data[CONF_ACCESS_KEY_ID]}
        trial = Outcome()
        if user_input is not None:
            form = _tidy(user_input)
            trial = await async_validate(self.hass, {**entry.data, **form})
            if not trial.error:
                return self._saved(entry, trial, {**entry.data, **form})
        return self.async_show_form(
            step_id="reauth_confirm",
            data_schema=self.add_suggested_values_to_schema(KEYS_SCHEMA, form),
            errors=form_errors(trial, KEYS_SCHEMA),
            description_placeholders={"title": entry.title} | form_placeholders(trial),
        )

    async def async_step_reconfigure(self, user_input: _Form | None = None) -> ConfigFlowResult:
        """Changes how the storage is reached. The place in it stays the same: another one has other
        backups in it, so the schedule of this location could not go on there."""
        entry = self._get_reconfigure_entry()
        self._provider = PROVIDERS.get(entry.data.get(CONF_PROVIDER, ""), self._provider)
        place = {name: entry.data.get(name, "") for name in (CONF_BUCKET, CONF_PREFIX)}
        place[CONF_FOLDER] = entry.data.get(CONF_FOLDER, DEFAULT_FOLDER)
        if user_input is None:
            shown = {k: v for k, v in entry.data.items() if k != CONF_SECRET_ACCESS_KEY}
            return self._reconfigure_form(entry, shown)
        form = _tidy(user_input) | place
        if not form.get(CONF_SECRET_ACCESS_KEY):
            form[CONF_SECRET_ACCESS_KEY] = entry.data[CONF_SECRET_ACCESS_KEY]
        data = _data(self._provider.key, form)
        self._abort_if_same_place(data, besides=entry.entry_id)
        trial = await self._async_validate(data, form)
        if trial.error:
            shown = {k: v for k, v in form.items() if k != CONF_SECRET_ACCESS_KEY}
            return self._reconfigure_form(entry, shown, trial)
        if endpoint := trial.suggestion.get(CONF_ENDPOINT):
            data[CONF_ENDPOINT] = endpoint
        return self._saved(entry, trial, unknown_data(entry.data) | data)

    def _saved(self, entry: S3ConfigEntry, trial: Outcome, data: _Form) -> ConfigFlowResult:
        """The new settings of an entry work: nothing is left of what the old ones did."""
        async_delete_issues(self.hass, entry.entry_id)
        async_store_warnings(self.hass, entry.unique_id or "", trial.warnings)
        return self.async_update_reload_and_abort(entry, data=data)

    async def _async_check_place(self, data: _Form) -> None:
        # A dialog that was left open, or reloaded, does not block a new one.
        await self.async_set_unique_id(location_id(data), raise_on_progress=False)
        self._abort_if_unique_id_configured()
        self._abort_if_same_place(data)

    async def _async_validate(self, data: _Form, form: _Form) -> Outcome:
        """Tries settings out. Puts what would be right into the form."""
        if "{region}" in form[CONF_ENDPOINT] and not data[CONF_REGION]:
            return form_error("region_missing", CONF_REGION)
        if has_placeholder(data[CONF_ENDPOINT]):
            return form_error("endpoint_placeholder", CONF_ENDPOINT)
        trial = await async_validate(self.hass, data)
        if trial.error:
            form |= corrections(trial.error, form) | dict(trial.suggestion)
        return trial

    def _connection_form(self, form: _Form, trial: Outcome = _NO_OUTCOME) -> ConfigFlowResult:
        schema = connection_schema(
            asks_for_endpoint=not self._provider.is_fixed, wrong=field_to_show(trial), form=form
        )
        return self._form("connection", schema, form, trial)

    def _reconfigure_form(
        self, entry: S3ConfigEntry, form: _Form, trial: Outcome = _NO_OUTCOME
    ) -> ConfigFlowResult:
        schema = reconfigure_schema(wrong=field_to_show(trial), form=form)
        place = f"{entry.data[CONF_BUCKET]}/{backup_path(entry.data)}"
        return self._form("reconfigure", schema, form, trial, place=place)

    def _form(
        self, step_id: str, schema: Schema, form: _Form, trial: Outcome, **details: str
    ) -> ConfigFlowResult:
        return self.async_show_form(
            step_id=step_id,
            data_schema=self.add_suggested_values_to_schema(schema, form | {MORE: form}),
            errors=form_errors(trial, schema),
            description_placeholders={
                "provider": self._provider.name,
                "keys": self._provider.keys,
                "keys_url": self._provider.url,
                "example": "https://s3.example.com",
            }
            | form_placeholders(trial)
            | details,
        )

    def _abort_if_same_place(self, data: _Form, besides: str | None = None) -> None:
        """An entry keeps its unique id when its storage gets another address, so look there too."""
        place = location_id(data)
        for entry in self._async_current_entries(include_ignore=False):
            if entry.entry_id != besides and location_id(entry.data) == place:
                raise AbortFlow("already_configured")

    def _title(self, data: _Form) -> str:
        """Names the place, as somebody with two of them tells them apart."""
        provider = PROVIDERS[data[CONF_PROVIDER]].name
        title = f"{provider} ({_place(data)})"
        if any(entry.title == title for entry in self._async_current_entries()):
            return f"{provider} ({endpoint_host(data)}, {_place(data)})"
        return title

    @staticmethod
    @callback
    @override
    def async_get_options_flow(config_entry: S3ConfigEntry) -> S3OptionsFlow:
        """The options of a storage."""
        return S3OptionsFlow()


class S3OptionsFlow(OptionsFlow):
    """How backups are sent and kept. Those under way go on, and follow the limits at once."""

    async def async_step_init(self, user_input: _Form | None = None) -> ConfigFlowResult:
        """The only step."""
        form = form_from_options(self.config_entry.options)
        errors: dict[str, str] = {}
        details: dict[str, str] = {}
        if user_input is not None:
            form = user_input
            options = options_from_form(user_input, self.config_entry.options)
            if options.get(CONF_STORAGE_CLASS, "").upper() in ARCHIVE_CLASSES:
                errors[CONF_STORAGE_CLASS] = "storage_class_archive"
            elif not part_fits(options):
                errors[CONF_PART_SIZE] = "invalid_config_part_size"
            elif problem := await async_check_options(self.hass, self.config_entry.data, options):
                errors = form_errors(Outcome(problem), OPTIONS_SCHEMA)
                details = placeholders(problem)
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
            # Once they are saved.
            reload = self.hass.config_entries.async_schedule_reload
            self.hass.loop.call_soon(reload, entry.entry_id)


#: What comes along when text is pasted, and cannot be seen.
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")


def _tidy(user_input: _Form) -> _Form:
    """All fields beside each other, without the blanks that come along when text is pasted."""
    form = {name: value for name, value in user_input.items() if name != MORE}
    form |= user_input.get(MORE, {})
    return {
        name: _INVISIBLE.sub("", value).strip() if isinstance(value, str) else value
        for name, value in form.items()
    }


def _data(provider: str, form: _Form) -> _Form:
    """What an entry holds."""
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
    if certificate := form.get(CONF_CA_CERTIFICATE):
        data[CONF_CA_CERTIFICATE] = certificate
    return data


def _place(data: _Form) -> str:
    parts = [data[CONF_BUCKET], data[CONF_PREFIX]]
    if data[CONF_FOLDER] != DEFAULT_FOLDER:
        parts.append(data[CONF_FOLDER])
    # Else no folder would look like the usual one.
    return "/".join(filter(None, parts)) + ("" if data[CONF_FOLDER] else "/")
