"""A proxy for HTTPS on the loopback address that prints its requests.

It prints its address, then one line for each CONNECT, with the host and the port. It needs
tests/servers in PYTHONPATH.
"""

import asyncio

from tls_front import BLOCK, copy


async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection: the request, then bytes in both directions."""
    request = (await reader.readuntil(b"\r\n\r\n")).decode("ascii")
    method, place, _ = request.split(" ", 2)
    print(place, flush=True)
    if method != "CONNECT":
        writer.close()
        return
    host, _, port = place.rpartition(":")
    behind_reader, behind_writer = await asyncio.open_connection(host, int(port))
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    await asyncio.gather(copy(reader, behind_writer), copy(behind_reader, writer))


async def main() -> None:
    """Serves for ever."""
    server = await asyncio.start_server(connect, "127.0.0.1", 0, limit=BLOCK)
    host, port = server.sockets[0].getsockname()
    print(f"{host}:{port}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
