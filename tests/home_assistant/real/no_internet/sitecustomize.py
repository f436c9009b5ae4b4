"""Blocks connections of Home Assistant to other machines, and logs them.

Python imports this module at its start. Name resolution and datagrams are not blocked.
"""

import ipaddress
import os
import socket
from pathlib import Path
from typing import Any

_connect, _connect_ex = socket.socket.connect, socket.socket.connect_ex


def _refused(sock: socket.socket, address: Any) -> bool:
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    if sock.type & 0xF == socket.SOCK_DGRAM:
        return False
    try:
        local = ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback
    except ValueError:
        local = address[0] == "localhost"
    if not local:
        with Path(os.environ["REFUSED_CONNECTIONS_LOG"]).open("a") as log:
            log.write(f"{address!r}\n")
    return not local


def connect(sock: socket.socket, address: Any) -> None:
    if _refused(sock, address):
        raise ConnectionRefusedError(
            111, f"only connections to this machine are allowed: {address}"
        )
    _connect(sock, address)


def connect_ex(sock: socket.socket, address: Any) -> int:
    return 111 if _refused(sock, address) else _connect_ex(sock, address)


if "REFUSED_CONNECTIONS_LOG" in os.environ:
    socket.socket.connect, socket.socket.connect_ex = connect, connect_ex  # type: ignore[method-assign, assignment]
