#!/usr/bin/env python3
"""Prints the components of a release binary, as a CycloneDX 1.6 document.

    sbom.py [TARGET]    the components on this target, by default x86_64-unknown-linux-musl

The components are the crates whose code is linked: not those of tests, demos and macros. They have
their versions in Cargo.lock, the checksums of their packages on crates.io, and their licenses. The
same tree makes the same document, byte by byte.
"""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TARGET = "x86_64-unknown-linux-musl"
Json = dict[str, Any]


def cargo(*arguments: str) -> str:
    command = ["cargo", *arguments, "--locked"]
    return subprocess.run(
        command, cwd=ROOT, check=True, stdout=subprocess.PIPE, encoding="utf-8"
    ).stdout


def linked(target: str) -> set[tuple[str, str]]:
    """Name and version of each crate in the binary, this one included."""
    edges = ("--edges", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}")
    lines = cargo("tree", *edges, "--target", target).splitlines()
    return {(line.split()[0], line.split()[1].removeprefix("v")) for line in lines}


def digests() -> dict[tuple[str, str], str]:
    """The SHA-256 of each package, by name and version."""
    packages = tomllib.loads((ROOT / "Cargo.lock").read_text("utf-8"))["package"]
    return {(p["name"], p["version"]): p["checksum"] for p in packages if "checksum" in p}


def reference(package: Json) -> str:
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package: Json, sha256: str | None) -> Json:
    """One crate, as CycloneDX describes it."""
    entry: Json = {
        "type": "library",
        "bom-ref": reference(package),
        "name": package["name"],
        "version": package["version"],
        "purl": reference(package),
    }
    if package.get("license"):
        # The slash is the form of old packages.
        entry["licenses"] = [{"expression": re.sub(r"\s*/\s*", " OR ", package["license"])}]
    if sha256:
        entry["hashes"] = [{"alg": "SHA-256", "content": sha256}]
    if package.get("repository"):
        entry["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return entry


def document(target: str) -> Json:
    arguments = ("metadata", "--format-version", "1", "--filter-platform", target)
    data = json.loads(cargo(*arguments))
    names, sha256 = linked(target), digests()
    crates = {
        package["id"]: package
        for package in sorted(data["packages"], key=lambda one: (one["name"], one["version"]))
        if (package["name"], package["version"]) in names
    }
    root = crates[data["resolve"]["root"]]
    needs = {
        node["id"]: sorted(
            reference(crates[dependency["pkg"]])
            for dependency in node["deps"]
            if dependency["pkg"] in crates
            and any(kind["kind"] is None for kind in dependency["dep_kinds"])
        )
        for node in data["resolve"]["nodes"]
    }
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": component(root, None) | {"type": "application"},
            "properties": [{"name": "cdx:rustc:sbom:target:triple", "value": target}],
        },
        "components": [
            component(crate, sha256.get((crate["name"], crate["version"])))
            for crate in crates.values()
            if crate is not root
        ],
        "dependencies": [
            {"ref": reference(crate), "dependsOn": needs[package]}
            for package, crate in crates.items()
        ],
    }


if __name__ == "__main__":
    if len(sys.argv) > 2 or sys.argv[1:2] in (["-h"], ["--help"]):
        print("usage: sbom.py [TARGET]", file=sys.stderr)
        sys.exit(64)
    print(json.dumps(document(sys.argv[1] if len(sys.argv) > 1 else TARGET), indent=1))
