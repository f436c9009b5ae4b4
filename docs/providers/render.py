#!/usr/bin/env python3
"""Writes what is made from the table of providers, protocol/providers.json, and from guides.toml.

    render.py --check    fails and names each file that differs
    render.py --write    writes these files

They are a page for each provider and README.md, which lists them, in this folder, the price table
in docs/costs.md, and the copy of the table that the integration for Home Assistant contains.
"""

import argparse
import json
import re
import sys
import textwrap
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
TABLE = Path("protocol/providers.json")
STORAGE = Path("protocol/STORAGE.md")
GUIDES = Path("docs/providers")
TEXTS = GUIDES / "guides.toml"
COSTS = Path("docs/costs.md")
INTEGRATION = Path("hacs-wrapper/custom_components/s3_backup_agent")
COPY = INTEGRATION / "providers.json"
ENGLISH = INTEGRATION / "translations/en.json"
MADE = (
    "<!-- Made by render.py from protocol/providers.json and guides.toml:"
    " change those, then run it. -->"
)
POLICY = re.compile(r"^```json\n(?:(?!```).)*?s3:ListBucketMultipartUploads.*?^```$", re.M | re.S)
PRICES = re.compile(
    r"(?<=<!-- prices: made by docs/providers/render.py -->\n).*?(?=<!-- /prices -->)", re.S
)
CAPITALS = re.compile(r"\b[A-Z][A-Z_]{2,}\b")
EXPLAINED = {
    "HOST": "the name or the IP address of your server",
    "ACCOUNT_ID": "the ID of your account",
    "NAMESPACE": "the Object Storage namespace of your tenancy",
}
STYLES = {"path": "path-style", "virtual": "virtual-hosted-style"}
ENDPOINT, REGION = "*Endpoint URL*", "*Region*"
HACS = "../../hacs-wrapper/README.md"
PREFIX_COMMENT = '     # "Prefix" in the form; leave this out if it is empty'
WIDTH = 120
UNKNOWN = "not checked"
VALIDATE = """\
http://127.0.0.1:9000, region us-east-1, path-style
  ✓ config           0 ms
  ✓ dns              0 ms  127.0.0.1
  ✓ tcp              0 ms
  - tls              0 ms  plain HTTP: traffic is not encrypted
  ✓ service          4 ms
  ✓ clock            0 ms
  ✓ credentials      0 ms
  ✓ bucket           0 ms
  ✓ region           0 ms  us-east-1
  ..."""

Row = dict[str, Any]


def filled_in(row: Row) -> str:
    """The endpoint with the default region."""
    return str(row["endpoint"].replace("{region}", row["region"]["default"]))


def endpoint_of(row: Row, region: Row) -> str:
    return str(region.get("endpoint") or row["endpoint"].replace("{region}", region["id"]))


def to_replace(row: Row) -> list[str]:
    """The words of the endpoint that users replace."""
    return CAPITALS.findall(row["endpoint"])


