"""What every container gives: an entry for each file, with a name that any text, table or screen can hold.

The containers themselves are in `containers.py` (folder) and `archives.py` (zip, tar).
"""

import re
from dataclasses import dataclass
from hashlib import blake2b
from typing import Protocol

UNDECODED = re.compile("[\udc80-\udcff]")  # where Python keeps a byte of a name that is not UTF-8 (surrogateescape)
ESCAPED = re.compile("%(25|[89A-F][0-9A-F])")


class TooLarge(ValueError):  # noqa: N818 (it reads as a sentence: raise TooLarge)
    """A file holds more bytes than the reader will take."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a container, before anyone has opened it."""

    path: str  # relative to the container, '/'-separated, Unicode as found (see `readable`)
    bytes: int  # size of the content
    stamp: int  # 0 … 2⁶³-1, another number when the content may have changed
    offset: int  # where a tar member's content starts in the plain tar; -1 elsewhere


class Container(Protocol):
    """A folder or an archive; small and picklable, since it travels to workers. `str` names it for messages."""

    def entries(self) -> list[Entry]:
        """Every regular file, sorted by path, each path once. UserError where the listing would not be whole."""
        ...

    def read(self, entry: Entry, limit: int) -> bytes:
        """All of a file's bytes. TooLarge where it holds more than `limit`; OSError where it cannot be read whole."""
        ...


def readable(name: str) -> str:
    """One part of a path with each byte that is not UTF-8 as %E9, and then each % as %25; any other name as it is.

    `caf<E9>.jpg` (Latin-1) becomes `caf%E9.jpg`. Without this, neither parquet nor a terminal could hold the name.
    """
    if name.isascii() or not UNDECODED.search(name):
        return name
    return UNDECODED.sub(lambda byte: f"%{ord(byte[0]) - 0xDC00:02X}", name.replace("%", "%25"))


def original(name: str) -> str:
    """The name that `readable` escaped."""
    return ESCAPED.sub(lambda code: "%" if code[1] == "25" else chr(0xDC00 + int(code[1], 16)), name)


def clean(name: str) -> str:
    """A member's name as a relative path without '.', '..', '//' or drive: where an unpacker would put it."""
    parts: list[str] = []
    for part in re.sub(r"^[A-Za-z]:/", "", name).split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(readable(part))
    return "/".join(parts)


def stamp(*facts: object) -> int:
    """A 63-bit number from what is known of a file: parquet's Int64 holds it."""
    digest = blake2b("\0".join(map(str, facts)).encode(errors="surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
