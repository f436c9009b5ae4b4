"""The rules of hassfest, the quality scale and HACS for files that are not code.

They are taken from the source code of Home Assistant and HACS, except for rules that need the
network.
"""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import voluptuous as vol
import yaml
from awesomeversion import AwesomeVersion, AwesomeVersionStrategy
from conftest import ROOT
from custom_components.s3_backup_agent.const import AGENT_VERSION, DOMAIN
from homeassistant.helpers import config_validation as cv

HACS = ROOT / "hacs-wrapper"
FOLDER = HACS / "custom_components" / DOMAIN

#: The rules of each tier.
RULES = {
    "bronze": """
        action-setup appropriate-polling brands common-modules config-flow
        config-flow-test-coverage dependency-transparency docs-actions docs-conditions
        docs-high-level-description docs-installation-instructions docs-removal-instructions
        docs-triggers entity-event-setup entity-unique-id has-entity-name runtime-data
        test-before-configure test-before-setup unique-config-entry
    """,
    "silver": """
        action-exceptions config-entry-unloading docs-configuration-parameters
        docs-installation-parameters entity-unavailable integration-owner log-when-unavailable
        parallel-updates reauthentication-flow test-coverage
    """,
    "gold": """
        devices diagnostics discovery discovery-update-info docs-data-update docs-examples
        docs-known-limitations docs-supported-devices docs-supported-functions
        docs-troubleshooting docs-use-cases dynamic-devices entity-category entity-device-class
        entity-disabled-by-default entity-translations exception-translations icon-translations
        reconfiguration-flow repair-issues stale-devices
    """,
    "platinum": "async-dependency inject-websession strict-typing",
}


def read(*path: str) -> Any:
    return json.loads(FOLDER.joinpath(*path).read_text())


# Manifest


def version(text: str) -> str:
    AwesomeVersion(text, ensure_strategy=[AwesomeVersionStrategy.SEMVER])
    return text


def https(text: str) -> str:
    assert vol.Url()(text).startswith("https://")
    return text


MANIFEST = vol.Schema(
    {
        "domain": DOMAIN,
        "name": str,
        "codeowners": vol.All([vol.Match(r"@[a-z0-9-]+$")], vol.Length(min=1)),
        "config_flow": True,
        "dependencies": [str],
        "documentation": https,
        "integration_type": "service",
        "iot_class": "local_polling",
        "issue_tracker": https,
        "loggers": [str],
        "quality_scale": vol.In(RULES),
        "requirements": [vol.Match(r"[a-z0-9-]+==[0-9.]+$")],
        "version": version,
    },
    required=True,
)


def test_manifest_is_valid() -> None:
    manifest = MANIFEST(read("manifest.json"))
    assert list(manifest) == ["domain", "name", *sorted(set(manifest) - {"domain", "name"})]
    assert FOLDER.name == DOMAIN
    assert f'version = "{manifest["version"]}"' in (ROOT / "Cargo.toml").read_text()
    assert manifest["version"] == AGENT_VERSION
    assert manifest["requirements"] == [f"s3-backup-agent=={AGENT_VERSION}"]


def used_components() -> Iterator[str]:
    """The integrations of Home Assistant that the code imports."""
    for path in FOLDER.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            for module in modules:
                if match := re.match(r"homeassistant\.components\.(\w+)", module):
                    yield match[1]


def test_manifest_lists_used_components() -> None:
    # These are allowed without a dependency.
    needed = set(used_components()) - {"diagnostics", "repairs", "sensor"}
    assert needed == set(read("manifest.json")["dependencies"])


def test_setup_has_no_yaml() -> None:
    tree = ast.parse((FOLDER / "__init__.py").read_text())
    names = {node.name for node in tree.body if isinstance(node, ast.AsyncFunctionDef)}
    assert "async_setup_entry" in names
    assert not names & {"async_setup", "setup"}, "this would need a CONFIG_SCHEMA"
    assert not (FOLDER / "services.yaml").exists()
    assert not (FOLDER / "strings.json").exists(), "custom integrations have translations alone"


