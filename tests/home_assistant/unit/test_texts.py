"""The texts in all languages, and their placeholders."""

import json
import re
from pathlib import Path
from string import Formatter
from typing import Any

import pytest
from conftest import ROOT
from custom_components.s3_backup_agent.agent import AgentError, Kind
from custom_components.s3_backup_agent.const import DOMAIN
from custom_components.s3_backup_agent.errors import (
    CODES,
    OTHER,
    PLACEHOLDERS,
    STATES,
    UNKNOWN,
    VARIANTS,
    escape_markdown,
    placeholders,
    translation_key,
)
from custom_components.s3_backup_agent.forms import OPTIONS_SCHEMA
from custom_components.s3_backup_agent.health import ACTIVITIES
from custom_components.s3_backup_agent.issues import INCOMPLETE_UPLOADS, ISSUES
from custom_components.s3_backup_agent.issues import VARIANTS as ISSUE_VARIANTS
from custom_components.s3_backup_agent.providers import PROVIDERS

FOLDER = ROOT / "hacs-wrapper" / "custom_components" / DOMAIN
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


def test_languages_have_same_keys() -> None:
    english, german = (TEXTS[language] for language in LANGUAGES)
    assert list(english) == list(german)
    assert {key: fields(text) for key, text in english.items()} == {
        key: fields(text) for key, text in german.items()
    }
    assert all(text.strip() == text and text for text in [*english.values(), *german.values()])
    # Only proper names are the same.
    same = {key for key in english if english[key] == german[key] and " " in english[key]}
    assert all(key.startswith(("selector.provider", "title")) for key in same), same


@pytest.mark.parametrize("language", LANGUAGES)
def test_texts_follow_hassfest(language: str) -> None:
    for key, text in TEXTS[language].items():
        assert not re.search(r"<[a-zA-Z/]", text), key
        assert not re.search(r"'\{\w+\}'", text), key
        assert not re.search(r"(?i)(\w+://|www\.)[a-z0-9]+([-.][a-z0-9]+)*\.[a-z]{2,5}", text), key
        assert all(name.isidentifier() for name in fields(text)), key
        for part in key.split("."):
            assert re.fullmatch(r"[a-z0-9]+([-_][a-z0-9]+)*", part), key


def test_codes_match_protocol() -> None:
    listed = {item["code"] for item in json.loads((ROOT / "protocol/errors.json").read_text())}
    own = {code for code in CODES if code.startswith("agent_")}
    assert set(CODES) == listed | own
    errors = (FOLDER / "agent/errors.py").read_text()
    assert own == set(re.findall(r'code="(agent_\w+)"', errors))


