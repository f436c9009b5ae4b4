"""Adding, re-authenticating and changing a backup location."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, FaultyServer, Load, Storage, agent_of, answer, new_entry, setting
from custom_components.s3_backup_agent import hub
from custom_components.s3_backup_agent.agent import AgentClient, ValidateResult
from custom_components.s3_backup_agent.const import DOMAIN, MIB
from custom_components.s3_backup_agent.providers import (
    PROVIDERS,
    has_placeholder,
    provider_from_row,
    resolve_endpoint,
)
from custom_components.s3_backup_agent.target import location_id, target_config
from homeassistant.config_entries import (
    SOURCE_RECONFIGURE,
    SOURCE_USER,
    ConfigEntry,
    ConfigEntryState,
)
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType, section
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.selector import TextSelector
from pytest_homeassistant_custom_component.common import MockConfigEntry

FOLDER = f"hacs-wrapper/custom_components/{DOMAIN}"
KEYS = {"path": "Console → Keys", "url": "https://x.example/keys"}

type Result = Mapping[str, Any]


async def open_form(hass: HomeAssistant, provider: str = "other") -> Result:
    result = await hass.config_entries.flow.async_init(DOMAIN, context={"source": SOURCE_USER})
    assert (result["type"], result["step_id"]) == (FlowResultType.FORM, "user")
    return await fill(hass, result, {"provider": provider})


async def open_reconfigure(hass: HomeAssistant, entry: ConfigEntry) -> Result:
    return await hass.config_entries.flow.async_init(
        DOMAIN, context={"source": SOURCE_RECONFIGURE, "entry_id": entry.entry_id}
    )


async def fill(hass: HomeAssistant, form: Result, user_input: dict[str, Any]) -> Result:
    """Fills in and submits a form. Puts each field into its section."""
    given: dict[str, Any] = {}
    if "data_schema" not in form:
        given = user_input
    for marker, field in form["data_schema"].schema.items() if "data_schema" in form else ():
        if isinstance(field, section):
            inside = {str(name) for name in field.schema.schema}
            given[str(marker)] = {k: v for k, v in user_input.items() if k in inside}
        elif str(marker) in user_input:
            given[str(marker)] = user_input[str(marker)]
    result = await hass.config_entries.flow.async_configure(form["flow_id"], given)
    await hass.async_block_till_done()
    return result


def found(monkeypatch: pytest.MonkeyPatch, result: dict[str, Any]) -> None:
    """Sets the result of validations."""

    async def validate(*_: Any, **__: Any) -> ValidateResult:
        return ValidateResult.parse(result)

    monkeypatch.setattr(AgentClient, "validate", validate)


def fields(schema: Any) -> dict[Any, Any]:
    """The fields of a form, including its section."""
    found: dict[Any, Any] = {}
    for marker, field in schema.schema.items():
        found |= fields(field.schema) if isinstance(field, section) else {marker: field}
    return found


def suggested(form: Result) -> dict[str, Any]:
    """The values that are filled into a form."""
    return {
        str(marker): marker.description["suggested_value"]
        for marker in fields(form["data_schema"])
        if marker.description
    }


@pytest.fixture(autouse=True)
def _unloads(load: Load) -> None:
    """Entries that a flow adds are unloaded at the end."""


async def test_form_creates_entry(hass: HomeAssistant, storage: Storage) -> None:
    form = await open_form(hass)
    assert (form["step_id"], form["errors"]) == ("connection", {})
    # With blanks and slashes, as after pasting.
    given = storage.form | {
        "prefix": f"/{storage.prefix}/",
        "folder": "backups/",
        "bucket": f" {storage.bucket}\n",
    }
    result = await fill(hass, form, given)
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["data"] == storage.data
    assert result["title"] == f"S3 ({storage.bucket}/{storage.prefix})"
    entry = result["result"]
    assert entry.unique_id == location_id(storage.data)
    assert entry.state is ConfigEntryState.LOADED
    # The validation leaves no objects.
    assert storage.keys() == storage.unfinished() == []


async def test_form_removes_invisible_characters(hass: HomeAssistant, storage: Storage) -> None:
    given = {
        name: f"\u200b {value}\ufeff\u00ad"
        for name, value in storage.form.items()
        if name != "addressing_style"
    }
    result = await fill(hass, await open_form(hass), given)
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["data"] == storage.data | {"addressing_style": "auto"}


async def test_form_splits_endpoint_with_bucket(hass: HomeAssistant, storage: Storage) -> None:
    form = await open_form(hass)
    given = {
        name: value for name, value in storage.form.items() if name not in ("bucket", "prefix")
    }
    given["endpoint"] = f"{storage.endpoint}/{storage.bucket}/{storage.prefix}/"
    result = await fill(hass, form, given)
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["data"] == storage.data
    # Another spelling is the same location.
    result = await fill(hass, await open_form(hass), storage.form)
    assert result["reason"] == "already_configured"
    result = await fill(hass, await open_form(hass), given)
    assert result["reason"] == "already_configured"


async def test_form_adds_host_to_duplicate_title(
    hass: HomeAssistant, storage: Storage, faulty: FaultyServer
) -> None:
    first = storage.form | {"endpoint": setting("TEST_S3_ENDPOINT")}
    one = await fill(hass, await open_form(hass), first)
    two = await fill(hass, await open_form(hass), storage.form)
    assert one["title"] == f"S3 ({storage.bucket}/{storage.prefix})"
    host = faulty.endpoint.removeprefix("http://").replace("127.0.0.1", "localhost")
    assert two["title"] == f"S3 ({host}, {storage.bucket}/{storage.prefix})"


@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=PROVIDERS)
async def test_provider_fills_form(hass: HomeAssistant, provider: Any) -> None:
    form = await open_form(hass, provider.key)
    filled = {"endpoint": provider.endpoint, "region": provider.region}
    if not re.search("[A-Z]{3}", provider.endpoint) and provider.key != "other":
        # The endpoint is known.
        del filled["endpoint"]
    assert suggested(form) == filled
    # At most five fields outside of the section.
    top = [str(marker) for marker in form["data_schema"].schema]
    assert top == [*filled, "bucket", "access_key_id", "secret_access_key", "more"]
    # The agent knows the addressing style of each provider.
    defaults = {str(marker): marker.default for marker in fields(form["data_schema"])}
    assert defaults["addressing_style"]() == "auto"
    # A form with a word that must be replaced is refused.
    assert has_placeholder(provider.endpoint) == bool(re.search("[A-Z]{3}", provider.endpoint))
    assert form["description_placeholders"]["provider"] == provider.name
    assert provider.url.startswith("https://")


@pytest.mark.parametrize(
    ("change", "errors"),
    [
        ({"access_key_id": "nobody"}, {"access_key_id": "invalid_credentials_access_key"}),
        ({"access_key_id": ""}, {"access_key_id": "invalid_config_access_key_id"}),
        (
            {"secret_access_key": "wrong"},
            {"secret_access_key": "invalid_credentials_signature"},
        ),
        ({"bucket": "no-such-bucket-here"}, {"bucket": "bucket_not_found"}),
        ({"bucket": "No Bucket"}, {"bucket": "invalid_bucket_name"}),
        ({"prefix": "a//b"}, {"prefix": "invalid_config_prefix"}),
        ({"folder": "a/../b"}, {"folder": "invalid_config_folder"}),
        ({"region": "not a region"}, {"region": "invalid_config_region"}),
        ({"endpoint": "http://127.0.0.1:9"}, {"endpoint": "cannot_connect"}),
        ({"endpoint": "http://host.invalid"}, {"endpoint": "cannot_connect_dns"}),
        ({"endpoint": "127.0.0.1:9"}, {"endpoint": "invalid_endpoint_scheme"}),
        (
            {"endpoint": "https://u:p@h.example"},
            {"endpoint": "invalid_endpoint_credentials_in_url"},
        ),
        ({"endpoint": "https://HOST"}, {"endpoint": "endpoint_placeholder"}),
        (
            {"endpoint": "https://s3.{region}.example.org", "region": ""},
            {"region": "region_missing"},
        ),
        (
            {
                "access_key_id": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                "secret_access_key": "AKIAIOSFODNN7EXAMPLE",
            },
            {"access_key_id": "invalid_credentials_swapped"},
        ),
    ],
)
async def test_form_shows_error_at_its_field(
    hass: HomeAssistant, storage: Storage, change: dict[str, str], errors: dict[str, str]
) -> None:
    form = await open_form(hass)
    result = await fill(hass, form, storage.form | change)
    assert result["type"] is FlowResultType.FORM
    assert result["errors"] == errors
    # The input is kept, and correct input is accepted.
    assert suggested(result)["bucket"] == change.get("bucket", storage.bucket)
    result = await fill(hass, result, storage.form)
    assert result["type"] is FlowResultType.CREATE_ENTRY


async def test_form_error_names_host(hass: HomeAssistant, storage: Storage) -> None:
    form = await open_form(hass)
    for endpoint, host in (
        ("http://127.0.0.1:9", "127.0.0.1:9"),
        ("http://host.invalid", "host.invalid"),
    ):
        form = await fill(hass, form, storage.form | {"endpoint": endpoint})
        assert form["description_placeholders"]["host"] == host
    result = await fill(hass, form, storage.form | {"bucket": "no-such-bucket-here"})
    assert result["description_placeholders"]["bucket"] == "no-such-bucket-here"
    result = await fill(hass, result, storage.form | {"endpoint": "127.0.0.1:9"})
    assert suggested(result)["endpoint"] == "https://127.0.0.1:9"


async def test_form_fills_in_region_of_bucket(
    hass: HomeAssistant, storage: Storage, faulty: FaultyServer
) -> None:
    where = "<Region>eu-west-1</Region>"
    faulty.rule = lambda _: answer(400, "AuthorizationHeaderMalformed", more=where)
    form = await open_form(hass)
    result = await fill(hass, form, storage.form)
    assert result["errors"] == {"region": "wrong_region"}
    assert result["description_placeholders"]["expected"] == "eu-west-1"
    assert suggested(result)["region"] == "eu-west-1"
    faulty.rule = lambda _: None
    result = await fill(hass, result, storage.form | {"region": "eu-west-1"})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["data"]["region"] == "eu-west-1"


async def test_form_fills_in_suggestion(
    hass: HomeAssistant, storage: Storage, faulty: FaultyServer
) -> None:
    where = "<Region>eu-west-1</Region>"
    wrong = answer(400, "AuthorizationHeaderMalformed", more=where)
    # The unsigned request, and the request with the wrong region.
    faulty.rule = lambda _: wrong if len(faulty.seen) <= 2 else None
    form = await open_form(hass)
    result = await fill(hass, form, storage.form)
    assert result["errors"] == {"region": "wrong_region", "base": "suggested"}
    assert result["description_placeholders"]["suggestion"] == "eu-west-1"
    assert suggested(result)["region"] == "eu-west-1"
    offered = {name: suggested(result)[name] for name in ("endpoint", "region", "addressing_style")}
    result = await fill(hass, result, storage.form | offered)
    assert result["type"] is FlowResultType.CREATE_ENTRY


@pytest.mark.parametrize(
    ("suggestion", "errors", "text"),
    [
        (
            {"addressing_style": "path", "endpoint": "https://h.example", "x-new": [1]},
            {"endpoint": "tls_untrusted_name_mismatch", "base": "suggested"},
            "https://h.example, path",
        ),
        ({"region": [1]}, {"base": "tls_untrusted_name_mismatch"}, ""),
    ],
)
async def test_form_shows_suggestion(
    hass: HomeAssistant,
    storage: Storage,
    monkeypatch: pytest.MonkeyPatch,
    suggestion: dict[str, Any],
    errors: dict[str, str],
    text: str,
) -> None:
    error = {"message": "no", "code": "tls_untrusted", "details": {"reason": "name_mismatch"}}
    checks = [{"name": "tls", "status": "failed", "ms": 1, "error": error}]
    found(monkeypatch, {"ok": False, "checks": checks, "suggestion": suggestion})
    result = await fill(hass, await open_form(hass), storage.form)
    assert result["errors"] == errors
    assert result["description_placeholders"]["suggestion"] == text


async def test_validation_warnings_become_issues(
    hass: HomeAssistant, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = {"name": "versioning", "status": "warning", "ms": 1, "message": "old versions stay"}
    skew = {"message": "the clock is wrong", "code": "clock_skew", "kind": "auth"}
    clock = {"name": "clock", "status": "warning", "ms": 1, "message": "for now", "error": skew}
    found(monkeypatch, {"ok": True, "checks": [clock, versions]})
    result = await fill(hass, await open_form(hass), storage.form)
    assert result["type"] is FlowResultType.CREATE_ENTRY
    entry = result["result"]
    issues = {issue.issue_id: issue for issue in ir.async_get(hass).issues.values()}
    versions_id, clock_id = f"versioned_bucket_{entry.entry_id}", f"clock_skew_{entry.entry_id}"
    assert issues.keys() == {versions_id, clock_id}
    assert all(issue.is_persistent for issue in issues.values())
    assert issues[versions_id].learn_more_url.endswith("docs/costs.md#lifecycle-rules")
    text = issues[clock_id].translation_placeholders["message"]
    assert text == r"the clock is wrong\; for now"

    # The next validation resolves them.
    found(monkeypatch, {"ok": True})
    form = await open_reconfigure(hass, entry)
    await fill(hass, form, {k: v for k, v in storage.form.items() if k != "secret_access_key"})
    assert not ir.async_get(hass).issues


async def test_form_fills_in_addressing_style(
    hass: HomeAssistant, storage: Storage, faulty: FaultyServer
) -> None:
    faulty.rule = lambda _: answer(403, "SecondLevelDomainForbidden")
    form = await open_form(hass)
    result = await fill(hass, form, storage.form)
    assert result["errors"] == {"addressing_style": "wrong_addressing_style_virtual"}
    assert suggested(result)["addressing_style"] == "virtual"


async def test_form_replaces_http_on_tls_port(
    hass: HomeAssistant, storage: Storage, faulty: FaultyServer
) -> None:
    page = b"Client sent an HTTP request to an HTTPS server."
    faulty.rule = lambda _: b"HTTP/1.1 400 Bad\r\ncontent-length: %d\r\n\r\n%b" % (len(page), page)
    form = await open_form(hass)
    result = await fill(hass, form, storage.form)
    assert result["errors"] == {"endpoint": "invalid_endpoint_plain_http_on_tls"}
    assert suggested(result)["endpoint"] == storage.endpoint.replace("http://", "https://")


async def test_form_keeps_https_on_plain_port(hass: HomeAssistant, storage: Storage) -> None:
    form = await open_form(hass)
    wrong = storage.endpoint.replace("http://", "https://")
    result = await fill(hass, form, storage.form | {"endpoint": wrong})
    assert result["errors"] == {"endpoint": "invalid_endpoint_tls_on_plain_http"}
    # A device between here and the server could cause this, to read the traffic.
    assert suggested(result)["endpoint"] == wrong


async def test_form_ignores_suggestion_without_tls(
    hass: HomeAssistant, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = {"message": "no", "code": "tls_failed", "field": "endpoint"}
    checks = [{"name": "tls", "status": "failed", "ms": 1, "error": error}]
    suggestion = {"endpoint": "HTTP://nas.example:9000", "region": "eu-west-1"}
    found(monkeypatch, {"ok": False, "checks": checks, "suggestion": suggestion})
    given = storage.form | {"endpoint": "https://nas.example:9000"}
    result = await fill(hass, await open_form(hass), given)
    assert suggested(result)["endpoint"] == given["endpoint"]
    assert suggested(result)["region"] == "eu-west-1"
    found(monkeypatch, {"ok": True, "suggestion": suggestion})
    result = await fill(hass, result, given)
    assert result["data"]["endpoint"] == given["endpoint"]


async def test_form_error_names_permission(
    hass: HomeAssistant, storage: Storage, faulty: FaultyServer
) -> None:
    denied = answer(403, "AccessDenied")
    faulty.rule = lambda line: denied if line.startswith("DELETE") else None
    form = await open_form(hass)
    result = await fill(hass, form, storage.form)
    assert result["errors"] == {"bucket": "access_denied"}
    assert result["description_placeholders"]["action"] in (
        "s3:DeleteObject",
        "s3:AbortMultipartUpload",
    )


async def test_form_shows_unexplained_failure(
    hass: HomeAssistant, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    found(monkeypatch, {"ok": False})
    form = await open_form(hass)
    result = await fill(hass, form, storage.form)
    assert result["errors"] == {"base": "internal"}


async def test_form_shows_missing_agent(
    hass: HomeAssistant, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "AgentClient", lambda **_: AgentClient(command=["/no/such/agent"]))
    form = await open_form(hass)
    result = await fill(hass, form, storage.form)
    assert result["errors"] == {"base": "agent_not_found"}


async def test_form_accepts_self_signed_certificate(
    hass: HomeAssistant,
    storage: Storage,
    tls_server: FaultyServer,
    certificate: tuple[Path, Path],
) -> None:
    form = await open_form(hass)
    assert "ca_certificate" not in form["data_schema"].schema
    result = await fill(hass, form, storage.form)
    assert result["errors"] == {"ca_certificate": "tls_untrusted_self_signed"}
    assert "ca_certificate" in result["data_schema"].schema
    # In the form that browsers show.
    assert len(result["description_placeholders"]["sha256"].split(":")) == 32

    result = await fill(hass, result, storage.form | {"ca_certificate": "no PEM"})
    assert result["errors"] == {"ca_certificate": "invalid_config_ca_certificate"}

    pem = certificate[0].read_text()
    result = await fill(hass, result, storage.form | {"ca_certificate": pem})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["data"]["ca_certificate"] == pem.strip()

    # It is visible when the entry is changed.
    form = await open_reconfigure(hass, result["result"])
    assert suggested(form)["ca_certificate"] == pem.strip()


async def test_form_can_turn_off_verification(
    hass: HomeAssistant, storage: Storage, tls_server: FaultyServer
) -> None:
    result = await fill(hass, await open_form(hass), storage.form)
    result = await fill(hass, result, storage.form | {"verify_tls": False})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["data"]["verify_tls"] is False
    form = await open_reconfigure(hass, result["result"])
    assert "verify_tls" in form["data_schema"].schema


async def test_form_refuses_configured_location(
    hass: HomeAssistant, entry: MockConfigEntry, storage: Storage
) -> None:
    upper = storage.endpoint.replace("http", "HTTP") + "/"
    again = storage.form | {"prefix": f"{storage.prefix}/", "access_key_id": "other"}
    for change in ({}, {"endpoint": upper}):
        result = await fill(hass, await open_form(hass), again | change)
        assert result["type"] is FlowResultType.ABORT
        assert result["reason"] == "already_configured"
    # Another prefix is another location.
    other = Storage()
    result = await fill(hass, await open_form(hass), other.form)
    assert result["type"] is FlowResultType.CREATE_ENTRY


async def test_reauth_saves_new_keys(
    hass: HomeAssistant, load: Load, storage: Storage, entry: MockConfigEntry
) -> None:
    form = await entry.start_reauth_flow(hass)
    assert form["step_id"] == "reauth_confirm"
    keys = {name: storage.form[name] for name in ("access_key_id", "secret_access_key")}
    assert suggested(form) == {"access_key_id": keys["access_key_id"]}
    result = await fill(hass, form, keys | {"secret_access_key": "wrong"})
    assert result["errors"] == {"secret_access_key": "invalid_credentials_signature"}
    result = await fill(hass, result, keys)
    assert (result["type"], result["reason"]) == (FlowResultType.ABORT, "reauth_successful")
    assert entry.data == storage.data
    assert entry.state is ConfigEntryState.LOADED


async def test_reauth_after_failed_setup_loads_entry(
    hass: HomeAssistant, load: Load, storage: Storage
) -> None:
    entry = await load(new_entry(storage.data | {"secret_access_key": "wrong"}))
    assert entry.state is ConfigEntryState.SETUP_ERROR
    (form,) = hass.config_entries.flow.async_progress_by_handler(DOMAIN)
    keys = {name: storage.form[name] for name in ("access_key_id", "secret_access_key")}
    result = await fill(hass, form, keys)
    assert result["reason"] == "reauth_successful"
    assert hass.config_entries.async_loaded_entries(DOMAIN) == [entry]


async def test_reconfigure_keeps_location(
    hass: HomeAssistant, storage: Storage, entry: MockConfigEntry
) -> None:
    unique_id = entry.unique_id
    form = await open_reconfigure(hass, entry)
    assert form["step_id"] == "reconfigure"
    # The form does not contain the secret.
    assert "secret_access_key" not in suggested(form)
    change = {k: v for k, v in storage.form.items() if k != "secret_access_key"}
    result = await fill(hass, form, change | {"region": "not a region"})
    assert result["errors"] == {"region": "invalid_config_region"}
    assert "secret_access_key" not in suggested(result)

    # A new endpoint for the same location keeps the unique ID.
    moved = storage.endpoint.replace("127.0.0.1", "localhost")
    result = await fill(hass, result, change | {"region": "eu-west-1", "endpoint": moved})
    assert (result["type"], result["reason"]) == (FlowResultType.ABORT, "reconfigure_successful")
    assert entry.data == storage.data | {"region": "eu-west-1", "endpoint": moved}
    assert entry.unique_id == unique_id
    assert entry.state is ConfigEntryState.LOADED

    # A second entry for it is refused.
    result = await fill(hass, await open_form(hass), storage.form | {"endpoint": moved})
    assert result["reason"] == "already_configured"


async def test_reconfigure_does_not_ask_for_location(
    hass: HomeAssistant, storage: Storage, entry: MockConfigEntry
) -> None:
    form = await open_reconfigure(hass, entry)
    asked = {str(marker) for marker in fields(form["data_schema"])}
    assert not asked & {"bucket", "prefix", "folder"}
    location = form["description_placeholders"]["location"]
    assert location == f"{storage.bucket}/{storage.prefix}/backups"
    result = await fill(hass, form, storage.form | {"secret_access_key": ""})
    assert result["reason"] == "reconfigure_successful"
    assert entry.data == storage.data


async def test_form_without_folder_uses_default(hass: HomeAssistant, storage: Storage) -> None:
    """A field that was cleared is not part of the input."""
    given = {name: value for name, value in storage.form.items() if name != "folder"}
    result = await fill(hass, await open_form(hass), given)
    assert result["data"] == storage.data
    assert storage.data["folder"] == "backups"


async def test_entry_without_folder_uses_default(
    hass: HomeAssistant, load: Load, storage: Storage
) -> None:
    """Old entries have no folder."""
    data = {name: value for name, value in storage.data.items() if name != "folder"}
    entry = await load(new_entry(data))
    assert entry.unique_id == location_id(storage.data)
    form = await open_reconfigure(hass, entry)
    result = await fill(hass, form, storage.form)
    assert result["reason"] == "reconfigure_successful"
    assert entry.data == storage.data


@pytest.mark.parametrize(
    ("folder", "title", "key"),
    [("/", "{0}/", "b.tar"), ("copies/old", "{0}/copies/old", "copies/old/b.tar")],
)
async def test_form_with_other_folder_creates_other_location(
    hass: HomeAssistant, storage: Storage, folder: str, title: str, key: str
) -> None:
    document = json.dumps({"backup_id": "b", "name": "Of another program", "size": 3})
    storage.put(key.replace(".tar", ".metadata.json"), document)
    storage.put(key, "tar")
    storage.put("backups/c.metadata.json", document)
    storage.put("backups/c.tar", "tar")
    given = storage.form | {"folder": folder}
    result = await fill(hass, await open_form(hass), given)
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["data"] == storage.data | {"folder": folder.strip("/")}
    assert result["title"] == f"S3 ({title.format(f'{storage.bucket}/{storage.prefix}')})"
    entry = result["result"]
    (backup,) = await agent_of(hass, entry).async_list_backups()
    assert backup.backup_id == "b"
    assert entry.unique_id != location_id(storage.data)

    form = await open_reconfigure(hass, entry)
    result = await fill(hass, form, given)
    assert result["reason"] == "reconfigure_successful"

    # The default folder is another location; the same folder is refused.
    result = await fill(hass, await open_form(hass), given)
    assert result["reason"] == "already_configured"
    result = await fill(hass, await open_form(hass), storage.form)
    assert result["type"] is FlowResultType.CREATE_ENTRY


def test_location_id_ignores_spelling() -> None:
    data = {"endpoint": "https://h", "bucket": "b", "prefix": "x/y", "folder": "backups"}
    here = ["http://localhost:9000", "http://127.0.0.1:9000/", "HTTP://[::1]:9000"]
    assert len({location_id(data | {"endpoint": endpoint}) for endpoint in here}) == 1
    # Schedules depend on this ID.
    assert location_id(data) == hashlib.sha256(b"h\nb\nx/y").hexdigest()[:32]
    assert location_id(data | {"prefix": ""}) == hashlib.sha256(b"h\nb\n").hexdigest()[:32]
    assert location_id(data) == location_id(data | {"prefix": "/x/y/backups", "folder": ""})
    assert location_id(data) == location_id(data | {"prefix": "x", "folder": "y/backups/"})
    direct = location_id(data | {"folder": ""})
    assert direct == location_id(data | {"prefix": "x", "folder": "y"})
    others = [data, data | {"prefix": ""}, data | {"prefix": "", "folder": ""}]
    assert len({direct, *map(location_id, others)}) == 4


async def test_forms_fill_placeholders_of_texts(
    hass: HomeAssistant, entry: MockConfigEntry
) -> None:
    first = await hass.config_entries.flow.async_init(DOMAIN, context={"source": SOURCE_USER})
    forms = [
        ("config", first),
        ("config", await open_form(hass)),
        ("config", await open_reconfigure(hass, entry)),
        ("config", await entry.start_reauth_flow(hass)),
        ("options", await hass.config_entries.options.async_init(entry.entry_id)),
    ]
    texts = json.loads((ROOT / f"{FOLDER}/translations/en.json").read_text())
    seen = set()
    for flow, form in forms:
        seen.add((flow, form["step_id"]))
        used = re.findall(r"\{(\w+)\}", json.dumps(texts[flow]["step"][form["step_id"]]))
        assert set(used) <= set(form["description_placeholders"] or ()), form["step_id"]
        step = texts[flow]["step"][form["step_id"]]
        for marker, field in form["data_schema"].schema.items():
            if isinstance(field, section):
                folded = step["sections"][str(marker)]["data"].keys()
                assert {str(name) for name in field.schema.schema} == folded
                # A field with an error is moved out of the section.
                assert folded <= step["data"].keys()
            else:
                assert str(marker) in step["data"]
    assert seen == {(flow, step) for flow in ("config", "options") for step in texts[flow]["step"]}


async def test_form_offers_regions_and_accepts_others(hass: HomeAssistant) -> None:
    form = await open_form(hass, "aws")
    region = fields(form["data_schema"])["region"]
    assert region.config["custom_value"] is True
    offered = {option["value"]: option["label"] for option in region.config["options"]}
    assert list(offered) == [known.id for known in PROVIDERS["aws"].regions]
    assert all(label.startswith(value) for value, label in offered.items())
    for value in ("eu-central-1", "mars-north-1"):
        assert region(value) == value
    # A single region is no choice.
    form = await open_form(hass, "garage")
    assert isinstance(fields(form["data_schema"])["region"], TextSelector)


@pytest.mark.parametrize(
    ("region", "labels"),
    [
        (
            {"regions": [{"id": "fsn1", "name": "Falkenstein"}, {"id": "auto", "name": ""}]},
            ["fsn1 (Falkenstein)", "auto"],
        ),
        ({"regions": [{"id": "gra"}, {"id": "sbg", "name": "sbg"}]}, ["gra", "sbg"]),
        ({"regions": []}, []),
    ],
)
def test_provider_regions_have_labels(region: dict[str, Any], labels: list[str]) -> None:
    row = {"key": "x", "name": "X", "endpoint": "https://x.example", "keys": KEYS}
    provider = provider_from_row(row | {"region": {"default": "a"} | region})
    assert [known.label for known in provider.regions] == labels
    assert provider.has_choice_of_regions is (len(labels) > 1)


@pytest.mark.parametrize(
    ("provider", "region", "endpoint"),
    [
        ("aws", "eu-west-1", "https://s3.eu-west-1.amazonaws.com"),
        ("aws", "cn-north-1", "https://s3.cn-north-1.amazonaws.com.cn"),
        ("aws", "new-region-1", "https://s3.new-region-1.amazonaws.com"),
        ("ovh", "us-east-va", "https://s3.us-east-va.io.cloud.ovh.us"),
    ],
)
def test_region_with_its_own_endpoint_uses_it(provider: str, region: str, endpoint: str) -> None:
    assert resolve_endpoint(PROVIDERS[provider].endpoint, region) == endpoint


async def test_form_refuses_cold_storage_class(hass: HomeAssistant, storage: Storage) -> None:
    given = storage.form | {"storage_class": "Deep_Archive"}
    result = await fill(hass, await open_form(hass), given)
    assert result["errors"] == {"storage_class": "storage_class_cold"}
    assert "storage_class" in result["data_schema"].schema
    result = await fill(hass, result, storage.form | {"storage_class": "STANDARD"})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["data"] == storage.data | {"storage_class": "STANDARD"}
    assert target_config(result["data"], {})["storage_class"] == "STANDARD"


async def test_form_refuses_kms_key_without_kms(hass: HomeAssistant, storage: Storage) -> None:
    given = storage.form | {
        "server_side_encryption": "AES256",
        "server_side_encryption_key_id": "alias/backups",
    }
    result = await fill(hass, await open_form(hass), given)
    field = "server_side_encryption_key_id"
    assert result["errors"] == {field: f"invalid_config_{field}"}
    assert field in result["data_schema"].schema


async def test_session_token_is_kept_with_its_keys(
    hass: HomeAssistant, load: Load, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    found(monkeypatch, {"ok": True})
    entry = await load(new_entry(storage.data | {"session_token": "old"}))
    assert target_config(entry.data, {})["session_token"] == "old"
    keys = {name: storage.form[name] for name in ("access_key_id", "secret_access_key")}

    async def reconfigure(**given: str) -> Any:
        form = await open_reconfigure(hass, entry)
        assert "session_token" not in suggested(form)
        change = {name: storage.form[name] for name in ("endpoint", "region", "access_key_id")}
        result = await fill(hass, form, change | {"addressing_style": "path"} | given)
        assert result["reason"] == "reconfigure_successful"
        return entry.data.get("session_token")

    assert await reconfigure() == "old"
    assert await reconfigure(session_token="new") == "new"
    form = await entry.start_reauth_flow(hass)
    result = await fill(hass, form, keys | {"session_token": "newer"})
    assert result["reason"] == "reauth_successful"
    assert entry.data["session_token"] == "newer"
    assert await reconfigure(secret_access_key=keys["secret_access_key"]) is None
    form = await entry.start_reauth_flow(hass)
    assert "session_token" not in form["data_schema"].schema


async def test_options_are_stored_in_bytes(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    async def open_options() -> Result:
        return await hass.config_entries.options.async_init(entry.entry_id)

    async def save(form: Result, given: dict[str, Any]) -> Result:
        result = await hass.config_entries.options.async_configure(form["flow_id"], given)
        await hass.async_block_till_done()
        return result

    form = await open_options()
    assert suggested(form) == {}
    result = await save(form, {"part_size": 100})
    assert result["errors"] == {"part_size": "invalid_config_part_size"}
    result = await save(
        result,
        {
            "part_size": 8,
            "memory": 64,
            "concurrency": 3,
            "bandwidth_limit": 0.6,
        },
    )
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert entry.options == {
        "part_size": 8 * MIB,
        "memory": 64 * MIB,
        "concurrency": 3,
        "bandwidth_limit": 75_000,
    }
    assert entry.state is ConfigEntryState.LOADED

    form = await open_options()
    assert suggested(form) == {
        "part_size": 8,
        "memory": 64,
        "concurrency": 3,
        "bandwidth_limit": 0.6,
    }
    result = await save(form, {})
    assert entry.options == {}


async def test_options_refused_by_agent_show_error(
    hass: HomeAssistant, load: Load, storage: Storage
) -> None:
    entry = await load(new_entry(storage.data, {"part_size": 8 * MIB}))
    form = await hass.config_entries.options.async_init(entry.entry_id)
    hass.config_entries.async_update_entry(entry, data=storage.data | {"region": "not a region"})
    result = await hass.config_entries.options.async_configure(form["flow_id"], {})
    assert result["errors"] == {"base": "invalid_config_region"}
