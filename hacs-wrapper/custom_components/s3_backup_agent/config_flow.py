"""Asks for a storage, tries it out through the agent, and says at each field what is wrong."""

import logging
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, override

from homeassistant.config_entries import (
    ConfigFlow,
    ConfigFlowResult,
    OptionsFlowWithReload,
)
from homeassistant.core import HomeAssistant, callback
from homeassistant.data_entry_flow import AbortFlow

from .agent import AgentClient, AgentError, Kind
from .const import (
    CONF_ACCESS_KEY_ID,
    CONF_ADDRESSING,
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
    NO_FOLDER,
    VALIDATE_DEADLINE,
)
from .coordinator import S3ConfigEntry
from .errors import placeholders, translation_key
from .forms import (
    ARCHIVE_CLASSES,
    KEYS_SCHEMA,
    OPTIONS_SCHEMA,
    PROVIDER_SCHEMA,
    connection_schema,
    form_from_options,
    options_from_form,
    part_fits,
)
from .hub import async_borrowed_agent
from .providers import PROVIDERS, is_unfinished, resolve_endpoint
from .target import clean_path, not_ours, place_in_bucket, storage_id, target_config

_LOGGER = logging.getLogger(__name__)

type _Form = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a storage cannot be used. suggestion: fields of the form, with what works there."""

    error: AgentError
    suggestion: _Form = field(default_factory=dict)


class S3ConfigFlow(ConfigFlow, domain=DOMAIN):
    """Adds a storage, gives it new keys, or changes it."""

    VERSION = 1
    MINOR_VERSION = 1

    def __init__(self) -> None:
        """Nothing was picked yet."""
        self._provider = PROVIDERS["other"]
        self._asks_for_certificate = False

    async def async_step_user(self, user_input: _Form | None = None) -> ConfigFlowResult:
        """Asks for the provider, which fills in most of the next form."""
        if user_input is None:
            return self.async_show_form(step_id="user", data_schema=PROVIDER_SCHEMA)
        self._provider = PROVIDERS[user_input[CONF_PROVIDER]]
        return await self.async_step_connection()

    async def async_step_connection(self, user_input: _Form | None = None) -> ConfigFlowResult:
        """Asks for everything else."""
        provider = self._provider
        if user_input is None:
            return self._connection_form(
                "connection",
                {CONF_ENDPOINT: provider.endpoint, CONF_REGION: provider.region},
            )
        form = _tidy(user_input)
        data = _data(provider.key, form)
        await self.async_set_unique_id(storage_id(data))
        self._abort_if_unique_id_configured()
        self._abort_if_same_place(data)
        if problem := await self._problem(data, form):
            return self._connection_form("connection", form, problem)
        return self.async_create_entry(title=_title(data), data=data)

    async def async_step_reauth(self, entry_data: Mapping[str, Any]) -> ConfigFlowResult:
        """The storage refuses the keys."""
        return await self.async_step_reauth_confirm()

    async def async_step_reauth_confirm(self, user_input: _Form | None = None) -> ConfigFlowResult:
        """Asks for other keys."""
        entry = self._get_reauth_entry()
        form = {CONF_ACCESS_KEY_ID: entry.data[CONF_ACCESS_KEY_ID]}
        problem: Problem | None = None
        if user_input is not None:
            form = _tidy(user_input)
            data = {**entry.data, **form}
            if not (problem := await async_try_out(self.hass, data)):
                return self.async_update_reload_and_abort(entry, data_updates=form)
        return self.async_show_form(
            step_id="reauth_confirm",
            data_schema=self.add_suggested_values_to_schema(KEYS_SCHEMA, form),
            errors=_errors(problem.error, form) if problem else {},
            description_placeholders={"title": entry.title} | _facts(problem),
        )

    async def async_step_reconfigure(self, user_input: _Form | None = None) -> ConfigFlowResult:
        """Changes how the storage is reached. The place in it stays the same."""
        entry = self._get_reconfigure_entry()
        self._provider = PROVIDERS.get(entry.data.get(CONF_PROVIDER, ""), self._provider)
        if CONF_CA_CERTIFICATE in entry.data or not entry.data.get(CONF_VERIFY_TLS, True):
            self._asks_for_certificate = True
        if user_input is None:
            known = {CONF_FOLDER: DEFAULT_FOLDER, **entry.data}
            known[CONF_FOLDER] = known[CONF_FOLDER] or NO_FOLDER
            del known[CONF_SECRET_ACCESS_KEY]
            return self._connection_form("reconfigure", known)
        form = _tidy(user_input)
        if not form.get(CONF_SECRET_ACCESS_KEY):
            form[CONF_SECRET_ACCESS_KEY] = entry.data[CONF_SECRET_ACCESS_KEY]
        data = _data(self._provider.key, form)
        # The address of a storage may change. Another bucket or folder has other backups in it,
        # so the schedule of this location cannot go on there.
        before, after = ((d[CONF_BUCKET], place_in_bucket(d)) for d in (entry.data, data))
        if before != after:
            return self.async_abort(reason="wrong_account")
        self._abort_if_same_place(data, besides=entry.entry_id)
        if problem := await self._problem(data, form):
            shown = {k: v for k, v in form.items() if k != CONF_SECRET_ACCESS_KEY}
            return self._connection_form("reconfigure", shown, problem)
        return self.async_update_reload_and_abort(entry, data=not_ours(entry.data) | data)

    async def _problem(self, data: _Form, form: _Form) -> Problem | None:
        """What is wrong with a storage. Puts what would be right into the form."""
        if "{region}" in form[CONF_ENDPOINT] and not data[CONF_REGION]:
            return _own_problem("region_missing", CONF_REGION)
        if is_unfinished(data[CONF_ENDPOINT]):
            return _own_problem("endpoint_unfinished", CONF_ENDPOINT)
        problem = await async_try_out(self.hass, data)
        if problem is not None:
            form |= _corrections(problem.error, form) | problem.suggestion
            if problem.error.code == "tls_untrusted":
                self._asks_for_certificate = True
        return problem

    def _connection_form(
        self, step_id: str, form: _Form, problem: Problem | None = None
    ) -> ConfigFlowResult:
        schema = connection_schema(
            with_certificate=self._asks_for_certificate, keep_secret=step_id == "reconfigure"
        )
        shown = {str(marker) for marker in schema.schema}
        return self.async_show_form(
            step_id=step_id,
            data_schema=self.add_suggested_values_to_schema(schema, form),
            errors=_errors(problem.error, shown, problem.suggestion) if problem else {},
            description_placeholders={
                "provider": self._provider.name,
                "keys": self._provider.keys,
                "keys_url": self._provider.url,
                "region_pattern": "{region}",
            }
            | _facts(problem),
        )

    def _abort_if_same_place(self, data: _Form, besides: str | None = None) -> None:
        """An entry keeps its unique id when its storage gets another address, so look there too."""
        place = storage_id(data)
        for entry in self._async_current_entries(include_ignore=False):
            if entry.entry_id != besides and storage_id(entry.data) == place:
                raise AbortFlow("already_configured")

    @staticmethod
    @callback
    @override
    def async_get_options_flow(config_entry: S3ConfigEntry) -> S3OptionsFlow:
        """The options of a storage."""
        return S3OptionsFlow()


class S3OptionsFlow(OptionsFlowWithReload):
    """How backups are sent and kept."""

    async def async_step_init(self, user_input: _Form | None = None) -> ConfigFlowResult:
        """The only step."""
        form = form_from_options(self.config_entry.options)
        errors: dict[str, str] = {}
        facts: dict[str, str] = {}
        if user_input is not None:
            form = user_input
            options = options_from_form(user_input, self.config_entry.options)
            if options.get(CONF_STORAGE_CLASS, "").upper() in ARCHIVE_CLASSES:
                errors[CONF_STORAGE_CLASS] = "storage_class_archive"
            elif not part_fits(options):
                errors[CONF_PART_SIZE] = "invalid_config_part_size_bytes"
            elif problem := await async_check(self.hass, self.config_entry.data, options):
                errors = _errors(problem, {str(marker) for marker in OPTIONS_SCHEMA.schema})
                facts = placeholders(problem)
            else:
                return self.async_create_entry(data=options)
        return self.async_show_form(
            step_id="init",
            data_schema=self.add_suggested_values_to_schema(OPTIONS_SCHEMA, form),
            errors=errors,
            description_placeholders=facts,
        )


async def async_try_out(hass: HomeAssistant, data: Mapping[str, Any]) -> Problem | None:
    """Lets the agent list, write, read and delete in the storage. What went wrong, if anything."""
    try:
        async with _async_opened(hass, data, {}) as (client, target):
            result = await client.validate(target, level="write", deadline=VALIDATE_DEADLINE)
    except AgentError as err:
        return Problem(err)
    if result.ok:
        for check in result.warnings:
            _LOGGER.warning("The bucket %s works, but: %s", data[CONF_BUCKET], check.words)
        return None
    found = {name: result.suggestion.get(name) for name in _SUGGESTED}
    return Problem(
        result.error or AgentError("the storage did not pass, and the agent did not say why"),
        {name: value for name, value in found.items() if isinstance(value, str)},
    )


async def async_check(
    hass: HomeAssistant, data: Mapping[str, Any], options: Mapping[str, Any]
) -> AgentError | None:
    """Lets the agent look at settings, without the network."""
    try:
        async with _async_opened(hass, data, options):
            return None
    except AgentError as err:
        return err


@asynccontextmanager
async def _async_opened(
    hass: HomeAssistant, data: Mapping[str, Any], options: Mapping[str, Any]
) -> AsyncIterator[tuple[AgentClient, str]]:
    """An agent, and the name of a target in it that has these settings."""
    name = f"form-{uuid.uuid4().hex}"
    async with async_borrowed_agent(hass) as client:
        await client.open_target(name, target_config(data, options))
        try:
            yield client, name
        finally:
            await client.close_target(name)


def _tidy(user_input: _Form) -> _Form:
    """Without the blanks that come along when text is pasted."""
    return {
        name: value.strip() if isinstance(value, str) else value
        for name, value in user_input.items()
    }


def _data(provider: str, form: _Form) -> _Form:
    """What an entry holds."""
    region = form.get(CONF_REGION, "")
    data = {
        CONF_PROVIDER: provider,
        CONF_ENDPOINT: resolve_endpoint(form[CONF_ENDPOINT], region),
        CONF_REGION: region,
        CONF_BUCKET: form[CONF_BUCKET],
        CONF_PREFIX: clean_path(form.get(CONF_PREFIX, "")),
        CONF_FOLDER: clean_path(form[CONF_FOLDER]),
        CONF_ACCESS_KEY_ID: form[CONF_ACCESS_KEY_ID],
        CONF_SECRET_ACCESS_KEY: form[CONF_SECRET_ACCESS_KEY],
        CONF_ADDRESSING: form[CONF_ADDRESSING],
        CONF_VERIFY_TLS: form.get(CONF_VERIFY_TLS, True),
    }
    if certificate := form.get(CONF_CA_CERTIFICATE):
        data[CONF_CA_CERTIFICATE] = certificate
    return data


def _title(data: _Form) -> str:
    """Names the place, as somebody with two of them tells them apart."""
    parts = [data[CONF_BUCKET], data[CONF_PREFIX]]
    if data[CONF_FOLDER] != DEFAULT_FOLDER:
        parts.append(data[CONF_FOLDER])
    place = "/".join(filter(None, parts))
    # Else no folder would look like the usual one.
    place += "" if data[CONF_FOLDER] else "/"
    return f"{PROVIDERS[data[CONF_PROVIDER]].name} ({place})"


_OWN = {"endpoint_unfinished", "region_missing"}
#: What an agent may suggest in place of what was entered.
_SUGGESTED = (CONF_ENDPOINT, CONF_REGION, CONF_ADDRESSING)


def _own_problem(code: str, field: str) -> Problem:
    """A fault that the form finds by itself."""
    return Problem(AgentError(code, code=code, kind=Kind.CONFIG, field=field))


def _errors(
    problem: AgentError, shown: _Form | set[str], suggestion: Iterable[str] = ()
) -> dict[str, str]:
    """The error at its field if the form has that, or else at the first that has to be changed."""
    place = problem.field if problem.field and problem.field in shown else "base"
    text = problem.code if problem.code in _OWN else translation_key(problem)
    if first := next(iter(suggestion), None):
        return {first if place == "base" else place: text, "base": "suggested"}
    return {place: text}


def _facts(problem: Problem | None) -> dict[str, str]:
    if problem is None:
        return {}
    return placeholders(problem.error) | {"suggestion": ", ".join(problem.suggestion.values())}


def _corrections(problem: AgentError, form: _Form) -> _Form:
    """What the form should hold instead, where the storage or common sense tells."""
    endpoint = form[CONF_ENDPOINT]
    reason = problem.facts.get("reason")
    match problem.code:
        case "wrong_region" if expected := problem.facts.get("expected"):
            return {CONF_REGION: expected}
        case "wrong_addressing" if problem.facts.get("use") in ("path", "virtual"):
            return {CONF_ADDRESSING: problem.facts["use"]}
        case "invalid_endpoint" if reason == "scheme" and "://" not in endpoint:
            return {CONF_ENDPOINT: f"https://{endpoint}"}
        case "invalid_endpoint" if reason == "plain_http_on_tls":
            return {CONF_ENDPOINT: endpoint.replace("http://", "https://", 1)}
        case "invalid_endpoint" if reason == "tls_on_plain_http":
            return {CONF_ENDPOINT: endpoint.replace("https://", "http://", 1)}
        case _:
            return {}
