#!/usr/bin/env python3
"""Writes what is made from the table of providers, protocol/providers.json.

    render.py --check    fails and says which file is not what the table says
    render.py --write    writes these files

They are a guide for each provider and README.md, which lists them, in this folder, and the copy of
the table that the integration of Home Assistant brings along.
"""

import argparse
import json
import re
import sys
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
TABLE = Path("protocol/providers.json")
STORAGE = Path("protocol/STORAGE.md")
GUIDES = Path("docs/providers")
INTEGRATION = Path("hacs-wrapper/custom_components/s3_backup_agent")
COPY = INTEGRATION / "providers.json"
ENGLISH = INTEGRATION / "translations/en.json"
MADE = "<!-- Made by render.py from protocol/providers.json: change that, then run this. -->"
POLICY = re.compile(r"^\*\*Z3\*\*.*?^(```json\n.*?^```)$", re.M | re.S)
CAPITALS = re.compile(r"\b[A-Z][A-Z_]{2,}\b")
EXPLAINED = {
    "HOST": "the name or the IP address of your server",
    "ACCOUNT_ID": "the id of your account",
    "NAMESPACE": "the namespace of your tenancy",
}
HOW_NAMED = {"path": "bucket in the path", "virtual": "bucket in the host name"}
RIGHTS = "../../protocol/STORAGE.md#rights"
VERSIONS = "../../protocol/STORAGE.md#versions-lifecycle-locks-classes"
UNFINISHED = "../../protocol/STORAGE.md#what-may-be-left-over"
HACS = "../../hacs-wrapper/README.md"

Row = dict[str, Any]


class Words:
    """What the form of the integration calls its fields and the providers."""

    def __init__(self, texts: dict[str, Any]) -> None:
        self.names: dict[str, str] = texts["selector"]["provider"]["options"]
        fields = texts["config"]["step"]["connection"]["data"]
        self.fields: dict[str, str] = {key: f"*{name}*" for key, name in fields.items()}
        self.automatic: str = f"*{texts['selector']['addressing_style']['options']['auto']}*"


def filled_in(row: Row) -> str:
    """The address with the usual region put in."""
    return str(row["endpoint"].replace("{region}", row["region"]["default"]))


def to_replace(row: Row) -> list[str]:
    """The words of the address that people replace."""
    return CAPITALS.findall(row["endpoint"])


def code_list(texts: list[str]) -> str:
    return ", ".join(f"`{text}`" for text in texts)


def region_text(row: Row) -> str:
    """What to enter as region."""
    region = row["region"]
    if region["rule"] == "fixed":
        return f"always `{region['default']}`"
    if "{region}" in row["endpoint"]:
        examples = code_list(region["examples"])
        return f"the part of the address for which `{{region}}` stands: {examples}, …"
    if row["hosts"]:
        return f"`{region['default']}`"
    return f"what the server is set to; `{region['default']}` unless somebody has changed that"


def address_text(row: Row) -> str:
    """What to enter as address."""
    text = f"`{row['endpoint']}`"
    if "{region}" in row["endpoint"]:
        text += f", such as `{filled_in(row)}`"
    return text + "".join(f"; `{word}` is {EXPLAINED[word]}" for word in to_replace(row))


def settings(row: Row) -> list[str]:
    return [
        "| setting | |",
        "|---|---|",
        f"| Address | {address_text(row)} |",
        f"| Region | {region_text(row)} |",
        f"| Addressing | automatic, which means here: {HOW_NAMED[row['addressing_style']]} |",
        "| Bucket | one that exists already |",
        f"| Keys | [{row['keys']['path']}]({row['keys']['url']}) |",
    ]


def rights(row: Row, policy: str) -> list[str]:
    least = row["permissions"]["least"]
    sentence = f"{least[0].upper()}{least[1:]}."
    if not row["permissions"]["policy"]:
        return [sentence]
    return [
        f"{sentence} It is written for the bucket `backups` and the folder `ha` in it: put yours in"
        f" their place. [What each right is for]({RIGHTS})",
        "",
        policy,
    ]


