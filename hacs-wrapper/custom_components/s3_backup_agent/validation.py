"""Settings are tried out by the agent before they are saved, and forms say what came of it."""

import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from homeassistant.core import HomeAssistant

from .agent import AgentClient, AgentError, Check, Kind
from .const import (
    CONF_ADDRESSING_STYLE,
    CONF_BUCKET,
    CONF_CA_CERTIFICATE,
    CONF_ENDPOINT,
    CONF_PREFIX,
    CONF_REGION,
    VALIDATE_DEADLINE,
)
from .errors import placeholders, translation_key
from .forms import Schema
from .hub import async_held_agent
from .target import target_config

#: What an agent may suggest in place of what was entered.
_SUGGESTED = (CONF_ENDPOINT, CONF_REGION, CONF_BUCKET, CONF_PREFIX, CONF_ADDRESSING_STYLE)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a trial ended.

    error: why the storage cannot be used; None if it can.
    suggestion: settings that work in place of the given ones, also without an error, as the agent
    read these.
    warnings: what works, but should be looked at.
    """

    error: AgentError | None = None
    suggestion: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[Check, ...] = ()


async def async_validate(hass: HomeAssistant, data: Mapping[str, Any]) -> Outcome:
    """Lets the agent list, write, read and delete in the storage. data: what an entry holds."""
    try:
        async with _async_opened(hass, data, {}) as (client, target):
            result = await client.validate(target, level="write", deadline=VALIDATE_DEADLINE)
    except AgentError as err:
        return Outcome(err)
    given = {name: result.suggestion.get(name) for name in _SUGGESTED}
    suggestion = {name: value for name, value in given.items() if isinstance(value, str)}
    if _is_plain(suggestion.get(CONF_ENDPOINT, "")) and not _is_plain(data[CONF_ENDPOINT]):
        # Whoever is on the way could have it say so, and would then read everything.
        del suggestion[CONF_ENDPOINT]
    if result.ok:
        return Outcome(None, suggestion, result.warnings)
    silent = AgentError("the storage did not pass, and the agent did not say why")
    return Outcome(result.error or silent, suggestion)


async def async_check_options(
    hass: HomeAssistant, data: Mapping[str, Any], options: Mapping[str, Any]
) -> AgentError | None:
    """Lets the agent look at settings, without the network."""
    try:
        async with _async_opened(hass, data, options):
            return None
    except AgentError as err:
        return err


def _is_plain(endpoint: str) -> bool:
    return endpoint.lower().startswith("http://")


@asynccontextmanager
async def _async_opened(
    hass: HomeAssistant, data: Mapping[str, Any], options: Mapping[str, Any]
) -> AsyncIterator[tuple[AgentClient, str]]:
    """An agent, and the name of a target in it that has these settings."""
    name = f"form-{uuid.uuid4().hex}"
    async with async_held_agent(hass, name) as client:
        await client.open_target(name, target_config(data, options))
        yield client, name


_OWN = {"endpoint_placeholder", "region_missing"}


def form_error(code: str, field: str) -> Outcome:
    """A fault that the form finds by itself."""
    return Outcome(AgentError(code, code=code, kind=Kind.CONFIG, field=field))


def field_to_show(trial: Outcome) -> str | None:
    """The field that has to be seen for what went wrong."""
    if trial.error and trial.error.code == "tls_untrusted":
        return CONF_CA_CERTIFICATE
    return trial.error.field if trial.error else None


def form_errors(trial: Outcome, schema: Schema) -> dict[str, str]:
    """The error at its field if the form has that, or else at the first that has to be changed."""
    if (error := trial.error) is None:
        return {}
    shown = {str(marker) for marker in schema.schema}
    place = error.field or "base"
    if place == CONF_ENDPOINT and place not in shown:
        # The address follows from it.
        place = CONF_REGION
    if place not in shown:
        place = next((name for name in trial.suggestion if name in shown), "base")
    text = error.code if error.code in _OWN else translation_key(error)
    if text == "not_found":
        # No backup was asked for: there is another service behind the address.
        text = "invalid_endpoint_not_s3"
    told = {"base": "suggested"} if trial.suggestion and place != "base" else {}
    return {place: text} | told


def form_placeholders(trial: Outcome) -> dict[str, str]:
    if trial.error is None:
        return {}
    return placeholders(trial.error) | {"suggestion": ", ".join(trial.suggestion.values())}


def corrections(problem: AgentError, form: Mapping[str, Any]) -> dict[str, Any]:
    """What the form should hold instead, where the storage or common sense tells. Never less
    protection: whoever is on the way could ask for that."""
    endpoint = form[CONF_ENDPOINT]
    reason = problem.details.get("reason")
    match problem.code:
        case "wrong_region" if expected := problem.details.get("expected"):
            return {CONF_REGION: expected}
        case "wrong_addressing_style" if problem.details.get("use") in ("path", "virtual"):
            return {CONF_ADDRESSING_STYLE: problem.details["use"]}
        case "invalid_endpoint" if reason == "scheme" and "://" not in endpoint:
            return {CONF_ENDPOINT: f"https://{endpoint}"}
        case "invalid_endpoint" if reason == "plain_http_on_tls":
            return {CONF_ENDPOINT: endpoint.replace("http://", "https://", 1)}
        case _:
            return {}
