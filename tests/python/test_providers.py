"""The table of providers: its format, its consistency, and the files made from it."""

import importlib.util
import json
import re
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

Row = dict[str, Any]

ROOT = Path(__file__).parent.parent.parent
SCRIPT = ROOT / "docs/providers/render.py"
ROWS: list[Row] = json.loads((ROOT / "protocol/providers.json").read_text("utf-8"))["providers"]
GUIDES: dict[str, Row] = tomllib.loads((ROOT / "docs/providers/guides.toml").read_text("utf-8"))
each = pytest.mark.parametrize("row", ROWS, ids=[row["key"] for row in ROWS])

# Entries of Home Assistant name these.
KEPT = {
    *("aws", "minio", "garage", "wasabi", "backblaze", "digitalocean", "cloudflare", "synology"),
    *("hetzner", "scaleway", "ovh", "idrive", "linode", "storj", "ceph", "other"),
}
MEMBERS: dict[str, type] = {
    "key": str,
    "name": str,
    "endpoint": str,
    "hosts": list,
    "wrong_hosts": list,
    "region": dict,
    "addressing_style": str,
    "https_only": bool,
    "parts": dict,
    "list": str,
    "drop_x_id": bool,
    "payload": str,
    "conditional_writes": str,
    "versions": str,
    "keys": dict,
    "permissions": dict,
    "notes": list,
    "docs": str,
    "checked": str,
}
CHOICES = {
    "addressing_style": {"path", "virtual"},
    "list": {"v1", "v2"},
    "payload": {"signed"},
    "conditional_writes": {"enforced", "ignored", "refused", "unknown"},
    "versions": {"always", "optional", "none"},
}
LABEL = re.compile(r"[a-z0-9-]*(\*|\{region\})?[a-z0-9-]*")


