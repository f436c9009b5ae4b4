"""The links between a peer and the server. The program in ../link emulates them."""

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

RATE = 20_000_000


@dataclass(frozen=True)
class Link:
    """The delay and the bandwidth between a peer and the server."""

    key: str
    title: str
    round_trip: int = 0  # ms
    rate: int = 0  # bytes in a second, of each connection and direction; 0: no limit
    failing: int = 0  # of 1,000 requests
    direct: bool = False  # without anything between

    def __post_init__(self) -> None:
        assert not (self.direct and (self.round_trip or self.rate or self.failing))


LINKS = {
    link.key: link
    for link in (
        Link("plain", "loopback", direct=True),
        Link("near", "20 ms round trip, 20 MB/s per connection", round_trip=20, rate=RATE),
        Link("far", "100 ms round trip, 20 MB/s per connection", round_trip=100, rate=RATE),
        Link("whole", "through the proxy, no request fails"),
        Link("failing", "through the proxy, 1 % of the requests fail", failing=10),
    )
}


class Way:
    """A running link."""

    def __init__(self, endpoint: str, process: subprocess.Popen[str] | None) -> None:
        self.endpoint = endpoint
        self._process = process

    def counts(self) -> dict[str, int]:
        """What went over it since the last call, by kind; nothing for a plain link."""
        if self._process is None:
            return {}
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        words = self._process.stdout.readline().split()
        return dict(zip(words[::2], map(int, words[1::2]), strict=True))


@contextlib.contextmanager
def open_link(link: Link, program: Path, endpoint: str, seed: int = 1) -> Iterator[Way]:
    """A way to the server at `endpoint`. The seed decides which requests fail."""
    if link.direct:
        yield Way(endpoint, None)
        return
    command = [program, urlsplit(endpoint).netloc, link.round_trip, link.rate, link.failing, seed]
    with subprocess.Popen(
        [str(word) for word in command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdin and process.stdout
        try:
            word, port = process.stdout.readline().split()
            assert word == "listening"
            yield Way(f"http://127.0.0.1:{port}", process)
        finally:
            process.stdin.close()  # ends it