@pytest.mark.parametrize("language", LANGUAGES)
def test_errors_have_texts(language: str) -> None:
    texts = TEXTS[language]
    for key in KEYS:
        text = texts[f"exceptions.{key}.message"]
        assert texts[f"config.error.{key}"] == text
        assert fields(text) <= set(PLACEHOLDERS)
    assert {key.split(".")[1] for key in texts if key.startswith("exceptions.")} == KEYS
    errors = {key.removeprefix("config.error.") for key in texts if key.startswith("config.error.")}
    form_errors = {"endpoint_placeholder", "region_missing", "storage_class_cold", "suggested"}
    assert errors == KEYS | form_errors
    # The form detects these errors itself and has no details.
    for key in form_errors - {"suggested"} | {"invalid_config_part_size"}:
        assert fields(texts[f"config.error.{key}"]) == set()
    used = {name for key in KEYS for name in fields(texts[f"exceptions.{key}.message"])}
    assert used | {"configured"} == set(PLACEHOLDERS)
    states = {f"entity.sensor.last_error.state.{code}" for code in ("none", *STATES)}
    assert states == {key for key in texts if key.startswith("entity.sensor.last_error.state.")}
    assert all(f"entity.sensor.activity.state.{activity}" in texts for activity in ACTIVITIES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_issues_and_selectors_have_texts(language: str) -> None:
    texts = TEXTS[language]
    issues = (*ISSUES, *ISSUE_VARIANTS)
    for code in issues:
        own = {"title", "count"} if code == INCOMPLETE_UPLOADS else {"title"}
        base = next(known for known in ISSUES if code.startswith(known))
        # Home Assistant accepts only one of the two.
        flow = "fix_flow.step.confirm." if ISSUES[base].fix else ""
        for part in ("title", f"{flow}title", f"{flow}description"):
            assert fields(texts[f"issues.{code}.{part}"]) <= {*own, *PLACEHOLDERS}
    assert {key.split(".")[1] for key in texts if key.startswith("issues.")} == set(issues)
    # The names of the providers, in the order of the table and the form.
    options = "selector.provider.options."
    names = {key.removeprefix(options): texts[key] for key in texts if key.startswith(options)}
    assert list(names) == list(PROVIDERS)
    assert all(names[key] == PROVIDERS[key].name for key in names if key != "other")
    for key in texts:
        if ".data_description." in key:
            assert key.replace(".data_description.", ".data.") in texts


@pytest.mark.parametrize("language", LANGUAGES)
def test_options_have_texts(language: str) -> None:
    texts = TEXTS[language]
    options = {str(marker) for marker in OPTIONS_SCHEMA.schema}
    for part in ("data", "data_description"):
        assert options == {
            key.rpartition(".")[2] for key in texts if key.startswith(f"options.step.init.{part}.")
        }
    # The errors that the agent reports without using the network.
    for key, text in texts.items():
        if key.startswith("options.error."):
            assert text == texts[f"exceptions.{key.rpartition('.')[2]}.message"]
    for code in ("invalid_config", "agent_start_failed", "tls_untrusted"):
        for key in (key for key in KEYS if key.startswith(code)):
            assert f"options.error.{key}" in texts


@pytest.mark.parametrize("code", ISSUES)
def test_issues_have_a_page(code: str) -> None:
    page, _, chapter = ISSUES[code].page.partition("#")
    lines = (ROOT / "docs" / page).read_text().splitlines()
    chapters = {
        line.lstrip("# ").strip("`").lower().replace(" ", "-") for line in lines if line[:1] == "#"
    }
    assert not chapter or chapter in chapters


def test_unknown_error_has_text() -> None:
    error = AgentError("new", code="from_the_future", kind=Kind.LIMIT)
    assert translation_key(error) == OTHER
    assert placeholders(error)["code"] == "from_the_future"
    assert placeholders(error)["bucket"] == UNKNOWN
    assert translation_key(AgentError("", code="cannot_connect")) == "cannot_connect"
    wrong = AgentError("", code="invalid_config", field="prefix")
    assert translation_key(wrong) == "invalid_config_prefix"


def test_placeholders_are_safe_and_short() -> None:
    details = {"subject": "{x}" + "y" * 1000, "skew_s": -2820, "sha256": "3f2a", "host": ""}
    shown = placeholders(AgentError("", details=details))
    assert shown["subject"].startswith("(x)")
    assert len(shown["subject"]) == 301
    assert (shown["skew"], shown["sha256"], shown["host"]) == ("47", "3F:2A", UNKNOWN)


@pytest.mark.parametrize(
    ("detail", "shown"),
    [
        ("https://user:word@h.example:9000/x", "h.example:9000"),
        ("h.example", "h.example"),
        ("proxy.example:3128", "proxy.example:3128"),
        ("http://[", "http://["),
    ],
)
def test_placeholder_host_is_no_url(detail: str, shown: str) -> None:
    assert placeholders(AgentError("", details={"host": detail}))["host"] == shown


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.py")), ids=lambda path: path.name)
def test_files_have_at_most_350_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 350


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("[here](https://evil.example)", r"\[here\]\(https\:\/\/evil\.example\)"),
        ("![](x) <img src=x> &amp;", r"\!\[\]\(x\) \<img src\=x\> \&amp\;"),
        ("a\n# b\n\n* c", r"a \# b \* c"),
        ("www.evil.example me@evil.example", r"www\.evil\.example me\@evil\.example"),
        ("`code` **bold** _it_ ~~no~~ | \\", r"\`code\` \*\*bold\*\* \_it\_ \~\~no\~\~ \| \\"),
        ("Größe 30 バックアップ", "Größe 30 バックアップ"),
    ],
)
def test_markdown_of_server_is_escaped(text: str, shown: str) -> None:
    assert escape_markdown(text) == shown