def load_script() -> Any:
    """The generator, loaded by its path: the transcripts have a module with the same name."""
    spec = importlib.util.spec_from_file_location("render_providers", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def matched(pattern: str, host: str) -> dict[str, str] | None:
    """The value of `{region}` if the host matches, with the same patterns as the agent."""
    expression = re.escape(pattern).replace(r"\{region\}", "(?P<region>[^.]+)")
    found = re.fullmatch(expression.replace(r"\*", "[^.]+"), host)
    return found.groupdict() if found else None


def patterns(row: Row) -> list[str]:
    return [*row["hosts"], *(wrong["host"] for wrong in row["wrong_hosts"])]


def endpoints(row: Row) -> Iterator[tuple[str, str]]:
    """The endpoint of each region, as users enter it, and the ID of the region."""
    for region in row["region"]["regions"]:
        filled_in = region.get("endpoint", row["endpoint"]).replace("{region}", region["id"])
        yield re.sub(r"[A-Z][A-Z_]+", "0a1b2c", filled_in), region["id"]


def links(value: Any) -> Iterator[str]:
    """Every URL in a row except the endpoints."""
    if isinstance(value, dict):
        for name, member in value.items():
            if name in ("url", "source", "docs", "page"):
                yield member
            elif name == "sources":
                yield from member
            else:
                yield from links(member)
    elif isinstance(value, list):
        for member in value:
            yield from links(member)


def test_keys_are_unique_and_stable() -> None:
    keys = [row["key"] for row in ROWS]
    assert len(keys) == len(set(keys)) and set(keys) >= KEPT
    assert len({row["name"] for row in ROWS}) == len(ROWS)
    assert keys[-1] == "other"
    assert all(re.fullmatch(r"[a-z]+", key) for key in keys)


@each
def test_row_is_complete(row: Row) -> None:
    assert row.keys() - {"key_id", "wrong_key_ids"} == MEMBERS.keys()
    for name, kind in MEMBERS.items():
        assert type(row[name]) is kind and row[name] not in ("", {}), name
    for name, choices in CHOICES.items():
        assert row[name] in choices, name
    region = row["region"]
    assert region.keys() == {"rule", "default", "source", "regions"}
    assert region["rule"] in ("in_host", "fixed", "free")
    ids = [one["id"] for one in region["regions"]]
    assert region["default"] in ids and len(set(ids)) == len(ids)
    assert region["rule"] != "fixed" or ids == [region["default"]]
    assert all(one.keys() - {"endpoint"} == {"id", "name"} for one in region["regions"])
    assert all(re.fullmatch(r"[a-z0-9-]+", one) for one in ids)
    parts = row["parts"]
    assert parts.keys() - {"advised_bytes"} == {"max_count", "min_bytes", "equal"}
    assert 1000 <= parts["max_count"] <= 10_000 and parts["min_bytes"] >= 5 << 20
    assert parts.get("advised_bytes", parts["min_bytes"]) >= parts["min_bytes"]
    assert row["keys"].keys() == {"path", "url"}
    assert row["permissions"].keys() == {"least", "policy"}
    assert row["notes"] and all(
        note.keys() == {"text", "source", "looked_up"} for note in row["notes"]
    )
    assert all(wrong.keys() == {"host", "is"} for wrong in row["wrong_hosts"])
    assert re.fullmatch(r"20\d\d-(0[1-9]|1[0-2])", row["checked"])


@each
def test_texts_are_short_enough(row: Row) -> None:
    assert all(note["text"].endswith(".") for note in row["notes"])
    parts = [row["permissions"]["least"], row["keys"]["path"]]
    parts += [wrong["is"] for wrong in [*row["wrong_hosts"], *row.get("wrong_key_ids", [])]]
    assert not [part for part in parts if part.endswith(".") or part != part.strip()]


@each
def test_links_are_https(row: Row) -> None:
    found = [*links(row), *links(GUIDES[row["key"]])]
    assert len(found) > 4 and all(re.fullmatch(r"https://[^\s()]+", link) for link in found)


@each
def test_patterns_are_well_formed(row: Row) -> None:
    for pattern in patterns(row):
        labels = pattern.split(".")
        assert len(labels) >= 2, pattern
        assert all(label and LABEL.fullmatch(label) for label in labels), pattern
        # Otherwise the pattern matches hosts of other providers.
        assert not re.search(r"[*{]", "".join(labels[-2:])), pattern
        assert pattern.count("{region}") <= (row["region"]["rule"] == "in_host"), pattern


@each
def test_region_has_endpoint_only_if_needed(row: Row) -> None:
    for region in row["region"]["regions"]:
        follows = row["endpoint"].replace("{region}", region["id"])
        assert region.get("endpoint", "") != follows
        assert re.fullmatch(r"(https://[a-z0-9.-]+)?", region.get("endpoint", ""))


@each
def test_endpoint_of_region_matches_provider_and_region(row: Row) -> None:
    scheme, _, host = row["endpoint"].partition("://")
    assert scheme in ("http", "https") and not re.search(r"[/?#]", host)
    assert scheme == "https" or not row["https_only"]
    assert bool(row["hosts"]) == ("HOST" not in host), "the host is the owner's, or it is known"
    assert ("{region}" in host) >= (row["region"]["rule"] == "in_host")
    for endpoint, region in endpoints(row):
        found = [matched(pattern, endpoint.partition("://")[2]) for pattern in row["hosts"]]
        regions = [names.get("region") for names in found if names is not None]
        known = [region] if row["region"]["rule"] == "in_host" else [None]
        assert regions == (known if row["hosts"] else [])


def test_host_belongs_to_one_provider() -> None:
    everything = [(row["key"], pattern) for row in ROWS for pattern in patterns(row)]
    for key, pattern in everything:
        # An ordinary name, and names from other patterns.
        for word in ("eu-1", "s3", "cdn", "eu"):
            host = pattern.replace("{region}", word).replace("*", word)
            found = [(other, by) for other, by in everything if matched(by, host) is not None]
            assert {other for other, _ in found} == {key}, host
            assert word != "eu-1" or found == [(key, pattern)], host


@each
def test_valid_key_ids_get_no_warning(row: Row) -> None:
    good = row.get("key_id", {})
    for wrong in row.get("wrong_key_ids", []):
        assert wrong.keys() <= {"prefix", "length", "is"} and len(wrong) >= 2
        begin = wrong.get("prefix", ""), good.get("prefix", "")
        apart = not (begin[0].startswith(begin[1]) or begin[1].startswith(begin[0]))
        lengths = wrong.get("length"), good.get("length")
        assert apart or not good or (None not in lengths and lengths[0] != lengths[1]), wrong
    assert good.keys() <= {"prefix", "length"}
    assert len(good.get("prefix", "")) < good.get("length", 1000)


def test_provider_has_a_guide() -> None:
    assert list(GUIDES) and GUIDES.keys() == {row["key"] for row in ROWS}


@each
def test_guide_is_complete(row: Row) -> None:
    guide = GUIDES[row["key"]]
    assert guide.keys() - {"keys", "unchecked", "costs"} == {
        "about",
        "steps",
        "sources",
        "looked_up",
    }
    assert guide["about"].endswith(".") and guide["steps"].startswith("1. ") and guide["sources"]
    assert re.fullmatch(r"20\d\d-(0[1-9]|1[0-2])", guide["looked_up"])
    assert "key_id" not in row or "keys" in guide
    assert ("costs" in guide) == bool(row["hosts"])
    costs = guide.get("costs", {})
    assert costs.keys() <= {"free", "storage", "egress", "minimum", "sources", "page", "month"}
    facts = costs.keys() & {"free", "storage", "egress", "minimum"}
    # A price needs a source and a month.
    assert bool(facts) == ("sources" in costs) == ("month" in costs)
    assert facts or "page" in costs or not costs


@each
def test_guide_and_table_agree_on_keys(row: Row) -> None:
    shape, text = row.get("key_id", {}), GUIDES[row["key"]].get("keys", "")
    assert f"`{shape['prefix']}`" in text or shape["prefix"] == "00" if "prefix" in shape else True
    assert str(shape.get("length", "")) in text


def test_labels_match_the_form() -> None:
    """The pages name the fields as the form does."""
    english = json.loads((ROOT / load_script().ENGLISH).read_text("utf-8"))
    fields = english["config"]["step"]["connection"]["data"]
    for page in sorted((ROOT / "docs/providers").glob("*.md")):
        if page.name == "README.md":
            continue
        for field in ("bucket", "access_key_id", "secret_access_key", "prefix"):
            assert f"*{fields[field]}*" in page.read_text("utf-8"), f"{page.name}: {field}"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the files that the generator reads and writes, to be changed."""
    script = load_script()
    for path in (script.TABLE, script.TEXTS, script.STORAGE, script.ENGLISH, *script.render(ROOT)):
        tmp_path.joinpath(path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, tmp_path / path)
    return tmp_path


def test_guides_and_copy_match_the_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--check"])
    with pytest.raises(SystemExit) as end:
        load_script().main()
    assert (end.value.code, capsys.readouterr().err) == (0, "")
    copy = ROOT / "hacs-wrapper/custom_components/s3_backup_agent/providers.json"
    assert copy.read_bytes() == (ROOT / "protocol/providers.json").read_bytes()


def test_differences_are_found_and_fixed(project: Path) -> None:
    script = load_script()
    assert script.check(project) == []
    table = project / script.TABLE
    changed = table.read_text("utf-8").replace('"fsn1"', '"xyz1"')
    table.write_text(changed, "utf-8")
    project.joinpath(script.GUIDES, "gone.md").write_text("x", "utf-8")
    found = {problem.partition(":")[0] for problem in script.check(project)}
    guides = {str(script.GUIDES / name) for name in ("README.md", "hetzner.md", "gone.md")}
    assert found == {str(script.COPY), *guides}
    script.write(project)
    assert script.check(project) == ["docs/providers/gone.md: there is no such provider"]
    assert (
        "xyz1.your-objectstorage.com" in project.joinpath(script.GUIDES, "hetzner.md").read_text()
    )


@each
def test_links_of_guides_work(row: Row) -> None:
    page = ROOT / "docs/providers" / f"{row['key']}.md"
    local = re.findall(r"\]\((?!https:)([^)#]*)#?([^)]*)\)", page.read_text("utf-8"))
    assert len(local) >= 4
    for path, anchor in local:
        target = page.parent / path if path else page
        headings = re.findall(r"^#+ (.*)$", target.read_text("utf-8"), re.M)
        anchors = {re.sub(r"[^\w -]", "", text).lower().replace(" ", "-") for text in headings}
        assert not anchor or anchor in anchors, f"{path}#{anchor}"
