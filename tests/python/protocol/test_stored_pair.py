"""The two objects of a backup, as STORAGE.md describes them for other tools."""

import json
import urllib.parse
from pathlib import Path

from conftest import Folder
from host import Agent, Json
from s3_request import request
from test_rules import check_by_hand

MIB = 1 << 20
GIVEN: Json = {
    "zeta": [1, 2.5, None],
    "backup_id": "p1",
    "name": "Nächtliche Sicherung 🏠",
    "addons": [],
    "s3_backup_agent": {"format": 7},
    "alpha": {"z": "", "a": "\u2028"},
}


def store(agent: Agent, data: bytes) -> None:
    """Stores the backup p1 with the name Pair."""
    backup = {"id": "p1", "name": "Pair", "metadata": GIVEN}
    agent.upload("t1", backup, (data[at : at + MIB] for at in range(0, len(data), MIB)))


def stored(folder: Folder, ending: str) -> bytes:
    key = urllib.parse.quote(f"{folder.prefix}/backups/Pair{ending}")
    status, body = request("GET", f"/{folder.bucket}/{key}")
    assert status == 200, body
    return body


def test_metadata_object_is_the_input_plus_one_member(agent: Agent, folder: Folder) -> None:
    store(agent, b"content")
    text = stored(folder, ".metadata.json").decode()
    assert "\n" not in text
    document = json.loads(text)
    given = {name: value for name, value in GIVEN.items() if name != "s3_backup_agent"}
    assert list(document.items())[: len(given)] == list(given.items())
    *_, (last, ours) = document.items()
    assert last == "s3_backup_agent"
    members = {"format", "agent", "size", "part_size", "sha256", "parts", "crc64nvme"}
    assert ours.keys() == members
    assert (ours["format"], ours["size"], document["size"]) == (1, 7, 7)


def test_stored_pair_passes_the_check_by_hand(agent: Agent, folder: Folder, tmp_path: Path) -> None:
    # One in a single request, one in parts.
    for number, size in enumerate((1000, 21 * MIB)):
        data = (bytes(range(251)) * (size // 251 + 1))[:size]
        store(agent, data)
        base = tmp_path / str(number)
        for ending in (".tar", ".metadata.json"):
            base.with_suffix(ending).write_bytes(stored(folder, ending))
        assert base.with_suffix(".tar").read_bytes() == data
        assert check_by_hand(base) == "size True\nparts True\nok True\n"
        agent.call("backup.delete", target="t1", backup_id="p1")