def wrapped(text: str, indent: str = "") -> str:
    """One paragraph or list item; `indent`: what the lines after the first one begin with."""
    return textwrap.fill(
        text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def bullets(items: list[str]) -> list[str]:
    return [wrapped(f"* {item}", "  ") for item in items]


def numbered(items: list[str]) -> list[str]:
    return [wrapped(f"{number}. {item}", "   ") for number, item in enumerate(items, 1)]


def month(text: str) -> str:
    return f"{date.fromisoformat(text + '-01'):%B %Y}"


def sources(links: list[str]) -> str:
    if len(links) == 1:
        return f"[source]({links[0]})"
    numbered_links = (f"[{number}]({link})" for number, link in enumerate(links, 1))
    return f"sources {', '.join(numbered_links)}"


def has_regions(row: Row) -> bool:
    """Whether the provider has more than one."""
    return len(row["region"]["regions"]) > 1 and bool(row["hosts"])


def region_text(row: Row) -> str:
    """What to enter as region."""
    region = row["region"]
    if region["rule"] == "fixed":
        return f"`{region['default']}`, always"
    if has_regions(row):
        count = len(region["regions"])
        return f"one of the [{count} regions](#regions), for example `{region['default']}`"
    if row["hosts"]:
        return f"`{region['default']}`"
    defaults = " or ".join(f"`{one['id']}`" for one in region["regions"])
    return f"the region that is set on the server; {defaults} by default"


def endpoint_text(row: Row) -> str:
    """What to enter as endpoint."""
    text = f"`{row['endpoint']}`"
    if "{region}" in row["endpoint"]:
        text += f", for example `{filled_in(row)}`"
    return text + "".join(f"; `{word}` is {EXPLAINED[word]}" for word in to_replace(row))


def key_look(shape: Row) -> str:
    """How a key ID looks."""
    looks = []
    if "prefix" in shape:
        looks.append(f"begins with `{shape['prefix']}`")
    if "length" in shape:
        looks.append(f"has {shape['length']} characters")
    return " and ".join(looks)


def settings(row: Row, text: Row) -> list[str]:
    style = STYLES[row["addressing_style"]]
    lines = [
        "| Setting | Value |",
        "|---|---|",
        f"| {ENDPOINT}, `--endpoint` | {endpoint_text(row)} |",
        f"| {REGION}, `--region` | {region_text(row)} |",
        f"| *Addressing style*, `--addressing-style` | automatic; {style} here |",
    ]
    if "keys" in text:
        lines.append(f"| *Access key ID*, *Secret access key* | {text['keys']} |")
    return lines


def steps(text: Row) -> list[str]:
    looked_up = f"Looked up in {month(text['looked_up'])}: {sources(text['sources'])}."
    ends = [looked_up]
    if "unchecked" in text:
        ends.append(f"Not checked: {text['unchecked']}.")
    return [text["steps"].strip(), "", wrapped(" ".join(ends))]


def permissions(row: Row, policy: str) -> list[str]:
    least = f"Least permissions: {row['permissions']['least']}."
    if not row["permissions"]["policy"]:
        return [wrapped(least)]
    example = (
        "This policy is for the bucket `backups` and the prefix `ha`. Replace both names with"
        " yours. [Security](../security.md#permissions) explains each permission."
    )
    return [wrapped(f"{least} {example}"), "", policy]


def in_home_assistant(row: Row, name: str) -> list[str]:
    items = [
        f"Install the [integration]({HACS}), open *Settings → Devices & services → Add"
        " integration*, and choose *S3 Backup Agent*.",
        f"Choose *{name}*.",
    ]
    items += [f"{ENDPOINT}: replace `{word}` with {EXPLAINED[word]}." for word in to_replace(row)]
    if has_regions(row):
        items.append(
            f"{REGION}: choose yours from the list. You can also type one that is not in the list."
        )
    elif not row["hosts"]:
        items.append(
            f"{REGION}: keep `{row['region']['default']}`, unless your server has another one."
        )
    prefix = "is `ha`, as in the policy" if row["permissions"]["policy"] else "can stay empty"
    items += [
        f"Enter *Bucket name*, *Access key ID* and *Secret access key*. *Prefix* {prefix}.",
        "Submit. The form tests the settings and saves them only if everything works. The bucket is"
        " then a location under *Settings → System → Backups*.",
    ]
    return numbered(items)


def on_the_command_line(row: Row) -> list[str]:
    optional = "" if row["permissions"]["policy"] else PREFIX_COMMENT
    exports = [("ENDPOINT", filled_in(row)), ("BUCKET", "backups"), ("PREFIX", f"ha{optional}")]
    if not row["hosts"]:
        exports.insert(1, ("REGION", row["region"]["default"]))
    exports.append(("ACCESS_KEY_ID", "ACCESS_KEY_ID"))
    return [
        "```sh",
        *(f"export S3_BACKUP_AGENT_{name}={value}" for name, value in exports),
        "s3-backup-agent validate",
        "s3-backup-agent upload /srv/documents",
        "s3-backup-agent list",
        "```",
        "",
        wrapped(
            "The program asks for the secret access key. Without a terminal, keep it in a file that"
            " only you can read, and name the file with `--secret-access-key-file`. The"
            " [overview](README.md#test-the-settings) shows what `validate` prints."
        ),
    ]


def regions(row: Row) -> list[str]:
    lines = ["| Region | Place | Endpoint |", "|---|---|---|"]
    for region in row["region"]["regions"]:
        lines.append(f"| `{region['id']}` | {region['name']} | `{endpoint_of(row, region)}` |")
    looked_up = f"Looked up in {month(row['checked'])} ([source]({row['region']['source']}))."
    return [
        *lines,
        "",
        wrapped(
            f"{looked_up} If your region is not in this table, enter it as the provider writes it."
        ),
    ]


def deleted(row: Row) -> str:
    """What happens to the space of deleted backups, for the price table."""
    return {
        "always": "billed until a rule removes them",
        "optional": "billed with versioning",
        "none": "not billed",
    }[row["versions"]]


def costs(prices: Row) -> list[str]:
    names = {
        "free": ("Free", "the free quota"),
        "storage": ("1 TB for a month", "the price of storage"),
        "egress": ("Egress", "the price of egress"),
        "minimum": ("Minimum", "the minimum"),
    }
    items = [f"{name}: {prices[key]}." for key, (name, _) in names.items() if key in prices]
    unknown = [name for key, (_, name) in names.items() if key not in prices]
    if unknown:
        items.append(f"Not checked: {', '.join(unknown)}.")
    ends = []
    if "month" in prices:
        ends.append(f"Looked up in {month(prices['month'])}: {sources(prices['sources'])}.")
    if "page" in prices:
        ends.append(f"[Current prices]({prices['page']}).")
    ends.append("[Costs](../costs.md) compares the providers and shows an example.")
    return [*bullets(items), "", wrapped(" ".join(ends))]


def left_behind(row: Row) -> list[str]:
    """What is billed after a deletion or a failure."""
    old = {
        "always": "The bucket always keeps old versions, so a deleted backup takes space until a"
        " [lifecycle rule](../costs.md#lifecycle-rules) removes it.",
        "optional": "If versioning is on, a deleted backup takes space until a"
        " [lifecycle rule](../costs.md#lifecycle-rules) removes it. If it is off, there is nothing"
        " to do.",
        "none": "There are no old versions: a deleted backup is gone and takes no space.",
    }[row["versions"]]
    return bullets(
        [
            old,
            "A failed or canceled upload cleans up after itself. The integration also looks once"
            " a day for incomplete uploads of other programs and machines. On the command line,"
            " `s3-backup-agent cleanup` removes them.",
        ]
    )


def troubles(row: Row) -> list[str]:
    hosts: dict[str, list[str]] = {}
    for wrong in row["wrong_hosts"]:
        hosts.setdefault(wrong["is"], []).append(wrong["host"])
    items = []
    for what, names in hosts.items():
        wrong_ones = " or ".join(f"`{name}`" for name in names)
        items.append(f"Do not enter {wrong_ones} as the endpoint: this is {what}.")
    if "key_id" in row:
        items.append(f"The access key ID {key_look(row['key_id'])}.")
    items += [
        f"If the access key ID {key_look(wrong)}, {wrong['is']}."
        for wrong in row.get("wrong_key_ids", [])
    ]
    if row["https_only"]:
        items.append("The endpoint begins with `https://`. There is no service without TLS.")
    elif row["endpoint"].startswith("http://"):
        items.append(
            "If your server uses TLS, the endpoint begins with `https://`. For a self-signed"
            " certificate, the form and `validate` show the fingerprint. Compare it, then give the"
            " certificate as *CA certificate* or with `--ca-file`."
        )
    items.append(
        "`s3-backup-agent validate` and the form name the setting that is wrong and, where they"
        " can, the value that works. [Troubleshooting](../troubleshooting.md) explains each error."
    )
    return bullets(items)


def notes(row: Row) -> list[str]:
    return bullets(
        [
            f"{note['text']} ([source]({note['source']}), {note['looked_up']})"
            for note in row["notes"]
        ]
    )


def page(row: Row, text: Row, name: str, policy: str) -> str:
    """The page of one provider."""
    sections: list[tuple[str, list[str]]] = [
        ("Settings", settings(row, text)),
        ("Create a bucket and a key", steps(text)),
        ("Permissions", permissions(row, policy)),
        ("In Home Assistant", in_home_assistant(row, name)),
        ("On the command line", on_the_command_line(row)),
    ]
    if has_regions(row):
        sections.append(("Regions", regions(row)))
    sections.append(("Good to know", notes(row)))
    if "costs" in text:
        sections.append(("Costs", costs(text["costs"])))
    sections += [
        ("Deleted backups and incomplete uploads", left_behind(row)),
        ("If it does not work", troubles(row)),
    ]
    lines = [MADE, "", f"# {name}", "", wrapped(f"{name} {text['about']}"), ""]
    for title, body in sections:
        lines += [f"## {title}", "", *body, ""]
    lines.append(
        f"[S3 API of this provider]({row['docs']}) · [all providers](README.md)"
        " · [costs](../costs.md)"
    )
    return "\n".join(lines) + "\n"


def overview(rows: list[Row], names: dict[str, str]) -> str:
    """The page that lists all."""
    lines = [
        MADE,
        "",
        "# Providers",
        "",
        wrapped(
            "Each page shows how to create a bucket and a key, what to enter in Home Assistant and"
            " on the command line, and the regions of the provider. For every other S3-compatible"
            f" server, read [{names['other']}](other.md)."
        ),
        "",
        "| Provider | Endpoint | Regions | Old versions of deleted backups |",
        "|---|---|---|---|",
    ]
    for row in rows:
        region = row["region"]
        count = len(region["regions"])
        shown = (
            f"{count}, for example `{region['default']}`"
            if count > 1 and row["hosts"]
            else f"`{region['default']}`"
        )
        kept = {
            "always": "always kept",
            "optional": "kept if versioning is on",
            "none": "not kept",
        }[row["versions"]]
        lines.append(
            f"| [{names[row['key']]}]({row['key']}.md) | `{row['endpoint']}` | {shown} | {kept} |"
        )
    lines += [
        "",
        wrapped(
            "Replace `{region}` with your region, and words in capital letters with your own names."
            " [Costs](../costs.md#prices) compares the prices. Other programs can read the table as"
            " [JSON](../../protocol/providers.json)."
        ),
        "",
        "## Test the settings",
        "",
        wrapped(
            "`s3-backup-agent validate` checks one thing at a time and stops at the first problem."
            " For example, with a server on the same machine:"
        ),
        "",
        "```console",
        "$ s3-backup-agent validate",
        VALIDATE,
        "```",
        "",
        wrapped(
            "The other lines are about listing, writing, reading and deleting. `✓` means passed and"
            " `-` means skipped. `✗` means failed, with the reason below it. The exit code is 0 if"
            " nothing failed."
        ),
    ]
    return "\n".join(lines) + "\n"


def price_table(rows: list[Row], texts: dict[str, Row], names: dict[str, str]) -> str:
    lines = [
        "",
        "| Provider | Free | 1 TB for a month | Egress | Minimum | Deleted backups | Looked up |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        prices = texts[row["key"]].get("costs")
        if prices is None:
            continue
        known = [f"{prices['month']} ({sources(prices['sources'])})"] if "month" in prices else []
        if "page" in prices:
            known.append(f"[prices]({prices['page']})")
        cells = [prices.get(key, UNKNOWN) for key in ("free", "storage", "egress", "minimum")]
        name = f"[{names[row['key']]}](providers/{row['key']}.md)"
        lines.append(f"| {' | '.join([name, *cells, deleted(row), ', '.join(known)])} |")
    return "\n".join([*lines, "", ""])


def render(root: Path) -> dict[Path, str]:
    """The files and their texts, for a folder with the whole project."""
    table = root.joinpath(TABLE).read_text("utf-8")
    rows: list[Row] = json.loads(table)["providers"]
    texts = tomllib.loads(root.joinpath(TEXTS).read_text("utf-8"))
    english = json.loads(root.joinpath(ENGLISH).read_text("utf-8"))
    names: dict[str, str] = english["selector"]["provider"]["options"]
    policy = POLICY.search(root.joinpath(STORAGE).read_text("utf-8"))
    if not policy:
        raise ValueError(f"{STORAGE} shows no policy")
    prices = price_table(rows, texts, names)
    compared, found = PRICES.subn(lambda _: prices, root.joinpath(COSTS).read_text("utf-8"))
    if not found:
        raise ValueError(f"{COSTS} has no place for the prices")
    pages = {
        GUIDES / f"{row['key']}.md": page(row, texts[row["key"]], names[row["key"]], policy[0])
        for row in rows
    }
    return {COPY: table, COSTS: compared, GUIDES / "README.md": overview(rows, names), **pages}


def check(root: Path) -> list[str]:
    """The files that differ from what they should be."""
    wanted = render(root)
    problems = [
        f"{path}: differs, run render.py --write"
        for path, text in wanted.items()
        if not root.joinpath(path).is_file() or root.joinpath(path).read_text("utf-8") != text
    ]
    others = {path.relative_to(root) for path in root.joinpath(GUIDES).glob("*.md")} - set(wanted)
    return problems + [f"{path}: there is no such provider" for path in sorted(others)]


def write(root: Path) -> None:
    for path, text in render(root).items():
        root.joinpath(path).write_text(text, "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Keeps the pages of the providers equal to their table."
    )
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--check", action="store_true", help="name the files that differ")
    action.add_argument("--write", action="store_true", help="write them")
    options = parser.parse_args()
    if options.write:
        write(ROOT)
    problems = check(ROOT)
    for problem in problems:
        print(problem, file=sys.stderr)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
