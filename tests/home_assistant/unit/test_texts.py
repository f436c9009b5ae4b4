"""The files that are not code: translations, manifest, icons, quality scale."""

import json
import re
from pathlib import Path
from string import Formatter
from typing import Any

import pytest
import yaml
from conftest import ROOT
from custom_components.s3_backup_agent.agent import AgentError, Kind
from custom_components.s3_backup_agent.const import AGENT_VERSION, DOMAIN
from custom_components.s3_backup_agent.errors import (
    CODES,
    OTHER,
    PLACEHOLDERS,
    UNKNOWN,
    VARIANTS,
    placeholders,
    translation_key,
)
from custom_components.s3_backup_agent.health import ISSUE_CODES, ISSUE_VERSIONED
from custom_components.s3_backup_agent.providers import PROVIDERS
from homeassistant.loader import Manifest

HACS = ROOT / "hacs-wrapper"
FOLDER = HACS / "custom_components" / DOMAIN
LANGUAGES = ("en", "de")
KEYS = {
    OTHER,
    *CODES,
    *(f"{code}_{value}" for code, (_, values) in VARIANTS.items() for value in values),
}


def read(*path: str) -> Any:
    return json.loads(FOLDER.joinpath(*path).read_text())


def flat(tree: Any, path: str = "") -> dict[str, str]:
    if isinstance(tree, str):
        return {path: tree}
    return {k: v for name in tree for k, v in flat(tree[name], f"{path}.{name}".strip(".")).items()}


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


TEXTS = {language: flat(read("translations", f"{language}.json")) for language in LANGUAGES}


def test_languages_say_the_same() -> None:
    english, german = (TEXTS[language] for language in LANGUAGES)
    assert list(english) == list(german)
    assert {key: fields(text) for key, text in english.items()} == {
        key: fields(text) for key, text in german.items()
    }
    assert all(text.strip() == text and text for text in [*english.values(), *german.values()])
    # Proper names and the like are the same; sentences are not.
    same = {key for key in english if english[key] == german[key] and " " in english[key]}
    assert all(key.startswith(("selector.provider", "title")) for key in same), same


@pytest.mark.parametrize("language", LANGUAGES)
def test_texts_are_as_hassfest_wants_them(language: str) -> None:
    for key, text in TEXTS[language].items():
        assert not re.search(r"<[a-zA-Z/]", text), key
        assert not re.search(r"'\{\w+\}'", text), key
        assert not re.search(r"(?i)(\w+://|www\.)[a-z0-9]+([-.][a-z0-9]+)*\.[a-z]{2,5}", text), key
        assert all(name.isidentifier() for name in fields(text)), key
        for part in key.split("."):
            assert re.fullmatch(r"[a-z0-9]+([-_][a-z0-9]+)*", part), key


def test_codes_are_those_of_the_agent() -> None:
    listed = {item["code"] for item in json.loads((ROOT / "protocol/errors.json").read_text())}
    own = {code for code in CODES if code.startswith("agent_")}
    assert set(CODES) == listed | own
    errors = (FOLDER / "agent/errors.py").read_text()
    assert own == set(re.findall(r'code="(agent_\w+)"', errors))


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_error_has_words(language: str) -> None:
    texts = TEXTS[language]
    for key in KEYS:
        text = texts[f"exceptions.{key}.message"]
        assert texts[f"config.error.{key}"] == text
        assert fields(text) <= set(PLACEHOLDERS)
    assert {key.split(".")[1] for key in texts if key.startswith("exceptions.")} == KEYS
    errors = {key.removeprefix("config.error.") for key in texts if key.startswith("config.error.")}
    assert errors == KEYS | {"endpoint_unfinished", "region_missing"}
    used = {name for key in KEYS for name in fields(texts[f"exceptions.{key}.message"])}
    assert used | {"configured"} == set(PLACEHOLDERS)
    states = {f"entity.sensor.last_error.state.{code}" for code in ("none", *CODES, OTHER)}
    assert states == {key for key in texts if key.startswith("entity.sensor.last_error.state.")}


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_issue_and_choice_has_words(language: str) -> None:
    texts = TEXTS[language]
    for code in (*ISSUE_CODES, ISSUE_VERSIONED):
        for part in ("title", "description"):
            assert fields(texts[f"issues.{code}.{part}"]) <= {"title", *PLACEHOLDERS}
    for key in PROVIDERS:
        assert texts[f"selector.provider.options.{key}"]
    for key in texts:
        if ".data_description." in key:
            assert key.replace(".data_description.", ".data.") in texts


