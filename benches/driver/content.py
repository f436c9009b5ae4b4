"""The bytes that are stored. They neither compress nor repeat within a window."""

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

from .results import MIB

# Few enough to be cheap, and a prime number, so that swapped parts are detected.
BLOCKS = 61


def blocks(size: int) -> Iterator[bytes]:
    """Blocks of 1 MiB, the last one may be shorter. Each begins with its number."""
    random_blocks = [random.Random(n).randbytes(MIB) for n in range(BLOCKS)]
    for n in range(-(-size // MIB)):
        block = n.to_bytes(8, "big") + random_blocks[n % BLOCKS][8:]
        yield block[: size - n * MIB]


def make_file(path: Path, size: int) -> str:
    """Writes them, and returns their SHA-256."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for block in blocks(size):
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
