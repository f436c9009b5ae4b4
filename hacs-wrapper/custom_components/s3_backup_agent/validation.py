"""Lets the agent validate settings before they are saved, and prepares the result for a form."""

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

#: The settings for which an agent may suggest other values.
_SUGGESTED = (CONF_ENDPOINT, CONF_REGION, CONF_BUCKET, CONF_PREFIX, CONF_ADDRESSING_STYLE)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a validation.

    error: the reason for a failure; None if the settings work.
    suggestion: values that work instead of the given ones. There may be some without an error: the
        agent splits an endpoint that contains the bucket, for example.
    warnings: the checks with a warning.
    """

    error: AgentError | None = None
    suggestion: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[Check, ...] = ()


async def async_validate(hass: HomeAssistant, data: Mapping[str, Any]) -> Outcome:
    """Validates the data of an entry. The agent lists, writes, reads and deletes in the bucket."""
    try:
        async with _async_opened(hass, data, {}) as (client, target):
            result = await client.validate(target, level="write", deadline=VALIDATE_DEADLINE)
    except AgentError as err:
        return Outcome(err)
    given = {name: result.suggestion.get(name) for name in _SUGGESTED}
    suggestion = {name: value for name, value in given.items() if isinstance(value, str)}
    if _is_http(suggestion.get(CONF_ENDPOINT, "")) and not _is_http(data[CONF_ENDPOINT]):
        # A device between here and the server could cause this suggestion, to read the traffic.
        del suggestion[CONF_ENDPOINT]
    if result.ok:
        return Outcome(None, suggestion, result.warnings)
    unexplained = AgentError("the validation failed, and the agent did not report an error")
    return Outcome(result.error or unexplained, suggestion)


async def async_check_options(
    hass: HomeAssistant, data: Mapping[str, Any], options: Mapping[str, Any]
) -> AgentError | None:
    """Lets the agent check settings without using the network."""
    try:
        async with _async_opened(hass, data, options):
            return None
    except AgentError as err:
        return err


def _is_http(endpoint: str) -> bool:
    return endpoint.lower().startswith("http://")


@asynccontextmanager
async def _async_opened(
    hass: HomeAssistant, data: Mapping[str, Any], options: Mapping[str, Any]
) -> AsyncIterator[tuple[AgentClient, str]]:
    """The agent, and the name of a temporary target with these settings."""
    name = f"form-{uuid.uuid4().hex}"
    async with async_held_agent(hass, name) as client:
        await client.open_target(name, target_config(data, options))
        yield client, name


#: Errors that the form detects without the agent.
_FORM_ERRORS = {"endpoint_placeholder", "region_missing", "storage_class_cold"}


def form_error(code: str, field: str) -> Outcome:
    """An error that the form detects without the agent."""
    return Outcome(AgentError(code, code=code, kind=Kind.CONFIG, field=field))


def field_to_show(outcome: Outcome) -> str | None:
    """The field that must be visible to correct the error."""
    if outcome.error and outcome.error.code == "tls_untrusted":
        return CONF_CA_CERTIFICATE
    return outcome.error.field if outcome.error else None


def form_errors(outcome: Outcome, schema: Schema) -> dict[str, str]:
    """The error at its field if the form has it, else at the first field with a suggestion."""
    if (error := outcome.error) is None:
        return {}
    shown = {str(marker) for marker in schema.schema}
    place = error.field or "base"
    if place == CONF_ENDPOINT and place not in shown:
        # The form fills the region into the endpoint.
        place = CONF_REGION
    if place not in shown:
        place = next((name for name in outcome.suggestion if name in shown), "base")
    key = error.code if error.code in _FORM_ERRORS else translation_key(error)
    if key == "not_found":
        # A validation asks for no backup, so the endpoint belongs to another service.
        key = "invalid_endpoint_not_s3"
    hint = {"base": "suggested"} if outcome.suggestion and place != "base" else {}
    return {place: key} | hint


def form_placeholders(outcome: Outcome) -> dict[str, str]:
    """The placeholders of the error texts."""
    if outcome.error is None:
        return {}
    return placeholders(outcome.error) | {"suggestion": ", ".join(outcome.suggestion.values())}


def corrections(error: AgentError, form: Mapping[str, Any]) -> dict[str, Any]:
    """The values that correct an error, if known. They never reduce the protection, because
    a device between here and the server could cause that.
    """
    endpoint = form[CONF_ENDPOINT]
    reason = error.details.get("reason")
    match error.code:
        case "wrong_region" if expected := error.details.get("expected"):
            return {CONF_REGION: expected}
        case "wrong_addressing_style" if error.details.get("use") in ("path", "virtual"):
            return {CONF_ADDRESSING_STYLE: error.details["use"]}
        case "invalid_endpoint" if reason == "scheme" and "://" not in endpoint:
            return {CONF_ENDPOINT: f"https://{endpoint}"}
        case "invalid_endpoint" if reason == "plain_http_on_tls":
            return {CONF_ENDPOINT: endpoint.replace("http://", "https://", 1)}
        case _:
            return {}