def test_unknown_errors_have_words() -> None:
    error = AgentError("new", code="from_the_future", kind=Kind.LIMIT)
    assert translation_key(error) == OTHER
    assert placeholders(error)["code"] == "from_the_future"
    assert placeholders(error)["bucket"] == UNKNOWN
    assert translation_key(AgentError("", code="cannot_connect")) == "cannot_connect"
    wrong = AgentError("", code="invalid_config", field="prefix")
    assert translation_key(wrong) == "invalid_config_prefix"


def test_facts_are_tamed() -> None:
    facts = {"subject": "{x}" + "y" * 1000, "skew_s": -2820, "sha256": "3f2a", "host": ""}
    words = placeholders(AgentError("", facts=facts))
    assert words["subject"].startswith("(x)")
    assert len(words["subject"]) == 301
    assert (words["skew"], words["sha256"], words["host"]) == ("47", "3F:2A", UNKNOWN)


def test_manifest() -> None:
    """What hassfest checks of a custom integration, as far as that goes offline."""
    manifest: Manifest = read("manifest.json")
    assert manifest["domain"] == DOMAIN == FOLDER.name
    assert list(manifest) == ["domain", "name", *sorted(set(manifest) - {"domain", "name"})]
    assert set(manifest) == {
        *("domain", "name", "codeowners", "config_flow", "dependencies", "documentation"),
        *("integration_type", "iot_class", "issue_tracker", "loggers", "quality_scale"),
        *("requirements", "version"),
    }
    assert manifest["documentation"].startswith("https://")
    assert manifest["requirements"] == [f"s3-backup-agent=={AGENT_VERSION}"]
    cargo = (ROOT / "Cargo.toml").read_text()
    assert f'version = "{manifest["version"]}"' in cargo
    assert manifest["version"] == AGENT_VERSION


def test_hacs() -> None:
    hacs = json.loads((HACS / "hacs.json").read_text())
    assert hacs["homeassistant"] == "2026.3.0"
    assert hacs["zip_release"] is True
    assert hacs["filename"] == f"{DOMAIN}.zip"
    assert (HACS / "README.md").is_file()
    for name, size in (("icon.png", 256), ("icon@2x.png", 512)):
        head = (FOLDER / "brand" / name).read_bytes()[:24]
        assert head.startswith(b"\x89PNG")
        assert int.from_bytes(head[16:20]) == int.from_bytes(head[20:24]) == size


def test_icons() -> None:
    names = set(read("icons.json")["entity"]["sensor"])
    assert {f"entity.sensor.{name}.name" for name in names} == {
        key for key in TEXTS["en"] if re.fullmatch(r"entity\.sensor\.\w+\.name", key)
    }


def test_quality_scale() -> None:
    """The tier that the manifest claims is one whose rules are all met, or do not apply."""
    rules = yaml.safe_load((FOLDER / "quality_scale.yaml").read_text())["rules"]
    missed = set()
    for name, rule in rules.items():
        status = rule if isinstance(rule, str) else rule["status"]
        assert status in ("done", "exempt", "todo")
        assert status != "exempt" or rule["comment"].strip()
        if status == "todo":
            missed.add(name)
    assert len(rules) == 54
    assert (read("manifest.json")["quality_scale"] == "platinum") is not bool(missed)


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.py")), ids=lambda path: path.name)
def test_files_are_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 350