def in_home_assistant(row: Row, words: Words) -> list[str]:
    fields = words.fields
    steps = [
        "*Settings → Devices & services → Add integration → S3 Backup Agent*"
        f" ([installation]({HACS}#installation)).",
        f"Pick *{words.names[row['key']]}*. The next form is filled in as far as possible.",
    ]
    for word in to_replace(row):
        steps.append(f"{fields['endpoint']}: put {EXPLAINED[word]} in place of `{word}`.")
    if "{region}" in row["endpoint"]:
        steps.append(
            f"{fields['region']}: put yours in place of `{row['region']['default']}`."
            " `{region}` in the address may stay as it is."
        )
    elif not row["hosts"]:
        steps.append(
            f"{fields['region']}: leave `{row['region']['default']}`, unless your server has"
            " another."
        )
    folder = "is the `ha` of the policy" if row["permissions"]["policy"] else "may stay empty"
    steps += [
        f"Enter {fields['bucket']}, {fields['access_key_id']} and {fields['secret_access_key']}."
        f" {fields['prefix']} {folder}, and {fields['addressing_style']} stays {words.automatic}.",
        "The storage is tried out, and saved only if everything works. From then on it is a"
        " location under *Settings → System → Backups*.",
    ]
    return [f"{number}. {step}" for number, step in enumerate(steps, 1)]


def on_the_command_line(row: Row) -> list[str]:
    exports = [("ENDPOINT", filled_in(row)), ("BUCKET", "backups"), ("PREFIX", "ha")]
    if not row["hosts"]:
        exports.insert(1, ("REGION", row["region"]["default"]))
    lines = [f"export S3_BACKUP_AGENT_{name}={value}" for name, value in exports]
    return [
        "```sh",
        *lines,
        "export S3_BACKUP_AGENT_ACCESS_KEY_ID=...",
        "s3-backup-agent validate    # asks for the secret,"
        " unless S3_BACKUP_AGENT_SECRET_ACCESS_KEY has it",
        "```",
    ]


def left_behind(row: Row) -> list[str]:
    """What goes on costing after a deletion or a failure."""
    old = {
        "always": "Old versions are always kept here, so a deleted backup goes on taking space"
        f" until a [lifecycle rule]({VERSIONS}) removes it.",
        "optional": "If versioning is on in the bucket, a deleted backup goes on taking space"
        f" until a [lifecycle rule]({VERSIONS}) removes it. Without versioning, nothing is to be"
        " done.",
        "none": "No old versions are kept: what is deleted is gone, and takes no space.",
    }[row["versions"]]
    return [
        f"* {old}",
        "* Interrupted uploads are taken back by the agent itself. The integration also looks once"
        " a day for what others left; on the command line, `s3-backup-agent cleanup` does"
        f" ([more]({UNFINISHED})).",
    ]


def key_look(shape: Row) -> str:
    """What a key id looks like."""
    looks = []
    if "prefix" in shape:
        looks.append(f"begins with `{shape['prefix']}`")
    if "length" in shape:
        looks.append(f"has {shape['length']} characters")
    return " and ".join(looks)


def troubles(row: Row) -> list[str]:
    hosts: dict[str, list[str]] = {}
    for wrong in row["wrong_hosts"]:
        hosts.setdefault(wrong["is"], []).append(wrong["host"])
    wrong_hosts = "; ".join(f"{code_list(names)} ({what})" for what, names in hosts.items())
    lines = [f"* Not the address to enter: {wrong_hosts}."] if wrong_hosts else []
    if "key_id" in row:
        lines.append(f"* The access key id {key_look(row['key_id'])}.")
    for wrong in row.get("wrong_key_ids", []):
        lines.append(f"* An id that {key_look(wrong)} is {wrong['is']}.")
    if row["https_only"]:
        lines.append("* The address begins with `https://`; there is no service without TLS.")
    elif row["endpoint"].startswith("http://"):
        lines.append(
            "* If your server has TLS, the address begins with `https://`. A certificate that"
            " signed itself is shown with its fingerprint and can be trusted then."
        )
    return [
        *lines,
        "* `s3-backup-agent validate` says at which step it fails, and what to do; the form of the"
        f" integration says the same. [More]({HACS}#when-something-does-not-work)",
    ]