def imports_of(path: Path) -> set[str]:
    """The modules of the integration that a module imports, as paths without extension."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = path.parents[node.level - 1]
            for name in [node.module] if node.module else [alias.name for alias in node.names]:
                target = base / name.replace(".", "/")
                target = target / "__init__" if target.is_dir() else target
                found.add(target.relative_to(FOLDER).as_posix())
    return found


def test_modules_have_no_import_circles() -> None:
    imports = {
        path.relative_to(FOLDER).with_suffix("").as_posix(): imports_of(path)
        for path in FOLDER.rglob("*.py")
    }
    assert "agent/frame" in imports["agent/session"]
    while free := [module for module, needed in imports.items() if not needed & imports.keys()]:
        for module in free:
            del imports[module]
    assert imports == {}


# Translations


NAME = re.compile(r"[a-z0-9]+([-_][a-z0-9]+)*$")


def valid_text(text: Any) -> str:
    text = cv.string_with_no_html(text)
    if not text or text != text.strip() or "[%" in text or "%]" in text:
        raise vol.Invalid("empty, blanks around it, or a reference")
    if re.search(r"'\{\w+\}'", text) or re.search(r"\{(?![a-z_0-9]+\})", text):
        raise vol.Invalid("a placeholder in single quotes, or one that is none")
    if re.search(r"(?i)(\w+://|www\.)[a-z0-9]+([-.][a-z0-9]+)*\.[a-z]{2,5}", text):
        raise vol.Invalid("a URL, which should be a placeholder")
    return text


def plain(text: Any) -> str:
    if "{" in valid_text(text):
        raise vol.Invalid("no placeholders here")
    return str(text)


def named(value: Any) -> vol.Schema:
    return vol.Schema({vol.Match(NAME): value})


FIELDS = {
    vol.Optional("description"): valid_text,
    vol.Optional("data"): {str: valid_text},
    vol.Optional("data_description"): {str: valid_text},
}
STEP = FIELDS | {
    vol.Optional("title"): valid_text,
    vol.Optional("sections"): {str: FIELDS | {vol.Required("name"): valid_text}},
}
TRANSLATIONS = vol.Schema(
    {
        "title": valid_text,
        "config": {
            "initiate_flow": {"user": valid_text},
            "step": {str: STEP},
            "error": {str: valid_text},
            "abort": {str: valid_text},
        },
        "options": {"step": {str: STEP}, "error": {str: valid_text}},
        "selector": {cv.slug: {"options": named(plain)}},
        "issues": {
            str: {
                "title": valid_text,
                # Only one of the two is allowed.
                vol.Exclusive("description", "text"): valid_text,
                vol.Exclusive("fix_flow", "text"): {
                    "step": {str: STEP},
                    "abort": {str: valid_text},
                },
            }
        },
        "exceptions": {cv.slug: {"message": valid_text}},
        "entity": {
            "sensor": named(
                {
                    "name": valid_text,
                    vol.Optional("unit_of_measurement"): plain,
                    vol.Optional("state"): named(plain),
                    vol.Optional("state_attributes"): named({"name": plain, "state": named(plain)}),
                }
            )
        },
    },
    required=True,
)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("translations/*")), ids=lambda p: p.name)
def test_translations_are_valid(path: Path) -> None:
    texts = TRANSLATIONS(json.loads(path.read_text()))
    for flow in (texts["config"], texts["options"]):
        for step in flow["step"].values():
            for part in (step, *step.get("sections", {}).values()):
                assert part.get("data", {}).keys() == part.get("data_description", {}).keys()


@pytest.mark.parametrize(
    "text",
    ["", " x", "<b>x</b>", "a '{b}'", "{a b}", "{}", "see https://h.example", "[%key:x%]"],
)
def test_translations_check_finds_invalid_text(text: str) -> None:
    with pytest.raises(vol.Invalid):
        valid_text(text)


# Icons and images


ICON = vol.Match(r"mdi:[a-z0-9-]+$")


def test_icons_are_valid() -> None:
    icon = vol.Schema({vol.Required("default"): ICON, vol.Optional("state"): named(ICON)})
    icons = vol.Schema({"entity": {"sensor": named(icon)}}, required=True)(read("icons.json"))
    sensors = icons["entity"]["sensor"]
    assert sensors.keys() == read("translations", "en.json")["entity"]["sensor"].keys()
    for sensor in sensors.values():
        assert sensor["default"] not in sensor.get("state", {}).values()


@pytest.mark.parametrize("name", ["icon", "logo"])
@pytest.mark.parametrize(("suffix", "size"), [("", 256), ("@2x", 512)])
def test_brand_images_are_valid(name: str, suffix: str, size: int) -> None:
    """Icon and logo are square images of these sizes."""
    head = (FOLDER / "brand" / f"{name}{suffix}.png").read_bytes()[:26]
    assert head.startswith(b"\x89PNG\r\n\x1a\n")
    assert int.from_bytes(head[16:20]) == int.from_bytes(head[20:24]) == size
    assert head[25] in (4, 6), "the ground is not transparent"


# Quality scale


def test_quality_scale_matches_manifest() -> None:
    """All rules of the tier in the manifest are done or exempt."""
    exempt = {"status": "exempt", "comment": vol.All(str, vol.Length(min=1))}
    done = {"status": "done", "comment": str}
    told = (vol.Schema(each, required=True) for each in (exempt, done, {"status": "todo"}))
    status = vol.Any("done", "todo", *told)
    expected = [rule for tier in RULES.values() for rule in tier.split()]
    schema = vol.Schema({"rules": {vol.Required(rule): status for rule in expected}}, required=True)
    rules = schema(yaml.safe_load((FOLDER / "quality_scale.yaml").read_text()))["rules"]
    missed = [rule for rule in rules.values() if rule in ("todo", {"status": "todo"})]
    assert (read("manifest.json")["quality_scale"] == "platinum") is not bool(missed)


@pytest.mark.parametrize(
    ("rule", "file", "text"),
    [
        ("config-entry-unloading", "__init__.py", "async def async_unload_entry("),
        ("diagnostics", "diagnostics.py", "async def async_get_config_entry_diagnostics("),
        ("has-entity-name", "entity.py", "_attr_has_entity_name = True"),
        ("parallel-updates", "sensor.py", "PARALLEL_UPDATES = 0"),
        ("reauthentication-flow", "config_flow.py", "async def async_step_reauth("),
        ("reconfiguration-flow", "config_flow.py", "async def async_step_reconfigure("),
        ("runtime-data", "__init__.py", "entry.runtime_data = "),
        ("test-before-setup", "__init__.py", "async_config_entry_first_refresh()"),
        ("unique-config-entry", "config_flow.py", "self._abort_if_unique_id_configured()"),
        ("strict-typing", "py.typed", ""),
    ],
)
def test_quality_scale_rules_are_in_code(rule: str, file: str, text: str) -> None:
    assert rule in " ".join(RULES.values())
    assert text in (FOLDER / file).read_text()


# HACS


def test_hacs_json_is_valid() -> None:
    schema = {"name": str, "homeassistant": "2026.3.0", "zip_release": True, "filename": str}
    hacs = vol.Schema(schema, required=True)(json.loads((HACS / "hacs.json").read_text()))
    assert hacs["filename"] == f"{DOMAIN}.zip"
    assert (HACS / "README.md").is_file()
    assert [path.name for path in (HACS / "custom_components").iterdir()] == [DOMAIN]
