"""One way to turn a value into a digest: canonical JSON, sha256. And a file's digest, read in blocks."""

import hashlib
import json
from pathlib import Path
from typing import Any


def digest(value: Any) -> str:
    """Sha256 (64 hex digits) of a JSON-able value; the order of keys does not matter."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def file_digest(path: Path) -> str:
    """Sha256 (64 hex digits) of a file's bytes, in bounded memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def rank(seed: int, *identity: str | int) -> str:
    """A place in a shuffled order that depends on the seed and the thing alone, never on what stands beside it."""
    return hashlib.sha256(
        "\0".join(str(part) for part in (seed, *identity)).encode("utf-8", "surrogatepass")
    ).hexdigest()