def guide(row: Row, words: Words, policy: str) -> str:
    """The page of one provider."""
    month = f"{date.fromisoformat(row['checked'] + '-01'):%B %Y}"
    sections: list[tuple[str, list[str]]] = [
        ("What to enter", settings(row)),
        ("Least rights", rights(row, policy)),
        ("In Home Assistant", in_home_assistant(row, words)),
        ("On the command line", on_the_command_line(row)),
        (
            "Worth knowing",
            [f"* {note['text']} ([source]({note['source']}))" for note in row["notes"]],
        ),
        ("What stays behind", left_behind(row)),
        ("When it does not work", troubles(row)),
    ]
    lines = [MADE, "", f"# {words.names[row['key']]}", ""]
    for title, body in sections:
        lines += [f"## {title}", "", *body, ""]
    lines += [
        f"[About its S3 interface]({row['docs']}) · looked up in {month}"
        " · [all storages](README.md)"
    ]
    return "\n".join(lines) + "\n"


def overview(rows: list[Row], words: Words) -> str:
    """The page that lists all."""
    lines = [
        MADE,
        "",
        "# Storages",
        "",
        "What to enter for each, in Home Assistant and on the command line. Every other storage",
        f"that speaks S3 works as well: [{words.names['other']}](other.md).",
        "",
        "| storage | address | region | old versions |",
        "|---|---|---|---|",
    ]
    for row in rows:
        region = row["region"]
        regions = code_list(region["examples"])
        if region["rule"] != "fixed" and "{region}" in row["endpoint"]:
            regions += ", …"
        name = f"[{words.names[row['key']]}]({row['key']}.md)"
        kept = {"always": "always kept", "optional": "if turned on", "none": "none"}[
            row["versions"]
        ]
        lines.append(f"| {name} | `{row['endpoint']}` | {regions} | {kept} |")
    lines += [
        "",
        "`{region}` stands for the region, words in capital letters are to be replaced.",
        "",
        "Other programs can read the same as [JSON](../../protocol/providers.json).",
    ]
    return "\n".join(lines) + "\n"


def render(root: Path) -> dict[Path, str]:
    """The files and what they should hold, under a folder with the whole project."""
    table = root.joinpath(TABLE).read_text("utf-8")
    rows: list[Row] = json.loads(table)["providers"]
    words = Words(json.loads(root.joinpath(ENGLISH).read_text("utf-8")))
    found = POLICY.search(root.joinpath(STORAGE).read_text("utf-8"))
    if not found:
        raise ValueError(f"{STORAGE} shows no policy under Z3")
    pages = {GUIDES / f"{row['key']}.md": guide(row, words, found[1]) for row in rows}
    return {COPY: table, GUIDES / "README.md": overview(rows, words), **pages}


def check(root: Path) -> list[str]:
    """Which files are not what they should be."""
    wanted = render(root)
    problems = [
        f"{path}: the table says something else"
        for path, text in wanted.items()
        if not root.joinpath(path).is_file() or root.joinpath(path).read_text("utf-8") != text
    ]
    others = {path.relative_to(root) for path in root.joinpath(GUIDES).glob("*.md")} - set(wanted)
    return problems + [f"{path}: the table has no such provider" for path in sorted(others)]


def write(root: Path) -> None:
    for path, text in render(root).items():
        root.joinpath(path).write_text(text, "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description="Keeps the guides equal to the table.")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--check", action="store_true", help="say where they are not")
    action.add_argument("--write", action="store_true", help="make them so")
    options = parser.parse_args()
    if options.write:
        write(ROOT)
    problems = check(ROOT)
    for problem in problems:
        print(problem, file=sys.stderr)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
