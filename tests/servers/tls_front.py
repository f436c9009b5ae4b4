"""TLS for a server without it: `tls_front.py CERTIFICATE KEY PORT PORT_BEHIND`.

It accepts TLS at the first port of the loopback address and forwards plain HTTP to the second.
"""

import asyncio
import contextlib
import ssl
import sys

BLOCK = 1 << 18


async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Copies until the source ends, then ends the sink."""
    with contextlib.suppress(OSError):
        while block := await source.read(BLOCK):
            sink.write(block)
            await sink.drain()
    sink.close()


async def serve(certificate: str, key: str, port: int, behind: int) -> None:
    """Accepts connections until it is killed."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            answers, requests = await asyncio.open_connection("127.0.0.1", behind, limit=BLOCK)
        except OSError:
            writer.close()
            return
        await asyncio.gather(copy(reader, requests), copy(answers, writer))

    front = await asyncio.start_server(connect, "127.0.0.1", port, ssl=context, limit=BLOCK)
    await front.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
